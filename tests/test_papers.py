"""Verdicts come from intervals, and intervals from pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mdelib.papers import Claim, Evidence, check_claim, list_papers, load_claims, load_table
from mdelib.store import Result
from mdelib.verdicts import findings_table, judge, paired_interval, scoreboard, summary, verdict


def result(variant: str, seed: int, values, names=("a", "b", "c", "d"), **changes) -> Result:
    fields = {"experiment": "toy", "variant": variant, "data": "nyu", "scale": "lab", "seed": seed, "key": "k",
              "parameters": {}, "metrics": {"rmse": float(np.nanmean(np.array(values, float)))},
              "per_image": {"rmse": list(values)}, "names": list(names), "provenance": {"device": "cpu"}}
    return Result(**{**fields, **changes})


CLAIM = Claim(id="toy-1", place="Table 1", states="a is better", notebook="02", evidence=(
    Evidence(experiment="toy", measure="rmse", compare=("a", "b"), direction="smaller"),))


def test_the_interval_is_that_of_the_mean_for_one_seed():
    random = np.random.default_rng(0)
    one, two = random.normal(0.3, 1, (1, 400)), np.zeros((1, 400))
    centre, (low, high) = paired_interval(one, two)
    error = one.std(ddof=1) / 20
    assert centre == pytest.approx(one.mean())
    assert (low, high) == pytest.approx((centre - 1.96 * error, centre + 1.96 * error), abs=0.02)


def test_pairing_removes_what_both_share():
    random = np.random.default_rng(1)
    hard = random.normal(0, 10, 200)
    _, (low, high) = paired_interval((hard + 0.1)[None], hard[None])
    assert low == pytest.approx(0.1) and high == pytest.approx(0.1)


def test_seeds_that_disagree_widen_the_interval():
    values = np.repeat(np.array([[0.0], [1.0], [2.0]]), 50, axis=1)
    centre, (low, high) = paired_interval(values, np.zeros_like(values))
    assert centre == pytest.approx(1) and low < 0.4 and high > 1.6


def test_views_without_a_value_are_left_out_on_both_sides():
    one, two = np.array([[1.0, np.nan, 3.0]]), np.array([[0.0, 0.0, 0.0]])
    assert paired_interval(one, two)[0] == 2.0


@pytest.mark.parametrize(("one", "two", "words"), [
    (np.zeros((2, 3)), np.zeros((2, 4)), "same seeds and views"),
    (np.full((1, 2), np.nan), np.zeros((1, 2)), "nothing can be compared"),
])
def test_what_cannot_be_paired_is_refused(one, two, words):
    with pytest.raises(ValueError, match=words):
        paired_interval(one, two)


@pytest.mark.parametrize(("interval", "direction", "expected"), [
    ((0.1, 0.2), "greater", "agrees"), ((0.1, 0.2), "smaller", "disagrees"), ((-0.2, -0.1), "smaller", "agrees"),
    ((-0.2, -0.1), "greater", "disagrees"), ((-0.1, 0.1), "greater", "inconclusive"),
    ((0.0, 0.1), "greater", "inconclusive"),
])
def test_verdicts(interval, direction, expected):
    assert verdict(interval, direction) == expected


def test_a_claim_is_judged_on_the_seeds_both_variants_have():
    results = [result("a", 0, [1, 2, 3, 4]), result("a", 1, [1, 2, 3, 4]), result("b", 0, [2, 3, 4, 5]),
               result("b", 2, [0, 0, 0, 0])]
    finding, = judge(CLAIM, results)
    assert (finding.seeds, finding.views, finding.difference, finding.verdict) == (1, 4, -1.0, "inconclusive")
    finding, = judge(CLAIM, [*results, result("b", 1, [2, 3, 4, 5])])
    assert (finding.seeds, finding.verdict) == (2, "agrees")


def test_missing_values_travel_as_null():
    finding, = judge(CLAIM, [result("a", 0, [1, None, 3, 4]), result("b", 0, [2, 3, 4, 5])])
    assert finding.difference == -1.0


def test_no_results_no_finding():
    assert judge(CLAIM, []) == []


def test_other_views_cannot_be_compared():
    with pytest.raises(ValueError, match="different views"):
        judge(CLAIM, [result("a", 0, [1, 2, 3, 4]), result("b", 0, [1, 2, 3, 4], names=("a", "b", "c", "e"))])


def test_a_summary_has_spread_and_never_mixes():
    results = [result("a", seed, [seed] * 4) for seed in range(3)] + [result("b", 0, [5] * 4)]
    table = summary(results, ["rmse"], {"a": "A", "b": "B", "c": "C"})
    assert table["rmse"].tolist() == ["1.000 ± 1.000", "5.000"] and table["seeds"].tolist() == [3, 1]
    for change in ({"data": "kitti"}, {"scale": "study"}, {"provenance": {"device": "cuda"}}):
        with pytest.raises(ValueError, match="put into one table"):
            summary([*results, result("b", 1, [5] * 4, **change)], ["rmse"], {"a": "A"})


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    tables = tmp_path / "toy" / "tables"
    tables.mkdir(parents=True)
    rows = [("x", "mean", 1.0), ("x", "rms", 2.0), ("y", "mean", 3.0), ("y", "rms", 2.0)]
    frame = pd.DataFrame(rows, columns=["row", "column", "value"]).assign(unit="m", direction="", place="Table 1")
    frame.to_csv(tables / "table1.csv", index=False)
    return tmp_path


def test_a_rule_is_checked_row_by_row(papers: Path):
    claim = Claim(id="toy-2", place="", states="", notebook="01", check={"table": "table1", "rule": "rms >= mean"})
    state, failing = check_claim(claim, papers)
    assert state == "contradicted" and failing.index.tolist() == ["y"]
    some = Claim(id="toy-3", place="", states="", notebook="01",
                 check={"table": "table1", "rule": "rms >= mean", "over": "some row"})
    assert check_claim(some, papers)[0] == "holds"


@pytest.mark.parametrize("rule", ["rmse > mean", "rms >=> mean"])
def test_a_rule_that_does_not_fit_is_named(papers: Path, rule: str):
    claim = Claim(id="toy-2", place="", states="", notebook="01", check={"table": "table1", "rule": rule})
    with pytest.raises(ValueError, match="toy-2"):
        check_claim(claim, papers)
    with pytest.raises(ValueError, match="no rule"):
        check_claim(CLAIM, papers)


@pytest.mark.parametrize(("text", "words"), [
    ("- {id: a, place: x}", "entry 1: states"),
    ("- {id: a, place: x, states: s, notebook: '02', verdict: agrees}", "verdict"),
    ("- {id: a, place: x, states: s, notebook: '02'}\n- {id: a, place: x, states: s, notebook: '02'}", "twice"),
])
def test_claims_are_checked(tmp_path: Path, text: str, words: str):
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "claims.yaml").write_text(text)
    with pytest.raises(ValueError, match=words):
        load_claims("toy", tmp_path)


def test_unknown_papers_and_tables_are_named(papers: Path):
    with pytest.raises(ValueError, match="no claims.yaml"):
        load_claims("you2021", papers)
    with pytest.raises(ValueError, match="expected one of table1"):
        load_table("toy", "table9", papers)


@pytest.mark.parametrize("paper", list_papers())
def test_committed_claims_fit_their_experiments_and_tables(paper):
    from mdelib.experiments import load_experiment

    for claim in load_claims(paper):
        assert claim.id.startswith(f"{paper}-")
        for evidence in claim.evidence:
            assert set(evidence.compare) <= set(load_experiment(evidence.experiment).variants)
        if claim.check:
            assert check_claim(claim)[0] in ("holds", "contradicted")


def test_the_scoreboard_has_a_row_for_every_claim_also_untested():
    table = scoreboard([])
    claims = [claim for paper in list_papers() for claim in load_claims(paper)]
    assert len(table) == len(claims) and set(table.verdict) <= {"not yet tested", "holds", "contradicted"}


def test_a_table_of_findings_has_both_sides():
    results = [result(name, seed, [i + (name == "b") for i in range(1, 5)]) for name in "ab" for seed in (0, 1)]
    row = findings_table(judge(CLAIM, results), results).iloc[0]
    assert (row["first"], row["second"], row["difference"], row["verdict"]) == (2.5, 3.5, -1.0, "agrees")
    assert row["n"] == "2 × 4" and row["compared"] == "a − b"
