"""Depth maps as distributions of mass over the image, at their own or a lower resolution.

Explained in notebooks/07_optimal_transport.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MIN_MASS", "area_overlap", "depth_mass", "pool_area"]

MIN_MASS = 1e-6  # metres: a prediction at or below zero keeps this mass, so that no sum is zero


def depth_mass(depth: Tensor, valid: Tensor) -> Tensor:
    r"""Depth as a distribution, :math:`P' = P / \sum P` (Yao et al. 2023, Eq 15-16), over the valid pixels.

    Args:
        depth: (B, H, W), metres; below `MIN_MASS` it counts as `MIN_MASS`.
        valid: (B, H, W) bool; elsewhere the mass is 0. Every image needs one valid pixel.

    Returns:
        (B, H, W), the sum of every image 1.

    Explained in notebooks/07_optimal_transport.ipynb.
    """
    mass = torch.where(valid, depth, 0).clamp_min(MIN_MASS) * valid
    return mass / mass.sum((1, 2), keepdim=True)


def pool_area(values: Tensor, grid: tuple[int, int]) -> Tensor:
    """The sum of a map over the cells of a coarser grid; a pixel on a border is shared by area.

    No mass is lost, whatever the sizes (`adaptive_avg_pool2d` counts border pixels twice).

    Args:
        values: (B, H, W).
        grid: (h, w), at most (H, W).

    Returns:
        (B, h, w).
    """
    if tuple(values.shape[1:]) == tuple(grid):
        return values
    rows, columns = (area_overlap(large, small, values) for large, small in zip(values.shape[1:], grid, strict=True))
    return rows @ values @ columns.T


def area_overlap(large: int, small: int, like: Tensor) -> Tensor:
    """Which share of each of `large` pixels lies in each of `small` cells, (small, large); columns sum to 1."""
    pixel = torch.arange(large, dtype=like.dtype, device=like.device)
    cell = torch.arange(small, dtype=like.dtype, device=like.device)[:, None]
    left, right = cell * large / small, (cell + 1) * large / small
    return (torch.minimum(right, pixel + 1) - torch.maximum(left, pixel)).clamp_min(0)
