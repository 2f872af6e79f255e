"""Layouts of the rendered streets: road, pavements, houses, parked and driving cars, trees, poles, sky.

The road runs along z; the camera drives on it near z = 0. It ends after 75 m; what lies behind (sky, skyline) is
painted in the sky, whose depth is unknown. So is the depth of the few pixels beyond `FAR` in a turned camera.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mdelib.data import street_things as things
from mdelib.data.houses import house
from mdelib.data.meshes import GROUND, SceneBuilder, SceneMesh
from mdelib.data.raytrace import Camera, look
from mdelib.data.shading import Light, Setting
from mdelib.data.styles import tint
from mdelib.data.textures import Material, noise

__all__ = ["FAR", "build_street"]

FAR = 80.0
_END = 75.0  # metres of street
_KERB = 0.12
_PAINT = Material("mottled", (0.62, 0.62, 0.60), (0.45, 0.45, 0.43), 0.5)


def _sky(rng: np.random.Generator, sunny: bool, sun: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Colours of the sky: gradient, clouds, glow around the sun, a hazy skyline below."""
    top = np.array([0.16, 0.34, 0.72]) if sunny else np.array([0.55, 0.58, 0.62])
    low = np.array([0.72, 0.80, 0.90]) if sunny else np.array([0.75, 0.76, 0.77])
    cover, shift = (rng.uniform(0.35, 0.62) if sunny else 0.3), rng.random(2)
    ridge, rough = rng.uniform(0.0, 0.05), rng.uniform(0.02, 0.09)
    far = np.array([0.40, 0.46, 0.47]) * rng.uniform(0.8, 1.2)

    def sky(direction: np.ndarray) -> np.ndarray:
        rise = direction[:, 1]
        share = np.clip(rise, 0, 1)[:, None] ** 0.55
        color = low + (top - low) * share
        x, z = (direction[:, [0, 2]] / (np.maximum(rise, 0.0) + 0.14)[:, None] * 0.09 + shift).T
        cloud = np.clip((noise(x, z) - cover) * 4, 0, 1) * np.clip(rise * 9, 0, 1)
        color = color + (np.array([1.0, 1.0, 1.0]) * (1.1 if sunny else 0.85) - color) * 0.85 * cloud[:, None]
        glow = np.maximum(direction @ sun, 0) ** 40 * (0.9 if sunny else 0.15)
        color = color + glow[:, None] * np.array([1.0, 0.9, 0.7])
        azimuth = np.arctan2(direction[:, 0], direction[:, 2])
        hills = ridge + rough * (noise(azimuth * 0.35 + shift[0], np.full(len(rise), 0.3)) - 0.35)
        roofs = 0.012 * (np.floor(azimuth * 40) % 3)
        return np.where((rise < np.maximum(hills, 0.004) + roofs)[:, None], 0.65 * far + 0.35 * low, color)

    return sky


