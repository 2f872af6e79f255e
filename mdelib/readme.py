"""The parts of README.md that come from results: costs of notebooks, verdicts, timings beside peers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from markupsafe import escape

from mdelib import audit, provenance, references, scoreboard, store, verdicts, weights
from mdelib.editions import list_sources
from mdelib.experiments import load_experiment

__all__ = ["PARTS", "render_readme", "write_costs"]

COSTS = "scenes-rooms-lab/costs.json"
NEWCOMER = "scenes-rooms-lab/newcomer.json"
KILLS, SLURM = "scenes-rooms-smoke/kills.json", "scenes-rooms-smoke/slurm.json"
BENCH = "scenes-rooms-lab/bench.json"
PARITY = 0.95  # of a peer's time: below it a row is behind


def write_costs(folder: Path) -> Path:
    """Gather what notebooks, data and report of a batch cost into `results/<data>-<scale>/costs.json`.

    Steps that the batch has not executed keep the cost that stands there.

    Args:
        folder: of the batch, see `mdelib.headless.folder_of_batch`.

    Raises:
        FileNotFoundError: no notebook was executed there.
    """
    found: dict[str, Any] = {}
    for source in list_sources():
        path = folder / f"{source.stem}.ipynb"
        if path.is_file():
            record = json.loads(path.read_text())["metadata"]["mdelib"]
            found[source.stem] = {name: record[name] for name in ("seconds", "peak_memory_mb")}
    if not found:
        raise FileNotFoundError(f"no executed notebook is in {folder}: run `mde reproduce` first")
    path = store.results_root() / folder.name / "costs.json"
    known = json.loads(path.read_text()) if path.is_file() else {"notebooks": {}}
    here = {source.stem: {**known["notebooks"], **found}.get(source.stem) for source in list_sources()}
    steps = {cost.stem: json.loads(cost.read_text()) for cost in sorted((folder / "costs").glob("*.json"))}
    content = {"notebooks": {name: cost for name, cost in here.items() if cost},
               "steps": {**known.get("steps", {}), **steps}, **provenance.stamp()}
    return store.atomic_write(path, json.dumps(content, indent=1) + "\n")


def _notebooks() -> str:
    path = store.results_root() / COSTS
    costs = json.loads(path.read_text()) if path.is_file() else {"notebooks": {}}
    lines = ["| notebook | what it is about | minutes | memory (MiB) |", "|---|---|---|---|"]
    for source in list_sources():
        title = re.search(r"^# # \d\d · (.*)$", source.read_text(), flags=re.MULTILINE)[1]
        cost = costs["notebooks"].get(source.stem, {})
        minutes = f"{cost['seconds'] / 60:.1f}" if cost else "not measured"
        lines.append(f"| [{source.stem[:2]}](notebooks/{source.stem}.ipynb) | {title} | {minutes} | "
                     f"{cost.get('peak_memory_mb', '–')} |")
    if cost:
        lines.append(f"\nMeasured at scale `lab` with finished trainings, one thread, {costs['device_name']}.")
    return "\n".join(lines)


def _verdicts() -> str:
    scores = scoreboard.score_all(references.stored_study())
    counts = scoreboard.score_counts(scores)
    claims = len({s.claim.id for s in scores})
    lines = [f"{claims} claims on {len(scores)} rows, one for each data set that a claim was measured on:", "",
             f"| paper | {' | '.join(counts.columns)} |", "|---" + "|---" * len(counts.columns) + "|",
             *(f"| {paper} | {' | '.join(str(n or '–') for n in row)} |"
               for paper, row in zip(counts.index, counts.to_numpy(), strict=True))]
    table = scoreboard.score_table(scores, link="notebooks/{notebook}")
    for paper in counts.index:
        mine = table[[s.claim.paper == paper for s in scores]]
        lines += ["", f"<details><summary>{paper}: all rows</summary>", "",
                  f"| {' | '.join(table.columns)} |", "|---" * len(table.columns) + "|",
                  *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in mine.itertuples(index=False)),
                  "", "</details>"]
    return "\n".join(lines)


def _newcomer() -> str:
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


def _faults() -> str:
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


def _bench() -> str:
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


def _cell(cell: object) -> str:
    """A cell of a Markdown table: HTML, and no bar that would end it."""
    return str(escape(cell)).replace("|", "&#124;")


def _study() -> str:
    results = references.stored_study()
    hours = sum(r.minutes for r in results) / 60
    largest = max(results, key=lambda r: r.provenance.get("peak_memory_mb", 0))
    machines = sorted({f"{r.provenance['device_name']}, {r.provenance['threads']} thread"
                       f"{'s' * (r.provenance['threads'] > 1)}" for r in results})
    return (f"The {len(results)} runs of the committed study took {hours:.1f} hours one after another "
            f"({'; '.join(machines)}), each at most {max(r.minutes for r in results):.0f} minutes and "
            f"{largest.provenance['peak_memory_mb'] / 1024:.1f} GiB ({largest.experiment}, {largest.variant}).")


def _accuracy() -> str:
    lines = ["| network | on | AbsRel | RMSE (m) | δ1 | runs | minutes a run |", "|---|---|---|---|---|---|---|"]
    for name in ("released_meter", "two_networks", "from_scratch"):
        found = references.stored_reference(name, "nyu", "study")
        titles = {variant: entry.title for variant, entry in load_experiment(name).variants.items()}
        for variant in dict.fromkeys(r.variant for r in found):
            mine = [r for r in found if r.variant == variant]
            cells = verdicts.summary(mine, ["abs_rel", "rmse", "delta1"], {variant: ""}).iloc[0]
            minutes = sum(r.minutes for r in mine) / len(mine)
            lines.append(f"| {titles[variant]} | {len(mine[0].names)} NYU test images | {cells['abs_rel']} | "
                         f"{cells['rmse']} | {cells['delta1']} | {len(mine)} | {minutes:.1f} |")
    return "\n".join(lines)


def _weights() -> str:
    lines = ["| weights | network | trained and tested on | AbsRel | RMSE (m) | δ1 | MB |", "|---" * 7 + "|"]
    for path in sorted(weights.weights_root().glob("*.safetensors")):
        record = weights.read_record(path)
        metrics, run = record["record"]["metrics"], record["record"]["run"].split("/")
        lines.append(f"| `{path.stem}` | `{record['name']}` | {run[2].rsplit('-', 1)[0]} ({run[0]}, {run[1]}) | "
                     f"{metrics['abs_rel']:.3f} | {metrics['rmse']:.3f} | {metrics['delta1']:.3f} | "
                     f"{path.stat().st_size / 1e6:.1f} |")
    return "\n".join(lines)


def _audit() -> str:
    found = audit.audit_all()
    counts = audit.audit_counts(found)
    lines = [audit.audit_line(found), "", f"| paper | {' | '.join(counts.columns)} |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {paper} | {' | '.join(map(str, row))} |"
                              for paper, row in zip(counts.index, counts.to_numpy(), strict=True)])


PARTS: dict[str, Callable[[], str]] = {"notebooks": _notebooks, "accuracy": _accuracy, "verdicts": _verdicts,
                                       "newcomer": _newcomer, "faults": _faults, "study": _study,
                                       "weights": _weights, "audit": _audit, "bench": _bench}


def render_readme(text: str) -> str:
    """`text` with everything between ``<!-- NAME -->`` and ``<!-- /NAME -->`` made anew from the results.

    Raises:
        ValueError: a part that has no place in the text.
    """
    for name, make in PARTS.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise ValueError(f"README.md has no place for {name!r}: put <!-- {name} --> and <!-- /{name} --> into it")
        place = pattern.search(text)
        text = text[:place.start()] + place[1] + make() + "\n" + place[2] + text[place.end():]
    return text
