"""One number from a pair of curves: how much sooner the most relevant pixels hurt than the least relevant ones.

Explained in notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdelib.fidelity.perturbation import PerturbationCurve
from mdelib.metrics import HIGHER_IS_BETTER
from mdelib.protocols import require_known
from mdelib.verdicts import paired_interval

__all__ = ["curve_area", "curve_gap", "gap_interval"]


def curve_area(curve: PerturbationCurve, score: str = "rmse") -> Tensor:
    """The mean height of a curve over its fractions, by the trapezoidal rule, (B,) float64.

    Raises:
        ValueError: a score the curve does not have, or a single fraction.
    """
    require_known("score", score, curve.scores)
    if len(curve.fractions) < 2:
        raise ValueError("a curve of a single fraction has no area: measure two or more")
    width = curve.fractions[-1] - curve.fractions[0]
    return torch.trapezoid(curve.scores[score], curve.fractions, dim=1) / width


def curve_gap(most: PerturbationCurve, least: PerturbationCurve, score: str = "rmse") -> Tensor:
    """The area between two curves, (B,): positive where the first order hurts more than the second.

    For δ1, which falls where errors rise, the sign is turned.

    Raises:
        ValueError: curves over different fractions or fills, or a score they do not have.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    if most.fill != least.fill or most.fractions.tolist() != least.fractions.tolist():
        raise ValueError(f"curves of the fills {most.fill!r} and {least.fill!r}, over {len(most.fractions)} and "
                         f"{len(least.fractions)} fractions, do not fit: measure both alike")
    gap = curve_area(most, score) - curve_area(least, score)
    return -gap if score.removesuffix("_truth") in HIGHER_IS_BETTER else gap


def gap_interval(gap: Tensor, other: Tensor | None = None, *,
                 level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """The mean of a gap over images, or of its difference to another one, with its bootstrap interval.

    Args:
        gap: (B,) of `curve_gap`. other: (B,) of the same images, for example of another method; None is 0.

    Raises:
        ValueError: different images, or none with a finite gap.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    other = torch.zeros_like(gap) if other is None else other
    return paired_interval(gap.cpu().numpy(), other.cpu().numpy(), level=level)
