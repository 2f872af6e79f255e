"""Layouts of the rendered rooms: living rooms, bedrooms, offices and kitchens.

The room spans x from -width/2 to width/2 and z from 0 to depth; the camera stands near z = 0 and looks into it.
Furniture goes along the walls or stands free, never inside another piece.
"""

from __future__ import annotations

import numpy as np

from mdelib.data import clutter, cupboards, fittings, furniture
from mdelib.data.floor_plan import YAWS, FloorPlan
from mdelib.data.meshes import SceneBuilder, SceneMesh, rotation
from mdelib.data.raytrace import Camera, look
from mdelib.data.room_shell import build_shell, room_lights
from mdelib.data.shading import Setting
from mdelib.data.styles import Style, random_style, tint
from mdelib.data.textures import Material

__all__ = ["KINDS", "build_room"]

KINDS = ("living", "bedroom", "office", "kitchen")


def _set_table(b: SceneBuilder, room: FloorPlan, style: Style, width: float, depth: float) -> None:
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


def _put(
    b: SceneBuilder,
    room: FloorPlan,
    style: Style,
    what: str,
    lit: float,
    walls: tuple[int, ...] = (0, 1, 3, 2),
) -> tuple[float, float, float] | None:
    """Adds one piece along a wall, with what stands on it; returns its place."""
    rng = room.rng
    w, d, h = {
        "sofa": (rng.uniform(1.5, 2.2), 0.9, 0.85),
        "armchair": (0.92, 0.9, 0.85),
        "shelf": (rng.uniform(0.7, 1.3), 0.32, rng.uniform(1.0, 2.1)),
        "bed": (rng.uniform(1.0, 1.7), 2.12, 1.0),
        "drawers": (rng.uniform(0.7, 1.3), 0.5, rng.uniform(0.6, 0.95)),
        "stand": (rng.uniform(1.1, 1.6), 0.45, rng.uniform(0.4, 0.55)),
        "wardrobe": (rng.uniform(1.0, 1.8), 0.64, rng.uniform(1.9, 2.2)),
        "desk": (rng.uniform(1.1, 1.6), 0.68, 0.74),
        "fridge": (0.62, 0.64, 1.85),
        "counter": (rng.uniform(1.8, 2.8), 0.64, 2.15),
        "plant": (0.6, 0.6, 1.2),
        "lamp": (0.44, 0.44, 1.6),
        "boxes": (0.55, 0.5, 1.0),
        "bin": (0.3, 0.3, 0.33),
        "nightstand": (0.47, 0.42, 0.6),
        "side": (0.5, 0.5, 0.5),
    }[what]
    spot = room.along(w, d, h, walls)
    if spot is None:
        return None
    with b.thing(*spot):
        if what in ("shelf", "wardrobe"):
            getattr(cupboards, what)(b, style, w, h)
            clutter.scatter(
                b, -w / 2 + 0.15, w / 2 - 0.15, -0.05, 0.05, h + (0.005 if what == "shelf" else 0.045), 2
            )
        elif what in ("drawers", "stand"):
            cupboards.drawers(b, style, w, d - 0.06, h)
            if what == "stand":
                with b.thing(y=h + 0.025, z=0.05):
                    cupboards.television(b, style, min(w - 0.15, rng.uniform(0.9, 1.3)))
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
            cupboards.counter(b, style, w, 2.12)
            clutter.scatter(b, -w / 2 + 0.2, w / 2 - 0.2, -0.15, 0.12, 0.915, 7)
        elif what == "nightstand":
            cupboards.nightstand(b, style)
            with b.thing(y=0.525):
                fittings.table_lamp(b, style, lit)
        elif what == "side":
            furniture.table(b, style, w - 0.06, d - 0.06, 0.5)
            clutter.scatter(b, -0.1, 0.1, -0.1, 0.1, 0.5, 2)
        elif what in ("sofa", "bed"):
            getattr(furniture, what)(b, style, w)
        elif what == "plant":
            clutter.plant(b, style, rng.uniform(0.7, 1.4))
        elif what == "lamp":
            fittings.floor_lamp(b, style, lit)
        else:
            {
                "armchair": furniture.armchair,
                "fridge": cupboards.fridge,
                "boxes": cupboards.box_stack,
                "bin": clutter.bin_,
            }[what](b, style)
    return spot


