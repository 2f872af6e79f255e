"""Profiles for clusters and for several GPUs: they ask for what was measured, and a batch says what is missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mdelib import batch, profiles
from mdelib.headless import folder_of_batch, note_cost
from mdelib.profiles import NAMES, Need, measured, read_profile, render_profile, write_profiles
from mdelib.steps import Step, forget_outdated, save_plan, saved_plan

HOME = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", NAMES)
def test_the_profiles_are_those_of_the_committed_measurements(name: str) -> None:
    text = (HOME / "profiles" / name / "config.yaml").read_text()
    assert text == render_profile(name), "results were measured anew: run `mde profiles`"
    assert set(yaml.safe_load(text)["set-resources"]) <= {"data", "train", "notebook", "report"}


def test_every_rule_of_the_graph_that_runs_something_has_its_request() -> None:
    snakefile = (HOME / "Snakefile").read_text()
    asked = yaml.safe_load(render_profile("slurm"))["set-resources"]
    assert set(asked) == {rule for rule in ("data", "train", "notebook", "report") if f"rule {rule}:" in snakefile}
    for rule, need in measured().items():
        memory, minutes = (int(asked[rule][name].split(" * ")[0]) for name in ("mem_mb", "runtime"))
        assert memory >= 1.5 * need.memory_mb + 512 and minutes * 60 >= 3 * need.seconds
        assert ("gpu" in asked[rule]) == (rule in ("train", "notebook"))


@pytest.mark.parametrize(("need", "minutes", "mebibytes"), [
    (Need(0.0, 0), 10, 512), (Need(200.0, 1000), 10, 2048), (Need(200.1, 1025), 20, 2560),
    (Need(2168.3, 2692), 110, 4608)])
def test_requests_by_hand(need: Need, minutes: int, mebibytes: int) -> None:
    assert (need.runtime, need.mem_mb) == (minutes, mebibytes)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MDE_RESULTS", str(tmp_path))
    (tmp_path / "nyu-study").mkdir()
    return tmp_path / "nyu-study"


def test_the_dearest_of_each_rule_counts_and_a_gpus_memory_does_not(results: Path) -> None:
    records = [{"wall_s": 10.0, "trained_s": 30.0, "peak_memory_mb": 5}, {"wall_s": 20.0, "peak_memory_mb": 7},
               {"wall_s": 99.0, "peak_memory_mb": 99, "device": "cuda"}]
    (results / "a.json").write_text(json.dumps({"runs": [{"provenance": one} for one in records]}))
    with pytest.raises(ValueError, match="no step of rule data was measured"):
        measured()
    cost = {"seconds": 1.0, "peak_memory_mb": 2}
    (results / "costs.json").write_text(json.dumps({"notebooks": {"x": cost, "y": {**cost, "seconds": 3.0}},
                                                    "steps": {"data": cost, "report": cost}}))
    assert measured() == {"data": Need(1.0, 2), "train": Need(30.0, 7), "notebook": Need(3.0, 2),
                          "report": Need(1.0, 2)}


def test_a_measurement_that_moved_a_request_is_noticed(results: Path, tmp_path: Path) -> None:
    cost = {"seconds": 1.0, "peak_memory_mb": 100}
    content = {"notebooks": {"x": cost}, "steps": {"data": cost, "report": cost}, "runs": [{"provenance": {
        "wall_s": 5.0, "peak_memory_mb": 100}}]}
    (results / "costs.json").write_text(json.dumps(content))
    before = [path.read_text() for path in write_profiles(tmp_path / "profiles")]
    content["runs"][0]["provenance"]["peak_memory_mb"] = 101
    (results / "costs.json").write_text(json.dumps(content))
    assert [render_profile(name) for name in NAMES] == before  # rounded up: noise moves nothing
    content["runs"][0]["provenance"]["wall_s"] = 5000.0
    (results / "costs.json").write_text(json.dumps(content))
    assert "runtime: 250 * attempt" in render_profile("slurm") != before[0]


def own(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(text)
    return folder


def test_what_is_read_of_a_profile(tmp_path: Path) -> None:
    found = read_profile(HOME / "profiles" / "gpus")
    assert (found.executor, found.jobs, found.gpu) == (None, None, True)
    found = read_profile(own(tmp_path / "mine", "executor: local\njobs: 3\n"))
    assert (found.executor, found.jobs, found.gpu) == (None, 3, False)


@pytest.mark.parametrize(("text", "words"), [
    (None, "is no Snakemake profile, it has no config.yaml"), ("a: [", "is no valid profile"),
    ("- a\n", "is no valid profile"), ("executor: moon\n", "pip install snakemake-executor-plugin-moon")])
def test_a_profile_that_cannot_be_used_is_a_sentence(tmp_path: Path, text: str | None, words: str) -> None:
    folder = tmp_path / "mine" if text is None else own(tmp_path / "mine", text)
    with pytest.raises(ValueError, match=words):
        read_profile(folder)


def test_a_missing_slurm_executor_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'mdelib\[cluster\]'"):
        read_profile(HOME / "profiles" / "slurm")


def test_a_profile_decides_how_snakemake_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert batch._driven_by(None, 3) == batch.Driven(("--cores", "3"), {}, 3)
    monkeypatch.setenv("MDE_GPUS", "4,6")
    there = str(HOME / "profiles" / "gpus")
    assert batch._driven_by(Path(there), 8) == batch.Driven(
        ("--profile", there, "--cores", "8", "--resources", "gpu=2"), {"MDE_GPUS": "4,6"}, 2)
    monkeypatch.setenv("MDE_GPUS", "")
    with pytest.raises(ValueError, match="hands out GPUs, but PyTorch sees none here"):
        batch._driven_by(Path(there), 8)
    plain = own(tmp_path / "plain", "jobs: 3\n")
    assert batch._driven_by(plain, 8) == batch.Driven(("--profile", str(plain), "--cores", "8"), {}, 8)
    monkeypatch.setattr(profiles.importlib.util, "find_spec", lambda name: name)
    slurm = batch._driven_by(HOME / "profiles" / "slurm", 8)
    assert slurm.remote and slurm.workers == 100 and "--cores" not in slurm.options


def test_a_plan_is_read_as_it_was_written_and_markers_of_what_is_not_done_go(tmp_path: Path) -> None:
    steps = [Step("train", "a/b/seed0", True, 3.0), Step("notebook", "02_x", False, 2.0, ("a/b/seed0",), "k")]
    assert saved_plan(save_plan(tmp_path / "plan.json", steps)) == steps
    for step in steps:
        (tmp_path / step.marker).parent.mkdir(parents=True)
        (tmp_path / step.marker).touch()
    forget_outdated(steps, tmp_path)
    assert [(tmp_path / step.marker).exists() for step in steps] == [True, False]


def test_a_job_that_reads_the_plan_forgets_nothing_that_was_done_since(tmp_path: Path) -> None:
    steps = [Step("data", "scenes-rooms", False, 1.0), Step("train", "a/b/seed0", False, 1.0),
             Step("notebook", "02_x", False, 1.0, ("a/b/seed0",), "k"), Step("report", "report", False, 1.0)]
    save_plan(tmp_path / "plan.json", steps)
    for step in steps[:2]:
        (tmp_path / step.marker).parent.mkdir(parents=True)
        (tmp_path / step.marker).touch()
    done = subprocess.run([sys.executable, "-m", "snakemake", "--snakefile", str(HOME / "Snakefile"), "--directory",
                           str(tmp_path), "--dry-run", "--cores", "1", "--nolock", "--config", "data=scenes-rooms",
                           "scale=smoke", "plan=plan.json"], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(HOME)})
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / step.marker).exists() for step in steps[:2])
    said = done.stdout + done.stderr
    assert "STEP notebook 02_x" in said and "STEP report report" in said and "STEP train" not in said


def test_the_plan_is_read_without_torch() -> None:
    code = "import sys, mdelib.steps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(HOME)}).returncode == 0


def test_the_dearest_time_of_a_step_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDE_RUNS", str(tmp_path))
    path = folder_of_batch("scenes-rooms", "smoke") / "costs" / "data.json"
    with note_cost("data", "scenes-rooms", "smoke"):
        pass
    first = json.loads(path.read_text())
    assert first["seconds"] == 0.0 and first["peak_memory_mb"] > 10
    path.write_text(json.dumps({"seconds": 90.0, "peak_memory_mb": 1}))
    with note_cost("data", "scenes-rooms", "smoke"):
        pass
    found = json.loads(path.read_text())
    assert found["seconds"] == 90.0 and found["peak_memory_mb"] >= first["peak_memory_mb"]
    path.write_text("{")  # cut off: worth no step
    with note_cost("data", "scenes-rooms", "smoke"):
        pass
    assert json.loads(path.read_text())["seconds"] == 0.0
    with pytest.raises(KeyError), note_cost("report", "scenes-rooms", "smoke"):
        raise KeyError
    assert not path.with_name("report.json").exists()  # what failed was not measured
