"""`mdelib.dissection_figures`: what is drawn is what was measured, sorted, and nothing where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba

from mdelib import dissection_figures as drawing
from mdelib.dissection_figures import UnitView
from mdelib.figures import COLOURS, new_figure
from mdelib.selectivity import depth_bin_edges
from mdelib.store import Result

NAN = float("nan")
EDGES = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
# unit 0 likes bin 2, unit 1 bin 0, unit 2 bin 2 as well but leans to the near side
RESPONSE = torch.tensor([[0.0, 1.0, 4.0, NAN], [-3.0, 0.0, 1.0, NAN], [2.0, 1.0, 4.0, NAN]], dtype=torch.float64)


def result(**tables) -> Result:
    return Result("dissection", "hu", "nyu", "lab", 0, "k", {}, {}, tables=tables)


def view(unit: int = 3, own: int = 1) -> UnitView:
    depth = torch.tensor([[[0.5, 1.0, 1.5], [2.0, 2.5, 9.0]]])
    return UnitView(torch.rand(3, 2, 3), depth, torch.rand(1, 2), EDGES, own, f"unit {unit}")


def test_a_stored_table_has_nan_where_nothing_is_known():
    table = drawing.stored_table(result(**{"response/mff/test": [[1.0, None], [0.5, None]]}), "response/mff/test")
    assert table.dtype == torch.float64 and table[:, 0].tolist() == [1, 0.5] and table[:, 1].isnan().all()


@pytest.mark.parametrize(("tables", "words"), [
    ({"edges": [0, 1]}, "dissection/hu/nyu-lab/seed0 has no table 'response/mff/test': expected one of edges"),
    ({}, "it measured no dissection"),
])
def test_a_table_that_was_not_kept_is_named(tables, words):
    with pytest.raises(ValueError, match=words):
        drawing.stored_table(result(**tables), "response/mff/test")


def test_units_are_sorted_by_their_best_bin_and_then_by_where_they_lean():
    assert drawing.unit_order(RESPONSE).tolist() == [1, 2, 0]


def test_the_order_is_a_permutation_that_does_not_see_scale_or_sign():
    response = torch.randn(12, 6)
    order = drawing.unit_order(response)
    assert sorted(order.tolist()) == list(range(12))
    assert order.tolist() == drawing.unit_order(-5 * response).tolist()
    best = response.abs().argmax(1)[order]
    assert (best.diff() >= 0).all()


def test_the_centre_of_a_response_by_hand():
    assert drawing.response_centre(RESPONSE).tolist() == pytest.approx([9 / 5, 2 / 4, 9 / 7])
    assert drawing.response_centre(torch.eye(4)).tolist() == [0, 1, 2, 3]


def test_units_that_follow_their_task_rise_and_the_others_are_beside_them():
    figure = drawing.task_plot({"D": {"baseline": [torch.ones(4, 4)], "interpretable": [torch.eye(4)] * 2}}, EDGES)
    baseline, first, second = figure.axes[0].lines
    assert baseline.get_ydata().tolist() == [1.5] * 4
    assert first.get_ydata().tolist() == second.get_ydata().tolist() == [0, 1, 2, 3]
    assert first.get_xdata().tolist() == pytest.approx([0.1, 1.1, 2.1, 3.1])
    assert baseline.get_xdata().tolist() == pytest.approx([-0.1, 0.9, 1.9, 2.9])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["baseline", "interpretable"]


def test_more_units_than_bins_share_them():
    figure = drawing.task_plot({"D": {"x": [torch.rand(8, 4)]}}, EDGES)
    assert figure.axes[0].lines[0].get_xdata().tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    with pytest.raises(ValueError, match="2 units for 4 depth bins"):
        drawing.task_plot({"D": {"x": [torch.rand(2, 4)]}}, EDGES)


def test_a_silent_unit_has_its_place_in_the_order():
    assert sorted(drawing.unit_order(torch.zeros(2, 3)).tolist()) == [0, 1]


def test_bins_are_named_by_their_depths():
    edges = depth_bin_edges(16, 0.75, 10.0)
    assert drawing.bin_title(edges, 0) == "0–0.75 m" and drawing.bin_title(edges, 15) == "8.5–10 m"


def test_ticks_stand_at_the_borders_of_bins():
    _, axes = new_figure()
    drawing.depth_ticks(axes, EDGES)
    assert axes.get_xticks().tolist() == [0.5, 1.5, 2.5, 3.5]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3", "4"]
    assert axes.get_xlim() == (-0.5, 3.5)


def test_bars_show_the_signed_response_and_mark_the_own_bin():
    _, axes = new_figure()
    drawing.response_bars(axes, RESPONSE[1], EDGES)
    assert [bar.get_height() for bar in axes.patches] == [-3, 0, 1, 0]
    assert [bar.get_facecolor() == to_rgba(COLOURS[1]) for bar in axes.patches] == [True, False, False, False]
    _, axes = new_figure()
    drawing.response_bars(axes, RESPONSE[1], EDGES, own=2)
    assert axes.patches[2].get_facecolor() == to_rgba(COLOURS[1]) != axes.patches[0].get_facecolor()


def test_maps_show_sizes_relative_to_each_unit_sorted_and_grey_where_no_pixel_is():
    figure = drawing.dissection_maps({"D": {"baseline": RESPONSE, "interpretable": RESPONSE.flip(0)}}, EDGES)
    first, second = (axes.images[0] for axes in figure.axes[:2])
    shown = first.get_array()
    assert np.allclose(shown[:, :3], [[1, 0, 1 / 3], [0.5, 0.25, 1], [0, 0.25, 1]])
    assert np.ma.getmaskarray(shown)[:, 3].all() and not np.ma.getmaskarray(shown)[:, :3].any()
    assert np.allclose(shown, second.get_array())  # the same units in another order give the same picture
    assert first.get_clim() == second.get_clim() == (0, 1)
    assert figure.axes[0].get_title() == f"baseline\nmean DS {(7 / 9 + 5 / 7 + 5 / 11) / 3:.2f}"
    assert "3 units" in figure.axes[0].get_ylabel()


def test_a_dead_unit_is_drawn_as_silent():
    figure = drawing.dissection_maps({"D": {"x": torch.tensor([[0.0, 0.0], [1.0, 2.0]])}}, EDGES[:3])
    assert sorted(figure.axes[0].images[0].get_array().max(1).tolist()) == [0, 1]


def test_curves_fall_and_each_network_is_named_once():
    real = [torch.tensor([0.2, 0.9, 0.5]), torch.tensor([0.3, 0.1, 0.6])]
    shuffled = [torch.tensor([0.4, 0.3, 0.2]), torch.tensor([0.1, 0.2, 0.6])]
    figure = drawing.selectivity_curves({"D": {"baseline": (real, shuffled)}, "MFF": {"baseline": (real, shuffled)}},
                                        expected=1 / 3)
    lines = figure.axes[0].lines
    assert [line.get_ydata().tolist() for line in lines[:2]] == [pytest.approx([0.9, 0.5, 0.2]),
                                                               pytest.approx([0.6, 0.3, 0.1])]
    assert [line.get_linestyle() for line in lines] == ["-", "-", "--", ":"]
    assert lines[2].get_ydata().tolist() == pytest.approx([0.5, 0.25, 0.15])  # the mean of both, sorted
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["baseline", "baseline, shuffled depth", "uniform law"]


def test_a_map_of_one_sign_begins_at_black_and_one_of_both_is_symmetric():
    _, axes = new_figure(1, 2)
    drawing.show_activation(axes[0], torch.tensor([[0.0, 2.0], [1.0, 0.0]]))
    drawing.show_activation(axes[1], torch.tensor([[-3.0, 2.0], [1.0, 0.0]]))
    assert axes[0].images[0].get_clim() == (0, 2) and axes[1].images[0].get_clim() == (-3, 3)
    _, axes = new_figure()
    drawing.show_activation(axes, torch.zeros(2, 2))  # a dead unit, limits 0 to almost 0
    assert axes.images[0].get_array().max() == 0


def test_the_mask_holds_a_bin_without_its_near_edge():
    assert view(own=1).mask.tolist() == [[False, False, True], [True, False, False]]
    assert view(own=0).mask.tolist() == [[True, True, False], [False, False, False]]


def test_a_grid_has_three_pictures_a_unit_and_hides_the_rest():
    figure = drawing.unit_grid([view(3), view(5, own=2), view(8)], columns=2)
    assert len(figure.axes) == 12
    assert [axes.get_title() for axes in figure.axes[:6]] == ["unit 3", "1–2 m", "activation", "unit 5", "2–3 m",
                                                             "activation"]
    assert [len(axes.images) for axes in figure.axes] == [1] * 9 + [0] * 3
    assert not any(axes.axison for axes in figure.axes[9:])
    assert np.array_equal(figure.axes[1].images[0].get_array(), view(own=1).mask)


def test_a_grid_needs_a_unit():
    with pytest.raises(ValueError, match="no units to draw"):
        drawing.unit_grid([])


def test_a_card_shows_predicted_depth_only_in_the_units_range():
    unit = view(own=1)
    figure = drawing.unit_card(unit, RESPONSE[0])
    image, depth, _, bars = figure.axes
    assert np.array_equal(~np.ma.getmaskarray(depth.images[0].get_array()), unit.mask)
    assert depth.images[0].get_clim() == (1, 4) and depth.get_title() == "predicted 1–2 m"
    assert bars.patches[1].get_facecolor() == to_rgba(COLOURS[1])
    assert bars.get_title() == "DS 0.78" and image.get_title() == "view"


def test_the_ablation_matrix_is_symmetric_framed_and_shares_its_limits():
    matrix = torch.tensor([[0.1, 0.2, -0.1, NAN], [0.3, 0.0, 0.0, NAN], [0.0, 0.0, -0.05, NAN]], dtype=torch.float64)
    figure = drawing.ablation_maps({"baseline": (matrix, RESPONSE), "other": (0.1 * matrix, RESPONSE)}, EDGES)
    one, two = (axes.images[0] for axes in figure.axes[:2])
    low, high = one.get_clim()
    assert low == -high and one.get_clim() == two.get_clim() and 0.2 < high <= 0.3
    assert np.allclose(one.get_array()[:, :3], matrix[[1, 2, 0], :3])
    assert np.ma.getmaskarray(one.get_array())[:, 3].all()
    frames = [(frame.get_x(), frame.get_y()) for frame in figure.axes[0].patches]
    assert frames == [(-0.5, -0.5), (1.5, 0.5), (1.5, 1.5)]  # best bins 0, 2, 2 of the sorted units


def test_an_ablation_without_any_known_bin_is_drawn_grey():
    nothing = torch.full((3, 4), NAN, dtype=torch.float64)
    figure = drawing.ablation_maps({"x": (nothing, RESPONSE)}, EDGES)
    assert np.ma.getmaskarray(figure.axes[0].images[0].get_array()).all()
