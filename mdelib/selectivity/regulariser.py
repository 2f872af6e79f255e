"""The regulariser that makes units interpretable: each unit is assigned a depth bin and trained to prefer it.

Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdelib.selectivity.bins import assigned_bins, bin_labels, check_edges
from mdelib.selectivity.pooling import BinPooling
from mdelib.selectivity.table import find_layers

__all__ = ["SelectivityRegulariser", "assigned_selectivity"]

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]


def assigned_selectivity(features: Tensor, labels: Tensor | BinPooling, num_bins: int, *,
                         non_negative: bool | None = None) -> Tensor:
    r"""Depth selectivity of each unit for the bin that it is assigned to, within one batch; differentiable.

    :math:`DS_k = \frac{R_{k,a} - \bar R_{k,-a}}{R_{k,a} + \bar R_{k,-a} + 10^{-15}}` with a = floor(k·K/U), the mean
    :math:`R_{k,d}` of \|activation\| over the batch's pixels of bin d, and the mean :math:`\bar R_{k,-a}` of
    :math:`R_{k,d}` over the other bins that occur in the batch (training code of You et al. 2021).

    Args:
        features: (B, U, h, w), upsampled bilinearly to the labels' size before the absolute value. Half precision is
            raised to float32.
        labels: (B, H, W) int64 from `bin_labels`, or a `BinPooling` that several layers share.
        num_bins: K, at most U.
        non_negative: True promises that no feature is negative, as after a ReLU, which saves the upsampling; None
            looks.

    Returns:
        (U,), in [-1, 1]. 0, without gradient, for a unit whose bin does not occur in the batch, for a dead unit, and
        for all units where fewer than two bins occur.

    Raises:
        ValueError: features that are not (B, U, h, w), a batch that differs from the labels', fewer units than bins.

    Explained in notebooks/04_dissection.ipynb.
    """
    bins = labels if isinstance(labels, BinPooling) else BinPooling(labels, num_bins)
    if features.ndim != 4 or len(features) != len(bins.labels):
        raise ValueError(f"features {tuple(features.shape)} and labels {tuple(bins.labels.shape)} do not fit: "
                         "(B, U, h, w) and (B, H, W) are needed")
    assigned = assigned_bins(features.shape[1], num_bins).to(features.device)
    with torch.autocast(features.device.type, enabled=False):
        features = features if features.dtype == torch.float64 else features.float()
        present = bins.counts > 0
        response = bins.absolute_sums(features, non_negative=non_negative) / bins.counts.clamp_min(1)  # (U, K)
        own = response.gather(1, assigned[:, None])[:, 0]
        others = (response.sum(1) - own) / (present.sum() - 1).clamp_min(1)
        total = own + others
        counts = present[assigned] & (present.sum() > 1) & (total > 0)
        return torch.where(counts, (own - others) / (torch.where(counts, total, 1.0) + 1e-15), 0.0)


class SelectivityRegulariser:
    r"""A loss that also rewards units for preferring the depth bin that they are assigned to.

    :math:`L = L_{base} - w \sum_l \frac1{U_l} \sum_k DS_{l,k}` with `assigned_selectivity` (You et al. 2021, w = 0.1).

        with SelectivityRegulariser(silog, network, ["decoder", "mff"], edges) as loss:
            fit(network, views, loss, settings)

    Forward hooks catch the features of the network's last forward pass, so `loss(pred, target, mask)` is all that a
    training loop calls. Copies of the network (averaged weights) are not listened to.

    Args:
        base: ``base(pred, target, mask)``, a scalar.
        network: the one that is trained; may be wrapped afterwards, as Fabric does.
        layers: dotted names of its submodules that give (B, U, h, w).
        edges: (K+1,) bin edges, metres; no layer may have fewer than K units.
        weight: w.
        non_negative: as in `assigned_selectivity`, for all layers.

    Attributes:
        latest: layer -> (U,) selectivity of the assigned bins at the last call, detached.

    Raises:
        ValueError: a layer that does not exist, edges that do not increase, a weight that is not finite; when called,
            a layer that has not run or was changed in place, or fewer units than bins.

    Explained in notebooks/04_dissection.ipynb.
    """

    def __init__(self, base: Loss, network: nn.Module, layers: str | Sequence[str], edges: Tensor, *,
                 weight: float = 0.1, non_negative: bool | None = None):
        if not math.isfinite(weight):
            raise ValueError(f"weight is {weight}: a finite number is needed; you2021 uses 0.1")
        self.base, self.edges, self.weight, self.non_negative = base, check_edges(edges), weight, non_negative
        self.latest: dict[str, Tensor] = {}
        self._features: dict[str, tuple[Tensor, int]] = {}
        modules = find_layers(network, [layers] if isinstance(layers, str) else list(layers))
        self.layers = tuple(modules)
        self._handles = [module.register_forward_hook(self._hook(name, module)) for name, module in modules.items()]

    def __enter__(self) -> SelectivityRegulariser:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        """Take the hooks off the network; the regulariser cannot be called any more."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._features = [], {}

    def __call__(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """The scalar loss of pred, target (B, 1, H, W) in metres and mask, for the network's last forward pass."""
        value = self.base(pred, target, mask)
        caught, self._features = self._features, {}
        bins = BinPooling(bin_labels(target, self.edges, mask), len(self.edges) - 1)
        for name in self.layers:
            selectivity = assigned_selectivity(self._taken(caught, name, len(target)), bins, bins.num_bins,
                                               non_negative=self.non_negative)
            self.latest[name] = selectivity.detach()
            value = value - self.weight * selectivity.mean()
        return value

    def _hook(self, name: str, owner: nn.Module) -> Any:
        # A function, not a method: copying the network copies the reference to it, never the regulariser.
        def catch(module: nn.Module, _inputs: Any, output: Any) -> None:
            if module is owner:
                version = output._version if isinstance(output, Tensor) and not output.is_inference() else 0
                self._features[name] = (output, version)
        return catch

    def _taken(self, caught: dict[str, tuple[Tensor, int]], name: str, count: int) -> Tensor:
        if name not in caught:
            why = "the hooks were removed" if not self._handles else "it has not run since the last call"
            raise ValueError(f"no features of layer {name!r}: {why}; run the network on the batch before each call of "
                             "the loss")
        features, version = caught[name]
        if not isinstance(features, Tensor) or features.ndim != 4 or len(features) != count:
            seen = tuple(features.shape) if isinstance(features, Tensor) else f"a {type(features).__name__}"
            raise ValueError(f"layer {name!r} gave {seen} for a batch of {count}: maps (B, U, h, w) of the same "
                             "images are needed; name a layer that gives them, and run the network just before the "
                             "loss")
        if not features.is_inference() and features._version != version:
            raise ValueError(f"the output of layer {name!r} was changed in place after it ran: name the layer that "
                             "changes it (an in-place ReLU, for example) instead")
        return features
