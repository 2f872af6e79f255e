"""How fast the widgets answer: processor milliseconds from a setting to its picture, at the scale of the course.

    python benchmarks/widgets.py [--only 03 07 ...] [--scale lab] [--settings 12] [--rounds 3] [--json]

Of each notebook the cells run that its widget needs. Then values of every control are chosen, the others as they stand
first, and everything is timed up to the image that goes to the browser; where a pixel can be clicked, pixels are. The
best of the rounds counts, for other programs only add to it. The aim is 200 ms. `--json` writes
results/scenes-rooms-lab/widgets.json, which the teachers' page quotes.
Trainings that the notebook needs must be there, otherwise they are made first (`mde reproduce`).
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("MDE_HEADLESS", "1")

import IPython.display

from mdelib import clicks, course, widgets
from mdelib.complexity import time_in_turns
from mdelib.editions import build, list_sources
from mdelib.measured import keep

AIM = 200  # ms
CALLS = ("explore(", "click_pixels(")  # what shows a widget


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
        if any(call in cell for call in CALLS) or bound & wanted:
            kept.insert(0, cell)
            wanted |= used
    return kept


def best(answer: Callable[[], Any], rounds: int) -> float:
    """Processor milliseconds of the quickest of some rounds."""
    return 1e3 * min(time_in_turns({"answer": answer}, rounds=rounds, warm_up=0)["answer"])


def measure(source: Path, most: int = 12, rounds: int = 3) -> dict[str, Any] | None:
    """Milliseconds of each picture of the notebook's widgets; None if it has none."""
    cells = [cell.source for cell in build(source, solutions=True).cells if cell.cell_type == "code"]
    last = max((place for place, cell in enumerate(cells) if any(call in cell for call in CALLS)), default=None)
    if last is None:
        return None
    spent: list[tuple[float, dict[str, str]]] = []

    def note(ms: float, setting: Mapping[str, Any]) -> None:
        spent.append((ms, {name: widgets._word(value) for name, value in setting.items()}))

    def explore(draw: Any, controls: Mapping[str, Sequence[Any]], static: Sequence[Any], *, alt: str = "",
                **_: Any) -> None:
        layouts: widgets.Layouts = {}
        widgets.live_picture(draw, static[0], alt, layouts=layouts)  # is there before anybody turns anything
        for setting in settings_of(controls, static[0], most):
            note(best(lambda now=setting: widgets.live_picture(draw, now, alt, layouts=layouts), rounds), setting)

    def click_pixels(image: Any, answer: Any, draw: Any, static: Sequence[Any], *,
                     menus: Mapping[str, Sequence[Any]] | None = None, **_: Any) -> None:
        pixels = {"row": range(0, image.shape[-2], 24), "column": range(0, image.shape[-1], 32), **(menus or {})}
        for setting in settings_of(pixels, static[0], most):
            note(best(lambda chosen=setting: clicks.answered(answer, image, chosen), rounds), setting)

    scope: dict[str, Any] = {}
    before = widgets.explore, clicks.click_pixels
    widgets.explore, clicks.click_pixels = explore, click_pixels
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for cell in needed(cells[:last + 1]):
                exec(compile(cell, source.name, "exec"), scope)
    finally:
        widgets.explore, clicks.click_pixels = before
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
        keep(f"scenes-rooms-{chosen.scale}/widgets.json", {"aim_ms": AIM, "widgets": rows})


if __name__ == "__main__":
    main()
