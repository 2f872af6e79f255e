"""What stands in the rendered streets, written down as parts: cars, trees, poles, people.

Every function adds one thing to the builder's present frame, standing at y = 0; cars drive
towards +z. Lengths are metres.
"""

from __future__ import annotations

import numpy as np

from mdelib.data.meshes import SceneBuilder
from mdelib.data.styles import BLACK, CAR_PAINTS, GLASS, PALE, STEEL, pick, tint
from mdelib.data.textures import Material

__all__ = ["car", "hedge", "lamp_post", "person", "sign", "small_thing", "traffic_light", "tree", "van"]


def _wheels(b: SceneBuilder, half: float, front: float, rear: float, radius: float) -> None:
    for z in (rear, front):
        for side in (-1, 1):
            x = side * half
            b.part((x - 0.11, 0, z - radius), (x + 0.11, 2 * radius, z + radius), BLACK, "cylinder-x")
            b.part(
                (x - 0.115, 0.45 * radius, z - 0.55 * radius),
                (x + 0.115, 1.55 * radius, z + 0.55 * radius),
                STEEL,
                "cylinder-x",
            )


def _car_lights(b: SceneBuilder, half: float, front: float, rear: float, y: float) -> None:
    white = Material("plain", (0.8, 0.8, 0.76), gloss=0.4, emission=0.3)
    red = Material("plain", (0.55, 0.03, 0.02), gloss=0.4, emission=0.4)
    for side in (-1, 1):
        x = side * (half - 0.25)
        b.part((x - 0.18, y, front - 0.04), (x + 0.18, y + 0.14, front + 0.015), white)
        b.part((x - 0.18, y, rear - 0.015), (x + 0.18, y + 0.16, rear + 0.04), red)
    for z in (front, rear - 0.012):
        b.part((-0.26, y - 0.18, z), (0.26, y - 0.06, z + 0.012), PALE)


def car(b: SceneBuilder) -> None:
    """A saloon, hatchback or estate."""
    rng = b.rng
    paint = Material("plain", pick(rng, CAR_PAINTS), gloss=0.55)
    half, front, rear = rng.uniform(0.84, 0.92), rng.uniform(1.9, 2.15), -rng.uniform(1.8, 2.2)
    top = rng.uniform(1.40, 1.55)
    long_back = rng.uniform(0.15, 0.7)
    b.part((-half, 0.22, rear), (half, 0.62, front), paint)
    b.part((-half, 0.62, rear + 0.02), (half, 0.90, front - 0.02), paint, "hood")
    b.part((-half + 0.02, 0.16, rear - 0.04), (half - 0.02, 0.42, front + 0.04), BLACK)
    b.part((-half + 0.05, 0.88, rear + long_back), (half - 0.05, top - 0.05, front - 0.75), GLASS, "cabin")
    cabin = front - 0.75 - rear - long_back  # the roof and the pillars of a tapered cabin
    middle = (front - 0.75 + rear + long_back) / 2
    b.part(
        (-(half - 0.05) * 0.84, top - 0.06, middle - 0.33 * cabin),
        ((half - 0.05) * 0.84, top, middle + 0.33 * cabin),
        paint,
    )
    for side in (-1, 1):
        x = side * (half - 0.10)
        b.part((x - 0.04, 0.88, middle - 0.05), (x + 0.04, top - 0.05, middle + 0.05), paint)
        b.part(
            (side * half - 0.05, 0.95, front - 1.0),
            (side * half + 0.13 * side + 0.05, 1.08, front - 0.92),
            paint,
        )
    _wheels(b, half - 0.09, front - 0.75, rear + 0.7, 0.32)
    _car_lights(b, half, front, rear, 0.62)


def van(b: SceneBuilder) -> None:
    """A delivery van."""
    paint = Material(
        "plain", pick(b.rng, ((0.72, 0.72, 0.71), (0.55, 0.40, 0.06), (0.10, 0.16, 0.30))), gloss=0.4
    )
    b.part((-0.95, 0.3, -2.6), (0.95, 2.2, 1.5), paint)
    b.part((-0.95, 0.3, 1.5), (0.95, 1.1, 2.5), paint)
    b.part((-0.92, 1.08, 0.75), (0.92, 2.15, 2.35), GLASS, "cabin")
    b.part((-0.82, 1.1, -2.62), (-0.06, 2.0, -2.6), paint)
    b.part((0.06, 1.1, -2.62), (0.82, 2.0, -2.6), paint)
    for x in (-0.75, 0.12):
        b.part((x, 1.35, -2.635), (x + 0.63, 1.9, -2.62), GLASS)
    b.part((-0.9, 0.2, -2.65), (0.9, 0.45, 2.55), BLACK)
    _wheels(b, 0.87, 1.75, -1.6, 0.36)
    _car_lights(b, 0.95, 2.5, -2.6, 0.75)


