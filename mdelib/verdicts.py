"""Verdicts: what the results of an experiment say about a claim, with an interval, and never more than that.

The verdict comes from the paired difference between two variants and its 95 % interval: a bootstrap over seeds and
test views where there is a value for each view, Student's t over seeds where there is one for each run.
Explained in notebooks/16_scoreboard.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from mdelib.audit import audit_claim
from mdelib.papers import Claim, Evidence, check_analytic, list_papers, load_claims
from mdelib.store import Result

__all__ = ["VERDICTS", "Finding", "findings_table", "judge", "paired_interval", "scoreboard", "seed_interval",
           "summary", "verdict"]

VERDICTS = ("agrees", "disagrees", "inconclusive", "not comparable", "holds", "holds only if", "contradicted",
            "not yet tested")


@dataclass(frozen=True)
class Finding:
    """A claim's measure, ours: the difference, its interval, how many seeds and views, and the verdict.

    Where the measure has one value for a whole run, `views` is 0 and the interval is NaN for a single seed.
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
    random = np.random.default_rng(seed)
    seeds, views = difference.shape
    rows = random.integers(seeds, size=(draws, seeds))
    # the mean over chosen seeds is a weighted mean of the rows; the mean over chosen views one of the columns
    row_weights = np.stack([np.bincount(row, minlength=seeds) for row in rows]) / seeds
    column_weights = random.multinomial(views, np.full(views, 1 / views), size=draws) / views
    means = np.einsum("ds,sv,dv->d", row_weights, difference, column_weights, optimize=True)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(difference.mean()), (float(low), float(high))


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
        first, second = (_by_seed(results, evidence, variant) for variant in evidence.compare)
        seeds = sorted(first.keys() & second.keys())
        if not seeds:
            continue
        if any(first[s].names != second[s].names for s in seeds):
            raise ValueError(f"the variants {evidence.compare} of {evidence.experiment} were tested on different "
                             "views: run both again on the same data")
        if not all(evidence.measure in side[s].per_image for s in seeds for side in (first, second)):
            one, two = ([side[s].metrics[evidence.measure] for s in seeds] for side in (first, second))
            centre, interval = seed_interval(one, two)
            findings.append(Finding(claim, evidence.measure, *evidence.compare, centre, interval, len(seeds), 0,
                                    verdict(interval, evidence.direction)))
            continue
        one, two = ([side[s].per_image[evidence.measure] for s in seeds] for side in (first, second))
        centre, interval = paired_interval(np.array(one), np.array(two))
        given = all(side[s].parameters.get("weights") for s in seeds for side in (first, second))
        findings.append(Finding(claim, evidence.measure, *evidence.compare, centre, interval, len(seeds),
                                len(first[seeds[0]].names),
                                verdict(interval, evidence.direction) if given or len(seeds) > 1 else "inconclusive"))
    return findings


def _by_seed(results: Sequence[Result], evidence: Evidence, variant: str) -> dict[int, Result]:
    return {result.seed: result for result in results
            if result.experiment == evidence.experiment and result.variant == variant
            and (evidence.measure in result.per_image
                 or np.isfinite(result.metrics.get(evidence.measure, np.nan)))}


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
        "first": mean(f.first, f.measure), "second": mean(f.second, f.measure), "difference": f.difference,
        "95 % interval": f.span, "n": f.count, "verdict": f.verdict} for f in findings])


def _off(values: pd.DataFrame, state: str, claim: Claim) -> str:
    """How far the two sides of an equation are apart, in words."""
    if state == "holds":
        return "0"
    few, many = values.iloc[0], values.iloc[-1]
    where = f"{claim.identity.condition}; " if state == "holds only if" else ""
    if claim.identity.positive:
        name = claim.identity.positive
        return f"{where}off by {many['difference']:+.2g} at {name} = {many[name]:g}"
    return (f"{where}off by {few['difference']:+.2g} at N = {few['N']:.0f}, {many['difference']:+.2g} at "
            f"N = {many['N']:.0f}")


def scoreboard(results: Sequence[Result]) -> pd.DataFrame:
    """One row for each claim and measure: what is claimed, our difference with its interval, and the verdict.

    Args:
        results: of one data set and scale. Claims on which they do not bear are "not yet tested". What only the audit
            of printed numbers decides (`mdelib.audit`) has no row.
    """
    rows = []
    for claim in (claim for paper in list_papers() for claim in load_claims(paper)):
        if not claim.on_scoreboard:
            continue
        paper = claim.paper
        start = {"claim": f"{paper}, {claim.place}: {claim.states}", "notebook": claim.notebook}
        if claim.identity:
            state, values = check_analytic(claim)
            rows.append({**start, "measured": f"{claim.identity.left} = {claim.identity.right}",
                         "difference (95 % interval)": _off(values, state, claim), "n": "–", "verdict": state})
            continue
        if not claim.evidence:
            found = audit_claim(claim)
            rows.append({**start, "measured": f"{claim.audit.rule} in the paper's own table",
                         "difference (95 % interval)": found.seen, "n": "–", "verdict": found.words})
            continue
        found = judge(claim, results)
        rows += [{**start, "measured": f"{f.measure}, {f.first} − {f.second}",
                  "difference (95 % interval)": f"{f.difference:+.2g} ({f.span})",
                  "n": f.count, "verdict": f.verdict} for f in found]
        if not found:
            rows.append({**start, "measured": "–", "difference (95 % interval)": "–", "n": "–",
                         "verdict": "not yet tested"})
    return pd.DataFrame(rows)
