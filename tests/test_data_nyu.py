"""mdelib.data.nyu and nyu_official, on small files in the official formats."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

import mdelib.data
from mdelib.data.nyu import describe_nyu, load_nyu, nyu_intrinsics
from mdelib.data.nyu_official import prepare_nyu, read_nyu_splits

COUNT, HEIGHT, WIDTH = 37, 12, 16


@pytest.fixture
def official(tmp_path):
    """nyu_depth_v2_labeled.mat and splits.mat with 37 tiny views, axes as MATLAB v7.3 leaves them in HDF5."""
    rng = np.random.default_rng(0)
    images = np.broadcast_to(rng.integers(0, 255, (COUNT, 3, 1, 1)), (COUNT, 3, WIDTH, HEIGHT)).astype(np.uint8)
    images = images.copy()
    images[:, 0, WIDTH // 2:] = 250  # red on the right, to tell the axes apart
    depths = np.broadcast_to(np.linspace(1, 3, HEIGHT), (COUNT, WIDTH, HEIGHT)).astype(np.float32).copy()
    depths += np.arange(COUNT, dtype=np.float32)[:, None, None] / 100
    raw = depths.copy()
    raw[:, :3] = 0
    with h5py.File(tmp_path / "labeled.mat", "w") as held:
        held["images"], held["depths"], held["rawDepths"] = images, depths, raw
    numbers = np.arange(1, COUNT + 1, dtype=np.uint16)[:, None]
    scipy.io.savemat(tmp_path / "splits.mat", {"trainNdxs": numbers[5:], "testNdxs": numbers[:5]})
    return tmp_path, images, depths


def prepare(folder, **options):
    return prepare_nyu(folder / "labeled.mat", folder / "splits.mat", folder / "nyu", quiet=True, **options)


def test_preparing_puts_axes_units_and_numbers_right(official):
    folder, images, depths = official
    assert prepare(folder, lossless=True) == {"written": COUNT, "kept": 0}
    rgb = np.asarray(Image.open(folder / "nyu" / "rgb" / "00007.png"))
    millimetres = np.asarray(Image.open(folder / "nyu" / "depth" / "00007.png"))
    assert rgb.shape == (HEIGHT, WIDTH, 3) and np.array_equal(rgb, images[7].transpose(2, 1, 0))
    assert millimetres.dtype == np.uint16 and np.allclose(millimetres / 1000, depths[7].T, atol=5.1e-4)
    lists = json.loads((folder / "nyu" / "splits.json").read_text())
    assert lists == {"train": list(range(5, COUNT)), "test": list(range(5))}


def test_the_prepared_folder_loads(official):
    folder, _, depths = official
    prepare(folder)
    data = load_nyu(folder / "nyu", "train")
    assert len(data) == COUNT - 5 and data.names[0] == "00005"
    view = data[0]
    assert view.image.shape == (3, HEIGHT, WIDTH) and view.mask.all() and view.intrinsics is None
    assert torch.allclose(view.depth[0], torch.from_numpy(depths[5].T.copy()), atol=6e-4)
    assert view.image[0, :, -3:].mean() > 0.9  # red is still on the right after jpg
    assert data.info.crop == "eigen_nyu" and data.info.max_depth == 10
    assert describe_nyu(folder / "nyu") == "32 of 795 training and 5 of 654 test views"


def test_raw_depth_keeps_its_holes(official):
    folder, *_ = official
    prepare(folder, depth="raw")
    view = load_nyu(folder / "nyu", "test")[0]
    assert not view.mask[0, :, :3].any() and view.mask[0, :, 3:].all()


def test_an_interrupted_run_goes_on_and_gives_the_same_files(official):
    folder, *_ = official
    prepare(folder)
    before = {path.name: path.read_bytes() for path in (folder / "nyu").rglob("*.*") if path.is_file()}
    (folder / "nyu" / "splits.json").unlink()
    for name in ("rgb/00003.jpg", "depth/00030.png"):
        (folder / "nyu" / name).unlink()
    assert prepare(folder) == {"written": 2, "kept": COUNT - 2}
    assert before == {path.name: path.read_bytes() for path in (folder / "nyu").rglob("*.*") if path.is_file()}


def test_other_settings_do_not_mix_with_what_is_there(official):
    folder, *_ = official
    prepare(folder)
    with pytest.raises(ValueError, match="was prepared with settings"):
        prepare(folder, depth="raw")
    with pytest.raises(ValueError, match=r"raw|filled"):
        prepare(folder, depth="holes")


def test_damaged_official_files_are_named(official, tmp_path):
    folder, *_ = official
    whole = (folder / "labeled.mat").read_bytes()
    (folder / "labeled.mat").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match=r"labeled.mat cannot be read as a MATLAB v7.3"):
        prepare(folder)
    with h5py.File(folder / "labeled.mat", "w") as held:
        held["images"] = np.zeros((3, 4, 5), np.uint8)
    with pytest.raises(ValueError, match="not \\['depths'\\]"):
        prepare(folder)
    with h5py.File(folder / "labeled.mat", "w") as held:
        held["images"], held["depths"] = np.zeros((3, 3, 4, 5), np.uint8), np.zeros((3, 5, 4), np.float32)
    with pytest.raises(ValueError, match="expected \\(N, 3, W, H\\) uint8"):
        prepare(folder)
    with h5py.File(folder / "labeled.mat", "w") as held:
        held["images"], held["depths"] = np.zeros((3, 3, 4, 5), np.uint8), np.ones((3, 4, 5), np.float32)
    with pytest.raises(ValueError, match=r"lists view 37 but .* holds 3"):
        prepare(folder)
    assert not (folder / "nyu" / "splits.json").exists()
    (folder / "labeled.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"download_nyu.py"):
        prepare(folder)


def test_the_split_file_is_checked(tmp_path):
    path = tmp_path / "splits.mat"
    with pytest.raises(FileNotFoundError, match=r"splits.mat is not there"):
        read_nyu_splits(path)
    path.write_bytes(b"no matlab file at all" * 20)
    with pytest.raises(ValueError, match=r"cannot be read as NYU's splits.mat"):
        read_nyu_splits(path)
    scipy.io.savemat(path, {"trainNdxs": [[1], [2]]})
    with pytest.raises(ValueError, match=r"cannot be read as NYU's splits.mat"):
        read_nyu_splits(path)
    scipy.io.savemat(path, {"trainNdxs": [[1], [2]], "testNdxs": [[2], [3]]})
    with pytest.raises(ValueError, match="different numbers"):
        read_nyu_splits(path)


def prepared(folder, train=40, test=3):
    """A prepared folder, as its layout is documented."""
    for part in ("rgb", "depth"):
        (folder / part).mkdir(parents=True)
    for number in range(train + test):
        Image.new("RGB", (8, 6)).save(folder / "rgb" / f"{number:05d}.jpg")
        Image.fromarray(np.full((6, 8), 1500, np.uint16)).save(folder / "depth" / f"{number:05d}.png")
    lists = {"train": list(range(test, train + test)), "test": list(range(test))}
    (folder / "splits.json").write_text(json.dumps(lists))
    return folder


def test_fit_and_val_part_the_training_list_by_blocks(tmp_path):
    folder = prepared(tmp_path / "nyu", train=400)
    fit, val = load_nyu(folder, "fit"), load_nyu(folder, "val")
    assert sorted(fit.names + val.names) == sorted(load_nyu(folder, "train").names)
    assert len(val) == 40
    numbers = [int(name) - 3 for name in val.names]
    assert numbers == [*range(80, 100), *range(280, 300)]  # the fifth and the fifteenth block of twenty


def test_files_off_the_list_are_ignored_and_listed_files_must_be_there(tmp_path):
    folder = prepared(tmp_path / "nyu")
    Image.new("RGB", (8, 6)).save(folder / "rgb" / "00999.jpg")
    assert len(load_nyu(folder, "test")) == 3
    (folder / "depth" / "00001.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"depth/00001.png is not there.*lists view 1"):
        load_nyu(folder, "test")
    (folder / "rgb" / "00001.jpg").unlink()
    with pytest.raises(FileNotFoundError, match=r"rgb/00001.jpg is not there"):
        load_nyu(folder, "test")
    assert describe_nyu(folder) == "40 of 795 training and 2 of 654 test views"


@pytest.mark.parametrize("content", ["not json", "[]", '{"train": [1]}', '{"test": ["1"]}', '{"test": [-1]}',
                                     '{"test": [true]}', '{"test": 3}'])
def test_a_bad_list_is_refused(tmp_path, content):
    folder = prepared(tmp_path / "nyu")
    (folder / "splits.json").write_text(content)
    with pytest.raises(ValueError, match=r"splits.json"):
        load_nyu(folder, "test")
    assert "cannot be used" in describe_nyu(folder)


def test_a_damaged_view_is_named_when_it_is_read(tmp_path):
    folder = prepared(tmp_path / "nyu")
    Image.fromarray(np.zeros((6, 8), np.uint16)).save(folder / "depth" / "00000.png")
    Image.fromarray(np.full((8, 6), 1500, np.uint16)).save(folder / "depth" / "00001.png")
    (folder / "rgb" / "00002.jpg").write_bytes(b"")
    data = load_nyu(folder, "test")
    for index, message in enumerate(("not one pixel has a depth", "both must be of one size", "is empty")):
        with pytest.raises(ValueError, match=message):
            data[index]
    with pytest.raises(ValueError, match=r"0000[012]"):
        data.tensors((6, 8))


def test_unknown_splits_and_sizes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no split 'validation'"):
        load_nyu(prepared(tmp_path / "nyu"), "validation")
    with pytest.raises(ValueError, match="480, 640"):
        nyu_intrinsics((240, 320))


def test_the_camera_counts_pixels_from_zero():
    camera = nyu_intrinsics()
    assert camera[0, 2].item() == pytest.approx(325.582449 - 1) and camera[1, 1].item() == pytest.approx(519.469611)


def test_fingerprint_is_the_same_in_another_place(tmp_path):
    one, two = prepared(tmp_path / "one" / "nyu"), prepared(tmp_path / "two" / "nyu")
    assert load_nyu(one, "test").fingerprint == load_nyu(two, "test").fingerprint
    assert load_nyu(one, "test").fingerprint != load_nyu(one, "train").fingerprint
    Image.new("RGB", (80, 60), (9, 200, 3)).save(two / "rgb" / "00000.jpg")
    assert load_nyu(one, "test").fingerprint != load_nyu(two, "test").fingerprint


def test_the_real_set(real_data):
    train, test = (mdelib.data.load("nyu", split, root=real_data) for split in ("train", "test"))
    assert len(train) == 795 and not set(train.names) & set(test.names)
    fit, val = (mdelib.data.load("nyu", split, root=real_data) for split in ("fit", "val"))
    assert len(fit) + len(val) == 795 and len(val) == 80
    view = test.first(7)[3]
    assert view.image.shape == (3, 480, 640) and view.intrinsics is not None
    assert view.depth[view.mask].min() > 0.5 and view.depth.max() <= 10
    official = read_nyu_splits(real_data / "splits" / "nyu_splits.mat")
    assert [int(name) for name in train.names] == official["train"]
    assert {int(name) for name in test.names} <= set(official["test"])
