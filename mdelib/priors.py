"""What can be said about depth without looking at the picture: baselines that every network must beat.

Near things stand at the bottom of a photograph and far ones in the middle, in nearly all photographs. The mean depth
of each pixel over a training set holds that habit and nothing else. Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdelib.layers import resize

__all__ = ["PositionPrior", "mean_depth_map"]


def _checked(depth: Tensor, mask: Tensor) -> Tensor:
    if depth.ndim != 4 or depth.shape[1] != 1 or mask.shape != depth.shape or mask.dtype != torch.bool:
        raise ValueError(f"depth {tuple(depth.shape)} and mask {tuple(mask.shape)} of {mask.dtype} do not fit: "
                         "(B, 1, H, W) each and a bool mask are needed")
    if not mask.any():
        raise ValueError("no pixel of the views has a known depth: at least one is needed for a mean")
    return torch.where(mask, depth, torch.zeros_like(depth)).double()


def mean_depth_map(depth: Tensor, mask: Tensor) -> Tensor:
    """The mean depth of every pixel over the views, from the views that know it.

    Args:
        depth: (B, 1, H, W) metres. mask: (B, 1, H, W) bool, where depth is known.

    Returns:
        (1, 1, H, W) metres. A pixel that no view knows gets the mean of all known depths.

    Raises:
        ValueError: shapes that do not fit, a mask that is not bool, or no known pixel at all.

    Explained in notebooks/00_start_here.ipynb.
    """
    known = _checked(depth, mask)
    count = mask.sum(dim=0, keepdim=True)
    everywhere = known.sum() / mask.sum()
    return torch.where(count > 0, known.sum(dim=0, keepdim=True) / count.clamp_min(1), everywhere).to(depth.dtype)


class PositionPrior(nn.Module):
    """A "network" that answers every image with the same depth map, resized to the image.

    Args:
        depth: (1, 1, h, w) metres, for example of `mean_depth_map`.
    """

    def __init__(self, depth: Tensor):
        super().__init__()
        if depth.ndim != 4 or tuple(depth.shape[:2]) != (1, 1):
            raise ValueError(f"depth has the shape {tuple(depth.shape)}: one map (1, 1, H, W) is needed")
        self.register_buffer("depth", depth.clone())

    def forward(self, image: Tensor) -> Tensor:
        """Depth (B, 1, H, W) of images (B, 3, H, W), whatever they show."""
        return resize(self.depth, (image.shape[-2], image.shape[-1])).expand(len(image), -1, -1, -1)
