"""SIFT keypoints, and the depth that was measured there: the guiding points of huynh2021 Section 3.1.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from mdelib.data.base import valid_depth
from mdelib.points.sparse_points import SparsePoints

__all__ = ["Keypoints", "guiding_points", "sift_points"]


class Keypoints(NamedTuple):
    """`points` (B, N, 2) float32, (x, y) = (column, row) in pixels, centres at integers, and `valid` (B, N) bool."""

    points: Tensor
    valid: Tensor

    @property
    def pixels(self) -> Tensor:
        """(B, N, 2) long: the (row, column) of the pixels they are in."""
        return (self.points.flip(2) + 0.5).floor().long()


def sift_points(image: Tensor, count: int) -> Keypoints:
    """The `count` strongest SIFT keypoints of each image, strongest first, one a pixel.

    OpenCV's SIFT with its own settings, on 8-bit grey. A keypoint with several orientations is one point, and of
    several in one pixel the strongest stays. Equal responses are sorted by row, then by column.

    Args:
        image: (B, 3, H, W) RGB in [0, 1]. count: N.

    Returns:
        (points, valid); an image with fewer keypoints, or none, has points that are not valid, at (0, 0).

    Raises:
        ValueError: images of another shape or not finite, or a count below 1.

    Explained in notebooks/09_fusanet.ipynb.
    """
    _check(image, count)
    return _padded(_detected(image), count, image.device)


def guiding_points(image: Tensor, depth: Tensor, mask: Tensor | None, count: int) -> SparsePoints:
    """Measured depth at the strongest SIFT keypoints where depth is known, with confidence 1 (huynh2021 Section 3.1).

    Keypoints without depth are left out before counting: where depth is known at one pixel in twenty, as with LiDAR,
    few of the `count` strongest would be left otherwise. An image may have fewer points, or none.

    Args:
        image: (B, 3, H, W) RGB in [0, 1]. depth: (B, 1, H, W) metres. mask: (B, 1, H, W) bool, or None for wherever
            depth is finite and positive. count: N, at most so many an image.

    Raises:
        ValueError: shapes that do not fit, or a count below 1.

    Explained in notebooks/09_fusanet.ipynb.
    """
    _check(image, count)
    for name, value in (("depth", depth), ("mask", mask)):
        if value is not None and tuple(value.shape) != (len(image), 1, *image.shape[-2:]):
            raise ValueError(f"the {name} has the shape {tuple(value.shape)}: {(len(image), 1, *image.shape[-2:])} is "
                             f"needed for images of the shape {tuple(image.shape)}")
    known = valid_depth(depth) if mask is None else valid_depth(depth) & (mask > 0)
    where = known[:, 0].cpu().numpy()
    kept = []
    for found, there in zip(_detected(image), where, strict=True):
        column, row = _nearest(found).T
        kept.append(found[there[row, column]])
    pixels, valid = (kept := _padded(kept, count, image.device)).pixels, kept.valid
    at = pixels[..., 0] * image.shape[-1] + pixels[..., 1]
    values = torch.where(valid, depth.flatten(1).gather(1, at), 0)
    return SparsePoints(pixels, values, valid.to(values.dtype), valid)


def _check(image: Tensor, count: int) -> None:
    if image.ndim != 4 or image.shape[1] != 3 or not image.is_floating_point():
        raise ValueError(f"the image is {image.dtype} of the shape {tuple(image.shape)}: RGB in [0, 1] as a float "
                         "tensor (B, 3, H, W) is needed")
    if not torch.isfinite(image).all():
        raise ValueError("the image holds values that are not finite: RGB in [0, 1] is needed")
    if count < 1:
        raise ValueError(f"count={count}: at least one point is needed; SparsePoints.empty is no points")


def _detected(image: Tensor) -> list[np.ndarray]:
    """All keypoints of each image, (n, 2) float32 (x, y), strongest first, one a pixel."""
    detector = cv2.SIFT_create()
    colours = (image.detach().float().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    found = []
    for one in colours:
        keypoints = detector.detect(cv2.cvtColor(np.ascontiguousarray(one), cv2.COLOR_RGB2GRAY), None)
        x, y, response = np.array([(*point.pt, point.response) for point in keypoints], np.float32).reshape(-1, 3).T
        places = np.stack([x, y], 1)[np.lexsort((x, y, -response))]
        _, first = np.unique(_nearest(places), axis=0, return_index=True)
        found.append(places[np.sort(first)])
    return found


def _nearest(places: np.ndarray) -> np.ndarray:
    """(n, 2) whole (column, row)."""
    return np.floor(places + np.float32(0.5)).astype(np.int64)


def _padded(found: list[np.ndarray], count: int, device: torch.device) -> Keypoints:
    points, valid = torch.zeros(len(found), count, 2), torch.zeros(len(found), count, dtype=torch.bool)
    for place, one in enumerate(found):
        some = one[:count]
        points[place, :len(some)], valid[place, :len(some)] = torch.from_numpy(some), True
    return Keypoints(points.to(device), valid.to(device))
