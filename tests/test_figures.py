"""`mdelib.figures`: colours mean what the captions say, limits are shared, nothing is drawn where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb

from mdelib import figures


def test_normals_red_faces_right_green_up_blue_the_camera_and_none_is_grey() -> None:
    normals = torch.tensor([[[1.0, 0.0, 0.0, 0.0]], [[0.0, -1.0, 0.0, 0.0]], [[0.0, 0.0, -1.0, 0.0]]]).repeat(1, 2, 1)
    _, axes = figures.new_figure()
    drawn = np.asarray(figures.show_normals(axes, normals, "normals").get_array())
    assert np.allclose(drawn[0], [[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1], [0.6, 0.6, 0.6]])
    assert axes.get_title() == "normals"


def test_labels_one_colour_an_id_and_nothing_is_grey() -> None:
    labels = torch.tensor([[[0, 10, 10], [1, 2, 0]]])
    _, axes = figures.new_figure()
    drawn = np.asarray(figures.show_labels(axes, labels).get_array())
    assert np.allclose(drawn[0, 0], 0.6) and np.allclose(drawn[1, 2], 0.6)
    assert np.array_equal(drawn[0, 1], drawn[0, 2])
    assert len({tuple(drawn[i, j]) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1))}) == 4


def test_the_camera_from_above_has_its_wedge_a_line_of_depth_and_an_arc_of_range() -> None:
    camera = torch.tensor([[10.0, 0.0, 9.5], [0.0, 10.0, 4.5], [0.0, 0.0, 1.0]])
    _, axes = figures.new_figure()
    axes.set_ylim(0, 5)
    figures.draw_camera_from_above(axes, camera, (10, 20), depth=2.0)
    left, right, line, arc, _ = axes.lines
    assert (left.get_xdata()[1], right.get_xdata()[1]) == (-5, 5)  # half the width is the focal length: 45°
    assert np.allclose(line.get_ydata(), 2) and np.allclose(line.get_xdata(), [-2, 2])
    assert np.allclose(np.hypot(arc.get_xdata(), arc.get_ydata()), 2)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["depth 2.0 m", "range 2.0 m"]


def test_depth_statistics_count_only_what_is_known() -> None:
    depth = torch.tensor([[[[1.0, 1.0], [2.0, 4.0]]], [[[3.0, 0.0], [4.0, 4.0]]]])
    figure = figures.depth_statistics({"toy": (depth, depth > 0), "same": (depth + 1, depth > 0)})
    often, where = figure.axes
    assert where.lines[0].get_xdata() == pytest.approx([5 / 3, 3.5])
    assert where.yaxis_inverted()
    assert sum(often.patches[0].get_data().values) == pytest.approx(100)


def test_depth_statistics_leave_out_a_row_that_nobody_knows() -> None:
    depth = torch.tensor([[[[0.0, 0.0], [2.0, 4.0], [1.0, 1.0]]]])
    profile = figures.depth_statistics({"toy": (depth, depth > 0)}).axes[1].lines[0].get_xdata()
    assert np.isnan(profile[0]) and profile[1:] == pytest.approx([3, 1])


def test_depth_outside_the_mask_is_not_drawn() -> None:
    _, axes = figures.new_figure()
    mask = torch.tensor([[[True, False], [True, True]]])
    drawn = figures.show_depth(axes, torch.ones(1, 2, 2), limits=(0, 4), mask=mask)
    assert np.ma.getmaskarray(drawn.get_array()).tolist() == [[False, True], [False, False]]
    assert drawn.get_clim() == (0, 4)
    assert to_rgb(drawn.cmap.get_bad()) == (0.6, 0.6, 0.6)


def test_signed_maps_have_symmetric_limits() -> None:
    _, axes = figures.new_figure()
    assert figures.show_signed(axes, torch.tensor([[[-1.0, 3.0], [0.0, 1.0]]]), limit=2.0).get_clim() == (-2, 2)


def test_the_rows_of_a_figure_share_the_limits_that_are_given() -> None:
    row = {"image": torch.rand(3, 4, 6), "ground truth": torch.rand(1, 4, 6), "error": torch.rand(1, 4, 6)}
    figure = figures.image_rows([row, row], depth_limits=(0, 5), error_limit=1, masks=[None, None])
    maps = [axes.images[0] for axes in figure.axes if axes.images]
    limits = [drawn.get_clim() for drawn in maps if drawn.get_array().ndim == 2]
    assert limits == [(0, 5), (-1, 1), (0, 5), (-1, 1)]
    assert {axes.get_ylabel() for axes in figure.axes} >= {"depth (m)", "error (m)"}


def test_shares_are_drawn_from_black_to_white_and_get_no_depth_scale():
    _, axes = figures.new_figure()
    drawn = figures.show_share(axes, torch.tensor([[[True, False], [False, True]]]))
    assert drawn.get_clim() == (0, 1) and np.asarray(drawn.get_array()).tolist() == [[1.0, 0.0], [0.0, 1.0]]
    figure = figures.image_rows([{"mask": torch.rand(1, 4, 6), "gradient": torch.rand(1, 4, 6)}])
    assert len(figure.axes) == 2
