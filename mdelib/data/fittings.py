"""What rendered rooms are fitted with: doors, windows, curtains, pictures, rugs, lamps.

As in `mdelib.data.furniture`, every function adds one thing to the builder's present frame.
"""

from __future__ import annotations

from mdelib.data.meshes import SceneBuilder
from mdelib.data.styles import Style, tint
from mdelib.data.textures import Material

__all__ = ["ceiling_lamp", "curtains", "door", "floor_lamp", "picture", "rug", "table_lamp", "window"]

_WHITE = Material("plain", (0.78, 0.78, 0.76), gloss=0.05)


def table_lamp(b: SceneBuilder, style: Style, lit: float) -> None:
    """A lamp with a shade, 0.5 high; `lit` is what its shade glows with."""
    b.part((-0.08, 0, -0.08), (0.08, 0.02, 0.08), style.metal, "cylinder")
    b.part((-0.05, 0.02, -0.05), (0.05, 0.22, 0.05), style.second, "sphere")
    b.part((-0.01, 0.2, -0.01), (0.01, 0.32, 0.01), style.metal, "cylinder")
    shade = Material("plain", (0.85, 0.74, 0.52), emission=lit)
    b.part((-0.15, 0.3, -0.15), (0.15, 0.5, 0.15), shade, "shade", casts=False)


def floor_lamp(b: SceneBuilder, style: Style, lit: float) -> None:
    """A standing lamp, 1.6 high."""
    b.part((-0.14, 0, -0.14), (0.14, 0.025, 0.14), style.metal, "cylinder")
    b.part((-0.012, 0.02, -0.012), (0.012, 1.4, 0.012), style.metal, "cylinder")
    b.part(
        (-0.2, 1.32, -0.2),
        (0.2, 1.6, 0.2),
        Material("plain", (0.85, 0.74, 0.52), emission=lit),
        "shade",
        casts=False,
    )


def ceiling_lamp(b: SceneBuilder, style: Style, lit: float, drop: float) -> None:
    """A lamp that hangs `drop` below y = 0, the ceiling."""
    glow = Material("plain", (0.85, 0.80, 0.68), emission=lit)
    if drop < 0.1:
        b.part((-0.2, -0.08, -0.2), (0.2, -0.001, 0.2), glow, "cylinder", casts=False)
        return
    b.part((-0.008, -drop, -0.008), (0.008, -0.001, 0.008), style.metal, "cylinder", casts=False)
    b.part(
        (-0.18, -drop - 0.22, -0.18),
        (0.18, -drop, 0.18),
        glow,
        "shade" if b.rng.random() < 0.6 else "sphere",
        casts=False,
    )


def rug(b: SceneBuilder, style: Style, width: float, depth: float) -> None:
    """A rug, 8 mm thick."""
    pattern = Material(
        "rug",
        style.cushion.color,
        tint((0.62, 0.56, 0.44), b.rng, 0.2),
        0.1,
        float(b.rng.random()),
        (width, depth),
    )
    b.part((-width / 2, 0, -depth / 2), (width / 2, 0.008, depth / 2), pattern)


def picture(b: SceneBuilder, style: Style, width: float, height: float) -> None:
    """A framed picture whose back is at z = 0, its lower edge at y = 0."""
    b.part(
        (-width / 2, 0, -0.025), (width / 2, height, 0), style.wood if b.rng.random() < 0.5 else style.metal
    )
    b.part(
        (-width / 2 + 0.025, 0.025, -0.028),
        (width / 2 - 0.025, height - 0.025, -0.025),
        Material(
            "picture",
            (0.5, 0.5, 0.5),
            seed=float(b.rng.random()),
            size=(width - 0.05, height - 0.05),
            gloss=0.1,
        ),
    )


def door(b: SceneBuilder, style: Style, width: float, height: float) -> None:
    """A closed door with frame and handle; the wall is at z = 0."""
    leaf = style.front if style.front.kind == "plain" else (_WHITE if b.rng.random() < 0.5 else style.second)
    for x in (-width / 2 - 0.09, width / 2):
        b.part((x, 0, -0.04), (x + 0.09, height + 0.09, 0), _WHITE)
    b.part((-width / 2, height, -0.04), (width / 2, height + 0.09, 0), _WHITE)
    b.part((-width / 2, 0.005, -0.015), (width / 2, height, 0), leaf)
    for low, high in ((0.18, 0.85), (1.0, height - 0.18)):
        for x in (-width / 2 + 0.12, 0.04):
            b.part((x, low, -0.024), (x + width / 2 - 0.16, high, -0.015), leaf)
    b.part((width / 2 - 0.17, 1.0, -0.06), (width / 2 - 0.05, 1.02, -0.035), style.metal)


def window(b: SceneBuilder, width: float, height: float, view: Material) -> None:
    """Frame, bars and view of a window in a wall opening; its sill is at y = 0, the wall's face at z = 0."""
    b.part((-width / 2, 0, 0.10), (width / 2, height, 0.105), view, casts=False)
    bar = 0.05
    for x in (-width / 2, width / 2 - bar):
        b.part((x, 0, 0.05), (x + bar, height, 0.098), _WHITE)
    for y in (0.0, height - bar):
        b.part((-width / 2 + bar, y, 0.05), (width / 2 - bar, y + bar, 0.098), _WHITE)
    columns = max(2, round(width / 0.7))
    for column in range(1, columns):
        x = -width / 2 + column * width / columns
        b.part((x - 0.02, bar, 0.06), (x + 0.02, height - bar, 0.098), _WHITE)
    if height > 1.2 and b.rng.random() < 0.6:
        b.part(
            (-width / 2 + bar, height * 0.68, 0.06), (width / 2 - bar, height * 0.68 + 0.035, 0.098), _WHITE
        )
    b.part((-width / 2 - 0.06, -0.04, -0.10), (width / 2 + 0.06, 0.0, 0.09), _WHITE)


def curtains(b: SceneBuilder, style: Style, width: float, low: float, high: float) -> None:
    """Two curtains of vertical folds on a rod, before a window as wide as `width`; the wall is at z = 0."""
    cloth = style.cushion.color
    folds = Material("folds", cloth, tuple(0.55 * value for value in cloth), 0.09, float(b.rng.random()))
    b.part(
        (-width / 2 - 0.4, high - 0.03, -0.13),
        (width / 2 + 0.4, high - 0.005, -0.105),
        style.metal,
        "cylinder-x",
    )
    for side in (-1, 1):
        wide = b.rng.uniform(0.22, 0.34)
        start = side * (width / 2 + 0.12) - wide / 2
        count = 5
        for fold in range(count):
            x = start + fold * wide / count
            b.part((x, low, -0.15), (x + wide / count * 1.05, high - 0.03, -0.08), folds, "cylinder")
