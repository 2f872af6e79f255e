"""The batch: strict parameters, and a kill at any moment costs nothing that was finished."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mdelib import batch
from mdelib.course import PARAMETERS, start
from mdelib.editions import list_sources
from mdelib.headless import check_parameters, parameters_of

# A small pack of its own: one experiment, two notebooks, the real Snakefile.
EXPERIMENT = """
title: Toy
paper: yao2023
place: "-"
notebook: "00"
common: {network: meter_xxs, protocol: rooms, size: [32, 48], train_views: 4, test_views: 2,
         train: {epochs: 3, batch: 2}}
variants: {a: {title: A}, b: {title: B, settings: {loss: l1, train: {epochs: 60}}}}  # they do not end together
data: {scenes-rooms: {}}
scales: {smoke: {seeds: [0]}}
"""
MASKS = """
title: Masks
paper: yao2023
place: "-"
notebook: "00"
common: {network: meter_xxs, protocol: rooms, size: [32, 48], train_views: 4, test_views: 2,
         train: {epochs: 1, batch: 2}}
variants: {m: {title: M, settings: {sparse: {explained: toy/a, lam: 1}}},
           n: {title: N, settings: {sparse: {explained: toy/a, other: toy/b, lam: 2}}}}
data: {scenes-rooms: {}}
scales: {smoke: {seeds: [0]}}
"""
NOTEBOOK = '''# %% [markdown]
# # A notebook
# %% tags=["parameters"]
data = "scenes-rooms"
scale = "lab"
seed = 0
device = "auto"
# %%
import pandas as pd
from mdelib import course
lesson = course.start("{number}", data=data, scale=scale, seed=seed, device=device)
{body}
'''
SHOW = """results = lesson.results("toy")
lesson.table(pd.DataFrame([r.metrics for r in results]), "t", "A table & more.", sources=results)"""


@pytest.mark.parametrize("source", list_sources(), ids=lambda path: path.stem)
def test_every_notebook_has_exactly_the_parameters_of_the_course(source):
    found = parameters_of(source)
    assert {name: type(value) for name, value in found.items()} == PARAMETERS
    assert found == {"data": "scenes-rooms", "scale": "lab", "seed": 0, "device": "auto"}


@pytest.mark.parametrize(("given", "words"), [
    ({"sede": 1}, "parameter 'sede' is not in notebook 02 (did you mean 'seed'?)"),
    ({"seed": "1"}, "parameter seed of notebook 02 is '1' (str): expected int"),
    ({"seed": True}, "parameter seed of notebook 02 is True (bool): expected int"),
    ({"scale": 3}, "parameter scale of notebook 02 is 3 (int): expected str"),
])
def test_unknown_or_ill_typed_parameters_stop_a_notebook_before_it_runs(given, words):
    with pytest.raises(ValueError) as error:
        check_parameters("02", given)
    assert words in str(error.value)


def test_an_unknown_notebook_is_named():
    with pytest.raises(ValueError, match="notebook '77' does not exist: expected one of 00"):
        check_parameters("77", {})


@pytest.mark.parametrize(("given", "words"), [
    ({"scale": "labb"}, "did you mean 'lab'"), ({"data": "nyuu"}, "did you mean 'nyu'"), ({"seed": -1}, "0 or more"),
    ({"seed": 1.5}, r"1\.5 \(float\): expected int"), ({"device": "tpu9"}, "expected auto, cpu, cuda"),
])
def test_a_lesson_refuses_what_does_not_fit(given, words, monkeypatch):
    monkeypatch.delenv("MDE_SCALE", raising=False)
    with pytest.raises(ValueError, match=words):
        start("02", **given)


def test_missing_data_stops_the_batch_with_the_command_that_fetches_it(tmp_path, monkeypatch):
    monkeypatch.setenv("MDE_DATA", str(tmp_path))
    monkeypatch.setenv("MDE_RUNS", str(tmp_path / "runs"))
    with pytest.raises(FileNotFoundError, match="mde data nyu"):
        batch.reproduce("nyu", "smoke")


@pytest.fixture
def pack(tmp_path: Path, scenes: Path):
    """A pack in a folder, and a way to start its batch."""
    home = Path(batch.provenance.find_home())
    for folder in ("experiments", "notebooks/src", "papers", "results"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "Snakefile").write_bytes((home / "Snakefile").read_bytes())
    (tmp_path / "mdelib").symlink_to(home / "mdelib")
    (tmp_path / "experiments/toy.yaml").write_text(EXPERIMENT)
    (tmp_path / "experiments/masks.yaml").write_text(MASKS)  # before the experiment it needs, by name
    for number, body in (("00", SHOW), ("01", "print(1)")):
        (tmp_path / f"notebooks/src/{number}_toy.py").write_text(NOTEBOOK.format(number=number, body=body))
    environment = {**os.environ, "MDE_HOME": str(tmp_path), "MDE_RUNS": str(tmp_path / "runs"),
                   "MDE_RESULTS": str(tmp_path / "results"), "MDE_SCENES": str(scenes), "OMP_NUM_THREADS": "1"}
    environment.pop("MDE_SCALE", None)

    def begin() -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-m", "mdelib.cli", "reproduce", "--scale", "smoke", "--cores", "2"],
                                env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return tmp_path, begin


def test_a_batch_killed_in_the_middle_goes_on_and_repeats_nothing(pack):
    folder, begin = pack
    results = {name: folder / f"runs/toy/{name}/scenes-rooms-smoke/seed0/result.json" for name in "ab"}
    process = begin()
    deadline = time.time() + 480  # a loaded machine may take minutes to the first result
    while not any(path.exists() for path in results.values()) and time.time() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (early, first), = [(name, path) for name, path in results.items() if path.exists()]
    (late, second), = [(name, path) for name, path in results.items() if name != early]
    made = first.read_bytes()
    time.sleep(1.5)  # what the batch had started ends with it
    assert not subprocess.run(["pgrep", "-f", str(folder)], capture_output=True, text=True).stdout

    text, _ = (again := begin()).communicate(timeout=900)
    assert again.returncode == 0, text
    assert first.read_bytes() == made  # finished before the kill, so not touched
    log = (folder / "runs/batch/scenes-rooms-smoke/log.txt").read_text()
    assert log.index(f"STEP train toy/{late}/seed0") < log.index("STEP train masks/n/seed0")
    assert (folder / "runs/masks/n/scenes-rooms-smoke/seed0/weights.safetensors").is_file()
    report = (folder / "runs/report/scenes-rooms-smoke/index.html").read_text()
    assert "toy/a/scenes-rooms-smoke/seed0" in report and "A table &amp; more." in report

    text, _ = (third := begin()).communicate(timeout=600)
    assert third.returncode == 0 and "0 steps" in text

    numbers = json.loads(second.read_text())["metrics"]
    second.write_text(second.read_text()[:100])
    text, _ = (fourth := begin()).communicate(timeout=900)
    assert fourth.returncode == 0, text
    assert json.loads(second.read_text())["metrics"] == numbers and first.read_bytes() == made


def test_trainings_wait_for_the_networks_they_explain(pack, monkeypatch: pytest.MonkeyPatch):
    folder, _ = pack
    for name, value in (("MDE_HOME", folder), ("MDE_RUNS", folder / "runs"), ("MDE_RESULTS", folder / "results")):
        monkeypatch.setenv(name, str(value))
    planned = batch.plan("scenes-rooms", "smoke")
    shown, other = (step for step in planned if step.rule == "notebook")
    assert shown.needs == ("toy/a/seed0", "toy/b/seed0") and other.needs == ()  # it names no experiment
    assert shown.key != other.key and shown.key
    every = folder / "notebooks/src/02_toy.py"
    every.write_text(NOTEBOOK.format(number="02", body="from mdelib.experiments import list_experiments"))
    last = [step for step in batch.plan("scenes-rooms", "smoke") if step.rule == "notebook"][-1]
    assert last.needs == ("toy/a/seed0", "masks/m/seed0", "toy/b/seed0", "masks/n/seed0")
    every.unlink()
    steps = {step.name: step for step in planned if step.rule == "train"}
    assert list(steps) == ["toy/a/seed0", "masks/m/seed0", "toy/b/seed0", "masks/n/seed0"]
    assert steps["masks/n/seed0"].needs == ("toy/a/seed0", "toy/b/seed0")
    assert steps["masks/m/seed0"].needs == ("toy/a/seed0",) and steps["toy/a/seed0"].needs == ()


def test_a_network_that_no_notebook_asks_for_is_trained_for_its_masks(pack, monkeypatch: pytest.MonkeyPatch):
    folder, _ = pack
    for name, value in (("MDE_HOME", folder), ("MDE_RUNS", folder / "runs"), ("MDE_RESULTS", folder / "results")):
        monkeypatch.setenv(name, str(value))
    (folder / "experiments/toy.yaml").write_text(EXPERIMENT.replace('"00"', '"77"'))
    names = [step.name for step in batch.plan("scenes-rooms", "smoke") if step.rule == "train"]
    assert names == ["toy/a/seed0", "masks/m/seed0", "toy/b/seed0", "masks/n/seed0"]


def test_running_a_notebook_starts_without_torch():
    code = "import sys, mdelib.headless; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
