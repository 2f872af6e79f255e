"""The book: notebooks become chapters, and the site is whole and needs no network."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest

from mdelib import book

TEXT = """## Exercises

Fill in the dots.

**1. One pixel.** A mean.
Mind the $0$.

**2. Into space.** Where?

## What to read next

Nothing."""


def test_exercises_become_directives_that_end_where_they_should() -> None:
    marked, numbers = book.exercises_marked(TEXT, "09")
    assert numbers == [1, 2]
    first, second = re.findall(r"````\{exercise\} (.*?)\n:label: (.*?)\n\n(.*?)\n````", marked, flags=re.DOTALL)
    assert first == ("One pixel", "exercise-09-1", "A mean.\nMind the $0$.")
    assert second == ("Into space", "exercise-09-2", "Where?")
    assert marked.startswith("## Exercises\n\nFill in the dots.\n\n````") and marked.endswith("read next\n\nNothing.")


@pytest.mark.parametrize("text", ["", "No exercise.", "A list:\n\n1. **bold** one", "in line **3. Not one.** here"])
def test_text_without_exercises_stays_as_it_is(text: str) -> None:
    assert book.exercises_marked(text, "00") == (text, [])


def _notebook(*cells: tuple[str, str]) -> nbformat.NotebookNode:
    make = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
    return nbformat.v4.new_notebook(cells=[make[kind](text, id=f"c-{n}") for n, (kind, text) in enumerate(cells)])


def test_a_chapter_folds_each_solution_under_its_exercise(tmp_path: Path) -> None:
    stub = ("code", "...  # your code")
    student = _notebook(("markdown", "# T"), ("markdown", "**1. Add.** Do."), stub, ("code", "1"))
    solved = _notebook(("markdown", "# T"), ("markdown", "**1. Add.** Do."), ("code", "x = 1 + 1"), ("code", "1"))
    page = book.chapter(student, solved, "01", tmp_path)
    assert [cell.cell_type for cell in page.cells] == ["markdown", "markdown", "code", "markdown", "code"]
    assert "A solution of exercise 1" in page.cells[3].source and "x = 1 + 1" in page.cells[3].source
    assert student.cells[1].source == "**1. Add.** Do."  # what was given is as it was
    nbformat.validate(page)


def test_a_picture_becomes_a_file_with_its_alternative_text(tmp_path: Path) -> None:
    notebook = _notebook(("code", "draw()"))
    notebook.cells[0].outputs = [
        nbformat.v4.new_output("display_data", {"image/png": "aGVsbG8="},
                               metadata={"image/png": {"alt": 'a "b" <c>'}}),
        nbformat.v4.new_output("stream", text="kept")]
    page = book.chapter(notebook, notebook, "07", tmp_path / "07")
    shown, kept = page.cells[0].outputs
    assert (tmp_path / "07" / "00.png").read_bytes() == b"hello" and kept.text == "kept"
    assert 'alt="a &quot;b&quot; &lt;c&gt;"' in shown.data["text/html"] and "07/00.png" in shown.data["text/html"]


def test_editions_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has 1 cells and its solution edition 2: build both .*--only 03"):
        book.chapter(_notebook(("code", "1")), _notebook(("code", "1"), ("code", "2")), "03", tmp_path)


def test_every_public_module_has_a_page() -> None:
    names = book.modules_of()
    assert {"mdelib.metrics", "mdelib.transport.loss", "mdelib.models.fusanet", "mdelib.book"} <= set(names)
    assert names == sorted(names) and "mdelib.cli" not in names


class _Links(HTMLParser):
    """What a page loads, and where it points."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.points: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "link", "iframe", "source"):
            self.loads += [url for url in (found.get("src"), found.get("href") if tag == "link" else None) if url]
        if tag == "a" and found.get("href"):
            self.points.append(found["href"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")  # Sphinx's extensions
def test_the_site_is_whole_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    first = book.build_book(modules=["mdelib.metrics", "mdelib.selectivity.response"], folder=tmp_path)
    site = first.parent
    pages = sorted(site.glob("*.html")) + sorted(site.glob("notebooks/*.html")) + sorted(site.glob("api/*.html"))
    assert {"index.html", "teachers.html", "results.html", "search.html"} <= {page.name for page in pages}
    for page in pages:
        text = page.read_text()
        links = _Links()
        links.feed(text)
        for url in links.loads + links.points:
            if url.startswith(("http:", "https:", "mailto:")):
                assert url not in links.loads, f"{page.name} loads {url}"
            elif not url.startswith(("#", "data:", "javascript:")):
                place = (page.parent / url.split("#")[0].split("?")[0]).resolve()
                assert place.exists(), f"{page.name} points to {url}"
        assert "<img" not in text or 'alt=""' not in text
    chapter = (site / "notebooks" / "00_start_here.html").read_text()
    assert "A solution of exercise" in chapter and 'class="figure"' in chapter
    assert "rmse_log" in (site / "api" / "mdelib.metrics.html").read_text()
