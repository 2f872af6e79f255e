"""FKAConv: a convolution over points in space, with no grid to put a kernel on (Boulch et al. 2020).

A convolution in an image multiplies a weight with the feature at its place in the kernel. Points lie anywhere, so that
a small network sees where the K neighbours of a point are and deals their features f_j out to m kernel elements:

    y = Σ_m W_m Σ_j A_mj f_j,        A (m, K) from the neighbours' places alone.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["FKAConv", "nearest_neighbours"]

MOMENTUM = 0.1  # of the running mean of the neighbourhoods' radius
TINY = 1e-6


def nearest_neighbours(points: Tensor, valid: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The nearest points of every point, itself among them.

    Args:
        points: (B, N, 3), N at least 1. valid: (B, N) bool; a point that is not is nobody's neighbour.
        count: K at most; all points where there are fewer. Of several that are as far, any can be the last.

    Returns:
        (B, N, K') indices with K' = min(K, N), and (B, N, K') bool: which of them there are.

    Explained in notebooks/09_fusanet.ipynb.
    """
    place = points.detach()
    apart = torch.cdist(place, place, compute_mode="donot_use_mm_for_euclid_dist")  # a product of points far away from
    apart = apart.masked_fill(~valid[:, None], torch.inf)  # the origin would lose the digits of small distances
    distance, index = apart.topk(min(count, points.shape[1]), dim=2, largest=False, sorted=False)
    return index, torch.isfinite(distance) & valid[:, :, None]


