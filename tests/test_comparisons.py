"""Figures that compare: what is drawn is what was given."""

from __future__ import annotations

import pytest

from mdelib.comparisons import change_bars, dot_panels
from mdelib.figures import new_figure


def test_dots_stand_at_their_values_and_the_line_at_the_first() -> None:
    rows = {"one": {"a": (1.0, (0.5, 2.0)), "b": (3.0, (2.0, 4.0))},
            "two": {"a": (1.5, (1.0, 2.0)), "b": (2.5, (2.0, 3.0))}}
    figure = dot_panels(rows, {"a": "A", "b": "B"}, bands={"a": 0.25}, accented=["two"])
    assert [axis.get_title() for axis in figure.axes] == ["A", "B"]
    line, *drawn = figure.axes[0].lines
    assert list(line.get_xdata()) == [1.0, 1.0]
    assert [float(drawn[i].get_xdata()[0]) for i in (1, 3)] == [1.0, 1.5]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["one", "two"]
    low, high = figure.axes[0].get_ylim()
    assert low > high  # the first row is at the top


def test_bars_are_cut_and_say_their_value() -> None:
    _, axis = new_figure()
    change_bars(axis, ["up", "down", "none"], [200.0, -5.0, 0.0], limit=70)
    assert [bar.get_width() for bar in axis.patches] == pytest.approx([70, -5, 0])
    assert [text.get_text() for text in axis.texts] == ["+200.0", "-5.0", "0"]
    assert axis.get_ylim() == (2.5, -0.5)


def test_panels_that_share_rows_keep_the_first_at_the_top() -> None:
    _, axes = new_figure(1, 2, sharey=True)
    for axis in axes:
        change_bars(axis, ["up", "down"], [1.0, -1.0], limit=2, texts=["a", "b"])
    assert axes[0].get_ylim() == (1.5, -0.5)
    assert [text.get_text() for text in axes[1].texts] == ["a", "b"]
