"""Depth errors with every convention named: which pixels count, how they are pooled, whether scale is given.

All sums are taken in float64. Measures follow Eigen et al. 2014 and the KITTI depth benchmark.
Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mdelib.protocols import ALIGNMENTS, DELTAS, POOLINGS, crop_mask, require_known
from mdelib.similarity import ssim

__all__ = ["HIGHER_IS_BETTER", "METRICS", "DepthMetrics", "align_depth", "depth_metrics", "per_image_metrics",
           "pool_images", "ssim", "valid_pixels"]

METRICS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "si", "imae", "irmse",
           "delta1", "delta2", "delta3")
HIGHER_IS_BETTER = frozenset({"delta1", "delta2", "delta3"})
_ROOTS = ("rmse", "rmse_log", "irmse")  # roots of mean squares
_WEIGHTS = ("pixels", "log_bias")


def depth_metrics(pred: Tensor, target: Tensor, mask: Tensor | None = None, *, min_depth: float = 1e-3,
                  max_depth: float = 10.0, crop: str | None = None, pooling: str = "image",
                  align: str | None = None, delta: str = "<", clamp: bool = True) -> dict[str, float]:
    r"""The standard depth errors of a batch, pooled into one number each.

    With error :math:`e = \hat d - d` and :math:`g = \ln \hat d - \ln d`: abs_rel mean |e|/d · sq_rel mean
    e²/d · rmse √mean e² · rmse_log √mean g² · log10 mean |log10 d̂ - log10 d| · si mean g² - (mean g)² (Eigen
    et al. 2014, Eq 1, not halved) · silog 100 √si · imae and irmse of 1/d in 1/m (times 1000 for KITTI's
    1/km) · delta_i share of max(d̂/d, d/d̂) < 1.25^i.

    Args:
        pred: (B, 1, H, W) predicted depth, metres. Must be finite wherever a pixel counts.
        target: (B, 1, H, W) true depth, metres.
        mask: (B, 1, H, W) bool, where the truth is known; None counts every pixel that passes the range test.
        min_depth, max_depth: a pixel counts if mask, finite truth and min_depth < truth < max_depth; a zero,
            negative or NaN truth therefore never counts, whatever the mask says.
        crop: a name of `mdelib.protocols.CROPS`, or None.
        pooling: ``"image"`` mean of per-image values · ``"pixel"`` all pixels as one set · ``"hu"`` as image,
            but rmse, rmse_log and irmse are the root of the mean of per-image mean squares (Hu et al. 2019).
        align: None · ``"median"`` multiplies by the ratio of medians · ``"lstsq"`` fits scale and shift; per
            image, over the pixels that count, before clamping.
        delta: ``"<"``, or ``"<="`` (Hu et al.).
        clamp: clamp predictions to [min_depth, max_depth]. Otherwise only the logarithmic, inverse and ratio
            measures see the prediction floored at min_depth, since they are undefined at and below zero.

    Returns:
        Twelve floats, in the order of `METRICS`.

    Raises:
        ValueError: shapes differ, a mask that is not bool, a prediction that is not finite, an image without
            a pixel that counts, or an unknown crop, pooling, align or delta.

    Explained in notebooks/01_metrics_and_protocols.ipynb.
    """
    meter = DepthMetrics(min_depth=min_depth, max_depth=max_depth, crop=crop, pooling=pooling, align=align,
                         delta=delta, clamp=clamp)
    return meter.update(pred, target, mask).compute()


def per_image_metrics(pred: Tensor, target: Tensor, mask: Tensor | None = None,
                      **options: object) -> dict[str, Tensor]:
    """The same measures for every image, (B,) float64 each; pooling ``"image"`` is their mean.

    Args:
        pred, target, mask, options: as in `depth_metrics`.
    """
    return DepthMetrics(**options).update(pred, target, mask).per_image()


def pool_images(per_image: dict[str, Tensor], pooling: str) -> dict[str, float]:
    """One number a measure from every image's own values, pooled as `depth_metrics` says.

    Args:
        per_image: (N,) per measure of `METRICS`; ``"pixel"`` also needs ``pixels`` and ``log_bias``, which
            `DepthMetrics.per_image` gives with ``weights=True``, since an image's own values do not say how
            many pixels they stand for.
        pooling: ``"image"``, ``"pixel"`` or ``"hu"``.

    Raises:
        ValueError: unknown pooling, or pooling over pixels without the weights.
    """
    require_known("pooling", pooling, POOLINGS)
    each = {key: torch.as_tensor(per_image[key], dtype=torch.float64) for key in METRICS}
    pooled = {key: float(value.mean()) for key, value in each.items()}
    if pooling == "hu":
        pooled |= {key: math.sqrt(float(each[key].square().mean())) for key in _ROOTS}
    if pooling == "pixel":
        if not set(_WEIGHTS) <= set(per_image):
            raise ValueError("pooling over pixels needs 'pixels' and 'log_bias' of every image: ask for "
                             "DepthMetrics.per_image(weights=True)")
        count, centre = (torch.as_tensor(per_image[key], dtype=torch.float64) for key in _WEIGHTS)
        share = count / count.sum()
        pooled = {key: float((share * value).sum()) for key, value in each.items()}
        pooled |= {key: math.sqrt(float((share * each[key].square()).sum())) for key in _ROOTS}
        # within images and between them, so that no difference of large sums is taken
        mean = (share * centre).sum()
        pooled["si"] = float((share * (each["si"] + (centre - mean).square())).sum())
        pooled["silog"] = 100 * math.sqrt(pooled["si"])
    return pooled


class DepthMetrics:
    """Depth errors of a data set that arrives in batches: `update` per batch, `compute` at the end.

    However the images are split into batches, the result is that of `depth_metrics` on all of them at once.

    Args:
        as in `depth_metrics`.

    Explained in notebooks/01_metrics_and_protocols.ipynb.
    """

    def __init__(self, *, min_depth: float = 1e-3, max_depth: float = 10.0, crop: str | None = None,
                 pooling: str = "image", align: str | None = None, delta: str = "<", clamp: bool = True):
        require_known("pooling", pooling, POOLINGS)
        require_known("align", align, ALIGNMENTS)
        require_known("delta", delta, DELTAS)
        if not 0 < min_depth < max_depth:
            raise ValueError(f"depth range {min_depth} to {max_depth} m: 0 < min_depth < max_depth is needed")
        crop_mask(1000, 2000, crop)  # an unknown name stops here, before anything is predicted
        self.min_depth, self.max_depth, self.crop = min_depth, max_depth, crop
        self.pooling, self.align, self.delta, self.clamp = pooling, align, delta, clamp
        self._moments: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._moments)

    def update(self, pred: Tensor, target: Tensor, mask: Tensor | None = None, *,
               names: Sequence[str] | None = None) -> DepthMetrics:
        """Add a batch (shapes as in `depth_metrics`); `names` identify the images in error messages."""
        valid = valid_pixels(pred, target, mask, min_depth=self.min_depth, max_depth=self.max_depth,
                             crop=self.crop)
        start = len(self)
        labels = [repr(name) for name in names] if names else [str(start + i) for i in range(len(pred))]
        self._require_some(valid, target, mask, labels)
        rows = [self._moments_of(pred[i][valid[i]], target[i][valid[i]], labels[i]) for i in range(len(pred))]
        self._moments += rows
        return self

    def per_image(self, *, weights: bool = False) -> dict[str, Tensor]:
        """Every image's own values so far, (N,) float64 each, in the order of arrival.

        Args:
            weights: add what pooling over pixels needs: ``pixels`` (how many count) and ``log_bias`` (mean
                g).
        """
        values = _finalise(self._stacked())
        return values if weights else {key: values[key] for key in METRICS}

    def compute(self) -> dict[str, float]:
        """The pooled values of all images so far."""
        return pool_images(self.per_image(weights=True), self.pooling)

    def _stacked(self) -> Tensor:
        if not self._moments:
            raise ValueError("no image has been added: call update(pred, target, mask) before asking for "
                             "results")
        return torch.stack(self._moments)

    def _require_some(self, valid: Tensor, target: Tensor, mask: Tensor | None, labels: list[str]) -> None:
        empty = [i for i in range(len(valid)) if not valid[i].any()]
        if not empty:
            return
        i, total = empty[0], valid[0].numel()
        known = torch.ones_like(valid[i]) if mask is None else mask[i]
        in_range = known & torch.isfinite(target[i]) & (target[i] > self.min_depth)
        in_range &= target[i] < self.max_depth
        more = ", ".join(labels[j] for j in empty[1:6])
        others = f" (and {len(empty) - 1} more: {more})" if more else ""
        raise ValueError(
            f"no valid pixel in image {labels[i]}{others}: of its {total} pixels {total - int(known.sum())} "
            f"are masked out, {int(known.sum() - in_range.sum())} are not finite or not between "
            f"{self.min_depth} and {self.max_depth} m, and the crop {self.crop!r} removes the other "
            f"{int(in_range.sum())}; leave the image out, or check the depth's unit, the mask and the crop")

    def _moments_of(self, pred: Tensor, target: Tensor, label: str) -> Tensor:
        """One image's sums over its valid pixels, (12,) float64 on the CPU; `pred` and `target` are (n,)."""
        where = "cpu" if pred.device.type == "mps" else pred.device  # mps has no float64
        pred, target = pred.detach().to(where, torch.float64), target.detach().to(where, torch.float64)
        bad = ~torch.isfinite(pred)
        if bad.any():
            raise ValueError(f"the prediction of image {label} is not finite at {int(bad.sum())} of "
                             f"{pred.numel()} valid pixels ({int(pred.isnan().sum())} NaN): every pixel that "
                             "counts needs a depth in metres; look at the network's output or its training")
        pred = align_depth(pred, target, self.align)
        positive = pred.clamp(self.min_depth, self.max_depth if self.clamp else None)
        if self.clamp:
            pred = positive
        error, inverse = pred - target, 1 / positive - 1 / target
        log_ratio = positive.log() - target.log()
        ratio = torch.maximum(positive / target, target / positive)
        hits = [ratio < 1.25**i if self.delta == "<" else ratio <= 1.25**i for i in (1, 2, 3)]
        sums = [(error.abs() / target).sum(), (error.square() / target).sum(), error.square().sum(),
                log_ratio.abs().sum() / math.log(10), inverse.abs().sum(), inverse.square().sum(),
                *(hit.sum().double() for hit in hits)]
        centre = log_ratio.mean()
        spread = (log_ratio - centre).square().sum()  # no difference of sums: exact for a constant ratio
        return torch.stack([torch.full_like(centre, pred.numel()), centre, spread, *sums]).cpu()


