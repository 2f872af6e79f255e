"""The parts of README.md that come from results: costs of notebooks, verdicts, timings beside peers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdelib import audit, references, scoreboard, verdicts, weights
from mdelib.editions import list_sources
from mdelib.experiments import load_experiment
from mdelib.highlights import highlights
from mdelib.measured import bench_table, fault_lines, keep, newcomer_table, recall, table_cell

__all__ = ["PARTS", "render_readme", "write_costs"]

COSTS = "scenes-rooms-lab/costs.json"


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
    name = f"{folder.name}/costs.json"
    known = recall(name) or {"notebooks": {}}
    here = {source.stem: {**known["notebooks"], **found}.get(source.stem) for source in list_sources()}
    steps = {cost.stem: json.loads(cost.read_text()) for cost in sorted((folder / "costs").glob("*.json"))}
    content = {"notebooks": {name: cost for name, cost in here.items() if cost},
               "steps": {**known.get("steps", {}), **steps}}
    return keep(name, content)


def _notebooks() -> str:
    costs = recall(COSTS) or {"notebooks": {}}
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
                  *("| " + " | ".join(map(table_cell, row)) + " |" for row in mine.itertuples(index=False)),
                  "", "</details>"]
    return "\n".join(lines)


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


PARTS: dict[str, Callable[[], str]] = {"findings": lambda: "\n".join(f"- {line}" for line in highlights()),
                                       "notebooks": _notebooks, "accuracy": _accuracy, "verdicts": _verdicts,
                                       "newcomer": newcomer_table, "faults": fault_lines, "study": _study,
                                       "weights": _weights, "audit": _audit, "bench": bench_table}


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
