"""The figures of notebook 15: verdicts, what rounding allows, and what two papers print for one network.

Explained in notebooks/15_audit.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from mdelib.audit import Audited
from mdelib.figures import COLOURS, new_figure
from mdelib.rules import printed_range
from mdelib.sheets import Sheet, spearman

__all__ = ["SHADES", "between_papers", "possible_region", "printed_percent", "quantities", "size_against_error",
           "verdict_bars"]

SHADES = {"holds": COLOURS[2], "holds only with": COLOURS[4], "contradicted": COLOURS[1], "cannot be checked": "0.75"}
HATCHES = {"holds only with": "..", "contradicted": "///"}  # so that the verdicts differ in grey as well
METRICS = {"abs_rel": "AbsRel", "rmse": "RMSE", "delta1": "δ1"}


def verdict_bars(counts: pd.DataFrame) -> Figure:
    """One stacked bar a paper; `counts` as `mdelib.audit.audit_counts` gives it."""
    figure, axis = new_figure(height=0.42 * len(counts) + 1)
    left = np.zeros(len(counts))
    for verdict in counts.columns:
        values = counts[verdict].to_numpy()
        axis.barh(range(len(counts)), values, left=left, color=SHADES[verdict], label=verdict, ec="white",
                  hatch=HATCHES.get(verdict))
        for place, (start, value) in enumerate(zip(left, values, strict=True)):
            if value:
                axis.text(start + value / 2, place, value, ha="center", va="center", fontsize=9,
                          bbox={"boxstyle": "round,pad=0.15", "fc": SHADES[verdict], "lw": 0})
        left += values
    axis.set(yticks=range(len(counts)), yticklabels=counts.index, xlabel="claims")
    axis.invert_yaxis()
    axis.legend(ncols=len(counts.columns), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure


def printed_percent(percent: str, before: str, after: Sequence[str], marked: str) -> Figure:
    """Which printed errors `after` could be behind an improvement printed as `percent`, by either denominator.

    Args:
        percent: as printed, for example ``"7.4"``. before: the error before, as printed.
        after: candidates for the error after, as printed, ascending. marked: the one that the paper has.
    """
    low, high = printed_range(percent)
    (least, most), ends = printed_range(before), np.array([printed_range(text) for text in after])
    spans = {"the baseline's error": (100 * (1 - ends[:, 1] / least), 100 * (1 - ends[:, 0] / most)),
             "the student's error": (100 * (least / ends[:, 1] - 1), 100 * (most / ends[:, 0] - 1))}
    figure, axis = new_figure(height=2.6)
    x = np.array([float(text) for text in after])
    for index, (title, (bottom, top)) in enumerate(spans.items()):
        axis.fill_between(x, bottom, top, color=COLOURS[index], alpha=0.7, lw=0, label=f"divided by {title}")
    axis.axhspan(low, high, color="0.6", alpha=0.5, lw=0, label=f"prints as {percent} %")
    axis.axvline(float(marked), color="0.2", ls=":", label=f"the paper's {marked}")
    axis.set(xlabel="the student's SqRel (m), as printed", ylabel="improvement (%)", xlim=(x[0], x[-1]))
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def quantities(found: Sequence[Audited]) -> Figure:
    """Every number in words against what the tables give for it, in half units of its last printed digit.

    The grey band is what prints as the claim does. A bar is what rounded cells allow; its dot the nominal value.
    """
    rows = [(one, quantity) for one in found for quantity in one.quantities]
    names = list(dict.fromkeys(f"{one.claim.paper}, {quantity.printed}" for one, quantity in rows))
    figure, axis = new_figure(height=0.19 * len(names) + 1)
    for one, quantity in rows:
        start, stop = printed_range(quantity.printed)
        middle, half = (start + stop) / 2, (stop - start) / 2
        low, value, high = (np.clip((v - middle) / half, -9, 9) for v in (quantity.low, quantity.value, quantity.high))
        place, colour = names.index(f"{one.claim.paper}, {quantity.printed}"), COLOURS[0 if quantity.fits else 1]
        axis.plot([low, high], [place, place], color=colour, lw=3, alpha=0.6, solid_capstyle="butt")
        axis.plot(value, place, "o" if abs(value) < 9 else (">" if value > 0 else "<"), color=colour, ms=4)
    axis.axvspan(-1, 1, color="0.85", lw=0, zorder=0)
    axis.set(yticks=range(len(names)), yticklabels=names, xlim=(-9.5, 9.5), ylim=(len(names) - 0.4, -0.6),
             xlabel="recomputed − printed (half units of the last printed digit)")
    axis.tick_params(axis="y", labelsize=8)
    return figure


def possible_region(mean: pd.Series, root: pd.Series, names: tuple[str, str]) -> Figure:
    """Mean and root mean square errors of the same pixels, and the half plane in which they can lie."""
    figure, axis = new_figure(height=3.0)
    top = 1.15 * max(mean.max(), root.max())
    axis.fill_between([0, top], [0, top], top, color=COLOURS[2], alpha=0.15, lw=0)
    axis.plot([0, top], [0, top], color="0.5", lw=1)
    axis.plot(mean, root, "o", color=COLOURS[1])
    for place, name in enumerate(root.sort_values().index):
        at = (1.12 * top, top * (0.3 + 0.09 * place))
        axis.annotate(name, (mean[name], root[name]), xytext=at, fontsize=8, va="center",
                      arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.8})
    axis.text(0.15 * top, 0.8 * top, "possible", color=COLOURS[2])
    axis.text(0.55 * top, 0.1 * top, "impossible", color=COLOURS[1])
    axis.set(xlabel=f"column headed {names[0]}", ylabel=f"column headed {names[1]}", xlim=(0, 1.5 * top),
             ylim=(0, top), aspect="equal")
    return figure


def between_papers(pairs: Mapping[str, tuple[pd.Series, pd.Series, pd.Series]]) -> Figure:
    """How far two papers are apart for one network on one data set, in percent, one panel a metric.

    Args:
        pairs: what is compared -> the numbers of either paper, and half a unit of the first one's last digit, each
            indexed by metric (keys of `METRICS`). Green dots are equal up to that, orange diamonds are not.
    """
    figure, axes = new_figure(1, len(METRICS), height=0.27 * len(pairs) + 0.9, sharey=True)
    for axis, (metric, title) in zip(axes, METRICS.items(), strict=True):
        for place, (one, two, half) in enumerate(pairs.values()):
            apart, equal = 100 * (two[metric] / one[metric] - 1), abs(two[metric] - one[metric]) <= half[metric] + 1e-9
            axis.plot([0, apart], [place, place], color="0.6", lw=1)
            axis.plot(apart, place, "o" if equal else "D", color=COLOURS[2 if equal else 1], ms=6)
        axis.axvline(0, color="0.4", lw=1)
        axis.set(title=title, xlabel="second / first − 1 (%)")
    axes[0].set_yticks(range(len(pairs)), list(pairs), fontsize=8)
    axes[0].invert_yaxis()
    return figure


def size_against_error(sheets: Mapping[str, Sheet], ours: str) -> Figure:
    """Number of parameters against RMSE, one panel a table, with the rank correlation ρ of all rows but `ours`."""
    figure, axes = new_figure(1, len(sheets), height=2.8)
    for axis, (title, sheet) in zip(np.atleast_1d(axes), sheets.items(), strict=True):
        params, rmse = sheet.column("params"), sheet.column("rmse")
        rho = spearman(params.drop(ours), rmse.drop(ours))
        axis.plot(params.drop(ours), rmse.drop(ours), "o", color=COLOURS[0])
        axis.plot(params[ours], rmse[ours], "*", color=COLOURS[1], ms=12, label=ours)
        axis.set(xscale="log", title=f"{title}: ρ = {rho:+.2f}",
                 xlabel="parameters (M)", ylabel="RMSE (m)", xticks=[10, 30, 100, 300],
                 xticklabels=["10", "30", "100", "300"])
        axis.minorticks_off()
    np.atleast_1d(axes)[0].legend()
    return figure
