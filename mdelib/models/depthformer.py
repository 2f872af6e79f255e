"""DepthFormer (Agarwal and Arora, ICIP 2022, arXiv 2207.04535): a Mix Transformer, a decoder, and bins for each image.

Not the network of the same name by Li et al. (arXiv 2203.14211). yao2023 cites this one, but the KITTI row that it
prints for it (AbsRel 0.052, RMSE 2.143) is close to Li et al.'s (0.052, 2.133 in their repository) and far from
this one's own (0.058, 2.285).

Known from the abstract and the authors' release: MiT-B4; a decoder that goes up by transposed convolutions to half
the input's resolution and 128 channels; "Transbins", a Transformer on that map with 16 x 16 patches, four layers,
1500 learned positions, which gives 256 bin widths; bin scores by a 1x1 convolution of the map itself. The file that
holds the head of Transbins is missing there; its call is that of AdaBins' mini-ViT, and its attention maps go unused.
Our reading is thus mini-ViT without those maps: the first token becomes the widths. What the release builds but never
calls (a fifth transposed convolution, three more convolutions, a second regressor) is not built. Explained in
notebooks/06_gradient_refinement.ipynb.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from segmentation_models_pytorch.encoders import get_encoder
from segmentation_models_pytorch.encoders.mix_transformer import LayerNorm, MixVisionTransformer
from torch import Tensor, nn

from mdelib.models.adaptive_bins import AdaptiveBinsNetwork, check_bins
from mdelib.models.mini_vit import EncoderLayer, bin_widths

__all__ = ["DepthFormer", "DepthFormerDecoder", "TransBins", "UpStep", "depthformer"]

# Channels and blocks of the four stages: MiT-B4, and half of MiT-B0.
PAPER = {"channels": (64, 128, 320, 512), "depths": (3, 8, 27, 3)}
LAB = {"channels": (16, 32, 80, 128), "depths": (2, 2, 2, 2)}
# Of Transbins. The authors' images have 252 to 418 tokens; the lab's patches give 192 to a 96 x 128 image.
PAPER_BINS = {"bins": 256, "patch": 16, "positions": 1500, "layers": 4, "heads": 4, "hidden": 1024, "regressor": 256}
LAB_BINS = {"bins": 64, "patch": 4, "positions": 768, "layers": 4, "heads": 4, "hidden": 128, "regressor": 64}


def _convolutions(*widths: int) -> nn.Sequential:
    """3x3 convolution, batch norm, LeakyReLU from each width to the next.

    The authors' convolutions have a bias too, which the norm takes away again.
    """
    steps = [(nn.Conv2d(wide, narrow, 3, padding=1, bias=False), nn.BatchNorm2d(narrow), nn.LeakyReLU())
             for wide, narrow in pairwise(widths)]
    return nn.Sequential(*(layer for step in steps for layer in step))


class UpStep(nn.Module):
    """Twice the size by a transposed 2x2 convolution, joined with the encoder's feature, two 3x3 convolutions.

    Args:
        channels: of x; the transposed convolution keeps them.
        skip_channels: of the feature, and of the result.
    """

    def __init__(self, channels: int, skip_channels: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.convs = _convolutions(channels + skip_channels, skip_channels, skip_channels)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        """(B, C, h, w) and (B, S, 2h, 2w) -> (B, S, 2h, 2w)."""
        return self.convs(torch.cat([self.up(x), skip], 1))


class DepthFormerDecoder(nn.Module):
    """From four features to (B, C2, H/2, W/2), C2 the channels of the second-finest feature (128 of MiT-B4)."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        c1, c2, c3, c4 = channels
        self.bottom = _convolutions(c4, c4)
        self.up3, self.up2, self.up1 = UpStep(c4, c3), UpStep(c3, c2), UpStep(c2, c1)
        self.up0 = nn.ConvTranspose2d(c1, c1, 2, stride=2)
        self.convs = _convolutions(c1, c2, c2)

    def forward(self, features: tuple[Tensor, ...]) -> Tensor:
        f1, f2, f3, f4 = features
        x = self.up3(self.bottom(f4), f3)  # (B, C3, H/16, W/16)
        x = self.up1(self.up2(x, f2), f1)  # (B, C1, H/4, W/4)
        return self.convs(self.up0(x))


