"""Processes of a batch end when the batch does, however it ends: no orphan goes on writing after a kill."""

from __future__ import annotations

import os
import threading
import time

__all__ = ["VARIABLE", "attach", "environment"]

VARIABLE = "MDE_BATCH_PID"


def environment() -> dict[str, str]:
    """The environment that ties a child process, and its children, to this process."""
    return {**os.environ, VARIABLE: str(os.getpid())}


def attach(interval: float = 0.5) -> threading.Thread | None:
    """End this process as soon as the process named in the environment is gone; nothing where none is named."""
    owner = os.environ.get(VARIABLE)
    if owner is None:
        return None
    watcher = threading.Thread(target=_watch, args=(int(owner), interval), daemon=True)
    watcher.start()
    return watcher


def _watch(owner: int, interval: float) -> None:
    while True:
        try:
            os.kill(owner, 0)
        except ProcessLookupError:
            os._exit(1)
        except PermissionError:  # it lives, under another user
            pass
        time.sleep(interval)
