"""Where a mask lies, and what other networks see through it (yao2023 Eq 7-8).

Explained in notebooks/05_sparse_pixels.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from mdelib.metrics import per_image_metrics
from mdelib.protocols import require_known
from mdelib.sparse.masks import check_mask
from mdelib.sparse.network import masked_image

__all__ = ["cross_mask_error", "overlap"]


def overlap(mask: Tensor, region: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
    """How much of a mask lies in a region, for every image.

    - ``area``: |R| / n, the region's share of the pixels.
    - ``weight``: Σ_R M / Σ M, the share of the mask's weight that lies in it.
    - ``lift``: weight / area. 1: the mask does not care for the region; at most 1 / area, and for a binary mask at
      most 1 / its sparseness, so compare it at matched sparseness only.
    - ``auc``: the probability that M is larger at a pixel of R than at one outside, ties counting half; 0.5 for a
      mask that does not care. Needs no threshold and does not change with a monotonous change of M.

    Args:
        mask: (B, 1, H, W), shares or bool. region: (B, 1, H, W) bool, for example `mdelib.edges.edge_regions`.
        valid: (B, 1, H, W) bool, the pixels that count; None for all.

    Returns:
        (B,) float64 each; NaN where an image has no such region, no mask or nothing outside.

    Raises:
        ValueError: shapes that differ, a region that is not bool, or a mask outside [0, 1].

    Explained in notebooks/05_sparse_pixels.ipynb.
    """
    check_mask(mask)
    valid = torch.ones_like(region, dtype=torch.bool) if valid is None else valid
    if not mask.shape == region.shape == valid.shape or region.dtype != torch.bool or valid.dtype != torch.bool:
        raise ValueError(f"mask {tuple(mask.shape)}, region {tuple(region.shape)} of {region.dtype} and valid "
                         f"{tuple(valid.shape)} of {valid.dtype} do not fit: same shapes, region and valid bool")
    values = mask.detach().cpu().double()
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("the mask has values outside [0, 1]: give shares, or bool")
    rows = [_overlap(m[v], r[v]) for m, r, v in zip(values, region.cpu(), valid.cpu(), strict=True)]
    return {key: torch.tensor([row[i] for row in rows], dtype=torch.float64)
            for i, key in enumerate(("area", "weight", "lift", "auc"))}


def cross_mask_error(networks: Mapping[str, nn.Module], masks: Mapping[str, Tensor | None], image: Tensor,
                     depth: Tensor, valid: Tensor | None = None, *, metric: str = "rmse", batch: int = 16,
                     **options: object) -> dict[str, dict[str, Tensor]]:
    """The error of every network on what every mask leaves of the images, yao2023 Eq 7-8.

    ``result["cnn"]["transformer"]`` is the error of N_c(I * mask_t) against the true depth. For Eq 7-8 the masks are
    binary; make them equally sparse with `keep_fraction`, or a mask that keeps more is "better" for both networks.

    Args:
        networks: by name, in evaluation mode; each fills masked pixels with its own mean colour.
        masks: by name, (B, 1, H, W) shares or bool; None for the whole image.
        image: (B, 3, H, W), RGB in [0, 1]. depth: (B, 1, H, W), metres. valid: (B, 1, H, W) bool, or None.
        metric: one of `mdelib.metrics.METRICS`. batch: images at a time.
        options: min_depth, max_depth, crop, ... as in `mdelib.metrics.depth_metrics`.

    Returns:
        network -> mask -> (B,) float64, paired by image; `mdelib.metrics.pool_images` pools them.

    Raises:
        ValueError: a network in training mode, an unknown metric, or shapes that do not fit.

    Explained in notebooks/05_sparse_pixels.ipynb.
    """
    training = [name for name, network in networks.items() if network.training]
    if training:
        raise ValueError(f"{', '.join(training)} in training mode: call .eval() first, so that networks stay fixed")
    table: dict[str, dict[str, Tensor]] = {name: {} for name in networks}
    for name, network in networks.items():
        for which, mask in masks.items():
            seen = image if mask is None else masked_image(image, mask, network)
            with torch.no_grad():
                pred = torch.cat([network(part) for part in seen.split(batch)])
            errors = per_image_metrics(pred, depth, valid, **options)
            require_known("metric", metric, errors)
            table[name][which] = errors[metric]
    return table


def _overlap(values: Tensor, region: Tensor) -> tuple[float, float, float, float]:
    """Area, weight, lift and AUC of one image's pixels (n,)."""
    inside, outside = values[region], values[~region].sort().values
    area = len(inside) / len(values) if len(values) else math.nan
    total = float(values.sum())
    weight = float(inside.sum()) / total if total > 0 and len(inside) else math.nan
    if not (len(inside) and len(outside)):
        return area, weight, weight / area if area else math.nan, math.nan
    below, up_to = (torch.searchsorted(outside, inside, right=right) for right in (False, True))
    return area, weight, weight / area, float((below + up_to).double().mean()) / (2 * len(outside))
