"""Published claims, and what an experiment says about them.

A claim stands in `papers/<key>/claims.yaml` with its place in the paper. One that an experiment bears on names
the measure and the two variants it compares; the verdict comes from the paired difference between them and its
95 % bootstrap interval, resampled over seeds and over test views. Explained in notebooks/16_scoreboard.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from mdelib.provenance import find_home
from mdelib.store import Result

__all__ = ["VERDICTS", "Check", "Claim", "Evidence", "Finding", "check_claim", "judge", "list_papers", "load_claims",
           "load_table", "paired_interval", "summary", "verdict"]

VERDICTS = ("agrees", "disagrees", "inconclusive", "not comparable", "holds", "holds only if", "contradicted",
            "not yet tested")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Evidence(Strict):
    """What an experiment can say about a claim.

    Attributes:
        experiment, measure: where the numbers are.
        compare: the two variants; the claim is about first minus second.
        direction: the sign of that difference if the claim is right.
    """

    experiment: str
    measure: str
    compare: tuple[str, str]
    direction: Literal["greater", "smaller"]


class Check(Strict):
    """A rule over the columns of a published table, in the language of `pandas.DataFrame.eval`."""

    table: str
    rule: str
    over: Literal["all rows", "some row"] = "all rows"


class Claim(Strict):
    """One claim of a paper.

    Attributes:
        id: unique, begins with the paper's key. place: section, table or figure. states: the claim, quoted or
            close to it. notebook: number of the notebook that tests it.
        evidence: the experiments that test it; several measures of one claim stand beside each other.
        check: for arithmetic claims, the rule over the paper's own table that must hold.
        instead: what a reader should believe where the claim is contradicted.
    """

    id: str
    place: str
    states: str
    notebook: str
    evidence: tuple[Evidence, ...] = ()
    check: Check | None = None
    instead: str | None = None


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


def list_papers() -> list[str]:
    """Keys of the papers that have a folder under `papers/`."""
    return sorted(path.parent.name for path in (find_home() / "papers").glob("*/claims.yaml"))


def load_claims(paper: str, folder: Path | None = None) -> list[Claim]:
    """Read `papers/<paper>/claims.yaml`.

    Raises:
        ValueError: no such paper, or an entry that does not fit; the entry is named.
    """
    path = (folder or find_home() / "papers") / paper / "claims.yaml"
    if not path.is_file():
        raise ValueError(f"paper {paper!r} has no claims.yaml: expected one of {', '.join(list_papers())}")
    claims = []
    for number, entry in enumerate(yaml.safe_load(path.read_text()) or [], start=1):
        try:
            claims.append(Claim(**entry))
        except (ValidationError, TypeError) as error:
            problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            place = ".".join(map(str, problem["loc"]))
            raise ValueError(f"papers/{paper}/claims.yaml, entry {number}: {place} {problem['msg']}") from None
    names = [claim.id for claim in claims]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"papers/{paper}/claims.yaml uses the id {double[0]!r} twice: give each claim its own")
    return claims


def load_table(paper: str, table: str, folder: Path | None = None) -> pd.DataFrame:
    """A published table, `papers/<paper>/tables/<table>.csv`: row, column, value, unit, direction, place."""
    path = (folder or find_home() / "papers") / paper / "tables" / f"{table}.csv"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.csv"))) or "none"
        raise ValueError(f"paper {paper!r} has no table {table!r}: expected one of {known}")
    return pd.read_csv(path, comment="#")


def check_claim(claim: Claim, folder: Path | None = None) -> tuple[str, pd.DataFrame]:
    """Whether an arithmetic claim holds in the paper's own table.

    Returns:
        ``"holds"`` or ``"contradicted"``, and the rows in which its rule fails.

    Raises:
        ValueError: the claim has no rule, or the rule names a column that the table does not have.
    """
    if claim.check is None:
        raise ValueError(f"claim {claim.id} has no rule to check: give it one, or judge it by an experiment")
    paper = claim.id.split("-")[0]
    table = load_table(paper, claim.check.table, folder).pivot(index="row", columns="column", values="value")
    try:
        fine = table.eval(claim.check.rule).astype(bool)
    except (pd.errors.UndefinedVariableError, SyntaxError) as error:
        raise ValueError(f"the rule {claim.check.rule!r} of claim {claim.id} does not fit its table with the columns "
                         f"{', '.join(table.columns)}: {error}") from None
    holds = fine.all() if claim.check.over == "all rows" else fine.any()
    return ("holds" if holds else "contradicted"), table[~fine]


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

    Only seeds that both variants have count, and only if they were tested on the same views.
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
                                len(first[seeds[0]].names), verdict(interval, evidence.direction)))
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
