"""Figures of distillation: the way from a teacher to a student, depth maps side by side, and curves over α and σ.

Explained in notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mdelib.diagrams import draw_flow
from mdelib.figures import COLOURS, WIDTH, interval_plot, new_figure, show_depth, show_image
from mdelib.relief import is_inside_out

__all__ = ["depth_gallery", "draw_distillation", "gain_steps", "pooled_spread", "relief_boxes", "similarity_grid",
           "sweep_panels", "value_map"]


def draw_distillation() -> Figure:
    """Who says what to whom in TIE-KD (choi2024 Fig. 2)."""
    teacher, student, plain = "#F6D5BF", "#CFE3F3", "0.92"
    boxes = ((0, 1.2, "image", plain), (1.4, 2.1, "teacher,\nany network", teacher),
             (1.4, 0.3, "student", student), (2.9, 2.1, "its depth", teacher),
             (4.5, 2.1, "its probability\nmap (Eq 1, 2)", teacher),
             (2.9, 0.3, "its probability\nmap", student), (4.5, 0.3, "its depth\n(Eq 3)", student),
             (6.1, 1.75, "L_DPM\n(Eq 5)", plain), (6.1, 0.65, "L_depth\n(Eq 6)", plain))
    arrows = (((0.5, 1.4), (0.9, 1.9)), ((0.5, 1.0), (0.9, 0.5)), ((1.9, 2.1), (2.4, 2.1)),
              ((3.4, 2.1), (4.0, 2.1)), ((1.9, 0.3), (2.4, 0.3)), ((3.4, 0.3), (4.0, 0.3)),
              ((5.0, 2.1), (5.6, 1.85)), ((3.4, 0.65), (5.6, 1.6)), ((5.0, 0.35), (5.6, 0.55)),
              ((3.4, 1.75), (5.6, 0.8)))
    return draw_flow(boxes, arrows, xlim=(-0.6, 6.7), ylim=(-0.35, 2.6), height=2.7)


def depth_gallery(rows: Mapping[str, Sequence[Tensor]], limits: Sequence[tuple[float, float]], *,
                  boxes: Sequence[tuple[int, int, int, int]] | None = None) -> Figure:
    """One row a network, one column a scene (choi2024 Figs. 1, 3, 6-8); three channels are drawn as an image.

    Args:
        rows: title -> one (C, H, W) a scene. limits: of each scene's depth, metres.
        boxes: one (top, left, height, width) a scene, in pixels, drawn in all rows.
    """
    count = len(next(iter(rows.values())))
    shape = next(iter(rows.values()))[0].shape
    height = (WIDTH - 0.7) / count * shape[-2] / shape[-1] + 0.04
    figure, axes = new_figure(len(rows), count, squeeze=False, height=height)
    for row, (title, maps) in zip(axes, rows.items(), strict=True):
        for place, (axis, values) in enumerate(zip(row, maps, strict=True)):
            show_image(axis, values) if len(values) == 3 else show_depth(axis, values, limits=limits[place])
            if boxes is not None:
                top, left, tall, wide = boxes[place]
                axis.add_patch(Rectangle((left, top), wide, tall, fill=False, edgecolor="#00A000", lw=1.6))
        row[0].set_ylabel(title, fontsize=8.5)
    return figure


def gain_steps(steps: Mapping[str, tuple[float, tuple[float, float]]], label: str) -> Figure:
    """Changes from one training to the next, one row each, with intervals and a line at zero.

    Args:
        steps: what was changed -> (difference, interval). label: of the axis, with the unit.
    """
    figure, axes = new_figure(height=0.9 + 0.36 * len(steps))
    centres, spans = [value for value, _ in steps.values()], [span for _, span in steps.values()]
    colours = [COLOURS[0] if high < 0 else COLOURS[1] if low > 0 else "0.5" for low, high in spans]
    interval_plot(axes, list(steps), centres, spans, colours=colours)
    axes.set(xlabel=label)
    return figure


def relief_boxes(students: Mapping[str, Sequence[Sequence[float]]]) -> Figure:
    """Correlations of depth with the true depth, view by view: one box a training, the students below each other.

    Args:
        students: title -> the values of the views, one list a seed; from -1, inside out, to 1, the true relief.
    """
    lists = [(row, values) for row, seeds in enumerate(students.values()) for values in seeds]
    figure, axes = new_figure(height=0.9 + 0.2 * len(lists) + 0.12 * len(students))
    places, titles, place = [], {}, 0.0
    for title, seeds in students.items():
        titles[place + (len(seeds) - 1) / 2] = title
        places += [place + k for k in range(len(seeds))]
        place += len(seeds) + 0.7
    boxes = axes.boxplot([np.asarray(values) for _, values in lists], positions=places, orientation="horizontal",
                         widths=0.7, whis=(5, 95), showfliers=False, patch_artist=True,
                         medianprops={"color": "black", "lw": 1.4})
    for box, (_, values) in zip(boxes["boxes"], lists, strict=True):
        turned = is_inside_out(values)
        box.set(facecolor=COLOURS[1] if turned else COLOURS[0], alpha=0.6, hatch="///" if turned else None)
    axes.axvline(0, color="0.3", lw=1)
    axes.set(yticks=list(titles), yticklabels=list(titles.values()), xlim=(-1, 1),
             xlabel="← near and far exchanged     correlation with the true depth     the true relief →")
    axes.invert_yaxis()
    return figure


def similarity_grid(table: pd.DataFrame, label: str) -> Figure:
    """How far students (rows) are from teachers (columns); the nearest student of each teacher has a frame."""
    figure, axes = new_figure(height=0.9 + 0.32 * len(table))
    values = table.to_numpy(float)
    figure.colorbar(_numbers(axes, table), ax=axes, label=label)
    for column in range(values.shape[1]):
        _frame(axes, int(np.nanargmin(values[:, column])), column)
    return figure


def value_map(table: pd.DataFrame, label: str, names: tuple[str, str]) -> Figure:
    """A table over two parameters as a map with its values; the smallest has a frame.

    Args:
        table: rows and columns are the parameters' values. label: of the values. names: of rows and columns.
    """
    figure, axes = new_figure(height=0.9 + 0.4 * len(table))
    figure.colorbar(_numbers(axes, table), ax=axes, label=label)
    _frame(axes, *map(int, np.unravel_index(np.nanargmin(table.to_numpy(float)), table.shape)))
    axes.set(ylabel=names[0], xlabel=names[1])
    return figure


def _numbers(axes: Axes, table: pd.DataFrame) -> Any:
    """A table as a map of shades, dark is large, with the numbers in it."""
    values = table.to_numpy(float)
    artist = axes.imshow(values, cmap="cividis_r", aspect="auto")
    middle = (np.nanmin(values) + np.nanmax(values)) / 2
    for row, column in np.ndindex(values.shape):
        axes.text(column, row, f"{values[row, column]:.3f}", ha="center", va="center", fontsize=8.5,
                  color="white" if values[row, column] > middle else "black")
    axes.set_xticks(range(values.shape[1]), list(table.columns))
    axes.set_yticks(range(values.shape[0]), list(table.index))
    return artist


def _frame(axes: Axes, row: int, column: int) -> None:
    axes.add_patch(Rectangle((column - 0.47, row - 0.45), 0.94, 0.9, fill=False, edgecolor=COLOURS[1], lw=2))


def sweep_panels(curves: Mapping[str, pd.DataFrame], measures: Mapping[str, str], label: str, *,
                 marks: Mapping[str, float] | None = None) -> Figure:
    """Measures over a parameter: each seed a dot, the mean a line, and behind it how far seeds lie apart.

    The band is the mean ± the standard deviation between seeds, pooled over all points of the curve, which a
    standard deviation of two or three seeds each would hardly know.

    Args:
        curves: title -> a table with the columns x, seed and the measures.
        measures: column -> title of its panel. label: of x. marks: measure -> a line at this value.
    """
    figure, axes = new_figure(1, len(measures), height=2.6, squeeze=False)
    for axis, (measure, title) in zip(axes[0], measures.items(), strict=True):
        for number, (name, table) in enumerate(curves.items()):
            colour, means = COLOURS[number], table.groupby("x")[measure].mean()
            spread = pooled_spread(table, measure)
            axis.plot(means.index, means, color=colour, label=name)
            axis.plot(table["x"], table[measure], ".", color=colour, ms=4, alpha=0.6)
            if np.isfinite(spread):
                axis.fill_between(means.index, means - spread, means + spread, color=colour, alpha=0.18, lw=0)
        if marks and measure in marks:
            axis.axhline(marks[measure], color="0.4", lw=1, ls=":")
        axis.set(title=title, xlabel=label)
    axes[0, 0].legend()
    return figure


def pooled_spread(table: pd.DataFrame, measure: str) -> float:
    """Standard deviation between seeds, pooled over the points x of a table; NaN without a point that has two."""
    groups = table.groupby("x")[measure]
    freedom = (groups.count() - 1).clip(lower=0)
    if freedom.sum() == 0:
        return float("nan")
    return float(np.sqrt((groups.var(ddof=1).fillna(0) * freedom).sum() / freedom.sum()))
