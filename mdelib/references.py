"""The committed results: the reference study under `results/`, by experiment, data set and scale.

A reference is never silently replaced or dropped: one that other code has made is shown as made at its commit.
Explained in notebooks/16_scoreboard.ipynb.
"""

from __future__ import annotations

import json
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from mdelib import store
from mdelib.experiments import load_experiment
from mdelib.runs import current, run_key
from mdelib.store import Result

__all__ = ["collect", "experiment_of", "reference", "stored_reference", "stored_study"]

LARGEST = 4_000_000  # bytes of one file of results; a larger experiment has several, `NAME.json`, `NAME.2.json`, ...


def reference(experiment: str, data: str, scale: str) -> list[Result]:
    """The committed results of an experiment; empty where there are none.

    A result whose key no longer matches the code is still returned, with ``provenance["outdated"]`` True: it is
    shown as made at its commit, and `make study` makes it again. Where the data is not at hand the key cannot be
    checked and ``outdated`` is None.
    """
    found = stored_reference(experiment, data, scale)
    for result in found:
        result.provenance["outdated"] = _outdated(result)
    return found


def stored_reference(experiment: str, data: str, scale: str) -> list[Result]:
    """The committed results as they stand in their file or files, their keys unchecked.

    Raises:
        store.Damaged: the file is no result file, or a result was changed after it was collected.
    """
    found = [result for path in _parts(experiment, data, scale) for result in _read(path)]
    return list({(result.variant, result.seed): result for result in found}.values())  # once, if `collect` was cut off


def _read(path: Path) -> list[Result]:
    try:
        return [store.unsealed(entry) for entry in json.loads(path.read_text())["runs"]]
    except store.Damaged as error:
        raise store.Damaged(f"{path} was changed after it was written: {error}; restore it with git, or delete it and "
                            "run `mde collect`") from None
    except store.NO_RESULT as error:
        raise store.Damaged(f"{path} is cut off or is no result file ({type(error).__name__}): restore it with git, "
                            "or delete it and run `mde collect`") from error


def stored_study() -> list[Result]:
    """All committed results of the reference study, NYU first, as they stand in their files."""
    folders = sorted(store.results_root().glob("*-study"), key=lambda path: (path.name != "nyu-study", path.name))
    return [result for folder in folders for name in sorted({experiment_of(path) for path in folder.glob("*.json")})
            for result in stored_reference(name, *folder.name.rsplit("-", 1))]


def experiment_of(path: Path) -> str:
    """The experiment whose results a file has, or a part of them."""
    return path.name.split(".")[0]


def _part(experiment: str, data: str, scale: str, number: int) -> Path:
    name = f"{experiment}.json" if number == 1 else f"{experiment}.{number}.json"
    return store.results_root() / f"{data}-{scale}" / name


def _parts(experiment: str, data: str, scale: str) -> list[Path]:
    """The files of an experiment that are there, in order."""
    paths = (_part(experiment, data, scale, number) for number in count(1))
    return list(takewhile(Path.is_file, paths))


def _outdated(result: Result) -> bool | None:
    try:
        run, = load_experiment(result.experiment).runs(result.data, result.scale, variants=[result.variant],
                                                       seeds=[result.seed])
        return run_key(run) != result.key
    except FileNotFoundError:
        return None
    except ValueError:
        return True


def collect(experiment: str, data: str, scale: str) -> Path | None:
    """Write the finished runs of an experiment to `results/`; None where there are none.

    A run whose key is already there is left as it is, so that a reference is replaced only by something new. What does
    not fit into one file of `LARGEST` bytes goes into a second one, and so on. Gives the first.
    """
    kept = {(r.variant, r.seed): r for r in stored_reference(experiment, data, scale)}
    for run in load_experiment(experiment).runs(data, scale):
        found = current(run)
        old = kept.get((run.variant, run.seed))
        if found is not None and (old is None or old.key != found.key):
            kept[run.variant, run.seed] = found
    if not kept:
        return None
    groups, size = [[]], 0
    for entry in map(store.sealed, kept.values()):
        size += len(json.dumps(entry))
        if size > LARGEST and groups[-1]:
            groups.append([])
            size = len(json.dumps(entry))
        groups[-1].append(entry)
    for number, entries in reversed(list(enumerate(groups, start=1))):  # what overflows is safe before it leaves
        path = store.atomic_write(_part(experiment, data, scale, number), _compact(
            {"experiment": experiment, "data": data, "scale": scale, "runs": entries}))
    for surplus in _parts(experiment, data, scale)[len(groups):]:
        surplus.unlink()
    return path


def _compact(content: dict[str, Any]) -> str:
    """JSON with one line a list of numbers, so that a difference in git can be read."""
    runs = content.pop("runs")
    lines = [json.dumps(content)[:-1] + ', "runs": [']
    for index, run in enumerate(runs):
        fields = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in run.items()
                  if name not in ("per_image", "tables", "names")]
        for group in ("per_image", *(["tables"] if run["tables"] else [])):
            inner = ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in run[group].items())
            fields.append(f'  "{group}": {{\n{inner}\n  }}')
        fields.append(f'  "names": {json.dumps(run["names"])}')
        lines.append(" {\n" + ",\n".join(fields) + "\n }" + ("," if index < len(runs) - 1 else ""))
    return "\n".join([*lines, "]}"]) + "\n"
