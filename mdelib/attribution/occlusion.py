"""What needs no gradient: occlusion, and maps that know nothing of the image.

Explained in notebooks/13_attribution.ipynb and notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdelib.attribution.batches import in_parts
from mdelib.attribution.fills import fill_image
from mdelib.attribution.targets import Target
from mdelib.protocols import require_known

__all__ = ["POSITIONS", "occlusion", "position_only", "position_without"]

POSITIONS = ("vertical", "centre")


def occlusion(model: nn.Module, image: Tensor, target: Target | None = None, *, cell: int = 16,
              fill: str | Tensor = "mean", batch: int = 8) -> Tensor:
    """How much the target falls when a square cell of the image is filled: s(x) - s(x without the cell), per pixel.

    Zeiler and Fergus 2014, with cells that do not overlap. Its sum is s(x) - s(x') for a network that adds up cells.

    Args:
        model, image, target: as in `mdelib.attribution.saliency`.
        cell: side in pixels; cells tile the image from its top left, the last ones are smaller.
        fill: as in `mdelib.attribution.fills.fill_image`.
        batch: the most images in the network at a time, occluded copies counted.

    Returns:
        (B, H, W), the cell's effect shared equally by its pixels; signed, in the target's unit.

    Raises:
        ValueError: a cell below 1, or as in `saliency`.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    if cell < 1:
        raise ValueError(f"cell={cell}: a cell has a side of at least 1 pixel")
    if batch < 1:
        raise ValueError(f"batch={batch}: at least one image has to go through the network at a time")
    instead = iter(fill_image(image, fill, model=model).split(1))
    height, width = image.shape[-2:]
    cells = cell_numbers(height, width, cell).to(image.device)
    count = int(cells.max()) + 1

    @torch.no_grad()
    def explain(part: Tensor, question: Target) -> Tensor:
        filled, whole = next(instead), question(model(part))
        falls = []
        for numbers in torch.arange(count, device=part.device).split(batch):
            gone = cells == numbers[:, None, None]
            falls.append(whole - question(model(torch.where(gone[:, None], filled, part))))
        effect = torch.cat(falls) / cells.flatten().bincount(minlength=count)
        return effect[cells][None]

    return in_parts(explain, model, image, target, 1)


def cell_numbers(height: int, width: int, cell: int) -> Tensor:
    """The number of the square cell that each pixel lies in, (H, W), row by row."""
    rows, columns = torch.arange(height) // cell, torch.arange(width) // cell
    return rows[:, None] * (int(columns[-1]) + 1) + columns


def position_only(model: nn.Module, image: Tensor, target: Target | None = None, *, kind: str = "vertical") -> Tensor:
    """A map that looks at no image: the control that every measure of an explanation has to be compared with.

    Args:
        model, target: not used; there so that this is called like a method.
        image: (B, 3, H, W), gives the size.
        kind: ``"vertical"``, 1 at the top row to 0 at the bottom, as depth in most photographs falls ·
            ``"centre"``, 1 in the middle to 0 in the corners.

    Returns:
        (B, H, W) in [0, 1].

    Raises:
        ValueError: an unknown kind.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    require_known("position-only map", kind, POSITIONS)
    height, width = image.shape[-2:]
    rows, columns = torch.linspace(1, -1, height), torch.linspace(1, -1, width)
    if kind == "vertical":
        values = ((rows + 1) / 2)[:, None].expand(height, width)
    else:
        values = 1 - torch.hypot(rows[:, None], columns) / 2**0.5
    return values.to(image).expand(len(image), height, width).contiguous()


def position_without(attribution: Tensor) -> Tensor:
    """For every image the mean map of all *other* images: all that a method says without looking at this one.

    Each map is first divided by the sum of its magnitudes, so that no image outweighs the others.

    Args:
        attribution: (B, H, W), B of 2 or more, of one method.

    Raises:
        ValueError: a single image, or a map of zeros or NaN.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    if len(attribution) < 2:
        raise ValueError("one map came: the mean of the others needs two or more")
    total = attribution.abs().sum((1, 2), keepdim=True)
    if not (torch.isfinite(total) & (total > 0)).all():
        raise ValueError("a map is zero everywhere or not finite: leave that image out")
    shares = attribution / total
    return (shares.sum(0, keepdim=True) - shares) / (len(attribution) - 1)
