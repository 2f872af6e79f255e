"""A plain U-Net over a MobileNetV3: the course's small CNN that learns depth from 795 photographs in minutes.

An encoder gives features from 1/2 to 1/16; each step of the decoder doubles the coarser map, joins it to the next
finer feature and convolves twice. No paper's network: it is the baseline that every published one should be
compared with where data are few. Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import timm
import torch
from torch import Tensor, nn

from mdelib.layers import conv_bn_relu, init_depth_head, resize
from mdelib.models.base import DepthNetwork

__all__ = ["DepthwiseConv2d", "JoinUp", "UNet", "random_colours", "unet_mobilenetv3"]

WIDTHS = (48, 32)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that computes in float32 under autocast, too.

    On a CPU, PyTorch 2.14 takes three times as long for the gradient in bfloat16 as in float32: with it, a training
    step of the U-Net took 0.20 s of CPU, without 0.14 s.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W') float32 or finer."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.to(torch.promote_types(x.dtype, self.weight.dtype)))

    @classmethod
    def everywhere(cls, network: nn.Module) -> nn.Module:
        """Put this layer, with the same weights, in the place of each depthwise convolution of a network."""
        for name, layer in network.named_children():
            if type(layer) is nn.Conv2d and 1 < layer.groups == layer.in_channels:
                own = cls(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding,
                          layer.dilation, layer.groups, layer.bias is not None, layer.padding_mode)
                own.weight, own.bias = layer.weight, layer.bias
                setattr(network, name, own)
            else:
                cls.everywhere(layer)
        return network


class JoinUp(nn.Module):
    """Bring a coarse map to the size of a finer one, join both, convolve twice (3x3, batch norm, ReLU)."""

    def __init__(self, coarse_channels: int, fine_channels: int, out_channels: int):
        super().__init__()
        self.conv1 = conv_bn_relu(coarse_channels + fine_channels, out_channels)
        self.conv2 = conv_bn_relu(out_channels, out_channels)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, out, h, w) from (B, coarse, h', w') and (B, fine, h, w)."""
        return self.conv2(self.conv1(torch.cat([resize(coarse, tuple(fine.shape[-2:])), fine], 1)))


class UNet(DepthNetwork):
    """Encoder, a `JoinUp` for each width, and a 3x3 convolution to one channel.

    Args:
        encoder: gives features as a list, finest first, and has timm's `feature_info`.
        widths: channels after each step up from the coarsest feature; the last one's size is the output's.
        recolour: see `unet_mobilenetv3`.
        output, max_depth: see `mdelib.layers.to_metres`.
    """

    def __init__(self, encoder: nn.Module, widths: tuple[int, ...], *,
                 recolour: tuple[float, float, float] | None = None, output: str = "log", max_depth: float = 10.0):
        super().__init__(output=output, max_depth=max_depth)
        self.recolour = None if recolour is None else random_colours(*recolour)
        channels = encoder.feature_info.channels()
        if not 1 <= len(widths) < len(channels):
            raise ValueError(f"{len(widths)} steps up were asked for from {len(channels)} features: choose 1 to "
                             f"{len(channels) - 1} widths")
        self.encoder = encoder
        fine = channels[-2::-1]
        self.ups = nn.ModuleList(JoinUp(coarse, skip, width) for coarse, skip, width in
                                 zip((channels[-1], *widths), fine, widths, strict=False))
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)
        init_depth_head(self.head, output, max_depth=max_depth)

    def normalize(self, image: Tensor) -> Tensor:
        """As in every network; in training, colours are changed at random before."""
        if self.training and self.recolour is not None:
            image = self.recolour(image)
        return super().normalize(image)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features (B, C, H/2 .. H/16, W/2 .. W/16), finest first; sides are rounded up."""
        return tuple(self.encoder(x))

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """(B, 1, h, w) at the size of the finest feature that was joined."""
        x = features[-1]
        for up, fine in zip(self.ups, features[-2::-1], strict=False):
            x = up(x, fine)
        return self.head(x)


def random_colours(hue: float, contrast: float, grey: float) -> nn.Module:
    """A module that changes the colours of each image (B, 3, H, W) in [0, 1] at random, with PyTorch's own generator.

    Args:
        hue: turned by at most this share of the colour circle, up to 0.5. contrast: multiplied by 1 ± this, below 1.
        grey: the probability that an image loses its colours.

    Raises:
        ValueError: a number out of its range.
    """
    if not (0 <= hue <= 0.5 and 0 <= contrast < 1 and 0 <= grey <= 1):
        raise ValueError(f"recolour=({hue}, {contrast}, {grey}): hue from 0 to 0.5, contrast from 0 to below 1 and a "
                         "probability of grey are needed")
    from kornia.augmentation import ColorJiggle, RandomGrayscale  # takes a second to import

    return nn.Sequential(ColorJiggle(contrast=contrast, hue=hue, p=1.0), RandomGrayscale(p=grey))


def unet_mobilenetv3(scale: str = "lab", *, widths: tuple[int, ...] = WIDTHS, pretrained: bool = False,
                     recolour: tuple[float, float, float] | None = None, output: str = "log",
                     max_depth: float = 10.0) -> UNet:
    """A U-Net over MobileNetV3-Large up to 1/16, its blocks with 960 channels at 1/32 left out (0.9 M parameters).

    With so few photographs those blocks learn rooms by heart: in one trial each on held-out training images of NYU the
    network was better without them.

    Args:
        scale: ``"lab"``; there is no published network of that name.
        widths: channels after each step up; two steps end at a quarter of the input's resolution.
        pretrained: ImageNet weights by timm (needs the network).
        recolour: (hue, contrast, grey) of `random_colours`, which act in training mode only, as dropout does: what a
            wall is painted like says nothing about its distance. None changes no colours.
        output, max_depth: see `mdelib.layers.to_metres`.

    Raises:
        ValueError: scale "paper", widths that do not fit the encoder, or a recolouring out of range.
    """
    if scale != "lab":
        raise ValueError("unet_mobilenetv3 has no published size: use scale='lab', or hu_resnet50 for a paper's CNN")
    encoder = timm.create_model("mobilenetv3_large_100", pretrained=pretrained, features_only=True,
                                out_indices=(0, 1, 2, 3))
    encoder.blocks = encoder.blocks[:5]  # timm keeps and runs the blocks after the last feature that was asked for
    encoder = DepthwiseConv2d.everywhere(encoder)
    return UNet(encoder, tuple(widths), recolour=recolour, output=output, max_depth=max_depth)
