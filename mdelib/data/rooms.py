"""Layouts of the rendered rooms: living rooms, bedrooms, offices and kitchens.

The room spans x from -width/2 to width/2 and z from 0 to depth; the camera stands near z = 0 and looks into it.
Furniture goes along the walls or stands free, never inside another piece.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mdelib.data import clutter, furniture
from mdelib.data.furniture import Style, random_style, tint
from mdelib.data.meshes import CEILING, GROUND, WALL, SceneBuilder, SceneMesh, rotation
from mdelib.data.raytrace import Camera, look
from mdelib.data.shading import Light, Setting
from mdelib.data.textures import Material

__all__ = ["KINDS", "build_room"]

KINDS = ("living", "bedroom", "office", "kitchen")
_YAWS = (0.0, np.pi / 2, np.pi, -np.pi / 2)  # walls: far, right, near, left
_PAINTS = ((0.74, 0.73, 0.70), (0.72, 0.66, 0.54), (0.55, 0.60, 0.64), (0.52, 0.60, 0.50), (0.68, 0.50, 0.42),
           (0.62, 0.62, 0.60), (0.70, 0.62, 0.40), (0.40, 0.46, 0.55))


class _Room:
    """The floor plan while it fills up."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.width, self.depth = rng.uniform(3.0, 5.0), rng.uniform(3.0, 5.6)
        self.height = rng.uniform(2.4, 2.9)
        self.camera = np.array([rng.uniform(-0.32, 0.32) * self.width, rng.uniform(0.95, 1.65),
                                rng.uniform(0.18, 0.16 * self.depth)])
        self.taken: list[tuple[float, float, float, float]] = []
        self.on_wall: list[tuple[int, float, float, float, float]] = []  # wall, s0, s1, y0, y1

    def length(self, wall: int) -> float:
        return self.width if wall % 2 == 0 else self.depth

    def point(self, wall: int, along: float, off: float) -> tuple[float, float]:
        """World x, z of the place `along` a wall's middle and `off` it."""
        middle = np.array([0, 0, self.depth / 2])
        half = self.depth / 2 if wall % 2 == 0 else self.width / 2
        x, _, z = middle + rotation(_YAWS[wall]) @ np.array([along, 0, half - off])
        return float(x), float(z)

    def free(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Whether a rectangle lies in the room, off other pieces and out of the camera's way."""
        if abs(x) + half_x > self.width / 2 or z - half_z < 0 or z + half_z > self.depth:
            return False
        gap = np.hypot(max(abs(x - self.camera[0]) - half_x, 0), max(abs(z - self.camera[2]) - half_z, 0))
        return gap > 0.55 and all(abs(x - a) >= half_x + c or abs(z - b) >= half_z + d for a, b, c, d in self.taken)

    def clear(self, wall: int, along: float, half: float, low: float, high: float) -> bool:
        return all(w != wall or along + half <= s0 or along - half >= s1 or high <= y0 or low >= y1
                   for w, s0, s1, y0, y1 in self.on_wall)

    def along(self, width: float, depth: float, height: float, walls: tuple[int, ...] = (0, 1, 3, 2), *,
              gap: float = 0.025, near: float | None = None) -> tuple[float, float, float] | None:
        """A free place (x, z, yaw) with its back to a wall, or None; it is then taken."""
        for _ in range(14):
            wall = walls[min(int(self.rng.exponential(0.9)), len(walls) - 1)] if len(walls) > 1 else walls[0]
            slack = self.length(wall) / 2 - width / 2 - 0.04
            if slack <= 0:
                continue
            s = self.rng.uniform(-slack, slack) if near is None else np.clip(
                near + self.rng.uniform(-0.1, 0.1), -slack, slack)
            x, z = self.point(wall, s, depth / 2 + gap)
            half = (width / 2 + 0.04, depth / 2) if wall % 2 == 0 else (depth / 2, width / 2 + 0.04)
            if self.free(x, z, *half) and self.clear(wall, s, width / 2, 0, height):
                self.taken.append((x, z, *half))
                self.on_wall.append((wall, s - width / 2, s + width / 2, 0.0, height))
                return x, z, _YAWS[wall]
        return None

    def anywhere(self, half_x: float, half_z: float) -> tuple[float, float] | None:
        """A free place away from the walls, or None; it is then taken."""
        for _ in range(14):
            x = self.rng.uniform(-0.5, 0.5) * max(self.width - 2 * half_x - 0.5, 0)
            z = self.depth / 2 + self.rng.uniform(-0.4, 0.5) * max(self.depth - 2 * half_z - 0.7, 0)
            if self.free(x, z, half_x, half_z):
                self.taken.append((x, z, half_x, half_z))
                return x, z
        return None


def _shell(b: SceneBuilder, room: _Room, style: Style, view: Material) -> list[tuple[int, float, float, float, float]]:
    """Floor, ceiling, walls with openings, skirting, doors and windows; returns the windows."""
    rng, w, d, h = room.rng, room.width, room.depth, room.height
    paint = tint(_PAINTS[rng.integers(len(_PAINTS))], rng)
    kind = ("plain", "mottled", "stripes", "damask")[rng.choice(4, p=[0.5, 0.2, 0.16, 0.14])]
    other = tuple(0.86 * value for value in paint)
    wall = Material(kind, paint, other, {"plain": 1, "mottled": 0.8, "stripes": 0.22, "damask": 0.3}[kind],
                    float(rng.random()))
    floor = (Material("planks", style.second.color, style.second.color2, rng.uniform(0.09, 0.17), float(rng.random()),
                      gloss=rng.uniform(0.05, 0.3)),
             Material("tiles", tint((0.55, 0.50, 0.43), rng), tint((0.35, 0.33, 0.32), rng), rng.uniform(0.3, 0.5),
                      float(rng.random()), gloss=rng.uniform(0.1, 0.35)),
             Material("mottled", tint((0.42, 0.38, 0.34), rng, 0.25), (0.3, 0.28, 0.26), 0.05, float(rng.random()))
             )[rng.choice(3, p=[0.55, 0.25, 0.2])]
    with b.thing(structure=GROUND):
        b.part((-w / 2 - 0.15, -0.1, -0.15), (w / 2 + 0.15, 0, d + 0.15), floor)
    with b.thing(structure=CEILING):
        b.part((-w / 2 - 0.2, h, -0.2), (w / 2 + 0.2, h + 0.1, d + 0.2), Material("plain", (0.76, 0.76, 0.74)))
    windows = []
    door_wall = int(rng.choice([0, 1, 3, 2], p=[0.3, 0.25, 0.25, 0.2]))
    for index in range(4):
        length = room.length(index)
        opening = None
        if index == door_wall:
            s = rng.uniform(-1, 1) * max(length / 2 - 0.75, 0)
            room.on_wall.append((index, s - 0.55, s + 0.55, 0.0, 2.15))
            x, z = room.point(index, s, 0.35)
            room.taken.append((x, z, 0.4, 0.4))
            x, z = room.point(index, s, 0.0)
            with b.thing(x, z, _YAWS[index], fixed=True):
                clutter.door(b, style, rng.uniform(0.78, 0.9), 2.02)
        elif index != 2 and (rng.random() < (0.45, 0.6, 0, 0.6)[index]):
            wide, low = rng.uniform(0.9, min(2.2, length - 1.2)), rng.uniform(0.75, 1.0)
            high = rng.uniform(2.0, room.height - 0.2)
            s = rng.uniform(-1, 1) * (length / 2 - wide / 2 - 0.4) * 0.7
            opening = (s, wide, low, high)
            windows.append((index, *opening))
            room.on_wall.append((index, s - wide / 2 - 0.2, s + wide / 2 + 0.2, low - 0.08, high + 0.1))
        x, z = room.point(index, 0.0, 0.0)
        with b.thing(x, z, _YAWS[index], structure=WALL):
            half = length / 2 + (0.15 if index % 2 == 0 else 0.0)
            spans = [(-half, half, 0.0, h)]
            if opening:
                s, wide, low, high = opening
                spans = [(-half, s - wide / 2, 0.0, h), (s + wide / 2, half, 0.0, h),
                         (s - wide / 2, s + wide / 2, 0.0, low), (s - wide / 2, s + wide / 2, high, h)]
            for left, right, low, high in spans:
                b.part((left, low, 0.0), (right, high, 0.15), wall)
            skirts = [(-length / 2, length / 2)]
            if index == door_wall:
                s = next(0.5 * (q[1] + q[2]) for q in room.on_wall if q[0] == index)
                skirts = [(-length / 2, s - 0.53), (s + 0.53, length / 2)]
            for left, right in skirts:
                if right > left:
                    b.part((left, 0.0, -0.012), (right, 0.09, 0.0), Material("plain", (0.72, 0.71, 0.68)))
        if opening:
            s, wide, low, high = opening
            x, z = room.point(index, s, 0.0)
            with b.thing(x, z, _YAWS[index], y=low, fixed=True):
                clutter.window(b, wide, high - low, replace(view, size=(wide, high - low)))
            if rng.random() < 0.55:
                with b.thing(x, z, _YAWS[index], fixed=True):
                    clutter.curtains(b, style, wide, 0.05 if rng.random() < 0.5 else low - 0.15, high + 0.12)
    return windows


def _set_table(b: SceneBuilder, room: _Room, style: Style, width: float, depth: float) -> None:
    """A dining table with chairs, in the open."""
    turned = room.rng.random() < 0.5
    half = (depth / 2 + 0.35, width / 2 + 0.1) if turned else (width / 2 + 0.1, depth / 2 + 0.35)
    spot = room.anywhere(*half)
    if spot is None:
        return
    yaw = np.pi / 2 if turned else 0.0
    with b.thing(*spot, yaw):
        furniture.table(b, style, width, depth)
        clutter.scatter(b, -width / 2 + 0.15, width / 2 - 0.15, -depth / 2 + 0.15, depth / 2 - 0.15, 0.74, 6)
    turn = rotation(yaw)
    seats = max(1, int(width / 0.65))
    for side in (0, 1):
        for seat in range(seats):
            if room.rng.random() < 0.85:
                x = (seat + 0.5) / seats * width - width / 2
                out = depth / 2 + room.rng.uniform(0.0, 0.14)
                place = np.array(spot) + (turn @ np.array([x, 0, out if side == 0 else -out]))[[0, 2]]
                with b.thing(*place, yaw + np.pi * side + room.rng.uniform(-0.2, 0.2)):
                    furniture.chair(b, style)


def _put(b: SceneBuilder, room: _Room, style: Style, what: str, lit: float,
         walls: tuple[int, ...] = (0, 1, 3, 2)) -> tuple[float, float, float] | None:
    """Adds one piece along a wall, with what stands on it; returns its place."""
    rng = room.rng
    w, d, h = {"sofa": (rng.uniform(1.5, 2.2), 0.9, 0.85), "armchair": (0.92, 0.9, 0.85),
               "shelf": (rng.uniform(0.7, 1.3), 0.32, rng.uniform(1.0, 2.1)), "bed": (rng.uniform(1.0, 1.7), 2.12, 1.0),
               "drawers": (rng.uniform(0.7, 1.3), 0.5, rng.uniform(0.6, 0.95)),
               "stand": (rng.uniform(1.1, 1.6), 0.45, rng.uniform(0.4, 0.55)), "wardrobe": (rng.uniform(1.0, 1.8), 0.64,
               rng.uniform(1.9, 2.2)), "desk": (rng.uniform(1.1, 1.6), 0.68, 0.74), "fridge": (0.62, 0.64, 1.85),
               "counter": (rng.uniform(1.8, 2.8), 0.64, 2.15), "plant": (0.6, 0.6, 1.2), "lamp": (0.44, 0.44, 1.6),
               "boxes": (0.55, 0.5, 1.0), "bin": (0.3, 0.3, 0.33), "nightstand": (0.47, 0.42, 0.6),
               "side": (0.5, 0.5, 0.5)}[what]
    spot = room.along(w, d, h, walls)
    if spot is None:
        return None
    with b.thing(*spot):
        if what in ("shelf", "wardrobe"):
            getattr(furniture, what)(b, style, w, h)
            clutter.scatter(b, -w / 2 + 0.15, w / 2 - 0.15, -0.05, 0.05, h + (0.005 if what == "shelf" else 0.045), 2)
        elif what in ("drawers", "stand"):
            furniture.drawers(b, style, w, d - 0.06, h)
            if what == "stand":
                with b.thing(y=h + 0.025, z=0.05):
                    furniture.television(b, style, min(w - 0.15, rng.uniform(0.9, 1.3)))
            else:
                clutter.scatter(b, -w / 2 + 0.12, w / 2 - 0.12, -d / 2 + 0.16, d / 2 - 0.16, h + 0.025, 5)
        elif what == "desk":
            furniture.table(b, style, w, d - 0.04)
            with b.thing(rng.uniform(-0.15, 0.15), 0.06, rng.uniform(-0.2, 0.2), y=0.74):
                (clutter.monitor if rng.random() < 0.65 else clutter.laptop)(b, style)
            for low, high in ((-w / 2 + 0.1, -0.45), (0.48, w / 2 - 0.1)):
                if high > low:
                    clutter.scatter(b, low, high, -d / 2 + 0.16, d / 2 - 0.16, 0.74, 4)
            with b.thing(rng.uniform(-0.15, 0.15), -d / 2 - 0.12, np.pi + rng.uniform(-0.6, 0.6)):
                furniture.office_chair(b, style) if rng.random() < 0.7 else furniture.chair(b, style)
        elif what == "counter":
            furniture.counter(b, style, w, 2.12)
            clutter.scatter(b, -w / 2 + 0.2, w / 2 - 0.2, -0.15, 0.12, 0.915, 7)
        elif what == "nightstand":
            furniture.nightstand(b, style)
            with b.thing(y=0.525):
                clutter.table_lamp(b, style, lit)
        elif what == "side":
            furniture.table(b, style, w - 0.06, d - 0.06, 0.5)
            clutter.scatter(b, -0.1, 0.1, -0.1, 0.1, 0.5, 2)
        elif what in ("sofa", "bed"):
            getattr(furniture, what)(b, style, w)
        elif what == "plant":
            clutter.plant(b, style, rng.uniform(0.7, 1.4))
        elif what == "lamp":
            clutter.floor_lamp(b, style, lit)
        else:
            {"armchair": furniture.armchair, "fridge": furniture.fridge, "boxes": furniture.box_stack,
             "bin": clutter.bin_}[what](b, style)
    return spot


_PLANS: dict[str, tuple[str, ...]] = {
    "living": ("sofa", "stand", "armchair", "shelf", "lamp", "plant", "drawers", "side", "shelf"),
    "bedroom": ("bed", "nightstand", "wardrobe", "drawers", "plant", "armchair", "lamp", "shelf", "boxes"),
    "office": ("desk", "shelf", "desk", "drawers", "bin", "shelf", "plant", "boxes", "armchair", "lamp"),
    "kitchen": ("counter", "fridge", "drawers", "shelf", "plant", "bin", "boxes", "side")}


def _furnish(b: SceneBuilder, room: _Room, style: Style, kind: str, lit: float) -> None:
    rng = room.rng
    for rank, what in enumerate(_PLANS[kind]):
        if rank >= 2 and rng.random() < 0.12:
            continue
        spot = _put(b, room, style, what, lit)
        if what == "sofa" and spot is not None and rng.random() < 0.85:
            turn = rotation(spot[2])
            x, z = np.array(spot[:2]) + (turn @ np.array([0, 0, -1.05]))[[0, 2]]
            half = (0.55, 0.32) if abs(turn[0, 0]) > 0.5 else (0.32, 0.55)
            if room.free(x, z, *half):
                room.taken.append((x, z, *half))
                with b.thing(x, z, spot[2]):
                    furniture.table(b, style, 1.0, 0.55, 0.42)
                    clutter.scatter(b, -0.38, 0.38, -0.15, 0.15, 0.42, 4)
                with b.thing(x, z, spot[2], fixed=True):
                    clutter.rug(b, style, rng.uniform(1.7, 2.3), rng.uniform(1.2, 1.5))
    if kind == "kitchen" or rng.random() < 0.3:
        _set_table(b, room, style, rng.uniform(0.9, 1.6), rng.uniform(0.7, 0.9))
    if kind in ("bedroom", "office") and rng.random() < 0.7:
        x, z = rng.uniform(-0.5, 0.5), room.depth * rng.uniform(0.4, 0.6)
        with b.thing(x, z, rng.choice([0, np.pi / 2]) + rng.uniform(-0.1, 0.1), fixed=True):
            clutter.rug(b, style, rng.uniform(1.4, 2.2), rng.uniform(1.0, 1.5))
    for _ in range(int(rng.integers(2, 6))):
        spot = room.anywhere(0.22, 0.22)
        if spot is not None:
            with b.thing(*spot, rng.uniform(-np.pi, np.pi)):
                rng.choice([furniture.box_stack, clutter.bin_, furniture.chair])(b, style)
    for _ in range(14):
        wall, wide = int(rng.choice([0, 1, 3])), rng.uniform(0.3, 1.0)
        tall, low = wide * rng.uniform(0.65, 1.3), rng.uniform(1.15, 1.5)
        tall = min(tall, room.height - low - 0.15)
        s = rng.uniform(-1, 1) * (room.length(wall) / 2 - wide / 2 - 0.1)
        if room.clear(wall, s, wide / 2 + 0.06, low, low + tall):
            room.on_wall.append((wall, s - wide / 2, s + wide / 2, low, low + tall))
            x, z = room.point(wall, s, 0.0)
            with b.thing(x, z, _YAWS[wall], y=low, fixed=True):
                clutter.picture(b, style, wide, tall)


def _lights(b: SceneBuilder, room: _Room, style: Style, windows: list[tuple[int, float, float, float, float]],
            day: bool, lit: float) -> list[Light]:
    """Ceiling lamps, windows and the sun through one of them."""
    rng, lights = room.rng, []
    warm = np.array([1.0, rng.uniform(0.78, 0.92), rng.uniform(0.5, 0.8)])
    power = rng.uniform(0.5, 1.3) if day else rng.uniform(2.5, 4.0)
    count = 2 if room.depth > 4.6 else 1
    for index in range(count):
        x, z = rng.uniform(-0.4, 0.4), room.depth * ((index + 0.5) / count + rng.uniform(-0.06, 0.06))
        drop = 0.0 if rng.random() < 0.5 else rng.uniform(0.3, 0.5)
        with b.thing(x, z, y=room.height, fixed=True):
            clutter.ceiling_lamp(b, style, lit, drop)
        height = room.height - (drop + 0.2 if drop else 0.12)
        lights.append(Light(warm * power, np.array([x, height, z]), np.array([0.22, 0, 0]), np.array([0, 0, 0.22]),
                            None if drop else np.array([0.0, -1, 0])))
    for wall, s, wide, low, high in windows[:2] if day else []:
        turn = rotation(_YAWS[wall])
        x, z = room.point(wall, s, 0.05)
        area = wide * (high - low)
        cool = np.array([0.82, 0.92, 1.05]) * area * rng.uniform(1.0, 1.8)
        lights.append(Light(cool, np.array([x, (low + high) / 2, z]), turn @ np.array([wide / 2 * 0.95, 0, 0]),
                            np.array([0, (high - low) / 2 * 0.95, 0]), turn @ np.array([0.0, 0, -1])))
    if day and windows and rng.random() < 0.6:
        wall = windows[int(rng.integers(len(windows)))][0]
        side, rise = rng.uniform(-0.9, 0.9), rng.uniform(0.45, 0.95)
        towards = rotation(_YAWS[wall]) @ np.array([np.sin(side) * np.cos(rise), np.sin(rise), np.cos(side) * np.cos(rise)])
        lights.append(Light(np.array([1.0, 0.92, 0.78]) * rng.uniform(2.0, 3.5), towards, np.array([0.012, 0, 0.0]),
                            np.array([0, 0.012, 0.0]), sun=True))
    return lights


def build_room(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneMesh, Camera, Setting]:
    """One room, its camera and its light; `size` (height, width) only sets the camera's pixels."""
    room, b = _Room(rng), SceneBuilder(rng)
    style = random_style(rng)
    kind = KINDS[rng.integers(len(KINDS))]
    day = bool(rng.random() < 0.7)
    lit = 1.0 if day else 2.2
    view = Material("outside", (0.62, 0.72, 0.85), tint((0.25, 0.28, 0.2), rng), 1.0, float(rng.random()), gloss=0.12,
                    emission=rng.uniform(1.2, 2.0) if day else 0.02)
    windows = _shell(b, room, style, view)
    _furnish(b, room, style, kind, lit)
    lights = _lights(b, room, style, windows, day and bool(windows), lit)
    aim = np.array([rng.uniform(-0.25, 0.25) * room.width, room.depth * rng.uniform(0.75, 1.0)])
    yaw = np.arctan2(aim[0] - room.camera[0], aim[1] - room.camera[2])
    camera = look(room.camera, yaw=float(yaw), pitch=np.radians(np.clip(rng.normal(11, 6), -4, 26)),
                  roll=np.radians(rng.normal(0, 1.2)), fov=np.radians(rng.uniform(54, 66)), size=size)
    ambient = np.array([[0.27, 0.26, 0.25], [0.20, 0.185, 0.17]]) * rng.uniform(0.6, 1.2)
    gains = np.array([rng.normal(1.0, 0.05), 1.0, rng.normal(1.0, 0.06)])
    setting = Setting(tuple(lights), ambient, 0.9, key=rng.uniform(0.30, 0.48), gains=gains,
                      grain=rng.uniform(0.004, 0.011))
    return b.finish(), camera, setting
