"""Figures of transport between depth maps: piles and plans, quantiles, what each reading sees and where it pulls.

Explained in notebooks/07_optimal_transport.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import ot
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from mdelib.figures import COLOURS, WIDTH, new_figure, show_depth, show_signed
from mdelib.transport import depth_mass, pool_area

__all__ = ["draw_piles", "draw_quantiles", "gradient_maps", "grid_displacement", "seen_bars", "show_displacement"]


def draw_piles(axes: Axes, places: Tensor, source: Tensor, target: Tensor, plan: Tensor) -> None:
    """Two piles of mass over the same places, the source upwards, the target downwards, and the plan as lines.

    Args:
        axes: to draw in. places: (N,). source, target: (N,) masses.
        plan: (N, N), how much goes from where to where; a line is as wide as what it carries.
    """
    top = float(torch.maximum(source, target).max())
    width = 0.8 * float(places.diff().min())
    axes.bar(places.numpy(), source.numpy(), width, bottom=0.6 * top, color=COLOURS[0], label="prediction")
    axes.bar(places.numpy(), -target.numpy(), width, bottom=-0.6 * top, color=COLOURS[1], label="truth")
    for i, j in (plan > 1e-9).nonzero().tolist():
        axes.plot([places[i], places[j]], [0.6 * top, -0.6 * top], color="0.35", alpha=0.8,
                  lw=6 * float(plan[i, j]) / float(plan.max()))
    axes.axhline(0.6 * top, color="0.2", lw=0.8)
    axes.axhline(-0.6 * top, color="0.2", lw=0.8)
    axes.set(yticks=[])
    axes.spines["left"].set_visible(False)


def draw_quantiles(axes: Axes, x: Tensor, y: Tensor, a: Tensor, b: Tensor) -> None:
    """The quantile functions of two distributions on a line, and the area between them.

    Args:
        axes: to draw in. x, y: (N,) and (M,) positions, ascending. a, b: (N,) and (M,) masses.
    """
    share = np.linspace(0, 1, 2001)
    curves = []
    for where, mass, name, colour, line in ((x, a, "prediction", COLOURS[0], "-"), (y, b, "truth", COLOURS[1], "--")):
        edges = (mass.cumsum(0) / mass.sum()).numpy()
        curves.append(where.numpy()[np.searchsorted(edges, share).clip(max=len(where) - 1)])
        axes.plot(share, curves[-1], color=colour, ls=line, label=name)
    axes.fill_between(share, *curves, color="0.75", label="what has to move")
    axes.set(xlabel="share of the mass", xlim=(0, 1))
    axes.legend()


def grid_displacement(pred: Tensor, target: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Where the exact plan carries the mass of every cell, on average.

    Args:
        pred, target: (1, H, W) depth, metres, all of it valid. grid: cells (h, w); POT's exact solver takes seconds
            beyond 24 x 32.

    Returns:
        Mass of the prediction (h, w), and mean displacement (2, h, w) in cells, down and to the right.
    """
    whole = torch.ones_like(pred, dtype=torch.bool)
    masses = [pool_area(depth_mass(depth.double(), whole), grid).flatten() for depth in (pred, target)]
    places = torch.cartesian_prod(*(torch.arange(float(n), dtype=torch.float64) for n in grid))
    cost = (places[:, None] - places).square().sum(2)
    a, b = (mass / mass.sum() for mass in masses)
    plan = torch.from_numpy(ot.emd(a.numpy(), b.numpy(), cost.numpy()))
    moved = plan @ places / a[:, None] - places
    return a.view(grid), moved.T.reshape(2, *grid)


def show_displacement(axes: Axes, depth: Tensor, moved: Tensor, title: str, *, limits: tuple[float, float]) -> None:
    """A depth map (1, H, W) with the arrows of `grid_displacement` on it, in true length."""
    show_depth(axes, depth, title, limits=limits)
    height, width = depth.shape[-2:]
    high, wide = height / moved.shape[1], width / moved.shape[2]  # of a cell, in pixels
    y, x = np.meshgrid((np.arange(moved.shape[1]) + 0.5) * high - 0.5, (np.arange(moved.shape[2]) + 0.5) * wide - 0.5,
                       indexing="ij")
    axes.quiver(x, y, (moved[1] * wide).numpy(), (moved[0] * high).numpy(), angles="xy", scale_units="xy", scale=1,
                color="#D00000", width=0.006, headwidth=4)


