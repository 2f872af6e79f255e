"""Builds the triangles of a rendered scene from parts: boxes, cylinders, tapered and lumpy shapes.

Furniture is written down as a list of parts in the thing's own frame (x to its right, y up from where it stands,
z to its back); `SceneBuilder` places the frames and makes all triangles at once. World frame: x right, y up,
z forward (left-handed), metres, the ground at y = 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from mdelib.data.shapes import template
from mdelib.data.textures import OWN_BORDER, Material, MaterialTable

__all__ = ["CEILING", "GROUND", "WALL", "SceneBuilder", "SceneMesh", "rotation"]

Array = np.ndarray
GROUND, WALL, CEILING = 1, 2, 3  # object ids of the structure; things count from 10, 0 is nothing (sky)
_FIRST_THING = 10


@dataclass(frozen=True)
class SceneMesh:
    """Triangles with everything that a renderer asks of them.

    Attributes:
        triangles: (T, 3, 3) float64 world coordinates in metres.
        normals: (T, 3, 3) float32 shading normals at the corners.
        uv: (T, 3, 2) float32 texture coordinates at the corners, metres.
        material, objects, parts: (T,) int32.
        casts: (T,) bool, False for window panes, which let light through.
        table: the materials.
        stands: object id of every movable thing -> (3,) the point where it stands.
        contacts: (C, 4) x0, x1, z0, z1 of the parts of movable things that touch the ground.
    """

    triangles: Array
    normals: Array
    uv: Array
    material: Array
    objects: Array
    parts: Array
    casts: Array
    table: MaterialTable
    stands: dict[int, Array]
    contacts: Array

    def moved(self, triangles: Array) -> SceneMesh:
        """The same scene with other corners."""
        return replace(self, triangles=triangles)

    def without_things(self) -> SceneMesh:
        """The place alone: ground, walls and what is fixed to them."""
        kept = ~np.isin(self.objects, list(self.stands))
        columns = {
            key: getattr(self, key)[kept]
            for key in ("triangles", "normals", "uv", "material", "objects", "parts", "casts")
        }
        return replace(self, **columns, stands={}, contacts=self.contacts[:0])


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Array:
    """(3, 3) rotation: roll about z, then pitch about x, then yaw about the vertical; radians."""
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


@dataclass(frozen=True)
class _Frame:
    turn: Array
    origin: Array
    thing: int


class SceneBuilder:
    """Collects parts; `finish` makes the mesh.

    Args:
        rng: where the layout's chance comes from; things may draw from it.
    """

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self._materials: list[Material] = []
        self._index: dict[Material, int] = {}
        self._parts: dict[str, list[tuple]] = defaultdict(list)
        self._stands: dict[int, Array] = {}
        self._things = _FIRST_THING
        self._frame = _Frame(np.eye(3), np.zeros(3), WALL)

    def material(self, material: Material) -> int:
        """The index of `material` in the scene's table."""
        if material not in self._index:
            self._index[material] = len(self._materials)
            self._materials.append(material)
        return self._index[material]

    @contextmanager
    def thing(
        self,
        x: float = 0.0,
        z: float = 0.0,
        yaw: float = 0.0,
        *,
        y: float = 0.0,
        pitch: float = 0.0,
        roll: float = 0.0,
        structure: int | None = None,
        fixed: bool = False,
    ) -> Iterator[None]:
        """Parts added inside stand in a frame at (x, y, z) of the present frame, turned by `yaw` radians.

        The outermost frame starts a new object id (or uses `structure`); frames inside it belong to it.
        `fixed` things (doors, pictures) keep their place and size when cues are removed.
        """
        outer = self._frame
        turn = outer.turn @ rotation(yaw, pitch, roll)
        origin = outer.origin + outer.turn @ np.array([x, y, z], float)
        name = outer.thing
        if structure is not None:
            name = structure
        elif outer.thing < _FIRST_THING:
            name = self._things
            self._things += 1
            if not fixed:
                self._stands[name] = origin
        self._frame = _Frame(turn, origin, name)
        try:
            yield
        finally:
            self._frame = outer

    def part(
        self,
        low: tuple[float, float, float],
        high: tuple[float, float, float],
        material: Material,
        shape: str = "box",
        *,
        casts: bool = True,
    ) -> None:
        """Adds a part that fills the box from `low` to `high` in the present frame, metres."""
        frame = self._frame
        self._parts[shape].append(
            (low, high, frame.turn, frame.origin, self.material(material), frame.thing, casts)
        )

    def place(self, x: float, y: float, z: float) -> Array:
        """A point of the present frame in the world."""
        return self._frame.origin + self._frame.turn @ np.array([x, y, z], float)

    def finish(self) -> SceneMesh:
        """All parts as triangles."""
        columns: dict[str, list[Array]] = defaultdict(list)
        count = 0
        for shape, parts in self._parts.items():
            unit, unit_normals, axis = template(shape)
            low = np.array([part[0] for part in parts], float)[:, None, None]
            size = np.array([part[1] for part in parts], float)[:, None, None] - low
            turn = np.array([part[2] for part in parts])[:, None]
            origin = np.array([part[3] for part in parts])[:, None, None]
            local = unit[None] * size
            corners = (local + low) @ np.swapaxes(turn, -1, -2) + origin
            normals = (unit_normals[None] / size) @ np.swapaxes(turn, -1, -2)
            normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
            across = np.where(axis == 0, 2, 0)[
                None, :, None
            ]  # u is horizontal, v is up (or z on level faces)
            up = np.where(axis == 1, 2, 1)[None, :, None]
            shape_of = local.shape[:-1]
            # patterns run on across the parts of a thing, but for those that know their own border
            framed = np.array([self._materials[part[4]].kind in OWN_BORDER for part in parts])[
                :, None, None, None
            ]
            place = np.where(framed, local, local + low)
            u = np.take_along_axis(place, np.broadcast_to(across, shape_of)[..., None], -1)[..., 0]
            v = np.take_along_axis(place, np.broadcast_to(up, shape_of)[..., None], -1)[..., 0]
            extent = np.broadcast_to(size, local.shape)
            wide = np.take_along_axis(extent, np.broadcast_to(across, shape_of)[..., None], -1)[..., 0]
            tall = np.take_along_axis(extent, np.broadcast_to(up, shape_of)[..., None], -1)[..., 0]
            grained = np.array([self._materials[part[4]].kind == "wood" for part in parts])[:, None, None]
            swap = grained & (tall > wide)  # grain runs along the longer side
            u, v = np.where(swap, v, u), np.where(swap, u, v)
            per_part = unit.shape[0]
            columns["triangles"].append(corners.reshape(-1, 3, 3))
            columns["normals"].append(normals.reshape(-1, 3, 3).astype(np.float32))
            columns["uv"].append(np.stack([u, v], -1).reshape(-1, 3, 2).astype(np.float32))
            for key, column, kind in (
                ("material", 4, np.int32),
                ("objects", 5, np.int32),
                ("casts", 6, bool),
            ):
                columns[key].append(np.repeat(np.array([part[column] for part in parts], kind), per_part))
            columns["parts"].append(np.repeat(np.arange(count, count + len(parts), dtype=np.int32), per_part))
            columns["contacts"].append(self._contacts(parts, corners))
            count += len(parts)
        merged = {key: np.concatenate(value) for key, value in columns.items()}
        return SceneMesh(**merged, table=MaterialTable(self._materials), stands=dict(self._stands))

    def _contacts(self, parts: list[tuple], corners: Array) -> Array:
        """Rectangles x0, x1, z0, z1 under the parts of movable things that reach the ground they stand on."""
        foot = np.array([self._stands[part[5]][1] if part[5] in self._stands else np.inf for part in parts])
        bottom = corners[..., 1].min((1, 2))
        chosen = corners[(foot < 0.3) & (bottom < np.where(foot < 0.3, foot, 0) + 0.05)]
        return np.stack(
            [
                chosen[..., 0].min((1, 2)),
                chosen[..., 0].max((1, 2)),
                chosen[..., 2].min((1, 2)),
                chosen[..., 2].max((1, 2)),
            ],
            -1,
        )
