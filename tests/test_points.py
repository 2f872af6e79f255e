"""Points: OpenCV's keypoints, a greedy choice worked out by hand, and the ways between points, maps and space."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from mdelib.data.base import scale_intrinsics
from mdelib.geometry import backproject
from mdelib.points import (
    KINECT_FOCAL,
    SparsePoints,
    camera_or_default,
    default_intrinsics,
    guiding_points,
    random_points,
    salient_points,
    sift_points,
    suppress_neighbours,
)

SIZE = (96, 128)


def textured(batch: int = 2) -> Tensor:
    """Images with corners: noise at three scales."""
    coarse = [torch.rand(batch, 3, *size) for size in ((6, 8), (12, 16), (48, 64))]
    noise = sum(F.interpolate(one, size=SIZE, mode="bicubic") for one in coarse)
    return ((noise - noise.amin()) / (noise.amax() - noise.amin())).clamp(0, 1)


def depth_of(batch: int = 2, size: tuple[int, int] = SIZE) -> Tensor:
    return 1 + 4 * torch.rand(batch, 1, *size)


def points_at(pixels: list[tuple[int, int]], depth: list[float], valid: list[bool] | None = None) -> SparsePoints:
    """The points of one image."""
    depth = torch.tensor([depth])
    there = torch.ones_like(depth, dtype=torch.bool) if valid is None else torch.tensor([valid])
    return SparsePoints(torch.tensor(pixels).view(1, -1, 2), depth, 0.5 * torch.ones_like(depth), there)


# SIFT


def opencv_keypoints(image: Tensor) -> list[cv2.KeyPoint]:
    grey = cv2.cvtColor((image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2GRAY)
    return list(cv2.SIFT_create().detect(grey, None))


def test_keypoints_equal_opencv() -> None:
    """All of them at their places, but for those that share a pixel with a stronger one."""
    images = textured()
    found = sift_points(images, 2000)
    for place, image in enumerate(images):
        best: dict[tuple[int, int], cv2.KeyPoint] = {}
        for keypoint in opencv_keypoints(image):
            pixel = (int(np.floor(keypoint.pt[1] + 0.5)), int(np.floor(keypoint.pt[0] + 0.5)))
            if pixel not in best or keypoint.response > best[pixel].response:
                best[pixel] = keypoint
        expected = sorted(best.values(), key=lambda keypoint: -keypoint.response)
        count = int(found.valid[place].sum())
        assert 50 < count == len(expected) < len(opencv_keypoints(image)) and found.valid[place, :count].all()
        assert {tuple(p) for p in found.points[place, :count].tolist()} == {keypoint.pt for keypoint in expected}
        responses = {keypoint.pt: keypoint.response for keypoint in expected}
        order = [responses[tuple(p)] for p in found.points[place, :count].tolist()]
        assert order == sorted(order, reverse=True)


def test_few_keypoints_are_the_first_of_many() -> None:
    images = textured()
    many, few = sift_points(images, 100), sift_points(images, 7)
    assert few.points.shape == (2, 7, 2) and few.valid.shape == (2, 7) and few.points.dtype == torch.float32
    assert torch.equal(few.points, many.points[:, :7])
    places = [tuple(pixel) for pixel in many.pixels[0][many.valid[0]].tolist()]
    assert len(set(places)) == len(places)


def test_keypoints_are_the_same_every_time_and_in_every_batch() -> None:
    images = textured(3)
    first = sift_points(images, 60)
    for again in (sift_points(images, 60), sift_points(images.clone().requires_grad_(), 60)):
        assert torch.equal(first.points, again.points) and torch.equal(first.valid, again.valid)
    assert torch.equal(sift_points(images[1:2], 60).points, first.points[1:2])


def test_a_keypoint_lies_where_the_blob_is() -> None:
    """x is the column and y the row; `pixels` is the other way round."""
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    blob = torch.exp(-((x - 90) ** 2 + (y - 30) ** 2) / (2 * 4.0**2)).expand(1, 3, -1, -1)
    found = sift_points(blob, 1)
    assert (found.points[0, 0] - torch.tensor([90.0, 30.0])).abs().max() < 1
    assert (found.pixels[0, 0] - torch.tensor([30, 90])).abs().max() <= 1


@pytest.mark.parametrize("size", [SIZE, (8, 8), (1, 1)])
def test_an_image_without_keypoints_has_none_that_is_valid(size: tuple[int, int]) -> None:
    grey = torch.full((2, 3, *size), 0.5)
    found = sift_points(grey, 5)
    assert found.points.shape == (2, 5, 2) and not found.valid.any() and (found.points == 0).all()
    guides = guiding_points(grey, depth_of(2, size), None, 5)
    assert not guides.valid.any() and (guides.depth == 0).all()
    depth, confidence = guides.maps(size)
    assert (depth == 0).all() and (confidence == 0).all()


def test_images_of_one_batch_have_their_own_numbers_of_keypoints() -> None:
    found = sift_points(torch.cat([textured(1), torch.full((1, 3, *SIZE), 0.2)]), 40)
    assert found.valid.sum(1).tolist() == [40, 0]


@pytest.mark.parametrize(("image", "words"), [
    (torch.rand(3, 16, 16), "is needed"), (torch.rand(1, 1, 16, 16), "is needed"),
    (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), "torch.uint8"), (torch.full((1, 3, 16, 16), torch.nan), "finite")])
def test_images_that_are_none_are_refused(image: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sift_points(image, 5)


@pytest.mark.parametrize("count", [0, -3])
def test_at_least_one_point_is_asked_for(count: int) -> None:
    image, depth = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    for choose in (lambda: sift_points(image, count), lambda: guiding_points(image, depth, None, count),
                   lambda: salient_points(depth, depth, depth, count), lambda: random_points(depth, None, count),
                   lambda: suppress_neighbours(depth, count)):
        with pytest.raises(ValueError, match=f"count={count}"):
            choose()


# guiding points


def test_guiding_points_have_the_depth_of_their_pixels() -> None:
    image, depth = textured(), depth_of()
    guides = guiding_points(image, depth, torch.ones_like(depth) > 0, 50)
    assert guides.valid.all() and (guides.confidence == 1).all()
    assert torch.equal(guides.pixels, sift_points(image, 50).pixels)
    for b, n in np.ndindex(2, 50):
        row, column = guides.pixels[b, n].tolist()
        assert guides.depth[b, n] == depth[b, 0, row, column]


def test_guiding_points_are_the_strongest_keypoints_with_known_depth() -> None:
    image, depth = textured(), depth_of()
    mask = torch.rand(depth.shape) < 0.3
    depth[:, :, 40:60] = 0
    depth[:, :, :, :30] = torch.nan
    known = mask & torch.isfinite(depth) & (depth > 0)
    guides, keypoints = guiding_points(image, depth, mask, 12), sift_points(image, 1000)
    for b in range(2):
        expected = [pixel for pixel in keypoints.pixels[b][keypoints.valid[b]].tolist() if known[b, 0][tuple(pixel)]]
        assert len(expected) >= 12 and guides.pixels[b].tolist() == expected[:12]
    assert torch.isfinite(guides.depth).all() and (guides.depth > 0).all()


def test_an_empty_mask_gives_no_guiding_point() -> None:
    image, depth = textured(), depth_of()
    mask = torch.zeros_like(depth) > 0
    mask[1] = True
    guides = guiding_points(image, depth, mask, 20)
    assert guides.depth.shape == (2, 20) and guides.valid.sum(1).tolist() == [0, 20]
    assert (guides.depth[0] == 0).all() and (guides.confidence[0] == 0).all() and (guides.pixels[0] == 0).all()
    assert not guiding_points(image, depth, mask & (depth < 0), 20).valid.any()
    assert guiding_points(image, depth, None, 20).valid.all()


def test_guiding_points_of_other_shapes_are_refused() -> None:
    image, depth = textured(), depth_of()
    with pytest.raises(ValueError, match="the depth has the shape"):
        guiding_points(image, depth[..., 1:], None, 5)
    with pytest.raises(ValueError, match="the mask has the shape"):
        guiding_points(image, depth, torch.ones(2, *SIZE) > 0, 5)


# the choice

HILLS = torch.tensor([[5.0, 9.0, 1.0, 2.0, 6.0],
                      [4.0, 8.0, 1.0, 7.0, 3.0],
                      [3.0, 3.0, 1.0, 1.0, 1.0]]).view(1, 1, 3, 5)


def test_suppression_by_hand() -> None:
    """9 crosses out 5, 1, 4, 8, 1; then 7 crosses out 2, 6, 3 and those below; of two threes the left one is first."""
    pixels, valid = suppress_neighbours(HILLS, 5)
    assert pixels[0, :3].tolist() == [[0, 1], [1, 3], [2, 0]] and valid.tolist() == [[True, True, True, False, False]]
    pixels, _ = suppress_neighbours(HILLS, 4, radius=0)
    assert pixels[0].tolist() == [[0, 1], [1, 1], [1, 3], [0, 4]]
    pixels, valid = suppress_neighbours(HILLS, 2, radius=2)
    assert pixels[0].tolist() == [[0, 1], [0, 4]] and valid.all()


def test_cells_without_weight_are_never_taken_and_cross_nothing_out() -> None:
    weight = torch.tensor([[torch.nan, 1.0, 0.0, -2.0, torch.inf, 3.0]]).view(1, 1, 1, 6)
    pixels, valid = suppress_neighbours(weight, 6)
    assert pixels[0][valid[0]].tolist() == [[0, 5], [0, 1]]


def test_equal_weights_are_taken_in_reading_order() -> None:
    pixels, valid = suppress_neighbours(torch.ones(1, 1, 4, 5), 9)
    assert pixels[0][valid[0]].tolist() == [[0, 0], [0, 2], [0, 4], [2, 0], [2, 2], [2, 4]]
    weight = torch.randint(1, 3, (1, 1, 12, 16)).float()
    pixels, _ = suppress_neighbours(weight, 192, radius=0)
    assert torch.equal(pixels[0], torch.cat([(weight[0, 0] == value).nonzero() for value in (2, 1)]))


@pytest.mark.parametrize("radius", [0, 1, 2])
def test_suppression_equals_taking_the_largest_again_and_again(radius: int) -> None:
    weight = torch.rand(3, 1, 9, 11)
    pixels, valid = suppress_neighbours(weight, 8, radius)
    for b in range(3):
        rest = weight[b, 0].clone()
        for n in range(8):
            row, column = divmod(int(rest.argmax()), 11)
            assert rest.max() > 0 and valid[b, n] and pixels[b, n].tolist() == [row, column]
            rest[max(0, row - radius):row + radius + 1, max(0, column - radius):column + radius + 1] = 0


def test_suppression_refuses_other_shapes() -> None:
    for weight, radius in ((torch.rand(1, 2, 3, 3), 1), (torch.rand(3, 3), 1), (torch.rand(1, 1, 3, 3), -1)):
        with pytest.raises(ValueError, match="a radius of 0 or more"):
            suppress_neighbours(weight, 2, radius)


def test_salient_points_by_hand() -> None:
    """Saliency 0.8 counts less than 0.6 where confidence is half."""
    saliency, confidence = torch.zeros(1, 1, 3, 4), torch.ones(1, 1, 3, 4)
    saliency[0, 0, 0, 0], saliency[0, 0, 2, 3], confidence[0, 0, 0, 0] = 0.8, 0.6, 0.5
    depth = torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    points = salient_points(saliency, depth, confidence, 3)
    assert points.pixels[0, :2].tolist() == [[2, 3], [0, 0]] and points.valid.tolist() == [[True, True, False]]
    assert points.depth[0].tolist() == [12, 1, 0]
    assert points.confidence[0].tolist() == pytest.approx([0.6, 0.4, 0])


def test_salient_points_keep_apart_and_are_the_heaviest_that_do() -> None:
    saliency, confidence, depth = torch.rand(2, 1, 24, 32), torch.rand(2, 1, 24, 32), depth_of(2, (24, 32))
    points = salient_points(saliency, depth, confidence, 64)
    assert points.valid.all()
    gap = (points.pixels[:, :, None] - points.pixels[:, None]).abs().amax(3)
    assert gap[:, ~torch.eye(64, dtype=torch.bool)].min() >= 2
    assert (points.confidence.diff(dim=1) <= 0).all()
    assert torch.equal(points.depth, points.gather(depth)[:, 0])
    assert torch.equal(points.confidence, points.gather(saliency * confidence)[:, 0])


def test_salient_points_need_a_depth() -> None:
    one = torch.ones(1, 1, 4, 4)
    depth = one.clone()
    depth[..., :2], depth[..., 2] = 0, torch.nan
    points = salient_points(one, depth, one, 9, radius=0)
    assert points.valid.sum() == 4 and (points.pixels[points.valid][:, 1] == 3).all()
    nothing = salient_points(one, depth, 0 * one, 9)
    assert not nothing.valid.any() and torch.isfinite(nothing.depth).all()


def test_more_points_than_cells() -> None:
    one = torch.ones(2, 1, 2, 3)
    points = salient_points(one, one, one, 10, radius=0)
    assert points.depth.shape == (2, 10) and points.valid.sum(1).tolist() == [6, 6]


def test_gradient_reaches_depth_saliency_and_confidence_of_the_chosen_cells_only() -> None:
    maps = [torch.rand(1, 1, 6, 7, dtype=torch.float64).add(0.1).requires_grad_() for _ in range(3)]
    points = salient_points(*maps, 4)
    depth, confidence = points.maps((6, 7))
    (depth.square().sum() + confidence.square().sum()).backward()
    chosen = torch.zeros(6, 7, dtype=torch.bool)
    chosen[tuple(points.pixels[0].T)] = True
    for one in maps:
        assert torch.equal(one.grad[0, 0] != 0, chosen)
    saliency, depth, confidence = (one.detach() for one in maps)
    torch.testing.assert_close(maps[0].grad[0, 0], torch.where(chosen, 2 * saliency * confidence**2, 0)[0, 0])
    torch.testing.assert_close(maps[1].grad[0, 0], torch.where(chosen, 2 * depth, 0)[0, 0])


def test_salient_maps_of_other_shapes_are_refused() -> None:
    one = torch.rand(1, 1, 4, 4)
    with pytest.raises(ValueError, match="the same for all"):
        salient_points(one, one[..., 1:], one, 2)
    with pytest.raises(ValueError, match="the same for all"):
        salient_points(*[torch.rand(1, 2, 4, 4)] * 3, 2)


# the control


def test_random_points_are_different_known_pixels() -> None:
    depth = depth_of()
    mask = torch.rand(depth.shape) < 0.01
    points = random_points(depth, mask, 40)
    assert points.valid.all() and (points.confidence == 1).all() and points.gather(mask.float()).all()
    assert torch.equal(points.gather(depth)[:, 0], points.depth)
    assert all(len({tuple(pixel) for pixel in one.tolist()}) == 40 for one in points.pixels)
    assert points.pixels[0].tolist() != points.pixels[1].tolist()


def test_random_points_repeat_with_their_seed() -> None:
    depth = depth_of()
    one, two, other = (random_points(depth, None, 30, seed=seed).pixels for seed in (3, 3, 4))
    drawn = random_points(depth, None, 30, generator=torch.Generator().manual_seed(3)).pixels
    assert torch.equal(one, two) and torch.equal(one, drawn) and not torch.equal(one, other)
    moving = torch.Generator().manual_seed(3)
    assert not torch.equal(*(random_points(depth, None, 30, generator=moving).pixels for _ in range(2)))


def test_all_pixels_are_equally_likely() -> None:
    """2000 draws of 3 of 20 pixels: Pearson's test against equal numbers."""
    points = random_points(torch.ones(2000, 1, 4, 5), None, 3)
    hits = torch.bincount((points.pixels[..., 0] * 5 + points.pixels[..., 1]).flatten(), minlength=20)
    assert hits.sum() == 6000 and stats.chisquare(hits.numpy()).pvalue > 0.001


