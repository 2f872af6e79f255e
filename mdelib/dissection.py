"""Dissecting a depth network: what each unit answers to, and what the depth map loses when a unit is silent.

`dissect` gathers the response tables of several layers on the training and the test views, with shuffled depth
labels as the control. `ablation_matrix` silences one unit after the other and measures the error in every depth
bin: does a unit that is selective for a depth matter most there? The paper (you2021) does not ask this.
Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdelib.data.base import DepthBatch
from mdelib.selectivity import bin_labels, depth_selectivity, response_table, unit_bins
from mdelib.selectivity.table import find_layers

__all__ = ["ablation_matrix", "binned_error", "dissect", "dissection_measures", "own_range_advantage", "silenced"]


def dissect(network: nn.Module, layers: Sequence[str], views: DepthBatch, edges: Tensor, *, batch: int = 16,
            seed: int = 0, device: str | torch.device | None = None) -> dict[str, dict[str, Tensor]]:
    """Response tables and selectivities of all units of `layers`, with the control.

    Args:
        network: its layers give (B, U, h, w).
        layers: names of submodules.
        views: the data; the features are upsampled to the size of its depth maps.
        edges: (K+1,) of the depth bins, metres. Bins without pixels are NaN.
        batch: views at a time.
        seed: of the shuffling.

    Returns:
        layer -> {"response": (U, K), "selectivity": (U,), "shuffled": (U,) selectivity when every view is paired
        with the depth map of another one}.
    """
    def stream() -> Iterator[DepthBatch]:
        return (views[start:start + batch] for start in range(0, len(views), batch))

    tables = response_table(network, layers, stream(), edges, empty="nan", device=device)
    control = response_table(network, layers, stream(), edges, empty="nan", device=device, shuffle="images",
                             generator=torch.Generator().manual_seed(seed))
    return {layer: {"response": table, "selectivity": depth_selectivity(table),
                    "shuffled": depth_selectivity(control[layer])} for layer, table in tables.items()}


class silenced:
    """Context in which one unit of a layer gives 0 everywhere, whatever it is shown.

        with silenced(network, "mff", 3):
            depth = network(image)

    Args:
        network: holds the layer. layer: name of a submodule that gives (B, U, h, w). unit: 0 to U-1.
    """

    def __init__(self, network: nn.Module, layer: str, unit: int):
        self.module, self.unit = find_layers(network, [layer])[layer], unit

    def __enter__(self) -> silenced:
        self.handle = self.module.register_forward_hook(self._silence)
        return self

    def __exit__(self, *_: Any) -> None:
        self.handle.remove()

    def _silence(self, _module: nn.Module, _inputs: Any, features: Tensor) -> Tensor:
        if not 0 <= self.unit < features.shape[1]:
            raise ValueError(f"unit {self.unit} does not exist in a layer of {features.shape[1]} units: choose 0 to "
                             f"{features.shape[1] - 1}")
        keep = torch.ones(features.shape[1], dtype=features.dtype, device=features.device)
        keep[self.unit] = 0
        return features * keep[:, None, None]


def binned_error(pred: Tensor, target: Tensor, labels: Tensor, bins: int) -> Tensor:
    """Mean of |pred - target| / target over the pixels of each depth bin.

    Args:
        pred, target: (B, 1, H, W) metres. labels: (B, H, W) from `bin_labels`; -1 does not count. bins: K.

    Returns:
        (K,) float64; NaN for a bin without pixels.
    """
    counted = labels >= 0
    error = ((pred - target).abs() / target.clamp_min(1e-6))[:, 0][counted].double()
    sums = torch.zeros(bins, dtype=torch.float64, device=error.device).index_add_(0, labels[counted], error)
    return sums / torch.bincount(labels[counted], minlength=bins)


@torch.no_grad()
def ablation_matrix(network: nn.Module, layer: str, views: DepthBatch, edges: Tensor, *, batch: int = 25,
                    device: str | torch.device | None = None) -> Tensor:
    """How much each depth bin's error grows when each unit of a layer is silent.

    Args:
        network: depth in metres from images. layer: name of a submodule that gives (B, U, h, w).
        views: on which the errors are measured. edges: (K+1,) of the depth bins, metres.

    Returns:
        (U, K) float64: absolute relative error of the pixels in the bin with the unit silent, minus without. NaN for
        bins without pixels.
    """
    device = device or next(network.parameters()).device
    bins = len(edges) - 1
    training = network.training
    network.eval()
    try:
        widths: list[int] = []
        handle = find_layers(network, [layer])[layer].register_forward_hook(
            lambda _module, _inputs, features: widths.append(features.shape[1]))
        try:
            network(views[:1].image.to(device))
        finally:
            handle.remove()
        units = widths[0]
        sums, counts = torch.zeros(units, bins, dtype=torch.float64), torch.zeros(bins, dtype=torch.float64)
        for start in range(0, len(views), batch):
            part = views[start:start + batch].to(device)
            labels = bin_labels(part.depth, edges.to(part.depth.device), part.mask)
            pixels = torch.bincount(labels[labels >= 0], minlength=bins).double().cpu()
            whole = binned_error(network(part.image), part.depth, labels, bins).cpu()
            for unit in range(units):
                with silenced(network, layer, unit):
                    ablated = binned_error(network(part.image), part.depth, labels, bins).cpu()
                sums[unit] += torch.nan_to_num(ablated - whole) * pixels
            counts += pixels
    finally:
        network.train(training)
    return torch.where(counts > 0, sums / counts, torch.nan)


def own_range_advantage(matrix: Tensor, response: Tensor, *, reach: int = 1) -> Tensor:
    """How much more a silent unit hurts its own depth range than the rest.

    Args:
        matrix: (U, K) from `ablation_matrix`. response: (U, K) response table of the same layer.
        reach: bins on either side of the unit's strongest bin that count as its own.

    Returns:
        (U,): mean of `matrix` in the unit's own bins minus the mean in all others; NaN where either has no pixel.
    """
    near = (torch.arange(matrix.shape[1])[None] - unit_bins(response)[:, None]).abs() <= reach
    inside, outside = (torch.where(where, matrix, torch.nan).nanmean(1) for where in (near, ~near))
    return inside - outside


def dissection_measures(network: nn.Module, layers: Sequence[str], edges: Tensor, views: Mapping[str, DepthBatch], *,
                        ablated: str, ablated_views: int = 0, device: str | torch.device | None = None
                        ) -> tuple[dict[str, float], dict[str, Any]]:
    """What a run of an experiment keeps of a dissection.

    Args:
        views: split -> its views. ablated: the split on whose `ablated_views` (evenly spread) units are silenced.

    Returns:
        Mean selectivities by layer and split, the mean over layers that the paper reports, the control's, and the
        mean own-range advantage by layer; and the tables behind them as nested lists, None where nothing is known.
    """
    metrics: dict[str, float] = {}
    tables: dict[str, Any] = {"edges": _rounded(edges)}
    for split, batch in views.items():
        found = dissect(network, layers, batch, edges, device=device)
        for layer, parts in found.items():
            tables[f"response/{layer}/{split}"] = _rounded(parts["response"])
            tables[f"shuffled/{layer}/{split}"] = _rounded(parts["shuffled"])
            for kind in ("selectivity", "shuffled"):
                metrics[f"{kind}_{layer}_{split}"] = float(parts[kind].mean())
        for kind in ("selectivity", "shuffled"):
            metrics[f"{kind}_{split}"] = sum(metrics[f"{kind}_{layer}_{split}"] for layer in layers) / len(layers)
        if split == ablated and ablated_views:
            count = min(ablated_views, len(batch))
            few = batch[[round(place) for place in torch.linspace(0, len(batch) - 1, count).tolist()]]
            for layer in layers:
                matrix = ablation_matrix(network, layer, few, edges, device=device)
                tables[f"ablation/{layer}"] = _rounded(matrix)
                advantage = own_range_advantage(matrix, found[layer]["response"])
                metrics[f"own_range_{layer}"] = float(advantage.nanmean())
    return metrics, tables


def _rounded(values: Tensor) -> Any:
    """Nested lists with five significant digits; None where a value is not finite."""
    if values.ndim:
        return [_rounded(part) for part in values]
    return float(f"{float(values):.5g}") if math.isfinite(float(values)) else None
