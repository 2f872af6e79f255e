"""The parts of README.md that come from results: minutes and memory of each notebook, and the verdicts so far."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mdelib import audit, papers, provenance, references, store, verdicts
from mdelib.editions import list_sources
from mdelib.experiments import list_experiments, load_experiment

__all__ = ["PARTS", "render_readme", "write_costs"]

COSTS = "scenes-rooms-lab/costs.json"


def write_costs(folder: Path) -> Path:
    """Gather what the notebooks of a batch cost into `results/<data>-<scale>/costs.json`.

    Notebooks that the batch has not executed keep the cost that stands there.

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
    known = json.loads(path.read_text())["notebooks"] if path.is_file() else {}
    here = {source.stem: {**known, **found}.get(source.stem) for source in list_sources()}
    content = {"notebooks": {name: cost for name, cost in here.items() if cost}, **provenance.stamp()}
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
    lines = ["| claim | measure | difference (95 % interval) | seeds × views | verdict |", "|---|---|---|---|---|"]
    results = [r for name in list_experiments() for r in references.stored_reference(name, "nyu", "study")]
    for claim in (claim for paper in papers.list_papers() for claim in papers.load_claims(paper)):
        if not claim.on_scoreboard:
            continue
        name = f"{claim.id.split('-')[0]}, {claim.place}"
        if claim.on_scoreboard and not (claim.evidence or claim.identity):
            state = audit.audit_claim(claim).words
            lines.append(f"| {name} | `{claim.audit.rule}` | the paper's own table | – | {state} |")
        if claim.identity:
            state = papers.check_analytic(claim)[0]
            words = f"{state} {claim.identity.condition}" if state == "holds only if" else state
            lines.append(f"| {name} | `{claim.identity.left} = {claim.identity.right}` | analytic | – | {words} |")
        for found in verdicts.judge(claim, results):
            lines.append(f"| {name} | `{found.measure}`: {found.first} − {found.second} | {found.difference:+.2g} "
                         f"({found.span}) | {found.count} | {found.verdict} |")
    return "\n".join(lines)


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


def _audit() -> str:
    found = audit.audit_all()
    counts = audit.audit_counts(found)
    lines = [audit.audit_line(found), "", f"| paper | {' | '.join(counts.columns)} |", "|---|---|---|---|---|"]
    return "\n".join(lines + [f"| {paper} | {' | '.join(map(str, row))} |"
                              for paper, row in zip(counts.index, counts.to_numpy(), strict=True)])


PARTS: dict[str, Callable[[], str]] = {"notebooks": _notebooks, "accuracy": _accuracy, "verdicts": _verdicts,
                                       "audit": _audit}


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
