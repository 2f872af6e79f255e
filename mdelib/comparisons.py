"""Figures that compare: one dot with its interval an entry, one signed bar a change.

Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mdelib.figures import COLOURS, new_figure

__all__ = ["change_bars", "dot_panels"]


def dot_panels(rows: Mapping[str, Mapping[str, tuple[float, tuple[float, float]]]], titles: Mapping[str, str], *,
               bands: Mapping[str, float] | None = None, accented: Collection[str] = ()) -> Figure:
    """One panel a measure, one row an entry: a dot with its interval; a line marks the first row's value.

    Args:
        rows: entry -> measure -> (value, interval). titles: measure -> title of its panel, in order.
        bands: measure -> half width of a grey band around the line. accented: entries drawn in the second colour.
    """
    figure, axes = new_figure(1, len(titles), height=0.8 + 0.32 * len(rows), sharey=True, squeeze=False)
    first = next(iter(rows.values()))
    for axis, (measure, title) in zip(axes[0], titles.items(), strict=True):
        start, width = first[measure][0], (bands or {}).get(measure, 0)
        axis.axvspan(start - width, start + width, color="0.88", lw=0)
        axis.axvline(start, color="0.4", lw=1)
        for index, (name, values) in enumerate(rows.items()):
            colour = COLOURS[int(name in accented)]
            axis.plot(values[measure][1], [index, index], color=colour, alpha=0.5, lw=2)
            axis.plot(values[measure][0], index, "s" if name in accented else "o", color=colour, ms=7)
        axis.set_title(title)
    axes[0, 0].set_yticks(range(len(rows)), list(rows))
    axes[0, 0].invert_yaxis()
    return figure


def change_bars(axes: Axes, labels: Sequence[str], changes: Sequence[float], *, limit: float,
                texts: Sequence[str] | None = None) -> None:
    """Signed bars in percent, the first at the top; blue is a smaller number, orange a larger one.

    Args:
        changes: percent; bars are cut at `limit`. texts: at the right edge; by default the change beside its bar.
    """
    shown = np.clip(np.asarray(changes, float), -limit, limit)
    axes.barh(range(len(labels)), shown, color=[COLOURS[int(value > 0)] for value in changes])
    axes.axvline(0, color="0.4", lw=1)
    for index, value in enumerate(changes):
        if texts is None:
            word = f"{value:+.1f}" if abs(value) >= 0.05 else "0"
            axes.text(max(shown[index], 0) + 0.02 * limit, index, word, va="center", fontsize=8)
        else:
            axes.text(1.05 * limit, index, texts[index], va="center", fontsize=9)
    axes.set(xlim=(-1.03 * limit, 1.03 * limit))
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)  # also right where panels share their rows
