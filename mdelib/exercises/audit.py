"""Exercises on auditing a paper by its own numbers: notebook 15.

Explained in notebooks/15_audit.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from mdelib.checks import Exercise
from mdelib.rules import printed_range

__all__ = ["EXERCISES"]


def _printed(generator: torch.Generator) -> Iterator[tuple[str, tuple[str]]]:
    """Numbers as papers print them."""
    for text in ("7.4", "38", "0.030", "0.9531", "-1.25"):
        yield f"the printed number {text}", (text,)


def _range(text: str) -> tuple[float, float]:
    return printed_range(text)


def _digits(text: str) -> int:
    return len(text.partition(".")[2])


def _errors(generator: torch.Generator) -> Iterator[tuple[str, tuple[str, str]]]:
    """An error before and after, as printed."""
    yield "0.2340 before and 0.2179 after", ("0.2340", "0.2179")
    yield "0.12 before and 0.10 after", ("0.12", "0.10")
    yield "2.6 before and 2.43 after", ("2.6", "2.43")
    yield "an error that grew from 0.322 to 0.33", ("0.322", "0.33")


def _improvement(before: str, after: str) -> tuple[float, float]:
    (low, high), (least, most) = printed_range(before), printed_range(after)
    return 100 * (1 - most / low), 100 * (1 - least / high)


def _errors_of_one_kind(generator: torch.Generator) -> Iterator[tuple[str, tuple[float, float, float]]]:
    """Mean, root mean square, and the largest error there can be."""
    yield "mean 0.108, root mean square 0.087", (0.108, 0.087, 1.0)
    yield "mean 0.2, root mean square 0.3", (0.2, 0.3, 10.0)
    yield "mean 0.2, root mean square 0.9, no error above 2", (0.2, 0.9, 2.0)
    yield "equal mean and root mean square", (0.25, 0.25, 1.0)
    yield "mean 0.01, root mean square 0.1, no error above 1", (0.01, 0.1, 1.0)
    yield "a root mean square above the largest error", (0.2, 1.5, 1.0)
    yield "mean 0.5, root mean square 2, no error above 3", (0.5, 2.0, 3.0)
    yield "mean 0.5, root mean square 0.65, no error above 0.8", (0.5, 0.65, 0.8)


def _possible(mean: float, rms: float, largest: float) -> bool:
    return mean <= rms and rms**2 <= mean * largest * (1 + 1e-9)


def _columns(generator: torch.Generator) -> Iterator[tuple[str, tuple[Sequence[float], int, str]]]:
    """A column, the row that is asked for, and which direction is better."""
    yield "an error, best row", ([0.104, 0.110, 0.108], 0, "smaller")
    yield "an error, last row", ([0.104, 0.110, 0.108], 1, "smaller")
    yield "a δ, where greater is better", ([0.915, 0.904, 0.900], 0, "greater")
    yield "a tie at the top", ([0.059, 0.072, 0.059, 0.063], 2, "smaller")
    yield "a tie in the middle", ([0.998, 0.996, 0.999, 0.996, 0.990], 3, "greater")
    yield "a row behind a tie", ([0.059, 0.072, 0.059, 0.063], 3, "smaller")
    drawn = torch.randint(0, 6, (9,), generator=generator).double()
    yield "random numbers with ties", ((drawn / 10).tolist(), 4, "greater")


def _rank(values: Sequence[float], row: int, direction: str) -> int:
    return 1 + sum(v < values[row] if direction == "smaller" else v > values[row] for v in values)


EXERCISES = {
    "printed_range": Exercise(_range, _printed, (
        (lambda t: (float(t) - 0.1 ** _digits(t), float(t) + 0.1 ** _digits(t)),
         "half a unit of the last digit, not a whole one"),
        (lambda t: (float(t), float(t) + 0.1 ** _digits(t)),
         "that is for digits that were cut off: rounding goes half a unit to either side"),
        (lambda t: (float(t) - 0.05, float(t) + 0.05), "the unit is that of the last printed digit: count the digits"),
        (lambda t: (float(t) - 0.5 * 0.1 ** len(str(float(t)).partition(".")[2]),
                    float(t) + 0.5 * 0.1 ** len(str(float(t)).partition(".")[2])),
         "count the digits in the text: float('0.030') has forgotten its last zero"),
        (lambda t: (float(t), float(t)), "a printed number stands for all numbers that round to it"),
    ), tolerance=1e-9),
    "improvement_range": Exercise(_improvement, _errors, (
        (lambda b, a: (100 * (1 - float(a) / float(b)),) * 2, "both numbers are rounded: give the ends of the range"),
        (lambda b, a: (100 * (printed_range(b)[0] / printed_range(a)[1] - 1),
                       100 * (printed_range(b)[1] / printed_range(a)[0] - 1)),
         "compared to the error before: that is the denominator"),
        (lambda b, a: (100 * (1 - printed_range(a)[0] / printed_range(b)[0]),
                       100 * (1 - printed_range(a)[1] / printed_range(b)[1])),
         "the smallest improvement has the smallest error before and the largest after"),
        (lambda b, a: _improvement(b, a)[::-1], "the lower end comes first"),
        (lambda b, a: tuple(v / 100 for v in _improvement(b, a)), "in percent"),
    ), tolerance=1e-9),
    "possible_error": Exercise(_possible, _errors_of_one_kind, (
        (lambda m, r, t: m <= r, "large errors are bounded too: what is the largest root mean square for this mean?"),
        (lambda m, r, t: r**2 <= m * t * (1 + 1e-9), "the square of a mean is never above the mean of squares"),
        (lambda m, r, t: m < r and r**2 <= m * t * (1 + 1e-9), "equal errors everywhere are possible"),
        (lambda m, r, t: m <= r <= t, "not all errors can be the largest one, if the mean is smaller"),
        (lambda m, r, t: not _possible(m, r, t), "True is for numbers that are possible"),
    )),
    "place_with_ties": Exercise(_rank, _columns, (
        (lambda v, row, d: 1 + sum(x < v[row] for x in v), "in a column of δ greater is better"),
        (lambda v, row, d: sum(x <= v[row] if d == "smaller" else x >= v[row] for x in v),
         "rows that tie share the better place"),
        (lambda v, row, d: sum(x < v[row] if d == "smaller" else x > v[row] for x in v), "the best place is 1"),
        (lambda v, row, d: 1 + len({x for x in v if (x < v[row] if d == "smaller" else x > v[row])}),
         "two rows ahead that tie are still two rows ahead"),
        (lambda v, row, d: 1 + math.fsum(x > v[row] if d == "smaller" else x < v[row] for x in v),
         "that counts from the worst"),
    )),
}
