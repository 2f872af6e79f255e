"""Verdicts come from intervals, and intervals from pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from mdelib.audit import audit_claim
from mdelib.papers import Audit, Claim, Evidence, check_analytic, list_papers, load_claims, load_table
from mdelib.store import Result
from mdelib.verdicts import (
    findings_table,
    judge,
    paired_interval,
    seed_interval,
    summary,
    tolerant_verdict,
    verdict,
)


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
    ((0.0, 0.1), "greater", "inconclusive"), ((float("nan"), float("nan")), "smaller", "inconclusive"),
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


def test_a_network_that_came_with_weights_is_judged_by_its_views_alone():
    results = [result("a", 0, [1, 2, 3, 4]), result("b", 0, [2, 3, 4, 5])]
    assert judge(CLAIM, results)[0].verdict == "inconclusive"
    for one in results:
        one.parameters["weights"] = "meter_xxs_nyu"
    finding, = judge(CLAIM, results)
    assert (finding.seeds, finding.verdict) == (1, "agrees")


def test_missing_values_travel_as_null():
    finding, = judge(CLAIM, [result("a", 0, [1, None, 3, 4]), result("b", 0, [2, 3, 4, 5])])
    assert finding.difference == -1.0


@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_seed_interval_is_that_of_the_paired_t_test(level):
    random = np.random.default_rng(2)
    one, two = random.normal(1, 0.3, 5), random.normal(0.5, 0.3, 5)
    centre, interval = seed_interval(one, two, level=level)
    oracle = stats.ttest_rel(one, two).confidence_interval(level)
    assert centre == pytest.approx((one - two).mean()) and interval == pytest.approx((oracle.low, oracle.high))


def test_the_seed_interval_of_two_seeds_by_hand():
    centre, (low, high) = seed_interval([1.0, 3.0], [0.0, 0.0])
    assert centre == 2 and (low, high) == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-4)  # t = 12.7062, error 1


def test_equal_differences_leave_no_doubt_and_one_seed_leaves_nothing_else():
    assert seed_interval([2.0, 3.0, 4.0], [1.0, 2.0, 3.0]) == (1, (1, 1))
    centre, interval = seed_interval([2.0], [1.5])
    assert centre == 0.5 and np.isnan(interval).all()


@pytest.mark.parametrize(("one", "two", "level", "words"), [
    ([1.0, 2.0], [1.0], 0.95, "shapes \\(2,\\) and \\(1,\\)"),
    ([], [], 0.95, "one value for each"),
    ([[1.0]], [[2.0]], 0.95, "one value for each"),
    ([1.0, float("nan")], [1.0, 2.0], 0.95, "1 of 2 seeds"),
    ([1.0, 2.0], [1.0, 2.0], 95, "level=95"),
])
def test_seeds_that_cannot_be_paired_are_refused(one, two, level, words):
    with pytest.raises(ValueError, match=words):
        seed_interval(one, two, level=level)


RUNS = Claim(id="toy-5", place="Figure 1", states="a is more selective", notebook="04", evidence=(
    Evidence(experiment="toy", measure="selectivity", compare=("a", "b"), direction="greater"),))


def runs_with(measure: dict[str, list[float]]) -> list[Result]:
    return [result(variant, seed, [1, 2, 3, 4], metrics={"rmse": 2.5, "selectivity": value})
            for variant, values in measure.items() for seed, value in enumerate(values)]


def test_a_measure_of_whole_runs_is_judged_over_seeds():
    results = runs_with({"a": [0.5, 0.6, 0.55], "b": [0.3, 0.41, 0.36]})
    finding, = judge(RUNS, results)
    assert finding.difference == pytest.approx(0.58 / 3)
    assert finding.interval == pytest.approx(seed_interval([0.5, 0.6, 0.55], [0.3, 0.41, 0.36])[1])
    assert (finding.seeds, finding.views, finding.count, finding.verdict) == (3, 0, "3 seeds", "agrees")
    row = findings_table([finding], results).iloc[0]
    assert row["n"] == "3 seeds" and row["first"] == pytest.approx(0.55)


def test_seeds_are_paired_by_number_and_not_by_order():
    results = runs_with({"a": [0.1, 0.9], "b": [0.0, 0.8]})
    finding, = judge(RUNS, results[:2] + results[:1:-1])
    assert finding.difference == pytest.approx(0.1) and finding.interval == pytest.approx((0.1, 0.1))


def test_one_run_of_each_gives_a_difference_and_no_verdict():
    finding, = judge(RUNS, runs_with({"a": [0.9], "b": [0.1]}))
    assert (finding.verdict, finding.count, finding.span) == ("inconclusive", "1 seed", "none from one seed")
    assert finding.difference == pytest.approx(0.8)


def test_runs_without_a_finite_value_do_not_count():
    results = runs_with({"a": [0.9, float("nan"), 0.8], "b": [0.1, 0.2, 0.2]})
    finding, = judge(RUNS, results)
    assert finding.seeds == 2 and finding.difference == pytest.approx(0.7)
    assert judge(RUNS, [result("a", 0, [1, 2, 3, 4]), result("b", 0, [1, 2, 3, 4])]) == []


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


def test_a_rule_is_checked_over_the_rows_of_the_paper_own_table(papers: Path):
    claim = Claim(id="toy-2", place="", states="", notebook="01",
                  audit={"kind": "possible", "rule": "all(table1.rms >= table1.mean)"})
    found = audit_claim(claim, papers)
    assert found.verdict == "contradicted" and found.seen == "1 of 2, not y"
    some = claim.model_copy(update={"audit": Audit(kind="possible", rule="any(table1.rms >= table1.mean)")})
    assert audit_claim(some, papers).verdict == "holds"


@pytest.mark.parametrize("rule", ["all(table1.rmse > table1.mean)", "all(table1.rms >=> table1.mean)"])
def test_a_rule_that_does_not_fit_is_named(papers: Path, rule: str):
    claim = Claim(id="toy-2", place="", states="", notebook="01", audit={"kind": "possible", "rule": rule})
    with pytest.raises(ValueError, match="toy-2"):
        audit_claim(claim, papers)


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
        if claim.identity:
            assert check_analytic(claim)[0] in ("holds", "holds only if", "contradicted")
        assert not (claim.evidence and claim.identity)
        assert claim.notebook != "15" or not claim.evidence
        assert claim.audit or claim.evidence or claim.identity or claim.untested


def analytic(left: str, right: str, limit: str | None = None) -> Claim:
    return Claim(id="toy-4", place="", states="", notebook="03", identity={"left": left, "right": right,
                                                                           "limit": limit})


@pytest.mark.parametrize(("left", "right", "limit", "expected"), [
    ("(x + y)**2", "x**2 + 2*x*y + y**2", None, "holds"),
    ("Integral(x, (x, 0, b))", "b**2/2", None, "holds"),
    ("Product(u, (d, 1, N))", "u**N", None, "holds"),
    ("x**N", "x**N * (1 + 1e-6)", None, "contradicted"),
    ("u**N", "2*u**N", None, "contradicted"),  # both tiny for many bins: the difference is judged by their size
    ("1/N", "0", None, "contradicted"),
    ("1/N**2 + 1/3", "1/3", "N", "holds only if"),
    ("1/N + 1/3", "1/3", "N", "holds only if"),
    ("1/3 + 1e-3 + 1/N**2", "1/3", "N", "contradicted"),
    ("N", "0", "N", "contradicted"),
    ("expected_selectivity(N)", "expected_selectivity(N)", "N", "holds"),
    ("expected_selectivity(N)", "1/3", None, "contradicted"),
    ("expected_selectivity(N)", "1/2", "N", "contradicted"),
    ("expected_selectivity(2*N)", "1/3", "N", "holds only if"),
])
def test_equations_are_checked(left, right, limit, expected):
    state, values = check_analytic(analytic(left, right, limit))
    assert state == expected and list(values.columns) == ["N", "left", "right", "difference"]


BEND = "p*x**2/2 + q*x*y + r*y**2/2"


@pytest.mark.parametrize(("left", "right", "expected"), [
    ("a**2", "abs(a)**2", "holds"), ("sqrt(a**2)", "a", "holds only if"), ("a + 1e-6", "a", "contradicted"),
    ("sqrt(a**2)", "-a", "contradicted"),  # equal where the sign is the other one
    (f"(direction(a*({BEND}) + b*x + u*y + t) - direction({BEND})).norm()", "0", "holds only if"),
    (f"(direction({BEND} + a*x**4) - direction({BEND})).norm()", "0", "contradicted"),
])
def test_equations_may_hang_on_a_sign(left, right, expected):
    claim = Claim(id="toy-4", place="", states="", notebook="08", identity={"left": left, "right": right,
                                                                            "positive": "a"})
    state, values = check_analytic(claim)
    assert state == expected and list(values.columns) == ["a", "left", "right", "difference"]
    assert claim.identity.condition == "a > 0"


@pytest.mark.parametrize("symbol", ["b", "N", "z"])
def test_only_real_symbols_have_a_sign_to_decide(symbol):
    claim = Claim(id="toy-4", place="", states="", notebook="08", identity={"left": "a", "right": "a",
                                                                            "positive": symbol})
    with pytest.raises(ValueError, match=f"toy-4: positive is '{symbol}'"):
        check_analytic(claim)


def test_both_sides_have_their_values():
    _, values = check_analytic(analytic("N**2", "N", None))
    assert values.iloc[0].tolist() == [2, 4, 2, 2]


@pytest.mark.parametrize(("claim", "words"), [
    (analytic("N +* 2", "1"), "toy-4: the expression 'N \\+\\* 2' cannot be read"),
    (analytic("N + other", "1"), "names 'other'"),
    (analytic("selectivity(N)", "1"), "names 'selectivity'"),
    (analytic("sqrt(-N)", "1"), "has no value"),
    (analytic("N", "1", "b"), "only 'N'"),
    (CLAIM, "no equation to check"),
])
def test_equations_that_cannot_be_checked_are_named(claim, words):
    with pytest.raises(ValueError, match=words):
        check_analytic(claim)


def test_a_table_of_findings_has_both_sides():
    results = [result(name, seed, [i + (name == "b") for i in range(1, 5)]) for name in "ab" for seed in (0, 1)]
    row = findings_table(judge(CLAIM, results), results).iloc[0]
    assert (row["first"], row["second"], row["difference"], row["verdict"]) == (2.5, 3.5, -1.0, "agrees")
    assert row["n"] == "2 × 4" and row["compared"] == "a − b"


def test_a_claim_can_compare_two_measures_and_keep_to_one_data_set():
    evidence = Evidence(experiment="toy", measure="rmse", compare=("a", "b"), direction="greater", against="own",
                        data="nyu")
    claim = CLAIM.model_copy(update={"evidence": (evidence,)})
    results = [result("a", seed, [3, 3, 3, 3]) for seed in (0, 1)]
    results += [result("b", seed, [9, 9, 9, 9], per_image={"own": [1, 1, 1, 1]}, metrics={"own": 1.0})
                for seed in (0, 1)]
    found, = judge(claim, results)
    assert (found.difference, found.verdict, found.base) == (2.0, "agrees", 1.0)
    for one in results:
        one.data = "scenes-rooms"
    assert judge(claim, results) == []


def test_a_claim_is_tested_or_says_why_not():
    with pytest.raises(ValueError, match="leave 'untested' out"):
        Claim(**{**CLAIM.model_dump(), "untested": "no data"})


@pytest.mark.parametrize(("values", "tolerance", "expected"), [
    (-0.10, 0.0, "agrees"), (-0.10, 0.05, "agrees"), (-0.10, 0.15, "no difference"), (0.10, 0.0, "disagrees"),
    (0.10, 0.2, "no difference"), (0.0, 0.0, "inconclusive"), (0.0, 0.01, "no difference"),
])
def test_small_differences_may_not_count(values, tolerance, expected):
    results = [result("a", seed, [1 + values] * 4) for seed in (0, 1)] + [result("b", s, [1.0] * 4) for s in (0, 1)]
    found, = judge(CLAIM, results)  # every view differs by the same: the interval is a point
    assert tolerant_verdict(found, tolerance) == expected
    assert tolerant_verdict(found, 0) == found.verdict


def test_an_interval_across_the_tolerance_is_inconclusive():
    results = [result(name, seed, values) for seed in (0, 1)
               for name, values in (("a", [1.0, 0.9, 1.1, 0.8]), ("b", [1.05, 1.0, 1.0, 1.0]))]
    found, = judge(CLAIM, results)
    low, high = found.interval
    assert low < 0 and tolerant_verdict(found, 1e-3) == "inconclusive"
    assert tolerant_verdict(found, 1.01 * max(-low, high) / found.base) == "no difference"
    single, = judge(CLAIM, results[:2])
    assert tolerant_verdict(single, 10.0) == "inconclusive"
    with pytest.raises(ValueError, match="negative"):
        tolerant_verdict(found, -0.1)
