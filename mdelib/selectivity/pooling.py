"""Sums of upsampled feature maps over depth bins, without upsampling them.

Bilinear upsampling A is linear, so the sum of the upsampled map A f over the pixels of bin d is

    1_d^T (A f) = (A^T 1_d)^T f .

The adjoint A^T is applied once to the indicator maps 1_d of the bins; after that, every unit of every layer of that
resolution costs one small matrix product. Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["BinPooling", "bin_weights"]

LARGEST = 2**28  # bytes of weights that are made at once


def bin_weights(labels: Tensor, num_bins: int, size: tuple[int, int], *, dtype: torch.dtype = torch.float64) -> Tensor:
    """The adjoint of bilinear upsampling, applied to the indicator map of each bin.

    Args:
        labels: (B, H, W) int64 from `bin_labels`; -1 counts nowhere.
        num_bins: K.
        size: (h, w) of the feature maps, which `F.interpolate(mode="bilinear", align_corners=False)` would resize to
            (H, W).
        dtype: of the weights.

    Returns:
        (B, K, h·w): times a feature map, flattened, it gives the sum of the upsampled map over each bin.

    Explained in notebooks/04_dissection.ipynb.
    """
    (batch, height, width), (h, w) = labels.shape, size
    # one more bin takes the pixels that do not count, and is dropped at the end
    bins = torch.where(labels < 0, num_bins, labels) + (num_bins + 1) * _column(batch, labels.device)
    weights = torch.zeros(batch * (num_bins + 1) * h * w, dtype=dtype, device=labels.device)
    for row, row_weight in _taps(height, h, dtype, labels.device):
        start = bins * (h * w) + (row * w)[:, None]
        for column, column_weight in _taps(width, w, dtype, labels.device):
            weight = (row_weight[:, None] * column_weight).expand(batch, -1, -1)
            weights.index_add_(0, (start + column).flatten(), weight.flatten())
    return weights.view(batch, num_bins + 1, h * w)[:, :num_bins]


class BinPooling:
    """The depth bins of a batch, ready to sum feature maps of any resolution over.

    Weights take K·h·w numbers an image. They are made once per resolution and kept; where that would be more than
    `LARGEST` bytes, they are made for a few images at a time instead.

    Args:
        labels: (B, H, W) int64 from `bin_labels`.
        num_bins: K.

    Attributes:
        counts: (K,) int64, pixels per bin.
    """

    def __init__(self, labels: Tensor, num_bins: int):
        self.labels, self.num_bins = labels, num_bins
        counted = torch.where(labels < 0, num_bins, labels).flatten()
        self.counts = torch.bincount(counted, minlength=num_bins + 1)[:num_bins]
        self._weights: dict[tuple[tuple[int, int], torch.dtype], Tensor] = {}

    def sums(self, features: Tensor) -> Tensor:
        """Sum of the upsampled features over the pixels of each bin, in the features' dtype; differentiable.

        Args:
            features: (B, U, h, w), finite.

        Returns:
            (U, K).
        """
        size, dtype = (features.shape[-2], features.shape[-1]), features.dtype
        maps = features.flatten(2)
        at_once = max(1, LARGEST // (self.num_bins * maps.shape[2] * dtype.itemsize))
        if len(maps) > at_once:
            parts = zip(maps.split(at_once), self.labels.split(at_once), strict=True)
            return sum((part @ bin_weights(labels, self.num_bins, size, dtype=dtype).transpose(1, 2)).sum(0)
                       for part, labels in parts)
        if (size, dtype) not in self._weights:
            self._weights[size, dtype] = bin_weights(self.labels, self.num_bins, size, dtype=dtype)
        return (maps @ self._weights[size, dtype].transpose(1, 2)).sum(0)

    def absolute_sums(self, features: Tensor, *, non_negative: bool | None = None) -> Tensor:
        """As `sums`, of the absolute value that the features have after upsampling.

        Args:
            features: (B, U, h, w), finite.
            non_negative: True promises that no feature is negative, which saves the upsampling; None looks.
        """
        if non_negative is None:
            non_negative = not bool((features.detach() < 0).any())
        if non_negative:
            return self.sums(features)
        if features.shape[-2:] != self.labels.shape[-2:]:
            features = F.interpolate(features, size=self.labels.shape[-2:], mode="bilinear", align_corners=False)
        return self.sums(features.abs())


def _column(count: int, device: torch.device) -> Tensor:
    return torch.arange(count, device=device)[:, None, None]


def _taps(large: int, small: int, dtype: torch.dtype, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Along one axis: which of `small` samples each of `large` outputs reads, and with what weight, (large,) each."""
    if large == small:
        return [(torch.arange(small, device=device), torch.ones(small, dtype=dtype, device=device))]
    where = (torch.arange(large, dtype=torch.float64) + 0.5) * (small / large) - 0.5
    where = where.clamp_min(0)
    first = where.long().clamp_max(small - 1)
    share = (where - first).clamp(0, 1)
    second = (first + 1).clamp_max(small - 1)
    return [(first.to(device), (1 - share).to(device, dtype)), (second.to(device), share.to(device, dtype))]
