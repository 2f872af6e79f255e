"""The divergence between two depth probability maps (Choi et al. 2024, Eq 5), in both directions.

Explained in notebooks/10_depth_probability_maps.ipynb.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mdelib.distill.bins import CUT_OFF
from mdelib.protocols import require_known

__all__ = ["DIRECTIONS", "check_mask", "count_pixels", "dpm_loss"]

DIRECTIONS = ("student_teacher", "teacher_student")


def dpm_loss(student: Tensor, teacher: Tensor, mask: Tensor | None = None, *,
             direction: str = "student_teacher") -> Tensor:
    r"""The Kullback-Leibler divergence of two maps, summed over bins and averaged over pixels.

    - ``"student_teacher"``: :math:`KL(S \| T) = \sum_i S_i \ln (S_i / T_i)`, as Choi et al. 2024 print it (Eq 5). It
      would be infinite where the student has probability and the teacher none, so the teacher's counts as at least
      1e-16, the paper's cut-off.
    - ``"teacher_student"``: :math:`KL(T \| S) = \sum_i T_i \ln (T_i / S_i)`, as their code has it.

    Both maps are held. `fused_dpm_loss` gives the same from the student's logits, and needs neither; its student may
    be surer than a number can say, where here a probability below the smallest positive number counts as that number.

    Args:
        student: (B, K, H, W) probabilities.
        teacher: (B, K, H, W) probabilities; see `depth_probability_map`.
        mask: (B, 1, H, W) bool, or None. Where it is False nothing counts, whatever the maps hold there.
        direction: one of `DIRECTIONS`.

    Returns:
        A scalar in nats, in the larger of the dtypes and at least float32.

    Raises:
        ValueError: maps of different sizes, fewer than two bins, a map whose pixels do not sum to 1 where they count,
            no pixel that counts, an unknown direction.

    Explained in notebooks/10_depth_probability_maps.ipynb.
    """
    require_known("direction", direction, DIRECTIONS)
    if student.shape != teacher.shape or student.ndim != 4:
        raise ValueError(f"student {tuple(student.shape)} and teacher {tuple(teacher.shape)}: two maps (B, K, H, W) "
                         "of one size are needed; resize the teacher's depth before its map is made")
    if student.shape[1] < 2:
        raise ValueError(f"the maps have {student.shape[1]} bin: a distribution over depth needs at least two")
    valid = check_mask(mask, student)
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    student, teacher = (torch.where(valid, _checked(name, part, valid).to(dtype), 0.0)
                        for name, part in (("student", student), ("teacher", teacher)))
    least = torch.finfo(dtype).tiny
    if direction == "student_teacher":
        terms = student * (student.clamp_min(least).log() - teacher.clamp_min(CUT_OFF).log())
    else:
        terms = teacher * (teacher.clamp_min(CUT_OFF).log() - student.clamp_min(least).log())
    return torch.where(valid, terms.sum(1, keepdim=True), 0).sum() / count_pixels(valid)


def check_mask(mask: Tensor | None, maps: Tensor) -> Tensor:
    """Which pixels of maps (B, K, H, W) count, (B, 1, H, W) bool; a ValueError if the mask does not fit them."""
    shape = (maps.shape[0], 1, *maps.shape[2:])
    if mask is None:
        return torch.ones(shape, dtype=torch.bool, device=maps.device)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask has the dtype {mask.dtype}: it must be bool; compare it first, for example mask > 0")
    if mask.shape != shape:
        raise ValueError(f"mask {tuple(mask.shape)} does not fit maps of {tuple(maps.shape)}: {shape} is needed, one "
                         "value for every pixel")
    return mask


def count_pixels(valid: Tensor) -> int:
    """How many pixels count; ValueError if none does."""
    count = int(valid.sum())
    if count == 0:
        raise ValueError(f"no pixel counts in a batch of {len(valid)}: the loss needs one with a True mask and a "
                         "finite, positive teacher depth; leave the batch out, or check the mask")
    return count


def _checked(name: str, maps: Tensor, valid: Tensor) -> Tensor:
    """The maps, or a ValueError if a pixel that counts is no distribution."""
    total = maps.detach().float().sum(1, keepdim=True)
    wrong = valid & ~((total - 1).abs() < 0.02)  # bfloat16 has two to three digits
    if wrong.any():
        raise ValueError(f"the {name}'s map sums to {float(total[wrong][0]):.4g} at {int(wrong.sum())} pixels: "
                         "probabilities that sum to 1 are needed; logits become that by logits.softmax(1), or go to "
                         "fused_dpm_loss as they are")
    return maps
