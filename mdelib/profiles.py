"""What each kind of step asks of a cluster, from what it took where it was measured.

`profiles/slurm` and `profiles/gpus` are Snakemake profiles, written by `mde profiles` from the committed results. A
step asks for half as much memory again as the most that such a step ever took, and for three times its longest time;
when it is killed for want of either, it is tried again with twice and three times as much.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mdelib import store
from mdelib.provenance import find_home

__all__ = ["NAMES", "Need", "Profile", "measured", "read_profile", "render_profile", "write_profiles"]

NAMES = ("slurm", "gpus")
ON_GPU = ("train", "notebook")
SNAKEMAKE_MB = 512  # the two Snakemake processes of a Slurm job, beside the step itself
HEAD = """\
# {title}
# Written by `mde profiles` from the committed results; to change something, copy this folder and edit the copy.
"""
SLURM = """\
executor: slurm
jobs: 100             # at most so many steps in the queue at once
retries: 2            # a step that failed is tried again with twice, then three times as much
slurm-requeue: true   # a step whose node was lost goes on elsewhere: trainings from their last epoch
latency-wait: 60      # seconds until a file that another node wrote is seen
"""


@dataclass(frozen=True)
class Need:
    """The most that a step of one rule took: seconds on the clock, and memory in MiB."""

    seconds: float
    memory_mb: int

    @property
    def runtime(self) -> int:
        """Minutes to ask for."""
        return max(10, math.ceil(3 * self.seconds / 600) * 10)

    @property
    def mem_mb(self) -> int:
        """Memory to ask for, in MiB."""
        return math.ceil((1.5 * self.memory_mb + SNAKEMAKE_MB) / 512) * 512


@dataclass(frozen=True)
class Profile:
    """What of a Snakemake profile matters to a batch.

    `executor` is None for this machine; `jobs` is how many steps may run at once, None if the profile does not say;
    `gpu` tells whether steps ask for a GPU.
    """

    folder: Path
    executor: str | None
    jobs: int | None
    gpu: bool


def measured() -> dict[str, Need]:
    """Rule -> the most that any committed result of it took.

    Raises:
        ValueError: a rule of which nothing was measured.
    """
    found: dict[str, list[Need]] = {"data": [], "train": [], "notebook": [], "report": []}
    for path in sorted(store.results_root().glob("*/*.json")):
        content = json.loads(path.read_text())
        for entry in content.get("runs", ()):
            record = entry["provenance"]
            if record.get("device", "cpu") == "cpu":  # on a GPU, the memory that is recorded is the GPU's
                seconds = max(record.get("wall_s", 0.0), record.get("trained_s", 0.0))
                found["train"].append(Need(seconds, record.get("peak_memory_mb", 0)))
        if path.stem == "costs":
            found["notebook"] += _needs(content["notebooks"].values())
            for rule, cost in content.get("steps", {}).items():
                found[rule] += _needs([cost])
    for rule, needs in found.items():
        if not needs:
            raise ValueError(f"no step of rule {rule} was measured: run `mde reproduce --collect` first")
    return {rule: Need(max(need.seconds for need in needs), max(need.memory_mb for need in needs))
            for rule, needs in found.items()}


def _needs(costs: Iterable[dict[str, Any]]) -> list[Need]:
    return [Need(cost["seconds"], cost["peak_memory_mb"]) for cost in costs]


def render_profile(name: str) -> str:
    """The text of ``profiles/<name>/config.yaml``, ``name`` one of `NAMES`."""
    if name == "gpus":
        lines = [HEAD.format(title="Several GPUs on this machine: one training or notebook a GPU (mdelib/gpus.py)."),
                 "set-resources:\n", *(f"  {rule}:\n    gpu: 1\n" for rule in ON_GPU)]
        return "".join(lines)
    lines = [HEAD.format(title="A Slurm cluster whose nodes share this folder."), SLURM, "set-resources:\n"]
    for rule, need in measured().items():
        lines.append(f"  {rule}:\n    mem_mb: {need.mem_mb} * attempt\n    runtime: {need.runtime} * attempt\n")
        lines.append("    gpu: 1\n" if rule in ON_GPU else "")
    return "".join(lines)


def write_profiles(folder: Path | None = None) -> list[Path]:
    """Write all profiles, by default into ``profiles/``."""
    home = folder or find_home() / "profiles"
    return [store.atomic_write(home / name / "config.yaml", render_profile(name)) for name in NAMES]


def read_profile(folder: Path) -> Profile:
    """Read a profile, ours or somebody's own.

    Raises:
        ValueError: no profile, or one whose executor is not installed; the message says what to do.
    """
    path = folder / "config.yaml"
    try:
        content = yaml.safe_load(path.read_text()) or {}
        executor = content.get("executor")
    except FileNotFoundError:
        raise ValueError(f"{folder} is no Snakemake profile, it has no config.yaml: expected for example "
                         "profiles/slurm") from None
    except (yaml.YAMLError, AttributeError):
        raise ValueError(f"{path} is no valid profile: compare it with {find_home() / 'profiles/slurm'}") from None
    executor = None if executor == "local" else executor
    if executor and importlib.util.find_spec(f"snakemake_executor_plugin_{executor.replace('-', '_')}") is None:
        raise ValueError(f"the executor {executor} of {folder} is not installed: pip install "
                         + ("'mdelib[cluster]'" if executor == "slurm" else f"snakemake-executor-plugin-{executor}"))
    asked = content.get("set-resources", {}).values()
    return Profile(folder.resolve(), executor, content.get("jobs"), any("gpu" in one for one in asked))
