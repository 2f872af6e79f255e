"""Exercises on FuSaNet's parts: notebook 09.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mdelib.checks import Exercise
from mdelib.fusanet import sparse_loss
from mdelib.fusion import normalized_convolution
from mdelib.points import SparsePoints, suppress_neighbours

__all__ = ["EXERCISES"]


def _patches(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """Values, confidence and weights, (3, 3) each."""
    def draw() -> Tensor:
        return torch.rand(3, 3, generator=generator)

    yield "a patch of which some is trusted", (8 * draw(), draw(), 0.1 + draw())
    sparse = torch.where(torch.eye(3) > 0, draw(), 0)
    yield "a patch with three values that are trusted at all", (8 * draw(), sparse, 0.1 + draw())
    yield "a patch that is fully trusted", (8 * draw() - 4, torch.ones(3, 3), 0.1 + draw())
    yield "a patch without any trust", (8 * draw(), torch.zeros(3, 3), 0.1 + draw())


def _normalized_pixel(x: Tensor, c: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    y, confidence = normalized_convolution(x[None, None], c[None, None], weight[None, None])
    return y[0, 0, 1, 1], confidence[0, 0, 1, 1]


def _located(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """Pixels (N, 2) as (row, column), depth (N,) and camera (3, 3)."""
    camera = torch.tensor([[100.0, 0.0, 63.5], [0.0, 80.0, 47.5], [0.0, 0.0, 1.0]])
    yield "the corner at 2 m", (torch.tensor([[0, 0]]), torch.tensor([2.0]), camera)
    pixels = torch.stack([torch.randint(96, (9,), generator=generator), torch.randint(128, (9,), generator=generator)],
                         1)
    yield "nine points", (pixels, 1 + 4 * torch.rand(9, generator=generator), camera)
    yield "no points", (pixels[:0], torch.zeros(0), camera)


def _points_in_space(pixels: Tensor, depth: Tensor, camera: Tensor) -> Tensor:
    one = torch.ones_like(depth)[None]
    return SparsePoints(pixels[None], depth[None], one, one > 0).cloud(camera)[0].T


def _by_ray(pixels: Tensor, depth: Tensor, camera: Tensor, *, centre: float = 1.0, shift: float = 0.0) -> Tensor:
    """Back-projection with parts that can be wrong: `centre` is a factor, `shift` is in pixels."""
    x = (pixels[:, 1] + shift - centre * camera[0, 2]) / camera[0, 0]
    y = (pixels[:, 0] + shift - centre * camera[1, 2]) / camera[1, 1]
    return torch.stack([x, y, torch.ones_like(x)], 1) * depth[:, None]


def _scores(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, int]]]:
    """Scores (H, W), all different, and how many cells to take."""
    yield "a map of 3 x 5", (torch.tensor([[5.0, 9.0, 1.0, 2.0, 6.0], [4.0, 8.0, 1.5, 7.0, 3.0],
                                           [3.5, 3.2, 1.2, 1.1, 0.5]]), 3)
    yield "a random map", (torch.rand(12, 16, generator=generator), 14)
    ramp = torch.arange(48.0).view(6, 8) + 1
    yield "a slope", (ramp, 6)


def _salient_cells(score: Tensor, count: int) -> Tensor:
    return suppress_neighbours(score[None, None], count)[0][0]


def _largest(score: Tensor, count: int) -> Tensor:
    place = score.flatten().topk(count).indices
    return torch.stack([place // score.shape[1], place % score.shape[1]], 1)


def _local_maxima(score: Tensor, count: int) -> Tensor:
    peak = score == torch.nn.functional.max_pool2d(score[None, None], 3, 1, 1)[0, 0]
    return _largest(torch.where(peak, score, 0), count)


def _crossing_out(score: Tensor, count: int, ahead: int) -> Tensor:
    """Greedy, but only the 4 neighbours (`ahead` 1) or nothing behind the cell (`ahead` 2) is crossed out."""
    rest, taken = score.clone(), []
    for _ in range(count):
        row, column = divmod(int(rest.argmax()), score.shape[1])
        taken.append([row, column])
        if ahead == 1:
            rest[max(row - 1, 0):row + 2, column] = 0
            rest[row, max(column - 1, 0):column + 2] = 0
        else:
            rest[row:row + 2, column:column + 2] = 0
    return torch.tensor(taken)


def _predictions(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor, Tensor]]]:
    """Predicted and true depth (H, W), known pixels (H, W) bool, points (N, 2) as (row, column) among the known."""
    target = 1 + 4 * torch.rand(6, 8, generator=generator)
    pred = target + 0.5 * torch.randn(6, 8, generator=generator)
    known = torch.rand(6, 8, generator=generator) < 0.7
    points = known.nonzero()[torch.randperm(int(known.sum()), generator=generator)[:5]]
    yield "five points", (pred, target, known, points)
    yield "a map with holes of depth 0", (pred, torch.where(known, target, 0), known, points)
    yield "no points", (pred, target, known, points[:0])


def _ratio(pred: Tensor, target: Tensor, known: Tensor, points: Tensor) -> Tensor:
    maps = [one[None, None] for one in (pred, target, known)]
    depth = target[points[:, 0], points[:, 1]][None]
    chosen = SparsePoints(points[None], depth, torch.ones_like(depth), torch.ones_like(depth) > 0)
    return sparse_loss(*maps[:2], chosen, maps[2])


def _slope(pred: Tensor, *others: Tensor) -> Tensor:
    """The gradient of L_S, its denominator held constant."""
    pred = pred.requires_grad_()
    return torch.autograd.grad(_ratio(pred, *others), pred)[0]


def _squares(pred: Tensor, target: Tensor, known: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared errors at the points (NaN without any) and at all known pixels."""
    square = (pred - target).square()
    return square[points[:, 0], points[:, 1]].mean(), square[known].mean()


