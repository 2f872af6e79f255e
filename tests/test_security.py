"""Foreign files run no code and foreign text stays text: read off the source of the pack, and tried end to end.

Archives that climb are in test_archives.py, a pickle that runs code in test_weights.py.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
import torch

from mdelib import book, course, figures
from mdelib.filters import filter_table
from mdelib.identities import check_identity
from mdelib.names import check_name
from mdelib.report import write_report
from mdelib.rules import evaluate
from mdelib.store import Result

HOME = Path(__file__).resolve().parent.parent
SOURCES = sorted(path for folder in ("mdelib", "data_scripts", "notebooks/src", "benchmarks")
                 for path in (HOME / folder).rglob("*.py"))
RUNS_CODE = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "pandas.eval", "pd.eval",
             "torch.hub.load", "runpy.run_path", "code.interact", "tempfile.mktemp"}
READS_PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
PICKLE_READERS = {"pandas.read_pickle", "pd.read_pickle", "torch.hub.load_state_dict_from_url"}
FETCHES = {"pooch.retrieve", "urllib.request.urlopen", "urllib.request.urlretrieve", "urlopen", "urlretrieve",
           "requests.get", "requests.post", "wget.download"}
UNPACKS = {"extractall", "unpack_archive"}
CHECKS = {"sha256", "md5", "check"}  # what `mdelib.data.archives.download` believes a file by
BAD = "<script>alert(1)</script>"


def dangers(source: str, where: str = "") -> Iterator[str]:
    """What a source does that needs a reason, one line each."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            names = [name for name in names if name.split(".")[0] in READS_PICKLES]
            yield from (f"imports {name}" for name in names)
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
        last = called.rpartition(".")[2]
        if called in RUNS_CODE:
            yield f"calls {called}"
        elif called in PICKLE_READERS or called.split(".")[0] in READS_PICKLES:
            yield f"reads a pickle with {called}"
        elif called == "torch.load" and not _is(given.get("weights_only"), True):
            yield "torch.load without weights_only=True"
        elif called in ("np.load", "numpy.load") and not (set(given) <= {"mmap_mode"} or _is(given.get("allow_pickle"),
                                                                                             False)):
            yield "np.load that may unpickle"
        elif called.startswith("yaml.") and last.startswith(("load", "unsafe", "full")):
            yield f"{called} instead of yaml.safe_load"
        elif "shell" in given and not _is(given["shell"], False):
            yield f"{called} through a shell"
        elif called in FETCHES:
            yield f"fetches with {called}"
        elif last in UNPACKS:
            yield f"unpacks with {called}"
        elif called == "download" and not CHECKS & set(given) and None not in given:
            yield f"downloads without a checksum: {ast.unparse(node)}"
        elif "trust_remote_code" in given and not _is(given["trust_remote_code"], False):
            yield "runs code from a model hub"
        elif last == "Environment" and "autoescape" not in given:
            yield "a template that does not escape"
        elif last == "Markup":
            yield "text that is not escaped"
        elif last in ("sympify", "parse_expr"):
            yield f"{last} runs what it reads"


