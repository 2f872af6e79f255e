"""Attribution for dense depth: which pixels a depth network's answer rests on (cirillo2025).

    target = targets.pixel(60, 40)                                  # what is asked of the depth map
    attribution = saliency(network, image, target)                  # (B, H, W)

Explained in notebooks/13_attribution.ipynb.
"""

from mdelib.attribution import targets
from mdelib.attribution.attention import attention_layers, recorded_attention, unfused_attention
from mdelib.attribution.fills import FILLS, fill_image
from mdelib.attribution.grad_cam import grad_cam
from mdelib.attribution.integrated import completeness_error, integrated_gradients
from mdelib.attribution.methods import METHODS, TITLES, explain, methods_for
from mdelib.attribution.occlusion import occlusion, position_only, position_without
from mdelib.attribution.rollout import attention_rollout
from mdelib.attribution.saliency import input_x_gradient, saliency, smoothgrad
from mdelib.attribution.targets import Target

__all__ = ["FILLS", "METHODS", "TITLES", "Target", "attention_layers", "attention_rollout", "completeness_error",
           "explain", "fill_image", "grad_cam", "input_x_gradient", "integrated_gradients", "methods_for", "occlusion",
           "position_only", "position_without", "recorded_attention", "saliency", "smoothgrad", "targets",
           "unfused_attention"]
