"""The students of TIE-KD (Choi, Choi, Kim 2024): DenseDepth's decoder on a MobileNetV2, a ResNet-18 or a ResNet-50.

The decoder brings the coarsest feature to the size of the next finer one, joins both, convolves twice, and so on up to
the image's own resolution (half of it at lab scale); it has no norm. Its last layer says either a distribution over
depth bins (the student's depth probability map, of which depth is the mean) or depth itself (the baseline). Explained
in notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
from torch import Tensor, nn

from mdelib.distill.bins import depth_bins
from mdelib.distill.probability import expected_depth
from mdelib.layers import init_depth_head, pad_to_multiple, resize
from mdelib.models.base import DepthNetwork, check_image
from mdelib.models.unet import DepthwiseConv2d
from mdelib.protocols import require_known

__all__ = ["HEADS", "DenseDepth", "JoinConvs", "densedepth_mobilenetv2", "densedepth_resnet18", "densedepth_resnet50"]

HEADS = ("dpm", "regression")
# Channels of the decoder: of the 1x1 convolution of the coarsest feature, then after each step.
WIDTHS = {"mobilenetv2": (2048, 512, 256, 128), "resnet18": (512, 256, 256, 128, 128),
          "resnet50": (2048, 1024, 512, 256, 128)}
LAB_WIDTHS = {"mobilenetv2": (96, 48, 32, 24), "resnet18": (64, 48, 40, 24, 24), "resnet50": (128, 96, 64, 40, 24)}
LAB_MOBILENET = "mobilenetv2_035"
LAB_RESNET = (16, 32, 64, 128)  # a quarter of the channels; the bottlenecks of a ResNet-50 give four times as many


def double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    """Two 3x3 convolutions with bias and ReLU, without a norm."""
    convs = nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.Conv2d(out_channels, out_channels, 3, padding=1)
    for conv in convs:
        init_conv(conv)
    return nn.Sequential(convs[0], nn.ReLU(inplace=True), convs[1], nn.ReLU(inplace=True))


def init_conv(conv: nn.Conv2d) -> nn.Conv2d:
    """Weights that keep the gradient's size through ReLUs (He et al. 2015), which layers without a norm need."""
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(conv.bias)
    return conv


class JoinConvs(nn.Module):
    """A decoder step: x resized to the skip's size, joined with it, and `double_conv`."""

    def __init__(self, coarse_channels: int, fine_channels: int, out_channels: int):
        super().__init__()
        self.convs = double_conv(coarse_channels + fine_channels, out_channels)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """(B, coarse, h, w) and (B, fine, H, W) -> (B, out, H, W)."""
        return self.convs(torch.cat([resize(coarse, tuple(fine.shape[-2:])), fine], 1))


