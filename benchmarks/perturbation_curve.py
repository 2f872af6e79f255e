"""A perturbation curve: the library beside Quantus' PixelFlipping, wrapped to a scalar target, and a plain loop.

    python benchmarks/perturbation_curve.py [--scale full] [--set images=2 size=96,128 steps=12] [--json]

Pixels turn black, most relevant first, in equal steps until none is left, and the mean depth is asked. The library
scores RMSE, AbsRel and δ1 of the whole map beside it, which the others do not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from _timing import Contest, main, peer, same_results
from torch import Tensor, nn

from mdelib.attribution.targets import mean_depth
from mdelib.fidelity import perturbation_curve
from mdelib.models import create_model

SIZES = {"tiny": {"images": 1, "size": (32, 48), "steps": 6}, "quick": {"images": 1, "size": (96, 128), "steps": 12},
         "full": {"images": 4, "size": (96, 128), "steps": 12}}

MORE = "three scores of the whole map are computed beside the scalar; stored results are keyed to it"


class Scalar(nn.Module):
    """A depth network as a classifier with one class, its mean depth, (B, 1)."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return mean_depth()(self.network(image))[:, None]


def example(images: int, size: tuple[int, int]) -> tuple[nn.Module, Tensor, Tensor]:
    """The trained CNN of notebook 02, smooth random pictures, and relevance without ties (B, H, W)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(images, 3, 6, 8, generator=generator)
    picture = 0.05 + 0.9 * F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    order = [torch.randperm(size[0] * size[1], generator=generator) for _ in range(images)]
    relevance = (1 + torch.stack(order)).float().view(images, *size)
    return create_model("hu_resnet50", weights="rooms_cnn").eval(), picture, relevance


@torch.no_grad()
def plain_loop(network: nn.Module, image: Tensor, relevance: Tensor, steps: int) -> Tensor:
    """Image by image and step by step, (B, S)."""
    whole, rows = mean_depth()(network(image)), []
    for one, heat, full in zip(image, relevance, whole, strict=True):
        order = heat.flatten().argsort(descending=True)
        changes = []
        for step in range(1, steps + 1):
            filled = one.clone().flatten(1)
            filled[:, order[:step * len(order) // steps]] = 0
            changes.append((mean_depth()(network(filled.view_as(one)[None]))[0] - full).abs())
        rows.append(torch.stack(changes))
    return torch.stack(rows)


def quantus_curve(quantus: object, network: Scalar, image: Tensor, relevance: Tensor, steps: int) -> np.ndarray:
    """The same by PixelFlipping, whose features are the three colours of each pixel."""
    flipping = quantus.PixelFlipping(features_in_step=3 * relevance[0].numel() // steps, abs=False, normalise=False,
                                     perturb_baseline=0.0, disable_warnings=True)
    found = flipping(network, image.numpy(), np.zeros(len(image), int), a_batch=relevance.numpy()[:, None],
                     softmax=False, device="cpu", batch_size=len(image))
    with torch.no_grad():
        whole = network(image).numpy()
    return np.abs(np.asarray(found) - whole)


def curve(images: int, size: tuple[int, int], steps: int) -> Contest:
    """The values of the curve, one a step."""
    network, image, relevance = example(images, size)
    shares = [step / steps for step in range(1, steps + 1)]
    calls: dict[str, Callable[[], object]] = {
        "mdelib": lambda: perturbation_curve(network, image, relevance, fractions=shares, fill="black",
                                             target=mean_depth()).scores["target"],
        "plain loop": lambda: plain_loop(network, image, relevance, steps)}
    quantus, scalar = peer("quantus"), Scalar(network).eval()
    if quantus:
        calls["Quantus"] = lambda: quantus_curve(quantus, scalar, image, relevance, steps)
    return Contest("Perturbation curve", f"{images} images of {size[0]}×{size[1]}, {steps} steps", calls,
                   lambda: same_results(calls), 1e-3, why={"Quantus": MORE, "plain loop": MORE},
                   missing=() if quantus else ("quantus",))


CONTESTS = {"curve": curve}

if __name__ == "__main__":
    main("perturbation_curve", __doc__)
