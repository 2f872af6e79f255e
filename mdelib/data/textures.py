"""Procedural surface colours of the rendered scenes: wood, tiles, wallpaper, bricks, rugs, pictures, views.

A surface is a `Material`; `albedo` evaluates many surface points at once, each with its own material. Patterns
finer than a pixel fade into their mean, so that a far brick wall does not flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["KINDS", "OWN_BORDER", "Material", "MaterialTable", "albedo", "mean_albedo", "noise"]

Array = np.ndarray
OWN_BORDER = ("rug", "picture", "outside", "screen")  # patterns that fill their `size` from a corner
_TILE = 256  # side of the periodic noise tile, in samples


@dataclass(frozen=True)
class Material:
    """What a surface looks like.

    Attributes:
        kind: the pattern, a key of `KINDS`.
        color, color2: linear RGB reflectance of the two colours that the pattern mixes.
        scale: period of the pattern in metres.
        seed: shifts the pattern, so that two tables do not share their grain.
        size: width and height in metres of patterns that know their border (rug, picture, outside, screen).
        gloss: 0 matt to 1 polished: highlights and a mirrored share.
        emission: radiance that the surface adds by itself, as a multiple of its colour.
    """

    kind: str
    color: tuple[float, float, float]
    color2: tuple[float, float, float] = (0.5, 0.5, 0.5)
    scale: float = 1.0
    seed: float = 0.0
    size: tuple[float, float] = (1.0, 1.0)
    gloss: float = 0.0
    emission: float = 0.0


class MaterialTable:
    """The materials of a scene as columns, to be gathered by surface points."""

    def __init__(self, materials: Sequence[Material]):
        unknown = sorted({material.kind for material in materials} - set(KINDS))
        if unknown:
            raise ValueError(
                f"unknown material kind {unknown[0]!r}: expected one of {', '.join(sorted(KINDS))}"
            )
        names = list(KINDS)
        self.kind = np.array([names.index(material.kind) for material in materials])
        self.color = np.array([material.color for material in materials], np.float32)
        self.color2 = np.array([material.color2 for material in materials], np.float32)
        self.scale = np.array([material.scale for material in materials], np.float32)
        self.seed = np.array([material.seed for material in materials], np.float32)
        self.size = np.array([material.size for material in materials], np.float32)
        self.gloss = np.array([material.gloss for material in materials], np.float32)
        self.emission = np.array([material.emission for material in materials], np.float32)

    def __len__(self) -> int:
        return len(self.kind)


def _noise_tile() -> Array:
    """Periodic 1/f noise in [0, 1], the same in every process."""
    rng = np.random.default_rng(20210)
    frequency = np.hypot(np.fft.fftfreq(_TILE)[:, None], np.fft.rfftfreq(_TILE)[None]) * _TILE
    spectrum = np.fft.rfft2(rng.standard_normal((_TILE, _TILE))) / np.maximum(frequency, 1) ** 1.1
    spectrum[frequency < 4] = 0
    tile = np.fft.irfft2(spectrum, (_TILE, _TILE))
    return np.clip(0.5 + tile / (4 * tile.std()), 0, 1).astype(np.float32)


_NOISE = _noise_tile()


def noise(x: Array, y: Array) -> Array:
    """1/f noise in [0, 1] with mean 0.5 at (x, y), period 1; features are about a tenth of the period."""
    fx, fy = (x % 1) * _TILE, (y % 1) * _TILE
    ix, iy = fx.astype(np.int32), fy.astype(np.int32)
    wx, wy = fx - ix, fy - iy
    ix, iy = ix % _TILE, iy % _TILE
    jx, jy = (ix + 1) % _TILE, (iy + 1) % _TILE
    top = _NOISE[iy, ix] * (1 - wx) + _NOISE[iy, jx] * wx
    low = _NOISE[jy, ix] * (1 - wx) + _NOISE[jy, jx] * wx
    return top * (1 - wy) + low * wy


def _hash(x: Array, y: Array, seed: Array) -> Array:
    """A repeatable number in [0, 1) for integer cells."""
    a = (
        x.astype(np.int64) * 73856093
        ^ y.astype(np.int64) * 19349663
        ^ (seed * 1000).astype(np.int64) * 83492791
    )
    a = (a ^ (a >> 13)) * 1274126177 & 0x7FFFFFFF
    return ((a ^ (a >> 16)) & 0xFFFF).astype(np.float32) / 65536


def _line(distance: Array, width: Array | float) -> Array:
    """1 on a joint of half-width `width`, 0 away from it."""
    return np.clip(1.5 - np.abs(distance) / width, 0, 1)


def _mix(a: Array, b: Array, share: Array) -> Array:
    return a + (b - a) * share[:, None]


# Every pattern: (u, v) metres, table columns gathered per point, fade in [0, 1] -> (N, 3) reflectance.
# `m` holds color, color2 (N, 3); scale, seed (N,); size (N, 2).


def _plain(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    return m["color"] * (0.94 + 0.12 * noise(u * 0.35 + m["seed"], v * 0.35))[:, None]


def _wood(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    warp = noise(u * 0.15 + m["seed"], v * 0.4 + m["seed"])
    rings = noise(u * 0.09 + m["seed"], v * 2.2 + 0.25 * warp)
    return _mix(m["color"], m["color2"], np.clip(2.2 * rings - 0.6, 0, 1) * fade + 0.5 * (1 - fade))


def _planks(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    row = np.floor(v / m["scale"])
    along = u / (m["scale"] * 9) + _hash(row, row, m["seed"])
    board = np.floor(along)
    tint = _hash(row, board, m["seed"])
    grain = noise(u * 0.25 + 7 * tint, v * 2.0 + tint)
    base = _mix(
        m["color"], m["color2"], np.clip(0.55 * tint + 0.9 * grain - 0.2, 0, 1) * fade + 0.5 * (1 - fade)
    )
    across = (v / m["scale"] - row - 0.5) * m["scale"]
    joint = np.maximum(
        _line(np.abs(across) - m["scale"] / 2, 0.004), _line((along - board) * m["scale"] * 9, 0.004)
    )
    return base * (1 - 0.5 * joint * fade)[:, None]


def _tiles(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    x, y = u / m["scale"], v / m["scale"]
    i, j = np.floor(x), np.floor(y)
    tint = _hash(i, j, m["seed"]) - 0.5
    chequered = (m["seed"] % 1 > 0.7) & ((i + j) % 2 > 0.5)
    base = np.where(chequered[:, None], m["color2"], m["color"])
    base = base * (1 + (0.16 * tint + 0.25 * (noise(u * 0.8 + tint, v * 0.8) - 0.5)) * fade)[:, None]
    edge = np.minimum(0.5 - np.abs(x - i - 0.5), 0.5 - np.abs(y - j - 0.5)) * m["scale"]
    return _mix(base, m["color2"] * 0.6, _line(edge, 0.006) * fade * 0.8)


def _stripes(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    x = (u / m["scale"] + m["seed"]) % 1
    broad = np.clip((np.abs(x - 0.5) - 0.22) * 25, 0, 1)
    thin = _line(x - 0.5, 0.05)
    return _mix(m["color"], m["color2"], np.maximum(broad, 0.6 * thin) * fade + 0.5 * (1 - fade))


def _damask(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    x, y = 2 * np.pi * u / m["scale"], 2 * np.pi * v / (1.4 * m["scale"])
    shape = np.cos(x) * np.cos(y) + 0.45 * np.cos(2 * x + np.sin(y)) + 0.3 * np.cos(3 * y)
    return _mix(m["color"], m["color2"], np.clip(shape * 4 - 0.6, 0, 1) * fade + 0.35 * (1 - fade))


def _plaid(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    x, y = (u / m["scale"] + m["seed"]) % 1, (v / m["scale"]) % 1
    bands = 0.5 * (np.abs(x - 0.5) < 0.2) + 0.5 * (np.abs(y - 0.5) < 0.2)
    thin = np.maximum(_line(x - 0.1, 0.03), _line(y - 0.1, 0.03))
    return _mix(m["color"], m["color2"], np.clip(bands + 0.7 * thin, 0, 1) * fade + 0.45 * (1 - fade))


def _brick(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    y = v / m["scale"]
    row = np.floor(y)
    x = u / (m["scale"] * 3.2) + 0.5 * (row % 2)
    col = np.floor(x)
    tint = _hash(row, col, m["seed"])
    base = m["color"] * (0.72 + 0.56 * (tint * fade + 0.5 * (1 - fade)))[:, None]
    edge = np.minimum((0.5 - np.abs(x - col - 0.5)) * 3.2, 0.5 - np.abs(y - row - 0.5)) * m["scale"]
    weather = 0.85 + 0.3 * noise(u * 0.08 + m["seed"], v * 0.08)
    return _mix(base, m["color2"], _line(edge, 0.009) * fade + 0.15 * (1 - fade)) * weather[:, None]


def _mottled(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    coarse = noise(u * 0.1 / m["scale"] + m["seed"], v * 0.1 / m["scale"])
    fine = noise(u * 0.9 / m["scale"], v * 0.9 / m["scale"] + m["seed"])
    return _mix(
        m["color"], m["color2"], np.clip(0.5 + 1.2 * (coarse - 0.5) + 1.3 * (fine - 0.5) * fade, 0, 1)
    )


def _leaves(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    fine = noise(u * 0.5 / m["scale"] + m["seed"], v * 0.5 / m["scale"])
    return _mix(m["color"], m["color2"], np.clip(3.2 * (fine - 0.5) + 0.5, 0, 1))


def _folds(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * u / m["scale"] + 4 * noise(u * 0.3 + m["seed"], v * 0.06))
    return _mix(m["color"], m["color2"], wave * fade + 0.5 * (1 - fade))


def _centred(u: Array, v: Array, m: dict[str, Array]) -> tuple[Array, Array]:
    """Coordinates in [-1, 1] over the part's face; parts give u, v from their lower corner."""
    return 2 * u / m["size"][:, 0] - 1, 2 * v / m["size"][:, 1] - 1


