"""The figures of the audit show what they are given."""

from __future__ import annotations

import pandas as pd
import pytest

from mdelib import audit_figures
from mdelib.audit import AUDIT_VERDICTS, audit_claim, audit_counts
from mdelib.papers import Claim
from mdelib.rules import printed_range
from mdelib.sheets import read_sheet, spearman


def audited(rule: str):
    return audit_claim(Claim(id="huynh2021-toy", place="Table 1", states="a claim", notebook="15",
                             audit={"kind": "number", "rule": rule}))


def test_the_bars_are_as_long_as_the_counts():
    counts = audit_counts([audited('table1.rmse["DPT"] < 1'), audited('table1.rmse["DPT"] > 1'),
                           audited('table1.rmse["DPT"] > 2')])
    axis, = audit_figures.verdict_bars(counts).axes
    assert [round(bar.get_width()) for bar in axis.patches] == [1, 0, 2, 0]
    assert [text.get_text() for text in axis.get_legend().get_texts()] == list(AUDIT_VERDICTS)
    assert set(audit_figures.SHADES) == set(AUDIT_VERDICTS)


def test_a_quantity_is_drawn_in_half_units_of_its_last_digit():
    found = [audited('prints("0.36", table1.rmse["DPT"])'), audited('prints("0.30", table1.rmse["DPT"])')]
    axis, = audit_figures.quantities(found).axes
    lines = [line for line in axis.lines if len(line.get_xdata()) == 2]
    low, high = printed_range("0.357")
    assert lines[0].get_xdata() == pytest.approx([(low - 0.36) / 0.005, (high - 0.36) / 0.005])
    assert lines[0].get_color() == audit_figures.COLOURS[0] and lines[1].get_color() == audit_figures.COLOURS[1]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["huynh2021, 0.36", "huynh2021, 0.30"]


def test_the_percent_bands_hold_the_nominal_improvement():
    after = ["0.2100", "0.2179", "0.2200"]
    axis, = audit_figures.printed_percent("7.4", "0.2340", after, "0.2179").axes
    ends = [band.get_paths()[0].get_extents() for band in axis.collections[:2]]
    assert ends[0].ymax == pytest.approx(100 * (1 - 0.20995 / 0.23405)) and ends[1].ymax > ends[0].ymax
    assert axis.lines[0].get_xdata()[0] == 0.2179


def test_papers_that_agree_up_to_rounding_are_green():
    names = list(audit_figures.METRICS)
    one, two = pd.Series([0.059, 2.756, 0.956], names), pd.Series([0.0586, 2.4798, 0.956], names)
    figure = audit_figures.between_papers({"BTS": (one, two, pd.Series([0.0005, 0.0005, 0.0005], names))})
    dots = [axis.lines[1] for axis in figure.axes]
    assert [dot.get_color() for dot in dots] == [audit_figures.COLOURS[k] for k in (2, 1, 2)]
    assert dots[1].get_xdata()[0] == pytest.approx(100 * (2.4798 / 2.756 - 1))


def test_sizes_and_the_possible_region_have_a_dot_for_every_row():
    sheet = read_sheet("huynh2021", "table1")
    axis, = audit_figures.size_against_error({"NYU": sheet}, "FuSaNet").axes
    assert [len(line.get_xdata()) for line in axis.lines] == [len(sheet.values) - 1, 1]
    rho = spearman(sheet.column("params").drop("FuSaNet"), sheet.column("rmse").drop("FuSaNet"))
    assert f"{rho:+.2f}" in axis.get_title()
    sun = read_sheet("huynh2021", "table3")
    axis, = audit_figures.possible_region(sun.column("imae"), sun.column("irmse"), ("iMAE", "iRMSE")).axes
    assert list(axis.lines[1].get_xdata()) == sun.column("imae").tolist()
    assert {text.get_text() for text in axis.texts} == {*sun.values.index, "possible", "impossible"}
