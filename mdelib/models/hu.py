"""Hu et al., "Revisiting Single Image Depth Estimation" (WACV 2019): the CNN of the course.

An encoder E gives four features; a decoder D goes up from the coarsest; a multi-scale module MFF lifts all four
to the size of D; a refinement R turns both into depth at half the input's resolution. D and MFF are the layers
that you2021 dissects. Explained in notebooks/02_two_networks.ipynb and notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

from itertools import pairwise

import timm
import torch
from torch import Tensor, nn

from mdelib.layers import UpProjection, conv_bn_relu, init_depth_head
from mdelib.models.base import DepthNetwork
from mdelib.models.senet import senet154_features

__all__ = ["Decoder", "HuNetwork", "MultiScaleFusion", "Refinement", "hu_resnet50", "hu_senet154"]

LAB_WIDTH, LAB_UNITS = 0.125, 16


class Decoder(nn.Module):
    """D: 1x1 convolution to half the channels, then four up-projections that halve them again.

    2048 -> 1024 -> 512 -> 256 -> 128 -> 64 at the published width; never below `units`, the channels of its last
    layer. The output (B, units, 2h, 2w), for a finest feature of h x w, is layer "D" of you2021, after ReLU.
    """

    def __init__(self, in_channels: int, units: int):
        super().__init__()
        widths = [max(in_channels // 2**step, units) for step in range(1, 5)] + [units]
        self.conv = conv_bn_relu(in_channels, widths[0], 1)
        self.up1, self.up2, self.up3, self.up4 = (
            UpProjection(wide, narrow) for wide, narrow in pairwise(widths))

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        fine, middle, coarse, coarsest = features
        x = self.up1(self.conv(coarsest), tuple(coarse.shape[-2:]))
        x = self.up2(x, tuple(middle.shape[-2:]))
        x = self.up3(x, tuple(fine.shape[-2:]))
        return self.up4(x, (2 * fine.shape[-2], 2 * fine.shape[-1]))


class MultiScaleFusion(nn.Module):
    """MFF: each of the four features up-projected to units/4 channels at twice the finest size, then fused.

    The output (B, units, 2h, 2w) is layer "MFF" of you2021, after ReLU.
    """

    def __init__(self, channels: list[int], units: int):
        super().__init__()
        self.ups = nn.ModuleList(UpProjection(wide, units // 4) for wide in channels)
        self.fuse = conv_bn_relu(units, units, 5)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        size = (2 * features[0].shape[-2], 2 * features[0].shape[-1])
        return self.fuse(torch.cat([up(feature, size) for up, feature in zip(self.ups, features, strict=True)], 1))


class Refinement(nn.Module):
    """R: two 5x5 convolutions and a linear 5x5 to one channel."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv0 = conv_bn_relu(channels, channels, 5)
        self.conv1 = conv_bn_relu(channels, channels, 5)
        self.head = nn.Conv2d(channels, 1, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv1(self.conv0(x)))


class HuNetwork(DepthNetwork):
    """E, D, MFF and R as `encoder`, `decoder`, `mff` and `refine`, hookable by those names.

    Args:
        encoder: gives the four features from 1/4 to 1/32 as a list, and has timm's `feature_info`.
        units: channels of D and of MFF each (64 in the paper).
        output, max_depth: see `mdelib.layers.to_metres`.
    """

    def __init__(self, encoder: nn.Module, units: int, *, output: str, max_depth: float = 10.0):
        super().__init__(output=output, max_depth=max_depth)
        if units < 4 or units % 4:
            raise ValueError(f"units={units} cannot be shared by the four scales of MFF: choose a multiple of 4")
        channels = encoder.feature_info.channels()
        self.encoder = encoder
        self.decoder = Decoder(channels[-1], units)
        self.mff = MultiScaleFusion(channels, units)
        self.refine = Refinement(2 * units)
        init_depth_head(self.refine.head, output, max_depth=max_depth)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Four features (B, C, H/4 .. H/32, W/4 .. W/32), finest first; sides are rounded up."""
        return tuple(self.encoder(x))

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """(B, 1, H/2, W/2)."""
        return self.refine(torch.cat([self.decoder(features), self.mff(features)], 1))


def hu_resnet50(scale: str = "lab", *, width: float | None = None, units: int | None = None,
                pretrained: bool = False, variant: str = "resnet50", output: str | None = None,
                max_depth: float = 10.0) -> HuNetwork:
    """Hu et al. with a ResNet-50.

    Args:
        scale: ``"paper"`` is the published network (67.6 M parameters). ``"lab"`` has the same layers with the
            residual stages at an eighth of their channels (the stem keeps its 64) and 16 units in D and in MFF
            (1.2 M parameters).
        width: channels of the encoder relative to the published ones, for sizes in between.
        units: channels of D and of MFF each; 64 x width when only `width` is given, rounded to a multiple of 4.
        pretrained: ImageNet weights by timm (needs the network; only at the published width).
        variant: the timm weights or ResNet to use, for example ``"resnet50.tv_in1k"``, ``"resnet101"``.
        output: ``"linear"`` as published (default at scale "paper"), ``"log"`` (default at scale "lab"),
            ``"sigmoid"``.

    Raises:
        ValueError: a width that leaves no channels, or pretrained weights for a narrowed encoder.
    """
    lab = scale == "lab"
    if units is None:
        units = (LAB_UNITS if lab else 64) if width is None else max(4, 4 * round(64 * width / 4))
    width = (LAB_WIDTH if lab else 1.0) if width is None else width
    if not 1 / 64 <= width <= 4:
        raise ValueError(f"width={width} is out of range: expected 1/64 to 4 times the published channels")
    if pretrained and width != 1:
        raise ValueError(f"there are no pretrained weights for an encoder of width {width}: set width=1.0 or "
                         "pretrained=False")
    narrowed = {} if width == 1 else {"channels": tuple(max(1, round(base * width)) for base in (64, 128, 256, 512))}
    encoder = timm.create_model(variant, pretrained=pretrained, features_only=True, out_indices=(1, 2, 3, 4),
                                **narrowed)
    return HuNetwork(encoder, units, output=output or ("log" if lab else "linear"), max_depth=max_depth)


def hu_senet154(scale: str = "lab", *, pretrained: bool = False, output: str | None = None,
                max_depth: float = 10.0) -> HuNetwork:
    """Hu et al. with a SENet-154, the network of their best figures.

    Args:
        scale: ``"paper"`` is the published network (157.1 M parameters; huynh2021 Table 1 prints 157.0M). ``"lab"``
            has the same blocks with an eighth of their channels and groups, and 16 units in D and in MFF (3.0 M).
        pretrained: ImageNet weights by timm (needs the network; only at scale "paper").
        output, max_depth: as in `hu_resnet50`.

    Raises:
        ValueError: pretrained weights for the narrowed encoder.
    """
    lab = scale == "lab"
    if pretrained and lab:
        raise ValueError("there are no pretrained weights for the narrowed encoder: set scale='paper' or "
                         "pretrained=False")
    encoder = senet154_features(LAB_WIDTH) if lab else timm.create_model(
        "legacy_senet154", pretrained=pretrained, features_only=True, out_indices=(1, 2, 3, 4))
    return HuNetwork(encoder, LAB_UNITS if lab else 64, output=output or ("log" if lab else "linear"),
                     max_depth=max_depth)
