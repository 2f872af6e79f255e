"""One rendered view as plain arrays: picture, depth, normals, object ids, LiDAR returns, and twins without a cue.

A view is made from the data set's name, the split, its index and the size alone, so that it is the same whoever
asks for it, and however many others are rendered.
"""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from mdelib.data.meshes import SceneMesh
from mdelib.data.raytrace import Camera, GroundTruth, Tracer, ground_truth
from mdelib.data.rooms import build_room
from mdelib.data.shading import Setting, photograph
from mdelib.data.streets import FAR, build_street

__all__ = ["COUNTS", "CUES", "GENERATOR_VERSION", "SIZE_REFERENCE", "generator_key", "render_arrays"]

Array = np.ndarray
GENERATOR_VERSION = 1
CUES = ("shadows", "texture", "contact", "size")
COUNTS = {"scenes-rooms": {"train": 600, "test": 100}, "scenes-streets": {"train": 300, "test": 60}}
SIZE_REFERENCE = {"scenes-rooms": 4.0, "scenes-streets": 20.0}  # metres, see `shrink_things`
_MODULES = (
    "textures",
    "shapes",
    "meshes",
    "raytrace",
    "shading",
    "styles",
    "furniture",
    "cupboards",
    "clutter",
    "fittings",
    "floor_plan",
    "room_shell",
    "rooms",
    "houses",
    "street_things",
    "streets",
    "rendering",
)
_VISIBLE = 2  # a pixel has changed when a channel differs by more than this, of 255


@lru_cache(maxsize=1)
def generator_key() -> str:
    """Sixteen hex digits that change with the code of the generator, not with its comments or docstrings."""
    digest = hashlib.sha256(str(GENERATOR_VERSION).encode())
    for module in _MODULES:
        tree = ast.parse(Path(__file__).with_name(f"{module}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            body = getattr(node, "body", None)
            if (
                isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
                and body
                and isinstance(body[0], ast.Expr)
                and isinstance(body[0].value, ast.Constant)
            ):
                node.body = body[1:] or [ast.Pass()]
        digest.update(ast.dump(tree).encode())
    return digest.hexdigest()[:16]


def _seed(name: str, split: str, index: int) -> list[int]:
    """Two words that differ between data sets, splits and views."""
    digest = hashlib.sha256(f"{name}/{split}/{index}/{GENERATOR_VERSION}".encode()).digest()
    return [int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:16], "little")]


def shrink_things(mesh: SceneMesh, camera: Camera, reference: float) -> SceneMesh:
    """The scene with every movable thing nearer than `reference` metres shrunk by z/reference about its foot.

    z is the depth of the point where the thing stands. A shrunk thing is pictured as large as if it stood at the
    reference depth, so that within this depth apparent size says nothing about distance.
    """
    triangles = mesh.triangles.copy()
    for thing, foot in mesh.stands.items():
        depth = float((foot - camera.position) @ camera.axes[2])
        if 0 < depth < reference:
            rows = mesh.objects == thing
            triangles[rows] = foot + (triangles[rows] - foot) * (depth / reference)
    return mesh.moved(triangles)


def _lidar(camera: Camera, truth: GroundTruth, seed: list[int]) -> Array:
    """Pixels (H, W) bool that a laser scanner at the camera would hit.

    64 beams from 2° above to 24.8° below the horizon for a picture of KITTI's 375 rows, fewer in proportion for
    smaller pictures; a twelfth of the returns is lost.
    """
    height, width = truth.depth.shape
    beams = np.radians(np.linspace(2.0, -24.8, max(4, round(64 * min(1.0, height / 375)))))
    heading = np.arctan2(camera.axes[2, 0], camera.axes[2, 2])
    step = np.radians(0.2) * max(1.0, 375 / height)
    azimuth = heading + np.arange(-np.pi / 3, np.pi / 3, step)
    rise, turn = (grid.ravel() for grid in np.meshgrid(beams, azimuth, indexing="ij"))
    direction = np.stack([np.sin(turn) * np.cos(rise), np.sin(rise), np.cos(turn) * np.cos(rise)], -1)
    local = direction @ camera.axes.T
    local = local[local[:, 2] > 0.1]
    pixel = np.round(local[:, :2] / local[:, 2:] @ camera.matrix[:2, :2].T + camera.matrix[:2, 2]).astype(int)
    inside = (pixel >= 0).all(1) & (pixel[:, 0] < width) & (pixel[:, 1] < height)
    returned = inside & (np.random.default_rng(seed).random(len(pixel)) > 1 / 12)
    hit = np.zeros((height, width), bool)
    hit[pixel[returned, 1], pixel[returned, 0]] = True
    return hit & (truth.depth > 0)


def _scene(name: str, split: str, index: int, size: tuple[int, int]) -> tuple[SceneMesh, Camera, Setting]:
    build = build_room if name == "scenes-rooms" else build_street
    return build(np.random.default_rng(_seed(name, split, index)), size)


def render_arrays(
    name: str, split: str, index: int, size: tuple[int, int], without: str | None = None
) -> dict[str, Array]:
    """One view, quantised as it is stored.

    Args:
        name: "scenes-rooms" or "scenes-streets".
        split: "train" or "test".
        index: of the view in the split.
        size: (height, width).
        without: the cue to remove, one of `CUES`.

    Returns:
        image (H, W, 3) uint8; depth (H, W) float32 metres, 0 where nothing is; normals (H, W, 3) int16 in units of
        1/32767; objects (H, W) int16; intrinsics (3, 3); for streets lidar (H, W) bool; with a cue removed
        cue_pixels (H, W) bool, where the picture changed visibly.
    """
    mesh, camera, setting = _scene(name, split, index, size)
    noise_seed = [*_seed(name, split, index), 1]
    tracer = Tracer(mesh)
    image, exposure = photograph(tracer, camera, setting, size, noise_seed)
    changed = None
    if without is not None:
        full = image
        if without == "size":
            tracer = Tracer(shrink_things(mesh, camera, SIZE_REFERENCE[name]))
        image, _ = photograph(
            tracer,
            camera,
            setting,
            size,
            noise_seed,
            without=None if without == "size" else without,
            exposure=exposure,
        )
        changed = (np.abs(image.astype(int) - full) > _VISIBLE).any(-1)
    truth = ground_truth(tracer, camera, size, FAR if name == "scenes-streets" else np.inf)
    arrays = {
        "image": image,
        "depth": truth.depth.astype(np.float32),
        "normals": np.round(truth.normals * 32767).astype(np.int16),
        "objects": truth.objects.astype(np.int16),
        "intrinsics": camera.matrix,
    }
    if name == "scenes-streets":
        arrays["lidar"] = _lidar(camera, truth, [*_seed(name, split, index), 2])
    if changed is not None:
        arrays["cue_pixels"] = changed
    return arrays
