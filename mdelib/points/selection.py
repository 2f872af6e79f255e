"""Points that a network chooses for itself, and points chosen at random to compare them with.

huynh2021 does not say how a saliency map becomes points. Here the heaviest cell is taken, its neighbours are crossed
out, then the heaviest of the rest, and so on: greedy non-maximum suppression. Without it, all points would lie on the
top of one hill. Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mdelib.data.base import valid_depth
from mdelib.points.sparse_points import SparsePoints

__all__ = ["random_points", "salient_points", "suppress_neighbours"]


def suppress_neighbours(weight: Tensor, count: int, radius: int = 1) -> tuple[Tensor, Tensor]:
    """Take the heaviest cell, cross out all within `radius` of it, take the heaviest that is left, and so on.

    Among equals the first one, by row and column, is taken. Cells whose weight is not finite, or not positive, are
    never taken. One cell after the other, on the CPU: a map has few.

    Args:
        weight: (B, 1, H, W). count: N at most. radius: rows and columns; 1 is a window of 3x3, 0 crosses nothing out.

    Returns:
        (B, N, 2) long, (row, column), heaviest first, and (B, N) bool: where there were so many.

    Raises:
        ValueError: another shape, a count below 1 or a negative radius.

    Explained in notebooks/09_fusanet.ipynb.
    """
    _check_count(count)
    if weight.ndim != 4 or weight.shape[1] != 1 or radius < 0:
        raise ValueError(f"weights have the shape {tuple(weight.shape)} and radius={radius}: (B, 1, H, W) and a "
                         "radius of 0 or more are needed")
    pixels = np.zeros((len(weight), count, 2), np.int64)
    taken = np.zeros(len(weight), np.int64)
    width = weight.shape[-1]
    for place, one in enumerate(weight[:, 0].detach().float().cpu().numpy()):
        left = np.isfinite(one) & (one > 0)
        for cell in np.argsort(-np.where(left, one, 0), axis=None, kind="stable").tolist():
            row, column = divmod(cell, width)
            if left[row, column]:
                pixels[place, taken[place]] = row, column
                taken[place] += 1
                left[max(row - radius, 0):row + radius + 1, max(column - radius, 0):column + radius + 1] = False
            if taken[place] == count:
                break
    valid = torch.arange(count) < torch.from_numpy(taken)[:, None]
    return torch.from_numpy(pixels).to(weight.device), valid.to(weight.device)


def salient_points(saliency: Tensor, depth: Tensor, confidence: Tensor, count: int, *,
                   radius: int = 1) -> SparsePoints:
    """The `count` cells with the largest saliency times confidence, none within `radius` of another, heaviest first.

    `suppress_neighbours` of the product, then the heaviest. A point's depth is the predicted one of its cell, and its
    confidence is the product. Which cells are chosen has no gradient; their depth and their confidence have theirs, to
    depth and to saliency and confidence. So saliency learns only through how much a chosen point counts.

    Args:
        saliency, confidence: (B, 1, H, W) in [0, 1]. depth: (B, 1, H, W) metres; where it is not finite and positive,
            no point is. count: N. radius: see `suppress_neighbours`.

    Returns:
        N points an image, in pixels of these maps; those that the maps have no room for are not valid.

    Raises:
        ValueError: shapes that do not fit, or a count below 1.

    Explained in notebooks/09_fusanet.ipynb.
    """
    _check_count(count)
    if saliency.ndim != 4 or saliency.shape[1] != 1 or not saliency.shape == depth.shape == confidence.shape:
        raise ValueError(f"saliency has the shape {tuple(saliency.shape)}, depth {tuple(depth.shape)} and confidence "
                         f"{tuple(confidence.shape)}: (B, 1, H, W), the same for all, is needed")
    weight = saliency * confidence
    return _at(*suppress_neighbours(torch.where(valid_depth(depth), weight, 0), count, radius), depth, weight)


def random_points(depth: Tensor, mask: Tensor | None, count: int, *, generator: torch.Generator | None = None,
                  seed: int = 0) -> SparsePoints:
    """`count` different pixels of each image, all equally likely, with their depth and a confidence of 1: the control.

    Args:
        depth: (B, 1, H, W) metres; where it is not finite and positive, no point is. mask: (B, 1, H, W) bool, where a
            point may be, or None for everywhere. count: N.
        generator: what draws, on any device. seed: of a new one on the CPU, where none is given.

    Returns:
        N points an image; those that there are no pixels for are not valid.

    Raises:
        ValueError: shapes that do not fit, or a count below 1.

    Explained in notebooks/09_fusanet.ipynb.
    """
    _check_count(count)
    if depth.ndim != 4 or depth.shape[1] != 1 or (mask is not None and mask.shape != depth.shape):
        raise ValueError(f"depth has the shape {tuple(depth.shape)} and the mask "
                         f"{None if mask is None else tuple(mask.shape)}: (B, 1, H, W), the same for both, is needed")
    draw = torch.Generator().manual_seed(seed) if generator is None else generator
    lot = 1 + torch.rand(depth.shape, generator=draw, device=draw.device).to(depth.device)
    may = valid_depth(depth) if mask is None else valid_depth(depth) & (mask > 0)
    pixels, valid = suppress_neighbours(torch.where(may, lot, 0), count, radius=0)
    return _at(pixels, valid, depth, torch.ones_like(depth))


def _at(pixels: Tensor, valid: Tensor, depth: Tensor, confidence: Tensor) -> SparsePoints:
    """Points at (B, N, 2) pixels with what maps (B, 1, H, W) hold there."""
    cells = pixels[..., 0] * depth.shape[-1] + pixels[..., 1]
    depth, confidence = (torch.where(valid, one.flatten(1).gather(1, cells), 0) for one in (depth, confidence))
    return SparsePoints(pixels, depth, confidence, valid)


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError(f"count={count}: at least one point is needed; SparsePoints.empty is no points")
