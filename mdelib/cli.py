"""The command line: `mde doctor | data | run | explain | notebooks | reproduce | report` and what the batch calls.

Everything a person typed wrong, and everything that is missing, is one sentence and exit status 2.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  help="Course and reproducibility pack on explainable monocular depth estimation.")
console = Console(soft_wrap=True)

Data = Annotated[str, typer.Option(help="Data set: scenes-rooms, scenes-streets, nyu, kitti, sunrgbd.")]
Scale = Annotated[str, typer.Option(help="smoke, lab, study or paper.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


@app.command()
def doctor() -> None:
    """Say what is installed, what this machine has, which data is there, and what is missing."""
    from mdelib.doctor import examine

    sound = True
    for fine, line in examine():
        console.print(("[green]✓[/] " if fine else "[yellow]•[/] " if fine is None else "[red]✗[/] ") + line,
                      highlight=False)
        sound = sound and fine is not False
    if not sound:
        raise typer.Exit(1)


@app.command()
def data(name: Annotated[str, typer.Argument(help="nyu, kitti, sunrgbd, meter, scenes-rooms or scenes-streets.")],
         out: Annotated[Path | None, typer.Option(help="Data folder; default: MDE_DATA, else data.")] = None) -> None:
    """Fetch, check and prepare a data set, or render scenes; the scripts in data_scripts/ have more options."""
    from mdelib import data as datasets
    from mdelib.data import fetch
    from mdelib.names import check_name

    known = {"nyu": fetch.fetch_nyu, "kitti": fetch.fetch_kitti, "sunrgbd": fetch.fetch_sunrgbd,
             "meter": fetch.fetch_meter}
    check_name(name, [*known, "scenes-rooms", "scenes-streets"], "data set", "what mde data can fetch")
    if name in known:
        known[name](datasets.data_root(out))
    else:
        for split in ("train", "test"):
            console.print(f"{len(datasets.load(name, split, root=out))} {split} views of {name}", highlight=False)


@app.command(hidden=True)
def ready(data: Data = "scenes-rooms", scale: Scale = "lab") -> None:
    """Make sure the views of a batch are there: render scenes, read files into the cache."""
    from mdelib.course import start
    from mdelib.headless import note_cost

    with note_cost("data", data, scale):
        lesson = start("00", data=data, scale=scale)
        for split in ("train", "test"):
            console.print(f"{len(lesson.views(split))} {split} views of {data}")


@app.command()
def run(experiment: str,
        variant: Annotated[list[str] | None, typer.Option(help="Only these variants, or all.")] = None,
        seed: Annotated[list[int] | None, typer.Option(help="Only these seeds.")] = None,
        data: Data = "scenes-rooms", scale: Scale = "lab", device: Device = "auto",
        devices: Annotated[int, typer.Option(min=1, help="GPUs (or CPU processes) for each training together.")] = 1
        ) -> None:
    """Train and measure the runs of an experiment; what is there under the right key is kept."""
    from mdelib import gpus, runs
    from mdelib.experiments import load_experiment
    from mdelib.train import pick_device

    if device != "cpu" and (numbers := gpus.claim(devices)):
        console.print(f"on GPU {', '.join(numbers)}: {experiment}", highlight=False)
    chosen = pick_device(device)
    chosen_variants = None if variant == ["all"] else variant
    for one in load_experiment(experiment).runs(data, scale, variants=chosen_variants, seeds=seed):
        kept = runs.current(one) is not None

        def show(epoch: int, epochs: int, record: dict[str, float], address: str = one.address) -> None:
            left = record["seconds"] * (epochs - epoch)
            console.print(f"{address}: epoch {epoch}/{epochs}, loss {record['loss']:.4f}, {left:.0f} s left",
                          highlight=False)

        result = runs.execute(one, device=chosen, progress=show, devices=devices)
        main = ", ".join(f"{name} {result.metrics[name]:.3f}" for name in ("abs_rel", "rmse", "delta1"))
        console.print(f"{one.address}: {main}" + (" (was there)" if kept else ""), highlight=False)


@app.command()
def explain(photo: Path,
            network: Annotated[str, typer.Option(help="Weights (rooms_transformer, meter_xxs_nyu, a file), hf:NAME "
                                                      "for Hugging Face, or module:function for your own.")],
            target: Annotated[str, typer.Option(help="mean_depth, near_far, pixel:ROW,COLUMN or edge:ROW,COLUMN, "
                                                     "counted as on the figure's axes.")] = "mean_depth",
            method: Annotated[list[str] | None, typer.Option(help="Only these methods.")] = None,
            size: Annotated[tuple[int, int] | None, typer.Option(help="Height and width the network sees.")] = None,
            out: Annotated[Path | None, typer.Option(help="The figure; default: beside the photograph.")] = None
            ) -> None:
    """Write the depth of a photograph and all attributions of it as one figure."""
    from mdelib.explain_photo import explain_photo

    path = explain_photo(photo, network, target=target, methods=method, size=size, out=out,
                         say=lambda words: console.print(words, highlight=False, markup=False))
    console.print(f"written: {path}", highlight=False, markup=False)


@app.command(hidden=True)
def notebook(name: str, data: Data = "scenes-rooms", scale: Scale = "lab", device: Device = "auto",
             seed: int = 0, key: str = "") -> None:
    """Execute one notebook into the batch's folder; the batch knows its key, otherwise it is computed."""
    from mdelib import gpus
    from mdelib.headless import check_parameters, run_notebook

    given = {"data": data, "scale": scale, "device": device, "seed": seed}
    if not key:
        from mdelib.batch import notebook_key

        key = notebook_key(name[:2], check_parameters(name[:2], given))
    if device != "cpu" and (numbers := gpus.claim()):  # the notebook's kernel inherits it
        console.print(f"on GPU {', '.join(numbers)}: notebook {name}", highlight=False)
    run_notebook(name[:2], given, key=key)


