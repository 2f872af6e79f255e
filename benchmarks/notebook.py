"""What a notebook costs beyond its cells: papermill, the start of a kernel and its end, as in `mde reproduce`.

    python benchmarks/notebook.py [--scale full] [--set cells=40 rounds=3] [--json]

A notebook whose cells do next to nothing is run by the same call as the course's own. What papermill notes as the
duration of its cells is taken off the seconds on the clock; the processor seconds are those of this process and of the
kernel together.
"""

from __future__ import annotations

import resource
import tempfile
import time
from pathlib import Path

import nbformat
import papermill
from _timing import Reading, main

SIZES = {"tiny": {"cells": 2, "rounds": 1}, "quick": {"cells": 40, "rounds": 1}, "full": {"cells": 40, "rounds": 3}}


def spent(cells: int, folder: Path) -> tuple[float, float]:
    """Seconds beyond the cells on the clock, and processor seconds in all."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"{number} + 1") for number in range(cells)])
    path = folder / "empty.ipynb"
    nbformat.write(notebook, path)
    kernels = resource.getrusage(resource.RUSAGE_CHILDREN)
    clock, processor = time.perf_counter(), time.process_time()
    papermill.execute_notebook(str(path), str(path), kernel_name="python3", progress_bar=False)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    done = resource.getrusage(resource.RUSAGE_CHILDREN)
    results = nbformat.read(path, 4).cells
    assert [cell.outputs[0].data["text/plain"] for cell in results] == [str(n + 1) for n in range(cells)]
    inside = sum(cell.metadata.papermill.duration for cell in results)
    return clock - inside, processor + sum(getattr(done, name) - getattr(kernels, name)
                                           for name in ("ru_utime", "ru_stime"))


def overhead(cells: int, rounds: int, kind: int) -> Reading:
    """The least of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        value = min(spent(cells, Path(folder))[kind] for _ in range(rounds))
    title, unit = (("Notebook beyond its cells", "s on the clock"), ("Notebook that does nothing", "s CPU"))[kind]
    return Reading(title, f"papermill, {cells} cells", value, unit)


READINGS = {"clock": lambda cells, rounds: overhead(cells, rounds, 0),
            "processor": lambda cells, rounds: overhead(cells, rounds, 1)}

if __name__ == "__main__":
    main("notebook", __doc__)
