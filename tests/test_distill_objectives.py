"""The losses of a distillation against sums by hand, and what holes, crops and wrong sizes do."""

from __future__ import annotations

import math

import pytest
import torch

from mdelib.distill import depth_bins, depth_probability_map, dpm_loss, expected_depth
from mdelib.distill.objectives import CODED_SIGMA, RESPONSES, below_top, response_loss, tie_kd_loss
from mdelib.losses import mse, si_loss
from mdelib.similarity import ssim

EDGES = depth_bins(49, 1e-3, 10.0)
SIGMA = 0.15


@pytest.fixture
def maps(generator):
    """Logits and a teacher's depth, (2, 49, 16, 20) and (2, 1, 16, 20)."""
    logits = torch.randn(2, 49, 16, 20, generator=generator, dtype=torch.float64)
    return logits, 1 + 7 * torch.rand(2, 1, 16, 20, generator=generator, dtype=torch.float64)


def by_hand(logits, teacher, alpha, sigma, beta=10.0, **switches):
    direction = switches.pop("direction", "teacher_student")
    target = depth_probability_map(teacher, EDGES, sigma, **switches)
    divergence = dpm_loss(logits.softmax(1), target, direction=direction)
    depth = expected_depth(logits.softmax(1), EDGES)
    return beta * (alpha * divergence + (1 - alpha) * (1 - ssim(depth, teacher, variant="tiekd")))


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("switches", [{}, {"normalize": "linear"}, {"mass": "density"},
                                      {"direction": "student_teacher"}])
def test_the_loss_is_the_weighted_sum(maps, alpha, switches):
    logits, teacher = maps
    found = tie_kd_loss(logits, teacher, EDGES, sigma=0.3, alpha=alpha, **switches)
    torch.testing.assert_close(found, by_hand(logits, teacher, alpha, 0.3, **switches), rtol=1e-6, atol=1e-6)


def test_the_gradient_is_that_of_the_sum(maps):
    logits, teacher = (part[:, :, :12, :12].clone() for part in maps)
    first, second = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    tie_kd_loss(first, teacher, EDGES, sigma=SIGMA).backward()
    by_hand(second, teacher, 0.1, SIGMA).backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-6, atol=1e-9)


def test_beta_scales_everything(maps):
    logits, teacher = maps
    one, ten = (tie_kd_loss(logits, teacher, EDGES, sigma=SIGMA, beta=beta) for beta in (1.0, 10.0))
    torch.testing.assert_close(10 * one, ten)


def test_as_coded_the_given_sigma_is_forgotten(maps):
    logits, teacher = maps
    coded = tie_kd_loss(logits, teacher, EDGES, sigma=0.8, forward_sigma=False)
    torch.testing.assert_close(coded, tie_kd_loss(logits, teacher, EDGES, sigma=CODED_SIGMA))
    assert not torch.isclose(coded, tie_kd_loss(logits, teacher, EDGES, sigma=0.8))


def test_a_student_that_says_the_teachers_map_has_no_divergence(maps):
    _, teacher = maps
    target = depth_probability_map(teacher, EDGES, 0.3, normalize="linear")
    logits = target.clamp_min(1e-30).log()
    found = tie_kd_loss(logits, teacher, EDGES, sigma=0.3, normalize="linear", alpha=1.0)
    assert abs(float(found)) < 1e-6


def test_the_dtype_is_kept_and_half_precision_is_raised(maps):
    logits, teacher = maps
    assert tie_kd_loss(logits, teacher, EDGES, sigma=SIGMA).dtype == torch.float64
    half = tie_kd_loss(logits.bfloat16(), teacher.float(), EDGES, sigma=SIGMA)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half.double(), tie_kd_loss(logits, teacher, EDGES, sigma=SIGMA), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("hole", [0.0, -1.0, math.nan, math.inf])
def test_holes_have_no_influence_and_no_gradient(maps, hole):
    logits, teacher = maps
    holed = teacher.clone()
    holed[:, :, 3:6, 4:9] = hole
    mask = torch.ones_like(teacher, dtype=torch.bool)
    mask[:, :, 3:6, 4:9] = False
    logits = logits.clone().requires_grad_()
    found = tie_kd_loss(logits, holed, EDGES, sigma=SIGMA, alpha=1.0)
    torch.testing.assert_close(found, tie_kd_loss(logits, teacher, EDGES, mask, sigma=SIGMA, alpha=1.0))
    found.backward()
    assert logits.grad[:, :, 3:6, 4:9].abs().max() == 0 < logits.grad.abs().max()
    both = tie_kd_loss(logits, holed, EDGES, sigma=SIGMA)
    torch.testing.assert_close(both, tie_kd_loss(logits, teacher, EDGES, mask, sigma=SIGMA))
    pred = expected_depth(logits.detach().softmax(1), EDGES)
    for kind in RESPONSES:
        torch.testing.assert_close(response_loss(pred, holed, kind=kind),
                                   response_loss(pred, teacher, mask, kind=kind))


