"""Furniture of the rendered rooms, written down as parts.

Every function adds one piece to the builder's present frame: it stands at y = 0, its back is towards +z, its
middle is at x = 0 and its depth runs from -depth/2 to depth/2. Lengths are metres.
"""

from __future__ import annotations

import numpy as np

from mdelib.data.meshes import SceneBuilder
from mdelib.data.styles import Style
from mdelib.data.textures import Material

__all__ = ["armchair", "bed", "chair", "office_chair", "sofa", "table"]


def _legs(
    b: SceneBuilder,
    width: float,
    depth: float,
    height: float,
    thick: float,
    material: Material,
    shape: str = "box",
) -> None:
    for x in (-width / 2, width / 2 - thick):
        for z in (-depth / 2, depth / 2 - thick):
            b.part((x, 0, z), (x + thick, height, z + thick), material, shape)


def table(b: SceneBuilder, style: Style, width: float, depth: float, height: float = 0.74) -> None:
    """A table with four legs and an apron."""
    b.part((-width / 2, height - 0.035, -depth / 2), (width / 2, height, depth / 2), style.wood)
    round_legs = b.rng.random() < 0.3
    _legs(
        b,
        width - 0.08,
        depth - 0.08,
        height - 0.035,
        0.05 if round_legs else 0.06,
        style.metal if b.rng.random() < 0.25 else style.wood,
        "cylinder" if round_legs else "box",
    )
    if height > 0.55:
        for z in (-depth / 2 + 0.06, depth / 2 - 0.08):
            b.part(
                (-width / 2 + 0.08, height - 0.12, z),
                (width / 2 - 0.08, height - 0.035, z + 0.02),
                style.wood,
            )
        for x in (-width / 2 + 0.06, width / 2 - 0.08):
            b.part(
                (x, height - 0.12, -depth / 2 + 0.08),
                (x + 0.02, height - 0.035, depth / 2 - 0.08),
                style.wood,
            )
    else:
        b.part(
            (-width / 2 + 0.06, 0.14, -depth / 2 + 0.06),
            (width / 2 - 0.06, 0.16, depth / 2 - 0.06),
            style.wood,
        )


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
            with b.thing(
                x + wide / 2 + b.rng.uniform(-0.1, 0.1),
                0.02,
                b.rng.uniform(-0.4, 0.4),
                y=0.45,
                pitch=0.4,
                roll=b.rng.uniform(-0.3, 0.3),
            ):
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
            b.part(
                (-0.33, -0.06, -0.24),
                (0.33, 0.14, 0.24),
                white if b.rng.random() < 0.6 else style.cushion,
                "sphere",
            )
    if b.rng.random() < 0.5:
        b.part((-width / 2 - 0.02, 0.22, -0.95), (width / 2 + 0.02, 0.565, -0.55), style.cushion)