def _rug(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    x, y = _centred(u, v, m)
    inset = np.minimum((1 - np.abs(x)) * m["size"][:, 0], (1 - np.abs(y)) * m["size"][:, 1]) / 2
    border = (inset > 0.06) & (inset < 0.16)
    lattice = np.abs((x * m["size"][:, 0] / 0.5 + m["seed"]) % 1 - 0.5) + np.abs(
        (y * m["size"][:, 1] / 0.5) % 1 - 0.5
    )
    diamond = (np.abs(lattice - 0.5) < 0.12) | (lattice < 0.15)
    share = np.where(inset < 0.16, border * 1.0, diamond * 0.8)
    return _mix(m["color"], m["color2"], share) * (0.8 + 0.4 * noise(u * 1.5, v * 1.5))[:, None]


def _palette(t: Array, seed: Array) -> Array:
    """A colour wheel around `seed`, muted for some seeds."""
    phase = np.stack([t + seed, t + seed + 0.33, t + seed + 0.67], -1)
    wheel = np.cos(2 * np.pi * phase)
    muted = 0.35 + 0.65 * ((seed * 13) % 1)[..., None]
    return 0.30 + 0.20 * muted * wheel + 0.06 * np.sin(9 * seed)[..., None]


def _picture(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    x, y = _centred(u, v, m)
    seed = m["seed"]
    horizon = 0.5 * (seed % 1) - 0.3 + 0.7 * (noise(x * 0.12 + seed, seed) - 0.5)
    land = _palette(0.4 * noise(x * 0.25 + seed, y * 0.25), seed * 3.7) * 0.8
    sky = _palette(0.35 * y + 0.1, seed * 3.7 + 0.45) + 0.15
    disc = (x - np.sin(9 * seed)) ** 2 + (y - 0.45) ** 2 < 0.06
    landscape = np.where((y > horizon)[:, None], np.where(disc[:, None], 0.8, sky), land)
    i, j = np.floor(x * 2.2 + seed * 5), np.floor(y * 1.8 + seed * 3)
    blocks = _palette(_hash(i, j, seed), seed * 5.1)
    image = np.where(((seed * 7) % 1 > 0.4)[:, None], landscape, blocks)
    mount = (np.abs(x) > 0.8) | (np.abs(y) > 0.8)
    return np.where((mount & ((seed * 11) % 1 > 0.4))[:, None], 0.75, np.clip(image, 0.02, 0.9))


def _outside(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    """What is seen through a window: sky (color), roofs or trees (color2), ground."""
    x, y = u / 1.2, v / np.maximum(m["size"][:, 1], 0.1)
    seed = m["seed"]
    roofs = 0.28 + 0.3 * _hash(np.floor(x * 2.3 + seed), np.floor(seed), seed)
    trees = 0.3 + 0.7 * (noise(x * 0.35 + seed, seed) - 0.35)
    top = np.where(seed % 1 > 0.5, roofs, trees)
    sky = m["color"] * (0.75 + 0.35 * y + 0.5 * (noise(x * 0.2 + seed, y * 0.25) - 0.5))[:, None]
    wall = m["color2"] * (0.6 + 0.8 * noise(x * 0.9, y * 0.9 + seed))[:, None]
    ground = m["color2"] * np.array([0.8, 1.0, 0.5], np.float32) * 0.8
    return np.where((y > top)[:, None], sky, np.where((y > 0.16)[:, None], wall, ground))


def _screen(u: Array, v: Array, m: dict[str, Array], fade: Array) -> Array:
    x, y = _centred(u, v, m)
    seed = m["seed"]
    page = (np.abs(x + 0.5 - seed % 1) < 0.5) & (np.abs(y) < 0.72)
    text = (
        page & ((y * 9 + seed) % 1 < 0.4) & (np.abs(x + 0.5 - seed % 1) < 0.4 * (0.4 + noise(y * 0.7, seed)))
    )
    image = np.where(page[:, None], np.float32(0.75), _mix(m["color"], m["color2"], 0.5 + 0.5 * y))
    return np.where(text[:, None], np.float32(0.2), image)


KINDS: dict[str, Callable[[Array, Array, dict[str, Array], Array], Array]] = {
    "plain": _plain,
    "wood": _wood,
    "planks": _planks,
    "tiles": _tiles,
    "stripes": _stripes,
    "damask": _damask,
    "plaid": _plaid,
    "brick": _brick,
    "mottled": _mottled,
    "leaves": _leaves,
    "folds": _folds,
    "rug": _rug,
    "picture": _picture,
    "outside": _outside,
    "screen": _screen,
}


def albedo(table: MaterialTable, material: Array, uv: Array, footprint: Array) -> Array:
    """Reflectance at surface points.

    Args:
        table: the scene's materials.
        material: (N,) index into the table.
        uv: (N, 2) texture coordinates in metres.
        footprint: (N,) metres that a pixel covers on the surface; patterns finer than it fade out.

    Returns:
        (N, 3) linear RGB.
    """
    result = np.empty((len(material), 3), np.float32)
    kinds = table.kind[material]
    for index, pattern in enumerate(KINDS.values()):
        rows = np.flatnonzero(kinds == index)
        if not len(rows):
            continue
        which = material[rows]
        columns = {key: getattr(table, key)[which] for key in ("color", "color2", "scale", "seed", "size")}
        fade = np.clip(1.6 - 1.6 * footprint[rows] / columns["scale"], 0, 1)
        result[rows] = pattern(uv[rows, 0], uv[rows, 1], columns, fade)
    return result


def mean_albedo(table: MaterialTable, samples: int = 9) -> Array:
    """The mean colour of every material (M, 3), over its own size or three periods of its pattern."""
    count = len(table)
    grid = (np.arange(samples, dtype=np.float32) + 0.5) / samples
    unit = np.stack(np.meshgrid(grid, grid), -1).reshape(1, -1, 2)
    extent = np.maximum(table.size, 3 * table.scale[:, None])
    own = np.isin(table.kind, [list(KINDS).index(kind) for kind in OWN_BORDER])
    extent = np.where(own[:, None], table.size, extent)
    uv = (unit * extent[:, None]).reshape(-1, 2)
    index = np.repeat(np.arange(count), samples * samples)
    colors = albedo(table, index, uv, np.zeros(len(index), np.float32))
    return colors.reshape(count, -1, 3).mean(1)
