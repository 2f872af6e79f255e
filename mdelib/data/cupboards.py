"""Furniture of the rendered rooms to keep things in: chests, wardrobes, bookcases, kitchens, boxes.

As in `mdelib.data.furniture`, every function adds one piece to the builder's present frame.
"""

from __future__ import annotations

from mdelib.data.meshes import SceneBuilder
from mdelib.data.styles import CLOTHS, Style, tint
from mdelib.data.textures import Material

__all__ = ["box_stack", "counter", "drawers", "fridge", "nightstand", "shelf", "television", "wardrobe"]


def _handle(b: SceneBuilder, style: Style, x: float, y: float, z: float, *, tall: bool = False) -> None:
    half = (0.008, 0.07) if tall else (0.07, 0.008)
    b.part((x - half[0], y - half[1], z - 0.025), (x + half[0], y + half[1], z), style.metal)


def drawers(b: SceneBuilder, style: Style, width: float, depth: float, height: float) -> None:
    """A chest of drawers on a plinth."""
    b.part(
        (-width / 2 + 0.03, 0, -depth / 2 + 0.04), (width / 2 - 0.03, 0.08, depth / 2 - 0.02), style.second
    )
    b.part((-width / 2, 0.08, -depth / 2), (width / 2, height, depth / 2), style.wood)
    b.part(
        (-width / 2 - 0.015, height, -depth / 2 - 0.02),
        (width / 2 + 0.015, height + 0.025, depth / 2),
        style.wood,
    )
    rows, columns = max(1, round((height - 0.1) / 0.24)), max(1, round(width / 0.6))
    tall, wide = (height - 0.08) / rows, width / columns
    for row in range(rows):
        for column in range(columns):
            x, y = -width / 2 + column * wide, 0.08 + row * tall
            b.part(
                (x + 0.012, y + 0.012, -depth / 2 - 0.018),
                (x + wide - 0.012, y + tall - 0.012, -depth / 2),
                style.front,
            )
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
    b.part(
        (-width / 2 + side, 0, depth / 2 - 0.01), (width / 2 - side, height, depth / 2 - 0.002), style.wood
    )
    boards = max(2, round(height / 0.36))
    gap = (height - 0.06) / boards
    for board in range(boards + 1):
        y = 0.04 + board * gap
        b.part(
            (-width / 2 + side, y, -depth / 2 + 0.004),
            (width / 2 - side, y + 0.02, depth / 2 - 0.012),
            style.wood,
        )
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
        cover = Material("plain", tint(CLOTHS[rng.integers(len(CLOTHS))], rng, 0.3), gloss=0.05)
        front = -depth / 2 + rng.uniform(0.02, 0.06)
        b.part((x, y, front), (x + thick - 0.002, y + tall, depth / 2 - 0.03), cover)
        if rng.random() < 0.4:
            pale = Material("plain", (0.7, 0.66, 0.5))
            b.part(
                (x + 0.002, y + 0.7 * tall, front - 0.002), (x + thick - 0.004, y + 0.82 * tall, front), pale
            )
        x += thick


def television(b: SceneBuilder, style: Style, width: float) -> None:
    """A television on its foot; stands on something."""
    height, black = width * 0.58, Material("plain", (0.02, 0.02, 0.02), gloss=0.4)
    b.part((-width / 5, 0, -0.08), (width / 5, 0.02, 0.08), black)
    b.part((-0.03, 0.02, 0.0), (0.03, 0.1, 0.03), black)
    b.part((-width / 2, 0.07, -0.02), (width / 2, 0.07 + height, 0.02), black)
    lit = b.rng.random() < 0.5
    image = Material(
        "picture" if lit else "plain",
        (0.03, 0.03, 0.035),
        size=(width - 0.04, height - 0.04),
        seed=float(b.rng.random()),
        gloss=0.5,
        emission=0.9 if lit else 0.0,
    )
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
    splash = Material(
        "tiles", tint((0.7, 0.7, 0.66), rng), (0.45, 0.45, 0.45), 0.15, float(rng.random() * 0.69), gloss=0.25
    )
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
        card = Material(
            "mottled", tint((0.48, 0.34, 0.20), b.rng), (0.42, 0.29, 0.17), 0.3, float(b.rng.random())
        )
        with b.thing(y=y, yaw=b.rng.uniform(-0.3, 0.3)):
            b.part((-w / 2, 0, -d / 2), (w / 2, h, d / 2), card)
            b.part(
                (-0.03, 0.002, -d / 2 - 0.002),
                (0.03, h + 0.002, d / 2 + 0.002),
                Material("plain", (0.62, 0.5, 0.33), gloss=0.1),
            )
        y += h
