"""The figures of notebooks 13 and 14 show what they were given, and the study's table keeps its numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mdelib.attribution_figures import (
    along_the_way,
    cue_rows,
    curve_panels,
    method_rows,
    photo_sheet,
    rank_table,
    study_values,
)
from mdelib.exercises.attribution import EXERCISES
from mdelib.store import Result


def test_methods_stand_in_their_columns_and_gaps_stay_empty() -> None:
    image, depth = torch.rand(3, 12, 16), 1 + torch.rand(1, 12, 16)
    rows = [(image, depth, {"a": torch.rand(12, 16)}),
            (image, depth, {"a": torch.rand(12, 16), "b": torch.randn(12, 16)})]
    figure = method_rows(rows, labels=["one", "two"], places=[(3, 4), None], titles=["b", "a"])
    titles = [axes.get_title() for axes in figure.axes[:4]]
    assert titles == ["image", "predicted depth", "b", "a"] and len(figure.axes) == 8
    assert not figure.axes[2].axison and figure.axes[3].images and figure.axes[0].lines
    signed, strength = figure.axes[6].images[0], figure.axes[7].images[0]
    assert signed.norm.vmin == pytest.approx(-signed.norm.vmax) and strength.norm.vmin >= 0


def test_curves_ways_cues_and_sheets() -> None:
    curves = curve_panels({"net": {"a": ([1, 5], [0.1, 0.2], [0.0, 0.1]), "b": ([1, 5], [0.3, 0.4], [0.2, 0.2])}})
    assert curves.axes[0].lines[0].get_ydata().tolist() == [0.1, 0.2] and len(curves.axes[0].lines) == 4
    assert len(along_the_way({"black": (torch.linspace(0, 1, 5), torch.rand(5))}).axes[0].lines) == 1
    image, effect = torch.rand(3, 8, 8), torch.randn(8, 8)
    assert len(cue_rows([(cue, image, image, effect, {"a": effect}) for cue in ("size", "contact")]).axes) == 8
    sheet = photo_sheet(image, torch.rand(1, 8, 8), {"a": effect, "b": effect}, "title")
    assert len(sheet.axes) == 7  # two rows of three, and a colour bar


def test_the_sheet_says_what_colours_and_cross_mean() -> None:
    image, depth = torch.rand(3, 8, 16), 1 + torch.rand(1, 8, 16)
    plain = photo_sheet(image, depth, {"a": torch.rand(8, 16)}, "title", unit="")
    assert "Red" not in plain.get_supxlabel() and "cross" not in plain.get_supxlabel()
    assert plain.axes[-1].get_xlabel() == "depth without a unit, near to far"
    sheet = photo_sheet(image, depth, {"a": torch.randn(8, 16)}, "title", place=(2, 5), stretch=2.0)
    assert "Red: it makes the answer larger" in sheet.get_supxlabel() and "cross" in sheet.get_supxlabel()
    assert sheet.axes[0].get_xlabel() == "column" and sheet.axes[0].get_ylabel() == "row"
    assert sheet.axes[-1].get_xlabel() == "depth (m), near to far"
    for axis in sheet.axes[:3]:
        assert axis.get_aspect() == 2.0
        assert all((line.get_xdata()[0], line.get_ydata()[0]) == (5, 2) for line in axis.lines) and axis.lines


def test_ranks_by_hand() -> None:
    figure = rank_table(pd.DataFrame({"x": [3.0, 1.0, 2.0], "y": [1.0, 2.0, np.nan]}, index=["a", "b", "c"]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["1", "2", "3", "1", "2", "–"]


def test_the_studys_table() -> None:
    result = Result("attribution_meter", "meter_saliency", "nyu", "study", 0, "k", {}, {},
                    {"gap_rmse": [1.0, 2.0, 3.0], "infidelity": [None, None, None]}, ["a", "b", "c"])
    table = study_values([result], "meter", {"gap_rmse": "area", "infidelity": "missed", "gap_none": "none"})
    assert table.iloc[0]["map"] == "saliency" and table.iloc[0]["area"].startswith("+2.00 (+1")
    assert table.iloc[0]["missed"] == table.iloc[0]["none"] == "–"


@pytest.mark.parametrize("name", EXERCISES)
def test_exercises_know_right_wrong_and_not_attempted(name: str) -> None:
    exercise = EXERCISES[name]
    assert exercise(exercise.reference).state == "passed" and exercise(lambda *_: ...).state == "not attempted yet"
    for mistake, hint in exercise.mistakes:
        found = exercise(mistake)
        assert found.state == "failed" and hint in found.message
