"""The floor plan of a rendered room while it fills up: walls, what hangs on them, and what stands where."""

from __future__ import annotations

import numpy as np

from mdelib.data.meshes import rotation

__all__ = ["YAWS", "FloorPlan"]


YAWS = (0.0, np.pi / 2, np.pi, -np.pi / 2)  # walls: far, right, near, left


class FloorPlan:
    """The floor plan while it fills up."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.width, self.depth = rng.uniform(2.9, 4.8), rng.uniform(3.0, 5.2)
        self.height = rng.uniform(2.4, 2.9)
        self.camera = np.array(
            [
                rng.uniform(-0.32, 0.32) * self.width,
                rng.uniform(0.95, 1.65),
                rng.uniform(0.18, 0.16 * self.depth),
            ]
        )
        self.taken: list[tuple[float, float, float, float]] = []
        self.on_wall: list[tuple[int, float, float, float, float]] = []  # wall, s0, s1, y0, y1

    def length(self, wall: int) -> float:
        return self.width if wall % 2 == 0 else self.depth

    def point(self, wall: int, along: float, off: float) -> tuple[float, float]:
        """World x, z of the place `along` a wall's middle and `off` it."""
        middle = np.array([0, 0, self.depth / 2])
        half = self.depth / 2 if wall % 2 == 0 else self.width / 2
        x, _, z = middle + rotation(YAWS[wall]) @ np.array([along, 0, half - off])
        return float(x), float(z)

    def free(self, x: float, z: float, half_x: float, half_z: float) -> bool:
        """Whether a rectangle lies in the room, off other pieces and out of the camera's way."""
        if abs(x) + half_x > self.width / 2 or z - half_z < 0 or z + half_z > self.depth:
            return False
        gap = np.hypot(max(abs(x - self.camera[0]) - half_x, 0), max(abs(z - self.camera[2]) - half_z, 0))
        return gap > 0.55 and all(
            abs(x - a) >= half_x + c or abs(z - b) >= half_z + d for a, b, c, d in self.taken
        )

    def clear(self, wall: int, along: float, half: float, low: float, high: float) -> bool:
        return all(
            w != wall or along + half <= s0 or along - half >= s1 or high <= y0 or low >= y1
            for w, s0, s1, y0, y1 in self.on_wall
        )

    def along(
        self,
        width: float,
        depth: float,
        height: float,
        walls: tuple[int, ...] = (0, 1, 3, 2),
        *,
        gap: float = 0.025,
        near: float | None = None,
    ) -> tuple[float, float, float] | None:
        """A free place (x, z, yaw) with its back to a wall, or None; it is then taken."""
        for _ in range(14):
            wall = walls[min(int(self.rng.exponential(0.9)), len(walls) - 1)] if len(walls) > 1 else walls[0]
            slack = self.length(wall) / 2 - width / 2 - 0.04
            if slack <= 0:
                continue
            s = (
                self.rng.uniform(-slack, slack)
                if near is None
                else np.clip(near + self.rng.uniform(-0.1, 0.1), -slack, slack)
            )
            x, z = self.point(wall, s, depth / 2 + gap)
            half = (width / 2 + 0.04, depth / 2) if wall % 2 == 0 else (depth / 2, width / 2 + 0.04)
            if self.free(x, z, *half) and self.clear(wall, s, width / 2, 0, height):
                self.taken.append((x, z, *half))
                self.on_wall.append((wall, s - width / 2, s + width / 2, 0.0, height))
                return x, z, YAWS[wall]
        return None

    def anywhere(self, half_x: float, half_z: float) -> tuple[float, float] | None:
        """A free place away from the walls, or None; it is then taken."""
        for _ in range(14):
            x = self.rng.uniform(-0.5, 0.5) * max(self.width - 2 * half_x - 0.5, 0)
            z = self.depth / 2 + self.rng.uniform(-0.4, 0.5) * max(self.depth - 2 * half_z - 0.7, 0)
            if self.free(x, z, half_x, half_z):
                self.taken.append((x, z, half_x, half_z))
                return x, z
        return None
