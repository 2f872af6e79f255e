"""A few points of an image with their depth, and the ways between them, maps and space.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mdelib.geometry import pixel_rays

__all__ = ["SparsePoints"]


@dataclass(frozen=True, eq=False)
class SparsePoints:
    """N places of each image of a batch, as many for all: what is too much is not valid, and counts nowhere.

    Attributes:
        pixels: (B, N, 2) long, (row, column). depth: (B, N) metres. confidence: (B, N) in [0, 1]. valid: (B, N) bool.

    Raises:
        ValueError: shapes or dtypes that do not fit.

    Explained in notebooks/09_fusanet.ipynb.
    """

    pixels: Tensor
    depth: Tensor
    confidence: Tensor
    valid: Tensor

    def __post_init__(self) -> None:
        shape = tuple(self.depth.shape)
        if (len(shape) != 2 or tuple(self.pixels.shape) != (*shape, 2)
                or tuple(self.confidence.shape) != shape or tuple(self.valid.shape) != shape):
            raise ValueError(f"points have pixels {tuple(self.pixels.shape)}, depth {shape}, confidence "
                             f"{tuple(self.confidence.shape)}, valid {tuple(self.valid.shape)}: (B, N, 2) and three "
                             "times (B, N) are needed")
        if self.pixels.dtype != torch.long or self.valid.dtype != torch.bool:
            raise ValueError(f"points have pixels of {self.pixels.dtype} and valid of {self.valid.dtype}: whole (row, "
                             "column) as torch.long, and torch.bool, are needed")

    @classmethod
    def empty(cls, batch: int, count: int = 0, device: str | torch.device = "cpu") -> SparsePoints:
        """`count` points an image, of which none is valid; with 0, no points at all."""
        depth = torch.zeros(batch, count, device=device)
        pixels = torch.zeros(batch, count, 2, dtype=torch.long, device=device)
        return cls(pixels, depth, torch.zeros_like(depth), torch.zeros_like(depth, dtype=torch.bool))

    def inside(self, size: tuple[int, int]) -> SparsePoints:
        """The same points, those outside an image of `size` = (height, width) not valid."""
        return replace(self, valid=self.valid & self._within(size))

    def scaled(self, old_size: tuple[int, int], new_size: tuple[int, int]) -> SparsePoints:
        """The same points in pixels of a map that shows the same image at another resolution.

        A place p is in the pixel floor((p + 1/2) new / old): sides of pixels are at halves. Both sizes are
        (height, width).

        Raises:
            ValueError: sizes that are not positive.
        """
        if min(*old_size, *new_size) < 1:
            raise ValueError(f"points cannot move from a map of {tuple(old_size)} to one of {tuple(new_size)}: sizes "
                             "must be positive")
        old, new = (torch.tensor(size, device=self.pixels.device) for size in (old_size, new_size))
        return replace(self, pixels=torch.div((2 * self.pixels + 1) * new, 2 * old, rounding_mode="floor"))

    def gather(self, feature_map: Tensor) -> Tensor:
        """What a map (B, C, H, W) holds at the points: (B, C, N), 0 where they are not valid.

        Raises:
            ValueError: a valid point outside the map, or another batch.
        """
        cells = self._cells((feature_map.shape[-2], feature_map.shape[-1]), feature_map)
        found = feature_map.flatten(2).gather(2, cells[:, None].expand(-1, feature_map.shape[1], -1))
        return torch.where(self.valid[:, None], found, 0)

    def scatter(self, features: Tensor, size: tuple[int, int]) -> Tensor:
        """A map (B, C, H, W) of the points' features (B, C, N): 0 where no point is, the mean where several are.

        Raises:
            ValueError: a valid point outside the map, or other shapes.
        """
        if features.ndim != 3 or features.shape[::2] != self.depth.shape:
            raise ValueError(f"features have the shape {tuple(features.shape)}: (B, C, N) = "
                             f"({self.depth.shape[0]}, C, {self.depth.shape[1]}) is needed, a column for every point")
        cells = self._cells(size, features)
        dtype = torch.promote_types(features.dtype, torch.float32)
        one = self.valid[:, None].to(dtype)
        values = torch.cat([torch.where(self.valid[:, None], features.to(dtype), 0), one], 1)
        sums = values.new_zeros(*values.shape[:2], size[0] * size[1])
        sums = sums.scatter_add(2, cells[:, None].expand_as(values), values)
        mean = sums[:, :-1] / sums[:, -1:].clamp_min(1)
        return mean.view(*mean.shape[:2], *size).to(features.dtype)

    def maps(self, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Depth (metres) and confidence, (B, 1, H, W) each: 0 where no point is, the means where several are.

        Raises:
            ValueError: a valid point outside the map.
        """
        both = self.scatter(torch.stack([self.depth, self.confidence.to(self.depth)], 1), size)
        return both[:, :1], both[:, 1:]

    def cloud(self, intrinsics: Tensor) -> Tensor:
        """Where the points are in space: (B, 3, N) metres, as `mdelib.geometry.backproject`; 0 if not valid.

        Args:
            intrinsics: (3, 3) or (B, 3, 3), of the image whose pixels `pixels` are, pixel centres at integers.

        Raises:
            ValueError: no camera, see `mdelib.geometry.pixel_rays`, or cameras of another batch.
        """
        pixel_rays(intrinsics, (1, 1))  # refuses what is no camera
        camera = (intrinsics if intrinsics.ndim == 3 else intrinsics[None]).to(self.depth)
        if len(camera) not in (1, len(self.depth)):
            raise ValueError(f"{len(camera)} cameras came with the points of {len(self.depth)} images: one for all or "
                             "one for each is needed")
        row, column = self.pixels.to(self.depth.dtype).unbind(2)
        fx, skew, cx, fy, cy = (camera[:, i, j, None] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2)))
        y = (row - cy) / fy
        x = (column - cx - skew * y) / fx
        place = self.depth[:, None] * torch.stack([x, y, torch.ones_like(x)], 1)
        return torch.where(self.valid[:, None], place, 0)

    def _within(self, size: tuple[int, int]) -> Tensor:
        """(B, N) bool: whether a point is in an image of `size`."""
        return ((self.pixels >= 0) & (self.pixels < self.pixels.new_tensor(size))).all(2)

    def _cells(self, size: tuple[int, int], other: Tensor) -> Tensor:
        """(B, N) place of each point in a flattened map of `size`; 0 if not valid."""
        if other.ndim < 3 or len(other) != len(self.depth):
            raise ValueError(f"points of {len(self.depth)} images meet a tensor of the shape {tuple(other.shape)}: as "
                             "many images are needed")
        outside = self.valid & ~self._within(size)
        if outside.any():
            row, column = self.pixels[outside][0].tolist()
            raise ValueError(f"{int(outside.sum())} of {int(self.valid.sum())} points are outside a map of "
                             f"{size[0]}x{size[1]} pixels, the first at row {row}, column {column}: leave them out "
                             "with points.inside(size), or move them to this resolution with points.scaled")
        return torch.where(self.valid, self.pixels[..., 0] * size[1] + self.pixels[..., 1], 0)