def test_random_points_where_little_is_known() -> None:
    depth = torch.zeros(2, 1, 4, 4)
    depth[0, 0, 1, 2] = 3
    points = random_points(depth, None, 5)
    assert points.valid.sum(1).tolist() == [1, 0]
    assert points.pixels[0, 0].tolist() == [1, 2] and points.depth[0, 0] == 3
    assert random_points(depth, torch.ones_like(depth) > 0, 5).valid.sum(1).tolist() == [1, 0]
    assert not random_points(depth, torch.zeros_like(depth) > 0, 5).valid.any()
    with pytest.raises(ValueError, match="the same for both"):
        random_points(depth, torch.ones(2, 4, 4) > 0, 5)


# SparsePoints


def test_maps_by_hand() -> None:
    """Two points on one cell are their mean; a point that is not valid is nowhere."""
    points = points_at([(0, 1), (0, 1), (1, 2), (0, 0)], [2.0, 4.0, 5.0, 9.0], [True, True, True, False])
    depth, confidence = points.maps((2, 3))
    assert depth[0, 0].tolist() == [[0, 3, 0], [0, 0, 5]]
    assert confidence[0, 0].tolist() == [[0, 0.5, 0], [0, 0, 0.5]]


def test_scatter_and_gather_are_a_round_trip() -> None:
    depth = depth_of(2, (9, 11))
    points = random_points(depth, torch.rand(depth.shape) < 0.3, 40)
    features = torch.randn(2, 5, 40)
    expected = features * points.valid[:, None]
    whole = points.scatter(features, (9, 11))
    assert whole.shape == (2, 5, 9, 11) and 0 < points.valid.sum() < 80
    torch.testing.assert_close(points.gather(whole), expected)
    torch.testing.assert_close(points.scatter(points.gather(whole), (9, 11)), whole)
    assert (whole.abs().sum(1) > 0).sum() == points.valid.sum()


