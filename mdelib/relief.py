"""Is the relief the right way round? The correlation of a predicted depth map with the true one.

Errors tell how far a depth map is off, not how: one that is flat and one that has every bump as a dent can have the
same.
Explained in notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["relief_agreement"]


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
    count = mask.flatten(1).sum(1)
    p, t = (depth.double().where(mask, 0).flatten(1) for depth in (pred, target))
    p, t = ((depth - (depth.sum(1) / count)[:, None]).where(mask.flatten(1), 0) for depth in (p, t))
    spread = (p.square().sum(1) * t.square().sum(1)).sqrt()
    tiny = 1e-12 * count  # metres²: a constant map has no more than rounding
    return {"relief": torch.where(spread > tiny, (p * t).sum(1) / spread.clamp_min(1e-300), torch.nan)}
