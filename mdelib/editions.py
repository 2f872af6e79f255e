"""Student and solution editions of the notebooks, both built from `notebooks/src/NN_topic.py`.

A source is a jupytext percent script. Lines between ``# <solution>`` and ``# </solution>`` are what the learner
writes: the solution edition keeps them, the student edition has ``...  # your code`` in their place.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from mdelib.provenance import find_home
from mdelib.store import atomic_write

__all__ = ["build", "editions", "execute", "find_source", "list_sources", "same_source", "to_chapters",
           "write_editions"]

SOLUTION = re.compile(r"^(?P<indent>[ ]*)# <solution>\n.*?^[ ]*# </solution>$", re.MULTILINE | re.DOTALL)
MARKS = re.compile(r"^[ ]*# </?solution>\n?", re.MULTILINE)
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def list_sources(folder: Path | None = None) -> list[Path]:
    """The notebook sources in order."""
    return sorted((folder or find_home() / "notebooks" / "src").glob("[0-9][0-9]_*.py"))


def find_source(number: str) -> Path:
    """The source of notebook `number`, for example ``"02"``; ValueError names the known ones."""
    known = {path.name[:2]: path for path in list_sources()}
    if number not in known:
        raise ValueError(f"notebook {number!r} does not exist: expected one of {', '.join(known)}")
    return known[number]


def build(source: Path, *, solutions: bool = False) -> nbformat.NotebookNode:
    """The notebook of a source, not executed, with cell ids that do not change from build to build."""
    script = jupytext.read(source, fmt="py:percent")
    cells = []
    for index, cell in enumerate(script.cells):
        text = cell.source
        if cell.cell_type == "code":
            text = MARKS.sub("", text) if solutions else SOLUTION.sub(r"\g<indent>...  # your code", text)
        make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}[cell.cell_type]
        made = make(text.rstrip("\n"), id=f"{source.name[:2]}-{index:03d}")
        if cell.metadata.get("tags"):
            made.metadata["tags"] = list(cell.metadata["tags"])
        cells.append(made)
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    return notebook


def execute(notebook: nbformat.NotebookNode, folder: Path, *, timeout: int = 3600) -> nbformat.NotebookNode:
    """Run all cells in order in a fresh kernel; outputs are stored in the notebook.

    Raises:
        RuntimeError: a cell raised; the message holds the cell's error.
    """
    metadata = notebook.metadata.copy()
    client = NotebookClient(notebook, timeout=timeout, kernel_name=KERNEL["name"],
                            resources={"metadata": {"path": str(folder)}}, record_timing=False)
    try:
        client.execute()
    except CellExecutionError as error:
        raise RuntimeError(f"a cell raised {error.ename}: {error.evalue}\n{error.traceback}") from None
    notebook.metadata = metadata  # what the kernel adds depends on the machine
    return notebook


def editions(source: Path) -> dict[Path, bool]:
    """Where the editions of a source go: path -> whether it has the solutions."""
    home = find_home() / "notebooks"
    name = f"{source.stem}.ipynb"
    return {home / name: False, home / "solutions" / name: True}


def write_editions(source: Path) -> list[Path]:
    """Build, execute and write both editions of a source."""
    written = []
    for path, solved in editions(source).items():
        notebook = execute(build(source, solutions=solved), path.parent)
        atomic_write(path, nbformat.writes(notebook) + "\n")
        written.append(path)
    return written


def same_source(first: Any, second: Any) -> bool:
    """Whether two notebooks have the same cells, whatever their outputs."""
    def bare(notebook: Any) -> list[tuple[str, str, tuple[str, ...]]]:
        return [(cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ()))) for cell in notebook.cells]
    return bare(first) == bare(second)


def to_chapters(page: str, address: str) -> str:
    """`page` with its links to notebook cells going elsewhere, for pages beside which no notebook lies.

    Args:
        page: HTML. address: of a chapter; ``\\1`` is the notebook's number, ``\\2`` the rest of its name.
    """
    return re.sub(r'(?<=href=")(\d\d)_(\w+)\.ipynb#[^"]*(?=")', address, page)
