"""The data sets by name: what they are, whether they are there, and one call to load any of them.

    data = mdelib.data.load("nyu", "test")     # or "kitti", "sunrgbd", "scenes-rooms", "folder:my_photos"
    batch = data.tensors(size=(96, 128))

Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from mdelib.data import folder as _folder
from mdelib.data import kitti as _kitti
from mdelib.data import nyu as _nyu
from mdelib.data import sunrgbd as _sunrgbd
from mdelib.data.base import DataInfo, DepthBatch, DepthData, View
from mdelib.data.cache import cached_tensors

__all__ = ["DATASETS", "LOADERS", "DataInfo", "DepthBatch", "DepthData", "View", "cached_tensors", "data_root", "load",
           "present", "scenes_root", "weights_file"]

_HOME = Path(__file__).resolve().parents[2]

DATASETS: dict[str, DataInfo] = {info.name: info for info in (
    DataInfo("scenes-rooms", "rendered rooms", min_depth=1e-3, max_depth=10.0, real=False),
    DataInfo("scenes-streets", "rendered streets", min_depth=1e-3, max_depth=80.0, real=False),
    _nyu.INFO, _kitti.INFO, _sunrgbd.INFO, _folder.INFO)}

LOADERS = {"nyu": _nyu.load_nyu, "kitti": _kitti.load_kitti, "sunrgbd": _sunrgbd.load_sunrgbd}
_MARKS = {"nyu": "splits.json", "kitti": "raw", "sunrgbd": "SUNRGBD"}  # what a folder of each must hold
_WEIGHTS = ("meter_xxs_nyu", "meter_xxs_kitti")


def data_root(root: Path | str | None = None) -> Path:
    """The folder that holds the data sets: the argument, else MDE_DATA, else the pack's ``data``."""
    return Path(root if root is not None else os.environ.get("MDE_DATA") or _HOME / "data").expanduser()


def scenes_root(root: Path | str | None = None) -> Path:
    """Where rendered scenes are kept: the argument, else MDE_SCENES, else the pack's ``data``.

    Never MDE_DATA, which may be somebody's read-only folder of downloaded data sets.
    """
    return Path(root if root is not None else os.environ.get("MDE_SCENES") or _HOME / "data").expanduser()


def load(name: str, split: str = "test", *, root: Path | str | None = None,
         size: tuple[int, int] | None = None, count: int | None = None, lazy: bool = False) -> DepthData:
    """A split of a data set by name.

    Args:
        name: one of `DATASETS`; ``"folder"`` is ``<root>/folder``, ``"folder:PATH"`` any folder of images.
        split: ``"train"`` and ``"test"`` are official; ``"fit"`` and ``"val"`` part ``"train"`` 9 to 1 (each
            data set's loader says how).
        root: the data folder, see `data_root` and, for scenes, `scenes_root`.
        size: (height, width) at which scenes are rendered, 96 x 128 by default. Photographs keep their own
            size until `DepthData.tensors` resizes them.
        count: at most so many views: of photographs spread evenly over the split, of scenes the first, since
            every scene is drawn at random; no more than these are rendered.
        lazy: render no scenes now, each only when it is read; for the names and the fingerprint.

    Raises:
        ValueError: an unknown name or split.
        FileNotFoundError: the data set is not there; the message says which command fetches it.
    """
    kind, _, place = name.partition(":")
    if kind not in DATASETS or (place and kind != "folder"):
        raise ValueError(f"data set {name!r} is unknown{_nearest(kind, DATASETS)}: choose one of "
                         f"{', '.join(DATASETS)}, or folder:PATH for your own images")
    home = data_root(root)
    if not DATASETS[kind].real:
        from mdelib.data.scenes import load_scenes  # ray tracing is slow to import and only scenes need it

        chosen = {} if size is None else {"size": size}
        return load_scenes(kind, split, root=scenes_root(root), count=count, lazy=lazy, **chosen)
    if kind == "folder":
        where = Path(place).expanduser() if place else home / "folder"
        if not where.is_dir():
            raise FileNotFoundError(f"{where} is not a folder: put images there (and depth maps into its "
                                    "depth folder), name another one as folder:PATH, or use --data "
                                    "scenes-rooms, which needs nothing")
        return _folder.load_folder(where, split).first(count)
    if not (home / kind / _MARKS[kind]).exists():
        raise FileNotFoundError(f"{DATASETS[kind].title} is not in {home / kind} ({_MARKS[kind]} was looked "
                                f"for): fetch it with `python data_scripts/download_{kind}.py` or `mde data "
                                f"{kind}`, set MDE_DATA to the folder that holds it, or use --data "
                                "scenes-rooms, which needs nothing")
    return LOADERS[kind](home / kind, split).first(count)


def present(root: Path | str | None = None) -> dict[str, str]:
    """What of each data set is in the data folder, one sentence each; no image is opened."""
    home = data_root(root)
    look = {"nyu": _nyu.describe_nyu, "kitti": _kitti.describe_kitti, "sunrgbd": _sunrgbd.describe_sunrgbd,
            "folder": _folder.describe_folder}
    return {name: look[name](home / name) if info.real else "rendered on first use; nothing to fetch"
            for name, info in DATASETS.items()}


def weights_file(name: str, root: Path | str | None = None) -> Path:
    """The file of released weights, ``<root>/weights/<name>.pth``.

    Args:
        name: ``"meter_xxs_nyu"`` or ``"meter_xxs_kitti"``.
        root: the data folder, see `data_root`.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: the file is not there; the message says which command fetches it.
    """
    if name not in _WEIGHTS:
        raise ValueError(f"released weights {name!r} are unknown{_nearest(name, _WEIGHTS)}: choose one of "
                         f"{', '.join(_WEIGHTS)}")
    path = data_root(root) / "weights" / f"{name}.pth"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: fetch the METER authors' weights (6 MB) with `python "
                                "data_scripts/download_meter.py` or `mde data meter`")
    return path


def _nearest(name: str, known) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
