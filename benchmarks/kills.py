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
from mdelib.measured import KILLS, keep
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


def log_lines(runs: Path, words: str) -> list[str]:
    """The lines with certain words in the log of the present start of a batch."""
    return [line for path in (runs / "batch").glob("*/log.txt")
            for line in path.read_text(errors="replace").splitlines() if words in line]


def disturb(home: Path, runs: Path, *, kills: int, seed: int = 0, most: float = 3, pause: float = 1.0,
            seconds: float = 7200) -> dict[str, Any]:
    """Run a batch to its end, killing it `kills` times.

    When a start is killed is drawn: after how many of its steps have ended, fewer than `most`, and how long after
    that, up to `pause` times what it took to come to the first step; or, for some, at a moment before its first step.
    So the kills are spread over the batch, however quick or busy the machine is.

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
        early, steps, share = drawn.random() < EARLY, int(most * drawn.random()), drawn.random()
        first = since = None
        while process.poll() is None and time.monotonic() - begun < seconds:
            now = time.monotonic()
            if first is None and log_lines(runs, "STEP "):
                first, starting = now, now - started
            if since is None and first is not None and len(log_lines(runs, "Finished jobid")) >= steps:
                since = now
            waited = now - started if early else now - since if since is not None else -1.0
            due = waited > share * starting * (1.0 if early else pause)
            if len(moments) < kills and due:
                killed += kill_all(process)
                moments.append({"after": round(now - started, 2), "results": len(finished(runs)), "during": [
                    line.split("STEP ", 1)[1] for line in log_lines(runs, "STEP ")[-2:]]})
                print(f"kill {len(moments)}: {moments[-1]}", file=sys.stderr, flush=True)
                break
            time.sleep(0.05)
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
            options: Sequence[str] = ("--cores", "2"), pause: float = 1.0) -> dict[str, Any]:
    """The undisturbed batch of a pack, with `options` (or the one that is there), the disturbed one, and in what they
    differ."""
    whole, taken = folder / "undisturbed", None
    if not list((whole / "report").glob("*/index.html")):
        begun = time.monotonic()
        if begin_batch(home, whole, *options).wait():
            raise RuntimeError(f"the batch failed:\n{(whole / 'printed.txt').read_text()[-1500:]}")
        taken = round(time.monotonic() - begun, 1)
    total = len(list((whole / "batch").glob("*/done/**/*.done")))
    most = min(1.4 * total / max(kills, 1), 0.35 * total)  # all kills come before the end
    found = disturb(home, folder / "disturbed", kills=kills, seed=seed, most=most, pause=pause)
    return {"seed": seed, "steps": total, **found, "seconds_undisturbed": taken,
            "epochs": [epochs_done(folder / name) for name in ("undisturbed", "disturbed")],
            "compared": len(compared(folder / "undisturbed")),
            "differing": differing(folder / "undisturbed", folder / "disturbed")}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--notebooks", nargs="+", default=[], help="only these and the trainings behind them")
    parser.add_argument("--folder", type=Path, help="where the batches are kept (an undisturbed one is taken from "
                        "there); by default a temporary folder, removed again")
    parser.add_argument("--json", action="store_true", help="write the result file, too")
    chosen = parser.parse_args(arguments)
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="mde-kills"))
    folder.mkdir(parents=True, exist_ok=True)
    home = folder.resolve() / "pack"
    if not home.exists():
        part_of_pack(home, chosen.notebooks)
    found = {"notebooks": chosen.notebooks,
             **measure(home, folder.resolve(), kills=chosen.kills, seed=chosen.seed)}
    if chosen.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=1))
    if chosen.json:
        keep(KILLS, found)
    sys.exit(bool(found["differing"] or found["made_again"] or found["kills"] < chosen.kills))


if __name__ == "__main__":
    main()
