"""How fast the widgets answer: processor milliseconds from a setting to its picture, at the scale of the course.

    python benchmarks/widgets.py [--only 03 07 ...] [--scale lab] [--settings 12] [--rounds 3] [--json]

Of each notebook the cells run that its widget needs. Then values of every control are chosen, the others as they stand
first, and the drawing and the PNG are timed; the best of the rounds counts, for other programs only add to it. The aim
is 200 ms. `--json` writes results/scenes-rooms-lab/widgets.json.
Trainings that the notebook needs must be there, otherwise they are made first (`mde reproduce`).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MDE_HEADLESS", "1")

import IPython.display

from mdelib import course, store, widgets
from mdelib.editions import build, list_sources
from mdelib.provenance import stamp

AIM = 200  # ms


def settings_of(controls: Mapping[str, Sequence[Any]], start: Mapping[str, Any], most: int) -> list[dict[str, Any]]:
    """Every value of every control once, the others as in `start`; at most `most`, evenly chosen."""
    found = [dict(start)]
    found += [{**start, name: value} for name, values in controls.items() for value in values if value != start[name]]
    step = max(1, -(-len(found) // most))
    return found[::step]


def needed(cells: Sequence[str]) -> list[str]:
    """The cells with widgets, and those that bind a name which a later one of them uses."""
    wanted: set[str] = set()
    kept: list[str] = []
    for cell in reversed(cells):
        tree = ast.parse(cell)
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        bound = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                bound.add(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                bound |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                bound.add(ast.unparse(node.value))
        if "explore(" in cell or bound & wanted:
            kept.insert(0, cell)
            wanted |= used
    return kept


def measure(source: Path, most: int, rounds: int) -> dict[str, Any] | None:
    """Milliseconds of each picture of the notebook's widgets; None if it has none."""
    cells = [cell.source for cell in build(source, solutions=True).cells if cell.cell_type == "code"]
    last = max((place for place, cell in enumerate(cells) if "explore(" in cell), default=None)
    if last is None:
        return None
    spent: list[tuple[float, dict[str, Any]]] = []

    def explore(draw: Any, controls: Mapping[str, Sequence[Any]], static: Sequence[Any], **_: Any) -> None:
        for setting in settings_of(controls, static[0], most):
            times = []
            for _ in range(rounds):
                begun = time.process_time()
                figure = draw(**setting)
                if figure is not None:
                    widgets._png(figure, compress_level=1)
                times.append(1e3 * (time.process_time() - begun))
            spent.append((min(times), {k: str(v) for k, v in setting.items()}))

    scope: dict[str, Any] = {}
    before = widgets.explore
    widgets.explore = explore
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for cell in needed(cells[:last + 1]):
                exec(compile(cell, source.name, "exec"), scope)
    finally:
        widgets.explore = before
    times = sorted(ms for ms, _ in spent)
    return {"notebook": source.stem[:2], "pictures": len(times), "median_ms": round(statistics.median(times)),
            "worst_ms": round(times[-1]), "worst_at": max(spent, key=lambda pair: pair[0])[1],
            "over": sum(ms > AIM for ms in times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NN")
    parser.add_argument("--scale", default="lab")
    parser.add_argument("--settings", type=int, default=12, help="at most so many pictures a widget")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="write the result file, too")
    chosen = parser.parse_args()
    os.environ["MDE_SCALE"] = chosen.scale
    IPython.display.display = course.display = widgets.display = lambda *_, **__: None  # nobody looks
    print(f"{'notebook':>8}{'pictures':>10}{'median ms':>11}{'worst ms':>10}  slowest at")
    rows = []
    for source in list_sources():
        if chosen.only and source.stem[:2] not in chosen.only:
            continue
        row = measure(source, chosen.settings, chosen.rounds)
        if row is not None:
            rows.append(row)
            print(f"{row['notebook']:>8}{row['pictures']:10}{row['median_ms']:11}{row['worst_ms']:10}  "
                  f"{', '.join(f'{k} {v}' for k, v in row['worst_at'].items())}", flush=True)
    if chosen.json:
        path = store.results_root() / f"scenes-rooms-{chosen.scale}" / "widgets.json"
        store.atomic_write(path, json.dumps({"aim_ms": AIM, "widgets": rows, **stamp()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