def tree(b: SceneBuilder, height: float, lumps: int = 6) -> None:
    """A broad-leaved tree: trunk, two boughs and a crown of `lumps` parts."""
    rng = b.rng
    bark = Material("mottled", tint((0.22, 0.16, 0.11), rng), (0.10, 0.07, 0.05), 0.25, float(rng.random()))
    green = tint((0.14, 0.24, 0.05), rng, 0.25)
    leaf = Material(
        "leaves", green, tuple(0.32 * value for value in green), rng.uniform(0.5, 0.9), float(rng.random())
    )
    r = 0.018 * height + 0.06
    b.part((-r, -0.05, -r), (r, 0.55 * height, r), bark, "shade")
    for turn in (0.4, 2.6):
        with b.thing(y=0.38 * height, yaw=turn + rng.uniform(-0.4, 0.4), pitch=0.65):
            b.part((-r / 2, 0, -r / 2), (r / 2, 0.3 * height, r / 2), bark, "shade")
    crown = height * rng.uniform(0.24, 0.32)
    for index in range(lumps):
        angle = index * 6.3 / lumps + rng.uniform(-0.3, 0.3)
        out = crown * rng.uniform(0.45, 0.75) if index < 5 and lumps > 3 else 0.3 * crown
        y = height * (rng.uniform(0.55, 0.72) if index < lumps - 1 else 0.84)
        size = crown * rng.uniform(0.62, 0.9) * (1.0 if lumps > 3 else 1.25)
        with b.thing(out * np.cos(angle), out * np.sin(angle), yaw=rng.uniform(-3, 3), y=y):
            b.part((-size, -size * 0.8, -size), (size, size * 0.8, size), leaf, f"blob{index % 4}")


def hedge(b: SceneBuilder, length: float, height: float) -> None:
    """A clipped hedge along x."""
    leaf = Material(
        "leaves", tint((0.10, 0.20, 0.05), b.rng, 0.2), (0.03, 0.07, 0.02), 0.4, float(b.rng.random())
    )
    b.part((-length / 2, 0, -0.3), (length / 2, height * 0.92, 0.3), leaf)
    for x in np.arange(-length / 2 + 0.4, length / 2 - 0.3, 1.2):
        b.part((x - 0.7, height * 0.6, -0.36), (x + 0.7, height, 0.36), leaf, f"blob{int(x * 10) % 4}")


def lamp_post(b: SceneBuilder, height: float) -> None:
    """A street lamp whose arm reaches to -z."""
    b.part((-0.09, 0, -0.09), (0.09, 0.9, 0.09), STEEL, "cylinder")
    b.part((-0.055, 0, -0.055), (0.055, height, 0.055), STEEL, "cylinder")
    b.part((-0.035, height - 0.08, -1.4), (0.035, height, 0), STEEL)
    b.part((-0.12, height - 0.14, -1.9), (0.12, height + 0.02, -1.2), STEEL)
    b.part((-0.09, height - 0.16, -1.8), (0.09, height - 0.14, -1.3), PALE)


def sign(b: SceneBuilder) -> None:
    """A traffic sign that faces -z."""
    b.part((-0.03, 0, -0.03), (0.03, 2.6, 0.03), STEEL, "cylinder")
    red, white = Material("plain", (0.5, 0.03, 0.03)), Material("plain", (0.72, 0.72, 0.72))
    if b.rng.random() < 0.5:
        with b.thing(y=2.4, pitch=-np.pi / 2):  # a disc whose axis lies along z
            b.part((-0.35, 0.03, -0.35), (0.35, 0.05, 0.35), red, "cylinder")
            b.part((-0.26, 0.05, -0.26), (0.26, 0.055, 0.26), white, "cylinder")
    else:
        blue = Material("plain", (0.03, 0.12, 0.45))
        b.part((-0.33, 2.0, -0.05), (0.33, 2.66, -0.03), white)
        b.part((-0.30, 2.03, -0.055), (0.30, 2.63, -0.05), blue)
        b.part((-0.08, 2.12, -0.06), (0.08, 2.5, -0.055), white)


