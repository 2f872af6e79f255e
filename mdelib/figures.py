"""Figures: one style, one size, one way to draw a depth map.

Depth is drawn in `viridis_r`, which is perceptually uniform and readable in grey: near is bright, far is dark.
Signed maps are drawn in a diverging map with symmetric limits. All maps of a row share their limits, and every
colour bar names its unit. Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

__all__ = ["COLOURS", "DEPTH_MAP", "SIGNED_MAP", "WIDTH", "colour_of", "depth_statistics",
           "draw_camera_from_above", "image_grid", "image_rows", "interval_plot", "new_figure",
           "region_colours", "show_depth", "show_image", "show_labels", "show_normals", "show_share", "show_signed",
           "style"]

WIDTH = 9.0  # inches: the text width of a notebook page
DEPTH_MAP = "viridis_r"
SIGNED_MAP = "RdBu_r"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's

STYLE = {
    "figure.dpi": 100, "savefig.dpi": 100, "figure.constrained_layout.use": True, "font.size": 10,
    "axes.titlesize": 10, "axes.labelsize": 10, "axes.spines.top": False, "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS), "axes.grid": False, "image.interpolation": "nearest",
    "legend.frameon": False, "lines.linewidth": 1.8, "figure.figsize": (WIDTH, 3.2), "svg.hashsalt": "mdelib",
}


@contextmanager
def style():
    """Draw inside this context to get the course's style; what was set before comes back afterwards."""
    with matplotlib.rc_context(STYLE):
        yield


def new_figure(rows: int = 1, columns: int = 1, *, height: float = 3.0, **options: Any) -> tuple[Figure, Any]:
    """A figure as wide as the page, in the course's style.

    Args:
        rows, columns: of axes. height: of one row, inches. options: for `plt.subplots`.

    Returns:
        The figure and its axes, as `plt.subplots` returns them. The figure is not shown until asked for.
    """
    with style():
        figure, axes = plt.subplots(rows, columns, figsize=(WIDTH, height * rows), **options)
    plt.close(figure)  # shown once, by `Lesson.figure`, not a second time at the end of the cell
    return figure, axes


def colour_of(name: str, names: Sequence[str]) -> str:
    """The colour of `name` among `names`: the same in every figure that lists them in the same order."""
    return COLOURS[list(names).index(name) % len(COLOURS)]


def region_colours() -> matplotlib.colors.ListedColormap:
    """Two colours for smooth surfaces (first) and surroundings of edges (second)."""
    return matplotlib.colors.ListedColormap([COLOURS[0], COLOURS[1]])


def _plain(values: Tensor | np.ndarray) -> np.ndarray:
    array = values.detach().cpu().float().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return np.squeeze(array)


def _bare(axes: Axes, title: str | None) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    if title:
        axes.set_title(title)


def show_image(axes: Axes, image: Tensor | np.ndarray, title: str | None = None) -> Any:
    """Draw an RGB image, (3, H, W) in [0, 1]."""
    artist = axes.imshow(np.clip(_plain(image).transpose(1, 2, 0), 0, 1))
    _bare(axes, title)
    return artist


def show_depth(axes: Axes, depth: Tensor | np.ndarray, title: str | None = None, *, limits: tuple[float, float],
               mask: Tensor | np.ndarray | None = None) -> Any:
    """Draw depth (1, H, W) or (H, W) in metres; pixels outside `mask` are grey."""
    values = _plain(depth)
    if mask is not None:
        values = np.ma.masked_where(~_plain(mask).astype(bool), values)
    shades = matplotlib.colormaps[DEPTH_MAP].with_extremes(bad="0.6")
    artist = axes.imshow(values, cmap=shades, vmin=limits[0], vmax=limits[1])
    _bare(axes, title)
    return artist


def show_signed(axes: Axes, values: Tensor | np.ndarray, title: str | None = None, *, limit: float,
                mask: Tensor | np.ndarray | None = None) -> Any:
    """Draw a signed map (1, H, W) or (H, W) with limits -limit..limit; pixels outside `mask` are grey."""
    array = _plain(values)
    if mask is not None:
        array = np.ma.masked_where(~_plain(mask).astype(bool), array)
    shades = matplotlib.colormaps[SIGNED_MAP].with_extremes(bad="0.6")
    artist = axes.imshow(array, cmap=shades, vmin=-limit, vmax=limit)
    _bare(axes, title)
    return artist


