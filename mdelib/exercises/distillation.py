"""Exercises on distillation and its sweeps: notebooks 11 and 12.

Explained in notebooks/11_teacher_independent_distillation.ipynb and notebooks/12_alpha_and_sigma.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mdelib.checks import Exercise
from mdelib.distill.objectives import below_top

__all__ = ["EXERCISES"]


def _parts(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor, float, float]]]:
    """A divergence, an SSIM and a teacher's depth, (H, W) each, α and β."""
    for what, hole, alpha in (("a teacher without holes", None, 0.1), ("a teacher with zeros", 0.0, 0.3),
                              ("a teacher with NaN", math.nan, 0.7), ("a teacher with infinite depth", math.inf, 0.5)):
        divergence, similar, teacher = (torch.rand(5, 6, generator=generator) for _ in range(3))
        if hole is not None:
            teacher[1, 2:5], teacher[4, 0] = hole, hole
        yield what, (2 * divergence, similar, 1 + teacher, alpha, 10.0) if hole is None else (
            2 * divergence, similar, teacher, alpha, 10.0)


def _total(divergence: Tensor, similar: Tensor, teacher: Tensor, alpha: float, beta: float) -> Tensor:
    known = torch.isfinite(teacher) & (teacher > 0)
    return beta * (alpha * divergence[known].mean() + (1 - alpha) * (1 - similar[known].mean()))


def _holes_as_zeros(divergence: Tensor, similar: Tensor, teacher: Tensor, alpha: float, beta: float) -> Tensor:
    known = (torch.isfinite(teacher) & (teacher > 0)).to(similar)
    return beta * (alpha * (known * divergence).mean() + (1 - alpha) * (1 - (known * similar).mean()))


def _maps(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, int]]]:
    """Maps (B, C, H, W) and the number of rows to leave out."""
    yield "ten rows, three of them left out", (torch.rand(2, 3, 10, 4, generator=generator), 3)
    yield "as many rows as the paper leaves out", (torch.rand(1, 1, 352, 2, generator=generator), 110)
    yield "no row left out", (torch.rand(1, 2, 4, 4, generator=generator), 0)


def _padded_crop(maps: Tensor, rows: int) -> Tensor:
    return torch.cat([maps[..., rows:, :], torch.zeros_like(maps[..., :rows, :])], -2)


def _factors(generator: torch.Generator) -> Iterator[tuple[str, tuple[float]]]:
    for c in (1.0, 1.1, 0.5, 2.0, 7.3):
        yield f"a student {c:g} times as far", (c,)


def _tables(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Distances (S, T) and the column of each student's own teacher (S,)."""
    three = torch.tensor([[1.0, 2, 3], [1, 2, 3], [3, 2, 1]])
    yield "three students, three teachers", (three, torch.tensor([0, 1, 2]))
    yield "a tie", (torch.tensor([[1.0, 1, 3], [2, 1, 3]]), torch.tensor([0, 1]))
    yield "many students", (torch.rand(20, 4, generator=generator), torch.randint(4, (20,), generator=generator))


def _own_nearest(distances: Tensor, own: Tensor) -> Tensor:
    mine = distances.gather(1, own[:, None])[:, 0]
    return (mine < distances.scatter(1, own[:, None], torch.inf).amin(1)).double().mean()


def _sweeps(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor]]]:
    """Values (P, S) of P points with S seeds each."""
    yield "five points, three seeds", (torch.rand(5, 3, generator=generator),)
    yield "two seeds", (torch.tensor([[1.0, 3.0], [10.0, 10.0]]),)
    yield "points far apart", (100 * torch.arange(4.0)[:, None] + torch.rand(4, 6, generator=generator),)


def _pooled(values: Tensor) -> Tensor:
    return values.var(1, correction=1).mean().sqrt()


def _curves(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor]]]:
    """Values (P,) along a curve."""
    yield "fifteen values without a trend", (torch.randn(15, generator=generator),)
    yield "a zigzag", (torch.tensor([0.0, 1, 0, 1, 0]),)
    yield "a straight line of 200 points", (torch.linspace(0, 1, 200),)


def _jitter(values: Tensor) -> Tensor:
    return (values.diff().square().mean() / 2).sqrt()


def _f_ratio(values: Tensor) -> Tensor:
    return values.shape[1] * values.mean(1).var(correction=1) / values.var(1, correction=1).mean()


