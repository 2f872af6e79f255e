"""Transport losses against POT's exact solvers, toys worked out by hand, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import ot
import pytest
import torch
import torch.nn.functional as F

from mdelib.complexity import time_in_turns
from mdelib.transport import (
    GridCost,
    depth_mass,
    entropic_potentials,
    entropic_transport,
    image_transport,
    line_transport,
    pool_area,
    sort_depths,
    transport_loss,
)

READINGS = [("space", "depth"), ("depth", "depth"), ("depth", "uniform"), ("space-depth", "depth"),
            ("space-depth", "uniform")]
SMALL = (6, 8)


def smooth_map(generator, size, batch=1):
    coarse = torch.rand(batch, 1, 4, 5, generator=generator, dtype=torch.float64)
    return 1 + 6 * F.interpolate(coarse, size=size, mode="bilinear", align_corners=True)


def random_pair(generator, shape=(2, 1, *SMALL), dtype=torch.float64):
    pred, target = (torch.rand(shape, generator=generator, dtype=torch.float64) * 8 + 0.5 for _ in range(2))
    return pred.to(dtype), target.to(dtype)


def row(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype).reshape(1, 1, 1, -1)


def exact_line(pred, target, mass):
    """One image's depths, (n,) each, by POT's exact solver."""
    x, y = pred.double().numpy(), target.double().numpy()
    a, b = (x / x.sum(), y / y.sum()) if mass == "depth" else (None, None)
    return float(ot.emd2_1d(x, y, a, b, metric="sqeuclidean"))


def exact_points(points, a, b):
    """POT's network simplex; points are (x, y), (N, d) each."""
    cost = sum((p[:, None] - q[None]) ** 2 for p, q in zip(points[0].T, points[1].T, strict=True))
    some = (a > 0, b > 0)
    return float(ot.emd2(a[some[0]], b[some[1]], np.ascontiguousarray(cost[some[0]][:, some[1]])))


def exact_space(pred, target, mask):
    """(H, W) maps; squared pixels."""
    place = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in pred.shape), indexing="ij"), -1).reshape(-1, 2)
    a, b = ((depth * mask).numpy().ravel() for depth in (pred, target))
    return exact_points((place, place), a / a.sum(), b / b.sum())


# ground="depth"

def test_depths_worked_by_hand():
    """Depths 1, 3 and 3, 5: by mass, 1/4 goes from 1 to 3 and 5/8 from 3 to 5; by pixel, both move by 2."""
    assert float(transport_loss(row(1, 3), row(3, 5), ground="depth")) == pytest.approx(0.25 * 4 + 0.625 * 4)
    assert float(transport_loss(row(1, 3), row(3, 5), ground="depth", mass="uniform")) == pytest.approx(4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("mass", ["depth", "uniform"])
def test_depth_equals_pot_with_masks_of_different_sizes(generator, mass, dtype):
    pred, target = random_pair(generator, (4, 1, 40, 50), dtype)
    pred[3] = target[3] * 1.01  # a small cost from large depths
    mask = torch.rand(pred.shape, generator=generator) < torch.tensor([0.9, 0.5, 0.02, 1.1])[:, None, None, None]
    got = image_transport(pred, target, mask, ground="depth", mass=mass)
    expected = [exact_line(p[m], t[m], mass) for p, t, m in zip(pred, target, mask, strict=True)]
    assert got.dtype == dtype and got.tolist() == pytest.approx(expected, rel=1e-6)
    assert float(transport_loss(pred, target, mask, ground="depth", mass=mass)) == pytest.approx(np.mean(expected))


def test_line_of_unequal_numbers_of_atoms_equals_pot(generator):
    x, y = (torch.rand(1, n, generator=generator, dtype=torch.float64).sort(1).values for n in (7, 30))
    a, b = (torch.rand(1, n, generator=generator, dtype=torch.float64) for n in (7, 30))
    expected = exact_points((x[0, :, None].numpy(), y[0, :, None].numpy()), (a[0] / a.sum()).numpy(),
                            (b[0] / b.sum()).numpy())
    assert float(line_transport(x, y, a, b)) == pytest.approx(expected, rel=1e-9)
    assert float(line_transport(y, x, b, a)) == pytest.approx(expected, rel=1e-9)


def test_line_gradients(generator):
    arguments = [torch.rand(2, n, generator=generator, dtype=torch.float64) for n in (5, 8, 5, 8)]
    arguments[:2] = [positions.sort(1).values for positions in arguments[:2]]
    assert torch.autograd.gradcheck(line_transport, [value.requires_grad_() for value in arguments])


@pytest.mark.parametrize("mass", ["depth", "uniform"])
def test_depth_gradients_with_a_mask(generator, mass):
    pred, target = random_pair(generator, (2, 1, 3, 4))
    mask = torch.rand(pred.shape, generator=generator) > 0.3
    pred.requires_grad_(), target.requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p, t: transport_loss(p, t, mask, ground="depth", mass=mass), (pred, target))


