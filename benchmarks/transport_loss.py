"""How long the transport losses take: on a line against POT's batched solver, on a grid against POT's network simplex.

    python benchmarks/transport_loss.py [--batch 8] [--size 192 256] [--grid 24 32] [--repeats 3] [--json]

CPU seconds (all threads together), best of several runs in turns. Depth maps are smooth and random, float32.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np
import ot
import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.complexity import time_in_turns
from mdelib.transport import depth_mass, image_transport, pool_area, transport_loss


def best_times(pot: Callable[[], object], own: Callable[[], object], repeats: int) -> dict[str, float]:
    """The least CPU seconds of POT and of the library, and how many times as long POT takes."""
    seconds = time_in_turns({"pot": pot, "mdelib": own}, rounds=repeats)
    pot_s, own_s = (min(seconds[name]) for name in ("pot", "mdelib"))
    return {"pot_s": pot_s, "mdelib_s": own_s, "times": pot_s / own_s}


def example(batch: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Two batches of smooth depth maps with fine noise, 0.5 to 9.5 m, (B, 1, H, W)."""
    generator = torch.Generator().manual_seed(0)
    maps = []
    for _ in range(2):
        coarse = torch.rand(batch, 1, 6, 8, generator=generator)
        smooth = F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
        maps.append(0.5 + 8 * smooth + torch.rand(smooth.shape, generator=generator))
    return maps[0], maps[1]


def line_rows(batch: int, size: tuple[int, int], repeats: int) -> list[dict[str, float | str]]:
    """ground="depth": the library and `ot.wasserstein_1d`, forward and with the gradient of the prediction."""
    pred, target = example(batch, size)
    rows = []
    for mass in ("depth", "uniform"):
        x, y = (depth.flatten(1).T.contiguous() for depth in (pred, target))

        def theirs(x: Tensor, y: Tensor = y, mass: str = mass) -> Tensor:
            weights = (x / x.sum(0), y / y.sum(0)) if mass == "depth" else (None, None)
            return ot.wasserstein_1d(x, y, *weights, p=2).mean()

        def ours(depth: Tensor, mass: str = mass) -> Tensor:
            return transport_loss(depth, target, ground="depth", mass=mass)

        for gradient in (False, True):
            def run(loss: Callable[[Tensor], Tensor], depth: Tensor, gradient: bool = gradient) -> None:
                value = loss(depth.clone().requires_grad_(gradient))
                if gradient:
                    value.backward()

            times = best_times(lambda run=run, theirs=theirs, x=x: run(theirs, x),
                               lambda run=run, ours=ours: run(ours, pred), repeats)
            rows.append({"what": f"depth, mass {mass}{', with gradient' if gradient else ''}", **times,
                         "difference": abs(float(ours(pred)) / float(theirs(x.double(), y.double())) - 1)})
    return rows


def grid_row(grid: tuple[int, int], repeats: int) -> dict[str, float | str]:
    """ground="space", one image: `ot.emd2` on the cost matrix, and the library; the difference is that of values."""
    pred, target = (depth.double() for depth in example(1, grid))
    place = np.stack(np.meshgrid(*(np.arange(float(n)) for n in grid), indexing="ij"), -1).reshape(-1, 2)
    cost = ((place[:, None] - place) ** 2).sum(2)
    valid = torch.ones_like(pred[0], dtype=torch.bool)
    a, b = (pool_area(depth_mass(depth[0], valid), grid).flatten().numpy() for depth in (pred, target))
    value = float(image_transport(pred, target, grid=grid, unit="pixel"))
    times = best_times(lambda: ot.emd2(a, b, cost), lambda: image_transport(pred, target, grid=grid), repeats)
    return {"what": f"space, grid {grid[0]}x{grid[1]}, one image", **times,
            "difference": abs(value / float(ot.emd2(a, b, cost)) - 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 256), metavar=("H", "W"))
    parser.add_argument("--grid", type=int, nargs=2, default=(24, 32), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args()
    rows = line_rows(chosen.batch, tuple(chosen.size), chosen.repeats)
    for grid in ((chosen.grid[0] // 2, chosen.grid[1] // 2), tuple(chosen.grid)):
        rows.append(grid_row(grid, chosen.repeats))
    if chosen.json:
        print(json.dumps({"settings": {k: v for k, v in vars(chosen).items() if k != "json"},
                          "torch": torch.__version__, "pot": ot.__version__, "threads": torch.get_num_threads(),
                          "rows": rows}, indent=1))
        return
    print(f"{chosen.batch} maps of {chosen.size[0]}x{chosen.size[1]}, torch {torch.__version__}, "
          f"POT {ot.__version__}, {torch.get_num_threads()} thread(s)")
    print(f"{'':36}{'POT ms':>10}{'mdelib ms':>12}{'times':>8}{'difference':>13}")
    for row in rows:
        print(f"{row['what']:36}{1e3 * row['pot_s']:10.1f}{1e3 * row['mdelib_s']:12.1f}{row['times']:8.1f}"
              f"{row['difference']:13.1e}")


if __name__ == "__main__":
    main()
