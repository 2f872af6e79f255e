"""One training on several devices: each has a part of every batch, and the loss curve is that of one device.

Each process takes the training step of `mdelib.train`, which draws and varies the whole batch, with a network that
puts its own rows through the real one and gathers the predictions of all (`SharedBatch`). So each takes the loss of
the whole batch, and a masked mean, or any loss that looks at several views, is the one it would be on one device. A
process differentiates with respect to its own rows; the gradients are added up (DDP, through Lightning Fabric).
Checkpoints are those of `fit`: a training goes on with another number of devices.

What is not the same to the last digit: sums are taken in another order; dropout is drawn by each process for its own
rows. Batch normalisation needs the statistics of the whole batch, which processes share on GPUs (SyncBatchNorm) but
cannot on a CPU, where a network that has it is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from copy import deepcopy
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mdelib.data.base import DepthBatch
from mdelib.train import Loss, TrainSettings, _epoch, _optimizer, _resume, _save

__all__ = ["SharedBatch", "fit_parallel", "gathered", "own_rows"]

Parts = tuple[nn.Module, DepthBatch, Loss]


def own_rows(count: int, rank: int, processes: int) -> slice:
    """The rows of a batch of `count` that process `rank` has: consecutive ones, at most one more than another has."""
    small, larger = divmod(count, processes)
    start = rank * small + min(rank, larger)
    return slice(start, start + small + (rank < larger))


def gathered(mine: Tensor, fabric: Fabric, count: int) -> Tensor:
    """The predictions of the whole batch: one's own rows with their gradient, those of the others without.

    Args:
        mine: (rows, ...) of this process. fabric: connects the processes. count: rows of the whole batch.

    Returns:
        (count, ...), in the batch's order, the same values in every process.
    """
    parts = [own_rows(count, rank, fabric.world_size) for rank in range(fabric.world_size)]
    most = max(part.stop - part.start for part in parts)
    padded = mine.new_zeros(most, *mine.shape[1:])
    padded[:len(mine)] = mine.detach()
    whole = fabric.all_gather(padded).reshape(fabric.world_size, *padded.shape)
    return torch.cat([mine if rank == fabric.global_rank else whole[rank, :part.stop - part.start]
                      for rank, part in enumerate(parts)])


class SharedBatch(nn.Module):
    """A network that takes a whole batch, computes its process's rows, and gives the depth of all rows.

    So the training step of `mdelib.train` serves any number of processes: it sees a network like any other.

    Args:
        model: as `fabric.setup` gives it. fabric: connects the processes.
    """

    def __init__(self, model: nn.Module, fabric: Fabric):
        super().__init__()
        self.model, self.fabric, self.seed = model, fabric, -1

    def forward(self, image: Tensor) -> Tensor:
        """Depth (B, 1, H, W) of the images (B, 3, H, W)."""
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        if torch.initial_seed() != self.seed:  # an epoch begins; processes must not draw the same dropout
            self.seed = torch.initial_seed() + rank
            torch.manual_seed(self.seed)
        mine = self.model(image[own_rows(len(image), rank, processes)]).float()
        if mine.requires_grad:  # DDP takes the mean of the processes' gradients; the sum is wanted
            mine.register_hook(lambda slope: slope * processes)
        return gathered(mine, self.fabric, len(image))


def fit_parallel(make: Callable[[torch.device], Parts], settings: TrainSettings, *, devices: int, seed: int = 0,
                 device: str | torch.device = "cpu", checkpoint: Path,
                 progress: Callable[[int, int, dict[str, float]], None] | None = None) -> None:
    """Train on several devices of this machine until `checkpoint` holds every epoch; `mdelib.train.fit` goes on there.

    Args:
        make: gives network, training views and loss in each process; it is sent there, so it must be picklable.
            It has to give the same first weights every time.
        settings: as for `fit`; `batch` is that of all devices together.
        devices: processes, one for each GPU, or several on the CPU. seed: as for `fit`.
        device: ``"cuda"`` or ``"cpu"``. checkpoint: the file with the state after each epoch.
        progress: called in this process, as by `fit`.

    Raises:
        ValueError: too few GPUs or too few views, or a network with batch normalisation on the CPU.
        FloatingPointError: the loss is not finite; the epoch and step are named.
    """
    kind = torch.device(device).type
    if kind == "cuda" and torch.cuda.device_count() < devices:
        raise ValueError(f"{devices} devices were asked for, but PyTorch sees {torch.cuda.device_count()} GPUs here: "
                         "ask for fewer")
    fabric = Fabric(accelerator="gpu" if kind == "cuda" else "cpu", devices=devices, precision=settings.precision,
                    strategy=DDPStrategy(start_method="spawn", find_unused_parameters=True),
                    plugins=[LightningEnvironment()])  # ours are the processes, whatever a cluster's variables say
    said = get_context("spawn").SimpleQueue()
    listener = threading.Thread(target=_listen, args=(said, progress), daemon=True)
    listener.start()
    try:
        fabric.launch(_train, make, settings, seed, checkpoint, said)
    except torch.multiprocessing.ProcessRaisedException as error:
        _raise_in_words(error)
    finally:
        said.put(None)
        listener.join()


def _listen(said: SimpleQueue, progress: Callable[[int, int, dict[str, float]], None] | None) -> None:
    while (words := said.get()) is not None:
        if progress is not None:
            progress(*words)


def _raise_in_words(error: Exception) -> None:
    """The error of a process as it was, without the traceback that is in its text."""
    last = str(error).strip().splitlines()[-1]
    for kind in (FloatingPointError, ValueError):
        if last.startswith(f"{kind.__name__}: "):
            raise kind(last.removeprefix(f"{kind.__name__}: ")) from None
    raise error


def _train(fabric: Fabric, make: Callable[[torch.device], Parts], settings: TrainSettings, seed: int,
           checkpoint: Path, said: SimpleQueue) -> None:
    """What each process does; the steps are those of `mdelib.train.fit`."""
    network, views, loss = make(fabric.device)
    if len(views) < fabric.world_size or settings.batch < fabric.world_size:
        raise ValueError(f"{fabric.world_size} devices cannot share batches of {min(len(views), settings.batch)} "
                         "views: ask for fewer devices")
    if any(isinstance(layer, _BatchNorm) for layer in network.modules()):
        if fabric.device.type != "cuda":
            raise ValueError("the network has batch normalisation, whose statistics processes on a CPU cannot share: "
                             "train with devices=1, which uses all cores, or on GPUs")
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
    network.to(fabric.device, memory_format=torch.channels_last).train()
    optimizer = _optimizer(network, settings)
    averaged = deepcopy(network) if settings.ema else None
    history = _resume(checkpoint, network, averaged, optimizer)
    fabric.barrier()
    model, optimizer = fabric.setup(network, optimizer, move_to_device=False)
    model = SharedBatch(model, fabric)
    for epoch in range(len(history), settings.epochs):
        started = time.perf_counter()
        mean_loss, rate = _epoch(fabric, model, network, averaged, optimizer, views, loss, settings, epoch, seed)
        history.append({"epoch": epoch + 1, "loss": mean_loss, "lr": rate,
                        "seconds": round(time.perf_counter() - started, 3)})
        if fabric.is_global_zero:
            _save(checkpoint, network, averaged, optimizer, history)
            said.put((epoch + 1, settings.epochs, history[-1]))
