"""What a person wants to know before the first run: versions, device, data, and what is missing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import psutil
import torch

from mdelib import data, provenance, store

__all__ = ["examine"]

NEEDED_GB = 8  # runs, caches and rendered scenes


def examine() -> Iterator[tuple[bool | None, str]]:
    """Lines for `mde doctor`: (True fine | None for your information | False must be mended, sentence)."""
    found = provenance.versions()
    yield True, ", ".join(f"{name} {found[name]}" for name in ("python", "torch", "torchvision", "timm"))
    yield from _pins()
    if torch.cuda.is_available():
        yield True, f"GPU: {torch.cuda.get_device_name()}; trainings use it unless told device=cpu"
    else:
        yield None, "No GPU is visible: everything runs on the CPU, and the scale 'lab' is made for that"
    memory = psutil.virtual_memory()
    yield memory.available > 3e9, (f"{provenance.machine()['device_name']}, {torch.get_num_threads()} threads, "
                                   f"{memory.available / 2**30:.0f} of {memory.total / 2**30:.0f} GiB memory free")
    root = store.runs_root()
    place = next(folder for folder in (root, *root.parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    yield free > NEEDED_GB, f"{free:.0f} GiB free on the disk of {root.name}/ (a full batch writes up to {NEEDED_GB})"
    yield None, f"Data is looked for in {data.data_root()} (set MDE_DATA to change that)"
    for name, sentence in data.present().items():
        absent = "not found" in sentence
        hint = f"; `mde data {name}` fetches it" if absent and data.DATASETS[name].real and name != "folder" else ""
        yield None if absent or not re.search(r"\d", sentence) else True, f"{name}: {sentence}{hint}"
    for name in ("meter_xxs_nyu", "meter_xxs_kitti"):
        try:
            yield True, f"released weights {name}: {data.weights_file(name).name} is here"
        except FileNotFoundError:
            yield None, f"released weights {name}: not found; `mde data meter` fetches them"
    state = provenance.git_state()
    if state["commit"] == "unknown":
        yield None, "No git commit is known here: results will say so"
    else:
        yield None if state["dirty"] else True, (f"At commit {state['commit']}" + (
            ", with changes that are not committed (results will say so)" if state["dirty"] else ""))


def _pins() -> Iterator[tuple[bool | None, str]]:
    """Whether the installed versions are those of requirements.lock."""
    from mdelib.lock import lock_lines

    path = provenance.find_home() / "requirements.lock"
    if not path.is_file():
        yield None, "requirements.lock is not here, so the installed versions cannot be compared with it"
        return
    pinned = {line.strip() for line in path.read_text().splitlines() if line and not line.startswith("#")}
    other = sorted(set(lock_lines()) - pinned)
    if other:
        yield None, f"{len(other)} packages differ from requirements.lock ({', '.join(other[:3])}...): numbers may too"
    else:
        yield True, f"All {len(pinned)} packages are the versions of requirements.lock"
