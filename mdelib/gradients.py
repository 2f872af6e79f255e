"""Finite differences of depth maps, and which of them rest on valid pixels only.

Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.protocols import require_known
from mdelib.similarity import gaussian_window, separable_blur

__all__ = ["BORDERS", "central_difference", "laplacian", "smooth_masked", "sobel", "stencil_valid"]

BORDERS = ("valid", "zeros")


def sobel(x: Tensor, *, border: str = "valid") -> tuple[Tensor, Tensor]:
    """The two 3x3 Sobel responses, to the right and downwards, not divided by 8: a slope of s a pixel gives 8 s.

    Args:
        x: (B, C, H, W).
        border: ``"valid"`` keeps the (H - 2, W - 2) pixels whose stencil lies inside the image; ``"zeros"``
            pads with zeros as Hu et al. and METER code it, which makes an edge of the image's frame.
    """
    x = _padded(x, border)
    right = x[..., :, 2:] - x[..., :, :-2]
    down = x[..., 2:, :] - x[..., :-2, :]
    dx = right[..., :-2, :] + 2 * right[..., 1:-1, :] + right[..., 2:, :]
    dy = down[..., :, :-2] + 2 * down[..., :, 1:-1] + down[..., :, 2:]
    return dx, dy


def central_difference(x: Tensor) -> tuple[Tensor, Tensor]:
    """The slopes a pixel to the right and downwards, (B, C, H - 2, W - 2), of (B, C, H, W)."""
    return (x[..., 1:-1, 2:] - x[..., 1:-1, :-2]) / 2, (x[..., 2:, 1:-1] - x[..., :-2, 1:-1]) / 2


def laplacian(x: Tensor) -> Tensor:
    """The sum of the four neighbours less four times the pixel, (B, C, H - 2, W - 2), of (B, C, H, W)."""
    centre = x[..., 1:-1, 1:-1]
    return x[..., 1:-1, 2:] + x[..., 1:-1, :-2] + x[..., 2:, 1:-1] + x[..., :-2, 1:-1] - 4 * centre


def stencil_valid(mask: Tensor, *, border: str = "valid") -> Tensor:
    """Where all nine pixels of the 3x3 stencil are valid, bool, of the size `sobel` gives.

    With ``border="zeros"`` the padding counts as valid.
    """
    mask = _padded(mask, border, True)
    rows = mask[..., :-2, :] & mask[..., 1:-1, :] & mask[..., 2:, :]
    return rows[..., :-2] & rows[..., 1:-1] & rows[..., 2:]


def smooth_masked(x: Tensor, mask: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing of (B, C, H, W) whose weights are renormalised over valid pixels inside the image.

    Args:
        x: (B, C, H, W).
        mask: (B, 1, H, W) bool.
        sigma: pixels.

    Pixels without a valid one in reach (4 sigma) become 0; sigma 0 changes nothing but masked pixels, to 0.
    """
    known = mask.to(x.dtype)
    x = torch.where(mask, x, 0)
    if sigma == 0:
        return x
    radius = max(1, round(4 * sigma))
    weights = gaussian_window(2 * radius + 1, sigma, dtype=x.dtype, device=x.device)
    total, norm = separable_blur(torch.cat([x, known], 1), weights, same=True).split([x.shape[1], 1], 1)
    return torch.where(norm > 0, total / norm.clamp_min(torch.finfo(x.dtype).tiny), 0)


def _padded(x: Tensor, border: str, value: float | bool = 0.0) -> Tensor:
    require_known("border", border, BORDERS)
    x = F.pad(x, (1, 1, 1, 1), value=value) if border == "zeros" else x
    if min(x.shape[-2:]) < 3:
        raise ValueError(f"a map of {tuple(x.shape[-2:])} pixels is too small for a 3x3 stencil")
    return x
