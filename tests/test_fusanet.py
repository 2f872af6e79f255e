"""FuSaNet's losses: values worked out by hand, Hu et al.'s terms as oracle, and maps where nothing is known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mdelib.fusanet import GAMMA, FuSaNetLoss, confidence_loss, fusanet_loss, sparse_loss
from mdelib.hessian import normalized_hessian_loss
from mdelib.losses import hu_terms
from mdelib.models.fusanet import Pass
from mdelib.points import SparsePoints

SIZES = ((24, 32), (12, 16), (6, 8), (3, 4), (2, 2))


def depth_map(size: tuple[int, int] = (24, 32), batch: int = 2) -> Tensor:
    return 1 + 4 * torch.rand(batch, 1, *size)


def maps_of(depth: Tensor, confidence: float = 0.5) -> Pass:
    """Five maps that agree with a constant truth, or random ones."""
    depths = tuple(torch.nn.functional.interpolate(depth, size=size, mode="nearest-exact") for size in SIZES)
    sure = tuple(torch.full_like(d, confidence) for d in depths)
    return Pass(depths, depths, sure, torch.zeros(len(depth), 1, *SIZES[0]))


def points_at(pixels: list[tuple[int, int]], depth: list[float], batch: int = 2) -> SparsePoints:
    count = len(pixels)
    return SparsePoints(torch.tensor(pixels).expand(batch, count, 2), torch.tensor(depth).expand(batch, count),
                        torch.ones(batch, count), torch.ones(batch, count, dtype=torch.bool))


NONE = SparsePoints.empty(2, 0, "cpu")


# confidence


def test_confidence_by_hand() -> None:
    pred, target = torch.tensor([[1.0, 3.0]])[None, None], torch.tensor([[1.0, 2.0]])[None, None]
    sure = torch.tensor([[0.5, 1.0]])[None, None]
    by_hand = (0.5 * (1 - math.log(0.5)) + 1.0 * (1 - math.log(1.5))) / 2
    assert confidence_loss(pred, target, sure).item() == pytest.approx(by_hand, rel=1e-6)
    only = torch.tensor([[True, False]])[None, None]
    assert confidence_loss(pred, target, sure, only).item() == pytest.approx(0.5 * (1 - math.log(0.5)), rel=1e-6)


@pytest.mark.parametrize(("error", "sign"), [(0.0, 1), (2.2, 1), (2.3, -1), (8.0, -1)])
def test_confidence_is_only_lowered_beyond_two_metres(error: float, sign: int) -> None:
    """1 - ln(|e| + 0.5) changes its sign at e - 0.5 = 2.218 m; training makes the loss large."""
    sure = torch.full((1, 1, 2, 2), 0.5, requires_grad=True)
    target = torch.full((1, 1, 2, 2), 3.0)
    confidence_loss(target + error, target, sure).backward()
    assert (sure.grad.sign() == sign).all()


def test_confidence_ignores_unknown_depth() -> None:
    pred, target = depth_map(), depth_map()
    mask = torch.rand_like(pred) > 0.5
    wrong = torch.where(mask, target, torch.nan)
    sure = torch.rand_like(pred)
    assert torch.equal(confidence_loss(pred, target, sure, mask), confidence_loss(pred, wrong, sure))
    with pytest.raises(ValueError, match="no valid pixel"):
        confidence_loss(pred, target, sure, torch.zeros_like(mask))


# sparse


def test_sparse_by_hand() -> None:
    target = torch.full((1, 1, 4, 4), 2.0)
    pred = target.clone()
    pred[0, 0, 1, 2], pred[0, 0, 3, 0] = 5.0, 1.0  # errors 3 and -1
    points = points_at([(1, 2), (0, 0)], [2.0, 2.0], 1)  # errors 3 and 0
    assert sparse_loss(pred, target, points).item() == pytest.approx(math.sqrt(9 / 2) / math.sqrt(10 / 16), rel=1e-5)


def test_sparse_is_one_where_points_are_like_the_rest() -> None:
    target = depth_map()
    assert sparse_loss(target + 0.7, target, points_at([(2, 3), (9, 9)], [0.0, 0.0])).item() != pytest.approx(1)
    here = points_at([(2, 3), (9, 9)], [0.0, 0.0])
    here = SparsePoints(here.pixels, here.gather(target)[:, 0], here.confidence, here.valid)
    assert sparse_loss(target + 0.7, target, here).item() == pytest.approx(1, rel=1e-4)


def test_a_larger_error_elsewhere_is_no_gain() -> None:
    """As printed, the gradient would push the dense error up; detached, only the points count."""
    target = torch.full((1, 1, 4, 4), 2.0)
    points = points_at([(1, 1)], [2.0], 1)
    gradients = []
    for detach in (True, False):
        pred = (target + 0.5).requires_grad_()
        sparse_loss(pred, target, points, detach=detach).backward()
        gradients.append(pred.grad)
    elsewhere = torch.ones(1, 1, 4, 4, dtype=torch.bool)
    elsewhere[0, 0, 1, 1] = False
    assert (gradients[0][elsewhere] == 0).all() and gradients[0][0, 0, 1, 1] > 0
    assert (gradients[1][elsewhere] < 0).all()


def test_sparse_without_points_or_without_errors() -> None:
    pred = depth_map().requires_grad_()
    nothing = sparse_loss(pred, depth_map(), NONE)
    assert nothing.item() == 0
    nothing.backward()
    assert (pred.grad == 0).all()
    target = torch.full((2, 1, 24, 32), 2.0)
    perfect = target.clone().requires_grad_()
    sparse_loss(perfect, target, points_at([(2, 2)], [2.0])).backward()
    assert torch.isfinite(perfect.grad).all()
    assert sparse_loss(pred, depth_map(), points_at([(2, 2)], [2.0]), torch.zeros(2, 1, 24, 32) > 0).item() == 0


# all together


def by_hand(depth: Tensor, target: Tensor, points: SparsePoints, epoch: int, weights: FuSaNetLoss) -> float:
    """Eq 5 of maps at one scale that is large enough for all terms."""
    terms = hu_terms(depth, target)
    dc = terms["depth"] + terms["gradient"] + terms["normal"] - confidence_loss(
        depth, target, torch.full_like(depth, 0.5)) / epoch
    return float(dc + weights.phi * sparse_loss(depth, target, points)
                 + weights.lam * normalized_hessian_loss(depth, target, sigma=1.0))


def test_the_finest_scale_is_the_sum_of_its_terms() -> None:
    depth, target = depth_map(), depth_map()
    points = points_at([(2, 2), (10, 20)], [2.0, 3.0])
    weights = FuSaNetLoss(gamma=(1, 0, 0, 0, 0), lam=0.5)
    whole = fusanet_loss(maps_of(depth), target, torch.ones_like(target) > 0, points, 3, weights)
    assert whole.item() == pytest.approx(by_hand(depth, target, points, 3, weights), rel=1e-5)


def test_scales_are_weighted_and_the_small_ones_keep_what_they_can() -> None:
    """A constant depth, 1 m wrong: gradients agree, so that every scale has the same log and normal terms."""
    target = torch.full((2, 1, 24, 32), 3.0)
    mask = torch.ones_like(target) > 0
    weights = FuSaNetLoss(phi=0, lam=0, psi=0)
    whole = fusanet_loss(maps_of(target + 1), target, mask, NONE, 1, weights)
    log, gradient = math.log(1.5), 2 * math.log(0.5)
    assert whole.item() == pytest.approx(sum(GAMMA) * log + sum(GAMMA[:4]) * gradient, rel=1e-5)  # 2x2: no Sobel


def test_switches_are_the_rows_of_table_7() -> None:
    depth, target = depth_map(), depth_map()
    mask, points = torch.ones_like(target) > 0, points_at([(2, 2), (10, 20)], [2.0, 3.0])

    def loss(**changes: float) -> float:
        return fusanet_loss(maps_of(depth), target, mask, points, 1, FuSaNetLoss(**changes)).item()

    s, h = loss(lam=0) - loss(phi=0, lam=0), loss(phi=0) - loss(phi=0, lam=0)
    assert s > 0 and h > 0
    assert loss() == pytest.approx(loss(phi=0, lam=0) + s + h, rel=1e-5)


def test_confidence_weighs_less_with_every_epoch_and_nothing_without_a_predictor() -> None:
    depth, target = depth_map(), depth_map()
    mask = torch.ones_like(target) > 0
    values = [fusanet_loss(maps_of(depth), target, mask, NONE, epoch).item() for epoch in (1, 2, 4)]
    silent = fusanet_loss(maps_of(depth), target, mask, NONE, 1, confident=False).item()
    assert values[0] - silent == pytest.approx(2 * (values[1] - silent), rel=1e-3)
    assert values[1] - silent == pytest.approx(2 * (values[2] - silent), rel=1e-3)


def test_unknown_depth_does_not_count() -> None:
    depth, target = depth_map((48, 64)), depth_map((48, 64))
    mask = torch.ones_like(target) > 0
    mask[..., :20, :] = False
    wrong = torch.where(mask, target, 0.0)
    one, two = (fusanet_loss(maps_of(depth), truth, mask, NONE, 1) for truth in (target, wrong))
    assert torch.equal(one, two) and torch.isfinite(one)


@pytest.mark.parametrize("known", [(0, 0), (11, 13)])
def test_a_single_known_pixel_is_enough(known: tuple[int, int]) -> None:
    """Coarse maps miss it, and no 3x3 neighbourhood is known."""
    depth = depth_map().requires_grad_()
    mask = torch.zeros(2, 1, 24, 32, dtype=torch.bool)
    mask[0, 0, known[0], known[1]] = True
    value = fusanet_loss(maps_of(depth), depth_map(), mask, points_at([known], [2.0]), 1)
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(depth.grad).all() and depth.grad.abs().sum() > 0


def test_nothing_known_is_refused() -> None:
    with pytest.raises(ValueError, match="no valid pixel in the batch"):
        fusanet_loss(maps_of(depth_map()), depth_map(), torch.zeros(2, 1, 24, 32) > 0, NONE, 1)
    with pytest.raises(ValueError, match="2 weights gamma for 5 depth maps"):
        fusanet_loss(maps_of(depth_map()), depth_map(), torch.ones(2, 1, 24, 32) > 0, NONE, 1,
                     FuSaNetLoss(gamma=(1.0, 1.0)))


def test_half_precision_maps_meet_a_float32_truth() -> None:
    depth = depth_map().bfloat16()
    value = fusanet_loss(maps_of(depth), depth_map(), torch.ones(2, 1, 24, 32) > 0, points_at([(2, 2)], [2.0]), 1)
    assert torch.isfinite(value)
