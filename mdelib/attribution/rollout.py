"""Attention rollout (Abnar and Zuidema 2020) for dense networks: exact, and never with a dense matrix of the image.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.attribution.attention import attention_layers, recorded_attention
from mdelib.attribution.batches import in_parts
from mdelib.attribution.grad_cam import inner_size
from mdelib.attribution.targets import Target
from mdelib.attribution.tokens import Grid, TokenAttention, spread_to_children
from mdelib.layers import resize

__all__ = ["WITHOUT_ATTENTION", "attention_rollout", "roll_back", "stages_of"]

WITHOUT_ATTENTION = ("saliency", "input_x_gradient", "smoothgrad", "integrated_gradients", "grad_cam", "occlusion")


def attention_rollout(model: nn.Module, image: Tensor, target: Target | None = None, *, stage: int | None = None,
                      batch: int = 8) -> Tensor:
    r"""Which parts of the image reach the last tokens through attention, :math:`r^T \hat A_L \cdots \hat A_1` with
    :math:`\hat A_l = \frac12 (I + \mathrm{mean}_h A_l^h)`. One of the three methods of cirillo2025.

    It is computed from the right, as r <- (r + Aᵀ r) / 2, so that no product of matrices is ever formed. r begins at
    the tokens under the target's pixels (`Target.support`; all alike for the mean depth), which is our choice: rollout
    itself knows no target. Where the grid of tokens changes (patch merging, strided convolutions), every token shares
    its relevance equally among those it was made of. The decoder is left out: between the last tokens and the
    depth map, place stays place. Class and register tokens begin with 0 and are dropped at the end.

    Args:
        model, image, target, batch: as in `mdelib.attribution.saliency`.
        stage: only the layers of one stage (of one grid), counted from 0 at the finest, -1 the last; None chains all.

    Returns:
        (B, H, W), not negative; every map sums to 1. Coarse maps are enlarged bilinearly.

    Raises:
        ValueError: a network without attention that is known, a stage it does not have, or as in `saliency`.

    Explained in notebooks/13_attribution.ipynb.
    """
    if not attention_layers(model):
        raise ValueError(f"{type(model).__name__} has no attention among the tokens of an image, and so no attention "
                         f"rollout: methods that apply are {', '.join(WITHOUT_ATTENTION)}")

    @torch.no_grad()
    def explain(part: Tensor, question: Target) -> Tensor:
        inside = inner_size(model, part)
        with recorded_attention(model, inside) as layers:
            depth = model(part)
        if any(len(one.weights) != len(part) for _, one in layers):
            raise ValueError("the network's attention is among windows of an unknown layout, which cannot be placed "
                             f"in the image: methods that apply are {', '.join(WITHOUT_ATTENTION)}")
        stages = stages_of([one for _, one in layers])
        if stage is not None and not -len(stages) <= stage < len(stages):
            raise ValueError(f"stage {stage} is not there: the network has {len(stages)} stages of attention, 0 to "
                             f"{len(stages) - 1}")
        chosen = stages if stage is None else [stages[stage]]
        support = question.support(depth.float())
        if getattr(model, "size", None) is None:  # the padding at the bottom and right asks nothing
            support = F.pad(support, (0, inside[1] - support.shape[-1], 0, inside[0] - support.shape[-2]))
        begin = F.adaptive_avg_pool2d(support, chosen[-1][-1].grid).flatten(1)
        relevance = roll_back(chosen, begin / begin.sum(1, keepdim=True))
        grid = chosen[0][0].grid
        shown = resize(relevance.unflatten(1, (1, *grid)), inside)
        if getattr(model, "size", None) is None:
            shown = shown[..., :part.shape[-2], :part.shape[-1]]
        shown = resize(shown, tuple(part.shape[-2:]))[:, 0]
        return shown / shown.sum((1, 2), keepdim=True)

    return in_parts(explain, model, image, target, batch)


def stages_of(layers: Sequence[TokenAttention]) -> list[list[TokenAttention]]:
    """The layers of one forward pass, in order, parted where the grid of tokens changes."""
    return [list(group) for _, group in groupby(layers, key=lambda one: (one.grid, one.prefix))]


def roll_back(stages: Sequence[Sequence[TokenAttention]], begin: Tensor) -> Tensor:
    """Relevance of the first stage's tokens from that of the last one's.

    Args:
        stages: as of `stages_of`, finest first. begin: (B, h w) on the last grid, not negative, summing to 1.

    Returns:
        (B, h' w') on the first grid, likewise.

    Explained in notebooks/13_attribution.ipynb.
    """
    relevance, grid = begin, None
    for layers in reversed(stages):
        one: TokenAttention = layers[0]
        relevance = relevance if grid is None else _to_finer(relevance, grid, one.grid)
        relevance = F.pad(relevance, (one.prefix, 0))
        for layer in reversed(layers):
            relevance = layer.step(relevance)
        relevance, grid = relevance[:, one.prefix:], one.grid
        relevance = relevance / relevance.sum(1, keepdim=True)
    return relevance


def _to_finer(relevance: Tensor, coarse: Grid, fine: Grid) -> Tensor:
    if any(small < large for small, large in zip(fine, coarse, strict=True)):
        raise ValueError(f"tokens go from a grid of {fine[0]}x{fine[1]} up to {coarse[0]}x{coarse[1]}: rollout "
                         "follows encoders, which coarsen; roll out one stage at a time, with stage=...")
    return spread_to_children(relevance, coarse, fine)
