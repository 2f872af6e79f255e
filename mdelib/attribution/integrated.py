"""Integrated gradients (Sundararajan et al. 2017), and how far they are from adding up.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from mdelib.attribution.batches import asked, check_model, in_parts, reduce_channels
from mdelib.attribution.fills import fill_image
from mdelib.attribution.targets import Target, mean_depth

__all__ = ["completeness_error", "integrated_gradients"]

POINTS = 4  # of each piece of the way that is laid where it is needed


def integrated_gradients(model: nn.Module, image: Tensor, target: Target | None = None, *,
                         baseline: str | Tensor = "mean", steps: int = 32, tolerance: float | None = None,
                         most_steps: int = 256, batch: int = 8) -> Tensor:
    r"""Integrated gradients: the gradient's mean along the straight way from a baseline x' to the image, times the
    way.

    :math:`\sum_c (x_c - x'_c) \int_0^1 \partial_c s(x' + a (x - x'))\,da`, by captum with Gauss-Legendre points. Its
    sum over pixels is s(x) - s(x'), up to `completeness_error`. One of the three methods of cirillo2025.

    A network that normalises its features does nearly all its changes close to the baseline, where the picture
    appears, and points spread evenly over the way miss them: METER is off by tens of percent after 64. With a
    `tolerance`, the way is cut into pieces of 4 points. The piece whose own sum is farthest from the target's change
    over it is halved, again and again, until the whole adds up. It is the same integral, by captum piece by piece.

    Args:
        model, image, target: as in `mdelib.attribution.saliency`.
        baseline: a name of `mdelib.attribution.fills.FILLS`, or an image, see `fill_image`.
        steps: points of the integral; with a tolerance, of the first pieces, rounded up to a multiple of 4.
        tolerance: the largest completeness error that is wanted, or None for evenly spread points.
        most_steps: points at which an image is given up on, as it then stands.
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
    if batch < 1:
        raise ValueError(f"batch={batch}: at least one image has to go through the network at a time")
    begun = iter(fill_image(image, baseline, model=model).split(1))

    def explain(part: Tensor, question: Target) -> Tensor:  # one image at a time, with its own number of points
        origin = next(begun)
        method = IntegratedGradients(asked(model, question))

        def over(start: float, end: float, points: int) -> Tensor:
            values = method.attribute(
                torch.lerp(origin, part, end), torch.lerp(origin, part, start), n_steps=points,
                method="gausslegendre", internal_batch_size=batch, additional_forward_args=question.maps or None)
            return reduce_channels(values, "sum").to(part.dtype)

        if tolerance is None:
            return over(0.0, 1.0, steps)
        return _where_needed(over, lambda place: question(model(torch.lerp(origin, part, place))), steps, tolerance,
                             most_steps)

    return in_parts(explain, model, image, target, 1)


@torch.no_grad()
def _where_needed(over: Callable[[float, float, int], Tensor], value: Callable[[float], Tensor], steps: int,
                  tolerance: float, most_steps: int) -> Tensor:
    """The integral over pieces of the way that are halved where they do not add up.

    Args:
        over: (start, end, points) -> the part of the map that belongs to this piece. value: place -> the target there.
    """
    count = -(-steps // POINTS)
    places = [number / count for number in range(count + 1)]
    values = {place: float(value(place)) for place in places}
    pieces = []

    def lay(start: float, end: float) -> None:
        found = over(start, end, POINTS)
        pieces.append((found, start, end, float(found.double().sum()) - (values[end] - values[start])))

    for start, end in itertools.pairwise(places):
        lay(start, end)
    change = abs(values[1.0] - values[0.0])
    spent = POINTS * len(pieces)
    while abs(sum(miss for *_, miss in pieces)) > tolerance * change and spent + 2 * POINTS <= most_steps:
        spent += 2 * POINTS
        worst = max(range(len(pieces)), key=lambda number: abs(pieces[number][3]))
        _, start, end, _ = pieces.pop(worst)
        middle = (start + end) / 2
        values[middle] = float(value(middle))
        lay(start, middle)
        lay(middle, end)
    return torch.stack([found for found, *_ in pieces]).sum(0)


@torch.no_grad()
def completeness_error(model: nn.Module, image: Tensor, attribution: Tensor, target: Target | None = None, *,
                       baseline: str | Tensor = "mean", batch: int = 8) -> Tensor:
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
