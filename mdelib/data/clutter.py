"""Small things of the rendered rooms: what stands on tables, hangs on walls and lies on floors.

As in `mdelib.data.furniture`, every function adds one thing to the builder's present frame, standing at y = 0.
"""

from __future__ import annotations

import numpy as np

from mdelib.data.meshes import SceneBuilder
from mdelib.data.styles import Style, tint
from mdelib.data.textures import Material

__all__ = ["bin_", "laptop", "monitor", "plant", "scatter"]

_BRIGHT = (
    (0.6, 0.08, 0.06),
    (0.1, 0.25, 0.55),
    (0.75, 0.7, 0.62),
    (0.15, 0.42, 0.2),
    (0.75, 0.5, 0.08),
    (0.1, 0.1, 0.12),
    (0.7, 0.72, 0.74),
    (0.45, 0.2, 0.4),
)
_WHITE = Material("plain", (0.78, 0.78, 0.76), gloss=0.05)


def _color(b: SceneBuilder) -> tuple[float, float, float]:
    return tint(_BRIGHT[b.rng.integers(len(_BRIGHT))], b.rng, 0.2)


def _cup(b: SceneBuilder) -> None:
    paint = Material("plain", _color(b), gloss=0.25)
    b.part((-0.04, 0, -0.04), (0.04, 0.09, 0.04), paint, "cylinder")
    b.part((0.035, 0.02, -0.008), (0.065, 0.07, 0.008), paint)
    b.part((-0.035, 0.088, -0.035), (0.035, 0.092, 0.035), Material("plain", (0.06, 0.03, 0.015)), "cylinder")


def _bottle(b: SceneBuilder) -> None:
    glass = Material(
        "plain", tint((0.08, 0.2, 0.1) if b.rng.random() < 0.6 else (0.5, 0.4, 0.25), b.rng, 0.3), gloss=0.5
    )
    b.part((-0.038, 0, -0.038), (0.038, 0.19, 0.038), glass, "cylinder")
    b.part((-0.038, 0.16, -0.038), (0.038, 0.23, 0.038), glass, "sphere")
    b.part((-0.014, 0.2, -0.014), (0.014, 0.30, 0.014), glass, "cylinder")
    b.part((-0.039, 0.05, -0.039), (0.039, 0.14, 0.039), Material("plain", _color(b)), "cylinder")


def _bowl(b: SceneBuilder) -> None:
    b.part((-0.13, 0, -0.13), (0.13, 0.09, 0.13), Material("plain", _color(b), gloss=0.2), "pot")
    for index in range(5):
        angle = index * 1.26
        x, z = 0.055 * np.cos(angle), 0.055 * np.sin(angle)
        fruit = Material(
            "plain", tint((0.6, 0.25, 0.05) if index % 2 else (0.5, 0.07, 0.05), b.rng), gloss=0.15
        )
        b.part((x - 0.04, 0.06, z - 0.04), (x + 0.04, 0.14, z + 0.04), fruit, "sphere")


def _books(b: SceneBuilder) -> None:
    y = 0.0
    for _ in range(int(b.rng.integers(1, 5))):
        w, h, d = b.rng.uniform(0.14, 0.2), b.rng.uniform(0.018, 0.045), b.rng.uniform(0.2, 0.28)
        with b.thing(y=y, yaw=b.rng.uniform(-0.4, 0.4)):
            b.part((-w / 2, 0, -d / 2), (w / 2, h, d / 2), Material("plain", _color(b), gloss=0.08))
            b.part(
                (-w / 2 + 0.004, 0.004, -d / 2 - 0.001),
                (w / 2 + 0.001, h - 0.004, d / 2 + 0.001),
                Material("plain", (0.7, 0.68, 0.6)),
            )
        y += h


def _vase(b: SceneBuilder) -> None:
    clay = Material("stripes", _color(b), _color(b), 0.06, gloss=0.2)
    b.part((-0.07, 0, -0.07), (0.07, 0.2, 0.07), clay, "sphere")
    b.part((-0.03, 0.16, -0.03), (0.03, 0.24, 0.03), clay, "pot")
    b.part(
        (-0.16, 0.2, -0.16),
        (0.16, 0.5, 0.16),
        Material("leaves", (0.12, 0.28, 0.07), (0.05, 0.13, 0.04), 0.1),
        "tuft",
    )


def _paper(b: SceneBuilder) -> None:
    b.part((-0.105, 0, -0.148), (0.105, 0.004, 0.148), _WHITE)
    b.part(
        (-0.08, 0.004, -0.12),
        (0.08, 0.0045, 0.12),
        Material("stripes", (0.75, 0.75, 0.74), (0.3, 0.3, 0.32), 0.02),
    )