def valid_pixels(pred: Tensor, target: Tensor, mask: Tensor | None = None, *, min_depth: float = 1e-3,
                 max_depth: float = 10.0, crop: str | None = None) -> Tensor:
    """Which pixels count, (B, 1, H, W) bool: mask, finite truth, in range, inside the crop.

    Raises:
        ValueError: shapes differ or are not (B, 1, H, W), or a mask that is not bool.
    """
    if pred.ndim != 4 or pred.shape[1] != 1:
        raise ValueError(f"pred has the shape {tuple(pred.shape)}: depth must be (B, 1, H, W); add the "
                         "missing axes, for example pred[None, None] for one (H, W) map")
    if target.shape != pred.shape:
        raise ValueError(f"pred {tuple(pred.shape)} and target {tuple(target.shape)} differ in shape: resize "
                         "one to the other first (mdelib.evaluation.score does)")
    if not (pred.is_floating_point() and target.is_floating_point()):
        raise ValueError(f"pred is {pred.dtype} and target is {target.dtype}: both must be floating point, "
                         "in metres")
    valid = torch.isfinite(target) & (target > min_depth) & (target < max_depth)
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ValueError(f"mask has the dtype {mask.dtype}: it must be bool; compare it first, for "
                             "example mask > 0")
        if mask.shape != pred.shape:
            raise ValueError(f"mask {tuple(mask.shape)} and pred {tuple(pred.shape)} differ in shape: give "
                             "one mask value for every depth value")
        valid = valid & mask
    if crop is not None:
        valid = valid & crop_mask(*pred.shape[-2:], crop).to(valid.device)
    return valid


