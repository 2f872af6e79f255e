"""All methods by name, called alike: `explain(model, image, "saliency", target)`.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mdelib.attribution.attention import attention_layers
from mdelib.attribution.grad_cam import grad_cam
from mdelib.attribution.integrated import integrated_gradients
from mdelib.attribution.occlusion import occlusion, position_only
from mdelib.attribution.rollout import attention_rollout
from mdelib.attribution.saliency import input_x_gradient, saliency, smoothgrad
from mdelib.attribution.targets import Target
from mdelib.protocols import require_known

__all__ = ["METHODS", "TITLES", "explain", "methods_for"]

# One function a method: function(model, image, target, *, options) -> (B, H, W). A new method is a new line here.
METHODS: dict[str, Callable[..., Tensor]] = {
    "saliency": saliency,
    "integrated_gradients": integrated_gradients,
    "attention_rollout": attention_rollout,
    "smoothgrad": smoothgrad,
    "input_x_gradient": input_x_gradient,
    "grad_cam": grad_cam,
    "occlusion": occlusion,
    "position_only": position_only,
}
TITLES = {"saliency": "saliency", "integrated_gradients": "integrated gradients",
          "attention_rollout": "attention rollout", "smoothgrad": "SmoothGrad", "input_x_gradient": "input × gradient",
          "grad_cam": "Grad-CAM", "occlusion": "occlusion", "position_only": "position only"}


def explain(model: nn.Module, image: Tensor, method: str, target: Target | None = None, **options: Any) -> Tensor:
    """An attribution (B, H, W) by a method's name; arguments as in the method's own function.

    Raises:
        ValueError: an unknown method, or as that method does.

    Explained in notebooks/13_attribution.ipynb.
    """
    require_known("method", method, METHODS)
    return METHODS[method](model, image, target, **options)


def methods_for(model: nn.Module) -> list[str]:
    """The methods that apply to a network: all, but attention rollout where there is no attention."""
    return [name for name in METHODS if name != "attention_rollout" or attention_layers(model)]
