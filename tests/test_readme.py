"""What the README says of results is what the result files say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mdelib import store
from mdelib.editions import list_sources
from mdelib.measured import KILLS, SLURM, keep, recall
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


def test_a_missing_place_is_named(monkeypatch):
    for name in PARTS:
        monkeypatch.setitem(PARTS, name, lambda: "made anew")
    with pytest.raises(ValueError, match="no place for 'findings'"):
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


def test_costs_of_data_and_report_are_gathered_too(tmp_path, monkeypatch):
    monkeypatch.setenv("MDE_RESULTS", str(tmp_path / "results"))
    folder, cost = tmp_path / "rooms-lab", {"seconds": 1.0, "peak_memory_mb": 1}
    (folder / "costs").mkdir(parents=True)
    (folder / f"{list_sources()[0].stem}.ipynb").write_text(json.dumps({"metadata": {"mdelib": cost}}))
    (folder / "costs/data.json").write_text(json.dumps(cost))
    assert json.loads(write_costs(folder).read_text())["steps"] == {"data": cost}
    (folder / "costs/data.json").rename(folder / "costs/report.json")
    assert json.loads(write_costs(folder).read_text())["steps"] == {"data": cost, "report": cost}


def test_what_disturbed_batches_came_to_is_told_with_what_differed(tmp_path, monkeypatch):
    monkeypatch.setenv("MDE_RESULTS", str(tmp_path))
    assert PARTS["faults"]().count("Not measured yet") == 2
    found = {"notebooks": [], "steps": 46, "kills": 20, "processes_killed": 99, "made_again": [], "compared": 10,
             "differing": ["a", "b"]}
    slurm = {**found, "notebooks": ["02"], "jobs": 11, "slurm": "slurm-wlm 22.05.8", "went_on_as": "COMPLETED"}
    keep(KILLS, found)
    keep(SLURM, slurm)
    one, two = PARTS["faults"]().splitlines()
    assert "(all notebooks; 46 steps) was killed 20 times" in one and "made again: 0" in one
    assert "Of 10 results" in one and ", 8 are those" in one and re.search(r"\(commit \w+\)$", one)
    assert "notebooks 02 ran as 11 jobs" in two and "Slurm 22.05.8" in two and "completed on the other" in two


def test_a_measurement_comes_back_as_it_was_kept_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("MDE_RESULTS", str(tmp_path))
    assert recall("rooms-lab/m.json") is None
    path = keep("rooms-lab/m.json", {"seconds": 1.5})
    found = recall("rooms-lab/m.json")
    assert found["seconds"] == 1.5 and {"commit", "device_name", "versions"} <= found.keys()
    whole = path.read_text()
    path.write_text(whole.replace("1.5", "1.4"))
    with pytest.raises(store.Damaged, match="changed after it was written: restore it with git, or measure again"):
        recall("rooms-lab/m.json")
    for text in (whole[:-20], "{}", "[]"):
        path.write_text(text)
        with pytest.raises(store.Damaged, match="is no measurement"):
            recall("rooms-lab/m.json")


def test_all_committed_measurements_are_as_they_were_kept():
    named = [path for path in store.results_root().glob("*/*.json") if "runs" not in json.loads(path.read_text())]
    assert {path.stem for path in named} >= {"bench", "costs", "newcomer", "slurm", "widgets"}
    for path in named:
        assert recall(f"{path.parent.name}/{path.name}") is not None
