"""The book: notebooks become chapters, and the site is whole, can be read on a phone, and needs no network."""

import inspect
import io
import re
import runpy
import shutil
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All chapters, and the reference of two modules."""
    pytest.importorskip("sphinx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Sphinx's extensions
        return book.build_book(modules=["mdelib.metrics", "mdelib.transport.loss"],
                               folder=tmp_path_factory.mktemp("book")).parent


def test_the_site_is_whole_and_loads_nothing_from_elsewhere(site: Path) -> None:
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


LOOK = Path(__file__).with_name("look_at_page.js").read_text()
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--allow-file-access-from-files"]
SPECIMEN = """<article style="color:#777;background:#fff"><p>grey on white</p><p style="color:#000">black</p>
<div style="width:600px;height:9px"></div>
<div style="overflow-x:auto"><pre style="width:900px;color:#000">x</pre></div>
<table style="color:#000;overflow-wrap:anywhere;width:20px;table-layout:fixed"><tr><td>wholesome</td></tr></table>
</article>"""


@pytest.fixture(scope="module")
def window() -> Iterator[Any]:
    """A browser window as wide as a phone."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: run `make setup`")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no browser found: install Debian's chromium (`apt-get install chromium`)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.set_default_timeout(120_000)  # a machine may be busy
        yield page
        browser.close()


def test_the_look_at_a_page_finds_what_it_should(window: Any) -> None:
    window.set_content(SPECIMEN)
    found = window.evaluate(LOOK)
    assert found["overflow"] > 200 and found["wide"] == ["DIV."] and found["read"] == 4
    assert len(found["thin"]) == 1 and found["thin"][0].startswith("wholesome")
    assert list(found["weak"].values()) == ["4.48: grey on white"]


def test_every_page_can_be_read_on_a_phone_by_day_and_by_night(site: Path, window: Any) -> None:
    """Nothing is wider than the window, all text has contrast AA in both themes, and no page asks the network."""
    asked: list[str] = []
    window.on("request", lambda request: asked.append(request.url))
    pages = sorted(site.glob("*.html")) + sorted(site.glob("notebooks/*.html")) + sorted(site.glob("api/*.html"))
    for path in pages:
        window.goto(path.as_uri())
        window.wait_for_function("() => !window.MathJax || MathJax.startup?.promise?.then(() => true)")
        for theme in ("light", "dark"):
            window.evaluate("theme => Object.assign(document.documentElement.dataset, {theme, mode: theme})", theme)
            found = window.evaluate(LOOK)
            assert found["read"] >= 3, f"{path.name} has no text"
            assert found["overflow"] <= 0 and not found["wide"], f"{path.name} is wider than a phone: {found['wide']}"
            assert not found["thin"], f"{path.name} has table cells with broken words: {found['thin']}"
            assert not found["weak"], f"{path.name}, {theme}: too little contrast in {found['weak']}"
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_docstrings_of_all_modules_can_be_built_and_none_has_two_places() -> None:
    """What `make book` would stop at, without building the reference of every module."""
    napoleon, core = (pytest.importorskip(name) for name in ("sphinx.ext.napoleon", "docutils.core"))
    conf = runpy.run_path(str(book.find_home() / "docs" / "book" / "conf.py"))
    places: dict[str, str] = {}
    for name in book.modules_of():
        module, elsewhere = import_module(name), book.left_out(name)
        for one in [] if hasattr(module, "__path__") else module.__all__:
            thing = getattr(module, one)
            if not callable(thing) or one in elsewhere:
                continue
            home = f"{getattr(thing, '__module__', name)}.{one}"
            assert places.setdefault(home, name) == name, f"{home} is described in {name} and in {places[home]}"
            lines = str(napoleon.GoogleDocstring(inspect.getdoc(thing) or "")).splitlines()
            conf["plain_docstring"](None, "", "", None, None, lines)
            said = io.StringIO()
            core.publish_doctree("\n".join(lines), settings_overrides={"warning_stream": said, "report_level": 2})
            assert "start-string without end-string" not in said.getvalue(), f"{name}.{one}: {said.getvalue()}"
