"""AdaBins, "Depth Estimation Using Adaptive Bins" (Bhat, Alhashim, Wonka, CVPR 2021, arXiv 2011.14141).

An EfficientNet-B5 gives five features; a U-shaped decoder goes up to half the input's resolution; mini-ViT divides
the depth range of this image into bins and draws range-attention maps; a softmax over the bins at every pixel
gives depth as the mean of the bins' centres. yao2023 adds DGR to it. Explained in
notebooks/06_gradient_refinement.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import timm
import torch
import torch.nn.functional as F
from timm.models.efficientnet import EfficientNet, decode_arch_def, round_channels
from torch import Tensor, nn

from mdelib.models.adaptive_bins import AdaptiveBinsNetwork, check_bins
from mdelib.models.mini_vit import MiniViT

__all__ = ["AdaBins", "AdaBinsDecoder", "EfficientNetEncoder", "adabins"]

ENCODER = "tf_efficientnet_b5.ap_in1k"
# Stages of EfficientNet-B0 (Tan and Le 2019, Table 1) as timm writes them; B5 has 1.6 times its channels.
STAGES = (("ds_r1_k3_s1_e1_c16_se0.25",), ("ir_r2_k3_s2_e6_c24_se0.25",), ("ir_r2_k5_s2_e6_c40_se0.25",),
          ("ir_r3_k3_s2_e6_c80_se0.25",), ("ir_r3_k5_s1_e6_c112_se0.25",), ("ir_r4_k5_s2_e6_c192_se0.25",),
          ("ir_r1_k3_s1_e6_c320_se0.25",))
LAB_WIDTH, LAB_FEATURES = 0.4, 256
PAPER = {"channels": 128, "queries": 128, "patch": 16, "depth": 4, "heads": 4, "hidden": 1024, "regressor": 256}
LAB = {"channels": 32, "queries": 32, "patch": 4, "depth": 4, "heads": 4, "hidden": 128, "regressor": 64}


class EfficientNetEncoder(nn.Module):
    """An EfficientNet of timm that hands out the features which AdaBins reads.

    They are what leaves its first, second, third and fifth stage, and the 1x1 convolution behind the last, before
    that one's norm.

    Attributes:
        channels: of the five features; 24, 40, 64, 176 and 2048 of a B5.
    """

    TAPS = (0, 1, 2, 4)

    def __init__(self, network: EfficientNet):
        super().__init__()
        self.conv_stem, self.bn1, self.blocks = network.conv_stem, network.bn1, network.blocks
        self.conv_head = network.conv_head
        self.channels = (*(stage["num_chs"] for stage in network.feature_info[:4]), self.conv_head.out_channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Five features (B, C, H/2 .. H/32, W/2 .. W/32), finest first; sides are rounded up."""
        x, kept = self.bn1(self.conv_stem(x)), []
        for place, stage in enumerate(self.blocks):
            x = stage(x)
            if place in self.TAPS:
                kept.append(x)
        return [*kept, self.conv_head(x)]


class UpSample(nn.Module):
    """A decoder step: x resized to the skip's size, joined with it, and two 3x3 convolutions."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.convs = nn.Sequential(*(layer for wide in (in_channels, out_channels) for layer in (
            nn.Conv2d(wide, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.LeakyReLU())))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, h, w) and (B, S, H, W) -> (B, out_channels, H, W)."""
        x = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=True)
        return self.convs(torch.cat([x, skip], 1))


