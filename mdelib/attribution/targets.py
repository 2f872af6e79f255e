"""Targets: the one number that a depth map is asked about before anything can be explained.

A depth map has as many outputs as pixels, an explanation is of one number. A `Target` says which: it takes depth maps
(B, 1, H, W) and gives one number an image, (B,). The same object serves every attribution method and every score of
`mdelib.fidelity`. Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mdelib.protocols import require_known

__all__ = ["ERRORS", "Target", "contrast", "edge", "error_to", "mean_depth", "near_far", "pixel", "region",
           "weighted"]

ERRORS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": lambda pred, truth: (pred - truth).square(),
    "mae": lambda pred, truth: (pred - truth).abs(),
    "abs_rel": lambda pred, truth: (pred - truth).abs() / truth,
}


@dataclass(frozen=True)
class Target:
    """A number asked of depth maps, and the maps that the question needs.

    Attributes:
        name: for captions.
        score: (depth, *maps) -> (B,), differentiable in depth.
        maps: tensors (1, 1, H, W) that hold for every image, or (B, 1, H, W) with one for each.
    """

    name: str
    score: Callable[..., Tensor]
    maps: tuple[Tensor, ...] = ()

    def __call__(self, depth: Tensor, *maps: Tensor) -> Tensor:
        """The number of every image, (B,), in the depth's dtype.

        Args:
            depth: (B, 1, H, W), metres.
            maps: in the place of the target's own, where a caller repeats or cuts batches.

        Raises:
            ValueError: depth that is not (B, 1, H, W), or maps of another size.
        """
        if depth.ndim != 4 or depth.shape[1] != 1:
            raise ValueError(f"a target was given a map of shape {tuple(depth.shape)}: expected depth (B, 1, H, W)")
        maps = maps or self.maps
        for one in maps:
            if one.shape[-2:] != depth.shape[-2:] or len(one) not in (1, len(depth)):
                raise ValueError(f"the target {self.name!r} was made for maps of shape {tuple(one.shape)}, the depth "
                                 f"is {tuple(depth.shape)}: make it at the size of the image, for one or for each")
        return self.score(depth, *(one.to(depth.device) for one in maps))

    def of(self, images: slice, count: int) -> Target:
        """The target of some of the `count` images of a batch."""
        for one in self.maps:
            if len(one) not in (1, count):
                raise ValueError(f"the target {self.name!r} has maps for {len(one)} images, but {count} came: make it "
                                 "for one image, or for each")
        return Target(self.name, self.score, tuple(one if len(one) == 1 else one[images] for one in self.maps))

    def support(self, depth: Tensor) -> Tensor:
        r"""How much each pixel of the depth map counts, :math:`|\partial s/\partial d_i| / \sum_j |\partial s/
        \partial d_j|`, (B, 1, H, W); every image sums to 1, or is uniform where nothing counts."""
        with torch.enable_grad():
            depth = depth.detach().requires_grad_()
            weight = torch.autograd.grad(self(depth).sum(), depth)[0].abs()
        total = weight.sum((2, 3), keepdim=True)
        return torch.where(total > 0, weight / torch.where(total > 0, total, 1), 1 / weight[0].numel())


def mean_depth(mask: Tensor | None = None) -> Target:
    """The mean depth of all pixels, or of those in `mask` (B or 1, 1, H, W) bool, for example the valid ones."""
    if mask is None:
        return Target("mean depth", lambda depth: depth.flatten(1).mean(1))
    return Target("mean depth", _mean_where, (_checked_mask(mask, "mean_depth"),))


def region(mask: Tensor) -> Target:
    """The mean depth of a region, (B or 1, 1, H, W) bool, (1, H, W) or (H, W)."""
    return Target("depth of a region", _mean_where, (_checked_mask(mask, "region"),))


def pixel(row: int, column: int) -> Target:
    """The depth at one pixel, counted from 0 at the top left.

    Raises:
        ValueError: a negative place; at the call, a place outside the map.
    """
    if row < 0 or column < 0:
        raise ValueError(f"pixel ({row}, {column}) is none: count rows and columns from 0 at the top left")

    def score(depth: Tensor) -> Tensor:
        height, width = depth.shape[-2:]
        if row >= height or column >= width:
            raise ValueError(f"pixel ({row}, {column}) is outside a map of {height}x{width}: rows are 0 to "
                             f"{height - 1}, columns 0 to {width - 1}")
        return depth[:, 0, row, column]

    return Target(f"depth at ({row}, {column})", score)


def contrast(far: Tensor, near: Tensor) -> Target:
    """Mean depth of one region minus that of another, masks as in `region`: how far one lies behind the other."""
    masks = _checked_mask(far, "contrast"), _checked_mask(near, "contrast")
    return Target("depth between two regions", _mean_between, masks)


def weighted(weights: Tensor, name: str = "weighted depth") -> Target:
    r"""Any linear question, :math:`\sum_i w_i d_i`, with finite weights (B or 1, 1, H, W) of any sign.

    Raises:
        ValueError: weights of another shape, or not finite, or all zero in an image.
    """
    if weights.ndim != 4 or weights.shape[1] != 1 or not torch.isfinite(weights).all():
        raise ValueError(f"weights of shape {tuple(weights.shape)} came: expected finite ones, (B, 1, H, W)")
    if not weights.flatten(1).any(1).all():
        raise ValueError("the weights of an image are all zero: they ask nothing; leave that image out")
    return Target(name, lambda depth, one: (depth * one).flatten(1).sum(1), (weights.detach(),))


def near_far(depth: Tensor, *, share: float = 0.25, mask: Tensor | None = None) -> Target:
    """How far the far part of the scene lies behind the near part: the mean of each image's farthest pixels minus that
    of its nearest.

    Args:
        depth: (B or 1, 1, H, W), metres, that decides which is which: the prediction, or the truth.
        share: of the counted pixels on each side, above 0 and up to 0.5.
        mask: pixels that count, of the same shape, bool; None for all.

    Raises:
        ValueError: a share out of range, depth that is not finite where it counts, or an image without a pixel that
            counts.
    """
    if not 0 < share <= 0.5:
        raise ValueError(f"share={share}: near and far are at most half of the pixels each; choose 0 < share <= 0.5")
    valid = torch.ones_like(depth, dtype=torch.bool) if mask is None else _checked_mask(mask, "near_far")
    far, near = torch.zeros_like(valid), torch.zeros_like(valid)
    for index, (one, known) in enumerate(zip(depth.detach(), valid, strict=True)):
        values = one[known]
        if not len(values) or not torch.isfinite(values).all():
            raise ValueError(f"image {index} has no finite depth at {int((~torch.isfinite(values)).sum())} of "
                             f"{len(values)} counted pixels: near and far need depth at every one; check the mask")
        count = max(1, int(share * len(values)))
        places = known.flatten().nonzero()[:, 0][values.argsort(stable=True)]
        near[index].view(-1)[places[:count]] = True
        far[index].view(-1)[places[len(places) - count:]] = True
    return Target("far against near", _mean_between, (far, near))


def edge(depth: Tensor, row: int, column: int, *, radius: int = 3) -> Target:
    """The step of depth at an edge: +1 over the pixels on its far side, -1 over those on its near side, as means.

    The pixels within `radius` rows and columns of a place are parted at the middle between the least and the largest
    of their depths.

    Args:
        depth: (B or 1, 1, H, W), metres, that decides where the sides are. row, column: of the place.

    Raises:
        ValueError: a place outside the map, or a neighbourhood without two depths.
    """
    height, width = depth.shape[-2:]
    if not (0 <= row < height and 0 <= column < width) or radius < 1:
        raise ValueError(f"no neighbourhood of radius {radius} at ({row}, {column}) in a map of {height}x{width}: "
                         "give a place inside and a radius of 1 or more")
    box = (..., slice(max(0, row - radius), row + radius + 1), slice(max(0, column - radius), column + radius + 1))
    part = depth.detach()[box]
    low, high = part.amin((2, 3), keepdim=True), part.amax((2, 3), keepdim=True)
    if not torch.isfinite(part).all() or not (high > low).all():
        raise ValueError(f"the depth around ({row}, {column}) is constant or not finite: an edge has two sides; "
                         "choose another place or a larger radius")
    far, near = (torch.zeros(depth.shape, dtype=torch.bool, device=depth.device) for _ in range(2))
    far[box], near[box] = part > (low + high) / 2, part <= (low + high) / 2
    return Target(f"edge at ({row}, {column})", _mean_between, (far, near))


def error_to(depth: Tensor, *, mask: Tensor | None = None, measure: str = "mse") -> Target:
    """The error of the prediction to a reference, averaged over the pixels that count: what made it wrong?

    Args:
        depth: (B or 1, 1, H, W), metres; without a mask, pixels with a finite positive depth count.
        mask: pixels that count, of the same shape, bool.
        measure: a name of `ERRORS`: ``"mse"``, ``"mae"`` or ``"abs_rel"``.

    Raises:
        ValueError: an unknown measure, or an image without a pixel that counts.
    """
    require_known("error", measure, ERRORS)
    known = torch.isfinite(depth) & (depth > 0)
    valid = _checked_mask(known if mask is None else known & mask, "error_to")
    filled = torch.where(known, depth.detach(), 1)
    error = ERRORS[measure]
    return Target(f"{measure} to a reference", lambda pred, truth, where: _mean_where(error(pred, truth), where),
                  (filled, valid))


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(values.dtype)
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1)


def _mean_between(depth: Tensor, far: Tensor, near: Tensor) -> Tensor:
    return _mean_where(depth, far) - _mean_where(depth, near)


def _checked_mask(mask: Tensor, what: str) -> Tensor:
    """(B, 1, H, W) bool with a pixel in every image."""
    if mask.dtype != torch.bool or not 2 <= mask.ndim <= 4:
        raise ValueError(f"{what} got a mask of shape {tuple(mask.shape)} and {mask.dtype}: expected bool "
                         "(B, 1, H, W), (1, H, W) or (H, W)")
    mask = mask[(None,) * (4 - mask.ndim)]
    if mask.shape[1] != 1:
        raise ValueError(f"{what} got a mask of shape {tuple(mask.shape)}: expected one channel, (B, 1, H, W)")
    empty = (~mask.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"{what} got a mask without any pixel for image {empty[0]}: leave that image out, or check "
                         "the mask")
    return mask
