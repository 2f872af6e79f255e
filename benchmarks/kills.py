"""A batch that is killed twenty times, at random moments, and started again: the same results, and nothing made twice.

    python benchmarks/kills.py [--kills 20] [--seed 0] [--notebooks 02 07] [--folder FOLDER] [--json]

The smoke batch (by default all of it) runs once without a disturbance. Then it runs again in another folder, and all
of its processes are killed (SIGKILL) at random moments, some before its first step, and it is started again at once.
In the end every result, network, picture and table must be that of the first batch, byte for byte, and each result
that was there at a kill must be the very same file. `--json` writes results/scenes-rooms-smoke/kills.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from mdelib import store
from mdelib.provenance import stamp
from mdelib.rehearsal import begin_batch, compared, differing, part_of_pack

EARLY = 0.2  # share of the kills that come before the first step, while the batch is planned


def kill_all(process: subprocess.Popen) -> int:
    """Kill a batch, its process group and all that descends from it; returns how many processes that were."""
    family = psutil.Process(process.pid).children(recursive=True)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for one in family:  # kernels of notebooks have groups of their own
        with suppress(psutil.NoSuchProcess):
            one.kill()
    process.wait()
    return len(family) + 1


def finished(runs: Path) -> dict[str, str]:
    """Result file -> checksum of its bytes, provenance and all: another one was made anew."""
    return {str(path.relative_to(runs)): store.file_checksum(path) for path in runs.rglob("result.json")}


def steps_begun(runs: Path) -> list[str]:
    """The steps that the present start of a batch has begun so far, as its log says."""
    return [line.split("STEP ", 1)[1] for path in (runs / "batch").glob("*/log.txt")
            for line in path.read_text(errors="replace").splitlines() if "STEP " in line]


def disturb(home: Path, runs: Path, *, kills: int, span: float, seed: int = 0,
            seconds: float = 5400) -> dict[str, Any]:
    """Run a batch to its end, killing it `kills` times at moments of up to `span` seconds after its first step begins.

    Raises:
        RuntimeError: a start after a kill failed, or everything took too long.
    """
    drawn, moments, repeated, killed, begun = random.Random(seed), [], set(), 0, time.monotonic()
    starting = 5.0  # seconds until the first step, as the last start had it
    while True:
        before = finished(runs)
        for log in (runs / "batch").glob("*/log.txt"):
            log.unlink()  # so that what it says is of this start
        process, started = begin_batch(home, runs, "--cores", "2"), time.monotonic()
        early, share = drawn.random() < EARLY, drawn.random()
        first = None
        while process.poll() is None and time.monotonic() - begun < seconds:
            now = time.monotonic()
            if first is None and steps_begun(runs):
                first, starting = now, now - started
            due = now - started > share * starting if early else first is not None and now - first > share * span
            if len(moments) < kills and due:
                killed += kill_all(process)
                moments.append({"after": round(now - started, 2), "during": steps_begun(runs)[-2:]})
                break
            time.sleep(0.02)
        if process.poll() is None:
            kill_all(process)
            raise RuntimeError(f"not finished after {seconds:.0f} s and {len(moments)} kills")
        after = finished(runs)
        repeated |= {name for name, checksum in before.items() if after.get(name) != checksum}
        if process.returncode == 0:
            break
        if process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"a start after {len(moments)} kills ended with {process.returncode}:\n"
                               f"{(runs / 'printed.txt').read_text()[-1500:]}")
    return {"kills": len(moments), "processes_killed": killed, "made_again": sorted(repeated), "moments": moments,
            "seconds": round(time.monotonic() - begun, 1)}


def epochs_done(runs: Path) -> int:
    """Epochs in all finished results."""
    return sum(len(json.loads(path.read_text())["history"]) for path in runs.rglob("result.json"))


def measure(home: Path, folder: Path, *, kills: int, seed: int = 0,
            options: Sequence[str] = ("--cores", "2")) -> dict[str, Any]:
    """The undisturbed batch of a pack, with `options`, the disturbed one, and in what they differ."""
    begun = time.monotonic()
    process, first = begin_batch(home, folder / "undisturbed", *options), None
    while process.poll() is None:
        if first is None and steps_begun(folder / "undisturbed"):
            first = time.monotonic()
        time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"the batch failed:\n{(folder / 'undisturbed' / 'printed.txt').read_text()[-1500:]}")
    work = time.monotonic() - (first or begun)
    found = disturb(home, folder / "disturbed", kills=kills, span=1.2 * work / kills, seed=seed)
    return {"seed": seed, "steps": len(list((folder / "undisturbed/batch").glob("*/done/**/*.done"))), **found,
            "seconds_undisturbed": round(time.monotonic() - begun - found["seconds"], 1),
            "epochs": [epochs_done(folder / name) for name in ("undisturbed", "disturbed")],
            "compared": len(compared(folder / "undisturbed")),
            "differing": differing(folder / "undisturbed", folder / "disturbed")}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--notebooks", nargs="+", default=[], help="only these and the trainings behind them")
    parser.add_argument("--folder", type=Path, help="an empty folder; by default a temporary one, removed again")
    parser.add_argument("--json", action="store_true", help="write the result file, too")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="mde-kills"))
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(part_of_pack(folder.resolve() / "pack", chosen.notebooks), folder.resolve(), kills=chosen.kills,
                    seed=chosen.seed)
    found = {"notebooks": chosen.notebooks, **found}
    if chosen.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=1))
    if chosen.json:
        path = store.results_root() / "scenes-rooms-smoke" / "kills.json"
        store.atomic_write(path, json.dumps({**found, **stamp()}, indent=1) + "\n")
    sys.exit(bool(found["differing"] or found["made_again"] or found["kills"] < chosen.kills))


if __name__ == "__main__":
    main()
