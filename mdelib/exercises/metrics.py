"""Exercises on metrics, protocols, cameras and verdicts: notebooks 00, 01 and 16.

Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mdelib.checks import Exercise
from mdelib.geometry import depth_to_range
from mdelib.metrics import depth_metrics
from mdelib.priors import mean_depth_map
from mdelib.verdicts import verdict

__all__ = ["EXERCISES"]


def _depth_pairs(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """Prediction, truth and mask: all valid, some masked, one pixel, a hole of zeros in the truth."""
    for what, share in (("a map with every pixel valid", 1.0), ("a map with holes", 0.6)):
        target = 0.5 + 7 * torch.rand(1, 1, 12, 16, generator=generator)
        mask = torch.rand(target.shape, generator=generator) < share
        pred = target * (0.7 + 0.6 * torch.rand(target.shape, generator=generator))
        yield what, (pred, torch.where(mask, target, 0.0), mask)
    one = torch.ones(1, 1, 1, 1)
    yield "a single pixel", (3 * one, 2 * one, one.bool())
    yield "a pixel that is exactly a quarter too far", (5 * one, 4 * one, one.bool())


def _tolerant(low: float, high: float, direction: str, tolerance: float) -> str:
    return "inconclusive" if low <= tolerance and high >= -tolerance else verdict((low, high), direction)


def _intervals(generator: torch.Generator) -> Iterator[tuple[str, tuple[float, float, str, float]]]:
    """Intervals on either side of zero and around it, with a tolerance."""
    for low, high in ((0.5, 1.0), (0.05, 1.0), (-1.0, -0.5), (-1.0, -0.05), (-0.2, 0.3), (0.02, 0.08), (0.1, 0.7),
                      (-0.7, -0.1)):
        for direction in ("greater", "smaller"):
            yield f"the interval {low} to {high} for '{direction}' and tolerance 0.1", (low, high, direction, 0.1)


def _metric(name: str) -> Callable[[Tensor, Tensor, Tensor], float]:
    return lambda pred, target, mask: depth_metrics(pred, target, mask)[name]


def _median_align(pred: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    return pred * (torch.quantile(target[mask], 0.5) / torch.quantile(pred[mask], 0.5))


def _image_sizes(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Per-image RMSE and how many pixels each counts."""
    for what, count in (("five images", 5), ("forty images", 40)):
        pixels = torch.randint(50, 5000, (count,), generator=generator)
        yield what, (0.1 + torch.rand(count, generator=generator), pixels)
    yield "a single image", (torch.tensor([0.4]), torch.tensor([700]))


