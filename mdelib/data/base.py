"""What every data set of the course hands out: images, depth in metres, and which pixels have a depth.

A data set is a `DepthData`: a named, ordered list of views of one split. `data[i]` is one `View`;
`data.tensors(size)` is the whole split as one batch in memory, which is what training and the notebooks use.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DataInfo", "DepthBatch", "DepthData", "View", "resize_depth", "resize_image", "valid_depth"]


@dataclass(frozen=True)
class DataInfo:
    """What a reader must know of a data set before a number measured on it means anything.

    Attributes:
        name: the name used on the command line, for example ``"nyu"``.
        title: the name used in tables and captions.
        min_depth, max_depth: the range in which depth is evaluated, in metres.
        crop: the evaluation crop that is customary for it, a name of `mdelib.protocols.CROPS`, or None.
        real: False for rendered scenes, whose pictures may be published with the notebooks.
    """

    name: str
    title: str
    min_depth: float
    max_depth: float
    crop: str | None = None
    real: bool = True


@dataclass(frozen=True)
class View:
    """One photograph or rendering with its ground truth.

    Attributes:
        name: unique inside the split.
        image: (3, H, W) float in [0, 1], RGB.
        depth: (1, H, W) float, metres along the optical axis; 0 where unknown. None for images without depth.
        mask: (1, H, W) bool, True where `depth` is known. None with `depth`.
        intrinsics: (3, 3) float, pixels, pixel centres at integers; None where the camera is unknown.
        extras: further ground truth by name, for example ``normals`` (3, H, W) in the camera's frame (x right,
            y down, z forward) and ``objects`` (1, H, W) int64 object ids, which rendered scenes have.
    """

    name: str
    image: Tensor
    depth: Tensor | None = None
    mask: Tensor | None = None
    intrinsics: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class DepthBatch:
    """Views stacked: image (B, 3, H, W), depth and mask (B, 1, H, W), intrinsics (B, 3, 3) or None."""

    names: tuple[str, ...]
    image: Tensor
    depth: Tensor
    mask: Tensor
    intrinsics: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int | slice | Sequence[int]) -> DepthBatch:
        """The views at `index` as a batch (an int gives a batch of one)."""
        chosen = range(len(self))[index] if isinstance(index, slice) else index
        rows = [chosen] if isinstance(chosen, int) else list(chosen)
        pick = torch.as_tensor(rows, dtype=torch.long)
        return DepthBatch(
            tuple(self.names[row] for row in rows), self.image[pick], self.depth[pick], self.mask[pick],
            None if self.intrinsics is None else self.intrinsics[pick],
            {key: value[pick] for key, value in self.extras.items()})

    def to(self, device: torch.device | str) -> DepthBatch:
        """The same batch on another device."""
        moved = {key: value.to(device) for key, value in self.extras.items()}
        camera = None if self.intrinsics is None else self.intrinsics.to(device)
        return replace(self, image=self.image.to(device), depth=self.depth.to(device), mask=self.mask.to(device),
                       intrinsics=camera, extras=moved)


def valid_depth(depth: Tensor) -> Tensor:
    """Where a depth map says anything: finite and positive. Same shape, bool."""
    return torch.isfinite(depth) & (depth > 0)


def resize_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (3, H, W) or (B, 3, H, W) images to `size` = (height, width), area-averaged when shrinking."""
    batch = image if image.ndim == 4 else image[None]
    if tuple(batch.shape[-2:]) != tuple(size):
        batch = F.interpolate(batch, size=tuple(size), mode="bilinear", antialias=True, align_corners=False)
        batch = batch.clamp(0, 1)
    return batch if image.ndim == 4 else batch[0]


def resize_depth(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (1, H, W) or (B, 1, H, W) depth to `size` by nearest pixel.

    Averaging would invent depths that lie between an object and what is behind it, and would mix the zeros
    of unknown pixels into known ones.
    """
    batch = depth if depth.ndim == 4 else depth[None]
    if tuple(batch.shape[-2:]) != tuple(size):
        batch = F.interpolate(batch, size=tuple(size), mode="nearest-exact")
    return batch if depth.ndim == 4 else batch[0]


class DepthData:
    """An ordered split of a data set.

    Args:
        info: what the data set is.
        split: ``"train"``, ``"val"`` or ``"test"``.
        names: one name a view.
        read: returns the view of a name, at its native size; raises ValueError for a file that is damaged.
        signature: anything that changes when the files change (sizes and dates, a generator's version and
            seed); it becomes part of the fingerprint.
    """

    def __init__(self, info: DataInfo, split: str, names: Sequence[str], read: Callable[[str], View],
                 signature: str):
        self.info, self.split, self.names = info, split, tuple(names)
        self._read, self._signature = read, signature
        if not self.names:
            raise ValueError(f"{info.name!r} has no views in its split {split!r}: expected at least one; "
                             "look at the folder, or choose another split")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> View:
        return self._read(self.names[index])

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change when the views, their order or their files change."""
        text = "\n".join([self.info.name, self.split, self._signature, *self.names])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def subset(self, indices: Sequence[int]) -> DepthData:
        """The views at `indices`, in that order."""
        return DepthData(self.info, self.split, [self.names[i] for i in indices], self._read, self._signature)

    def first(self, count: int | None) -> DepthData:
        """`count` views spread evenly over the split (all of them for None or a larger count)."""
        if count is None or count >= len(self):
            return self
        return self.subset([i * len(self) // count for i in range(count)])

    def tensors(self, size: tuple[int, int] | None = None, *, extras: bool = False) -> DepthBatch:
        """The whole split in memory.

        Args:
            size: (height, width) to resize every view to; None keeps the native size, which must then be one.
            extras: keep the further ground truth (native size only).

        Raises:
            ValueError: views of different sizes and no `size`; a view without depth.
        """
        views = [self[index] for index in range(len(self))]
        bare = next((view.name for view in views if view.depth is None), None)
        if bare is not None:
            raise ValueError(f"view {bare!r} of {self.info.name!r} has no depth map, which training and scoring "
                             "need: add one, or use the image alone through `data[i].image`")
        shapes = {tuple(view.image.shape[-2:]) for view in views}
        if size is None and len(shapes) > 1:
            raise ValueError(f"{self.info.name!r} holds views of {len(shapes)} sizes ({sorted(shapes)[:3]}...): "
                             "one size is needed to stack them; pass size=(height, width)")
        target = tuple(size) if size is not None else shapes.pop()
        depth = torch.stack([resize_depth(view.depth, target) for view in views])
        mask = torch.stack([resize_depth(view.mask.float(), target) > 0.5 for view in views])
        cameras = None
        if all(view.intrinsics is not None for view in views):
            cameras = torch.stack([_scale_intrinsics(view.intrinsics, view.image.shape[-2:], target)
                                   for view in views])
        kept = {}
        if extras and size is None:
            common = set.intersection(*(set(view.extras) for view in views))
            kept = {key: torch.stack([view.extras[key] for view in views]) for key in sorted(common)}
        image = torch.stack([resize_image(view.image, target) for view in views])
        return DepthBatch(self.names, image, depth, mask, cameras, kept)


def _scale_intrinsics(camera: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """The camera matrix after a resize; pixel centres are at integers, so the origin moves by half a pixel."""
    sy, sx = new[0] / old[0], new[1] / old[1]
    scaled = camera.clone()
    scaled[0, :] *= sx
    scaled[1, :] *= sy
    scaled[0, 2] += 0.5 * (sx - 1)
    scaled[1, 2] += 0.5 * (sy - 1)
    return scaled
