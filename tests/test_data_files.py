"""mdelib.data.files: every kind of damage is one clear sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mdelib.data.files import (
    make_view,
    read_depth_npy,
    read_depth_png,
    read_image,
    signature,
    unrotate_sunrgbd,
)


def save_depth(path, metres, per_metre=1000):
    Image.fromarray(np.round(np.asarray(metres) * per_metre).astype(np.uint16)).save(path)


def save_image(path, size=(6, 8), value=128):
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def test_an_image_is_rgb_in_unit_range(tmp_path):
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0], pixels[1, 2] = (255, 0, 51), (0, 255, 0)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.shape == (3, 2, 3) and image.dtype == torch.float32
    assert image[:, 0, 0].tolist() == pytest.approx([1, 0, 0.2]) and image[:, 1, 2].tolist() == [0, 1, 0]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK"])
def test_other_modes_become_rgb(tmp_path, mode):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    Image.new("RGB", (4, 3), (200, 200, 200)).convert(mode).save(path)
    assert read_image(path).shape == (3, 3, 4)


def test_exif_orientation_is_obeyed(tmp_path):
    image = Image.new("RGB", (8, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by a quarter
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (3, 8, 4)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_a_truncated_image_is_named(tmp_path, suffix):
    path = tmp_path / f"cut{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:len(content) // 2])
    with pytest.raises(ValueError, match=rf"cut{suffix} is (damaged|not an image).*again"):
        read_image(path)


def test_empty_unknown_and_missing_files_are_told_apart(tmp_path):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"empty.jpg is empty"):
        read_image(tmp_path / "empty.jpg")
    with pytest.raises(ValueError, match=r"text.jpg is not an image"):
        read_image(tmp_path / "text.jpg")
    with pytest.raises(FileNotFoundError, match=r"gone.jpg is not there"):
        read_image(tmp_path / "gone.jpg")
    with pytest.raises(ValueError, match="is empty"):
        read_depth_png(tmp_path / "empty.jpg", 1000)


def test_a_depth_map_in_place_of_a_photograph_is_noticed(tmp_path):
    save_depth(tmp_path / "a.png", np.ones((4, 4)))
    with pytest.raises(ValueError, match="like a depth map: an RGB photograph"):
        read_image(tmp_path / "a.png")


def test_depth_units_and_zero(tmp_path):
    save_depth(tmp_path / "a.png", [[0, 1.5], [2.25, 65.535]])
    assert torch.allclose(read_depth_png(tmp_path / "a.png", 1000), torch.tensor([[[0, 1.5], [2.25, 65.535]]]))
    save_depth(tmp_path / "k.png", [[0, 1.5], [80, 255]], 256)
    assert torch.equal(read_depth_png(tmp_path / "k.png", 256), torch.tensor([[[0, 1.5], [80, 255]]]))


def test_an_eight_bit_depth_map_is_refused(tmp_path):
    save_image(tmp_path / "rgb.png")
    Image.new("L", (4, 4), 7).save(tmp_path / "grey.png")
    for name in ("rgb.png", "grey.png"):
        with pytest.raises(ValueError, match=f"{name}.*8 bits a channel.*16 bits"):
            read_depth_png(tmp_path / name, 1000)


def test_sun_rgbd_rotation_is_undone_for_every_value():
    metres = np.arange(65536, dtype=np.uint32)
    stored = ((metres << 3) | (metres >> 13)) & 0xFFFF  # the inverse of FACTS: (d >> 3) | (d << 13)
    assert np.array_equal(unrotate_sunrgbd(stored.astype(np.uint16)), metres.astype(np.uint16))
    assert unrotate_sunrgbd(np.array([8, 1], np.uint16)).tolist() == [1, 8192]


def test_npy_depth(tmp_path):
    path = tmp_path / "d.npy"
    np.save(path, np.array([[0, 1.5]], np.float64))
    assert torch.equal(read_depth_npy(path), torch.tensor([[[0, 1.5]]]))
    np.save(path, np.ones((1, 4, 5), np.float32))
    assert read_depth_npy(path).shape == (1, 4, 5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_npy_depth_with_impossible_values_is_refused(tmp_path, bad):
    array = np.ones((3, 3))
    array[1, 1] = bad
    np.save(tmp_path / "d.npy", array)
    with pytest.raises(ValueError, match=r"d.npy holds 1 values that are NaN, infinite or negative"):
        read_depth_npy(tmp_path / "d.npy")


def test_npy_files_of_another_kind_are_refused(tmp_path):
    path = tmp_path / "d.npy"
    for array in (np.ones((3, 4, 5)), np.array([["a", "b"]]), np.ones((2, 2), bool)):
        np.save(path, array)
        with pytest.raises(ValueError, match="depth is one number a pixel"):
            read_depth_npy(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="cannot be read as a NumPy array"):
        read_depth_npy(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot be read as a NumPy array"):
        read_depth_npy(path)
    with pytest.raises(FileNotFoundError, match=r"gone.npy"):
        read_depth_npy(tmp_path / "gone.npy")


def test_a_pickled_array_is_never_executed(tmp_path):
    np.save(tmp_path / "d.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read_depth_npy(tmp_path / "d.npy")


def test_a_view_must_fit_together_and_know_some_depth():
    image = torch.zeros(3, 4, 6)
    view = make_view("a", image, torch.tensor([0.0, 2.0]).repeat(12).view(1, 4, 6))
    assert view.mask.dtype == torch.bool and view.mask.float().mean() == 0.5
    assert make_view("a", image, None).mask is None
    with pytest.raises(ValueError, match=r"d.png: the depth map is \(6, 4\) and its image \(4, 6\)"):
        make_view("a", image, torch.ones(1, 6, 4), source="d.png")
    with pytest.raises(ValueError, match="not one pixel has a depth"):
        make_view("a", image, torch.zeros(1, 4, 6))


def test_signature_is_of_names_and_sizes_not_of_place_or_date(tmp_path):
    import os

    for home in ("one", "two"):
        (tmp_path / home / "sub").mkdir(parents=True)
        (tmp_path / home / "sub" / "a").write_bytes(b"12345")
        (tmp_path / home / "b").write_bytes(b"1")
    os.utime(tmp_path / "one" / "b", (0, 0))

    def mark(home, *options):
        root = tmp_path / home
        return signature(root, [root / "b", root / "sub" / "a"], *options)

    assert mark("one") == mark("two")
    assert mark("one") != mark("one", "kb")
    (tmp_path / "two" / "b").write_bytes(b"22")
    assert mark("one") != mark("two")
