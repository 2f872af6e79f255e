"""Verdicts: what the results of an experiment say about a claim, with an interval, and never more than that.

The verdict comes from the paired difference between two variants and its 95 % interval: a bootstrap over seeds and
test views where there is a value for each view, Student's t over seeds where there is one for each run.
Explained in notebooks/16_scoreboard.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from mdelib.papers import Claim, Evidence
from mdelib.store import Result

__all__ = ["Finding", "findings_table", "judge", "paired_interval", "seed_interval", "summary", "tolerant_verdict",
           "verdict"]


@dataclass(frozen=True)
class Finding:
    """A claim's measure, ours: the difference, its interval, how many seeds and views, and the verdict.

    Where the measure has one value for a whole run, `views` is 0 and the interval is NaN for a single seed. `base` is
    the mean of the second variant, against which a difference is large or small; `direction` the claim's.
    """

    claim: Claim
    measure: str
    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    seeds: int
    views: int
    verdict: str
    base: float = float("nan")
    direction: str = "smaller"

    @property
    def count(self) -> str:
        """n in words: seeds × views, or seeds alone."""
        return f"{self.seeds} × {self.views}" if self.views else f"{self.seeds} seed{'s' * (self.seeds > 1)}"

    @property
    def span(self) -> str:
        """The interval in words."""
        low, high = self.interval
        return f"{low:+.2g} to {high:+.2g}" if np.isfinite(low) else "none from one seed"


def paired_interval(first: np.ndarray, second: np.ndarray, *, level: float = 0.95, draws: int = 4000,
                    seed: int = 0) -> tuple[float, tuple[float, float]]:
    """Mean paired difference first - second and its bootstrap interval.

    Args:
        first, second: (S, N): S seeds by N views, paired in both directions. Views where either is not
            finite (a view without any edge, say) are left out for both.
        level: of the interval.
        draws: resamples; each draws S seeds and then N views with replacement.
        seed: of the resampling.

    Raises:
        ValueError: different shapes, or no view in which both are finite.
    """
    one, two = np.atleast_2d(np.asarray(first, float)), np.atleast_2d(np.asarray(second, float))
    if one.shape != two.shape:
        raise ValueError(f"paired values of shapes {one.shape} and {two.shape} were given: the same seeds and views "
                         "are needed on both sides")
    difference = one - two
    difference = difference[:, np.isfinite(difference).all(0)]
    if not difference.size:
        raise ValueError("no view has a finite value on both sides: nothing can be compared")
    row_weights, column_weights = _resamples(*difference.shape, draws, seed)
    means = np.einsum("ds,sv,dv->d", row_weights, difference, column_weights, optimize=True)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(difference.mean()), (float(low), float(high))


@lru_cache(maxsize=4)
def _resamples(seeds: int, views: int, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights (draws, S) of the seeds and (draws, N) of the views; the same for all measures of one shape.

    The mean over chosen seeds is a weighted mean of the rows; the mean over chosen views one of the columns.
    """
    random = np.random.default_rng(seed)
    rows = random.integers(seeds, size=(draws, seeds))
    row_weights = np.stack([np.bincount(row, minlength=seeds) for row in rows]) / seeds
    return row_weights, random.multinomial(views, np.full(views, 1 / views), size=draws) / views


