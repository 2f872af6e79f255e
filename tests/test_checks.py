"""Self-checks pass right answers, fail wrong ones with a hint, and never raise."""

from __future__ import annotations

import pytest
import torch

from mdelib.exercises import check

EXERCISES = sorted(vars(check))
MISTAKES = [(name, index) for name in EXERCISES for index in range(len(getattr(check, name).mistakes))]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_passes_and_a_stub_is_not_attempted(name):
    exercise = getattr(check, name)
    assert exercise(exercise.reference).state == "passed"
    assert exercise(lambda *_: ...).state == exercise(lambda *_: None).state == "not attempted yet"


@pytest.mark.parametrize(("name", "index"), MISTAKES)
def test_usual_mistakes_fail_with_their_hint(name, index):
    exercise = getattr(check, name)
    mistake, hint = exercise.mistakes[index]
    outcome = exercise(mistake)
    assert outcome.state == "failed" and hint in outcome.message


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("wrong", [lambda *_: 1 / 0, lambda *_: "text", lambda *_: [1, 2, 3], lambda: 0,
                                   lambda *_: float("nan"), 3.5])
def test_anything_else_fails_in_words(name, wrong):
    outcome = getattr(check, name)(wrong)
    assert outcome.state == "failed" and len(outcome.message) > 10
    assert "✗" in outcome._repr_markdown_()


def test_there_are_at_least_three_mistakes_for_the_first_exercise():
    assert len(check.abs_rel.mistakes) >= 3


def test_median_align_agrees_with_the_library() -> None:
    from mdelib.metrics import align_depth

    pred, target = 1 + torch.rand(1, 1, 6, 7), 1 + torch.rand(1, 1, 6, 7)
    mask = torch.rand(1, 1, 6, 7) < 0.7
    ours = check.median_align.reference(pred, target, mask)[mask]
    assert torch.allclose(ours, align_depth(pred[mask], target[mask], "median"), rtol=1e-6)
