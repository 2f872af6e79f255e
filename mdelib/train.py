"""The training loop: one network, one loss, one data set in memory, the same weights every time.

A training is a pure function of its settings and its seed: the order of the views, their augmentation and any
dropout are drawn anew from (seed, epoch) at the start of each epoch. That is why a training that was killed
goes on from its last epoch as if nothing had happened. Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import io
import logging
import math
import time
import warnings
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mdelib.augment import Augmentation, augment
from mdelib.data.base import DepthBatch
from mdelib.store import atomic_write

__all__ = ["TrainSettings", "fit", "learning_rate", "pick_device"]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it announces its precision at every training
warnings.filterwarnings("ignore", message="The `srun` command is available")  # nobody has to use it


class TrainSettings(BaseModel):
    """Everything about a training but the network, the loss and the data.

    Attributes:
        epochs, batch: passes over the views, and views a step.
        lr: the highest learning rate. warmup: share of the steps over which it rises to there; after that it
            falls to `final_lr` times the highest along a half cosine.
        weight_decay: AdamW's, on weights of two or more dimensions.
        clip: largest norm of the gradient.
        ema: decay of the averaged weights, which are the ones kept; 0 keeps the last weights.
        precision: ``"bf16-mixed"`` or ``"32-true"``.
        augmentation: how views are varied.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(20, ge=0)
    batch: int = Field(16, ge=1)
    lr: float = Field(1e-3, gt=0)
    warmup: float = Field(0.1, ge=0, lt=1)
    final_lr: float = Field(0.01, ge=0, le=1)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(5.0, gt=0)
    ema: float = Field(0.0, ge=0, lt=1)
    precision: Literal["bf16-mixed", "32-true"] = "bf16-mixed"
    augmentation: Augmentation = Augmentation()


def pick_device(device: str = "auto") -> torch.device:
    """``"auto"`` is the first GPU, or the CPU where there is none.

    Raises:
        ValueError: a GPU was asked for and there is none, or the name is unknown.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device {device!r} is unknown: expected auto, cpu, cuda or cuda:N") from None
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for, but PyTorch sees no GPU here: use device=cpu or auto")
    return chosen


def learning_rate(step: int, steps: int, settings: TrainSettings) -> float:
    """The learning rate of step `step` of `steps`: a linear rise, then a half cosine."""
    rise = max(1, round(settings.warmup * steps))
    if step < rise:
        return settings.lr * (step + 1) / rise
    done = (step - rise) / max(1, steps - rise)
    low = settings.final_lr
    return settings.lr * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * done)))


def _optimizer(network: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    weights = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.lr)


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    new = network.state_dict()
    for name, value in averaged.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(new[name].to(value.dtype), 1 - decay)
        else:
            value.copy_(new[name])


def fit(network: nn.Module, views: DepthBatch, loss: Loss, settings: TrainSettings, *, seed: int = 0,
        device: str | torch.device = "cpu", checkpoint: Path | None = None,
        progress: Callable[[int, int, dict[str, float]], None] | None = None) -> list[dict[str, float]]:
    """Train `network` in place.

    Args:
        network: maps (B, 3, H, W) images in [0, 1] to depth (B, 1, H, W) in metres.
        views: the training views, in memory.
        loss: ``loss(pred, target, mask)`` on metres, a scalar.
        settings: schedule and augmentation.
        seed: decides order, augmentation and dropout. The network's first weights are the caller's business.
        device: where to train.
        checkpoint: a file that holds the state after each epoch; a training goes on from it when it is there.
        progress: called after each epoch with (epochs done, epochs in all, the epoch's record).

    Returns:
        One record an epoch: epoch, loss, lr, seconds.

    Raises:
        FloatingPointError: the loss is not finite; the epoch and step are named.
    """
    target = torch.device(device)
    fabric = Fabric(accelerator="gpu" if target.type == "cuda" else "cpu", precision=settings.precision,
                    devices=[target.index or 0] if target.type == "cuda" else 1)
    network.to(target, memory_format=torch.channels_last).train()
    optimizer = _optimizer(network, settings)
    averaged = deepcopy(network) if settings.ema else None
    history = _resume(checkpoint, network, averaged, optimizer)
    model, optimizer = fabric.setup(network, optimizer, move_to_device=False)
    for epoch in range(len(history), settings.epochs):
        started = time.perf_counter()
        mean_loss, rate = _epoch(fabric, model, network, averaged, optimizer, views, loss, settings, epoch, seed)
        history.append({"epoch": epoch + 1, "loss": mean_loss, "lr": rate,
                        "seconds": round(time.perf_counter() - started, 3)})
        if checkpoint is not None:
            _save(checkpoint, network, averaged, optimizer, history)
        if progress is not None:
            progress(epoch + 1, settings.epochs, history[-1])
    if averaged is not None and settings.epochs:
        network.load_state_dict(averaged.state_dict())
    network.eval()
    return history


def _epoch(fabric: Fabric, model: nn.Module, network: nn.Module, averaged: nn.Module | None,
           optimizer: Any, views: DepthBatch, loss: Loss, settings: TrainSettings, epoch: int,
           seed: int) -> tuple[float, float]:
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))  # dropout
    order = torch.randperm(len(views), generator=generator)
    groups = order.split(settings.batch)
    if len(groups) > 1 and len(groups[-1]) < settings.batch:
        groups = groups[:-1]  # a ragged last batch would unsettle batch normalisation
    total, rate = 0.0, settings.lr
    for index, rows in enumerate(groups):
        step = epoch * len(groups) + index
        rate = learning_rate(step, settings.epochs * len(groups), settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        image, depth, mask = (tensor[rows].to(fabric.device) for tensor in (views.image, views.depth, views.mask))
        image, depth, mask = augment(image, depth, mask, settings.augmentation, generator)
        value = loss(model(image.contiguous(memory_format=torch.channels_last)).float(), depth, mask)
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss became {value.item()} in epoch {epoch + 1}, step {index + 1}: "
                                     "lower lr or clip, or look at the depth of the training views")
        optimizer.zero_grad(set_to_none=True)
        fabric.backward(value)
        fabric.clip_gradients(model, optimizer, max_norm=settings.clip, error_if_nonfinite=False)
        optimizer.step()
        if averaged is not None:
            _average(averaged, network, min(settings.ema, (1 + step) / (10 + step)))
        total += value.item()
    return total / len(groups), rate


def _save(path: Path, network: nn.Module, averaged: nn.Module | None, optimizer: Any,
          history: list[dict[str, float]]) -> None:
    buffer = io.BytesIO()
    torch.save({"network": network.state_dict(), "averaged": averaged.state_dict() if averaged else None,
                "optimizer": optimizer.state_dict(), "history": history}, buffer)
    atomic_write(path, buffer.getvalue())


def _resume(path: Path | None, network: nn.Module, averaged: nn.Module | None,
            optimizer: torch.optim.Optimizer) -> list[dict[str, float]]:
    """Load the state of a training that was stopped; start over when there is none or it cannot be read."""
    if path is None or not path.exists():
        return []
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(state["network"])
        if averaged is not None:
            averaged.load_state_dict(state["averaged"])
        optimizer.load_state_dict(state["optimizer"])
        return list(state["history"])
    except Exception:  # whatever is wrong with it, an unreadable checkpoint only costs the epochs it held
        path.unlink(missing_ok=True)
        return []