def seed_interval(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray, *,
                  level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """Mean paired difference first - second over seeds and its Student t interval.

    For measures of a whole run, such as the mean selectivity of a layer, which have no value for each view.
    With d the differences of S seeds: mean(d) ± t(S - 1) sd(d) / sqrt(S). It supposes normal differences.

    Args:
        first, second: (S,) one value a seed, in the same order.
        level: of the interval, between 0 and 1.

    Returns:
        The mean, and the interval; (NaN, NaN) for a single seed, which knows nothing of how trainings differ.

    Raises:
        ValueError: different shapes, no seed, values that are not finite, or a level out of range.

    Explained in notebooks/04_dissection.ipynb.
    """
    one, two = np.asarray(first, float), np.asarray(second, float)
    if one.shape != two.shape or one.ndim != 1 or not one.size:
        raise ValueError(f"values of shapes {one.shape} and {two.shape} were given: one value for each of the same "
                         "seeds is needed on both sides")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ValueError(f"{np.count_nonzero(~np.isfinite(one - two))} of {one.size} seeds have a value that is not "
                         "finite: leave those seeds out on both sides")
    if not 0 < level < 1:
        raise ValueError(f"level={level} is no share: choose a number between 0 and 1, for example 0.95")
    difference = one - two
    centre, count = float(difference.mean()), len(difference)
    if count < 2:
        return centre, (float("nan"), float("nan"))
    reach = float(stats.t.ppf((1 + level) / 2, count - 1) * difference.std(ddof=1) / np.sqrt(count))
    return centre, (centre - reach, centre + reach)


def verdict(interval: tuple[float, float], direction: str) -> str:
    """`agrees`, `disagrees`, or `inconclusive` where the interval holds 0 or is not known (NaN)."""
    low, high = interval
    if not (low > 0 or high < 0):
        return "inconclusive"
    return "agrees" if (low > 0) == (direction == "greater") else "disagrees"


def judge(claim: Claim, results: Sequence[Result]) -> list[Finding]:
    """What `results` say about `claim`: one finding a measure; empty where the results do not bear on it.

    Only seeds that both variants have count, and only if they were tested on the same views. A measure with a value
    for each view gets a `paired_interval`, one that belongs to whole runs a `seed_interval`. From a single seed no
    verdict follows but "inconclusive": its interval knows nothing of how trainings differ. Networks that came with
    weights are the only ones of their kind, and views alone decide.
    """
    findings = []
    for evidence in claim.evidence:
        measures = (evidence.measure, evidence.against or evidence.measure)
        first, second = (_by_seed(results, evidence, *side) for side in zip(evidence.compare, measures, strict=True))
        seeds = sorted(first.keys() & second.keys())
        if not seeds:
            continue
        if any(first[s].names != second[s].names for s in seeds):
            raise ValueError(f"the variants {evidence.compare} of {evidence.experiment} were tested on different "
                             "views: run both again on the same data")
        sides = list(zip((first, second), measures, strict=True))
        base = float(np.mean([second[s].metrics.get(measures[1], np.nan) for s in seeds]))
        if not all(measure in side[s].per_image for s in seeds for side, measure in sides):
            one, two = ([side[s].metrics[measure] for s in seeds] for side, measure in sides)
            centre, interval = seed_interval(one, two)
            findings.append(Finding(claim, evidence.measure, *evidence.compare, centre, interval, len(seeds), 0,
                                    verdict(interval, evidence.direction), base, evidence.direction))
            continue
        one, two = ([side[s].per_image[measure] for s in seeds] for side, measure in sides)
        centre, interval = paired_interval(np.array(one), np.array(two))
        given = all(side[s].parameters.get("weights") for s in seeds for side in (first, second))
        said = verdict(interval, evidence.direction) if given or len(seeds) > 1 else "inconclusive"
        findings.append(Finding(claim, evidence.measure, *evidence.compare, centre, interval, len(seeds),
                                len(first[seeds[0]].names), said, base, evidence.direction))
    return findings


def _by_seed(results: Sequence[Result], evidence: Evidence, variant: str, measure: str) -> dict[int, Result]:
    return {result.seed: result for result in results
            if result.experiment == evidence.experiment and result.variant == variant
            and evidence.data in (None, result.data)
            and (measure in result.per_image or np.isfinite(result.metrics.get(measure, np.nan)))}


def tolerant_verdict(finding: Finding, tolerance: float) -> str:
    """The verdict if a difference up to `tolerance` times the second variant's value does not count.

    ``"no difference"`` where the whole interval lies within the tolerance; ``"agrees"`` or ``"disagrees"`` where the
    whole of it lies beyond; else ``"inconclusive"``, and always from a single seed. At tolerance 0 it is `verdict`.

    Args:
        finding: with its interval and its base. tolerance: a share, 0 or more.

    Raises:
        ValueError: a negative tolerance.

    Explained in notebooks/16_scoreboard.ipynb.
    """
    if tolerance < 0:
        raise ValueError(f"tolerance={tolerance:g} is negative: give a share of the second value, for example 0.01")
    low, high = finding.interval
    reach = tolerance * abs(finding.base)
    if (finding.seeds < 2 and finding.verdict == "inconclusive") or not np.isfinite([low, high, reach]).all():
        return "inconclusive"
    if tolerance and -reach <= low and high <= reach:
        return "no difference"
    return verdict((low - reach, high - reach) if low > 0 else (low + reach, high + reach) if high < 0
                   else (low, high), finding.direction)


def summary(results: Sequence[Result], measures: Sequence[str], titles: Mapping[str, str]) -> pd.DataFrame:
    """One row a variant: mean ± standard deviation over seeds of each measure, and the number of seeds.

    Raises:
        ValueError: the results mix data sets, scales or devices, which may not share a table.
    """
    for what, values in {"data sets": {r.data for r in results}, "scales": {r.scale for r in results},
                         "devices": {r.provenance.get("device") for r in results}}.items():
        if len(values) > 1:
            raise ValueError(f"results on several {what} ({', '.join(map(str, sorted(values)))}) were put into one "
                             "table: choose one")
    rows = []
    for variant, title in titles.items():
        mine = [result for result in results if result.variant == variant]
        if mine:
            cells = {measure: _mean_sd([result.metrics[measure] for result in mine]) for measure in measures}
            rows.append({"": title, **cells, "seeds": len(mine)})
    return pd.DataFrame(rows)


def _mean_sd(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def findings_table(findings: Sequence[Finding], results: Sequence[Result]) -> pd.DataFrame:
    """One row a measure: the mean of both variants, their difference with its interval, and the verdict."""
    def mean(variant: str, measure: str) -> float:
        return float(np.mean([r.metrics[measure] for r in results if r.variant == variant]))

    return pd.DataFrame([{
        "claim": f.claim.place, "measure": f.measure, "compared": f"{f.first} − {f.second}",
        "first": mean(f.first, f.measure), "second": f.base, "difference": f.difference,
        "95 % interval": f.span, "n": f.count, "verdict": f.verdict} for f in findings])
