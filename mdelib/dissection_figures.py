"""Figures of a dissection: what every unit answers to, how selective it is, where it is active, what it is worth.

A unit's response is drawn relative to the unit's own largest, because units differ in scale and selectivity does not
look at it. Bins are named by their depths in metres; bins without pixels are grey.
Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from mdelib.figures import COLOURS, SIGNED_MAP, WIDTH, new_figure, show_depth, show_image, show_signed
from mdelib.selectivity import assigned_bins, depth_selectivity, unit_bins
from mdelib.store import Result

__all__ = ["UnitView", "ablation_maps", "bin_title", "depth_ticks", "dissection_maps", "response_bars",
           "response_centre", "selectivity_curves", "show_activation", "stored_table", "task_plot", "unit_card",
           "unit_grid", "unit_order"]

ACTIVE_MAP = "magma"


def stored_table(result: Result, name: str) -> Tensor:
    """A table that a run has kept, float64, NaN where nothing is known.

    Args:
        result: of an experiment that measures a dissection.
        name: for example ``"response/mff/test"`` (U, K), ``"shuffled/mff/test"`` (U,), ``"ablation/mff"`` (U, K) or
            ``"edges"`` (K+1,).

    Raises:
        ValueError: the run has no such table; those it has are listed.
    """
    if name not in result.tables:
        raise ValueError(f"{result.address} has no table {name!r}: expected one of "
                         f"{', '.join(result.tables) or 'none, since it measured no dissection'}")
    return torch.from_numpy(np.array(result.tables[name], dtype=np.float64))


def unit_order(response: Tensor) -> Tensor:
    """Units by the bin to which they answer most, and within a bin by the mean bin of their response.

    Args:
        response: (U, K); columns of NaN are bins without pixels.

    Returns:
        (U,) int64, a permutation.
    """
    return torch.from_numpy(np.lexsort((response_centre(response).numpy(), unit_bins(response).numpy())))


def response_centre(response: Tensor) -> Tensor:
    """The mean bin of each unit's response, weighted by its size: (U, K), NaN where no pixel is, -> (U,) float64."""
    size = torch.nan_to_num(response.abs().double())
    return (size * torch.arange(size.shape[1])).sum(1) / size.sum(1).clamp_min(1e-30)


def bin_title(edges: Tensor, index: int) -> str:
    """A depth bin in words, for example ``"1.3–1.6 m"``."""
    return f"{float(edges[index]):.2g}–{float(edges[index + 1]):.2g} m"


