"""Ray casting against closed forms: plane, ball and box, seen by a pinhole camera."""

from __future__ import annotations

import numpy as np
import pytest

from mdelib.data.meshes import GROUND, SceneBuilder, rotation
from mdelib.data.raytrace import Tracer, ground_truth, look, pixel_rays
from mdelib.data.shading import Light, Setting, photograph
from mdelib.data.shapes import template
from mdelib.data.textures import KINDS, Material, MaterialTable, albedo, mean_albedo, noise

SIZE = (24, 32)
GREY = Material("plain", (0.5, 0.5, 0.5))


def _scene(*parts, ground: bool = False):
    b = SceneBuilder(np.random.default_rng(0))
    if ground:
        with b.thing(structure=GROUND):
            b.part((-50, -1, -50), (50, 0, 50), Material("tiles", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2), 0.3))
    for low, high, shape in parts:
        with b.thing():
            b.part(low, high, GREY, shape)
    return b.finish()


def _camera(height: float = 1.2, pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0, size=SIZE):
    return look(np.array([0.0, height, 0.0]), yaw=yaw, pitch=pitch, roll=roll, fov=1.0, size=size)


def test_camera_frame_is_x_right_y_down_z_forward() -> None:
    camera = _camera()
    assert np.allclose(camera.axes, [[1, 0, 0], [0, -1, 0], [0, 0, 1]])
    assert np.allclose(camera.matrix, [[16 / np.tan(0.5), 0, 15.5], [0, 16 / np.tan(0.5), 11.5], [0, 0, 1]])
    turned = _camera(yaw=0.3, pitch=0.2, roll=0.1)
    assert np.allclose(turned.axes @ turned.axes.T, np.eye(3), atol=1e-12)
    assert turned.axes[2, 0] > 0 and turned.axes[2, 1] < 0  # to the right and down


def test_rays_have_unit_length_along_the_axis() -> None:
    camera = _camera(yaw=0.4, pitch=0.2)
    rays = pixel_rays(camera, SIZE, 2)
    assert rays.shape == (48, 64, 3)
    assert np.allclose(rays @ camera.axes[2], 1)
    assert np.allclose(rays.reshape(24, 2, 32, 2, 3).mean((1, 3)), pixel_rays(camera, SIZE))


def test_depth_of_a_facing_wall_is_z_not_range() -> None:
    mesh = _scene(((-50, -50, 3), (50, 50, 4), "box"))
    truth = ground_truth(Tracer(mesh), _camera(), SIZE)
    assert np.abs(truth.depth - 3).max() < 1e-12  # the range in the corners would be 3.7 m
    assert np.allclose(truth.normals, [0, 0, -1])
    assert (truth.objects == 10).all()


def test_ground_plane_has_the_closed_form_depth() -> None:
    camera = _camera(height=1.2, pitch=0.9)
    truth = ground_truth(Tracer(_scene(ground=True)), camera, SIZE)
    expected = -1.2 / pixel_rays(camera, SIZE)[..., 1]  # t at which y reaches 0
    assert np.allclose(truth.depth, expected, rtol=1e-12)
    assert np.allclose(truth.normals, camera.axes @ [0, 1, 0])
    assert (truth.objects == GROUND).all()


def test_ball_has_the_closed_form_depth_and_normals() -> None:
    camera = _camera(height=0.0)
    truth = ground_truth(Tracer(_scene(((-1, -1, 3), (1, 1, 5), "sphere"))), camera, SIZE)
    rays = pixel_rays(camera, SIZE)
    square = (rays**2).sum(-1)
    root = (4 * rays[..., 2]) ** 2 - square * 15
    inner = root > 0.15  # well inside the outline: the mesh is a polyhedron
    exact = (4 * rays[..., 2] - np.sqrt(np.where(inner, root, 0))) / square
    assert inner.sum() > 20
    assert np.abs(truth.depth - exact)[inner].max() < 0.05
    outward = (rays * exact[..., None] - [0, 0, 4]) @ camera.axes.T
    cosine = (outward * truth.normals).sum(-1)[inner]
    assert cosine.min() > 0.97


def test_rotated_box_reprojects_onto_its_faces() -> None:
    b = SceneBuilder(np.random.default_rng(0))
    with b.thing(0.2, 3.0, 0.6):
        b.part((-0.5, -0.5, -0.5), (0.5, 0.5, 0.5), GREY)
    camera = _camera(height=0.3, pitch=0.1, size=(48, 64))
    rays = pixel_rays(camera, (48, 64))
    truth = ground_truth(Tracer(b.finish()), camera, (48, 64))
    hit = truth.depth > 0
    points = camera.position + rays[hit] * truth.depth[hit][:, None]
    local = (points - [0.2, 0, 3.0]) @ rotation(0.6)
    assert hit.sum() > 50
    assert np.allclose(np.abs(local).max(1), 0.5, atol=1e-9)


def test_nothing_beyond_the_limit_and_nothing_in_the_sky() -> None:
    camera = _camera(pitch=0.1)
    tracer = Tracer(_scene(ground=True))
    truth = ground_truth(tracer, camera, SIZE, far=5.0)
    everything = ground_truth(tracer, camera, SIZE)
    assert truth.depth.max() <= 5 < everything.depth.max()
    assert (truth.objects[truth.depth == 0] == 0).all() and (truth.normals[truth.depth == 0] == 0).all()
    assert (everything.depth == 0).any()  # above the horizon


