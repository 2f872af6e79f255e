"""The camera of images that come without one.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

__all__ = ["KINECT_FOCAL", "camera_or_default", "default_intrinsics"]

KINECT_FOCAL = 518.86 / 640  # widths of the image: NYU-Depth-v2's colour camera, 63.3° wide


def default_intrinsics(size: tuple[int, int], *, focal: float = KINECT_FOCAL) -> Tensor:
    """A camera that looks straight through the middle of the image, with square pixels.

    Args:
        size: (height, width) in pixels. focal: focal length in widths of the image; NYU's Kinect if not given.

    Returns:
        (3, 3) float32, pixel centres at integers: [[f W, 0, (W - 1) / 2], [0, f W, (H - 1) / 2], [0, 0, 1]].

    Raises:
        ValueError: a size or a focal length that is not positive.

    Explained in notebooks/09_fusanet.ipynb.
    """
    height, width = size
    if min(size) < 1 or not (math.isfinite(focal) and focal > 0):
        raise ValueError(f"size={tuple(size)}, focal={focal}: (height, width) in pixels and a focal length in widths "
                         "of the image are needed, all positive")
    return torch.tensor([[focal * width, 0, (width - 1) / 2], [0, focal * width, (height - 1) / 2], [0, 0, 1]])


def camera_or_default(intrinsics: Tensor | None, size: tuple[int, int], batch: int, *,
                      focal: float | None = None) -> Tensor:
    """The cameras of a batch; where they are not known, `default_intrinsics`, with a warning.

    Args:
        intrinsics: (3, 3) or (B, 3, 3), pixels of an image of `size`; None if not known.
        size: (height, width). batch: B.
        focal: of the camera where intrinsics are not known, in widths of the image: given, there is no warning.

    Returns:
        (B, 3, 3).

    Raises:
        ValueError: intrinsics of another shape or for another number of images.

    Explained in notebooks/09_fusanet.ipynb.
    """
    if intrinsics is None:
        if focal is None:
            warnings.warn(f"no intrinsics came with images of {size[0]}x{size[1]} pixels: points are put into space "
                          f"by the default camera, with the focal length of NYU's Kinect ({KINECT_FOCAL:.4g} widths "
                          "of the image); give intrinsics, or a focal length in widths of the image", UserWarning,
                          stacklevel=2)
        intrinsics = default_intrinsics(size, focal=KINECT_FOCAL if focal is None else focal)
    cameras = intrinsics if intrinsics.ndim == 3 else intrinsics[None]
    if tuple(cameras.shape[1:]) != (3, 3) or len(cameras) not in (1, batch):
        raise ValueError(f"intrinsics have the shape {tuple(intrinsics.shape)}: (3, 3), or ({batch}, 3, 3) for "
                         f"{batch} images, is needed")
    return cameras.expand(batch, 3, 3)
