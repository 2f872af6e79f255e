"""Reading images and depth maps from files, so that a damaged one is a sentence and never a traceback.

Every reader here either returns a tensor in the course's units (RGB in [0, 1], metres) or raises a ValueError
that names the file, says what was seen and what to do.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mdelib.data.base import View, valid_depth

__all__ = ["IMAGE_SUFFIXES", "make_view", "read_depth_npy", "read_depth_png", "read_image", "signature",
           "unrotate_sunrgbd"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_WIDE_MODES = ("I;16", "I;16B", "I;16L", "I")  # how Pillow names 16-bit grey images


def _open(path: Path) -> Image.Image:
    """The decoded image in `path`, whatever its mode."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, though the data set's list names it: fetch or prepare "
                                "the data set again, or take the view off the list")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes): an image was expected; fetch or copy the file again")
    try:
        with Image.open(path) as image:  # closes the file; the pixels stay
            image.load()
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image that can be read (its first bytes are of no known format): "
                         "a jpg or png was expected; fetch or copy the file again") from None
    except (OSError, SyntaxError, ValueError) as error:  # Pillow reports damage as any of these
        raise ValueError(f"{path} is damaged ({error}): a whole image was expected; fetch or copy the file "
                         "again") from None
    return image


def read_image(path: Path) -> Tensor:
    """Read a photograph as (3, H, W) RGB float in [0, 1], turned upright if its EXIF data say so.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, truncated, not an image, or a 16-bit map rather than a photograph.
    """
    image = _open(path)
    if image.mode in _WIDE_MODES or image.mode == "F":
        raise ValueError(f"{path} holds one channel of more than 8 bits (mode {image.mode}), like a depth "
                         "map: an RGB photograph was expected here; move depth maps to the depth folder")
    pixels = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)


def unrotate_sunrgbd(raw: np.ndarray) -> np.ndarray:
    """Undo SUN RGB-D's rotation of the 16 bits by three places: ``(d >> 3) | (d << 13) mod 2^16``."""
    raw = raw.astype(np.uint16)
    return (raw >> np.uint16(3)) | (raw << np.uint16(13))


def read_depth_png(path: Path, per_metre: float, *,
                   decode: Callable[[np.ndarray], np.ndarray] | None = None) -> Tensor:
    """Read a 16-bit depth map as (1, H, W) float metres, 0 where unknown.

    Args:
        path: a 16-bit grey png (or tif).
        per_metre: the stored value of one metre: 1000 for millimetres (NYU, SUN RGB-D), 256 for KITTI.
        decode: applied to the stored integers first, for example `unrotate_sunrgbd`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is empty, damaged, or not one channel of 16 bits.
    """
    image = _open(path)
    if image.mode not in _WIDE_MODES:
        raise ValueError(f"{path} holds {image.mode} pixels of 8 bits a channel: a depth map is one channel "
                         "of 16 bits; a picture of depth has lost the metres, so use the original map")
    stored = np.array(image)
    if stored.min() < 0 or stored.max() > 65535:
        raise ValueError(f"{path} holds values from {stored.min()} to {stored.max()}: 16-bit depth lies in "
                         "[0, 65535]; save it as a 16-bit png")
    stored = stored.astype(np.uint16)
    metres = (stored if decode is None else decode(stored)).astype(np.float32) / np.float32(per_metre)
    return torch.from_numpy(metres)[None]


def read_depth_npy(path: Path) -> Tensor:
    """Read a depth map in metres from a NumPy file as (1, H, W) float, 0 where unknown.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, not (H, W), or holds NaN, infinite or negative values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: a depth map was expected; copy it there")
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a NumPy array ({error}): save it again with "
                         "np.save(path, depth)") from None
    if array.ndim == 3 and 1 in (array.shape[0], array.shape[2]):  # a channel axis in front or behind
        array = array[0] if array.shape[0] == 1 else array[..., 0]
    if array.ndim != 2 or array.dtype.kind not in "fui":
        raise ValueError(f"{path} holds {array.dtype} of shape {array.shape}: depth is one number a pixel, "
                         "(H, W), in metres; save it so")
    metres = array.astype(np.float32)
    if not np.isfinite(metres).all() or (metres < 0).any():
        bad = int((~np.isfinite(metres) | (metres < 0)).sum())
        raise ValueError(f"{path} holds {bad} values that are NaN, infinite or negative: depth is in metres "
                         "and 0 where unknown; replace them by 0 and save it again")
    return torch.from_numpy(metres)[None]


def make_view(name: str, image: Tensor, depth: Tensor | None, intrinsics: Tensor | None = None, *,
              source: Path | str = "") -> View:
    """A `View` of what was read, checked: image and depth belong together, and some depth is known.

    Args:
        name: the view's name.
        image: (3, H, W).
        depth: (1, H, W) metres, 0 where unknown, or None.
        intrinsics: (3, 3) or None.
        source: the depth file, for the message.

    Raises:
        ValueError: depth of another shape than the image, or without a single known pixel.
    """
    if depth is None:
        return View(name, image, intrinsics=intrinsics)
    if depth.shape[-2:] != image.shape[-2:]:
        raise ValueError(f"{source or name}: the depth map is {tuple(depth.shape[-2:])} and its image "
                         f"{tuple(image.shape[-2:])} (height, width): both must be of one size; put the map "
                         "that belongs to this image there, or resize the image to the map")
    mask = valid_depth(depth)
    if not mask.any():
        raise ValueError(f"{source or name}: not one pixel has a depth: a view needs some to train on or "
                         "to be scored against; fetch the file again or leave the view out")
    return View(name, image, depth, mask, intrinsics)


def signature(root: Path, files: Iterable[Path], *options: object) -> str:
    """A digest of the files' names below `root` and their sizes: the same wherever the same data lies.

    Contents are not read (a data set may hold 100 GB) and dates are not used (a copy has others).
    """
    lines: list[str] = [repr(option) for option in options]
    lines += sorted(f"{file.relative_to(root).as_posix()} {file.stat().st_size}" for file in files)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
