"""Normalised convolution: a weighted mean in which a value counts as much as it is trusted (Eldesokey et al. 2019).

Both the value x and its confidence c are convolved, with the same weights W ≥ 0:

    y = W * (x c) / (W * c) + b,        c' = W * c / ΣW.

Where nothing around is trusted there is no mean: y = b and c' = 0. The authors (`nconv`) keep W positive by writing
softplus(W) over W in each forward pass of a training, so that the optimiser and the forward pass disagree about what
the parameter is; here the parameter is raw and W = softplus(raw), in training and after it.
Explained in notebooks/09_fusanet.ipynb.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["NormalizedConv2d", "normalized_convolution"]

START_BIAS = 0.01  # of Eldesokey et al.


def normalized_convolution(x: Tensor, confidence: Tensor, weight: Tensor, bias: Tensor | None = None, *,
                           stride: int = 1, dilation: int = 1, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    r"""Convolve values and their confidence: y = W * (x c) / (W * c) + b and c' = W * c / ΣW (huynh2021 Sec. 3.1).

    Several channels are convolved jointly, as in the authors' code: the mean is over the neighbourhood and all input
    channels together, and an output channel has one confidence, whatever channel the trust came from. Outside the
    image confidence is 0: y is the mean over what is inside, and c' is lower at the frame.

    Args:
        x: (B, I, H, W), finite also where it is not trusted. confidence: same shape, in [0, 1].
        weight: W, (O, I, k, k) with k odd, nothing negative and at least one positive in every output channel.
        bias: b, (O,), or None.
        stride, dilation: as in `torch.nn.functional.conv2d`; the padding is k // 2 · dilation.
        eps: where c' is no more than this, y = b, and no gradient reaches x, c and W through y: the mean would jump
            there, from nothing to the first value that is trusted at all. It is above float32's rounding errors.

    Returns:
        y and c', (B, O, H', W') each, float32 or better: half precision is left before the division. c' is in [0, 1].

    Raises:
        ValueError: x and confidence of different shapes.

    Explained in notebooks/09_fusanet.ipynb.
    """
    if x.shape != confidence.shape:
        raise ValueError(f"x has the shape {tuple(x.shape)} and its confidence {tuple(confidence.shape)}: both must "
                         "be (B, C, H, W), with a confidence for every value; expand one that all channels share")
    padding = weight.shape[-1] // 2 * dilation
    weight = weight / weight.sum((1, 2, 3), keepdim=True)  # cancels in y, and makes W * c the new confidence
    total, around = (_at_least_float(F.conv2d(values, weight, stride=stride, padding=padding, dilation=dilation))
                     for values in (x * confidence, confidence))
    known = around > eps
    y = torch.where(known, total / torch.where(known, around, 1), 0)
    inside = around + (around.clamp(0, 1) - around).detach()  # rounding can pass 1; the gradient stays as it is
    return y if bias is None else y + bias[:, None, None], inside


def _at_least_float(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class NormalizedConv2d(nn.Module):
    """A layer of `normalized_convolution`, its weights kept positive by W = softplus(raw).

    softplus(w) = ln(1 + exp(β w)) / β. As only ratios of weights count, the layer computes means: it cannot find an
    edge, and with a confidence of 1 it is an ordinary convolution with positive weights that sum to 1.

    Args:
        in_channels, out_channels: I and O. kernel_size: k, odd. stride, dilation: see `normalized_convolution`.
        bias: whether there is a b, 0.01 at the start.
        beta: β; 10 in the authors' code, where softplus is nearly max(0, w).
        eps: see `normalized_convolution`.

    Raises:
        ValueError: numbers out of range.

    Explained in notebooks/09_fusanet.ipynb.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, *, stride: int = 1, dilation: int = 1,
                 bias: bool = True, beta: float = 10.0, eps: float = 1e-6):
        super().__init__()
        if min(in_channels, out_channels, kernel_size, stride, dilation) < 1 or kernel_size % 2 == 0:
            raise ValueError(f"in_channels={in_channels}, out_channels={out_channels}, kernel_size={kernel_size}, "
                             f"stride={stride}, dilation={dilation}: all must be at least 1, and the kernel size odd")
        if not (math.isfinite(beta) and beta > 0 and 0 < eps < 1):
            raise ValueError(f"beta={beta}, eps={eps}: beta must be positive, and eps between 0 and 1")
        self.stride, self.dilation, self.beta, self.eps = stride, dilation, beta, eps
        self.raw = nn.Parameter(torch.empty(out_channels, in_channels, kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.full((out_channels,), START_BIAS)) if bias else None
        nn.init.kaiming_uniform_(self.raw)

    @property
    def weight(self) -> Tensor:
        """W = softplus(raw), (O, I, k, k), positive."""
        return F.softplus(self.raw, self.beta)

    def forward(self, x: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """Values and confidence, (B, I, H, W) both -> (B, O, H', W') both."""
        return normalized_convolution(x, confidence, self.weight, self.bias, stride=self.stride,
                                      dilation=self.dilation, eps=self.eps)

    def extra_repr(self) -> str:
        out_channels, in_channels, kernel_size, _ = self.raw.shape
        return (f"{in_channels}, {out_channels}, kernel_size={kernel_size}, stride={self.stride}, "
                f"dilation={self.dilation}, bias={self.bias is not None}, beta={self.beta}")
