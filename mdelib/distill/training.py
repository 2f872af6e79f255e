"""A student in training as one module that `mdelib.train.fit` can train, and how near it comes to its teachers.

Explained in notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mdelib.data.base import DepthData, resize_depth, resize_image
from mdelib.distill.objectives import RESPONSES, below_top, response_loss, tie_kd_loss
from mdelib.evaluation import evaluate, predict
from mdelib.metrics import DepthMetrics
from mdelib.models.densedepth import DenseDepth
from mdelib.protocols import Protocol, require_known

__all__ = ["SIMILARITIES", "StudentTraining", "distillation_scores", "teacher_similarity"]

SIMILARITIES = ("abs_rel", "rmse", "delta1")  # choi2024 Table 2


class StudentTraining(nn.Module):
    """A student with its loss; what it learns from is in the place of the depth that `fit` hands over.

        training = StudentTraining(student, "tie_kd", sigma=0.15)
        fit(training, taught_by(views, maps), training.loss, settings)

    `forward` gives the student's raw output, the logits of its depth probability map or its raw depth, because the
    loss needs logits and not a depth map.

    Args:
        student: with the head ``"dpm"`` for ``"tie_kd"``; any head for a response loss.
        loss: ``"tie_kd"`` or one of `RESPONSES`.
        top: share of the rows, at the top, that do not count. options: of `tie_kd_loss` or of `response_loss`.

    Raises:
        ValueError: an unknown loss, or TIE-KD's for a student that says no probabilities.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """

    def __init__(self, student: DenseDepth, loss: str, *, top: float = 0.0, **options: Any):
        super().__init__()
        require_known("loss", loss, ("tie_kd", *RESPONSES))
        if loss == "tie_kd" and student.head_kind != "dpm":
            raise ValueError(f"this student has the head {student.head_kind!r}, which says no probabilities: build it "
                             "with head='dpm', or choose a response loss")
        self.student, self.kind, self.top, self.options = student, loss, top, options

    def forward(self, image: Tensor) -> Tensor:
        """(B, K, h, w) logits or (B, 1, h, w) raw depth, of images (B, 3, H, W) in [0, 1]."""
        return self.student.predict_raw(image)

    def loss(self, raw: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """A scalar, of what `forward` gives and the depth to learn from with its mask, (B, 1, H, W) each.

        Where the student's output is coarser than the image, they are brought to its size by nearest pixel.
        """
        size = (raw.shape[-2], raw.shape[-1])
        target, mask = resize_depth(target, size), resize_depth(mask.float(), size) > 0.5
        rows = round(self.top * size[0])
        if self.kind == "tie_kd":
            return tie_kd_loss(raw, target, self.student.edges, mask, top_rows=rows, **self.options)
        depth = self.student.to_depth(raw)
        return response_loss(depth, target, mask, kind=self.kind, top_rows=rows, **self.options)


def distillation_scores(student: DenseDepth, data: DepthData, protocol: str | Protocol, *, size: tuple[int, int],
                        teachers: Mapping[str, Callable[[DepthData], Tensor]], top_rows: int = 0, batch: int = 16,
                        device: str | torch.device = "cpu", extra: Callable[..., dict[str, Tensor]] | None = None
                        ) -> tuple[tuple[str, ...], dict[str, Tensor], dict[str, float]]:
    """Score a student against the truth, and against what each teacher says (choi2024 Table 2).

    Args:
        student: in evaluation mode. data: views with depth. protocol: for the errors against the truth.
        size: (height, width) the student sees, and at which it is compared with the teachers.
        teachers: name -> gives the maps (N, 1, *size) of a split.
        top_rows: rows that do not count in the comparison with teachers.
        batch: views at a time. device: where the student is. extra: as in `mdelib.evaluation.evaluate`.

    Returns:
        The views' names; (N,) float64 per measure, with ``<teacher>_abs_rel``, ``_rmse`` and ``_delta1`` beside the
        protocol's; no further numbers.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    names, per_image = evaluate(student, data, protocol, size=size, batch=batch, device=device, extra=extra)
    if teachers:
        images = torch.stack([resize_image(view.image, size) for view in data.stream()])
        depth = predict(student, images, batch=batch, device=device)
    for name, maps in teachers.items():
        found = teacher_similarity(depth, maps(data), top_rows=top_rows, max_depth=data.info.max_depth)
        per_image |= {f"{name}_{measure}": values for measure, values in found.items()}
    return names, per_image, {}


def teacher_similarity(student: Tensor, teacher: Tensor, *, top_rows: int = 0, max_depth: float = 10.0
                       ) -> dict[str, Tensor]:
    """AbsRel, RMSE and δ1 of a student's depth with the teacher's as the truth (choi2024 Table 2).

    All pixels count where the teacher's depth is positive and below `max_depth`, whether there is a truth or not.

    Args:
        student, teacher: (N, 1, H, W) metres. top_rows: rows at the top that do not count. max_depth: metres.

    Returns:
        (N,) float64 per measure of `SIMILARITIES`.

    Raises:
        ValueError: maps of different sizes, or a view in which no pixel of the teacher counts.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    meter = DepthMetrics(max_depth=max_depth)
    values = meter.update(below_top(student, top_rows), below_top(teacher, top_rows)).per_image()
    return {measure: values[measure] for measure in SIMILARITIES}
