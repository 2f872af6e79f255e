"""From a depth map to places in the room: the pinhole camera, run backwards.

Depth is what this course and all its data sets mean by it: metres along the optical axis, z, not the length of the
line of sight. With pixel (u, v) and a camera of focal lengths f and centre c, the point that a pixel shows is

    P = z ((u - c_x) / f_x, (v - c_y) / f_y, 1),       x to the right, y down, z forward.

Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["backproject", "depth_to_range", "pixel_rays"]


def pixel_rays(intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Where the line of sight of every pixel is at a depth of one metre.

    Args:
        intrinsics: (3, 3) or (B, 3, 3), pixels, pixel centres at integers. Skew is allowed.
        size: (height, width) of the image that the intrinsics belong to.

    Returns:
        (B, 3, H, W), B = 1 for a single camera; the third channel is 1.

    Raises:
        ValueError: intrinsics that are not 3x3, not finite, or with a focal length that is not positive.
    """
    camera = intrinsics[None] if intrinsics.ndim == 2 else intrinsics
    if camera.ndim != 3 or tuple(camera.shape[1:]) != (3, 3):
        raise ValueError(f"intrinsics have the shape {tuple(intrinsics.shape)}: (3, 3) or (B, 3, 3) is needed")
    if not torch.isfinite(camera).all() or not (camera[:, 0, 0] > 0).all() or not (camera[:, 1, 1] > 0).all():
        raise ValueError("intrinsics hold a focal length that is not positive, or a value that is not finite: "
                         "expected [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels")
    camera = camera if camera.is_floating_point() else camera.float()
    rows, columns = torch.meshgrid(*(torch.arange(n, device=camera.device, dtype=camera.dtype) for n in size),
                                   indexing="ij")
    fx, skew, cx, fy, cy = (camera[:, i, j, None, None] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
    y = (rows - cy) / fy
    x = (columns - cx - skew * y) / fx
    return torch.stack([x, y, torch.ones_like(x)], dim=1)


def backproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """The point in the camera's frame that every pixel shows.

    Args:
        depth: (B, 1, H, W) metres along the optical axis. A depth of 0 (unknown) gives the origin: mask it.
        intrinsics: (3, 3) or (B, 3, 3), see `pixel_rays`.

    Returns:
        (B, 3, H, W) metres: x to the right, y down, z forward.

    Raises:
        ValueError: depth that is not (B, 1, H, W), or as `pixel_rays`.

    Explained in notebooks/00_start_here.ipynb.
    """
    if depth.ndim != 4 or depth.shape[1] != 1:
        raise ValueError(f"depth has the shape {tuple(depth.shape)}: (B, 1, H, W) is needed; add missing axes with "
                         "depth[None]")
    if intrinsics.ndim == 3 and len(intrinsics) not in (1, len(depth)):
        raise ValueError(f"{len(intrinsics)} cameras came with {len(depth)} depth maps: one for all or one for each "
                         "is needed")
    return depth * pixel_rays(intrinsics.to(depth), (depth.shape[-2], depth.shape[-1]))


def depth_to_range(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """The distance from the camera's centre to what every pixel shows: depth times the length of its ray.

    Args:
        depth, intrinsics: as in `backproject`.

    Returns:
        (B, 1, H, W) metres, never less than depth; 0 where depth is 0.

    Explained in notebooks/00_start_here.ipynb.
    """
    return backproject(depth, intrinsics).norm(dim=1, keepdim=True)
