"""SUN RGB-D: rooms seen by four depth cameras, in the official layout.

``SUNRGBD/<sensor>/.../<scene>/{image,depth,depth_bfx,intrinsics.txt,scene.txt}``, depth in 16 bits rotated by
three places, millimetres, 0 unknown; the split is ``SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat``.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mdelib.data.base import DataInfo, DepthData, View, hold_out
from mdelib.data.files import (
    IMAGE_SUFFIXES,
    make_view,
    read_depth_png,
    read_image,
    signature,
    unrotate_sunrgbd,
)

__all__ = ["INFO", "describe_sunrgbd", "load_sunrgbd", "read_sunrgbd_intrinsics", "read_sunrgbd_split"]

INFO = DataInfo("sunrgbd", "SUN RGB-D", min_depth=1e-3, max_depth=10.0)
_NYU = "kv1/NYUdata/"
_SPLIT = Path("SUNRGBDtoolbox/traintestSUNRGBD/allsplit.mat")
_DEPTHS = {"filled": "depth_bfx", "raw": "depth"}


def load_sunrgbd(folder: Path, split: str, *, depth: str = "filled", exclude_nyu: bool = True) -> DepthData:
    """A split of SUN RGB-D.

    Args:
        folder: holds ``SUNRGBD`` and, for the official split, ``SUNRGBDtoolbox``.
        split: ``"train"`` (5,285) and ``"test"`` (5,050) are official. Without ``allsplit.mat`` every scene
            on disk is in ``"test"``, because the data set serves here to test what was trained on NYU.
            ``"val"`` is every tenth scene of ``"train"`` and ``"fit"`` the rest.
        depth: ``"filled"`` (``depth_bfx``, holes filled in by the authors) or ``"raw"`` (``depth``). The
            toolbox cuts depth at 8 m when it makes points of it; here nothing is cut.
        exclude_nyu: leave out ``kv1/NYUdata``, the 1,449 images of NYU-Depth-v2: a network trained on NYU has
            seen them.

    Raises:
        FileNotFoundError: no SUN RGB-D there.
        ValueError: an unknown or empty split, an unknown depth, a split file that cannot be read.
    """
    if depth not in _DEPTHS:
        raise ValueError(f"SUN RGB-D depth {depth!r} is unknown: choose filled (depth_bfx) or raw (depth)")
    if split not in ("train", "test", "fit", "val"):
        raise ValueError(f"SUN RGB-D has no split {split!r}: choose train or test (official), or fit or val")
    folder = Path(folder)
    scenes = _scenes(folder / "SUNRGBD")
    if not scenes:
        raise FileNotFoundError(f"{folder / 'SUNRGBD'} holds no scene (a folder with image and depth): run "
                                "`python data_scripts/download_sunrgbd.py`")
    chosen = _members(folder, scenes, "test" if split == "test" else "train")
    if exclude_nyu:
        chosen = [scene for scene in chosen if not scene.startswith(_NYU)]
    if split in ("fit", "val"):
        parts = hold_out(chosen)
        chosen = [chosen[i] for i in parts[split == "val"]]
    home = folder / "SUNRGBD"
    images = {scene: _only_file(home / scene / "image", IMAGE_SUFFIXES) for scene in chosen}
    depths = {scene: _only_file(home / scene / _DEPTHS[depth], (".png",)) for scene in chosen}

    def read(name: str) -> View:
        return make_view(name, read_image(images[name]),
                         read_depth_png(depths[name], 1000.0, decode=unrotate_sunrgbd),
                         read_sunrgbd_intrinsics(home / name / "intrinsics.txt"), source=depths[name])

    mark = signature(folder, [*images.values(), *depths.values()])
    return DepthData(INFO, split, chosen, read, mark, threads=4)


def read_sunrgbd_intrinsics(path: Path) -> Tensor:
    """The camera matrix (3, 3) of a scene.

    The toolbox is Matlab and counts pixels from 1; here pixel centres are at integers from 0, so 1 is taken
    off the principal point.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it does not hold nine numbers.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: every scene of SUN RGB-D has one; fetch the data set "
                                "again")
    try:
        numbers = [float(word) for word in path.read_text().split()]
    except ValueError:
        numbers = []
    if len(numbers) != 9:
        raise ValueError(f"{path} does not hold the nine numbers of a camera matrix ({len(numbers)} were "
                         "readable): fetch the data set again")
    camera = torch.tensor(numbers).view(3, 3)
    camera[:2, 2] -= 1.0
    return camera


def read_sunrgbd_split(path: Path) -> dict[str, list[str]]:
    """The official split, ``{"train": [...], "test": [...]}``, as scene folders below ``SUNRGBD``.

    The file holds the authors' own absolute paths (``/n/fs/.../SUNRGBD/kv2/...``), of which only what follows
    ``SUNRGBD`` counts.

    Raises:
        ValueError: the file is not SUN RGB-D's ``allsplit.mat``.
    """
    import scipy.io

    try:
        held = scipy.io.loadmat(path, squeeze_me=True, variable_names=["alltrain", "alltest"])
        lists = {split: [_below_sunrgbd(str(entry)) for entry in np.atleast_1d(held[f"all{split}"])]
                 for split in ("train", "test")}
    except (ValueError, KeyError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} cannot be read as SUN RGB-D's allsplit.mat with alltrain and alltest "
                         f"({error}): fetch it again with `python "
                         "data_scripts/download_sunrgbd.py`") from None
    return lists


def describe_sunrgbd(folder: Path) -> str:
    """One sentence on what is there, for a person."""
    scenes = _scenes(folder / "SUNRGBD")
    if not scenes:
        return f"not found in {folder}"
    nyu = sum(scene.startswith(_NYU) for scene in scenes)
    text = f"{len(scenes)} of 10335 scenes ({nyu} of them NYU's, left out unless asked for)"
    try:
        counts = {split: len(_members(folder, scenes, split)) for split in ("train", "test")}
    except ValueError as error:
        return f"{text}; {error}"
    if not (folder / _SPLIT).is_file():
        return f"{text}; no allsplit.mat, so all are test views"
    return f"{text}: {counts['train']} training and {counts['test']} test views"


def _below_sunrgbd(entry: str) -> str:
    _, found, scene = entry.replace("\\", "/").rpartition("SUNRGBD/")
    if not found:
        raise ValueError(f"entry {entry!r} names no folder below SUNRGBD")
    return "/".join(part for part in scene.split("/") if part)


def _members(folder: Path, scenes: list[str], split: str) -> list[str]:
    """The scenes on disk that belong to an official split."""
    if not (folder / _SPLIT).is_file():
        return scenes if split == "test" else []
    listed = set(read_sunrgbd_split(folder / _SPLIT)[split])
    return [scene for scene in scenes if scene in listed]


def _scenes(home: Path) -> list[str]:
    """Every scene folder below `home`, sorted: one that has both an image and a depth folder."""
    found = []
    for path, folders, _ in os.walk(home):
        if "image" in folders and ("depth" in folders or "depth_bfx" in folders):
            found.append(Path(path).relative_to(home).as_posix())
            folders.clear()  # nothing further inside a scene
    return sorted(found)


def _only_file(folder: Path, suffixes: tuple[str, ...]) -> Path:
    paths = []
    if folder.is_dir():
        paths = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != "."]
    if len(paths) != 1:
        raise ValueError(f"{folder} holds {len(paths)} files of kind {'/'.join(suffixes)}: SUN RGB-D has "
                         "exactly one there; fetch the data set again")
    return paths[0]
