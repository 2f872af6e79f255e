"""Figures of bending surfaces: directions as colours, curvature in powers of ten, the same picture of two reliefs.

Explained in notebooks/08_normalized_hessian.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mdelib.figures import COLOURS, WIDTH, new_figure, show_depth

__all__ = ["CURVATURE_MAP", "bas_relief", "lambert_picture", "relief_panels", "shape_alphabet", "show_curvature",
           "show_direction"]

CURVATURE_MAP = "magma"


def lambert_picture(depth: Tensor, albedo: Tensor, light: Tensor) -> Tensor:
    """The picture of a matt surface seen from the front, along z, by parallel rays.

    Args:
        depth: (H, W), in pixels as its x and y. albedo: (H, W). light: (3,), towards the light, x right, y down, z
            away from the camera; its length is its strength.

    Returns:
        (H, W): albedo · max(0, n · light), n the unit normal that points to the camera.
    """
    normal, length = _normal(depth)
    return albedo * ((normal / length) * light[:, None, None]).sum(0).clamp_min(0)


def bas_relief(depth: Tensor, albedo: Tensor, light: Tensor, *, a: float, b: float, c: float
               ) -> tuple[Tensor, Tensor, Tensor]:
    """The surface a z + b x + c y, with the paint and the light that give it the same picture (a > 0).

    The generalised bas-relief transformation: normals become M n with M = [[a, 0, -b], [0, a, -c], [0, 0, 1]], the
    light becomes M⁻ᵀ s, and what remains of the normals' length is paint.

    Args:
        depth, albedo, light: as in `lambert_picture`.

    Returns:
        Depth, albedo and light.
    """
    if not a > 0:
        raise ValueError(f"a is {a}: only a positive scale keeps the lit side of a surface lit")
    y, x = torch.meshgrid(*(torch.arange(n, dtype=depth.dtype) for n in depth.shape), indexing="ij")
    changed = a * depth + b * x + c * y
    matrix = torch.tensor([[a, 0, -b], [0, a, -c], [0, 0, 1]], dtype=depth.dtype)
    return changed, albedo * _normal(changed)[1] / _normal(depth)[1], torch.linalg.inv(matrix).T @ light


def _normal(depth: Tensor) -> tuple[Tensor, Tensor]:
    """(z_x, z_y, -1), (3, H, W), and its length."""
    down, right = torch.gradient(depth)
    normal = torch.stack([right, down, -torch.ones_like(depth)])
    return normal, normal.norm(dim=0)


def relief_panels(reliefs: Mapping[str, tuple[Tensor, Tensor]], row: int) -> Figure:
    """The picture and the depth of every relief, and one row of all of them as seen from above.

    Args:
        reliefs: title -> picture (H, W) in [0, 1] and depth (H, W).
        row: of the section.
    """
    shape = next(iter(reliefs.values()))[0].shape
    columns = 2 * len(reliefs)
    side = (WIDTH - 0.5) / (columns + 1.4)
    figure, axes = new_figure(1, columns + 1, height=side * shape[0] / shape[1] + 0.5,
                              width_ratios=[1] * columns + [1.4])
    lows, highs = zip(*((float(depth.min()), float(depth.max())) for _, depth in reliefs.values()), strict=True)
    for index, (title, (picture, depth)) in enumerate(reliefs.items()):
        axes[2 * index].imshow(picture.numpy(), cmap="gray", vmin=0, vmax=1)
        axes[2 * index].set(title=f"{title}:\npicture", xticks=[], yticks=[])
        axes[2 * index].spines[:].set_visible(False)
        show_depth(axes[2 * index + 1], depth, f"{title}:\ndepth", limits=(min(lows), max(highs)))
        axes[-1].plot(depth[row].numpy(), color=COLOURS[index], ls=("-", "--")[index % 2], label=title)
    axes[-1].invert_yaxis()
    axes[-1].set(title="section, from above", xlabel="x (pixels)", ylabel="depth (pixels)")
    axes[-1].legend(fontsize=8)
    return figure


def show_direction(axes: Axes, direction: Tensor, title: str | None = None, *, mask: Tensor | None = None) -> Any:
    """Draw H (3, H, W) as colours: grey is 0, red bends along x, blue along y, green is twist, dark the other way.

    Args:
        axes: to draw in. direction: components in [-1, 1]. title: above. mask: (1, H, W) bool; white outside.
    """
    colours = (0.5 + 0.5 * direction.detach().cpu().double().clamp(-1, 1)).permute(1, 2, 0)
    if mask is not None:
        colours = torch.where(mask[0, :, :, None], colours, 1.0)
    artist = axes.imshow(colours.numpy())
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title)
    return artist


def show_curvature(axes: Axes, size: Tensor, title: str | None = None, *, limits: tuple[float, float] = (1e-9, 1.0)
                   ) -> Any:
    """Draw |∇²z| (1, H, W) on a logarithmic scale; exactly 0 and the border are grey."""
    values = np.ma.masked_less_equal(size.detach().cpu().double().squeeze().numpy(), 0)
    shades = matplotlib.colormaps[CURVATURE_MAP].with_extremes(bad="0.6")
    artist = axes.imshow(values, cmap=shades, norm=matplotlib.colors.LogNorm(*limits, clip=True))
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title)
    return artist


def shape_alphabet(shapes: Mapping[str, tuple[Tensor, Sequence[float]]]) -> Figure:
    """Small surfaces above, and below the colour that `show_direction` gives their H.

    Args:
        shapes: name -> depth (H, W) and H as three numbers.
    """
    figure, axes = new_figure(2, len(shapes), height=0.92, height_ratios=[1, 0.3])
    for (upper, lower), (name, (depth, direction)) in zip(axes.T, shapes.items(), strict=True):
        show_depth(upper, depth, name, limits=(float(depth.min()), float(depth.max()) + 1e-9))
        patch = torch.tensor(direction, dtype=torch.float64)[:, None, None].expand(3, 3, 12)
        show_direction(lower, patch)
        lower.set_xlabel("(" + ", ".join(f"{value:.1f}".replace("-", "−") for value in direction) + ")", fontsize=9)
    return figure
