"""Is the relief the right way round? The correlation of a predicted depth map with the true one.

Errors tell how far a depth map is off, not how: one that is flat and one that has every bump as a dent can have the
same.
Explained in notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mdelib.fidelity import correlation

__all__ = ["is_inside_out", "relief_agreement"]


def relief_agreement(pred: Tensor, target: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Pearson's correlation of predicted and true depth over the pixels of each image.

    Args:
        pred, target: (B, 1, H, W) metres. mask: (B, 1, H, W) bool, pixels that count.

    Returns:
        ``"relief"``: (B,) float64 in [-1, 1]. 1 is the true relief, however stretched or shifted; 0 none of it; below
        0 far is near. NaN where fewer than two pixels count or a map is constant on them.

    Raises:
        ValueError: sizes that do not fit.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    if pred.shape != target.shape or pred.shape != mask.shape or pred.ndim != 4:
        raise ValueError(f"maps of shapes {tuple(pred.shape)}, {tuple(target.shape)} and {tuple(mask.shape)} came: "
                         "expected three of one shape, (B, 1, H, W)")
    pairs = [(p[counts], t[counts]) for p, t, counts in zip(pred, target, mask, strict=True)]
    return {"relief": torch.tensor([correlation(p, t) if len(p) > 1 and p.min() < p.max() and t.min() < t.max()
                                    else float("nan") for p, t in pairs], dtype=torch.float64)}


def is_inside_out(relief: Sequence[float | None]) -> bool:
    """Whether a network has near and far exchanged: the median of its views' correlations is below 0.

    Args:
        relief: as `relief_agreement` gives it, or as results store it; None and NaN are views without a value.
    """
    return bool(np.nanmedian(np.asarray(relief, float)) < 0)
