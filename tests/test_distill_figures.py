"""Figures of distillation: what they draw, and that they draw it for the shapes they get."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from mdelib import distill_figures as drawing


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def sweep() -> pd.DataFrame:
    return pd.DataFrame({"x": [0.1, 0.1, 0.2, 0.2, 0.3], "seed": [0, 1, 0, 1, 0],
                         "abs_rel": [1.0, 3.0, 5.0, 5.0, 4.0], "rmse": [1.0, 1.0, 1.0, 1.0, 1.0]})


def test_the_ways_have_their_boxes() -> None:
    words = {text.get_text() for text in drawing.draw_distillation().axes[0].texts}
    assert {"image", "student", "teacher,\nany network", "L_DPM\n(Eq 5)", "L_depth\n(Eq 6)"} <= words


def test_a_gallery_has_a_row_a_network_and_a_box_in_each_panel() -> None:
    rows = {"input": [torch.rand(3, 6, 8)] * 2, "student": [torch.rand(1, 6, 8)] * 2}
    figure = drawing.depth_gallery(rows, [(0.0, 1.0), (0.0, 2.0)], boxes=[(1, 2, 3, 4), (0, 0, 2, 2)])
    assert len(figure.axes) == 4
    assert [axis.get_ylabel() for axis in figure.axes] == ["input", "", "student", ""]
    box = figure.axes[2].patches[0]
    assert (box.get_xy(), box.get_width(), box.get_height()) == ((2, 1), 4, 3)
    assert figure.axes[3].images[0].get_clim() == (0.0, 2.0)
    assert not drawing.depth_gallery(rows, [(0.0, 1.0)] * 2).axes[0].patches


def test_steps_are_coloured_by_what_their_interval_says() -> None:
    steps = {"better": (-0.2, (-0.3, -0.1)), "worse": (0.2, (0.1, 0.3)), "cannot be told": (0.1, (-0.1, 0.3))}
    axes = drawing.gain_steps(steps, "m").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(steps)
    colours = [line.get_color() for line in axes.lines[1:6:2]]
    assert len(set(colours)) == 3 and colours[2] == "0.5"


def test_the_nearest_student_of_each_teacher_has_a_frame() -> None:
    table = pd.DataFrame({"A": [0.1, 0.3], "B": [0.4, 0.2]}, index=["one", "two"])
    axes = drawing.similarity_grid(table, "AbsRel").axes[0]
    assert [patch.get_xy() for patch in axes.patches] == [(-0.47, -0.45), (0.53, 0.55)]
    assert [text.get_text() for text in axes.texts] == ["0.100", "0.400", "0.300", "0.200"]


def test_the_smallest_value_of_a_map_has_a_frame() -> None:
    table = pd.DataFrame([[0.4, 0.3], [0.2, 0.5]], index=[0.1, 1.0], columns=[0.15, 0.8])
    axes = drawing.value_map(table, "AbsRel", ("α", "σ (m)")).axes[0]
    frame, = axes.patches
    assert frame.get_xy() == (-0.47, 0.55)
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("α", "σ (m)")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.1", "1.0"]


def test_spread_is_pooled_over_points_that_have_two_seeds() -> None:
    assert drawing.pooled_spread(sweep(), "abs_rel") == pytest.approx(1.0)  # variances 2 and 0; the third has one seed
    assert math.isnan(drawing.pooled_spread(sweep().drop_duplicates("x"), "abs_rel"))
    many = pd.DataFrame({"x": np.repeat([1, 2], 3), "y": [1.0, 2, 3, 10, 10, 13]})
    by_hand = (many[many.x == 1].y.var() + many[many.x == 2].y.var()) / 2
    assert drawing.pooled_spread(many, "y") == pytest.approx(by_hand**0.5)


def test_curves_have_their_band_and_their_mark() -> None:
    figure = drawing.sweep_panels({"ours": sweep(), "one seed": sweep().drop_duplicates("x")},
                                  {"abs_rel": "AbsRel", "rmse": "RMSE"}, "α", marks={"rmse": 0.9})
    first, second = figure.axes
    line = first.lines[0]
    assert line.get_xdata().tolist() == [0.1, 0.2, 0.3] and line.get_ydata().tolist() == [2.0, 5.0, 4.0]
    assert len(first.collections) == 1  # no band where no point has two seeds
    assert not [item for item in first.lines if item.get_linestyle() == ":"]
    assert next(item for item in second.lines if item.get_linestyle() == ":").get_ydata()[0] == 0.9
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["ours", "one seed"]
