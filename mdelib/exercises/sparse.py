"""Exercises on sparse pixels: notebook 05.

Explained in notebooks/05_sparse_pixels.ipynb.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from mdelib.checks import Exercise
from mdelib.sparse.masks import keep_fraction
from mdelib.sparse.measures import overlap

__all__ = ["EXERCISES"]


def _masked(image: Tensor, mask: Tensor, mean: Tensor) -> Tensor:
    return mean[:, None, None] + mask * (image - mean[:, None, None])


def _pictures(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor, Tensor]]]:
    """Images (3, H, W), masks (H, W) of shares, mean colours (3,)."""
    mean = torch.tensor([0.485, 0.456, 0.406])
    image, mask = torch.rand(3, 5, 7, generator=generator), torch.rand(5, 7, generator=generator)
    yield "a mask of shares", (image, mask, mean)
    yield "a mask of zeros and ones", (image, (mask > 0.5).float(), mean)
    yield "a mask that keeps nothing", (image, torch.zeros(5, 7), mean)


def _scores(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, int]]]:
    """Scores (H, W), and how many pixels to keep."""
    yield "scores from 0 to 1", (torch.rand(6, 8, generator=generator), 12)
    yield "scores near 0", (1e-6 * torch.rand(4, 4, generator=generator), 5)
    yield "a count of all pixels", (torch.rand(3, 4, generator=generator), 12)


def _keep(scores: Tensor, count: int) -> Tensor:
    return keep_fraction(scores[None, None], count / scores.numel())[0, 0]


def _regions(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Masks (H, W) of shares and regions (H, W) bool."""
    mask, region = torch.rand(6, 8, generator=generator), torch.rand(6, 8, generator=generator) > 0.7
    yield "shares and a scattered region", (mask, region)
    yield "a mask that is the region", (region.float(), region)
    yield "a mask with many equal values", ((4 * mask).round() / 4, region)


def _auc(mask: Tensor, region: Tensor) -> Tensor:
    return overlap(mask[None, None], region[None, None])["auc"][0]


def _strict(mask: Tensor, region: Tensor) -> Tensor:
    return (mask[region][:, None] > mask[~region]).double().mean()


EXERCISES = {
    "masked_picture": Exercise(_masked, _pictures, (
        (lambda image, mask, mean: image * mask, "that fills with black, which is far from the colour a network "
                                                 "expects on average: fill with the mean colour"),
        (lambda image, mask, mean: mean[:, None, None] + (1 - mask) * (image - mean[:, None, None]),
         "a mask of 1 keeps the pixel"),
        (lambda image, mask, mean: image * mask + mean[:, None, None], "a kept pixel must come out unchanged: the "
                                                                       "mean colour replaces, it is not added"),
        (lambda image, mask, mean: mean[:, None, None] + (mask > 0.5) * (image - mean[:, None, None]),
         "a share between 0 and 1 mixes the pixel with the colour; it is not rounded"),
        (lambda image, mask, mean: image * mask + (1 - mask) * image.mean((1, 2))[:, None, None],
         "fill with the given colour, which is that of all images, not with that of this image"),
    )),
    "keep_best": Exercise(_keep, _scores, (
        (lambda scores, count: scores > 0.5, "that is a threshold: how many pixels it keeps depends on the scores"),
        (lambda scores, count: scores <= scores.flatten().kthvalue(count).values, "those are the smallest scores"),
        (lambda scores, count: scores > scores.flatten().sort(descending=True).values[count - 1],
         "that is one too few: the last of the best belongs to them"),
        (lambda scores, count: scores > scores.mean(), "the mean does not know how many are wanted"),
    )),
    "mask_auc": Exercise(_auc, _regions, (
        (_strict, "ties count half"),
        (lambda mask, region: mask[region].mean() - mask[~region].mean(),
         "that is a difference of means: count the pairs in which the one inside is larger"),
        (lambda mask, region: 1 - _auc(mask, region), "larger inside than outside, not the other way round"),
        (lambda mask, region: mask[region].sum() / mask.sum(), "that is the share of the mask in the region; compare "
                                                               "pairs of pixels, one inside and one outside"),
    )),
}