class DenseDepth(DepthNetwork):
    """Encoder, decoder and one of two heads.

    Args:
        encoder: gives features as a list, finest first, and has timm's `feature_info`.
        widths: of the decoder, see `WIDTHS`; one for each feature.
        steps: doublings after the finest feature; the last one ends at the image's size, or at half of it.
        spare: further calls of `double_conv` that no image goes through; the authors' ResNet students have one,
            which their printed sizes count.
        head: ``"dpm"``, a 1x1 convolution to `bins` channels whose softmax is the depth probability map;
            ``"regression"``, a 3x3 convolution to one channel and ``max_depth * sigmoid``.
        bins, min_depth, max_depth: of `mdelib.distill.depth_bins`, metres.
    """

    def __init__(self, encoder: nn.Module, widths: Sequence[int], *, steps: int, spare: int = 0, head: str = "dpm",
                 bins: int = 49, min_depth: float = 1e-3, max_depth: float = 10.0):
        channels = encoder.feature_info.channels()
        super().__init__(output="sigmoid", max_depth=max_depth, multiple=encoder.feature_info.reduction()[0])
        require_known("head", head, HEADS)
        if len(widths) != len(channels):
            raise ValueError(f"{len(widths)} decoder widths for {len(channels)} features: give one for each")
        self.encoder, self.head_kind = encoder, head
        self.edges = depth_bins(bins, min_depth, max_depth)  # (K+1,) on the CPU, where losses look at them
        self.bottom = init_conv(nn.Conv2d(channels[-1], widths[0], 1))
        self.joins = nn.ModuleList(JoinConvs(wide, skip, out) for wide, skip, out in
                                   zip(widths, channels[-2::-1], widths[1:], strict=False))
        self.doublings = nn.ModuleList(double_conv(widths[-1], widths[-1]) for _ in range(steps))
        self.spare = nn.ModuleList(double_conv(widths[-1], widths[-1]) for _ in range(spare))
        if head == "dpm":
            self.head = nn.Conv2d(widths[-1], bins, 1)
        else:
            self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)
            init_depth_head(self.head, "sigmoid", max_depth=max_depth, depth=max_depth / 4)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Features, finest first; the coarsest one is at 1/8 (MobileNetV2) or 1/32 (ResNets) of the image."""
        return tuple(self.encoder(x))

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """Logits of the bins (B, K, h, w), or the regression's raw output (B, 1, h, w)."""
        x = self.bottom(features[-1])
        for join, fine in zip(self.joins, features[-2::-1], strict=True):
            x = join(x, fine)
        for convs in self.doublings:
            x = convs(resize(x, (2 * x.shape[-2], 2 * x.shape[-1])))
        return self.head(x)

    def to_depth(self, raw: Tensor) -> Tensor:
        """Metres (B, 1, h, w); of logits the mean of the bins' centres (choi2024 Eq 3)."""
        if self.head_kind == "regression":
            return super().to_depth(raw)
        with torch.autocast(raw.device.type, enabled=False):  # metres need float32's digits
            raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
            return expected_depth(raw.softmax(1), self.edges)

    def predict_raw(self, image: Tensor) -> Tensor:
        """What `decode` gives for images, which is what a loss on maps needs.

        Args:
            image: (B, 3, H, W) in [0, 1].

        Returns:
            (B, K or 1, H, W), or half of both sides, rounded up, at lab scale.

        Raises:
            ValueError: not four dimensions, not three channels, or not floating point.
        """
        check_image(image)
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, self.multiple)
        raw = self.raw(self.normalize(padded))
        stride = padded.shape[-2] // raw.shape[-2]
        return raw[..., :-(-height // stride), :-(-width // stride)]

    def depth_probability(self, image: Tensor) -> Tensor:
        """The student's depth probability map (B, K, h, w) of images; its size is that of `predict_raw`.

        Raises:
            ValueError: the head is a regression, which says no probabilities.
        """
        if self.head_kind == "regression":
            raise ValueError("this student regresses depth and says no probabilities: build it with head='dpm'")
        return self.predict_raw(image).float().softmax(1)


def densedepth_mobilenetv2(scale: str = "lab", *, head: str = "dpm", bins: int | None = None,
                           min_depth: float = 1e-3, max_depth: float = 10.0, pretrained: bool = False) -> DenseDepth:
    """TIE-KD's student: a MobileNetV2 whose last stages are dilated instead of strided, and DenseDepth's decoder.

    Args:
        scale: ``"paper"`` is the published network (17.65 M parameters with 257 bins). ``"lab"`` has the same layers
            with a third of the encoder's channels and fewer in the decoder (0.4 M), and leaves out the last doubling,
            whose convolutions at the image's own resolution would take half of the time.
        head: ``"dpm"`` or ``"regression"`` (the paper's baseline).
        bins: K; None for 257 up to 80 m and 49 up to 10 m, as in the authors' code for KITTI and NYU.
        min_depth, max_depth: metres, the range that the bins divide and that a regression can say.
        pretrained: ImageNet weights by timm (needs the network; only at scale "paper").

    Raises:
        ValueError: an unknown head, fewer than two bins, an empty range, or pretrained weights for a narrowed encoder.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    lab = _check_scale(scale, pretrained)
    encoder = timm.create_model(LAB_MOBILENET if lab else "mobilenetv2_100", pretrained=pretrained,
                                features_only=True, out_indices=(1, 2, 3, 4))
    encoder = DepthwiseConv2d.everywhere(_dilated(encoder))
    widths = (LAB_WIDTHS if lab else WIDTHS)["mobilenetv2"]
    return DenseDepth(encoder, widths, steps=1 if lab else 2, head=head, bins=_count(bins, max_depth),
                      min_depth=min_depth, max_depth=max_depth)


def densedepth_resnet18(scale: str = "lab", *, head: str = "dpm", bins: int | None = None, min_depth: float = 1e-3,
                        max_depth: float = 10.0, pretrained: bool = False) -> DenseDepth:
    """The student on a ResNet-18 (16.78 M parameters at scale "paper"); arguments as `densedepth_mobilenetv2`."""
    return _on_resnet("resnet18", scale, head, bins, min_depth, max_depth, pretrained)


def densedepth_resnet50(scale: str = "lab", *, head: str = "dpm", bins: int | None = None, min_depth: float = 1e-3,
                        max_depth: float = 10.0, pretrained: bool = False) -> DenseDepth:
    """The student on a ResNet-50 (78.39 M parameters at scale "paper"); arguments as `densedepth_mobilenetv2`."""
    return _on_resnet("resnet50", scale, head, bins, min_depth, max_depth, pretrained)


def _on_resnet(name: str, scale: str, head: str, bins: int | None, min_depth: float, max_depth: float,
               pretrained: bool) -> DenseDepth:
    lab = _check_scale(scale, pretrained)
    encoder = timm.create_model(name, pretrained=pretrained, features_only=True, out_indices=(0, 1, 2, 3, 4),
                                **({"channels": LAB_RESNET, "stem_width": 16} if lab else {}))
    widths = (LAB_WIDTHS if lab else WIDTHS)[name]
    return DenseDepth(encoder, widths, steps=int(not lab), spare=int(not lab), head=head, bins=_count(bins, max_depth),
                      min_depth=min_depth, max_depth=max_depth)


def _check_scale(scale: str, pretrained: bool) -> bool:
    """Whether it is the lab scale, for which there are no pretrained weights."""
    if pretrained and scale == "lab":
        raise ValueError("there are no pretrained weights for the narrowed encoder: set scale='paper' or "
                         "pretrained=False")
    return scale == "lab"


def _count(bins: int | None, max_depth: float) -> int:
    if bins is not None:
        return bins
    return 257 if max_depth > 10 else 49


def _dilated(encoder: nn.Module) -> nn.Module:
    """A MobileNetV2 at 1/8 instead of 1/32: the last two strides are gone, and the first block of each later stage is
    dilated by 2, 2, 4 and 4, as the authors' encoder is."""
    for stage, dilation in zip(encoder.blocks[3:], (2, 2, 4, 4), strict=True):
        conv = stage[0].conv_dw
        conv.stride, conv.dilation, conv.padding = (1, 1), (dilation, dilation), (dilation, dilation)
    return encoder