def test_sorting_with_and_without_gradient_is_the_same(generator):
    depth, valid = torch.randn(3, 50, generator=generator), torch.rand(3, 50, generator=generator) > 0.4
    plain, tracked = sort_depths(depth, valid), sort_depths(depth.clone().requires_grad_(), valid)
    assert torch.equal(plain, tracked) and tracked.requires_grad
    assert torch.equal(plain[1, : int(valid[1].sum())], depth[1][valid[1]].sort().values)


@pytest.mark.parametrize("mass", ["depth", "uniform"])
def test_three_times_as_fast_as_pot(generator, mass):
    pred, target = random_pair(generator, (8, 1, 192, 256), torch.float32)
    x, y = (depth.flatten(1).T.contiguous() for depth in (pred, target))
    weights = (x / x.sum(0), y / y.sum(0)) if mass == "depth" else (None, None)
    seconds = time_in_turns({"theirs": lambda: ot.wasserstein_1d(x, y, *weights, p=2),
                             "ours": lambda: transport_loss(pred, target, ground="depth", mass=mass)},
                            rounds=3, warm_up=0)
    theirs, ours = min(seconds["theirs"]), min(seconds["ours"])
    assert theirs > 3 * ours, f"{theirs / ours:.1f} times"


def test_time_grows_as_sorting_does(generator):
    """16 times the pixels, up to 480x640: about 20 times the time, where a quadratic method would take 256 times."""
    calls = {}
    for name, size in (("small", (120, 160)), ("large", (480, 640))):
        pair = random_pair(generator, (1, 1, *size), torch.float32)
        calls[name] = lambda pair=pair: transport_loss(*pair, ground="depth")
    seconds = time_in_turns(calls, rounds=4, warm_up=0)
    assert min(seconds["large"]) < 60 * min(seconds["small"])


# ground="space"

def test_space_worked_by_hand():
    """Masses 1/4, 3/4 and 3/4, 1/4 on neighbours: half of all mass moves by one pixel, half an image width."""
    assert float(transport_loss(row(1, 3), row(3, 1), unit="pixel")) == pytest.approx(0.5, abs=1e-4)
    assert float(transport_loss(row(1, 3), row(3, 1))) == pytest.approx(0.125, abs=1e-4)
    column = (row(1, 3).mT, row(3, 1).mT)
    assert float(transport_loss(*column, unit="pixel")) == pytest.approx(0.5, abs=1e-4)


def test_space_within_one_percent_of_pot(generator):
    """At the default settings on 24x32: another scene, 10 % noise, and a peak among negative depths."""
    target = smooth_map(generator, (24, 32))
    noise = torch.randn(target.shape, generator=generator, dtype=torch.float64)
    peak = torch.full_like(target, -1.0)
    peak[..., 3, 4] = 5.0
    pred = torch.cat([smooth_map(generator, (24, 32)), target * (1 + 0.1 * noise), peak])
    target = target.expand_as(pred)
    mask = torch.rand(pred.shape, generator=generator) > 0.1
    mask[0, :, 18:] = False
    expected = [exact_space(p.clamp_min(1e-6), t, m) for p, t, m in zip(pred[:, 0], target[:, 0], mask[:, 0],
                                                                       strict=True)]
    assert image_transport(pred, target, mask, unit="pixel").tolist() == pytest.approx(expected, rel=0.01)
    assert min(expected) < 0.5 < 100 < max(expected)  # from well below a pixel to most of the image


