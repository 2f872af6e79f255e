"""One prediction under many conventions: agreement with the library's own scoring, and hand-worked toys."""

from __future__ import annotations

import math

import pytest
import torch

from mdelib.conventions import Predicted, breakages, one_at_a_time, predict_views, resampled, scaled_protocol
from mdelib.data.base import DepthBatch
from mdelib.evaluation import score
from mdelib.metrics import depth_metrics
from mdelib.protocols import PROTOCOLS


@pytest.fixture
def predicted(generator: torch.Generator) -> Predicted:
    target = 1 + 6 * torch.rand(4, 1, 48, 64, generator=generator)
    plain = target * (0.8 + 0.5 * torch.rand(target.shape, generator=generator))
    return Predicted(plain, plain * 1.1, target, torch.rand(target.shape, generator=generator) < 0.8)


@pytest.mark.parametrize("name", ["bts_nyu", "eigen2014_nyu", "hu2019_nyu", "meter_nyu", "affine_nyu", "rooms"])
def test_scores_as_evaluation_does(predicted: Predicted, name: str) -> None:
    protocol = scaled_protocol(name, (48, 64))
    wanted = score(predicted.plain, predicted.target, predicted.mask, protocol)
    assert predicted.score(protocol) == pytest.approx(wanted, rel=1e-12)


def test_mirror_average_is_used_only_where_the_protocol_says(predicted: Predicted) -> None:
    flipped = score(predicted.mirrored, predicted.target, predicted.mask, "adabins_nyu")
    assert predicted.score("adabins_nyu") == pytest.approx(flipped)
    assert predicted.score("bts_nyu")["rmse"] != pytest.approx(flipped["rmse"])


def test_changed_moves_both_predictions(predicted: Predicted) -> None:
    double = predicted.changed(lambda depth: 2 * depth)
    assert torch.equal(double.plain, 2 * predicted.plain)
    assert torch.equal(double.mirrored, 2 * predicted.mirrored)
    assert double.target is predicted.target


def test_predict_views_averages_with_the_mirror_image() -> None:
    image = torch.rand(2, 3, 6, 8)
    views = DepthBatch(("a", "b"), image, torch.ones(2, 1, 6, 8), torch.ones(2, 1, 6, 8, dtype=torch.bool))
    ramp = torch.arange(1.0, 9.0).expand(2, 1, 6, 8)
    made = predict_views(lambda batch: ramp[:len(batch)], views)  # sees no picture: its mirror image is the mean ramp
    assert torch.equal(made.plain, ramp)
    assert torch.allclose(made.mirrored, torch.full_like(ramp, 4.5))


def test_predict_views_sees_a_small_picture_and_answers_at_the_truths_size() -> None:
    views = DepthBatch(("a",), torch.rand(1, 3, 12, 16), torch.ones(1, 1, 12, 16), torch.ones(1, 1, 12, 16).bool())
    seen = []

    def network(batch: torch.Tensor) -> torch.Tensor:
        seen.append(batch.shape[-2:])
        return batch.mean(1, keepdim=True) + 1

    made = predict_views(network, views, size=(6, 8))
    assert set(seen) == {(6, 8)}
    assert made.plain.shape == made.mirrored.shape == (1, 1, 12, 16)


def test_resolution_scales_with_the_truth() -> None:
    assert scaled_protocol("hu2019_nyu", (96, 128)).resolution == (48, 64)
    assert scaled_protocol("hu2019_nyu", (480, 640)) == PROTOCOLS["hu2019_nyu"]
    assert scaled_protocol("meter_nyu", (4, 4)).resolution == (1, 1)
    assert scaled_protocol("bts_nyu", (96, 128)) is PROTOCOLS["bts_nyu"]


def test_each_change_moves_exactly_one_convention() -> None:
    base = PROTOCOLS["bts_nyu"]
    for words, moved in one_at_a_time(base, (96, 128)).items():
        different = [field for field in vars(base) if getattr(base, field) != getattr(moved, field)]
        assert len(different) == 1, words


def test_breakages_have_one_rmse_and_known_blind_spots(generator: torch.Generator) -> None:
    rows = torch.linspace(6, 1.5, 40).view(1, 1, 40, 1).expand(1, 1, 40, 60)
    depth = rows + (torch.arange(60) >= 30).float() * 0.8
    mask = torch.ones(depth.shape, dtype=torch.bool)
    scores = {word: depth_metrics(broken, depth, mask) for word, broken in breakages(depth, mask, rmse=0.2).items()}
    for word, measured in scores.items():
        assert measured["rmse"] == pytest.approx(0.2, rel=1e-3), word
    assert scores["scale"]["si"] == pytest.approx(0, abs=1e-9)
    assert scores["shift"]["imae"] > 0
    assert scores["near quarter"]["irmse"] > 3 * scores["far quarter"]["irmse"]
    assert 1 - scores["outliers"]["delta1"] <= 0.011


def test_breakages_keep_to_the_mask_and_the_blurs_size() -> None:
    depth = torch.full((1, 1, 20, 20), 2.0)
    depth[..., 10:] = 4.0
    mask = torch.zeros(depth.shape, dtype=torch.bool)
    mask[..., 4:16] = True
    made = breakages(depth, mask)
    sizes = {word: float((broken - depth)[mask].square().mean().sqrt()) for word, broken in made.items()}
    assert max(sizes.values()) == pytest.approx(min(sizes.values()), rel=1e-3)
    assert torch.equal(made["noise"], breakages(depth, mask)["noise"])
    assert not torch.equal(made["noise"], breakages(depth, mask, seed=1)["noise"])
    with pytest.raises(ValueError, match="no pixel"):
        breakages(depth, torch.zeros_like(mask))


def test_interval_of_equal_views_is_a_point() -> None:
    same = {"rmse": torch.full((7,), 0.5), "pixels": torch.full((7,), 10.0)}
    for pooling in ("image", "pixel", "hu"):
        assert resampled(same, "rmse", pooling, draws=50) == pytest.approx((0.5, 0.5))


def test_interval_holds_the_pooled_value_and_narrows_with_views(predicted: Predicted) -> None:
    random = torch.Generator().manual_seed(0)
    values = {"rmse": torch.rand(400, generator=random), "pixels": torch.randint(1, 99, (400,), generator=random)}
    weights = values["pixels"].double()
    pooled = {"image": values["rmse"].mean(), "hu": values["rmse"].square().mean().sqrt(),
              "pixel": ((weights * values["rmse"].square()).sum() / weights.sum()).sqrt()}
    for pooling, value in pooled.items():
        low, high = resampled(values, "rmse", pooling)
        assert low < float(value) < high
    low, high = resampled(values, "rmse")
    normal = 2 * 1.96 * float(values["rmse"].std()) / math.sqrt(400)  # the closed form for a mean of many
    assert high - low == pytest.approx(normal, rel=0.1)


def test_interval_refuses_silog_over_pixels(predicted: Predicted) -> None:
    with pytest.raises(ValueError, match="silog"):
        resampled(predicted.per_image("eigen2014_nyu"), "silog", "pixel")
