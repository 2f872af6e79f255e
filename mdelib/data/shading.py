"""Light and camera of the rendered scenes: soft shadows, ambient light, haze, exposure, tone curve, noise.

Every pixel is the mean of 2 x 2 rays. Each ray sends one shadow ray to a random point of every light and one
into the hemisphere; what arrives is smoothed inside each face, so that shadows are soft and textures stay sharp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mdelib.data.meshes import GROUND
from mdelib.data.raytrace import Camera, Tracer, pixel_rays
from mdelib.data.textures import albedo, mean_albedo

__all__ = ["Light", "Setting", "photograph"]

Array = np.ndarray
_PER_PIXEL = 2


@dataclass(frozen=True)
class Light:
    """A rectangle (or, without `normal`, a small ball) that shines, or the sun.

    Attributes:
        color: (3,) radiance times area; for the sun, irradiance.
        position: (3,) its middle; for the sun the direction towards it.
        u, v: (3,) half its sides.
        normal: (3,) the side that it shines to; None shines everywhere.
        sun: infinitely far; `u` and `v` then widen it, in radians.
    """

    color: Array
    position: Array
    u: Array
    v: Array
    normal: Array | None = None
    sun: bool = False


@dataclass(frozen=True)
class Setting:
    """What a scene is lit by and photographed with.

    Attributes:
        lights: see `Light`.
        ambient: (2, 3) light from above and from below.
        reach: metres within which ambient light is blocked by other surfaces.
        sky: colours (N, 3) of directions (N, 3) that leave the scene; None for closed rooms.
        haze: share of light lost per metre; `haze_color` replaces it.
        key: mean brightness after exposure.
        gains: (3,) white balance.
        grain: standard deviation of the sensor's noise.
        veil: radius and height in metres of the veil that hides ground contact.
    """

    lights: tuple[Light, ...]
    ambient: Array
    reach: float
    sky: Callable[[Array], Array] | None = None
    haze: float = 0.0
    haze_color: Array | None = None
    key: float = 0.32
    gains: Array | float = 1.0
    grain: float = 0.006
    veil: tuple[float, float] = (0.12, 0.1)


def _dot(a: Array, b: Array) -> Array:
    return np.einsum("nc,nc->n", a, b)


def _unit(a: Array) -> Array:
    return a / np.maximum(np.sqrt(_dot(a, a)), 1e-12)[:, None]


def _arriving(
    tracer: Tracer, light: Light, chance: Array, points: Array, normals: Array, view: Array, gloss: Array
) -> tuple[Array, Array]:
    """Light from `light` at surface points: irradiance and highlight, (N, 3) each."""
    jitter = 2 * chance - 1
    position, u, v, color = (
        np.asarray(a, np.float32) for a in (light.position, light.u, light.v, light.color)
    )
    target = position + jitter[:, :1] * u + jitter[:, 1:] * v
    to_light = np.broadcast_to(target, points.shape) if light.sun else target - points
    square = np.ones(len(points), np.float32) if light.sun else _dot(to_light, to_light)
    direction = to_light / np.sqrt(_dot(to_light, to_light))[:, None]
    strength = np.maximum(_dot(normals, direction), 0)
    if light.normal is not None:
        strength = strength * np.maximum(-(direction @ np.asarray(light.normal, np.float32)), 0)
    lit = strength > 0
    rows = np.flatnonzero(lit)
    if len(rows):
        # the ray stops short of the lamp: its own shade must not darken the room
        lit[rows] = ~tracer.blocked(
            points[rows], direction[rows] if light.sun else to_light[rows], 1e4 if light.sun else 0.96
        )
    falloff = lit / np.maximum(square, np.float32(0.05))
    shine = np.zeros(len(points), np.float32)
    rows = np.flatnonzero(lit & (gloss > 0))
    half = _unit(direction[rows] + view[rows])
    shine[rows] = np.maximum(_dot(normals[rows], half), 0) ** 70 * gloss[rows] * falloff[rows] * 2
    return (strength * falloff)[:, None] * color, shine[:, None] * color


def _ambient(
    tracer: Tracer, setting: Setting, chance: Array, points: Array, normals: Array, means: Array
) -> Array:
    """Ambient light (N, 3), less what near surfaces block, plus what their colour sends back."""
    up = 0.5 + 0.5 * normals[:, 1:2]
    above, below = np.asarray(setting.ambient, np.float32)
    light = above * up + below * (1 - up)
    angle, radius = 2 * np.pi * chance[:, 0], np.sqrt(chance[:, 1])
    helper = np.where(np.abs(normals[:, :1]) > 0.7, np.float32([0, 1, 0]), np.float32([1, 0, 0]))
    side = _unit(np.cross(normals, helper))
    other = np.cross(normals, side)
    direction = (
        side * (radius * np.cos(angle))[:, None]
        + other * (radius * np.sin(angle))[:, None]
        + normals * np.sqrt(1 - chance[:, 1])[:, None]
    )
    triangle, _, _ = tracer.first_hit(points, direction, setting.reach)
    rows = np.flatnonzero(triangle >= 0)
    seen = triangle[rows]
    distance = np.clip(tracer.distance(points[rows], direction[rows], seen), 0, setting.reach)
    blocked = (1 - distance / setting.reach) ** 0.7
    color = means[tracer.mesh.material[seen]]
    light[rows] *= 1 - blocked[:, None] * (1 - 0.7 * color)
    glow = tracer.mesh.table.emission[tracer.mesh.material[seen]]
    light[rows] += 0.35 * glow[:, None] * color * blocked[:, None]
    return light


def _smooth_inside_faces(light: Array, face: Array) -> Array:
    """Mean over a 5 x 5 window, of samples of the same face only; light (C, h, w), face (h, w)."""
    total, count = light.copy(), np.ones(face.shape, np.float32)
    height, width = face.shape
    for dy, dx in [(0, 1), (0, 2)] + [(dy, dx) for dy in (1, 2) for dx in range(-2, 3)]:
        here = (slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
        there = (slice(dy, height), slice(max(0, dx), width - max(0, -dx)))
        same = (face[here] == face[there]).astype(np.float32)
        count[here] += same
        count[there] += same
        total[:, *here] += light[:, *there] * same  # both neighbours of the pair at once
        total[:, *there] += light[:, *here] * same
    return total / count


def _mirrored(
    tracer: Tracer, setting: Setting, points: Array, normals: Array, rays: Array, means: Array, lit: Array
) -> Array:
    """What polished surfaces reflect, with the mean light of the picture; (N, 3)."""
    direction = rays - 2 * _dot(rays, normals)[:, None] * normals
    triangle, _, _ = tracer.first_hit(points, direction)
    image = setting.sky(direction) if setting.sky else np.broadcast_to(lit, points.shape).copy()
    rows = np.flatnonzero(triangle >= 0)
    material = tracer.mesh.material[triangle[rows]]
    image[rows] = means[material] * (lit + tracer.mesh.table.emission[material][:, None])
    return image


def _veil(points: Array, on_ground: Array, movable: Array, contacts: Array, setting: Setting) -> Array:
    """How much of the ground contact's veil covers each point (N,), 1 at a thing's foot and 0 away from it."""
    radius, height = setting.veil
    cover = np.zeros(len(points))
    near = np.flatnonzero((on_ground | movable) & (points[:, 1] < 2 * height))
    if not len(contacts) or not len(near):
        return cover
    x, z = points[near, 0, None], points[near, 2, None]
    gap_x = np.maximum(np.maximum(contacts[:, 0] - x, x - contacts[:, 1]), 0)
    gap_z = np.maximum(np.maximum(contacts[:, 2] - z, z - contacts[:, 3]), 0)
    gap = np.sqrt(gap_x**2 + gap_z**2).min(1)
    cover[near] = np.clip(2 - gap / radius, 0, 1) * np.clip(2 - points[near, 1] / height, 0, 1)
    return cover


def photograph(
    tracer: Tracer,
    camera: Camera,
    setting: Setting,
    size: tuple[int, int],
    seed: list[int],
    *,
    without: str | None = None,
    exposure: float | None = None,
) -> tuple[Array, float]:
    """Takes the picture.

    Args:
        size: (height, width).
        seed: of the sampling and of the sensor's noise; the same for a picture and its twins without a cue.
        without: "shadows" (movable things neither cast shadows nor block ambient light), "texture" (every surface in
            its mean colour), "contact" (a veil over the feet of movable things), or None.
        exposure: the exposure of the twin; None measures it.

    Returns:
        (H, W, 3) uint8 sRGB, and the exposure.
    """
    rng = np.random.default_rng(seed)
    mesh, table = tracer.mesh, tracer.mesh.table
    grid = (size[0] * _PER_PIXEL, size[1] * _PER_PIXEL)
    count = grid[0] * grid[1]
    means = mean_albedo(table)
    shade = Tracer(mesh.without_things()) if without == "shadows" else tracer
    rays = pixel_rays(camera, size, _PER_PIXEL).reshape(-1, 3)
    triangle, bary_u, bary_v = tracer.first_hit(np.broadcast_to(camera.position, rays.shape), rays)
    hit = np.flatnonzero(triangle >= 0)
    seen = triangle[hit]
    towards = _unit(rays[hit])
    depth = tracer.distance(np.broadcast_to(camera.position, (len(hit), 3)), rays[hit], seen)
    weights = np.stack([1 - bary_u[hit] - bary_v[hit], bary_u[hit], bary_v[hit]], -1)
    flat = tracer.normals[seen]
    cosine = _dot(flat, towards)
    flat = flat * -np.sign(cosine)[:, None]
    normals = _unit(np.einsum("nk,nkc->nc", weights, mesh.normals[seen]))
    normals = normals * np.where(_dot(normals, flat) < 0, -1.0, 1.0)[:, None]
    points = camera.position + rays[hit] * depth[:, None]
    outside = (points + flat * (1e-3 + 2e-5 * depth)[:, None]).astype(np.float32)
    normals, flat, towards = (a.astype(np.float32) for a in (normals, flat, towards))  # enough for light
    material = mesh.material[seen]
    gloss = table.gloss[material]

    # chance is drawn for the whole grid, hit or not, so that twins without a cue share it; stratified in a pixel
    quarter = np.stack(np.meshgrid(np.arange(grid[1]) % 2, np.arange(grid[0]) % 2), -1).reshape(-1, 2)
    light, shine = np.zeros((2, len(hit), 3), np.float32)
    for lamp in setting.lights:
        chance = (rng.random((count, 2), dtype=np.float32) + quarter) / 2
        add, spark = _arriving(shade, lamp, chance[hit], outside, normals, -towards, gloss)
        light += add
        shine += spark
    chance = (rng.random((count, 2), dtype=np.float32) + quarter) / 2
    light += _ambient(shade, setting, chance[hit], outside, normals, means)

    face = np.full(count, -1, np.int64)
    axis = np.abs(flat).argmax(1)
    face[hit] = (
        mesh.parts[seen].astype(np.int64) * 8
        + axis * 2
        + (np.take_along_axis(flat, axis[:, None], 1)[:, 0] > 0)
    )
    both = np.zeros((6, count), np.float32)
    both[:3, hit], both[3:, hit] = light.T, shine.T
    both = _smooth_inside_faces(both.reshape(6, *grid), face.reshape(grid)).reshape(6, count)[:, hit]
    light, shine = both[:3].T, both[3:].T

    if without == "texture":
        color = means[material]
    else:
        uv = np.einsum("nk,nkc->nc", weights, mesh.uv[seen]).astype(np.float32)
        footprint = depth / camera.matrix[0, 0] / np.sqrt(np.maximum(np.abs(cosine), 0.02)) / _PER_PIXEL * 1.5
        color = albedo(table, material, uv, footprint.astype(np.float32))
    radiance = color * (light + table.emission[material][:, None]) + shine
    polished = np.flatnonzero(gloss > 0.15)
    if len(polished):
        image = _mirrored(
            tracer,
            setting,
            outside[polished],
            flat[polished],
            towards[polished],
            means,
            setting.ambient.mean(0) * 1.6,
        )
        share = gloss[polished] * (0.06 + 0.94 * (1 - np.abs(cosine[polished])) ** 4)
        radiance[polished] += share[:, None] * (image - radiance[polished])
    if setting.haze:
        kept = np.exp(-setting.haze * depth)[:, None]
        radiance = radiance * kept + setting.haze_color * (1 - kept)
    if without == "contact":
        ground = mesh.objects[seen] == GROUND
        cover = _veil(points, ground, np.isin(mesh.objects[seen], list(mesh.stands)), mesh.contacts, setting)
        tone = radiance[ground].mean(0) if ground.any() else radiance.mean(0)
        radiance = radiance + cover[:, None] * (tone - radiance)

    linear = np.zeros((count, 3))
    missed = np.flatnonzero(triangle < 0)
    if len(missed):
        linear[missed] = setting.sky(_unit(rays[missed])) if setting.sky else radiance.mean(0)
    linear[hit] = radiance
    linear = linear.reshape(size[0], _PER_PIXEL, size[1], _PER_PIXEL, 3).clip(0, 30).mean((1, 3))
    if exposure is None:
        luminance = linear.mean(-1)
        exposure = setting.key / float(np.minimum(luminance, 3 * np.median(luminance)).mean())
    return _develop(linear * exposure, setting, rng), exposure


def _develop(linear: Array, setting: Setting, rng: np.random.Generator) -> Array:
    """White balance, vignetting, tone curve, sRGB-like gamma and noise; (H, W, 3) uint8."""
    height, width = linear.shape[:2]
    y, x = (np.arange(height) + 0.5) / height - 0.5, (np.arange(width) + 0.5) / width - 0.5
    corner = 1 - 0.35 * (x[None, :] ** 2 + y[:, None] ** 2)
    exposed = linear * setting.gains * corner[..., None]
    toned = exposed * (1 + exposed / 9) / (1 + exposed)
    image = np.clip(toned * 1.12, 0, 1) ** (1 / 2.2)
    image = image + 0.45 * (image * image * (3 - 2 * image) - image)  # a little contrast, as cameras add
    grain = rng.standard_normal((height, width, 3)) * setting.grain * (0.6 + 0.8 * np.sqrt(image))
    return np.round(np.clip(image + grain, 0, 1) * 255).astype(np.uint8)
