"""The course as a book: a static site from the executed notebooks, read and built without a network.

Sphinx builds it; what happens here is the way from a notebook to a chapter. Pictures become files with their
alternative text, exercises become numbered exercises, and the solution of each lies folded under it.
"""

from __future__ import annotations

import base64
import html
import json
import re
import shutil
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import nbformat
from nbformat import NotebookNode

from mdelib import store
from mdelib.editions import build, find_source, list_sources, to_chapters
from mdelib.measured import widget_table
from mdelib.provenance import find_home
from mdelib.readme import PARTS as PARTS_OF_README

__all__ = ["assemble", "build_book", "chapter", "exercises_marked", "left_out", "modules_of", "results_page"]

EXERCISE = re.compile(r"^\*\*(?P<number>\d+)\.\s+(?P<title>[^*]+?)\.?\*\*\s*", re.MULTILINE)
PARTS = {"Foundations": ("00", "01", "02"), "Units that mean depth": ("03", "04"), "Pixels, gradients, transport":
         ("05", "06", "07"), "FuSaNet": ("08", "09"), "Distillation": ("10", "11", "12"), "Attribution": ("13", "14"),
         "What to believe": ("15", "16")}
MODULE = """\
# {name}

```{{eval-rst}}
.. automodule:: {name}
{members}```
"""


def exercises_marked(text: str, chapter_number: str) -> tuple[str, list[int]]:
    """Exercises in the Markdown of a cell as directives; one ends at the next, at a heading, or with the cell.

    Args:
        text: of a cell, in which an exercise begins with ``**3. Title.**`` at the start of a line.
        chapter_number: two digits, for the labels.

    Returns:
        The new text, and the numbers of the exercises in it.
    """
    starts = list(EXERCISE.finditer(text))
    out, numbers, end = [text[:starts[0].start()] if starts else text], [], len(text)
    for position, start in enumerate(starts):
        end = starts[position + 1].start() if position + 1 < len(starts) else len(text)
        heading = re.search(r"^#+ ", text[start.end():end], re.MULTILINE)
        stop = start.end() + heading.start() if heading else end
        number = int(start["number"])
        body = text[start.end():stop].strip()
        out.append(f"````{{exercise}} {start['title'].strip()}\n:label: exercise-{chapter_number}-{number}\n\n{body}\n"
                   f"````\n\n{text[stop:end]}")
        numbers.append(number)
    return "".join(out), numbers


def chapter(student: NotebookNode, solved: NotebookNode, number: str, pictures: Path) -> NotebookNode:
    """A notebook as a chapter of the book; the notebook that is given stays as it is.

    Args:
        student: the executed student edition. solved: the solution edition with the same cells.
        number: of the notebook, two digits.
        pictures: a folder under the book's `_static`, where the figures go.

    Raises:
        ValueError: the editions do not have the same number of cells.
    """
    if len(student.cells) != len(solved.cells):
        raise ValueError(f"the student edition of notebook {number} has {len(student.cells)} cells and its solution "
                         f"edition {len(solved.cells)}: build both with `mde notebooks --only {number}`")
    cells, open_exercises = [], []
    for cell, answer in zip(student.cells, solved.cells, strict=True):
        made = nbformat.from_dict(json.loads(json.dumps(cell)))
        if cell.cell_type == "markdown":
            made.source, found = exercises_marked(cell.source, number)
            open_exercises = found or open_exercises
        else:
            made.outputs = [_with_picture(output, pictures) for output in made.outputs]
        cells.append(made)
        if cell.cell_type == "code" and cell.source != answer.source:
            which = f" of exercise {open_exercises[-1]}" if open_exercises else ""
            folded = f"````{{dropdown}} A solution{which}\n```python\n{answer.source}\n```\n````"
            cells.append(nbformat.v4.new_markdown_cell(folded, id=f"{cell.id}-solution"))
    return nbformat.v4.new_notebook(cells=cells, metadata=student.metadata)


def _with_picture(output: NotebookNode, folder: Path) -> NotebookNode:
    """An output whose PNG is a file beside the page, with its alternative text; links go to chapters."""
    data = output.get("data", {})
    if "text/html" in data:
        data["text/html"] = to_chapters("".join(data["text/html"]), r"\1_\2.html")
    if "image/png" not in data:
        return output
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{len(list(folder.glob('*.png'))):02d}.png"
    (folder / name).write_bytes(base64.b64decode("".join(data["image/png"])))
    alt = html.escape(output.get("metadata", {}).get("image/png", {}).get("alt", ""), quote=True)
    tag = f'<img class="figure" loading="lazy" alt="{alt}" src="../_static/figures/{folder.name}/{name}">'
    return nbformat.v4.new_output("display_data", {"text/html": tag})


def modules_of(package: str = "mdelib") -> list[str]:
    """The public modules: those that say what they export, packages before their modules."""
    found = import_module(package)
    names = [package, *(info.name for info in walk_packages(found.__path__, f"{package}."))]
    return sorted(name for name in names if getattr(import_module(name), "__all__", None))


