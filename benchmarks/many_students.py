"""How many students a second are trained: one after another, and many at once.

    python benchmarks/many_students.py [--students 8] [--size 48 64] [--batch 8] [--steps 2] [--rounds 3]
                                       [--device cpu] [--precision 32-true] [--json]

One epoch of TIE-KD's small student on images of noise, whose σ differs from student to student; both ways in turns,
seconds on the clock. Before anything is timed, the losses of both ways are compared. On a CPU, which one student
fills, no gain is to be expected; `mdelib.distill.many` is for GPUs.
"""

from __future__ import annotations

import argparse
import json
import time
from copy import deepcopy

import torch

from mdelib.complexity import ratio_interval, time_in_turns
from mdelib.data.base import DepthBatch
from mdelib.distill.many import fit_many
from mdelib.distill.training import StudentTraining
from mdelib.models import create_model
from mdelib.train import TrainSettings, fit


def students(count: int) -> list[StudentTraining]:
    """Students with the same first weights and different σ."""
    torch.manual_seed(0)
    first = create_model("densedepth_mobilenetv2")
    return [StudentTraining(deepcopy(first), "tie_kd", sigma=0.1 + 1.4 * place / max(1, count - 1))
            for place in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", type=int, default=8)
    parser.add_argument("--size", type=int, nargs=2, default=(48, 64), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args()
    count = chosen.batch * chosen.steps
    generator = torch.Generator().manual_seed(0)
    depth = 1 + 6 * torch.rand(count, 1, *chosen.size, generator=generator)
    views = DepthBatch(tuple(map(str, range(count))), torch.rand(count, 3, *chosen.size, generator=generator), depth,
                       depth > 0)
    settings = TrainSettings(epochs=1, batch=chosen.batch, precision=chosen.precision)

    def in_turn() -> list[float]:
        return [fit(one, views, one.loss, settings, device=chosen.device)[0]["loss"]
                for one in students(chosen.students)]

    def at_once() -> list[float]:
        group = students(chosen.students)
        found = fit_many(group, [views], [one.loss for one in group], settings, device=chosen.device)
        return [history[0]["loss"] for history in found]

    apart = max(abs(one / other - 1) for one, other in zip(in_turn(), at_once(), strict=True))
    limit = 1e-3 if chosen.precision == "32-true" else 0.05
    assert apart < limit, f"the losses of both ways differ by {apart:.1e}"
    seconds = time_in_turns({"in turn": in_turn, "at once": at_once}, rounds=chosen.rounds, clock=time.perf_counter)
    ratio, (low, high) = ratio_interval(seconds["in turn"], seconds["at once"])
    rates = {name: chosen.students * chosen.steps / min(values) for name, values in seconds.items()}
    if chosen.json:
        print(json.dumps({"settings": vars(chosen), "torch": torch.__version__, "losses_differ": apart,
                          "steps_a_second": rates, "times": ratio, "low": low, "high": high}, indent=1))
        return
    print(f"{chosen.students} students, {chosen.steps} steps of {chosen.batch} images {chosen.size[0]} x "
          f"{chosen.size[1]}, {chosen.device}, {chosen.precision}, torch {torch.__version__}; losses differ by "
          f"{apart:.1e}")
    print(f"steps a second, all students together: in turn {rates['in turn']:.1f}, at once {rates['at once']:.1f}; "
          f"{ratio:.2f} times (middle half of the rounds {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
