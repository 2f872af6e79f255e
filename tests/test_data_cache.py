"""mdelib.data.cache: the same bytes fresh and cached, and no trust in a damaged file."""

from __future__ import annotations

import warnings

import pytest
import torch

from mdelib.data import cached_tensors
from mdelib.data.base import DataInfo, DepthData, View, resize_depth
from mdelib.data.cache import cache_file


class Counted:
    """A data set of random views that counts how often it is read."""

    def __init__(self, count=4, *, camera=True, signature="s"):
        self.reads, self.camera = 0, camera
        self.data = DepthData(DataInfo("toy", "toy", 1e-3, 10.0), "train", [f"v{i}" for i in range(count)], self.read,
                              signature)

    def read(self, name):
        self.reads += 1
        generator = torch.Generator().manual_seed(int(name[1:]))
        depth = torch.rand(1, 9, 12, generator=generator) * 5
        depth[:, :3] = 0
        camera = torch.tensor([[10.0, 0, 5.5], [0, 10, 4], [0, 0, 1]]) if self.camera else None
        return View(name, torch.rand(3, 9, 12, generator=generator), depth, depth > 0, camera)


def same(one, two):
    assert one.names == two.names and torch.equal(one.image, two.image) and torch.equal(one.depth, two.depth)
    assert torch.equal(one.mask, two.mask)
    assert (one.intrinsics is None) == (two.intrinsics is None)
    assert one.intrinsics is None or torch.equal(one.intrinsics, two.intrinsics)


@pytest.mark.parametrize("camera", [True, False])
def test_fresh_and_cached_are_the_same_and_files_are_read_once(tmp_path, camera):
    counted = Counted(camera=camera)
    fresh = cached_tensors(counted.data, (6, 8), folder=tmp_path / "cache")
    assert counted.reads == 4
    cached = cached_tensors(counted.data, (6, 8), folder=tmp_path / "cache")
    assert counted.reads == 4
    same(fresh, cached)
    assert fresh.image.dtype == fresh.depth.dtype == torch.float32 and fresh.mask.dtype == torch.bool


def test_what_is_cached_is_what_tensors_gives_up_to_eight_bits(tmp_path):
    counted = Counted()
    plain, cached = counted.data.tensors((6, 8)), cached_tensors(counted.data, (6, 8), folder=tmp_path)
    assert (plain.image - cached.image).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(plain.depth, cached.depth) and torch.equal(plain.mask, cached.mask)
    assert torch.equal(plain.intrinsics, cached.intrinsics)
    assert torch.equal(cached.depth[0], resize_depth(counted.data[0].depth, (6, 8)))
    assert torch.equal((cached.image * 255).round() / 255, cached.image)


def test_another_size_subset_or_signature_has_another_file(tmp_path):
    counted = Counted()
    files = {cache_file(data, size, tmp_path) for data, size in (
        (counted.data, (6, 8)), (counted.data, (8, 6)), (counted.data.first(2), (6, 8)),
        (Counted(signature="t").data, (6, 8)))}
    assert len(files) == 4


def test_the_second_half_of_a_write_is_never_seen(tmp_path, monkeypatch):
    counted = Counted()
    monkeypatch.setattr("mdelib.data.cache.os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.warns(UserWarning, match="could not be kept.*disk full"):
        batch = cached_tensors(counted.data, (6, 8), folder=tmp_path)
    assert len(batch) == 4 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "other names", "not safetensors"])
def test_a_damaged_cache_is_made_again(tmp_path, damage):
    counted = Counted()
    fresh = cached_tensors(counted.data, (6, 8), folder=tmp_path)
    path = cache_file(counted.data, (6, 8), tmp_path)
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[:-10]
    elif damage == "empty":
        content = bytearray()
    elif damage == "flipped":
        content[-5] ^= 1
    elif damage == "other names":
        content = bytearray(bytes(content).replace(b"v3", b"w3"))
    else:
        content = bytearray(b"hello" * 100)
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(fresh, cached_tensors(counted.data, (6, 8), folder=tmp_path))
    assert counted.reads == 8
    same(fresh, cached_tensors(counted.data, (6, 8), folder=tmp_path))
    assert counted.reads == 8


def test_errors_of_reading_are_passed_on_and_leave_no_file(tmp_path):
    def read(name):
        raise ValueError("a.jpg is damaged")

    data = DepthData(DataInfo("toy", "toy", 1e-3, 10.0), "train", ["a"], read, "s")
    with pytest.raises(ValueError, match=r"a.jpg is damaged"):
        cached_tensors(data, (6, 8), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
