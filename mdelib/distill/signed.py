"""TIE-KD's loss with a covariance that has its sign: a dent is not a bump.

The authors' SSIM takes the absolute value of the covariance, so a student that sees a room inside out has the same
L_depth as one that sees it right. This is the same loss without that absolute value, and nothing else changed.
Explained in notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from mdelib.data.base import resize_depth
from mdelib.distill.objectives import below_top, tie_kd_loss
from mdelib.distill.probability import expected_depth
from mdelib.distill.training import StudentTraining
from mdelib.models.densedepth import DenseDepth
from mdelib.similarity import ssim

__all__ = ["SignedTraining", "signed_ssim_loss"]

REACH = 5  # pixels: half of SSIM's window, which the authors' code pads with zeros


def signed_ssim_loss(pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """1 - SSIM as TIE-KD codes it (zeros around the image, every pixel counts), but with the covariance's sign.

    Equal to ``ssim_loss(..., variant="tiekd")`` wherever prediction and target rise and fall together in every window.

    Args:
        pred, target: (B, 1, H, W) metres. mask: (B, 1, H, W) bool, pixels that count, or None. Where the target is not
            finite and positive, it does not count either.

    Returns:
        A scalar in [0, 2].

    Raises:
        ValueError: sizes that do not fit, or no pixel that counts.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    if pred.shape != target.shape or pred.ndim != 4:
        raise ValueError(f"depths of shapes {tuple(pred.shape)} and {tuple(target.shape)} came: expected two of one "
                         "shape, (B, 1, H, W)")
    valid = target.isfinite() & (target > 0)
    valid = valid if mask is None else valid & mask
    around = (REACH,) * 4
    pred, target = (F.pad(depth.where(valid, 0), around) for depth in (pred, target))
    return 1 - ssim(pred, target, F.pad(valid, around, value=True))


class SignedTraining(StudentTraining):
    """`StudentTraining` with TIE-KD's loss, whose L_depth is `signed_ssim_loss`.

    Args:
        student: with the head ``"dpm"``. top: share of the rows, at the top, that do not count.
        options: of `mdelib.distill.objectives.tie_kd_loss`.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """

    def __init__(self, student: DenseDepth, *, top: float = 0.0, **options: Any):
        super().__init__(student, "tie_kd", top=top, **options)

    def loss(self, raw: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """A scalar, of logits (B, K, h, w) and the depth to learn from with its mask, (B, 1, H, W) each."""
        size = (raw.shape[-2], raw.shape[-1])
        target, mask = resize_depth(target, size), resize_depth(mask.float(), size) > 0.5
        rows = round(self.top * size[0])
        share, factor = self.options.get("alpha", 0.1), self.options.get("beta", 10.0)
        value = raw.new_zeros(())
        if share > 0:
            only = {**self.options, "alpha": 1.0, "beta": 1.0}
            value = share * tie_kd_loss(raw, target, self.student.edges, mask, top_rows=rows, **only)
        if share < 1:
            depth = expected_depth(raw.softmax(1), self.student.edges)
            kept = (below_top(part, rows) for part in (depth, target, mask))
            value = value + (1 - share) * signed_ssim_loss(*kept)
        return factor * value
