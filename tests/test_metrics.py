"""Depth errors against a NumPy version written from the definitions, torchmetrics, and values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchmetrics.functional as reference

from mdelib.metrics import (
    HIGHER_IS_BETTER,
    METRICS,
    DepthMetrics,
    align_depth,
    depth_metrics,
    per_image_metrics,
    pool_images,
    valid_pixels,
)
from mdelib.protocols import crop_mask

KEYS = ["abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "si", "imae", "irmse",
        "delta1", "delta2", "delta3"]


def from_definitions(pred, target):
    """The measures of one set of depths, (n,) each, straight from their formulas."""
    p, t = np.asarray(pred, np.float64), np.asarray(target, np.float64)
    g = np.log(p) - np.log(t)
    ratio = np.maximum(p / t, t / p)
    si = (g**2).mean() - g.mean() ** 2
    return {"abs_rel": (abs(p - t) / t).mean(), "sq_rel": ((p - t) ** 2 / t).mean(),
            "rmse": np.sqrt(((p - t) ** 2).mean()), "rmse_log": np.sqrt((g**2).mean()),
            "log10": abs(np.log10(p) - np.log10(t)).mean(), "silog": 100 * np.sqrt(si), "si": si,
            "imae": abs(1 / p - 1 / t).mean(), "irmse": np.sqrt(((1 / p - 1 / t) ** 2).mean()),
            "delta1": (ratio < 1.25).mean(), "delta2": (ratio < 1.25**2).mean(), "delta3": (ratio < 1.25**3).mean()}


def pair(generator, batch=3, size=(13, 17), dtype=torch.float32):
    target = torch.rand(batch, 1, *size, generator=generator, dtype=dtype) * 8 + 0.5
    noise = torch.randn(batch, 1, *size, generator=generator, dtype=dtype)
    scale = torch.tensor([0.8, 1.1, 1.3, 0.6, 1.0], dtype=dtype)[:batch, None, None, None]
    return (target * scale * torch.exp(0.2 * noise)).clamp(0.1, 9.9), target


def as_maps(*values):
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 1, -1)


def test_worked_by_hand():
    """d = 1, 2, 4 and d̂ = 2, 2, 2: errors 1, 0, -2 and log ratios ln 2, 0, -ln 2."""
    got = depth_metrics(as_maps(2, 2, 2), as_maps(1, 2, 4))
    ln2 = math.log(2)
    expected = {"abs_rel": (1 + 0 + 0.5) / 3, "sq_rel": (1 + 0 + 1) / 3, "rmse": math.sqrt(5 / 3),
                "rmse_log": ln2 * math.sqrt(2 / 3), "log10": 2 * math.log10(2) / 3,
                "silog": 100 * ln2 * math.sqrt(2 / 3), "si": ln2**2 * 2 / 3, "imae": 0.75 / 3,
                "irmse": math.sqrt((0.25 + 0.0625) / 3), "delta1": 1 / 3, "delta2": 1 / 3, "delta3": 1 / 3}
    assert list(got) == KEYS == list(METRICS)
    assert got == pytest.approx(expected, rel=1e-12)
    assert all(type(value) is float for value in got.values())
    assert set(METRICS) >= HIGHER_IS_BETTER


def test_against_the_definitions_for_each_pooling(generator):
    pred, target = pair(generator)
    mask = torch.rand(pred.shape, generator=generator) > 0.3
    mask[0, :, 5:] = False  # images of different weight
    each = [from_definitions(p[m], t[m]) for p, t, m in zip(pred, target, mask, strict=True)]
    image = {key: np.mean([e[key] for e in each]) for key in KEYS}
    hu = image | {key: np.sqrt(np.mean([e[key] ** 2 for e in each])) for key in ("rmse", "rmse_log", "irmse")}
    pixel = from_definitions(pred[mask], target[mask])
    assert depth_metrics(pred, target, mask) == pytest.approx(image, rel=1e-6)
    assert depth_metrics(pred, target, mask, pooling="hu") == pytest.approx(hu, rel=1e-6)
    assert depth_metrics(pred, target, mask, pooling="pixel") == pytest.approx(pixel, rel=1e-6)
    assert image["si"] != pytest.approx(pixel["si"], rel=1e-2)  # the three really differ here
    assert image["rmse"] < hu["rmse"]


def test_against_torchmetrics(generator):
    pred, target = pair(generator, dtype=torch.float64)
    got = depth_metrics(pred, target, pooling="pixel")
    p, t = pred.flatten(), target.flatten()
    assert got["rmse"] == pytest.approx(float(reference.mean_squared_error(p, t, squared=False)), rel=1e-9)
    assert got["abs_rel"] == pytest.approx(float(reference.mean_absolute_percentage_error(p, t)), rel=1e-9)
    assert got["rmse_log"] == pytest.approx(
        float(reference.mean_squared_error(p.log(), t.log(), squared=False)), rel=1e-9)


def test_perfect_prediction(generator):
    _, target = pair(generator)
    got = depth_metrics(target, target)
    assert {key: got[key] for key in KEYS[:9]} == dict.fromkeys(KEYS[:9], 0.0)
    assert got["delta1"] == got["delta2"] == got["delta3"] == 1.0


def test_scale_moves_no_scale_invariant_measure(generator):
    pred, target = pair(generator, dtype=torch.float64)
    one, two = depth_metrics(pred, target, clamp=False), depth_metrics(1.7 * pred, target, clamp=False)
    assert two["silog"] == pytest.approx(one["silog"], rel=1e-12)
    assert abs(two["rmse_log"] - one["rmse_log"]) > 0.1
    exact = depth_metrics(target * 1.2, target, max_depth=100.0)
    assert exact["silog"] < 1e-4  # a constant ratio has none, even for float32 depths
    assert exact["rmse_log"] == pytest.approx(math.log(1.2), rel=1e-6)


def test_general_inequalities(generator):
    pred, target = pair(generator)
    for values in per_image_metrics(pred, target).values():
        assert values.shape == (3,) and values.dtype == torch.float64
    got = depth_metrics(pred, target)
    assert got["irmse"] >= got["imae"] and got["delta1"] <= got["delta2"] <= got["delta3"]
    assert got["rmse_log"] ** 2 >= got["si"] > 0


def test_mean_of_per_image_values_is_image_pooling(generator):
    pred, target = pair(generator)
    each = per_image_metrics(pred, target, crop="eigen_nyu")
    assert list(each) == KEYS
    assert {k: float(v.mean()) for k, v in each.items()} == depth_metrics(pred, target, crop="eigen_nyu")


@pytest.mark.parametrize("pooling", ["image", "pixel", "hu"])
def test_batches_do_not_matter(generator, pooling):
    pred, target = pair(generator, batch=5)
    mask = torch.rand(pred.shape, generator=generator) > 0.4
    meter = DepthMetrics(pooling=pooling, align="median")
    for rows in (slice(0, 2), slice(2, 3), slice(3, 5)):
        assert meter.update(pred[rows], target[rows], mask[rows]) is meter
    whole = depth_metrics(pred, target, mask, pooling=pooling, align="median")
    assert meter.compute() == whole and len(meter) == 5
    assert pool_images(meter.per_image(weights=True), pooling) == whole


def test_range_mask_and_crop_choose_pixels(generator):
    pred, target = pair(generator, batch=1, size=(48, 64))
    target[0, 0, 20, 20:26] = torch.tensor([0.0, -1.0, math.nan, math.inf, 10.0, 12.0])
    mask = torch.rand(pred.shape, generator=generator) > 0.3
    mask[0, 0, 20, 20:26] = True  # an explicit mask does not make such a truth valid
    kept = mask & crop_mask(48, 64, "eigen_nyu")
    kept[0, 0, 20, 20:26] = False
    assert torch.equal(valid_pixels(pred, target, mask, crop="eigen_nyu"), kept)
    got = depth_metrics(pred, target, mask, crop="eigen_nyu")
    assert got == pytest.approx(from_definitions(pred[kept], target[kept]), rel=1e-6)
    spoiled = torch.where(kept, pred, math.nan)  # a prediction outside does not count, whatever it is
    assert depth_metrics(spoiled, target, mask, crop="eigen_nyu") == got


def test_range_is_open_at_both_ends():
    valid = valid_pixels(as_maps(1, 1, 1, 1), as_maps(1, 1.001, 9.999, 10), min_depth=1.0, max_depth=10.0)
    assert valid.flatten().tolist() == [False, True, True, False]


def test_predictions_are_clamped_before_scoring():
    got = depth_metrics(as_maps(-3, 50), as_maps(1, 5), min_depth=0.5)
    assert got == pytest.approx(from_definitions([0.5, 10.0], [1, 5]), rel=1e-9)
    free = depth_metrics(as_maps(-3, 50), as_maps(1, 5), min_depth=0.5, clamp=False)
    assert free["rmse"] == pytest.approx(math.sqrt((16 + 45**2) / 2))
    assert free["abs_rel"] == pytest.approx((4 + 9) / 2)
    assert free["rmse_log"] == pytest.approx(math.sqrt((math.log(2) ** 2 + math.log(10) ** 2) / 2))
    assert free["delta3"] == 0.0  # a negative depth is no hit


def test_delta_at_exactly_the_threshold():
    pred, target = as_maps(5, 5, 4, 6), as_maps(4, 4, 5, 6)
    assert depth_metrics(pred, target)["delta1"] == 0.25
    assert depth_metrics(pred, target, delta="<=")["delta1"] == 1.0


def test_median_alignment():
    target = as_maps(1, 2, 3, 4)  # NumPy's median is 2.5; torch's own would be 2
    got = depth_metrics(as_maps(2, 4, 6, 9), target, align="median")
    factor = 2.5 / 5
    assert got == pytest.approx(from_definitions([2 * factor, 4 * factor, 6 * factor, 9 * factor], [1, 2, 3, 4]))
    assert depth_metrics(3 * target, target, align="median")["abs_rel"] == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="median is -1: align='median' needs a positive one"):
        depth_metrics(as_maps(-1, -1, -1), as_maps(1, 2, 3), align="median")


def test_lstsq_alignment(generator):
    pred, target = (x.flatten().double() for x in pair(generator, batch=1))
    design = np.stack([pred.numpy(), np.ones(len(pred))], 1)
    (scale, shift), *_ = np.linalg.lstsq(design, target.numpy(), rcond=None)
    assert align_depth(pred, target, "lstsq").numpy() == pytest.approx(scale * pred.numpy() + shift, rel=1e-9)
    line = as_maps(1, 2, 3, 4)
    assert depth_metrics(-2 * line + 50, line, align="lstsq")["rmse"] == pytest.approx(0, abs=1e-6)
    flat = depth_metrics(torch.full_like(line, 7), line, align="lstsq")
    assert flat["rmse"] == pytest.approx(math.sqrt(1.25))  # a constant keeps only its shift


def test_alignment_is_per_image_and_over_counted_pixels(generator):
    _, target = pair(generator)
    factors = torch.tensor([0.5, 2.0, 3.0])[:, None, None, None]
    mask = torch.rand(target.shape, generator=generator) > 0.5
    pred = torch.where(mask, target * factors, 1e4)
    for align in ("median", "lstsq"):
        assert depth_metrics(pred, target, mask, align=align)["rmse"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_is_summed_in_float64(dtype):
    target = torch.full((1, 1, 300, 400), 3.0, dtype=dtype)
    got = depth_metrics(target + 0.5, target)
    assert got["abs_rel"] == pytest.approx(1 / 6, rel=1e-12) and got["rmse"] == 0.5


def test_gradients_do_not_pass():
    pred = torch.full((1, 1, 2, 2), 2.0, requires_grad=True)
    assert per_image_metrics(pred, torch.ones(1, 1, 2, 2))["rmse"].requires_grad is False


def test_image_without_valid_pixel_is_named_with_the_reasons():
    target, mask = torch.full((4, 1, 10, 10), 2.0), torch.ones(4, 1, 10, 10, dtype=torch.bool)
    mask[1] = False
    target[3] = 11.0
    with pytest.raises(ValueError, match=r"image 1 \(and 1 more: 3\): of its 100 pixels 100 are masked out, 0 are "):
        depth_metrics(target, target, mask)
    with pytest.raises(ValueError, match=r"image 1: of its 100 pixels 0 are masked out, 100 are not finite or not"):
        depth_metrics(target[2:], target[2:], mask[2:])
    corner = torch.zeros_like(mask[:1])
    corner[..., 0, 0] = True
    with pytest.raises(ValueError, match=r"99 are masked out, 0 .* and the crop 'eigen_nyu' removes the other 1"):
        depth_metrics(target[:1], target[:1], corner, crop="eigen_nyu")
    meter = DepthMetrics().update(target[:1], target[:1])
    with pytest.raises(ValueError, match="no valid pixel in image 'kitchen'"):
        meter.update(target[3:], target[3:], names=["kitchen"])
    with pytest.raises(ValueError, match="no valid pixel in image 1:"):
        meter.update(target[3:], target[3:])
    assert len(meter) == 1  # a refused batch leaves nothing behind


def test_predictions_that_are_not_finite_are_counted():
    pred, target = torch.ones(2, 1, 4, 5), torch.ones(2, 1, 4, 5)
    pred[1, 0, 0, :3], pred[1, 0, 1, 0] = math.nan, math.inf
    with pytest.raises(ValueError, match=r"image 1 is not finite at 4 of 20 valid pixels \(3 NaN\)"):
        depth_metrics(pred, target)


def test_bad_arguments():
    one = torch.ones(1, 1, 4, 4)
    cases = [((one[0], one), {}, "pred has the shape"), ((one.expand(1, 3, 4, 4), one), {}, "pred has the shape"),
             ((one, one[..., :3]), {}, "differ in shape"), ((one, one, one), {}, "must be bool"),
             ((one, one, one[..., :3] > 0), {}, "mask .* differ in shape"), ((one.long(), one), {}, "floating point"),
             ((one, one), {"crop": "nyu"}, "unknown crop 'nyu'.*'eigen_nyu'"),
             ((one, one), {"pooling": "pixels"}, r"unknown pooling 'pixels' \(did you mean 'pixel'\?\)"),
             ((one, one), {"align": "mean"}, "unknown align 'mean'.*'median'"),
             ((one, one), {"delta": ">"}, "unknown delta"),
             ((one, one), {"min_depth": 20.0}, "depth range 20.0 to 10")]
    for arguments, options, message in cases:
        with pytest.raises(ValueError, match=message):
            depth_metrics(*arguments, **options)
    with pytest.raises(ValueError, match="call update"):
        DepthMetrics().compute()
    with pytest.raises(ValueError, match="needs 'pixels' and 'log_bias'"):
        pool_images(per_image_metrics(one, one), "pixel")
