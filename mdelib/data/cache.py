"""A split's tensors kept on disk, so that decoding and resizing hundreds of files happens once.

Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from mdelib.data.base import DepthBatch, DepthData, View

__all__ = ["cache_file", "cached_tensors"]

_FORMAT = "1"  # to be raised when the same files would give other tensors, for example by another resize
_PROGRESS_FROM = 200


def cache_file(data: DepthData, size: tuple[int, int], folder: Path) -> Path:
    """Where `cached_tensors` keeps a split: its name, its fingerprint and the size are in the file's name."""
    return Path(folder) / (f"{data.info.name}-{data.split}-{data.fingerprint}-{size[0]}x{size[1]}"
                           f"-v{_FORMAT}.safetensors")


def cached_tensors(data: DepthData, size: tuple[int, int], *, folder: Path) -> DepthBatch:
    """``data.tensors(size)``, read from `folder` if it was made before, and kept there if not.

    Images are rounded to 8 bits whether they are fresh or from the cache, so that a first and a second run
    see the same bytes. Depth is kept as float. A cache file that is truncated, damaged or of another split is
    made again. Writing is atomic: several processes may ask for the same split at once.

    Args:
        data: the split.
        size: (height, width) of every view.
        folder: where cache files go; made if absent.

    Raises:
        ValueError: from reading the views, see `DepthData.tensors`.
    """
    path = cache_file(data, size, folder)
    batch = _read(path, data, size)
    if batch is not None:
        return batch
    fresh = data.tensors(size, progress=lambda views: _progress(views, data))
    pixels = (fresh.image * 255).round_().clamp_(0, 255).to(torch.uint8)
    tensors = {"image": pixels, "depth": fresh.depth.float().contiguous(), "mask": fresh.mask.to(torch.uint8)}
    if fresh.intrinsics is not None:
        tensors["intrinsics"] = fresh.intrinsics.float().contiguous()
    _write(path, tensors, data.names)
    return _batch(data.names, tensors)


def _batch(names: tuple[str, ...], tensors: dict[str, Tensor]) -> DepthBatch:
    return DepthBatch(names, tensors["image"].float().div_(255), tensors["depth"], tensors["mask"].bool(),
                      tensors.get("intrinsics"))


def _progress(views: Iterator[View], data: DepthData) -> Iterator[View]:
    hidden = None if len(data) > _PROGRESS_FROM else True  # None: only on a terminal
    return tqdm(views, total=len(data), unit="view", desc=f"reading {data.info.name} {data.split}",
                disable=hidden, leave=False)


def _digest(tensors: dict[str, Tensor]) -> str:
    total = hashlib.sha256()
    for key in sorted(tensors):
        total.update(f"{key} {tuple(tensors[key].shape)}".encode())
        total.update(tensors[key].contiguous().numpy())
    return total.hexdigest()


def _write(path: Path, tensors: dict[str, Tensor], names: tuple[str, ...]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(save(tensors, {"names": json.dumps(names), "sha256": _digest(tensors)}))
        os.replace(part, path)
    except OSError as error:  # a read-only or full disk costs time, not the run
        part.unlink(missing_ok=True)
        warnings.warn(f"the tensors could not be kept in {path.parent} ({error}): they will be made again "
                      "next time; free some space or choose another folder", stacklevel=3)


def _read(path: Path, data: DepthData, size: tuple[int, int]) -> DepthBatch | None:
    """The batch in a cache file, or None if there is none that can be trusted."""
    if not path.is_file():
        return None
    try:
        content = path.read_bytes()
        tensors = load(content)
        about = json.loads(content[8:8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        names = tuple(json.loads(about["names"]))
        whole = (about["sha256"] == _digest(tensors) and names == data.names
                 and tensors["image"].shape == (len(data), 3, *size) and {"depth", "mask"} <= tensors.keys())
    except (SafetensorError, ValueError, KeyError, TypeError, OSError):
        return None
    return _batch(names, tensors) if whole else None
