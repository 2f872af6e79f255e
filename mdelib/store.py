"""Result files: written whole or not at all, and believed only when they can prove what they are.

One training has one folder, ``runs/<experiment>/<variant>/<data>-<scale>/seed<k>/``, with `result.json` and
`weights.safetensors`. A result names the key it was made with and carries a checksum of its own content, so a
file that was cut off, edited or made by other code is never mistaken for the one that is wanted.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mdelib.provenance import digest, find_home

__all__ = ["NO_RESULT", "Damaged", "Result", "atomic_write", "file_checksum", "lock", "read_result", "results_root",
           "runs_root", "sealed", "unsealed", "what_to_do", "write_result"]

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


# what Python raises where a file is no result file
NO_RESULT = (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError)


class Damaged(ValueError):
    """A result file that is cut off, edited, or not a result file."""


@dataclass
class Result:
    """What one run measured, and everything needed to make it again.

    Attributes:
        experiment, variant, data, scale, seed: the address.
        key: digest of the resolved parameters, the data's fingerprint and the code (see `mdelib.runs.run_key`).
        parameters: the resolved parameters.
        metrics: name -> mean over the test views.
        per_image: name -> one value a test view, in the order of `names`; None where a view has none.
        names: the test views.
        history: one entry an epoch of training; empty where nothing was trained.
        provenance: commit, versions, data fingerprint, device, threads, wall time, peak memory.
        tables: name -> further numbers that belong to no view, for example a response table, as nested lists.
    """

    experiment: str
    variant: str
    data: str
    scale: str
    seed: int
    key: str
    parameters: dict[str, Any]
    metrics: dict[str, float]
    per_image: dict[str, list[float | None]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    history: list[dict[str, float]] = field(default_factory=list)
    provenance: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"{self.experiment}/{self.variant}/{self.data}-{self.scale}/seed{self.seed}"

    @property
    def minutes(self) -> float:
        """What the run took, training before an interruption included."""
        return max(self.provenance.get("wall_s", 0.0), self.provenance.get("trained_s", 0.0)) / 60


def runs_root() -> Path:
    """Where runs are kept: $MDE_RUNS, or `runs/` in the pack."""
    return Path(os.environ.get("MDE_RUNS", find_home() / "runs"))


def results_root() -> Path:
    """Where the committed reference results are: $MDE_RESULTS, or `results/` in the pack."""
    return Path(os.environ.get("MDE_RESULTS", find_home() / "results"))


def what_to_do(error: OSError, path: Path | None = None) -> str | None:
    """One sentence for a full disk or a place that cannot be written to; None for anything else.

    Args:
        error: what the system said. path: what was to be written; by default the error's own file.
    """
    named = path or error.filename
    place = f" at {named}" if named else ""
    if error.errno in FULL:
        return (f"the disk is full{place}: free some space or choose another run folder with MDE_RUNS=...; what is "
                "done is kept, and the same command goes on from there")
    if error.errno in CLOSED:
        return (f"nothing can be written{place} ({os.strerror(error.errno)}): change the folder's permissions, or "
                "choose another run folder with MDE_RUNS=...")
    return None


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    """Errors of the file system that a person can mend come out as `what_to_do` says."""
    try:
        yield
    except OSError as error:
        if (words := what_to_do(error, path)) is None:
            raise
        raise OSError(error.errno, words) from error  # a PermissionError where it was one


def file_checksum(path: Path) -> str:
    """Sixteen hex digits of a file's content (SHA-256)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def atomic_write(path: Path, content: str | bytes) -> Path:
    """Write a file so that a reader, or a crash, sees the old content or the new, never a part.

    Raises:
        OSError: a full disk, or a place that cannot be written to; the message says what to do.
    """
    with _in_words(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    return path


def sealed(result: Result) -> dict[str, Any]:
    """What is written of a result: its content and a checksum of it."""
    content = asdict(result)
    return {**content, "checksum": digest(content)}


def unsealed(content: dict[str, Any]) -> Result:
    """The result in what `sealed` gave.

    Raises:
        Damaged: its content does not match its checksum. KeyError, TypeError, AttributeError: it is no result.
    """
    content = dict(content)
    checksum, result = content.pop("checksum"), Result(**content)
    if checksum != digest(asdict(result)):
        raise Damaged(f"the content of {result.variant}/seed{result.seed} does not match its checksum")
    return result


def write_result(path: Path, result: Result) -> Path:
    """Write `result` to `path` atomically, with a checksum of its content."""
    return atomic_write(path, json.dumps(sealed(result), indent=1) + "\n")


def read_result(path: Path) -> Result:
    """Read a result file.

    Raises:
        FileNotFoundError: there is none.
        Damaged: it is cut off, or its content is not the one it was written with.
    """
    try:
        return unsealed(json.loads(path.read_text()))
    except Damaged as error:
        raise Damaged(f"{path} was changed after it was written: {error}; delete it and run again to have it made "
                      "anew") from None
    except NO_RESULT as error:
        raise Damaged(f"{path} is cut off or is no result file ({type(error).__name__}): "
                      "delete it and run again to have it made anew") from error


@contextmanager
def lock(folder: Path, what: str, *, wait: bool = False) -> Iterator[None]:
    """Hold `folder` for this process; the system lets go of it when the process ends, however it ends.

    Args:
        folder: made where it is missing. what: is done there, for the message.
        wait: until another process lets go, instead of giving up.

    Raises:
        BlockingIOError: another process holds it, and `wait` is False.
    """
    held = FileLock(folder / ".lock")
    try:
        with _in_words(folder):
            folder.mkdir(parents=True, exist_ok=True)
            held.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise BlockingIOError(f"{what} is already running on {folder}: wait for it to end, or choose another "
                              "run folder with MDE_RUNS=...") from None
    try:
        yield
    finally:
        held.release()
