"""FuSaNet in training: stopped and resumed, with and without points, and its share of the augmentation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mdelib import fusanet_training
from mdelib.data.base import DepthBatch
from mdelib.fusanet import FuSaNetLoss
from mdelib.fusanet_training import FuSaNetTraining, drop_window
from mdelib.models import create_model
from mdelib.points import SparsePoints
from mdelib.train import TrainSettings, fit

SIZE = (48, 64)
SCHEDULE = TrainSettings(epochs=2, batch=2, lr=1e-3, precision="32-true", ema=0.9,
                         augmentation={"flip": 0.5, "rotate": 5, "light": 0.2})


def batch(count: int = 4) -> DepthBatch:
    """Pictures with corners for SIFT to find."""
    coarse = torch.rand(count, 3, 12, 16)
    image = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic").clamp(0, 1)
    depth = 1 + 3 * torch.nn.functional.interpolate(torch.rand(count, 1, 6, 8), size=SIZE, mode="bilinear")
    return DepthBatch(tuple(map(str, range(count))), image, depth, torch.ones_like(depth, dtype=torch.bool))


def training(**options) -> FuSaNetTraining:
    torch.manual_seed(3)
    return FuSaNetTraining(create_model("fusanet", focal=0.81), **{"steps": 2, "recolour": None, **options})


def test_forward_hands_the_image_on() -> None:
    image = torch.rand(2, 3, *SIZE)
    assert training()(image) is image


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_that_was_stopped_ends_as_if_it_had_not_been(tmp_path: Path, precision: str) -> None:
    settings, half = SCHEDULE.model_copy(update={"precision": precision}), precision != "32-true"
    whole, file, views = training(half=half), tmp_path / "checkpoint.pt", batch()
    history = fit(whole, views, whole.loss, settings)

    class Killed(Exception):
        pass

    def stop(*_: object) -> None:
        raise Killed

    begun = training(half=half)
    with pytest.raises(Killed):
        fit(begun, views, begun.loss, settings, checkpoint=file, progress=stop)
    resumed = training(half=half)
    again = fit(resumed, views, resumed.loss, settings, checkpoint=file)
    assert [epoch["loss"] for epoch in again] == [epoch["loss"] for epoch in history]
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def test_it_learns() -> None:
    views = batch()
    bright = 1 + 8 * views.image.mean(1, keepdim=True)  # 5 m on average; training starts from 2.5 m
    views = DepthBatch(views.names, views.image, bright, views.mask)
    both = training(steps=1, drop=0.0, zero_share=1.0, weights=FuSaNetLoss(phi=0, lam=0, psi=0, mu=0, theta=0))
    history = fit(both, views, both.loss, TrainSettings(epochs=10, batch=4, lr=5e-3, precision="32-true"))
    assert history[-1]["loss"] < history[0]["loss"] - 0.4


def test_the_epoch_counts_steps_and_is_kept() -> None:
    views, both = batch(), training(steps=2)
    assert both.epoch == 1
    fit(both, views, both.loss, SCHEDULE)
    assert int(both.step) == 4 and both.epoch == 3
    other = training(steps=2)
    other.load_state_dict(both.state_dict())
    assert other.epoch == 3
    before = int(both.step)
    both.eval().loss(views.image, views.depth, views.mask)
    assert int(both.step) == before


def test_what_fit_sees_is_the_network_and_a_counter() -> None:
    both = training()
    extra = both.state_dict().keys() - {f"network.{name}" for name in both.network.state_dict()}
    assert extra == {"step"}


def given(monkeypatch: pytest.MonkeyPatch, share: float, steps: int = 40) -> list[int]:
    """How many guiding points an image gets in each of some steps."""
    counts: list[int] = []
    both, views = training(zero_share=share), batch(2)

    def watch(image: torch.Tensor, points: SparsePoints) -> None:
        counts.append(points.depth.shape[1])
        raise InterruptedError

    monkeypatch.setattr(both.network, "predict", watch)
    for _ in range(steps):
        with pytest.raises(InterruptedError):
            both.loss(views.image, views.depth, views.mask)
    return counts


def test_shares_of_steps_without_points(monkeypatch: pytest.MonkeyPatch) -> None:
    assert given(monkeypatch, 1.0) == [0] * 40
    assert 0 not in given(monkeypatch, 0.0)
    some = given(monkeypatch, 0.5, 200)
    assert 0.35 < sum(count == 0 for count in some) / 200 < 0.65


def test_guiding_points_hold_the_true_depth_where_the_network_saw_it(monkeypatch: pytest.MonkeyPatch) -> None:
    both, views, seen = training(zero_share=0.0), batch(2), []

    def watch(image: torch.Tensor, points: SparsePoints) -> None:
        seen.append((image, points))
        raise InterruptedError

    monkeypatch.setattr(both.network, "predict", watch)
    with pytest.raises(InterruptedError):
        both.loss(views.image, views.depth, views.mask)
    image, points = seen[0]
    assert points.valid.any()
    torch.testing.assert_close(points.gather(views.depth)[:, 0][points.valid], points.depth[points.valid])
    black = (image == 0).all(1, keepdim=True)  # the dropped windows: nothing is known there
    assert not (points.gather(black.float())[:, 0][points.valid] > 0).any()


def test_a_flat_image_has_no_keypoint_and_still_trains() -> None:
    both = training(zero_share=0.0, drop=0.0)
    image, depth = torch.full((2, 3, *SIZE), 0.4), 1 + torch.rand(2, 1, *SIZE)
    value = both.loss(image, depth, torch.ones_like(depth, dtype=torch.bool))
    value.backward()
    assert torch.isfinite(value) and all(torch.isfinite(p.grad).all() for p in both.parameters() if p.grad is not None)


def test_points_of_a_missing_saliency_net_and_of_a_missing_predictor() -> None:
    views = batch(2)
    for options in ({"saliency": False}, {"confidence": False}):
        network = create_model("fusanet", focal=0.81, **options)
        value = FuSaNetTraining(network, steps=1, recolour=None).loss(views.image, views.depth, views.mask)
        value.backward()
        assert torch.isfinite(value)


def test_losses_are_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("called")

    for name in ("sparse_loss", "normalized_hessian_loss", "confidence_loss"):
        monkeypatch.setattr(f"mdelib.fusanet.{name}", refuse)
    views = batch(2)
    both = training(weights=FuSaNetLoss(phi=0, lam=0, psi=0))
    assert torch.isfinite(both.loss(views.image, views.depth, views.mask))


def test_both_passes_are_held_to_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(fusanet_training, "fusanet_loss", lambda maps, *_, **__: calls.append(maps) or torch.ones(()))
    views = batch(2)
    assert training().loss(views.image, views.depth, views.mask) == 1 and len(calls) == 2
    torch.manual_seed(0)
    single = FuSaNetTraining(create_model("fusanet", focal=0.81, saliency=False), steps=1, recolour=None)
    single.loss(views.image, views.depth, views.mask)
    assert len(calls) == 3


# windows


def test_windows_are_black_unknown_and_rectangles() -> None:
    image, mask = 0.1 + 0.9 * torch.rand(64, 3, 40, 60), torch.ones(64, 1, 40, 60, dtype=torch.bool)
    dropped, known = drop_window(image, mask, share=0.5, largest=0.3)
    black = (dropped == 0).all(1, keepdim=True)
    assert torch.equal(black, ~known)
    assert torch.equal(torch.where(known, image, 0.0), dropped)
    hit = black.flatten(1).any(1)
    assert 0.3 < hit.float().mean() < 0.7
    for one in black[hit]:
        rows, columns = one[0].any(1), one[0].any(0)
        assert one.sum() == rows.sum() * columns.sum()
        assert 3 <= rows.sum() <= 13 and 5 <= columns.sum() <= 19


def test_windows_follow_the_seed_and_their_share() -> None:
    image, mask = torch.rand(8, 3, 20, 30), torch.ones(8, 1, 20, 30, dtype=torch.bool)
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(drop_window(image, mask)[1])
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])
    assert torch.equal(drop_window(image, mask, share=0.0)[0], image)
    assert (~drop_window(image, mask, share=1.0)[1]).flatten(1).any(1).all()


def test_colours_change_in_training_alone() -> None:
    views, seen = batch(2), []
    both = training(recolour=(0.2, 0.3, 0.0), drop=0.0, zero_share=1.0)
    predict = both.network.predict
    both.network.predict = lambda image, points: seen.append(image) or predict(image, points)
    both.loss(views.image, views.depth, views.mask)
    both.eval().loss(views.image, views.depth, views.mask)
    assert not torch.allclose(seen[0], views.image) and torch.equal(seen[1], views.image)


@pytest.mark.parametrize("options", [{"zero_share": 1.2}, {"drop": -0.1}, {"steps": 0}])
def test_bad_options(options: dict) -> None:
    with pytest.raises(ValueError, match="shares between 0 and 1"):
        training(**options)


def test_a_batch_without_depth_is_refused() -> None:
    with pytest.raises(ValueError, match="no valid pixel"):
        training().loss(torch.rand(2, 3, *SIZE), torch.zeros(2, 1, *SIZE), torch.zeros(2, 1, *SIZE) > 0)
