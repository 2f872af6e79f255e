"""Response tables of a network: hooks on its layers, one pass over the data, and shuffled depth as the control.

Explained in notebooks/04_dissection.ipynb.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.data.base import DepthBatch
from mdelib.protocols import require_known
from mdelib.selectivity.bins import bin_labels, check_edges
from mdelib.selectivity.pooling import BinPooling
from mdelib.selectivity.response import EMPTY, ResponseMeter

__all__ = ["SHUFFLES", "find_layers", "response_table"]

SHUFFLES = (None, "images", "pixels")
CHUNK = 16  # views at a time where a whole split is given as one batch


def response_table(model: nn.Module, layers: str | Sequence[str], batches: Iterable[Any], edges: Tensor, *,
                   empty: str = "error", shuffle: str | None = None, generator: torch.Generator | None = None,
                   device: str | torch.device | None = None, absolute: bool = False) -> dict[str, Tensor]:
    r"""Mean activation of every unit of several layers per depth bin, in one pass over the data.

    The definition is that of `ResponseMeter`. The model runs in evaluation mode without gradients; every module gets
    its own mode back, and no hook stays behind, whatever happens.

    Args:
        model: any network that takes (B, 3, H, W) images.
        layers: dotted names of submodules that give (B, U, h, w); see ``dict(model.named_modules())``.
        batches: things with ``.image``, ``.depth`` and ``.mask`` (`DepthBatch`, or `View` for one image), or tuples
            (image, depth, mask). One `DepthBatch` with a whole split is taken in parts.
        edges: (K+1,) bin edges, metres.
        empty: ``"error"``, or ``"nan"`` for a column of NaN where a bin has no pixel.
        shuffle: the control. None · ``"images"``: each image's activations meet the depth map of another image, drawn
            at random from all of them (what position in the image alone explains stays) · ``"pixels"``: valid depths
            change places within their image (only each image's mean activation stays). "images" reads all depth maps
            first; batches that can be read only once are held in memory.
        generator: for `shuffle`, on the CPU; None is one with seed 0.
        device: where the images go; None is where the model's parameters are.
        absolute: as in `ResponseMeter`.

    Returns:
        layer -> (U, K) float64 on the CPU.

    Raises:
        ValueError: a layer that does not exist, does not run, runs twice or gives no maps; activations that are not
            finite; a bin without pixels; no images; images without depth.

    Explained in notebooks/04_dissection.ipynb.
    """
    require_known("empty", empty, EMPTY)
    require_known("shuffle", shuffle, SHUFFLES)
    names = [layers] if isinstance(layers, str) else list(layers)
    modules = find_layers(model, names)
    meters = {name: ResponseMeter(edges, absolute=absolute, name=f"layer {name!r}") for name in names}
    edges = check_edges(edges)
    generator = generator or torch.Generator().manual_seed(0)
    if device is None:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
    if isinstance(batches, DepthBatch):
        batches = [batches[start:start + CHUNK] for start in range(0, len(batches), CHUNK)]
    partners: Iterator[Tensor] | None = None
    if shuffle == "images":
        batches = list(batches) if iter(batches) is batches else batches
        partners = _partners([label for batch in batches for label in _labels(_parts(batch), edges)], generator)

    bins, shown, ran = None, None, set()

    def hook(name: str) -> Any:
        def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if name in ran:
                raise ValueError(f"layer {name!r} runs more than once for one image: name a layer that runs once, "
                                 "such as the one around it")
            ran.add(name)
            meters[name].add(output, bins, shown)
        return look

    with _hooked(modules, hook), _evaluating(model), torch.no_grad():
        for batch in batches:
            parts = _parts(batch)
            image, depth, _, shown = parts
            if partners is not None:
                labels = _stack_like([next(partners) for _ in range(len(image))], tuple(depth.shape[-2:]))
            else:
                labels = _labels(parts, edges, device)
            labels = _permuted(labels, generator) if shuffle == "pixels" else labels
            bins = BinPooling(labels.to(device, torch.int64), len(edges) - 1)
            ran.clear()
            model(image.to(device))
            silent = [name for name in names if name not in ran]
            if silent:
                raise ValueError(f"layer {silent[0]!r} did not run when the model saw an image: name one that its "
                                 "forward pass goes through")
    if not any(meter.images for meter in meters.values()):
        raise ValueError("no images: batches is empty, or was read before; give at least one")
    return {name: meters[name].compute(empty) for name in names}


def find_layers(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    """The submodules of these dotted names.

    Raises:
        ValueError: no names, or a name that does not exist; names that are near are listed.
    """
    known = dict(model.named_modules())
    if not names:
        raise ValueError("no layers: name at least one submodule, see dict(model.named_modules())")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=4, cutoff=0.4)
            near = near or [child for child in known if child and "." not in child][:6]
            raise ValueError(f"{type(model).__name__} has no layer {name!r}: near it are "
                             f"{', '.join(repr(other) for other in near) or 'none'}; see dict(model.named_modules())")
    return {name: known[name] for name in names}


def _parts(batch: Any) -> tuple[Tensor, Tensor, Tensor | None, Sequence[str] | None]:
    """(B, 3, H, W) image, (B, 1, H, W) depth and mask, and the images' names, of whatever holds them."""
    if isinstance(batch, tuple | list):
        image, depth, mask = (*batch, None)[:3]
        names = None
    else:
        image, depth, mask = batch.image, batch.depth, batch.mask
        names = getattr(batch, "names", None) or ([batch.name] if hasattr(batch, "name") else None)
    if depth is None:
        raise ValueError(f"image {names[0] if names else ''!r} has no depth map: response tables need one for each "
                         "image")
    if image.ndim == 3:
        image, depth, mask = image[None], depth[None], None if mask is None else mask[None]
    if image.ndim != 4 or len(image) != len(depth):
        raise ValueError(f"image {tuple(image.shape)} and depth {tuple(depth.shape)} do not fit: (B, 3, H, W) and "
                         "(B, 1, H, W) are needed")
    return image, depth, mask, names


def _labels(parts: tuple[Tensor, Tensor, Tensor | None, Any], edges: Tensor,
            device: str | torch.device | None = None) -> Tensor:
    """(B, H, W) labels on `device`; small integers on the CPU where no device is given, to be kept."""
    _, depth, mask, _ = parts
    if device is None:
        return bin_labels(depth, edges, mask).to("cpu", torch.int16)
    return bin_labels(depth.to(device), edges, None if mask is None else mask.to(device))


def _partners(labels: list[Tensor], generator: torch.Generator) -> Iterator[Tensor]:
    """For each image in turn the labels of another one: a random cycle through all, so that nobody meets itself."""
    if len(labels) < 2:
        raise ValueError(f"{len(labels)} image: shuffle='images' pairs each image with the depth of another one, so "
                         "at least two are needed")
    order = torch.randperm(len(labels), generator=generator)
    partner = torch.empty_like(order)
    partner[order] = order.roll(1)
    return (labels[i] for i in partner.tolist())


def _stack_like(labels: list[Tensor], size: tuple[int, int]) -> Tensor:
    """(B, H, W); maps of another size are resized to this one by nearest pixel."""
    def fit(label: Tensor) -> Tensor:
        if tuple(label.shape) == size:
            return label
        return F.interpolate(label[None, None].float(), size=size, mode="nearest-exact")[0, 0].to(label.dtype)

    return torch.stack([fit(label) for label in labels])


def _permuted(labels: Tensor, generator: torch.Generator) -> Tensor:
    """Valid labels change places at random within their image; invalid pixels stay where they are."""
    labels = labels.to("cpu", copy=True)
    for label in labels:
        valid = label >= 0
        values = label[valid]
        label[valid] = values[torch.randperm(len(values), generator=generator)]
    return labels


@contextmanager
def _hooked(modules: dict[str, nn.Module], hook: Any) -> Iterator[None]:
    handles = [module.register_forward_hook(hook(name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
