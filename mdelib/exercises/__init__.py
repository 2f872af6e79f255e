"""The exercises of the notebooks: ``check.abs_rel(my_abs_rel)`` answers in words (see `mdelib.checks`).

Each has the right answer, inputs to try it on, and the usual mistakes with a hint for each; a module holds those of
one subject. Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

from types import SimpleNamespace

from mdelib.exercises import (
    attribution,
    audit,
    distill,
    distillation,
    fusion,
    hessian,
    metrics,
    networks,
    refinement,
    selectivity,
    sparse,
    transport,
)

__all__ = ["check"]

check = SimpleNamespace(**metrics.EXERCISES, **networks.EXERCISES, **selectivity.EXERCISES, **refinement.EXERCISES,
                        **sparse.EXERCISES, **transport.EXERCISES, **distill.EXERCISES, **fusion.EXERCISES,
                         **hessian.EXERCISES, **audit.EXERCISES, **distillation.EXERCISES,
                         **attribution.EXERCISES)
