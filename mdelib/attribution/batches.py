"""What every attribution method does first and last: check model and image, and go through a batch in parts.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from mdelib.attribution.targets import Target, mean_depth
from mdelib.models.base import check_image

__all__ = ["asked", "check_model", "in_parts", "reduce_channels"]

REDUCE = ("max", "mean", "norm", "sum")


def check_model(model: nn.Module) -> None:
    """Refuse a network in training mode, whose dropout and batch norm make every pass another function.

    Raises:
        ValueError: such a network.
    """
    if any(module.training for module in model.modules()):
        raise ValueError("the network, or a part of it, is in training mode: call .eval() first, so that its answer "
                         "depends on the image alone")


def asked(model: nn.Module, target: Target) -> Callable[..., Tensor]:
    """The function that captum explains: (images, *maps of the target) -> (B,)."""
    return lambda image, *maps: target(model(image), *maps)


def in_parts(explain: Callable[[Tensor, Target], Tensor], model: nn.Module, image: Tensor, target: Target | None,
             batch: int) -> Tensor:
    """Explain images (B, 3, H, W), at most `batch` at a time, and join the maps (B, H, W).

    Args:
        explain: (images, their target) -> maps (b, H, W). target: None is `targets.mean_depth`.

    Raises:
        ValueError: no image, an image that is not (B, 3, H, W) floating point, a network in training mode, or a batch
            below 1.
    """
    check_image(image)
    check_model(model)
    if not len(image):
        raise ValueError("no image came: expected (B, 3, H, W) with at least one")
    if batch < 1:
        raise ValueError(f"batch={batch}: at least one image has to go through the network at a time")
    chosen = mean_depth() if target is None else target
    parts = []
    for start in range(0, len(image), batch):
        part = slice(start, start + batch)
        parts.append(explain(image[part].detach(), chosen.of(part, len(image))).detach())
    return torch.cat(parts)


def reduce_channels(values: Tensor, how: str) -> Tensor:
    """(B, C, H, W) to (B, H, W): ``"max"`` or ``"mean"`` of the magnitudes, their Euclidean ``"norm"``, or the signed
    ``"sum"``.

    Raises:
        ValueError: another word.
    """
    if how == "max":
        return values.abs().amax(1)
    if how == "mean":
        return values.abs().mean(1)
    if how == "norm":
        return values.square().sum(1).sqrt()
    if how == "sum":
        return values.sum(1)
    raise ValueError(f"channels={how!r} is no way to join colours: choose one of {', '.join(REDUCE)}")
