"""Exact transport on a line, by sorting.

On a line, mass never has to cross: the best plan moves the lowest share q of one side's mass to the lowest share q of
the other's. With the quantile functions F⁻¹ and G⁻¹ (the inverses of the cumulated masses),

    OT = ∫₀¹ (F⁻¹(q) - G⁻¹(q))² dq ,

a finite sum, since both are step functions. Explained in notebooks/07_optimal_transport.ipynb.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["line_transport", "sort_depths"]


def sort_depths(depth: Tensor, valid: Tensor) -> Tensor:
    """The valid depths of every image in ascending order, the places after the last one filled with 0.

    Args:
        depth: (B, N), metres, finite where valid.
        valid: (B, N) bool.

    Returns:
        (B, N), differentiable.
    """
    keys = torch.where(valid, depth, torch.inf)  # what does not count comes last
    if keys.device.type == "cpu" and not keys.requires_grad:
        ordered = torch.from_numpy(np.sort(keys.numpy()))  # much faster than torch's, which keeps the order
    else:
        ordered = keys.sort().values
    rank = torch.arange(keys.shape[1], device=keys.device)
    return torch.where(rank < valid.sum(1, keepdim=True), ordered, 0)


def line_transport(x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Tensor:
    r"""The exact cost of moving masses a at positions x to masses b at positions y with squared distances.

    :math:`\min_T \sum_{ij} T_{ij} (x_i - y_j)^2` over plans with the marginals a and b (Yao et al. 2023, Eq 17-18).
    The cumulated masses of both sides are the knots of the two quantile functions. N log N, in float64;
    differentiable in positions and masses.

    Args:
        x, y: (B, N) and (B, M) positions, ascending in every row as far as there is mass.
        a, b: (B, N) and (B, M) masses, not negative, with a positive sum that is divided out. Atoms without mass
            must come last.

    Returns:
        (B,), squared units of x.

    Explained in notebooks/07_optimal_transport.ipynb.
    """
    exact = torch.float32 if x.device.type == "mps" else torch.float64  # mps has no float64
    x, y, a, b = (value.to(exact) for value in (x, y, a, b))
    from_x, from_y = a.cumsum(1), b.cumsum(1)
    from_x, from_y = from_x / from_x[:, -1:], from_y / from_y[:, -1:]  # both end at 1 exactly
    # Between two neighbouring knots of the merged list one atom of each side gives and takes. The interval that ends
    # at knot i of x meets the atom of y after all knots below it, and the other way round.
    at_x = _knots_below(from_y.detach(), from_x.detach())
    counts = torch.zeros(y.shape, dtype=at_x.dtype, device=x.device).scatter_add_(1, at_x, torch.ones_like(at_x))
    at_y = counts.cumsum(1)  # knots of x up to knot j of y
    return _intervals(from_x, from_y, x, y, at_x) + _intervals(from_y, from_x, y, x, at_y)


def _knots_below(knots: Tensor, values: Tensor) -> Tensor:
    """How many knots of the same row lie below each value, (B, N) int64; both ascending."""
    if knots.device.type != "cpu":
        return torch.searchsorted(knots, values)
    pairs = zip(knots.numpy(), values.numpy(), strict=True)  # NumPy starts a search where the last one ended
    return torch.from_numpy(np.stack([np.searchsorted(row, value) for row, value in pairs]))


def _intervals(knots: Tensor, others: Tensor, own: Tensor, other: Tensor, index: Tensor) -> Tensor:
    """The cost over the intervals that end at `knots`; they start at the knot before, of whichever side, (B,)."""
    begin = torch.maximum(F.pad(knots[:, :-1], (1, 0)), F.pad(others, (1, 0)).gather(1, index))
    index = index.clamp_max(other.shape[1] - 1)  # past the last knot there is no mass left to move
    return ((knots - begin) * (own - other.gather(1, index)).square()).sum(1)
