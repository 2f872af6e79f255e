"""All contests of this folder in one process, and what each cost grows with: what `make bench` runs.

    python benchmarks/bench.py [--quick] [--only dpm_loss ssim ...] [--json]

`--json` writes results/scenes-rooms-lab/bench.json and docs/growth.png, from which `mde readme` renders the README's
table. `--quick` takes small sizes and one round, for a laptop that has other things to do.
"""

from __future__ import annotations

import argparse
import importlib
import os
import time
from typing import Any

from _timing import SECONDS, all_cores, measure, names, print_found, read
from growth import draw, measure_growth, save

from mdelib.measured import BENCH, keep, recall
from mdelib.provenance import find_home, installed

SCRIPTS = ("dpm_loss", "response_table", "transport_loss", "ssim", "integrated_gradients", "perturbation_curve",
           "depth_errors", "training_step", "rendering", "notebook")
PEERS = ("captum", "geomloss", "kornia", "POT", "pytorch-msssim", "quantus", "torchmetrics")


def run(scripts: tuple[str, ...], scale: str, **options: Any) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Contests and readings of the scripts, printed as they come."""
    contests, readings = [], []
    for module in scripts:
        script = importlib.import_module(module)
        for name in names(script):
            if name in getattr(script, "READINGS", {}):
                readings.append(read(module, name, scale))
                print_found(readings[-1])
            else:
                contests.append(measure(module, name, scale, **options))
                print_found(contests[-1])
    return contests, readings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=SCRIPTS, default=SCRIPTS)
    parser.add_argument("--json", action="store_true", help="write the result file and the figure, too")
    chosen = parser.parse_args()
    scale, began, load = "quick" if chosen.quick else "full", time.perf_counter(), os.getloadavg()[1]
    contests, readings = run(tuple(chosen.only), scale, rounds=1 if chosen.quick else None)
    growth = measure_growth(scale)
    for series in growth:
        print(f"{series['title']} grows with {series['axis']} to the power of {series['exponent']:.2f}")
    missing = sorted({name for one in contests for name in one["missing"]})
    if missing:
        print(f"Left out, for want of {' and '.join(missing)}: `make bench` installs them where there is a network.")
    minutes = (time.perf_counter() - began) / 60
    print(f"{minutes:.1f} minutes, load {(load + os.getloadavg()[1]) / 2:.1f} on {all_cores()} cores")
    if chosen.json and not chosen.quick and tuple(chosen.only) == SCRIPTS:
        content = {"contests": contests, "readings": readings, "growth": growth, "scale": scale,
                   "seconds_a_contest": SECONDS, "minutes": round(minutes, 1),
                   "load": round((load + os.getloadavg()[1]) / 2, 1), "peers": installed(PEERS)}
        keep(BENCH, content)
        save(draw(growth), find_home() / "docs" / "growth.png", recall(BENCH)["made"])
    elif chosen.json:
        raise SystemExit("a result file is of all contests at full size: leave --quick and --only out")


if __name__ == "__main__":
    main()
