"""METER (Papa et al., IEEE TCSVT 2023): a mobile hybrid of convolutions and attention, explained by cirillo2025.

A MobileViT-like encoder with ReLUs: inverted bottlenecks (MV2), and three blocks with one Transformer layer each
over 2x2 patches; a small decoder with transposed convolutions ends at a quarter of the input's resolution.
Attributes are named so that the authors' released checkpoints load key by key. Explained in
notebooks/13_attribution.ipynb.

The released METER-XXS takes 192x256 images, resized with area averaging (bilinear, antialiased) and normalised
with ImageNet's statistics, for NYU, and answers in centimetres; for KITTI 192x636 in [0, 1] as they are, and
decimetres. `create_model("meter_xxs", weights="meter_xxs_nyu")` does all of it. On 500 of the 654 NYU test images
(480x640, Eigen crop, depth clamped to 10 m, means over images) it gives RMSE 0.532, AbsRel 0.159, δ1 0.789;
resizing without antialiasing 0.536, 0.159, 0.787, by nearest pixel 0.541, 0.161, 0.784.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.layers import START_DEPTH, init_depth_head, pad_to_multiple
from mdelib.models.base import IMAGENET_MEAN, IMAGENET_STD, DepthNetwork

__all__ = ["METER", "RELEASED", "Attention", "MobileViTBlock", "meter_s", "meter_xs", "meter_xxs"]

# Encoder widths (stem, seven MV2 blocks with the MViT widths between, last 1x1), token dimensions, expansion of
# the MV2 blocks, decoder widths.
SIZES = {
    "s": ((16, 32, 64, 96, 128, 160, 320), (144, 192, 240), 4, (128, 64, 32, 16)),
    "xs": ((16, 32, 48, 64, 80, 96, 192), (96, 120, 144), 4, (128, 64, 32, 16)),
    "xxs": ((16, 16, 24, 48, 64, 80, 160), (64, 80, 96), 2, (64, 32, 16, 8)),
}
# What the authors' checkpoints expect around the network.
RELEASED = {
    "meter_xxs_nyu": {"output": "linear", "size": (192, 256), "unit": 0.01,
                      "mean": IMAGENET_MEAN, "std": IMAGENET_STD},
    "meter_xxs_kitti": {"output": "linear", "size": (192, 636), "unit": 0.1,
                        "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)},
}


class SeparableConv(nn.Module):
    """What the authors call separable: a full 3x3 convolution (not one per channel), then a 1x1; no biases."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.pointwise = nn.Conv2d(out_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))


def _spatial(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(SeparableConv(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels), nn.ReLU())


def _pointwise(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels), nn.ReLU())


class MV2Block(nn.Module):
    """Inverted bottleneck of MobileNetV2: widen, 3x3 per channel, narrow; residual where shapes allow."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int):
        super().__init__()
        hidden = in_channels * expansion
        self.residual = stride == 1 and in_channels == out_channels
        self.conv = nn.Sequential(
            nn.Conv2d(in_channels, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU(),
            nn.Conv2d(hidden, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class Attention(nn.Module):
    """Multi-head self-attention written out, so that a hook on `attend` sees the weights.

    A = softmax(Q Kᵀ / sqrt(head_dim)), (B, 4, heads, T, T): 4 positions inside the 2x2 patch attend separately.
    """

    def __init__(self, dim: int, heads: int = 4, head_dim: int = 8):
        super().__init__()
        self.heads, self.scale = heads, head_dim**-0.5
        self.attend = nn.Softmax(dim=-1)
        self.to_qkv = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.to_out = nn.Sequential(nn.Linear(heads * head_dim, dim), nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for part in self.to_qkv(x).chunk(3, -1))
        attention = self.attend(q @ k.transpose(-1, -2) * self.scale)  # (B, 4, heads, T, T)
        return self.to_out((attention @ v).transpose(-2, -3).flatten(-2))


class PreNorm(nn.Module):
    """Layer norm, then `fn`."""

    def __init__(self, dim: int, fn: nn.Module):
        super().__init__()
        self.norm, self.fn = nn.LayerNorm(dim), fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(self.norm(x))


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Dropout(0.0), nn.Linear(hidden, dim),
                                 nn.Dropout(0.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class Transformer(nn.Module):
    """One pre-norm layer over tokens (B, 4, T, dim)."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleList([PreNorm(dim, Attention(dim)),
                                                    PreNorm(dim, FeedForward(dim, hidden))])])

    def forward(self, x: Tensor) -> Tensor:
        for attention, feed_forward in self.layers:
            x = x + attention(x)
            x = x + feed_forward(x)
        return x


