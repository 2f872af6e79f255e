"""Keeps rendered views as files, renders those that are missing, and lets several processes share the work.

One file a view, `<root>/<name>/<H>x<W>-v<version>/<split>-<index>.npz`, written beside its place and then moved
there, so that a killed rendering leaves only whole files and the next one goes on where it stopped. A file that
is damaged, or that other code made, is rendered again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mdelib.data.rendering import GENERATOR_VERSION, generator_key, render_arrays

__all__ = ["cache_folder", "is_stored", "read_stored", "render_missing", "view_file"]

Array = np.ndarray
_ALONE = 12  # so few views are rendered here: starting other processes would take longer
_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


def cache_folder(root: Path, name: str, size: tuple[int, int]) -> Path:
    """Where the views of one size are kept."""
    return Path(root) / name / f"{size[0]}x{size[1]}-v{GENERATOR_VERSION}"


def view_file(folder: Path, split: str, index: int) -> Path:
    """The file of one view."""
    return folder / f"{split}-{index:04d}.npz"


def _store(path: Path, arrays: dict[str, Array]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            np.savez_compressed(file, key=np.array(generator_key()), **arrays)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def is_stored(path: Path) -> bool:
    """Whether the view's file is there, whole, and made by the present code."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            # a truncated file has lost the directory at its end, and does not open
            return str(file["key"]) == generator_key()
    except _DAMAGE:
        return False


def read_stored(path: Path, name: str, split: str, index: int, size: tuple[int, int]) -> dict[str, Array]:
    """The view's arrays; a file that was damaged since is rendered again."""
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            if str(file["key"]) == generator_key():
                return {key: file[key] for key in file.files if key != "key"}
    except _DAMAGE:
        pass
    arrays = render_arrays(name, split, index, size)
    _store(path, arrays)
    return arrays


def _render_to(
    folder: Path,
    name: str,
    split: str,
    size: tuple[int, int],
    indices: Sequence[int],
    done: Callable[[int], None] = lambda count: None,
) -> None:
    for count, index in enumerate(indices, 1):
        _store(view_file(folder, split, index), render_arrays(name, split, index, size))
        done(count)


def render_missing(
    root: Path,
    name: str,
    split: str,
    size: tuple[int, int],
    indices: Sequence[int],
    *,
    processes: int | None = None,
) -> Path:
    """Renders the views that are not stored yet and returns their folder.

    Args:
        root: the data folder.
        name, split, size: which scenes; split "train" or "test".
        indices: the views that are wanted.
        processes: how many to start; None means one a processor.

    Raises:
        RuntimeError: a rendering process failed; the message ends with what it said.
    """
    folder = cache_folder(root, name, size)
    missing = [index for index in indices if not is_stored(view_file(folder, split, index))]
    if not missing:
        return folder
    console = Console(stderr=True)
    bar = Progress(
        TextColumn(f"rendering {name} {split}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    workers = processes if processes is not None else (os.cpu_count() or 1)
    with bar:
        task = bar.add_task("", total=len(missing))
        if workers <= 1 or len(missing) <= _ALONE:
            _render_to(folder, name, split, size, missing, lambda count: bar.update(task, completed=count))
        else:
            _share(
                folder, name, split, size, missing, workers, lambda count: bar.update(task, completed=count)
            )
    return folder


def _share(
    folder: Path,
    name: str,
    split: str,
    size: tuple[int, int],
    missing: Sequence[int],
    workers: int,
    done: Callable[[int], None],
) -> None:
    """Plain child processes: unlike a pool they never run the caller's script again, guarded or not."""
    home = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    }
    environment |= {key: "1" for key in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    children = []
    try:
        for worker in range(workers):
            job = json.dumps(
                {
                    "folder": str(folder.resolve()),
                    "name": name,
                    "split": split,
                    "size": size,
                    "indices": list(missing[worker::workers]),
                }
            )
            children.append(
                subprocess.Popen(
                    [sys.executable, "-m", "mdelib.data.scene_cache", job],
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        waiting = set(missing)
        while any(child.poll() is None for child in children):
            time.sleep(0.1)
            waiting = {index for index in waiting if not view_file(folder, split, index).exists()}
            done(len(missing) - len(waiting))
            if any(child.poll() for child in children):
                break
        for child in children:
            if child.poll():
                said = (child.stdout.read() if child.stdout else "").strip().splitlines()[-1:]
                raise RuntimeError(
                    f"rendering {name} {split} stopped with exit status {child.returncode}: "
                    f"{' '.join(said) or 'it said nothing'}; what was finished is kept"
                )
    finally:
        for child in children:
            child.kill()
            child.wait()
            if child.stdout:
                child.stdout.close()


def _work(job: dict) -> None:
    _render_to(Path(job["folder"]), job["name"], job["split"], tuple(job["size"]), job["indices"])


if __name__ == "__main__":
    _work(json.loads(sys.argv[1]))
