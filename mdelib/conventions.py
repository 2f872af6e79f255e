"""What a convention does to a number: the same predictions under many protocols, and known errors under one.

Everything here keeps the predictions fixed and moves only the way they are scored, or keeps the scoring fixed and
moves the prediction in one known way. Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from mdelib.data.base import DepthBatch, resize_depth, resize_image
from mdelib.evaluation import predict, resize_prediction
from mdelib.gradients import smooth_masked
from mdelib.metrics import DepthMetrics, pool_images
from mdelib.protocols import Protocol, get_protocol

__all__ = ["Predicted", "breakages", "one_at_a_time", "predict_views", "resampled", "scaled_protocol"]

_NATIVE = (480, 640)  # NYU's size, in which the protocols' resolutions are given
_SQUARES = {"pixel": ("rmse", "rmse_log", "irmse"), "hu": ("rmse", "rmse_log", "irmse"), "image": ()}


@dataclass(frozen=True)
class Predicted:
    """Predictions of a network for some views, ready to be scored in any way.

    Attributes:
        plain: (B, 1, H, W) metres. mirrored: the same, averaged with the prediction for the mirrored image.
        target, mask: (B, 1, H, W) metres and bool.
    """

    plain: Tensor
    mirrored: Tensor
    target: Tensor
    mask: Tensor

    def per_image(self, protocol: str | Protocol) -> dict[str, Tensor]:
        """Every image's own values under a protocol, (B,) each, with the weights that pooling over pixels needs."""
        rules = get_protocol(protocol)
        size = rules.resolution or tuple(self.target.shape[-2:])
        meter = DepthMetrics(min_depth=rules.min_depth, max_depth=rules.max_depth, crop=rules.crop,
                             pooling=rules.pooling, align=rules.align, delta=rules.delta, clamp=rules.clamp)
        pred = resize_prediction(self.mirrored if rules.flip else self.plain, size)
        meter.update(pred, resize_depth(self.target, size), resize_depth(self.mask.float(), size) > 0.5)
        return meter.per_image(weights=True)

    def score(self, protocol: str | Protocol) -> dict[str, float]:
        """The twelve measures under a protocol, pooled as it says."""
        rules = get_protocol(protocol)
        return pool_images(self.per_image(rules), rules.pooling)

    def changed(self, change: Callable[[Tensor], Tensor]) -> Predicted:
        """The same views with another prediction, ``change(prediction)``."""
        return replace(self, plain=change(self.plain), mirrored=change(self.mirrored))


def predict_views(network: Callable[[Tensor], Tensor], views: DepthBatch, *, size: tuple[int, int] | None = None,
                  device: str | torch.device | None = None) -> Predicted:
    """Predict every view once as it is and once averaged with its mirror image.

    Args:
        network: maps (b, 3, h, w) RGB in [0, 1] to metres.
        views: with depth.
        size: (height, width) at which the network sees the images; None is their own.
        device: where the network runs; None is where its parameters are.

    Explained in notebooks/01_metrics_and_protocols.ipynb.
    """
    image = views.image if size is None else resize_image(views.image, size)
    plain = predict(network, image, device=device)
    other = predict(network, image.flip(-1), device=device).flip(-1)
    full = tuple(views.depth.shape[-2:])
    return Predicted(resize_prediction(plain, full), resize_prediction((plain + other) / 2, full), views.depth,
                     views.mask)


def scaled_protocol(protocol: str | Protocol, size: tuple[int, int]) -> Protocol:
    """A protocol made for NYU's 480x640 carried over to truth of another size: its resolution shrinks alike.

    Args:
        protocol: a name of `mdelib.protocols.PROTOCOLS`, or a `Protocol`.
        size: (height, width) of the truth.
    """
    rules = get_protocol(protocol)
    if rules.resolution is None:
        return rules
    rows, columns = (max(1, round(side * new / old)) for side, new, old in
                     zip(rules.resolution, size, _NATIVE, strict=True))
    return replace(rules, resolution=(rows, columns))


