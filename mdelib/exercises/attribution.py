"""Exercises on attribution and its fidelity: notebooks 13 and 14.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mdelib.attribution import targets
from mdelib.checks import Exercise
from mdelib.fidelity import attribution_fidelity, pixel_ranks

__all__ = ["EXERCISES"]


def _depths(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor]]]:
    """Depth maps (H, W) whose number of pixels is a multiple of 4."""
    yield "four pixels", (torch.tensor([[4.0, 1.0], [2.0, 8.0]]),)
    yield "a random map", (0.5 + 7 * torch.rand(6, 8, generator=generator),)
    yield "a map with a far window", (torch.where(torch.rand(6, 8, generator=generator) < 0.1, 9.0, 2.0)
                                      + 0.01 * torch.rand(6, 8, generator=generator),)


def _near_far(depth: Tensor) -> Tensor:
    return targets.near_far(depth[None, None])(depth[None, None])[0]


def _sums(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, float, float]]]:
    """A map (H, W), the target at the image, and at the baseline."""
    yield "a map that adds up", (torch.tensor([[0.5, -0.25], [0.25, 0.5]]), 3.0, 2.0)
    yield "a map that tells too much", (torch.rand(5, 4, generator=generator), 4.0, 1.5)
    yield "a map that tells too little", (0.1 * torch.rand(5, 4, generator=generator), 4.0, 1.5)
    yield "a target that falls", (torch.rand(5, 4, generator=generator) - 1, 1.0, 2.5)


def _completeness(attribution: Tensor, at_image: float, at_baseline: float) -> Tensor:
    change = at_image - at_baseline
    return (attribution.sum() - change).abs() / abs(change)


def _steps(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Attention (heads, T, T) and relevance (T,)."""
    for what, heads, count in (("one head", 1, 3), ("four heads", 4, 6)):
        relevance = torch.rand(count, generator=generator)
        yield what, (torch.randn(heads, count, count, generator=generator).mul(3).softmax(-1),
                     relevance / relevance.sum())


def _rollout_step(attention: Tensor, relevance: Tensor) -> Tensor:
    return (relevance + attention.mean(0).T @ relevance) / 2


def _maps(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, float]]]:
    """A map (H, W) and a share."""
    yield "a tenth of a random map", (torch.randn(10, 12, generator=generator), 0.1)
    yield "a map with many equal values", (torch.rand(8, 8, generator=generator).round(decimals=1), 0.25)
    yield "a map that is zero nearly everywhere", ((torch.rand(8, 8, generator=generator) > 0.9) * -1.0, 0.5)
    yield "nothing", (torch.randn(4, 4, generator=generator), 0.0)


def _first_pixels(attribution: Tensor, share: float) -> Tensor:
    return (pixel_ranks(attribution[None]) < round(share * attribution.numel()))[0].double()


def _threshold(attribution: Tensor, share: float) -> Tensor:
    values = attribution.abs()
    return (values >= values.flatten().quantile(1 - share)).double()


def _pairs(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """An attribution (H, W) and a depth map (H, W)."""
    depth = 1 + 5 * torch.rand(8, 10, generator=generator)
    yield "a map of its own", (torch.rand(8, 10, generator=generator), depth)
    yield "the depth itself, in other units", (100 * depth + 7, depth)
    yield "the depth, upside down", (3 - depth, depth)


def _agreement(attribution: Tensor, depth: Tensor) -> Tensor:
    return attribution_fidelity(attribution[None], depth[None, None])[0]


def _curves(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """Fractions (F,), and the errors (F,) of two orders."""
    shares = torch.tensor([0.01, 0.05, 0.1, 0.2, 0.3, 0.5])
    yield "a method that finds what matters", (shares, 1 - torch.exp(-9 * shares), shares)
    yield "two random curves", (shares, torch.rand(6, generator=generator), torch.rand(6, generator=generator))


def _gap(shares: Tensor, most: Tensor, least: Tensor) -> Tensor:
    return torch.trapezoid(most - least, shares) / (shares[-1] - shares[0])


EXERCISES = {
    "near_far": Exercise(_near_far, _depths, (
        (lambda d: -_near_far(d), "far minus near: a deep scene should give a positive number"),
        (lambda d: d.max() - d.min(), "single pixels say little: take the mean of a quarter on each side"),
        (lambda d: d[d > d.median()].mean() - d[d <= d.median()].mean(), "that is half against half: take quarters"),
    )),
    "completeness": Exercise(_completeness, _sums, (
        (lambda a, s, t: (a.sum() - (s - t)).abs(), "divide by the size of the change, so that units do not matter"),
        (lambda a, s, t: (a.sum() - s).abs() / abs(s), "a map tells the *change* from the baseline: s(x) - s(x')"),
        (lambda a, s, t: (a.sum() - (s - t)) / (s - t), "an error has no sign: take the absolute value"),
        (lambda a, s, t: (a.abs().sum() - (s - t)).abs() / abs(s - t), "negative contributions count as negative"),
    )),
    "rollout_step": Exercise(_rollout_step, _steps, (
        (lambda a, r: (r + a.mean(0) @ r) / 2, "relevance flows back from queries to keys: use the transpose"),
        (lambda a, r: a.mean(0).T @ r, "half of a token's output is its own input: add the relevance that stays"),
        (lambda a, r: r + a.mean(0).T @ r, "the sum must stay 1: divide by 2"),
        (lambda a, r: (r + a.sum(0).T @ r) / 2, "average over heads, do not sum"),
    )),
    "first_pixels": Exercise(_first_pixels, _maps, (
        (_threshold, "a threshold takes all equal values or none: rank the pixels and count"),
        (lambda a, s: (pixel_ranks(a[None], magnitude=False) < round(s * a.numel()))[0].double(),
         "rank by magnitude: a large negative contribution is relevant"),
        (lambda a, s: (pixel_ranks(a[None], "least") < round(s * a.numel()))[0].double(),
         "those are the least relevant"),
        (lambda a, s: (pixel_ranks(a[None]) <= round(s * a.numel()))[0].double(),
         "that is one too many: ranks begin at 0"),
    )),
    "agreement": Exercise(_agreement, _pairs, (
        (lambda a, d: (a * d).mean(), "subtract both means and divide by both standard deviations"),
        (lambda a, d: _agreement(a, d).abs(), "the sign tells whether far or near pixels have the larger values"),
        (lambda a, d: ((a - a.mean()) * (d - d.mean())).mean(),
         "that is the covariance, which has units: divide by both standard deviations"),
        (lambda a, d: (a * d).sum() / (a.square().sum() * d.square().sum()).sqrt(),
         "that is the cosine, which is near 1 for any two positive maps: subtract both means first"),
        (lambda a, d: _agreement(a, d).square(), "that is the share of variance explained, without a sign"),
    )),
    "curve_gap": Exercise(_gap, _curves, (
        (lambda f, m, b: (m - b).mean(), "the fractions are not evenly spaced: use torch.trapezoid"),
        (lambda f, m, b: torch.trapezoid(m - b, f), "divide by the width, so that it is a height in metres"),
        (lambda f, m, b: -_gap(f, m, b), "most minus least: a good method gets a positive number"),
    )),
}
