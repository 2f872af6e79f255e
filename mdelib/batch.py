"""The batch: data, trainings, notebooks and report as one graph that can be stopped and started at will.

Snakemake drives it (`Snakefile`); each step is one `mde` command that first looks whether its result is already
there under the right key. Snakemake's own bookkeeping decides nothing about results: it sees small marker files,
so a killed batch never loses what was finished, and nothing finished is made twice.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from mdelib import data as datasets
from mdelib import gpus, provenance, references, runs, store, tether
from mdelib.editions import find_source, list_sources
from mdelib.experiments import SCALES, Experiment, Run, list_experiments, load_experiment
from mdelib.headless import folder_of_batch, parameters_of, stored_key
from mdelib.names import check_name
from mdelib.profiles import read_profile
from mdelib.progress import follow
from mdelib.steps import Step, forget_outdated, save_plan

__all__ = ["at_hand", "notebook_key", "plan", "reproduce"]

SECONDS = {"data": 30.0, "train": 60.0, "notebook": 25.0, "report": 8.0}  # until a step was measured


def _experiments(data: str, scale: str) -> list[Experiment]:
    """The experiments that exist for this data and scale."""
    found = [load_experiment(name) for name in list_experiments()]
    return [e for e in found if data in e.data and scale in e.scales]


def at_hand(run: Run) -> bool:
    """Whether the data behind the networks that a run works with is there, if it is other data than the run's own."""
    try:
        for one in runs.needed(run):
            if one.data != run.data:
                datasets.load(one.data, one.settings.train_split, count=1, lazy=True)
    except FileNotFoundError:
        return False
    return True


def _run_keys(data: str, scale: str) -> list[str]:
    """The keys of all runs that exist for this data and scale and can be made with the data that is there."""
    return [runs.run_key(run) for experiment in _experiments(data, scale) for run in experiment.runs(data, scale)
            if at_hand(run)]


def _behind_every_notebook() -> tuple[list[str], list[str]]:
    """The library's code, and the experiment files, published numbers and committed results, as they are now."""
    library = sorted((provenance.find_home() / "mdelib").rglob("*.py"))
    code = [ast.dump(ast.parse(path.read_text())) for path in library]
    files = [path.read_text() for folder, kind in (("experiments", "*.yaml"), ("papers", "**/*.*"))
             for path in sorted((provenance.find_home() / folder).glob(kind)) if path.is_file()]
    return code, files + [path.read_text() for path in sorted(store.results_root().glob("*/*.json"))]


def notebook_key(number: str, parameters: dict[str, Any], keys: list[str] | None = None,
                 behind: tuple[list[str], list[str]] | None = None) -> str:
    """What an executed notebook depends on: its source, its parameters, the library, and all results it may show.

    `keys` (of `_run_keys`) and `behind` (of `_behind_every_notebook`) take a while, and are the same for all
    notebooks of a batch: they can be given by a caller that needs several notebooks' keys.
    """
    keys = _run_keys(parameters["data"], parameters["scale"]) if keys is None else keys
    code, files = behind or _behind_every_notebook()
    return provenance.digest([find_source(number).read_text(), parameters, code, files, keys])


def plan(data: str, scale: str) -> list[Step]:
    """All steps of the batch, in order, each with whether its result is already there under the right key."""
    check_name(data, datasets.DATASETS, "data set", "the data sets of the course")
    check_name(scale, SCALES, "scale", "the scales of the course")
    folder = folder_of_batch(data, scale)
    sources = list_sources()
    steps = [Step("data", data, (folder / "done/data" / f"{data}.done").is_file(), SECONDS["data"])]
    known = _experiments(data, scale)
    wanted = [run for source in sources for experiment in known if experiment.notebook == source.name[:2]
              for run in experiment.runs(data, scale) if at_hand(run)]
    steps += _training_steps(_with_needed(wanted))
    trained = all(step.done for step in steps)
    keys, behind = _run_keys(data, scale), _behind_every_notebook()
    for source in sources:
        target = folder / f"{source.stem}.ipynb"
        key = notebook_key(source.name[:2], {**parameters_of(source), "data": data, "scale": scale}, keys, behind)
        done = trained and target.is_file() and stored_key(target) == key
        steps.append(Step("notebook", source.stem, done, SECONDS["notebook"], _shown_by(source, steps), key))
    report = store.runs_root() / "report" / f"{data}-{scale}" / "index.html"
    done = all(step.done for step in steps) and report.is_file()
    return [*steps, Step("report", "report", done, SECONDS["report"])]


def _shown_by(source: Path, steps: Sequence[Step]) -> tuple[str, ...]:
    """The trainings a notebook may ask for: of experiments that its source names in quotes, or all if it lists them.

    A notebook that started before them would make them itself, a second time.
    """
    text = source.read_text()
    named = set(re.findall(r'"([a-z_0-9]+)"', text))
    everything = "list_experiments" in text
    return tuple(step.name for step in steps
                 if step.rule == "train" and (everything or step.name.split("/")[0] in named))


def _with_needed(wanted: list[Run]) -> list[Run]:
    """The runs, each once and after those whose networks it works with."""
    ordered: dict[str, Run] = {}
    for run in wanted:
        ordered |= {one.address: one for one in [*_with_needed(runs.needed(run)), run] if one.address not in ordered}
    return list(ordered.values())


def _step_name(run: Run) -> str:
    return f"{run.experiment}/{run.variant if run.settings.train else 'all'}/seed{run.seed}"