class MobileViTBlock(nn.Module):
    """Local convolutions, attention between equal positions of all 2x2 patches, fusion with the block's input."""

    def __init__(self, channels: int, dim: int, hidden: int):
        super().__init__()
        self.conv1, self.conv2 = _spatial(channels, channels), _pointwise(channels, dim)
        self.transformer = Transformer(dim, hidden)
        self.conv3, self.conv4 = _pointwise(dim, channels), _spatial(2 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        y = pad_to_multiple(self.conv2(self.conv1(x)), 2)  # (B, dim, 2h, 2w); odd sides grow by one
        tokens = y.unflatten(3, (-1, 2)).unflatten(2, (-1, 2))  # (B, dim, h, 2, w, 2)
        rows, columns = tokens.shape[2], tokens.shape[4]
        tokens = tokens.permute(0, 3, 5, 2, 4, 1).flatten(3, 4).flatten(1, 2)  # (B, 4, h·w, dim)
        tokens = self.transformer(tokens)
        tokens = tokens.unflatten(2, (rows, columns)).unflatten(1, (2, 2))  # (B, 2, 2, h, w, dim)
        y = tokens.permute(0, 5, 3, 1, 4, 2).flatten(4, 5).flatten(2, 3)[..., :height, :width]
        return self.conv4(torch.cat([self.conv3(y), x], 1))


class Encoder(nn.Module):
    """Features at 1/4, 1/8 and 1/16 (before attention) and 1/32 (after it)."""

    def __init__(self, widths: tuple[int, ...], dims: tuple[int, ...], expansion: int):
        super().__init__()
        stem, first, second, third, fourth, fifth, last = widths
        steps = [(stem, first, 1), (first, second, 2), (second, second, 1), (second, second, 1), (second, third, 2),
                 (third, fourth, 2), (fourth, fifth, 2)]
        self.conv1 = _spatial(3, stem, stride=2)
        self.mv2 = nn.ModuleList(MV2Block(wide, narrow, stride, expansion) for wide, narrow, stride in steps)
        self.mvit = nn.ModuleList(MobileViTBlock(channels, dim, ratio * dim) for channels, dim, ratio
                                  in zip((third, fourth, fifth), dims, (2, 4, 4), strict=True))
        self.conv2 = _pointwise(fifth, last)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        quarter = self.mv2[1](self.mv2[0](self.conv1(x)))
        eighth = self.mv2[4](self.mv2[3](self.mv2[2](quarter)))
        sixteenth = self.mv2[5](self.mvit[0](eighth))
        deepest = self.mvit[2](self.mv2[6](self.mvit[1](sixteenth)))
        return quarter, eighth, sixteenth, self.conv2(deepest)


class UpSample(nn.Module):
    """Transposed 3x3 at stride 2, skip, separable convolution, ReLU."""

    def __init__(self, in_channels: int, skip_channels: int, out_channels: int):
        super().__init__()
        self.conv2d_transpose = nn.ConvTranspose2d(in_channels, out_channels, 3, 2, 1, output_padding=1, bias=False)
        self.end_up_layer = nn.Sequential(SeparableConv(out_channels + skip_channels, out_channels), nn.ReLU())

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        x = self.conv2d_transpose(x)
        # A skip of odd size lacks a row or a column; the authors add it on the left, and the weights expect that.
        skip = F.pad(skip, (x.shape[-1] - skip.shape[-1], 0, x.shape[-2] - skip.shape[-2], 0))
        return self.end_up_layer(torch.cat([x, skip], 1))


class MeterDecoder(nn.Module):
    """From 1/32 up to 1/4; no biases anywhere."""

    def __init__(self, skips: tuple[int, int, int], deepest: int, widths: tuple[int, ...]):
        super().__init__()
        self.conv2d_in = nn.Conv2d(deepest, widths[0], 1, bias=False)
        self.ups_block_1 = UpSample(widths[0], skips[2], widths[1])
        self.ups_block_2 = UpSample(widths[1], skips[1], widths[2])
        self.ups_block_3 = UpSample(widths[2], skips[0], widths[3])
        self.conv2d_out = nn.Conv2d(widths[3], 1, 3, padding=1, bias=False)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        quarter, eighth, sixteenth, deepest = features
        x = self.ups_block_1(self.conv2d_in(deepest), sixteenth)
        x = self.ups_block_3(self.ups_block_2(x, eighth), quarter)
        return self.conv2d_out(x)


class METER(DepthNetwork):
    """`encoder` and `decoder`; the attention of stage i is the output of
    ``encoder.mvit.<i>.transformer.layers.0.0.fn.attend``, (B, 4, heads, T, T).

    Args:
        kind: ``"s"``, ``"xs"`` or ``"xxs"``.
        size, unit, mean, std, output, max_depth: see `DepthNetwork`.
    """

    def __init__(self, kind: str, **settings: Any):
        super().__init__(multiple=32, statistics_in_weights=False, **settings)
        widths, dims, expansion, up_widths = SIZES[kind]
        self.encoder = Encoder(widths, dims, expansion)
        self.decoder = MeterDecoder((widths[2], widths[3], widths[4]), widths[-1], up_widths)
        if self.output != "linear":  # a linear head starts as the authors' does
            init_depth_head(self.decoder.conv2d_out, self.output, max_depth=self.max_depth)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Four features (B, C, H/4 .. H/32, W/4 .. W/32), finest first."""
        return self.encoder(x)

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """(B, 1, H/4, W/4)."""
        return self.decoder(features)


def meter_xxs(scale: str = "lab", *, size: tuple[int, int] | None = None, unit: float | None = None,
              mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD,
              output: str | None = None, max_depth: float = 10.0, _kind: str = "xxs") -> METER:
    """METER-XXS, 0.713 M parameters.

    Every scale builds the published layers, which are small enough for a laptop already. The scales differ in
    what is around them: ``"paper"`` resizes images to 192x256 and speaks centimetres; ``"lab"`` works at the
    image's own size and gives 2.5 m times exp(raw), which is positive and starts at 2.5 m although the last
    convolution has no bias.

    Args:
        size: (height, width) to work at; None takes the scale's (and at scale "lab" the image's own).
        unit: metres per unit of the output.
        mean, std: statistics of the images.
        output: ``"linear"``, ``"log"`` or ``"sigmoid"``.
    """
    lab = scale == "lab"
    output = output or ("log" if lab else "linear")
    size = size or (None if lab else (192, 256))
    unit = unit if unit is not None else {"linear": 0.01, "log": START_DEPTH, "sigmoid": 1.0}.get(output, 1.0)
    return METER(_kind, size=size, unit=unit, mean=mean, std=std, output=output, max_depth=max_depth)


def meter_xs(scale: str = "lab", **settings: Any) -> METER:
    """METER-XS, 1.450 M parameters; settings as in `meter_xxs`."""
    return meter_xxs(scale, _kind="xs", **settings)


def meter_s(scale: str = "lab", **settings: Any) -> METER:
    """METER-S, 3.295 M parameters; settings as in `meter_xxs`."""
    return meter_xxs(scale, _kind="s", **settings)


# The larger two take what the smallest takes; said here so that help() and `create_model` can list it.
meter_xs.__signature__ = meter_s.__signature__ = inspect.signature(meter_xxs)  # type: ignore[attr-defined]