def test_shadow_rays_stop_at_their_distance_and_pass_panes() -> None:
    b = SceneBuilder(np.random.default_rng(0))
    with b.thing():
        b.part((-1, -1, 2), (1, 1, 2.1), GREY)
    with b.thing(5.0):
        b.part((-1, -1, 2), (1, 1, 2.1), GREY, casts=False)
    tracer = Tracer(b.finish())
    origins = np.array([[0.1, 0.2, 0], [0.1, 0.2, 0], [5.1, 0.2, 0]])
    forward = np.broadcast_to([0.0, 0, 1], (3, 3))
    assert tracer.blocked(origins, forward, np.array([3.0, 1.0, 3.0])).tolist() == [True, False, False]
    assert (tracer.first_hit(origins, forward)[0] >= 0).all()


@pytest.mark.parametrize("shape", ["box", "cabin", "hood", "roof", "cylinder", "cylinder-x", "shade", "pot", "cone",
                                   "sphere", "blob0", "tuft"])  # fmt: skip
def test_shapes_fill_the_unit_cube(shape: str) -> None:
    corners, normals, axis = template(shape)
    assert corners.shape == normals.shape == (len(axis), 3, 3)
    assert np.allclose(np.linalg.norm(normals, axis=-1), 1) and np.isfinite(corners).all()
    if shape != "tuft":
        assert np.allclose(corners.min((0, 1)), 0, atol=0.03) and np.allclose(corners.max((0, 1)), 1, atol=0.03)
        flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        middle = corners.mean(1) - 0.5
        turned = np.sign((flat * normals.mean(1)).sum(-1) + 1e-12)
        assert (np.sign((flat * middle).sum(-1)) * turned >= 0).mean() > 0.9  # shading normals look outwards


def test_unknown_shape_and_material_are_named() -> None:
    with pytest.raises(ValueError, match=r"unknown part shape 'torus'.*expected box"):
        template("torus")
    with pytest.raises(ValueError, match=r"unknown material kind 'velvet'.*expected one of"):
        MaterialTable([Material("velvet", (0.5, 0.5, 0.5))])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_patterns_are_reflectances_and_fade_to_one_colour(kind: str) -> None:
    table = MaterialTable([Material(kind, (0.7, 0.2, 0.1), (0.1, 0.2, 0.6), 0.1, 0.37, (1.0, 1.0))])
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 30), np.linspace(0, 1, 30)), -1).reshape(-1, 2).astype(np.float32)
    which = np.zeros(len(grid), int)
    near = albedo(table, which, grid, np.zeros(len(grid), np.float32))
    assert near.shape == (900, 3) and near.min() >= 0 and near.max() <= 1.2
    assert near.std(0).max() > 0.004  # there is something to see
    far = albedo(table, which, grid, np.full(len(grid), 10, np.float32))
    assert far.std(0).max() <= near.std(0).max() + 1e-6
    assert mean_albedo(table).shape == (1, 3)


def test_noise_is_periodic_and_centred() -> None:
    x, y = np.random.default_rng(0).random((2, 5000))
    assert np.allclose(noise(x, y), noise(x + 1, y - 2), atol=1e-4)
    assert abs(noise(x, y).mean() - 0.5) < 0.03


def _lit(parts, lights, **extra):
    mesh = _scene(*parts, ground=True)
    setting = Setting(lights, np.array([[0.2] * 3, [0.1] * 3]), 0.5, sky=lambda d: np.full(d.shape, 0.5), grain=0.0)
    return photograph(Tracer(mesh), _camera(height=2.0, pitch=0.8), setting, SIZE, [1], **extra)


SUN = Light(np.full(3, 2.0), np.array([0.6, 0.8, 0.0]), np.zeros(3), np.zeros(3), sun=True)
BOX = ((-0.3, 0.0, 1.7), (0.3, 0.6, 2.3), "box")


def test_shadow_falls_away_from_the_sun_and_can_be_removed() -> None:
    picture, exposure = _lit([BOX], (SUN,))
    bare, again = _lit([BOX], (SUN,), without="shadows", exposure=exposure)
    assert picture.shape == (*SIZE, 3) and picture.dtype == np.uint8 and exposure == again
    _rows, columns = np.nonzero((bare.astype(int) - picture).max(-1) > 20)
    assert len(columns) > 3 and columns.mean() < 15.5  # the sun stands on the right
    assert (bare.astype(int) - picture).min() >= -2  # taking shadows away darkens nothing


def test_the_picture_repeats_and_depends_on_its_seed() -> None:
    lamp = Light(np.full(3, 2.0), np.array([0, 2.5, 2.0]), np.array([0.3, 0, 0]), np.array([0, 0, 0.3]),
                 np.array([0.0, -1, 0]))  # fmt: skip
    first, _ = _lit([BOX], (lamp,))
    assert (first == _lit([BOX], (lamp,))[0]).all()
    assert first.std() > 10
