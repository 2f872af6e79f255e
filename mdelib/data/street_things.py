"""What stands in the rendered streets, written down as parts: houses, cars, trees, poles, people.

Every function adds one thing to the builder's present frame, standing at y = 0; houses turn their face to -z,
cars drive towards +z. Lengths are metres.
"""

from __future__ import annotations

import numpy as np

from mdelib.data.furniture import tint
from mdelib.data.meshes import SceneBuilder
from mdelib.data.textures import Material

__all__ = ["car", "hedge", "house", "lamp_post", "person", "sign", "small_thing", "traffic_light", "tree", "van"]

Color = tuple[float, float, float]
_PAINTS: tuple[Color, ...] = ((0.65, 0.65, 0.66), (0.03, 0.03, 0.035), (0.28, 0.29, 0.31), (0.45, 0.03, 0.03),
                              (0.04, 0.10, 0.32), (0.75, 0.75, 0.74), (0.10, 0.22, 0.14), (0.55, 0.50, 0.38))
_WALLS: tuple[Color, ...] = ((0.62, 0.54, 0.42), (0.66, 0.62, 0.55), (0.55, 0.36, 0.26), (0.52, 0.54, 0.55),
                             (0.64, 0.52, 0.33), (0.45, 0.50, 0.44), (0.68, 0.66, 0.63))
_BLACK = Material("plain", (0.03, 0.03, 0.03))
_GLASS = Material("plain", (0.035, 0.045, 0.055), gloss=0.75)
_STEEL = Material("plain", (0.28, 0.29, 0.30), gloss=0.12)
_PALE = Material("plain", (0.66, 0.65, 0.62))


def _pick(rng: np.random.Generator, colors: tuple[Color, ...], spread: float = 0.12) -> Color:
    return tint(colors[rng.integers(len(colors))], rng, spread)


def house(b: SceneBuilder, width: float, height: float, depth: float) -> None:
    """A house with rows of windows, a door or a shop, cornice or roof; its face is at z = 0."""
    rng = b.rng
    brick = rng.random() < 0.45
    color = _pick(rng, ((0.36, 0.14, 0.09), (0.42, 0.22, 0.14), (0.30, 0.20, 0.15))) if brick else _pick(rng, _WALLS)
    wall = Material("brick" if brick else "mottled", color, (0.5, 0.47, 0.43) if brick else tuple(
        0.86 * value for value in color), 0.09 if brick else 1.5, float(rng.random()))
    frame = Material("plain", _pick(rng, ((0.7, 0.7, 0.68), (0.12, 0.12, 0.12), (0.3, 0.2, 0.12))))
    b.part((-width / 2, -0.2, 0), (width / 2, height, depth), wall)
    floors = max(1, int(height / rng.uniform(2.8, 3.4)))
    storey = height / floors
    columns = max(2, int(width / rng.uniform(2.0, 3.2)))
    pitch = width / columns
    wide, tall = min(1.3, 0.55 * pitch), storey * rng.uniform(0.45, 0.58)
    shop = rng.random() < 0.4
    balcony = rng.random() < 0.25
    for floor in range(floors):
        if floor == 0 and shop:
            _shop(b, width, storey)
            continue
        entrance = int(rng.integers(columns)) if floor == 0 else -1
        for column in range(columns):
            x, y = -width / 2 + (column + 0.5) * pitch, floor * storey + 0.32 * storey
            if column == entrance:
                b.part((x - 0.65, 0, -0.05), (x + 0.65, 2.35, 0), frame)
                b.part((x - 0.5, 0, -0.07), (x + 0.5, 2.2, -0.05), Material("plain", _pick(rng, _PAINTS, 0.3),
                                                                         gloss=0.1))
                b.part((x - 0.8, -0.1, -0.5), (x + 0.8, 0.12, 0), _PALE)
                continue
            b.part((x - wide / 2 - 0.09, y - 0.06, -0.05), (x + wide / 2 + 0.09, y + tall + 0.09, 0), frame)
            for side in (-1, 1):
                middle = x + side * wide / 4
                b.part((middle - wide / 4 + 0.03, y, -0.06), (middle + wide / 4 - 0.03, y + tall, -0.05), _GLASS)
            b.part((x - wide / 2 - 0.15, y - 0.12, -0.16), (x + wide / 2 + 0.15, y - 0.05, 0), _PALE)
            if balcony and floor > 0 and column % 2 == 0:
                b.part((x - wide, y - 0.35, -0.9), (x + wide, y - 0.22, 0), _PALE)
                b.part((x - wide, y - 0.22, -0.9), (x + wide, y + 0.6, -0.86), _STEEL)
    if rng.random() < 0.5:
        roof = Material("brick", _pick(rng, ((0.30, 0.12, 0.07), (0.12, 0.12, 0.13))), (0.08, 0.06, 0.06), 0.25)
        b.part((-width / 2 - 0.2, height, -0.35), (width / 2 + 0.2, height + 0.3 * min(depth, 8), depth + 0.3), roof,
               "roof")
        x = rng.uniform(-0.35, 0.35) * width
        b.part((x, height + 0.5, depth * 0.3), (x + 0.7, height + 0.3 * min(depth, 8) + 0.8, depth * 0.3 + 0.7), wall)
    else:
        b.part((-width / 2 - 0.1, height - 0.3, -0.3), (width / 2 + 0.1, height + 0.25, depth), _PALE)
    for floor in range(1, floors):
        if floors > 2 and rng.random() < 0.5:
            b.part((-width / 2, floor * storey - 0.08, -0.08), (width / 2, floor * storey + 0.06, 0), _PALE)


