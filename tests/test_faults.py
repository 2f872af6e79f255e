"""Full disks, closed folders, flipped bytes, odd clocks, cells that raise: nothing wrong is shown, nothing lost.

A killed batch is in test_batch.py, a result file that was cut off or edited in test_store.py.
"""

from __future__ import annotations

import errno
import json
import os
import re
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from mdelib import cli, headless, runs, store
from mdelib.experiments import Experiment
from mdelib.headless import folder_of_batch, run_notebook
from mdelib.references import collect, reference, stored_reference
from mdelib.runs import current, execute, folder_of, network

HOME = Path(__file__).resolve().parent.parent
TOY = {"name": "toy", "title": "Toy", "paper": "yao2023", "place": "-", "notebook": "02",
       "common": {"network": "meter_xxs", "protocol": "rooms", "size": (32, 48), "train_views": 2, "test_views": 2,
                  "measures": ["depth"], "train": {"epochs": 2, "batch": 2}},
       "variants": {"a": {"title": "A"}}, "data": {"scenes-rooms": {}}, "scales": {"smoke": {"seeds": [0]}}}
FILES = {"toy": TOY}
pytestmark = pytest.mark.usefixtures("place")


def toy():
    run, = Experiment(**TOY).runs("scenes-rooms", "smoke")
    return run


def failing(code: int):
    """A call of the system that fails."""
    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize(("code", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "the disk is full"),
                                             (errno.EROFS, "nothing can be written"),
                                             (errno.EACCES, "nothing can be written")])
