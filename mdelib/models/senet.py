"""SENet-154 at any width, the encoder of Hu et al.'s best figures ("Squeeze-and-Excitation Networks", CVPR 2018).

timm has the published width only. Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

from typing import Any

from timm.models import FeatureListNet
from timm.models.senet import SEBottleneck, SENet
from torch import nn

__all__ = ["NarrowSENet", "senet154_features"]

BLOCKS = (3, 8, 36, 3)
GROUPS, STEM = 64, 128  # of the grouped 3x3 convolutions; channels behind the stem


class NarrowSENet(SENet):
    """A SENet-154 with `width` times the channels and groups; the first two of its stem's three layers keep their 64.

    Args:
        width: 1/64 to 1, such that 64 x width is a whole number.
    """

    def __init__(self, width: float):
        self.width = width
        super().__init__(SEBottleneck, BLOCKS, groups=_part(GROUPS, width), reduction=16, inplanes=_part(STEM, width),
                         input_3x3=True, downsample_kernel_size=3, downsample_padding=1, num_classes=0)
        for stage, info in enumerate(self.feature_info):
            info["num_chs"] = _part((STEM, 256, 512, 1024, 2048)[stage], width)

    def _make_layer(self, block: type[nn.Module], planes: int, *args: Any, **options: Any) -> nn.Sequential:
        return super()._make_layer(block, _part(planes, self.width), *args, **options)


def senet154_features(width: float = 1.0) -> FeatureListNet:
    """The four features that Hu et al. read, 256, 512, 1024 and 2048 channels times `width`, from 1/4 to 1/32.

    Raises:
        ValueError: a width that leaves no whole number of groups.

    Explained in notebooks/04_dissection.ipynb.
    """
    if not 1 / GROUPS <= width <= 1 or (GROUPS * width) % 1:
        raise ValueError(f"width={width} leaves {GROUPS * width:g} of {GROUPS} groups: choose a multiple of 1/64, up "
                         "to 1")
    return FeatureListNet(NarrowSENet(width), out_indices=(1, 2, 3, 4))


def _part(channels: int, width: float) -> int:
    return round(channels * width)
