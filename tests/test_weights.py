"""Weights in files: round trips, records, and files that are wrong in every way."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

from mdelib.models import create_model, weights_digest
from mdelib.weights import build_from, find_weights, load_weights, read_record, save_weights


@pytest.fixture
def network() -> nn.Module:
    return create_model("segformer", output="sigmoid", max_depth=8.0).eval()


def test_round_trip_rebuilds_the_network(network: nn.Module, tmp_path: Path) -> None:
    path = save_weights(network, tmp_path / "deep" / "a.safetensors", record={"data": "toy", "rmse": 0.5})
    again = build_from(path)
    assert not again.training
    assert (again.output, again.max_depth) == ("sigmoid", 8.0)
    assert again.recipe == network.recipe
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        assert torch.equal(again(image), network(image))
    assert read_record(path)["record"] == {"data": "toy", "rmse": 0.5}
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_half_is_half_the_size_and_nearly_the_same(tmp_path: Path) -> None:
    network = create_model("hu_resnet50").to(memory_format=torch.channels_last)
    network(torch.rand(4, 3, 32, 64))  # batch statistics of its own
    network.eval()
    full = save_weights(network, tmp_path / "full.safetensors")
    half = save_weights(network, tmp_path / "half.safetensors", half=True)
    assert half.stat().st_size < 0.55 * full.stat().st_size
    again = build_from(half)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert all(torch.equal(value, again.get_buffer(name)) for name, value in network.named_buffers())
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(image), network(image), rtol=0.01, atol=0.01)


def test_released_form_travels_through_a_file(tmp_path: Path) -> None:
    settings = {"output": "linear", "size": (64, 96), "unit": 0.1, "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    network = create_model("meter_xxs", **settings).eval()
    again = build_from(save_weights(network, tmp_path / "m.safetensors"))
    image = torch.rand(1, 3, 50, 70)
    with torch.no_grad():
        assert torch.equal(again(image), network(image))


def test_weights_by_name(network: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDE_WEIGHTS", str(tmp_path))
    path = save_weights(network, tmp_path / "rooms_transformer.safetensors")
    again = create_model("segformer", weights="rooms_transformer")
    assert (again.output, again.training) == ("sigmoid", False)
    assert find_weights("rooms_transformer") == path
    assert weights_digest("rooms_transformer") == weights_digest(path)
    with pytest.raises(FileNotFoundError, match=r"did you mean rooms_transformer\?"):
        create_model("segformer", weights="room_transformer")
    with pytest.raises(ValueError, match="are for segformer at scale 'lab', not for hu_resnet50"):
        create_model("hu_resnet50", weights="rooms_transformer")
    with pytest.raises(ValueError, match="not for segformer at scale 'paper'"):
        create_model("segformer", scale="paper", weights="rooms_transformer")


def test_missing_file(tmp_path: Path, network: nn.Module) -> None:
    for load in (lambda path: load_weights(network, path), read_record, build_from):
        with pytest.raises(FileNotFoundError, match="there is no weights file"):
            load(tmp_path / "none.safetensors")


def test_weights_that_do_not_fit(tmp_path: Path) -> None:
    path = save_weights(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 1, 1)), tmp_path / "a.safetensors")
    other = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(), nn.Conv2d(5, 1, 1))
    before = other[0].weight.clone()
    with pytest.raises(ValueError, match="do not fit") as caught:
        load_weights(other, path)
    text = str(caught.value)
    assert "missing: 2.weight, 2.bias" in text
    assert "left over: 1.bias, 1.weight" in text or "left over: 1.weight, 1.bias" in text
    assert "0.weight is (4, 3, 1, 1) and should be (5, 3, 1, 1)" in text
    assert torch.equal(other[0].weight, before)


def test_long_lists_are_cut(tmp_path: Path, network: nn.Module) -> None:
    path = save_weights(nn.Linear(1, 1), tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"missing: mean, std, .* and \d+ more; left over"):
        load_weights(network, path)


@pytest.mark.parametrize("keep", [0, 4, 200, 100_000])
def test_truncated_file(network: nn.Module, tmp_path: Path, keep: int) -> None:
    path = save_weights(network, tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"cut off, damaged or no weights file .*: delete it, then fetch it or train"):
        load_weights(network, path)
    with pytest.raises(ValueError, match="cut off"):
        build_from(path)


def test_file_without_a_network(tmp_path: Path) -> None:
    path = save_weights(nn.Linear(2, 1), tmp_path / "a.safetensors")
    assert read_record(path)["name"] is None
    with pytest.raises(ValueError, match="does not say which network"):
        build_from(path)


def test_values_that_cannot_be_stored(tmp_path: Path) -> None:
    module = nn.Linear(1, 1)
    nn.init.constant_(module.weight, 1e5)
    with pytest.raises(ValueError, match="half=False is needed"):
        save_weights(module, tmp_path / "a.safetensors", half=True)
    nn.init.constant_(module.weight, float("nan"))
    with pytest.raises(ValueError, match="the training diverged; nothing was written"):
        save_weights(module, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        save_weights(nn.Linear(1, 1), tmp_path / "a.pth")
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        save_weights(nn.Linear(1, 1), tmp_path / "a.safetensors", record={"path": tmp_path})
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_weights(nn.Linear(1, 1), tmp_path / "a.safetensors")
    before = path.read_bytes()

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(nn.Linear(1, 1), path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_foreign_checkpoints(tmp_path: Path) -> None:
    source, copy = nn.Linear(2, 1), nn.Linear(2, 1)
    torch.save(source.state_dict(), tmp_path / "a.pth")
    assert torch.equal(load_weights(copy, tmp_path / "a.pth").weight, source.weight)
    torch.save({"epoch": 3}, tmp_path / "b.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        load_weights(copy, tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:300])
    with pytest.raises(ValueError, match="cut off"):
        load_weights(copy, tmp_path / "c.pth")


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / "trap.pth").write_bytes(pickle.dumps(Trap(), protocol=2))
    torch.save({"weight": Trap()}, tmp_path / "trap2.pth")
    for name in ("trap.pth", "trap2.pth"):
        with pytest.raises(ValueError, match="cut off, damaged or no weights file"):
            load_weights(nn.Linear(1, 1), tmp_path / name)
    assert not (tmp_path / "sprung").exists()