def one_at_a_time(base: str | Protocol, size: tuple[int, int]) -> dict[str, Protocol]:
    """A protocol with one convention moved at a time, to a choice that somebody publishes with.

    Args:
        base: the protocol to start from. size: (height, width) of the truth.

    Returns:
        What was moved, in words -> the moved protocol.
    """
    rules = get_protocol(base)
    small = scaled_protocol("meter_nyu", size).resolution
    changes = {
        "whole view, no crop": {"crop": None}, "Hu et al.'s crop": {"crop": "hu_centre"},
        "only depths below 5 m": {"max_depth": 5.0}, "depths from 0.5 m on": {"min_depth": 0.5},
        "pooled over all pixels": {"pooling": "pixel"}, "roots after the mean over images": {"pooling": "hu"},
        "median scale given": {"align": "median"}, "scale and shift given": {"align": "lstsq"},
        "no clamping": {"clamp": False}, "averaged with the mirror image": {"flip": True},
        f"compared at {small[0]}×{small[1]}": {"resolution": small}, "ratio ≤ 1.25 instead of <": {"delta": "<="}}
    return {words: replace(rules, **change) for words, change in changes.items()}


def breakages(depth: Tensor, mask: Tensor, *, rmse: float | None = None, sigma: float = 2.0,
              seed: int = 0) -> dict[str, Tensor]:
    """A perfect prediction broken in seven ways, all with the same root mean square error over the mask.

    Args:
        depth: (1, 1, H, W) true depth, metres. mask: (1, 1, H, W) bool.
        rmse: metres; by default that of a Gaussian blur of `sigma` pixels.
        seed: of the noise and of the choice of outliers.

    Returns:
        Word -> broken depth of the same shape: ``scale`` and ``shift`` are the same factor or the same metres
        everywhere, ``near quarter`` and ``far quarter`` shift a quarter of the pixels, ``outliers`` one in a hundred,
        ``noise`` is Gaussian in every pixel. Each is a fixed pattern times the factor that gives the wanted RMSE;
        all but noise and blur make things farther, and nothing comes nearer than 5 cm.

    Raises:
        ValueError: a mask without any pixel.

    Explained in notebooks/01_metrics_and_protocols.ipynb.
    """
    if not mask.any():
        raise ValueError("the mask has no pixel: choose a view in which some depth is known")
    random = torch.Generator().manual_seed(seed)
    near, far = torch.quantile(depth[mask][:2**24], torch.tensor([0.25, 0.75], dtype=depth.dtype))
    chosen = torch.rand(depth.shape, generator=random)
    count = max(1, round(0.01 * int(mask.sum())))
    limit = chosen[mask].kthvalue(count).values
    patterns = {
        "scale": depth,
        "shift": torch.ones_like(depth),
        "near quarter": (depth <= near).to(depth.dtype),
        "far quarter": (depth >= far).to(depth.dtype),
        "noise": torch.randn(depth.shape, generator=random).to(depth.dtype),
        "blur": smooth_masked(depth, mask, sigma) - depth,
        "outliers": (chosen <= limit).to(depth.dtype)}
    sizes = {words: float(pattern[mask].square().mean().sqrt()) for words, pattern in patterns.items()}
    wanted = sizes["blur"] if rmse is None else rmse
    return {words: (depth + pattern * (wanted / max(sizes[words], 1e-12))).clamp_min(0.05)
            for words, pattern in patterns.items()}


def resampled(per_image: dict[str, Tensor], measure: str, pooling: str = "image", *, level: float = 0.95,
              draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Bootstrap interval of a pooled measure over the choice of test views.

    Args:
        per_image: (N,) per measure, as `Predicted.per_image` gives it. measure: its name.
        pooling: ``"image"``, ``"pixel"`` or ``"hu"``.
        level: of the interval. draws: resamples of N views with replacement. seed: of the resampling.

    Raises:
        ValueError: silog or si pooled over pixels, which need more than every image's own value.
    """
    if pooling == "pixel" and measure in ("silog", "si"):
        raise ValueError(f"{measure} pooled over pixels cannot be resampled from every image's own value: use "
                         "pooling='image', or another measure")
    values = per_image[measure].double().numpy()
    counts = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), size=draws)
    weights = counts * per_image["pixels"].double().numpy() if pooling == "pixel" else counts
    squared = measure in _SQUARES[pooling]
    means = weights @ (values**2 if squared else values) / weights.sum(1)
    low, high = np.quantile(np.sqrt(means) if squared else means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
