"""Grad-CAM (Selvaraju et al. 2017) for dense depth: which places of a coarse feature speak for the target.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from captum.attr import LayerGradCam
from torch import Tensor, nn

from mdelib.attribution.batches import asked, in_parts
from mdelib.attribution.targets import Target
from mdelib.layers import pad_to_multiple, resize
from mdelib.models.base import DepthNetwork

__all__ = ["coarsest_convolution", "grad_cam", "inner_size"]


def grad_cam(model: nn.Module, image: Tensor, target: Target | None = None, *, layer: str | None = None,
             signed: bool = False, batch: int = 8) -> Tensor:
    r"""Grad-CAM: :math:`\mathrm{ReLU}\big(\sum_k \bar g_k A_k\big)`, with features A and their mean gradient
    :math:`\bar g_k = \mathrm{mean}_{ij}\, \partial s/\partial A_{kij}`; enlarged to the image bilinearly.

    Args:
        model, image, target, batch: as in `mdelib.attribution.saliency`.
        layer: name of a submodule that returns features (B, C, h, w), as in ``dict(model.named_modules())``; then
            through captum. None takes the coarsest feature of a `DepthNetwork` with an encoder of its own, and
            otherwise `coarsest_convolution`.
        signed: leave out the ReLU. Depth is no class score: features that make it smaller are as relevant.

    Returns:
        (B, H, W), in the target's unit.

    Raises:
        ValueError: an unknown layer, a layer whose output is no map of features, or as in `saliency`.

    Explained in notebooks/13_attribution.ipynb.
    """
    own = isinstance(model, DepthNetwork) and type(model).encode is not DepthNetwork.encode
    name = layer or (None if own else coarsest_convolution(model, image[:1]))
    modules = dict(model.named_modules())
    if name is not None and name not in modules:
        parts = ", ".join(part for part, _ in model.named_children())
        raise ValueError(f"the network has no layer {name!r}: its parts are {parts} and what is in them")

    def explain(part: Tensor, question: Target) -> Tensor:
        if name is None:
            cam, inside = _of_encoder(model, part, question)
        else:
            cam = LayerGradCam(asked(model, question), modules[name]).attribute(
                part.requires_grad_(), additional_forward_args=question.maps or None)
            inside = inner_size(model, part)
            if not isinstance(cam, Tensor) or cam.ndim != 4:
                raise ValueError(f"layer {name!r} does not return a map of features (B, C, h, w): choose a "
                                 "convolution or a block of them")
        cam = resize(cam if signed else F.relu(cam), inside)
        if getattr(model, "size", None) is None:
            return cam[:, 0, :part.shape[-2], :part.shape[-1]]  # what padding added is cut off
        return resize(cam, tuple(part.shape[-2:]))[:, 0]

    return in_parts(explain, model, image, target, batch)


def coarsest_convolution(model: nn.Module, image: Tensor) -> str:
    """The name of the last convolution with the smallest map of more than one pixel, for one image (1, 3, H, W).

    Raises:
        ValueError: a network without convolutions.
    """
    sizes: dict[str, int] = {}
    hooks = [module.register_forward_hook(lambda _, __, out, name=name: sizes.update({name: out[0, 0].numel()}))
             for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    try:
        with torch.no_grad():
            model(image)
    finally:
        for hook in hooks:
            hook.remove()
    maps = {name: size for name, size in sizes.items() if size > 1}
    if not maps:
        raise ValueError("the network has no convolution that Grad-CAM could look at: name a layer with layer='...'")
    least = min(maps.values())
    return [name for name, size in maps.items() if size == least][-1]


def _of_encoder(model: DepthNetwork, image: Tensor, target: Target) -> tuple[Tensor, tuple[int, int]]:
    """Grad-CAM (B, 1, h, w) on the coarsest feature of a `DepthNetwork`, and the size that the network worked at."""
    inside = inner_size(model, image)
    height, width = image.shape[-2:]
    with torch.enable_grad():
        if model.size is None:
            x = pad_to_multiple(image, model.multiple)
        else:
            x = image if inside == (height, width) else F.interpolate(
                image, size=inside, mode="bilinear", antialias=True, align_corners=False)
        features = tuple(one.detach() for one in model.encode(model.normalize(x)))
        coarsest = features[-1].requires_grad_()
        depth = model.to_depth(model.decode((*features[:-1], coarsest)))
        depth = resize(depth, (height, width)) if model.size else resize(depth, inside)[..., :height, :width]
        slope = torch.autograd.grad(target(depth).sum(), coarsest)[0]
    weights = slope.mean((2, 3), keepdim=True)
    return (weights * coarsest.detach()).sum(1, keepdim=True), inside


def inner_size(model: nn.Module, image: Tensor) -> tuple[int, int]:
    """The (height, width) at which a network works on images of this size."""
    if getattr(model, "size", None) is not None:
        return tuple(model.size)
    multiple = getattr(model, "multiple", 1) if isinstance(model, DepthNetwork) else 1
    height, width = image.shape[-2:]
    return height + -height % multiple, width + -width % multiple
