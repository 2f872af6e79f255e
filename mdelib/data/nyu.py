"""NYU-Depth-v2, the labelled set: 795 training and 654 test views of rooms, Kinect depth to 10 m.

The prepared folder holds ``rgb/00000.jpg`` (or png), ``depth/00000.png`` (16 bits, millimetres, 0 unknown)
and ``splits.json``; the number is the 0-based index into the official file. `prepare_nyu` makes the folder.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from mdelib.data.base import DataInfo, DepthData, View, hold_out
from mdelib.data.files import make_view, read_depth_png, read_image, signature

__all__ = ["INFO", "describe_nyu", "load_nyu", "nyu_intrinsics"]

INFO = DataInfo("nyu", "NYU-Depth-v2", min_depth=1e-3, max_depth=10.0, crop="eigen_nyu")
_SIZE = (480, 640)
_BLOCK = 20  # consecutive training indices show the same room; blocks of twenty keep most rooms in one part


def nyu_intrinsics(size: tuple[int, int] = _SIZE) -> Tensor:
    """The camera matrix (3, 3) of the Kinect's RGB camera, for the official size of 480 x 640 only.

    fx 518.857901, fy 519.469611 and the principal point (325.582449, 253.736166) are the toolbox's. It is a
    Matlab toolbox that counts pixels from 1; here pixel centres are at integers from 0, so 1 is taken off the
    principal point.

    Raises:
        ValueError: another size, for which the camera is unknown.
    """
    if tuple(size) != _SIZE:
        raise ValueError(f"the NYU camera is known for images of {_SIZE} (height, width), not {tuple(size)}: "
                         "resize the view, not the file")
    return torch.tensor([[518.857901, 0.0, 324.582449], [0.0, 519.469611, 252.736166], [0.0, 0.0, 1.0]])


def load_nyu(folder: Path, split: str) -> DepthData:
    """A split of the prepared folder.

    Args:
        folder: holds ``rgb``, ``depth`` and ``splits.json``.
        split: ``"train"`` and ``"test"`` are official. ``"val"`` is every tenth block of twenty consecutive
            training views, about 10 %, and ``"fit"`` is the rest: neighbouring indices show the same room, so
            views chosen singly would be validated on rooms that were trained on. A room that straddles the
            edge of a block is still in both.

    Raises:
        FileNotFoundError: the folder, or a view that ``splits.json`` lists, is not there.
        ValueError: ``splits.json`` is not what it should be, or the split is empty or unknown.
    """
    folder = Path(folder)
    numbers = _listed(folder, "train" if split in ("fit", "val") else split)
    if split in ("fit", "val"):
        parts = hold_out([position // _BLOCK for position in range(len(numbers))])
        numbers = [numbers[i] for i in parts[split == "val"]]
    there = {"rgb": _names_in(folder / "rgb"), "depth": _names_in(folder / "depth")}
    images, depths = {}, {}
    for number in numbers:
        name = f"{number:05d}"
        image = next((name + end for end in (".jpg", ".png") if name + end in there["rgb"]), None)
        missing = f"rgb/{name}.jpg" if image is None else f"depth/{name}.png"
        if image is None or f"{name}.png" not in there["depth"]:
            raise FileNotFoundError(f"{folder / missing} is not there, though {folder / 'splits.json'} "
                                    f"lists view {number}: run `python data_scripts/prepare_nyu.py` again")
        images[name], depths[name] = folder / "rgb" / image, folder / "depth" / f"{name}.png"

    def read(name: str) -> View:
        image = read_image(images[name])
        size = (image.shape[-2], image.shape[-1])
        camera = nyu_intrinsics(size) if size == _SIZE else None
        return make_view(name, image, read_depth_png(depths[name], 1000.0), camera, source=depths[name])

    mark = signature(folder, [*images.values(), *depths.values()])
    return DepthData(INFO, split, list(images), read, mark, threads=4)


def describe_nyu(folder: Path) -> str:
    """One sentence on what the prepared folder holds, for a person."""
    if not (folder / "splits.json").is_file():
        return f"not found in {folder}"
    try:
        lists = {split: _listed(folder, split) for split in ("train", "test")}
    except ValueError as error:
        return f"cannot be used: {error}"
    images = {name.split(".")[0] for name in _names_in(folder / "rgb")}
    depths = {name.split(".")[0] for name in _names_in(folder / "depth")}
    words = []
    for split, official, title in (("train", 795, "training"), ("test", 654, "test")):
        found = sum(f"{number:05d}" in images and f"{number:05d}" in depths for number in lists[split])
        words.append(f"{found} {title}" if found == official else f"{found} of {official} {title}")
    return f"{words[0]} and {words[1]} views"


def _listed(folder: Path, split: str) -> list[int]:
    """The numbers that ``splits.json`` gives for an official split."""
    path = folder / "splits.json"
    if split not in ("train", "test"):
        raise ValueError(f"NYU has no split {split!r}: choose train or test (official), or fit or val "
                         "(parts of train)")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: it lists the views; run `python "
                                "data_scripts/prepare_nyu.py`")
    try:
        numbers = json.loads(path.read_text())[split]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} cannot be read: expected JSON with lists of numbers under \"train\" and "
                         "\"test\"; run `python data_scripts/prepare_nyu.py` again") from None
    if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"{path} holds something other than a list of whole numbers under {split!r}: run "
                         "`python data_scripts/prepare_nyu.py` again")
    return numbers


def _names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()
