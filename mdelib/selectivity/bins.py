"""Depth bins: their edges, the bin of every pixel, and the bin that each unit is assigned to.

Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdelib.protocols import require_known

__all__ = ["SPACINGS", "assigned_bins", "bin_labels", "check_edges", "depth_bin_edges"]

SPACINGS = ("sid", "uniform")


def depth_bin_edges(num_bins: int, min_depth: float, max_depth: float, spacing: str = "sid") -> Tensor:
    r"""Edges of depth bins; bin i holds the depths :math:`t_i < d \le t_{i+1}`.

    ``"sid"``, spacing-increasing as in the code of You et al. (2021): :math:`t_0 = 0`,
    :math:`t_{i+1} = \exp\!\big(\tfrac{i}{K-1} \ln(\beta + 1 - a)\big) - (1 - a)` for i = 0 to K-1, with a =
    `min_depth` and β = `max_depth`. So :math:`t_1 = a` and :math:`t_K = \beta`, and the first bin takes all that
    is nearer than a.
    ``"uniform"``: K bins of one width from a to β. What is nearer than a lies in no bin, so give a = 0 to count the
    same pixels as with "sid".

    Args:
        num_bins: K, at least 2.
        min_depth, max_depth: a and β, metres (you2021: 0.75 and 10 on NYU, 3 and 80 on KITTI). "sid" needs a > 0.
        spacing: one of `SPACINGS`.

    Returns:
        (K+1,) float64, metres, increasing.

    Raises:
        ValueError: fewer than two bins, a range that is empty or negative, an unknown spacing.

    Explained in notebooks/04_dissection.ipynb.
    """
    require_known("spacing", spacing, SPACINGS)
    if num_bins < 2:
        raise ValueError(f"{num_bins} depth bins: selectivity compares one bin with the others, so at least two are "
                         "needed")
    lowest = "0 <=" if spacing == "uniform" else "0 <"
    if not (0 <= min_depth < max_depth < float("inf")) or (spacing == "sid" and min_depth == 0):
        raise ValueError(f"depth range {min_depth} to {max_depth} m: {lowest} min_depth < max_depth is needed for "
                         f"the spacing {spacing!r}")
    if spacing == "uniform":
        return torch.linspace(min_depth, max_depth, num_bins + 1, dtype=torch.float64)
    steps = torch.linspace(0, 1, num_bins, dtype=torch.float64)
    span = torch.tensor(max_depth - min_depth, dtype=torch.float64)
    edges = min_depth + torch.expm1(steps * torch.log1p(span))  # the formula above, exact for narrow ranges as well
    edges[0], edges[-1] = min_depth, max_depth
    return torch.cat([torch.zeros(1, dtype=torch.float64), edges])


def bin_labels(depth: Tensor, edges: Tensor, mask: Tensor | None = None) -> Tensor:
    """The depth bin of every pixel: i where edges[i] < depth <= edges[i+1].

    Args:
        depth: (B, 1, H, W) metres.
        edges: (K+1,) metres, increasing.
        mask: (B, 1, H, W) bool, where the depth is known; None takes every depth for known.

    Returns:
        (B, H, W) int64 on the depth's device; -1 where the mask is False and where the depth is NaN or in no bin.

    Raises:
        ValueError: a depth that is not (B, 1, H, W), a mask of another shape or not bool, edges that do not increase.

    Explained in notebooks/04_dissection.ipynb.
    """
    if depth.ndim != 4 or depth.shape[1] != 1:
        raise ValueError(f"depth has the shape {tuple(depth.shape)}: (B, 1, H, W) is needed; add the missing axes, "
                         "for example depth[None, None] for one (H, W) map")
    edges = check_edges(edges)
    exact = depth.detach().double() if depth.device.type != "mps" else depth.detach().cpu().double()
    labels = torch.bucketize(exact, edges.to(exact.device)) - 1
    labels = labels.masked_fill(labels == len(edges) - 1, -1).to(depth.device)  # beyond the last edge, or NaN
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError(f"mask has the dtype {mask.dtype}: it must be bool; compare it first, for example "
                             "mask > 0")
        if mask.shape != depth.shape:
            raise ValueError(f"mask {tuple(mask.shape)} and depth {tuple(depth.shape)} differ in shape: give one "
                             "mask value for every depth value")
        labels = labels.masked_fill(~mask, -1)
    return labels[:, 0]


def assigned_bins(units: int, bins: int) -> Tensor:
    r"""The bin that you2021's training assigns to each unit: :math:`\lfloor k \cdot bins / units \rfloor`.

    Args:
        units: number of units, at least as many as bins, so that no bin stays without a unit.
        bins: number of bins.

    Returns:
        (units,) int64, from 0 to bins - 1, never falling.

    Raises:
        ValueError: fewer units than bins.

    Explained in notebooks/04_dissection.ipynb.
    """
    if bins < 1 or units < bins:
        raise ValueError(f"{units} units for {bins} depth bins: every bin needs a unit of its own; use at most "
                         f"{units} bins, as you2021 does for BTS (32 of each), or a layer with more units")
    return torch.arange(units) * bins // units


def check_edges(edges: Tensor) -> Tensor:
    """The edges as (K+1,) float64, or a ValueError that says what is wrong with them."""
    edges = torch.as_tensor(edges).detach().to("cpu", torch.float64)
    if edges.ndim != 1 or len(edges) < 3:
        raise ValueError(f"bin edges have the shape {tuple(edges.shape)}: (K+1,) with at least two bins is needed; "
                         "mdelib.selectivity.depth_bin_edges makes them")
    if not bool(torch.isfinite(edges).all()):
        raise ValueError(f"bin edges {edges.tolist()} are not all finite: give metres, and a largest depth instead of "
                         "infinity")
    steps = edges.diff()
    if bool((steps <= 0).any()):
        at = int((steps <= 0).nonzero()[0])
        raise ValueError(f"bin edges must increase: edge {at} is {float(edges[at]):.6g} m and edge {at + 1} is "
                         f"{float(edges[at + 1]):.6g} m; sort them and leave out repeated ones")
    return edges
