"""What every notebook begins with: checked parameters, and one way to load, show and record.

``lesson = course.start("02", data=data, scale=scale, seed=seed, device=device)`` refuses parameters that are
unknown or ill-typed before anything runs. `Lesson.figure` and `Lesson.table` show their object and keep it, with
its provenance, for the report. Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

import html
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from IPython.display import HTML, Markdown, display
from matplotlib.figure import Figure

from mdelib import data as datasets
from mdelib import references, runs
from mdelib.data.base import DataInfo, DepthBatch, DepthData
from mdelib.data.cache import cached_tensors
from mdelib.experiments import SCALES
from mdelib.figures import STYLE, style
from mdelib.filters import filter_table
from mdelib.models.base import DepthNetwork
from mdelib.names import check_name
from mdelib.provenance import digest, stamp
from mdelib.sparse import MaskNetwork
from mdelib.store import Result, atomic_write, runs_root
from mdelib.train import pick_device

__all__ = ["PARAMETERS", "Lesson", "start"]

PARAMETERS = {"data": str, "scale": str, "seed": int, "device": str}
VIEWS = {"smoke": (8, 4), "lab": (600, 100), "study": (None, None), "paper": (None, None)}  # train, test
SIZES = {"smoke": (48, 64), "lab": (96, 128), "study": (96, 128), "paper": (480, 640)}


def start(notebook: str, *, data: str = "scenes-rooms", scale: str = "lab", seed: int = 0,
          device: str = "auto") -> Lesson:
    """Check the parameters of a notebook and set it up.

    Args:
        notebook: its number, for example ``"02"``.
        data: a name of `mdelib.data.DATASETS`. scale: one of `SCALES`; $MDE_SCALE overrides it, which is how
            the tests run every notebook at smoke scale. seed: of everything random. device: auto, cpu, cuda.

    Raises:
        ValueError: a parameter that is unknown or has another type than it must have.
    """
    scale = os.environ.get("MDE_SCALE", scale)
    for name, value in {"data": data, "scale": scale, "seed": seed, "device": device}.items():
        kind = PARAMETERS[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"parameter {name} is {value!r} ({type(value).__name__}): expected {kind.__name__}")
    check_name(scale, SCALES, "scale", "the scales of the course")
    check_name(data, datasets.DATASETS, "data set", "the data sets of the course")
    if seed < 0:
        raise ValueError(f"parameter seed is {seed}: expected 0 or more")
    lesson = Lesson(notebook, data, scale, seed, pick_device(device))
    torch.manual_seed(seed)
    print(f"notebook {notebook} · data {data} · scale {scale} · seed {seed} · device {lesson.device.type}")
    return lesson


class Lesson:
    """One run of one notebook: its data, its results, and the figures and tables it has shown."""

    def __init__(self, notebook: str, data: str, scale: str, seed: int, device: torch.device):
        self.notebook, self.data, self.scale, self.seed, self.device = notebook, data, scale, seed, device
        self.size = SIZES[scale]
        self._shown = 0

    @property
    def info(self) -> DataInfo:
        """Depth range, crop and title of the data set."""
        return datasets.DATASETS[self.data]

    @property
    def folder(self) -> Path:
        """Where this run's figures and tables are kept for the report."""
        return runs_root() / "report" / f"{self.data}-{self.scale}" / self.notebook

    def pick(self, **choices: Any) -> Any:
        """The choice for this scale, for example ``lesson.pick(smoke=2, lab=20, study=100)``.

        A scale that is not named takes the next smaller one that is.
        """
        for scale in reversed(SCALES[:SCALES.index(self.scale) + 1]):
            if scale in choices:
                return choices[scale]
        raise ValueError(f"scale {self.scale!r} has no choice among {sorted(choices)}: name one for smoke or lab")

    def load(self, split: str = "test", data: str | None = None, *, size: tuple[int, int] | None = None
             ) -> DepthData:
        """The views of a split at this scale, one by one and at their native size."""
        train, test = VIEWS[self.scale]
        name = data or self.data
        rendered = name.startswith("scenes-")
        return datasets.load(name, split, count=test if split == "test" else train,
                             **({"size": size or self.size} if rendered else {}))

    def views(self, split: str = "test", data: str | None = None, *, size: tuple[int, int] | None = None
              ) -> DepthBatch:
        """The views of a split at this scale in memory, at `size` (by default the scale's)."""
        return cached_tensors(self.load(split, data, size=size), size or self.size, folder=runs_root() / "cache")

    def results(self, experiment: str, variants: list[str] | None = None) -> list[Result]:
        """The results of an experiment on this data and scale; what is not there yet is made now."""
        return runs.results(experiment, self.data, self.scale, variants=variants, device=self.device)

    def reference(self, experiment: str, data: str = "nyu", scale: str = "study") -> list[Result]:
        """The committed results of the reference study; an empty list where there are none yet."""
        return references.reference(experiment, data, scale)

    def network(self, experiment: str, variant: str, seed: int | None = None) -> DepthNetwork:
        """The trained network of one run, in evaluation mode on this lesson's device."""
        return runs.network(experiment, variant, self.data, self.scale, self.seed if seed is None else seed,
                            device=self.device)

    def masks(self, experiment: str, variant: str) -> tuple[MaskNetwork, list[DepthNetwork]]:
        """The trained mask network of one run, and the depth networks that see its masks, in evaluation mode."""
        return runs.mask_network(experiment, variant, self.data, self.scale, self.seed, device=self.device)

    def say(self, text: str) -> None:
        """Show Markdown; for sentences with numbers in them, which are never typed."""
        display(Markdown(text))

    def figure(self, figure: Figure, name: str, caption: str, *, alt: str, sources: Sequence[Result] = ()) -> None:
        """Show a figure with its caption and keep it for the report.

        Args:
            figure: to show; watermarked at smoke scale. name: its file name, unique in the notebook.
            caption: what to see in it. alt: what it shows, for a reader who cannot see it.
            sources: the results it was drawn from.
        """
        if self.scale == "smoke":
            figure.text(0.5, 0.5, "SMOKE RUN, NO RESULT", fontsize=26, color="0.5", alpha=0.35, rotation=20,
                        ha="center", va="center")
        buffer = io.BytesIO()
        with style():
            figure.savefig(buffer, format="png", dpi=STYLE["savefig.dpi"], metadata={"Software": None})
        title = self._keep(name, "png", buffer.getvalue(), caption, alt, sources)
        display({"image/png": buffer.getvalue(), "text/plain": f"[figure: {alt}]"}, raw=True,
                metadata={"image/png": {"alt": alt}})
        display(Markdown(title))

    def table(self, frame: pd.DataFrame, name: str, caption: str, *, sources: Sequence[Result] = (),
              filters: Mapping[str, Sequence[str]] | None = None) -> None:
        """Show a table with its caption and keep it for the report.

        Args:
            frame, name, caption: as for a figure. sources: the results it was made from.
            filters: buttons that work without a kernel, see `mdelib.filters.filter_table`.
        """
        text = filter_table(frame, name, filters) if filters else _html_table(frame, name)
        title = self._keep(name, "html", text.encode(), caption, caption, sources)
        display(HTML(text))
        display(Markdown(title))

    def _keep(self, name: str, kind: str, content: bytes, caption: str, alt: str,
              sources: Sequence[Result]) -> str:
        self._shown += 1
        label = f"{self.notebook}.{self._shown}"
        record = {"label": label, "name": name, "kind": kind, "caption": caption, "alt": alt,
                  "notebook": self.notebook, "data": self.data, "scale": self.scale, "seed": self.seed,
                  "sources": [{"address": r.address, "key": r.key, "commit": r.provenance.get("commit"),
                               "made": r.provenance.get("made")} for r in sources],
                  "content": digest(content.hex()), **stamp(self.device)}
        atomic_write(self.folder / f"{name}.{kind}", content)
        atomic_write(self.folder / f"{name}.json", json.dumps(record, indent=1))
        return f"**{label}** {caption}" + _source_line(sources)


