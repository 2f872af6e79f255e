"""SegFormer (Xie et al., NeurIPS 2021) as a depth network: the Transformer of the course.

A Mix Transformer (MiT) gives four features; the all-MLP decoder projects each to C channels, resizes them to a
quarter of the input, fuses them, and one 1x1 convolution gives depth where the original gives class scores.
yao2023 compares it with a ResNet-50 but does not say which size: MiT-B2 is the one of comparable size (24 M
against 24 M parameters) and is the default at scale "paper". Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

from functools import partial

import torch
from segmentation_models_pytorch.encoders import get_encoder
from segmentation_models_pytorch.encoders.mix_transformer import LayerNorm, MixVisionTransformer
from torch import Tensor, nn

from mdelib.layers import conv_bn_relu, init_depth_head, resize
from mdelib.models.base import DepthNetwork

__all__ = ["MLPDecoder", "SegFormer", "segformer"]

# Channels per stage, blocks per stage, decoder channels: Xie et al., Table 6.
VARIANTS = {
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": ((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "b2": ((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "b3": ((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "b4": ((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "b5": ((64, 128, 320, 512), (3, 6, 40, 3), 768),
    "lab": ((20, 40, 100, 160), (2, 2, 2, 2), 128),
}


class MLPDecoder(nn.Module):
    """Project four features to one width, resize, concatenate, fuse: (B, width, H/4, W/4)."""

    def __init__(self, channels: tuple[int, ...], width: int, dropout: float):
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)  # a linear layer on every pixel
        self.fuse = conv_bn_relu(4 * width, width, 1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        size = tuple(features[0].shape[-2:])
        lifted = [resize(project(feature), size) for project, feature in zip(self.project, features, strict=True)]
        return self.dropout(self.fuse(torch.cat(lifted[::-1], 1)))


class SegFormer(DepthNetwork):
    """MiT `encoder`, `decoder` and the 1x1 `head`.

    The attention of block j of stage i is the input of ``encoder.block<i>.<j>.attn.attn_drop``:
    (B, heads, T, T / r²) after softmax, with r the spatial reduction 8, 4, 2, 1 of the stage's keys.

    Args:
        channels, depths: of the four stages; heads are 1, 2, 5, 8.
        width: channels of the decoder.
        drop_path, dropout: in the encoder's residual branches and before the head.
        output, max_depth: see `mdelib.layers.to_metres`.
    """

    def __init__(self, channels: tuple[int, ...], depths: tuple[int, ...], width: int, *, drop_path: float,
                 dropout: float, output: str, max_depth: float = 10.0):
        super().__init__(output=output, max_depth=max_depth, multiple=32)
        self.encoder = MixVisionTransformer(
            embed_dims=list(channels), depths=list(depths), num_heads=[1, 2, 5, 8], mlp_ratios=[4, 4, 4, 4],
            sr_ratios=[8, 4, 2, 1], qkv_bias=True, norm_layer=partial(LayerNorm, eps=1e-6), drop_path_rate=drop_path)
        self.decoder = MLPDecoder(channels, width, dropout)
        self.head = nn.Conv2d(width, 1, 1)
        init_depth_head(self.head, output, max_depth=max_depth)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Four features (B, C, H/4 .. H/32, W/4 .. W/32), finest first; H and W are multiples of 32."""
        return tuple(self.encoder(x))

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """(B, 1, H/4, W/4)."""
        return self.head(self.decoder(features))


def segformer(scale: str = "lab", *, variant: str | None = None, pretrained: bool = False,
              drop_path: float | None = None, dropout: float | None = None, output: str | None = None,
              max_depth: float = 10.0) -> SegFormer:
    """SegFormer for depth.

    Args:
        scale: ``"paper"`` is MiT-B2 with the published decoder; ``"lab"`` is MiT-B0 narrowed to five eighths,
            without dropout, which a few hundred images would not pay for.
        variant: ``"b0"`` to ``"b5"``, or ``"lab"``, whatever the scale.
        pretrained: ImageNet weights of the encoder by segmentation-models-pytorch (needs the network).
        drop_path, dropout: 0.1 each at scale "paper", 0 at scale "lab".
        output: ``"linear"`` (default at scale "paper"), ``"log"`` (default at scale "lab"), ``"sigmoid"``.

    Raises:
        ValueError: an unknown variant, or pretrained weights for the lab's own size.
    """
    lab = scale == "lab"
    variant = variant or ("lab" if lab else "b2")
    if variant not in VARIANTS:
        raise ValueError(f"unknown SegFormer variant {variant!r}: expected one of {', '.join(VARIANTS)}")
    if pretrained and variant == "lab":
        raise ValueError("there are no pretrained weights for the narrowed encoder: choose variant='b0' or larger, "
                         "or pretrained=False")
    channels, depths, width = VARIANTS[variant]
    rate = 0.0 if lab else 0.1
    network = SegFormer(channels, depths, width, drop_path=rate if drop_path is None else drop_path,
                        dropout=rate if dropout is None else dropout,
                        output=output or ("log" if lab else "linear"), max_depth=max_depth)
    if pretrained:
        network.encoder.load_state_dict(get_encoder(f"mit_{variant}", weights="imagenet").state_dict())
    return network
