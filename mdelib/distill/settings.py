"""What an experiment file says about a distillation: who teaches, and with which loss a student learns.

Explained in notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = ["Distillation", "Teacher"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Teacher(Strict):
    """A network that others learn from: the trained network of a run, or one that comes with weights.

    Attributes:
        run: ``"<experiment>/<variant>"``, on the same data and at the same scale. seed: that run's.
        network, weights: of `mdelib.models.create_model`, in the place of `run`.
        size: (height, width) of the images it sees; None is the run's own size, or the student's.
    """

    run: str | None = Field(None, pattern="^[^/]+/[^/]+$")
    seed: int = Field(0, ge=0)
    network: str | None = None
    weights: str | None = None
    size: tuple[int, int] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Teacher:
        if (self.run is None) == (self.network is None) or (self.network is None) != (self.weights is None):
            raise ValueError("a teacher is either the network of a 'run', or a 'network' with 'weights': give one of "
                             "the two")
        return self


class Distillation(Strict):
    """What a student learns from, and with which loss (choi2024).

    Attributes:
        teacher: a name of `teachers`, or ``"truth"``.
        loss: ``"tie_kd"``, ``"tie_kd_signed"`` (`mdelib.distill.signed`), or a response loss of
            `mdelib.distill.objectives`.
        alpha, beta, sigma, mass, normalize, direction, forward_sigma: of `mdelib.distill.objectives.tie_kd_loss`.
        ssim_weight: of the response losses.
        top: share of the image's rows, at the top, that do not count in the loss and in the comparison with teachers;
            110 of 352 rows in the paper.
        crop: ``"all"`` losses leave them out, or TIE-KD's alone, as in the authors' code (``"tie_kd"``).
        teachers: name -> teacher. compare: those to which the student's depth is compared; None for all.
    """

    teacher: str = "truth"
    loss: Literal["tie_kd", "tie_kd_signed", "ssim", "mse", "si", "ssim_si", "ssim_mse"] = "tie_kd"
    alpha: float = Field(0.1, ge=0, le=1)
    beta: float = Field(10.0, gt=0)
    sigma: float = Field(0.8, gt=0, allow_inf_nan=False)
    mass: Literal["integral", "density"] = "integral"
    normalize: Literal["softmax", "linear"] = "softmax"
    direction: Literal["student_teacher", "teacher_student"] = "teacher_student"
    forward_sigma: bool = True
    ssim_weight: float = Field(1.5, ge=0)
    top: float = Field(0.0, ge=0, lt=1)
    crop: Literal["all", "tie_kd"] = "all"
    teachers: dict[str, Teacher] = {}
    compare: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _teachers_are_there(self) -> Distillation:
        for name in (self.teacher, *(self.compare or ())):
            if name not in self.teachers and (name != "truth" or name in (self.compare or ())):
                raise ValueError(f"the setting 'distillation' asks for the teacher {name!r}, but its teachers are "
                                 f"{', '.join(self.teachers) or 'none'}: add it")
        return self

    @property
    def compared(self) -> tuple[str, ...]:
        """The teachers to which the student's depth is compared."""
        return tuple(self.teachers) if self.compare is None else self.compare

    @property
    def asked(self) -> tuple[str, ...]:
        """The teachers whose maps are needed, each once."""
        return tuple(dict.fromkeys([*([self.teacher] if self.teacher != "truth" else []), *self.compared]))

    @property
    def says_maps(self) -> bool:
        """Whether the loss needs a student that says probabilities."""
        return self.loss.startswith("tie_kd")

    def top_rows(self, height: int) -> int:
        """Rows that do not count in an image of `height` rows."""
        return round(self.top * height)

    @property
    def options(self) -> dict[str, Any]:
        """What `mdelib.distill.training.StudentTraining` is called with, beside the student and the loss."""
        names = ("alpha", "beta", "sigma", "mass", "normalize", "direction", "forward_sigma")
        own = {name: getattr(self, name) for name in names} if self.says_maps else {
            "ssim_weight": self.ssim_weight}
        return {**own, "top": self.top if self.crop == "all" or self.says_maps else 0.0}
