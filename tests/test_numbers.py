"""Every number in the README and the notebooks can be traced: to a result file, a published table, or the code beside.

Three walks. Prose may hold a decimal only if a paper prints it, an experiment file sets it, or the notebook's own code
does. Tables and figures name the results behind them, and those are committed. The README holds no decimal outside of
the parts that are rendered from results.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import jupytext
import nbformat
import pytest

from mdelib.editions import list_sources
from mdelib.references import experiment_of

HOME = Path(__file__).resolve().parent.parent
DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+(?![\w.]|\d)")
NO_NUMBERS = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|```.*?```|`[^`]*`|arXiv [\d.]+|abs/[\d.]+|"
                        r"(?:Sections?|Eqs?\.?|Tables?|Figs?\.?) [\d.]+|<!-- (\w+) -->.*?<!-- /\1 -->", re.DOTALL)
MADE = re.compile(r"([a-z_]+) on ([a-z-]+) at (\w+) scale, \d+ seeds?, commit (\w+)")
# examples and arithmetic in the open, one reason each
KNOWN = {("03", "2.1"): "an example of a depth beside 2 m", ("04", "3.9"): "10 m / 256 steps of NYU's 8-bit copy",
         ("04", "3.8"): "the first of 64 SID bins", ("15", "0.21785"): "0.2179 less half a digit",
         ("15", "0.21795"): "0.2179 and half a digit", ("15", "7.35"): "7.4 less half a digit"}
PRINTED = "\n".join(path.read_text() for pattern in ("papers/*/claims.yaml", "papers/*/tables/*.csv",
                                                     "experiments/*.yaml") for path in sorted(HOME.glob(pattern)))


def decimals(text: str) -> list[str]:
    """Decimals in prose; formulas, code, addresses and places in papers do not count."""
    return DECIMAL.findall(NO_NUMBERS.sub(" ", text))


def stands_in(number: str, text: str) -> bool:
    return re.search(rf"(?<![\d.]){re.escape(number)}0*(?![\d])", text) is not None


def test_the_walk_finds_what_it_should():
    assert decimals("RMSE 0.55 m, in `0.1`, $x = 0.2$, Section 4.2, arXiv 1806.04613, 3.11.") == ["0.55"]
    assert stands_in("0.10", "x: 0.1") is False and stands_in("0.1", "x: 0.10,") and not stands_in("0.1", "0.15")


@pytest.mark.parametrize("source", list_sources(), ids=lambda path: path.stem)
def test_prose_holds_no_number_of_its_own(source: Path):
    cells = jupytext.read(source, fmt="py:percent").cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for cell in cells:
        if cell.cell_type == "markdown":
            for number in decimals(cell.source):
                assert stands_in(number, PRINTED + code) or (source.name[:2], number) in KNOWN, (
                    f"{source.name} says {number}, which no paper prints, no experiment sets and no code beside it "
                    f"computes: render it with lesson.say\n{cell.source}")


def test_the_readme_holds_no_number_of_its_own():
    found = set(decimals((HOME / "README.md").read_text())) - {"3.11", "7.5"}  # Python, and GB of a download
    assert not found


def test_no_file_of_results_is_larger_than_five_megabytes():
    assert not [path.name for path in HOME.glob("results/*/*") if path.stat().st_size > 5e6]


def committed() -> dict[tuple[str, str], set[str]]:
    """(experiment, data-scale) -> commits in `results/`."""
    found = {}
    for path in HOME.glob("results/*/*.json"):
        runs = json.loads(path.read_text()).get("runs", [])
        commits = found.setdefault((experiment_of(path), path.parent.name), set())
        commits |= {str(run["provenance"]["commit"]) for run in runs}
    return found


@pytest.mark.parametrize("source", list_sources(), ids=lambda path: path.stem)
def test_tables_and_figures_are_made_from_committed_results(source: Path):
    known = committed()
    for folder in ("notebooks", "notebooks/solutions"):
        notebook = nbformat.read(HOME / folder / f"{source.stem}.ipynb", 4)
        text = "\n".join("".join(output.get("data", {}).get("text/markdown", "")) for cell in notebook.cells
                         for output in cell.get("outputs", []))
        for experiment, data, scale, commit in MADE.findall(text):
            place = (experiment, f"{data}-{scale}")
            assert place in known, f"{source.stem} shows {experiment} on {data}-{scale}, which is not in results/"
            assert commit in known[place], f"{source.stem} shows {experiment} of commit {commit}: collect, rebuild"
