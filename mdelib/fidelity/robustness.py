"""Two measures from captum: does a map predict what removals do, and does it stay when the image hardly moves?

Explained in notebooks/14_faithful_explanations.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from captum.metrics import infidelity as captum_infidelity
from captum.metrics import sensitivity_max
from torch import Tensor, nn

from mdelib.attribution.batches import asked, check_model
from mdelib.attribution.fills import fill_image
from mdelib.attribution.targets import Target, mean_depth
from mdelib.fidelity.perturbation import check_attribution

__all__ = ["infidelity", "sensitivity"]


def infidelity(model: nn.Module, image: Tensor, attribution: Tensor, target: Target | None = None, *,
               side: float = 0.25, samples: int = 32, fill: str | Tensor = "mean", batch: int = 8,
               seed: int = 0) -> Tensor:
    r"""The part of the target's changes that an attribution does not predict, Yeh et al. 2019 Eq 1, as a share.

    :math:`\min_\beta E[(\beta\, I^T a - \Delta)^2] / E[\Delta^2]`, where I marks a random square, and Δ = s(x) - s(x
    with the square filled); by captum, with its optimal β, because saliency has another unit than contributions.
    0: the map predicts every change; 1: it predicts nothing.

    Args:
        model, image, target: as in `mdelib.attribution.saliency`. attribution: (B, H, W).
        side: of the squares, as a share of each side of the image. samples: squares for each image, at least 2.
        fill: as in `mdelib.attribution.fill_image`.
        batch: the most images in the network at a time. seed: of the squares, the same for every image and method.

    Returns:
        (B,) float64; NaN where no square changes the target.

    Raises:
        ValueError: arguments out of range, or a map that `perturbation_curve` would refuse.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    check_model(model)
    check_attribution(attribution, (len(image), *image.shape[-2:]))
    if not 0 < side < 1 or samples < 2 or batch < 1:
        raise ValueError(f"side={side}, samples={samples}, batch={batch}: choose a side between 0 and 1, 2 or more "
                         "samples and a batch of 1 or more")
    chosen = mean_depth() if target is None else target
    instead = fill_image(image, fill, model=model, seed=seed)
    rows = []
    for index in range(len(image)):
        one = slice(index, index + 1)
        question = chosen.of(one, len(image))
        answer = _Answers(asked(model, question), image.dtype)
        with torch.no_grad():
            whole = answer.ask(image[one], *question.maps).double()
            generator = torch.Generator().manual_seed(seed)
            left = float(captum_infidelity(
                answer, _squares(instead[one], side, generator), image[one].double(),
                (attribution[one].double() / 3)[:, None].expand_as(image[one]),
                additional_forward_args=question.maps or None, n_perturb_samples=samples,
                max_examples_per_batch=min(batch, samples), normalize=True))
        change = float((torch.cat(answer.given) - whole).square().sum()) / samples
        rows.append(left / change if change > 0 else float("nan"))
    return torch.tensor(rows, dtype=torch.float64)


def sensitivity(explanation: Callable[[Tensor], Tensor], image: Tensor, *, radius: float = 0.02, samples: int = 4,
                seed: int = 0) -> Tensor:
    r"""How far an explanation moves when the image hardly does, Yeh et al. 2019 Eq 3:
    :math:`\max_{\|n\|_\infty \le r} \|a(x + n) - a(x)\| / \|a(x)\|`, over uniform noise n; by captum.

    Args:
        explanation: images (B, 3, H, W) -> maps (B, H, W), for example
            ``lambda x: saliency(model, x, target)`` with a target that holds for every image.
        image: (B, 3, H, W), RGB in [0, 1]. radius: r, in units of colour. samples: noisy copies of each image.
        seed: of the noise.

    Returns:
        (B,) float64; 0 for a map that does not look at the image.

    Raises:
        ValueError: a radius or a number of samples that is not positive.

    Explained in notebooks/14_faithful_explanations.ipynb.
    """
    if not radius > 0 or samples < 1:
        raise ValueError(f"radius={radius}, samples={samples}: both must be positive")

    def flat(inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (explanation(inputs[0]).flatten(1),)

    rows = []
    for one in image.detach().split(1):
        with torch.random.fork_rng([one.device] if one.device.type == "cuda" else []):
            torch.manual_seed(seed)
            rows.append(sensitivity_max(flat, one, perturb_radius=radius, n_perturb_samples=samples,
                                        max_examples_per_batch=1).detach().double().cpu())
    return torch.cat(rows)


class _Answers:
    """The target's answers in float64, which captum's sums of squares need, and a list of them."""

    def __init__(self, ask: Callable[..., Tensor], dtype: torch.dtype):
        self.ask, self.dtype, self.given = ask, dtype, []

    def __call__(self, images: Tensor, *maps: Tensor) -> Tensor:
        self.given.append(self.ask(images.to(self.dtype), *maps).double())
        return self.given[-1]


def _squares(instead: Tensor, side: float, generator: torch.Generator) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """captum's perturbation: (which pixels are filled, (n, 3, H, W) of 0 and 1, and the images with them filled)."""
    height, width = instead.shape[-2:]
    tall, wide = max(1, round(side * height)), max(1, round(side * width))

    def perturb(inputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        gone = torch.zeros_like(images)
        for one in gone:
            row, column = (int(torch.randint(0, most + 1, (1,), generator=generator))
                           for most in (height - tall, width - wide))
            one[:, row:row + tall, column:column + wide] = 1
        return gone, torch.where(gone > 0, instead, images)

    return perturb
