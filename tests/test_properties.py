"""What must hold for every input: invariants of the tensor functions, tried on drawn sizes, scales, dtypes and masks.

Invalid pixels hold what real ones hold: 0, NaN, infinities and nonsense. Every example is drawn from a fixed seed, so
that the same examples run everywhere.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from torch import Tensor

from mdelib.distill import depth_bins, depth_probability_map, dpm_loss, expected_depth, fused_dpm_loss
from mdelib.distill.probability import entropy, support
from mdelib.fidelity import attribution_fidelity, correlation
from mdelib.fidelity.perturbation import pixel_ranks
from mdelib.fusion import NormalizedConv2d, normalized_convolution
from mdelib.gradients import central_difference, laplacian, smooth_masked, sobel, stencil_valid
from mdelib.hessian import LITERAL_EPS, gaussian_hessian, normalized_hessian, normalized_hessian_loss
from mdelib.losses import LOSSES
from mdelib.metrics import HIGHER_IS_BETTER, METRICS, DepthMetrics, depth_metrics, per_image_metrics
from mdelib.rules import number_of, possible_values, printed_range
from mdelib.selectivity import (
    ResponseMeter,
    bin_labels,
    depth_bin_edges,
    depth_selectivity,
    expected_selectivity,
    unit_bins,
)
from mdelib.similarity import ssim
from mdelib.sparse.masks import binarize, keep_fraction, sparseness
from mdelib.transport import image_transport, transport_loss
from mdelib.verdicts import paired_interval, seed_interval, verdict

set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "mdelib-hypothesis")  # nothing is written into the pack

NONSENSE = (0.0, -1.0, math.nan, math.inf, -math.inf, 1e30)
SEEDS = st.integers(0, 2**31 - 1)
DTYPES = st.sampled_from([torch.float32, torch.float64])
SCALES = st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6])
COMBINATIONS = [("space", "depth"), ("depth", "depth"), ("depth", "uniform"), ("space-depth", "depth"),
                ("space-depth", "uniform")]


def tried(examples: int = 8) -> Callable:
    """Run a test on so many drawn examples, the same ones everywhere."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None,
                    phases=(Phase.explicit, Phase.generate))


