"""The divergence of depth probability maps with its gradient: fused, and with both maps made first.

    python benchmarks/dpm_loss.py [--scale full] [--set batch=2 size=352,704 bins=257 sigma=0.8 device=cpu] [--json]

"as coded" restates what TIE-KD's code computes, with its 1e-7 inside the logarithm, which is not ours; "both maps"
makes the maps of the same reading with this library. The default size is the paper's, where making both maps takes
some 5 GB.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from _timing import Contest, apart, main
from torch import Tensor

from mdelib.distill import bin_centres, depth_bins, depth_probability_map, dpm_loss, fused_dpm_loss

CODE = {"mass": "density", "normalize": "softmax", "direction": "teacher_student"}
PAPER = {"mass": "integral", "normalize": "softmax", "direction": "student_teacher"}
SIZES = {"tiny": {"batch": 1, "bins": 33, "size": (16, 24), "sigma": 4.0},
         "quick": {"batch": 1, "bins": 257, "size": (120, 160)},
         "full": {"batch": 2, "bins": 257, "size": (352, 704)}}
Loss = Callable[[Tensor, Tensor, Tensor, float], Tensor]


def as_coded(logits: Tensor, depth: Tensor, edges: Tensor, sigma: float) -> Tensor:
    """The loss of TIE-KD's code, restated: density at the centres, softmax, and a divergence with 1e-7 inside."""
    student = logits.softmax(1)
    centres = bin_centres(edges).to(logits)[:, None, None]
    density = torch.exp(-(centres - depth).square() / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    teacher = torch.where(density < 1e-16, -1000.0, density).softmax(1)
    terms = teacher * (teacher / (student + 1e-7) + 1e-7).log()
    return torch.where(student != 0, terms, 0.0).sum(1).mean()


def both_maps(reading: dict[str, str]) -> Loss:
    """A reading with both maps made first."""
    made, direction = {k: v for k, v in reading.items() if k != "direction"}, reading["direction"]
    return lambda logits, depth, edges, sigma: dpm_loss(
        logits.softmax(1), depth_probability_map(depth, edges, sigma, **made), direction=direction)


def fused(reading: dict[str, str]) -> Loss:
    """The same from the logits."""
    return lambda logits, depth, edges, sigma: fused_dpm_loss(logits, depth, edges, sigma, **reading)


def example(batch: int, bins: int, size: tuple[int, int], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, K, H, W), a teacher's depth from 1 to 79 m, every pixel another, and the edges of the bins."""
    generator = torch.Generator(device).manual_seed(0)
    logits = torch.randn(batch, bins, *size, generator=generator, device=device).requires_grad_()
    depth = 1 + 78 * torch.rand(batch, 1, *size, generator=generator, device=device)
    return logits, depth, depth_bins(bins)


def step(loss: Loss, logits: Tensor, depth: Tensor, edges: Tensor, sigma: float) -> Tensor:
    """Forward and backward; the gradient is then in ``logits.grad``."""
    logits.grad = None
    value = loss(logits, depth, edges, sigma)
    value.backward()
    return value.detach()


def differences(ours: Loss, other: Loss, bins: int, sigma: float, device: str) -> float:
    """The larger relative difference of value and gradient, on a part of the image."""
    logits, depth, edges = example(1, bins, (32, 64), device)
    value, gradient = step(ours, logits, depth, edges, sigma), logits.grad
    return max(apart(step(other, logits, depth, edges, sigma).cpu(), value.cpu()),
               apart(logits.grad.cpu(), gradient.cpu()))


def contest(title: str, reading: dict[str, str], others: dict[str, Loss], tolerance: float, asked: dict[str, float],
            batch: int, bins: int, size: tuple[int, int], sigma: float, device: str) -> Contest:
    """A reading fused, and in other ways."""
    inputs = example(batch, bins, size, device)
    ways = {"mdelib, fused": fused(reading), **others}
    return Contest(title, f"{batch}×{bins}×{size[0]}×{size[1]} logits, value and gradient",
                   {way: (lambda loss=loss: step(loss, *inputs, sigma)) for way, loss in ways.items()},
                   lambda: {way: differences(ways["mdelib, fused"], loss, bins, sigma, device)
                            for way, loss in others.items()}, tolerance, asked=asked)


def code(batch: int, bins: int, size: tuple[int, int], sigma: float = 0.8, device: str = "cpu") -> Contest:
    """The authors' code; their 1e-7 moves the value a little."""
    return contest("DPM loss, as TIE-KD's code", CODE, {"as coded": as_coded}, 1e-3, {"as coded": 8.0}, batch, bins,
                   size, sigma, device)


def paper(batch: int, bins: int, size: tuple[int, int], sigma: float = 0.8, device: str = "cpu") -> Contest:
    """The paper's Eq 1, 2 and 5."""
    return contest("DPM loss, as the paper", PAPER, {"both maps": both_maps(PAPER)}, 1e-5, {"both maps": 8.0}, batch,
                   bins, size, sigma, device)


CONTESTS = {"code": code, "paper": paper}

if __name__ == "__main__":
    main("dpm_loss", __doc__)