def _ground(b: SceneBuilder, road: float, walk: float, verge: bool) -> None:
    """Road with markings, kerbs, pavements and the land behind them."""
    rng = b.rng
    grey = rng.uniform(0.13, 0.24)
    asphalt = Material(
        "mottled",
        (grey, grey, grey * 1.02),
        (grey * 0.72, grey * 0.72, grey * 0.74),
        0.7,
        float(rng.random()),
    )
    paving = Material(
        "tiles",
        tint((0.42, 0.41, 0.39), rng),
        (0.32, 0.31, 0.30),
        rng.uniform(0.4, 0.8),
        float(rng.random() * 0.69),
    )
    land = Material("mottled", tint((0.17, 0.26, 0.07), rng), (0.09, 0.14, 0.04), 0.7)
    with b.thing(structure=GROUND):
        b.part((-60, -0.5, -12), (60, -0.02, _END), land)
        b.part((-road / 2, -0.4, -12), (road / 2, 0.0, _END), asphalt)
        for side in (-1, 1):
            a, c = side * road / 2, side * (road / 2 + 0.15)
            b.part(
                (min(a, c), -0.4, -12),
                (max(a, c), _KERB + 0.005, _END),
                Material("plain", (0.48, 0.48, 0.46)),
            )
            d = side * (road / 2 + walk)
            b.part((min(c, d), -0.4, -12), (max(c, d), _KERB, _END), paving)
            if verge:
                e, f = side * (road / 2 + 0.2), side * (road / 2 + 1.1)
                b.part((min(e, f), 0, -12), (max(e, f), _KERB + 0.012, _END), land)
        if rng.random() < 0.85:
            start = rng.uniform(0, 6)
            for z in np.arange(-6 + start, _END - 3, rng.uniform(5, 8)):
                b.part((-0.07, 0, z), (0.07, 0.006, z + 3), _PAINT)
        if rng.random() < 0.6:
            for x in (-road / 2 + 0.35, road / 2 - 0.45):
                b.part((x, 0, -12), (x + 0.1, 0.006, _END), _PAINT)
        if rng.random() < 0.45:
            z = rng.uniform(7, 26)
            for x in np.arange(-road / 2 + 0.4, road / 2 - 0.6, 1.0):
                b.part((x, 0, z), (x + 0.5, 0.007, z + 3), _PAINT)
        for _ in range(3):  # patches and manholes
            x, z = rng.uniform(-0.4, 0.4) * road, rng.uniform(3, 30)
            b.part(
                (x - 0.35, 0, z - 0.35),
                (x + 0.35, 0.004, z + 0.35),
                Material("tiles", (0.09, 0.09, 0.09), (0.16, 0.16, 0.16), 0.1),
                "cylinder",
            )


def _houses(b: SceneBuilder, edge: float, suburb: bool) -> None:
    """Rows of houses whose faces stand `edge` from the middle of the road; suburbs leave gardens and gaps."""
    rng = b.rng
    for side, yaw in ((-1, -np.pi / 2), (1, np.pi / 2)):
        z = rng.uniform(-12, -4)
        while z < _END - 10:
            width = min(rng.uniform(7, 12) if suburb else rng.uniform(8, 17), _END - 1 - z)
            height = rng.uniform(3.2, 7.5) if suburb else rng.uniform(7, 19)
            back = rng.uniform(3.0, 7.0) if suburb else rng.choice([0.0, 0.0, 0.4])
            if rng.random() < (0.85 if suburb else 0.92):
                with b.thing(side * (edge + back), z + width / 2, yaw, fixed=True):
                    house(b, width, height, rng.uniform(7, 11))
                if suburb and rng.random() < 0.7:
                    with b.thing(side * (edge + 0.4), z + width / 2, yaw, y=0.0):
                        things.hedge(b, width * 0.8, rng.uniform(0.8, 1.6))
            if suburb and rng.random() < 0.6:
                with b.thing(side * (edge + rng.uniform(1.5, 5)), z + width + 1.5):
                    things.tree(b, rng.uniform(5, 10), 6 if z < 25 else 3)
            z += width + (rng.uniform(2, 7) if suburb else rng.choice([0.02, 0.02, 0.02, 6.0]))
    if rng.random() < 0.35:  # the street ends at a house
        with b.thing(rng.uniform(-6, 6), _END - rng.uniform(9, 22), fixed=True):
            house(b, rng.uniform(18, 30), rng.uniform(6, 14), 8.0)


def _traffic(b: SceneBuilder, road: float, lane: float, parked: bool) -> None:
    """Parked cars along both kerbs and cars that drive in both lanes."""
    rng = b.rng
    for side in (-1, 1):
        z = rng.uniform(2, 10) if side < 0 else rng.uniform(4, 12)
        while parked and z < _END - 6:
            if rng.random() < 0.65:
                with b.thing(side * (road / 2 - 1.1), z, (0.0 if side > 0 else np.pi) + rng.normal(0, 0.02)):
                    things.van(b) if rng.random() < 0.12 else things.car(b)
            z += rng.uniform(5.6, 9)
        z = rng.uniform(9, 22) if side > 0 else rng.uniform(6, 20)
        while z < _END - 6:
            if rng.random() < 0.6:
                with b.thing(side * lane, z, 0.0 if side > 0 else np.pi):
                    things.van(b) if rng.random() < 0.2 else things.car(b)
            z += rng.uniform(11, 26)


