"""Random views of a training batch: mirrored, zoomed, turned a little, in another light.

All of it runs on whole batches of tensors and draws from one generator, so that a training repeats exactly.
Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

__all__ = ["Augmentation", "augment", "random_geometry", "random_light"]


class Augmentation(BaseModel):
    """How far a training view may be moved from the original; the defaults change nothing.

    Attributes:
        flip: probability of a mirror image.
        zoom: largest enlargement; each view is enlarged by a factor between 1 and this, and cropped. Depth is
            divided by the factor where `zoom_depth` is set: an enlarged view looks like a nearer one.
        rotate: largest rotation, degrees.
        light: how far gamma, brightness and each colour may move from 1, for example 0.1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: float = Field(0.0, ge=0, le=1)
    zoom: float = Field(1.0, ge=1)
    zoom_depth: bool = False
    rotate: float = Field(0.0, ge=0, lt=45)
    light: float = Field(0.0, ge=0, lt=1)


def _uniform(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=generator)


def random_geometry(count: int, height: int, width: int, setting: Augmentation,
                    generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one mirror, zoom, crop and rotation a view.

    Returns:
        Affine maps (count, 2, 3) from the new view to the old in `grid_sample`'s coordinates, and the zoom
        factors (count,).
    """
    mirrored = torch.rand(count, generator=generator) < setting.flip
    zoom = _uniform(count, 1.0, setting.zoom, generator)
    angle = torch.deg2rad(_uniform(count, -setting.rotate, setting.rotate, generator))
    shift = (1 - 1 / zoom)[:, None] * (2 * torch.rand(count, 2, generator=generator) - 1)
    sign = torch.where(mirrored, -1.0, 1.0)
    aspect = height / width
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    rows = [torch.stack([cos * sign, -sin * aspect, shift[:, 0]], 1),
            torch.stack([sin / aspect * sign, cos, shift[:, 1]], 1)]
    return torch.stack(rows, 1), zoom


def random_light(image: Tensor, setting: Augmentation, generator: torch.Generator) -> Tensor:
    """Change gamma, brightness and the three colours of (B, 3, H, W) images in [0, 1] by random factors."""
    count, spread = len(image), setting.light
    gamma = _uniform(count, 1 - spread, 1 + spread, generator)
    factor = torch.exp(_uniform(count, math.log1p(-spread), math.log1p(spread), generator))
    colour = 1 - spread + 2 * spread * torch.rand(count, 3, generator=generator)
    gamma, factor = gamma.to(image.device), factor.to(image.device)
    gain = (factor[:, None] * colour.to(image.device))[:, :, None, None]
    return (image.clamp(0, 1) ** gamma[:, None, None, None] * gain).clamp(0, 1)


def augment(image: Tensor, depth: Tensor, mask: Tensor, setting: Augmentation,
            generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """One random view of every sample.

    Args:
        image: (B, 3, H, W) in [0, 1]. depth: (B, 1, H, W) metres. mask: (B, 1, H, W) bool.
        setting: how far to go.
        generator: on the CPU; the only source of randomness.

    Returns:
        image, depth and mask of the same shapes. Pixels that come from outside the old view are masked.
    """
    if setting.flip or setting.zoom > 1 or setting.rotate:
        affine, zoom = random_geometry(len(image), *image.shape[-2:], setting, generator)
        affine = affine.to(image)
        grid = F.affine_grid(affine, list(image.shape), align_corners=False)
        image = F.grid_sample(image, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        sampled = F.grid_sample(torch.cat([depth, mask.to(depth)], 1), grid, mode="nearest", align_corners=False)
        depth, mask = sampled[:, :1], sampled[:, 1:] > 0.5
        if setting.zoom_depth:
            depth = depth / zoom.to(depth)[:, None, None, None]
    if setting.light:
        image = random_light(image, setting, generator)
    return image, depth, mask