def results_page(root: Path) -> str:
    """A page that lists the committed results, with what each was measured on and a link to its file."""
    lines = ["# Results", "", "Every table and figure of the reference study is drawn from these files. Each holds "
             "parameters, seed, commit, versions, device and the fingerprint of the data.", "",
             "| data and scale | experiment | trainings | views | commits |", "|:--|:--|--:|--:|:--|"]
    for path in sorted(root.glob("*/*.json")):
        runs = json.loads(path.read_text()).get("runs")
        if runs is None:
            continue
        commits = ", ".join(sorted({str(run["provenance"]["commit"])[:7] for run in runs}))
        views = max(len(run["names"]) for run in runs)
        link = f"{{download}}`{path.stem} <results/{path.parent.name}/{path.name}>`"
        commits = html.escape(commits).replace("|", "&#124;")  # what a file says of itself stays text
        lines.append(f"| {path.parent.name} | {link} | {len(runs)} | {views} | {commits} |")
    return "\n".join(lines) + "\n"


def assemble(target: Path, *, notebooks: Sequence[str] | None = None, modules: Sequence[str] | None = None) -> Path:
    """Write the sources of the book into a folder, which is emptied before.

    Args:
        target: the folder. notebooks: their numbers; None is all. modules: of the API reference; None is all.

    Raises:
        FileNotFoundError: a notebook that was never built; the message names the command.
    """
    home = find_home()
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(home / "docs" / "book", target)
    shutil.copytree(home / "results", target / "results")
    shutil.copy(home / "docs" / "first_look.png", target / "_static" / "first_look.png")
    sources = [find_source(number) for number in notebooks] if notebooks is not None else list_sources()
    (target / "notebooks").mkdir()
    for source in sources:
        built = home / "notebooks" / f"{source.stem}.ipynb"
        if not built.is_file():
            raise FileNotFoundError(f"{built.name} is not there: build it with `mde notebooks --only "
                                    f"{source.name[:2]}`")
        page = chapter(nbformat.read(built, 4), build(source, solutions=True), source.name[:2],
                       target / "_static" / "figures" / source.name[:2])
        nbformat.write(page, target / "notebooks" / built.name)
    here = {source.name[:2]: source.stem for source in sources}
    trees = [_tree(part, [f"notebooks/{here[number]}" for number in numbers if number in here])
             for part, numbers in PARTS.items() if any(number in here for number in numbers)]
    names = list(modules) if modules is not None else modules_of()
    (target / "api").mkdir()
    for name in names:
        members = _members(name)
        (target / "api" / f"{name}.md").write_text(MODULE.format(name=name, members=members))
    (target / "api" / "index.md").write_text("# Library reference\n\n" + _tree("", names, options=":maxdepth: 1"))
    (target / "results.md").write_text(results_page(home / "results"))
    teachers = target / "teachers.md"
    page = teachers.read_text().replace("<!-- costs -->", PARTS_OF_README["notebooks"]())
    page = page.replace("<!-- widgets -->", widget_table())
    teachers.write_text(page.replace("<!-- newcomer -->", PARTS_OF_README["newcomer"]()))
    cluster = target / "cluster.md"
    cluster.write_text(cluster.read_text().replace("<!-- faults -->", PARTS_OF_README["faults"]()))
    index = target / "index.md"
    index.write_text(index.read_text().replace("<!-- chapters -->", "\n".join(trees)))
    return target


def left_out(name: str) -> list[str]:
    """The names that a module exports and that the page of another module describes."""
    module = import_module(name)
    return [one for one in module.__all__ if
            str(home := getattr(getattr(module, one), "__module__", name)).startswith("mdelib") and home != name]


def _members(name: str) -> str:
    """What the page of a module describes: nothing of a package, whose modules have pages of their own."""
    if hasattr(import_module(name), "__path__"):
        return ""
    others = f"   :exclude-members: {', '.join(left_out(name))}\n" if left_out(name) else ""
    return f"   :members:\n   :member-order: bysource\n{others}"


def _tree(caption: str, pages: Sequence[str], options: str = "") -> str:
    lines = ["```{toctree}", ":hidden:" if caption else options, f":caption: {caption}" if caption else "", "", *pages,
             "```", ""]
    return "\n".join(line for index, line in enumerate(lines) if line or index in (3, len(lines) - 1))


def build_book(*, notebooks: Sequence[str] | None = None, modules: Sequence[str] | None = None,
               folder: Path | None = None) -> Path:
    """Build the book and return its first page; a warning of Sphinx is an error.

    Raises:
        ModuleNotFoundError: Sphinx is not installed. RuntimeError: the build failed; the log is named.
    """
    try:
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the book needs Sphinx: install the extra with `pip install mdelib[book]`, or use "
                                  "`make setup`, which has it") from None
    folder = folder or store.runs_root() / "book"
    source = assemble(folder / "source", notebooks=notebooks, modules=modules)
    site, log = folder / "site", folder / "warnings.txt"
    failed = build_main(["-b", "html", "-q", "-W", "--keep-going", "-w", str(log), "-d", str(folder / "doctrees"),
                         str(source), str(site)])
    if failed:
        first = next(iter(log.read_text().splitlines()), "no message") if log.is_file() else "no message"
        raise RuntimeError(f"the book was not built: {first} (all of it is in {log})")
    return site / "index.html"
