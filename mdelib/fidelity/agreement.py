"""Attribution Fidelity (cirillo2025): how well an attribution agrees with the predicted depth map, as a named family.

The formula is not in what could be obtained of the paper: its abstract says "consistency with the predicted depth
map", a summary "Pearson correlation" of both maps after normalisation. So several readings stand side by side.
Explained in notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor

from mdelib.fidelity.perturbation import check_attribution
from mdelib.gradients import central_difference
from mdelib.protocols import require_known
from mdelib.similarity import ssim

__all__ = ["KINDS", "attribution_fidelity", "correlation", "map_agreement"]

KINDS = ("pearson", "spearman", "gradient", "gradient_spearman", "ssim")


def attribution_fidelity(attribution: Tensor, depth: Tensor, *, kind: str = "pearson",
                         mask: Tensor | None = None) -> Tensor:
    r"""Agreement of attributions with depth maps, for each image.

    - ``"pearson"``: the linear correlation of both over pixels. Normalising either map changes nothing, so this is
      the paper's metric as summarised.
    - ``"spearman"``: the correlation of ranks, which no monotonous change of either map moves.
    - ``"gradient"``, ``"gradient_spearman"``: the same with :math:`|\nabla d|` in the place of the depth, on the
      pixels that have four neighbours: does the map lie where depth changes?
    - ``"ssim"``: structural similarity of both maps after each was stretched to [0, 1].

    None of them looks at the network: a copy of the depth map scores 1. They are no measure of faithfulness.

    Args:
        attribution: (B, H, W). depth: (B, 1, H, W), metres, the network's prediction.
        kind: one of `KINDS`.
        mask: (B, 1, H, W) bool, pixels that count; None for all. Not with ``"ssim"``.

    Returns:
        (B,) float64 in [-1, 1]; positive where far pixels (steep ones, for gradients) have the larger values.

    Raises:
        ValueError: an unknown kind, maps of different sizes, an attribution or a depth that is constant or not finite.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    require_known("kind of attribution fidelity", kind, KINDS)
    if depth.ndim != 4 or depth.shape[1] != 1:
        raise ValueError(f"depth of shape {tuple(depth.shape)} came: expected (B, 1, H, W)")
    check_attribution(attribution, (len(depth), *depth.shape[-2:]))
    a, d = attribution.detach()[:, None].cpu().double(), depth.detach().cpu().double()
    if kind == "ssim":
        if mask is not None:
            raise ValueError("kind 'ssim' has no mask: leave it out, or choose a correlation")
        return ssim(_stretched(a), _stretched(d), reduction="image")
    known = torch.ones_like(d, dtype=torch.bool) if mask is None else mask.cpu()
    if kind.startswith("gradient"):
        dx, dy = central_difference(d)
        d, a = torch.hypot(dx, dy), a[..., 1:-1, 1:-1]
        known = (known[..., 1:-1, 1:-1] & known[..., 2:, 1:-1] & known[..., :-2, 1:-1] & known[..., 1:-1, 2:]
                 & known[..., 1:-1, :-2])
    rows = []
    for index, (x, y, where) in enumerate(zip(a, d, known, strict=True)):
        x, y = x[where], y[where]
        if len(y) < 2 or not torch.isfinite(y).all() or y.min() == y.max() or x.min() == x.max():
            raise ValueError(f"image {index} has {len(y)} pixels that count, on which one of the maps is constant "
                             "or not finite: there is nothing to agree with; leave it out, or check the mask")
        rows.append(correlation(x, y, ranks=kind.endswith("spearman")))
    return torch.tensor(rows, dtype=torch.float64)


def correlation(x: Tensor, y: Tensor, *, ranks: bool = False) -> float:
    """Pearson's correlation of two lists of numbers, or Spearman's with `ranks` (ties share their mean rank)."""
    if ranks:
        x, y = (torch.from_numpy(rankdata(one.numpy())) for one in (x, y))
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    return float((x * y).sum() / (x.square().sum() * y.square().sum()).sqrt())


def map_agreement(one: Tensor, other: Tensor) -> Tensor:
    """Spearman's correlation of the magnitudes of two maps of the same images.

    Args:
        one, other: (B, H, W), any units.

    Returns:
        (B,) float64 in [-1, 1]; NaN where a map is constant.

    Raises:
        ValueError: maps of different sizes or with values that are not finite.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    if one.shape != other.shape or not (torch.isfinite(one).all() and torch.isfinite(other).all()):
        raise ValueError(f"maps of shapes {tuple(one.shape)} and {tuple(other.shape)} came: expected two of one "
                         "shape, (B, H, W), finite everywhere")
    pairs = zip(one.detach().abs().flatten(1).cpu(), other.detach().abs().flatten(1).cpu(), strict=True)
    return torch.tensor([correlation(a, b, ranks=True) if a.min() < a.max() and b.min() < b.max() else float("nan")
                         for a, b in pairs], dtype=torch.float64)


def _stretched(maps: Tensor) -> Tensor:
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    if not (high > low).all() or not torch.isfinite(maps).all():
        raise ValueError("a depth map is constant or not finite: there is nothing to agree with")
    return (maps - low) / (high - low)
