"""Ray casting with Embree: what a pinhole camera sees of a scene, exactly.

Embree finds the triangle in single precision; depth is then intersected again with that triangle's plane in
float64. Camera frame: x right, y down, z forward; pixel centres at integers; depth is z, not the ray's length.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene

from mdelib.data.meshes import SceneMesh

__all__ = ["Camera", "GroundTruth", "Tracer", "ground_truth", "look", "pixel_rays"]

Array = np.ndarray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: (3,) world coordinates in metres.
        axes: (3, 3) rows are the camera's right, down and forward directions in the world.
        matrix: (3, 3) intrinsics in pixels.
    """

    position: Array
    axes: Array
    matrix: Array


@dataclass(frozen=True)
class GroundTruth:
    """Per pixel: depth (H, W) float64 metres, 0 where nothing was hit; unit normals (H, W, 3) in the camera's
    frame, facing it; objects (H, W) ids, 0 where nothing was hit."""

    depth: Array
    normals: Array
    objects: Array


def look(
    position: Array, *, yaw: float, pitch: float, roll: float = 0.0, fov: float, size: tuple[int, int]
) -> Camera:
    """A camera at `position` that looks along +z, turned right by `yaw`, down by `pitch`; radians.

    Args:
        fov: horizontal field of view between the outer edges of the picture, radians.
        size: (height, width) in pixels; the principal point is the middle of the picture.
    """
    forward = np.array([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)])
    level = np.array([np.cos(yaw), 0.0, -np.sin(yaw)])
    down = np.cross(level, forward)  # the world is left-handed: x right, y up, z forward
    right = np.cos(roll) * level + np.sin(roll) * down
    height, width = size
    focal = width / 2 / np.tan(fov / 2)
    matrix = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return Camera(np.asarray(position, float), np.stack([right, np.cross(right, forward), forward]), matrix)


def pixel_rays(camera: Camera, size: tuple[int, int], per_pixel: int = 1) -> Array:
    """Ray directions (h, w, 3) in the world, h = per_pixel·H: length 1 along the optical axis, so that t is depth.

    With `per_pixel` = 2 every pixel has 2 x 2 rays through the centres of its quarters.
    """
    rows, columns = ((np.arange(count * per_pixel) + 0.5) / per_pixel - 0.5 for count in size)
    x = (columns - camera.matrix[0, 2]) / camera.matrix[0, 0]
    y = (rows - camera.matrix[1, 2]) / camera.matrix[1, 1]
    local = np.stack([*np.broadcast_arrays(x[None, :], y[:, None]), np.ones((len(rows), len(columns)))], -1)
    return local @ camera.axes


class Tracer:
    """Ray queries against a scene's triangles."""

    def __init__(self, mesh: SceneMesh):
        self.mesh = mesh
        corners = mesh.triangles
        self.origin = corners[:, 0]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self.normals = cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-30)
        self._all = self._build(corners)
        self._casting = self._all if mesh.casts.all() else self._build(corners[mesh.casts])

    @staticmethod
    def _build(corners: Array) -> EmbreeScene:
        scene = EmbreeScene()
        TriangleMesh(scene, np.ascontiguousarray(corners, np.float32))
        return scene

    def first_hit(
        self, origins: Array, directions: Array, reach: float = np.inf
    ) -> tuple[Array, Array, Array]:
        """The triangle (N,) that each ray meets first (-1 for none) and the place (N,), (N,) inside it.

        A point inside a triangle is (1 - u - v)·corner 0 + u·corner 1 + v·corner 2.
        """
        rays = [np.require(array, np.float32, "CW") for array in (origins, directions)]  # Embree wants both
        far = np.full(len(rays[0]), min(reach, 1e30), np.float32)
        hit = self._all.run(*rays, dists=far, output=1)
        return hit["primID"], hit["u"], hit["v"]

    def blocked(self, origins: Array, directions: Array, distance: float | Array) -> Array:
        """Whether anything that casts shadows lies within `distance` (in lengths of the direction); (N,) bool."""
        rays = [np.require(array, np.float32, "CW") for array in (origins, directions)]  # Embree wants both
        far = np.array(np.broadcast_to(distance, len(rays[0])), np.float32)
        return self._casting.run(*rays, query="OCCLUDED", dists=far) >= 0

    def distance(self, origins: Array, directions: Array, triangle: Array) -> Array:
        """Exact t at which rays meet the planes of their triangles; float64."""
        normals = self.normals[triangle]
        along = np.einsum("nc,nc->n", normals, directions)
        return np.einsum("nc,nc->n", normals, self.origin[triangle] - origins) / along


def ground_truth(tracer: Tracer, camera: Camera, size: tuple[int, int], far: float = np.inf) -> GroundTruth:
    """Depth, normals and object ids through the pixel centres; nothing is known beyond `far` metres of depth."""
    rays = pixel_rays(camera, size).reshape(-1, 3)
    origins = np.broadcast_to(camera.position, rays.shape)
    triangle, _, _ = tracer.first_hit(origins, rays)
    hit = np.flatnonzero(triangle >= 0)
    hit = hit[tracer.distance(origins[hit], rays[hit], triangle[hit]) <= far]
    depth, normals = np.zeros(len(rays)), np.zeros((len(rays), 3))
    objects = np.zeros(len(rays), np.int64)
    seen = triangle[hit]
    depth[hit] = tracer.distance(origins[hit], rays[hit], seen)
    facing = tracer.normals[seen]
    facing = facing * -np.sign(np.einsum("nc,nc->n", facing, rays[hit]))[:, None]
    normals[hit] = facing @ camera.axes.T
    objects[hit] = tracer.mesh.objects[seen]
    return GroundTruth(depth.reshape(size), normals.reshape(*size, 3), objects.reshape(size))
