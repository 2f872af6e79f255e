"""Exercises on the normalised Hessian: notebook 08.

Explained in notebooks/08_normalized_hessian.ipynb.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mdelib.checks import Exercise
from mdelib.hessian import derivative_kernels

__all__ = ["EXERCISES"]


def _sampled_kernels(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """A sampled second derivative (2r + 1,) and the Gaussian (2r + 1,) that it belongs to."""
    for sigma in (1.5, 0.5, 3.0):
        smooth, _, second = derivative_kernels(sigma, "sampled")
        yield f"sigma {sigma}", (second, smooth)


def _steps(kernel: Tensor) -> Tensor:
    return torch.arange(len(kernel), dtype=kernel.dtype) - len(kernel) // 2


def _exact_second(second: Tensor, smooth: Tensor) -> Tensor:
    balanced = second - second.sum() * smooth
    return balanced * 2 / (balanced * _steps(second).square()).sum()


def _bends(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, float]]]:
    """Second derivatives (3, N) and eps: large ones, ones of the size of eps, some that are exactly 0."""
    bends = torch.randn(3, 50, generator=generator)
    yield "large derivatives", (bends, 1e-3)
    yield "derivatives as small as eps", (1e-2 * bends, 1e-2)
    flat = bends.clone()
    flat[:, ::5] = 0
    yield "a surface that is flat in places", (flat, 1e-20)


def _direction(bends: Tensor, eps: float) -> Tensor:
    return bends / (bends.norm(dim=0) + eps)


def _direction_maps(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """Two maps of directions (3, H, W) and what counts (H, W)."""
    ours, true = (torch.randn(3, 6, 8, generator=generator) for _ in range(2))
    ours, true = (_direction(maps.flatten(1), 0.1).view_as(maps) for maps in (ours, true))
    counts = torch.rand(6, 8, generator=generator) < 0.6
    yield "maps where every pixel counts", (ours, true, torch.ones_like(counts))
    yield "maps with a border and holes", (ours, true, counts)
    yield "a hollow surface", (-true, true, counts)


def _chord_loss(ours: Tensor, true: Tensor, counts: Tensor) -> Tensor:
    return (ours - true).square().sum(0)[counts].mean().sqrt()


def _floors(generator: torch.Generator) -> Iterator[tuple[str, tuple[float, float, Tensor]]]:
    """Height of the camera in metres, its focal length in pixels, and rows under the horizon."""
    rows = torch.arange(5.0, 45.0)
    yield "a camera at 1.5 m", (1.5, 110.0, rows)
    yield "a camera near the floor", (0.4, 110.0, rows)
    yield "a longer lens", (1.5, 500.0, rows)


def _floor_bend(height: float, focal: float, rows: Tensor) -> Tensor:
    return 2 * height * focal / rows**3


EXERCISES = {
    "exact_second": Exercise(_exact_second, _sampled_kernels, (
        (lambda k, g: k, "that is the kernel that came in: its sum is not 0"),
        (lambda k, g: k - k.sum() * g, "it sums to 0 now; scale it so that x² gives 2"),
        (lambda k, g: k * 2 / (k * _steps(k).square()).sum(), "x² gives 2 now, but a constant does not give 0: take "
         "off a multiple of the Gaussian first"),
        (lambda k, g: _exact_second(k, g) / 2, "the second derivative of x² is 2, not 1"),
        (lambda k, g: _exact_second(k, torch.full_like(g, 1 / len(g))), "it is exact, but far from the middle it does "
         "not die away any more: take off a multiple of the Gaussian instead of a constant"),
    )),
    "direction_with_floor": Exercise(_direction, _bends, (
        (lambda h, e: h / h.norm(dim=0), "where the surface is flat that is 0 / 0: add eps to the norm"),
        (lambda h, e: h / h.norm(dim=0).clamp_min(e), "Eq 1 adds eps to the norm, it does not cut it off at eps"),
        (lambda h, e: h / (h.square().sum(0) + e**2).sqrt(), "Eq 1 adds eps to the norm, outside of the root"),
        (lambda h, e: h / (h.abs().sum(0) + e), "the norm is the root of the sum of squares"),
        (lambda h, e: h / (h.norm() + e), "every pixel has a norm of its own: sum over the three components only"),
        (lambda h, e: h / ((h.square().sum(0) + h[1].square()).sqrt() + e),
         "that is the Frobenius norm, which counts z_xy twice; Eq 1 counts each element once"),
    )),
    "chord_loss": Exercise(_chord_loss, _direction_maps, (
        (lambda o, t, c: (o - t)[:, c].square().mean().sqrt(),
         "N counts pixels: sum over the three components, then take the mean over pixels"),
        (lambda o, t, c: (o - t).square().sum(0).mean().sqrt(), "only pixels that count belong into the mean"),
        (lambda o, t, c: torch.where(c, (o - t).square().sum(0), 0.0).mean().sqrt(),
         "divide by the number of pixels that count, not by all"),
        (lambda o, t, c: _chord_loss(o, t, c).square(), "the root is missing"),
        (lambda o, t, c: (o - t).norm(dim=0)[c].mean(), "Eq 2 is the root of the mean square, not the mean length"),
        (lambda o, t, c: (1 - (o * t).sum(0))[c].mean(), "Eq 2 is the distance between the tips, not one minus the "
         "cosine"),
    )),
    "floor_bend": Exercise(_floor_bend, _floors, (
        (lambda h, f, v: h * f / v, "that is depth itself: differentiate it twice"),
        (lambda h, f, v: -h * f / v**2, "that is the slope: differentiate once more"),
        (lambda h, f, v: h * f / v**3, "the derivative of -1/v² is 2/v³"),
        (lambda h, f, v: -2 * h * f / v**3, "minus times minus: 1/v bends upwards"),
        (lambda h, f, v: torch.zeros_like(v), "a plane has no curvature in space, and in inverse depth; depth as a "
         "function of the row has"),
        (lambda h, f, v: 2 * h / f / v**3, "z = h f / v: a longer lens gives more metres a row, not fewer"),
    )),
}
