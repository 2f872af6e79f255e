"""What FuSaNet is trained with (huynh2021 section 3.3): the depth confidence loss, the sparse loss, and the full loss.

The paper adds the terms at five scales; each depth map is compared with the truth at its own resolution, by nearest
pixel. Terms that need more pixels than a coarse map has are left out there: gradients and
normals below 3x3, the Hessian below its kernel of 9x9. Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mdelib.data.base import resize_depth
from mdelib.gradients import stencil_valid
from mdelib.hessian import hessian_valid, normalized_hessian_loss
from mdelib.losses import hu_terms
from mdelib.metrics import valid_pixels
from mdelib.models.fusanet import Pass
from mdelib.points import SparsePoints

__all__ = ["GAMMA", "FuSaNetLoss", "confidence_loss", "fusanet_loss", "sparse_loss"]

GAMMA = (1.0, 0.75, 0.5, 0.25, 0.125)  # section 4.2, read as finest first: the finest map is the answer
HESSIAN_SIGMA = 1.0  # pixels; not given. The smallest that `mdelib.hessian` is accurate for, as coarse maps are small


@dataclass(frozen=True)
class FuSaNetLoss:
    """The weights of Eq 4-5, as section 4.2 gives them for NYU; 0 leaves a term out (Table 7).

    Attributes:
        beta, phi, lam: of L_DC, L_S and L_H. mu, theta, psi: of L_grad, L_norm and L_C within L_DC.
        gamma: of the scales, finest first. alpha: of the logarithms of Hu et al., metres.
    """

    beta: float = 1.0
    phi: float = 5.0
    lam: float = 0.01
    mu: float = 1.0
    theta: float = 1.0
    psi: float = 1.0
    gamma: tuple[float, ...] = GAMMA
    alpha: float = 0.5


def confidence_loss(pred: Tensor, target: Tensor, confidence: Tensor, mask: Tensor | None = None, *,
                    alpha: float = 0.5) -> Tensor:
    r"""L_C of huynh2021 Eq 4, which training makes large: mean of C - l C with l = ln(|e| + α) at every pixel.

    The paper writes one L_log; a mean would say nothing of single pixels, so that l is the map whose mean is L_log, as
    the error is in the authors' model (Eldesokey et al. 2019, `nconv`: smooth L1 there). C (1 - l) grows with C where
    |e| < e - α, which is 2.2 m: confidence is only lowered where the error is larger than that.

    Args:
        pred, target, mask: (B, 1, H, W), metres, bool. confidence: (B, 1, H, W) in [0, 1]. alpha: metres.

    Raises:
        ValueError: no valid pixel.

    Explained in notebooks/09_fusanet.ipynb.
    """
    valid = _valid(pred, target, mask)
    if not valid.any():
        raise ValueError("no valid pixel to learn confidence from: check the mask and the depth's unit")
    error = torch.where(valid, pred - torch.where(valid, target, 0), 0)
    return _mean(confidence * (1 - torch.log(error.abs() + alpha)), valid)


def sparse_loss(pred: Tensor, target: Tensor, points: SparsePoints, mask: Tensor | None = None, *,
                detach: bool = True) -> Tensor:
    r"""L_S of huynh2021 Eq 3: the RMSE at points with known depth over the RMSE at all valid pixels.

    As a ratio it would also fall when the error elsewhere grows, so that the denominator is a constant here; with
    ``detach=False`` it is differentiated, as the formula reads. Without any point the loss is 0. The printed sum has
    M_s + 1 terms from j = 0; M_s are meant.

    Args:
        pred, target, mask: (B, 1, H, W), metres, bool. points: M_s of them, in pixels of `pred`, with their depth; a
            batch is one set. detach: see above.

    Explained in notebooks/09_fusanet.ipynb.
    """
    valid = _valid(pred, target, mask)
    if not (points.valid.any() and valid.any()):
        return pred.sum() * 0
    wrong = torch.where(points.valid[:, None], points.gather(pred) - points.depth[:, None].to(pred), 0)
    at_points = wrong.square().sum() / points.valid.sum()
    dense = _mean(torch.where(valid, pred - torch.where(valid, target, 0), 0).square(), valid)
    dense = dense.detach() if detach else dense
    tiny = 1e-12  # square metres: the root has no derivative at 0
    return (at_points + tiny).sqrt() / (dense + tiny).sqrt()


def fusanet_loss(maps: Pass, target: Tensor, mask: Tensor, points: SparsePoints, epoch: int | Tensor,
                 weights: FuSaNetLoss | None = None, *, confident: bool = True) -> Tensor:
    r"""L_total of huynh2021 Eq 5: Σ_i γ^i (β L_DC^i + φ L_S^i + λ L_H^i), for one pass of the network.

    L_DC = L_log + μ L_grad + θ L_norm - ψ L_C / p, with Hu et al.'s three terms and p the epoch, from 1 (Eq 4). L_log
    is negative where depth is right within half a metre, and so can be the sum. γ^i is read as a list of weights.
    L_H has the safe form of `mdelib.hessian`.

    Args:
        maps: five depth maps and confidences. target, mask: (B, 1, H, W), metres, bool, at the image's size.
        points: the points with measured depth that the network was given, pixels of the image. epoch: p.
        weights: None is all of section 4.2. confident: whether the network predicts its confidence; without, no L_C.

    Raises:
        ValueError: no pixel of the batch is valid, or as many weights as maps are not there.

    Explained in notebooks/09_fusanet.ipynb.
    """
    weights = weights or FuSaNetLoss()
    if not _valid(target, target, mask).any():
        raise ValueError("no valid pixel in the batch: leave it out, or check the mask and the depth's unit")
    if len(weights.gamma) != len(maps.depth):
        raise ValueError(f"{len(weights.gamma)} weights gamma for {len(maps.depth)} depth maps: give one for each")
    total = maps.depth[0].sum() * 0
    for gamma, depth, confidence in zip(weights.gamma, maps.depth, maps.confidences, strict=True):
        size = (depth.shape[-2], depth.shape[-1])
        truth, known = resize_depth(target, size), resize_depth(mask.float(), size) > 0.5
        valid = _valid(depth, truth, known)
        if not valid.any():  # a coarse map can miss all known pixels
            continue
        value = _depth_terms(depth, truth, valid, weights)
        if confident and weights.psi:
            seen = confidence_loss(depth, truth, confidence, valid, alpha=weights.alpha)
            value = value - weights.psi / epoch * seen
        value = weights.beta * value
        if weights.phi:
            here = points.scaled((target.shape[-2], target.shape[-1]), size)
            value = value + weights.phi * sparse_loss(depth, truth, here, valid)
        if weights.lam and hessian_valid(valid, HESSIAN_SIGMA).any():
            value = value + weights.lam * normalized_hessian_loss(depth, truth, valid, sigma=HESSIAN_SIGMA)
        total = total + gamma * value
    return total


def _depth_terms(depth: Tensor, truth: Tensor, valid: Tensor, weights: FuSaNetLoss) -> Tensor:
    """L_log + μ L_grad + θ L_norm, the last two where a 3x3 neighbourhood is known."""
    if min(depth.shape[-2:]) >= 3 and stencil_valid(valid).any():
        terms = hu_terms(depth, truth, valid, alpha=weights.alpha)
        return terms["depth"] + weights.mu * terms["gradient"] + weights.theta * terms["normal"]
    error = torch.where(valid, depth - torch.where(valid, truth, 0), 0)
    return _mean(torch.log(error.abs() + weights.alpha), valid)


def _valid(pred: Tensor, target: Tensor, mask: Tensor | None) -> Tensor:
    return valid_pixels(pred, target, mask, min_depth=0.0, max_depth=float("inf"))


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, values, 0).sum() / valid.sum()