def test_a_teacher_of_nothing_but_holes_is_refused(maps):
    logits, teacher = maps
    for alpha in (0.0, 0.1):
        with pytest.raises(ValueError, match="no (valid )?pixel"):
            tie_kd_loss(logits, torch.zeros_like(teacher), EDGES, sigma=SIGMA, alpha=alpha)
    with pytest.raises(ValueError, match="no valid pixel"):
        response_loss(teacher, torch.full_like(teacher, math.nan))


def test_a_depth_outside_the_bins_counts_as_the_nearest_edge(maps):
    logits, teacher = maps
    far, edge = teacher.clone(), teacher.clone()
    far[:, :, :4], edge[:, :, :4] = 60.0, 10.0
    torch.testing.assert_close(tie_kd_loss(logits, far, EDGES, sigma=SIGMA, alpha=1.0),
                               tie_kd_loss(logits, edge, EDGES, sigma=SIGMA, alpha=1.0))


def test_the_top_rows_are_sliced_off_for_every_loss(maps):
    logits, teacher = maps
    pred = expected_depth(logits.softmax(1), EDGES)
    torch.testing.assert_close(
        tie_kd_loss(logits, teacher, EDGES, sigma=SIGMA, top_rows=5),
        tie_kd_loss(logits[..., 5:, :], teacher[..., 5:, :], EDGES, sigma=SIGMA))
    for kind in RESPONSES:
        torch.testing.assert_close(response_loss(pred, teacher, kind=kind, top_rows=5),
                                   response_loss(pred[..., 5:, :], teacher[..., 5:, :], kind=kind))
    changed = teacher.clone()
    changed[..., :5, :] = 9.0
    torch.testing.assert_close(response_loss(pred, changed, kind="mse", top_rows=5),
                               response_loss(pred, teacher, kind="mse", top_rows=5))


def test_rows_that_cannot_be_left_out():
    part = torch.zeros(1, 1, 4, 4)
    assert below_top(None, 2) is None and below_top(part, 0) is part and below_top(part, 3).shape[-2] == 1
    for rows in (-1, 4, 9):
        with pytest.raises(ValueError, match="can be left out"):
            below_top(part, rows)


def test_response_losses_are_sums_of_their_parts(maps):
    logits, teacher = maps
    pred = expected_depth(logits.softmax(1), EDGES)
    similar = 1.5 * (1 - ssim(pred, teacher, variant="tiekd"))
    wanted = {"ssim": similar, "mse": (pred - teacher).square().mean(), "si": si_loss(pred, teacher),
              "ssim_si": similar + si_loss(pred, teacher), "ssim_mse": similar + mse(pred, teacher)}
    assert wanted.keys() == set(RESPONSES)
    for kind, value in wanted.items():
        torch.testing.assert_close(response_loss(pred, teacher, kind=kind), value)
    torch.testing.assert_close(response_loss(pred, teacher, kind="ssim", ssim_weight=3.0), 2 * similar)
    # zeros that count as padding make a border of the map, so that even a perfect copy is at 1
    torch.testing.assert_close(response_loss(teacher, teacher, kind="ssim_mse"), torch.zeros((), dtype=torch.float64))


def test_bad_input(maps):
    logits, teacher = maps
    with pytest.raises(ValueError, match="different sizes"):
        tie_kd_loss(logits, teacher[..., :8, :10], EDGES, sigma=SIGMA)
    with pytest.raises(ValueError, match="different sizes"):
        response_loss(teacher, teacher[..., :8, :10])
    with pytest.raises(ValueError, match="floating-point"):
        tie_kd_loss(logits, teacher, depth_bins(48, 1e-3, 10.0), sigma=SIGMA)
    for sigma in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="sigma"):
            tie_kd_loss(logits, teacher, EDGES, sigma=sigma)
    for alpha, beta in ((-0.1, 1.0), (1.5, 1.0), (0.5, 0.0), (math.nan, 1.0)):
        with pytest.raises(ValueError, match="alpha"):
            tie_kd_loss(logits, teacher, EDGES, sigma=SIGMA, alpha=alpha, beta=beta)
    with pytest.raises(ValueError, match="kind"):
        response_loss(teacher, teacher, kind="l1")
    with pytest.raises(ValueError, match="direction"):
        tie_kd_loss(logits, teacher, EDGES, sigma=SIGMA, direction="both")
    with pytest.raises(ValueError, match="at least two"):
        depth_bins(1)
