"""Tables of what was measured of the pack itself: a newcomer's minutes, faults, timings beside peers, widgets.

`mdelib.readme` and `mdelib.book` put them where they are read. The numbers come from `results/` alone.
"""

from __future__ import annotations

import json
from typing import Any

from markupsafe import escape

from mdelib import store

__all__ = ["bench_table", "fault_lines", "newcomer_table", "table_cell", "widget_table"]

WIDGETS = "scenes-rooms-lab/widgets.json"
NEWCOMER = "scenes-rooms-lab/newcomer.json"
KILLS, SLURM = "scenes-rooms-smoke/kills.json", "scenes-rooms-smoke/slurm.json"
BENCH = "scenes-rooms-lab/bench.json"
PARITY = 0.95  # of a peer's time: below it a row is behind


def newcomer_table() -> str:
    """How long a newcomer takes to a first exercise passed, by benchmarks/newcomer.py."""
    path = store.results_root() / NEWCOMER
    if not path.is_file():
        return "Not measured yet: `python benchmarks/newcomer.py --json`."
    found = json.loads(path.read_text())
    lines = ["| step | what you do | minutes |", "|---|---|---|"]
    lines += [f"| {step['step']} | {step['do']} | {step['seconds'] / 60:.1f} |" for step in found["steps"]]
    lines.append(f"| all of it | | {sum(step['seconds'] for step in found['steps']) / 60:.1f} |")
    lines.append(f"\nMeasured at commit {found['commit']} on {found['cores']} cores ({found['device_name']}) with a "
                 f"load of {found['load']:.1f}. How long a download takes depends on the network.")
    return "\n".join(lines)


def fault_lines() -> str:
    """What became of batches that were killed or lost a node, by benchmarks/kills.py and benchmarks/slurm.py."""
    lines = []
    for name, words in ((KILLS, _kills), (SLURM, _slurm)):
        path = store.results_root() / name
        if path.is_file():
            found = json.loads(path.read_text())
            lines.append(f"- {words(found)} {_agreement(found)} (commit {found['commit']})")
        else:
            lines.append(f"- Not measured yet: `python benchmarks/{path.stem}.py --json`.")
    return "\n".join(lines)


def _kills(found: dict[str, Any]) -> str:
    what = f"notebooks {', '.join(found['notebooks'])}" if found["notebooks"] else "all notebooks"
    return (f"The smoke batch ({what}; {found['steps']} steps) was killed {found['kills']} times at random moments, "
            f"{found['processes_killed']} processes in all, and started again each time. Finished results that were "
            f"made again: {len(found['made_again'])}.")


def _slurm(found: dict[str, Any]) -> str:
    return (f"The smoke batch of notebooks {', '.join(found['notebooks'])} ran as {found['jobs']} jobs on two nodes "
            f"of Slurm {found['slurm'].split()[-1]}. One node was lost while it trained; the job was queued again and "
            f"{found['went_on_as'].lower()} on the other.")


def _agreement(found: dict[str, Any]) -> str:
    """How many of the compared files are the same as those of the undisturbed batch."""
    same = found["compared"] - len(found["differing"])
    return (f"Of {found['compared']} results, networks, figures, tables and notebooks, {same} are those of the "
            "undisturbed local batch, byte for byte, but for times and machines.")


def bench_table() -> str:
    """Ours beside other libraries, by benchmarks/bench.py, and why a row is behind where it is."""
    path = store.results_root() / BENCH
    if not path.is_file():
        return "Not measured yet: `make bench`."
    found = json.loads(path.read_text())
    lines = ["| what | beside | CPU ms, ours | theirs | times | asked | all threads, clock: times | MiB, ours | "
             "theirs |",
             "|---" * 9 + "|"]
    notes: list[str] = []
    for one in found["contests"]:
        (_, ours), *others = one["ways"].items()
        for way, theirs in others:
            times, together = (_times(ours, theirs, *where) for where in (
                ("threads_1", "cpu_s"), (f"threads_{found['cores']}", "wall_s")))
            asked = one["asked"][way]
            behind = times < asked * (PARITY if asked == 1 else 1)
            if behind:
                notes.append(f"{one['title']}, {way}: {one['why'].get(way, 'no reason known')}.")
            mark = f" ({len(notes)})" if behind else ""
            bound = f"≥ {asked:g}" if asked else "–"
            lines.append(f"| {one['title']}: {one['what']} | {way} | {_digits(1e3 * ours['threads_1']['cpu_s'])} | "
                         f"{_digits(1e3 * theirs['threads_1']['cpu_s'])} | {_digits(times)}{mark} | {bound} | "
                         f"{_digits(together)} | {_digits(ours['memory_mib'])} | "
                         f"{_digits(theirs['memory_mib'])} |")
    lines += ["", *(f"{place}. {note}" for place, note in enumerate(notes, 1))]
    lines += ["", "| what | measured | asked |", "|---|---|---|"]
    for one in found["readings"]:
        bound = "–" if one["at_most"] is None else f"≤ {one['at_most']:g}"
        lines.append(f"| {one['title']}: {one['what']} | {_digits(one['value'])} {one['unit']} | {bound} |")
    peers = ", ".join(f"{name} {version}" for name, version in found["peers"].items())
    lines.append(f"\nLeast of interleaved rounds, CPU time on one thread unless it says otherwise; times: theirs over "
                 f"ours. Memory is the most that a process of its own had, inputs included. Measured at commit "
                 f"{found['commit']} on {found['cores']} cores ({found['device_name']}) with a load of "
                 f"{found['load']:.1f}, torch {found['versions']['torch']}, {peers}.")
    return "\n".join(lines)


def _times(ours: dict[str, Any], theirs: dict[str, Any], threads: str, clock: str) -> float:
    return theirs[threads][clock] / ours[threads][clock]


def _digits(value: float) -> str:
    """Two digits, and all of those before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def widget_table() -> str:
    """How fast the widgets answer, as measured by benchmarks/widgets.py; a part of the teachers' page."""
    path = store.results_root() / WIDGETS
    if not path.is_file():
        return "Not measured yet: `python benchmarks/widgets.py --json`."
    found = json.loads(path.read_text())
    lines = ["| notebook | settings tried | median (ms) | slowest (ms) | slowest at |", "|---|---|---|---|---|"]
    lines += [f"| {row['notebook']} | {row['pictures']} | {row['median_ms']} | {row['worst_ms']} | "
              f"{table_cell(', '.join(f'{name} {value}' for name, value in row['worst_at'].items()))} |"
              for row in found["widgets"]]
    lines.append(f"\nProcessor time on one thread of {found['device_name']}, at commit {found['commit']}. The aim is "
                 f"{found['aim_ms']} ms.")
    return "\n".join(lines)


def table_cell(cell: object) -> str:
    """A cell of a Markdown table: HTML, and no bar that would end it."""
    return str(escape(cell)).replace("|", "&#124;")
