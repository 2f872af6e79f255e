"""The place that a rendered room is: floor, ceiling, walls with openings, doors, windows, lamps and the sun."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mdelib.data import fittings
from mdelib.data.floor_plan import YAWS, FloorPlan
from mdelib.data.meshes import CEILING, GROUND, WALL, SceneBuilder, rotation
from mdelib.data.shading import Light
from mdelib.data.styles import Style, tint
from mdelib.data.textures import Material

__all__ = ["build_shell", "room_lights"]


_PAINTS = (
    (0.74, 0.73, 0.70),
    (0.72, 0.66, 0.54),
    (0.55, 0.60, 0.64),
    (0.52, 0.60, 0.50),
    (0.68, 0.50, 0.42),
    (0.62, 0.62, 0.60),
    (0.70, 0.62, 0.40),
    (0.40, 0.46, 0.55),
)


def build_shell(
    b: SceneBuilder, room: FloorPlan, style: Style, view: Material
) -> list[tuple[int, float, float, float, float]]:
    """Floor, ceiling, walls with openings, skirting, doors and windows; returns the windows."""
    rng, w, d, h = room.rng, room.width, room.depth, room.height
    paint = tint(_PAINTS[rng.integers(len(_PAINTS))], rng)
    kind = ("plain", "mottled", "stripes", "damask")[rng.choice(4, p=[0.5, 0.2, 0.16, 0.14])]
    other = tuple(0.86 * value for value in paint)
    wall = Material(
        kind,
        paint,
        other,
        {"plain": 1, "mottled": 0.8, "stripes": 0.22, "damask": 0.3}[kind],
        float(rng.random()),
    )
    floor = (
        Material(
            "planks",
            style.second.color,
            style.second.color2,
            rng.uniform(0.09, 0.17),
            float(rng.random()),
            gloss=rng.uniform(0.05, 0.3),
        ),
        Material(
            "tiles",
            tint((0.55, 0.50, 0.43), rng),
            tint((0.35, 0.33, 0.32), rng),
            rng.uniform(0.3, 0.5),
            float(rng.random()),
            gloss=rng.uniform(0.1, 0.35),
        ),
        Material(
            "mottled", tint((0.42, 0.38, 0.34), rng, 0.25), (0.3, 0.28, 0.26), 0.05, float(rng.random())
        ),
    )[rng.choice(3, p=[0.55, 0.25, 0.2])]
    with b.thing(structure=GROUND):
        b.part((-w / 2 - 0.15, -0.1, -0.15), (w / 2 + 0.15, 0, d + 0.15), floor)
    with b.thing(structure=CEILING):
        b.part(
            (-w / 2 - 0.2, h, -0.2), (w / 2 + 0.2, h + 0.1, d + 0.2), Material("plain", (0.76, 0.76, 0.74))
        )
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
            with b.thing(x, z, YAWS[index], fixed=True):
                fittings.door(b, style, rng.uniform(0.78, 0.9), 2.02)
        elif index != 2 and (rng.random() < (0.45, 0.6, 0, 0.6)[index]):
            wide, low = rng.uniform(0.9, min(2.2, length - 1.2)), rng.uniform(0.75, 1.0)
            high = rng.uniform(2.0, room.height - 0.2)
            s = rng.uniform(-1, 1) * (length / 2 - wide / 2 - 0.4) * 0.7
            opening = (s, wide, low, high)
            windows.append((index, *opening))
            room.on_wall.append((index, s - wide / 2 - 0.2, s + wide / 2 + 0.2, low - 0.08, high + 0.1))
        x, z = room.point(index, 0.0, 0.0)
        with b.thing(x, z, YAWS[index], structure=WALL):
            half = length / 2 + (0.15 if index % 2 == 0 else 0.0)
            spans = [(-half, half, 0.0, h)]
            if opening:
                s, wide, low, high = opening
                spans = [
                    (-half, s - wide / 2, 0.0, h),
                    (s + wide / 2, half, 0.0, h),
                    (s - wide / 2, s + wide / 2, 0.0, low),
                    (s - wide / 2, s + wide / 2, high, h),
                ]
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
            with b.thing(x, z, YAWS[index], y=low, fixed=True):
                fittings.window(b, wide, high - low, replace(view, size=(wide, high - low)))
            if rng.random() < 0.55:
                with b.thing(x, z, YAWS[index], fixed=True):
                    fittings.curtains(b, style, wide, 0.05 if rng.random() < 0.5 else low - 0.15, high + 0.12)
    return windows


def room_lights(
    b: SceneBuilder,
    room: FloorPlan,
    style: Style,
    windows: list[tuple[int, float, float, float, float]],
    day: bool,
    lit: float,
) -> list[Light]:
    """Ceiling lamps, windows and the sun through one of them."""
    rng, lights = room.rng, []
    warm = np.array([1.0, rng.uniform(0.78, 0.92), rng.uniform(0.5, 0.8)])
    power = rng.uniform(0.5, 1.3) if day else rng.uniform(2.5, 4.0)
    count = 2 if room.depth > 4.6 else 1
    for index in range(count):
        x, z = rng.uniform(-0.4, 0.4), room.depth * ((index + 0.5) / count + rng.uniform(-0.06, 0.06))
        z = max(z, room.camera[2] + 1.1)  # not in the camera's face
        drop = 0.0 if rng.random() < 0.5 else rng.uniform(0.3, 0.5)
        with b.thing(x, z, y=room.height, fixed=True):
            fittings.ceiling_lamp(b, style, lit, drop)
        height = room.height - (drop + 0.2 if drop else 0.12)
        lights.append(
            Light(
                warm * power,
                np.array([x, height, z]),
                np.array([0.22, 0, 0]),
                np.array([0, 0, 0.22]),
                None if drop else np.array([0.0, -1, 0]),
            )
        )
    for wall, s, wide, low, high in windows[:2] if day else []:
        turn = rotation(YAWS[wall])
        x, z = room.point(wall, s, 0.05)
        area = wide * (high - low)
        cool = np.array([0.82, 0.92, 1.05]) * area * rng.uniform(1.0, 1.8)
        lights.append(
            Light(
                cool,
                np.array([x, (low + high) / 2, z]),
                turn @ np.array([wide / 2 * 0.95, 0, 0]),
                np.array([0, (high - low) / 2 * 0.95, 0]),
                turn @ np.array([0.0, 0, -1]),
            )
        )
    if day and windows and rng.random() < 0.6:
        wall = windows[int(rng.integers(len(windows)))][0]
        side, rise = rng.uniform(-0.9, 0.9), rng.uniform(0.45, 0.95)
        towards = rotation(YAWS[wall]) @ np.array(
            [np.sin(side) * np.cos(rise), np.sin(rise), np.cos(side) * np.cos(rise)]
        )
        lights.append(
            Light(
                np.array([1.0, 0.92, 0.78]) * rng.uniform(2.0, 3.5),
                towards,
                np.array([0.012, 0, 0.0]),
                np.array([0, 0.012, 0.0]),
                sun=True,
            )
        )
    return lights
