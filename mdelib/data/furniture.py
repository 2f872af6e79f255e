"""Furniture of the rendered rooms, written down as parts.

Every function adds one piece to the builder's present frame: it stands at y = 0, its back is towards +z, its
middle is at x = 0 and its depth runs from -depth/2 to depth/2. Lengths are metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdelib.data.meshes import SceneBuilder
from mdelib.data.textures import Material

__all__ = ["Style", "armchair", "bed", "box_stack", "chair", "counter", "drawers", "fridge", "nightstand",
           "office_chair", "random_style", "shelf", "sofa", "table", "television", "tint", "wardrobe"]

Color = tuple[float, float, float]
_WOODS: tuple[tuple[Color, Color], ...] = (
    ((0.42, 0.24, 0.12), (0.30, 0.15, 0.07)), ((0.60, 0.42, 0.25), (0.48, 0.30, 0.16)),
    ((0.20, 0.10, 0.05), (0.12, 0.06, 0.03)), ((0.68, 0.55, 0.38), (0.56, 0.42, 0.27)),
    ((0.75, 0.73, 0.68), (0.66, 0.63, 0.58)), ((0.32, 0.12, 0.06), (0.20, 0.07, 0.04)))
_CLOTHS: tuple[Color, ...] = (
    (0.45, 0.08, 0.07), (0.08, 0.14, 0.32), (0.12, 0.25, 0.15), (0.50, 0.42, 0.30), (0.22, 0.22, 0.24),
    (0.60, 0.56, 0.48), (0.45, 0.25, 0.10), (0.20, 0.30, 0.38), (0.35, 0.18, 0.28), (0.62, 0.45, 0.14),
    (0.10, 0.10, 0.11), (0.30, 0.38, 0.30))


@dataclass(frozen=True)
class Style:
    """The materials that the pieces of one room share."""

    wood: Material
    second: Material
    cloth: Material
    cushion: Material
    metal: Material
    front: Material


def tint(color: Color, rng: np.random.Generator, spread: float = 0.12) -> Color:
    """`color`, a little lighter or darker and a little off."""
    scaled = np.clip(np.array(color) * (1 + spread * rng.standard_normal()) * (1 + 0.4 * spread
                     * rng.standard_normal(3)), 0.02, 0.88)
    return tuple(float(value) for value in np.round(scaled, 4))


def random_style(rng: np.random.Generator) -> Style:
    """Materials that go together, drawn from `rng`."""
    def pick(colors: tuple) -> tuple:
        return colors[rng.integers(len(colors))]
    def wood() -> Material:
        light, dark = pick(_WOODS)
        return Material("wood", tint(light, rng), tint(dark, rng), 0.06, float(rng.random()), gloss=0.08)
    def cloth() -> Material:
        kind = pick(("mottled", "mottled", "plaid", "stripes", "plain", "damask"))
        scale = {"mottled": 0.1, "plaid": 0.18, "stripes": 0.1, "plain": 1.0, "damask": 0.2}[kind]
        color = tint(pick(_CLOTHS), rng)
        other = tint(pick(_CLOTHS), rng) if kind != "mottled" else tuple(0.72 * value for value in color)
        return Material(kind, color, other, scale, float(rng.random()))
    metal = Material("plain", pick(((0.45, 0.45, 0.47), (0.06, 0.06, 0.06), (0.5, 0.38, 0.2))), gloss=0.5)
    first = wood()
    front = first if rng.random() < 0.5 else Material("plain", tint(pick(((0.75, 0.75, 0.73), (0.25, 0.3, 0.35),
                                                                           (0.35, 0.42, 0.35))), rng), gloss=0.1)
    return Style(first, wood(), cloth(), cloth(), metal, front)


def _legs(b: SceneBuilder, width: float, depth: float, height: float, thick: float, material: Material,
          shape: str = "box") -> None:
    for x in (-width / 2, width / 2 - thick):
        for z in (-depth / 2, depth / 2 - thick):
            b.part((x, 0, z), (x + thick, height, z + thick), material, shape)


def table(b: SceneBuilder, style: Style, width: float, depth: float, height: float = 0.74) -> None:
    """A table with four legs and an apron."""
    b.part((-width / 2, height - 0.035, -depth / 2), (width / 2, height, depth / 2), style.wood)
    round_legs = b.rng.random() < 0.3
    _legs(b, width - 0.08, depth - 0.08, height - 0.035, 0.05 if round_legs else 0.06,
          style.metal if b.rng.random() < 0.25 else style.wood, "cylinder" if round_legs else "box")
    if height > 0.55:
        for z in (-depth / 2 + 0.06, depth / 2 - 0.08):
            b.part((-width / 2 + 0.08, height - 0.12, z), (width / 2 - 0.08, height - 0.035, z + 0.02), style.wood)
        for x in (-width / 2 + 0.06, width / 2 - 0.08):
            b.part((x, height - 0.12, -depth / 2 + 0.08), (x + 0.02, height - 0.035, depth / 2 - 0.08), style.wood)
    else:
        b.part((-width / 2 + 0.06, 0.14, -depth / 2 + 0.06), (width / 2 - 0.06, 0.16, depth / 2 - 0.06), style.wood)


def chair(b: SceneBuilder, style: Style) -> None:
    """A dining chair, its back towards +z."""
    _legs(b, 0.40, 0.40, 0.44, 0.035, style.second)
    b.part((-0.21, 0.44, -0.21), (0.21, 0.47, 0.21), style.second)
    b.part((-0.19, 0.47, -0.19), (0.19, 0.50, 0.17), style.cushion)
    with b.thing(y=0.45, z=0.19, pitch=0.12):
        for x in (-0.20, 0.165):
            b.part((x, 0, -0.02), (x + 0.035, 0.48, 0.015), style.second)
        if b.rng.random() < 0.5:
            for y in (0.14, 0.26, 0.38):
                b.part((-0.17, y, -0.012), (0.17, y + 0.06, 0.008), style.second)
        else:
            b.part((-0.18, 0.12, -0.02), (0.18, 0.46, 0.01), style.cushion)


def office_chair(b: SceneBuilder, style: Style) -> None:
    """A swivel chair on a five-star foot."""
    for turn in range(5):
        with b.thing(yaw=turn * 2 * np.pi / 5):
            b.part((-0.02, 0.05, 0), (0.02, 0.09, 0.30), style.metal)
            b.part((-0.03, 0, 0.25), (0.03, 0.06, 0.31), Material("plain", (0.04, 0.04, 0.04)), "sphere")
    b.part((-0.03, 0.08, -0.03), (0.03, 0.42, 0.03), style.metal, "cylinder")
    b.part((-0.24, 0.42, -0.24), (0.24, 0.50, 0.22), style.cloth)
    with b.thing(y=0.5, z=0.22, pitch=0.15):
        b.part((-0.03, -0.06, -0.01), (0.03, 0.16, 0.02), style.metal)
        b.part((-0.22, 0.12, -0.05), (0.22, 0.62, 0.02), style.cloth)
    for x in (-0.29, 0.24):
        b.part((x, 0.66, -0.14), (x + 0.05, 0.69, 0.14), style.metal)
        b.part((x + 0.01, 0.46, 0), (x + 0.04, 0.66, 0.04), style.metal)


def sofa(b: SceneBuilder, style: Style, width: float) -> None:
    """A sofa with cushions; about 0.88 deep."""
    arm, seats = 0.17, max(1, round((width - 0.4) / 0.65))
    _legs(b, width - 0.1, 0.76, 0.08, 0.05, style.second)
    b.part((-width / 2, 0.08, -0.42), (width / 2, 0.28, 0.44), style.cloth)
    b.part((-width / 2, 0.28, 0.22), (width / 2, 0.80, 0.44), style.cloth)
    for x in (-width / 2, width / 2 - arm):
        b.part((x, 0.28, -0.42), (x + arm, 0.60, 0.22), style.cloth)
    wide = (width - 2 * arm) / seats
    for seat in range(seats):
        x = -width / 2 + arm + seat * wide
        b.part((x + 0.008, 0.28, -0.43), (x + wide - 0.008, 0.44, 0.22), style.cloth)
        with b.thing(x + wide / 2, 0.16, y=0.44, pitch=0.18):
            b.part((-wide / 2 + 0.015, 0, -0.06), (wide / 2 - 0.015, 0.40, 0.08), style.cloth)
        if b.rng.random() < 0.6:
            with b.thing(x + wide / 2 + b.rng.uniform(-0.1, 0.1), 0.02, b.rng.uniform(-0.4, 0.4), y=0.45, pitch=0.4,
                         roll=b.rng.uniform(-0.3, 0.3)):
                b.part((-0.2, 0, -0.06), (0.2, 0.38, 0.06), style.cushion, "sphere")


def armchair(b: SceneBuilder, style: Style) -> None:
    """A sofa for one."""
    sofa(b, style, 0.92)


def bed(b: SceneBuilder, style: Style, width: float) -> None:
    """A bed of 2.05 m with its head towards +z, mattress, blanket and pillows."""
    white = Material("plain", (0.78, 0.77, 0.74))
    b.part((-width / 2, 0.0, 0.98), (width / 2, 1.0, 1.03), style.wood)
    b.part((-width / 2, 0.16, -1.02), (width / 2, 0.32, 0.98), style.wood)
    _legs(b, width, 2.0, 0.16, 0.07, style.wood)
    b.part((-width / 2 + 0.03, 0.32, -0.99), (width / 2 - 0.03, 0.50, 0.97), white)
    b.part((-width / 2 - 0.01, 0.24, -1.03), (width / 2 + 0.01, 0.54, 0.28), style.cloth)
    b.part((-width / 2 - 0.012, 0.25, 0.16), (width / 2 + 0.012, 0.555, 0.40), white)
    count = 2 if width > 1.25 else 1
    for index in range(count):
        x = (index - (count - 1) / 2) * width / 2
        with b.thing(x, 0.74, b.rng.uniform(-0.15, 0.15), y=0.53, pitch=0.5):
            b.part((-0.33, -0.06, -0.24), (0.33, 0.14, 0.24), white if b.rng.random() < 0.6 else style.cushion,
                   "sphere")
    if b.rng.random() < 0.5:
        b.part((-width / 2 - 0.02, 0.22, -0.95), (width / 2 + 0.02, 0.565, -0.55), style.cushion)


def _handle(b: SceneBuilder, style: Style, x: float, y: float, z: float, *, tall: bool = False) -> None:
    half = (0.008, 0.07) if tall else (0.07, 0.008)
    b.part((x - half[0], y - half[1], z - 0.025), (x + half[0], y + half[1], z), style.metal)


def drawers(b: SceneBuilder, style: Style, width: float, depth: float, height: float) -> None:
    """A chest of drawers on a plinth."""
    b.part((-width / 2 + 0.03, 0, -depth / 2 + 0.04), (width / 2 - 0.03, 0.08, depth / 2 - 0.02), style.second)
    b.part((-width / 2, 0.08, -depth / 2), (width / 2, height, depth / 2), style.wood)
    b.part((-width / 2 - 0.015, height, -depth / 2 - 0.02), (width / 2 + 0.015, height + 0.025, depth / 2),
           style.wood)
    rows, columns = max(1, round((height - 0.1) / 0.24)), max(1, round(width / 0.6))
    tall, wide = (height - 0.08) / rows, width / columns
    for row in range(rows):
        for column in range(columns):
            x, y = -width / 2 + column * wide, 0.08 + row * tall
            b.part((x + 0.012, y + 0.012, -depth / 2 - 0.018), (x + wide - 0.012, y + tall - 0.012, -depth / 2),
                   style.front)
            _handle(b, style, x + wide / 2, y + tall * 0.6, -depth / 2 - 0.018)


def nightstand(b: SceneBuilder, style: Style) -> None:
    """A small chest beside a bed, 0.52 high."""
    drawers(b, style, 0.45, 0.38, 0.5)


def wardrobe(b: SceneBuilder, style: Style, width: float, height: float) -> None:
    """A wardrobe with doors, 0.58 deep."""
    b.part((-width / 2, 0, -0.27), (width / 2, height, 0.29), style.wood)
    b.part((-width / 2 - 0.02, height, -0.31), (width / 2 + 0.02, height + 0.04, 0.29), style.wood)
    doors = max(2, round(width / 0.5))
    wide = width / doors
    for door in range(doors):
        x = -width / 2 + door * wide
        b.part((x + 0.006, 0.08, -0.29), (x + wide - 0.006, height - 0.02, -0.27), style.front)
        b.part((x + 0.07, 0.2, -0.297), (x + wide - 0.07, height * 0.45, -0.29), style.front)
        b.part((x + 0.07, height * 0.5, -0.297), (x + wide - 0.07, height - 0.14, -0.29), style.front)
        _handle(b, style, x + (wide - 0.045 if door % 2 == 0 else 0.045), height * 0.47, -0.297, tall=True)


def shelf(b: SceneBuilder, style: Style, width: float, height: float, depth: float = 0.30) -> None:
    """A bookcase: sides, back, boards, and rows of books with gaps."""
    side = 0.025
    for x in (-width / 2, width / 2 - side):
        b.part((x, 0, -depth / 2), (x + side, height, depth / 2), style.wood)
    b.part((-width / 2 + side, 0, depth / 2 - 0.01), (width / 2 - side, height, depth / 2 - 0.002), style.wood)
    boards = max(2, round(height / 0.36))
    gap = (height - 0.06) / boards
    for board in range(boards + 1):
        y = 0.04 + board * gap
        b.part((-width / 2 + side, y, -depth / 2 + 0.004), (width / 2 - side, y + 0.02, depth / 2 - 0.012), style.wood)
        if board < boards:
            _books(b, -width / 2 + side + 0.01, width / 2 - side - 0.01, y + 0.02, gap - 0.03, depth)


def _books(b: SceneBuilder, x: float, end: float, y: float, room: float, depth: float) -> None:
    rng = b.rng
    while x < end - 0.03:
        if rng.random() < 0.06:
            x += rng.uniform(0.08, 0.3)
            continue
        thick, tall = rng.uniform(0.02, 0.055), room * rng.uniform(0.68, 0.95)
        if x + thick > end:
            break
        cover = Material("plain", tint(_CLOTHS[rng.integers(len(_CLOTHS))], rng, 0.3), gloss=0.05)
        front = -depth / 2 + rng.uniform(0.02, 0.06)
        b.part((x, y, front), (x + thick - 0.002, y + tall, depth / 2 - 0.03), cover)
        if rng.random() < 0.4:
            pale = Material("plain", (0.7, 0.66, 0.5))
            b.part((x + 0.002, y + 0.7 * tall, front - 0.002), (x + thick - 0.004, y + 0.82 * tall, front), pale)
        x += thick


def television(b: SceneBuilder, style: Style, width: float) -> None:
    """A television on its foot; stands on something."""
    height, black = width * 0.58, Material("plain", (0.02, 0.02, 0.02), gloss=0.4)
    b.part((-width / 5, 0, -0.08), (width / 5, 0.02, 0.08), black)
    b.part((-0.03, 0.02, 0.0), (0.03, 0.1, 0.03), black)
    b.part((-width / 2, 0.07, -0.02), (width / 2, 0.07 + height, 0.02), black)
    lit = b.rng.random() < 0.5
    image = Material("picture" if lit else "plain", (0.03, 0.03, 0.035), size=(width - 0.04, height - 0.04),
                     seed=float(b.rng.random()), gloss=0.5, emission=0.9 if lit else 0.0)
    b.part((-width / 2 + 0.02, 0.09, -0.024), (width / 2 - 0.02, 0.05 + height, -0.02), image)


def counter(b: SceneBuilder, style: Style, width: float, height: float) -> None:
    """A kitchen line, 0.6 deep: base units with doors, worktop, tiled splash-back, stove, wall units to `height`."""
    rng, units = b.rng, max(2, round(width / 0.6))
    wide = width / units
    top = Material("mottled", (0.30, 0.29, 0.28), (0.12, 0.12, 0.12), 0.05, gloss=0.25)
    steel = Material("plain", (0.5, 0.5, 0.52), gloss=0.6)
    black = Material("plain", (0.03, 0.03, 0.03), gloss=0.5)
    b.part((-width / 2, 0, -0.24), (width / 2, 0.1, 0.3), Material("plain", (0.1, 0.1, 0.1)))
    b.part((-width / 2, 0.1, -0.28), (width / 2, 0.86, 0.3), style.front)
    b.part((-width / 2 - 0.01, 0.86, -0.31), (width / 2 + 0.01, 0.9, 0.3), top)
    splash = Material("tiles", tint((0.7, 0.7, 0.66), rng), (0.45, 0.45, 0.45), 0.15, float(rng.random() * 0.69),
                      gloss=0.25)
    b.part((-width / 2, 0.9, 0.285), (width / 2, 1.45, 0.298), splash)
    stove = int(rng.integers(units))
    for unit in range(units):
        x = -width / 2 + unit * wide
        if unit == stove:
            b.part((x + 0.005, 0.14, -0.305), (x + wide - 0.005, 0.84, -0.28), black)
            b.part((x + 0.06, 0.68, -0.33), (x + wide - 0.06, 0.70, -0.305), steel)
            b.part((x + 0.03, 0.9, -0.26), (x + wide - 0.03, 0.912, 0.24), black)
            b.part((x + 0.06, 1.45, -0.15), (x + wide - 0.06, 1.62, 0.298), steel, "cabin")
        else:
            split = 0.64 if rng.random() < 0.6 else 0.84
            b.part((x + 0.006, 0.13, -0.30), (x + wide - 0.006, split - 0.006, -0.28), style.front)
            _handle(b, style, x + wide - 0.05, split - 0.12, -0.30, tall=True)
            if split < 0.8:
                b.part((x + 0.006, split + 0.006, -0.30), (x + wide - 0.006, 0.845, -0.28), style.front)
                _handle(b, style, x + wide / 2, 0.75, -0.30)
            b.part((x, 1.45, -0.02), (x + wide, height, 0.298), style.wood)
            b.part((x + 0.006, 1.46, -0.04), (x + wide - 0.006, height - 0.01, -0.02), style.front)
            _handle(b, style, x + 0.05, 1.58, -0.04, tall=True)


def fridge(b: SceneBuilder, style: Style) -> None:
    """A fridge-freezer, 0.6 wide, 1.8 high."""
    body = Material("plain", tint((0.72, 0.72, 0.72), b.rng, 0.15), gloss=0.35)
    b.part((-0.3, 0.05, -0.27), (0.3, 1.8, 0.3), body)
    b.part((-0.27, 0, -0.24), (0.27, 0.05, 0.27), Material("plain", (0.05, 0.05, 0.05)))
    for low, high in ((0.06, 0.62), (0.63, 1.79)):
        b.part((-0.298, low, -0.31), (0.298, high, -0.275), body)
    for y in (0.5, 0.85):
        _handle(b, style, 0.25, y, -0.31, tall=True)


def box_stack(b: SceneBuilder, style: Style) -> None:
    """One to three cardboard boxes."""
    y = 0.0
    for _ in range(int(b.rng.integers(1, 4))):
        w, h, d = b.rng.uniform(0.28, 0.5), b.rng.uniform(0.18, 0.38), b.rng.uniform(0.25, 0.4)
        card = Material("mottled", tint((0.48, 0.34, 0.20), b.rng), (0.42, 0.29, 0.17), 0.3, float(b.rng.random()))
        with b.thing(y=y, yaw=b.rng.uniform(-0.3, 0.3)):
            b.part((-w / 2, 0, -d / 2), (w / 2, h, d / 2), card)
            b.part((-0.03, 0.002, -d / 2 - 0.002), (0.03, h + 0.002, d / 2 + 0.002),
                   Material("plain", (0.62, 0.5, 0.33), gloss=0.1))
        y += h
