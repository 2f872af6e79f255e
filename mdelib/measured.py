"""What was measured of the pack itself: a newcomer's minutes, faults, timings beside peers, widgets.

The scripts in benchmarks/ keep what they found in `results/`, with its provenance and a checksum; `mdelib.readme` and
`mdelib.book` show tables of it. The numbers come from those files alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import escape

from mdelib import store
from mdelib.provenance import digest, stamp

__all__ = ["bench_table", "fault_lines", "keep", "newcomer_table", "recall", "table_cell", "widget_table"]

WIDGETS = "scenes-rooms-lab/widgets.json"
NEWCOMER = "scenes-rooms-lab/newcomer.json"
KILLS, SLURM = "scenes-rooms-smoke/kills.json", "scenes-rooms-smoke/slurm.json"
BENCH = "scenes-rooms-lab/bench.json"
PARITY = 0.95  # of a peer's time: below it a row is behind


def keep(name: str, found: Mapping[str, Any]) -> Path:
    """Write a measurement, what was found, where and when, into `results/`.

    Args:
        name: ``"<data>-<scale>/<measurement>.json"``. found: anything JSON can hold.
    """
    content = {**found, **stamp()}
    content = {**content, "checksum": digest(content)}
    return store.atomic_write(store.results_root() / name, json.dumps(content, indent=1) + "\n")


def recall(name: str) -> dict[str, Any] | None:
    """A measurement that `keep` wrote; None where there is none yet.

    Raises:
        mdelib.store.Damaged: a file that is cut off, or changed since it was written.
    """
    path = store.results_root() / name
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text())
        checksum = content.pop("checksum")
    except store.NO_RESULT as error:
        raise store.Damaged(f"{path} is no measurement ({type(error).__name__}): restore it with git, or measure "
                            "again") from error
    if checksum != digest(content):
        raise store.Damaged(f"{path} was changed after it was written: restore it with git, or measure again")
    return content


def newcomer_table() -> str:
    """How long a newcomer takes to a first exercise passed, by benchmarks/newcomer.py."""
    if (found := recall(NEWCOMER)) is None:
        return "Not measured yet: `python benchmarks/newcomer.py --json`."
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
        if (found := recall(name)) is None:
            lines.append(f"- Not measured yet: `python benchmarks/{Path(name).stem}.py --json`.")
        else:
            lines.append(f"- {words(found)} {_agreement(found)} (commit {found['commit']})")
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
    if (found := recall(BENCH)) is None:
        return "Not measured yet: `make bench`."
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
    if (found := recall(WIDGETS)) is None:
        return "Not measured yet: `python benchmarks/widgets.py --json`."
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
