"""The batch on a real Slurm that loses a node; skipped where none can be started, and it never touches another's.

python benchmarks/slurm.py does the same with a true part of the smoke batch.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from test_kills import EXPERIMENT, toy_pack

from mdelib.rehearsal import begin_batch, compared, differing

HOME = Path(__file__).resolve().parent.parent


def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_slurm", HOME / "benchmarks" / "slurm.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slurm = benchmark()


@pytest.mark.skipif(slurm.missing() is not None, reason=f"no Slurm can be started here: {slurm.missing()}")
def test_a_batch_that_loses_a_node_ends_as_the_local_one(tmp_path: Path, scenes: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDE_SCENES", str(scenes))
    monkeypatch.setenv("MDE_RESULTS", str(tmp_path / "pack" / "results"))
    home = toy_pack(tmp_path / "pack")
    (home / "experiments/toy.yaml").write_text(EXPERIMENT.replace("{loss: l1}", "{loss: l1, train: {epochs: 250}}"))
    assert begin_batch(home, tmp_path / "local", "--cores", "2").wait(600) == 0
    with slurm.Cluster(tmp_path / "slurm") as cluster:
        with pytest.raises(RuntimeError, match="there is one already"):
            slurm.Cluster(tmp_path / "second").__enter__()
        found = slurm.on_cluster(cluster, home, tmp_path / "cluster", seconds=900)
    assert found["went_on_as"] == "COMPLETED" and found["went_on_on"] != found["lost_node"]
    assert found["steps"] == found["jobs"] == 5 and min(found["jobs_on"].values()) > 0
    assert differing(tmp_path / "local", tmp_path / "cluster") == [] and len(compared(tmp_path / "local")) == 6
    assert not slurm.CONFIG.exists()


@pytest.fixture
def everything_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(slurm.shutil, "which", lambda program, path=None: f"/usr/sbin/{program}")
    monkeypatch.setattr(slurm.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(slurm.os, "geteuid", lambda: 0)
    monkeypatch.setattr(slurm, "CONFIG", tmp_path / "slurm.conf")
    return tmp_path / "slurm.conf"


def test_somebodys_own_slurm_is_left_alone(everything_installed: Path, tmp_path: Path) -> None:
    assert slurm.missing() is None
    everything_installed.write_text("ClusterName=theirs\n")
    assert "is somebody's own" in slurm.missing()
    with pytest.raises(RuntimeError, match="left alone"):
        slurm.Cluster(tmp_path / "mine")
    assert everything_installed.read_text() == "ClusterName=theirs\n" and not (tmp_path / "mine").exists()
    everything_installed.write_text(slurm.MARK + "\n")  # one that a killed proof left behind
    assert slurm.missing() is None


@pytest.mark.parametrize(("name", "value", "words"), [
    ("shutil.which", lambda program, path=None: None, "munged, slurmctld, .* not found: apt-get install slurm-wlm"),
    ("importlib.util.find_spec", lambda name: None, r"pip install 'mdelib\[cluster\]'"),
    ("os.geteuid", lambda: 1000, "need root")])
def test_what_is_missing_is_said(everything_installed: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: object,
                                 words: str) -> None:
    monkeypatch.setattr(name, value)
    assert re.search(words, slurm.missing())
