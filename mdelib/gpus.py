"""Several GPUs on one machine: each process of a batch takes one that is free and sees no other.

The GPUs that may be used are the numbers in $MDE_GPUS. Each has a lock file that all processes of this user on this
machine share; a process that starts to train takes the first free one, waits while none is, and tells CUDA of that one
alone (CUDA_VISIBLE_DEVICES). The system lets go of a lock when its process ends, however it ends, so that a kill costs
no GPU.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import time
from pathlib import Path

from filelock import FileLock, Timeout

__all__ = ["VARIABLE", "claim", "usable"]

VARIABLE = "MDE_GPUS"
CUDA = "CUDA_VISIBLE_DEVICES"
_held: list[FileLock] = []  # until this process ends


def usable() -> list[str]:
    """The GPUs a batch may use: $MDE_GPUS, else $CUDA_VISIBLE_DEVICES, else all that PyTorch counts."""
    for name in (VARIABLE, CUDA):
        if os.environ.get(name) is not None:
            return [number.strip() for number in os.environ[name].split(",") if number.strip()]
    import torch  # here, so that nothing waits for it where the environment says it

    return [str(number) for number in range(torch.cuda.device_count())]


def claim(count: int = 1, *, folder: Path | None = None, pause: float = 0.2) -> list[str]:
    """Take `count` free GPUs for this process and its children, waiting for them; nothing where $MDE_GPUS is not set.

    Call it before CUDA is used. Sets CUDA_VISIBLE_DEVICES and removes $MDE_GPUS from the environment, so that a child
    shares its parent's GPUs instead of waiting for others.

    Args:
        count: GPUs; either all of them are taken or none, so that two processes never wait for each other.
        folder: of the lock files, by default one that all processes of this user on this machine share.
        pause: seconds between two looks.

    Returns:
        The numbers as they stand in $MDE_GPUS; the process itself counts them from 0.

    Raises:
        ValueError: more GPUs than $MDE_GPUS names.
    """
    if not os.environ.get(VARIABLE):
        return []
    numbers = usable()
    if count > len(numbers):
        raise ValueError(f"{count} GPUs were asked for, but {VARIABLE} names {len(numbers)} ({','.join(numbers)}): "
                         f"ask for fewer, or add numbers to {VARIABLE}")
    place = folder or Path(tempfile.gettempdir()) / f"mde-gpus-{getpass.getuser()}"
    place.mkdir(parents=True, exist_ok=True)
    while len(taken := _free(numbers, count, place)) < count:
        time.sleep(pause)
    _held.extend(taken.values())
    os.environ[CUDA] = ",".join(taken)
    del os.environ[VARIABLE]
    return list(taken)


def _free(numbers: list[str], count: int, folder: Path) -> dict[str, FileLock]:
    """Locks of `count` free GPUs, or none."""
    taken: dict[str, FileLock] = {}
    for number in numbers:
        lock = FileLock(folder / f"{number}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        taken[number] = lock
        if len(taken) == count:
            return taken
    for lock in taken.values():
        lock.release()
    return {}
