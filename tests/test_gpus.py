"""GPUs are handed out, by fake numbers: none to two processes at a time, and a killed one gives its own back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdelib import gpus

CODE = """
import os, sys
from pathlib import Path
from mdelib import gpus
taken = gpus.claim(int(sys.argv[2]), folder=Path(sys.argv[1]), pause=0.02)
print(",".join(taken), os.environ["CUDA_VISIBLE_DEVICES"], os.environ.get("MDE_GPUS"), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    """Start a process that takes GPUs, says which, and holds them until it is told to end."""
    begun = []

    def begin(count: int = 1, numbers: str = "5,7") -> subprocess.Popen:
        begun.append(subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path), str(count)], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      env={**os.environ, gpus.VARIABLE: numbers}))
        return begun[-1]

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def test_each_process_has_a_gpu_of_its_own_and_a_killed_one_gives_it_back(start) -> None:
    first, second = start(), start()
    held = {process.stdout.readline().split()[0]: process for process in (first, second)}
    assert set(held) == {"5", "7"}
    third = start()
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(0.6)  # none is free
    held["7"].send_signal(signal.SIGKILL)
    assert third.stdout.readline().split() == ["7", "7", "None"]  # no child of it waits for a second one


def test_several_are_taken_together_or_not_at_all(start) -> None:
    one = start(numbers="0,1,2")
    assert one.stdout.readline().startswith("0 0")
    both = start(2, numbers="0,1,2")
    assert both.stdout.readline().startswith("1,2 1,2")
    third = start(2, numbers="0,1,2")
    one.send_signal(signal.SIGKILL)
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(0.5)
    fourth = start(1, numbers="0,1,2")  # the third waits for two, and holds none meanwhile
    assert fourth.stdout.readline().startswith("0 0")


def test_nothing_is_taken_where_no_gpu_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert gpus.claim(folder=tmp_path) == [] and os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    monkeypatch.setenv(gpus.VARIABLE, "")
    assert gpus.claim(folder=tmp_path) == [] and not list(tmp_path.iterdir())


def test_more_than_there_are_is_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(gpus.VARIABLE, "4,6")
    with pytest.raises(ValueError, match=r"3 GPUs were asked for, but MDE_GPUS names 2 \(4,6\)"):
        gpus.claim(3, folder=tmp_path)


def test_usable_gpus_come_from_the_environment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv(gpus.VARIABLE, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.usable() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937, 3")
    assert gpus.usable() == ["GPU-8932f937", "3"]
    monkeypatch.setenv(gpus.VARIABLE, "1")
    assert gpus.usable() == ["1"]
    monkeypatch.setenv(gpus.VARIABLE, "")
    assert gpus.usable() == []
