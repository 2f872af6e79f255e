"""Layers that join an image with a few points of known depth: normalised convolution and FKAConv (huynh2021 Fig. 2).

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

from mdelib.fusion.fka_conv import FKAConv, nearest_neighbours
from mdelib.fusion.normalized_conv import NormalizedConv2d, normalized_convolution

__all__ = ["FKAConv", "NormalizedConv2d", "nearest_neighbours", "normalized_convolution"]
