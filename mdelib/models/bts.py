"""BTS, "From Big to Small: Multi-Scale Local Planar Guidance for MDE" (Lee et al. 2019, arXiv 1907.10326).

An encoder gives five features; a decoder goes up from the coarsest, past a dense ASPP at 1/8. There, at 1/4 and at
1/2, every feature pixel guesses a plane for the patch of the image that it stands for (local planar guidance, LPG);
the last layers turn the three depth maps so drawn, and one that is guessed pixel by pixel, into depth at the
image's resolution. `decoder.upconv1` and `decoder.iconv1`, after ELU, are the layers that you2021 dissects.
Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.layers import init_depth_head
from mdelib.models.base import DepthNetwork
from mdelib.models.planar_guidance import PlaneHead, conv_elu, halving_chain

__all__ = ["KITTI_FOCAL", "BTSDecoder", "BTSNetwork", "DenseASPP", "DenseNetEncoder", "bts"]

KITTI_FOCAL = 715.0873  # pixels: the focal length at which the authors' KITTI networks speak metres
# Growth rate at width 1 and layers of each dense block. The lab's has a half to a third of DenseNet-161's layers.
DENSENETS = {
    "densenet121": (32, (6, 12, 24, 16)),
    "densenet161": (48, (6, 12, 36, 24)),
    "densenet169": (32, (6, 12, 32, 32)),
    "densenet201": (32, (6, 12, 48, 32)),
    "lab": (48, (3, 6, 12, 8)),
}
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
DECODER_WIDTH, UNITS = 512, 32
LAB_WIDTH, LAB_UNITS = 0.25, 16


class DenseNetEncoder(nn.Module):
    """A DenseNet of timm that hands out the features which BTS reads.

    They are stem, pooled stem, first and second transition (halved in channels and size) and the last norm, so
    not timm's own choice, which takes the dense blocks before their transitions.
    """

    TAPS = ("norm0", "pool0", "transition1", "transition2", "norm5")

    def __init__(self, network: nn.Module):
        super().__init__()
        self.features = network.features
        stem = self.features.conv0.out_channels
        self.channels = (stem, stem, self.features.transition1.conv.out_channels,
                         self.features.transition2.conv.out_channels, self.features.norm5.num_features)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Five features (B, C, H/2 .. H/32, W/2 .. W/32), finest first, all but the transitions after ReLU."""
        kept = []
        for name, layer in self.features.named_children():
            x = layer(x)
            if name in self.TAPS:
                kept.append(x)
        return kept


def _upconv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Twice the size by nearest neighbour, 3x3 convolution, ELU."""
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), *conv_elu(in_channels, out_channels))


class DenseASPP(nn.Module):
    """Five atrous 3x3 convolutions, of which each reads what the ones before it wrote, then a 3x3 that joins them.

    Args:
        skip_channels: of the feature before the convolution that `channels` is the output of.
        channels: of the input x.
        width: channels of each atrous convolution and of the output.
    """

    RATES = (3, 6, 12, 18, 24)

    def __init__(self, skip_channels: int, channels: int, width: int):
        super().__init__()
        wides = [channels] + [skip_channels + width * step for step in range(1, 5)]
        self.atrous = nn.ModuleList(
            nn.Sequential(*([nn.BatchNorm2d(wide)] if step else []), nn.ReLU(),
                          nn.Conv2d(wide, 2 * width, 1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU(),
                          nn.Conv2d(2 * width, width, 3, padding=rate, dilation=rate, bias=False))
            for step, (wide, rate) in enumerate(zip(wides, self.RATES, strict=True)))
        self.join = conv_elu(channels + 5 * width, width)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, width, h, w) from x (B, channels, h, w) and skip (B, skip_channels, h, w)."""
        written = [self.atrous[0](x)]
        for atrous in self.atrous[1:]:
            written.append(atrous(torch.cat([skip, *written], 1)))
        return self.join(torch.cat([x, *written], 1))


