"""Blocks and conversions that several networks share."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mdelib.layers import OUTPUTS, UpProjection, conv_bn_relu, init_depth_head, pad_to_multiple, resize, to_metres


def test_to_metres_known_values() -> None:
    raw = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    torch.testing.assert_close(to_metres(raw, "linear", unit=0.01), raw / 100)
    torch.testing.assert_close(to_metres(raw, "log", unit=2.5), 2.5 * torch.exp(raw))
    torch.testing.assert_close(to_metres(raw, "sigmoid", max_depth=80.0), 80 / (1 + torch.exp(-raw)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_to_metres_is_never_half_precision(dtype: torch.dtype) -> None:
    depth = to_metres(torch.full((2,), math.log(7.0), dtype=dtype), "log")
    assert depth.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert to_metres(torch.full((1,), 12.0, dtype=dtype), "log").item() == pytest.approx(math.exp(12), rel=1e-4)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("unit", [1.0, 0.01])
def test_untrained_head_predicts_the_start(output: str, unit: float) -> None:
    head = nn.Conv2d(16, 1, 5, padding=2)
    init_depth_head(head, output, unit=unit)
    raw = head(torch.rand(2, 16, 12, 12))
    spread = to_metres(raw, output, unit=unit) - 2.5
    assert spread.abs().max() < 0.6
    assert raw.std() > 0  # not constant, so that gradients reach the layers below


def test_head_without_bias_starts_at_one_unit() -> None:
    head = nn.Conv2d(8, 1, 3, bias=False)
    init_depth_head(head, "log")
    assert to_metres(head(torch.rand(1, 8, 6, 6)), "log", unit=2.5).mean().item() == pytest.approx(2.5, rel=0.1)


def test_bad_output_and_start() -> None:
    with pytest.raises(ValueError, match="unknown output form 'exp': expected one of linear, log, sigmoid"):
        to_metres(torch.zeros(1), "exp")
    with pytest.raises(ValueError, match="inside the range"):
        init_depth_head(nn.Conv2d(1, 1, 1), "sigmoid", max_depth=2.0)


def test_resize_aligns_areas_and_keeps_what_fits() -> None:
    x = torch.tensor([[[[0.0, 1.0]]]])
    assert resize(x, (1, 2)) is x
    torch.testing.assert_close(resize(x, (1, 4)).flatten(), torch.tensor([0.0, 0.25, 0.75, 1.0]))


def test_pad_repeats_the_border_and_crops_back() -> None:
    x = torch.arange(6.0).view(1, 1, 2, 3)
    padded = pad_to_multiple(x, 4)
    assert padded.shape == (1, 1, 4, 4)
    assert torch.equal(padded[..., :2, :3], x)
    assert padded[0, 0, 3, 3] == x[0, 0, 1, 2]
    assert pad_to_multiple(padded, 4) is padded


def test_conv_bn_relu_shapes() -> None:
    x = torch.rand(2, 3, 7, 9)
    assert conv_bn_relu(3, 5, 5)(x).shape == (2, 5, 7, 9)
    assert conv_bn_relu(3, 5, 3, stride=2)(x).shape == (2, 5, 4, 5)
    assert conv_bn_relu(3, 5)(x).min() >= 0


def test_up_projection_is_the_published_two_branches() -> None:
    block = UpProjection(6, 4)
    x, size = torch.rand(2, 6, 5, 4), (9, 8)
    first, second = block.both[0].weight.chunk(2)
    wide = F.interpolate(x, size=size, mode="bilinear", align_corners=False)

    def norm(y: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(y, None, None, training=True)

    long = norm(F.conv2d(F.relu(norm(F.conv2d(wide, first, padding=2))), block.branch[0].weight, padding=1))
    short = norm(F.conv2d(wide, second, padding=2))
    torch.testing.assert_close(block(x, size), F.relu(long + short))


def test_up_projection_parameters_and_gradients() -> None:
    block = UpProjection(6, 4)
    # two 5x5 and one 3x3 convolution without biases, three batch norms
    assert sum(p.numel() for p in block.parameters()) == 2 * 25 * 6 * 4 + 9 * 16 + 3 * 2 * 4
    (block(torch.rand(2, 6, 3, 3), (6, 6)) ** 2).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in block.parameters())