def _pavement(b: SceneBuilder, road: float, walk: float, suburb: bool) -> None:
    """Trees, lamps, signs, benches and people on the pavements."""
    rng = b.rng
    kerb, inner = road / 2 + 0.6, road / 2 + walk - 0.7
    trees = rng.random() < 0.6
    spacing = rng.uniform(7, 13)
    for side, yaw in ((-1, -np.pi / 2), (1, np.pi / 2)):
        for index, z in enumerate(np.arange(rng.uniform(4, 9), _END - 6, spacing)):
            with b.thing(side * kerb, z + rng.uniform(-0.5, 0.5), yaw, y=_KERB):
                if index % 3 == 2 or not trees:
                    things.lamp_post(b, 6.5)
                else:
                    things.tree(b, rng.uniform(4.5, 8.0), 6 if z < 30 else 3)
        for _ in range(int(rng.integers(1, 4))):
            with b.thing(
                side * (kerb + rng.uniform(-0.1, 0.1)), rng.uniform(5, 45), rng.choice([0, 0, np.pi]), y=_KERB
            ):
                things.traffic_light(b) if rng.random() < 0.25 else things.sign(b)
        for _ in range(int(rng.integers(0, 6))):
            x = side * rng.uniform(kerb + 0.5, max(inner, kerb + 0.6))
            with b.thing(x, rng.uniform(4, 50), rng.choice([0, np.pi]) + rng.normal(0, 0.3), y=_KERB):
                things.person(b)
        for _ in range(int(rng.integers(1, 4))):
            with b.thing(side * inner, rng.uniform(4, 40), yaw, y=_KERB):
                things.small_thing(b)


def build_street(rng: np.random.Generator, size: tuple[int, int]) -> tuple[SceneMesh, Camera, Setting]:
    """One street, its camera and its light; `size` (height, width) only sets the camera's pixels."""
    b = SceneBuilder(rng)
    suburb, parked = bool(rng.random() < 0.4), bool(rng.random() < 0.75)
    lane = rng.uniform(1.6, 1.9)
    road, walk = (
        2 * lane + (rng.uniform(6.2, 7.2) if parked else rng.uniform(3.4, 4.2)),
        rng.uniform(2.4, 4.5),
    )
    _ground(b, road, walk, suburb and rng.random() < 0.6)
    _houses(b, road / 2 + walk, suburb)
    _traffic(b, road, lane, parked)
    _pavement(b, road, walk, suburb)
    sunny = bool(rng.random() < 0.7)
    azimuth, rise = rng.uniform(-np.pi, np.pi), rng.uniform(0.45, 1.1)
    sun = np.array([np.sin(azimuth) * np.cos(rise), np.sin(rise), np.cos(azimuth) * np.cos(rise)])
    strength = rng.uniform(1.7, 2.8) if sunny else rng.uniform(0.1, 0.3)
    light = Light(
        np.array([1.0, 0.93, 0.80]) * strength,
        sun,
        np.array([0.012, 0, 0]),
        np.array([0, 0, 0.012]),
        sun=True,
    )
    ambient = (
        np.array([[0.36, 0.44, 0.58], [0.18, 0.17, 0.15]])
        if sunny
        else np.array([[0.85, 0.88, 0.92], [0.35, 0.34, 0.33]])
    ) * rng.uniform(0.85, 1.15)
    camera = look(
        np.array([lane + rng.uniform(-0.4, 0.4), rng.uniform(1.45, 1.9), 0.0]),
        yaw=np.radians(rng.normal(-2, 5)),
        pitch=np.radians(rng.normal(1.5, 2.0)),
        roll=np.radians(rng.normal(0, 0.7)),
        fov=np.radians(rng.uniform(62, 82)),
        size=size,
    )
    setting = Setting(
        (light,),
        ambient,
        2.5,
        sky=_sky(rng, sunny, sun),
        haze=rng.uniform(0.001, 0.005),
        haze_color=np.array([0.66, 0.72, 0.80]) * (1.0 if sunny else 0.95),
        key=rng.uniform(0.30, 0.44),
        gains=np.array([rng.normal(1.0, 0.04), 1.0, rng.normal(1.0, 0.04)]),
        grain=rng.uniform(0.004, 0.01),
        veil=(0.4, 0.3),
    )
    return b.finish(), camera, setting
