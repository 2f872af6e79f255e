"""Gradients of the target in the image: saliency, input x gradient, SmoothGrad; through captum.

Explained in notebooks/13_attribution.ipynb.
"""

from __future__ import annotations

import torch
from captum.attr import InputXGradient, NoiseTunnel, Saliency
from torch import Tensor, nn

from mdelib.attribution.batches import asked, in_parts, reduce_channels
from mdelib.attribution.targets import Target

__all__ = ["input_x_gradient", "saliency", "smoothgrad"]


def saliency(model: nn.Module, image: Tensor, target: Target | None = None, *, channels: str = "max",
             batch: int = 8) -> Tensor:
    r"""How strongly the target reacts to a small change of each pixel, :math:`\max_c |\partial s/\partial x_c|`.

    Simonyan et al. 2014; one of the three methods of cirillo2025.

    Args:
        model: images (B, 3, H, W) -> depth (B, 1, H, W) in metres, in evaluation mode.
        image: (B, 3, H, W), RGB in [0, 1].
        target: what is asked, see `mdelib.attribution.targets`; None is the mean depth.
        channels: ``"max"``, ``"mean"``, ``"norm"`` over the colours, or ``"sum"`` of the signed derivatives.
        batch: the most images in the network at a time.

    Returns:
        (B, H, W), in the target's unit per unit of colour; not negative but for ``"sum"``.

    Raises:
        ValueError: a network in training mode, or arguments that do not fit.

    Explained in notebooks/13_attribution.ipynb.
    """
    def explain(part: Tensor, question: Target) -> Tensor:
        values = Saliency(asked(model, question)).attribute(
            part.requires_grad_(), abs=False, additional_forward_args=question.maps or None)
        return reduce_channels(values, channels)

    return in_parts(explain, model, image, target, batch)


def input_x_gradient(model: nn.Module, image: Tensor, target: Target | None = None, *, batch: int = 8) -> Tensor:
    r"""Input x gradient, :math:`\sum_c x_c\,\partial s/\partial x_c`: integrated gradients in a single step.

    Args:
        model, image, target, batch: as in `saliency`.

    Returns:
        (B, H, W), signed, in the target's unit; sums to s(x) - s(0) where the network is linear.

    Explained in notebooks/13_attribution.ipynb.
    """
    def explain(part: Tensor, question: Target) -> Tensor:
        values = InputXGradient(asked(model, question)).attribute(
            part.requires_grad_(), additional_forward_args=question.maps or None)
        return reduce_channels(values, "sum")

    return in_parts(explain, model, image, target, batch)


def smoothgrad(model: nn.Module, image: Tensor, target: Target | None = None, *, samples: int = 16,
               sigma: float = 0.1, channels: str = "max", batch: int = 8, seed: int = 0) -> Tensor:
    r"""SmoothGrad: saliency of the gradient's mean over noisy copies, :math:`\max_c |E_n \partial_c s(x + n)|`.

    Smilkov et al. 2017.

    Args:
        model, image, target, channels: as in `saliency`.
        samples: noisy copies of each image. sigma: standard deviation of the Gaussian noise, in units of colour.
        batch: the most images in the network at a time, copies counted. seed: of the noise, which is the same for
            every image of one size and does not touch PyTorch's own state.

    Raises:
        ValueError: no sample, a negative sigma, or as in `saliency`.

    Explained in notebooks/13_attribution.ipynb.
    """
    if samples < 1 or sigma < 0:
        raise ValueError(f"samples={samples}, sigma={sigma}: at least one sample and a sigma of 0 or more are needed")

    def explain(part: Tensor, question: Target) -> Tensor:
        # One image at a time: captum draws from PyTorch's global generator, which is put back afterwards.
        with torch.random.fork_rng([part.device] if part.device.type == "cuda" else []):
            torch.manual_seed(seed)
            values = NoiseTunnel(Saliency(asked(model, question))).attribute(
                part.requires_grad_(), nt_type="smoothgrad", nt_samples=samples,
                nt_samples_batch_size=min(batch, samples), stdevs=float(sigma), abs=False,
                additional_forward_args=question.maps or None)
        return reduce_channels(values, channels)

    if batch < 1:
        raise ValueError(f"batch={batch}: at least one image has to go through the network at a time")
    return in_parts(explain, model, image, target, 1)