def _html_table(frame: pd.DataFrame, name: str) -> str:
    """A table whose numbers are aligned at the right and whose words at the left; cells and heads are escaped."""
    words = [name for name in frame if not pd.api.types.is_numeric_dtype(frame[name])
             and not frame[name].astype(str).str.match(r"^[-+–]?[\d.]*( ± [\d.]+)?%?$").all()]
    styled = frame.style.hide(axis="index").format(precision=3, na_rep="–", escape="html")
    styled = styled.format_index(lambda label: html.escape(str(label)), axis="columns")
    styled = styled.set_properties(subset=words, **{"text-align": "left", "white-space": "normal"})
    return styled.set_uuid(name).to_html()


def _source_line(sources: Sequence[Result]) -> str:
    """One line in small print: which results, of which commit."""
    if not sources:
        return ""
    groups: dict[tuple[str, str, str, str], set[int]] = {}
    for result in sources:
        place = (result.experiment, result.data, result.scale, str(result.provenance.get("commit", "unknown")))
        groups.setdefault(place, set()).add(result.seed)
    parts = [f"{experiment} on {data} at {scale} scale, {len(seeds)} seed{'s' * (len(seeds) > 1)}, commit {commit}"
             for (experiment, data, scale, commit), seeds in sorted(groups.items())]
    return f"<br><small>Made from {html.escape('; '.join(parts))}.</small>"