class TransBins(nn.Module):
    """The widths of this image's depth bins, from all of the decoded map.

    Patches become tokens, learned positions are added, a Transformer lets all see all, and a network of three linear
    layers reads the widths from the first token (see the module's docstring for what is our reading).

    Args:
        channels: of the map and of the tokens; a multiple of `heads`.
        bins: K.
        patch: side of a token's patch, in pixels of the map.
        positions: number of learned ones, one a token, counted row by row through the map.
        layers, heads, hidden: of the Transformer; `hidden` is the width of its ReLU networks.
        regressor: width of the two hidden layers that lead to the bins.
        dropout: see `mdelib.models.mini_vit.EncoderLayer`.
    """

    def __init__(self, channels: int, *, bins: int, patch: int, positions: int, layers: int, heads: int, hidden: int,
                 regressor: int, dropout: float):
        super().__init__()
        self.patch = patch
        self.embed = nn.Conv2d(channels, channels, patch, patch)
        self.positions = nn.Parameter(torch.rand(positions, channels))
        self.layers = nn.Sequential(*(EncoderLayer(channels, heads, hidden, dropout) for _ in range(layers)))
        self.regress = nn.Sequential(nn.Linear(channels, regressor), nn.LeakyReLU(), nn.Linear(regressor, regressor),
                                     nn.LeakyReLU(), nn.Linear(regressor, bins))

    def tokens(self, x: Tensor) -> Tensor:
        """The map's patches with their positions, (B, T, C), counted row by row.

        Pixels beyond the last whole patch are left out. A map smaller than a patch is continued at its border, and
        of more tokens than positions the positions are interpolated along their order: the authors' sizes need
        neither.
        """
        bottom, right = (max(0, self.patch - side) for side in x.shape[-2:])
        x = F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        count = tokens.shape[1]
        if count <= len(self.positions):
            return tokens + self.positions[:count]
        return tokens + F.interpolate(self.positions.T[None], count, mode="linear", align_corners=True)[0].T

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) -> widths (B, K), positive, each row summing to 1."""
        return bin_widths(self.regress(self.layers(self.tokens(x))[:, 0]))


class DepthFormer(AdaptiveBinsNetwork):
    """MiT `encoder`, `decoder`, `transbins` and the 1x1 `head` that scores the bins at every pixel.

    The attention of block j of the encoder's stage i is the input of
    ``encoder.block<i>.<j>.attn.attn_drop``, (B, heads, T, T / r²) after softmax, with r the spatial reduction 8, 4, 2,
    1 of the stage's keys. That of layer j of Transbins is the input of ``transbins.layers.<j>.attn.attn_drop``,
    (B, heads, T, T), once ``transbins.layers.<j>.attn.fused_attn`` is False.

    Args:
        channels, depths: of the encoder's four stages; heads are 1, 2, 5, 8.
        drop_path: in the encoder's residual branches.
        min_depth, max_depth: metres, the range that the bins divide.
        transbins: the options of `TransBins`, without the channels.
    """

    def __init__(self, channels: tuple[int, ...], depths: tuple[int, ...], *, drop_path: float, min_depth: float,
                 max_depth: float, transbins: dict[str, float]):
        super().__init__(min_depth=min_depth, max_depth=max_depth)
        self.encoder = MixVisionTransformer(
            embed_dims=list(channels), depths=list(depths), num_heads=[1, 2, 5, 8], mlp_ratios=[4, 4, 4, 4],
            sr_ratios=[8, 4, 2, 1], qkv_bias=True, norm_layer=partial(LayerNorm, eps=1e-6), drop_path_rate=drop_path)
        self.decoder = DepthFormerDecoder(channels)
        self.transbins = TransBins(channels[1], **transbins)
        self.head = nn.Conv2d(channels[1], transbins["bins"], 1)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Four features (B, C, H/4 .. H/32, W/4 .. W/32), finest first; H and W are multiples of 32."""
        return tuple(self.encoder(x))

    def score_bins(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Widths (B, K) and scores (B, K, H/2, W/2) of the bins."""
        x = self.decoder(features)
        return self.transbins(x), self.head(x)


def depthformer(scale: str = "lab", *, bins: int | None = None, min_depth: float = 1e-3, max_depth: float = 10.0,
                pretrained: bool = False, drop_path: float | None = None, dropout: float | None = None) -> DepthFormer:
    """DepthFormer by Agarwal and Arora.

    Args:
        scale: ``"paper"`` is MiT-B4 (60.8 M parameters in Xie et al., Table 1) with the released decoder; no count
            of the whole is published, here it is 75.0 M. ``"lab"`` has the same parts on half of MiT-B0, with 64 bins
            and patches of 4 x 4 (1.5 M).
        bins: K, number of depth bins; 256 at scale "paper", 64 at scale "lab".
        min_depth, max_depth: metres, the range that the bins divide; 80 on streets.
        pretrained: ImageNet weights of the encoder by segmentation-models-pytorch (needs the network; only at scale
            "paper").
        drop_path, dropout: in the encoder's residual branches and in Transbins; 0.1 each at scale "paper", 0 at scale
            "lab".

    Raises:
        ValueError: less than one bin, a range that is none, or pretrained weights for the narrowed encoder.

    Explained in notebooks/06_gradient_refinement.ipynb.
    """
    lab = scale == "lab"
    if pretrained and lab:
        raise ValueError("there are no pretrained weights for the narrowed encoder: set scale='paper' or "
                         "pretrained=False")
    rate = 0.0 if lab else 0.1
    options = {**(LAB_BINS if lab else PAPER_BINS), "dropout": rate if dropout is None else dropout}
    if bins is not None:
        options["bins"] = bins
    check_bins(options["bins"], min_depth, max_depth)
    network = DepthFormer(**(LAB if lab else PAPER), drop_path=rate if drop_path is None else drop_path,
                          min_depth=min_depth, max_depth=max_depth, transbins=options)
    if pretrained:
        network.encoder.load_state_dict(get_encoder("mit_b4", weights="imagenet").state_dict())
    return network