class AdaBinsDecoder(nn.Module):
    """From five features to (B, out_channels, H/2, W/2).

    Args:
        channels: of the five features, finest first.
        out_channels: of the result; the channels are halved four times, but not below this.
        frame: pixels that the 1x1 convolution of the coarsest feature puts around it (its padding), filled with its
            bias. The authors' code has 1. It stretches the map by two pixels a side, which is little at 15 x 20 and
            half of it at 3 x 4.
    """

    def __init__(self, channels: Sequence[int], out_channels: int, frame: int = 1):
        super().__init__()
        *skips, wide = channels
        widths = [wide] + [max(wide // 2**step, out_channels) for step in range(1, 5)]
        self.conv2 = nn.Conv2d(wide, wide, 1, padding=frame)
        self.up1, self.up2, self.up3, self.up4 = (
            UpSample(coarse + skip, fine) for (coarse, fine), skip in zip(pairwise(widths), skips[::-1], strict=True))
        self.conv3 = nn.Conv2d(widths[-1], out_channels, 3, padding=1)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        f1, f2, f3, f4, f5 = features
        x = self.up2(self.up1(self.conv2(f5), f4), f3)  # (B, C/4, H/8, W/8)
        return self.conv3(self.up4(self.up3(x, f2), f1))


class AdaBins(AdaptiveBinsNetwork):
    """`encoder`, `decoder`, `mvit` and the 1x1 `head` that turns range-attention maps into bin scores.

    The attention of mini-ViT's layer j is the input of ``mvit.layers.<j>.attn.attn_drop``, (B, heads, T, T) after
    softmax, once ``mvit.layers.<j>.attn.fused_attn`` is False; its tokens are patches of the decoded map at half
    resolution.

    Args:
        encoder: gives five features from 1/2 to 1/32 as a list, and has their `channels`.
        bins: K, number of depth bins.
        min_depth, max_depth: metres, the range that the bins divide.
        frame: see `AdaBinsDecoder`.
        vit: the options of `MiniViT`, without the bins.
    """

    def __init__(self, encoder: nn.Module, *, bins: int, min_depth: float, max_depth: float, frame: int,
                 vit: dict[str, float]):
        super().__init__(min_depth=min_depth, max_depth=max_depth)
        self.encoder = encoder
        self.decoder = AdaBinsDecoder(encoder.channels, vit["channels"], frame)
        self.mvit = MiniViT(bins=bins, **vit)
        self.head = nn.Conv2d(vit["queries"], bins, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Five features (B, C, H/2 .. H/32, W/2 .. W/32), finest first; H and W are multiples of 32."""
        return tuple(self.encoder(x))

    def score_bins(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Widths (B, K) and scores (B, K, H/2, W/2) of the bins."""
        widths, maps = self.mvit(self.decoder(features))
        return widths, self.head(maps)


def adabins(scale: str = "lab", *, bins: int = 256, min_depth: float = 1e-3, max_depth: float = 10.0,
            pretrained: bool = False, dropout: float | None = None) -> AdaBins:
    """AdaBins.

    Args:
        scale: ``"paper"`` is the published network on an EfficientNet-B5 (78 M parameters). ``"lab"`` has the same
            parts at a quarter of their channels or less, on an EfficientNet with a quarter of B5's channels and
            B0's 16 blocks instead of 39 (1.6 M parameters); its decoder sets no frame (`AdaBinsDecoder`), and
            mini-ViT's patches are 4 x 4, so that a 96 x 128 image has about the tokens that 416 x 544 has there.
        bins: K, number of depth bins.
        min_depth, max_depth: metres, the range that the bins divide; 80 on streets.
        pretrained: ImageNet weights of the encoder by timm (needs the network; only at scale "paper").
        dropout: in mini-ViT; 0.1 at scale "paper", 0 at scale "lab".

    Raises:
        ValueError: less than one bin, a range that is none, or pretrained weights for the narrowed encoder.

    Explained in notebooks/06_gradient_refinement.ipynb.
    """
    lab = scale == "lab"
    check_bins(bins, min_depth, max_depth)
    if pretrained and lab:
        raise ValueError("there are no pretrained weights for the narrowed encoder: set scale='paper' or "
                         "pretrained=False")
    network = efficientnet(LAB_WIDTH, 1.0, LAB_FEATURES) if lab else timm.create_model(ENCODER, pretrained=pretrained)
    options = {**(LAB if lab else PAPER), "dropout": (0.0 if lab else 0.1) if dropout is None else dropout}
    return AdaBins(EfficientNetEncoder(network), bins=bins, min_depth=min_depth, max_depth=max_depth,
                   frame=0 if lab else 1, vit=options)


def efficientnet(width: float, depth: float, features: int) -> EfficientNet:
    """TensorFlow's EfficientNet with `width` times B0's channels and `depth` times its blocks, without a classifier.

    B5 is `efficientnet(1.6, 2.2, 2048)`; channels are multiples of 8.
    """
    return EfficientNet(decode_arch_def([list(stage) for stage in STAGES], depth), num_classes=0,
                        num_features=features, pad_type="same", act_layer=nn.SiLU,
                        norm_layer=partial(nn.BatchNorm2d, eps=1e-3),
                        round_chs_fn=partial(round_channels, multiplier=width))
