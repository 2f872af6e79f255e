"""Depth bins of one width, as TIE-KD uses them, and how far a Gaussian reaches across them.

Explained in notebooks/10_depth_probability_maps.ipynb.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mdelib.protocols import require_known
from mdelib.selectivity.bins import check_edges

__all__ = ["CUT_OFF", "MASSES", "bin_centres", "check_width", "depth_bins", "reach"]

CUT_OFF = 1e-16  # choi2024, Section 3.2: a bin with less than this is dropped
MASSES = ("integral", "density")
_FARTHEST = 8.3  # standard deviations: beyond them a Gaussian holds 5e-17


def depth_bins(num_bins: int = 257, min_depth: float = 1e-3, max_depth: float = 80.0) -> Tensor:
    """Edges of depth bins of one width (Choi et al. 2024, Section 3.2); bin i holds the depths edge i to edge i + 1.

    The defaults are those of the authors' code for KITTI; for NYU it has 49 bins from 1 mm to 10 m.

    Args:
        num_bins: K, at least 2.
        min_depth, max_depth: first and last edge, metres.

    Returns:
        (K+1,) float64, metres, increasing.

    Raises:
        ValueError: fewer than two bins, or a range that is empty, negative or infinite.

    Explained in notebooks/10_depth_probability_maps.ipynb.
    """
    if num_bins < 2:
        raise ValueError(f"{num_bins} depth bins: a distribution over depth needs at least two")
    if not 0 <= min_depth < max_depth < math.inf:
        raise ValueError(f"depth range {min_depth} to {max_depth} m: 0 <= min_depth < max_depth is needed, and both "
                         "finite")
    return torch.linspace(min_depth, max_depth, num_bins + 1, dtype=torch.float64)


def bin_centres(edges: Tensor) -> Tensor:
    """Midpoints of the bins, (K,) float64, metres, from edges (K+1,); ValueError as `expected_depth` says."""
    edges = check_edges(edges)
    return (edges[1:] + edges[:-1]) / 2


def reach(sigma: float, mass: str) -> float:
    """Metres from a depth beyond which every bin is cut off: beyond them a bin's value is below `CUT_OFF`.

    For ``"integral"`` the whole tail is smaller; for ``"density"`` the density at a centre is, a number in 1/m, so
    that the answer depends on the unit of depth.
    """
    if mass == "integral":
        return _FARTHEST * sigma
    return sigma * math.sqrt(2 * max(0.0, -math.log(CUT_OFF * sigma * math.sqrt(2 * math.pi))))


def check_width(edges: Tensor, sigma: float, mass: str) -> Tensor:
    """The edges as (K+1,) float64, or a ValueError that says why no map can be made of these edges and this sigma."""
    require_known("mass", mass, MASSES)
    edges = check_edges(edges)
    if not 0 < sigma < math.inf:
        raise ValueError(f"sigma is {sigma}: it must be positive and finite, in metres")
    widest = float(edges.diff().max())
    if mass == "density" and reach(sigma, mass) < widest / 2:
        raise ValueError(f"sigma is {sigma:g} m and the widest bin {widest:.3g} m: a depth at a bin's edge is out of "
                         "reach of every bin centre, so that no bin is left; use mass='integral', a larger sigma or "
                         "narrower bins")
    if sigma > 1e12 * widest:
        raise ValueError(f"sigma is {sigma:g} m and the widest bin {widest:.3g} m: no bin holds more than the cut-off "
                         f"of {CUT_OFF:g}; use a smaller sigma")
    return edges
