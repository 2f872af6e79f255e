"""Integrated gradients (Sundararajan et al. 2017), and how far they are from adding up.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from mdelib.attribution.batches import asked, check_model, in_parts, reduce_channels
from mdelib.attribution.fills import fill_image
from mdelib.attribution.targets import Target, mean_depth

__all__ = ["completeness_error", "integrated_gradients"]


def integrated_gradients(model: nn.Module, image: Tensor, target: Target | None = None, *,
                         baseline: str | Tensor = "black", steps: int = 32, tolerance: float | None = None,
                         most_steps: int = 512, batch: int = 8) -> Tensor:
    r"""Integrated gradients: the gradient's mean along the straight way from a baseline x' to the image, times the
    way.

    :math:`\sum_c (x_c - x'_c) \int_0^1 \partial_c s(x' + a (x - x'))\,da`, by captum with Gauss-Legendre points. Its
    sum over pixels is s(x) - s(x'), up to `completeness_error`. One of the three methods of cirillo2025.

    Args:
        model, image, target: as in `mdelib.attribution.saliency`.
        baseline: a name of `mdelib.attribution.fills.FILLS`, or an image, see `fill_image`.
        steps: points of the integral.
        tolerance: if given, the steps are doubled for each image until its completeness error is no larger, or
            `most_steps` would be passed.
        batch: the most images in the network at a time, points counted: memory does not grow with `steps` or images.

    Returns:
        (B, H, W), signed, in the target's unit.

    Raises:
        ValueError: no step, a tolerance that is not positive, or as in `saliency`.

    Explained in notebooks/13_attribution.ipynb.
    """
    if steps < 1 or most_steps < steps or (tolerance is not None and not tolerance > 0):
        raise ValueError(f"steps={steps}, most_steps={most_steps}, tolerance={tolerance}: choose 1 or more steps, at "
                         "least as many at most, and a positive tolerance or None")
    start = fill_image(image, baseline, model=model)
    begun = iter(start.split(1))

    def explain(part: Tensor, question: Target) -> Tensor:  # one image at a time, with its own number of steps
        origin, count = next(begun), steps
        while True:
            values = IntegratedGradients(asked(model, question)).attribute(
                part, origin, n_steps=count, method="gausslegendre", internal_batch_size=batch,
                additional_forward_args=question.maps or None)
            found = reduce_channels(values, "sum")
            if tolerance is None or 2 * count > most_steps:
                return found
            if float(completeness_error(model, part, found, question, baseline=origin)) <= tolerance:
                return found
            count *= 2

    if batch < 1:
        raise ValueError(f"batch={batch}: at least one image has to go through the network at a time")
    return in_parts(explain, model, image, target, 1)


@torch.no_grad()
def completeness_error(model: nn.Module, image: Tensor, attribution: Tensor, target: Target | None = None, *,
                       baseline: str | Tensor = "black", batch: int = 8) -> Tensor:
    r"""How far an attribution is from adding up, as a share of the target's change.

    :math:`|\sum_i a_i - (s(x) - s(x'))| / |s(x) - s(x')|`: 0 where the map tells the whole change, 1 for a map of
    zeros.

    Args:
        model, image, target, baseline: as in `integrated_gradients`.
        attribution: (B, H, W), signed.
        batch: images at a time.

    Returns:
        (B,) float64; NaN where the target does not change at all.

    Raises:
        ValueError: an attribution of another size, or a network in training mode.

    Explained in notebooks/13_attribution.ipynb.
    """
    check_model(model)
    if attribution.shape != (len(image), *image.shape[-2:]):
        raise ValueError(f"attribution {tuple(attribution.shape)} and image {tuple(image.shape)} do not fit: expected "
                         "one value for every pixel, (B, H, W)")
    chosen = mean_depth() if target is None else target
    start = fill_image(image, baseline, model=model)
    change = []
    for first in range(0, len(image), batch):
        part = slice(first, first + batch)
        question = chosen.of(part, len(image))
        change.append((question(model(image[part])) - question(model(start[part]))).double())
    change = torch.cat(change)
    gap = (attribution.double().flatten(1).sum(1) - change).abs()
    return torch.where(change != 0, gap / change.abs(), torch.nan)
