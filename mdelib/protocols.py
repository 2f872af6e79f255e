"""Evaluation protocols: the conventions that decide what a published depth error means.

The same prediction has different errors under different crops, depth ranges, resolutions and ways of
averaging; papers seldom state them and their code does. A `Protocol` writes one such set of conventions down
under a name. Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ALIGNMENTS", "CROPS", "DELTAS", "POOLINGS", "PROTOCOLS", "Crop", "Protocol", "crop_mask",
           "default_protocol", "get_protocol", "require_known"]

POOLINGS = ("image", "pixel", "hu")
ALIGNMENTS = (None, "median", "lstsq")
DELTAS = ("<", "<=")


def require_known(what: str, value: object, known: Iterable[object]) -> None:
    """Raise a ValueError that lists the known values, unless `value` is one of them."""
    options = list(known)
    if value in options:
        return
    near = difflib.get_close_matches(str(value), [str(option) for option in options], n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ValueError(f"unknown {what} {value!r}{hint}: choose one of {', '.join(repr(o) for o in options)}")


@dataclass(frozen=True)
class Crop:
    """The part of a depth map that is evaluated: fractions of its height and width, turned into whole pixels.

    Attributes:
        top, bottom, left, right: fractions; the part is rows [top, bottom) and columns [left, right).
        nearest: round to the nearest pixel; otherwise truncate, as the KITTI evaluations do with ``int()``.
        frame: (rows, columns) first cut from the bottom and the middle of the map, as the KB crop is; or None.
        title: one sentence for tables.
    """

    top: float
    bottom: float
    left: float
    right: float
    title: str
    nearest: bool = False
    frame: tuple[int, int] | None = None


CROPS: dict[str, Crop] = {
    "eigen_nyu": Crop(45 / 480, 471 / 480, 41 / 640, 601 / 640, nearest=True,
                      title="rows 45-470 and columns 41-600 of 480x640 (Eigen et al. 2014)"),
    "hu_centre": Crop(12 / 480, 468 / 480, 16 / 640, 624 / 640, nearest=True,
                      title="the central 228x304 of 240x320, what Hu et al.'s network sees"),
    "garg": Crop(0.40810811, 0.99189189, 0.03594771, 0.96405229,
                 title="the part of KITTI's view that LiDAR reaches (Garg et al. 2016)"),
    "eigen_kitti": Crop(0.3324324, 0.91351351, 0.0359477, 0.96405229,
                        title="Eigen et al.'s crop of KITTI (2014)"),
    "garg_after_kb": Crop(0.40810811, 0.99189189, 0.03594771, 0.96405229, frame=(352, 1216),
                          title="Garg's fractions taken of the 352x1216 KB crop instead of the full view "
                                "(TIE-KD)"),
}


def crop_mask(height: int, width: int, crop: str | None) -> Tensor:
    """Which pixels of a depth map a named crop keeps, (H, W) bool.

    Args:
        height, width: size of the map in pixels; ``eigen_nyu`` is exact at 480x640 and scaled to other sizes.
        crop: a name of `CROPS`, or None for the whole map.

    Raises:
        ValueError: unknown name; a map smaller than the crop's frame, or so small that nothing is left.

    Explained in notebooks/01_metrics_and_protocols.ipynb.
    """
    keep = torch.zeros(height, width, dtype=torch.bool)
    if crop is None:
        return ~keep
    require_known("crop", crop, (None, *CROPS))
    rule = CROPS[crop]
    top, left, rows, columns = 0, 0, height, width
    if rule.frame is not None:
        rows, columns = rule.frame
        top, left = height - rows, (width - columns) // 2
        if top < 0 or left < 0:
            raise ValueError(f"crop {crop!r} needs a map of at least {rows}x{columns} pixels, got "
                             f"{height}x{width}: evaluate at the native resolution, or use crop='garg'")
    whole = round if rule.nearest else int
    first_row, last_row = top + whole(rule.top * rows), top + whole(rule.bottom * rows)
    first_column, last_column = left + whole(rule.left * columns), left + whole(rule.right * columns)
    if first_row >= last_row or first_column >= last_column:
        raise ValueError(f"crop {crop!r} leaves no pixel of a map of {height}x{width}: use a larger map or "
                         "crop=None")
    keep[first_row:last_row, first_column:last_column] = True
    return keep


@dataclass(frozen=True)
class Protocol:
    """One way to score depth maps, as somebody publishes with it.

    Attributes:
        name: the key in `PROTOCOLS`.
        title: the name in tables.
        source: who publishes with it.
        crop: a name of `CROPS`, or None.
        min_depth, max_depth: metres; only pixels whose true depth lies strictly between them count.
        pooling: ``"image"`` mean of per-image values, ``"pixel"`` all pixels of the data set as one,
            ``"hu"`` as image, but RMSE-type measures are the root of the mean of per-image mean squares.
        align: None, ``"median"`` (ratio of medians) or ``"lstsq"`` (scale and shift), per image.
        delta: whether a ratio of exactly 1.25 is a hit (``"<="``) or not (``"<"``).
        clamp: predictions are clamped to [min_depth, max_depth] first.
        resolution: (height, width) at which prediction and truth are compared; None is the truth's own.
        flip: the prediction is averaged with that of the mirrored image.
        gt: ``"filled"`` (holes in-painted) or ``"raw"`` (holes do not count).
        notes: what else moves the numbers and is not done by this library.
    """

    name: str
    title: str
    source: str
    crop: str | None = None
    min_depth: float = 1e-3
    max_depth: float = 10.0
    pooling: str = "image"
    align: str | None = None
    delta: str = "<"
    clamp: bool = True
    resolution: tuple[int, int] | None = None
    flip: bool = False
    gt: str = "raw"
    notes: str = ""

    def __post_init__(self) -> None:
        require_known("crop", self.crop, (None, *CROPS))
        require_known("pooling", self.pooling, POOLINGS)
        require_known("align", self.align, ALIGNMENTS)
        require_known("delta", self.delta, DELTAS)
        require_known("gt", self.gt, ("filled", "raw"))
        if not 0 < self.min_depth < self.max_depth:
            raise ValueError(f"protocol {self.name!r} has the depth range {self.min_depth} to "
                             f"{self.max_depth} m: 0 < min_depth < max_depth is needed")


_KITTI = {"min_depth": 1e-3, "max_depth": 80.0}
_HU = {"crop": "hu_centre", "pooling": "hu", "delta": "<=", "clamp": False, "gt": "filled"}
_KB = "Networks see the KB crop (352x1216), which holds all of Garg's crop: the scored pixels are the same."
_FRAME = "Its NYU images carry a black frame outside rows 7-473 and columns 7-631, which ours do not."
_CENTRE = "Its network sees only the central 228x304 that is scored; ours may see the whole view."

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in (
    Protocol("bts_nyu", "BTS on NYU", "Lee et al. 2019 (BTS); DPT reports with the same scripts.",
             crop="eigen_nyu", notes=_FRAME),
    Protocol("adabins_nyu", "AdaBins on NYU", "Bhat et al. 2021 (AdaBins); also PixelFormer and NeWCRFs.",
             crop="eigen_nyu", flip=True, notes=_FRAME),
    Protocol("eigen2014_nyu", "Eigen et al. on NYU",
             "Eigen et al. 2014, by the letter of their formulas: sums run over all pixels of the test set.",
             crop="eigen_nyu", pooling="pixel"),
    Protocol("hu2019_nyu", "Hu et al. on NYU", "Hu et al., WACV 2019, released test script.",
             resolution=(240, 320), notes=_CENTRE, **_HU),
    Protocol("hu2019_masks", "Hu et al.'s sparse masks", "Hu et al., ICCV 2019, whose masks yao2023 adopts.",
             resolution=(120, 160), notes=_CENTRE + " Compared at 114x152.", **_HU),
    Protocol("interpretable_nyu", "You et al. on NYU", "You et al. 2021, interpretable Hu et al. and BTS.",
             crop="hu_centre", resolution=(240, 320), gt="filled", notes=_CENTRE + " No Eigen crop."),
    Protocol("meter_nyu", "METER on NYU", "Papa et al. 2023 (METER), at the 48x64 pixels of its output.",
             clamp=False, resolution=(48, 64), gt="filled",
             notes="Its true depth is first cut to 0.5-10 m, and 10 m itself counts; here it does not."),
    Protocol("affine_nyu", "affine-invariant depth on NYU",
             "Our simplification of MiDaS, which fits scale and shift in disparity; we fit them in depth.",
             crop="eigen_nyu", align="lstsq"),
    Protocol("pixel_nyu", "BTS on NYU, pooled over pixels",
             "Nobody: bts_nyu on filled depth with every pixel weighing the same, to show what pooling does.",
             crop="eigen_nyu", pooling="pixel", gt="filled"),
    Protocol("garg_kitti", "Garg crop on KITTI", "Lee et al. 2019 (BTS), DPT; You et al. 2021 for KITTI.",
             crop="garg", notes=_KB, **_KITTI),
    Protocol("adabins_kitti", "AdaBins on KITTI", "Bhat et al. 2021 (AdaBins); also PixelFormer and NeWCRFs.",
             crop="garg", flip=True, notes=_KB, **_KITTI),
    Protocol("eigen_kitti", "Eigen crop on KITTI", "Eigen et al. 2014; still reported beside Garg's crop.",
             crop="eigen_kitti", **_KITTI),
    Protocol("tiekd_kitti", "TIE-KD on KITTI",
             "Choi et al. 2024, whose code takes Garg's fractions of the map that is already KB-cropped.",
             crop="garg_after_kb", flip=True, **_KITTI),
    Protocol("selfsup_kitti", "self-supervised practice on KITTI",
             "Zhou et al. 2017 and Monodepth2: the median of the truth gives every image its scale.",
             crop="garg", align="median", **_KITTI),
    Protocol("rooms", "rendered rooms", "This course, on rendered scenes.", min_depth=0.1, gt="filled"),
    Protocol("streets", "rendered streets", "This course, on rendered scenes.", max_depth=80.0, gt="filled"),
    Protocol("plain", "whole image, 10 m", "This course, on SUN RGB-D and on folders of images."),
)}

_DEFAULTS = {"nyu": "bts_nyu", "kitti": "garg_kitti", "scenes-rooms": "rooms", "scenes-streets": "streets",
             "sunrgbd": "plain", "folder": "plain"}


def get_protocol(protocol: str | Protocol) -> Protocol:
    """The protocol of a name (a `Protocol` is passed through).

    Raises:
        ValueError: an unknown name; the known ones are listed.
    """
    if isinstance(protocol, Protocol):
        return protocol
    require_known("protocol", protocol, PROTOCOLS)
    return PROTOCOLS[protocol]


def default_protocol(dataset: str) -> Protocol:
    """The protocol the course scores a data set with, by the data set's name.

    Raises:
        ValueError: a data set without one; choose a name of `PROTOCOLS` then.
    """
    require_known("data set", dataset, _DEFAULTS)
    return PROTOCOLS[_DEFAULTS[dataset]]
