"""Houses of the rendered streets, written down as parts.

A house stands at y = 0 of the builder's present frame and turns its face, at z = 0, to -z. Lengths are metres.
"""

from __future__ import annotations

import numpy as np

from mdelib.data.meshes import SceneBuilder
from mdelib.data.styles import CAR_PAINTS, GLASS, PALE, STEEL, Color, pick, tint
from mdelib.data.textures import Material

__all__ = ["house"]

_WALLS: tuple[Color, ...] = (
    (0.62, 0.54, 0.42),
    (0.66, 0.62, 0.55),
    (0.55, 0.36, 0.26),
    (0.52, 0.54, 0.55),
    (0.64, 0.52, 0.33),
    (0.45, 0.50, 0.44),
    (0.68, 0.66, 0.63),
)


def house(b: SceneBuilder, width: float, height: float, depth: float) -> None:
    """A house with rows of windows, a door or a shop, cornice or roof; its face is at z = 0."""
    rng = b.rng
    brick = rng.random() < 0.45
    color = (
        pick(rng, ((0.36, 0.14, 0.09), (0.42, 0.22, 0.14), (0.30, 0.20, 0.15)))
        if brick
        else pick(rng, _WALLS)
    )
    wall = Material(
        "brick" if brick else "mottled",
        color,
        (0.5, 0.47, 0.43) if brick else tuple(0.86 * value for value in color),
        0.09 if brick else 1.5,
        float(rng.random()),
    )
    frame = Material("plain", pick(rng, ((0.7, 0.7, 0.68), (0.12, 0.12, 0.12), (0.3, 0.2, 0.12))))
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
                b.part(
                    (x - 0.5, 0, -0.07),
                    (x + 0.5, 2.2, -0.05),
                    Material("plain", pick(rng, CAR_PAINTS, 0.3), gloss=0.1),
                )
                b.part((x - 0.8, -0.1, -0.5), (x + 0.8, 0.12, 0), PALE)
                continue
            b.part((x - wide / 2 - 0.09, y - 0.06, -0.05), (x + wide / 2 + 0.09, y + tall + 0.09, 0), frame)
            for side in (-1, 1):
                middle = x + side * wide / 4
                b.part(
                    (middle - wide / 4 + 0.03, y, -0.06), (middle + wide / 4 - 0.03, y + tall, -0.05), GLASS
                )
            b.part((x - wide / 2 - 0.15, y - 0.12, -0.16), (x + wide / 2 + 0.15, y - 0.05, 0), PALE)
            if balcony and floor > 0 and column % 2 == 0:
                b.part((x - wide, y - 0.35, -0.9), (x + wide, y - 0.22, 0), PALE)
                b.part((x - wide, y - 0.22, -0.9), (x + wide, y + 0.6, -0.86), STEEL)
    if rng.random() < 0.5:
        roof = Material(
            "brick", pick(rng, ((0.30, 0.12, 0.07), (0.12, 0.12, 0.13))), (0.08, 0.06, 0.06), 0.25
        )
        b.part(
            (-width / 2 - 0.2, height, -0.35),
            (width / 2 + 0.2, height + 0.3 * min(depth, 8), depth + 0.3),
            roof,
            "roof",
        )
        x = rng.uniform(-0.35, 0.35) * width
        b.part(
            (x, height + 0.5, depth * 0.3),
            (x + 0.7, height + 0.3 * min(depth, 8) + 0.8, depth * 0.3 + 0.7),
            wall,
        )
    else:
        b.part((-width / 2 - 0.1, height - 0.3, -0.3), (width / 2 + 0.1, height + 0.25, depth), PALE)
    for floor in range(1, floors):
        if floors > 2 and rng.random() < 0.5:
            b.part((-width / 2, floor * storey - 0.08, -0.08), (width / 2, floor * storey + 0.06, 0), PALE)


def _shop(b: SceneBuilder, width: float, storey: float) -> None:
    """A shop front: panes, door, sign and sometimes an awning."""
    rng = b.rng
    paint = Material(
        "plain",
        tint(
            (
                (0.45, 0.06, 0.05),
                (0.06, 0.20, 0.12),
                (0.07, 0.12, 0.30),
                (0.55, 0.42, 0.10),
                (0.15, 0.15, 0.15),
            )[rng.integers(5)],
            rng,
        ),
        gloss=0.1,
    )
    b.part((-width / 2 + 0.2, 0, -0.12), (width / 2 - 0.2, storey - 0.1, 0), paint)
    panes = max(2, int(width / 2.2))
    wide = (width - 0.7) / panes
    for pane in range(panes):
        x = -width / 2 + 0.35 + pane * wide
        low = 0.05 if pane == panes // 2 else 0.55
        b.part((x + 0.08, low, -0.14), (x + wide - 0.08, storey - 0.85, -0.12), GLASS)
    b.part((-width / 2 + 0.15, storey - 0.75, -0.26), (width / 2 - 0.15, storey - 0.15, -0.12), paint)
    for letter in np.arange(-width * 0.28, width * 0.28, 0.42):
        if rng.random() < 0.85:
            b.part(
                (letter, storey - 0.6, -0.29), (letter + rng.uniform(0.12, 0.32), storey - 0.3, -0.26), PALE
            )
    if rng.random() < 0.5:
        with b.thing(y=storey - 0.75, pitch=-0.5):
            b.part(
                (-width / 2 + 0.3, -0.03, -1.3),
                (width / 2 - 0.3, 0.0, 0),
                Material("stripes", paint.color, (0.7, 0.68, 0.62), 0.5),
            )