def _is(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


ALLOWED = {  # place -> (what, why)
    ("benchmarks/widgets.py", "calls exec"): "cells of our own notebooks, to time their widgets",
    ("benchmarks/widgets.py", "calls compile"): "the same",
    ("mdelib/scoreboard.py", "text that is not escaped"): "tags alone; what stands between them is escaped",
    ("mdelib/weights.py", "imports pickle"): "to name the error of a refused pickle; nothing else, see below",
    ("mdelib/data/archives.py", "fetches with pooch.retrieve"): "the one place that fetches; callers give checksums",
    ("mdelib/report.py", "text that is not escaped"): "tables, escaped cell by cell when they were written, see below",
    ("mdelib/identities.py", "sympify runs what it reads"): "formulas are checked before, see below",
}


@pytest.mark.parametrize(("source", "found"), [
    ("torch.load(p)", "torch.load without"), ("torch.load(p, weights_only=False)", "torch.load without"),
    ("torch.load(p, weights_only=flag)", "torch.load without"), ("yaml.load(t)", "instead of yaml.safe_load"),
    ("yaml.unsafe_load(t)", "instead of yaml.safe_load"), ("eval(t)", "calls eval"), ("exec(t)", "calls exec"),
    ("import pickle", "imports pickle"), ("from dill import loads", "imports dill"),
    ("pickle.load(f)", "reads a pickle"), ("pd.read_pickle(p)", "reads a pickle"),
    ("subprocess.run(c, shell=True)", "through a shell"), ("os.system(c)", "calls os.system"),
    ("np.load(p, allow_pickle=True)", "may unpickle"), ("archive.extractall(p)", "unpacks with"),
    ("download(url, folder)", "without a checksum"), ("download(url, folder, size=3)", "without a checksum"),
    ("requests.get(url)", "fetches with"), ("AutoModel.from_pretrained(n, trust_remote_code=True)", "model hub"),
    ("Environment()", "does not escape"), ("Markup(t)", "not escaped"), ("sympy.sympify(t)", "runs what it reads"),
])
def test_the_search_finds_what_it_looks_for(source: str, found: str) -> None:
    assert any(found in line for line in dangers(source))


@pytest.mark.parametrize("source", [
    "torch.load(p, weights_only=True)", "yaml.safe_load(t)", "net.eval()", "np.load(p)", "subprocess.run(['ls'])",
    "np.load(p, allow_pickle=False)", "download(url, folder, sha256='a')", "download(url, folder, **known)",
    "Environment(autoescape=True)", "re.compile(t)", "frame.query(t)"])
def test_the_search_lets_good_source_pass(source: str) -> None:
    assert not list(dangers(source))


def test_the_packs_source_runs_no_foreign_code() -> None:
    found = {(path.relative_to(HOME).as_posix(), line) for path in SOURCES for line in dangers(path.read_text())}
    assert len(SOURCES) > 100
    assert found == set(ALLOWED), "a new danger needs a reason here, one that is gone needs none"
    assert "eval(" not in (HOME / "Snakefile").read_text() and "exec(" not in (HOME / "Snakefile").read_text()


def test_pickle_is_only_named_where_weights_are_read() -> None:
    used = [ast.unparse(node) for node in ast.walk(ast.parse((HOME / "mdelib/weights.py").read_text()))
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pickle"]
    assert set(used) == {"pickle.UnpicklingError"}


def test_every_registry_of_addresses_holds_checksums() -> None:
    from mdelib.data import fetch

    assert all(len(digest) == 64 for _, digest in fetch.METER_WEIGHTS.values())
    assert all(len(digest) == 64 for digest in fetch._EIGEN_SHA256.values())
    for known in (fetch._NYU_LABELLED, fetch._NYU_SPLITS):
        assert len(known["md5"]) == 32
    for known in fetch._SUN_ARCHIVES.values():  # an archive without a published sum is checked by its own CRCs
        assert len(known.get("md5", "")) == 32 or known["size"] > 0
    for address in (fetch._TIE_KD, fetch._METER):
        assert address.startswith("https://")
    assert all(len(fetch_part) == 40 for fetch_part in (fetch._METER.rsplit("/", 1)[1], fetch._EIGEN.split("/")[-3]))


@pytest.mark.parametrize("text", [
    "__import__('os').system('true')", "exp.__class__", "(lambda: 1)()", "[x for x in (1,)]", "open('a')",
    "eval(chr(49))", "exec('1')", "'text'", "x if x else y", "N.norm.__globals__", "x[0]", "(x := 3)", "f'{x}'",
    "Sum.mro()", "print(1)", "sympify(1)", "lambdify(x, x)"])
def test_a_formula_that_is_code_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="the expression"):
        check_identity(text, "1")


def test_a_formula_that_writes_a_file_writes_none(tmp_path: Path) -> None:
    target = tmp_path / "written"
    for text in (f"open({str(target)!r}, 'w')", f"__import__('pathlib').Path({str(target)!r}).touch()"):
        with pytest.raises(ValueError, match="the expression"):
            check_identity(text, "1")
        with pytest.raises(ValueError):
            evaluate(text, "yao2023")
    assert not target.exists()


def test_formulas_are_still_read() -> None:
    assert check_identity("Sum(d, (d, 0, N))", "N*(N + 1)/2")[0] == "holds"
    assert check_identity("sqrt(x**2)", "x")[0] == "holds"
    assert check_identity("log(exp(2*p))", "p")[0] == "contradicted"


class Tags(HTMLParser):
    """The names of the elements of a page, and every attribute's name."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]


def harmless(text: str) -> bool:
    """Whether a page has no script, and no attribute that is one."""
    page = Tags(text)
    return not {"script", "iframe", "object", "embed"} & set(page.tags) and not any(
        name.startswith("on") for name in page.attributes)


def test_the_search_for_scripts_finds_them() -> None:
    assert not harmless(f"<p>{BAD}</p>") and not harmless('<img src="a" onerror="b">')
    assert harmless("<p>&lt;script&gt;</p>")


@pytest.fixture
def lesson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> course.Lesson:
    monkeypatch.setenv("MDE_RUNS", str(tmp_path / "runs"))
    return course.Lesson("02", "scenes-rooms", "smoke", 0, torch.device("cpu"))


def test_a_result_whose_names_are_a_script_is_shown_as_text(lesson: course.Lesson,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list = []
    monkeypatch.setattr(course, "display", lambda thing, **options: shown.append(thing))
    evil = Result(BAD, BAD, BAD, BAD, 0, BAD, {}, {}, provenance={"commit": BAD, "made": BAD, "device": BAD})
    frame = pd.DataFrame({BAD: [BAD, "fine"], "value": [1.0, 2.0], '" onclick="x': ["a", '<img src=x onerror="y">']})
    lesson.table(frame, "plain", BAD, sources=[evil])
    lesson.table(frame, "buttons", BAD, sources=[evil], filters={BAD: [BAD, '" onfocus="x']})
    figure, _ = figures.new_figure(height=1.0)
    lesson.figure(figure, "picture", BAD, alt=f'" onload="x" {BAD}', sources=[evil])
    page = write_report("scenes-rooms", "smoke").read_text()
    assert harmless(page) and page.count("&lt;script&gt;") > 10
    tables = [thing.data for thing in shown if type(thing).__name__ == "HTML"]
    assert len(tables) == 2 and all(harmless(text) and "&lt;script&gt;" in text for text in tables)
    lines = [thing.data.partition("<br>")[2] for thing in shown if type(thing).__name__ == "Markdown"]
    assert len(lines) == 3 and all(harmless(line) and "&lt;script&gt;" in line for line in lines)


def test_a_filter_table_escapes_cells_heads_titles_and_labels() -> None:
    text = filter_table(pd.DataFrame({BAD: [BAD]}), "t", {BAD: [BAD]})
    assert harmless(text) and text.count("&lt;script&gt;") == 4
    with pytest.raises(ValueError, match="cannot stand in a page"):
        filter_table(pd.DataFrame({"a": [1]}), "t{} body{display:none}", {"a": ["b"]})


def test_the_book_shows_what_files_say_of_themselves_as_text(tmp_path: Path) -> None:
    (tmp_path / "nyu-study").mkdir()
    runs = [{"provenance": {"commit": commit}, "names": ["a"]} for commit in (f"|{BAD[:6]}", "<b>")]
    (tmp_path / "nyu-study" / "toy.json").write_text(json.dumps({"runs": runs}))
    page = book.results_page(tmp_path)
    assert harmless(page) and "<b>" not in page and "&lt;b&gt;" in page
    row = page.strip().splitlines()[-1]
    assert row.count("|") == 6  # a bar in a commit makes no new column
    picture = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="},
               "metadata": {"image/png": {"alt": f'" onload="x" {BAD}'}}}
    tag = book._with_picture(picture, tmp_path / "figures")["data"]["text/html"]
    assert harmless(tag) and Tags(tag).tags == ["img"]


def test_what_was_typed_wrong_is_no_markup_for_the_terminal() -> None:
    with pytest.raises(ValueError, match=r"\[red\]"):
        check_name("[red]x[/]", ["a"], "name", "the list")
