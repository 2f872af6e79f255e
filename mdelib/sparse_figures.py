"""The figures of notebook 05: what covering costs, and where masks lie.

Explained in notebooks/05_sparse_pixels.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from mdelib.figures import COLOURS, WIDTH, colour_of, new_figure
from mdelib.store import Result

__all__ = ["cost_of_covering", "error_over_sparseness", "exchange", "where_masks_lie"]

REGIONS = {"image_edges": "edges of the picture", "depth_edges": "edges of the depth",
           "object_borders": "borders of objects"}
MARKERS = "osD^v"
CONTROLS = {"random": "random pixels", "image_edges": "edges of the picture", "depth_edges": "edges of the depth"}


def lambda_of(result: Result) -> float:
    """λ of a run, from its settings."""
    return float(result.parameters["sparse"]["lam"])


def of_network(results: Sequence[Result], name: str) -> list[Result]:
    """The runs whose variant is `<name>_<λ>`."""
    return [result for result in results if result.variant.rsplit("_", 1)[0] == name]


def by_lambda(results: Sequence[Result], name: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
    """λ (L,) in ascending order, and the mean of a measure over seeds (L,); NaN where no run has it."""
    mine = of_network(results, name)
    values = sorted({lambda_of(result) for result in mine})
    means = [np.mean([r.metrics.get(measure, np.nan) for r in mine if lambda_of(r) == lam]) for lam in values]
    return np.array(values), np.array(means, float)


def cost_of_covering(shares: Tensor, parts: Mapping[str, Mapping[str, Sequence[float]]],
                     ends: Mapping[str, tuple[float, float]]) -> Figure:
    """L_dif over the share that is kept, one panel a network, and the straight line between its ends.

    Args:
        shares: (S,) in (0, 1]. parts: way of covering -> network -> (S,) L_dif.
        ends: network -> L_dif of no picture, and of the whole one.
    """
    figure, axes = new_figure(1, len(ends), height=2.8, sharey=True)
    for axis, (network, (shut, whole)) in zip(np.atleast_1d(axes), ends.items(), strict=True):
        for index, (title, curves) in enumerate(parts.items()):
            axis.plot([0, *shares.tolist()], [shut, *curves[network]], color=COLOURS[index], label=title, ms=4,
                      marker=MARKERS[index])
        axis.plot([0, 1], [shut, whole], color="0.5", ls=":", lw=1)
        axis.set(title=network, xlabel="share that is kept")
    np.atleast_1d(axes)[0].set_ylabel("$L_{dif}$")
    np.atleast_1d(axes)[0].legend()
    return figure


def error_over_sparseness(panels: Mapping[str, Sequence[Result]], networks: Mapping[str, str],
                          printed: pd.DataFrame) -> Figure:
    """yao2023 Fig. 5: RMSE over the mean of the mask, one panel a data set, the paper's own numbers last.

    Args:
        panels: title -> results of `sparse_pixels`. networks: variant's beginning -> title.
        printed: Table 1, one row a λ, columns `<network>_sparseness` and `<network>_rmse`.
    """
    figure, axes = new_figure(1, len(panels) + 1, height=3.0)
    for axis, (place, results) in zip(axes, panels.items(), strict=False):
        for name, title in networks.items():
            look = (colour_of(name, list(networks)), MARKERS[list(networks).index(name)])
            share, rmse, veil, whole = (np.append(by_lambda(results, name, m)[1][::-1], [])
                                        for m in ("sparseness", "rmse", "rmse_uniform", "rmse_full"))
            if len(share):
                _trade(axis, [*share, 1], [*rmse, whole.mean()], look, "-", title)
                _trade(axis, [*share, 1], [*veil, whole.mean()], look, "--", None)
        axis.set(title=place, xlabel="sparseness (mean of the mask)")
    for name, title in networks.items():
        look = (colour_of(name, list(networks)), MARKERS[list(networks).index(name)])
        _trade(axes[-1], printed[f"{name}_sparseness"], printed[f"{name}_rmse"], look, "-", title)
    axes[-1].set(title="Table 1 of the paper (NYU)", xlabel="sparseness (mean of the mask)")
    axes[0].set_ylabel("RMSE (m)")
    axes[0].legend()
    return figure


def _trade(axes: Axes, share: Sequence[float], rmse: Sequence[float], look: tuple[str, str], line: str,
           label: str | None) -> None:
    order = np.argsort(np.asarray(share, float), kind="stable")
    colour, marker = look
    axes.plot(np.asarray(share, float)[order], np.asarray(rmse, float)[order], marker=marker, ms=4, color=colour,
              ls=line, label=label)
    axes.set_xlim(-0.03, 1.05)


def exchange(panels: Mapping[str, Sequence[Result]], networks: Mapping[str, str], *, lam: float) -> Figure:
    """yao2023 Eq 7-8: RMSE over the share of pixels kept, one panel a data set and network, one line a choice.

    Args:
        panels: title -> results of `sparse_pixels`. networks: variant's beginning -> title, two of them.
        lam: whose masks are drawn; controls are those of the runs that measured them.
    """
    first, second = networks
    figure, axes = new_figure(len(panels), 2, height=2.9, sharex=True, sharey="row", squeeze=False)
    for row, (place, results) in zip(axes, panels.items(), strict=True):
        for axis, (name, other) in zip(row, ((first, second), (second, first)), strict=True):
            own = [r for r in of_network(results, name) if lambda_of(r) == lam]
            theirs = [r for r in of_network(results, other) if lambda_of(r) == lam]
            lines = {"own mask": (own, "rmse_mask_"), "the other's mask": (theirs, "rmse_other_"),
                     **{title: (of_network(results, name), f"rmse_{key}_") for key, title in CONTROLS.items()}}
            for index, (title, (runs, start)) in enumerate(lines.items()):
                share, rmse = _over_share(runs, start)
                axis.plot(share, rmse, marker=MARKERS[index], ms=5, color=COLOURS[index], label=title,
                          ls="-" if index < 2 else "--")
            for run in own[:1]:
                axis.axhline(run.metrics["rmse_full"], color="0.5", ls=":", lw=1)
            axis.set_title(f"{networks[name]}, {place}")
        row[0].set_ylabel("RMSE (m)")
    for axis in axes[-1]:
        axis.set_xlabel("pixels kept (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
    return figure


def _over_share(results: Sequence[Result], start: str) -> tuple[list[int], list[float]]:
    """Shares in percent, and the mean over runs of the measures that begin with `start` and end with a share."""
    values: dict[int, list[float]] = {}
    for result in results:
        for measure, value in result.metrics.items():
            if measure.startswith(start) and (end := measure.removeprefix(start)).isdigit():
                values.setdefault(int(end), []).append(value)
    return sorted(values), [float(np.mean(values[share])) for share in sorted(values)]


def where_masks_lie(panels: Mapping[str, Sequence[Result]], networks: Mapping[str, str]) -> Figure:
    """AUC of masks with kinds of edges over λ, one panel a kind; colour and marker say the network, line the data."""
    figure, axes = new_figure(1, len(REGIONS), height=WIDTH / 3, sharey=True)
    for axis, (region, title) in zip(axes, REGIONS.items(), strict=True):
        for (place, results), line in zip(panels.items(), ("-", "--"), strict=False):
            for marker, (name, network) in zip(MARKERS, networks.items(), strict=False):
                lam, auc = by_lambda(results, name, f"auc_{region}")
                if np.isfinite(auc).any():
                    axis.plot(lam, auc, marker=marker, color=colour_of(name, list(networks)), ms=5,
                              ls=line, label=f"{network}, {place}")
                known = by_lambda(results, name, f"auc_{region}_of_gradient")[1]
            if np.isfinite(known).any():
                axis.axhline(np.nanmean(known), color="0.4", ls=":", lw=1)
                axis.annotate(f"gradient, {place}", (0.98, np.nanmean(known)), xycoords=("axes fraction", "data"),
                              ha="right", va="bottom", fontsize=8, color="0.4")
        axis.axhline(0.5, color="0.5", lw=1, zorder=0)
        axis.set(title=title, xlabel="λ")
    axes[0].set_ylabel("AUC")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
