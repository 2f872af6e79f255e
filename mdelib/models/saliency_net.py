"""The Saliency-Net of FuSaNet (huynh2021 Fig. 3): where in the image depth can be trusted to help elsewhere.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mdelib.models.fusion_block import conv_norm_relu, group_norm

__all__ = ["DILATIONS", "MultiScaleFeatures", "SaliencyNet"]

DILATIONS = (3, 5, 7, 9, 15, 16, 21)  # section 3.2; 16 is printed, and stays


class MultiScaleFeatures(nn.Module):
    """The MFE layer: a 3x3, a 5x5 and seven dilated 3x3 convolutions of the same input, side by side.

    Args:
        in_channels: of the input. width: channels of each of the nine.
    """

    def __init__(self, in_channels: int, width: int):
        super().__init__()
        self.convs = nn.ModuleList([
            nn.Conv2d(in_channels, width, 3, padding=1), nn.Conv2d(in_channels, width, 5, padding=2),
            *(nn.Conv2d(in_channels, width, 3, padding=d, dilation=d) for d in DILATIONS)])
        self.norm = nn.Sequential(group_norm(9 * width), nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) -> (B, 9 width, h, w)."""
        return self.norm(torch.cat([conv(x) for conv in self.convs], 1))


class SaliencyNet(nn.Module):
    """Saliency S in (0, 1) from what the Fusion-Net found: the product of two views of it.

    S = sigmoid(f(MFE([c, x]))) · sigmoid(g(MFE'([c, d]))) with confidence c, fusion features x, depth d, and two
    convolutions each for f and g. The paper names the layers and the product; the sigmoids and widths are ours. Depth
    enters as its logarithm: it is positive then whatever the camera's unit, and near 0 at a metre.

    Args:
        channels: of the fusion features. width: of each convolution in the MFE layers; `hidden`: after them.
    """

    def __init__(self, channels: int, *, width: int, hidden: int):
        super().__init__()
        self.appearance = nn.Sequential(MultiScaleFeatures(channels + 1, width), conv_norm_relu(9 * width, hidden),
                                        nn.Conv2d(hidden, 1, 3, padding=1))
        self.geometry = nn.Sequential(MultiScaleFeatures(2, width), conv_norm_relu(9 * width, hidden),
                                      nn.Conv2d(hidden, 1, 3, padding=1))

    def forward(self, confidence: Tensor, features: Tensor, depth: Tensor) -> Tensor:
        """(B, 1, h, w) from (B, 1, h, w), (B, channels, h, w) and (B, 1, h, w) metres."""
        confidence = confidence.to(features.dtype)
        relative = depth.clamp_min(1e-3).log().to(features.dtype)
        seen = self.appearance(torch.cat([confidence, features], 1)).float().sigmoid()
        shape = self.geometry(torch.cat([confidence, relative], 1)).float().sigmoid()
        return seen * shape
