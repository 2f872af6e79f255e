"""How each cost grows with pixels, bins, units and images: processor seconds on one thread, and the fitted exponent.

    python benchmarks/growth.py [--scale full] [--figure growth.png]

Ours alone, on ever larger sizes of the contests beside this file. The exponent is the slope on log axes, fitted to all
points: 1 means twice the time for twice the size, less that something is paid once.
"""

from __future__ import annotations

import argparse
import importlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _timing import short, timed
from matplotlib.figure import Figure

from mdelib.figures import COLOURS, new_figure

SIDES = ((48, 64), (96, 128), (192, 256), (384, 512))
BINS, UNITS, IMAGES = (16, 32, 64, 128, 256), (8, 32, 128, 512), (1, 2, 4, 8)
POINTS = {"tiny": 2, "quick": 3, "full": 9}  # of each series
SERIES = {  # axis -> title -> (script, contest, sizes that stay, the size that grows, its values)
    "pixels": {"DPM loss": ("dpm_loss", "paper", {"batch": 1, "bins": 64}, "size", SIDES),
               "response table": ("response_table", "table", {"units": 16, "bins": 32, "features": (24, 32)}, "depth",
                                  SIDES),
               "transport on values": ("transport_loss", "values", {"batch": 1, "grid": 8}, "size", SIDES),
               "SSIM, masked": ("ssim", "loss", {"batch": 1, "channels": 1}, "size", SIDES),
               "integrated gradients": ("integrated_gradients", "points", {"images": 1, "steps": 2}, "size",
                                        SIDES[:3]),
               "perturbation curve": ("perturbation_curve", "curve", {"images": 1, "steps": 3}, "size", SIDES[:3]),
               "depth errors": ("depth_errors", "errors", {"images": 1}, "size", SIDES)},
    "images": {"DPM loss": ("dpm_loss", "paper", {"size": (48, 64), "bins": 64}, "batch", IMAGES),
               "transport on values": ("transport_loss", "values", {"size": (96, 128), "grid": 8}, "batch", IMAGES),
               "SSIM, masked": ("ssim", "loss", {"size": (96, 128), "channels": 1}, "batch", IMAGES),
               "integrated gradients": ("integrated_gradients", "points", {"size": (48, 64), "steps": 2}, "images",
                                        IMAGES),
               "perturbation curve": ("perturbation_curve", "curve", {"size": (48, 64), "steps": 3}, "images", IMAGES),
               "depth errors": ("depth_errors", "errors", {"size": (96, 128)}, "images", IMAGES)},
    "bins": {"DPM loss": ("dpm_loss", "paper", {"batch": 1, "size": (48, 64)}, "bins", BINS),
             "response table": ("response_table", "table", {"units": 16, "features": (24, 32), "depth": (96, 128)},
                                "bins", BINS)},
    "units": {"response table": ("response_table", "table", {"bins": 32, "features": (24, 32), "depth": (96, 128)},
                                 "units", UNITS)}}
MARKERS, LINES = "osD^vPX", ("-", "--", "-.", ":", (0, (5, 1)), (0, (1, 1)), (0, (3, 1, 1, 1)))


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The slope on log axes."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def measure_growth(scale: str = "full", axes: Sequence[str] = tuple(SERIES)) -> list[dict[str, Any]]:
    """One entry a series: axis, title, sizes, least CPU seconds, exponent."""
    found, before = [], torch.get_num_threads()
    torch.set_num_threads(1)
    for axis in axes:
        for title, (module, name, fixed, grows, values) in SERIES[axis].items():
            sizes, seconds = [], []
            for value in values[:POINTS[scale]]:
                contest = importlib.import_module(module).CONTESTS[name](**fixed, **{grows: value})
                ours = next(iter(contest.calls))
                seconds.append(short(timed({ours: contest.calls[ours]}, 3)[ours][:, 0].min()))
                sizes.append(math.prod(value) if isinstance(value, tuple) else value)
            found.append({"axis": axis, "title": title, "sizes": sizes, "cpu_s": seconds,
                          "exponent": round(exponent(sizes, seconds), 2)})
    torch.set_num_threads(before)
    return found


def draw(found: Sequence[Mapping[str, Any]]) -> Figure:
    """One panel an axis; colours, markers and dashes say the same, so that it can be read in grey."""
    titles = list(SERIES["pixels"])
    figure, panels = new_figure(2, 2, height=3.6, sharey=True)
    for panel, axis in zip(panels.flat, SERIES, strict=True):
        mine = [one for one in found if one["axis"] == axis]
        for series in mine:
            place = titles.index(series["title"])
            panel.loglog(series["sizes"], [1e3 * s for s in series["cpu_s"]], color=COLOURS[place],
                         marker=MARKERS[place], linestyle=LINES[place], markersize=5,
                         label=f"{series['title']}: {series['exponent']:.2f}")
        sizes = sorted({size for series in mine for size in series["sizes"]})
        panel.set_xticks(sizes, [f"{size / 1000:.0f} k" if size >= 1000 else str(size) for size in sizes])
        panel.minorticks_off()
        panel.set_xlabel({"pixels": "pixels of an image", "units": "units of a layer"}.get(axis, axis))
        if mine:
            panel.legend(fontsize=8, title="exponent", title_fontsize=8, loc="upper left", frameon=False,
                         alignment="left")
    for panel in panels[:, 0]:
        panel.set_ylabel("CPU milliseconds")
    low, high = panels[0, 0].get_ylim()
    panels[0, 0].set_ylim(low, high * 2000)  # room for the legends
    return figure


def save(figure: Figure, path: Path, made: str) -> None:
    """The figure with the moment of its measurement inside, by which a stale one is known."""
    figure.savefig(path, metadata={"Description": made, "Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=POINTS, default="full")
    parser.add_argument("--figure", type=Path)
    chosen = parser.parse_args()
    found = measure_growth(chosen.scale)
    for series in found:
        print(f"{series['axis']:8}{series['title']:24}{series['exponent']:6.2f}  "
              + "  ".join(f"{x}: {1e3 * s:.1f} ms" for x, s in zip(series["sizes"], series["cpu_s"], strict=True)))
    if chosen.figure:
        save(draw(found), chosen.figure, "by hand")


if __name__ == "__main__":
    main()