def numbers(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pair(seed: int, dtype: torch.dtype = torch.float64, size: tuple[int, int] = (13, 15), images: int = 2,
         share: float = 0.2) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction and truth of 0.3 to 8 m and a mask; False only in the three columns at the left."""
    random = numbers(seed)
    shape = (images, 1, *size)
    target = 0.3 + 7.7 * torch.rand(shape, generator=random, dtype=torch.float64)
    pred = (target * torch.exp(0.4 * torch.randn(shape, generator=random, dtype=torch.float64))).clamp(0.2, 9)
    mask = torch.rand(shape, generator=random) > share
    mask[..., 3:] = True
    return pred.to(dtype), target.to(dtype), mask


def spoiled(values: Tensor, mask: Tensor, seed: int) -> Tensor:
    """The same values where the mask is True, nonsense elsewhere."""
    kinds = torch.tensor(NONSENSE, dtype=values.dtype)
    return torch.where(mask, values, kinds[torch.randint(len(kinds), values.shape, generator=numbers(seed))])


# Metrics

@given(SEEDS, DTYPES, st.sampled_from(["image", "pixel", "hu"]), st.sampled_from([None, "median", "lstsq"]))
@tried()
def test_what_masked_pixels_hold_never_changes_a_metric(seed, dtype, pooling, align) -> None:
    pred, target, mask = pair(seed, dtype)
    options = {"pooling": pooling, "align": align}
    clean = depth_metrics(pred, target, mask, **options)
    assert clean == depth_metrics(spoiled(pred, mask, seed), spoiled(target, mask, seed + 1), mask, **options)
    assert tuple(clean) == METRICS and all(math.isfinite(value) for value in clean.values())


@given(SEEDS, SCALES)
@tried(10)
def test_metrics_under_a_common_scale(seed, scale) -> None:
    pred, target, mask = pair(seed)
    one = depth_metrics(pred, target, mask, min_depth=1e-3, max_depth=10.0)
    other = depth_metrics(scale * pred, scale * target, mask, min_depth=1e-3 * scale, max_depth=10.0 * scale)
    power = {"sq_rel": 1, "rmse": 1, "imae": -1, "irmse": -1}
    for name in METRICS:
        assert other[name] == pytest.approx(one[name] * scale ** power.get(name, 0), rel=1e-9, abs=1e-12)


@given(SEEDS, DTYPES, st.sampled_from([1e-6, 1e6]))
@tried()
def test_metrics_stay_in_their_ranges(seed, dtype, extreme) -> None:
    pred, target, mask = pair(seed, dtype)
    pred[0] = extreme
    found = per_image_metrics(pred, target, mask)
    for name, values in found.items():
        assert values.shape == (2,) and values.dtype == torch.float64 and torch.isfinite(values).all()
        assert (values >= 0).all() and (name not in HIGHER_IS_BETTER or (values <= 1).all())
    assert (found["delta1"] <= found["delta2"]).all() and (found["delta2"] <= found["delta3"]).all()
    pooled = depth_metrics(pred, target, mask)
    assert all(pooled[name] == pytest.approx(float(found[name].mean()), rel=1e-12) for name in METRICS)
    same = depth_metrics(target, target, mask)
    assert all(same[name] == (1 if name in HIGHER_IS_BETTER else 0) for name in METRICS)


@given(SEEDS, st.integers(1, 3), st.sampled_from(["image", "pixel", "hu"]))
@tried()
def test_metrics_do_not_depend_on_batches(seed, first, pooling) -> None:
    pred, target, mask = pair(seed, images=4)
    meter = DepthMetrics(pooling=pooling)
    for part in (slice(0, first), slice(first, 4)):
        meter.update(pred[part], target[part], mask[part])
    whole = depth_metrics(pred, target, mask, pooling=pooling)
    assert meter.compute() == pytest.approx(whole, rel=1e-12)


@given(SEEDS, st.sampled_from([1e-3, 0.5, 7.0, 1e4]), st.floats(-3, 3))
@tried()
def test_alignment_forgives_what_it_says(seed, scale, shift) -> None:
    pred, target, mask = pair(seed)
    plain = {align: depth_metrics(pred, target, mask, align=align) for align in ("median", "lstsq")}
    scaled = depth_metrics(scale * pred, target, mask, align="median")
    assert scaled == pytest.approx(plain["median"], rel=1e-8, abs=1e-12)
    moved = depth_metrics(scale * pred + shift, target, mask, align="lstsq")
    assert moved == pytest.approx(plain["lstsq"], rel=1e-6, abs=1e-9)


# Losses

@pytest.mark.parametrize("name", sorted(LOSSES))
@given(SEEDS, DTYPES)
@tried(2)
def test_masked_pixels_have_no_say_in_a_loss_and_get_no_gradient(name, seed, dtype) -> None:
    pred, target, mask = pair(seed, dtype)
    loss = LOSSES[name]
    nonsense = spoiled(pred, mask, seed).requires_grad_()
    found = loss(nonsense, spoiled(target, mask, seed + 1), mask)
    assert found.ndim == 0 and found.dtype == dtype
    torch.testing.assert_close(found, loss(pred, target, mask))
    slope, = torch.autograd.grad(found, nonsense)
    assert torch.isfinite(slope).all() and (slope[~mask] == 0).all()


@pytest.mark.parametrize("name", sorted(LOSSES))
@given(SEEDS)
@tried(2)
def test_a_perfect_prediction_is_the_least_loss(name, seed) -> None:
    pred, target, mask = pair(seed)
    best, other = LOSSES[name](target, target, mask), LOSSES[name](pred, target, mask)
    floor = 3 * math.log(0.5) if name == "hu" else 0.0  # ln α + 2 ln α
    assert float(best) == pytest.approx(floor, abs=1e-6) and float(other) > float(best)


@pytest.mark.parametrize("extreme", [1e-6, 1e6])
@pytest.mark.parametrize("name", sorted(LOSSES))
@given(SEEDS, DTYPES)
@tried(2)
def test_losses_of_extreme_depths_are_finite(name, extreme, seed, dtype) -> None:
    pred, target, mask = pair(seed, dtype)
    for one, two in ((torch.full_like(pred, extreme), target), (pred, torch.full_like(target, extreme))):
        one = one.clone().requires_grad_()
        found = LOSSES[name](one, two, mask)
        assert torch.isfinite(found), (name, extreme)
        slope, = torch.autograd.grad(found, one)
        assert torch.isfinite(slope).all(), (name, extreme)


@pytest.mark.parametrize("name", [*sorted(LOSSES), "hessian", "depth metrics"])
def test_an_empty_mask_is_an_error_in_words(name: str) -> None:
    pred, target, mask = pair(0)
    function = {"hessian": normalized_hessian_loss, "depth metrics": depth_metrics}.get(name) or LOSSES[name]
    with pytest.raises(ValueError, match=r"(no|without) .*(valid|pixel)"):
        function(pred, target, torch.zeros_like(mask))
    with pytest.raises(ValueError, match=r"(no|without) .*(valid|pixel)"):
        function(pred, torch.full_like(target, math.nan), mask)


# Similarity and gradients

@given(SEEDS, DTYPES, st.sampled_from([1e-3, 1.0, 1e3]))
@tried()
def test_ssim_is_symmetric_at_most_1_and_blind_to_masked_pixels(seed, dtype, scale) -> None:
    x, y, mask = pair(seed, dtype)
    x, y = scale * x, scale * y
    found = ssim(x, y, mask, data_range=10 * scale)
    assert found.dtype == dtype and -1 <= float(found) <= 1 + 1e-6
    torch.testing.assert_close(found, ssim(y, x, mask, data_range=10 * scale))
    torch.testing.assert_close(ssim(x, x, mask, data_range=10 * scale), torch.ones((), dtype=dtype))
    torch.testing.assert_close(found, ssim(spoiled(x, mask, seed), spoiled(y, mask, seed), mask,
                                           data_range=10 * scale))
    with pytest.raises(ValueError, match="no valid window centre"):
        ssim(x, y, torch.zeros_like(mask))


@given(SEEDS, st.floats(-5, 5), st.floats(-5, 5), st.floats(-100, 100))
@tried()
def test_differences_of_a_plane(seed, right, down, offset) -> None:
    row, column = torch.meshgrid(torch.arange(9.0, dtype=torch.float64), torch.arange(11.0, dtype=torch.float64),
                                 indexing="ij")
    plane = (offset + right * column + down * row)[None, None]
    for values, factor in ((sobel(plane), 8), (central_difference(plane), 1)):
        for slope, true in zip(values, (right, down), strict=True):
            torch.testing.assert_close(slope, torch.full_like(slope, factor * true), atol=1e-10, rtol=1e-10)
    assert float(laplacian(plane).abs().max()) < 1e-10
    assert float(gaussian_hessian(plane, sigma=1.0).abs().max()) < 1e-10
    mask = torch.rand(1, 1, 9, 11, generator=numbers(seed)) > 0.3
    assert torch.equal(stencil_valid(mask), -torch.nn.functional.max_pool2d(-mask.double(), 3, 1) == 1)


@given(SEEDS, DTYPES, st.sampled_from([0.0, 0.5, 1.5]), SCALES)
@tried()
def test_smoothing_keeps_constants_and_ranges(seed, dtype, sigma, scale) -> None:
    values, _, mask = pair(seed, dtype, share=0.5)
    values = scale * values
    found = smooth_masked(spoiled(values, mask, seed), mask, sigma)
    known = values[mask]
    where = mask if sigma == 0 else found != 0
    assert (found[where] >= known.min() * (1 - 1e-5)).all() and (found[where] <= known.max() * (1 + 1e-5)).all()
    flat = smooth_masked(torch.full_like(values, scale), mask, sigma)
    torch.testing.assert_close(flat[mask], torch.full_like(flat[mask], scale))
    assert (smooth_masked(values, torch.zeros_like(mask), sigma) == 0).all()  # nobody is in reach


# Hessian

@given(SEEDS, st.floats(-2, 2), st.floats(-2, 2), st.floats(-50, 50), st.sampled_from([1e-6, 1e-2, 1.0, 1e3, 1e6]))
@tried(10)
def test_the_hessians_direction_forgives_scale_shear_and_offset(seed, right, down, offset, scale) -> None:
    depth, _, _ = pair(seed)
    row, column = torch.meshgrid(torch.arange(13.0, dtype=torch.float64), torch.arange(15.0, dtype=torch.float64),
                                 indexing="ij")
    plain = normalized_hessian(depth, sigma=1.0, eps=LITERAL_EPS)
    bent = scale * (depth + offset + right * column + down * row)
    torch.testing.assert_close(normalized_hessian(bent, sigma=1.0, eps=LITERAL_EPS), plain, atol=1e-6, rtol=0)
    torch.testing.assert_close(normalized_hessian(-bent, sigma=1.0, eps=LITERAL_EPS), -plain, atol=1e-6, rtol=0)
    assert float(normalized_hessian(bent, sigma=1.0).norm(dim=1).max()) < 1 + 1e-12


@given(SEEDS, DTYPES, st.sampled_from([1e-6, 1.0, 1e6]))
@tried()
def test_the_hessian_loss_sees_valid_pixels_only(seed, dtype, scale) -> None:
    pred, target, mask = pair(seed, dtype)
    pred, target = scale * pred, scale * target
    nonsense = spoiled(pred, mask, seed).requires_grad_()
    found = normalized_hessian_loss(nonsense, spoiled(target, mask, seed + 1), mask, sigma=1.0)
    torch.testing.assert_close(found, normalized_hessian_loss(pred, target, mask, sigma=1.0), atol=1e-5, rtol=1e-4)
    slope, = torch.autograd.grad(found, nonsense)
    assert torch.isfinite(slope).all() and (slope[~mask] == 0).all() and found.detach() >= 0
    assert float(normalized_hessian_loss(target, target, mask, sigma=1.0)) < 1e-5


# Transport

@pytest.mark.parametrize(("ground", "mass"), COMBINATIONS)
@given(SEEDS)
@tried(2)
def test_transport_is_symmetric_not_negative_and_zero_at_equality(ground, mass, seed) -> None:
    pred, target, mask = pair(seed, size=(6, 7), images=1)
    options = {"ground": ground, "mass": mass}
    there, back = (float(transport_loss(*two, mask, **options)) for two in ((pred, target), (target, pred)))
    assert there == pytest.approx(back, rel=0.02, abs=1e-9) and there > 0
    assert abs(float(transport_loss(target, target, mask, **options))) < 1e-3 * there  # Sinkhorn's tolerance
    clean = image_transport(pred, target, mask, **options)
    dirty = image_transport(spoiled(pred, mask, seed), spoiled(target, mask, seed), mask, **options)
    torch.testing.assert_close(clean, dirty)


@given(SEEDS, st.sampled_from([1e-3, 3.0, 1e3]))
@tried(3)
def test_what_each_ground_of_transport_is_blind_to(seed, scale) -> None:
    pred, target, mask = pair(seed, images=1, share=0.0)
    space = [float(transport_loss(factor * pred, target, mask)) for factor in (1.0, scale)]
    assert space[0] == pytest.approx(space[1], rel=1e-3, abs=1e-9)  # nearest to nothing counts as 1e-6 m
    order = torch.randperm(pred.numel(), generator=numbers(seed))
    shuffled = pred.flatten()[order].view_as(pred)
    for mass in ("depth", "uniform"):
        options = {"ground": "depth", "mass": mass}
        plain = float(transport_loss(pred, target, mask, **options))
        assert float(transport_loss(shuffled, target, mask, **options)) == pytest.approx(plain, rel=1e-9)
        scaled = float(transport_loss(scale * pred, scale * target, mask, **options))
        assert scaled == pytest.approx(scale**2 * plain, rel=1e-2 if scale < 1 else 1e-6)


# Selectivity

@given(SEEDS, DTYPES, SCALES, st.integers(2, 20))
@tried(12)
def test_selectivity_is_a_share_and_forgets_unit_sign_and_order(seed, dtype, scale, bins) -> None:
    response = torch.randn(5, bins, generator=numbers(seed), dtype=dtype)
    found = depth_selectivity(response)
    assert found.shape == (5,) and found.dtype == dtype and (found >= 0).all() and (found <= 1).all()
    order = torch.randperm(bins, generator=numbers(seed))
    for same in (scale * response, -response, response[:, order]):
        torch.testing.assert_close(depth_selectivity(same), found, atol=1e-6, rtol=1e-5)
    assert torch.equal(order[unit_bins(response[:, order])], unit_bins(response))
    holes = torch.cat([response, torch.full((5, 2), math.nan, dtype=dtype)], 1)
    assert torch.equal(depth_selectivity(holes), found)
    alone = torch.nn.functional.one_hot(torch.arange(2), bins).to(dtype)
    assert torch.allclose(depth_selectivity(alone), torch.ones(2, dtype=dtype))
    assert (depth_selectivity(torch.ones(3, bins, dtype=dtype)).abs() < 1e-6).all()
    with pytest.raises(ValueError):
        depth_selectivity(torch.full((3, bins), math.nan))


@given(SEEDS, st.integers(2, 12), st.sampled_from(["sid", "uniform"]))
@tried()
def test_every_depth_lies_in_the_bin_it_is_said_to(seed, bins, spacing) -> None:
    edges = depth_bin_edges(bins, 0.5, 8.0, spacing)
    assert len(edges) == bins + 1 and (edges.diff() > 0).all()
    depth, _, mask = pair(seed)
    labels = bin_labels(spoiled(depth, mask, seed), edges, mask)[:, None]
    assert (labels[~mask] == -1).all() and (bin_labels(depth, edges, torch.zeros_like(mask)) == -1).all()
    inside = labels >= 0
    assert (edges[labels[inside]] < depth[inside]).all() and (depth[inside] <= edges[labels[inside] + 1]).all()
    assert torch.equal(inside, mask & (depth > edges[0]) & (depth <= edges[-1]))


@given(SEEDS, st.integers(1, 3), st.booleans())
@tried()
def test_a_response_table_does_not_depend_on_batches(seed, first, absolute) -> None:
    depth, _, mask = pair(seed, images=4)
    features = torch.randn(4, 3, 7, 8, generator=numbers(seed))
    edges = depth_bin_edges(3, 0.5, 10.0)
    tables = []
    for cuts in ([slice(0, 4)], [slice(0, first), slice(first, 4)]):
        meter = ResponseMeter(edges, absolute=absolute)
        for part in cuts:
            meter.update(features[part], spoiled(depth, mask, seed)[part], mask[part])
        tables.append(meter.compute())
    torch.testing.assert_close(*tables, atol=1e-12, rtol=1e-12)
    assert (tables[0].abs() <= features.abs().max() + 1e-9).all()
    empty = ResponseMeter(edges).update(features, depth, torch.zeros_like(mask))
    assert empty.compute(empty="nan").isnan().all()
    with pytest.raises(ValueError, match="no pixel in depth bin"):
        empty.compute()


@given(st.integers(2, 2000))
@tried(10)
def test_the_expectation_is_a_share_and_falls(count) -> None:
    assert 1 / 3 < expected_selectivity(count + 1) < expected_selectivity(count) <= 2 * math.log(2) - 1 + 1e-12


# Distillation

@given(SEEDS, DTYPES, st.integers(2, 40), st.sampled_from([0.2, 0.8, 3.0]), st.sampled_from(["integral", "density"]),
       st.sampled_from(["softmax", "linear"]))
@tried(16)
def test_probability_maps_sum_to_1_and_decode_into_the_range(seed, dtype, bins, sigma, mass, normalize) -> None:
    edges = depth_bins(bins, 1e-3, 10.0)
    assume(mass == "integral" or sigma * 8 > 5 / bins + 0.1)
    depth, _, _ = pair(seed, dtype, size=(4, 5))
    depth[0, 0, 0, :3] = torch.tensor([1e-6, 1e6, 0.0], dtype=dtype)
    found = depth_probability_map(depth, edges, sigma, mass=mass, normalize=normalize)
    assert found.shape == (2, bins, 4, 5) and found.dtype == dtype and (found >= 0).all()
    torch.testing.assert_close(found.sum(1), torch.ones(2, 4, 5, dtype=dtype))
    decoded = expected_depth(found, edges)
    assert decoded.shape == depth.shape and (decoded >= edges[0]).all() and (decoded <= edges[-1]).all()
    assert (support(found) >= 1).all() and (entropy(found) >= -1e-9).all()
    assert (entropy(found) <= support(found).double().log() + 1e-5).all()


@given(SEEDS, st.floats(2.5, 7.5))
@tried()
def test_linear_maps_mean_the_depth_they_were_made_of(seed, depth) -> None:
    edges = depth_bins(50, 0.0, 10.0)
    found = depth_probability_map(torch.full((1, 1, 1, 1), depth, dtype=torch.float64), edges, 0.4,
                                  normalize="linear")
    assert float(expected_depth(found, edges)) == pytest.approx(depth, abs=1e-6)


@given(SEEDS, DTYPES, st.sampled_from(["student_teacher", "teacher_student"]), st.sampled_from(["softmax", "linear"]))
@tried(10)
def test_the_divergence_is_not_negative_zero_at_equality_and_equal_to_the_fused_one(seed, dtype, direction, normalize
                                                                                   ) -> None:
    edges = depth_bins(12, 1e-3, 10.0)
    _, depth, mask = pair(seed, dtype, size=(5, 6))
    logits = torch.randn(2, 12, 5, 6, generator=numbers(seed), dtype=dtype)
    teacher = depth_probability_map(depth, edges, 0.8, normalize=normalize)
    plain = dpm_loss(logits.softmax(1), teacher, mask, direction=direction)
    assert float(plain) > 0 and plain.dtype == dtype
    assert abs(float(dpm_loss(teacher, teacher, mask, direction=direction))) < 1e-5
    given_logits = torch.where(mask, logits, math.nan).requires_grad_()
    fused = fused_dpm_loss(given_logits, spoiled(depth, mask, seed), edges, 0.8, mask, normalize=normalize,
                           direction=direction)
    torch.testing.assert_close(fused, plain, atol=1e-5, rtol=1e-4)
    slope, = torch.autograd.grad(fused, given_logits)
    assert torch.isfinite(slope).all() and (slope[(~mask).expand_as(slope)] == 0).all()
    assert float(slope.sum(1).abs().max()) < 1e-5  # logits that all rise change no probability
    for function in (lambda none: dpm_loss(teacher, teacher, none),
                     lambda none: fused_dpm_loss(logits, depth, edges, 0.8, none)):
        with pytest.raises(ValueError, match="no pixel counts"):
            function(torch.zeros_like(mask))


# Fusion

@given(SEEDS, DTYPES, st.sampled_from([1e-2, 0.3, 1.0]), st.sampled_from([1e-6, 1.0, 1e6]), st.integers(1, 2))
@tried(12)
def test_normalised_convolution_is_a_mean_of_what_is_trusted(seed, dtype, trust, scale, stride) -> None:
    random = numbers(seed)
    x = scale * torch.rand(2, 3, 9, 8, generator=random, dtype=dtype)
    confidence = (torch.rand(2, 3, 9, 8, generator=random, dtype=dtype) * 0.9 + 0.1) * (
        torch.rand(2, 1, 9, 8, generator=random) > 0.4)
    weight = 0.1 + torch.rand(4, 3, 3, 3, generator=random, dtype=dtype)
    y, left = normalized_convolution(x, confidence, weight, stride=stride)
    assert y.dtype == dtype and (left >= 0).all() and (left <= 1).all()
    known = left > 1e-6
    assert (y[known] <= x.max() * (1 + 1e-5)).all() and (y[known] >= 0).all() and (y[~known] == 0).all()
    same, less = normalized_convolution(x, trust * confidence, weight, stride=stride)
    torch.testing.assert_close(same, y, rtol=1e-4, atol=1e-5 * scale)  # only ratios of confidence count
    torch.testing.assert_close(less, trust * left, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(normalized_convolution(x, confidence, 7 * weight, stride=stride)[0], y, rtol=1e-4,
                               atol=1e-5 * scale)
    other = torch.where(confidence > 0, x, 1e6)
    torch.testing.assert_close(normalized_convolution(other, confidence, weight, stride=stride)[0], y)
    none, nothing = normalized_convolution(x, torch.zeros_like(x), weight, torch.ones(4, dtype=dtype), stride=stride)
    assert (none == 1).all() and (nothing == 0).all()


@given(SEEDS, st.integers(1, 3), st.sampled_from([1, 3, 5]))
@tried(5)
def test_the_layer_keeps_a_constant(seed, channels, kernel) -> None:
    torch.manual_seed(seed % 2**31)
    layer = NormalizedConv2d(channels, 2, kernel, bias=False)
    y, confidence = layer(torch.full((1, channels, 6, 7), 2.5), torch.ones(1, channels, 6, 7))
    torch.testing.assert_close(y, torch.full_like(y, 2.5))
    assert (layer.weight >= 0).all() and confidence.detach().max() <= 1


# Fidelity and sparse masks

@given(SEEDS, DTYPES, st.sampled_from(["pearson", "spearman", "gradient", "gradient_spearman", "ssim"]), SCALES)
@tried(12)
def test_fidelity_is_a_correlation(seed, dtype, kind, scale) -> None:
    depth, other, mask = pair(seed, dtype)
    found = attribution_fidelity(other[:, 0], depth, kind=kind)
    assert found.shape == (2,) and found.dtype == torch.float64 and (found.abs() <= 1 + 1e-9).all()
    moved = attribution_fidelity(scale * other[:, 0] + scale, depth, kind=kind)
    torch.testing.assert_close(moved, found, atol=1e-3, rtol=0)  # float32 keeps seven digits of the sum
    if kind in ("pearson", "spearman"):
        torch.testing.assert_close(attribution_fidelity(-other[:, 0], depth, kind=kind), -found)
        torch.testing.assert_close(attribution_fidelity(depth[:, 0], depth, kind=kind), torch.ones(2).double())
        masked = attribution_fidelity(other[:, 0], spoiled(depth, mask, seed), kind=kind, mask=mask)
        torch.testing.assert_close(masked, attribution_fidelity(other[:, 0], depth, kind=kind, mask=mask))
        with pytest.raises(ValueError, match="0 pixels that count"):
            attribution_fidelity(other[:, 0], depth, kind=kind, mask=torch.zeros_like(mask))
    with pytest.raises(ValueError, match="constant map prefers no pixel"):
        attribution_fidelity(torch.ones_like(other[:, 0]), depth, kind=kind)


@given(SEEDS)
@tried()
def test_ranks_forget_monotone_changes(seed) -> None:
    x, y = torch.randn(2, 30, generator=numbers(seed), dtype=torch.float64)
    plain = correlation(x, y, ranks=True)
    assert correlation(x.exp(), y.pow(3), ranks=True) == pytest.approx(plain, abs=1e-12)
    assert correlation(y, x, ranks=True) == pytest.approx(plain, abs=1e-12) and abs(plain) <= 1 + 1e-12


@given(SEEDS, st.sampled_from(["most", "least", "random"]), st.sampled_from(["position", "random"]),
       st.sampled_from([1, 3]), st.booleans())
@tried(12)
def test_ranks_number_every_pixel_once(seed, order, ties, block, rough) -> None:
    values = torch.randn(2, 7, 8, generator=numbers(seed))
    values = values.round() if rough else values
    ranks = pixel_ranks(values, order, ties=ties, block=block, seed=seed % 1000)
    assert torch.equal(ranks.flatten(1).sort().values, torch.arange(56).expand(2, -1))
    if order != "random" and block == 1:
        steps = values.abs().flatten(1).gather(1, ranks.flatten(1).argsort()).diff()
        assert (steps <= 0).all() if order == "most" else (steps >= 0).all()


@given(SEEDS, st.floats(0, 1), st.floats(0, 0.99))
@tried()
def test_as_many_pixels_are_kept_as_asked_for(seed, share, threshold) -> None:
    mask = torch.rand(2, 1, 6, 7, generator=numbers(seed)).round(decimals=1)  # with many equals
    kept = keep_fraction(mask, share, seed=seed % 1000)
    assert kept.flatten(1).sum(1).tolist() == [round(share * 42)] * 2
    if kept.any() and not kept.all():
        assert mask[kept].min() >= min(mask[i][~kept[i]].max() for i in range(2) if not kept[i].all())
    assert torch.equal(binarize(mask, threshold), mask > threshold)
    assert (sparseness(kept.double()) - share).abs().max() <= 0.5 / 42 + 1e-9


# Verdicts and rules

@given(SEEDS, st.integers(1, 3), st.integers(2, 12), st.floats(-5, 5), SCALES)
@tried()
def test_paired_intervals_move_turn_and_stretch_with_their_numbers(seed, seeds, views, shift, scale) -> None:
    random = np.random.default_rng(seed)
    one, two = random.normal(size=(2, seeds, views))
    centre, (low, high) = paired_interval(one, two, draws=300)
    close = {"rel": 1e-9, "abs": 1e-9}
    assert low <= high and centre == pytest.approx((one - two).mean(), **close)
    back, (other_low, other_high) = paired_interval(two, one, draws=300)
    assert (back, other_low, other_high) == pytest.approx((-centre, -high, -low), **close)
    _, moved = paired_interval(one + shift, two, draws=300)
    assert moved == pytest.approx((low + shift, high + shift), **close)
    _, stretched = paired_interval(scale * one, scale * two, draws=300)
    assert stretched == pytest.approx((scale * low, scale * high), rel=1e-9, abs=1e-9 * scale)
    holes = np.concatenate([one, np.full((seeds, 2), np.nan)], 1), np.concatenate([two, np.zeros((seeds, 2))], 1)
    assert paired_interval(*holes, draws=300) == (centre, (low, high))
    _, wide = paired_interval(one, two, draws=300, level=0.99)
    assert wide[0] <= low and high <= wide[1]
    with pytest.raises(ValueError, match="no view has a finite value"):
        paired_interval(np.full_like(one, np.inf), two)


@given(SEEDS, st.integers(2, 8), st.floats(-5, 5))
@tried()
def test_seed_intervals_hold_their_mean(seed, seeds, shift) -> None:
    one, two = np.random.default_rng(seed).normal(size=(2, seeds))
    centre, (low, high) = seed_interval(one, two)
    assert low < centre < high and high - centre == pytest.approx(centre - low)
    assert seed_interval(one + shift, two + shift)[1] == pytest.approx((low, high), abs=1e-9)
    assert seed_interval(one, two, level=0.99)[1][0] < low
    assert np.isnan(seed_interval(one[:1], two[:1])[1]).all()


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6))
@tried(30)
def test_a_verdict_is_one_of_three_and_turns_with_its_direction(low, width) -> None:
    interval = (low, low + width)
    turned = {"agrees": "disagrees", "disagrees": "agrees", "inconclusive": "inconclusive"}
    assert verdict(interval, "less") == turned[verdict(interval, "greater")]
    assert verdict((-interval[1], -interval[0]), "less") == verdict(interval, "greater")
    assert (verdict(interval, "greater") == "inconclusive") == (interval[0] <= 0 <= interval[1])
    assert verdict((math.nan, math.nan), "greater") == "inconclusive"


@given(st.floats(-1e4, 1e4), st.integers(0, 4))
@tried(40)
def test_a_number_lies_in_the_range_of_its_print(value, digits) -> None:
    text = f"{value:.{digits}f}"
    low, high = printed_range(text)
    assert low - 1e-9 <= value <= high + 1e-9
    assert low < float(text) < high and high - low == pytest.approx(10.0**-digits)


@given(st.sampled_from(['table2.rmse["DORN"]', 'table2.rmse["DORN"] / table2.abs_rel["DORN"]',
                        'table2.rmse["DORN"] - 2 * table2.abs_rel["DORN"]']))
@tried(3)
def test_what_is_printed_lies_in_what_is_possible(expression) -> None:
    low, high = possible_values(expression, "yao2023")
    assert low < number_of(expression, "yao2023") < high
