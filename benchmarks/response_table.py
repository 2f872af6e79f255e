"""How long a response table takes: the library's meter against loops that follow the definition.

    python benchmarks/response_table.py [--units 64] [--bins 64] [--features 57 76] [--depth 228 304] [--json]

CPU seconds (all threads together) for one image, best of several runs in turns; the tables agree to the printed
difference. The measured sizes are those of Hu et al.'s network on NYU at half of its published feature resolution.
"""

from __future__ import annotations

import argparse
import json

import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.complexity import time_in_turns
from mdelib.selectivity import ResponseMeter, depth_bin_edges


def plain_loop(features: Tensor, depth: Tensor, edges: Tensor) -> Tensor:
    """The definition, unit by unit and bin by bin."""
    table = torch.full((features.shape[1], len(edges) - 1), torch.nan, dtype=torch.float64)
    for k in range(features.shape[1]):
        unit = F.interpolate(features[:, k:k + 1].double(), size=depth.shape[-2:], mode="bilinear",
                             align_corners=False)
        for d in range(len(edges) - 1):
            inside = (depth > edges[d]) & (depth <= edges[d + 1])
            table[k, d] = unit[inside].mean()
    return table


def masks_once(features: Tensor, depth: Tensor, edges: Tensor) -> Tensor:
    """The same with each bin's mask made once and all units upsampled together."""
    units = F.interpolate(features.double(), size=depth.shape[-2:], mode="bilinear", align_corners=False)
    columns = []
    for d in range(len(edges) - 1):
        inside = ((depth > edges[d]) & (depth <= edges[d + 1]))[0, 0]
        columns.append(units[0][:, inside].mean(1))
    return torch.stack(columns, 1)


def upsampled_product(features: Tensor, depth: Tensor, edges: Tensor) -> Tensor:
    """All units upsampled, then one matrix product with the bins' indicators: no loop, but a large product."""
    units = F.interpolate(features.double(), size=depth.shape[-2:], mode="bilinear", align_corners=False)
    labels = torch.bucketize(depth.double(), edges).flatten() - 1
    inside = F.one_hot(labels, len(edges) - 1).double()
    return units[0].flatten(1) @ inside / inside.sum(0)


def adjoint(features: Tensor, depth: Tensor, edges: Tensor) -> Tensor:
    """The library's way: the bins are brought down to the features' resolution, once for all units."""
    return ResponseMeter(edges).update(features, depth).compute(empty="nan")


WAYS = {"plain loop": plain_loop, "masks made once": masks_once, "upsample, one product": upsampled_product,
        "mdelib (adjoint)": adjoint}


def example(units: int, features: tuple[int, int], depth: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Random activations after a ReLU, and a smooth random depth map from 0.3 to 9.9 m."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 6, 8, generator=generator)
    smooth = F.interpolate(coarse, size=depth, mode="bicubic", align_corners=False)
    smooth = 0.3 + 9.6 * (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.randn(1, units, *features, generator=generator).relu(), smooth


def measure(units: int = 64, bins: int = 64, features: tuple[int, int] = (57, 76), depth: tuple[int, int] = (228, 304),
            repeats: int = 3) -> list[dict[str, float | str]]:
    """One row a way: CPU seconds, times slower than the library, largest difference from the plain loop."""
    maps, truth = example(units, features, depth)
    edges = depth_bin_edges(bins, 0.75, 10.0)
    tables = {name: way(maps, truth, edges) for name, way in WAYS.items()}
    calls = {name: (lambda way=way: way(maps, truth, edges)) for name, way in WAYS.items()}
    seconds = {name: min(times) for name, times in time_in_turns(calls, rounds=repeats, warm_up=0).items()}
    return [{"way": name, "cpu_s": seconds[name], "times": seconds[name] / seconds["mdelib (adjoint)"],
             "difference": float((tables[name] - tables["plain loop"]).abs().nan_to_num().max())} for name in WAYS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--bins", type=int, default=64)
    parser.add_argument("--features", type=int, nargs=2, default=(57, 76), metavar=("H", "W"))
    parser.add_argument("--depth", type=int, nargs=2, default=(228, 304), metavar=("H", "W"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args()
    rows = measure(chosen.units, chosen.bins, tuple(chosen.features), tuple(chosen.depth), chosen.repeats)
    if chosen.json:
        print(json.dumps({"settings": {k: v for k, v in vars(chosen).items() if k != "json"},
                          "torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}, indent=1))
        return
    print(f"{chosen.units} units {tuple(chosen.features)} -> {tuple(chosen.depth)}, {chosen.bins} bins, "
          f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    print(f"{'':24}{'CPU ms':>10}{'x mdelib':>10}{'max |difference|':>18}")
    for row in rows:
        print(f"{row['way']:24}{1e3 * row['cpu_s']:10.1f}{row['times']:10.1f}{row['difference']:18.1e}")


if __name__ == "__main__":
    main()
