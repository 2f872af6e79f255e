"""What a FuSaNet's points and its confidence are worth on a data set, beside its depth errors.

Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace

import torch
from scipy import stats
from torch import Tensor

from mdelib.data.base import DepthData, resize_depth, resize_image, valid_depth
from mdelib.evaluation import evaluate
from mdelib.models.fusanet import FuSaNet, Prediction
from mdelib.points import SparsePoints, guiding_points, random_points, sift_points
from mdelib.protocols import Protocol

__all__ = ["fusanet_scores", "point_errors", "rank_correlation"]


@torch.no_grad()
def fusanet_scores(network: FuSaNet, data: DepthData, protocol: str | Protocol, *, size: tuple[int, int],
                   batch: int = 16, device: str | torch.device = "cpu"
                   ) -> tuple[tuple[str, ...], dict[str, Tensor], dict[str, float]]:
    """Score a FuSaNet on images alone, and what it finds on the way.

    - the measures of the protocol, of the last pass.
    - ``first_rmse``, ``first_abs_rel``: of the first pass, and ``last_...`` of the last, at `size`, against the truth
      at that size; the same pixels as those below.
    - ``rmse_K``, ``abs_rel_K``: the first pass's errors at the places K = salient (the salient points), random (as
      many at random), sift (SIFT keypoints), confident (as many with the highest confidence). The depth of the first
      pass is the depth that salient points are given: the paper assumes that it is more accurate there.
    - ``leaning_...``: as ``last_...``, when the second pass leans on as many points at random instead, with the depth
      and the weight that the first pass gave to those places. ``guided_...``: when the first pass gets the true depth
      at as many SIFT keypoints (Fig. 6).
    - ``confidence``: its mean, in the first pass. ``confidence_error``: its rank correlation with that pass's |error|,
      which should be negative; NaN where the confidence is constant.

    Args:
        network: in evaluation mode. data: views with depth. protocol: a name of `mdelib.protocols.PROTOCOLS`, or one.
        size: (height, width) the network sees. batch: views at a time. device: where the network is.

    Returns:
        The views' names; (N,) float64 per measure; no further numbers: all measures are means over views.

    Explained in notebooks/09_fusanet.ipynb.
    """
    names, per_image = evaluate(network, data, protocol, size=size, batch=batch, device=device)
    rows: list[dict[str, float]] = []
    for start in range(0, len(data), batch):
        views = [data[index] for index in range(start, min(start + batch, len(data)))]
        image = torch.stack([resize_image(view.image, size) for view in views]).to(device)
        depth = torch.stack([resize_depth(view.depth, size) for view in views]).to(device)
        valid = torch.stack([resize_depth(view.mask.float(), size) for view in views]).to(device) > 0.5
        valid &= valid_depth(depth)
        found = network.predict(image)
        mine = point_errors(found, image, depth, valid, count=network.salient, seed=start)
        guided = network.predict(image, guiding_points(image, depth, valid, network.salient)).depth
        others = {"guided": guided, **({"leaning": _leaning(network, image, found, start)} if found.points else {})}
        for place, row in enumerate(mine):
            known = valid[place]
            for name, pred in others.items():
                row |= _errors((pred - depth)[place][known], depth[place][known], f"{name}_{{}}")
        rows += mine
    per_image |= {key: torch.tensor([row[key] for row in rows], dtype=torch.float64) for key in rows[0]}
    return names, per_image, {}


def _leaning(network: FuSaNet, image: Tensor, found: Prediction, seed: int) -> Tensor:
    """The final depth (B, 1, H, W) when the second pass leans on points at random."""
    cells = (found.saliency.shape[-2], found.saliency.shape[-1])
    depth = found.first.depth[0]
    points = _random(depth, torch.ones_like(depth, dtype=torch.bool), network.salient, seed)
    points = replace(points, confidence=points.gather(found.saliency * found.first.confidence)[:, 0])
    return network.predict(image, chosen=points.scaled(cells, (image.shape[-2], image.shape[-1]))).depth


def point_errors(found: Prediction, image: Tensor, depth: Tensor, valid: Tensor, *, count: int,
                 seed: int = 0) -> list[dict[str, float]]:
    """The further measures of `fusanet_scores`, for every image of a batch.

    Args:
        found: of `FuSaNet.predict`. image: (B, 3, H, W). depth, valid: (B, 1, H, W), metres, bool. count: of points at
            random, at SIFT keypoints and of highest confidence. seed: of the random places.

    Explained in notebooks/09_fusanet.ipynb.
    """
    size = (depth.shape[-2], depth.shape[-1])
    first, last = found.first_depth, found.depth
    keypoints = sift_points(image, count)
    sift = SparsePoints(keypoints.pixels, keypoints.valid.float(), keypoints.valid.float(), keypoints.valid)
    at = {"random": _random(depth, valid, count, seed), "sift": sift,
          "confident": _highest(found.first.confidence, count, size)}
    at |= {"salient": found.points.inside(size)} if found.points is not None else {}
    errors = {name: (points.gather(first - depth)[:, 0], points.gather(depth)[:, 0],
                     points.valid & (points.gather(valid.float())[:, 0] > 0)) for name, points in at.items()}
    rows = []
    for place, known in enumerate(valid[:, 0]):
        truth = depth[place, 0][known]
        row = {}
        for which, pred in (("first", first), ("last", last)):
            row |= _errors(pred[place, 0][known] - truth, truth, f"{which}_{{}}")
        for name, (error, true, there) in errors.items():
            row |= _errors(error[place][there[place]], true[place][there[place]], f"{{}}_{name}")
        sure = found.first_confidence[place, 0][known]
        row |= {"confidence": float(sure.mean()),
                "confidence_error": rank_correlation(sure, (first[place, 0][known] - truth).abs())}
        rows.append(row)
    return rows


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation of two (n,) sets of values, ties at their mean rank; NaN where one is constant."""
    ranks = [torch.from_numpy(stats.rankdata(values.detach().cpu().double().numpy())) for values in (first, second)]
    one, two = (values - values.mean() for values in ranks)
    scale = float(one.norm() * two.norm())
    return float(one @ two) / scale if scale > 0 else math.nan


def _random(depth: Tensor, valid: Tensor, count: int, seed: int) -> SparsePoints:
    """`random_points` of each image with a seed of its own, so that batches do not change them."""
    drawn = [random_points(depth[place:place + 1], valid[place:place + 1], count, seed=seed + place)
             for place in range(len(depth))]
    return SparsePoints(*(torch.cat([getattr(one, field.name) for one in drawn]) for field in fields(SparsePoints)))


def _highest(confidence: Tensor, count: int, size: tuple[int, int]) -> SparsePoints:
    """The `count` cells with the highest confidence of each map (B, 1, h, w), as points of an image of `size`."""
    height, width = confidence.shape[-2:]
    value, place = confidence.flatten(1).topk(min(count, height * width), 1)
    cells = SparsePoints(torch.stack([place // width, place % width], -1), torch.ones_like(value), value,
                         torch.ones_like(place, dtype=torch.bool))
    return cells.scaled((height, width), size)


def _errors(error: Tensor, truth: Tensor, name: str) -> dict[str, float]:
    """RMSE and mean relative error of (n,) errors, under `name`; NaN where there are none."""
    some = len(error) > 0
    return {name.format("rmse"): float(error.square().mean().sqrt()) if some else math.nan,
            name.format("abs_rel"): float((error.abs() / truth).mean()) if some else math.nan}
