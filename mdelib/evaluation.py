"""Predicting with a network and scoring it under a named protocol, streaming over a data set.

Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.data.base import DepthData, View, resize_depth, resize_image
from mdelib.metrics import METRICS, DepthMetrics, pool_images, valid_pixels
from mdelib.protocols import Protocol, get_protocol

__all__ = ["evaluate", "pooled", "predict", "resize_prediction", "score", "score_images"]


def score(pred: Tensor, target: Tensor, mask: Tensor | None, protocol: str | Protocol) -> dict[str, float]:
    """The twelve measures of `depth_metrics` under a protocol.

    Args:
        pred: (B, 1, h, w), metres; brought to the truth's size bilinearly where it differs.
        target, mask: (B, 1, H, W), metres and bool. Where the protocol has a resolution of its own, all three are
            brought to it: the prediction bilinearly, the truth by nearest pixel.
        protocol: a name of `mdelib.protocols.PROTOCOLS`, or a `Protocol`.

    Returns:
        Twelve floats. Flip averaging is `predict`'s to do: see the protocol's `flip`.
    """
    protocol = get_protocol(protocol)
    return _meter(protocol).update(*_at_resolution(pred, target, mask, protocol)).compute()


def score_images(pred: Tensor, target: Tensor, mask: Tensor | None,
                 protocol: str | Protocol) -> dict[str, Tensor]:
    """As `score`, for every image: (B,) float64 per measure, not pooled."""
    protocol = get_protocol(protocol)
    return _meter(protocol).update(*_at_resolution(pred, target, mask, protocol)).per_image()


def predict(model: Callable[[Tensor], Tensor], image: Tensor, *, flip: bool = False, batch: int = 16,
            device: str | torch.device | None = None) -> Tensor:
    """Depth of images, without gradients, in evaluation mode (the model's own mode is restored).

    Args:
        model: maps (b, 3, H, W) RGB in [0, 1] to (b, 1, h, w) metres.
        image: (B, 3, H, W) RGB in [0, 1], on any device; it moves to the model's in batches.
        flip: average with the prediction for the mirrored image, mirrored back.
        batch: images at a time.
        device: where the images go; None is where the model's parameters are.

    Returns:
        (B, 1, H, W) metres on the image's device.

    Raises:
        ValueError: an image that is not (B, 3, H, W), or a model whose output is not (b, 1, h, w).
    """
    if image.ndim != 4 or image.shape[1] != 3:
        raise ValueError(f"image has the shape {tuple(image.shape)}: (B, 3, H, W) is needed; add the batch "
                         "axis with image[None]")
    if batch < 1:
        raise ValueError(f"batch is {batch}: at least one image at a time is needed")
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    if device is None:
        device = image.device if parameter is None else parameter.device
    parts = []
    with _evaluating(model), torch.no_grad():
        for chunk in image.split(batch):
            chunk = chunk.to(device)
            depth = _checked(model(chunk), chunk)
            if flip:
                depth = (depth + _checked(model(chunk.flip(-1)), chunk).flip(-1)) / 2
            parts.append(resize_prediction(depth.float(), tuple(image.shape[-2:])).to(image.device))
    return torch.cat(parts)


def evaluate(model: Callable[[Tensor], Tensor], data: DepthData, protocol: str | Protocol, *,
             size: tuple[int, int] | None = None, batch: int = 16, device: str | torch.device | None = None,
             extra: Callable[..., dict[str, Tensor]] | None = None
             ) -> tuple[tuple[str, ...], dict[str, Tensor]]:
    """Score a network on a data set at the truth's own resolution, holding only one batch in memory.

    Args:
        model: as in `predict`.
        data: views with depth; they may be of different sizes.
        protocol: a name of `mdelib.protocols.PROTOCOLS`, or a `Protocol`; its `flip` is honoured.
        size: (height, width) at which the network sees the images; None is their own. The prediction is
            brought back to the truth's size bilinearly (align_corners=False).
        batch: images at a time.
        device: where the images go; None is where the model's parameters are.
        extra: further measures, for example `mdelib.edges.region_errors`: called as extra(pred, target, mask)
            with metres and the pixels that count under the protocol, gives (B,) values per measure.

    Returns:
        The images' names, and (N,) float64 per measure in that order, which is what paired comparisons need;
        `pooled` makes one number of each. Protocols that pool over pixels get ``pixels`` and ``log_bias`` beside.

    Raises:
        ValueError: a view without depth or without a valid pixel, by name.

    Explained in notebooks/01_metrics_and_protocols.ipynb.
    """
    protocol = get_protocol(protocol)
    meter = _meter(protocol)
    further: list[dict[str, Tensor]] = []
    for views in _chunks(data, size, batch):
        images = torch.stack([resize_image(view.image, size or view.image.shape[-2:]) for view in views])
        predictions = predict(model, images, flip=protocol.flip, batch=batch, device=device)
        for view, prediction in zip(views, predictions, strict=True):
            pred, target, mask = _at_resolution(prediction[None], view.depth[None], view.mask[None], protocol)
            meter.update(pred, target, mask, names=[view.name])
            if extra is not None:
                counted = valid_pixels(pred, target, mask, min_depth=protocol.min_depth,
                                       max_depth=protocol.max_depth, crop=protocol.crop)
                further.append(extra(pred, target, counted))
    per_image = meter.per_image(weights=protocol.pooling == "pixel")
    for key in further[0] if further else ():
        per_image[key] = torch.cat([values[key].double() for values in further])
    return tuple(data.names), per_image


def pooled(per_image: dict[str, Tensor], protocol: str | Protocol) -> dict[str, float]:
    """One number per measure, from what `evaluate` gives.

    The twelve depth errors are pooled as the protocol says, further measures averaged over the images that
    have one (NaN where none has).

    Raises:
        ValueError: pooling over pixels of values measured under a protocol that pools otherwise.
    """
    numbers = pool_images(per_image, get_protocol(protocol).pooling)
    others = {key: values for key, values in per_image.items() if key not in (*METRICS, "pixels", "log_bias")}
    return numbers | {key: float(values.nanmean()) for key, values in others.items()}


def resize_prediction(depth: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring (B, 1, h, w) predicted depth to `size` = (height, width), bilinearly."""
    if tuple(depth.shape[-2:]) == tuple(size):
        return depth
    return F.interpolate(depth, size=tuple(size), mode="bilinear", align_corners=False)


def _meter(protocol: Protocol) -> DepthMetrics:
    fields = ("min_depth", "max_depth", "crop", "pooling", "align", "delta", "clamp")
    return DepthMetrics(**{name: getattr(protocol, name) for name in fields})


def _at_resolution(pred: Tensor, target: Tensor, mask: Tensor | None,
                   protocol: Protocol) -> tuple[Tensor, Tensor, Tensor | None]:
    size = protocol.resolution or tuple(target.shape[-2:])
    if mask is not None:
        mask = resize_depth(mask.float(), size) > 0.5
    return resize_prediction(pred, size), resize_depth(target, size), mask


def _chunks(data: DepthData, size: tuple[int, int] | None, batch: int) -> Iterator[Sequence[View]]:
    """Views in order, at most `batch` at a time and of one image size where they are not resized."""
    chunk: list[View] = []
    for index in range(len(data)):
        view = data[index]
        if view.depth is None or view.mask is None:
            raise ValueError(f"view {view.name!r} of {data.info.name!r} has no depth map to score against: "
                             "leave it out, or use predict() on its image")
        other = size is None and chunk and view.image.shape != chunk[0].image.shape
        if len(chunk) == batch or other:
            yield chunk
            chunk = []
        chunk.append(view)
    yield chunk


def _checked(depth: Tensor, image: Tensor) -> Tensor:
    if not isinstance(depth, Tensor) or depth.ndim != 4 or depth.shape[:2] != (len(image), 1):
        seen = tuple(depth.shape) if isinstance(depth, Tensor) else type(depth).__name__
        raise ValueError(f"the model gave {seen} for images {tuple(image.shape)}: (B, 1, h, w) metres are "
                         "needed; mdelib.models.wrap adapts other networks")
    return depth


@contextmanager
def _evaluating(model: object) -> Iterator[None]:
    """Evaluation mode for the time being; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules()] if isinstance(model, nn.Module) else []
    try:
        if modes:
            model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training