def _units(generator: torch.Generator) -> Iterator[tuple[str, tuple[float, float, int, float, int]]]:
    """σ in metres, and two ranges with their numbers of bins."""
    yield "from KITTI to NYU", (0.8, 80.0, 257, 10.0, 49)
    yield "from NYU to KITTI", (0.15, 10.0, 49, 80.0, 257)
    yield "bins of one width", (0.3, 8.0, 40, 4.0, 20)


EXERCISES = {
    "distillation_total": Exercise(_total, _parts, (
        (_holes_as_zeros, "where the teacher says nothing, a pixel does not count: take the mean over the others"),
        (lambda d, s, t, a, b: b * (a * d.mean() + (1 - a) * (1 - s.mean())),
         "a teacher's depth of 0, NaN or infinity is a hole: leave those pixels out"),
        (lambda d, s, t, a, b: _total(d, s, t, a, b) / b, "β is missing"),
        (lambda d, s, t, a, b: _total(d, s, t, 1 - a, b), "α is the weight of the divergence"),
        (lambda d, s, t, a, b: _total(d, 1 - s, t, a, b), "L_depth is 1 − SSIM, not SSIM"),
    )),
    "below_top": Exercise(below_top, _maps, (
        (_padded_crop, "rows of zeros are not rows of the map: where both maps are padded, they agree perfectly"),
        (lambda m, r: m[..., :-r or None, :], "those are the rows at the bottom"),
        (lambda m, r: m[:, :, :, r:], "those are columns: rows are the last but one dimension"),
    )),
    "luminance": Exercise(lambda c: 2 * c / (1 + c**2), _factors, (
        (lambda c: 1 / c, "SSIM's first factor is (2 μx μy) / (μx² + μy²), with μy = c μx"),
        (lambda c: 2 * c**2 / (1 + c**4), "the means are c times as large, not c²"),
        (lambda c: c / (1 + c**2), "the factor 2 is missing: for c = 1 the answer is 1"),
    )),
    "own_nearest": Exercise(_own_nearest, _tables, (
        (lambda d, o: (d.argmin(1) == o).double().mean(), "a tie counts as not nearer"),
        (lambda d, o: (d.gather(1, o[:, None])[:, 0] < d.mean(1)).double().mean(),
         "nearer than to any other, not than to the mean"),
        (lambda d, o: (d.argmin(0) == torch.arange(d.shape[1])).double().mean(),
         "look along a student's row, not along a teacher's column"),
    )),
    "pooled_spread": Exercise(_pooled, _sweeps, (
        (lambda v: v.std(), "that has the differences between points in it: take the variance of each point's seeds"),
        (lambda v: v.std(1).mean(), "average variances, then take the root: a mean of roots is too small"),
        (lambda v: v.var(1, correction=0).mean().sqrt(), "with few seeds, divide by their number minus one"),
        (lambda v: v.var(1).mean(), "the root is missing: a spread has the unit of the values"),
    )),
    "jitter": Exercise(_jitter, _curves, (
        (lambda v: v.diff().square().mean().sqrt(), "a difference of two noisy values has twice the variance of one"),
        (lambda v: v.std(), "that is the spread around the mean: a trend is in it"),
        (lambda v: v.diff().std() / math.sqrt(2), "that takes off the mean step: square the differences as they are"),
        (lambda v: v.diff().abs().mean() / 2, "square, average, take the root"),
    )),
    "f_ratio": Exercise(_f_ratio, _sweeps, (
        (lambda v: v.mean(1).var(correction=1) / v.var(1, correction=1).mean(),
         "a mean of S seeds has 1/S of their variance: multiply by S"),
        (lambda v: _f_ratio(v).sqrt(), "F is a ratio of variances, without a root"),
        (lambda v: 1 / _f_ratio(v), "between points above, between seeds below"),
    )),
    "sigma_elsewhere": Exercise(lambda s, r, k, q, m: s / (r / k) * (q / m), _units, (
        (lambda s, r, k, q, m: s * q / r, "that keeps the share of the range: here the number of bins is to stay"),
        (lambda s, r, k, q, m: s, "the same metres are another number of bins there"),
        (lambda s, r, k, q, m: s * (r / k) / (q / m), "turned around: divide by the old width of a bin"),
    )),
}
