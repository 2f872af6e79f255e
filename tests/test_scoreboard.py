"""The scoreboard: rows, verdicts on claims of several measures, links, and that no table or figure is missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from markupsafe import Markup

from mdelib.editions import build, find_source, to_chapters
from mdelib.papers import Claim, Evidence, list_papers, load_claims
from mdelib.scoreboard import (
    VERDICTS,
    cell_of,
    exhibit_table,
    exhibits,
    overall,
    score,
    score_all,
    score_counts,
    score_table,
    verdicts_by_tolerance,
)
from mdelib.store import Result

HOME = Path(__file__).resolve().parent.parent
CLAIMS = [claim for paper in list_papers() for claim in load_claims(paper) if claim.on_scoreboard]
UNTESTED = score_all([])
# DESIGN, section 5: what the notebooks reproduce
WANTED = {
    "you2021": "Eq 2; Eq 4-6; Figs 1-10",
    "yao2023": "Tables 1-4; Figs 1-8; Eq 7-8",
    "huynh2021": "Eq 1-2; Tables 1-7; Figs 4-7",
    "choi2024": "Eq 1-3; Tables 1-7; Figs 1, 3, 4, 5",
}


def run(variant: str, seed: int, values, data: str = "nyu", measure: str = "rmse") -> Result:
    return Result("toy", variant, data, "study", seed, "k", {}, {measure: sum(values) / len(values)},
                  {measure: list(values)}, ["a", "b"], provenance={"commit": "0123456789ab"})


def toy(*measures: str) -> Claim:
    evidence = tuple(Evidence(experiment="toy", measure=m, compare=("a", "b"), direction="smaller") for m in measures)
    return Claim(id="you2021-toy", place="Table 1", states="a < b & so on", notebook="03", evidence=evidence)


@pytest.mark.parametrize(("parts", "expected"), [
    (["agrees"], "agrees"), (["agrees", "agrees"], "agrees"), (["disagrees"] * 3, "disagrees"),
    (["agrees", "inconclusive"], "agrees in part"), (["disagrees", "inconclusive"], "disagrees in part"),
    (["agrees", "disagrees"], "mixed"), (["agrees", "disagrees", "inconclusive"], "mixed"),
    (["inconclusive"], "inconclusive"),
])
def test_a_claim_is_judged_by_all_its_measures(parts, expected):
    assert overall(parts) == overall(parts[::-1]) == expected and expected in VERDICTS


def test_no_measure_is_no_verdict():
    with pytest.raises(ValueError, match="not yet tested"):
        overall([])


def test_data_sets_have_rows_of_their_own():
    runs = [run(v, s, x, data) for data, sign in (("nyu", 1), ("scenes-rooms", -1)) for s in (0, 1)
            for v, x in (("a", [1, 1]), ("b", [1 + sign, 1 + sign]))]
    nyu, rooms = score(toy("rmse"), runs)
    assert (nyu.on, nyu.verdict, rooms.on, rooms.verdict) == ("nyu, study", "agrees", "scenes-rooms, study",
                                                              "disagrees")
    assert nyu.commits == ("0123456",) and nyu.findings[0].count == "2 × 2"


def test_claims_without_results_say_so():
    assert [row.verdict for row in score(toy("rmse"), [])] == ["not yet tested"]
    assert [row.verdict for row in score(toy("rmse"), [run("a", 0, [1, 2])])] == ["not yet tested"]


def test_claims_that_cannot_be_compared_say_why():
    claim = Claim(id="you2021-toy", place="", states="", notebook="03", untested="no such data")
    row, = score(claim, [])
    assert (row.verdict, row.seen) == ("not comparable", "no such data")


def test_every_claim_has_a_row_with_a_known_verdict():
    assert len(CLAIMS) >= 40 and {s.claim.id for s in UNTESTED} == {claim.id for claim in CLAIMS}
    known = {"holds", "holds only if", "contradicted", "not comparable", "not yet tested"}
    assert {s.verdict for s in UNTESTED} <= known
    for s in UNTESTED:
        assert (s.verdict == "not yet tested") == bool(s.claim.evidence)
    assert score_counts(UNTESTED).to_numpy().sum() == len(UNTESTED)


@pytest.mark.parametrize("paper", WANTED)
def test_no_table_or_figure_of_the_course_is_missing(paper):
    have = set().union(*(exhibits(claim.place) for claim in CLAIMS if claim.paper == paper))
    assert exhibits(WANTED[paper]) - have == set()


def test_places_are_read():
    assert exhibits("Section 4.3; Table 1") == {"Table 1"}
    assert exhibits("Tables 2 and 3; Figs. 4-6, 8") == {"Table 2", "Table 3", "Fig 4", "Fig 5", "Fig 6", "Fig 8"}
    assert exhibits("Section 3.1, Eq 7–8") == {"Eq 7", "Eq 8"} and exhibits("Abstract") == set()


def test_the_index_names_notebooks_and_verdicts():
    table = exhibit_table(UNTESTED).set_index(["paper", "exhibit"])
    assert table.loc[("you2021", "Eq 6"), "verdicts"] == "holds only if"
    assert table.loc[("huynh2021", "Table 7"), "notebooks"] == "09"
    assert list(table.loc["you2021"].index)[-2:] == ["Fig 9", "Fig 10"]


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_every_row_leads_to_a_cell_that_shows_its_evidence(claim):
    notebook, cell = cell_of(claim)
    assert notebook == f"{find_source(claim.notebook).stem}.ipynb"
    source = next(c.source for c in build(find_source(claim.notebook)).cells if c.id == cell)
    shows = (claim.id, "judge(", "check_analytic(", "audit_claim(", *(f'"{e.experiment}"' for e in claim.evidence))
    assert any(word in source for word in shows)


def test_the_table_escapes_what_papers_say_and_links_to_the_cell():
    runs = [run(v, s, x) for s in (0, 1) for v, x in (("a", [1, 1]), ("b", [2, 2]))]
    row = score_table(score(toy("rmse"), runs)).iloc[0]
    assert "a &lt; b &amp; so on" in row["claim"] and isinstance(row["evidence"], Markup)
    assert 'href="03_expected_selectivity.ipynb#cell-id=03-' in row["evidence"]
    assert row.iloc[2] == "rmse, a − b: -1 (-1 to -1), agrees" and row["made at"] == "0123456"


def test_the_papers_own_numbers_are_computed_from_its_tables():
    row = score_table([s for s in UNTESTED if s.claim.id == "huynh2021-tab4-saliency"]).iloc[0]
    assert row["the paper's numbers"].startswith("REL -0.018, RMSE -0.091 m")  # 0.104 - 0.122, 0.403 - 0.494
    every = score_table(UNTESTED)["the paper's numbers"]
    assert not every.str.contains("[{}]").any()


def test_equations_say_where_they_fail():
    seen = {s.claim.id: s for s in UNTESTED}
    assert seen["you2021-eq6"].verdict == "holds only if"
    assert "N → ∞; off by +0.053 at N = 2" in seen["you2021-eq6"].seen  # 2 ln 2 - 1 - 1/3 = 0.0530
    assert "a > 0; off by +2 at a = -4" in seen["huynh2021-eq1-invariance"].seen
    assert seen["choi2024-eq3-decode"].verdict == "contradicted"


def test_links_lead_to_chapters_where_no_notebook_lies():
    text = '<a href="09_fusanet.ipynb#cell-id=09-049">09</a> <a href="other.ipynb">x</a>'
    assert to_chapters(text, r"#n\1") == '<a href="#n09">09</a> <a href="other.ipynb">x</a>'
    assert to_chapters(text, r"\1_\2.html").startswith('<a href="09_fusanet.html">')


def test_verdicts_move_with_the_tolerance():
    runs = [run(v, s, x) for s in (0, 1) for v, x in (("a", [1, 1]), ("b", [1.1, 1.1]))]
    findings = [f for row in score(toy("rmse"), runs) for f in row.findings]
    table = verdicts_by_tolerance(findings, [0, 0.05, 0.2])
    assert table["agrees"].tolist() == [1, 1, 0] and table["no difference"].tolist() == [0, 0, 1]
    assert (table.sum(axis=1) == 1).all()
