"""KITTI: streets with LiDAR depth to 80 m, in the official layout.

``raw/<day>/<drive>/image_02/data/*.png`` with the day's calibration, and
``depth/{train,val}/<drive>/proj_depth/{groundtruth,velodyne_raw}/image_02/*.png`` (16 bits, 256 a metre, 0
unknown). The lists of Eigen et al. are ``splits/kitti_eigen_{train,test}.txt`` beside the data set's folder.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from mdelib.data.base import DataInfo, DepthData, View, hold_out
from mdelib.data.files import make_view, read_depth_png, read_image, signature
from mdelib.data.velodyne import KittiCalibration, project_velodyne, read_calibration, read_velodyne

__all__ = ["INFO", "KittiCalibration", "describe_kitti", "kb_crop", "load_kitti", "project_velodyne",
           "read_calibration", "read_eigen_list", "read_velodyne"]

INFO = DataInfo("kitti", "KITTI", min_depth=1e-3, max_depth=80.0, crop="garg")
_KB_SIZE = (352, 1216)
_DEPTHS = {"groundtruth": "groundtruth", "lidar": "velodyne_raw"}
_FRAME = re.compile(r"(\d{4}_\d\d_\d\d_drive_\d{4}_sync)/image_0(\d)/data/(\d{10})\.(?:png|jpg)$")


class Frame(NamedTuple):
    """One photograph of one drive."""

    drive: str
    camera: int
    number: str

    @property
    def name(self) -> str:
        return f"{self.drive}/image_0{self.camera}/{self.number}"


def kb_crop(x: Tensor, intrinsics: Tensor | None = None) -> Tensor | tuple[Tensor, Tensor]:
    """KITTI benchmark crop: the bottom 352 rows and the central 1216 columns, a size all cameras share.

    Args:
        x: (..., H, W) images or depth.
        intrinsics: (3, 3) camera matrix; if given, the pair (crop, shifted matrix) is returned.

    Raises:
        ValueError: `x` is smaller than the crop.
    """
    height, width = x.shape[-2:]
    if height < _KB_SIZE[0] or width < _KB_SIZE[1]:
        raise ValueError(f"an image of {height} x {width} is too small for the KB crop of 352 x 1216: crop "
                         "before resizing, or leave the crop out")
    top, left = height - _KB_SIZE[0], (width - _KB_SIZE[1]) // 2
    cropped = x[..., top:, left:left + _KB_SIZE[1]]
    if intrinsics is None:
        return cropped
    shifted = intrinsics.clone()
    shifted[0, 2] -= left
    shifted[1, 2] -= top
    return cropped, shifted


def read_eigen_list(path: Path) -> dict[Frame, bool]:
    """The frames of a list of Eigen et al., and whether the list names a ground truth for each.

    A line is "image ground-truth focal-length", with ``None`` for the 45 test frames that have none.
    Lists with and without the day's folder before the drive are read alike.

    Raises:
        ValueError: a line that names no KITTI frame.
    """
    frames: dict[Frame, bool] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        words = line.split()
        match = _FRAME.search(words[0])
        if match is None:
            raise ValueError(f"{path}, line {number}, names no KITTI frame ({words[0]!r}): expected "
                             "<day>/<drive>/image_02/data/<10 digits>.png; fetch the list again")
        frames[Frame(match[1], int(match[2]), match[3])] = len(words) > 1 and words[1] != "None"
    return frames


def load_kitti(folder: Path, split: str, *, depth: str = "auto", crop: str | None = None, camera: int = 2,
               lists: Path | None = None) -> DepthData:
    """A split of KITTI, of what is there.

    Args:
        folder: holds ``raw`` and ``depth``.
        split: with the lists of Eigen et al., ``"train"`` and ``"test"`` are theirs, restricted to the frames
            that are on disk. Without the lists, or with no frame of either list on disk, every pair on disk
            is in ``"train"`` and there is no ``"test"``: what other drives are for is not decided here.
            ``"val"`` is every tenth drive of ``"train"`` (with under ten drives, the last tenth of the
            frames) and ``"fit"`` the rest. ``"all"`` is every pair on disk, whatever the lists say: to look
            at, not to set beside published numbers.
        depth: ``"groundtruth"`` (accumulated and checked by stereo, semi-dense), ``"lidar"`` (one sweep,
            ``velodyne_raw``), or ``"auto"``: ground truth for the frames of Eigen's lists, as published; for
            other drives the ground truth where there is one and the sweep where there is none.
        crop: ``"kb"`` for the benchmark crop (with which all views have one size), or None.
        camera: 2 (left) or 3 (right). The lists hold camera 2 only.
        lists: the folder of the two lists; ``splits`` beside `folder` by default.

    Raises:
        FileNotFoundError: no KITTI there.
        ValueError: an empty or unknown split, an unknown depth or crop.
    """
    if depth not in ("auto", *_DEPTHS) or crop not in (None, "kb") or camera not in (2, 3):
        raise ValueError(f"KITTI with depth={depth!r}, crop={crop!r}, camera={camera!r} is unknown: choose "
                         "depth auto, groundtruth or lidar, crop None or kb, camera 2 or 3")
    if split not in ("train", "test", "fit", "val", "all"):
        raise ValueError(f"KITTI has no split {split!r}: choose train or test (Eigen), fit or val (parts of "
                         "train), or all")
    folder = Path(folder)
    images = _images(folder / "raw", camera)
    if not images:
        raise FileNotFoundError(f"{folder / 'raw'} holds no image_0{camera} of any drive: run `python "
                                "data_scripts/download_kitti.py`")
    maps = {kind: _maps(folder / "depth", inside, camera) for kind, inside in _DEPTHS.items()}
    listed = None if split == "all" else _eigen(lists or folder.parent / "splits", images)
    pairs: dict[Frame, Path] = {}
    if listed is not None:
        kind = "groundtruth" if depth == "auto" else depth
        pairs = {frame: maps[kind][frame]
                 for frame, has_truth in listed["test" if split == "test" else "train"].items()
                 if frame in images and frame in maps[kind] and (has_truth or kind == "lidar")}
    elif split != "test":
        for kind in reversed(_DEPTHS) if depth == "auto" else (depth,):  # the later, ground truth, wins
            pairs.update({frame: maps[kind][frame] for frame in sorted(images) if frame in maps[kind]})
        pairs = {frame: pairs[frame] for frame in sorted(pairs)}
    if split in ("fit", "val"):
        frames = list(pairs)
        parts = hold_out([frame.drive for frame in frames])
        pairs = {frames[i]: pairs[frames[i]] for i in parts[split == "val"]}
    if not pairs:
        reason = ("Eigen's lists are absent or name no frame that is there, so all are training views"
                  if listed is None and split == "test" else
                  f"there is no frame with {depth} depth" + (" on its list" if listed else ""))
        raise ValueError(f"KITTI in {folder} has no views in its split {split!r}: {reason}; choose another "
                         "split, or fetch more with `python data_scripts/download_kitti.py`")
    frames = {frame.name: frame for frame in pairs}

    def read(name: str) -> View:
        frame = frames[name]
        camera_matrix = _intrinsics(images[frame].parents[3], frame.camera)
        view = make_view(name, read_image(images[frame]), read_depth_png(pairs[frame], 256.0), camera_matrix,
                         source=pairs[frame])
        return _cropped(view, pairs[frame]) if crop == "kb" else view

    mark = signature(folder, [*(images[frame] for frame in pairs), *pairs.values()], crop)
    return DepthData(INFO, split, list(frames), read, mark, threads=4)


def describe_kitti(folder: Path, lists: Path | None = None) -> str:
    """One sentence on what is there, for a person."""
    images = _images(folder / "raw", 2)
    if not images:
        return f"not found in {folder}"
    truth, sweeps = (_maps(folder / "depth", inside, 2) for inside in _DEPTHS.values())
    pairs = [frame for frame in images if frame in truth or frame in sweeps]
    semi = sum(frame in truth for frame in pairs)
    drives = len({frame.drive for frame in pairs})
    text = f"{len(pairs)} views with depth from {drives} drives ({semi} semi-dense ground truth, " \
           f"{len(pairs) - semi} LiDAR only)"
    try:
        listed = _eigen(lists or folder.parent / "splits", images)
    except ValueError as error:
        return f"{text}; {error}"
    if listed is None:
        return f"{text}; none on Eigen's lists, so all are training views"
    counts = {split: sum(frame in images and frame in truth for frame in listed[split]) for split in listed}
    return (f"{text}; of Eigen's lists {counts['train']} of 23158 training and {counts['test']} of 652 test "
            "views")


def _images(raw: Path, camera: int) -> dict[Frame, Path]:
    """Every photograph of a camera on disk; a listing, no file is opened."""
    found = {}
    for data in sorted(raw.glob(f"*/*_sync/image_0{camera}/data")):
        for path in sorted(data.iterdir()):
            match = _FRAME.search(path.as_posix())
            if match is not None:
                found[Frame(match[1], camera, match[3])] = path
    return found


def _maps(depth: Path, inside: str, camera: int) -> dict[Frame, Path]:
    """Every depth map of a kind on disk, whether the benchmark put its drive under train or val."""
    found = {}
    for data in sorted(depth.glob(f"*/*_sync/proj_depth/{inside}/image_0{camera}")):
        for path in data.glob("*.png"):
            found[Frame(data.parents[2].name, camera, path.stem)] = path
    return found


def _eigen(lists: Path, images: dict[Frame, Path]) -> dict[str, dict[Frame, bool]] | None:
    """Eigen's two lists, or None where they are absent or name nothing that is on disk."""
    paths = {split: lists / f"kitti_eigen_{split}.txt" for split in ("train", "test")}
    if not all(path.is_file() for path in paths.values()):
        return None
    listed = {split: read_eigen_list(path) for split, path in paths.items()}
    return listed if any(frame in images for frames in listed.values() for frame in frames) else None


def _intrinsics(day: Path, camera: int) -> Tensor | None:
    """The day's camera matrix; None where its calibration was not fetched."""
    if not (day / "calib_cam_to_cam.txt").is_file():
        return None
    return read_calibration(day).intrinsics(camera)


def _cropped(view: View, source: Path) -> View:
    image, depth, mask = kb_crop(view.image), kb_crop(view.depth), kb_crop(view.mask)
    camera = None if view.intrinsics is None else kb_crop(view.image, view.intrinsics)[1]
    if not torch.any(mask):
        raise ValueError(f"{source}: not one pixel inside the KB crop has a depth: leave the view out")
    return replace(view, image=image, depth=depth, mask=mask, intrinsics=camera)