@app.command()
def notebooks(only: Annotated[list[str] | None, typer.Option(help="Numbers, for example 02.")] = None) -> None:
    """Build and execute the student and solution editions from notebooks/src."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the kernels inherit it: the same numbers on every machine
    from mdelib.editions import find_source, list_sources, write_editions

    for source in [find_source(number) for number in only] if only else list_sources():
        for path in write_editions(source):
            console.print(f"written: {path.name} ({path.parent.name})", highlight=False)


@app.command()
def book() -> None:
    """Build the course as a static site from the executed notebooks."""
    from mdelib.book import build_book

    console.print(f"written: {build_book()}", highlight=False)


@app.command()
def reproduce(data: Data = "scenes-rooms", scale: Scale = "lab",
              cores: Annotated[int, typer.Option(help="Steps at a time; 0 is one a core.")] = 0,
              collect: Annotated[bool, typer.Option(help="Also write the results to results/.")] = False,
              profile: Annotated[Path | None, typer.Option(help="A Snakemake profile: profiles/slurm, profiles/gpus, "
                                                                "or a copy of one.")] = None,
              options: Annotated[list[str] | None, typer.Argument(metavar="[-- OPTIONS]", show_default=False,
                                                                  help="Options for Snakemake.")] = None) -> None:
    """Data, trainings, notebooks and report; goes on where it was stopped."""
    from mdelib import batch, references
    from mdelib.experiments import list_experiments, load_experiment
    from mdelib.headless import folder_of_batch
    from mdelib.readme import write_costs

    batch.reproduce(data, scale, cores=cores, console=console, profile=profile, options=options or ())
    if collect:
        for name in list_experiments():
            definition = load_experiment(name)
            if data in definition.data and scale in definition.scales:
                console.print(f"results: {references.collect(name, data, scale)}", highlight=False)
        console.print(f"costs: {write_costs(folder_of_batch(data, scale))}", highlight=False)


@app.command()
def collect(experiment: str, data: Data = "nyu", scale: Scale = "study") -> None:
    """Write the finished runs of an experiment to results/<data>-<scale>/."""
    from mdelib import references

    console.print(f"{references.collect(experiment, data, scale) or 'no finished run was found'}", highlight=False)


@app.command()
def report(data: Data = "scenes-rooms", scale: Scale = "lab") -> None:
    """Write the HTML report from what the notebooks showed."""
    from mdelib.headless import note_cost
    from mdelib.report import write_report

    with note_cost("report", data, scale):
        console.print(f"{write_report(data, scale)}", highlight=False)


@app.command(hidden=True)
def ship(experiment: str, variant: str, name: str, data: Data = "scenes-rooms", scale: Scale = "study",
         seed: int = 0) -> None:
    """Put the network of a finished run into weights/."""
    from mdelib import runs
    from mdelib.experiments import load_experiment

    one, = load_experiment(experiment).runs(data, scale, variants=[variant], seeds=[seed])
    console.print(f"{runs.ship(one, name).name}", highlight=False)


@app.command(hidden=True)
def readme(path: Path = Path("README.md")) -> None:
    """Write the tables of README.md anew from results/."""
    from mdelib.readme import render_readme
    from mdelib.store import atomic_write

    atomic_write(path, render_readme(path.read_text()))


@app.command(hidden=True)
def profiles() -> None:
    """Write profiles/ anew from what the committed results took."""
    from mdelib.profiles import write_profiles

    for path in write_profiles():
        console.print(f"written: {path}", highlight=False)


@app.command(hidden=True)
def lock(path: Path = Path("requirements.lock")) -> None:
    """Write requirements.lock from what is installed."""
    from mdelib.lock import write_lock

    console.print(f"{write_lock(path)} packages pinned in {path}", highlight=False)


def main() -> None:
    """Entry point: errors that a person can mend are sentences, everything else is a traceback."""
    for name in ("MDE_DATA", "MDE_RUNS", "MDE_RESULTS", "MDE_WEIGHTS", "MDE_SCENES"):
        if os.environ.get(name):  # notebooks and Snakemake run in other folders
            os.environ[name] = str(Path(os.environ[name]).expanduser().resolve())
    from mdelib.tether import attach

    attach()
    try:
        app()
    except (ValueError, FileNotFoundError, BlockingIOError, RuntimeError, FloatingPointError) as error:
        print(f"mde: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        from mdelib.store import what_to_do

        if (words := what_to_do(error)) is None:
            raise
        print(f"mde: {error.strerror if error.filename is None else words}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("mde: stopped; what is done is kept, and the same command goes on from there", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
