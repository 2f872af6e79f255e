"""Crops against the slices the reference evaluations take; protocols against what their authors publish."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
import torch

from mdelib.protocols import CROPS, PROTOCOLS, Protocol, crop_mask, default_protocol, get_protocol


def slice_mask(height, width, rows, columns):
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


def test_eigen_nyu_is_exact():
    assert torch.equal(crop_mask(480, 640, "eigen_nyu"), slice_mask(480, 640, (45, 471), (41, 601)))
    assert int(crop_mask(480, 640, "eigen_nyu").sum()) == 426 * 560


def test_eigen_nyu_scales_with_the_map():
    assert torch.equal(crop_mask(960, 1280, "eigen_nyu"), slice_mask(960, 1280, (90, 942), (82, 1202)))
    share = crop_mask(96, 128, "eigen_nyu").float().mean()
    assert float(share) == pytest.approx(426 * 560 / (480 * 640), abs=0.02)


@pytest.mark.parametrize("size", [(375, 1242), (370, 1224), (374, 1238), (376, 1241), (352, 1216)])
@pytest.mark.parametrize(("name", "fractions"), [
    ("garg", (0.40810811, 0.99189189, 0.03594771, 0.96405229)),
    ("eigen_kitti", (0.3324324, 0.91351351, 0.0359477, 0.96405229))])
def test_kitti_crops_truncate_as_numpy_does(size, name, fractions):
    h, w = size
    top, bottom, left, right = (np.array(fractions) * np.array([h, h, w, w])).astype(np.int32)
    assert torch.equal(crop_mask(h, w, name), slice_mask(h, w, (top, bottom), (left, right)))


def test_kitti_crops_known_values():
    assert torch.equal(crop_mask(375, 1242, "garg"), slice_mask(375, 1242, (153, 371), (44, 1197)))
    # 43.999997 and 366.9999993 are truncated
    assert torch.equal(crop_mask(370, 1224, "garg"), slice_mask(370, 1224, (151, 366), (43, 1180)))
    assert torch.equal(crop_mask(375, 1242, "eigen_kitti"), slice_mask(375, 1242, (124, 342), (44, 1197)))


def test_garg_lies_inside_the_kb_crop_but_tiekd_takes_other_rows():
    kb = slice_mask(375, 1242, (23, 375), (13, 1229))
    garg, tiekd = crop_mask(375, 1242, "garg"), crop_mask(375, 1242, "garg_after_kb")
    assert not (garg & ~kb).any() and not (tiekd & ~kb).any()
    assert not torch.equal(garg, tiekd)
    assert torch.equal(tiekd[23:, 13:1229], crop_mask(352, 1216, "garg"))
    assert torch.equal(crop_mask(352, 1216, "garg_after_kb"), crop_mask(352, 1216, "garg"))


def test_hu_centre_is_their_centre_crop():
    assert torch.equal(crop_mask(240, 320, "hu_centre"), slice_mask(240, 320, (6, 234), (8, 312)))
    assert int(crop_mask(120, 160, "hu_centre").sum()) == 114 * 152


def test_no_crop_keeps_everything():
    assert crop_mask(3, 4, None).all() and crop_mask(3, 4, None).shape == (3, 4)


@pytest.mark.parametrize("name", [*CROPS])
def test_every_crop_is_one_rectangle_with_a_title(name):
    mask = crop_mask(480, 1280, name)
    rows, columns = mask.any(1), mask.any(0)
    assert mask.dtype == torch.bool and torch.equal(mask, rows[:, None] & columns[None])
    assert 0 < int(mask.sum()) < mask.numel() and CROPS[name].title


def test_crop_errors_say_what_to_do():
    with pytest.raises(ValueError, match=r"unknown crop 'gargg' \(did you mean 'garg'\?\).*'eigen_nyu'"):
        crop_mask(375, 1242, "gargg")
    with pytest.raises(ValueError, match="at least 352x1216 pixels, got 96x320"):
        crop_mask(96, 320, "garg_after_kb")
    with pytest.raises(ValueError, match="leaves no pixel of a map of 1x1"):
        crop_mask(1, 1, "garg")


def test_protocols_are_complete_and_keyed_by_their_names():
    assert len(PROTOCOLS) >= 12
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name and protocol.title and protocol.source.endswith(".")
        assert protocol.notes == "" or protocol.notes.endswith(".")
        assert (protocol.max_depth == 80.0) == ("kitti" in name or name == "streets")
    values = [tuple(getattr(p, f.name) for f in fields(p) if f.name not in ("name", "title", "source", "notes"))
              for p in PROTOCOLS.values() if p.name not in ("plain",)]
    assert len(set(values)) == len(values), "two protocols that only differ in name"


@pytest.mark.parametrize(("name", "expected"), [
    ("bts_nyu", {"crop": "eigen_nyu", "flip": False, "pooling": "image", "max_depth": 10.0, "gt": "raw"}),
    ("adabins_nyu", {"crop": "eigen_nyu", "flip": True}),
    ("hu2019_nyu", {"pooling": "hu", "delta": "<=", "resolution": (240, 320), "clamp": False, "flip": False}),
    ("hu2019_masks", {"pooling": "hu", "resolution": (120, 160)}),
    ("interpretable_nyu", {"pooling": "image", "resolution": (240, 320), "crop": "hu_centre"}),
    ("meter_nyu", {"crop": None, "resolution": (48, 64)}),
    ("tiekd_kitti", {"crop": "garg_after_kb", "flip": True, "max_depth": 80.0, "min_depth": 1e-3}),
    ("selfsup_kitti", {"align": "median"}), ("affine_nyu", {"align": "lstsq"}),
    ("eigen2014_nyu", {"pooling": "pixel"})])
def test_published_settings(name, expected):
    assert {key: getattr(PROTOCOLS[name], key) for key in expected} == expected


def test_protocol_refuses_what_does_not_exist():
    for change in ({"crop": "nyu"}, {"pooling": "mean"}, {"align": "mean"}, {"delta": "=<"}, {"gt": "dense"}):
        with pytest.raises(ValueError, match=r"unknown .*choose one of"):
            replace(PROTOCOLS["plain"], **change)
    with pytest.raises(ValueError, match="0 < min_depth < max_depth"):
        Protocol("x", "x", "x", min_depth=5.0, max_depth=5.0)
    with pytest.raises(FrozenInstanceError):
        PROTOCOLS["plain"].crop = "garg"


def test_get_and_default_protocol():
    plain = PROTOCOLS["plain"]
    assert get_protocol("plain") is plain and get_protocol(plain) is plain
    assert default_protocol("nyu").name == "bts_nyu" and default_protocol("scenes-rooms").name == "rooms"
    with pytest.raises(ValueError, match=r"unknown protocol 'bts_ny' \(did you mean 'bts_nyu'\?\)"):
        get_protocol("bts_ny")
    with pytest.raises(ValueError, match=r"unknown data set 'cityscapes'.*'kitti'"):
        default_protocol("cityscapes")