def _crate(b: SceneBuilder) -> None:
    w, h, d = b.rng.uniform(0.1, 0.26), b.rng.uniform(0.06, 0.2), b.rng.uniform(0.1, 0.2)
    b.part((-w / 2, 0, -d / 2), (w / 2, h, d / 2), Material("plain", _color(b), gloss=0.05))
    b.part(
        (-w / 2 - 0.004, h * 0.8, -d / 2 - 0.004),
        (w / 2 + 0.004, h, d / 2 + 0.004),
        Material("plain", _color(b)),
    )


def laptop(b: SceneBuilder, style: Style) -> None:
    """An open laptop that faces -z."""
    grey = Material("plain", (0.4, 0.4, 0.42), gloss=0.2)
    b.part((-0.17, 0, -0.12), (0.17, 0.018, 0.12), grey)
    b.part(
        (-0.15, 0.018, -0.02),
        (0.15, 0.021, 0.10),
        Material("tiles", (0.04, 0.04, 0.04), (0.2, 0.2, 0.2), 0.02),
    )
    with b.thing(y=0.015, z=0.12, pitch=0.3):
        b.part((-0.17, 0, -0.006), (0.17, 0.23, 0.006), grey)
        b.part(
            (-0.155, 0.015, -0.009),
            (0.155, 0.215, -0.006),
            Material(
                "screen",
                (0.1, 0.2, 0.4),
                (0.3, 0.5, 0.7),
                1,
                float(b.rng.random()),
                (0.31, 0.2),
                emission=1.2,
            ),
        )


def monitor(b: SceneBuilder, style: Style) -> None:
    """A monitor that faces -z, with keyboard and mouse."""
    black = Material("plain", (0.03, 0.03, 0.03), gloss=0.2)
    b.part((-0.11, 0, -0.02), (0.11, 0.015, 0.14), black)
    b.part((-0.02, 0.015, 0.08), (0.02, 0.2, 0.1), black)
    b.part((-0.28, 0.12, 0.04), (0.28, 0.46, 0.08), black)
    b.part(
        (-0.265, 0.135, 0.036),
        (0.265, 0.445, 0.04),
        Material(
            "screen",
            (0.15, 0.3, 0.45),
            (0.35, 0.4, 0.6),
            1,
            float(b.rng.random()),
            (0.53, 0.31),
            emission=1.2,
        ),
    )
    b.part(
        (-0.22, 0, -0.22), (0.22, 0.02, -0.08), Material("tiles", (0.06, 0.06, 0.06), (0.3, 0.3, 0.3), 0.025)
    )
    b.part((0.27, 0, -0.19), (0.33, 0.03, -0.09), black, "sphere")


def plant(b: SceneBuilder, style: Style, height: float) -> None:
    """A plant in a pot."""
    wide = 0.15 + 0.1 * height
    b.part(
        (-wide * 0.7, 0, -wide * 0.7),
        (wide * 0.7, 0.28 * height, wide * 0.7),
        Material("mottled", _color(b), (0.4, 0.25, 0.18), 0.2),
        "pot",
    )
    leaf = Material(
        "leaves", tint((0.12, 0.30, 0.07), b.rng, 0.2), (0.04, 0.12, 0.03), 0.12, float(b.rng.random())
    )
    for index in range(3):
        with b.thing(yaw=1.3 * index, y=0.26 * height):
            r = height * (0.36 - 0.06 * index)
            b.part((-r, 0, -r), (r, height * (0.5 + 0.12 * index), r), leaf, "tuft")


def bin_(b: SceneBuilder, style: Style) -> None:
    """A waste-paper bin."""
    b.part((-0.14, 0, -0.14), (0.14, 0.32, 0.14), Material("plain", _color(b)), "pot")


_SMALL = (_cup, _bottle, _bowl, _books, _vase, _paper, _crate)


def scatter(b: SceneBuilder, x0: float, x1: float, z0: float, z1: float, y: float, count: int) -> None:
    """Puts up to `count` small things on the level rectangle at height `y`, none inside another."""
    taken: list[tuple[float, float]] = []
    for _ in range(count):
        x, z = b.rng.uniform(x0, x1), b.rng.uniform(z0, z1)
        kind, turn = _SMALL[b.rng.integers(len(_SMALL))], b.rng.uniform(-np.pi, np.pi)
        if all(abs(x - a) > 0.24 or abs(z - c) > 0.24 for a, c in taken):
            taken.append((x, z))
            with b.thing(x, z, turn if kind is not _paper else 0.3 * turn, y=y):
                kind(b)
