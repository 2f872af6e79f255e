"""Rules over published tables: what they say, what they refuse, and what rounding allows."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from mdelib.rules import Quantity, evaluate, number_of, possible_values, printed_range
from mdelib.sheets import better, leads, mean_ranks, no_worse, place, read_sheet, same, shares_lead, spearman, without

TABLE = """# a toy
row,column,value,unit,direction,place
ours,rel,0.10,1,smaller,Table 1
ours,delta1,0.90,1,greater,Table 1
ours,size,8.1,M,,Table 1
theirs,rel,0.12,1,smaller,Table 1
theirs,delta1,0.90,1,greater,Table 1
theirs,size,40,M,,Table 1
old,rel,0.12,1,smaller,Table 1
old,size,100,M,,Table 1
"""


@pytest.fixture
def papers(tmp_path: Path) -> Path:
    for paper, text in (("toy", TABLE), ("other", TABLE.replace("0.12", "0.13"))):
        (tmp_path / paper / "tables").mkdir(parents=True)
        (tmp_path / paper / "tables" / "table1.csv").write_text(text)
    return tmp_path


@pytest.mark.parametrize(("text", "low", "high"), [
    ("7.4", 7.35, 7.45), ("38", 37.5, 38.5), ("0.030", 0.0295, 0.0305), ("-1.5", -1.55, -1.45), ("0", -0.5, 0.5),
])
def test_half_a_unit_of_the_last_digit(text, low, high):
    assert printed_range(text) == pytest.approx((low, high), abs=1e-12)


@pytest.mark.parametrize("text", ["7.4 %", "", "seven", None])
def test_only_decimal_numbers_are_printed(text):
    with pytest.raises(ValueError, match="not a printed decimal number"):
        printed_range(text)


def test_every_number_that_rounds_to_the_text_is_in_its_range():
    low, high = printed_range("0.123")
    inside = np.linspace(low + 1e-9, high - 1e-9, 101)
    assert all(f"{value:.3f}" == "0.123" for value in inside)
    assert f"{low - 1e-9:.3f}" != "0.123" != f"{high + 1e-9:.3f}"


def test_a_sheet_keeps_order_digits_directions_and_holes(papers):
    sheet = read_sheet("toy", "table1", papers)
    assert list(sheet.values.index) == ["ours", "theirs", "old"]
    assert list(sheet.values.columns) == ["rel", "delta1", "size"]
    assert sheet.halves.loc["ours"].tolist() == pytest.approx([0.005, 0.005, 0.05])
    assert sheet.halves.at["theirs", "size"] == 0.5
    assert sheet.direction.to_dict() == {"rel": "smaller", "delta1": "greater"}
    assert np.isnan(sheet.values.at["old", "delta1"])


def test_better_worse_and_places_by_hand(papers):
    sheet = read_sheet("toy", "table1", papers)
    assert better(sheet, "ours", "theirs").to_dict() == {"rel": True, "delta1": False}
    assert no_worse(sheet, "ours", "theirs").all() and not no_worse(sheet, "theirs", "ours").all()
    assert better(sheet, "ours", "old").to_dict() == {"rel": True}  # old has no delta1
    assert leads(sheet, "ours").to_dict() == {"rel": True, "delta1": False}
    assert shares_lead(sheet, "ours").to_dict() == {"rel": True, "delta1": True}
    assert place(sheet, "old")["rel"] == 2 and place(sheet, "theirs")["delta1"] == 1
    assert mean_ranks(sheet.rows(["ours", "theirs"])).to_dict() == {"ours": 1.25, "theirs": 1.75}
    assert same(sheet, "ours", read_sheet("other", "table1", papers), "ours").all()
    assert not same(sheet, "theirs", read_sheet("other", "table1", papers), "theirs")["rel"]
    assert list(without(sheet, "old").values.index) == ["ours", "theirs"]


def test_rank_correlation_is_that_of_scipy():
    sheet = read_sheet("huynh2021", "table1")
    one, two = sheet.column("params"), sheet.column("rmse")
    assert spearman(one, two) == pytest.approx(stats.spearmanr(one.to_numpy(), two.to_numpy()).statistic)
    assert spearman(one, -one) == pytest.approx(-1)


@pytest.mark.parametrize(("rule", "holds"), [
    ('table1.rel["ours"] < table1.rel["theirs"]', True),
    ('table1.rel["theirs"] < table1.rel["ours"]', False),
    ('table1.rel["theirs"] < other.table1.rel["theirs"]', True),
    ("all(table1.rel >= 0.1)", True), ("all(table1.rel > 0.1)", False), ("any(table1.rel > 0.12)", False),
    ("most(table1.rel > 0.1)", True), ("most(table1.rel > 0.1, table1.rel > 1)", False),
    ("count(table1.rel > 0.1) == 2", True), ("count(table1.delta1) == 2", True),
    ('all(better(table1, "ours", "old"), better(table1, "ours", "theirs"))', False),
    ('min(without(table1.size, "ours")) == 40', True),
    ('rising(table1.size) and not falling(table1.size)', True),
    ('rising([1, 1])', False), ('falling([2, 1])', True),
    ('count(table1.rel[rows_of(table1, "o")]) == 2', True),
    ('max(table1.rel[["ours", "old"]]) == 0.12', True),
    ('any((table1.rel == 0.10) & (table1.delta1 == 0.90))', True),
    ('all(leads(table1[["ours", "old"]], "ours")["rel"])', True),
    ('all(shares_lead(columns(table1, "rel"), "theirs"))', False),
    ('abs(-log(sqrt(4)) + log(2)) < 1e-12 and 2 ** 3 == 8', True),
    ('0.05 < table1.rel["ours"] <= 0.1', True),
])
def test_rules_by_hand(papers, rule, holds):
    assert evaluate(rule, "toy", papers).holds is holds


@pytest.mark.parametrize(("printed", "expression", "fits"), [
    ("4.9", 'table1.size["theirs"] / table1.size["ours"]', True),  # 40/8.1 = 4.938
    ("5.0", 'table1.size["theirs"] / table1.size["ours"]', True),  # 40.5/8.05 = 5.03
    ("5.1", 'table1.size["theirs"] / table1.size["ours"]', False),
    ("17", '100 * (1 - table1.rel["ours"] / table1.rel["theirs"])', True),
    ("9", '100 * (1 - table1.rel["ours"] / table1.rel["theirs"])', True),  # 0.105 against 0.115
    ("8", '100 * (1 - table1.rel["ours"] / table1.rel["theirs"])', False),
    ("0.11", 'mean(table1.rel["ours"], table1.rel["theirs"])', True),
    ("0.12", 'max(table1.rel["ours"], table1.rel["theirs"])', True),
])
def test_what_rounding_allows(papers, printed, expression, fits):
    found = evaluate(f'prints("{printed}", {expression})', "toy", papers)
    assert found.holds is fits and found.quantities[0].fits is fits and found.quantities[0].printed == printed


def test_the_range_is_that_of_all_corners(papers):
    low, high = possible_values('(table1.size["theirs"] - table1.size["ours"]) / table1.size["ours"]', "toy", papers)
    corners = [(a - b) / b for a, b in product((39.5, 40.5), (8.05, 8.15))]
    assert (low, high) == pytest.approx((min(corners), max(corners)))
    random = np.random.default_rng(0)
    a, b = random.uniform(39.5, 40.5, 1000), random.uniform(8.05, 8.15, 1000)
    assert (low <= (a - b) / b).all() and ((a - b) / b <= high).all()


def test_a_number_without_rounding_is_its_own_range():
    assert not Quantity("7.4", 6.88, 6.84, 6.92).fits and Quantity("7.4", 7.39, 7.34, 7.44).fits
    assert Quantity("7.4", 7.5, 7.45, 7.6).fits  # the ends touch: 7.45 may be printed as 7.4


def test_what_was_seen_and_read_is_kept(papers):
    found = evaluate('table1.rel["ours"] < 0.05 or all(table1.rel > 0.1)', "toy", papers)
    assert found.seen == "0.1 < 0.05 is false; 2 of 3, not ours"
    assert found.cells == {("toy", "table1", "rel", row) for row in ("ours", "theirs", "old")}
    assert evaluate('table1.rel["ours"] < table1.rel["old"]', "toy", papers).cells == {
        ("toy", "table1", "rel", "ours"), ("toy", "table1", "rel", "old")}


def test_other_values_can_be_tried_and_are_forgotten(papers):
    rule, cell = 'table1.rel["ours"] < table1.rel["theirs"]', ("toy", "table1", "rel", "ours")
    assert not evaluate(rule, "toy", papers, changes={cell: 0.2}).holds
    assert evaluate(rule, "toy", papers).holds and number_of('table1.rel["ours"]', "toy", papers) == 0.1
    changed = evaluate('prints("0.20", table1.rel["ours"])', "toy", papers, changes={cell: 0.2})
    assert changed.holds and changed.quantities[0].low == pytest.approx(0.195)


@pytest.mark.parametrize(("rule", "words"), [
    ("table1.rel[", "cannot be read"), ("table2.rel > 1", "no table 'table2'"), ("table1.abs > 1", "no column 'abs'"),
    ('table1.rel["nobody"] > 1', "no rel for 'nobody'"), ('table1.delta1["old"] > 0', "no delta1 for 'old'"),
    ('table1.rel["ours"]', "neither true nor false"), ("table1.rel > 1", "neither true nor false"),
    ("table1.rel.max() > 1", "not allowed"), ("open('x')", "not allowed"), ("__import__('os')", "not allowed"),
    ("(lambda: 1)()", "not allowed"), ("[x for x in (1, 2)]", "not allowed"), ("table1.values > 1", "no column"),
    ("().__class__", "not allowed"), ("'a'.upper()", "not allowed"), ("True", "only numbers and names"),
    ("all(table1.rel, key=1)", "not allowed"), ("1 if 1 else 2", "not allowed"), ("f'{1}' == 1", "not allowed"),
    ('all(table1.rel)', "what is true or false"), ('without(table1, "x").rel > 1', "no row 'x'"),
    ('rows_of(table1, "x") > 1', "no row has 'x'"), ('prints(7.4, table1.rel["ours"])', "in quotes"),
    ('prints("7.4 %", table1.rel["ours"])', "not a printed decimal number"), ("1 << 2 == 4", "operator LShift"),
    ('better(table1, "ours") > 1', "does not fit"), ('better(table1, "ours", "x")', "no row 'x'"),
    ('table1[["ours", "x"]].rel > 1', "no row 'x'"), ("+1 == 1", "not allowed"), ("nothing > 1", "no table 'nothing'"),
])
def test_what_is_no_rule_is_refused(papers, rule, words):
    with pytest.raises(ValueError, match=words):
        evaluate(rule, "toy", papers)


def test_too_many_rounded_cells_are_refused():
    rows = [f'table1.params["{row}"]' for row in list(read_sheet("huynh2021", "table1").values.index)[:13]]
    with pytest.raises(ValueError, match="reads 13 cells"):
        possible_values(f"mean({', '.join(rows)})", "huynh2021")
