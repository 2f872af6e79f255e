"""The Fusion-Block of FuSaNet (huynh2021 Fig. 2, right): encoder, confidence predictor, decoder and refinement.

An image's features x come with an attention volume a of the same shape, in [0, 1]. Normalised convolutions carry both
from the encoder to the refinement; that sequence is the confidence predictor. The paper gives neither the widths nor
the number of layers in a branch: two everywhere here. Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.fusion import FKAConv, NormalizedConv2d
from mdelib.layers import resize
from mdelib.points import SparsePoints

__all__ = ["Decoded", "Decoder", "FusionEncoder", "Located", "PlainConv2d", "Refinement", "attending",
           "conv_norm_relu", "group_norm"]


class Located(NamedTuple):
    """Points where they are: `points` in pixels of an image of size `image`, `cloud` (B, 3, N) in metres."""

    points: SparsePoints
    cloud: Tensor
    image: tuple[int, int]


class Decoded(NamedTuple):
    """What a decoder hands on, (B, C, h, w): `features` of its lower branch, `guide` and `attention` of the upper."""

    features: Tensor
    guide: Tensor
    attention: Tensor


class PlainConv2d(nn.Module):
    """An ordinary convolution in the place of a `NormalizedConv2d`: FuSaNet without confidence predictor (Table 6).

    y = W * (x c) + b and a confidence of 1 everywhere. Only the first one sees a c that is not 1: where a point is.

    Args:
        in_channels, out_channels, kernel_size, stride: as in `NormalizedConv2d`, whose number of weights this has.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2)

    def forward(self, x: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """(B, in, h, w) twice -> (B, out, h', w') twice."""
        y = self.conv(x * confidence)
        return y, torch.ones_like(y)


def group_norm(channels: int) -> nn.GroupNorm:
    """Mean 0 and variance 1 of four groups of channels in each image, or of fewer where four do not divide them.

    The paper names no norm. Batch norm would do harm: its running statistics mix images with points and images
    without, and fit neither.
    """
    return nn.GroupNorm(math.gcd(channels, 4), channels)


def conv_norm_relu(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution without bias, `group_norm`, ReLU."""
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False),
                         group_norm(out_channels), nn.ReLU(inplace=True))


def attending(confidence: bool) -> type[nn.Module]:
    """The layer that the confidence predictor is made of: `NormalizedConv2d`, or `PlainConv2d` without one."""
    return NormalizedConv2d if confidence else PlainConv2d


class FusionEncoder(nn.Module):
    """Four branches of one shape, summed, convolved, added to the input.

    x' = ReLU(x + norm(W * (fine(x) + coarse(x) + nconv(x, a) + fkaconv(x at the points, where they are in space))))

    The fine branch is convolved at the size of x, the coarse one at half of it. The last branch gives each point
    features, which go to the pixels where the points are; elsewhere it is 0, and without any point it is left out.

    Args:
        channels: of x. confidence: see `attending`. kernel_elements, neighbours: of `FKAConv`.
    """

    def __init__(self, channels: int, *, confidence: bool, kernel_elements: int, neighbours: int):
        super().__init__()
        self.fine = nn.Sequential(conv_norm_relu(channels, channels), nn.Conv2d(channels, channels, 3, padding=1))
        # No stride: PyTorch 2.14's gradient of a strided bfloat16 convolution of one column is NaN at random on a CPU.
        self.coarse = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), conv_norm_relu(channels, channels),
                                    nn.Conv2d(channels, channels, 3, padding=1))
        self.attended = attending(confidence)(channels, channels, 3)
        self.spatial = FKAConv(channels, channels, kernel_elements=kernel_elements, neighbours=neighbours)
        self.fuse = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), group_norm(channels))

    def forward(self, x: Tensor, attention: Tensor, located: Located) -> tuple[Tensor, Tensor]:
        """Fusion features and attention (B, C, h, w) of both."""
        size = (x.shape[-2], x.shape[-1])
        attended, attention = self.attended(x, attention)
        y = self.fine(x) + resize(self.coarse(x), size) + attended
        points = located.points.scaled(located.image, size)
        if points.valid.any():
            seen = points.gather(x) * points.confidence[:, None]
            y = y + points.scatter(self.spatial(seen, located.cloud, points.valid), size)
        return F.relu(x + self.fuse(y)), attention


class Decoder(nn.Module):
    """Join an encoder's output to what the next coarser decoder found: nConvs, and convolutions guided by them.

    Args:
        channels: of the encoder's output and of all that comes out. below: channels of the coarser decoder; 0 for the
            coarsest. confidence: see `attending`.
    """

    def __init__(self, channels: int, below: int, *, confidence: bool):
        super().__init__()
        layer, joined = attending(confidence), channels + below
        self.attend1 = layer(joined, channels, 3)
        self.attend2 = layer(channels, channels, 3)
        self.convs = nn.Sequential(conv_norm_relu(joined + channels, channels), conv_norm_relu(channels, channels))

    def forward(self, x: Tensor, attention: Tensor, below: Decoded | None) -> Decoded:
        """(B, channels, h, w) of an encoder and what the coarser decoder gave, if there is one."""
        if below is not None:
            size = (x.shape[-2], x.shape[-1])
            x = torch.cat([x, resize(below.features, size)], 1)
            attention = torch.cat([attention, resize(below.attention, size)], 1)
        guide, attention = self.attend2(*self.attend1(x, attention))
        return Decoded(self.convs(torch.cat([x, guide], 1)), guide, attention)


class Refinement(nn.Module):
    """From a decoder to a correction of the coarser depth, in the network's own unit, and the confidence in it.

    Args:
        channels: of the decoder. confidence: see `attending`.
    """

    def __init__(self, channels: int, *, confidence: bool):
        super().__init__()
        layer = attending(confidence)
        self.attend1, self.attend2 = layer(channels, channels, 3), layer(channels, 1, 3)
        self.convs = conv_norm_relu(2 * channels, channels)
        self.head = nn.Conv2d(channels + 1, 1, 3, padding=1)

    def forward(self, decoded: Decoded) -> tuple[Tensor, Tensor]:
        """Correction (B, 1, h, w) and confidence (B, 1, h, w) in [0, 1]."""
        guide, attention = self.attend1(decoded.guide, decoded.attention)
        estimate, confidence = self.attend2(guide, attention)
        y = self.convs(torch.cat([decoded.features, guide], 1))
        return self.head(torch.cat([y, estimate.to(y.dtype)], 1)), confidence
