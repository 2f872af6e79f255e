"""`mdelib.geometry`: rays, points and ranges of the pinhole camera."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from kornia.geometry.depth import depth_to_3d

from mdelib.data.scenes import render_view
from mdelib.geometry import backproject, depth_to_range, pixel_rays

CAMERA = torch.tensor([[2.0, 0.0, 1.0], [0.0, 4.0, 1.0], [0.0, 0.0, 1.0]])


def test_rays_by_hand() -> None:
    rays = pixel_rays(CAMERA, (3, 3))
    assert rays.shape == (1, 3, 3, 3)
    assert rays[0, :, 1, 1].tolist() == [0, 0, 1]  # the principal point looks straight ahead
    assert rays[0, :, 0, 2].tolist() == [0.5, -0.25, 1]  # one pixel to the right and one up


def test_a_camera_with_skew_projects_its_rays_back_to_the_pixels() -> None:
    camera = torch.tensor([[90.0, 3.0, 31.0], [0.0, 80.0, 20.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    pixels = torch.einsum("ij,jhw->ihw", camera, pixel_rays(camera, (5, 7))[0])
    rows, columns = torch.meshgrid(torch.arange(5.0).double(), torch.arange(7.0).double(), indexing="ij")
    assert torch.allclose(pixels[0], columns) and torch.allclose(pixels[1], rows)


def test_points_agree_with_kornia(generator: torch.Generator) -> None:
    depth = 0.5 + 5 * torch.rand(2, 1, 6, 8, generator=generator)
    cameras = torch.stack([CAMERA * torch.tensor([[9.0], [7.0], [1.0]]), CAMERA])
    assert torch.allclose(backproject(depth, cameras), depth_to_3d(depth, cameras), atol=1e-5)


def test_range_is_depth_on_the_axis_and_longer_beside_it() -> None:
    depth = torch.full((1, 1, 3, 3), 2.0)
    ranges = depth_to_range(depth, CAMERA)
    assert ranges[0, 0, 1, 1] == 2
    assert ranges[0, 0, 1, 2].item() == pytest.approx(2 * np.sqrt(1 + 0.5**2))
    assert (ranges >= depth).all()
    assert (depth_to_range(3 * depth, CAMERA) - 3 * ranges).abs().max() < 1e-6


def test_unknown_depth_stays_zero() -> None:
    depth = torch.zeros(1, 1, 3, 3)
    assert (backproject(depth, CAMERA) == 0).all() and (depth_to_range(depth, CAMERA) == 0).all()


def test_one_camera_for_all_and_one_for_each() -> None:
    depth = torch.ones(2, 1, 3, 3)
    assert torch.equal(backproject(depth, CAMERA), backproject(depth, CAMERA.expand(2, 3, 3)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_dtype_of_depth_is_kept(dtype: torch.dtype) -> None:
    assert backproject(torch.ones(1, 1, 3, 3, dtype=dtype), CAMERA).dtype == dtype
    assert pixel_rays(CAMERA.long(), (3, 3)).dtype == torch.float32


def test_the_floor_of_a_rendered_room_is_a_plane() -> None:
    view = render_view("scenes-rooms", "test", 0, (24, 32))
    points = backproject(view.depth[None], view.intrinsics)[0]
    normals = view.extras["normals"]
    floor = (view.extras["objects"][0] == 1) & (view.mask[0])
    assert floor.sum() > 20
    heights = (points * normals).sum(0)[floor]  # distance of each floor point's plane from the camera
    assert heights.std() < 0.02 and heights.abs().mean() > 0.5


@pytest.mark.parametrize(("camera", "words"), [
    (torch.eye(4), "shape"), (torch.zeros(3, 3), "focal length"),
    (torch.eye(3) * torch.nan, "not finite"), (torch.ones(3), "shape")])
def test_cameras_that_are_none_are_one_sentence(camera: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pixel_rays(camera, (3, 3))


def test_depth_that_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(ValueError, match="shape"):
        backproject(torch.ones(3, 3), CAMERA)
    with pytest.raises(ValueError, match="2 cameras came with 3 depth maps"):
        backproject(torch.ones(3, 1, 3, 3), CAMERA.expand(2, 3, 3))
