"""Sanity check (Adebayo et al. 2018): an explanation must change when the network learnt from shuffled depth maps.

Explained in notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from mdelib.attribution import explain
from mdelib.data.base import DepthBatch, DepthData, resize_image
from mdelib.evaluation import evaluate
from mdelib.fidelity.agreement import map_agreement
from mdelib.protocols import Protocol

__all__ = ["label_scores", "shuffled_labels"]


def shuffled_labels(views: DepthBatch, *, seed: int = 0) -> DepthBatch:
    """The same images, each with the depth and the mask of another view; no view keeps its own.

    What is right of every image on average, floors below and far walls above, can still be learnt from them, and
    nothing else but by heart.

    Args:
        views: two or more. seed: of the order, one cycle through all views.

    Raises:
        ValueError: fewer than two views.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    if len(views) < 2:
        raise ValueError(f"{len(views)} view(s) came: labels can be shuffled among two views or more")
    order = torch.randperm(len(views), generator=torch.Generator().manual_seed(seed))
    source = torch.empty_like(order)
    source[order] = order.roll(1)
    return replace(views, depth=views.depth[source], mask=views.mask[source])


def label_scores(network: nn.Module, trained: nn.Module, reseeded: nn.Module, data: DepthData,
                 protocol: str | Protocol, *, size: tuple[int, int], methods: Mapping[str, Mapping[str, Any]],
                 batch: int = 8, device: str | torch.device = "cpu"
                 ) -> tuple[tuple[str, ...], dict[str, Tensor], dict[str, float]]:
    """How much of a trained network's explanations comes back from a network that learnt from shuffled labels.

    - the depth errors of the protocol, of `network`.
    - ``<method>``: `map_agreement` of both networks' maps of their mean depth. A map of what was learnt is far from 1.
    - ``<method>_reseeded``: the same of `trained` and `reseeded`, which learnt the same from another start. Where this
      is no larger, the check says nothing: the map changes with anything.

    Args:
        network: learnt from `shuffled_labels`. trained, reseeded: learnt from the true ones. All in evaluation mode.
        data: views with depth. protocol: a name of `mdelib.protocols.PROTOCOLS`, or one.
        size: (height, width) of the images that are explained.
        methods: names of `mdelib.attribution.METHODS` -> options.
        batch: the most images in a network at a time. device: where the networks are.

    Returns:
        The views' names; (N,) float64 per measure; and no number of all views together.

    Raises:
        ValueError: as the methods do.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    names, per_image = evaluate(network, data, protocol, size=size, batch=batch, device=device)
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(data), batch):
        views = [data[index] for index in range(start, min(start + batch, len(data)))]
        image = torch.stack([resize_image(view.image, size) for view in views]).to(device)
        for method, options in methods.items():
            true = explain(trained, image, method, **options)
            for ending, other in (("", network), ("_reseeded", reseeded)):
                agreed = map_agreement(true, explain(other, image, method, **options))
                found.setdefault(f"{method}{ending}", []).append(agreed)
    return names, per_image | {name: torch.cat(values) for name, values in found.items()}, {}
