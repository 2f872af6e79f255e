"""Depth-estimation models of Hugging Face's Transformers behind the interface of this course.

    network = wrap_huggingface("depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf")
    network(image)                                                                 # metres, (B, 1, H, W)

Needs the optional extra: ``pip install mdelib[huggingface]``. Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mdelib.models.base import IMAGENET_MEAN, IMAGENET_STD, DepthNetwork, wrap

__all__ = ["PredictedDepth", "wrap_huggingface"]


class PredictedDepth(nn.Module):
    """The depth map alone, (B, h, w), of a model that returns it as ``predicted_depth`` among other things."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        """(B, h, w) from normalised images (B, 3, H, W)."""
        return self.model(pixel_values=image).predicted_depth


def wrap_huggingface(model: str | nn.Module, *, unit: str | float = "m", kind: str | None = None,
                     normalize: tuple[Sequence[float], Sequence[float]] | None = None,
                     size: tuple[int, int] | None = None) -> DepthNetwork:
    """Make a depth-estimation model of Hugging Face a `DepthNetwork`, so that every notebook works on it.

    Args:
        model: a name on the hub or a local folder, which is loaded with the statistics of its image processor; or a
            model that is there, for example ``DepthAnythingForDepthEstimation(config)``.
        unit: as in `mdelib.models.wrap`. For relative inverse depth it only sets the scale.
        kind: ``"depth"``, ``"log"`` or ``"inverse"``; None is what the configuration says, and ``"inverse"`` where it
            says nothing, which is how DPT, MiDaS and Depth Anything were trained unless they say "metric".
        normalize: (mean, std) of the images; None is the image processor's, or ImageNet's for a model that is there.
        size: the (height, width) that the model works at; None is its configuration's `image_size`, square.

    Returns:
        The network in evaluation mode.

    Raises:
        ModuleNotFoundError: the optional extra is not installed.
        ValueError: a module that is no depth-estimation model, or a size that its patches do not tile.

    Explained in notebooks/13_attribution.ipynb.
    """
    try:
        import transformers
    except ModuleNotFoundError:
        raise ModuleNotFoundError("models of Hugging Face need the package transformers: install it with "
                                  "pip install 'mdelib[huggingface]'") from None
    if isinstance(model, str):
        processor = transformers.AutoImageProcessor.from_pretrained(model)
        normalize = normalize or (processor.image_mean, processor.image_std)
        model = transformers.AutoModelForDepthEstimation.from_pretrained(model)
    config = getattr(model, "config", None)
    if config is None or "DepthEstimation" not in type(model).__name__:
        raise ValueError(f"a {type(model).__name__} is no depth-estimation model of Hugging Face: give one whose "
                         "class ends in ForDepthEstimation, or use mdelib.models.wrap")
    kind = kind or ("depth" if getattr(config, "depth_estimation_type", None) == "metric" else "inverse")
    backbone = getattr(config, "backbone_config", None) or config
    size = size or _square(backbone, config)
    patch = getattr(backbone, "patch_size", None) or getattr(config, "patch_size", None)
    if size is not None and isinstance(patch, int) and any(side % patch for side in size):
        raise ValueError(f"size {tuple(size)} is not tiled by patches of {patch}x{patch}: choose multiples of {patch}")
    return wrap(PredictedDepth(model), unit=unit, kind=kind, normalize=normalize or (IMAGENET_MEAN, IMAGENET_STD),
                size=size).eval()


def _square(*configs: Any) -> tuple[int, int] | None:
    sizes = [config.image_size for config in configs if isinstance(getattr(config, "image_size", None), int)]
    return (sizes[0], sizes[0]) if sizes else None
