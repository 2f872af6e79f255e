"""Ground truth that only rendered scenes have: where in the image a cue was, and what it did to the depth map.

A scene is rendered again without its shadows, say. The prediction changes, and nothing but the cue can be the reason.
Ask for exactly this change; an explanation should point at the pixels that carried the cue.
Explained in notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdelib.attribution.batches import check_model
from mdelib.attribution.occlusion import cell_numbers, occlusion
from mdelib.attribution.targets import Target, weighted
from mdelib.fidelity.agreement import correlation
from mdelib.fidelity.perturbation import check_attribution
from mdelib.sparse.measures import overlap

__all__ = ["CueTruth", "cue_scores", "cue_truth"]


@dataclass(frozen=True)
class CueTruth:
    """What a cue did to the depth maps of some images.

    Attributes:
        target: the question: how far the depth map goes along the change that the cue made, `targets.weighted` by it;
            its answer to the image minus its answer to the twin is 1.
        change: (B,) RMSE between the predictions with and without the cue, metres.
        region: (B, 1, H, W) bool, pixels of the image that the cue's removal changed.
        effect: (B, H, W), the answer lost when a cell is taken from the twin, shared by its pixels; 0 without the cue.
        cell: side of the cells.
    """

    target: Target
    change: Tensor
    region: Tensor
    effect: Tensor
    cell: int


@torch.no_grad()
def cue_truth(model: nn.Module, image: Tensor, twin: Tensor, *, region: Tensor | None = None, cell: int = 16,
              batch: int = 8) -> CueTruth:
    r"""Where a cue was and what it did, from images and their twins without it.

    With :math:`\Delta = f(x) - f(x')` the question is :math:`s(d) = \langle \Delta, d \rangle / \|\Delta\|^2`.

    Args:
        model: images (B, 3, H, W) -> depth (B, 1, H, W) in metres, in evaluation mode.
        image, twin: (B, 3, H, W), the same scenes with and without the cue, `mdelib.data.scenes.render_view`.
        region: (B, 1, H, W) bool, where they differ visibly; None takes those that differ by more than 2 of 255.
        cell: side in pixels of the cells whose effect is measured. batch: images in the network at a time.

    Raises:
        ValueError: different shapes, an image without the cue, or a prediction that it does not change.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    check_model(model)
    if image.shape != twin.shape:
        raise ValueError(f"image {tuple(image.shape)} and twin {tuple(twin.shape)} do not fit: render one view twice")
    region = ((image - twin).abs().amax(1, keepdim=True) > 2 / 255) if region is None else region
    missing = (~region.flatten(1).any(1)).nonzero().flatten().tolist()
    if missing:
        raise ValueError(f"image {missing[0]} and its twin are equal: the scene has nothing of this cue; leave it out")
    change = torch.cat([model(a) - model(b) for a, b in zip(image.split(batch), twin.split(batch), strict=True)])
    size = change.square().sum((1, 2, 3), keepdim=True)
    if not (size > 0).all():
        raise ValueError("a prediction does not change with the cue at all: there is nothing to explain; leave it out")
    target = weighted(change / size, "what the cue did")
    effect = occlusion(model, image, target, cell=cell, fill=twin, batch=batch)
    return CueTruth(target, change.square().mean((1, 2, 3)).sqrt(), region, effect, cell)


def cue_scores(attribution: Tensor, truth: CueTruth) -> dict[str, Tensor]:
    """How well maps point at a cue, (B,) float64 each.

    - ``auc``: the probability that the magnitude is larger at a pixel that carried the cue than at one that did not;
      0.5 for a map that does not care.
    - ``lift``: the share of the map's weight at those pixels over their share of the image.
    - ``effect``: Spearman correlation, over cells, of the map's mean magnitude with the magnitude of the true effect.

    Args:
        attribution: (B, H, W), of the target `truth.target`. truth: of the same images.

    Raises:
        ValueError: maps that `perturbation_curve` would refuse.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    check_attribution(attribution, tuple(truth.effect.shape))
    values = attribution.detach().abs().cpu()
    found = overlap((values / values.amax((1, 2), keepdim=True))[:, None], truth.region.cpu())
    cells = cell_numbers(*values.shape[-2:], truth.cell).flatten()
    ours, theirs = (torch.zeros(len(values), int(cells[-1]) + 1, dtype=torch.float64).index_add(
        1, cells, one.flatten(1).double()) / cells.bincount() for one in (values, truth.effect.abs().cpu()))
    ranks = [correlation(a, b, ranks=True) for a, b in zip(ours, theirs, strict=True)]
    return {"auc": found["auc"], "lift": found["lift"], "effect": torch.tensor(ranks, dtype=torch.float64)}
