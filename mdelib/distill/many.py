"""Many small students at once: the same batches, weights stacked along a new first dimension.

A student that is too small to fill a GPU leaves most of it idle, and a sweep has dozens of them. Here one forward pass
runs all of them (`torch.func`), and everything after it, loss, clipping, AdamW, averaged weights, treats each as if
it were alone. On a CPU, which one student already fills, nothing is gained. Explained in
notebooks/12_alpha_and_sigma.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from mdelib.augment import augment
from mdelib.data.base import DepthBatch
from mdelib.train import TrainSettings, learning_rate

__all__ = ["Ensemble", "fit_many"]

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


class Ensemble:
    """M networks of one architecture with their parameters and buffers stacked, (M, ...) each.

    Args:
        networks: on one device; they differ in their weights alone. They are left as they are until `unstack`.

    Raises:
        ValueError: no network, or networks whose weights are not of the same shapes.

    Explained in notebooks/12_alpha_and_sigma.ipynb.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        shapes = [[(name, tuple(value.shape)) for name, value in network.state_dict().items()] for network in networks]
        if not shapes or any(other != shapes[0] for other in shapes):
            raise ValueError(f"{len(shapes)} networks that are not of one architecture cannot run as one: give at "
                             "least one, and all with the same options")
        self.networks = list(networks)
        self.parameters, self.buffers = stack_module_state(self.networks)
        self._skeleton = deepcopy(self.networks[0]).to("meta")

    def __len__(self) -> int:
        return len(self.networks)

    def __call__(self, x: Tensor) -> Tensor:
        """What every network says of the same input, (M, ...)."""
        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
            return functional_call(self._skeleton, (parameters, buffers), (x,))

        return vmap(one, randomness="different")(self.parameters, self.buffers)

    @torch.no_grad()
    def unstack(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> None:
        """Write stacked weights back into the networks."""
        for place, network in enumerate(self.networks):
            for name, value in (*network.named_parameters(), *network.named_buffers()):
                value.copy_((parameters[name] if name in parameters else buffers[name])[place])


def fit_many(networks: Sequence[nn.Module], views: Sequence[DepthBatch], losses: Sequence[Loss],
             settings: TrainSettings, *, seed: int = 0, device: str | torch.device = "cpu"
             ) -> list[list[dict[str, float]]]:
    """Train several networks at once, each as `mdelib.train.fit` with the same seed would train it.

    Order and augmentation of the views are those of `fit`, so that the results agree up to rounding. What differs
    between networks is their weights, their losses and what they learn from.

    Args:
        networks: of one architecture, trained in place.
        views: one batch for all, or one each, which then hold the same images (their depths are augmented together).
        losses: one a network, ``loss(output, depth, mask)``.
        settings: as in `fit`. seed: of order, augmentation and dropout.
        device: where to train.

    Returns:
        For each network one record an epoch: epoch, loss, lr.

    Raises:
        ValueError: numbers of networks, views and losses that do not fit, or views of different images.
        FloatingPointError: a loss is not finite; the network is named.

    Explained in notebooks/12_alpha_and_sigma.ipynb.
    """
    count = len(networks)
    views = list(views) * (count if len(views) == 1 else 1)
    if not len(views) == len(losses) == count or any(view.names != views[0].names for view in views):
        raise ValueError(f"{count} networks came with {len(losses)} losses and {len(views)} sets of views: one of "
                         "each is needed, and the same images for all")
    ensemble = Ensemble([network.to(device).train() for network in networks])
    depth, mask = (torch.cat([getattr(view, part) for view in views], 1) for part in ("depth", "mask"))
    optimizer = _optimizer(ensemble.parameters, networks[0], settings)
    averaged = {name: value.detach().clone() for name, value in (*ensemble.parameters.items(),
                                                                  *ensemble.buffers.items())}
    history: list[list[dict[str, float]]] = [[] for _ in networks]
    for epoch in range(settings.epochs):
        generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        groups = torch.randperm(len(views[0]), generator=generator).split(settings.batch)
        groups = groups[:-1] if len(groups) > 1 and len(groups[-1]) < settings.batch else groups
        totals, rate = torch.zeros(count), settings.lr
        for index, rows in enumerate(groups):
            step = epoch * len(groups) + index
            rate = learning_rate(step, settings.epochs * len(groups), settings)
            batch = _augmented(views[0].image[rows], depth[rows], mask[rows], settings, generator)
            totals += _step(ensemble, optimizer, [part.to(device) for part in batch], losses, settings, rate)
            _average(averaged, ensemble, min(settings.ema, (1 + step) / (10 + step)))
        for place, record in enumerate(history):
            record.append({"epoch": epoch + 1, "loss": float(totals[place]) / len(groups), "lr": rate})
    kept = averaged if settings.ema and settings.epochs else {**ensemble.parameters, **ensemble.buffers}
    ensemble.unstack(kept, kept)
    for network in networks:
        network.eval()
    return history


def _augmented(image: Tensor, depth: Tensor, mask: Tensor, settings: TrainSettings,
               generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """`augment` for depths and masks (B, M, H, W), every one of which goes the way of the image."""
    state = generator.get_state()
    parts = []
    for place in range(depth.shape[1]):
        generator.set_state(state)
        parts.append(augment(image, depth[:, place:place + 1], mask[:, place:place + 1], settings.augmentation,
                             generator))
    return parts[0][0], *(torch.cat([part[which] for part in parts], 1) for which in (1, 2))


def _step(ensemble: Ensemble, optimizer: torch.optim.Optimizer, batch: list[Tensor], losses: Sequence[Loss],
          settings: TrainSettings, rate: float) -> Tensor:
    """One step of all networks; their losses, (M,)."""
    image, depth, mask = batch
    for group in optimizer.param_groups:
        group["lr"] = rate
    with torch.autocast(image.device.type, torch.bfloat16, enabled=settings.precision == "bf16-mixed"):
        outputs = ensemble(image)
    values = [loss(output.float(), depth[:, place:place + 1], mask[:, place:place + 1])
              for place, (output, loss) in enumerate(zip(outputs.unbind(0), losses, strict=True))]
    for place, value in enumerate(values):
        if not torch.isfinite(value):
            raise FloatingPointError(f"the loss of network {place} became {value.item()}: lower lr or clip, or train "
                                     "it alone with mdelib.train.fit")
    optimizer.zero_grad(set_to_none=True)
    sum(values).backward()
    _clip(list(ensemble.parameters.values()), len(ensemble), settings.clip)
    optimizer.step()
    return torch.stack([value.detach().cpu() for value in values])


@torch.no_grad()
def _clip(parameters: list[Tensor], count: int, largest: float) -> None:
    """Scale each network's gradient so that its own norm is at most `largest`."""
    slopes = [p.grad for p in parameters if p.grad is not None]
    norm = torch.stack([slope.flatten(1).norm(dim=1) for slope in slopes]).norm(dim=0)
    factor = (largest / (norm + 1e-6)).clamp(max=1.0)
    for slope in slopes:
        slope.mul_(factor.view(count, *([1] * (slope.ndim - 1))))


def _optimizer(stacked: dict[str, Tensor], network: nn.Module, settings: TrainSettings) -> torch.optim.AdamW:
    """AdamW with `fit`'s groups: weight decay on what has two or more dimensions in a single network."""
    wide = {name for name, value in network.named_parameters() if value.ndim > 1}
    groups = [{"params": [value for name, value in stacked.items() if (name in wide) == decays],
               "weight_decay": settings.weight_decay * decays} for decays in (True, False)]
    return torch.optim.AdamW(groups, lr=settings.lr)


@torch.no_grad()
def _average(averaged: dict[str, Tensor], ensemble: Ensemble, decay: float) -> None:
    for name, value in (*ensemble.parameters.items(), *ensemble.buffers.items()):
        if value.dtype.is_floating_point:
            averaged[name].lerp_(value, 1 - decay)
        else:
            averaged[name].copy_(value)
