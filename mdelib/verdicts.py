"""Verdicts: what the results of an experiment say about a claim, with an interval, and never more than that.

The verdict comes from the paired difference between two variants and its 95 % bootstrap interval, resampled over
seeds and over test views. Explained in notebooks/16_scoreboard.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mdelib.papers import Claim, Evidence, check_claim, list_papers, load_claims
from mdelib.store import Result

__all__ = ["VERDICTS", "Finding", "findings_table", "judge", "paired_interval", "scoreboard", "summary", "verdict"]

VERDICTS = ("agrees", "disagrees", "inconclusive", "not comparable", "holds", "holds only if", "contradicted",
            "not yet tested")


@dataclass(frozen=True)
class Finding:
    """A claim's measure, ours: the difference, its interval, how many seeds and views, and the verdict."""

    claim: Claim
    measure: str
    first: str
    second: str
    difference: float
    interval: tuple[float, float]
    seeds: int
    views: int
    verdict: str


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


def verdict(interval: tuple[float, float], direction: str) -> str:
    """`agrees`, `disagrees`, or `inconclusive` where the interval holds 0."""
    low, high = interval
    if low <= 0 <= high:
        return "inconclusive"
    return "agrees" if (low > 0) == (direction == "greater") else "disagrees"


def judge(claim: Claim, results: Sequence[Result]) -> list[Finding]:
    """What `results` say about `claim`: one finding a measure; empty where the results do not bear on it.

    Only seeds that both variants have count, and only if they were tested on the same views. From a single seed no
    verdict follows but "inconclusive": its interval knows nothing of how trainings differ.
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
        one, two = ([side[s].per_image[evidence.measure] for s in seeds] for side in (first, second))
        centre, interval = paired_interval(np.array(one), np.array(two))
        findings.append(Finding(claim, evidence.measure, *evidence.compare, centre, interval, len(seeds),
                                len(first[seeds[0]].names),
                                verdict(interval, evidence.direction) if len(seeds) > 1 else "inconclusive"))
    return findings


def _by_seed(results: Sequence[Result], evidence: Evidence, variant: str) -> dict[int, Result]:
    return {result.seed: result for result in results
            if result.experiment == evidence.experiment and result.variant == variant
            and evidence.measure in result.per_image}


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
        "95 % interval": f"{f.interval[0]:+.2g} to {f.interval[1]:+.2g}", "n": f"{f.seeds} × {f.views}",
        "verdict": f.verdict} for f in findings])


def scoreboard(results: Sequence[Result]) -> pd.DataFrame:
    """One row for each claim and measure: what is claimed, our difference with its interval, and the verdict.

    Args:
        results: of one data set and scale. Claims on which they do not bear are "not yet tested".
    """
    rows = []
    for claim in (claim for paper in list_papers() for claim in load_claims(paper)):
        paper = claim.id.split("-")[0]
        start = {"claim": f"{paper}, {claim.place}: {claim.states}", "notebook": claim.notebook}
        if claim.check:
            state, failing = check_claim(claim)
            rows.append({**start, "measured": f"{claim.check.rule} in the paper's own table",
                         "difference (95 % interval)": f"fails in {len(failing)} rows", "n": "–", "verdict": state})
            continue
        found = judge(claim, results)
        rows += [{**start, "measured": f"{f.measure}, {f.first} − {f.second}",
                  "difference (95 % interval)": f"{f.difference:+.2g} ({f.interval[0]:+.2g} to {f.interval[1]:+.2g})",
                  "n": f"{f.seeds} × {f.views}", "verdict": f.verdict} for f in found]
        if not found:
            rows.append({**start, "measured": "–", "difference (95 % interval)": "–", "n": "–",
                         "verdict": "not yet tested"})
    return pd.DataFrame(rows)
