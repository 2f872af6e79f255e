"""A response table: the library's meter against loops that follow the definition.

    python benchmarks/response_table.py [--scale full] [--set units=64 bins=64 features=57,76 depth=228,304] [--json]

One image. The full sizes are those of Hu et al.'s network on NYU at half of its published feature resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from _timing import Contest, main, same_results
from torch import Tensor

from mdelib.selectivity import ResponseMeter, depth_bin_edges

SIZES = {"tiny": {"units": 4, "bins": 5, "features": (6, 8), "depth": (24, 32)},
         "quick": {"units": 16, "bins": 32, "features": (29, 38), "depth": (114, 152)},
         "full": {"units": 64, "bins": 64, "features": (57, 76), "depth": (228, 304)}}


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


WAYS = {"mdelib, adjoint": adjoint, "plain loop": plain_loop, "masks made once": masks_once,
        "upsample, one product": upsampled_product}


def example(units: int, features: tuple[int, int], depth: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Random activations after a ReLU, and a smooth random depth map from 0.3 to 9.9 m."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 1, 6, 8, generator=generator)
    smooth = F.interpolate(coarse, size=depth, mode="bicubic", align_corners=False)
    smooth = 0.3 + 9.6 * (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return torch.randn(1, units, *features, generator=generator).relu(), smooth


def table(units: int, bins: int, features: tuple[int, int], depth: tuple[int, int]) -> Contest:
    """One image's table, in every way."""
    maps, truth = example(units, features, depth)
    edges = depth_bin_edges(bins, 0.75, 10.0)
    calls = {name: (lambda way=way: way(maps, truth, edges)) for name, way in WAYS.items()}
    what = f"{units} units of {features[0]}×{features[1]}, {bins} bins of {depth[0]}×{depth[1]}"
    return Contest("Response table", what, calls, lambda: same_results(calls), 1e-9, asked={"plain loop": 50.0})


CONTESTS = {"table": table}

if __name__ == "__main__":
    main("response_table", __doc__)
