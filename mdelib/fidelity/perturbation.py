"""Perturbation curves: fill the pixels that an attribution ranks first or last, and see what the depth map does.

Explained in notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mdelib.attribution.batches import check_model
from mdelib.attribution.fills import fill_image
from mdelib.attribution.occlusion import cell_numbers, occlusion
from mdelib.attribution.targets import Target, error_to
from mdelib.metrics import per_image_metrics
from mdelib.models.base import check_image
from mdelib.protocols import require_known

__all__ = ["FRACTIONS", "ORDERS", "SCORES", "PerturbationCurve", "check_attribution", "perturbation_curve",
           "pixel_ranks"]

FRACTIONS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)  # the paper perturbs 1 to 50 %; which steps is not said
ORDERS = ("most", "least", "random", "oracle")
SCORES = ("rmse", "abs_rel", "delta1")
TIES = ("position", "random")


@dataclass(frozen=True)
class PerturbationCurve:
    """What happened to a batch of depth maps while more and more pixels were filled.

    Attributes:
        order, fill: how pixels were chosen and what they became; a fill of your own is called ``"given"``.
        fractions: (F,) of the pixels, ascending.
        scores: name -> (B, F) float64. `SCORES` against the depth of the whole image; ``<score>_truth`` against the
            truth; ``"target"``, |s(x') - s(x)|, in the target's unit.
    """

    order: str
    fill: str
    fractions: Tensor
    scores: dict[str, Tensor]


def perturbation_curve(model: nn.Module, image: Tensor, attribution: Tensor | None, *, order: str = "most",
                       fractions: Sequence[float] = FRACTIONS, fill: str | Tensor = "mean",
                       target: Target | None = None, truth: Tensor | None = None, mask: Tensor | None = None,
                       magnitude: bool = True, ties: str = "position", block: int = 1, cell: int = 16, batch: int = 8,
                       seed: int = 0) -> PerturbationCurve:
    """Errors of the depth map after the first f of the pixels in an order were filled, for several f.

    Exactly round(f H W) pixels are filled, whatever the values: pixels are ranked, not compared with a threshold.

    Args:
        model: images (B, 3, H, W) -> depth (B, 1, H, W) in metres, in evaluation mode.
        image: (B, 3, H, W), RGB in [0, 1].
        attribution: (B, H, W); None for the orders that need none.
        order: ``"most"`` relevant first · ``"least"`` first · ``"random"``, another order for each image ·
            ``"oracle"``, the cells of `occlusion` that change the depth map most when they are filled alone.
        fractions: ascending, in [0, 1].
        fill: as in `mdelib.attribution.fill_image`.
        target: also scored, if given.
        truth, mask: (B, 1, H, W) metres and bool; if given, the scores against the truth as well.
        magnitude: rank signed maps by their magnitude, as the scores know no sign either; otherwise by value.
        ties: equal values are ranked by ``"position"``, row by row, or ``"random"``, by one fixed order of the pixels.
        block: side of the squares that are filled together, ranked by their mean; 1 fills pixel by pixel, which leaves
            a grain that the network has never seen, and the more of it the smoother the picture was there.
        cell: of the oracle.
        batch: the most images in the network at a time, perturbed copies counted: memory does not grow with
            fractions or images.
        seed: of random orders and of noise.

    Raises:
        ValueError: unknown order, fill or ties; fractions outside [0, 1] or not ascending; an attribution of another
            size, constant, or not finite; a network in training mode.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    check_image(image)
    check_model(model)
    require_known("order", order, ORDERS)
    shares = _checked_fractions(fractions)
    if batch < 1 or block < 1:
        raise ValueError(f"batch={batch}, block={block}: at least one image has to go through the network at a time, "
                         "and a block has at least one pixel")
    if truth is not None and truth.shape != (len(image), 1, *image.shape[-2:]):
        raise ValueError(f"truth {tuple(truth.shape)} and image {tuple(image.shape)} do not fit: expected depth "
                         "(B, 1, H, W) at the image's size")
    instead = fill_image(image, fill, model=model, seed=seed)
    counts = (shares * image.shape[-2] * image.shape[-1]).round().long()
    found: dict[str, list[Tensor]] = {}
    with torch.no_grad():
        full = torch.cat([model(part) for part in image.split(batch)])
        if order == "oracle":
            alone = error_to(full, mask=None if mask is None else mask)
            attribution = occlusion(model, image, alone, cell=cell, fill=instead, batch=batch)
        ranks = pixel_ranks(_needed(attribution, image, order), order, magnitude=magnitude, ties=ties, block=block,
                            seed=seed)
        for index in range(len(image)):
            one = slice(index, index + 1)
            question = None if target is None else target.of(one, len(image))
            rows: dict[str, list[Tensor]] = {}
            for part in counts.split(batch):
                gone = ranks[one, None] < part.to(ranks.device).view(-1, 1, 1, 1)
                depth = model(torch.where(gone, instead[one], image[one]))
                for name, values in _scores(depth, full[one], question, None if truth is None else truth[one],
                                            None if mask is None else mask[one]).items():
                    rows.setdefault(name, []).append(values)
            for name, values in rows.items():
                found.setdefault(name, []).append(torch.cat(values))
    return PerturbationCurve(order, fill if isinstance(fill, str) else "given", shares,
                             {name: torch.stack(rows) for name, rows in found.items()})


def pixel_ranks(attribution: Tensor, order: str = "most", *, magnitude: bool = True, ties: str = "position",
                block: int = 1, seed: int = 0) -> Tensor:
    """The place of every pixel in the order in which pixels are filled, (B, H, W) from 0.

    Args:
        attribution: (B, H, W) finite. order, magnitude, ties, block, seed: as in `perturbation_curve`; the oracle's
            order is that of ``"most"``. The pixels of a block come one after the other; the last one may be cut.

    Raises:
        ValueError: unknown order or ties.
    """
    require_known("order", order, ORDERS)
    require_known("ties", ties, TIES)
    values = attribution.detach().flatten(1)
    batch, count = values.shape
    if order == "random":
        draws = [torch.rand(count, generator=torch.Generator().manual_seed(seed + index)) for index in range(batch)]
        values = torch.stack(draws).to(values.device)
    values = values.abs() if magnitude else values
    if block > 1:
        cells = cell_numbers(*attribution.shape[-2:], block).flatten().to(values.device)
        means = values.new_zeros(batch, int(cells[-1]) + 1).index_add(1, cells, values) / cells.bincount()
        _, of_cell = means.sort(dim=1, descending=order != "least", stable=True)
        values = torch.empty_like(of_cell).scatter_(1, of_cell, torch.arange(
            of_cell.shape[1], device=values.device).expand(batch, -1))[:, cells]  # the place of each pixel's block
        order = "least"
    places = torch.arange(count) if ties == "position" else torch.randperm(
        count, generator=torch.Generator().manual_seed(seed))
    places = places.to(values.device)
    sorted_places = places[values[:, places].sort(dim=1, descending=order != "least", stable=True).indices]
    ranks = torch.empty_like(sorted_places)
    ranks.scatter_(1, sorted_places, torch.arange(count, device=values.device).expand(batch, count))
    return ranks.view_as(attribution)


def check_attribution(attribution: Tensor, size: tuple[int, ...]) -> None:
    """Refuse a map that does not fit, is not finite, or says the same of every pixel.

    Args:
        attribution: should be (B, H, W). size: the (B, H, W) wanted.

    Raises:
        ValueError: such a map; the image is named.
    """
    if tuple(attribution.shape) != tuple(size):
        raise ValueError(f"an attribution of shape {tuple(attribution.shape)} came: expected {tuple(size)}, one "
                         "value for every pixel of every image, (B, H, W)")
    for index, one in enumerate(attribution):
        if not torch.isfinite(one).all():
            raise ValueError(f"the attribution of image {index} is not finite at "
                             f"{int((~torch.isfinite(one)).sum())} of {one.numel()} pixels: pixels cannot be ranked; "
                             "look at the network or the target")
        if one.min() == one.max():
            raise ValueError(f"the attribution of image {index} is {float(one.flatten()[0]):g} at every pixel: a "
                             "constant map prefers no pixel; choose another target or method, or order='random'")


def _needed(attribution: Tensor | None, image: Tensor, order: str) -> Tensor:
    if order == "random" and attribution is None:
        return image[:, 0]
    if attribution is None:
        raise ValueError(f"order {order!r} needs an attribution (B, H, W), None came: give one, or choose "
                         "order='random' or 'oracle'")
    if order != "random":
        check_attribution(attribution, (len(image), *image.shape[-2:]))
    return attribution


def _checked_fractions(fractions: Sequence[float]) -> Tensor:
    shares = torch.as_tensor(fractions, dtype=torch.float64)
    if shares.ndim != 1 or not len(shares) or not ((shares >= 0) & (shares <= 1)).all() or (shares.diff() <= 0).any():
        raise ValueError(f"fractions={tuple(fractions)}: shares of the pixels in [0, 1] are needed, each larger "
                         "than the one before")
    return shares


def _scores(depth: Tensor, full: Tensor, target: Target | None, truth: Tensor | None, mask: Tensor | None
            ) -> dict[str, Tensor]:
    """(F,) a score: of F depth maps against the depth of the whole image, the truth and the target's answer."""
    found = {}
    for ending, reference, known in (("", full, None), ("_truth", truth, mask)):
        if reference is None:
            continue
        everywhere = None if known is None else known.expand_as(depth)
        errors = per_image_metrics(depth, reference.expand_as(depth), everywhere, max_depth=float("inf"))
        found |= {name + ending: errors[name] for name in SCORES}
    if target is not None:
        found["target"] = (target(depth) - target(full)).abs().double()
    return found