def _shop(b: SceneBuilder, width: float, storey: float) -> None:
    """A shop front: panes, door, sign and sometimes an awning."""
    rng = b.rng
    paint = Material("plain", tint(((0.45, 0.06, 0.05), (0.06, 0.20, 0.12), (0.07, 0.12, 0.30), (0.55, 0.42, 0.10),
                                    (0.15, 0.15, 0.15))[rng.integers(5)], rng), gloss=0.1)
    b.part((-width / 2 + 0.2, 0, -0.12), (width / 2 - 0.2, storey - 0.1, 0), paint)
    panes = max(2, int(width / 2.2))
    wide = (width - 0.7) / panes
    for pane in range(panes):
        x = -width / 2 + 0.35 + pane * wide
        low = 0.05 if pane == panes // 2 else 0.55
        b.part((x + 0.08, low, -0.14), (x + wide - 0.08, storey - 0.85, -0.12), _GLASS)
    b.part((-width / 2 + 0.15, storey - 0.75, -0.26), (width / 2 - 0.15, storey - 0.15, -0.12), paint)
    for letter in np.arange(-width * 0.28, width * 0.28, 0.42):
        if rng.random() < 0.85:
            b.part((letter, storey - 0.6, -0.29), (letter + rng.uniform(0.12, 0.32), storey - 0.3, -0.26), _PALE)
    if rng.random() < 0.5:
        with b.thing(y=storey - 0.75, pitch=-0.5):
            b.part((-width / 2 + 0.3, -0.03, -1.3), (width / 2 - 0.3, 0.0, 0),
                   Material("stripes", paint.color, (0.7, 0.68, 0.62), 0.5))


def _wheels(b: SceneBuilder, half: float, front: float, rear: float, radius: float) -> None:
    for z in (rear, front):
        for side in (-1, 1):
            x = side * half
            b.part((x - 0.11, 0, z - radius), (x + 0.11, 2 * radius, z + radius), _BLACK, "cylinder-x")
            b.part((x - 0.115, 0.45 * radius, z - 0.55 * radius), (x + 0.115, 1.55 * radius, z + 0.55 * radius), _STEEL,
                   "cylinder-x")


def _car_lights(b: SceneBuilder, half: float, front: float, rear: float, y: float) -> None:
    white = Material("plain", (0.8, 0.8, 0.76), gloss=0.4, emission=0.3)
    red = Material("plain", (0.55, 0.03, 0.02), gloss=0.4, emission=0.4)
    for side in (-1, 1):
        x = side * (half - 0.25)
        b.part((x - 0.18, y, front - 0.04), (x + 0.18, y + 0.14, front + 0.015), white)
        b.part((x - 0.18, y, rear - 0.015), (x + 0.18, y + 0.16, rear + 0.04), red)
    for z in (front, rear - 0.012):
        b.part((-0.26, y - 0.18, z), (0.26, y - 0.06, z + 0.012), _PALE)


