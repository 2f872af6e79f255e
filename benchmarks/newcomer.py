"""How long a newcomer waits: from `git clone` to the first depth map, and on to the first exercise passed.

    python benchmarks/newcomer.py [--repository .] [--folder FOLDER] [--python python3] [--json] [--keep]

Four steps, each one command or one cell: clone, `make setup`, the first picture of notebook 00, its first exercise.
Everything is made anew in an empty folder; the notebook runs in a fresh kernel as it does in JupyterLab, cell by cell,
and the solution of its first exercise is put where the dots are. Seconds on the clock, with what else the machine was
doing. `--json` writes results/scenes-rooms-lab/newcomer.json, which README.md and the teachers' page quote.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mdelib.measured import NEWCOMER, keep
from mdelib.provenance import find_home

NOTEBOOK = "00_start_here.ipynb"
RUN = """
import json, sys, time
import nbformat
from nbclient import NotebookClient

student, solved = (nbformat.read(path, 4) for path in sys.argv[1:3])
answered = False
begun, picture = time.perf_counter(), None
client = NotebookClient(student, kernel_name="python3", timeout=1200,
                        resources={"metadata": {"path": str(sys.argv[3])}})
with client.setup_kernel():
    for place, cell in enumerate(student.cells):
        if "...  # your code" in cell.source and cell.cell_type == "code":
            cell.source, answered = solved.cells[place].source, True
        client.execute_cell(cell, place)
        if picture is None and any("image/png" in o.get("data", {}) for o in cell.get("outputs", [])):
            picture = time.perf_counter() - begun
        said = "".join("".join(o.get("data", {}).get("text/markdown", "")) for o in cell.get("outputs", []))
        if answered and "**passed**" in said:
            print(json.dumps({"picture": picture, "passed": time.perf_counter() - begun}))
            break
    else:
        sys.exit("no exercise was passed")
"""


def timed(command: list[str], folder: Path | None = None, **environment: str) -> tuple[float, str]:
    """Seconds on the clock and what was printed; an error ends the measurement with its words."""
    plain = {name: value for name, value in os.environ.items()
             if not name.startswith(("MDE_", "PYTHON", "VIRTUAL_ENV"))}  # a newcomer has none of these
    begun = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env={**plain, **environment}, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command[:3])} failed:\n{done.stderr[-2000:] or done.stdout[-2000:]}")
    return time.perf_counter() - begun, done.stdout


def walk(repository: str, folder: Path, python: str) -> list[dict[str, Any]]:
    """The four steps in an empty folder: what is typed, and the seconds that it takes."""
    home = folder / "pack"
    seconds, _ = timed(["git", "clone", "--quiet", repository, str(home)])
    steps = [{"step": "the pack", "do": "`git clone ...`", "seconds": seconds}]
    seconds, _ = timed(["make", "setup", f"PYTHON={python}"], home)
    steps.append({"step": "everything it needs", "do": "`make setup`", "seconds": seconds})
    notebooks = home / "notebooks"
    _, said = timed([str(home / ".venv" / "bin" / "python"), "-c", RUN, str(notebooks / NOTEBOOK),
                     str(notebooks / "solutions" / NOTEBOOK), str(notebooks)], notebooks)
    found = json.loads(said.splitlines()[-1])
    steps.append({"step": "first depth map", "do": "the first cells of notebook 00", "seconds": found["picture"]})
    steps.append({"step": "first exercise passed", "do": "its cells up to the first check",
                  "seconds": found["passed"] - found["picture"]})
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", default=str(find_home()), help="what is cloned: a folder or an address")
    parser.add_argument("--folder", type=Path, help="an empty folder with 9 GB of room; by default a temporary one")
    parser.add_argument("--python", default=getattr(sys, "_base_executable", sys.executable))
    parser.add_argument("--keep", action="store_true", help="leave the folder as it is afterwards")
    parser.add_argument("--json", action="store_true", help="write the result file, too")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="newcomer", dir=chosen.folder))
    before = os.getloadavg()[1]
    try:
        steps = walk(chosen.repository, folder, chosen.python)
    finally:
        if not chosen.keep:
            shutil.rmtree(folder, ignore_errors=True)
    load = (before + os.getloadavg()[1]) / 2  # mean of five minutes, on either side
    if chosen.json:
        keep(NEWCOMER, {"steps": steps, "load": round(load, 1)})
    for step in steps:
        print(f"{step['seconds'] / 60:6.1f} min  {step['step']:22} {step['do']}")
    print(f"{sum(step['seconds'] for step in steps) / 60:6.1f} min in all; load {load:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
