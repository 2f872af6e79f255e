"""The steps of a batch as they are written down for Snakemake, which reads them in every job of a cluster.

Nothing here needs torch: a job that only passes its command on starts in a second.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mdelib.store import atomic_write

__all__ = ["Step", "forget_outdated", "save_plan", "saved_plan"]


@dataclass(frozen=True)
class Step:
    """One step of the batch: its rule, its name, whether its result is there under the right key, what it costs.

    `needs` names the trainings that must be finished before, so that no two steps make the same network. `key` is a
    notebook's, see `mdelib.batch.notebook_key`.
    """

    rule: str
    name: str
    done: bool
    seconds: float
    needs: tuple[str, ...] = ()
    key: str = ""

    @property
    def marker(self) -> str:
        """The file, inside the batch's folder, by which Snakemake knows that the step is done."""
        return f"done/{self.rule}/{self.name}.done"


def save_plan(path: Path, steps: Sequence[Step]) -> Path:
    """Write the steps down, which took a while to plan, for the Snakefile."""
    return atomic_write(path, json.dumps([asdict(step) for step in steps]))


def saved_plan(path: Path) -> list[Step]:
    """The steps that `save_plan` has written down."""
    return [Step(**{**entry, "needs": tuple(entry["needs"])}) for entry in json.loads(path.read_text())]


def forget_outdated(steps: Sequence[Step], folder: Path) -> None:
    """Remove the markers of steps whose result is missing, damaged or made by other code.

    Only a plan that was made just now may be given: one that was written down does not know what was done since.
    """
    for step in steps:
        if not step.done:
            (folder / step.marker).unlink(missing_ok=True)
