"""What each unit of a layer answers to: its mean activation per depth bin, and how selective that makes it.

Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mdelib.protocols import require_known
from mdelib.selectivity.bins import bin_labels, check_edges
from mdelib.selectivity.pooling import BinPooling

__all__ = ["EMPTY", "ResponseMeter", "depth_selectivity", "unit_bins"]

EMPTY = ("error", "nan")


def depth_selectivity(response: Tensor) -> Tensor:
    r"""How much a unit prefers one depth bin: 0 for none, 1 for a unit that answers to one bin only.

    :math:`DS_k = \frac{|R_k^{max}| - |\bar R_k^{-max}|}{|R_k^{max}| + |\bar R_k^{-max}|}` (You et al. 2021, supp. Eq
    6), with the largest :math:`|R_{k,d}|` over the bins and the mean of all others; 1e-15 is added below, as in the
    authors' code.

    Args:
        response: (U, K), for example from `response_table`. Columns of NaN (bins without pixels) are left out.

    Returns:
        (U,), in [0, 1].

    Raises:
        ValueError: not (U, K), fewer than two bins with pixels, or a value that is not finite in a column that has
            others.

    Explained in notebooks/03_expected_selectivity.ipynb.
    """
    size = _present(response).abs()
    largest = size.amax(1)
    others = (size.sum(1) - largest) / (size.shape[1] - 1)
    return (largest - others) / (largest + others + 1e-15)


def unit_bins(response: Tensor) -> Tensor:
    """The bin to which each unit answers most, (U,) int64 from |response| (U, K); arguments as `depth_selectivity`."""
    _present(response)
    return torch.nan_to_num(response.abs(), nan=-1.0).argmax(1)


class ResponseMeter:
    r"""Mean activation of each unit per depth bin, over a data set that arrives in batches.

    :math:`R_{k,d}` = mean of unit k's activation over all pixels of all images whose true depth lies in bin d, the
    feature map being upsampled bilinearly to the depth map (You et al. 2021). Pixels are weighted alike, whatever
    image they are from. Sums are float64. However the images are split into batches, the result is the same. ::

        meter = ResponseMeter(edges)
        for features, depth, mask in ...:
            meter.update(features, depth, mask)
        table = meter.compute()

    Args:
        edges: (K+1,) bin edges, metres.
        absolute: mean of \|activation\| after upsampling instead of the signed mean. Selectivity takes the size of the
            mean, so the two differ only for layers with negative activations.
        name: of the layer, for error messages.

    Explained in notebooks/04_dissection.ipynb.
    """

    def __init__(self, edges: Tensor, *, absolute: bool = False, name: str = "features"):
        self.edges, self.absolute, self.name = check_edges(edges), absolute, name
        self._sums: Tensor | None = None
        self._pixels = torch.zeros(len(self.edges) - 1, dtype=torch.int64)
        self._images = 0

    @property
    def pixels(self) -> Tensor:
        """Pixels per bin so far, (K,) int64."""
        return self._pixels.cpu().clone()

    @property
    def images(self) -> int:
        """Images so far."""
        return self._images

    def update(self, features: Tensor, depth: Tensor, mask: Tensor | None = None) -> ResponseMeter:
        """Add a batch: features (B, U, h, w) of any resolution, depth (B, 1, H, W) in metres, mask or None.

        Raises:
            ValueError: shapes that do not fit, or activations that are not finite.
        """
        return self.add(features, BinPooling(bin_labels(depth, self.edges, mask), len(self.edges) - 1))

    def add(self, features: Tensor, bins: BinPooling, names: Sequence[str] | None = None) -> ResponseMeter:
        """As `update`, with bins that several layers share; `names` identify the images in error messages."""
        self._check(features, bins.labels, names)
        features = features.detach().to(bins.labels.device, torch.float64)
        sums = bins.absolute_sums(features) if self.absolute else bins.sums(features)
        if self._sums is not None and self._sums.shape != sums.shape:
            raise ValueError(f"{self.name} gave {len(sums)} units after {len(self._sums)}: the number of units must "
                             "stay the same; use a meter for each layer")
        self._sums = sums if self._sums is None else self._sums + sums
        self._pixels = self._pixels.to(bins.counts.device) + bins.counts
        self._images += len(features)
        return self

    def compute(self, empty: str = "error") -> Tensor:
        """The response table of all images so far.

        Args:
            empty: what a bin without pixels becomes: ``"error"``, or ``"nan"`` for a column of NaN.

        Returns:
            (U, K) float64 on the CPU.

        Raises:
            ValueError: no image so far, or a bin without pixels.
        """
        require_known("empty", empty, EMPTY)
        if self._sums is None:
            raise ValueError(f"no image has been added for {self.name}: call update(features, depth, mask) first")
        pixels = self.pixels
        missing = (pixels == 0).nonzero().flatten().tolist()
        if missing and empty == "error":
            ranges = [f"{i} ({float(self.edges[i]):.4g} to {float(self.edges[i + 1]):.4g} m)" for i in missing]
            more = f" and {len(ranges) - 3} more" if len(ranges) > 3 else ""
            raise ValueError(f"no pixel in depth bin {', '.join(ranges[:3])}{more}, among {int(pixels.sum())} valid "
                             f"pixels of {self._images} images: use fewer bins, edges inside the data's depth range, "
                             "or more images; empty='nan' leaves such bins out")
        return torch.where(pixels > 0, self._sums.cpu() / pixels, torch.nan)

    def _check(self, features: Any, labels: Tensor, names: Sequence[str] | None) -> None:
        if not isinstance(features, Tensor) or features.ndim != 4:
            seen = (f"a tensor of shape {tuple(features.shape)}" if isinstance(features, Tensor)
                    else f"a {type(features).__name__}")
            raise ValueError(f"{self.name} gave {seen}: maps (B, C, h, w) are needed; name a layer that gives them, "
                             "or put tokens (B, N, C) on their grid first")
        if len(features) != len(labels):
            raise ValueError(f"{self.name} gave maps of {len(features)} images for {len(labels)} depth maps: one "
                             "depth map for each image is needed")
        finite = torch.isfinite(features).flatten(1).all(1)
        if not bool(finite.all()):
            first = int((~finite).nonzero()[0])
            wrong = int((~torch.isfinite(features[first])).sum())
            image = repr(names[first]) if names is not None else str(self._images + first)
            raise ValueError(f"{self.name} gave {wrong} activations that are not finite for image {image} "
                             f"({int((~finite).sum())} such images in its batch): look at the network's weights and "
                             "at the image, or run it in float32")


def _present(response: Tensor) -> Tensor:
    """The columns that are not NaN, in floating point."""
    if response.ndim != 2:
        raise ValueError(f"response has the shape {tuple(response.shape)}: (U, K) is needed, units by depth bins")
    response = response if response.is_floating_point() else response.double()
    kept = response[:, ~torch.isnan(response).all(0)] if len(response) else response
    if kept.shape[1] < 2:
        raise ValueError(f"{kept.shape[1]} of {response.shape[1]} depth bins hold pixels: selectivity compares one "
                         "bin with the others, so at least two are needed; use wider bins or more images")
    if not bool(torch.isfinite(kept).all()):
        unit = int((~torch.isfinite(kept)).any(1).nonzero()[0])
        raise ValueError(f"unit {unit} has a response that is not finite in a bin where others have one: only whole "
                         "columns may be NaN; look at the activations it was made from")
    return kept
