"""Both editions come from one source, are fresh, and every exercise can be solved."""

from __future__ import annotations

import json
import re

import nbformat
import pytest

from mdelib import exercises
from mdelib.editions import build, editions, find_source, list_sources, same_source

SOURCES = pytest.mark.parametrize("source", list_sources(), ids=lambda path: path.stem)


@SOURCES
def test_the_committed_editions_are_those_of_the_source(source):
    for path, solved in editions(source).items():
        assert path.is_file(), f"{path.name} is missing: run `make notebooks`"
        committed = nbformat.read(path, as_version=4)
        assert same_source(committed, build(source, solutions=solved)), f"{path} is stale: run `make notebooks`"


@SOURCES
def test_editions_are_executed_in_order_without_errors_warnings_or_machine_paths(source):
    for path in editions(source):
        notebook = nbformat.read(path, as_version=4)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
        text = json.dumps([cell.outputs for cell in code if cell.outputs])
        assert not re.search(r"/(home|root|tmp|work|Users)/|\.venv", text)
        assert "Warning" not in text and "SMOKE RUN" not in text
        assert not any(output.output_type == "error" or output.get("name") == "stderr"
                       for cell in code for output in cell.outputs)
        assert path.stat().st_size < 5_000_000
        nbformat.validate(notebook)


@SOURCES
def test_cells_are_short_and_figures_have_words(source):
    for cell in build(source).cells:
        if cell.cell_type == "code":
            lines = [line for line in cell.source.splitlines() if line.strip()]
            assert len(lines) <= 15, f"{source.name} has a cell of {len(lines)} lines: {lines[0]}"
        calls = len(re.findall(r"lesson\.figure\(", cell.source))
        assert len(re.findall(r"\balt=", cell.source)) >= calls, f"a figure of {source.name} has no alt text"


@SOURCES
def test_stub_and_solution_differ_only_in_the_blanks(source):
    student, solved = build(source), build(source, solutions=True)
    assert len(student.cells) == len(solved.cells)
    for stub, solution in zip(student.cells, solved.cells, strict=True):
        if stub.source != solution.source:
            before, after = re.split(r"^[ ]*\.\.\.  # your code$", stub.source, maxsplit=1, flags=re.MULTILINE)
            assert solution.source.startswith(before.rstrip()) and solution.source.endswith(after)
    assert "<solution>" not in str(student) + str(solved)


def tried():
    for source in list_sources():
        cells = build(source, solutions=True).cells
        for cell in cells:
            for name in re.findall(r"^check\.(\w+)\((\w+)\)", cell.source, flags=re.MULTILINE):
                yield pytest.param(source, name[0], name[1], id=f"{source.stem[:2]}-{name[0]}")


@pytest.mark.parametrize(("source", "name", "function"), list(tried()))
def test_the_solution_passes_its_check_and_the_stub_is_not_attempted(source, name, function):
    for solved, state in ((True, "passed"), (False, "not attempted yet")):
        scope: dict = {}
        imports = "import math\nimport numpy as np\nimport torch\nimport torch.nn.functional as F\n"
        cell = next(c.source for c in build(source, solutions=solved).cells if f"def {function}(" in c.source)
        body = re.sub(r"^check\..*$", "", cell, flags=re.MULTILINE)
        exec(imports + body, scope)
        outcome = getattr(exercises.check, name)(scope[function])
        assert outcome.state == state, outcome


def test_an_unknown_notebook_lists_the_known():
    with pytest.raises(ValueError, match="expected one of 00"):
        find_source("99")