def test_a_failed_write_keeps_the_old_file_and_says_what_to_do(code: int, words: str, tmp_path: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    path = store.atomic_write(tmp_path / "file.txt", "old")
    monkeypatch.setattr(os, "fsync", failing(code))
    with pytest.raises(OSError, match=rf"{words} at .*file\.txt.*MDE_RUNS=") as caught:
        store.atomic_write(path, "new")
    assert caught.value.errno == code and isinstance(caught.value, PermissionError) == (code == errno.EACCES)
    assert path.read_text() == "old" and [one.name for one in tmp_path.iterdir()] == ["file.txt"]


def test_other_errors_of_the_system_stay_what_they_are() -> None:
    assert store.what_to_do(OSError(errno.EIO, "input/output error")) is None
    assert "at /x" in store.what_to_do(OSError(errno.ENOSPC, "full", "/x"))


@pytest.mark.parametrize(("error", "words"), [
    (OSError(errno.ENOSPC, "No space left on device", "/runs/a"), "mde: the disk is full at /runs/a"),
    (PermissionError(errno.EACCES, "Permission denied", "/runs/a"), "mde: nothing can be written at /runs/a")])
def test_the_command_line_says_it_in_one_sentence(error: OSError, words: str, monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit, match="2"):
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith(words) and len(said.strip().splitlines()) == 1
    with pytest.raises(OSError, match="input/output"):
        monkeypatch.setattr(cli, "app", lambda: (_ for _ in ()).throw(OSError(errno.EIO, "input/output error")))
        cli.main()


def test_a_disk_that_fills_up_in_a_training_costs_nothing_that_was_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full while the result is written: weights and checkpoint stay, no result is shown, and the end is the same."""
    write, trained, fit = store.atomic_write, [], runs.fit

    def full(path: Path, content: str | bytes) -> Path:
        if path.name == "result.json":
            failing(errno.ENOSPC)()
        return write(path, content)

    def counted(*given: object, **named: object):
        trained.append(named["checkpoint"].is_file())
        return fit(*given, **named)

    monkeypatch.setattr(runs, "fit", counted)
    with monkeypatch.context() as patch:
        patch.setattr(store, "atomic_write", full)
        with pytest.raises(OSError, match="No space left"):
            execute(toy())
    assert current(toy()) is None and not (folder_of(toy()) / "result.json").exists()
    made = execute(toy())
    assert trained == [False, True]  # the second time from the checkpoint, which holds every epoch
    assert len(made.history) == 2 and current(toy()) == made


def test_what_is_finished_is_read_from_a_folder_that_cannot_be_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    made = execute(toy())
    for module, name in ((os, "mkdir"), (os, "replace"), (os, "fsync")):
        monkeypatch.setattr(module, name, failing(errno.EROFS))
    assert execute(toy()) == made
    assert network("toy", "a", "scenes-rooms", "smoke", 0) is not None
    (folder_of(toy()) / "result.json").unlink()
    monkeypatch.setenv("MDE_RUNS", str(folder_of(toy()) / "elsewhere"))
    with pytest.raises(OSError, match=r"nothing can be written at .*Read-only"):
        execute(toy())


def test_a_flipped_bit_in_the_weights_is_found_and_mended() -> None:
    made = execute(toy())
    path = folder_of(toy()) / "weights.safetensors"
    content = bytearray(path.read_bytes())
    first = network("toy", "a", "scenes-rooms", "smoke", 0).state_dict()
    content[-5] ^= 1
    path.write_bytes(content)
    with pytest.raises(store.Damaged, match="delete it and run again"):
        network("toy", "a", "scenes-rooms", "smoke", 0)
    path.unlink()
    again = network("toy", "a", "scenes-rooms", "smoke", 0).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    old = store.read_result(folder_of(toy()) / "result.json")
    assert old.metrics == made.metrics
    del old.provenance["weights"]  # as results of before were written
    store.write_result(folder_of(toy()) / "result.json", old)
    assert network("toy", "a", "scenes-rooms", "smoke", 0) is not None


def test_a_flipped_digit_in_a_committed_reference_is_found() -> None:
    made = execute(toy())
    path = collect("toy", "scenes-rooms", "smoke")
    one, = reference("toy", "scenes-rooms", "smoke")
    assert one.metrics == made.metrics and one.provenance["outdated"] is False
    text = path.read_text()
    digit = re.search(r'"rmse": (\d\.\d)', text)
    path.write_text(text[:digit.end() - 1] + str(9 - int(text[digit.end() - 1])) + text[digit.end():])
    with pytest.raises(store.Damaged, match="a/seed0 does not match its checksum; restore it with git"):
        stored_reference("toy", "scenes-rooms", "smoke")
    entries = json.loads(text)
    for entry in entries["runs"]:
        del entry["checksum"]  # nothing is believed that cannot prove what it is
    path.write_text(json.dumps(entries))
    with pytest.raises(store.Damaged, match="no result file"):
        stored_reference("toy", "scenes-rooms", "smoke")


def test_a_clock_that_goes_back_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter(range(2_000_000_000, 0, -1000))
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: float(next(now)))
        made = execute(toy())
    assert made.provenance["wall_s"] >= 0 and all(epoch["seconds"] >= 0 for epoch in made.history)
    monkeypatch.setattr(runs, "fit", lambda *_, **__: pytest.fail("trained again"))
    for moment in (0, 4_000_000_000):  # 1970 and 2096: a result is believed by its key, not by its age
        for path in folder_of(toy()).iterdir():
            os.utime(path, (moment, moment))
        assert execute(toy()) == made


def test_durations_are_measured_by_clocks_that_cannot_go_back() -> None:
    for path in (HOME / "mdelib").rglob("*.py"):
        assert not re.search(r"\btime\.time\(\)|datetime\.now\(\) -", path.read_text()), path.name


SOURCE = """# %% tags=["parameters"]
data = "scenes-rooms"
scale = "smoke"
seed = 0
device = "auto"

# %%
print("before")

# %%
{body}

# %%
print("after")
"""


def test_a_cell_that_raises_stops_its_notebook_and_says_where(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = place / "notebooks" / "src" / "07_toy.py"
    source.parent.mkdir(parents=True)
    (place / "mdelib").symlink_to(HOME / "mdelib")
    monkeypatch.setenv("MDE_HOME", str(place))
    source.write_text(SOURCE.format(body="raise KeyError('lamp')"))
    given = {"data": "scenes-rooms", "scale": "smoke"}
    folder = folder_of_batch("scenes-rooms", "smoke")
    with pytest.raises(RuntimeError, match=r"07_toy stopped at cell 4: KeyError: 'lamp' .*07_toy\.draft\.ipynb"):
        run_notebook("07", given, key="one")
    assert [path.name for path in folder.glob("*.ipynb")] == ["07_toy.draft.ipynb"]  # nothing that looks finished
    draft = (folder / "07_toy.draft.ipynb").read_text()
    assert "before" in draft and '"text": [\n      "after' not in draft
    source.write_text(SOURCE.format(body="print('lamp')"))
    done = run_notebook("07", given, key="two")
    assert [path.name for path in folder.glob("*.ipynb")] == ["07_toy.ipynb"]
    before = done.read_bytes()
    source.write_text(SOURCE.format(body="raise KeyError('lamp')"))
    with pytest.raises(RuntimeError, match="stopped at cell 4"):
        run_notebook("07", given, key="three")
    assert done.read_bytes() == before and json.loads(before)["metadata"]["mdelib"]["key"] == "two"
    assert sys.modules.get("07_toy") is None


def test_a_notebook_that_another_process_executes_is_waited_for(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a batch was killed and its job goes on in a cluster: the second job finds what the first has made."""
    source = place / "notebooks" / "src" / "07_toy.py"
    source.parent.mkdir(parents=True)
    monkeypatch.setenv("MDE_HOME", str(place))
    source.write_text(SOURCE.format(body="print('lamp')"))
    executed, folder = [], folder_of_batch("scenes-rooms", "smoke")
    monkeypatch.setattr(headless, "_execute", lambda *given: executed.append(given))
    given = {"data": "scenes-rooms", "scale": "smoke"}
    with store.lock(folder / "locks" / "07_toy", "the other"):
        waiting = threading.Thread(target=run_notebook, args=("07", given), kwargs={"key": "one"})
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive() and not executed
        (folder / "07_toy.ipynb").write_text(json.dumps({"metadata": {"mdelib": {"key": "one"}}}))
    waiting.join(20)
    assert not waiting.is_alive() and not executed
    run_notebook("07", given, key="two")
    assert len(executed) == 1