@pytest.mark.parametrize("ground, mass", [("space", "depth"), ("space-depth", "depth"), ("space-depth", "uniform")])
def test_gradients_against_finite_differences(generator, ground, mass):
    pred, target = random_pair(generator, (2, 1, 3, 4))
    mask = torch.rand(pred.shape, generator=generator) > 0.2

    def loss(p, t):
        return transport_loss(p, t, mask, ground=ground, mass=mass, unit="pixel", depth_weight=0.15, epsilon=0.3,
                              tolerance=1e-10, iterations=1000)

    assert torch.autograd.gradcheck(loss, (pred.requires_grad_(), target.requires_grad_()), eps=1e-5,
                                    atol=1e-5, fast_mode=True)


def test_gradient_at_the_default_settings(generator):
    """A step along the gradient changes the loss by what the gradient says."""
    pred, target = smooth_map(generator, SMALL), smooth_map(generator, SMALL)
    pred.requires_grad_()
    (gradient,) = torch.autograd.grad(transport_loss(pred, target, unit="pixel"), pred)
    step = 0.05 * gradient / gradient.abs().max()
    ahead, behind = (float(transport_loss(pred.detach() + sign * step, target, unit="pixel")) for sign in (1, -1))
    assert ahead - behind == pytest.approx(2 * float((gradient * step).sum()), rel=0.02)


def test_potentials_give_a_plan_with_the_marginals(generator):
    masses = torch.rand(2, 3, 48, generator=generator, dtype=torch.float64)
    masses[1, 0, :5] = 0
    a, b = masses / masses.sum(2, keepdim=True)
    cost = GridCost(SMALL, (1.0, 1.0), a)
    place = np.stack(np.meshgrid(np.arange(6.0), np.arange(8.0), indexing="ij"), -1).reshape(-1, 2)
    matrix = torch.from_numpy(((place[:, None] - place) ** 2).sum(2))
    for found, epsilon in zip(entropic_potentials(cost, a, b, 0.2, tolerance=1e-9, iterations=2000), (0.4, 0.2),
                              strict=True):
        plan = a[:, :, None] * b[:, None] * ((found.source[:, :, None] + found.target[:, None] - matrix)
                                             / found.epsilon).exp()
        assert found.epsilon == epsilon and (found.residual < 1e-8).all()
        assert torch.allclose(plan.sum(2), a, atol=1e-12) and torch.allclose(plan.sum(1), b, atol=1e-8)
    dense = entropic_transport(a, b, matrix.expand(3, -1, -1), epsilon=0.2, tolerance=1e-9, iterations=2000)
    assert torch.allclose(dense, entropic_transport(a, b, cost, epsilon=0.2, tolerance=1e-9, iterations=2000))


def test_pooling_keeps_the_mass(generator):
    values = torch.rand(2, 12, 20, generator=generator, dtype=torch.float64)
    assert torch.allclose(pool_area(values, (4, 5)), 12 * F.adaptive_avg_pool2d(values, (4, 5)))
    uneven = pool_area(values, (5, 7))
    assert uneven.shape == (2, 5, 7) and torch.allclose(uneven.sum((1, 2)), values.sum((1, 2)))
    assert torch.allclose(uneven.sum(2)[:, 0], values[:, :2].sum((1, 2)) + 0.4 * values[:, 2].sum(1))
    mask = values > 0.3
    mass = depth_mass(values, mask)
    assert torch.allclose(mass.sum((1, 2)), torch.ones(2, dtype=torch.float64)) and not mass[~mask].any()


def test_grid_and_unit(generator):
    pred, target = (smooth_map(generator, (12, 16)) for _ in range(2))
    coarse = transport_loss(pred, target, grid=SMALL)
    pooled = [F.avg_pool2d(depth, 2) for depth in (pred, target)]
    assert torch.allclose(coarse, transport_loss(*pooled), rtol=1e-6)  # image widths do not know the resolution
    assert torch.allclose(transport_loss(pred, target, grid=SMALL, unit="pixel"), 16**2 * coarse)
    assert torch.equal(transport_loss(pred, target), transport_loss(pred, target, grid=(12, 16)))
    large = F.interpolate(pred, scale_factor=4), F.interpolate(target, scale_factor=4)
    assert torch.allclose(transport_loss(*large, grid=SMALL), coarse, rtol=1e-6)


