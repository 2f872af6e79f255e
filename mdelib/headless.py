"""One notebook without a browser: strict parameters, papermill, and the key that says what it answers.

The batch starts this beside each notebook's own kernel, so neither torch nor a network is imported here.
"""

from __future__ import annotations

import ast
import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import papermill

from mdelib import store
from mdelib.editions import build, find_source
from mdelib.names import check_name
from mdelib.provenance import find_home

__all__ = ["check_parameters", "folder_of_batch", "note_cost", "parameters_of", "run_notebook", "stored_key"]


def folder_of_batch(data: str, scale: str) -> Path:
    """Markers, executed notebooks and log of a batch."""
    return store.runs_root() / "batch" / f"{data}-{scale}"


def parameters_of(source: Path) -> dict[str, Any]:
    """The parameters cell of a notebook source: name -> default.

    Raises:
        ValueError: a source without such a cell.
    """
    for cell in build(source).cells:
        if "parameters" in cell.metadata.get("tags", ()):
            return {node.targets[0].id: ast.literal_eval(node.value) for node in ast.parse(cell.source).body
                    if isinstance(node, ast.Assign)}
    raise ValueError(f"{source.name} has no cell tagged 'parameters': add one with data, scale, seed and device")


def check_parameters(number: str, given: dict[str, Any]) -> dict[str, Any]:
    """All parameters of notebook `number`, defaults filled in.

    Raises:
        ValueError: a parameter that the notebook does not have, or one of another type. Papermill itself only
            warns, and then runs for hours with the default.
    """
    defaults = parameters_of(find_source(number))
    for name, value in given.items():
        check_name(name, defaults, "parameter", f"notebook {number}")
        wanted = type(defaults[name])
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise ValueError(f"parameter {name} of notebook {number} is {value!r} ({type(value).__name__}): "
                             f"expected {wanted.__name__}, for example {defaults[name]!r}")
    return {**defaults, **given}


def run_notebook(number: str, given: dict[str, Any], *, key: str) -> Path:
    """Execute a notebook with papermill into the batch's folder; a finished one with the same key is kept.

    One that another process is executing is waited for: a job of a batch that was killed may still run on a cluster.

    Args:
        number: of the notebook. given: its parameters, or some of them.
        key: what the notebook depends on, see `mdelib.batch.notebook_key`; it is stored with the notebook.

    Raises:
        ValueError: parameters that do not fit, before anything runs.
        RuntimeError: a cell raised; its error is in the message, and the notebook up to there beside the others.
    """
    source = find_source(number)
    parameters = check_parameters(number, given)
    target = folder_of_batch(parameters["data"], parameters["scale"]) / f"{source.stem}.ipynb"
    if target.is_file() and stored_key(target) == key:
        return target
    with store.lock(target.parent / "locks" / source.stem, f"notebook {source.stem}", wait=True):
        if not (target.is_file() and stored_key(target) == key):
            _execute(source, target, given, {"key": key, "parameters": parameters})
    return target


def _execute(source: Path, target: Path, given: dict[str, Any], record: dict[str, Any]) -> None:
    """Execute a notebook beside `target` and move it there when it is whole, with `record` and what it cost."""
    draft = target.with_suffix(".draft.ipynb")
    nbformat.write(build(source), draft)
    started = time.perf_counter()
    try:
        papermill.execute_notebook(str(draft), str(draft), parameters=given, kernel_name="python3",
                                   progress_bar=False, cwd=str(find_home() / "notebooks"))
    except papermill.PapermillExecutionError as error:
        raise RuntimeError(f"notebook {source.stem} stopped at cell {error.exec_count}: {error.ename}: "
                           f"{error.evalue} (executed up to there: {draft.name})") from None
    done = nbformat.read(draft, as_version=4)
    kernel = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # the kernel is the only large child
    done.metadata["mdelib"] = {**record, "peak_memory_mb": kernel // 2**10,
                               "seconds": round(time.perf_counter() - started, 1)}
    store.atomic_write(target, nbformat.writes(done))
    draft.unlink()


@contextmanager
def note_cost(rule: str, data: str, scale: str) -> Iterator[None]:
    """Keep what a step of the batch costs, seconds and memory, in the batch's folder; the dearest time stays there."""
    path = folder_of_batch(data, scale) / "costs" / f"{rule}.json"
    started = time.perf_counter()
    yield
    cost = {"seconds": round(time.perf_counter() - started, 1),
            "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10}
    try:
        known = json.loads(path.read_text())
        cost = {name: max(value, known[name]) for name, value in cost.items()}
    except (FileNotFoundError, *store.NO_RESULT):
        pass  # the first time, or a file that is worth no step
    store.atomic_write(path, json.dumps(cost))


def stored_key(path: Path) -> str | None:
    """The key with which an executed notebook was made; None if it holds none or cannot be read."""
    try:
        return json.loads(path.read_text())["metadata"]["mdelib"]["key"]
    except (ValueError, KeyError):
        return None
