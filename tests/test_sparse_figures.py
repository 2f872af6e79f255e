"""`mdelib.sparse_figures`: each line of a figure holds the numbers of the runs it stands for."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from mdelib import sparse_figures as drawing
from mdelib.store import Result

NETWORKS = {"cnn": "CNN", "transformer": "Transformer"}


def run(name: str, lam: float, seed: int = 0, **metrics: float) -> Result:
    return Result("sparse_pixels", f"{name}_{lam:g}", "nyu", "study", seed, "key", {"sparse": {"lam": lam}}, metrics)


def lines(axis) -> dict[str, tuple[list[float], list[float]]]:
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines
            if not line.get_label().startswith("_")}


def test_by_lambda_sorts_and_averages_over_seeds():
    results = [run("cnn", 3, rmse=3.0), run("cnn", 0.3, rmse=1.0), run("cnn", 3, 1, rmse=5.0),
               run("transformer", 1, rmse=9.0)]
    lam, rmse = drawing.by_lambda(results, "cnn", "rmse")
    assert lam.tolist() == [0.3, 3] and rmse.tolist() == [1, 4]
    assert np.isnan(drawing.by_lambda(results, "cnn", "auc_object_borders")[1]).all()
    assert drawing.by_lambda(results, "other", "rmse")[0].size == 0


def test_covering_begins_with_no_picture_and_has_its_chord():
    shares = torch.tensor([0.5, 1.0])
    figure = drawing.cost_of_covering(shares, {"veil": {"CNN": [-1.5, -2.0]}}, {"CNN": (-1.0, -2.0)})
    axis, = figure.axes
    assert lines(axis)["veil"] == ([0, 0.5, 1.0], [-1.0, -1.5, -2.0])
    assert any(list(line.get_ydata()) == [-1.0, -2.0] for line in axis.lines)


def test_error_over_sparseness_ends_at_the_whole_picture():
    results = [run("cnn", lam, sparseness=share, rmse=error, rmse_uniform=error + 1, rmse_full=0.5)
               for lam, share, error in ((1, 0.8, 0.6), (3, 0.2, 0.9))]
    printed = pd.DataFrame({f"{name}_{what}": [1.0, 0.4] for name in NETWORKS for what in ("sparseness", "rmse")})
    figure = drawing.error_over_sparseness({"NYU": results}, NETWORKS, printed)
    ours, theirs = figure.axes
    share, rmse = lines(ours)["CNN"]
    assert share == pytest.approx([0.2, 0.8, 1]) and rmse == pytest.approx([0.9, 0.6, 0.5])
    veil = next(line for line in ours.lines if line.get_linestyle() == "--")
    assert list(veil.get_ydata()) == pytest.approx([1.9, 1.6, 0.5])
    assert "Transformer" not in lines(ours) and set(lines(theirs)) == {"CNN", "Transformer"}


def test_exchange_shows_the_other_network_the_masks_of_the_first():
    results = [run("cnn", 1, rmse_mask_10=1.0, rmse_other_10=2.0, rmse_other_half=7.0, rmse_full=0.5),
               run("transformer", 1, rmse_mask_10=3.0, rmse_other_10=4.0, rmse_full=0.6),
               run("cnn", 5, rmse_random_10=5.0), run("transformer", 5, rmse_random_10=6.0)]
    figure = drawing.exchange({"NYU": results}, NETWORKS, lam=1)
    left, right = (lines(axis) for axis in figure.axes[:2])
    assert left["own mask"] == ([10], [1.0]) and left["the other's mask"] == ([10], [4.0])
    assert right["own mask"] == ([10], [3.0]) and right["the other's mask"] == ([10], [2.0])
    assert left["random pixels"] == ([10], [5.0]) and right["random pixels"] == ([10], [6.0])


def test_masks_lie_where_their_auc_says():
    known = {"auc_depth_edges": 0.7, "auc_image_edges": 0.6, "auc_depth_edges_of_gradient": 0.9}
    figure = drawing.where_masks_lie({"NYU": [run(name, 1, **known) for name in NETWORKS]}, NETWORKS)
    image, depth, objects = figure.axes
    assert lines(image)["CNN, NYU"][1] == pytest.approx([0.6]) and lines(depth)["CNN, NYU"][1] == pytest.approx([0.7])
    assert lines(objects) == {} and [text.get_text() for text in depth.texts] == ["gradient, NYU"]
