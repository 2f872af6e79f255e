"""The figures of notebooks 13 and 14: maps of several methods beside each other, curves, and rankings that disagree.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mdelib.attribution import TITLES
from mdelib.fidelity import gap_interval
from mdelib.figures import COLOURS, SIGNED_MAP, WIDTH, new_figure, show_depth, show_image
from mdelib.store import Result

__all__ = ["along_the_way", "colours_of", "cue_rows", "curve_panels", "method_rows", "photo_sheet", "rank_table",
           "show_attribution", "study_values"]

STRENGTH_MAP = "magma"
CLIP = 99.0  # percentile of the magnitudes at which a map's colours end; a few pixels hold the extremes


def show_attribution(axes: Axes, values: Tensor, title: str | None = None, *, signed: bool | None = None) -> None:
    """Draw a map (H, W): dark to bright where it is not negative, otherwise blue to red with symmetric limits.

    Every map has its own limits, up to the 99th percentile of its magnitudes: methods have different units.
    `signed` chooses the colours, for maps beside each other that should have the same; None asks the map.
    """
    colours, low, high = colours_of(values, signed=signed)
    axes.imshow(values.detach().cpu().float().numpy(), cmap=colours, vmin=low, vmax=high)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title, fontsize=9)


def colours_of(values: Tensor, *, signed: bool | None = None) -> tuple[str, float, float]:
    """The colour map of an attribution (H, W) and its limits, as `show_attribution` draws it."""
    array = values.detach().cpu().float().numpy()
    limit = float(np.percentile(np.abs(array), CLIP) or np.abs(array).max() or 1.0)
    low = float(array.min())
    return (SIGNED_MAP, -limit, limit) if (low < 0 if signed is None else signed) else (STRENGTH_MAP, low, limit)


def method_rows(rows: Sequence[tuple[Tensor, Tensor, Mapping[str, Tensor]]], *, labels: Sequence[str] | None = None,
                places: Sequence[tuple[int, int] | None] | None = None, titles: Sequence[str] | None = None,
                height: float | None = None) -> Figure:
    """One row an image, one column a method; image and depth come first, the first row carries the titles.

    A column in which any map has negative values is blue to red in every row.

    Args:
        rows: (image (3, H, W), depth (1, H, W) in metres, title -> map (H, W)); a missing method leaves a gap.
        labels: written at the left of each row, for example the network. places: (row, column) that is asked about.
        titles: order of the columns; by default that in which they come. height: of a row, inches.
    """
    titles = titles or list(dict.fromkeys(title for _, _, maps in rows for title in maps))
    columns = 2 + len(titles)
    shape = rows[0][0].shape
    signed = {title: any(float(maps[title].min()) < 0 for _, _, maps in rows if title in maps) for title in titles}
    figure, axes = new_figure(len(rows), columns, squeeze=False,
                              height=height or WIDTH / columns * shape[-2] / shape[-1] + 0.25)
    for index, (image, depth, maps) in enumerate(rows):
        show_image(axes[index, 0], image, "image" if index == 0 else None)
        values = depth.detach().cpu().numpy()
        show_depth(axes[index, 1], depth, "predicted depth" if index == 0 else None,
                   limits=tuple(np.percentile(values, [1, 99])))
        for axis, title in zip(axes[index, 2:], titles, strict=True):
            if title in maps:
                show_attribution(axis, maps[title], signed=signed[title])
            else:  # an empty panel of the same shape, so that the titles stay in line
                axis.set_axis_off()
                axis.set_box_aspect(shape[-2] / shape[-1])
            if index == 0:
                axis.set_title(title, fontsize=9)
        for axis in axes[index, :2]:
            axis.title.set_fontsize(9)
        if labels:
            axes[index, 0].set_ylabel(labels[index], fontsize=9)
        if places and places[index]:
            for axis in axes[index, :2]:
                axis.plot(places[index][1], places[index][0], "+", color=COLOURS[1], ms=10, mew=2)
    return figure


def along_the_way(values: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """The target on the straight way from each baseline to the image.

    Args:
        values: baseline -> (places (n,) in [0, 1], target there (n,) in metres).
    """
    figure, axes = new_figure(height=2.6)
    for index, (name, (places, target)) in enumerate(values.items()):
        axes.plot(places, target, ("-", "--", "-.", ":")[index % 4], color=COLOURS[index], label=f"from {name}")
    axes.set(xlabel="share of the way from the baseline to the image", ylabel="mean depth (m)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def curve_panels(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]]],
                 ) -> Figure:
    """RMSE to the unperturbed depth over the share of pixels filled: one panel a network with its own scale, solid
    most relevant first, dashed least first.

    Args:
        panels: network -> method -> (percentages, RMSE most first, RMSE least first), metres.
    """
    figure, axes = new_figure(1, len(panels), height=3.0, squeeze=False)
    names = list(dict.fromkeys(name for methods in panels.values() for name in methods))
    for axis, (network, methods) in zip(axes[0], panels.items(), strict=True):
        for name, (shares, most, least) in methods.items():
            number = names.index(name)
            style = {"color": COLOURS[number % len(COLOURS)], "marker": "osD^vx"[number % 6], "ms": 4}
            axis.plot(shares, most, "-", label=name, **style)
            axis.plot(shares, least, "--", **style)
        axis.set(title=network, xlabel="pixels filled (%)")
    axes[0, 0].set_ylabel("change of the depth map,\nRMSE (m)")
    handles = {label: handle for axis in axes[0] for handle, label in zip(*axis.get_legend_handles_labels(),
                                                                         strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


def rank_table(values: pd.DataFrame) -> Figure:
    """Ranks of methods (rows) under measures (columns), 1 the best; the cell's number is the rank, its shade too.

    Args:
        values: larger is better in every column.
    """
    ranks = values.rank(ascending=False)
    figure, axes = new_figure(height=0.32 * len(values) + 1.3)
    axes.imshow(ranks, cmap="cividis_r", aspect="auto", vmin=1, vmax=len(values))
    axes.set_xticks(range(len(ranks.columns)), ranks.columns, rotation=25, ha="right", fontsize=9)
    axes.set_yticks(range(len(ranks)), ranks.index, fontsize=9)
    axes.tick_params(length=0)
    for row in range(len(ranks)):
        for column in range(len(ranks.columns)):
            rank = ranks.iloc[row, column]
            axes.text(column, row, f"{rank:g}" if np.isfinite(rank) else "–", ha="center", va="center",
                      color="white" if rank > len(values) / 2 else "black", fontsize=9)
    return figure


def cue_rows(rows: Sequence[tuple[str, Tensor, Tensor, Tensor, Mapping[str, Tensor]]]) -> Figure:
    """One row a cue: image, image without the cue, its true effect, and what methods answer.

    Args:
        rows: (cue, image (3, H, W), twin (3, H, W), effect (H, W), title -> map (H, W)).
    """
    titles = list(rows[0][4])
    columns = 3 + len(titles)
    shape = rows[0][1].shape
    figure, axes = new_figure(len(rows), columns, squeeze=False, height=WIDTH / columns * shape[-2] / shape[-1] + 0.25)
    for index, (cue, image, twin, effect, maps) in enumerate(rows):
        first = index == 0
        show_image(axes[index, 0], image, "image" if first else None)
        axes[index, 0].set_ylabel(cue, fontsize=9)
        show_image(axes[index, 1], twin, "without the cue" if first else None)
        show_attribution(axes[index, 2], effect.abs(), "true effect" if first else None)
        for axis, title in zip(axes[index, 3:], titles, strict=True):
            show_attribution(axis, maps[title].abs(), title if first else None)
    for axis in axes.flat:
        axis.title.set_fontsize(9)
    return figure


def study_values(results: Sequence[Result], prefix: str, columns: Mapping[str, str]) -> pd.DataFrame:
    """One row a method of a network, one column a measure: mean over images and its 95 % interval.

    Args:
        results: of `experiments/attribution.yaml` and its like. prefix: of the network's variants.
        columns: measure -> head of the column; a measure that a result does not have leaves a dash.
    """
    rows = []
    for result in results:
        method = result.variant.removeprefix(f"{prefix}_")
        row = {"map": {**TITLES, "random": "random order", "oracle": "oracle"}.get(method, method)}
        for measure, title in columns.items():
            values = torch.tensor([math.nan if v is None else v for v in result.per_image.get(measure, [])])
            if not torch.isfinite(values).any():
                row[title] = "–"
                continue
            centre, (low, high) = gap_interval(values)
            row[title] = f"{centre:+.2f} ({low:+.2f} to {high:+.2f})"
        rows.append(row)
    return pd.DataFrame(rows)


def photo_sheet(image: Tensor, depth: Tensor, maps: Mapping[str, Tensor], title: str, *, columns: int = 3,
                place: tuple[int, int] | None = None, unit: str = "m", stretch: float = 1.0) -> Figure:
    """One photograph, its depth, and each attribution of it; rows and columns are numbered on the photograph.

    Args:
        image: (3, H, W) in [0, 1]. depth: (1, H, W), metres. maps: title -> (H, W). title: of the whole.
        place: (row, column) that was asked about, marked in every panel.
        unit: of depth; empty where it has none. stretch: height of a pixel in units of its width.
    """
    rows = -(-(2 + len(maps)) // columns)
    height, width = image.shape[-2:]
    panel = (WIDTH - 1) / columns * stretch * height / width + 0.3
    figure, axes = new_figure(rows, columns, squeeze=False, height=panel + 0.9 / rows)
    places = list(axes.flat)
    show_image(places[0], image, "photograph")
    places[0].set_xticks(range(0, width, max(10, 20 * (width // 100))))
    places[0].set_yticks(range(0, height, max(10, 20 * (height // 100))))
    places[0].set(xlabel="column", ylabel="row")
    limits = tuple(np.percentile(depth.detach().cpu().numpy(), [1, 99]))
    figure.colorbar(show_depth(places[1], depth, "predicted depth", limits=limits), ax=places[1], location="bottom",
                    label=f"depth ({unit}), near to far" if unit else "depth without a unit, near to far", aspect=25)
    for axis, (name, values) in zip(places[2:], maps.items(), strict=False):
        show_attribution(axis, values, name)
    for axis in places[:2 + len(maps)]:
        axis.set_aspect(stretch)
        if place:
            axis.plot(place[1], place[0], "+", color="white", ms=13, mew=4)
            axis.plot(place[1], place[0], "+", color="black", ms=12, mew=1.5)
    for axis in places[2 + len(maps):]:
        axis.set_axis_off()
    figure.suptitle(title, fontsize=11)
    signed = any(float(values.min()) < 0 for values in maps.values())
    figure.supxlabel("Bright: the pixel counts much; dark: little."
                     + (" Red: it makes the answer larger; blue: smaller." if signed else "")
                     + "\nEach map has its own limits." + (" The cross: what was asked about." if place else ""),
                     fontsize=9)
    return figure
