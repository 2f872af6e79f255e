"""Batches that are made to be disturbed: a part of the pack, its smoke batch, and in what two of them differ.

Two batches by the same code must agree byte for byte, wherever they ran and however often they were stopped.
Everything counts but when, where and how fast it was made: of a result its numbers, keys and parameters, of a network
its weights, of a notebook its key, the pictures and the tables that it showed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mdelib import store
from mdelib.provenance import digest, find_home

__all__ = ["begin_batch", "compared", "differing", "part_of_pack"]

ASIDE = ("provenance", "checksum")  # the checksum covers the provenance
TIMES = ("06/costs", "07/time", "07/grids", "09/frames")  # what notebooks show of seconds measured then and there


def compared(runs: Path) -> dict[str, str]:
    """File below `runs` -> digest of what of it must be the same, for results, weights and what notebooks showed."""
    found = {}
    for path in sorted(path for path in runs.rglob("*") if path.is_file()):
        name = path.relative_to(runs)
        shown = name.parts[0] == "report" and path.suffix in (".png", ".html") and path.name != "index.html"
        if path.name == "result.json":
            found[str(name)] = digest(_timeless(json.loads(path.read_text())))
        elif path.name == "weights.safetensors" or (shown and f"{path.parent.name}/{path.stem}" not in TIMES):
            found[str(name)] = store.file_checksum(path)
        elif name.parts[0] == "batch" and path.suffix == ".ipynb":
            found[str(name)] = json.loads(path.read_text())["metadata"]["mdelib"]["key"]
    return found


def _timeless(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what the clock and the machine said."""
    history = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in result["history"]]
    return {**{name: value for name, value in result.items() if name not in ASIDE}, "history": history}


def differing(one: Path, other: Path) -> list[str]:
    """The files in which two folders of runs differ; empty where they agree."""
    first, second = compared(one), compared(other)
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))


def part_of_pack(folder: Path, notebooks: Sequence[str] = ()) -> Path:
    """A pack that is ours but for its notebooks, of which it has some (or all): its batch is a part of ours."""
    home = find_home()
    (folder / "notebooks" / "src").mkdir(parents=True)
    for name in ("mdelib", "experiments", "papers", "results", "weights", "Snakefile", "profiles"):
        (folder / name).symlink_to(home / name)
    for source in sorted((home / "notebooks" / "src").glob("*.py")):
        if not notebooks or source.name[:2] in notebooks:
            (folder / "notebooks" / "src" / source.name).symlink_to(source)
    return folder


def begin_batch(home: Path, runs: Path, *options: str) -> subprocess.Popen:
    """Start the smoke batch of the pack in `home`, in a process group of its own; see ``printed.txt``."""
    environment = {**os.environ, "MDE_HOME": str(home), "MDE_RUNS": str(runs), "OMP_NUM_THREADS": "1"}
    for name in ("MDE_SCALE", "MDE_BATCH_PID"):
        environment.pop(name, None)
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / "printed.txt").open("w") as out:
        return subprocess.Popen([sys.executable, "-m", "mdelib.cli", "reproduce", "--scale", "smoke", *options],
                                env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