# ground="space-depth"

@pytest.mark.parametrize("mass", ["depth", "uniform"])
def test_space_depth_equals_pot(generator, mass):
    pred, target = random_pair(generator, (1, 1, *SMALL))
    mask = torch.rand(pred.shape, generator=generator) > 0.2
    place = np.stack(np.meshgrid(np.arange(6.0) / 8, np.arange(8.0) / 8, indexing="ij"), -1).reshape(-1, 2)
    points, masses = [], []
    for depth in (pred, target):
        points.append(np.column_stack([place, 0.05 * depth.flatten().numpy()]))
        weight = ((depth if mass == "depth" else torch.ones_like(depth)) * mask).flatten().numpy()
        masses.append(weight / weight.sum())
    got = float(transport_loss(pred, target, mask, ground="space-depth", mass=mass, depth_weight=0.05))
    assert got == pytest.approx(exact_points(points, *masses), rel=0.01)


def test_space_depth_worked_by_hand():
    """Depths 1, 2 and 2, 1: each pixel stays and changes its depth, or they swap, half an image width each."""
    for weight, expected in ((0.1, 0.1**2), (1.0, 0.5**2)):
        got = transport_loss(row(1, 2), row(2, 1), ground="space-depth", mass="uniform", depth_weight=weight)
        assert float(got) == pytest.approx(expected, rel=1e-3)


# what each reading can and cannot see

@pytest.mark.parametrize("ground, mass, blind", [
    ("space", "depth", {"scale"}), ("depth", "depth", {"shuffle", "mirror"}),
    ("depth", "uniform", {"shuffle", "mirror"}),
    ("space-depth", "depth", set()), ("space-depth", "uniform", set())])
def test_what_a_reading_sees(generator, ground, mass, blind):
    target = smooth_map(generator, SMALL)
    order = torch.randperm(target.numel(), generator=generator)
    changed = {"shuffle": target.flatten()[order].view_as(target), "mirror": target.flip(-1), "scale": 2 * target,
               "shift": target + 1}
    costs = {name: float(transport_loss(pred, target, ground=ground, mass=mass)) for name, pred in changed.items()}
    none = float(transport_loss(target, target, ground=ground, mass=mass))
    assert {name for name, cost in costs.items() if abs(cost) < 1e-6} == blind
    assert abs(none) < 1e-6 and all(cost > 1e-4 for name, cost in costs.items() if name not in blind)


def test_uniform_closed_forms(generator):
    _, target = random_pair(generator)
    shifted = transport_loss(target + 1, target, ground="depth", mass="uniform")
    doubled = image_transport(2 * target, target, ground="depth", mass="uniform")
    assert float(shifted) == pytest.approx(1) and torch.allclose(doubled, target.square().mean((1, 2, 3)))


# every reading

@pytest.mark.parametrize("ground, mass", READINGS)
def test_scalar_dtype_and_gradient(generator, ground, mass):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        pred, target = random_pair(generator, dtype=dtype)
        pred.requires_grad_()
        value = transport_loss(pred, target, ground=ground, mass=mass)
        value.backward()
        assert value.ndim == 0 and value > 0 and value.dtype == torch.promote_types(dtype, torch.float32)
        assert pred.grad.dtype == dtype and pred.grad.isfinite().all() and pred.grad.any()


@pytest.mark.parametrize("ground, mass", READINGS)
def test_invalid_pixels_have_no_influence_and_no_gradient(generator, ground, mass):
    pred, target = random_pair(generator)
    mask = torch.rand(pred.shape, generator=generator) > 0.2
    expected = float(transport_loss(pred, target, mask, ground=ground, mass=mass))
    assert expected != pytest.approx(float(transport_loss(pred, target, ground=ground, mass=mass)))
    for hidden in (math.nan, -5.0):
        spoiled = torch.where(mask, pred, hidden).requires_grad_()
        value = transport_loss(spoiled, torch.where(mask, target, math.nan), ground=ground, mass=mass)
        value.backward()
        assert value.item() == pytest.approx(expected, rel=1e-9)
        assert spoiled.grad.isfinite().all() and not spoiled.grad[~mask].any()


