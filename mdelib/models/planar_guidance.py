"""Local planar guidance (LPG): every feature guesses a plane for its patch of the image, drawn as depth.

The idea of BTS (Lee et al. 2019, arXiv 1907.10326): a feature at 1/8 resolution stands for 8x8 pixels; four numbers,
a plane, say more about them than one depth. Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["PlaneHead", "conv_elu", "halving_chain", "local_planar_guidance", "plane_parameters"]


def plane_parameters(raw: Tensor, max_depth: float = 10.0) -> Tensor:
    """Planes from three numbers each.

    θ = π/3 sigmoid(raw_1), φ = 2π sigmoid(raw_2), n_4 = max_depth sigmoid(raw_3), and the unit normal
    n = (sin θ cos φ, sin θ sin φ, cos θ): Lee et al., local planar guidance. A plane is never steeper than 60°.

    Args:
        raw: (B, 3, h, w) of any size.
        max_depth: metres.

    Returns:
        (B, 4, h, w) float32 or finer: n, and the distance n_4 of the plane in metres.

    Raises:
        ValueError: not three channels.

    Explained in notebooks/04_dissection.ipynb.
    """
    if raw.ndim != 4 or raw.shape[1] != 3:
        raise ValueError(f"got shape {tuple(raw.shape)}: expected (B, 3, h, w), two angles and a distance a plane")
    raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
    polar, azimuth, distance = torch.sigmoid(raw).split(1, dim=1)
    polar, azimuth = polar * (math.pi / 3), azimuth * (2 * math.pi)
    return torch.cat([polar.sin() * azimuth.cos(), polar.sin() * azimuth.sin(), polar.cos(), max_depth * distance], 1)


def local_planar_guidance(plane: Tensor, patch: int, *, floor: float = 1e-2) -> Tensor:
    r"""The depth at which the rays of a patch meet the patch's own plane.

    :math:`\tilde c_i = n_4 / (n_1 u_i + n_2 v_i + n_3)` (Lee et al.): the intersection of the ray
    t (u_i, v_i, 1) with the plane n·X = n_4. u (to the right) and v (down) run over the centres of the patch's
    pixels from -(k - 1) / 2k to (k - 1) / 2k: every patch has a camera of its own, whatever the image's.

    Args:
        plane: (B, 4, h, w), from `plane_parameters`.
        patch: k, the side of a patch in pixels.
        floor: least denominator. In the corners of an 8x8 patch a plane steeper than 58.3° lies behind the camera,
            which the formula would answer with infinite or negative depth; the authors' code has no floor.

    Returns:
        (B, 1, k h, k w) metres.

    Raises:
        ValueError: not four channels, or a patch of less than one pixel.

    Explained in notebooks/04_dissection.ipynb.
    """
    if plane.ndim != 4 or plane.shape[1] != 4:
        raise ValueError(f"got shape {tuple(plane.shape)}: expected (B, 4, h, w), a unit normal and a distance each")
    if patch < 1:
        raise ValueError(f"patch={patch} has no pixels: choose 1 or more")
    centres = (torch.arange(patch, device=plane.device, dtype=plane.dtype) - (patch - 1) / 2) / patch
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    u, v = u.reshape(1, -1, 1, 1), v.reshape(1, -1, 1, 1)  # one channel a pixel of the patch, row by row
    n1, n2, n3, n4 = plane.split(1, dim=1)
    return F.pixel_shuffle(n4 / (n1 * u + n2 * v + n3).clamp_min(floor), patch)


def conv_elu(in_channels: int, out_channels: int, kernel_size: int = 3) -> nn.Sequential:
    """Convolution of odd kernel size that keeps the size, without bias, then ELU."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
                         nn.ELU())


def halving_chain(in_channels: int, first: int) -> tuple[nn.Sequential, int]:
    """A chain of 1x1 convolutions with ELU to `first` channels, half of them, ... not below 8; and its last width."""
    widths = [in_channels]
    while first >= 8 or len(widths) == 1:
        widths.append(first)
        first //= 2
    return nn.Sequential(*(conv_elu(wide, narrow, 1) for wide, narrow in pairwise(widths))), widths[-1]


class PlaneHead(nn.Module):
    """Local planar guidance of one scale: 1x1 convolutions that halve the channels down to the three of a plane.

    Args:
        in_channels, first: of the input, and of the first 1x1 convolution.
        patch: pixels of the image that a feature pixel stands for, along a side.
    """

    def __init__(self, in_channels: int, first: int, patch: int):
        super().__init__()
        self.reduce, last = halving_chain(in_channels, first)
        self.plane = nn.Conv2d(last, 3, 1, bias=False)
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, 1, patch h, patch w): depth as a share of the largest, in the input's precision."""
        plane = plane_parameters(self.plane(self.reduce(x)), max_depth=1.0)
        return local_planar_guidance(plane, self.patch).to(x.dtype)
