"""Exercises on sharpness and receptive fields: notebook 02.

Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from mdelib.checks import Exercise

__all__ = ["EXERCISES"]


def _rows(generator: torch.Generator) -> Iterator[tuple[str, tuple[Tensor, Tensor]]]:
    """Rows of depth: a blurred step, a step, noise."""
    step = torch.cat([torch.full((6,), 2.0), torch.full((6,), 5.0)])
    yield "a prediction that halves a step", (torch.cat([torch.full((6,), 3.0), torch.full((6,), 4.5)]), step)
    yield "a ramp against a step", (torch.linspace(2, 5, 12), step)
    noisy = step + 0.3 * torch.randn(12, generator=generator)
    yield "a noisy step, which also goes down", (noisy, step + 0.1 * torch.randn(12, generator=generator))


def _stacks(generator: torch.Generator) -> Iterator[tuple[str, tuple[list[int], list[int]]]]:
    """Stacks of convolutions: kernel sizes and strides."""
    yield "one 3×3 layer", ([3], [1])
    yield "three 3×3 layers of stride 1", ([3, 3, 3], [1, 1, 1])
    yield "a strided stem", ([7, 3, 3], [2, 2, 1])
    draws = torch.randint(0, 3, (2, 5), generator=generator).tolist()
    yield "five random layers", ([2 * k + 1 for k in draws[0]], [s + 1 for s in draws[1]])


def _window(kernels: list[int], strides: list[int]) -> int:
    window, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        window, step = window + (kernel - 1) * step, step * stride
    return window


EXERCISES = {
    "total_variation": Exercise(lambda p, t: p.diff().abs().sum() / t.diff().abs().sum(), _rows, (
        (lambda p, t: t.diff().abs().sum() / p.diff().abs().sum(), "the prediction belongs above the line"),
        (lambda p, t: p.diff().sum() / t.diff().sum(), "steps up and down must not cancel: take absolute values"),
        (lambda p, t: p.diff().abs().max() / t.diff().abs().max(), "sum the differences; do not take the largest"),
        (lambda p, t: p.diff().abs().mean() / t.diff().abs().sum(), "a sum over a sum: both sides alike"),
        (lambda p, t: p.diff().square().sum() / t.diff().square().sum(),
         "a square favours one large step over many small ones: take absolute values"),
        (lambda p, t: (p.diff().abs() / t.diff().abs()).mean(),
         "flat stretches of the truth give 0 / 0: take both sums first, then one ratio"),
        (lambda p, t: (p - t).abs().sum() / t.abs().sum(),
         "that compares depths: compare the differences between neighbours"),
    )),
    "receptive_window": Exercise(_window, _stacks, (
        (lambda k, s: 1 + sum(a - 1 for a in k), "a layer after a stride of 2 moves in steps of 2 pixels"),
        (lambda k, s: 1 + sum((a - 1) * math.prod(s[:i + 1]) for i, a in enumerate(k)),
         "a layer's own stride counts only from the next layer on"),
        (lambda k, s: sum(k), "each layer adds its kernel size minus one"),
        (lambda k, s: _window(k, s) - 1, "an empty stack already sees the pixel itself: begin at 1"),
        (lambda k, s: 1 + sum(a * math.prod(s[:i]) for i, a in enumerate(k)),
         "the first pixel of a kernel is already there: each layer adds its kernel size minus one"),
        (lambda k, s: math.prod(k), "windows add up, they do not multiply: only the strides do"),
    )),
}
