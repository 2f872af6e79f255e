"""mdelib.data.base: views, batches, resizing, holding out."""

from __future__ import annotations

import threading

import pytest
import torch

from mdelib.data.base import (
    DataInfo,
    DepthData,
    View,
    hold_out,
    resize_depth,
    resize_image,
    scale_intrinsics,
    valid_depth,
)

INFO = DataInfo("toy", "toy", 1e-3, 10.0)
CAMERA = torch.tensor([[100.0, 0, 3.5], [0, 100.0, 2.5], [0, 0, 1]])


def toy(names=("a", "b", "c"), *, size=(6, 8), threads=1, depth=True, camera=CAMERA, extras=()):
    def read(name):
        value = float(names.index(name) + 1)
        image = torch.full((3, *size), value / 10)
        if not depth:
            return View(name, image)
        metres = torch.full((1, *size), value)
        metres[:, 0] = 0
        return View(name, image, metres, valid_depth(metres), camera,
                    {key: torch.full((1, *size), value) for key in extras})

    return DepthData(INFO, "test", names, read, "signature", threads=threads)


def test_views_come_by_index_and_by_stream():
    data = toy()
    assert len(data) == 3 and data[1].name == "b"
    assert [view.name for view in data.stream()] == ["a", "b", "c"]


def test_a_stream_with_threads_keeps_the_order_and_bounds_what_it_holds():
    names = tuple(f"{i:03d}" for i in range(50))
    lock, started = threading.Lock(), []

    def read(name):
        with lock:
            started.append(name)
        return View(name, torch.zeros(3, 2, 2))

    stream = DepthData(INFO, "test", names, read, "s", threads=3).stream()
    assert next(stream).name == "000"
    assert len(started) <= 2 * 3 + 1  # not all fifty
    assert [view.name for view in stream] == list(names[1:])


def test_a_failing_read_inside_a_thread_is_raised():
    def read(name):
        raise ValueError(f"{name} is damaged")

    with pytest.raises(ValueError, match="a is damaged"):
        list(DepthData(INFO, "test", ("a", "b"), read, "s", threads=2).stream())


def test_tensors_stack_values_masks_and_cameras():
    batch = toy().tensors()
    assert batch.image.shape == (3, 3, 6, 8) and batch.depth.shape == (3, 1, 6, 8)
    assert batch.mask.dtype == torch.bool and not batch.mask[:, :, 0].any() and batch.mask[:, :, 1:].all()
    assert batch.depth[2, 0, 3, 3] == 3 and batch.intrinsics.shape == (3, 3, 3)
    assert batch.extras == {}


@pytest.mark.parametrize("threads", [1, 4])
def test_tensors_resized_on_the_way_equal_tensors_resized_afterwards(threads):
    data = toy(threads=threads)
    small, whole = data.tensors((3, 4)), data.tensors()
    assert torch.equal(small.image, resize_image(whole.image, (3, 4)))
    assert torch.equal(small.depth, resize_depth(whole.depth, (3, 4)))
    assert torch.equal(small.mask, resize_depth(whole.mask.float(), (3, 4)) > 0.5)


def test_extras_are_kept_at_native_size_only():
    data = toy(extras=("objects",))
    assert data.tensors(extras=True).extras["objects"].shape == (3, 1, 6, 8)
    assert data.tensors((3, 4), extras=True).extras == {} and data.tensors().extras == {}


def test_an_unknown_camera_in_one_view_leaves_the_batch_without():
    assert toy(camera=None).tensors().intrinsics is None


def test_views_without_depth_and_views_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="has no depth map"):
        toy(depth=False).tensors()
    sizes = {"a": (4, 4), "b": (4, 6)}

    def read(name):
        one = torch.ones(1, *sizes[name])
        return View(name, one.expand(3, -1, -1), one, one > 0)

    data = DepthData(INFO, "test", ("a", "b"), read, "s")
    with pytest.raises(ValueError, match="different sizes"):
        data.tensors()
    assert data.tensors((4, 4)).image.shape == (2, 3, 4, 4)


