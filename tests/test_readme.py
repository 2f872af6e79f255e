"""What the README says of results is what the result files say."""

from __future__ import annotations

import json
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


def test_costs_of_notebooks_that_were_not_executed_stay(tmp_path, monkeypatch):
    monkeypatch.setenv("MDE_RESULTS", str(tmp_path / "results"))
    first, second = (source.stem for source in list_sources()[:2])

    def executed(name: str, seconds: float) -> None:
        cost = {"seconds": seconds, "peak_memory_mb": 1}
        (tmp_path / "rooms-lab").mkdir(exist_ok=True)
        (tmp_path / "rooms-lab" / f"{name}.ipynb").write_text(json.dumps({"metadata": {"mdelib": cost}}))

    executed(first, 1.0)
    write_costs(tmp_path / "rooms-lab")
    (tmp_path / "rooms-lab" / f"{first}.ipynb").unlink()
    executed(second, 2.0)
    known = json.loads(write_costs(tmp_path / "rooms-lab").read_text())["notebooks"]
    assert {name: cost["seconds"] for name, cost in known.items()} == {first: 1.0, second: 2.0}
