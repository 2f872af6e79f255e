"""Every contest at tiny size: all ways give the same, times and memory are there; the result file is whole."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from mdelib.measured import BENCH, PARITY, recall
from mdelib.readme import PARTS

HOME = Path(__file__).resolve().parent.parent
FOLDER = HOME / "benchmarks"
sys.path.append(str(FOLDER))  # as for a script that is started there
bench = importlib.import_module("bench")
timing = importlib.import_module("_timing")
growth = importlib.import_module("growth")
ALL = [(module, name) for module in bench.SCRIPTS for name in timing.names(importlib.import_module(module))]
RESULT = recall(BENCH)


def script_of(module: str) -> ModuleType:
    return importlib.import_module(module)


@pytest.mark.parametrize(("module", "name"), ALL, ids=lambda part: part)
def test_every_contest_at_tiny_size(module, name):
    if name in getattr(script_of(module), "READINGS", {}):
        found = timing.read(module, name, "tiny")
        assert found["value"] > 0 and found["unit"]
        return
    found = timing.measure(module, name, "tiny", threads=[1], rounds=1, memory=False)
    assert len(found["ways"]) >= 2
    for place, row in enumerate(found["ways"].values()):
        seconds = row["threads_1"]
        assert 0 < seconds["cpu_s"] <= seconds["cpu_median_s"] and seconds["wall_s"] > 0
        assert (row["differs"] is None) == (place == 0)


def test_missing_peers_are_named(monkeypatch):
    monkeypatch.setattr(script_of("ssim"), "peer", lambda name: None)
    found = timing.measure("ssim", "measure", "tiny", threads=[1], rounds=1, memory=False)
    assert found["missing"] == ["torchmetrics", "pytorch-msssim"] and "kornia" in found["ways"]
    assert timing.peer("no_such_library") is None


def test_results_that_differ_stop_the_timing(monkeypatch):
    script = script_of("response_table")
    monkeypatch.setitem(script.WAYS, "plain loop", lambda *inputs: script.plain_loop(*inputs) + 1)
    with pytest.raises(AssertionError, match="plain loop is .* off ours"):
        timing.measure("response_table", "table", "tiny", memory=False)


def test_differences_of_results():
    assert timing.apart(np.array([1.0, 2.2]), np.array([1.0, 2.0])) == pytest.approx(0.1)
    assert timing.apart([np.nan, 1.0], [np.nan, 1.0]) == 0
    with pytest.raises(AssertionError, match="NaN"):
        timing.apart([np.nan], [1.0])
    with pytest.raises(AssertionError, match="shapes"):
        timing.apart([1.0, 1.0], [1.0])


def test_memory_sees_what_torch_allocates():
    sizes = {"tiny": {"batch": 1, "bins": 33, "size": (8, 8), "sigma": 4.0},
             "large": {"batch": 1, "bins": 33, "size": (512, 1024), "sigma": 4.0}}
    logits = 33 * 512 * 1024 * 4 / 2**20
    fused = timing.held("dpm_loss", "paper", "mdelib, fused", sizes, "large")
    assert 2 * logits < fused < 3 * logits  # logits and their gradient


def test_exponents_and_the_figure(tmp_path):
    assert growth.exponent([1, 10, 100], [3, 300, 30000]) == pytest.approx(2)
    found = growth.measure_growth("tiny", ["bins"])
    assert [series["title"] for series in found] == list(growth.SERIES["bins"])
    figure = growth.draw(found)
    growth.save(figure, tmp_path / "growth.png", "now")
    with Image.open(tmp_path / "growth.png") as picture:
        assert picture.info["Description"] == "now"


def test_a_script_by_itself():
    done = subprocess.run([sys.executable, str(FOLDER / "response_table.py"), "--scale", "tiny", "--rounds", "1",
                           "--threads", "1", "--set", "units=3"], capture_output=True, text=True, check=True)
    assert "3 units" in done.stdout and "plain loop" in done.stdout


def test_peers_of_the_extra_are_pinned():
    pins = [line.split("==")[0] for line in (FOLDER / "peers.txt").read_text().splitlines() if "==" in line]
    line, = (line for line in (HOME / "pyproject.toml").read_text().splitlines() if line.startswith("bench = "))
    assert all(f'"{name}' not in line or name in pins for name in ("geomloss", "pytorch-msssim"))
    assert pins == sorted(pins) and not {"torch", "numpy"} & set(pins)


def test_the_result_is_whole_and_its_figure_of_the_same_run():
    assert [one["contest"] for one in RESULT["contests"]] + [one["reading"] for one in RESULT["readings"]] == [
        f"{module}.{name}" for kind in ("CONTESTS", "READINGS") for module in bench.SCRIPTS
        for name in getattr(script_of(module), kind, {})], "contests were added: run `make bench`"
    with Image.open(HOME / "docs" / "growth.png") as picture:
        assert picture.info["Description"] == RESULT["made"], "docs/growth.png is of another run: `make bench`"
    assert RESULT["scale"] == "full" and not [one for one in RESULT["contests"] if one["missing"]]


def test_what_is_behind_says_why():
    text = PARTS["bench"]()
    assert "no reason known" not in text
    dpm = next(one for one in RESULT["contests"] if one["contest"] == "dpm_loss.code")
    logits = 2 * 257 * 352 * 704 * 4 / 2**20
    assert dpm["ways"]["mdelib, fused"]["memory_mib"] < 1.1 * 2 * logits and 0 < PARITY <= 1