def test_no_views_and_double_names_are_refused():
    with pytest.raises(ValueError, match="no views"):
        DepthData(INFO, "test", (), lambda name: None, "s")
    with pytest.raises(ValueError, match="'a' more than once"):
        DepthData(INFO, "test", ("a", "b", "a"), lambda name: None, "s")


def test_fingerprint_follows_names_order_split_and_signature():
    read = lambda name: None  # noqa: E731
    marks = {DepthData(INFO, split, names, read, signature).fingerprint
             for split, names, signature in (("test", "ab", "s"), ("test", "ba", "s"), ("test", "abc", "s"),
                                             ("train", "ab", "s"), ("test", "ab", "t"))}
    assert len(marks) == 5
    assert DepthData(INFO, "test", "ab", read, "s").fingerprint in marks


def test_first_spreads_evenly_and_subset_keeps_the_order_asked_for():
    data = toy(tuple("abcdefghij"))
    assert data.first(5).names == ("a", "c", "e", "g", "i")
    assert data.first(None) is data and data.first(99) is data
    assert data.subset([3, 0]).names == ("d", "a")


def test_batches_slice_pick_and_move():
    batch = toy(extras=("objects",)).tensors(extras=True)
    assert batch[1].names == ("b",) and batch[1].image.shape[0] == 1
    assert batch[1:].names == ("b", "c") and batch[[2, 0]].names == ("c", "a")
    assert batch[[2, 0]].depth[0, 0, 3, 3] == 3 and len(batch[:2]) == 2
    assert batch.to("cpu").extras["objects"].shape == (3, 1, 6, 8)


def test_valid_depth_knows_only_finite_positive_metres():
    depth = torch.tensor([[0.0, 1.0, -1.0, float("nan"), float("inf")]])
    assert valid_depth(depth).tolist() == [[False, True, False, False, False]]


def test_image_resize_averages_and_depth_resize_never_invents_a_depth():
    stripes = torch.tensor([0.0, 1.0]).repeat(8)[None, None].expand(3, 16, 16)
    assert torch.allclose(resize_image(stripes, (8, 8))[:, :, 2:-2], torch.tensor(0.5), atol=1e-6)
    depth = torch.tensor([1.0, 9.0]).repeat(8)[None, None].expand(1, 16, 16)
    assert set(resize_depth(depth, (5, 7)).unique().tolist()) <= {1.0, 9.0}
    assert resize_image(stripes[None], (8, 8)).shape == (1, 3, 8, 8)
    assert resize_depth(depth, (16, 16)) is not None and torch.equal(resize_depth(depth, (16, 16)), depth)


@pytest.mark.parametrize("new", [(3, 4), (12, 16), (6, 4), (5, 7)])
def test_scaled_intrinsics_project_a_ray_to_the_same_place(new):
    old = (6, 8)
    ray = torch.tensor([0.011, -0.013, 1.0])
    u, v, _ = CAMERA @ ray
    scaled = scale_intrinsics(CAMERA, old, new) @ ray
    # relative to the image's extent, from its corner at -0.5
    assert scaled[0].item() + 0.5 == pytest.approx((u.item() + 0.5) * new[1] / old[1], rel=1e-5)
    assert scaled[1].item() + 0.5 == pytest.approx((v.item() + 0.5) * new[0] / old[0], rel=1e-5)
    assert CAMERA[0, 2] == 3.5  # the input is left alone


def test_hold_out_takes_every_tenth_group_whole():
    groups = [i // 3 for i in range(60)]  # twenty groups of three
    fit, val = hold_out(groups)
    assert {groups[i] for i in val} == {4, 14} and len(val) == 6
    assert sorted(fit + val) == list(range(60)) and not {groups[i] for i in fit} & {groups[i] for i in val}


@pytest.mark.parametrize(("count", "held"), [(1, 0), (2, 1), (9, 1), (17, 2)])
def test_hold_out_of_few_groups_takes_the_tail(count, held):
    fit, val = hold_out(["one"] * count)
    assert len(val) == held and fit + val == list(range(count))


def test_hold_out_follows_scattered_groups():
    fit, val = hold_out([i % 10 for i in range(40)])
    assert val == [4, 14, 24, 34] and len(fit) == 36