@pytest.mark.parametrize("ground, mass", READINGS)
def test_images_are_averaged_and_empty_ones_left_out(generator, ground, mass):
    pred, target = random_pair(generator, (3, 1, *SMALL))
    mask = torch.ones_like(pred, dtype=torch.bool)
    mask[1] = False
    each = image_transport(pred, target, mask, ground=ground, mass=mass)
    alone = [float(transport_loss(pred[i:i + 1], target[i:i + 1], ground=ground, mass=mass)) for i in (0, 2)]
    assert each.tolist() == pytest.approx(alone, rel=1e-3)
    assert torch.equal(transport_loss(pred, target, mask, ground=ground, mass=mass), each.mean())
    with pytest.raises(ValueError, match="no valid pixel in a batch of 3"):
        transport_loss(pred, target, mask & False, ground=ground, mass=mass)


@pytest.mark.parametrize("ground, mass", READINGS)
def test_constant_zero_and_nan_maps(generator, ground, mass):
    _, target = random_pair(generator)
    flat = torch.full_like(target, 2.0)
    assert abs(float(transport_loss(flat, flat, ground=ground, mass=mass))) < 1e-6
    for depth in (0.0, -3.0, 2.0):  # a network may predict anything
        pred = torch.full_like(target, depth).requires_grad_()
        value = transport_loss(pred, target, ground=ground, mass=mass)
        value.backward()
        assert value > 0 and pred.grad.isfinite().all()
    with pytest.raises(ValueError, match="no valid pixel"):
        transport_loss(flat, 0 * flat, ground=ground, mass=mass)
    for value in (math.nan, math.inf):
        spoiled = flat.clone()
        spoiled[0, 0, 2, 3] = value
        with pytest.raises(ValueError, match="not finite at 1 of 96 valid pixels"):
            transport_loss(spoiled, target, ground=ground, mass=mass)
        assert float(transport_loss(target, spoiled, ground=ground, mass=mass)) == pytest.approx(float(transport_loss(
            target, spoiled, torch.isfinite(spoiled), ground=ground, mass=mass)))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
@pytest.mark.parametrize("ground, mass", READINGS)
def test_degenerate_sizes(generator, ground, mass, size):
    pred, target = random_pair(generator, (1, 1, *size))
    assert transport_loss(pred, target, ground=ground, mass=mass).isfinite()


@pytest.mark.parametrize("options, message", [
    ({"ground": "depths"}, "unknown ground 'depths' .did you mean 'depth'"),
    ({"mass": "unit"}, "unknown mass 'unit'"),
    ({"unit": "metre"}, "unknown unit 'metre'"),
    ({"mass": "uniform"}, "always 0"),
    ({"ground": "depth", "grid": (2, 2)}, "has no grid"),
    ({"grid": (7, 8)}, "at most the map's"),
    ({"grid": (0, 8)}, "at least 1"),
    ({"ground": "space-depth", "depth_weight": 0.0}, "must be positive"),
    ({"epsilon": 0.0}, "must be positive"),
    ({"iterations": 0}, "must be positive")])
def test_bad_options(generator, options, message):
    with pytest.raises(ValueError, match=message):
        transport_loss(*random_pair(generator), **options)


def test_bad_maps(generator):
    pred, target = random_pair(generator)
    with pytest.raises(ValueError, match="differ in shape"):
        transport_loss(pred, target[..., :-1])
    with pytest.raises(ValueError, match="must be .B, 1, H, W."):
        transport_loss(pred[0, 0], target[0, 0])
    with pytest.raises(ValueError, match="must be bool"):
        transport_loss(pred, target, torch.ones_like(pred))
    large = torch.ones(1, 1, 25, 32)
    with pytest.raises(ValueError, match="takes at most 768"):
        transport_loss(large, large, ground="space-depth", grid=(25, 32))
