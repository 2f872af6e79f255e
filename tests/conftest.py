"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    torch.set_num_threads(1)  # the tests are small; two workers beside each other are faster than two threads


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real samples, or a skip that says how to have it."""
    folder = os.environ.get("MDE_DATA")
    if not folder or not (Path(folder) / "nyu" / "splits.json").is_file():
        pytest.skip("real samples not found: set MDE_DATA to a folder that holds nyu/, kitti/, sunrgbd/, weights/")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Rendered scenes are kept in a folder of the test run, shared by its tests."""
    folder = tmp_path_factory.mktemp("scenes")
    before = os.environ.get("MDE_SCENES")
    os.environ["MDE_SCENES"] = str(folder)
    yield folder
    os.environ.pop("MDE_SCENES")
    if before is not None:
        os.environ["MDE_SCENES"] = before


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scenes: Path) -> Path:
    """A folder for the runs and results of one test; the experiments there are those in the module's FILES."""
    from mdelib import references, runs
    from mdelib.experiments import Experiment

    monkeypatch.setenv("MDE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("MDE_RESULTS", str(tmp_path / "results"))
    for module in (runs, references):
        monkeypatch.setattr(module, "load_experiment", lambda name: Experiment(**request.module.FILES[name]))
    return tmp_path