def show_share(axes: Axes, values: Tensor | np.ndarray, title: str | None = None) -> Any:
    """Draw shares (1, H, W) or (H, W) in grey, for example a mask: 0 is black, 1 is white."""
    artist = axes.imshow(_plain(values).astype(float), cmap="gray", vmin=0, vmax=1)
    _bare(axes, title)
    return artist


def show_normals(axes: Axes, normals: Tensor | np.ndarray, title: str | None = None) -> Any:
    """Draw surface normals (3, H, W), x right, y down, z forward; pixels without one (zero) are grey.

    Red grows to the right, green upwards, blue towards the camera: a floor is green, a wall in front is blue.
    """
    values = _plain(normals).transpose(1, 2, 0)
    colours = np.clip(0.5 + 0.5 * values * np.array([1.0, -1.0, -1.0]), 0, 1)
    artist = axes.imshow(np.where(np.linalg.norm(values, axis=2, keepdims=True) > 0.5, colours, 0.6))
    _bare(axes, title)
    return artist


def show_labels(axes: Axes, labels: Tensor | np.ndarray, title: str | None = None) -> Any:
    """Draw ids (1, H, W) or (H, W), one colour an id; 0 is grey.

    Colours tell neighbours apart and repeat when there are many ids.
    """
    values = _plain(labels).astype(int)
    _, rank = np.unique(values, return_inverse=True)
    shades = np.asarray(matplotlib.colormaps["tab20"].colors)[(rank.reshape(values.shape) * 7) % 20]
    artist = axes.imshow(np.where(values[..., None] == 0, 0.6, shades))
    _bare(axes, title)
    return artist


def draw_camera_from_above(axes: Axes, intrinsics: Tensor, size: tuple[int, int], *, depth: float) -> None:
    """Draw a camera at the origin of a top view (x right, z ahead), in metres: its wedge of sight, and at `depth` the
    straight line of equal depth and the arc of equal range.

    Args:
        axes: to draw in. intrinsics: (3, 3) pixels. size: (height, width) of the image. depth: metres.
    """
    fx, cx = float(intrinsics[0, 0]), float(intrinsics[0, 2])
    left, right = (-0.5 - cx) / fx, (size[1] - 0.5 - cx) / fx
    far = axes.get_ylim()[1]
    for edge in (left, right):
        axes.plot([0, edge * far], [0, far], color="0.6", lw=1)
    axes.plot([left * depth, right * depth], [depth, depth], color=COLOURS[0], label=f"depth {depth:.1f} m")
    angles = np.linspace(np.arctan(left), np.arctan(right), 60)
    axes.plot(depth * np.sin(angles), depth * np.cos(angles), color=COLOURS[1], ls="--", label=f"range {depth:.1f} m")
    axes.plot(0, 0, "^", color="black", ms=9)
    axes.annotate("camera", (0, 0), xytext=(10, -3), textcoords="offset points")
    axes.set_ylim(-0.05 * far, far)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def depth_statistics(parts: Mapping[str, tuple[Tensor, Tensor]]) -> Figure:
    """How often each depth occurs, and the mean depth of every row of pixels, both with a logarithmic depth axis.

    Args:
        parts: title -> (depth, mask), (B, 1, H, W) metres and bool.
    """
    figure, (often, where) = new_figure(1, 2, height=3.2)
    values = {title: _plain(depth[mask]) for title, (depth, mask) in parts.items()}
    bins = np.geomspace(min(v.min() for v in values.values()), max(v.max() for v in values.values()), 60)
    for index, (title, (depth, mask)) in enumerate(parts.items()):
        shares = np.histogram(values[title], bins)[0] / len(values[title])
        style = {"color": COLOURS[index], "ls": ("-", "--", "-.")[index % 3], "label": title}
        often.stairs(100 * shares, bins, lw=1.8, **style)
        known = mask.sum(dim=(0, 1, 3))
        profile = _plain(depth.where(mask, 0.0).sum(dim=(0, 1, 3)) / known)  # NaN in a row that nobody knows
        where.plot(profile, np.linspace(0, 1, len(profile)), **style)
    for axes in (often, where):
        axes.set(xscale="log", xlabel="depth (m)")
        ticks = [t for t in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if bins[0] < t < bins[-1]]
        axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axes.set_xticks([], minor=True)
    often.set(ylabel="share of known pixels (%)")
    often.legend()
    where.set(ylabel="place in the picture")
    where.set_yticks([0, 0.5, 1], ["top", "middle", "bottom"])
    where.invert_yaxis()
    return figure


