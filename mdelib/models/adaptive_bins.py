"""Depth from bins that a network chooses for every image anew (Bhat, Alhashim, Wonka, CVPR 2021, Eq 2-3).

AdaBins and DepthFormer end alike: widths of the bins for the image, scores of the bins at every pixel, and depth as
the mean of the bins' centres. Explained in notebooks/06_gradient_refinement.ipynb.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.layers import pad_to_multiple
from mdelib.models.base import DepthNetwork, check_image

__all__ = ["AdaptiveBinsNetwork", "bin_edges", "check_bins", "expected_centre"]


def bin_edges(widths: Tensor, min_depth: float, max_depth: float) -> Tensor:
    """Edges of depth bins: e_0 = d_min, e_i = d_min + (d_max - d_min) Σ_{j≤i} b_j (AdaBins Eq 2).

    Args:
        widths: (B, K), positive, each row summing to 1.
        min_depth, max_depth: metres.

    Returns:
        (B, K + 1) metres, ascending.

    Explained in notebooks/06_gradient_refinement.ipynb.
    """
    return F.pad(min_depth + (max_depth - min_depth) * widths.cumsum(1), (1, 0), value=min_depth)


def expected_centre(probability: Tensor, edges: Tensor) -> Tensor:
    """Depth as the mean of the bins' centres, d = Σ_k c_k p_k with c_k = (e_{k-1} + e_k) / 2 (AdaBins Eq 2-3).

    Args:
        probability: (B, K, h, w), summing to 1 over the bins.
        edges: (B, K + 1) metres.

    Returns:
        (B, 1, h, w) metres.

    Explained in notebooks/06_gradient_refinement.ipynb.
    """
    centres = (edges[:, :-1] + edges[:, 1:]) / 2
    with torch.autocast(probability.device.type, enabled=False):  # bfloat16 would round depth to centimetres
        return torch.einsum("bkhw,bk->bhw", probability, centres)[:, None]


def check_bins(bins: int, min_depth: float, max_depth: float) -> None:
    """Refuse less than one bin, or a range of depths that is none, in one sentence."""
    if bins < 1:
        raise ValueError(f"bins={bins} divide nothing: choose 1 or more")
    if not 0 < min_depth < max_depth:
        raise ValueError(f"min_depth={min_depth} and max_depth={max_depth} are no range of depths: choose "
                         "0 < min_depth < max_depth, in metres")


class AdaptiveBinsNetwork(DepthNetwork):
    """A depth network whose `decode` answers in metres, always inside (min_depth, max_depth).

    Subclasses write `encode` and `score_bins`.

    Args:
        min_depth, max_depth: metres, the range that the bins divide.
    """

    def __init__(self, *, min_depth: float, max_depth: float):
        super().__init__(output="linear", max_depth=max_depth, multiple=32)
        self.min_depth = float(min_depth)

    def score_bins(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Widths (B, K) of the bins, positive, each row summing to 1, and their scores (B, K, h, w)."""
        raise NotImplementedError(f"{type(self).__name__} has no bins of its own")

    def decode_bins(self, features: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Edges (B, K + 1) in metres and probabilities (B, K, h, w) of the bins, float32 or finer."""
        widths, scores = self.score_bins(features)
        scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
        return bin_edges(widths, self.min_depth, self.max_depth), scores.softmax(1)

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        """(B, 1, h, w) metres."""
        edges, probability = self.decode_bins(features)
        return expected_centre(probability, edges)

    def bin_edges(self, image: Tensor) -> Tensor:
        """The bins that the network chose for images: (B, 3, H, W) in [0, 1] -> (B, K + 1) edges in metres."""
        check_image(image)
        return self.decode_bins(self.encode(self.normalize(pad_to_multiple(image, self.multiple))))[0]
