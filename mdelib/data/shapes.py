"""The shapes that parts of rendered scenes are made of, as triangles in the unit cube."""

from __future__ import annotations

from functools import cache

import numpy as np
import trimesh

__all__ = ["template"]

Array = np.ndarray


def _smooth(mesh: trimesh.Trimesh) -> tuple[Array, Array]:
    """Corners and corner normals of a star-shaped mesh, moved into the unit cube."""
    low, high = mesh.bounds
    vertices = (mesh.vertices - low) / (high - low)
    return vertices[mesh.faces], np.asarray(mesh.vertex_normals)[mesh.faces]


def _flat(corners: Array) -> tuple[Array, Array]:
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    face /= np.linalg.norm(face, axis=1, keepdims=True)
    return corners, np.repeat(face[:, None], 3, axis=1)


def _cylinder(sides: int, top: float) -> tuple[Array, Array]:
    """A cone frustum along y in the unit cube, `top` times as wide at its top; round shading, flat ends."""
    angle = 2 * np.pi * np.arange(sides + 1) / sides
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)

    def at(circle: Array, y: float, radius: float) -> Array:
        return np.stack(
            [0.5 + 0.5 * radius * circle[:, 0], np.full(len(circle), y), 0.5 + 0.5 * radius * circle[:, 1]],
            -1,
        )

    a, b = ring[:-1], ring[1:]
    low_a, low_b, high_a, high_b = at(a, 0, 1), at(b, 0, 1), at(a, 1, top), at(b, 1, top)

    def side(circle: Array) -> Array:
        outward = np.stack([circle[:, 0], np.full(len(circle), 0.5 * (1 - top)), circle[:, 1]], -1)
        return outward / np.hypot(1, 0.5 * (1 - top))

    na, nb = side(a), side(b)
    foot, head = np.broadcast_to([0.5, 0.0, 0.5], low_a.shape), np.broadcast_to([0.5, 1.0, 0.5], low_a.shape)
    walls = np.concatenate([np.stack([low_a, high_a, high_b], 1), np.stack([low_a, high_b, low_b], 1)])
    wall_normals = np.concatenate([np.stack([na, na, nb], 1), np.stack([na, nb, nb], 1)])
    ends, end_normals = (
        _flat(np.concatenate([np.stack([foot, low_a, low_b], 1), np.stack([head, high_b, high_a], 1)]))
        if top > 0
        else _flat(np.stack([foot, low_a, low_b], 1))
    )
    return np.concatenate([walls, ends]), np.concatenate([wall_normals, end_normals])


def _box(top_x: float = 1.0, top_z: float = 1.0) -> tuple[Array, Array]:
    """A box, or a truncated wedge whose top face is `top_x` by `top_z` of its bottom face."""
    mesh = trimesh.creation.box(extents=(1, 1, 1))
    corners = mesh.vertices[mesh.faces] + 0.5
    upper = corners[..., 1] > 0.5
    corners[..., 0] = np.where(upper, 0.5 + (corners[..., 0] - 0.5) * top_x, corners[..., 0])
    corners[..., 2] = np.where(upper, 0.5 + (corners[..., 2] - 0.5) * top_z, corners[..., 2])
    return _flat(corners)


@cache
def template(shape: str) -> tuple[Array, Array, Array]:
    """Corners (T, 3, 3) in the unit cube, corner normals, and the axis (T,) that each face looks along."""
    if shape == "box":
        corners, normals = _box()
    elif shape == "cabin":
        corners, normals = _box(0.82, 0.62)
    elif shape == "hood":
        corners, normals = _box(0.93, 0.94)
    elif shape == "roof":  # ridge along x
        corners, normals = _box(1.0, 0.02)
    elif shape.startswith("cylinder"):  # along y; cylinder-x lies along x
        corners, normals = _cylinder(14, 1.0)
        if shape == "cylinder-x":  # a proper rotation, so that faces keep looking outwards
            corners, normals = corners[..., [1, 2, 0]], normals[..., [1, 2, 0]]
    elif shape == "shade":
        corners, normals = _cylinder(14, 0.62)
    elif shape == "pot":
        corners, normals = _cylinder(12, 0.7)
        corners = np.stack([corners[..., 0], 1 - corners[..., 1], 1 - corners[..., 2]], -1)
        normals = normals * [1, -1, -1]
    elif shape == "cone":
        corners, normals = _cylinder(10, 0.0)
    elif shape == "sphere":
        corners, normals = _smooth(trimesh.creation.icosphere(subdivisions=2))
    elif shape.startswith("blob"):
        sphere = trimesh.creation.icosphere(subdivisions=2)
        rng = np.random.default_rng(int(shape[4:]))
        lumps = rng.standard_normal((26, 3))
        lumps /= np.linalg.norm(lumps, axis=1, keepdims=True)
        bulge = np.exp(9 * (sphere.vertices @ lumps.T - 1)).max(1) * 0.55
        sphere.vertices = sphere.vertices * (0.62 + bulge + 0.09 * rng.standard_normal(len(bulge)))[:, None]
        corners, normals = _smooth(sphere)
    elif shape == "tuft":  # crossed leaves of a plant
        rng = np.random.default_rng(3)
        leaves = []
        for index in range(22):
            turn, rise, wide = (
                index * 2.4 + rng.uniform(0, 0.5),
                rng.uniform(0.35, 1.0),
                rng.uniform(0.05, 0.1),
            )
            reach = 0.5 * (1.05 - rise * 0.6)
            out, side = np.array([np.cos(turn), 0, np.sin(turn)]), np.array([-np.sin(turn), 0, np.cos(turn)])
            root, middle = np.array([0.5, 0, 0.5]), np.array([0.5, rise * 0.75, 0.5]) + 0.5 * reach * out
            tip = np.array([0.5, rise, 0.5]) + reach * out
            leaves += [
                [root, middle - wide * side, middle + wide * side],
                [tip, middle + wide * side, middle - wide * side],
            ]
        corners, normals = _flat(np.array(leaves))
    else:
        raise ValueError(
            f"unknown part shape {shape!r}: expected box, cabin, hood, roof, cylinder, cylinder-x, "
            "shade, pot, cone, sphere, blob<seed> or tuft"
        )
    face = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return corners, normals, np.abs(face).argmax(1)