class FKAConv(nn.Module):
    """Features of points from those of their K nearest neighbours, by feature-kernel alignment.

    - p_j: the offset to neighbour j, over a running mean of the distance to the farthest neighbour.
    - s_j = σ(-a r_j + b), with the distance r_j in metres, times a factor that makes its mean over the neighbours 1.
    - A: three layers of width m on each p_j. After the first and the second: instance norm, ReLU, and beside each
      neighbour's values the maximum of all neighbours', weighted by s. After the third: ReLU, times s_j.
    - y = Σ_m W_m Σ_j A_mj f_j, a convolution with m places.

    The order of the points is no matter, nor where the cloud is. In a cloud of fewer than K points all are neighbours.
    Three differences to the authors' code, which has larger clouds in mind. The third layer has a bias, not negative
    at the start: without one, a point alone has the offset 0, A = 0, and its features are lost. Neighbourhoods of one
    point do not pull the running mean towards 0. And gradients reach the points also through r_j, cut off there.

    Args:
        in_channels, out_channels: of the features. kernel_elements: m. neighbours: K.

    Raises:
        ValueError: numbers below 1.

    Explained in notebooks/09_fusanet.ipynb.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel_elements: int = 16, neighbours: int = 16):
        super().__init__()
        if min(in_channels, out_channels, kernel_elements, neighbours) < 1:
            raise ValueError(f"in_channels={in_channels}, out_channels={out_channels}, "
                             f"kernel_elements={kernel_elements}, neighbours={neighbours}: all must be at least 1")
        self.in_channels, self.neighbours, width = in_channels, neighbours, kernel_elements
        self.register_buffer("radius", torch.ones(()))  # metres
        self.steepness, self.offset = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))  # a and b
        self.layer1 = nn.Linear(3, width, bias=False)
        self.layer2 = nn.Linear(2 * width, width, bias=False)
        self.layer3 = nn.Linear(2 * width, width)
        self.norm1, self.norm2 = InstanceNorm(width), InstanceNorm(width)
        self.kernel = nn.Linear(width * in_channels, out_channels, bias=False)
        nn.init.uniform_(self.layer3.bias, 0, (2 * width)**-0.5)

    def forward(self, features: Tensor, points: Tensor, valid: Tensor | None = None) -> Tensor:
        """New features of all points.

        Args:
            features: (B, C, N). points: (B, 3, N) metres. valid: (B, N) bool, or None for all; what stands at a point
                that is not valid does not matter, as long as it is finite.

        Returns:
            (B, out_channels, N) in the dtype of `features`; 0 where a point is not valid. Inside, all is float32.

        Raises:
            ValueError: shapes that do not fit.
        """
        self._check(features, points, valid)
        with torch.autocast(features.device.type, enabled=False):
            dtype = torch.promote_types(torch.promote_types(features.dtype, points.dtype), self.kernel.weight.dtype)
            f, p = features.mT.to(dtype), points.mT.to(dtype)
            if not f.shape[1]:
                return self.kernel(f.new_zeros(len(f), 0, self.kernel.in_features)).mT.to(features.dtype)
            valid = torch.ones(p.shape[:2], dtype=torch.bool, device=p.device) if valid is None else valid
            index, near = nearest_neighbours(p, valid, self.neighbours)
            aligned = self.align(_rows(p, index) - p[:, :, None], near)  # (B, N, K, m)
            dealt = aligned.mT @ _rows(f, index)  # (B, N, m, C)
            return self.kernel(dealt.flatten(2)).mT.to(features.dtype)

    def align(self, offsets: Tensor, near: Tensor) -> Tensor:
        """A of every neighbourhood, (B, N, K, m), from offsets (B, N, K, 3) in m; 0 where `near` (B, N, K) is not.

        In training, this also updates the running mean of the neighbourhoods' radius.
        """
        distance = _length(offsets) * near
        if self.training:
            self._measure(distance.detach().amax(2))
        weight = torch.sigmoid(self.offset - self.steepness * distance) * near
        share = near.sum(2, keepdim=True) / (weight.sum(2, keepdim=True) + TINY)
        weight = (weight * share)[..., None]
        x = F.relu(self.norm1(self.layer1(offsets / self.radius), near))
        x = F.relu(self.norm2(_beside_maximum(self.layer2, x, weight), near))
        return F.relu(_beside_maximum(self.layer3, x, weight)) * weight

    def _measure(self, farthest: Tensor) -> None:
        """Move the running mean towards that of (B, N) distances; 0 is a point alone, or none."""
        several = farthest > 0
        mean = farthest.sum() / several.sum().clamp_min(1)
        self.radius.lerp_(torch.where(several.any(), mean.to(self.radius), self.radius), MOMENTUM)

    def _check(self, features: Tensor, points: Tensor, valid: Tensor | None) -> None:
        batch, count = len(features), features.shape[-1]
        if features.ndim != 3 or features.shape[1] != self.in_channels or tuple(points.shape) != (batch, 3, count):
            raise ValueError(f"features have the shape {tuple(features.shape)} and points {tuple(points.shape)}: "
                             f"(B, {self.in_channels}, N) and (B, 3, N) are needed")
        if valid is not None and (tuple(valid.shape) != (batch, count) or valid.dtype != torch.bool):
            raise ValueError(f"valid is {valid.dtype} of the shape {tuple(valid.shape)}: bool of the shape "
                             f"{(batch, count)} is needed, one for every point")


class InstanceNorm(nn.Module):
    """Mean 0 and variance 1 of every image and channel, over what is there, then a learned scale and shift.

    Args:
        channels: of the input. eps: added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5):
        super().__init__()
        self.eps, self.scale, self.shift = eps, nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, there: Tensor) -> Tensor:
        """(B, N, K, C) and (B, N, K) bool; what is not there is not counted, and comes out as some finite number."""
        share = there.flatten(1)[:, None].to(x.dtype)
        share = share / share.sum(2, keepdim=True).clamp_min(1)  # a mean is share @ values, (B, 1, C)
        flat = x.flatten(1, 2)
        flat = flat - share @ flat
        variance = share @ flat.square()
        return (flat * (torch.rsqrt(variance + self.eps) * self.scale) + self.shift).view_as(x)


def _rows(table: Tensor, index: Tensor) -> Tensor:
    """(B, N, K, C): the rows of (B, N, C) that (B, N, K) names."""
    batch, count, channels = table.shape
    first = torch.arange(batch, device=index.device)[:, None, None] * count
    return table.reshape(-1, channels).index_select(0, (index + first).flatten()).view(*index.shape, channels)


def _length(offsets: Tensor) -> Tensor:
    """(...,) of (..., 3), with a gradient of 0 where the length is 0."""
    square = offsets.square().sum(-1)
    return torch.where(square > 0, square, 1).sqrt() * (square > 0)


def _beside_maximum(layer: nn.Linear, x: Tensor, weight: Tensor) -> Tensor:
    """`layer` of each neighbour's values (B, N, K, C), none negative, beside the largest weighted ones of all.

    The maximum is the same for all neighbours, so that its part is computed once instead of K times.
    """
    each, largest = layer.weight.chunk(2, dim=1)
    return F.linear(x, each) + F.linear((x * weight).amax(2, keepdim=True), largest, layer.bias)