def _cameras(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Depth (H, W) and intrinsics (3, 3): a wall, a rough scene, a centre off the middle, a hole."""
    camera = torch.tensor([[20.0, 0.0, 7.5], [0.0, 20.0, 5.5], [0.0, 0.0, 1.0]])
    yield "a flat wall in front", (torch.full((12, 16), 2.0), camera)
    yield "a scene of many depths", (0.5 + 7 * torch.rand(12, 16, generator=generator), camera)
    other = torch.tensor([[30.0, 0.0, 3.0], [0.0, 24.0, 8.0], [0.0, 0.0, 1.0]])
    depth = 0.5 + 7 * torch.rand(12, 16, generator=generator)
    yield "a camera whose optical axis is off the middle", (depth, other)
    yield "a map with unknown pixels (depth 0)", (torch.where(depth > 3, depth, 0.0), other)


def _rays(depth: Tensor, camera: Tensor, centre: bool = True) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in depth.shape), indexing="ij")
    return ((columns - camera[0, 2] * centre) / camera[0, 0], (rows - camera[1, 2] * centre) / camera[1, 1])


def _squared(depth: Tensor, camera: Tensor, centre: bool = True) -> Tensor:
    """Squared length of each pixel's ray at a depth of one metre."""
    x, y = _rays(depth, camera, centre)
    return 1 + x.square() + y.square()


def _view_stacks(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Depth and mask (B, 1, H, W): all known, holes, pixels that no view knows."""
    depth = 0.5 + 7 * torch.rand(5, 1, 4, 6, generator=generator)
    mask = torch.rand(depth.shape, generator=generator) < 0.7
    yield "views with every pixel known", (depth, torch.ones_like(mask))
    mask[:2] = True
    yield "views with holes", (torch.where(mask, depth, 0.0), mask)
    alone = torch.arange(5)[:, None, None, None] == torch.arange(24).view(1, 1, 4, 6) % 5
    yield "views that each know other pixels", (torch.where(alone, depth, 0.0), alone)
    mask = mask.clone()
    mask[..., 0, :] = False
    yield "views whose top row is sky", (torch.where(mask, depth, 0.0), mask)


EXERCISES = {
    "abs_rel": Exercise(_metric("abs_rel"), _depth_pairs, (
        (lambda p, t, m: ((p - t).abs() / p)[m].mean(), "divide by the true depth, not by the prediction"),
        (lambda p, t, m: ((p - t).abs() / t).mean(), "only pixels inside the mask may count"),
        (lambda p, t, m: ((p - t).abs() / t)[m].sum() / m.numel(), "divide by the number of valid pixels, not of all"),
        (lambda p, t, m: ((p - t) / t)[m].mean(), "without the absolute value, errors of both signs cancel"),
    )),
    "rmse": Exercise(_metric("rmse"), _depth_pairs, (
        (lambda p, t, m: (p - t)[m].abs().mean(), "that is the mean absolute error: square before the mean"),
        (lambda p, t, m: (p - t)[m].square().mean(), "take the root of the mean"),
        (lambda p, t, m: (p - t).square().mean().sqrt(), "only pixels inside the mask may count"),
    )),
    "delta1": Exercise(_metric("delta1"), _depth_pairs, (
        (lambda p, t, m: ((p / t)[m] < 1.25).double().mean(), "the larger of both ratios counts: p/t and t/p"),
        (lambda p, t, m: ((p - t).abs()[m] < 1.25).double().mean(), "delta is about ratios, not about metres"),
        (lambda p, t, m: (torch.maximum(p / t, t / p) < 1.25).double().mean(),
         "only pixels inside the mask may count, above the line and below it"),
    )),
    "median_align": Exercise(_median_align, _depth_pairs, (
        (lambda p, t, m: p * (t[m].median() / p[m].median()),
         "of an even number of values torch.median takes the lower middle one: torch.quantile(..., 0.5) takes the "
         "mean of both"),
        (lambda p, t, m: p * (torch.quantile(t, 0.5) / torch.quantile(p, 0.5)),
         "only pixels inside the mask may count"),
        (lambda p, t, m: p * (torch.quantile(p[m], 0.5) / torch.quantile(t[m], 0.5)),
         "the ratio is upside down: the median of the result must be that of the truth"),
        (lambda p, t, m: p * torch.quantile((t / p)[m], 0.5),
         "that is the median of the ratios: the ratio of the medians is wanted"),
        (lambda p, t, m: p * (t[m].mean() / p[m].mean()), "take medians, not means"),
    )),
    "pooled_rmse": Exercise(lambda r, n: ((n * r.square()).sum() / n.sum()).sqrt(), _image_sizes, (
        (lambda r, n: r.mean(), "that is the mean over images: pooled over pixels, a large image weighs more"),
        (lambda r, n: (n * r).sum() / n.sum(), "roots cannot be averaged: go back to squares, average, take the root"),
        (lambda r, n: r.square().mean().sqrt(), "every image needs its number of pixels as weight"),
        (lambda r, n: (n * r.square()).sum() / n.sum(), "take the root at the end"),
    )),
    "tolerant_verdict": Exercise(_tolerant, _intervals, (
        (lambda low, high, way, tolerance: verdict((low, high), way), "the tolerance is not used"),
        (lambda low, high, way, tolerance: verdict((low - tolerance, high - tolerance), way),
         "both ends move the same way there: the band lies on both sides of zero"),
        (lambda low, high, way, tolerance: {"agrees": "disagrees", "disagrees": "agrees"}.get(
            found := _tolerant(low, high, way, tolerance), found),
         "the other way round: a claim agrees if the interval lies on the side that the claim names"),
        (lambda low, high, way, tolerance: "inconclusive" if low <= 0 <= high else verdict((low, high), way),
         "the tolerance is not used"),
    )),
    "range_along_ray": Exercise(lambda d, k: depth_to_range(d[None, None], k)[0, 0], _cameras, (
        (lambda d, k: d, "that is depth itself: the line of sight is longer wherever a pixel is off the axis"),
        (lambda d, k: d * _squared(d, k, centre=False).sqrt(),
         "count pixels from the principal point (c_x, c_y), not from the corner"),
        (lambda d, k: d * _squared(d, k), "Pythagoras: take the root of the sum of squares"),
        (lambda d, k: d / _squared(d, k).sqrt(), "that goes the other way, from range to depth: multiply"),
        (lambda d, k: d * (1 + _rays(d, k)[0].square()).sqrt(), "rows count as well as columns"),
        (lambda d, k: (d.square() + (_rays(d, k)[0] * k[0, 0]).square() + (_rays(d, k)[1] * k[1, 1]).square()).sqrt(),
         "pixels and metres cannot be added: divide the pixels by the focal length and multiply by depth first"),
    )),
    "mean_depth_map": Exercise(mean_depth_map, _view_stacks, (
        (lambda d, m: torch.where(m, d, 0.0).mean(0, keepdim=True), "unknown pixels must not count as zero metres"),
        (lambda d, m: torch.where(m, d, torch.nan).nanmean(0, keepdim=True),
         "a pixel that no view knows is left undefined: give it the mean of all known depths"),
        (lambda d, m: d.sum(0, keepdim=True) / m.sum(0, keepdim=True).clamp(min=1),
         "a pixel that no view knows became zero metres: give it the mean of all known depths"),
        (lambda d, m: d[m].mean().expand(1, *d.shape[1:]), "one mean a pixel is wanted, not one for all"),
        (lambda d, m: torch.where(m, d, torch.nan).nanmedian(0, keepdim=True).values,
         "that is the median: take the mean"),
    )),
}
