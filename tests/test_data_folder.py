"""mdelib.data.folder, and the registry in mdelib.data."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest
import torch
from PIL import Image

import mdelib.data
from mdelib.data import DATASETS, data_root, load, present, weights_file
from mdelib.data.folder import describe_folder, load_folder


def save_image(path, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (10, 20, 30)).save(path)


def save_depth(path, metres=2.0, size=(6, 8), scale=1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full(size, round(metres * scale), np.uint16)).save(path)


def test_images_of_any_kind_and_size_without_depth(tmp_path):
    for name, size in (("b.jpg", (6, 8)), ("a.PNG", (4, 4)), ("c.webp", (5, 9))):
        save_image(tmp_path / name, size)
    (tmp_path / "notes.txt").write_text("not an image")
    data = load_folder(tmp_path)
    assert data.names == ("a", "b", "c") and data[2].image.shape == (3, 5, 9)
    assert data[0].depth is None and data[0].mask is None
    with pytest.raises(ValueError, match=r"view 'a' .*has no depth map"):
        data.tensors((4, 4))
    assert describe_folder(tmp_path) == "3 images, 0 of them with depth"


def test_depth_as_png_in_any_unit_and_as_npy(tmp_path):
    save_image(tmp_path / "rgb" / "a.jpg")
    save_image(tmp_path / "rgb" / "b.jpg")
    save_depth(tmp_path / "depth" / "a.png", 2.5, scale=256)
    np.save(tmp_path / "depth" / "b.npy", np.full((6, 8), 3.5, np.float32))
    data = load_folder(tmp_path, depth_scale=256)
    assert data[0].depth.unique().tolist() == [2.5] and data[1].depth.unique().tolist() == [3.5]
    assert data.tensors((3, 4)).depth.shape == (2, 1, 3, 4)
    assert data.fingerprint != load_folder(tmp_path).fingerprint
    assert describe_folder(tmp_path) == "2 images, 2 of them with depth"


def test_depth_of_another_shape_is_refused(tmp_path):
    save_image(tmp_path / "a.jpg")
    save_depth(tmp_path / "depth" / "a.png", size=(12, 16))
    with pytest.raises(ValueError, match=r"depth/a.png: the depth map is \(12, 16\) and its image \(6, 8\)"):
        load_folder(tmp_path)[0]


@pytest.mark.parametrize(("build", "message"), [
    (lambda home: save_image(home / "a.png"), "two images of one name"),
    (lambda home: save_depth(home / "depth" / "z.png"), "z.png has no image beside it"),
    (lambda home: (home / "depth" / "a.exr").touch(), "a.exr is a depth map of a kind that is not read"),
    (lambda home: (save_depth(home / "depth" / "a.png"), np.save(home / "depth" / "a.npy", np.ones((6, 8)))),
     "one depth map a view"),
])
def test_a_muddled_folder_is_refused(tmp_path, build, message):
    save_image(tmp_path / "a.jpg")
    (tmp_path / "depth").mkdir()
    build(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_folder(tmp_path)
    assert message in describe_folder(tmp_path)


def test_empty_and_absent_folders_and_wrong_wishes(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        load_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_folder(tmp_path / "gone")
    save_image(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="depth_scale is 0"):
        load_folder(tmp_path, depth_scale=0)
    with pytest.raises(ValueError, match="no split 'eval'"):
        load_folder(tmp_path, "eval")


def test_fit_and_val_part_the_images(tmp_path):
    for i in range(20):
        save_image(tmp_path / f"{i:02d}.jpg")
    assert load_folder(tmp_path, "val").names == ("04", "14") and len(load_folder(tmp_path, "fit")) == 18
    assert load_folder(tmp_path, "train").names == load_folder(tmp_path, "test").names


# --- the registry ---------------------------------------------------------------------------------------------


def test_the_data_sets_and_what_is_known_of_them():
    assert list(DATASETS) == ["scenes-rooms", "scenes-streets", "nyu", "kitti", "sunrgbd", "folder"]
    assert {name: (info.max_depth, info.crop) for name, info in DATASETS.items() if name != "folder"} == {
        "scenes-rooms": (10, None), "scenes-streets": (80, None), "nyu": (10, "eigen_nyu"), "kitti": (80, "garg"),
        "sunrgbd": (10, None)}
    assert all(info.name == name for name, info in DATASETS.items())
    assert [name for name, info in DATASETS.items() if not info.real] == ["scenes-rooms", "scenes-streets"]


def test_the_data_folder_is_argument_then_environment_then_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MDE_DATA", str(tmp_path))
    assert data_root("elsewhere").name == "elsewhere" and data_root() == tmp_path
    monkeypatch.setenv("MDE_DATA", "")
    assert data_root().name == "data" and data_root().is_absolute()
    monkeypatch.delenv("MDE_DATA")
    assert data_root().name == "data" and data_root().is_absolute()


def test_an_unknown_name_lists_the_known_ones_and_the_nearest():
    with pytest.raises(ValueError, match=r"'scenes-room' is unknown.*mean 'scenes-rooms'.*nyu, kitti, sunrgbd"):
        load("scenes-room")
    with pytest.raises(ValueError, match="'nyu:test' is unknown"):
        load("nyu:test")
    with pytest.raises(ValueError, match=r"'\?\?' is unknown: choose"):
        load("??")


@pytest.mark.parametrize("name", ["nyu", "kitti", "sunrgbd"])
def test_missing_data_names_the_folder_the_command_and_the_way_out(tmp_path, name):
    with pytest.raises(FileNotFoundError) as caught:
        load(name, root=tmp_path)
    message = str(caught.value)
    assert str(tmp_path / name) in message and "--data scenes-rooms" in message and "\n" not in message
    assert f"python data_scripts/download_{name}.py" in message and f"mde data {name}" in message
    with pytest.raises(FileNotFoundError, match="--data scenes-rooms"):
        load("folder", root=tmp_path)


def test_folders_load_by_name_and_by_path_and_count_is_spread(tmp_path):
    for i in range(6):
        save_image(tmp_path / "folder" / f"{i}.jpg")
    assert len(load("folder", root=tmp_path)) == 6
    assert load(f"folder:{tmp_path / 'folder'}", count=3).names == ("0", "2", "4")


def test_scenes_are_asked_with_what_was_given(tmp_path, monkeypatch):
    asked = []
    fake = types.ModuleType("mdelib.data.scenes")
    fake.load_scenes = lambda name, split, **options: asked.append((name, split, options))
    monkeypatch.setitem(sys.modules, "mdelib.data.scenes", fake)
    load("scenes-rooms", "train", root=tmp_path, count=4)
    load("scenes-streets", root=tmp_path, size=(24, 32), lazy=True)
    assert asked == [("scenes-rooms", "train", {"root": tmp_path, "count": 4, "lazy": False}),
                     ("scenes-streets", "test", {"root": tmp_path, "size": (24, 32), "count": None, "lazy": True})]


def test_present_speaks_of_every_data_set_and_of_an_empty_folder(tmp_path):
    said = present(tmp_path)
    assert list(said) == list(DATASETS) and "nothing to fetch" in said["scenes-rooms"]
    assert all(said[name].startswith("not found in") for name in ("nyu", "kitti", "sunrgbd", "folder"))


def test_weights_are_found_or_their_command_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"meter_xxs_nyu.pth is not there.*download_meter.py"):
        weights_file("meter_xxs_nyu", tmp_path)
    with pytest.raises(ValueError, match="mean 'meter_xxs_nyu'"):
        weights_file("meter_xss_nyu", tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "meter_xxs_kitti.pth").touch()
    assert weights_file("meter_xxs_kitti", tmp_path).name == "meter_xxs_kitti.pth"


def test_what_is_present_of_the_real_samples(real_data):
    said = present(real_data)
    assert said["nyu"].startswith("795 training and") and "views with depth" in said["kitti"]
    state = torch.load(weights_file("meter_xxs_nyu", real_data), map_location="cpu", weights_only=True)
    assert sum(value.numel() for value in state.values()) > 700_000


def test_everything_exported_exists():
    assert all(hasattr(mdelib.data, name) for name in mdelib.data.__all__)
