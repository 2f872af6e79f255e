"""Colours and materials of the rendered scenes, and the style that the pieces of one room share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mdelib.data.textures import Material

__all__ = [
    "BLACK",
    "CAR_PAINTS",
    "CLOTHS",
    "GLASS",
    "PALE",
    "STEEL",
    "Color",
    "Style",
    "pick",
    "random_style",
    "tint",
]


Color = tuple[float, float, float]
_WOODS: tuple[tuple[Color, Color], ...] = (
    ((0.42, 0.24, 0.12), (0.30, 0.15, 0.07)),
    ((0.60, 0.42, 0.25), (0.48, 0.30, 0.16)),
    ((0.20, 0.10, 0.05), (0.12, 0.06, 0.03)),
    ((0.68, 0.55, 0.38), (0.56, 0.42, 0.27)),
    ((0.75, 0.73, 0.68), (0.66, 0.63, 0.58)),
    ((0.32, 0.12, 0.06), (0.20, 0.07, 0.04)),
)
CLOTHS: tuple[Color, ...] = (
    (0.45, 0.08, 0.07),
    (0.08, 0.14, 0.32),
    (0.12, 0.25, 0.15),
    (0.50, 0.42, 0.30),
    (0.22, 0.22, 0.24),
    (0.60, 0.56, 0.48),
    (0.45, 0.25, 0.10),
    (0.20, 0.30, 0.38),
    (0.35, 0.18, 0.28),
    (0.62, 0.45, 0.14),
    (0.10, 0.10, 0.11),
    (0.30, 0.38, 0.30),
)
CAR_PAINTS: tuple[Color, ...] = (
    (0.65, 0.65, 0.66),
    (0.03, 0.03, 0.035),
    (0.28, 0.29, 0.31),
    (0.45, 0.03, 0.03),
    (0.04, 0.10, 0.32),
    (0.75, 0.75, 0.74),
    (0.10, 0.22, 0.14),
    (0.55, 0.50, 0.38),
)
BLACK = Material("plain", (0.03, 0.03, 0.03))
GLASS = Material("plain", (0.035, 0.045, 0.055), gloss=0.75)
STEEL = Material("plain", (0.28, 0.29, 0.30), gloss=0.12)
PALE = Material("plain", (0.66, 0.65, 0.62))


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
    scaled = np.clip(
        np.array(color) * (1 + spread * rng.standard_normal()) * (1 + 0.4 * spread * rng.standard_normal(3)),
        0.02,
        0.88,
    )
    return tuple(float(value) for value in np.round(scaled, 4))


def pick(rng: np.random.Generator, colors: tuple[Color, ...], spread: float = 0.12) -> Color:
    """One of `colors`, a little varied."""
    return tint(colors[rng.integers(len(colors))], rng, spread)


def random_style(rng: np.random.Generator) -> Style:
    """Materials that go together, drawn from `rng`."""

    def choose(colors: tuple) -> tuple:
        return colors[rng.integers(len(colors))]

    def wood() -> Material:
        light, dark = choose(_WOODS)
        return Material("wood", tint(light, rng), tint(dark, rng), 0.06, float(rng.random()), gloss=0.08)

    def cloth() -> Material:
        kind = choose(("mottled", "mottled", "plaid", "stripes", "plain", "damask"))
        scale = {"mottled": 0.1, "plaid": 0.18, "stripes": 0.1, "plain": 1.0, "damask": 0.2}[kind]
        color = tint(choose(CLOTHS), rng)
        other = tint(choose(CLOTHS), rng) if kind != "mottled" else tuple(0.72 * value for value in color)
        return Material(kind, color, other, scale, float(rng.random()))

    metal = Material("plain", choose(((0.45, 0.45, 0.47), (0.06, 0.06, 0.06), (0.5, 0.38, 0.2))), gloss=0.5)
    first = wood()
    front = (
        first
        if rng.random() < 0.5
        else Material(
            "plain", tint(choose(((0.75, 0.75, 0.73), (0.25, 0.3, 0.35), (0.35, 0.42, 0.35))), rng), gloss=0.1
        )
    )
    return Style(first, wood(), cloth(), cloth(), metal, front)