def _literal_slope(pred: Tensor, target: Tensor, known: Tensor, points: Tensor) -> Tensor:
    """As printed: the denominator is differentiated, too."""
    pred = pred.requires_grad_()
    some, every = _squares(pred, target, known, points)
    return torch.autograd.grad((some / every).sqrt() if len(points) else pred.sum() * 0, pred)[0]


def _judged(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor, Tensor]]]:
    """Predicted and true depth, confidence, known pixels, (H, W) each."""
    target = 1 + 4 * torch.rand(5, 7, generator=generator)
    sure, known = torch.rand(5, 7, generator=generator), torch.rand(5, 7, generator=generator) < 0.7
    everywhere = torch.ones_like(known)
    yield "errors below a metre", (target + torch.rand(5, 7, generator=generator), target, sure, everywhere)
    yield "errors of both signs, up to 6 m", (target + 12 * torch.rand(5, 7, generator=generator) - 6, target, sure,
                                             everywhere)
    yield "a map with holes", (target + 1, torch.where(known, target, 0), sure, known)


def _confidence_map(pred: Tensor, target: Tensor, sure: Tensor, known: Tensor) -> Tensor:
    return torch.where(known, sure - sure * torch.log((pred - target).abs() + 0.5), 0)


EXERCISES = {
    "normalized_pixel": Exercise(_normalized_pixel, _patches, (
        (lambda x, c, w: ((w * x * c).sum() / w.sum(), (w * c).sum() / w.sum()),
         "divide by the weights that are trusted, Σ w c: dividing by Σ w takes what is not trusted for 0 m"),
        (lambda x, c, w: ((w * x * c).sum() / (w * c).sum(), (w * c).sum() / w.sum()),
         "without any trust that is 0 / 0: return 0 with confidence 0"),
        (lambda x, c, w: ((w * x).sum() / w.sum(), (w * c).sum() / w.sum()),
         "a value counts as much as it is trusted: multiply x by c first"),
        (lambda x, c, w: ((x * c).sum() / c.sum() if c.any() else 0.0, c.mean()),
         "the weights w are missing, in the mean and in the confidence"),
        (lambda x, c, w: (_normalized_pixel(x, c, w)[0], (w * c).sum()),
         "divide the confidence by Σ w: it stays between 0 and 1"),
        (lambda x, c, w: (_normalized_pixel(x, c, w)[0], c[1, 1]),
         "the new confidence is that of the whole patch, not of the pixel in the middle"),
    )),
    "points_in_space": Exercise(_points_in_space, _located, (
        (lambda p, z, k: _by_ray(p.flip(1), z, k), "pixels are (row, column): x comes from the column"),
        (lambda p, z, k: _by_ray(p, torch.ones_like(z), k), "that is the ray: multiply it by the depth"),
        (lambda p, z, k: _by_ray(p, z, k, centre=0.0), "x and y are measured from the principal point (c_x, c_y)"),
        (lambda p, z, k: _by_ray(p, z, k, shift=0.5), "pixel centres are at integers here: add no half"),
        (lambda p, z, k: _by_ray(p, z / _by_ray(p, torch.ones_like(z), k).norm(dim=1), k),
         "depth is z, along the optical axis, not the length of the line of sight"),
        (lambda p, z, k: _points_in_space(p, z, k).T, "one point a row: (N, 3)"),
    )),
    "salient_cells": Exercise(_salient_cells, _scores, (
        (_largest, "those lie side by side: cross out the 3x3 window around each cell that is taken"),
        (_local_maxima, "those are the local maxima: when a cell is crossed out, a neighbour of it that was lower can "
                        "be the next"),
        (lambda s, n: _salient_cells(s, n).flip(1), "rows first: (row, column)"),
        (lambda s, n: _crossing_out(s, n, 1), "cross out the diagonal neighbours, too: all of the 3x3 window"),
        (lambda s, n: _crossing_out(s, n, 2), "cross out on both sides of the cell: row - 1 to row + 1"),
    )),
    "sparse_ratio": Exercise(_ratio, _predictions, (
        (lambda *given: (_squares(*given)[0] / _squares(*given)[1]).sqrt(), "without points this is NaN: return 0"),
        (lambda *given: _squares(*given)[0].nan_to_num() / _squares(*given)[1],
         "that is the ratio of the mean squares: Eq 3 has the roots"),
        (lambda p, t, m, at: _ratio(p, t, torch.ones_like(m), at),
         "only pixels with known depth count in the denominator"),
        (lambda p, t, m, at: 1 / _ratio(p, t, m, at) if len(at) else torch.tensor(0.0),
         "upside down: the error at the points is the numerator"),
        (lambda p, t, m, at: _ratio(p, t, m, at) * (len(at) / (len(at) + 1))**0.5,
         "the printed sum starts at 0 and has one term more than there are points: divide by their number"),
        (lambda *given: _ratio(*given) * _squares(*given)[1].sqrt(), "divide by the RMSE at all known pixels"),
    )),
    "sparse_gradient": Exercise(_slope, _predictions, (
        (_literal_slope, "the denominator gets a gradient here, which makes the error elsewhere grow: detach it"),
        (lambda p, t, m, at: _slope(p, t, torch.ones_like(m), at),
         "only pixels with known depth count in the denominator"),
        (lambda p, t, m, at: -_slope(p, t, m, at), "the gradient, not the step against it"),
        (lambda p, t, m, at: _slope(p, t, m, at) * _ratio(p.detach(), t, m, at) * 2,
         "that is the gradient of the squared ratio: Eq 3 has the roots"),
    )),
    "confidence_map": Exercise(_confidence_map, _judged, (
        (lambda p, t, c, m: c - c * torch.log((p - t).abs() + 0.5), "pixels without known depth say nothing: 0 there"),
        (lambda p, t, c, m: -_confidence_map(p, t, c, m), "Eq 4 is C - l C, which training makes large: other sign"),
        (lambda p, t, c, m: torch.where(m, c - c * torch.log((p - t).abs() + 0.5)[m].mean(), 0),
         "l is the error of each pixel: with one mean for all, confidence learns nothing of single pixels"),
        (lambda p, t, c, m: torch.where(m, c - torch.log((p - t).abs() + 0.5), 0), "the logarithm is multiplied by C"),
        (lambda p, t, c, m: torch.where(m, c - c * torch.log((p - t).abs()), 0), "add α = 0.5 m to the error first"),
        (lambda p, t, c, m: torch.where(m, c - c * (p - t).abs(), 0), "the error enters as ln(|e| + 0.5)"),
        (lambda p, t, c, m: torch.where(m, c - c * torch.log1p((p - t).abs()), 0), "α is 0.5 m, not 1 m"),
    )),
}
