"""What the README says of results is what the result files say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mdelib.editions import list_sources
from mdelib.readme import PARTS, render_readme, write_costs

HOME = Path(__file__).resolve().parent.parent


def test_the_readme_is_rendered_from_the_results():
    text = (HOME / "README.md").read_text()
    assert render_readme(text) == text, "README.md differs from results/: run `mde readme`"


def test_every_notebook_is_listed_with_measured_costs():
    text = (HOME / "README.md").read_text()
    for source in list_sources():
        row, = re.findall(rf"^\| \[{source.stem[:2]}\].*$", text, flags=re.MULTILINE)
        assert re.search(r"\| \d+\.\d \| \d+ \|$", row)


def test_links_and_pictures_exist():
    text = (HOME / "README.md").read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert target.startswith("http") or (HOME / target).exists(), target


def test_a_missing_place_is_named():
    with pytest.raises(ValueError, match="no place for 'notebooks'"):
        render_readme("# Nothing\n")
    places = "".join(f"<!-- {name} -->\nSTALE LINE\n<!-- /{name} -->\n" for name in PARTS)
    assert "STALE LINE" not in render_readme(places)


def test_costs_need_executed_notebooks(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="mde reproduce"):
        write_costs(tmp_path)
