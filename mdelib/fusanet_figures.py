"""Figures of FuSaNet: its two passes, where its points lie, and what they are worth.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mdelib.diagrams import draw_flow
from mdelib.figures import COLOURS, WIDTH, new_figure, show_depth, show_image, show_share
from mdelib.models.fusanet import Prediction
from mdelib.points import SparsePoints

__all__ = ["Scene", "confidence_gain", "draw_passes", "place_errors", "point_scenes", "scatter_points",
           "size_against_error"]


@dataclass(frozen=True)
class Scene:
    """One view through a FuSaNet, with guiding points or without.

    Attributes:
        image: (3, H, W). given: the points that the first pass got, or None. found: `FuSaNet.predict` of this view
            alone. title: beside the row.
    """

    image: Tensor
    given: SparsePoints | None
    found: Prediction
    title: str


def draw_passes() -> Figure:
    """The way of an image through FuSaNet (huynh2021 Fig. 1): twice through the same Fusion-Net."""
    net, plain = "#CFE3F3", "0.92"
    boxes = ((0, 2.0, "image", plain), (0, 0.5, "guiding points\n(training only)", plain),
             (1.55, 1.25, "Fusion-Net", net), (3.0, 1.25, "depth,\nconfidence,\nfeatures", plain),
             (4.4, 0.5, "Saliency-Net", "#F6D5BF"), (4.4, 2.0, "Fusion-Net,\nsame weights", net),
             (6.0, 0.5, "salient points", plain), (6.0, 2.0, "final depth", plain))
    arrows = (((0.5, 2.0), (1.05, 1.45)), ((0.5, 0.5), (1.05, 1.05)), ((2.05, 1.25), (2.5, 1.25)),
              ((3.5, 1.05), (3.9, 0.6)), ((4.9, 0.5), (5.5, 0.5)), ((5.6, 0.85), (4.75, 1.6)),
              ((0.5, 2.2), (3.9, 2.2)), ((4.9, 2.0), (5.5, 2.0)))
    return draw_flow(boxes, arrows, xlim=(-0.6, 6.6), ylim=(-0.2, 2.5), height=2.5)


def scatter_points(axes: Axes, points: SparsePoints, place: int = 0, *, colour: str = "#D00000",
                   size: float = 6.0) -> None:
    """Draw the valid points of one image, in pixels of the image that `axes` shows."""
    rows, columns = points.pixels[place][points.valid[place]].cpu().unbind(-1)
    axes.scatter(columns, rows, s=size, c=colour, linewidths=0)


def point_scenes(scenes: Sequence[Scene], truth: Sequence[Tensor], limits: tuple[float, float]) -> Figure:
    """One row a scene (huynh2021 Fig. 6): input, confidence, saliency with its points, both depths, and the truth.

    Args:
        scenes: rows. truth: (1, H, W) metres for each. limits: of all depth maps, metres.
    """
    shape = scenes[0].image.shape[-2:]
    figure, axes = new_figure(len(scenes), 6, squeeze=False, height=WIDTH / 7 * shape[0] / shape[1] + 0.12)
    for row, (line, scene, depth) in enumerate(zip(axes, scenes, truth, strict=True)):
        titles = ("input", "confidence", "saliency, points", "first depth", "final depth", "truth")
        image, sure, salient, first, last, true = zip(line, titles if row == 0 else (None,) * 6, strict=True)
        show_image(image[0], scene.image, image[1])
        if scene.given is not None:
            scatter_points(image[0], scene.given, colour=COLOURS[1])
        image[0].set_ylabel(scene.title, fontsize=8)
        show_share(sure[0], scene.found.first_confidence[0], sure[1])
        whole = torch.nn.functional.interpolate(scene.found.saliency, size=tuple(shape), mode="bilinear")[0]
        show_share(salient[0], whole / whole.max(), salient[1])
        scatter_points(salient[0], scene.found.points)
        show_depth(first[0], scene.found.first_depth[0], first[1], limits=limits)
        show_depth(last[0], scene.found.depth[0], last[1], limits=limits)
        artist = show_depth(true[0], depth, true[1], limits=limits)
    figure.colorbar(artist, ax=axes[:, 3:], label="depth (m)", shrink=0.75, pad=0.01)
    return figure


def place_errors(panels: Mapping[str, Mapping[str, tuple[float, tuple[float, float]]]]) -> Figure:
    """Mean errors at kinds of places with their intervals, one panel a measure; a line marks the first place.

    Args:
        panels: title -> place -> (mean, interval).
    """
    figure, axes = new_figure(1, len(panels), height=0.9 + 0.34 * max(map(len, panels.values())), sharey=True,
                              squeeze=False)
    for axis, (title, values) in zip(axes[0], panels.items(), strict=True):
        axis.axvline(next(iter(values.values()))[0], color="0.4", lw=1)
        for index, (centre, span) in enumerate(values.values()):
            axis.plot(span, [index, index], color=COLOURS[0], alpha=0.5, lw=2)
            axis.plot(centre, index, "o", color=COLOURS[0], ms=7)
        axis.set(title=title)
        axis.set_yticks(range(len(values)), list(values))
    axes[0, 0].invert_yaxis()
    return figure


def confidence_gain(alpha: float = 0.5) -> Figure:
    """What L_C of huynh2021 Eq 4 pays for one unit of confidence, over the error at a pixel, metres."""
    figure, axes = new_figure(height=2.4)
    error = np.linspace(0, 6, 400)
    gain = 1 - np.log(error + alpha)
    turn = np.e - alpha
    axes.plot(error, gain, color=COLOURS[0])
    axes.fill_between(error, gain, 0, where=gain > 0, color=COLOURS[0], alpha=0.15)
    axes.fill_between(error, gain, 0, where=gain < 0, color=COLOURS[1], alpha=0.25)
    axes.axhline(0, color="0.4", lw=1)
    axes.annotate(f"{turn:.2f} m", (turn, 0), (turn + 0.3, 0.5), arrowprops={"arrowstyle": "->", "color": "0.3"})
    axes.set(xlabel="error |e| at a pixel (m)", ylabel="gain per confidence\n1 − ln(|e| + ½)")
    return figure


def size_against_error(tables: Mapping[str, pd.DataFrame], *, accented: str = "FuSaNet") -> Figure:
    """Published weights against relative error, one panel a table; one row is drawn in another colour.

    Args:
        tables: title -> a frame with one row a network and the columns ``params`` (millions) and ``rel``.
    """
    figure, axes = new_figure(1, len(tables), height=3.0, squeeze=False)
    for axis, (title, table) in zip(axes[0], tables.items(), strict=True):
        for name, row in table.iterrows():
            mine = name == accented
            axis.plot(row["params"], row["rel"], "D" if mine else "o", color=COLOURS[int(mine)], ms=7 if mine else 5)
            if mine or name in (table["params"].idxmax(), table["rel"].idxmax(), table["rel"].drop(accented).idxmin()):
                below = name == table["params"].idxmax()
                axis.annotate(name, (row["params"], row["rel"]), (0, -13 if below else 7), textcoords="offset points",
                              ha="center", fontsize=8)
        axis.set(xscale="log", title=title, xlabel="weights (million)", ylabel="REL")
        axis.margins(0.15)
    return figure