class BTSDecoder(nn.Module):
    """From five features to the `units` channels of `iconv1` at the image's resolution.

    Args:
        channels: of the five features, finest first.
        width: of the coarsest layers (512 in the paper); halved at every scale, never below `units`.
        units: channels of `upconv1` and of `iconv1`, the layers that you2021 dissects, after ELU.
    """

    def __init__(self, channels: Sequence[int], width: int, units: int):
        super().__init__()
        c1, c2, c3, c4, c5 = channels
        w5, w4, w3, w2 = (max(width // 2**step, units) for step in range(4))
        self.upconv5, self.norm5, self.iconv5 = _upconv(c5, w5), nn.BatchNorm2d(w5), conv_elu(w5 + c4, w5)
        self.upconv4, self.norm4, self.iconv4 = _upconv(w5, w4), nn.BatchNorm2d(w4), conv_elu(w4 + c3, w4)
        self.norm_aspp, self.aspp = nn.BatchNorm2d(w4), DenseASPP(w4 + c3, w4, w3)
        self.lpg8 = PlaneHead(w3, w3, 8)
        self.upconv3, self.norm3, self.iconv3 = _upconv(w3, w3), nn.BatchNorm2d(w3), conv_elu(w3 + c2 + 1, w3)
        self.lpg4 = PlaneHead(w3, w2, 4)
        self.upconv2, self.norm2, self.iconv2 = _upconv(w3, w2), nn.BatchNorm2d(w2), conv_elu(w2 + c1 + 1, w2)
        self.lpg2 = PlaneHead(w2, max(w2 // 2, 1), 2)
        self.upconv1, self.iconv1 = _upconv(w2, units), conv_elu(units + 4, units)
        reduce, last = halving_chain(units, max(units // 2, 1))
        self.reduc1 = nn.Sequential(*reduce, nn.Conv2d(last, 1, 1, bias=False), nn.Sigmoid())
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        f1, f2, f3, f4, f5 = features
        x = self.norm5(self.upconv5(F.relu(f5)))
        x = self.norm4(self.upconv4(self.iconv5(torch.cat([x, f4], 1))))
        skip = torch.cat([x, f3], 1)
        x = self.aspp(self.norm_aspp(self.iconv4(skip)), skip)  # (B, width/4, H/8, W/8)
        depth8 = self.lpg8(x)  # (B, 1, H, W), as all depths here
        x = self.norm3(self.upconv3(x))
        x = self.iconv3(torch.cat([x, f2, depth8[..., ::4, ::4]], 1))  # (B, width/4, H/4, W/4)
        depth4 = self.lpg4(x)
        x = self.norm2(self.upconv2(x))
        x = self.iconv2(torch.cat([x, f1, depth4[..., ::2, ::2]], 1))  # (B, width/8, H/2, W/2)
        depth2 = self.lpg2(x)
        x = self.upconv1(x)  # (B, units, H, W)
        return self.iconv1(torch.cat([x, self.reduc1(x), depth2, depth4, depth8], 1))


class BTSNetwork(DepthNetwork):
    """`encoder`, `decoder` (with `upconv1` and `iconv1`) and the 3x3 `head`, hookable by those names.

    Args:
        encoder: gives five features from 1/2 to 1/32 as a list.
        channels: of these features.
        width, units: see `BTSDecoder`.
        focal: pixels; multiplies depth by focal / 715.0873, as the authors do on KITTI, whose cameras differ
            from day to day. None does nothing. It may be set anew for every image.
        output, max_depth: see `mdelib.layers.to_metres`.
    """

    def __init__(self, encoder: nn.Module, channels: Sequence[int], width: int, units: int, *,
                 focal: float | None = None, output: str, max_depth: float = 10.0):
        super().__init__(output=output, max_depth=max_depth, multiple=32)
        self.encoder = encoder
        self.decoder = BTSDecoder(channels, width, units)
        # The authors' head has no bias; this one can start at an indoor depth. A bias of 0 is theirs.
        self.head = nn.Conv2d(units, 1, 3, padding=1)
        init_depth_head(self.head, output, max_depth=max_depth)
        self.focal = focal

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Five features (B, C, H/2 .. H/32, W/2 .. W/32), finest first; H and W are multiples of 32."""
        return tuple(self.encoder(x))

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """(B, 1, H, W)."""
        return self.head(self.decoder(features))

    def to_depth(self, raw: Tensor) -> Tensor:
        """Metres, for the focal length if one is given."""
        depth = super().to_depth(raw)
        return depth if self.focal is None else depth * (self.focal / KITTI_FOCAL)


def bts(scale: str = "lab", *, encoder: str | None = None, width: float | None = None, units: int | None = None,
        pretrained: bool = False, output: str = "sigmoid", max_depth: float = 10.0,
        focal: float | None = None) -> BTSNetwork:
    """BTS.

    Args:
        scale: ``"paper"`` is the published network with a DenseNet-161 (47.0 M parameters). ``"lab"`` has the same
            decoder at a quarter of its channels and 16 units in `upconv1` and in `iconv1`, on a DenseNet of
            growth rate 12 with 29 dense layers instead of 78 (1.1 M parameters).
        encoder: ``"densenet161"``, ``"densenet121"``, ``"resnet50"``, ``"resnet101"``, ..., or ``"lab"``, whatever
            the scale; any network of timm that has features at 1/2, 1/4, ... 1/32. The paper's counts for ResNets
            (49.5 M with a ResNet-50) include the 2.05 M of ImageNet's classifier, which nothing uses and which is
            not built here.
        width: channels of encoder and decoder relative to the published ones, for sizes in between.
        units: channels of `upconv1` and `iconv1` each; 32 x width when only `width` is given. The paper's 32
            also go with a narrow network.
        pretrained: ImageNet weights by timm (needs the network; only at the published width).
        output: ``"sigmoid"`` as published, ``"log"`` or ``"linear"``.
        max_depth: metres, the largest depth of a ``"sigmoid"`` output: 10 indoors, 80 on streets.
        focal: see `BTSNetwork`.

    Raises:
        ValueError: an encoder that does not exist, has not these features or cannot be narrowed; a width, units,
            max_depth or focal out of range; pretrained weights for a narrowed encoder.
    """
    lab = scale == "lab"
    if units is None:
        units = (LAB_UNITS if lab else UNITS) if width is None else max(1, round(UNITS * width))
    width = (LAB_WIDTH if lab else 1.0) if width is None else width
    if not 1 / 32 <= width <= 4:
        raise ValueError(f"width={width} is out of range: expected 1/32 to 4 times the published channels")
    if units < 1:
        raise ValueError(f"units={units} leaves no channels to dissect: choose 1 or more")
    for name, value in (("max_depth", max_depth), ("focal", focal)):
        if value is not None and not value > 0:
            raise ValueError(f"{name}={value} is no positive length: give max_depth in metres, focal in pixels")
    features, channels = _encoder(encoder or ("lab" if lab else "densenet161"), width, pretrained)
    network = BTSNetwork(features, channels, round(DECODER_WIDTH * width), units, focal=focal, output=output,
                         max_depth=max_depth)
    for layer in () if lab else network.decoder.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = 0.01  # the authors'; the few hundred steps of a lab training would not fill its averages
    return network


def _encoder(name: str, width: float, pretrained: bool) -> tuple[nn.Module, Sequence[int]]:
    """An encoder with five features, and their channels."""
    family = name.split(".")[0]
    if pretrained and (width != 1 or name == "lab"):
        raise ValueError(f"there are no pretrained weights for encoder {name!r} at width {width}: choose a published "
                         "encoder and width=1.0, or pretrained=False")
    if family in DENSENETS:
        growth, blocks = DENSENETS[family]
        network = timm.create_model("densenet161" if name == "lab" else name, pretrained=pretrained,
                                    growth_rate=max(1, round(growth * width)), block_config=blocks)
        dense = DenseNetEncoder(network)
        return dense, dense.channels
    if not timm.is_model(family):
        raise ValueError(f"unknown encoder {name!r}: expected one of {', '.join((*DENSENETS, *RESNETS))}, or another "
                         "network of timm")
    if width != 1 and family not in RESNETS:
        raise ValueError(f"encoder {name!r} cannot be narrowed to width {width}: choose one of "
                         f"{', '.join((*DENSENETS, *RESNETS))}, or width=1.0")
    narrowed = {} if width == 1 else {"channels": tuple(max(1, round(base * width)) for base in (64, 128, 256, 512))}
    network = timm.create_model(name, pretrained=pretrained, features_only=True, **narrowed)
    strides = network.feature_info.reduction()
    if strides != [2, 4, 8, 16, 32]:
        raise ValueError(f"encoder {name!r} has features at strides {', '.join(map(str, strides))}: BTS reads strides "
                         "2, 4, 8, 16, 32")
    return network, network.feature_info.channels()