def _training_steps(wanted: list[Run]) -> list[Step]:
    """One step a run; the runs of an experiment that trains nothing are one step together, since each is short."""
    groups: dict[str, list[Run]] = {}
    for run in wanted:
        groups.setdefault(_step_name(run), []).append(run)
    return [Step("train", name, all(runs.current(run) is not None for run in group), sum(map(_expected, group)),
                 tuple(_step_name(one) for run in group for one in runs.needed(run)))
            for name, group in groups.items()]


def _expected(run: Run) -> float:
    """Seconds that the same run took for the committed results, or a guess."""
    for result in references.stored_reference(run.experiment, run.data, run.scale):
        if result.variant == run.variant:
            return float(result.provenance.get("wall_s", SECONDS["train"]))
    return SECONDS["train"] if run.settings.train else SECONDS["train"] / 10


def reproduce(data: str, scale: str, *, cores: int = 0, console: Console | None = None, profile: Path | None = None,
              options: Sequence[str] = ()) -> Path:
    """Run the whole batch and return the report.

    Each step has one thread; `cores` steps run side by side (0: as many as the machine has cores). That is faster
    than many threads a step, and gives the same numbers whatever else the machine does.

    Args:
        data, scale: which batch. cores: steps at a time on this machine. console: where progress is shown.
        profile: folder of a Snakemake profile: where and with what resources steps run (see `mdelib.profiles`).
        options: further options of Snakemake, which come after the profile's.

    Raises:
        BlockingIOError: another batch runs on the same folder.
        FileNotFoundError: the data set is not there; the message names the command that fetches it.
        RuntimeError: a step failed; the message names it and the log.
        ValueError: a profile that cannot be used here.
    """
    check_name(data, datasets.DATASETS, "data set", "the data sets of the course")
    check_name(scale, SCALES, "scale", "the scales of the course")
    datasets.load(data, "test", count=1)  # a missing data set is a sentence now, not a failed step later
    folder, console = folder_of_batch(data, scale), console or Console()
    chosen = _driven_by(profile, cores or os.cpu_count() or 1)
    started = time.perf_counter()
    with store.lock(folder, "a batch"):
        steps = plan(data, scale)
        pending = {f"{step.rule} {step.name}": step.seconds for step in steps if not step.done}
        if pending:
            forget_outdated(steps, folder)
            save_plan(folder / "plan.json", steps)
            _run_snakemake(folder, data, scale, chosen, options, pending, console)
    report = store.runs_root() / "report" / f"{data}-{scale}" / "index.html"
    console.print(f"{len(pending)} steps in {time.perf_counter() - started:.0f} s. The report: {report}",
                  highlight=False)
    return report


@dataclass(frozen=True)
class Driven:
    """How Snakemake is called: options and environment, steps at a time, and whether they run on other machines."""

    options: tuple[str, ...]
    environment: dict[str, str]
    workers: int
    remote: bool = False


def _driven_by(folder: Path | None, cores: int) -> Driven:
    """The way of calling Snakemake that a profile asks for.

    Raises:
        ValueError: a profile that cannot be used, or that asks for GPUs where there are none.
    """
    if folder is None:
        return Driven(("--cores", str(cores)), {}, cores)
    profile = read_profile(folder)
    named = ("--profile", str(profile.folder))
    if profile.executor:
        return Driven(named, {}, profile.jobs or 1, remote=True)
    if not profile.gpu:
        return Driven((*named, "--cores", str(cores)), {}, cores)
    numbers = gpus.usable()
    if not numbers:
        raise ValueError(f"{folder} hands out GPUs, but PyTorch sees none here: leave --profile out, or name the GPUs "
                         f"as in {gpus.VARIABLE}=0,1")
    return Driven((*named, "--cores", str(cores), "--resources", f"gpu={len(numbers)}"),
                  {gpus.VARIABLE: ",".join(numbers)}, min(cores, len(numbers)))


def _run_snakemake(folder: Path, data: str, scale: str, chosen: Driven, options: Sequence[str],
                   pending: dict[str, float], console: Console) -> None:
    tied = "from mdelib.tether import attach; attach(); "
    if chosen.remote:  # jobs on other machines have no such process to look for, and outlive the one that sent them
        tied += f"import os; os.environ.pop({tether.VARIABLE!r}); "
    command = [sys.executable, "-c", tied + "from snakemake.cli import main; main()",
               "--snakefile", str(provenance.find_home() / "Snakefile"),
               "--directory", str(folder), *chosen.options, "--nolock", "--rerun-incomplete",
               "--rerun-triggers", "mtime", "--keep-going", *options, "--config", f"data={data}", f"scale={scale}",
               "plan=plan.json"]
    environment = {**tether.environment(), **chosen.environment, "MDE_RUNS": str(store.runs_root().resolve())}
    log = folder / "log.txt"
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            follow(process, log, pending, console, workers=chosen.workers)
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        raise RuntimeError(f"the batch did not finish: {_failure(log)} (everything is in {log}); what is done is "
                           "kept, and the same command goes on from there")


def _failure(log: Path) -> str:
    """The last sentence that a step printed about what went wrong."""
    lines = [line.strip() for line in log.read_text().splitlines()]
    spoken = [line for line in lines if line.startswith("mde: ")]
    failed = [line for line in lines if line.startswith("Error in rule")]
    return (spoken or failed or lines or ["nothing was printed"])[-1].removeprefix("mde: ")
