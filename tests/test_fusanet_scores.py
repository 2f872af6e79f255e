"""Scores of a FuSaNet's points and confidence, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from mdelib.data.base import DataInfo, DepthData, View
from mdelib.evaluation import evaluate
from mdelib.fusanet_scores import fusanet_scores, point_errors, rank_correlation
from mdelib.models import create_model
from mdelib.models.fusanet import FuSaNet, Pass, Prediction
from mdelib.points import SparsePoints

SIZE = (32, 48)
CELLS = (8, 12)


def toy(count: int = 3) -> DepthData:
    random = torch.Generator().manual_seed(5)
    coarse = torch.rand(count, 3, 8, 12, generator=random)
    image = torch.nn.functional.interpolate(coarse, size=SIZE, mode="bicubic").clamp(0, 1)
    depth = 1 + 3 * torch.rand(count, 1, *SIZE, generator=random)
    mask = torch.rand(count, 1, *SIZE, generator=random) > 0.2

    def read(name: str) -> View:
        return View(name, image[int(name)], depth[int(name)], mask[int(name)])

    return DepthData(DataInfo("toy", "Toy", 1e-3, 10.0), "test", [str(i) for i in range(count)], read, "toy")


def network(**options) -> FuSaNet:
    torch.manual_seed(1)
    return create_model("fusanet", focal=0.81, salient=6, **options).eval()


def prediction(first: Tensor, last: Tensor, confidence: Tensor, salient: list[tuple[int, int]] | None) -> Prediction:
    """At the image's size `first` and `last`; confidence (1, 1, 8, 12) in cells; salient places in pixels."""
    maps = Pass((first,), (first,), (confidence,), first)
    points = None if salient is None else SparsePoints(
        torch.tensor([salient]), torch.ones(1, len(salient)), torch.ones(1, len(salient)),
        torch.ones(1, len(salient), dtype=torch.bool))
    whole = torch.nn.functional.interpolate(confidence, size=SIZE, mode="nearest")
    return Prediction(last, maps, maps, None, points, first, whole, whole)


def by_hand() -> tuple[Prediction, Tensor, Tensor]:
    """Depth 2 m; the first pass is 1 m wrong, but for the left half, where it is right and sure."""
    depth = torch.full((1, 1, *SIZE), 2.0)
    first = depth + 1
    first[..., :SIZE[1] // 2] = 2.0
    confidence = torch.full((1, 1, *CELLS), 0.2)
    confidence[..., :CELLS[1] // 2] = 0.9
    return prediction(first, depth + 0.5, confidence, [(3, 3), (9, 40), (9, 41), (9, 42)]), depth, first


def test_errors_at_places_by_hand() -> None:
    found, depth, _ = by_hand()
    row, = point_errors(found, torch.rand(1, 3, *SIZE), depth, torch.ones_like(depth) > 0, count=4)
    expected = {"first_rmse": math.sqrt(0.5), "first_abs_rel": 0.25, "last_rmse": 0.5, "last_abs_rel": 0.25,
                "rmse_salient": math.sqrt(3 / 4), "abs_rel_salient": 3 / 8, "rmse_confident": 0.0,
                "abs_rel_confident": 0.0, "confidence": 0.55, "confidence_error": -1.0}
    assert {key: row[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert set(row) == {*expected, "rmse_random", "abs_rel_random", "rmse_sift", "abs_rel_sift"}


def test_unknown_depth_is_no_error_and_places_without_any_have_none() -> None:
    found, depth, _ = by_hand()
    valid = torch.ones_like(depth) > 0
    valid[..., 9, 41:43] = False
    depth[~valid] = torch.nan
    row, = point_errors(found, torch.rand(1, 3, *SIZE), depth, valid, count=4)
    assert row["rmse_salient"] == pytest.approx(math.sqrt(1 / 2))
    valid[..., 9, 40] = valid[..., 3, 3] = False
    row, = point_errors(found, torch.full((1, 3, *SIZE), 0.5), depth, valid, count=4)
    assert math.isnan(row["rmse_salient"]) and math.isnan(row["abs_rel_sift"]) and row["rmse_confident"] == 0


def test_random_places_are_like_the_whole() -> None:
    found, depth, _ = by_hand()
    row, = point_errors(found, torch.rand(1, 3, *SIZE), depth, torch.ones_like(depth) > 0, count=600)
    assert row["rmse_random"] == pytest.approx(row["first_rmse"], abs=0.05)


def test_a_network_without_saliency_net_has_no_salient_points() -> None:
    found, depth, _ = by_hand()
    found = found._replace(points=None)
    row, = point_errors(found, torch.rand(1, 3, *SIZE), depth, torch.ones_like(depth) > 0, count=4)
    assert "rmse_salient" not in row and "rmse_random" in row


def test_scores_are_those_of_evaluate_and_more() -> None:
    names, per_image, further = fusanet_scores(network(), toy(), "rooms", size=SIZE)
    _, wanted = evaluate(network(), toy(), "rooms", size=SIZE)
    assert names == toy().names and further == {}
    for key, value in wanted.items():
        torch.testing.assert_close(per_image[key], value)
    more = set(per_image) - set(wanted)
    assert {"rmse_salient", "rmse_random", "guided_rmse", "leaning_abs_rel", "confidence_error"} <= more
    assert all(len(value) == 3 and value.dtype == torch.float64 for value in per_image.values())
    torch.testing.assert_close(per_image["last_rmse"], per_image["rmse"], rtol=1e-4, atol=1e-5)


def test_batches_do_not_change_scores() -> None:
    one, two = (fusanet_scores(network(), toy(), "rooms", size=SIZE, batch=batch)[1] for batch in (3, 2))
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(one[key], two[key], rtol=1e-3, atol=1e-4, equal_nan=True, msg=key)


def test_without_parts() -> None:
    single = fusanet_scores(network(saliency=False), toy(2), "rooms", size=SIZE)[1]
    assert "leaning_rmse" not in single and "guided_rmse" in single
    sure = fusanet_scores(network(confidence=False), toy(2), "rooms", size=SIZE)[1]
    assert sure["confidence_error"].isnan().all() and (sure["confidence"] == 1).all()


def test_rank_correlation_is_scipys(generator: torch.Generator) -> None:
    one = torch.rand(50, generator=generator).round(decimals=1)  # with ties
    two = torch.rand(50, generator=generator)
    assert rank_correlation(one, two) == pytest.approx(stats.spearmanr(one, two).statistic)
    assert rank_correlation(one, one.exp()) == pytest.approx(1) and rank_correlation(one, -one) == pytest.approx(-1)
    assert math.isnan(rank_correlation(torch.ones(5), one[:5]))
