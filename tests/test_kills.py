"""Kills at random moments: the batch ends in the same bytes, and nothing that was finished is made again.

    MDE_KILLS=20 python -m pytest tests/test_kills.py        a small batch; python benchmarks/kills.py: the whole one

The batch itself takes minutes and runs only where MDE_KILLS says how often to kill it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from test_batch import NOTEBOOK, SHOW

from mdelib.rehearsal import compared, differing, part_of_pack

HOME = Path(__file__).resolve().parent.parent
EXPERIMENT = """
title: Toy
paper: yao2023
place: "-"
notebook: "00"
common: {network: meter_xxs, protocol: rooms, size: [32, 48], train_views: 4, test_views: 2,
         train: {epochs: 12, batch: 2}}
variants: {a: {title: A}, b: {title: B, settings: {loss: l1}}}
data: {scenes-rooms: {}}
scales: {smoke: {seeds: [0]}}
"""


@pytest.fixture(scope="module")
def kills() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_kills", HOME / "benchmarks" / "kills.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toy_pack(folder: Path) -> Path:
    """A pack in a folder: two trainings, the notebook that shows them, the real Snakefile."""
    for name in ("experiments", "notebooks/src", "papers", "results"):
        (folder / name).mkdir(parents=True)
    for name in ("mdelib", "Snakefile", "profiles"):
        (folder / name).symlink_to(HOME / name)
    (folder / "experiments/toy.yaml").write_text(EXPERIMENT)
    (folder / "notebooks/src/00_toy.py").write_text(NOTEBOOK.format(number="00", body=SHOW))
    return folder


@pytest.mark.skipif("MDE_KILLS" not in os.environ, reason="takes minutes: set MDE_KILLS to a number of kills")
def test_a_batch_that_is_killed_again_and_again_ends_in_the_same_bytes(
        kills: ModuleType, tmp_path: Path, scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = int(os.environ["MDE_KILLS"])
    monkeypatch.setenv("MDE_SCENES", str(scenes))
    monkeypatch.setenv("MDE_RESULTS", str(tmp_path / "pack" / "results"))
    monkeypatch.setenv("MDE_GPUS", "105,107")  # the undisturbed batch is driven by the profile that hands out GPUs
    found = kills.measure(toy_pack(tmp_path / "pack"), tmp_path, kills=count,
                          options=("--profile", str(HOME / "profiles" / "gpus"), "--cores", "2"))
    assert found["differing"] == [] and found["made_again"] == [], found
    assert found["kills"] == count and found["processes_killed"] >= count, found
    assert found["epochs"] == [24, 24] and found["steps"] == 5
    log = (tmp_path / "undisturbed/batch/scenes-rooms-smoke/log.txt").read_text()
    assert sorted(re.findall(r"on GPU (\d+): toy", log)) == ["105", "107"]  # side by side, so on one each
    assert re.search(r"on GPU 10[57]: notebook 00", log)
    names = {Path(name).name for name in compared(tmp_path / "disturbed")}
    assert {"result.json", "weights.safetensors", "00_toy.ipynb", "t.html"} <= names


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders of runs with one result, network, table and notebook each, alike but for times and machines."""
    for place in ("one", "other"):
        files = {
            "toy/a/scenes-rooms-smoke/seed0/result.json": json.dumps({
                "metrics": {"rmse": 0.5}, "history": [{"epoch": 1, "loss": 2.0, "seconds": len(place)}],
                "provenance": {"made": place}, "checksum": place}),
            "toy/a/scenes-rooms-smoke/seed0/weights.safetensors": "weights",
            "report/scenes-rooms-smoke/00/t.html": "<table>", "report/scenes-rooms-smoke/index.html": place,
            "report/scenes-rooms-smoke/07/time.png": place,
            "batch/scenes-rooms-smoke/00_toy.ipynb": json.dumps({"metadata": {"mdelib": {"key": "k", "s": place}}}),
            "cache/views.bin": place}
        for name, text in files.items():
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_text(text)
    return tmp_path / "one", tmp_path / "other"


def test_when_and_where_does_not_count(two: tuple[Path, Path]) -> None:
    assert differing(*two) == [] and len(compared(two[0])) == 4


@pytest.mark.parametrize(("name", "old", "new"), [
    ("toy/a/scenes-rooms-smoke/seed0/result.json", "0.5", "0.6"),
    ("toy/a/scenes-rooms-smoke/seed0/result.json", "2.0", "2.1"),
    ("toy/a/scenes-rooms-smoke/seed0/weights.safetensors", "weights", "weightz"),
    ("report/scenes-rooms-smoke/00/t.html", "table", "tables"),
    ("batch/scenes-rooms-smoke/00_toy.ipynb", '"k"', '"l"')])
def test_every_number_weight_and_table_counts(two: tuple[Path, Path], name: str, old: str, new: str) -> None:
    path = two[1] / name
    path.write_text(path.read_text().replace(old, new))
    assert differing(*two) == [name]
    path.unlink()
    assert differing(*two) == differing(*reversed(two)) == [name]


def test_a_part_of_the_pack_has_some_notebooks_and_everything_else(tmp_path: Path) -> None:
    home = part_of_pack(tmp_path / "some", ["02", "07"])
    assert sorted(path.name[:2] for path in (home / "notebooks/src").iterdir()) == ["02", "07"]
    assert (home / "experiments/two_networks.yaml").is_file() and (home / "profiles/slurm/config.yaml").is_file()
    every = part_of_pack(tmp_path / "all")
    assert len(list((every / "notebooks/src").iterdir())) == len(list((HOME / "notebooks/src").glob("*.py")))
    shutil.rmtree(every)
    assert (HOME / "mdelib").is_dir()
