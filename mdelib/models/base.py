"""What every depth network of the course has in common: images in, metres out.

A `DepthNetwork` takes RGB images in [0, 1] at any size and returns depth in metres at that size. Normalisation,
the network's own input size, its unit and its stride are its own business and travel with its weights, so that
metrics, explanations and figures never ask which network they are given. Explained in
notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.layers import pad_to_multiple, resize, to_metres

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "UNITS", "DepthNetwork", "WrappedNetwork", "count_parameters", "wrap"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
UNITS = {"m": 1.0, "dm": 0.1, "cm": 0.01, "mm": 0.001}


class DepthNetwork(nn.Module):
    """Base of all networks: subclasses write `encode` and `decode` (or `raw`) and name their submodules.

    Args:
        mean, std: statistics of the images (three numbers in [0, 1]); ImageNet's unless told otherwise.
        output: how `raw` becomes depth, see `mdelib.layers.to_metres`.
        unit: metres per unit of `raw`.
        max_depth: metres, only for ``output="sigmoid"``.
        size: the one (height, width) that the network works at; images are resized to it, area-averaged when
            shrinking. None works at the image's own size.
        multiple: sides that the network needs when it works at the image's own size; images are padded at the
            bottom and right, and the depth is cropped again. A fixed `size` is used as it is.
        statistics_in_weights: whether mean and std are part of the state dict. False for networks whose keys
            must be exactly those of somebody else's checkpoint.

    Attributes:
        recipe: {"name", "scale", "overrides"} as given to `create_model`; what `mdelib.weights` writes down.
    """

    def __init__(self, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD,
                 output: str = "linear", unit: float = 1.0, max_depth: float = 10.0,
                 size: tuple[int, int] | None = None, multiple: int = 1, statistics_in_weights: bool = True):
        super().__init__()
        self.register_buffer("mean", torch.tensor(tuple(mean)).view(1, 3, 1, 1), persistent=statistics_in_weights)
        self.register_buffer("std", torch.tensor(tuple(std)).view(1, 3, 1, 1), persistent=statistics_in_weights)
        to_metres(torch.zeros(1), output)  # an unknown output form is an error here, not at the first image
        self.output, self.unit, self.max_depth = output, float(unit), float(max_depth)
        self.size = None if size is None else (int(size[0]), int(size[1]))
        self.multiple = multiple
        self.recipe: dict[str, Any] | None = None

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features of a normalised image (B, 3, H, W), finest first."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder of its own")

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """The network's own output (B, 1, h, w) from `encode`'s features."""
        raise NotImplementedError(f"{type(self).__name__} has no decoder of its own")

    def raw(self, x: Tensor) -> Tensor:
        """The network's own output (B, 1, h, w), in its own unit, stride and form, of a normalised image."""
        return self.decode(self.encode(x))

    def to_depth(self, raw: Tensor) -> Tensor:
        """Metres from the network's own output, same shape."""
        return to_metres(raw, self.output, unit=self.unit, max_depth=self.max_depth)

    def normalize(self, image: Tensor) -> Tensor:
        """RGB in [0, 1] to what the network was trained on."""
        return (image - self.mean) / self.std

    def forward(self, image: Tensor) -> Tensor:
        """Depth of images.

        Args:
            image: (B, 3, H, W) float, RGB in [0, 1].

        Returns:
            (B, 1, H, W) metres, float32 or finer; upsampled bilinearly from the network's own resolution.

        Raises:
            ValueError: not four dimensions, not three channels, or not floating point.
        """
        check_image(image)
        height, width = image.shape[-2:]
        if self.size is None:
            x = pad_to_multiple(image, self.multiple)
            depth = self.to_depth(self.raw(self.normalize(x)))
            return resize(depth, tuple(x.shape[-2:]))[..., :height, :width]
        x = image if self.size == (height, width) else F.interpolate(
            image, size=self.size, mode="bilinear", antialias=True, align_corners=False)
        return resize(self.to_depth(self.raw(self.normalize(x))), (height, width))


class WrappedNetwork(DepthNetwork):
    """Somebody's own network behind the interface of this course; see `wrap`."""

    def __init__(self, module: nn.Module, kind: str, **settings: Any):
        super().__init__(**settings)
        self.module, self.kind = module, kind

    def raw(self, x: Tensor) -> Tensor:
        """The module's output as (B, 1, h, w)."""
        y = self.module(x)
        y = y[:, None] if isinstance(y, Tensor) and y.ndim == 3 else y
        if not isinstance(y, Tensor) or y.ndim != 4 or y.shape[1] != 1:
            seen = f"a tensor of shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise ValueError(f"the wrapped network returned {seen}: expected (B, 1, H, W) or (B, H, W); wrap a "
                             "module that returns its depth map alone")
        return y

    def to_depth(self, raw: Tensor) -> Tensor:
        """Metres; inverse depth is clamped away from zero first."""
        if self.kind == "inverse":
            return self.unit / raw.float().clamp_min(1e-6)
        return super().to_depth(raw)


def wrap(module: nn.Module, *, unit: str | float = "m", kind: str = "depth",
         normalize: tuple[Sequence[float], Sequence[float]] | None = None,
         size: tuple[int, int] | None = None) -> DepthNetwork:
    """Make anybody's own network a `DepthNetwork`, so that every notebook works on it.

    Args:
        module: takes (B, 3, h, w), returns (B, 1, h', w') or (B, h', w').
        unit: ``"m"``, ``"dm"``, ``"cm"``, ``"mm"`` or metres per unit; for inverse depth the unit of 1 / output.
        kind: ``"depth"``, ``"log"`` (natural logarithm of depth) or ``"inverse"`` (1 / depth).
        normalize: (mean, std) that the module expects of its images; None leaves RGB in [0, 1].
        size: the (height, width) that the module works at; None works at the image's own.

    Raises:
        ValueError: an unknown unit or kind.
    """
    if isinstance(unit, str) and unit not in UNITS:
        raise ValueError(f"unknown unit {unit!r}: expected one of {', '.join(UNITS)} or metres per unit as a number")
    if kind not in ("depth", "log", "inverse"):
        raise ValueError(f"unknown kind of output {kind!r}: expected one of depth, log, inverse")
    mean, std = normalize if normalize is not None else ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return WrappedNetwork(module, kind, mean=mean, std=std, unit=UNITS[unit] if isinstance(unit, str) else unit,
                          size=size, output="log" if kind == "log" else "linear")


def check_image(image: Tensor) -> None:
    """Refuse what is not a batch of RGB images in floating point, in one sentence."""
    seen = f"got shape {tuple(image.shape)} of {image.dtype}"
    if image.ndim != 4:
        raise ValueError(f"{seen}: expected images (B, 3, H, W); add the batch dimension with image[None]")
    if image.shape[1] != 3:
        raise ValueError(f"{seen}: expected 3 RGB channels in the second dimension, (B, 3, H, W)")
    if not image.is_floating_point():
        raise ValueError(f"{seen}: expected floating point in [0, 1]; divide an 8-bit image by 255")


def count_parameters(module: nn.Module) -> int:
    """Number of trainable weights, the figure that papers print."""
    return sum(parameter.numel() for parameter in module.parameters())
