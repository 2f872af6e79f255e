"""Teacher maps: what a teacher says of every view of a split, computed once and kept on disk.

A teacher is only ever asked for depth. It sees each view at its own input size; its answer is brought to the student's
size, and that is all the student's training needs. Explained in
notebooks/11_teacher_independent_distillation.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from mdelib.data.base import DepthBatch, DepthData, resize_image, valid_depth
from mdelib.evaluation import predict, resize_prediction
from mdelib.models.base import DepthNetwork
from mdelib.store import atomic_write

__all__ = ["TeacherSource", "learned_views", "taught_by", "teacher_maps"]


@dataclass(frozen=True)
class TeacherSource:
    """Where a teacher comes from.

    Attributes:
        key: changes with its weights and its code. size: (height, width) it sees.
        build: gives the network in evaluation mode; called only if its maps are not there yet.
    """

    key: str
    size: tuple[int, int]
    build: Callable[[], DepthNetwork]


def teacher_maps(teacher: TeacherSource, data: DepthData, size: tuple[int, int], *, folder: Path, batch: int = 16,
                 device: str | torch.device = "cpu") -> Tensor:
    """The teacher's depth of every view of a split, read from `folder` if it was made before, and kept there if not.

    Args:
        teacher: who is asked. data: the split. size: (height, width) of the maps.
        folder: where maps are kept; a file that is cut off or does not fit is made again.
        batch: views at a time. device: where the teacher computes.

    Returns:
        (N, 1, *size) float32 metres, in the order of ``data.names``.

    Raises:
        ValueError: a map with a pixel that is not finite.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    (rows, columns), (height, width) = teacher.size, size
    path = Path(folder) / (f"teacher-{teacher.key}-{data.info.name}-{data.split}-{data.fingerprint}-{rows}x{columns}-"
                           f"{height}x{width}-v1.safetensors")
    kept = _read(path, (len(data), 1, height, width))
    if kept is not None:
        return kept
    network = teacher.build().to(device)
    maps = torch.empty(len(data), 1, height, width)
    waiting: list[Tensor] = []
    for index, view in enumerate(data.stream()):
        waiting.append(resize_image(view.image, teacher.size))
        if len(waiting) == batch or index + 1 == len(data):
            depth = predict(network, torch.stack(waiting), batch=batch, device=device)
            maps[index + 1 - len(waiting):index + 1] = resize_prediction(depth, size)
            waiting = []
    bad = int((~torch.isfinite(maps)).sum())
    if bad:
        raise ValueError(f"the teacher's depth is not finite at {bad} pixels of {data.info.name} {data.split}: no "
                         "student can learn from it; look at its weights")
    atomic_write(path, save({"depth": maps}))
    return maps


def taught_by(views: DepthBatch, maps: Tensor) -> DepthBatch:
    """The views with a teacher's depth in the place of the truth.

    Training then turns, mirrors and crops the teacher's map together with the image, as it would the truth. Where the
    teacher says nothing (0, negative, NaN) the view is masked; everywhere else it counts, truth or no truth.

    Args:
        views: (B, 3, H, W) images. maps: (B, 1, H, W) metres.

    Raises:
        ValueError: maps of another number or size than the views, or nothing in them that counts.

    Explained in notebooks/11_teacher_independent_distillation.ipynb.
    """
    wanted = (len(views), 1, *views.image.shape[-2:])
    if tuple(maps.shape) != wanted:
        raise ValueError(f"teacher maps of shape {tuple(maps.shape)} came with views that need {wanted}: one map of "
                         "the student's size for each view; see teacher_maps")
    known = valid_depth(maps)
    if not known.any():
        raise ValueError(f"the teacher says nothing in all {len(views)} views: finite, positive metres are needed")
    return DepthBatch(views.names, views.image, torch.where(known, maps, 0.0), known, views.intrinsics)


def learned_views(maps: Callable[[DepthData], Tensor] | None, data: DepthData, views: DepthBatch) -> DepthBatch:
    """What a student learns from: `taught_by` the maps of `data`, whose tensors are `views`; None leaves the truth."""
    return views if maps is None else taught_by(views, maps(data))


def _read(path: Path, shape: tuple[int, ...]) -> Tensor | None:
    """The maps in a file, or None if there are none that can be trusted."""
    try:
        depth = load(path.read_bytes())["depth"]
    except (FileNotFoundError, SafetensorError, KeyError, ValueError):
        return None
    return depth if tuple(depth.shape) == shape and bool(torch.isfinite(depth).all()) else None
