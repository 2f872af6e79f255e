"""Blocks and conversions that several networks share.

`to_metres` is the one place where a network's own output becomes depth; `UpProjection` is the decoder step of
Hu et al. and of the mask network that explains it. Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["OUTPUTS", "START_DEPTH", "UpProjection", "conv_bn_relu", "init_depth_head", "pad_to_multiple", "resize",
           "to_metres"]

OUTPUTS = ("linear", "log", "sigmoid")
START_DEPTH = 2.5  # metres: close to the mean depth of indoor scenes, so that training does not start far away


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (B, C, h, w) to `size` = (H, W), pixel areas aligned; the input itself if it fits."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=False)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Repeat the last rows and columns of (B, C, H, W) until both sides are multiples of `multiple`.

    Padding at the bottom and the right only, so that cropping the result to H, W undoes it.
    """
    height, width = x.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return F.pad(x, (0, right, 0, bottom), mode="replicate") if bottom or right else x


def to_metres(raw: Tensor, output: str = "linear", *, unit: float = 1.0, max_depth: float = 10.0) -> Tensor:
    """Depth in metres from a network's own output.

    ``linear``: unit * raw, the published form of Hu et al. and METER; may be negative.
    ``log``: unit * exp(raw), always positive, which losses on log depth (SILog) need.
    ``sigmoid``: max_depth * sigmoid(raw), the form of BTS and DenseDepth heads; never beyond `max_depth`.

    Args:
        raw: any shape; half precision is raised to float32 first, because exp and metres need its digits.
        output: one of `OUTPUTS`.
        unit: metres per unit of the network, for example 0.01 for a network that speaks centimetres.
        max_depth: metres, for ``sigmoid``.

    Raises:
        ValueError: an unknown `output`.
    """
    _check_output(output)
    raw = raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw
    if output == "sigmoid":
        return max_depth * torch.sigmoid(raw)
    return unit * (torch.exp(raw) if output == "log" else raw)


def init_depth_head(head: nn.Conv2d, output: str = "linear", *, unit: float = 1.0, max_depth: float = 10.0,
                    depth: float = START_DEPTH) -> None:
    """Initialise a last convolution so that an untrained network predicts about `depth` metres everywhere.

    Small random weights rather than zeros, so that gradients reach the layers below from the first step on. A
    head without a bias cannot hold a depth; its network chooses `unit` instead.

    Raises:
        ValueError: an unknown `output`, or a `depth` that a sigmoid output cannot reach.
    """
    _check_output(output)
    if output == "sigmoid" and not 0 < depth < max_depth:
        raise ValueError(f"cannot start at depth {depth} m with a sigmoid output up to {max_depth} m: "
                         "choose a start inside the range")
    nn.init.normal_(head.weight, std=0.1 / math.sqrt(head.weight[0].numel()))
    if head.bias is not None:
        if output == "sigmoid":
            start = math.log(depth / (max_depth - depth))
        else:
            start = math.log(depth / unit) if output == "log" else depth / unit
        nn.init.constant_(head.bias, start)


def conv_bn_relu(in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; keeps H and W at stride 1 (odd kernels)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


class UpProjection(nn.Module):
    """The decoder step of Laina et al. (2016) as Hu et al. (WACV 2019) build it.

    x' = resize(x);  a, b = BN(conv5(x')), BN(conv5'(x'));  y = ReLU( BN(conv3(ReLU(a))) + b )

    The two 5x5 convolutions read the same input, so they are computed as one with twice the channels: the same
    numbers and parameters in half the time.

    Args:
        in_channels, out_channels: channels of x and y; the size of y is given at each call.
    """

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.both = nn.Sequential(nn.Conv2d(in_channels, 2 * out_channels, 5, padding=2, bias=False),
                                  nn.BatchNorm2d(2 * out_channels))
        self.branch = nn.Sequential(nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                                    nn.BatchNorm2d(out_channels))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """(B, C, h, w) -> (B, out_channels, *size)."""
        branch, shortcut = self.both(resize(x, size)).chunk(2, dim=1)
        return F.relu(self.branch(F.relu(branch)) + shortcut)


def _check_output(output: str) -> None:
    if output not in OUTPUTS:
        raise ValueError(f"unknown output form {output!r}: expected one of {', '.join(OUTPUTS)}")
