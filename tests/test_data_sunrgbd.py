"""mdelib.data.sunrgbd, on small scenes in the official layout and on real samples."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

import mdelib.data
from mdelib.data.sunrgbd import (
    describe_sunrgbd,
    load_sunrgbd,
    read_sunrgbd_intrinsics,
    read_sunrgbd_split,
)

SCENES = ("kv1/NYUdata/NYU0001", "kv1/b3dodata/img_0063", "kv2/kinect2data/a", "xtion/sun3ddata/hotel/room/scan/7")


def rotated(metres):
    """Metres as SUN RGB-D stores them: millimetres, the 16 bits rotated left by three."""
    millimetres = np.round(np.asarray(metres) * 1000).astype(np.uint32)
    return (((millimetres << 3) | (millimetres >> 13)) & 0xFFFF).astype(np.uint16)


def build(root, scenes=SCENES, size=(6, 8)):
    for number, scene in enumerate(scenes):
        home = root / "SUNRGBD" / scene
        for part in ("image", "depth", "depth_bfx", "fullres"):
            (home / part).mkdir(parents=True)
        Image.new("RGB", size[::-1]).save(home / "image" / "a.jpg")
        filled = np.full(size, 2.0 + number)
        raw = filled.copy()
        raw[:, :2] = 0
        Image.fromarray(rotated(filled)).save(home / "depth_bfx" / "a.png")
        Image.fromarray(rotated(raw)).save(home / "depth" / "a.png")
        (home / "intrinsics.txt").write_text("520.5 0 278\n0 520.7 215\n0 0 1\n")
        (home / "fullres" / "intrinsics.txt").write_text("1 0 0 0 1 0 0 0 1")
        (home / "scene.txt").write_text("office")
    return root


def split_file(root, train, test):
    path = root / "SUNRGBDtoolbox" / "traintestSUNRGBD"
    path.mkdir(parents=True)
    entries = {f"all{split}": np.array([[f"/n/fs/sun3d/data/SUNRGBD/{scene}/" for scene in scenes]], dtype=object)
               for split, scenes in (("train", train), ("test", test))}
    scipy.io.savemat(path / "allsplit.mat", entries)
    return path / "allsplit.mat"


def test_without_the_split_all_but_nyu_is_test(tmp_path):
    data = load_sunrgbd(build(tmp_path), "test")
    assert data.names == SCENES[1:] and data.info.crop is None
    assert load_sunrgbd(tmp_path, "test", exclude_nyu=False).names == SCENES
    with pytest.raises(ValueError, match="no views in its split 'train'"):
        load_sunrgbd(tmp_path, "train")
    assert describe_sunrgbd(tmp_path).startswith("4 of 10335 scenes (1 of them NYU's")


def test_depth_is_unrotated_filled_by_default_and_raw_on_demand(tmp_path):
    build(tmp_path)
    view = load_sunrgbd(tmp_path, "test")[0]
    assert torch.equal(view.depth, torch.full((1, 6, 8), 3.0)) and view.mask.all()
    raw = load_sunrgbd(tmp_path, "test", depth="raw")
    assert not raw[0].mask[..., :2].any() and raw[0].depth[0, 0, 3] == 3
    assert raw.fingerprint != load_sunrgbd(tmp_path, "test").fingerprint


def test_the_official_split_decides(tmp_path):
    build(tmp_path)
    path = split_file(tmp_path, [SCENES[3], SCENES[0], "kv2/not/here"], [SCENES[1], SCENES[2]])
    assert read_sunrgbd_split(path)["train"] == [SCENES[3], SCENES[0], "kv2/not/here"]
    assert load_sunrgbd(tmp_path, "train").names == (SCENES[3],)
    assert load_sunrgbd(tmp_path, "test").names == SCENES[1:3]
    assert describe_sunrgbd(tmp_path).endswith("2 training and 2 test views")


def test_a_split_of_one_entry_is_read_too(tmp_path):
    assert read_sunrgbd_split(split_file(tmp_path, [SCENES[3]], [SCENES[1]]))["test"] == [SCENES[1]]


def test_fit_and_val_part_the_training_scenes(tmp_path):
    scenes = [f"kv2/kinect2data/{i:02d}" for i in range(20)]
    build(tmp_path, scenes)
    split_file(tmp_path, scenes, [SCENES[1]])
    fit, val = load_sunrgbd(tmp_path, "fit"), load_sunrgbd(tmp_path, "val")
    assert val.names == (scenes[4], scenes[14]) and len(fit) == 18


def test_intrinsics_count_from_zero_in_one_line_or_three(tmp_path):
    path = tmp_path / "intrinsics.txt"
    for text in ("520.5 0 278\n0 520.7 215\n0 0 1\n", "520.5 0 278 0 520.7 215 0 0 1 "):
        path.write_text(text)
        assert torch.allclose(read_sunrgbd_intrinsics(path),
                              torch.tensor([[520.5, 0, 277], [0, 520.7, 214], [0, 0, 1]]))
    for text in ("", "1 2 3", "a b c"):
        path.write_text(text)
        with pytest.raises(ValueError, match="nine numbers"):
            read_sunrgbd_intrinsics(path)
    with pytest.raises(FileNotFoundError, match=r"gone.txt is not there"):
        read_sunrgbd_intrinsics(tmp_path / "gone.txt")


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"download_sunrgbd.py"):
        load_sunrgbd(tmp_path, "test")
    build(tmp_path)
    with pytest.raises(ValueError, match="depth 'bfx' is unknown"):
        load_sunrgbd(tmp_path, "test", depth="bfx")
    with pytest.raises(ValueError, match="no split 'eval'"):
        load_sunrgbd(tmp_path, "eval")
    (tmp_path / "SUNRGBD" / SCENES[1] / "depth_bfx" / "a.png").unlink()
    with pytest.raises(ValueError, match="depth_bfx holds 0 files"):
        load_sunrgbd(tmp_path, "test")


def test_a_damaged_split_file_is_named(tmp_path):
    build(tmp_path)
    path = split_file(tmp_path, [SCENES[1]], [SCENES[2]])
    path.write_bytes(path.read_bytes()[:150])
    with pytest.raises(ValueError, match=r"allsplit.mat cannot be read"):
        load_sunrgbd(tmp_path, "test")
    assert "allsplit.mat cannot be read" in describe_sunrgbd(tmp_path)
    scipy.io.savemat(path, {"alltrain": np.array([["/elsewhere/a"]], dtype=object), "alltest": 1})
    with pytest.raises(ValueError, match="names no folder below SUNRGBD"):
        load_sunrgbd(tmp_path, "test")


def test_real_scenes(real_data):
    data = mdelib.data.load("sunrgbd", "test", root=real_data)
    assert len(data) == 2
    for view in data.stream():
        assert view.mask.all() and view.depth.min() > 0.5 and view.depth.max() < 10
        assert abs(view.intrinsics[0, 2] / view.image.shape[-1] - 0.5) < 0.05
    raw = load_sunrgbd(real_data / "sunrgbd", "test", depth="raw")
    for filled, measured in zip(data.stream(), raw.stream(), strict=True):
        assert 0.5 < measured.mask.float().mean() < 1
        both = measured.mask & filled.mask
        assert (filled.depth[both] - measured.depth[both]).abs().median() < 0.05
