"""What one attribution method is worth for one network on a data set: every measure of this package, image by image.

Explained in notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mdelib.attribution import Target, completeness_error, explain, occlusion, position_without, targets
from mdelib.data.base import DepthData, resize_depth, resize_image
from mdelib.evaluation import evaluate
from mdelib.fidelity.agreement import KINDS, attribution_fidelity
from mdelib.fidelity.areas import curve_gap
from mdelib.fidelity.perturbation import FRACTIONS, SCORES, perturbation_curve
from mdelib.fidelity.robustness import infidelity
from mdelib.protocols import Protocol, require_known

__all__ = ["CONTRIBUTIONS", "CONTROLS", "TARGETS", "attribution_scores", "maps_of"]

TARGETS = ("mean_depth", "near_far")
CONTROLS = ("random", "oracle")  # orders of pixels that are no explanation, scored like one
# Maps that should add up to the target's change, and the image that it is counted from.
CONTRIBUTIONS = {"integrated_gradients": "mean", "input_x_gradient": "black"}


def attribution_scores(network: nn.Module, data: DepthData, protocol: str | Protocol, *, size: tuple[int, int],
                       method: str, options: Mapping[str, Any] | None = None, target: str = "mean_depth",
                       fractions: Sequence[float] = FRACTIONS, fills: Sequence[str] = ("mean", "blur", "noise"),
                       cell: int = 16, samples: int = 16, batch: int = 8, device: str | torch.device = "cpu"
                       ) -> tuple[tuple[str, ...], dict[str, Tensor], dict[str, float]]:
    """Score an attribution method for a network on a data set.

    - the depth errors of the protocol, which the method cannot change.
    - ``pearson``, ``spearman``, ``gradient``, ``gradient_spearman``, ``ssim``: `attribution_fidelity` with the
      network's prediction. ``<kind>_position``: the same of the mean map of all *other* images, which knows only where
      things use to be.
    - ``gap_rmse``, ``gap_abs_rel``, ``gap_delta1``: `curve_gap` of most against least relevant first, against the
      unperturbed prediction, with the first of the fills. ``gap_rmse_truth``: against the truth at `size`.
      ``gap_rmse_<fill>``: with the other fills, over every second fraction. ``gap_target``: of the target's own
      change. ``gap_rmse_block``: when whole blocks of `cell` pixels are filled, over every second fraction.
    - ``infidelity``: see `mdelib.fidelity.infidelity`.
    - ``completeness``: `completeness_error` of a method whose map should add up.
    - further, means over images: ``rmse_most_10``, ``rmse_least_10``, ...: the curves' heights at each percentage.

    Args:
        network: in evaluation mode. data: views with depth. protocol: a name of `mdelib.protocols.PROTOCOLS`, or one.
        size: (height, width) of the images that are explained.
        method: of `mdelib.attribution.METHODS` or `CONTROLS`. options: of the method.
        target: ``"mean_depth"``, or ``"near_far"`` by the network's own prediction.
        fractions, fills: of the curves. cell: of the oracle and of blocks. samples: of the infidelity.
        batch: the most images in the network at a time. device: where the network is.

    Returns:
        The views' names; (N,) float64 per measure; and the curves' heights.

    Raises:
        ValueError: an unknown target, or as the method and the measures do.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    require_known("target", target, TARGETS)
    names, per_image = evaluate(network, data, protocol, size=size, batch=batch, device=device)
    options, fewer = dict(options or {}), fractions[1::2] if len(fractions) > 3 else fractions
    maps, depths, rows, heights = [], [], [], {}
    for start in range(0, len(data), batch):
        views = [data[index] for index in range(start, min(start + batch, len(data)))]
        image = torch.stack([resize_image(view.image, size) for view in views]).to(device)
        truth = torch.stack([resize_depth(view.depth, size) for view in views]).to(device)
        known = torch.stack([resize_depth(view.mask.float(), size) for view in views]).to(device) > 0.5
        with torch.no_grad():
            depth = network(image)
        question = targets.mean_depth() if target == "mean_depth" else targets.near_far(depth)
        found = maps_of(network, image, method, question, cell=cell, batch=batch, seed=start, options=options)
        row: dict[str, Tensor] = {}
        for fill in fills:
            first = fill == fills[0]
            most, least = (perturbation_curve(
                network, image, found, order=order, fractions=fractions if first else fewer, fill=fill,
                target=question, truth=truth, mask=known, ties="random", batch=batch) for order in ("most", "least"))
            for score in (*SCORES, "rmse_truth", "target") if first else ("rmse",):
                row[f"gap_{score}" if first else f"gap_{score}_{fill}"] = curve_gap(most, least, score)
            for curve in (most, least):
                for share, height in zip(curve.fractions.tolist(), curve.scores["rmse"].T, strict=True):
                    ending = "" if first else f"_{fill}"
                    heights.setdefault(f"rmse_{curve.order}_{round(100 * share)}{ending}", []).append(height)
        most, least = (perturbation_curve(network, image, found, order=order, fractions=fewer, fill=fills[0],
                                          ties="random", block=cell, batch=batch) for order in ("most", "least"))
        row["gap_rmse_block"] = curve_gap(most, least)
        row["infidelity"] = infidelity(network, image, found, question, fill=fills[0], samples=samples, batch=batch)
        if method in CONTRIBUTIONS:
            row["completeness"] = completeness_error(network, image, found, question, batch=batch,
                                                     baseline=options.get("baseline", CONTRIBUTIONS[method]))
        rows.append(row)
        maps.append(found.cpu())
        depths.append(depth.cpu())
    joined, predicted = torch.cat(maps), torch.cat(depths)
    per_image |= {name: torch.cat([row[name].cpu().double() for row in rows]) for name in rows[0]}
    for kind in KINDS:
        per_image[kind] = attribution_fidelity(joined, predicted, kind=kind)
        if len(joined) > 1:
            per_image[f"{kind}_position"] = attribution_fidelity(position_without(joined), predicted, kind=kind)
    return names, per_image, {name: float(torch.cat(values).mean()) for name, values in heights.items()}


def maps_of(network: nn.Module, image: Tensor, method: str, target: Target, *, cell: int = 16, batch: int = 8,
            seed: int = 0, options: Mapping[str, Any] | None = None) -> Tensor:
    """The maps (B, H, W) of a method, or of a control: noise, or what each cell does to the whole depth map.

    Args:
        as in `attribution_scores`. target: for these images. seed: of the noise.
    """
    if method == "random":
        return torch.rand(len(image), *image.shape[-2:], generator=torch.Generator().manual_seed(seed)).to(image)
    if method == "oracle":
        with torch.no_grad():
            whole = targets.error_to(network(image))
        return -occlusion(network, image, whole, cell=cell, batch=batch)
    return explain(network, image, method, target, **(options or {}))
