"""The self-checks of notebook 01: right answers pass, every usual mistake gets its own hint, a stub is a stub."""

from __future__ import annotations

import pytest
import torch

from mdelib.checks import check


@pytest.mark.parametrize("name", ["median_align", "pooled_rmse"])
def test_reference_passes_and_stub_is_not_attempted(name: str) -> None:
    exercise = getattr(check, name)
    assert exercise(exercise.reference).state == "passed"
    assert exercise(lambda *_: None).state == "not attempted yet"


@pytest.mark.parametrize("name", ["delta1", "median_align", "pooled_rmse"])
def test_every_mistake_fails_with_its_hint(name: str) -> None:
    exercise = getattr(check, name)
    for mistake, hint in exercise.mistakes:
        outcome = exercise(mistake)
        assert outcome.state == "failed"
        assert hint in outcome.message


def test_median_align_agrees_with_the_library() -> None:
    from mdelib.metrics import align_depth

    pred, target = 1 + torch.rand(1, 1, 6, 7), 1 + torch.rand(1, 1, 6, 7)
    mask = torch.rand(1, 1, 6, 7) < 0.7
    ours = check.median_align.reference(pred, target, mask)[mask]
    assert torch.allclose(ours, align_depth(pred[mask], target[mask], "median"), rtol=1e-6)
