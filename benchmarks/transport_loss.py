"""The transport losses: on values against POT's batched solver, in the image against geomloss and POT's exact one.

    python benchmarks/transport_loss.py [--scale full] [--set batch=8 size=192,256 grid=32] [--json]

Depth maps are smooth and random, float32; values alone and with the gradient of the prediction. In the image, mass is
summed in the cells of a square grid first, and all ways get the same cells in float64. geomloss halves the squared
distance, which is undone here; it removes the bias of entropy by two more transports, we by a second temperature, and
POT's network simplex has none. geomloss runs down its temperatures once and stops, some percent off.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import ot
import torch
import torch.nn.functional as F
from _timing import Contest, apart, main, peer, same_results
from torch import Tensor

from mdelib.transport import depth_mass, image_transport, pool_area, transport_loss

SIZES = {"tiny": {"batch": 2, "size": (16, 16), "grid": 8}, "quick": {"batch": 4, "size": (96, 128), "grid": 16},
         "full": {"batch": 8, "size": (192, 256), "grid": 24}}
KNOTS = ("the way back through the cumulated masses, in float64, takes longer than the value; stored results are "
         "keyed to it")
SIMPLEX = ("one image at a time on small grids the network simplex is quicker; ours runs in batches and on GPUs, and "
           "stored results are keyed to it")


def example(batch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Two batches of smooth depth maps with fine noise, 0.5 to 9.5 m, (B, 1, H, W)."""
    generator = torch.Generator().manual_seed(0)
    maps = []
    for _ in range(2):
        coarse = torch.rand(batch, 1, 6, 8, generator=generator)
        smooth = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        maps.append(0.5 + 8 * smooth + torch.rand(smooth.shape, generator=generator))
    return maps[0], maps[1]


def on_values(mass: str, batch: int, size: tuple[int, int], *, slope: bool = True) -> Contest:
    """ground="depth": the library and `ot.wasserstein_1d`, with the gradient of the prediction or without."""
    pred, target = example(batch, size)
    x, y = (depth.flatten(1).T.contiguous() for depth in (pred, target))

    def theirs(x: Tensor, y: Tensor) -> Tensor:
        weights = (x / x.sum(0), y / y.sum(0)) if mass == "depth" else (None, None)
        return ot.wasserstein_1d(x, y, *weights, p=2).mean()

    def ours(depth: Tensor) -> Tensor:
        return transport_loss(depth, target, ground="depth", mass=mass)

    def gradient(loss: Callable[..., Tensor], depth: Tensor, *others: Tensor) -> Tensor:
        start = depth.clone().requires_grad_()
        loss(start, *others).backward()
        return start.grad

    def differences() -> dict[str, float]:
        value = apart(theirs(x.double(), y.double()), ours(pred))
        exact = gradient(theirs, x.double(), y.double()).T.reshape(pred.shape)
        return {"POT": max(value, apart(exact, gradient(ours, pred)))}

    calls = {"mdelib": lambda: gradient(ours, pred), "POT": lambda: gradient(theirs, x, y)}
    if not slope:
        calls = {"mdelib": lambda: ours(pred), "POT": lambda: theirs(x, y)}
    what = f"{batch} maps of {size[0]}×{size[1]}, {'value and gradient' if slope else 'value'}"
    return Contest(f"Transport on values, mass {mass}", what, calls, differences, 1e-3, asked={"POT": 3.0},
                   why={"POT": KNOTS} if slope else {})


def in_image(batch: int, size: tuple[int, int], grid: int) -> Contest:
    """ground="space" on a square grid: the library, geomloss's multiscale Sinkhorn, POT's network simplex."""
    batch = max(1, batch // 2)
    pred, target = (pool_area(depth_mass(depth[:, 0], torch.ones_like(depth[:, 0], dtype=torch.bool)),
                              (grid, grid)).double() for depth in example(batch, size))
    place = np.stack(np.meshgrid(*[np.arange(grid) / grid] * 2, indexing="ij"), -1).reshape(-1, 2)
    cost = ((place[:, None] - place) ** 2).sum(2)
    calls: dict[str, Callable[[], object]] = {
        "mdelib": lambda: image_transport(pred[:, None], target[:, None], grid=(grid, grid)),
        "POT, exact": lambda: [ot.emd2(a, b, cost) for a, b in zip(pred.flatten(1).numpy(), target.flatten(1).numpy(),
                                                                  strict=True)]}
    geomloss = peer("geomloss")
    if geomloss:  # its solver for grids needs a compiler at run time
        loss = geomloss.SamplesLoss("sinkhorn", p=2, blur=0.16 / grid, scaling=0.95, backend="tensorized")
        places = torch.from_numpy(place).repeat(batch, 1, 1)
        calls["geomloss"] = lambda: 2 * loss(pred.flatten(1), places, target.flatten(1), places)
    return Contest("Transport in the image", f"{batch} maps on {grid}×{grid} cells, values", calls,
                   lambda: same_results(calls), 1e-3, {"geomloss": 0.3}, why={"POT, exact": SIMPLEX},
                   missing=() if geomloss else ("geomloss",))


CONTESTS = {"cost": lambda batch, size, grid: on_values("depth", batch, size, slope=False),
            "values": lambda batch, size, grid: on_values("depth", batch, size),
            "ranks": lambda batch, size, grid: on_values("uniform", batch, size), "image": in_image}

if __name__ == "__main__":
    main("transport_loss", __doc__)
