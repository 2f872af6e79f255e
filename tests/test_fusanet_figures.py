"""Figures of FuSaNet: what they draw, and that they draw it for the shapes they get."""

from __future__ import annotations

import math

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch

from mdelib import fusanet_figures as drawing
from mdelib.models import create_model
from mdelib.papers import load_table
from mdelib.points import SparsePoints


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def points() -> SparsePoints:
    valid = torch.tensor([[True, True, False]])
    return SparsePoints(torch.tensor([[[3, 7], [10, 20], [0, 0]]]), torch.ones(1, 3), torch.ones(1, 3), valid)


def test_points_are_drawn_where_they_are_if_they_are_valid() -> None:
    _, axes = plt.subplots()
    drawing.scatter_points(axes, points())
    assert axes.collections[0].get_offsets().tolist() == [[7, 3], [20, 10]]  # x is the column


def test_one_row_a_scene() -> None:
    network = create_model("fusanet", focal=0.81, salient=5).eval()
    image, depth = torch.rand(1, 3, 32, 48), torch.rand(1, 1, 32, 48)
    with torch.no_grad():
        scenes = [drawing.Scene(image[0], given, network.predict(image, given), title)
                  for given, title in ((points(), "with"), (None, "without"))]
    figure = drawing.point_scenes(scenes, [depth[0], depth[0]], (1.0, 4.0))
    axes = figure.axes[:12]
    assert axes[0].get_title() == "input" and axes[6].get_title() == ""
    assert [axis.get_ylabel() for axis in (axes[0], axes[6])] == ["with", "without"]
    assert len(axes[0].collections) == 1 and not axes[6].collections  # guiding points in the first row alone
    assert len(axes[2].collections[0].get_offsets()) == 5
    assert figure.axes[-1].get_ylabel() == "depth (m)"


def test_the_passes_have_their_boxes() -> None:
    words = [text.get_text() for text in drawing.draw_passes().axes[0].texts]
    assert {"image", "Saliency-Net", "salient points", "final depth"} <= set(words)


def test_the_gain_turns_where_the_logarithm_is_one() -> None:
    axes = drawing.confidence_gain().axes[0]
    x, y = axes.lines[0].get_data()
    assert y[0] == pytest.approx(1 - math.log(0.5)) and abs(x[abs(y).argmin()] - (math.e - 0.5)) < 0.02
    assert axes.texts[0].get_text() == "2.22 m"


def test_errors_at_places() -> None:
    values = {"random": (0.3, (0.2, 0.4)), "salient": (0.25, (0.2, 0.3))}
    figure = drawing.place_errors({"AbsRel": values, "RMSE": values})
    assert [axis.get_title() for axis in figure.axes] == ["AbsRel", "RMSE"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["random", "salient"]
    assert figure.axes[0].lines[0].get_xdata()[0] == 0.3


def test_size_against_error_accents_one_row() -> None:
    table = load_table("huynh2021", "table1").pivot(index="row", columns="column", values="value")
    figure = drawing.size_against_error({"NYU": table, "again": pd.DataFrame(table)})
    axes = figure.axes[0]
    assert len(axes.lines) == len(table) and axes.get_xscale() == "log"
    assert "FuSaNet" in [text.get_text() for text in axes.texts]
