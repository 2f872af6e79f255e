"""Structural similarity (SSIM) that knows which pixels are valid.

Explained in notebooks/01_metrics_and_protocols.ipynb.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.protocols import require_known

__all__ = ["gaussian_window", "separable_blur", "ssim", "ssim_map"]

VARIANTS = ("standard", "tiekd")
REDUCTIONS = ("mean", "image")


def ssim(x: Tensor, y: Tensor, mask: Tensor | None = None, *, data_range: float = 1.0, window: int = 11,
         sigma: float = 1.5, variant: str = "standard", reduction: str = "mean") -> Tensor:
    r"""Structural similarity of two batches, differentiable; 1 for equal ones.

    :math:`\frac{(2\mu_x\mu_y + C_1)(2\sigma_{xy} + C_2)}{(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2
    + C_2)}` with Gaussian windows, C1 = (0.01 L)², C2 = (0.03 L)² (Wang et al. 2004, Eq 13), averaged over the
    pixels whose window lies inside the image, as scikit-image does (torchmetrics' mean takes in a reflected
    border). With a mask, every window is normalised over its valid pixels, so that what invalid pixels hold has
    no influence, and only valid centres are averaged.

    Args:
        x, y: (B, C, H, W) floats of one dtype.
        mask: (B, 1, H, W) or (B, C, H, W) bool, or None.
        data_range: L, the difference of the largest and smallest possible value.
        window: odd width of the window in pixels, at most H and W.
        sigma: the Gaussian's standard deviation in pixels.
        variant: ``"standard"``, or ``"tiekd"``, as TIE-KD codes it: images padded with zeros, every pixel
            averaged, and the covariance replaced by its absolute value.
        reduction: ``"mean"``, one scalar: the mean over images, leaving out images without a valid centre;
            ``"image"``, (B,): each image's mean over its valid centres.

    Raises:
        ValueError: shapes or dtypes that do not fit, an even or too large window, no valid centre (in any
            image for ``"mean"``, in one of them for ``"image"``).

    Explained in notebooks/01_metrics_and_protocols.ipynb.
    """
    require_known("reduction", reduction, REDUCTIONS)
    values, counted = ssim_map(x, y, mask, data_range=data_range, window=window, sigma=sigma, variant=variant)
    if counted is None:
        each = values.flatten(1).mean(1)
        return each.mean() if reduction == "mean" else each
    counts = counted.flatten(1).sum(1)
    some = counts > 0
    if not some.any() or (reduction == "image" and not some.all()):
        which = [i for i in range(len(some)) if not some[i]]
        raise ValueError(f"no valid window centre in image {which[0]} (of {len(some)} images {len(which)} "
                         f"have none): the mask must hold a pixel at least {window // 2} pixels from the "
                         "border")
    total = torch.where(counted, values, 0).flatten(1).sum(1)
    each = total / counts.clamp_min(1)
    return each[some].mean() if reduction == "mean" else each


def ssim_map(x: Tensor, y: Tensor, mask: Tensor | None = None, *, data_range: float = 1.0, window: int = 11,
             sigma: float = 1.5, variant: str = "standard") -> tuple[Tensor, Tensor | None]:
    """SSIM at every window centre, and which of them are valid.

    Returns:
        (B, C, H - window + 1, W - window + 1) values ((B, C, H, W) for ``"tiekd"``) and a bool tensor of that
        shape, or None without a mask. Values at invalid centres are finite and mean nothing.
    """
    mask = _check(x, y, mask, data_range, window, sigma, variant)
    if mask is not None:
        x, y = torch.where(mask, x, 0), torch.where(mask, y, 0)
    # Variances do not change with an offset, but E[x²] - E[x]² loses its digits to one: take it off first.
    with torch.no_grad():
        count = x[0].numel() if mask is None else mask.flatten(1).sum(1).clamp_min(1)
        offset = ((x + y).flatten(1).sum(1) / (2 * count))[:, None, None, None]
    known = None if mask is None else mask.to(x.dtype)
    if variant == "tiekd":  # the padding is data here: zeros that count
        pad = (window // 2,) * 4
        x, y = F.pad(x, pad), F.pad(y, pad)
        known = None if known is None else F.pad(known, pad, value=1.0)
    a, b = x - offset, y - offset
    maps = [a, b, a * a + b * b, a * b]  # only the sum of the variances is needed
    if known is not None:
        maps = [m * known for m in maps] + [known]
    weights = gaussian_window(window, sigma, dtype=x.dtype, device=x.device)
    blurred = separable_blur(torch.stack(maps), weights).unbind(0)
    if known is not None:
        norm = blurred[4].clamp_min(torch.finfo(x.dtype).tiny)
        blurred = [m / norm for m in blurred[:4]]
    mean_a, mean_b, squares, ab = blurred
    variances, cov = squares - mean_a * mean_a - mean_b * mean_b, ab - mean_a * mean_b
    if variant == "tiekd":
        cov = cov.abs()
    mean_x, mean_y = mean_a + offset, mean_b + offset
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = ((2 * mean_x * mean_y + c1) * (2 * cov + c2)
              / ((mean_x * mean_x + mean_y * mean_y + c1) * (variances + c2)))
    if mask is None:
        return values, None
    r = 0 if variant == "tiekd" else window // 2
    return values, mask[..., r:mask.shape[-2] - r, r:mask.shape[-1] - r]


def gaussian_window(window: int, sigma: float, *, dtype: torch.dtype = torch.float32,
                    device: torch.device | str = "cpu") -> Tensor:
    """A Gaussian sampled at whole pixels and normalised to the sum 1, (window,)."""
    steps = torch.arange(window, dtype=torch.float64) - (window - 1) / 2
    weights = torch.exp(-steps.square() / (2 * sigma**2))
    return (weights / weights.sum()).to(device=device, dtype=dtype)


def separable_blur(x: Tensor, weights: Tensor, *, same: bool = False) -> Tensor:
    """(..., H, W) filtered by the same odd window along both axes.

    A product with a banded matrix on either side: on a CPU several times as fast, forwards and backwards, as
    one-channel convolutions, which have no good kernel there.

    Args:
        x: (..., H, W).
        weights: (window,).
        same: pad with zeros and keep the size; otherwise only where the window lies inside, window - 1 fewer.
    """
    with torch.autocast(x.device.type, enabled=False):  # variances do not survive half precision
        return _band(weights, x.shape[-2], same) @ (x @ _band(weights, x.shape[-1], same).T)


def _band(weights: Tensor, length: int, same: bool) -> Tensor:
    """The matrix that filters a vector of `length`, one shifted copy of the window a row."""
    window = len(weights)
    pad = window // 2 if same else 0
    rows = torch.arange(length + 2 * pad - window + 1, device=weights.device)[:, None]
    matrix = weights.new_zeros(len(rows), length + 2 * pad)
    matrix[rows, rows + torch.arange(window, device=weights.device)] = weights
    return matrix[:, pad:pad + length].contiguous()


def _check(x: Tensor, y: Tensor, mask: Tensor | None, data_range: float, window: int, sigma: float,
           variant: str) -> Tensor | None:
    """Refuse what cannot be compared; the mask comes back with as many channels as x."""
    require_known("variant", variant, VARIANTS)
    if x.ndim != 4 or x.shape != y.shape:
        raise ValueError(f"x {tuple(x.shape)} and y {tuple(y.shape)} must both be (B, C, H, W) and of one "
                         "shape")
    if not x.is_floating_point() or x.dtype != y.dtype:
        raise ValueError(f"x is {x.dtype} and y is {y.dtype}: both must have the same floating-point dtype")
    if window < 1 or window % 2 == 0 or window > min(x.shape[-2:]):
        raise ValueError(f"window is {window}: it must be odd and at most the image's {tuple(x.shape[-2:])}; "
                         "pass a smaller one for small images")
    if not (sigma > 0 and data_range > 0):
        raise ValueError(f"sigma is {sigma} and data_range is {data_range}: both must be positive")
    if mask is None:
        return None
    if mask.dtype != torch.bool:
        raise ValueError(f"mask has the dtype {mask.dtype}: it must be bool; compare it first, for example "
                         "mask > 0")
    if mask.ndim != 4 or mask.shape[1] not in (1, x.shape[1]) or mask.shape[::2] != x.shape[::2] \
            or mask.shape[-1] != x.shape[-1]:
        raise ValueError(f"mask {tuple(mask.shape)} does not fit x {tuple(x.shape)}: one mask value a pixel "
                         "is needed")
    return mask.expand_as(x)