def seen_bars(maps: Mapping[str, Tensor], values: Mapping[str, Mapping[str, float]], units: Mapping[str, str], *,
              limits: tuple[float, float]) -> Figure:
    """Changed depth maps above, and below what each reading says of every change.

    Args:
        maps: title -> (1, H, W) metres; the first is the truth.
        values: reading -> title of a map -> root of the loss.
        units: reading -> unit of that root.
        limits: of the depth maps, metres.
    """
    shape = next(iter(maps.values())).shape
    width = (WIDTH - 0.6) / len(maps)
    figure, grid = new_figure(2, len(maps), height=(width * shape[-2] / shape[-1] + 2.8) / 2,
                              height_ratios=[width * shape[-2] / shape[-1], 2.3])
    for axis, (title, depth) in zip(grid[0], maps.items(), strict=True):
        artist = show_depth(axis, depth, title, limits=limits)
    figure.colorbar(artist, ax=list(grid[0]), label="depth (m)", pad=0.01)
    for axis in grid[1]:
        axis.remove()
    part = grid[0, 0].get_gridspec()[1, :].subgridspec(1, len(values))
    for place, (reading, by_change) in enumerate(values.items()):
        axis = figure.add_subplot(part[place])
        _bars(axis, list(by_change), [max(value, 0.0) for value in by_change.values()], reading, units[reading],
              named=place == 0)
    return figure


def _bars(axes: Axes, names: Sequence[str], values: Sequence[float], title: str, unit: str, *, named: bool) -> None:
    """Horizontal bars; one that is nothing beside the largest is called blind."""
    top = max(values)
    for index, value in enumerate(values):
        blind = value < 0.01 * top
        axes.barh(index, value, color=COLOURS[0])
        axes.annotate("blind" if blind else f"{value:.2g}", (0 if blind else value, index), xytext=(3, 0),
                      textcoords="offset points", va="center", fontsize=9, color=COLOURS[1] if blind else "black",
                      fontweight="bold" if blind else "normal")
    axes.set(title=_wrapped(title), xlabel=unit, xlim=(0, 1.3 * top), yticks=range(len(names)))
    axes.set_yticklabels(names if named else [""] * len(names))
    axes.spines[["top", "right"]].set_visible(False)
    axes.invert_yaxis()
    axes.xaxis.set_major_locator(MaxNLocator(2))


def _wrapped(title: str) -> str:
    """A reading's name on two lines."""
    return title.replace(" (", "\n(").replace(", ", ",\n")


def gradient_maps(rows: Mapping[str, tuple[Tensor, Mapping[str, Tensor]]], *,
                  limits: tuple[float, float]) -> Figure:
    """Predictions, one a row, and where each reading would move the depth of every pixel.

    A column has one scale for all its rows, since readings differ in unit: full colour is the strongest pull that the
    reading has in any of the rows.

    Args:
        rows: title -> prediction (1, H, W) and reading -> minus the gradient (1, H, W).
        limits: of the depth maps, metres.
    """
    readings = list(next(iter(rows.values()))[1])
    # a few pixels may be pulled at much harder than all others
    strongest = {reading: max(float(pulls[reading].abs().quantile(0.995)) for _, pulls in rows.values())
                 for reading in readings}
    shape = next(iter(rows.values()))[0].shape
    columns = 1 + len(readings)
    figure, axes = new_figure(len(rows), columns, squeeze=False,
                              height=(WIDTH - 1.4) / columns * shape[-2] / shape[-1] + 0.26)
    for index, (row, (title, (pred, pulls))) in enumerate(zip(axes, rows.items(), strict=True)):
        show_depth(row[0], pred, "prediction" if index == 0 else None, limits=limits)
        row[0].set_ylabel(title)
        for axis, (reading, pull) in zip(row[1:], pulls.items(), strict=True):
            artist = show_signed(axis, pull / strongest[reading], _wrapped(reading) if index == 0 else None, limit=1.0)
    bar = figure.colorbar(artist, ax=axes, shrink=0.7, pad=0.01, ticks=[-1, 0, 1])
    bar.ax.set_yticklabels(["nearer", "stay", "farther"])
    return figure
