"""The twelve depth errors of a test set: the library beside a plain NumPy evaluation.

    python benchmarks/depth_errors.py [--scale full] [--set images=8 size=480,640] [--json]

Eigen crop, 1 mm to 10 m, predictions clamped, means of the images' values, float64: what evaluation scripts of BTS and
AdaBins do, with inverse and scale-invariant errors beside.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from _timing import Contest, main, same_results
from torch import Tensor

from mdelib.metrics import METRICS, depth_metrics
from mdelib.protocols import crop_mask

SIZES = {"tiny": {"images": 2, "size": (48, 64)}, "quick": {"images": 2, "size": (240, 320)},
         "full": {"images": 8, "size": (480, 640)}}

CHECKED = ("it also looks for what is not finite, and torch is slower than NumPy at picking the valid pixels; stored "
           "results are keyed to it")


def example(images: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Smooth predictions and noisy truth (B, 1, H, W), a tenth of it unknown."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(images, 1, 6, 8, generator=generator)
    pred = 0.5 + 9 * F.interpolate(coarse, size=size, mode="bilinear", align_corners=False)
    truth = (pred * (1 + 0.1 * torch.randn(pred.shape, generator=generator))).clamp(0.1, 9.9)
    return pred, truth * (torch.rand(truth.shape, generator=generator) > 0.1)


def plain(pred: np.ndarray, truth: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """An evaluation script: a loop over images, one line a measure, (12,)."""
    rows = []
    for p, t in zip(pred[:, 0], truth[:, 0], strict=True):
        valid = (t > 1e-3) & (t < 10) & inside
        p, t = np.clip(p[valid].astype(np.float64), 1e-3, 10), t[valid].astype(np.float64)
        gap = np.log(p) - np.log(t)
        ratio = np.maximum(p / t, t / p)
        si = (gap**2).mean() - gap.mean() ** 2
        rows.append([np.mean(np.abs(p - t) / t), np.mean((p - t) ** 2 / t), np.sqrt(np.mean((p - t) ** 2)),
                     np.sqrt(np.mean(gap**2)), np.mean(np.abs(np.log10(p) - np.log10(t))), 100 * np.sqrt(si), si,
                     np.mean(np.abs(1 / p - 1 / t)), np.sqrt(np.mean((1 / p - 1 / t) ** 2)),
                     *(np.mean(ratio < 1.25**i) for i in (1, 2, 3))])
    return np.mean(rows, 0)


def errors(images: int, size: tuple[int, int]) -> Contest:
    """All measures of a batch."""
    pred, truth = example(images, size)
    inside = crop_mask(*size, "eigen_nyu").numpy()

    def ours() -> Tensor:
        found = depth_metrics(pred, truth, crop="eigen_nyu")
        return torch.tensor([found[name] for name in METRICS], dtype=torch.float64)

    calls = {"mdelib": ours, "plain NumPy": lambda: plain(pred.numpy(), truth.numpy(), inside)}
    return Contest("Depth errors", f"{images} maps of {size[0]}×{size[1]}, twelve measures", calls,
                   lambda: same_results(calls), 1e-9, why={"plain NumPy": CHECKED})


CONTESTS = {"errors": errors}

if __name__ == "__main__":
    main("depth_errors", __doc__)
