"""Self-checks for exercises: they take what the learner wrote, try it on fresh inputs, and answer in words.

A check says "not attempted yet" for a stub, "passed" for a right answer, and for a wrong one what was expected, what
came, and a hint if the mistake is a usual one. It never stops a notebook. The exercises are in `mdelib.exercises`.
Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Exercise", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """What a self-check found: ``"passed"``, ``"failed"`` or ``"not attempted yet"``, and why, in words."""

    state: str
    message: str = ""

    def _repr_markdown_(self) -> str:
        mark = {"passed": "✓", "failed": "✗"}.get(self.state, "○")
        return f"{mark} **{self.state}**" + (f": {self.message}" if self.message else "")

    def __repr__(self) -> str:
        return self.state + (f": {self.message}" if self.message else "")


@dataclass(frozen=True)
class Exercise:
    """One exercise: the right answer, inputs to try it on, and the usual mistakes.

    Attributes:
        reference: the right function.
        cases: gives argument tuples with a word on each, from a generator; ordinary ones first, then edge cases.
        mistakes: typical wrong functions with a hint for each.
        tolerance: relative difference that still counts as equal.
    """

    reference: Callable[..., Any]
    cases: Callable[[torch.Generator], Iterator[tuple[str, tuple[Any, ...]]]]
    mistakes: tuple[tuple[Callable[..., Any], str], ...] = ()
    tolerance: float = 1e-4
    seed: int = field(default=0)

    def __call__(self, attempt: Callable[..., Any]) -> Outcome:
        if not callable(attempt):
            return Outcome("failed", f"a function was expected, a {type(attempt).__name__} came: pass the function "
                                     "itself, without calling it")
        cases = list(self.cases(torch.Generator().manual_seed(self.seed)))
        for what, arguments in cases:
            wanted = self.reference(*_fresh(arguments))
            try:
                came = attempt(*_fresh(arguments))
            except Exception as error:  # whatever a learner's function raises is told, not raised
                return Outcome("failed", f"on {what} it raised {type(error).__name__}: {error}")
            if came is None or came is Ellipsis:
                return Outcome("not attempted yet")
            problem = _difference(came, wanted, self.tolerance)
            if problem:
                return Outcome("failed", f"on {what}, {problem}. {self._hint(attempt, cases)}".strip())
        return Outcome("passed", f"{len(cases)} inputs agree with the library")

    def _hint(self, attempt: Callable[..., Any], cases: list[tuple[str, tuple[Any, ...]]]) -> str:
        for mistake, hint in self.mistakes:
            try:
                if all(not _difference(attempt(*_fresh(a)), mistake(*_fresh(a)), self.tolerance) for _, a in cases):
                    return f"Hint: {hint}"
            except Exception:  # a mistake that raises here is simply not the one that was made
                continue
        return ""


def _fresh(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(value.clone() if isinstance(value, Tensor) else value for value in arguments)


def _difference(came: Any, wanted: Any, tolerance: float) -> str:
    """What differs, in words; empty when nothing does."""
    if isinstance(wanted, str):
        return "" if came == wanted else f"{wanted!r} was expected, {came!r} came"
    try:
        one, two = (torch.as_tensor(value, dtype=torch.float64) for value in (came, wanted))
    except (TypeError, ValueError, RuntimeError):
        return f"a number or a tensor was expected, a {type(came).__name__} came"
    if one.shape != two.shape and one.numel() != two.numel():
        return f"the shape {tuple(two.shape)} was expected, {tuple(one.shape)} came"
    one = one.reshape(two.shape)
    close = torch.isclose(one, two, rtol=tolerance, atol=1e-8, equal_nan=True)
    if close.all():
        return ""
    where = (~close).flatten().nonzero()[0].item()
    return f"{two.flatten()[where].item():.6g} was expected, {one.flatten()[where].item():.6g} came"