def car(b: SceneBuilder) -> None:
    """A saloon, hatchback or estate."""
    rng = b.rng
    paint = Material("plain", _pick(rng, _PAINTS), gloss=0.55)
    half, front, rear = rng.uniform(0.84, 0.92), rng.uniform(1.9, 2.15), -rng.uniform(1.8, 2.2)
    top = rng.uniform(1.40, 1.55)
    long_back = rng.uniform(0.15, 0.7)
    b.part((-half, 0.22, rear), (half, 0.62, front), paint)
    b.part((-half, 0.62, rear + 0.02), (half, 0.90, front - 0.02), paint, "hood")
    b.part((-half + 0.02, 0.16, rear - 0.04), (half - 0.02, 0.42, front + 0.04), _BLACK)
    b.part((-half + 0.05, 0.88, rear + long_back), (half - 0.05, top - 0.05, front - 0.75), _GLASS, "cabin")
    cabin = front - 0.75 - rear - long_back  # the roof and the pillars of a tapered cabin
    middle = (front - 0.75 + rear + long_back) / 2
    b.part((-(half - 0.05) * 0.84, top - 0.06, middle - 0.33 * cabin), ((half - 0.05) * 0.84, top, middle + 0.33 * cabin),
           paint)
    for side in (-1, 1):
        x = side * (half - 0.10)
        b.part((x - 0.04, 0.88, middle - 0.05), (x + 0.04, top - 0.05, middle + 0.05), paint)
        b.part((side * half - 0.05, 0.95, front - 1.0), (side * half + 0.13 * side + 0.05, 1.08, front - 0.92), paint)
    _wheels(b, half - 0.09, front - 0.75, rear + 0.7, 0.32)
    _car_lights(b, half, front, rear, 0.62)


def van(b: SceneBuilder) -> None:
    """A delivery van."""
    paint = Material("plain", _pick(b.rng, ((0.72, 0.72, 0.71), (0.55, 0.40, 0.06), (0.10, 0.16, 0.30))), gloss=0.4)
    b.part((-0.95, 0.3, -2.6), (0.95, 2.2, 1.5), paint)
    b.part((-0.95, 0.3, 1.5), (0.95, 1.1, 2.5), paint)
    b.part((-0.92, 1.08, 0.75), (0.92, 2.15, 2.35), _GLASS, "cabin")
    b.part((-0.82, 1.1, -2.62), (-0.06, 2.0, -2.6), paint)
    b.part((0.06, 1.1, -2.62), (0.82, 2.0, -2.6), paint)
    for x in (-0.75, 0.12):
        b.part((x, 1.35, -2.635), (x + 0.63, 1.9, -2.62), _GLASS)
    b.part((-0.9, 0.2, -2.65), (0.9, 0.45, 2.55), _BLACK)
    _wheels(b, 0.87, 1.75, -1.6, 0.36)
    _car_lights(b, 0.95, 2.5, -2.6, 0.75)


def tree(b: SceneBuilder, height: float) -> None:
    """A broad-leaved tree: trunk, two boughs and a lumpy crown."""
    rng = b.rng
    bark = Material("mottled", tint((0.22, 0.16, 0.11), rng), (0.10, 0.07, 0.05), 0.25, float(rng.random()))
    green = tint((0.14, 0.24, 0.05), rng, 0.25)
    leaf = Material("leaves", green, tuple(0.32 * value for value in green), rng.uniform(0.5, 0.9), float(rng.random()))
    r = 0.018 * height + 0.06
    b.part((-r, -0.05, -r), (r, 0.55 * height, r), bark, "shade")
    for turn in (0.4, 2.6):
        with b.thing(y=0.38 * height, yaw=turn + rng.uniform(-0.4, 0.4), pitch=0.65):
            b.part((-r / 2, 0, -r / 2), (r / 2, 0.3 * height, r / 2), bark, "shade")
    crown = height * rng.uniform(0.24, 0.32)
    for index in range(6):
        angle = index * 1.05 + rng.uniform(-0.3, 0.3)
        out = crown * rng.uniform(0.45, 0.75) if index < 5 else 0.0
        y = height * (rng.uniform(0.55, 0.72) if index < 5 else 0.84)
        size = crown * rng.uniform(0.62, 0.9)
        with b.thing(out * np.cos(angle), out * np.sin(angle), yaw=rng.uniform(-3, 3), y=y):
            b.part((-size, -size * 0.8, -size), (size, size * 0.8, size), leaf, f"blob{index % 4}")


def hedge(b: SceneBuilder, length: float, height: float) -> None:
    """A clipped hedge along x."""
    leaf = Material("leaves", tint((0.10, 0.20, 0.05), b.rng, 0.2), (0.03, 0.07, 0.02), 0.4, float(b.rng.random()))
    b.part((-length / 2, 0, -0.3), (length / 2, height * 0.92, 0.3), leaf)
    for x in np.arange(-length / 2 + 0.4, length / 2 - 0.3, 0.7):
        b.part((x - 0.5, height * 0.6, -0.36), (x + 0.5, height, 0.36), leaf, f"blob{int(x * 10) % 4}")


def lamp_post(b: SceneBuilder, height: float) -> None:
    """A street lamp whose arm reaches to -z."""
    b.part((-0.09, 0, -0.09), (0.09, 0.9, 0.09), _STEEL, "cylinder")
    b.part((-0.055, 0, -0.055), (0.055, height, 0.055), _STEEL, "cylinder")
    b.part((-0.035, height - 0.08, -1.4), (0.035, height, 0), _STEEL)
    b.part((-0.12, height - 0.14, -1.9), (0.12, height + 0.02, -1.2), _STEEL)
    b.part((-0.09, height - 0.16, -1.8), (0.09, height - 0.14, -1.3), _PALE)