def image_rows(rows: Sequence[Mapping[str, Tensor]], *, depth_limits: tuple[float, float] | None = None,
               error_limit: float | None = None, masks: Sequence[Tensor | None] | None = None,
               height: float | None = None) -> Figure:
    """One row a view, one column a map; the first row carries the titles.

    Args:
        rows: one mapping a row, title -> map. Three channels are drawn as an image; titles that begin with
            "error" as a signed map in metres, with "mask" or "gradient" as shares; all others as depth in metres.
        depth_limits: metres; by default the 1st and 99th percentile of each row's first depth map.
        error_limit: metres; by default a quarter of the row's depth range.
        masks: one mask (1, H, W) a row, applied to errors and to maps whose title begins with "ground truth".
        height: of a row, inches.
    """
    columns = len(rows[0])
    shape = _plain(next(iter(rows[0].values()))).shape[-2:]
    figure, axes = new_figure(len(rows), columns, squeeze=False,
                              height=height or (WIDTH - 1) / columns * shape[0] / shape[1] + 0.25)
    for index, row in enumerate(rows):
        mask = masks[index] if masks else None
        depths = [v for k, v in row.items()
                  if len(_plain(v).shape) == 2 and not k.lower().startswith(("error", "mask", "gradient"))]
        limits = depth_limits or tuple(np.percentile(_plain(depths[0]), [1, 99])) if depths else (0.0, 1.0)
        span = error_limit or 0.25 * (limits[1] - limits[0])
        for axis, (title, values) in zip(axes[index], row.items(), strict=True):
            label = title if index == 0 else None
            if len(_plain(values).shape) == 3:
                show_image(axis, values, label)
            elif title.lower().startswith(("mask", "gradient")):
                show_share(axis, values, label)
            elif title.lower().startswith("error"):
                signed = show_signed(axis, values, label, limit=span, mask=mask)
            else:
                known = mask if title.lower().startswith("ground truth") else None
                scale = show_depth(axis, values, label, limits=limits, mask=known)
        errors = any(title.lower().startswith("error") for title in row)
        if depths:  # outside of the bar of errors, and clear of its label
            figure.colorbar(scale, ax=axes[index], label="depth (m)", shrink=0.9, pad=0.035 if errors else 0.01)
        if errors:
            figure.colorbar(signed, ax=axes[index], label="error (m)", shrink=0.9, pad=0.01)
    return figure


def image_grid(images: Sequence[Tensor], columns: int = 6, titles: Sequence[str] | None = None) -> Figure:
    """A contact sheet of images (3, H, W)."""
    rows = -(-len(images) // columns)
    shape = images[0].shape
    figure, axes = new_figure(rows, columns, squeeze=False,
                              height=WIDTH / columns * shape[-2] / shape[-1] + (0.2 if titles else 0.03))
    for index, axis in enumerate(axes.flat):
        if index < len(images):
            show_image(axis, images[index], titles[index] if titles else None)
        else:
            axis.set_visible(False)
    return figure


def interval_plot(axes: Axes, labels: Sequence[str], centres: Sequence[float],
                  intervals: Sequence[tuple[float, float]], *, colours: Sequence[str] | None = None) -> None:
    """Points with their intervals, one row each, and a line at zero."""
    for index, (centre, (low, high)) in enumerate(zip(centres, intervals, strict=True)):
        colour = colours[index] if colours else COLOURS[0]
        axes.plot([low, high], [index, index], color=colour, lw=2)
        axes.plot(centre, index, "o", color=colour)
    axes.axvline(0, color="0.5", lw=1, zorder=0)
    axes.set_yticks(range(len(labels)), labels)
    if not axes.yaxis_inverted():  # panels that share the axis turn it once
        axes.invert_yaxis()
