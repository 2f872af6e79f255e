"""Depth probability maps (Choi et al. 2024, Eq 1-3): a depth as a distribution over bins, and back.

Two switches, since the paper and its authors' code differ, and since softmax is not the only way to make a sum 1:

| | ``mass="integral"`` | ``mass="density"`` |
|---|---|---|
| ``normalize="softmax"`` | the paper's text | the authors' code |
| ``normalize="linear"`` | a Gaussian cut off at the ends of the range | the same, sampled at bin centres |

Explained in notebooks/10_depth_probability_maps.ipynb.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.distill.bins import CUT_OFF, bin_centres, check_width
from mdelib.protocols import require_known

__all__ = ["NORMALIZATIONS", "bin_values", "depth_probability_map", "entropy", "expected_depth",
           "in_two_parts", "probabilities", "support"]

NORMALIZATIONS = ("softmax", "linear")


def depth_probability_map(depth: Tensor, edges: Tensor, sigma: float, *, mass: str = "integral",
                          normalize: str = "softmax") -> Tensor:
    r"""The distribution over depth bins that a depth map stands for (Choi et al. 2024, Section 3.2).

    Each bin gets a value from the Gaussian :math:`f(x) = \mathcal{N}(x; d, \sigma)` (Eq 1): its integral over the bin
    (Eq 2), or its density at the bin's centre. Values below 1e-16 are dropped. The others, v, become probabilities:
    :math:`p_i = e^{v_i} / \sum_j e^{v_j}` (softmax, as the paper says), or :math:`p_i = v_i / \sum_j v_j` (linear).

    Args:
        depth: (B, 1, H, W) metres, finite. A depth outside the bins counts as the nearest edge.
        edges: (K+1,) metres, increasing; see `depth_bins`.
        sigma: standard deviation in metres, not in bins.
        mass: ``"integral"`` (the paper) or ``"density"`` (the authors' code).
        normalize: ``"softmax"`` (both) or ``"linear"``.

    Returns:
        (B, K, H, W), each pixel's sum 1, in the depth's dtype and at least float32. float32 keeps the same bins as
        float64: each tail of the Gaussian is computed on its own side.

    Raises:
        ValueError: sigma not positive, a sigma too small or too large for the bins, fewer than two bins, edges that do
            not increase, a depth that is not (B, 1, H, W) or not finite, an unknown switch.

    Explained in notebooks/10_depth_probability_maps.ipynb.
    """
    require_known("normalize", normalize, NORMALIZATIONS)
    edges = check_width(edges, sigma, mass)
    if depth.ndim != 4 or depth.shape[1] != 1 or not depth.is_floating_point():
        raise ValueError(f"depth is {depth.dtype} of shape {tuple(depth.shape)}: floating-point metres (B, 1, H, W) "
                         "are needed; add the missing axes, for example depth[None, None] for one (H, W) map")
    lost = int((~torch.isfinite(depth)).sum())
    if lost:
        raise ValueError(f"depth is not finite at {lost} of {depth.numel()} pixels: put any depth there, for example "
                         "torch.where(mask, depth, 1.0), and give the mask to the loss")
    depth = depth.to(torch.promote_types(depth.dtype, torch.float32))
    depth = depth.clamp(float(edges[0]), float(edges[-1]))
    places = in_two_parts(edges if mass == "integral" else bin_centres(edges), depth)
    values = bin_values(*(part[:, None, None] for part in places), depth, sigma, mass, 1)
    return probabilities(values, normalize, 1)


def expected_depth(probability: Tensor, edges: Tensor) -> Tensor:
    r"""The depth that a distribution over bins stands for, :math:`d = \sum_i c_i\, p_i` (Choi et al. 2024, Eq 3).

    Args:
        probability: (B, K, H, W), each pixel's sum 1.
        edges: (K+1,) metres, increasing; c are the midpoints.

    Returns:
        (B, 1, H, W) metres, in the probability's dtype and at least float32.

    Raises:
        ValueError: a map that is not (B, K, H, W) with the edges' K, or edges that do not fit.

    Explained in notebooks/10_depth_probability_maps.ipynb.
    """
    centres = bin_centres(edges)
    if probability.ndim != 4 or probability.shape[1] != len(centres):
        raise ValueError(f"a probability map of shape {tuple(probability.shape)} came with {len(centres)} bins: "
                         f"(B, {len(centres)}, H, W) is needed; give the edges that the map was made with")
    probability = probability.to(torch.promote_types(probability.dtype, torch.float32))
    return torch.einsum("bkhw,k->bhw", probability, centres.to(probability))[:, None]


def entropy(probability: Tensor) -> Tensor:
    r"""How undecided each pixel is, :math:`-\sum_i p_i \ln p_i` in nats, from (B, K, H, W) to (B, 1, H, W).

    0 for one bin, ln n for n equal ones. Explained in notebooks/10_depth_probability_maps.ipynb.
    """
    return torch.special.entr(probability).sum(1, keepdim=True)


def support(probability: Tensor) -> Tensor:
    """How many bins of each pixel have any probability, from (B, K, H, W) to (B, 1, H, W) int64.

    Explained in notebooks/10_depth_probability_maps.ipynb.
    """
    return (probability > 0).sum(1, keepdim=True)


def in_two_parts(places: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """Places on the depth axis, to more digits than float32 has: rounded, and the rest.

    The cut-off lies 8 standard deviations out, where an offset that is wrong by 1e-5 decides whether a bin is kept.

    Args:
        places: (N,) float64, metres.
        like: a tensor of the dtype and on the device to compute in.
    """
    rounded = places.to(like.dtype)
    return rounded.to(like.device), (places - rounded.double()).to(like)


def bin_values(places: Tensor, rest: Tensor, depth: Tensor, sigma: float, mass: str, dim: int) -> Tensor:
    """What each bin has of the Gaussian around a depth (Choi et al. 2024, Eq 1-2), before cut-off and normalisation.

    Args:
        places, rest: edges (one more than bins) for ``"integral"``, centres for ``"density"``; see `in_two_parts`.
            Both broadcast with the depth, and bins run along `dim`.
        depth: metres. sigma: metres. mass: one of `MASSES`.
    """
    z = (places - depth + rest) / sigma
    if mass == "density":
        return torch.exp(-0.5 * z.square()) / (sigma * math.sqrt(2 * math.pi))
    near = z < 0
    # A tail is computed on its own side, where it is small: 1 - (1 - 1e-16) would be 0. Edges on both sides of the
    # depth are the one bin for which the two tails are what is missing.
    tail = torch.erfc(z.abs() / math.sqrt(2)) / 2
    count = z.shape[dim] - 1
    holds = near.narrow(dim, 0, count) & ~near.narrow(dim, 1, count)
    return torch.where(near, tail, -tail).diff(dim=dim) + holds


def probabilities(values: Tensor, normalize: str, dim: int) -> Tensor:
    """Values of bins as probabilities along `dim`; a bin that is not above the cut-off gets none."""
    if normalize == "linear":
        values = F.threshold(values, CUT_OFF, 0.0)
        return values / values.sum(dim, keepdim=True)
    return F.threshold(values, CUT_OFF, -math.inf).softmax(dim)