def sign(b: SceneBuilder) -> None:
    """A traffic sign that faces -z."""
    b.part((-0.03, 0, -0.03), (0.03, 2.6, 0.03), _STEEL, "cylinder")
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
    b.part((-0.06, 0, -0.06), (0.06, 3.2, 0.06), _STEEL, "cylinder")
    b.part((-0.16, 2.3, -0.24), (0.16, 3.25, -0.03), _BLACK)
    lit = int(b.rng.integers(3))
    for index, color in enumerate(((0.1, 0.75, 0.25), (0.8, 0.5, 0.05), (0.8, 0.05, 0.04))):
        lamp = Material("plain", color if index == lit else tuple(0.2 * value for value in color),
                        emission=3.0 if index == lit else 0.0)
        b.part((-0.11, 2.38 + 0.29 * index, -0.27), (0.11, 2.6 + 0.29 * index, -0.2), lamp, "sphere")


def person(b: SceneBuilder) -> None:
    """Somebody walking towards -z or +z."""
    rng = b.rng
    cloth = Material("plain", tint(_PAINTS[rng.integers(len(_PAINTS))], rng, 0.3))
    trousers = Material("plain", tint((0.08, 0.09, 0.14), rng, 0.3))
    skin = Material("plain", tint((0.48, 0.30, 0.21), rng, 0.3))
    tall = rng.uniform(0.92, 1.06)
    for side in (-1, 1):
        with b.thing(0.09 * side, y=0.88 * tall, pitch=0.28 * side):
            b.part((-0.075, -0.87 * tall, -0.075), (0.075, 0.02, 0.075), trousers, "cylinder")
            b.part((-0.06, -0.89 * tall, -0.17), (0.06, -0.82 * tall, 0.08), _BLACK)
        with b.thing(0.23 * side, y=1.42 * tall, pitch=-0.3 * side):
            b.part((-0.05, -0.6 * tall, -0.05), (0.05, 0.0, 0.05), cloth, "cylinder")
            b.part((-0.05, -0.68 * tall, -0.05), (0.05, -0.57 * tall, 0.05), skin, "sphere")
    b.part((-0.2, 0.82 * tall, -0.12), (0.2, 1.5 * tall, 0.12), cloth, "cylinder")
    b.part((-0.1, 1.52 * tall, -0.11), (0.1, 1.77 * tall, 0.11), skin, "sphere")
    b.part((-0.105, 1.62 * tall, -0.1), (0.105, 1.79 * tall, 0.12), Material("plain", (0.06, 0.04, 0.03)), "sphere")


def small_thing(b: SceneBuilder) -> None:
    """A litter bin, bollard, bench or hydrant."""
    kind = int(b.rng.integers(4))
    if kind == 0:
        b.part((-0.22, 0, -0.22), (0.22, 0.95, 0.22), Material("plain", (0.10, 0.22, 0.13)), "cylinder")
        b.part((-0.24, 0.95, -0.24), (0.24, 1.05, 0.24), _BLACK, "cylinder")
    elif kind == 1:
        for x in (-0.9, 0.0, 0.9):
            b.part((x - 0.07, 0, -0.07), (x + 0.07, 0.85, 0.07), _STEEL, "cylinder")
            b.part((x - 0.072, 0.65, -0.072), (x + 0.072, 0.75, 0.072), _PALE, "cylinder")
    elif kind == 2:
        plank = Material("wood", (0.36, 0.22, 0.11), (0.24, 0.13, 0.06), 0.1)
        for index in range(3):
            b.part((-0.8, 0.43, -0.25 + 0.17 * index), (0.8, 0.47, -0.11 + 0.17 * index), plank)
        for index in range(2):
            b.part((-0.8, 0.58 + 0.17 * index, 0.26), (0.8, 0.71 + 0.17 * index, 0.3), plank)
        for x in (-0.7, 0.64):
            b.part((x, 0, -0.22), (x + 0.06, 0.43, 0.26), _BLACK)
            b.part((x, 0.4, 0.26), (x + 0.06, 0.9, 0.3), _BLACK)
    else:
        red = Material("plain", (0.5, 0.05, 0.03), gloss=0.2)
        b.part((-0.13, 0, -0.13), (0.13, 0.6, 0.13), red, "cylinder")
        b.part((-0.14, 0.52, -0.14), (0.14, 0.78, 0.14), red, "sphere")
        b.part((-0.22, 0.38, -0.05), (0.22, 0.48, 0.05), red, "cylinder-x")