def test_scatter_equals_plain_loops() -> None:
    points = SparsePoints(torch.randint(3, (2, 30, 2)), torch.rand(2, 30), torch.rand(2, 30), torch.rand(2, 30) < 0.7)
    features = torch.randn(2, 4, 30, dtype=torch.float64)
    got = points.scatter(features, (3, 3))
    for b, i, j in np.ndindex(2, 3, 3):
        here = [n for n in range(30) if points.valid[b, n] and points.pixels[b, n].tolist() == [i, j]]
        expected = features[b][:, here].mean(1) if here else torch.zeros(4, dtype=torch.float64)
        torch.testing.assert_close(got[b, :, i, j], expected)


def test_gradients_of_maps_and_cloud() -> None:
    depth = torch.tensor([[2.0, 3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    pixels, valid = torch.tensor([[[0, 1], [0, 1], [1, 0]]]), torch.tensor([[True, True, False]])
    camera = default_intrinsics((2, 3)).double()

    def call(depth):
        points = SparsePoints(pixels, depth, depth / 10, valid)
        return (*points.maps((2, 3)), points.cloud(camera))

    assert torch.autograd.gradcheck(call, (depth,))


def test_what_is_not_valid_counts_nowhere_whatever_it_holds() -> None:
    clean = points_at([(1, 1), (0, 0)], [2.0, 0.0], [True, False])
    dirty = points_at([(1, 1), (-7, 900)], [2.0, torch.nan], [True, False])
    camera, maps = default_intrinsics((3, 4)), torch.rand(1, 2, 3, 4)
    for one, two in ((clean.maps((3, 4))[0], dirty.maps((3, 4))[0]), (clean.cloud(camera), dirty.cloud(camera)),
                     (clean.gather(maps), dirty.gather(maps))):
        assert torch.equal(one, two)


@pytest.mark.parametrize("pixel", [(-1, 0), (0, -1), (3, 0), (0, 4)])
def test_points_outside_the_image_are_refused(pixel: tuple[int, int]) -> None:
    points = points_at([(1, 1), pixel], [2.0, 3.0])
    for use in (lambda: points.maps((3, 4)), lambda: points.gather(torch.rand(1, 2, 3, 4)),
                lambda: points.scatter(torch.rand(1, 2, 2), (3, 4))):
        with pytest.raises(ValueError, match=rf"1 of 2 points are outside a map of 3x4 pixels, .* row {pixel[0]}, "):
            use()
    inside = points.inside((3, 4))
    assert inside.valid.tolist() == [[True, False]] and inside.maps((3, 4))[0].sum() == 2


def test_no_points_at_all() -> None:
    points = SparsePoints.empty(2)
    assert points.depth.shape == (2, 0)
    for some in (points, SparsePoints.empty(2, 4, "cpu"), SparsePoints.empty(2, 0, torch.device("cpu"))):
        count = some.depth.shape[1]
        assert not some.valid.any() and some.pixels.shape == (2, count, 2)
        depth, confidence = some.maps((3, 4))
        assert depth.shape == confidence.shape == (2, 1, 3, 4) and (depth == 0).all() and (confidence == 0).all()
        assert some.gather(torch.rand(2, 5, 3, 4)).shape == (2, 5, count)
        assert some.cloud(default_intrinsics((3, 4))).shape == (2, 3, count)
        assert some.scaled((3, 4), (6, 8)).depth.shape == (2, count)


def test_cloud_equals_backprojection_at_the_pixels() -> None:
    depth = depth_of(2, (9, 11)).double()
    cameras = torch.tensor([[[9.0, 0.3, 4.0], [0, 8.0, 5.0], [0, 0, 1]], [[20.0, 0, 5.5], [0, 21.0, 4.2], [0, 0, 1]]])
    points = random_points(depth, None, 20)
    for camera in (cameras, cameras[0], cameras[:1]):
        expected = points.gather(backproject(depth, camera))
        torch.testing.assert_close(points.cloud(camera), expected, rtol=1e-12, atol=1e-12)


def test_cloud_refuses_what_is_no_camera() -> None:
    points = points_at([(1, 1)], [2.0])
    with pytest.raises(ValueError, match="focal length"):
        points.cloud(torch.zeros(3, 3))
    with pytest.raises(ValueError, match="intrinsics have the shape"):
        points.cloud(torch.eye(4))
    with pytest.raises(ValueError, match="3 cameras came with the points of 1 images"):
        points.cloud(torch.eye(3).expand(3, 3, 3))


def test_scaled_by_hand() -> None:
    """From 4 columns to 2: 0 and 1 are in 0, 2 and 3 in 1. And to 8: the middle of 1 is the border of 2 and 3."""
    points = points_at([(0, 0), (0, 1), (0, 2), (1, 3)], [1.0] * 4)
    assert points.scaled((2, 4), (1, 2)).pixels[0].tolist() == [[0, 0], [0, 0], [0, 1], [0, 1]]
    assert points.scaled((2, 4), (4, 8)).pixels[0].tolist() == [[1, 1], [1, 3], [1, 5], [3, 7]]
    assert points.scaled((2, 4), (3, 4)).pixels[0].tolist() == [[0, 0], [0, 1], [0, 2], [2, 3]]


@pytest.mark.parametrize("old", [(24, 32), (7, 9), (96, 128)])
@pytest.mark.parametrize("new", [(24, 32), (5, 3), (100, 130), (1, 1)])
def test_scaled_points_stay_inside(old: tuple[int, int], new: tuple[int, int]) -> None:
    rows, columns = torch.meshgrid(*(torch.arange(n) for n in old), indexing="ij")
    pixels = torch.stack([rows, columns], 2).flatten(0, 1)[None]
    one = torch.ones(1, pixels.shape[1])
    points = SparsePoints(pixels, one, one, one > 0)
    assert points.scaled(old, new).inside(new).valid.all()
    assert torch.equal(points.scaled(old, old).pixels, pixels)
    if min(n - o for n, o in zip(new, old, strict=True)) >= 0:  # nothing is lost on the way to a finer map
        assert torch.equal(points.scaled(old, new).scaled(new, old).pixels, pixels)
    assert points.scaled(old, new).depth is points.depth


def test_scaled_points_stay_outside() -> None:
    points = points_at([(-1, 0), (0, -3), (96, 5), (5, 130), (95, 127)], [1.0] * 5)
    assert points.scaled(SIZE, (24, 32)).inside((24, 32)).valid.tolist() == [[False, False, False, False, True]]


def test_scaled_agrees_with_nearest_resizing() -> None:
    """A map made smaller by whole numbers holds a point where its cell is."""
    points = points_at([(5, 9)], [3.0])
    small = F.max_pool2d(points.maps((12, 16))[0], 4)
    assert torch.equal(points.scaled((12, 16), (3, 4)).maps((3, 4))[0], small)


def test_points_that_do_not_fit_are_refused() -> None:
    pixels, row, valid = torch.zeros(1, 3, 2, dtype=torch.long), torch.zeros(1, 3), torch.ones(1, 3) > 0
    for parts in ((pixels[:, :2], row, row, valid), (pixels, row[0], row[0], valid[0]),
                  (pixels, row, row[:, 1:], valid)):
        with pytest.raises(ValueError, match=r"\(B, N, 2\) and three times"):
            SparsePoints(*parts)
    for parts in ((pixels.float(), row, row, valid), (pixels, row, row, row)):
        with pytest.raises(ValueError, match="as torch.long, and torch.bool"):
            SparsePoints(*parts)
    points = SparsePoints(pixels, row, row, valid)
    with pytest.raises(ValueError, match="as many images"):
        points.gather(torch.rand(2, 1, 4, 4))
    with pytest.raises(ValueError, match="a column for every point"):
        points.scatter(torch.rand(1, 2, 4), (4, 4))
    with pytest.raises(ValueError, match="sizes must be positive"):
        points.scaled((4, 4), (0, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_of_features_is_kept(dtype: torch.dtype) -> None:
    points = points_at([(0, 0), (0, 0), (1, 1)], [1.0, 2.0, 3.0])
    features = torch.randn(1, 2, 3).to(dtype)
    assert points.scatter(features, (2, 2)).dtype == dtype
    assert points.gather(points.scatter(features, (2, 2))).dtype == dtype


# the camera


def test_default_camera_is_as_wide_as_nyu() -> None:
    camera = default_intrinsics((480, 640))
    assert camera.tolist() == [[pytest.approx(518.86), 0, 319.5], [0, pytest.approx(518.86), 239.5], [0, 0, 1]]
    torch.testing.assert_close(default_intrinsics((120, 160)), scale_intrinsics(camera, (480, 640), (120, 160)))
    assert default_intrinsics((10, 20), focal=0.5)[0, 0] == 10
    for size, focal in (((0, 4), 1.0), ((4, 4), 0.0), ((4, 4), float("nan"))):
        with pytest.raises(ValueError, match="all positive"):
            default_intrinsics(size, focal=focal)


def test_missing_intrinsics_are_a_warning_each_time() -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"no intrinsics came .* 12x16 pixels.*0\.8107 widths") as told:
            camera = camera_or_default(None, (12, 16), 3)
        assert len(told) == 1
    assert camera.shape == (3, 3, 3) and torch.equal(camera[1], default_intrinsics((12, 16), focal=KINECT_FOCAL))


def test_a_given_camera_or_focal_length_is_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = torch.stack([torch.eye(3), 2 * torch.eye(3)])
        assert torch.equal(camera_or_default(given, (4, 4), 2), given)
        assert torch.equal(camera_or_default(given[1], (4, 4), 3), given[1].expand(3, 3, 3))
        assert torch.equal(camera_or_default(None, (4, 8), 1, focal=0.5)[0], default_intrinsics((4, 8), focal=0.5))


@pytest.mark.parametrize("shape", [(2, 2), (5, 3, 3), (3,)])
def test_other_cameras_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="intrinsics have the shape"):
        camera_or_default(torch.ones(shape), (4, 4), 2)
