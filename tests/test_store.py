"""Result files: whole or refused."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from mdelib.store import Damaged, Result, atomic_write, lock, read_result, write_result


@pytest.fixture
def result() -> Result:
    return Result("toy", "cnn", "scenes-rooms", "smoke", 0, "k", {"lr": 0.1}, {"rmse": 0.5},
                  {"rmse": [0.25, None, 0.75]}, ["a", "b", "c"], [{"epoch": 1, "loss": 2.0}], {"commit": "abc"})


def test_a_result_comes_back_as_it_was(tmp_path: Path, result: Result):
    path = write_result(tmp_path / "deep" / "result.json", result)
    assert read_result(path) == result
    assert result.address == "toy/cnn/scenes-rooms-smoke/seed0"


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_file_cut_off_anywhere_is_refused(tmp_path: Path, result: Result, share: float):
    path = write_result(tmp_path / "result.json", result)
    content = path.read_bytes()
    path.write_bytes(content[:int(share * len(content))])
    with pytest.raises(Damaged, match="cut off"):
        read_result(path)


def test_an_edited_number_is_refused(tmp_path: Path, result: Result):
    path = write_result(tmp_path / "result.json", result)
    path.write_text(path.read_text().replace("0.25", "0.35"))
    with pytest.raises(Damaged, match="checksum"):
        read_result(path)


def test_flipped_bytes_never_pass_unseen(tmp_path: Path, result: Result):
    path = write_result(tmp_path / "result.json", result)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1:])
        with suppress(Damaged):
            assert read_result(path) == result  # white space between values may change


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"checksum": "x", "what": 1}', "\x00\x01"])
def test_something_else_is_refused(tmp_path: Path, text: str):
    path = tmp_path / "result.json"
    path.write_text(text)
    with pytest.raises(Damaged):
        read_result(path)


def test_a_missing_file_is_missing(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        read_result(tmp_path / "result.json")


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = atomic_write(tmp_path / "file.txt", "old")

    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="space"):
        atomic_write(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def _hold(folder: str, ready, release) -> None:
    with lock(Path(folder), "a batch"):
        ready.set()
        release.wait(20)


def test_a_folder_is_held_by_one_process_and_free_again_when_it_dies(tmp_path: Path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path), ready, release))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(BlockingIOError, match="already running"), lock(tmp_path, "a batch"):
        pass
    threading.Timer(0.5, holder.kill).start()
    begun = time.perf_counter()
    with lock(tmp_path, "a batch", wait=True):  # the other one's end is waited for
        assert time.perf_counter() - begun > 0.3
    holder.join()
    with lock(tmp_path, "a batch"):
        pass


def test_results_are_plain_json(tmp_path: Path, result: Result):
    content = json.loads(write_result(tmp_path / "r.json", result).read_text())
    assert content["per_image"]["rmse"] == [0.25, None, 0.75]