def align_depth(pred: Tensor, target: Tensor, align: str | None) -> Tensor:
    """Give one image's prediction the truth's scale: (n,) depths at the pixels that count, in and out.

    Args:
        align: None · ``"median"``: times median(target)/median(pred) · ``"lstsq"``: s·pred + t with the least
            squared error (a constant prediction keeps s = 0).

    Raises:
        ValueError: ``"median"`` of a prediction whose median is not positive; unknown name.
    """
    require_known("align", align, ALIGNMENTS)
    if align is None:
        return pred
    if align == "median":
        middle = float(_median(pred))
        if middle <= 0:
            raise ValueError(f"the prediction's median is {middle:.4g}: align='median' needs a positive one; "
                             "align='lstsq' also fits a shift")
        return pred * (_median(target) / middle)
    centred, truth = pred - pred.mean(), target - target.mean()
    power = centred.square().sum()
    slope = (centred * truth).sum() / power if float(power) > 0 else torch.zeros_like(power)
    return centred * slope + target.mean()


def _median(values: Tensor) -> Tensor:
    """The mean of the two middle values when their number is even, as NumPy's (torch takes the lower one)."""
    ordered, n = values.sort().values, values.numel()
    return (ordered[(n - 1) // 2] + ordered[n // 2]) / 2


def _finalise(moments: Tensor) -> dict[str, Tensor]:
    """Measures and pooling weights, (N,) each, from (N, 12) moments."""
    count, centre, spread = moments[:, 0], moments[:, 1], moments[:, 2]
    abs_rel, sq_rel, square, log10, imae, inverse, *hits = (moments[:, 3:] / count[:, None]).unbind(1)
    si = spread / count
    values = (abs_rel, sq_rel, square.sqrt(), (si + centre.square()).sqrt(), log10, 100 * si.sqrt(), si,
              imae, inverse.sqrt(), *hits, count, centre)
    return dict(zip((*METRICS, *_WEIGHTS), values, strict=True))
