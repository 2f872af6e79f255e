"""Integrated gradients of a depth network: the library, which stands on captum, beside captum itself.

    python benchmarks/integrated_gradients.py [--scale full] [--set images=2 size=96,128 steps=32] [--json]

Once with the same points, where nothing may be lost to the library; once up to the same completeness, where captum's
evenly spread points are doubled until the map adds up to one percent and the library lays points where they are
needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from _timing import Contest, apart, main, same_results
from captum.attr import IntegratedGradients
from torch import Tensor, nn

from mdelib.attribution import completeness_error, integrated_gradients
from mdelib.attribution.targets import mean_depth
from mdelib.models import create_model

SIZES = {"tiny": {"images": 1, "size": (32, 32), "steps": 4, "tolerance": 0.1},
         "quick": {"images": 1, "size": (48, 64), "steps": 16},
         "full": {"images": 2, "size": (96, 128), "steps": 16}}
BATCH = 8  # images in the network at a time, on both sides
MOST = 256  # points


def example(images: int, size: tuple[int, int]) -> tuple[nn.Module, Tensor]:
    """The CNN of notebook 02, trained, and smooth random pictures (B, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(images, 3, 6, 8, generator=generator)
    picture = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    return create_model("hu_resnet50", weights="rooms_cnn").eval(), picture


def captum_map(network: nn.Module, image: Tensor, steps: int) -> Tensor:
    """Evenly chosen points by captum, (B, H, W)."""
    method = IntegratedGradients(lambda part: mean_depth()(network(part)))
    start = network.mean.view(1, 3, 1, 1).expand_as(image)
    return method.attribute(image, start, n_steps=steps, method="gausslegendre", internal_batch_size=BATCH).sum(1)


def same_points(images: int, size: tuple[int, int], steps: int, **_: float) -> Contest:
    """The same integral with the same points."""
    network, image = example(images, size)
    calls: dict[str, Callable[[], Tensor]] = {
        "mdelib": lambda: integrated_gradients(network, image, mean_depth(), steps=steps, batch=BATCH),
        "captum": lambda: captum_map(network, image, steps)}
    what = f"{images} images of {size[0]}×{size[1]}, {steps} points"
    return Contest("Integrated gradients, same points", what, calls, lambda: same_results(calls), 1e-3)


def same_completeness(images: int, size: tuple[int, int], steps: int, tolerance: float = 0.01) -> Contest:
    """As many points as one percent (or `tolerance`) takes, or `MOST`; smaller pictures, for captum takes many."""
    images, size = 1, (max(32, size[0] // 2), max(32, size[1] // 2))
    network, image = example(images, size)

    def doubled() -> Tensor:
        return torch.cat([_doubled(network, one, steps, tolerance) for one in image.split(1)])

    calls = {"mdelib": lambda: integrated_gradients(network, image, mean_depth(), steps=steps, tolerance=tolerance,
                                                    most_steps=MOST, batch=BATCH), "captum, doubled": doubled}

    def differences() -> dict[str, float]:
        """Both add up alike; the maps themselves need not agree to that."""
        ours, other = (call() for call in calls.values())
        return {"captum, doubled": apart(other.flatten(1).sum(1), ours.flatten(1).sum(1))}

    return Contest(f"Integrated gradients to {tolerance:.0%}", f"{images} images of {size[0]}×{size[1]}", calls,
                   differences, 5 * tolerance)


def _doubled(network: nn.Module, image: Tensor, steps: int, tolerance: float) -> Tensor:
    for points in itertools.count():
        found = captum_map(network, image, steps * 2**points)
        if steps * 2**points >= MOST or float(completeness_error(network, image, found)) <= tolerance:
            return found
    raise AssertionError("unreachable")


CONTESTS = {"points": same_points, "completeness": same_completeness}

if __name__ == "__main__":
    main("integrated_gradients", __doc__)
