"""What a student is trained with: TIE-KD's loss, and the five losses on responses that the paper compares it with.

All of them take a teacher's depth map; none asks for anything else of the teacher. Explained in
notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdelib.distill.fused import fused_dpm_loss
from mdelib.distill.probability import expected_depth
from mdelib.losses import mse, si_loss, ssim_loss
from mdelib.protocols import require_known

__all__ = ["CODED_SIGMA", "RESPONSES", "below_top", "response_loss", "tie_kd_loss"]

RESPONSES = ("ssim", "mse", "si", "ssim_si", "ssim_mse")  # choi2024 Table 1, "Res-KD"
CODED_SIGMA = 0.5  # metres: what the authors' code uses in the combined loss, whatever σ it is given


def tie_kd_loss(logits: Tensor, teacher: Tensor, edges: Tensor, mask: Tensor | None = None, *, sigma: float = 0.8,
                alpha: float = 0.1, beta: float = 10.0, mass: str = "integral", normalize: str = "softmax",
                direction: str = "teacher_student", forward_sigma: bool = True, top_rows: int = 0) -> Tensor:
    r"""TIE-KD's loss, :math:`\beta\,(\alpha L_{DPM} + (1 - \alpha) L_{depth})` (Choi et al. 2024, Eq 4-6).

    L_DPM is `fused_dpm_loss`; :math:`L_{depth} = 1 - SSIM` of the teacher's depth and the mean of the student's
    distribution, with SSIM as the authors code it (`mdelib.similarity.ssim`, variant "tiekd").

    Args:
        logits: (B, K, H, W) of the student, before softmax.
        teacher: (B, 1, H, W) metres. A pixel where it is zero, negative, infinite or NaN is a hole, which does not
            count; a depth outside the bins counts as the nearest edge in L_DPM.
        edges: (K+1,) metres, those that the student was built for.
        mask: (B, 1, H, W) bool, or None.
        sigma: of the teacher's map, metres. Section 4.2 has 0.8.
        alpha: share of L_DPM, 0 to 1. beta: factor of all.
        mass, normalize, direction: as in `fused_dpm_loss`. The paper prints "student_teacher" (Eq 5), its code has
            "teacher_student".
        forward_sigma: False is the authors' code, which forgets `sigma` in this loss and takes `CODED_SIGMA`.
        top_rows: rows at the top that do not count, sliced off before anything else (the paper: 110 of 352).

    Returns:
        A scalar.

    Raises:
        ValueError: alpha outside [0, 1], beta not positive, no row left, sizes that do not fit, no pixel that counts,
            and as `fused_dpm_loss` does (σ not positive, fewer than two bins).

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    if not (0 <= alpha <= 1 and beta > 0):
        raise ValueError(f"alpha={alpha} and beta={beta}: a share between 0 and 1 and a positive factor are needed")
    _same_size("logits", logits, teacher)
    logits, teacher, mask = (below_top(part, top_rows) for part in (logits, teacher, mask))
    value = logits.new_zeros((), dtype=torch.promote_types(logits.dtype, torch.float32))
    if alpha > 0:
        sigma = sigma if forward_sigma else CODED_SIGMA
        value = alpha * fused_dpm_loss(logits, teacher, edges, sigma, mask, mass=mass, normalize=normalize,
                                       direction=direction)
    if alpha < 1:
        depth = expected_depth(logits.softmax(1), edges)
        value = value + (1 - alpha) * ssim_loss(depth, teacher, mask, variant="tiekd")
    return beta * value


def response_loss(pred: Tensor, teacher: Tensor, mask: Tensor | None = None, *, kind: str = "ssim_si",
                  ssim_weight: float = 1.5, top_rows: int = 0) -> Tensor:
    """One of the losses between two depth maps that the paper calls Res-KD (Choi et al. 2024, Table 1).

    ``"ssim"`` is the weighted 1 - SSIM, ``"mse"`` the mean squared error, ``"si"`` the authors' scale-invariant loss
    (`mdelib.losses.si_loss`), and the other two are sums of them.

    Args:
        pred, teacher: (B, 1, H, W) metres; holes in the teacher as in `tie_kd_loss`.
        mask: (B, 1, H, W) bool, or None.
        kind: one of `RESPONSES`.
        ssim_weight: of 1 - SSIM; 1.5 in the authors' code.
        top_rows: rows at the top that do not count. The paper speaks of its whole distillation; its code crops in
            `tie_kd_loss` alone.

    Raises:
        ValueError: an unknown kind, no row left, sizes that do not fit, no pixel that counts.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    require_known("kind", kind, RESPONSES)
    _same_size("prediction", pred, teacher)
    pred, teacher, mask = (below_top(part, top_rows) for part in (pred, teacher, mask))
    value = pred.new_zeros(())
    if "ssim" in kind:
        value = value + ssim_weight * ssim_loss(pred, teacher, mask, variant="tiekd")
    if kind in ("mse", "ssim_mse"):
        value = value + mse(pred, teacher, mask)
    if kind in ("si", "ssim_si"):
        value = value + si_loss(pred, teacher, mask)
    return value


def below_top(part: Tensor | None, rows: int) -> Tensor | None:
    """A map (B, C, H, W) without its first rows; None stays None.

    An explicit slice. The authors ask torchvision for a crop that reaches beyond the image, which its older versions
    cut and its newer ones fill with zeros.

    Raises:
        ValueError: no row would be left.
    """
    if part is None or rows == 0:
        return part
    if not 0 < rows < part.shape[-2]:
        raise ValueError(f"top_rows is {rows} and the map has {part.shape[-2]} rows: 0 to {part.shape[-2] - 1} can be "
                         "left out")
    return part[..., rows:, :]


def _same_size(name: str, student: Tensor, teacher: Tensor) -> None:
    if student.ndim != 4 or teacher.ndim != 4 or student.shape[-2:] != teacher.shape[-2:]:
        raise ValueError(f"the student's {name} {tuple(student.shape)} and the teacher's depth "
                         f"{tuple(teacher.shape)} are of different sizes: bring the teacher's map to the student's "
                         "size first, for example with mdelib.evaluation.resize_prediction")