def depth_ticks(axes: Axes, edges: Tensor, *, every: int | None = None) -> None:
    """Name the bins on the x axis, one unit wide each, by the depths at their borders."""
    bins = len(edges) - 1
    places = range(1, bins + 1, every or max(1, bins // 5))
    axes.set_xticks([place - 0.5 for place in places], [f"{float(edges[place]):.2g}" for place in places])
    axes.set_xlim(-0.5, bins - 0.5)


def response_bars(axes: Axes, response: Tensor, edges: Tensor, *, own: int | None = None) -> None:
    """One unit's response per depth bin as bars; the bin `own` (by default its strongest) in the second colour.

    Args:
        response: (K,); NaN for bins without pixels. edges: (K+1,) metres.
    """
    own = int(unit_bins(response[None])[0]) if own is None else own
    colours = [COLOURS[1] if index == own else COLOURS[0] for index in range(len(response))]
    axes.bar(range(len(response)), torch.nan_to_num(response).numpy(), color=colours, width=0.9)
    axes.axhline(0, color="0.4", lw=0.8)
    depth_ticks(axes, edges)
    axes.set(xlabel="true depth (m)", ylabel="mean activation")


def dissection_maps(rows: Mapping[str, Mapping[str, Tensor]], edges: Tensor) -> Figure:
    """All units of several layers, in the manner of you2021, supplement, Figs 1 to 8.

    Each line is a unit and each column a depth bin; the colour is the size of the mean activation relative to the
    unit's largest. Units are sorted by their best bin in each panel for itself, so only the shape can be compared.

    Args:
        rows: layer, or "" for none -> title of a panel -> (U, K) response. edges: (K+1,) metres.
    """
    columns = len(next(iter(rows.values())))
    figure, axes = new_figure(len(rows), columns, height=2.5, squeeze=False, sharex=True)
    for row, (layer, panels) in zip(axes, rows.items(), strict=True):
        for axis, (title, response) in zip(row, panels.items(), strict=True):
            size = response.abs()
            share = size / torch.nan_to_num(size).amax(1, keepdim=True).clamp_min(1e-30)
            shades = matplotlib.colormaps[ACTIVE_MAP].with_extremes(bad="0.75")
            drawn = np.ma.masked_invalid(share[unit_order(response)].numpy())
            artist = axis.imshow(drawn, cmap=shades, vmin=0, vmax=1, aspect="auto")
            axis.set(yticks=[], title=f"{title}\nmean DS {float(depth_selectivity(response).mean()):.2f}")
            depth_ticks(axis, edges)
        row[0].set_ylabel(f"{layer}\n{len(response)} units, sorted" if layer else f"{len(response)} units, sorted")
    for axis in axes[-1]:
        axis.set_xlabel("true depth (m)")
    figure.colorbar(artist, ax=axes, label="|response| / the unit's largest", shrink=0.8, pad=0.01)
    return figure


def selectivity_curves(panels: Mapping[str, Mapping[str, tuple[Sequence[Tensor], Sequence[Tensor]]]], *,
                       expected: float | None = None) -> Figure:
    """The selectivities of all units, sorted, one line a seed; dashed: with shuffled depth, the mean over seeds.

    Args:
        panels: layer -> network -> (selectivities, shuffled selectivities), a (U,) tensor for each seed.
        expected: drawn as a dotted line, for example `expected_selectivity(K)`.
    """
    figure, axes = new_figure(1, len(panels), height=3.5, squeeze=False, sharey=True)
    for axis, (layer, networks) in zip(axes[0], panels.items(), strict=True):
        for index, (title, (real, shuffled)) in enumerate(networks.items()):
            for seed, units in enumerate(real):
                axis.plot(range(1, len(units) + 1), units.sort(descending=True).values.numpy(),
                          "os^Dv"[index % 5] + "-", ms=3,
                          color=COLOURS[index], lw=1.4, alpha=0.8, label=None if seed else title)
            if shuffled:
                control = torch.stack([units.sort(descending=True).values for units in shuffled]).mean(0)
                axis.plot(range(1, len(control) + 1), control.numpy(), "--", color=COLOURS[index], lw=1.3,
                          label=f"{title}, shuffled depth")
        if expected is not None:
            axis.axhline(expected, color="0.4", ls=":", lw=1.4, label="uniform law")
        axis.set(title=layer, xlabel="unit, sorted", ylim=(0, 1))
    axes[0, 0].set_ylabel("depth selectivity DS")
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower center", frameon=False,
                  ncols=max(3, 1 + max(map(len, panels.values()))))
    return figure


def task_plot(panels: Mapping[str, Mapping[str, Sequence[Tensor]]], edges: Tensor) -> Figure:
    """Where the response of each unit lies, against the bin that training assigns to the unit; a dot a unit and seed.

    Units that follow their task rise with it, also where their response is wide, which pulls its centre to the middle.

    Args:
        panels: layer -> network -> (U, K) responses, one for each seed; no fewer units than bins.
        edges: (K+1,) metres.
    """
    figure, axes = new_figure(1, len(panels), height=3.1, squeeze=False, sharey=True)
    for axis, (layer, networks) in zip(axes[0], panels.items(), strict=True):
        for index, (title, responses) in enumerate(networks.items()):
            for seed, response in enumerate(responses):
                assigned = assigned_bins(*response.shape) + 0.2 * (index - (len(networks) - 1) / 2)
                axis.plot(assigned.numpy(), response_centre(response).numpy(), "os^Dv"[index % 5], ms=5, alpha=0.75,
                          color=COLOURS[index], label=None if seed else title)
        axis.set(title=layer, xlabel="assigned bin (m)", ylim=(0, len(edges) - 2))
        depth_ticks(axis, edges)
    ticks = [tick for tick in axes[0, 0].get_xticks() if tick < len(edges) - 2]
    axes[0, 0].set_yticks(ticks, [f"{float(edges[round(tick + 0.5)]):.2g}" for tick in ticks])
    axes[0, 0].set_ylabel("centre of the response (m)")
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def show_activation(axes: Axes, feature: Tensor, title: str | None = None) -> None:
    """Draw one unit's map (h, w): black to bright where it has one sign, blue and red about 0 where it has both.

    Limits are the unit's own largest, so maps of different units cannot be compared in strength.
    """
    values = feature.detach().float().cpu()
    limit = max(float(values.abs().max()), 1e-12)
    if float(values.min()) < -0.05 * limit:
        show_signed(axes, values, title, limit=limit)
        return
    axes.imshow(values.numpy(), cmap=ACTIVE_MAP, vmin=0, vmax=limit)
    axes.set(xticks=[], yticks=[])
    if title:
        axes.set_title(title)


@dataclass(frozen=True)
class UnitView:
    """One view as one unit sees it.

    Attributes:
        image: (3, H, W). depth: (1, H, W) predicted, metres. feature: (h, w), the unit's map.
        edges: (K+1,) metres. own: the unit's bin. name: of the unit, for titles.
    """

    image: Tensor
    depth: Tensor
    feature: Tensor
    edges: Tensor
    own: int
    name: str

    @property
    def mask(self) -> Tensor:
        """(H, W) bool: the pixels whose predicted depth lies in the unit's bin."""
        depth = self.depth[0].double().cpu()
        return (depth > self.edges[self.own]) & (depth <= self.edges[self.own + 1])


def unit_grid(units: Sequence[UnitView], *, columns: int = 2) -> Figure:
    """Image, mask of the pixels predicted in the unit's depth range, and the unit's map: you2021, Figs 9 and 10.

    Args:
        units: in reading order. columns: groups of three beside each other, at most.

    Raises:
        ValueError: no units.
    """
    if not units:
        raise ValueError("no units to draw: give at least one UnitView")
    columns = min(columns, len(units))
    height, width = units[0].image.shape[-2:]
    rows = -(-len(units) // columns)
    figure, axes = new_figure(rows, 3 * columns, height=(WIDTH - 0.6) / (3 * columns) * height / width + 0.24,
                              squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for index, unit in enumerate(units):
        image, mask, feature = axes[index // columns, 3 * (index % columns):][:3]
        for axis in (image, mask, feature):
            axis.set_axis_on()
        show_image(image, unit.image, unit.name)
        mask.imshow(unit.mask.numpy(), cmap="gray", vmin=0, vmax=1)
        mask.set(xticks=[], yticks=[], title=bin_title(unit.edges, unit.own))
        show_activation(feature, unit.feature, "activation" if index < columns else None)
    return figure


def unit_card(unit: UnitView, response: Tensor) -> Figure:
    """One unit: the view, the predicted depth with the unit's range, its map, and its response per depth bin.

    Args:
        unit: the view. response: (K,) of the unit over all views.
    """
    figure, axes = new_figure(1, 4, height=2.1, width_ratios=[1, 1, 1, 1.5])
    show_image(axes[0], unit.image, "view")
    known = unit.edges.tolist()
    show_depth(axes[1], unit.depth, f"predicted {bin_title(unit.edges, unit.own)}", mask=unit.mask,
               limits=(known[1], known[-1]))
    show_activation(axes[2], unit.feature, unit.name)
    response_bars(axes[3], response, unit.edges, own=unit.own)
    axes[3].set_title(f"DS {float(depth_selectivity(response[None])):.2f}")
    return figure


def ablation_maps(panels: Mapping[str, tuple[Tensor, Tensor]], edges: Tensor) -> Figure:
    """By how much each depth bin's error grows when each unit is silent; the unit's own bin has a frame.

    Limits are symmetric, at the 99th percentile of the sizes in all panels.

    Args:
        panels: title -> (matrix from `mdelib.dissection.ablation_matrix`, response), (U, K) each. edges: (K+1,)
            metres.
    """
    figure, axes = new_figure(1, len(panels), height=3.4, squeeze=False)
    sizes = torch.cat([matrix[~matrix.isnan()].abs() for matrix, _ in panels.values()])
    limit = max(float(sizes.quantile(0.99)), 1e-12) if len(sizes) else 1.0
    shades = matplotlib.colormaps[SIGNED_MAP].with_extremes(bad="0.75")
    for axis, (title, (matrix, response)) in zip(axes[0], panels.items(), strict=True):
        order, own = unit_order(response), unit_bins(response)
        artist = axis.imshow(np.ma.masked_invalid(matrix[order].numpy()), cmap=shades, aspect="auto", vmin=-limit,
                             vmax=limit)
        for line, unit in enumerate(order.tolist()):
            axis.add_patch(Rectangle((int(own[unit]) - 0.5, line - 0.5), 1, 1, fill=False, ec="black", lw=1.1))
        axis.set(title=title, xlabel="true depth (m)", yticks=[])
        depth_ticks(axis, edges)
    figure.colorbar(artist, ax=axes, label="change of AbsRel in the bin", pad=0.01, extend="both")
    axes[0, 0].set_ylabel(f"silenced unit ({len(order)}, sorted)")
    return figure
