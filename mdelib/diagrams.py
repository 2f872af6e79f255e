"""Boxes and arrows: how data goes through a network or a training."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from mdelib.figures import new_figure

__all__ = ["Box", "draw_flow"]

Box = tuple[float, float, str, str]  # centre x and y, words, colour
Point = tuple[float, float]


def draw_flow(boxes: Sequence[Box], arrows: Sequence[tuple[Point, Point]], *, xlim: Point, ylim: Point,
              height: float) -> Figure:
    """Boxes of one size, 0.94 wide and 0.66 high, and arrows (start, end) between them.

    Args:
        boxes, arrows, xlim, ylim: in the same units. height: of the figure, inches.
    """
    figure, axes = new_figure(height=height)
    axes.set(xlim=xlim, ylim=ylim)
    axes.axis("off")
    for x, y, text, colour in boxes:
        axes.add_patch(FancyBboxPatch((x - 0.47, y - 0.33), 0.94, 0.66, boxstyle="round,pad=0.02", facecolor=colour,
                                      edgecolor="0.4", lw=0.8))
        axes.text(x, y, text, ha="center", va="center", fontsize=8.5)
    for start, end in arrows:
        axes.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": "0.3"})
    return figure
