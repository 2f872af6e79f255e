"""What two batches that were made by the same code must agree on, byte for byte, wherever and however they ran.

Everything counts but when, where and how fast it was made: of a result its numbers, keys and parameters, of a network
its weights, of a notebook what its cells showed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mdelib import store
from mdelib.provenance import digest

__all__ = ["compared", "differing"]

ASIDE = ("provenance", "checksum")  # the checksum covers the provenance


def compared(runs: Path) -> dict[str, str]:
    """File below `runs` -> digest of what of it must be the same, for results, weights and what notebooks showed."""
    found = {}
    for path in sorted(runs.rglob("*")):
        name = path.relative_to(runs)
        if name.parts[0] in ("cache", "book") or not path.is_file():
            continue
        if path.name == "result.json":
            found[str(name)] = digest(_timeless(json.loads(path.read_text())))
        elif path.name == "weights.safetensors" or (name.parts[0] == "report" and path.suffix in (".png", ".html")
                                                    and path.name != "index.html"):
            found[str(name)] = store.file_checksum(path)
        elif name.parts[0] == "batch" and path.suffix == ".ipynb":
            found[str(name)] = json.loads(path.read_text())["metadata"]["mdelib"]["key"]
    return found


def _timeless(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what the clock and the machine said."""
    history = [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in result["history"]]
    return {**{name: value for name, value in result.items() if name not in ASIDE}, "history": history}


def differing(one: Path, other: Path) -> list[str]:
    """The files in which two folders of runs differ; empty where they agree."""
    first, second = compared(one), compared(other)
    return sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