_PLANS: dict[str, tuple[str, ...]] = {
    "living": ("sofa", "stand", "armchair", "shelf", "lamp", "plant", "drawers", "side", "shelf"),
    "bedroom": ("bed", "nightstand", "wardrobe", "drawers", "plant", "armchair", "lamp", "shelf", "boxes"),
    "office": ("desk", "shelf", "desk", "drawers", "bin", "shelf", "plant", "boxes", "armchair", "lamp"),
    "kitchen": ("counter", "fridge", "drawers", "shelf", "plant", "bin", "boxes", "side"),
}


def _furnish(b: SceneBuilder, room: FloorPlan, style: Style, kind: str, lit: float) -> None:
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
                    fittings.rug(b, style, rng.uniform(1.7, 2.3), rng.uniform(1.2, 1.5))
    if kind == "kitchen" or rng.random() < 0.3:
        _set_table(b, room, style, rng.uniform(0.9, 1.6), rng.uniform(0.7, 0.9))
    if kind in ("bedroom", "office") and rng.random() < 0.7:
        x, z = rng.uniform(-0.5, 0.5), room.depth * rng.uniform(0.4, 0.6)
        with b.thing(x, z, rng.choice([0, np.pi / 2]) + rng.uniform(-0.1, 0.1), fixed=True):
            fittings.rug(b, style, rng.uniform(1.4, 2.2), rng.uniform(1.0, 1.5))
    for _ in range(int(rng.integers(2, 6))):
        spot = room.anywhere(0.22, 0.22)
        if spot is not None:
            with b.thing(*spot, rng.uniform(-np.pi, np.pi)):
                rng.choice([cupboards.box_stack, clutter.bin_, furniture.chair])(b, style)
    for _ in range(14):
        wall, wide = int(rng.choice([0, 1, 3])), rng.uniform(0.3, 1.0)
        tall, low = wide * rng.uniform(0.65, 1.3), rng.uniform(1.15, 1.5)
        tall = min(tall, room.height - low - 0.15)
        s = rng.uniform(-1, 1) * (room.length(wall) / 2 - wide / 2 - 0.1)
        if room.clear(wall, s, wide / 2 + 0.06, low, low + tall):
            room.on_wall.append((wall, s - wide / 2, s + wide / 2, low, low + tall))
            x, z = room.point(wall, s, 0.0)
            with b.thing(x, z, YAWS[wall], y=low, fixed=True):
                fittings.picture(b, style, wide, tall)


def build_room(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneMesh, Camera, Setting]:
    """One room, its camera and its light; `size` (height, width) only sets the camera's pixels."""
    room, b = FloorPlan(rng), SceneBuilder(rng)
    style = random_style(rng)
    kind = KINDS[rng.integers(len(KINDS))]
    day = bool(rng.random() < 0.7)
    lit = 1.0 if day else 2.2
    view = Material(
        "outside",
        (0.62, 0.72, 0.85),
        tint((0.25, 0.28, 0.2), rng),
        1.0,
        float(rng.random()),
        gloss=0.12,
        emission=rng.uniform(1.2, 2.0) if day else 0.02,
    )
    windows = build_shell(b, room, style, view)
    _furnish(b, room, style, kind, lit)
    lights = room_lights(b, room, style, windows, day and bool(windows), lit)
    aim = np.array([rng.uniform(-0.25, 0.25) * room.width, room.depth * rng.uniform(0.75, 1.0)])
    yaw = np.arctan2(aim[0] - room.camera[0], aim[1] - room.camera[2])
    camera = look(
        room.camera,
        yaw=float(yaw),
        pitch=np.radians(np.clip(rng.normal(11, 6), -4, 26)),
        roll=np.radians(rng.normal(0, 1.2)),
        fov=np.radians(rng.uniform(54, 66)),
        size=size,
    )
    ambient = np.array([[0.27, 0.26, 0.25], [0.20, 0.185, 0.17]]) * rng.uniform(0.6, 1.2)
    gains = np.array([rng.normal(1.0, 0.05), 1.0, rng.normal(1.0, 0.06)])
    setting = Setting(
        tuple(lights), ambient, 0.9, key=rng.uniform(0.30, 0.48), gains=gains, grain=rng.uniform(0.004, 0.011)
    )
    return b.finish(), camera, setting
