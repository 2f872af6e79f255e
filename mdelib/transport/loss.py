"""The optimal-transport depth loss (Yao et al. 2023), in every reading that its text allows.

The paper's abstract speaks of "spatial probability distributions"; its Eq 17 measures distances between depth values.
These are different losses, which see different mistakes:

| ground | mass | atoms lie at | blind to |
|---|---|---|---|
| ``"space"`` | ``"depth"`` | pixel coordinates | the scale of the prediction |
| ``"depth"`` | ``"depth"`` | depth values (Eq 17 by the letter) | where in the image a depth is |
| ``"depth"`` | ``"uniform"`` | depth values | where in the image a depth is |
| ``"space-depth"`` | either | pixel coordinates and depth | nothing of these |

A fourth reading, with i and j of Eq 17 as indices of the flattened map, is not offered: it makes the right end of a
row and the left end of the next one neighbours, and a pixel above another one as far as a whole row.
Explained in notebooks/07_optimal_transport.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdelib.metrics import valid_pixels
from mdelib.protocols import require_known
from mdelib.transport.masses import MIN_MASS, depth_mass, pool_area
from mdelib.transport.sinkhorn import GridCost, entropic_transport
from mdelib.transport.sorting import line_transport, sort_depths

__all__ = ["GROUNDS", "MASSES", "UNITS", "image_transport", "transport_loss"]

GROUNDS = ("space", "depth", "space-depth")
MASSES = ("depth", "uniform")
UNITS = ("width", "pixel")
_DEFAULT_GRID = {"space": (24, 32), "space-depth": (12, 16)}
_MOST_CELLS = 24 * 32  # of a cost that is held as a matrix


def transport_loss(pred: Tensor, target: Tensor, mask: Tensor | None = None, *, ground: str = "space",
                   mass: str = "depth", grid: tuple[int, int] | None = None, unit: str = "width",
                   depth_weight: float = 0.1, epsilon: float = 0.05, tolerance: float = 1e-3,
                   iterations: int = 400) -> Tensor:
    r"""The cost of turning the predicted depth map into the true one by moving mass, averaged over images.

    :math:`\min_T \sum_{ij} T_{ij} |i - j|^2` over plans T between P' = P/ΣP and Q' = Q/ΣQ (Yao et al. 2023, Eq 15-19);
    the squared distance, not half of it. What i and j are is the question that `ground` answers:

    - ``"space"``: pixel coordinates, as the abstract says. By Sinkhorn's iteration on a grid, without the bias of its
      entropy. A prediction of the wrong scale costs nothing: add `mdelib.losses.mse` (Eq 21).
    - ``"depth"``: depth values, as Eq 17 says. Exact, by sorting, on all pixels. Shuffled pixels cost nothing.
    - ``"space-depth"``: both, as points (x, y, depth · `depth_weight`). By Sinkhorn's iteration with a cost matrix.

    Args:
        pred: (B, 1, H, W) predicted depth, metres, finite wherever a pixel counts. As a mass, at least 1e-6 m.
        target: (B, 1, H, W) true depth, metres; a zero, negative, infinite or NaN truth never counts.
        mask: (B, 1, H, W) bool, or None. Pixels that do not count have no mass on either side. Every image with a
            pixel that counts weighs the same; an image without one is left out.
        ground: ``"space"``, ``"depth"`` or ``"space-depth"``.
        mass: ``"depth"``: proportional to depth (Eq 15-16) · ``"uniform"``: all pixels alike; refused with
            ``"space"``, where both sides would be equal and nothing would move.
        grid: cells (h, w) that mass is summed in first; None is 24x32 for ``"space"``, 12x16 for ``"space-depth"``, or
            the map's own size where that is less. Mass moves by whole cells, so that displacements of less than a cell
            cost more than they should, and more on a coarser grid. ``"space-depth"`` gives a cell the mean of its
            depths, and takes at most 768 cells. ``"depth"`` has no grid.
        unit: of distances in the image, ``"width"``: the loss is in squared image widths, the same at every resolution
            · ``"pixel"``: in squared pixels of the map that comes in, whatever the grid.
        depth_weight: image widths that a metre of depth counts as, for ``"space-depth"``.
        epsilon: temperature of Sinkhorn's iteration, in squared distances of neighbouring cells.
        tolerance: share of the mass that may miss its target when the iteration stops.
        iterations: at most so many at each of the last two temperatures.

    Raises:
        ValueError: unknown ground, mass or unit, a combination that means nothing, a grid that does not fit, no valid
            pixel in the whole batch, a prediction that is not finite, or shapes and dtypes that do not fit.

    Returns:
        A scalar: square metres for ``"depth"``, otherwise in the square of `unit`. Its gradient for ``"space"`` and
        ``"space-depth"`` comes from the dual potentials.

    Explained in notebooks/07_optimal_transport.ipynb.
    """
    each = image_transport(pred, target, mask, ground=ground, mass=mass, grid=grid, unit=unit,
                           depth_weight=depth_weight, epsilon=epsilon, tolerance=tolerance, iterations=iterations)
    return each.mean()


def image_transport(pred: Tensor, target: Tensor, mask: Tensor | None = None, *, ground: str = "space",
                    mass: str = "depth", grid: tuple[int, int] | None = None, unit: str = "width",
                    depth_weight: float = 0.1, **solver: float) -> Tensor:
    """The cost of every image that has a pixel that counts, (B',), in the order of the batch.

    Args:
        as in `transport_loss`, whose mean this is.
    """
    grid = _checked_choice(ground, mass, unit, grid, tuple(pred.shape[-2:]), depth_weight)
    pred, target, valid = _prepared(pred, target, mask)
    if ground == "depth":
        cost = _depth_transport(pred.flatten(1), target.flatten(1), valid.flatten(1), mass)
    else:
        cost = _grid_transport(pred, target, valid, mass, grid, None if ground == "space" else depth_weight, **solver)
        if unit == "pixel":
            cost = cost * pred.shape[-1]**2
    return cost.to(pred.dtype)


def _depth_transport(pred: Tensor, target: Tensor, valid: Tensor, mass: str) -> Tensor:
    """(B,) from (B, N): atoms at depth values."""
    x, y = sort_depths(pred, valid), sort_depths(target, valid)
    if mass == "uniform":  # equally many equal masses on both sides: rank meets rank
        return (x - y).square().sum(1, dtype=None if x.device.type == "mps" else torch.float64) / valid.sum(1)
    some = torch.arange(x.shape[1], device=x.device) < valid.sum(1, keepdim=True)
    return line_transport(x, y, x.clamp_min(MIN_MASS) * some, y.clamp_min(MIN_MASS) * some)


def _grid_transport(pred: Tensor, target: Tensor, valid: Tensor, mass: str, grid: tuple[int, int],
                    depth_weight: float | None, *, epsilon: float = 0.05, **solver: float) -> Tensor:
    """(B,) from (B, H, W), in squared image widths: atoms at cells, and at depths if there is a depth weight."""
    if pred.device.type != "mps":
        pred, target = pred.double(), target.double()  # temperatures are small beside the largest cost
    height, width = pred.shape[1:]
    spacing = (height / grid[0] / width, 1 / grid[1])
    epsilon = epsilon * min(spacing)**2
    known = valid.to(pred.dtype)
    area = pool_area(known, grid)
    pair = []
    for depth in (pred, target):
        share = depth_mass(depth, valid) if mass == "depth" else known / known.sum((1, 2), keepdim=True)
        pair.append(pool_area(share, grid).flatten(1))
    if depth_weight is None:
        return entropic_transport(*pair, GridCost(grid, spacing, pred), epsilon=epsilon, **solver)
    places = [torch.arange(n, dtype=pred.dtype, device=pred.device) * step
              for n, step in zip(grid, spacing, strict=True)]
    place = torch.stack(torch.meshgrid(*places, indexing="ij"), 2).flatten(0, 1)
    x, y = ((depth_weight * pool_area(depth, grid) / torch.where(area > 0, area, 1)).flatten(1)
            for depth in (pred, target))
    cost = (place[:, None] - place).square().sum(2) + (x[:, :, None] - y[:, None, :]).square()
    return entropic_transport(*pair, cost, epsilon=epsilon, **solver)


def _prepared(pred: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, truth and validity, (B', H, W) each: images with a pixel that counts, 0 where none does."""
    valid = valid_pixels(pred, target, mask, min_depth=0.0, max_depth=float("inf"))
    some = valid.flatten(1).any(1)
    if not some.any():
        raise ValueError(f"no valid pixel in a batch of {len(pred)}: transport needs one with a True mask and a "
                         "finite, positive depth; leave the batch out, or check the mask and the depth's unit")
    bad = valid & ~torch.isfinite(pred)
    if bad.any():
        raise ValueError(f"the prediction is not finite at {int(bad.sum())} of {int(valid.sum())} valid pixels "
                         f"({int((valid & pred.isnan()).sum())} NaN): every pixel that counts needs a depth in "
                         "metres; look at the network's output or its training")
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    depths = (torch.where(valid, depth.to(dtype), 0) for depth in (pred, target))
    return tuple(maps[some, 0] for maps in (*depths, valid))


def _checked_choice(ground: str, mass: str, unit: str, grid: tuple[int, int] | None, size: tuple[int, int],
                    depth_weight: float) -> tuple[int, int] | None:
    """The grid, after everything that can be checked without looking at a depth."""
    require_known("ground", ground, GROUNDS)
    require_known("mass", mass, MASSES)
    require_known("unit", unit, UNITS)
    if not depth_weight > 0:
        raise ValueError(f"depth_weight is {depth_weight}: it must be positive; use ground='space' to ignore depth")
    if ground == "space" and mass == "uniform":
        raise ValueError("ground='space' with mass='uniform' is always 0, since the same pixels count on both sides: "
                         "use mass='depth', or ground='space-depth'")
    if ground == "depth":
        if grid is not None:
            raise ValueError(f"grid is {grid}: ground='depth' takes every pixel and has no grid; leave it out")
        return None
    if grid is None:
        return tuple(min(most, own) for most, own in zip(_DEFAULT_GRID[ground], size, strict=True))
    if len(grid) != 2 or not all(1 <= cells <= own for cells, own in zip(grid, size, strict=True)):
        raise ValueError(f"grid is {grid}: it must be (h, w), each at least 1 and at most the map's {size}")
    if ground == "space-depth" and grid[0] * grid[1] > _MOST_CELLS:
        raise ValueError(f"grid {grid} has {grid[0] * grid[1]} cells: ground='space-depth' holds a cost for every "
                         f"pair and takes at most {_MOST_CELLS}; use a coarser grid")
    return tuple(grid)
