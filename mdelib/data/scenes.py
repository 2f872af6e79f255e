"""The course's own data sets: ray-traced rooms and streets, rendered on first use.

    data = load_scenes("scenes-rooms", "test", root=Path("data"))
    twin = render_view("scenes-rooms", "test", 3, without="shadows")

Besides picture and depth every view has normals, object ids and intrinsics, and can be rendered again without one
cue; `extras["cue_pixels"]` then marks where the cue was. That is ground truth for explanations, which no
photograph has. Object ids: 0 nothing (sky), 1 ground, 2 wall, 3 ceiling, things from 10 on.

What "without" removes, and what the depth then is:

- ``"shadows"``: the shadows that movable things cast, on the place, on each other and on themselves, and their
  share of the ambient occlusion; the place still shades itself, and surfaces still darken away from the light.
  Depth unchanged.
- ``"texture"``: every material has its mean colour; shading and shadows stay. Depth unchanged.
- ``"contact"``: a soft veil of the ground's mean colour hides where movable things touch the ground: within 0.12 m
  (streets 0.4 m) of their feet on the ground and 0.10 m (0.3 m) up. It fades to nothing at twice that. Depth
  unchanged.
- ``"size"``: every movable thing nearer than 4 m (streets 20 m) is shrunk about its foot by z/4 m (z/20 m), z the
  depth of its foot: it is pictured as large as it would be at that depth, so that size says nothing about
  distance, while where it stands still does. Depth is that of the shrunk scene.

Doors, windows, pictures, rugs and houses count as part of the place: they are not movable. Explained in
notebooks/00_start_here.ipynb and notebooks/14 (is the explanation faithful?).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mdelib.data import DATASETS
from mdelib.data.base import DepthData, View
from mdelib.data.rendering import COUNTS, CUES, GENERATOR_VERSION, generator_key, render_arrays
from mdelib.data.scene_cache import cache_folder, read_stored, render_missing, view_file

__all__ = ["CUES", "GENERATOR_VERSION", "load_scenes", "render_view"]

_SPLITS = {
    "train": "train",
    "test": "test",
    "fit": "train",
    "val": "train",
}  # split -> where its views come from
_SMALLEST = 8


def _check(name: str, split: str, size: tuple[int, int]) -> tuple[int, int]:
    if name not in COUNTS:
        raise ValueError(f"scenes {name!r} are unknown: choose one of {', '.join(COUNTS)}")
    if split not in _SPLITS:
        raise ValueError(f"split {split!r} of {name!r} is unknown: choose one of {', '.join(_SPLITS)}")
    if len(size) != 2 or any(int(side) != side or side < _SMALLEST for side in size):
        raise ValueError(f"size is {size!r}: expected (height, width) of at least {_SMALLEST} pixels each")
    return int(size[0]), int(size[1])


def _indices(name: str, split: str) -> list[int]:
    """The rendered views that a split is made of: val is every tenth of train, fit the others."""
    every = range(COUNTS[name][_SPLITS[split]])
    return [index for index in every if split in ("train", "test") or (index % 10 == 0) == (split == "val")]


def _view(label: str, arrays: dict[str, np.ndarray]) -> View:
    """Stored arrays as the view that the library hands out."""
    depth = torch.from_numpy(arrays["depth"])[None]
    normals = arrays["normals"].astype(np.float32)  # numpy: one view is too small a thing for torch's threads
    normals /= np.maximum(np.sqrt((normals**2).sum(-1, keepdims=True)), 1)
    extras = {
        "normals": torch.from_numpy(np.ascontiguousarray(normals.transpose(2, 0, 1))),
        "objects": torch.from_numpy(arrays["objects"].astype(np.int64))[None],
    }
    if "lidar" in arrays:
        extras["lidar"] = depth * torch.from_numpy(arrays["lidar"])[None]
    if "cue_pixels" in arrays:
        extras["cue_pixels"] = torch.from_numpy(arrays["cue_pixels"])[None]
    image = torch.from_numpy(np.ascontiguousarray(arrays["image"].transpose(2, 0, 1), np.float32) / np.float32(255))
    return View(label, image, depth, depth > 0, torch.from_numpy(arrays["intrinsics"]).float(), extras)


def render_view(
    name: str, split: str, index: int, size: tuple[int, int] = (96, 128), *, without: str | None = None
) -> View:
    """Renders one view now, with a cue removed on request (see the top of this module).

    Args:
        name: ``"scenes-rooms"`` or ``"scenes-streets"``.
        split: as in `load_scenes`.
        index: the view's place in the split.
        size: (height, width).
        without: a name of `CUES`, or None for the view as it is in the data set.

    Returns:
        The view; its extras hold ``normals``, ``objects``, for streets ``lidar``, and with a cue removed
        ``cue_pixels`` (1, H, W) bool: the pixels whose colour visibly changed (by more than 2 of 255).

    Raises:
        ValueError: an unknown name, split or cue, or an index outside of the split.
    """
    size = _check(name, split, size)
    if without is not None and without not in CUES:
        raise ValueError(
            f"cue {without!r} is unknown: choose one of {', '.join(CUES)}, or None to remove nothing"
        )
    indices = _indices(name, split)
    if not 0 <= index < len(indices):
        raise ValueError(
            f"view {index} of {name!r} {split!r} does not exist: choose one of 0 to {len(indices) - 1}"
        )
    source, number = _SPLITS[split], indices[index]
    return _view(f"{source}-{number:04d}", render_arrays(name, source, number, size, without))


def load_scenes(
    name: str,
    split: str,
    *,
    root: Path,
    size: tuple[int, int] = (96, 128),
    count: int | None = None,
    processes: int | None = None,
    lazy: bool = False,
) -> DepthData:
    """A split of the rendered scenes; what is not stored yet is rendered first, with a progress bar.

    Args:
        name: ``"scenes-rooms"`` (600 train, 100 test) or ``"scenes-streets"`` (300 train, 60 test).
        split: ``"train"``, ``"test"``, or ``"fit"`` and ``"val"``, which part train: val is every tenth view.
        root: the data folder; views are kept under ``<root>/<name>/<H>x<W>-v<version>/``.
        size: (height, width) of the pictures.
        count: at most so many views, the first of the split; no others are rendered. A view is the same
            whatever the count.
        processes: how many render; None means one a processor.
        lazy: render nothing now; a view that is not stored is rendered when it is read. For a caller that only wants
            the names and the fingerprint.

    Raises:
        ValueError: an unknown name or split, a size or count that is too small.
        RuntimeError: rendering failed.
    """
    size = _check(name, split, size)
    if count is not None and count < 1:
        raise ValueError(f"count is {count}: expected at least 1 view, or None for all of them")
    source = _SPLITS[split]
    chosen = {f"{source}-{index:04d}": index for index in _indices(name, split)[:count]}
    folder = cache_folder(Path(root), name, size)
    if not lazy:
        render_missing(Path(root), name, source, size, list(chosen.values()), processes=processes)

    def read(label: str) -> View:
        index = chosen[label]
        return _view(label, read_stored(view_file(folder, source, index), name, source, index, size))

    signature = f"{GENERATOR_VERSION} {size[0]}x{size[1]} {generator_key()}"
    return DepthData(DATASETS[name], split, list(chosen), read, signature)
