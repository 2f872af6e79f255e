"""The normalised Hessian of a depth map and the loss between two of them (huynh2021 Eq 1-2).

The direction of (z_xx, z_xy, z_yy) does not change when a surface is scaled by a > 0, sheared and moved along z. Where
a surface is flat it is the direction of nothing, so that it needs a floor: `eps`, in metres per square pixel. No loss
that forgives every a > 0 has bounded gradients near a plane. With the floor it forgives offset and shear everywhere,
and scale where the surface bends more than `eps`. ``eps=LITERAL_EPS`` is the paper's form.
Explained in notebooks/08_normalized_hessian.ipynb.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mdelib.metrics import valid_pixels
from mdelib.protocols import require_known

__all__ = ["KERNELS", "LITERAL_EPS", "derivative_kernels", "gaussian_hessian", "hessian_noise", "hessian_radius",
           "hessian_valid", "noise_eps", "normalized_hessian", "normalized_hessian_loss"]

KERNELS = ("exact", "sampled")
LITERAL_EPS = 1e-20  # of huynh2021 Eq 1; its unit is not given
DEPTH_NOISE = 0.01  # metres: of an indoor depth camera at two or three metres
NOISE_FACTOR = 3  # so that noise alone has an H of about a quarter of its length
TRUNCATE = 4.0  # sigmas
LEAST_SIGMA = 0.3  # pixels: below it the Gaussian has one sample
SMOOTH = 1e-6  # of a root mean square, where its derivative would jump


def hessian_radius(sigma: float) -> int:
    """Half the width of the kernels in pixels, without the middle: round(4 sigma), at least 1."""
    if not (math.isfinite(sigma) and sigma >= LEAST_SIGMA):
        raise ValueError(f"sigma is {sigma}: the Gaussian needs a width of at least {LEAST_SIGMA} pixels")
    return max(1, int(TRUNCATE * sigma + 0.5))


def derivative_kernels(sigma: float, kernel: str = "exact") -> Tensor:
    """A Gaussian and its first and second derivative at whole pixels, (3, 2 radius + 1), float64, for correlation.

    Args:
        sigma: pixels.
        kernel: ``"sampled"``: the formulas at whole pixels, the Gaussian normalised to the sum 1, as scipy does; the
            second derivative does not sum to 0, so that depth itself leaks into it. ``"exact"``: a multiple of the
            Gaussian is taken off the second derivative, so that it sums to 0, and both derivatives are scaled so that
            they are exact for quadratic functions.

    Raises:
        ValueError: a sigma below 0.3, or an unknown kernel.

    Explained in notebooks/08_normalized_hessian.ipynb.
    """
    require_known("kernel", kernel, KERNELS)
    radius = hessian_radius(sigma)
    x = torch.arange(-radius, radius + 1, dtype=torch.float64)
    smooth = torch.exp(-x.square() / (2 * sigma**2))
    smooth = smooth / smooth.sum()
    first, second = x / sigma**2 * smooth, (x.square() / sigma**4 - 1 / sigma**2) * smooth
    if kernel == "exact":
        second = second - second.sum() * smooth
        first, second = first / (first * x).sum(), second * 2 / (second * x.square()).sum()
    return torch.stack([smooth, first, second])


def hessian_noise(noise: float, sigma: float = 1.5) -> float:
    """How large the Hessian of nothing but noise is: the root mean square of |(z_xx, z_xy, z_yy)|, metres per px².

    Args:
        noise: standard deviation of depth in metres, independent from pixel to pixel.
        sigma: pixels.
    """
    smooth, first, second = (float(power) for power in derivative_kernels(sigma).square().sum(1))
    return noise * math.sqrt(2 * smooth * second + first**2)


def noise_eps(sigma: float = 1.5, noise: float = DEPTH_NOISE) -> float:
    """The default eps, metres per square pixel: three times the Hessian of noise; 0.011 at sigma 1, 0.0033 at 1.5.

    Args:
        sigma: pixels. noise: standard deviation of depth in metres.
    """
    return NOISE_FACTOR * hessian_noise(noise, sigma)


def gaussian_hessian(depth: Tensor, *, sigma: float = 1.5, kernel: str = "exact") -> Tensor:
    """The second derivatives (z_xx, z_xy, z_yy) of a depth map by Gaussian filters, metres per square pixel.

    Three pairs of products with banded matrices, in float32 or finer, also under autocast.

    Args:
        depth: (B, 1, H, W) metres, finite.
        sigma: of the Gaussian, pixels.
        kernel: as in `derivative_kernels`.

    Returns:
        (B, 3, H, W), x to the right and y downwards; 0 where the kernel reaches over the border, `hessian_radius`
        pixels deep.

    Raises:
        ValueError: shapes, dtypes or values that do not fit, or a map smaller than the kernel.

    Explained in notebooks/08_normalized_hessian.ipynb.
    """
    kernels = derivative_kernels(sigma, kernel)
    _check_depth(depth, kernels.shape[1], sigma)
    with torch.autocast(depth.device.type, enabled=False):
        depth = depth.to(torch.promote_types(depth.dtype, torch.float32))
        if kernel == "exact":  # blind to a constant but for rounding, which is less without it
            depth = depth - depth.detach().mean((-2, -1), keepdim=True)
        down, right = (_filters(kernels.to(depth), length) for length in depth.shape[-2:])
        return torch.cat([down[0] @ (depth @ right[2].T), down[1] @ (depth @ right[1].T),
                          down[2] @ (depth @ right[0].T)], 1)


def normalized_hessian(depth: Tensor, *, sigma: float = 1.5, eps: float | None = None,
                       kernel: str = "exact") -> Tensor:
    r"""The direction of a depth map's second derivatives (huynh2021 Eq 1).

    :math:`H_z = \nabla^2 z / (\|\nabla^2 z\| + \varepsilon)` with :math:`\nabla^2 z = (z_{xx}, z_{xy}, z_{yy})`; the
    norm counts z_xy once, as printed.

    Args:
        depth: (B, 1, H, W) metres, finite.
        sigma: of the Gaussian, pixels; the paper gives none.
        eps: metres per square pixel; None is `noise_eps(sigma)`. A surface that bends less has a short H instead of a
            random direction, and the derivative of H is at most 1 / eps. `LITERAL_EPS` is the paper's 1e-20.
        kernel: ``"exact"`` or ``"sampled"``, see `derivative_kernels`.

    Returns:
        (B, 3, H, W) in float32 or finer, shorter than 1 everywhere, 0 in the border where there is no Hessian; see
        `hessian_valid`.

    Raises:
        ValueError: shapes, dtypes or values that do not fit, an eps that is not positive in the map's dtype, or a map
            smaller than the kernel.

    Explained in notebooks/08_normalized_hessian.ipynb.
    """
    return _direction(gaussian_hessian(depth, sigma=sigma, kernel=kernel), noise_eps(sigma) if eps is None else eps)


def hessian_valid(mask: Tensor, sigma: float = 1.5) -> Tensor:
    """Where the whole kernel lies on valid pixels inside the image, bool of the mask's shape.

    All False for a map smaller than the kernel: ``hessian_valid(mask, sigma).any()`` says whether
    `normalized_hessian_loss` is defined.

    Args:
        mask: (B, 1, H, W) bool.
        sigma: of the Gaussian, pixels.
    """
    if mask.ndim != 4 or mask.dtype != torch.bool:
        raise ValueError(f"mask is {tuple(mask.shape)}, {mask.dtype}: (B, 1, H, W) bool is needed")
    radius = hessian_radius(sigma)
    width = 2 * radius + 1
    if min(mask.shape[-2:]) < width:
        return torch.zeros_like(mask)
    hole = F.max_pool2d(F.max_pool2d((~mask).float(), (width, 1), 1), (1, width), 1)
    return F.pad(hole == 0, (radius,) * 4)


def normalized_hessian_loss(pred: Tensor, target: Tensor, mask: Tensor | None = None, *, sigma: float = 1.5,
                            eps: float | None = None, weighting: float | None = None, kernel: str = "exact") -> Tensor:
    r"""Root mean square distance between the normalised Hessians of prediction and truth (huynh2021 Eq 2).

    :math:`\sqrt{\frac1N \sum w \|H_{\hat d} - H_d\|^2}` over the N pixels of a batch whose whole kernel is valid and
    inside the image; at most 2. The root is rounded off below 1e-6, so that its gradient is finite and 0 for equal
    maps.

    Args:
        pred: (B, 1, H, W) predicted depth, metres, finite wherever a pixel counts.
        target: (B, 1, H, W) true depth, metres; a zero, negative, infinite or NaN truth never counts.
        mask: (B, 1, H, W) bool, or None.
        sigma: of the Gaussian, pixels.
        eps: metres per square pixel, as in `normalized_hessian`; None is `noise_eps(sigma)`. Where the truth bends
            less, the loss asks for a prediction that does not bend.
        weighting: None, w = 1; or a curvature κ in metres per square pixel, w = |∇²d|² / (|∇²d|² + κ²) of the truth:
            pixels where the truth bends less than κ count little.
        kernel: ``"exact"`` or ``"sampled"``, see `derivative_kernels`.

    Raises:
        ValueError: as in `normalized_hessian`; a map smaller than the kernel, which is 2 round(4 sigma) + 1 pixels
            wide (leave such a scale out), or no pixel that counts: `hessian_valid` tells both beforehand.

    Explained in notebooks/08_normalized_hessian.ipynb.
    """
    if weighting is not None and not weighting > 0:
        raise ValueError(f"weighting is {weighting}: it must be a positive curvature in metres per square pixel, or "
                         "None for no weights")
    pred, target, counts = _prepared(pred, target, mask, sigma)
    bends = [gaussian_hessian(depth, sigma=sigma, kernel=kernel) for depth in (pred, target)]
    ours, true = (_direction(bend, noise_eps(sigma) if eps is None else eps) for bend in bends)
    error = (ours - true).square().sum(1, keepdim=True)
    if weighting is not None:
        size = bends[1].square().sum(1, keepdim=True)
        error = error * size / (size + weighting**2)
    mean = torch.where(counts, error, 0).sum() / counts.sum()
    return mean / ((mean + SMOOTH**2).sqrt() + SMOOTH)  # = sqrt(mean + SMOOTH²) - SMOOTH


def _direction(hessian: Tensor, eps: float) -> Tensor:
    """(B, 3, H, W) divided by its norm + eps; the derivative where it is 0 is 1 / eps, as it should be."""
    if not (math.isfinite(eps) and eps >= torch.finfo(hessian.dtype).tiny):
        raise ValueError(f"eps is {eps}: a positive number of metres per square pixel is needed, or None for one of "
                         "the size of noise")
    square = hessian.square().sum(1, keepdim=True)
    some = square > 0
    return hessian / (torch.where(some, torch.where(some, square, 1).sqrt(), 0) + eps)


def _filters(kernels: Tensor, length: int) -> Tensor:
    """(3, length, length): matrices that filter a vector; rows whose kernel would reach over an end are 0."""
    width = kernels.shape[1]
    rows = torch.arange(length - width + 1, device=kernels.device)[:, None]
    matrix = kernels.new_zeros(3, length, length)
    matrix[:, rows + width // 2, rows + torch.arange(width, device=kernels.device)] = kernels[:, None]
    return matrix


def _check_depth(depth: Tensor, width: int, sigma: float) -> None:
    if depth.ndim != 4 or depth.shape[1] != 1:
        raise ValueError(f"depth has the shape {tuple(depth.shape)}: (B, 1, H, W) is needed; add missing axes, for "
                         "example depth[None, None] for one (H, W) map")
    if not depth.is_floating_point():
        raise ValueError(f"depth is {depth.dtype}: floating point is needed, in metres")
    _check_size(tuple(depth.shape[-2:]), width, sigma)
    bad = ~torch.isfinite(depth)
    if bad.any():
        raise ValueError(f"depth is not finite at {int(bad.sum())} of {depth.numel()} pixels: fill them first and "
                         "leave out what hessian_valid(mask, sigma) leaves out, or look at the network's output")


def _check_size(size: tuple[int, int], width: int, sigma: float) -> None:
    if min(size) < width:
        raise ValueError(f"a map of {size[0]}x{size[1]} pixels is smaller than the kernel of {width}x{width} pixels "
                         f"for sigma={sigma}: leave it out, or choose a smaller sigma")


def _prepared(pred: Tensor, target: Tensor, mask: Tensor | None, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction and truth, 0 at invalid pixels, and the pixels whose Hessian knows nothing of those."""
    valid = valid_pixels(pred, target, mask, min_depth=0.0, max_depth=float("inf"))
    width = 2 * hessian_radius(sigma) + 1
    _check_size(tuple(pred.shape[-2:]), width, sigma)
    counts = hessian_valid(valid, sigma)
    if not counts.any():
        raise ValueError(f"no pixel has a neighbourhood of {width}x{width} pixels that is all valid, in a batch of "
                         f"{len(pred)}: the Hessian needs dense depth; leave the batch out, or choose a smaller "
                         f"sigma than {sigma}")
    bad = valid & ~torch.isfinite(pred)
    if bad.any():
        raise ValueError(f"the prediction is not finite at {int(bad.sum())} of {int(valid.sum())} valid pixels: "
                         "every pixel that counts needs a depth in metres; look at the network's output or its "
                         "training")
    dtype = torch.promote_types(torch.promote_types(pred.dtype, target.dtype), torch.float32)
    return *(torch.where(valid, depth.to(dtype), 0) for depth in (pred, target)), counts
