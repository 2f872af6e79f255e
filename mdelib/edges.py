"""Depth at object boundaries and on smooth surfaces: where the edges are, and what a prediction does there.

Two families. Hu et al.'s precision and recall of Sobel edges in metres, and our own region errors in
logarithmic depth, which say in numbers what is otherwise shown in pictures: clearer structures, smoother
boundaries, unnatural transitions (yao2023, Fig 1). Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.gradients import central_difference, laplacian, smooth_masked, sobel, stencil_valid
from mdelib.metrics import valid_pixels
from mdelib.similarity import gaussian_window

__all__ = ["REGION_ERRORS", "depth_edges", "edge_precision_recall", "edge_regions", "edge_scores",
           "region_errors"]

REGION_ERRORS = ("abs_rel_edge", "abs_rel_smooth", "rmse_edge", "rmse_smooth", "gradient_error_edge",
                 "gradient_error_smooth", "edge_sharpness", "roughness")


def depth_edges(depth: Tensor, mask: Tensor | None = None, *, threshold: float = 0.25,
                border: str = "valid") -> Tensor:
    """Where the 3x3 Sobel magnitude of depth exceeds `threshold` metres (Hu et al. 2019).

    The Sobel response is not divided by 8: a straight step of h metres answers 4 h on both of its sides, so
    0.25 finds steps from 6 cm and slopes from 3 cm a pixel, which depend on the resolution.

    Args:
        depth: (B, 1, H, W), metres.
        mask: (B, 1, H, W) bool; a pixel whose 3x3 neighbourhood is not all valid is no edge.
        threshold: metres; Hu et al. use 0.25, 0.5 and 1.
        border: ``"valid"``: the outermost pixels are no edges; ``"zeros"``: zero padding as released, which
            makes them all edges, in prediction and truth alike, and so raises precision and recall.

    Returns:
        (B, 1, H, W) bool.
    """
    valid = valid_pixels(depth, depth, mask, min_depth=-math.inf, max_depth=math.inf)
    dx, dy = sobel(torch.where(valid, depth, 0), border=border)
    edges = ((dx.square() + dy.square()).sqrt() > threshold) & stencil_valid(valid, border=border)
    return edges if border == "zeros" else F.pad(edges, (1, 1, 1, 1))


def edge_scores(pred: Tensor, target: Tensor, mask: Tensor | None = None, *, threshold: float = 0.25,
                border: str = "valid") -> dict[str, Tensor]:
    """Precision, recall and F1 of the prediction's edges for every image, (B,) float64 each.

    A hit is a pixel that is an edge in both maps; there is no tolerance for a neighbour. An image without
    true edges has no recall (NaN) and no score at all; one with true but no predicted edges has 0 for all three.

    Args:
        as in `edge_precision_recall`.
    """
    valid = _valid(pred, target, mask)
    found = depth_edges(pred, valid, threshold=threshold, border=border).flatten(1)
    true = depth_edges(target, valid, threshold=threshold, border=border).flatten(1)
    hits, found, true = ((edges.sum(1).double()) for edges in (found & true, found, true))
    nothing = torch.where(true > 0, 0.0, math.nan).double()
    scores = {"precision": hits / found.clamp_min(1), "recall": hits / true.clamp_min(1),
              "f1": 2 * hits / (found + true).clamp_min(1)}
    return {key: value + nothing for key, value in scores.items()}


def edge_precision_recall(pred: Tensor, target: Tensor, mask: Tensor | None = None, *,
                          threshold: float = 0.25, border: str = "valid") -> dict[str, float]:
    """Precision, recall and F1 of edge pixels, the mean over images that have true edges (Hu et al. 2019).

    Args:
        pred, target: (B, 1, H, W), metres.
        mask: (B, 1, H, W) bool, or None; only finite, positive depth counts in any case.
        threshold, border: as in `depth_edges`.

    Raises:
        ValueError: no image has a true edge, or a prediction that is not finite at a valid pixel.

    Explained in notebooks/02_two_networks.ipynb.
    """
    scores = edge_scores(pred, target, mask, threshold=threshold, border=border)
    if scores["recall"].isnan().all():
        raise ValueError(f"none of {len(pred)} images has a true edge above {threshold} m: lower the "
                         "threshold, or check the depth's unit and the mask")
    return {key: float(value.nanmean()) for key, value in scores.items()}


def edge_regions(target: Tensor, mask: Tensor | None = None, *, edge: float = 0.15, radius: int = 2,
                 sigma: float = 1.0) -> tuple[Tensor, Tensor]:
    """The surroundings of depth edges, and smooth surfaces far from them.

    The logarithm of depth is smoothed by a Gaussian and its gradient compared with that which a straight step of
    height `edge` would have: 0.15 finds depth jumps of more than about 15 %. Depth stored in steps (3.9 cm where
    it comes from an 8-bit copy: 4 % at 1 m, 8 % at 0.5 m) stays below that at every depth a room has, and so does
    the floor, unless it is looked at along it.

    Args:
        target: (B, 1, H, W), metres.
        mask: (B, 1, H, W) bool, or None; only finite, positive depth counts in any case.
        edge: the smallest jump, in logarithmic depth.
        radius: pixels from an edge pixel, in a square, that still belong to the edge. Smooth is what is more
            than twice as far from every edge pixel; the rest is neither.
        sigma: of the Gaussian, pixels.

    Returns:
        edge and smooth regions, (B, 1, H, W) bool each; both empty for an image with no valid 3x3 neighbourhood.
    """
    _check(edge, radius, sigma)
    valid = valid_pixels(target, target, mask, min_depth=0.0, max_depth=math.inf)
    slope = _norm(central_difference(smooth_masked(_log_depth(target, valid), valid, sigma)))
    whole = stencil_valid(valid)
    near, smooth = _regions(whole, whole & (slope > _step_slope(edge, sigma)), radius)
    return F.pad(near, (1, 1, 1, 1)), F.pad(smooth, (1, 1, 1, 1))


def region_errors(pred: Tensor, target: Tensor, mask: Tensor | None = None, *, edge: float = 0.15,
                  radius: int = 2, sigma: float = 1.0) -> dict[str, Tensor]:
    """What a prediction does at depth edges and on smooth surfaces, for every image.

    - ``abs_rel_edge``, ``abs_rel_smooth``, ``rmse_edge``, ``rmse_smooth`` (metres): the usual errors by region.
    - ``gradient_error_edge``, ``gradient_error_smooth``: mean |∇ ln d̂ - ∇ ln d| a pixel, of maps smoothed like
      those in which the regions were found, so that storage steps of the truth hardly count.
    - ``edge_sharpness``: Σ|∇ ln d̂| / Σ|∇ ln d| over the crests of true edges (unsmoothed maps): 1 is as
      sharp as the truth, below 1 is smoother. A step drawn out to a ramp of n pixels has 2/n.
    - ``roughness``: mean |Laplacian of ln d̂| on smooth surfaces (unsmoothed; nothing subtracted, since the
      truth's own is mostly storage steps): how much the prediction bends where the truth does not.

    Args:
        pred, target: (B, 1, H, W), metres; predictions below 1 mm count as 1 mm in logarithms.
        mask: (B, 1, H, W) bool, or None.
        edge, radius, sigma: as in `edge_regions`.

    Returns:
        (B,) float64 each, in the order of `REGION_ERRORS`; NaN where an image has no such region, so average
        with ``nanmean``. All depend on the resolution.

    Raises:
        ValueError: shapes that do not fit, or a prediction that is not finite at a valid pixel.

    Explained in notebooks/02_two_networks.ipynb.
    """
    _check(edge, radius, sigma)
    valid = _valid(pred, target, mask)
    pred = pred.to(torch.promote_types(pred.dtype, target.dtype))
    log_pred, log_true = _log_depth(pred, valid), _log_depth(target, valid)
    dx, dy = central_difference(smooth_masked(torch.cat([log_pred, log_true], 1), valid, sigma))
    whole = stencil_valid(valid)
    strong = whole & (_norm((dx[:, 1:], dy[:, 1:])) > _step_slope(edge, sigma))
    near, smooth = _regions(whole, strong, radius)

    slope = _norm(central_difference(log_true))
    crest = strong & (2 * slope >= edge)  # a step of height h has a central difference of h/2 on both sides
    bend = _norm((dx[:, :1] - dx[:, 1:], dy[:, :1] - dy[:, 1:]))
    error = torch.where(valid, (pred - target).abs(), 0)[..., 1:-1, 1:-1]
    relative = error / torch.where(valid, target, 1)[..., 1:-1, 1:-1]
    values = (_mean(relative, near), _mean(relative, smooth), _mean(error.square(), near).sqrt(),
              _mean(error.square(), smooth).sqrt(), _mean(bend, near), _mean(bend, smooth),
              _mean(_norm(central_difference(log_pred)), crest) / _mean(slope, crest),
              _mean(laplacian(log_pred).abs(), smooth))
    return dict(zip(REGION_ERRORS, (value.cpu() for value in values), strict=True))


def _check(edge: float, radius: int, sigma: float) -> None:
    if not (edge > 0 and radius >= 0 and sigma > 0):
        raise ValueError(f"edge={edge}, radius={radius}, sigma={sigma}: edge and sigma must be positive and "
                         "radius not negative")


def _valid(pred: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    """Where the truth is known; a prediction that is not finite there is refused."""
    valid = valid_pixels(pred, target, mask, min_depth=0.0, max_depth=math.inf)
    if not torch.isfinite(pred[valid]).all():
        raise ValueError(f"the prediction is not finite at {int((~torch.isfinite(pred[valid])).sum())} valid "
                         "pixels: every pixel that counts needs a depth in metres")
    return valid


def _log_depth(depth: Tensor, valid: Tensor) -> Tensor:
    """ln of depth floored at 1 mm; 0 where invalid."""
    return torch.where(valid, depth, 1).clamp_min(1e-3).log()


def _step_slope(height: float, sigma: float) -> float:
    """The central difference of a straight step of `height`, smoothed by the Gaussian, beside the step."""
    beside = gaussian_window(2 * max(1, round(4 * sigma)) + 1, sigma, dtype=torch.float64).topk(2).values
    return height * float(beside.mean())


def _regions(whole: Tensor, strong: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """Pixels near an edge and pixels far from every edge, out of those with a valid neighbourhood."""
    return _dilate(strong, radius) & whole, whole & ~_dilate(strong, 2 * radius)


def _norm(pair: tuple[Tensor, Tensor]) -> Tensor:
    return (pair[0].square() + pair[1].square()).sqrt()


def _dilate(mask: Tensor, radius: int) -> Tensor:
    """Grow a mask by a square of `radius` pixels."""
    if radius == 0:
        return mask
    rows = F.max_pool2d(mask.float(), (2 * radius + 1, 1), stride=1, padding=(radius, 0))
    return F.max_pool2d(rows, (1, 2 * radius + 1), stride=1, padding=(0, radius)) > 0


def _mean(values: Tensor, region: Tensor) -> Tensor:
    """(B,) float64 means over a region, NaN where it is empty."""
    where = "cpu" if values.device.type == "mps" else values.device  # mps has no float64
    total = torch.where(region, values, 0).to(where).flatten(1).sum(1, dtype=torch.float64)
    count = region.to(where).flatten(1).sum(1)
    return torch.where(count > 0, total / count.clamp_min(1), math.nan)
