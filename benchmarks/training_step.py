"""Training: `mdelib.train.fit` (channels last, bfloat16 where it is safe) beside a plain float32 loop.

    python benchmarks/training_step.py [--scale full] [--set network=segformer steps=3 batch=8 size=96,128] [--json]

Both see the same views in the same order, varied alike, with the same optimiser, clipping and averaged weights, and
must end with the same mean loss up to the digits of bfloat16.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from _timing import Contest, Reading, main, timed
from torch import Tensor, nn

from mdelib.augment import Augmentation, augment
from mdelib.data.base import DepthBatch
from mdelib.losses import silog
from mdelib.models import create_model
from mdelib.train import TrainSettings, fit, learning_rate

SIZES = {"tiny": {"steps": 1, "batch": 2, "size": (32, 32)}, "quick": {"steps": 2, "batch": 4, "size": (96, 128)},
         "full": {"steps": 3, "batch": 8, "size": (96, 128)}}
NARROW = ("its matrices are so narrow that bfloat16 hardly pays for the conversions around them; stored results are "
          "keyed to `fit`")
VARIED = Augmentation(flip=0.5, rotate=3, light=0.15)  # as in experiments/two_networks.yaml


def example(count: int, size: tuple[int, int]) -> DepthBatch:
    """Views of noise, 0.5 to 9.5 m."""
    generator = torch.Generator().manual_seed(0)
    depth = 0.5 + 9 * torch.rand(count, 1, *size, generator=generator)
    return DepthBatch(tuple(map(str, range(count))), torch.rand(count, 3, *size, generator=generator), depth,
                      torch.ones_like(depth, dtype=torch.bool))


def settings_of(batch: int) -> TrainSettings:
    """One epoch, otherwise as the study trains."""
    return TrainSettings(epochs=1, batch=batch, ema=0.99, augmentation=VARIED)


def plain(network: nn.Module, views: DepthBatch, settings: TrainSettings) -> float:
    """The same epoch in float32, as a tutorial writes it; gives the mean loss."""
    network.train()
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
    optimizer = torch.optim.AdamW([
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0}], lr=settings.lr)
    averaged, total = deepcopy(network), 0.0
    groups = torch.randperm(len(views), generator=generator).split(settings.batch)
    for step, rows in enumerate(groups):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, len(groups), settings)
        image, depth, mask = augment(views.image[rows], views.depth[rows], views.mask[rows], settings.augmentation,
                                     generator)
        loss = silog(network(image), depth, mask)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
        optimizer.step()
        _average(averaged, network, min(settings.ema, (1 + step) / (10 + step)))
        total += loss.item()
    return total / len(groups)


@torch.no_grad()
def _average(averaged: nn.Module, network: nn.Module, decay: float) -> None:
    for own, new in zip(averaged.state_dict().values(), network.state_dict().values(), strict=True):
        own.copy_(torch.lerp(own, new, 1 - decay) if own.is_floating_point() else new)


def data_of(views: DepthBatch, settings: TrainSettings) -> Tensor:
    """What an epoch does to have its batches: choose, gather, vary. Gives the last one."""
    generator = torch.Generator().manual_seed(0)
    for rows in torch.randperm(len(views), generator=generator).split(settings.batch):
        image, _, _ = augment(views.image[rows], views.depth[rows], views.mask[rows], settings.augmentation, generator)
    return image


def contest(title: str, network: str, steps: int, batch: int, size: tuple[int, int], **why: str) -> Contest:
    """One network of the course."""
    torch.manual_seed(0)
    first, views, settings = create_model(network), example(steps * batch, size), settings_of(batch)
    calls = {"mdelib.train.fit": lambda: fit(deepcopy(first), views, silog, settings)[0]["loss"],
             "plain float32 loop": lambda: plain(deepcopy(first), views, settings)}

    def differences() -> dict[str, float]:
        ours, other = (call() for call in calls.values())
        return {"plain float32 loop": abs(other / ours - 1)}

    return Contest(title, f"{network}, {steps} steps of {batch} views of {size[0]}×{size[1]}", calls, differences,
                   0.02, asked={"plain float32 loop": 1.5}, why=why)


def cnn(steps: int, batch: int, size: tuple[int, int], network: str = "hu_resnet50") -> Contest:
    """The CNN of notebook 02."""
    return contest("Training, CNN", network, steps, batch, size)


def transformer(steps: int, batch: int, size: tuple[int, int], network: str = "segformer") -> Contest:
    """The Transformer of notebook 02."""
    return contest("Training, Transformer", network, steps, batch, size, **{"plain float32 loop": NARROW})


def data_share(steps: int, batch: int, size: tuple[int, int], network: str = "unet_mobilenetv3") -> Reading:
    """What data take of a step of the smallest network of the course, which has the least else to do."""
    torch.manual_seed(0)
    first, views, settings = create_model(network), example(steps * batch, size), settings_of(batch)
    seconds = timed({"all": lambda: fit(deepcopy(first), views, silog, settings),
                     "data": lambda: data_of(views, settings)})
    share = 100 * seconds["data"][:, 0].min() / seconds["all"][:, 0].min()
    return Reading("Data in a training step", f"{network}, {batch} views of {size[0]}×{size[1]}, varied", share,
                   "% of its CPU time", 10.0)


CONTESTS = {"cnn": cnn, "transformer": transformer}
READINGS = {"data": data_share}

if __name__ == "__main__":
    main("training_step", __doc__)
