"""Structural similarity of depth maps: masked, beside pytorch-msssim, kornia and torchmetrics, which know none.

    python benchmarks/ssim.py [--scale full] [--set batch=8 channels=1 size=240,320] [--json]

All pixels are valid, so that all can be equal, but our first way has to look at a mask that says so. The average is
over windows inside the image: pytorch-msssim's own convention; kornia and torchmetrics give maps that are cut.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from _timing import Contest, main, peer, same_results
from kornia.metrics import ssim as kornia_ssim
from torch import Tensor

from mdelib.metrics import ssim

SIZES = {"tiny": {"batch": 1, "channels": 1, "size": (24, 32)},
         "quick": {"batch": 2, "channels": 1, "size": (120, 160)},
         "full": {"batch": 8, "channels": 1, "size": (240, 320)}}
RANGE = 10.0  # metres


def ways(mask: Tensor) -> tuple[dict[str, Callable[[Tensor, Tensor], Tensor]], list[str]]:
    """Way -> (x, y) -> the mean similarity; and what is not installed."""
    found = {"mdelib, masked": lambda x, y: ssim(x, y, mask, data_range=RANGE),
             "mdelib, no mask": lambda x, y: ssim(x, y, data_range=RANGE),
             "kornia": lambda x, y: kornia_ssim(x, y, 11, max_val=RANGE, padding="valid").mean()}
    metrics, msssim = peer("torchmetrics.functional.image"), peer("pytorch_msssim")
    if metrics:
        found["torchmetrics"] = lambda x, y: metrics.structural_similarity_index_measure(
            x, y, data_range=RANGE, return_full_image=True)[1][..., 5:-5, 5:-5].mean()
    if msssim:
        found["pytorch-msssim"] = lambda x, y: msssim.ssim(x, y, data_range=RANGE)
    return found, [name for name, module in (("torchmetrics", metrics), ("pytorch-msssim", msssim)) if not module]


def contest(batch: int, channels: int, size: tuple[int, int], gradient: bool) -> Contest:
    """Two batches of random depth maps that resemble each other."""
    generator = torch.Generator().manual_seed(0)
    x = RANGE * torch.rand(batch, channels, *size, generator=generator)
    y = (x + torch.randn(x.shape, generator=generator)).clamp(0, RANGE)
    found, missing = ways(torch.ones(batch, 1, *size, dtype=torch.bool))

    def run(similarity: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        if not gradient:
            return similarity(x, y)
        start = x.clone().requires_grad_()
        similarity(start, y).backward()
        return start.grad

    calls = {name: (lambda way=way: run(way)) for name, way in found.items()}
    what = f"{batch}×{channels}×{size[0]}×{size[1]}, {'value and gradient' if gradient else 'value'}"
    return Contest(f"SSIM, {'as loss' if gradient else 'as measure'}", what, calls, lambda: same_results(calls), 1e-3,
                   missing=missing, asked={"mdelib, no mask": 0.0})


CONTESTS = {"measure": lambda **sizes: contest(**sizes, gradient=False),
            "loss": lambda **sizes: contest(**sizes, gradient=True)}

if __name__ == "__main__":
    main("ssim", __doc__)