def traffic_light(b: SceneBuilder) -> None:
    """A traffic light that faces -z."""
    b.part((-0.06, 0, -0.06), (0.06, 3.2, 0.06), STEEL, "cylinder")
    b.part((-0.16, 2.3, -0.24), (0.16, 3.25, -0.03), BLACK)
    lit = int(b.rng.integers(3))
    for index, color in enumerate(((0.1, 0.75, 0.25), (0.8, 0.5, 0.05), (0.8, 0.05, 0.04))):
        lamp = Material(
            "plain",
            color if index == lit else tuple(0.2 * value for value in color),
            emission=3.0 if index == lit else 0.0,
        )
        b.part((-0.11, 2.38 + 0.29 * index, -0.27), (0.11, 2.6 + 0.29 * index, -0.2), lamp, "sphere")


def person(b: SceneBuilder) -> None:
    """Somebody walking towards -z or +z."""
    rng = b.rng
    cloth = Material("plain", tint(CAR_PAINTS[rng.integers(len(CAR_PAINTS))], rng, 0.3))
    trousers = Material("plain", tint((0.08, 0.09, 0.14), rng, 0.3))
    skin = Material("plain", tint((0.48, 0.30, 0.21), rng, 0.3))
    tall = rng.uniform(0.92, 1.06)
    for side in (-1, 1):
        with b.thing(0.09 * side, y=0.88 * tall, pitch=0.28 * side):
            b.part((-0.075, -0.87 * tall, -0.075), (0.075, 0.02, 0.075), trousers, "cylinder")
            b.part((-0.06, -0.89 * tall, -0.17), (0.06, -0.82 * tall, 0.08), BLACK)
        with b.thing(0.23 * side, y=1.42 * tall, pitch=-0.3 * side):
            b.part((-0.05, -0.6 * tall, -0.05), (0.05, 0.0, 0.05), cloth, "cylinder")
            b.part((-0.05, -0.68 * tall, -0.05), (0.05, -0.57 * tall, 0.05), skin, "sphere")
    b.part((-0.2, 0.82 * tall, -0.12), (0.2, 1.5 * tall, 0.12), cloth, "cylinder")
    b.part((-0.1, 1.52 * tall, -0.11), (0.1, 1.77 * tall, 0.11), skin, "sphere")
    b.part(
        (-0.105, 1.62 * tall, -0.1),
        (0.105, 1.79 * tall, 0.12),
        Material("plain", (0.06, 0.04, 0.03)),
        "sphere",
    )


def small_thing(b: SceneBuilder) -> None:
    """A litter bin, bollard, bench or hydrant."""
    kind = int(b.rng.integers(4))
    if kind == 0:
        b.part((-0.22, 0, -0.22), (0.22, 0.95, 0.22), Material("plain", (0.10, 0.22, 0.13)), "cylinder")
        b.part((-0.24, 0.95, -0.24), (0.24, 1.05, 0.24), BLACK, "cylinder")
    elif kind == 1:
        for x in (-0.9, 0.0, 0.9):
            b.part((x - 0.07, 0, -0.07), (x + 0.07, 0.85, 0.07), STEEL, "cylinder")
            b.part((x - 0.072, 0.65, -0.072), (x + 0.072, 0.75, 0.072), PALE, "cylinder")
    elif kind == 2:
        plank = Material("wood", (0.36, 0.22, 0.11), (0.24, 0.13, 0.06), 0.1)
        for index in range(3):
            b.part((-0.8, 0.43, -0.25 + 0.17 * index), (0.8, 0.47, -0.11 + 0.17 * index), plank)
        for index in range(2):
            b.part((-0.8, 0.58 + 0.17 * index, 0.26), (0.8, 0.71 + 0.17 * index, 0.3), plank)
        for x in (-0.7, 0.64):
            b.part((x, 0, -0.22), (x + 0.06, 0.43, 0.26), BLACK)
            b.part((x, 0.4, 0.26), (x + 0.06, 0.9, 0.3), BLACK)
    else:
        red = Material("plain", (0.5, 0.05, 0.03), gloss=0.2)
        b.part((-0.13, 0, -0.13), (0.13, 0.6, 0.13), red, "cylinder")
        b.part((-0.14, 0.52, -0.14), (0.14, 0.78, 0.14), red, "sphere")
        b.part((-0.22, 0.38, -0.05), (0.22, 0.48, 0.05), red, "cylinder-x")
