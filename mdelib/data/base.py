"""What every data set of the course hands out: images, depth in metres, and which pixels have a depth.

A data set is a `DepthData`: a named, ordered list of views of one split. `data[i]` is one `View`;
`data.tensors(size)` is the whole split as one batch in memory, which is what training and the notebooks use.
Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DataInfo", "DepthBatch", "DepthData", "View", "hold_out", "resize_depth", "resize_image",
           "scale_intrinsics", "valid_depth"]


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
        extras: further ground truth by name, for example ``normals`` (3, H, W) in the camera's frame (x
            right, y down, z forward) and ``objects`` (1, H, W) int64 object ids, which rendered scenes have.
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
        return replace(self, image=self.image.to(device), depth=self.depth.to(device),
                       mask=self.mask.to(device), intrinsics=camera, extras=moved)


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


def scale_intrinsics(camera: Tensor, old: Sequence[int], new: Sequence[int]) -> Tensor:
    """The (3, 3) camera matrix after a resize of the image from `old` to `new` = (height, width).

    Pixel centres are at integers, so the image's corner is at (-0.5, -0.5) and the principal point moves by
    half a pixel's growth as well: ``c' = s (c + 0.5) - 0.5``.
    """
    sy, sx = new[0] / old[0], new[1] / old[1]
    scaled = camera.clone()
    scaled[0, :] *= sx
    scaled[1, :] *= sy
    scaled[0, 2] += 0.5 * (sx - 1)
    scaled[1, 2] += 0.5 * (sy - 1)
    return scaled


def hold_out(groups: Sequence[Hashable]) -> tuple[list[int], list[int]]:
    """Indices (fit, val) that part a training split in about 90 % and 10 %, by whole groups.

    A group is whatever shows the same place: a drive, a scene, a stretch of neighbouring frames. Of ten
    groups or more, every tenth is held out, beginning with the fifth. With fewer, a whole group would be too
    much, and the last tenth of the views is held out instead (at least one view, if there are two).

    Args:
        groups: the group of every view, in the split's order.
    """
    order = list(dict.fromkeys(groups))
    if len(order) >= 10:
        held = set(order[4::10])
        return ([i for i, group in enumerate(groups) if group not in held],
                [i for i, group in enumerate(groups) if group in held])
    count = len(groups)
    cut = count - max(1, round(count / 10)) if count > 1 else count
    return list(range(cut)), list(range(cut, count))


class DepthData:
    """An ordered split of a data set.

    Args:
        info: what the data set is.
        split: ``"train"`` or ``"test"``, the official splits; ``"fit"`` or ``"val"``, parts of ``"train"``.
        names: one name a view.
        read: returns the view of a name, at its native size; raises ValueError for a file that is damaged.
        signature: anything that changes when the files change (their names and sizes, a generator's version
            and seed); it becomes part of the fingerprint. No dates: it is the same on every machine.
        threads: how many views may be read at once; more than one only where `read` is thread-safe.

    Raises:
        ValueError: no names, or a name that occurs twice.
    """

    def __init__(self, info: DataInfo, split: str, names: Sequence[str], read: Callable[[str], View],
                 signature: str, *, threads: int = 1):
        self.info, self.split, self.names = info, split, tuple(names)
        self._read, self._signature, self._threads = read, signature, threads
        if not self.names:
            raise ValueError(f"{info.name!r} has no views in its split {split!r}: expected at least one; "
                             "look at the folder, or choose another split")
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"{info.name!r} lists the view {twice!r} more than once in its split {split!r}: "
                             "expected every view once; correct the list")

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
        return DepthData(self.info, self.split, [self.names[i] for i in indices], self._read, self._signature,
                         threads=self._threads)

    def first(self, count: int | None) -> DepthData:
        """`count` views spread evenly over the split (all of them for None or a larger count)."""
        if count is None or count >= len(self):
            return self
        return self.subset([i * len(self) // count for i in range(count)])

    def stream(self) -> Iterator[View]:
        """Every view in order, reading a few ahead where that is safe; never the whole split at once."""
        if self._threads < 2:
            yield from (self[index] for index in range(len(self)))
            return
        ahead = 2 * self._threads  # bounds the memory: the pool's own map would read everything at once
        with ThreadPoolExecutor(self._threads) as pool:
            waiting = [pool.submit(self.__getitem__, index) for index in range(min(ahead, len(self)))]
            for index in range(len(self)):
                view = waiting.pop(0).result()
                if index + ahead < len(self):
                    waiting.append(pool.submit(self.__getitem__, index + ahead))
                yield view

    def tensors(self, size: tuple[int, int] | None = None, *, extras: bool = False,
                progress: Callable[[Iterator[View]], Iterator[View]] | None = None) -> DepthBatch:
        """The whole split in memory, each view resized as soon as it is read.

        Args:
            size: (height, width) to resize every view to; None keeps the native size, which must then be one.
            extras: keep the further ground truth (native size only).
            progress: wraps the stream of views, for example in a progress bar.

        Raises:
            ValueError: views of different sizes and no `size`; a view without depth.
        """
        views = self.stream() if progress is None else progress(self.stream())
        target = None if size is None else (int(size[0]), int(size[1]))
        cameras: list[Tensor | None] = []
        kept: dict[str, list[Tensor]] = {}
        image = depth = mask = torch.empty(0)
        for index, view in enumerate(views):
            if view.depth is None or view.mask is None:
                raise ValueError(f"view {view.name!r} of {self.info.name!r} has no depth map, which training "
                                 "and scoring need: add one, or use the image alone through `data[i].image`")
            native = (int(view.image.shape[-2]), int(view.image.shape[-1]))
            if target is None:
                target = native
            if size is None and native != target:
                raise ValueError(f"{self.info.name!r} holds views of different sizes ({target}, {native}): "
                                 "one size is needed to stack them; pass size=(height, width)")
            if index == 0:
                image = torch.empty(len(self), 3, *target)
                depth = torch.empty(len(self), 1, *target)
                mask = torch.empty(len(self), 1, *target, dtype=torch.bool)
            image[index] = resize_image(view.image, target)
            depth[index] = resize_depth(view.depth, target)
            mask[index] = resize_depth(view.mask.float(), target) > 0.5
            camera = view.intrinsics
            cameras.append(None if camera is None else scale_intrinsics(camera, native, target))
            if extras and size is None:
                for key, value in view.extras.items():
                    kept.setdefault(key, []).append(value)
        known = [camera for camera in cameras if camera is not None]
        everywhere = {key: torch.stack(kept[key]) for key in sorted(kept) if len(kept[key]) == len(self)}
        return DepthBatch(self.names, image, depth, mask,
                          torch.stack(known) if len(known) == len(self) else None, everywhere)
