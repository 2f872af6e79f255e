"""From the official NYU files to the prepared folder that `mdelib.data.nyu` reads.

``nyu_depth_v2_labeled.mat`` is MATLAB v7.3, which is HDF5 with the axes reversed: ``images`` (N, 3, W, H)
uint8, ``depths`` (in-painted) and ``rawDepths`` (as measured, 0 in holes) (N, W, H) metres. ``splits.mat`` is
an older MATLAB file: ``trainNdxs`` and ``testNdxs``, counted from 1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

__all__ = ["prepare_nyu", "read_nyu_splits"]

_FIELDS = {"filled": "depths", "raw": "rawDepths"}
_CHUNK = 16  # views held in memory at once: 35 MB


def read_nyu_splits(path: Path) -> dict[str, list[int]]:
    """The official split as 0-based indices, ``{"train": [...], "test": [...]}``.

    Raises:
        ValueError: the file is not NYU's ``splits.mat``.
    """
    import scipy.io

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is not there: it holds NYU's official split; run "
                                "`python data_scripts/download_nyu.py`")
    try:
        held = scipy.io.loadmat(path)
        lists = {split: [int(i) - 1 for i in np.ravel(held[f"{split}Ndxs"])] for split in ("train", "test")}
    except (ValueError, KeyError, TypeError, OSError, NotImplementedError) as error:
        raise ValueError(f"{path} cannot be read as NYU's splits.mat with trainNdxs and testNdxs ({error}): "
                         "fetch it again with `python data_scripts/download_nyu.py`") from None
    both = lists["train"] + lists["test"]
    if not both or min(both) < 0 or len(set(both)) < len(both):
        raise ValueError(f"{path} lists {len(both)} views, {len(set(both))} of them different, from "
                         f"{min(both, default=0) + 1}: expected different numbers from 1; fetch it again")
    return {split: sorted(numbers) for split, numbers in lists.items()}


def prepare_nyu(labelled: Path, splits: Path, folder: Path, *, depth: str = "filled", lossless: bool = False,
                quiet: bool = False) -> dict[str, int]:
    """Write the prepared folder; files already there are kept, so that an interrupted run goes on.

    Args:
        labelled: ``nyu_depth_v2_labeled.mat``.
        splits: ``splits.mat``.
        folder: where ``rgb``, ``depth`` and ``splits.json`` go.
        depth: ``"filled"``, the in-painted maps without holes that METER and Hu et al. score on, or
            ``"raw"``, the measured ones that BTS and its descendants score on. The choice moves every number.
        lossless: png instead of jpg of quality 95 for the images (four times as large).
        quiet: no progress bar.

    Returns:
        How many views were ``"written"`` and how many were ``"kept"``.

    Raises:
        FileNotFoundError: an input is not there.
        ValueError: an input is not what it should be, or the folder was prepared with other settings.
    """
    if depth not in _FIELDS:
        raise ValueError(f"NYU depth {depth!r} is unknown: choose filled (in-painted) or raw (with holes)")
    lists = read_nyu_splits(splits)
    folder = Path(folder)
    count = {"written": 0, "kept": 0}
    with _opened(Path(labelled)) as source:
        images, depths = _checked(source, depth, labelled)
        wanted = sorted(lists["train"] + lists["test"])
        if wanted[-1] >= len(images):
            raise ValueError(f"{splits} lists view {wanted[-1] + 1} but {labelled} holds {len(images)}: "
                             "expected the two files of one release; fetch both again")
        _same_settings(folder, {"depth": depth, "lossless": lossless})
        for part in ("rgb", "depth"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        chosen = set(wanted)
        hidden = True if quiet else None  # None: only on a terminal
        with tqdm(total=len(wanted), unit="view", desc="preparing NYU", disable=hidden) as bar:
            for start in range(0, len(images), _CHUNK):
                numbers = [n for n in range(start, min(start + _CHUNK, len(images))) if n in chosen]
                todo = [n for n in numbers if not all(path.is_file() for path in _paths(folder, n, lossless))]
                if todo:  # one contiguous read: HDF5 decompresses whole chunks anyway
                    rgb, metres = images[start:start + _CHUNK], depths[start:start + _CHUNK]
                for n in todo:
                    _write_view(folder, n, rgb[n - start], metres[n - start], lossless)
                count["written"] += len(todo)
                count["kept"] += len(numbers) - len(todo)
                bar.update(len(numbers))
    _write_json(folder / "splits.json", lists)  # last, so that a half-prepared folder is never loaded
    return count


def _opened(path: Path):
    import h5py

    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: it is NYU's labelled set; run "
                                "`python data_scripts/download_nyu.py`, which also prepares it")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} cannot be read as a MATLAB v7.3 (HDF5) file ({error}): it is damaged or "
                         "not the labelled set; fetch it again with `python "
                         "data_scripts/download_nyu.py`") from None


def _checked(source, depth: str, path: Path):
    """The two arrays to be read, if they have the official layout."""
    field = _FIELDS[depth]
    absent = [name for name in ("images", field) if name not in source]
    if absent:
        raise ValueError(f"{path} holds {sorted(source)[:8]} but not {absent}: expected "
                         "nyu_depth_v2_labeled.mat")
    images, depths = source["images"], source[field]
    fits = images.ndim == 4 and images.shape[1] == 3 and depths.shape == (images.shape[0], *images.shape[2:])
    if not fits or images.dtype != np.uint8 or depths.dtype.kind != "f":
        raise ValueError(f"{path} holds images {images.shape} {images.dtype} and {field} {depths.shape} "
                         f"{depths.dtype}: expected (N, 3, W, H) uint8 and (N, W, H) float")
    return images, depths


def _paths(folder: Path, number: int, lossless: bool) -> tuple[Path, Path]:
    name = f"{number:05d}"
    return folder / "rgb" / f"{name}{'.png' if lossless else '.jpg'}", folder / "depth" / f"{name}.png"


def _write_view(folder: Path, number: int, rgb: np.ndarray, metres: np.ndarray, lossless: bool) -> None:
    """One view, the axes put right: (3, W, H) -> (H, W, 3) and (W, H) -> (H, W)."""
    image_path, depth_path = _paths(folder, number, lossless)
    metres = np.nan_to_num(metres.T.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    millimetres = np.clip(np.round(metres * 1000), 0, 65535).astype(np.uint16)
    _save(Image.fromarray(np.ascontiguousarray(rgb.transpose(2, 1, 0))), image_path)
    _save(Image.fromarray(np.ascontiguousarray(millimetres)), depth_path)


def _save(image: Image.Image, path: Path) -> None:
    """Save under a temporary name first: a file that is there is whole."""
    part = path.with_name(f".{path.name}.part")
    options = {"quality": 95} if path.suffix == ".jpg" else {}
    image.save(part, format="JPEG" if path.suffix == ".jpg" else "PNG", **options)
    os.replace(part, path)


def _same_settings(folder: Path, settings: dict[str, object]) -> None:
    """Refuse to mix filled with raw depth, or to resume over files that have no record of their making."""
    record = folder / "prepared.json"
    made = None
    if record.is_file():
        try:
            made = json.loads(record.read_text())
        except ValueError:
            made = "damaged"
    elif any((folder / "depth").glob("*.png")):
        made = "unknown"
    if made is not None and made != settings:
        raise ValueError(f"{folder} was prepared with settings {made} and now {settings} are asked for: "
                         "choose another --out, or delete that folder first")
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(record, settings)


def _write_json(path: Path, value: object) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(value) + "\n")
    os.replace(part, path)
