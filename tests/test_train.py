"""The training loop repeats, resumes, averages, and says when it fails."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn

from mdelib.augment import Augmentation
from mdelib.data.base import DepthBatch
from mdelib.train import TrainSettings, fit, learning_rate, pick_device

SETTINGS = TrainSettings(epochs=4, batch=3, ema=0.9, lr=0.02,
                         augmentation=Augmentation(flip=0.5, zoom=1.3, rotate=3, light=0.1))


class Toy(nn.Module):
    """Small, with batch norm and dropout, so that every kind of state is there."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.2)
        self.head = nn.Conv2d(6, 1, 1)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.norm(self.conv(x))))).exp()


@pytest.fixture
def views() -> DepthBatch:
    image = torch.rand(8, 3, 12, 16)
    depth = 1 + 2 * image.mean(1, keepdim=True)
    return DepthBatch(tuple("abcdefgh"), image, depth, torch.ones_like(depth).bool())


def l1(pred, target, mask):
    return (pred - target)[mask].abs().mean()


def trained(views, settings=SETTINGS, seed=1, **options):
    torch.manual_seed(0)
    network = Toy()
    return network, fit(network, views, l1, settings, seed=seed, **options)


def losses(history):
    return [record["loss"] for record in history]


def same(one: nn.Module, two: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


def test_it_learns(views):
    _, history = trained(views, TrainSettings(epochs=25, batch=4, lr=0.03))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert [record["epoch"] for record in history] == list(range(1, 26))


def test_the_same_seed_gives_the_same_network_and_another_seed_another(views):
    one, first = trained(views)
    two, second = trained(views)
    three, _ = trained(views, seed=2)
    assert losses(first) == losses(second) and same(one, two)
    assert not same(one, three)


@pytest.mark.parametrize("epochs_before", [1, 2, 3])
def test_a_stopped_training_ends_in_the_same_network(views, tmp_path: Path, epochs_before):
    whole, history = trained(views)

    def stop(epoch, epochs, record):
        if epoch == epochs_before:
            raise KeyboardInterrupt

    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(views, checkpoint=file, progress=stop)
    torch.manual_seed(99)  # whatever the process did in between
    network = Toy()
    resumed = fit(network, views, l1, SETTINGS, seed=1, checkpoint=file)
    assert losses(resumed) == losses(history) and same(whole, network)


def test_a_damaged_checkpoint_only_costs_time(views, tmp_path: Path):
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(b"PK\x03\x04 half a file")
    network, history = trained(views, checkpoint=file)
    assert same(network, trained(views)[0]) and len(history) == 4


def test_the_averaged_weights_are_kept(views):
    plain, _ = trained(views, SETTINGS.model_copy(update={"ema": 0.0}))
    averaged, _ = trained(views)
    assert not same(plain, averaged)


def test_no_epoch_changes_nothing(views):
    torch.manual_seed(0)
    fresh = Toy()
    network, history = trained(views, SETTINGS.model_copy(update={"epochs": 0}))
    assert history == [] and same(network, fresh) and not network.training


def test_full_precision_agrees_with_half_roughly(views):
    settings = TrainSettings(epochs=3, batch=4)
    half, full = (losses(trained(views, settings.model_copy(update={"precision": p}))[1])
                  for p in ("bf16-mixed", "32-true"))
    assert half == pytest.approx(full, rel=0.05) and half != full


def test_a_loss_that_is_not_finite_stops_with_its_place(views):
    with pytest.raises(FloatingPointError, match="epoch 1, step 1"):
        fit(Toy(), views, lambda pred, target, mask: pred.sum() * float("nan"), SETTINGS)


def test_the_learning_rate_rises_then_falls():
    settings = TrainSettings(lr=1.0, warmup=0.2, final_lr=0.1)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 20) and max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) in (19, 20)
    assert all(a <= b for a, b in pairwise(rates[:20])) and all(a >= b for a, b in pairwise(rates[20:]))
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert learning_rate(0, 1, settings) == 1.0


def test_devices():
    assert pick_device("cpu").type == "cpu"
    with pytest.raises(ValueError, match="unknown: expected auto"):
        pick_device("gpu please")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no GPU"):
            pick_device("cuda")
        assert pick_device("auto").type == "cpu"
