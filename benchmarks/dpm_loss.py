"""How long the divergence of depth probability maps takes, and what it holds: fused, and with both maps made first.

    python benchmarks/dpm_loss.py [--batch 2] [--size 352 704] [--bins 257] [--sigma 0.8] [--rounds 3]
                                  [--threads 1 2] [--device cpu] [--json]

Loss and gradient by the student's logits, float32, in turns. On a CPU these are processor seconds (all threads
together), and beside them seconds on the clock; on a GPU seconds on the clock. "as coded" restates what TIE-KD's code
computes; the other rows make both maps with this library. Before anything is timed, values and gradients are compared
on a part of the image. What is held is measured in a process of its own: the most memory that it ever had, less what
it had before the logits were made. The default size is the paper's, where making both maps takes some 5 GB.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable

import psutil
import torch
from torch import Tensor

from mdelib.complexity import ratio_interval, time_in_turns
from mdelib.distill import bin_centres, depth_bins, depth_probability_map, dpm_loss, fused_dpm_loss

CODE = {"mass": "density", "normalize": "softmax", "direction": "teacher_student"}
PAPER = {"mass": "integral", "normalize": "softmax", "direction": "student_teacher"}
ROWS = {"the code, as coded": CODE, "the code": CODE, "the paper": PAPER,
        "linear, KL(T || S)": {**CODE, "mass": "integral", "normalize": "linear"},
        "linear, KL(S || T)": {**PAPER, "normalize": "linear"}}


def as_coded(logits: Tensor, depth: Tensor, edges: Tensor, sigma: float) -> Tensor:
    """The loss of TIE-KD's code, restated: density at the centres, softmax, and a divergence with 1e-7 inside."""
    student = logits.softmax(1)
    centres = bin_centres(edges).to(logits)[:, None, None]
    density = torch.exp(-(centres - depth).square() / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))
    teacher = torch.where(density < 1e-16, -1000.0, density).softmax(1)
    terms = teacher * (teacher / (student + 1e-7) + 1e-7).log()
    return torch.where(student != 0, terms, 0.0).sum(1).mean()


def both_maps(row: str) -> Callable[[Tensor, Tensor, Tensor, float], Tensor]:
    """The loss of a row with both maps made first."""
    if row == "the code, as coded":
        return as_coded
    made, direction = {k: v for k, v in ROWS[row].items() if k != "direction"}, ROWS[row]["direction"]
    return lambda logits, depth, edges, sigma: dpm_loss(
        logits.softmax(1), depth_probability_map(depth, edges, sigma, **made), direction=direction)


def fused(row: str) -> Callable[[Tensor, Tensor, Tensor, float], Tensor]:
    """The same from the logits."""
    return lambda logits, depth, edges, sigma: fused_dpm_loss(logits, depth, edges, sigma, **ROWS[row])


def example(batch: int, bins: int, size: tuple[int, int], device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (B, K, H, W), a teacher's depth from 1 to 79 m, every pixel another, and the edges of the bins."""
    generator = torch.Generator(device).manual_seed(0)
    logits = torch.randn(batch, bins, *size, generator=generator, device=device).requires_grad_()
    depth = 1 + 78 * torch.rand(batch, 1, *size, generator=generator, device=device)
    return logits, depth, depth_bins(bins)


def step(loss: Callable[[Tensor, Tensor, Tensor, float], Tensor], logits: Tensor, depth: Tensor, edges: Tensor,
         sigma: float) -> Tensor:
    """Forward and backward; the gradient is then in ``logits.grad``."""
    logits.grad = None
    value = loss(logits, depth, edges, sigma)
    value.backward()
    return value.detach()


def differences(row: str, sigma: float, bins: int, device: str) -> tuple[float, float]:
    """Relative difference of the value and of the gradient (by its largest entry) between the two ways."""
    logits, depth, edges = example(1, bins, (32, 64), device)
    value = step(both_maps(row), logits, depth, edges, sigma)
    gradient = logits.grad
    other = step(fused(row), logits, depth, edges, sigma)
    return (float((other / value - 1).abs()),
            float((logits.grad - gradient).abs().max() / gradient.abs().max()))


def timed(row: str, example: tuple[Tensor, Tensor, Tensor], sigma: float, rounds: int) -> dict[str, float | str]:
    """Both ways of a row, in turns."""
    on_gpu = example[0].is_cuda
    walls: dict[str, list[float]] = {"maps": [], "fused": []}

    def call(name: str, loss: Callable[..., Tensor]) -> None:
        began = time.perf_counter()
        step(loss, *example, sigma)
        if on_gpu:
            torch.cuda.synchronize()
        walls[name].append(time.perf_counter() - began)

    losses = {"maps": both_maps(row), "fused": fused(row)}
    turns = time_in_turns({name: (lambda name=name, loss=loss: call(name, loss)) for name, loss in losses.items()},
                          rounds=rounds, clock=time.perf_counter if on_gpu else time.process_time)
    example[0].grad = None
    ratio, (low, high) = ratio_interval(turns["maps"], turns["fused"])
    return {"row": row, "threads": torch.get_num_threads(), "maps_s": min(turns["maps"]),
            "fused_s": min(turns["fused"]), "times": ratio, "low": low, "high": high,
            "maps_wall_s": min(walls["maps"][1:]), "fused_wall_s": min(walls["fused"][1:])}


def held(way: str, row: str, chosen: argparse.Namespace) -> float:
    """The most memory a process of its own has for logits and one step, in sizes of the logits."""
    command = [sys.executable, __file__, "--hold", way, row, "--batch", str(chosen.batch), "--bins", str(chosen.bins),
               "--size", *map(str, chosen.size), "--sigma", str(chosen.sigma), "--device", chosen.device]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def hold(way: str, row: str, chosen: argparse.Namespace) -> float:
    """What `held` asks for, measured in here."""
    import resource  # not on Windows

    on_gpu = chosen.device != "cpu"
    loss = {"maps": both_maps, "fused": fused}[way](row)
    step(loss, *example(1, 16, (8, 8), chosen.device), 8.0)  # what is loaded at the first use is not counted
    before = torch.cuda.memory_allocated() if on_gpu else psutil.Process().memory_info().rss
    inputs = example(chosen.batch, chosen.bins, tuple(chosen.size), chosen.device)
    step(loss, *inputs, chosen.sigma)
    unit = 1 if sys.platform == "darwin" else 1024
    most = (torch.cuda.max_memory_allocated() if on_gpu
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
    return (most - before) / (inputs[0].numel() * inputs[0].element_size())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--size", type=int, nargs=2, default=(352, 704), metavar=("H", "W"))
    parser.add_argument("--bins", type=int, default=257)
    parser.add_argument("--sigma", type=float, default=0.8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", help="by default one, and one for each core")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS)[:3])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--hold", nargs=2, metavar=("WAY", "ROW"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.hold:
        print(hold(*chosen.hold, chosen))
        return
    rows = []
    for row in chosen.rows:
        value, gradient = differences(row, chosen.sigma, chosen.bins, chosen.device)
        if row != "the code, as coded":  # whose 1e-7 is not ours
            assert max(value, gradient) < 1e-5, f"{row}: value differs by {value:.1e}, gradient by {gradient:.1e}"
        memory = {f"{way}_held": held(way, row, chosen) for way in ("maps", "fused")}
        rows.append({"row": row, "value_differs": value, "gradient_differs": gradient, **memory})
    inputs = example(chosen.batch, chosen.bins, tuple(chosen.size), chosen.device)
    cores = psutil.cpu_count() if not hasattr(os, "sched_getaffinity") else len(os.sched_getaffinity(0))
    times = []
    for threads in chosen.threads or sorted({1, cores}):
        torch.set_num_threads(threads)
        times += [timed(row, inputs, chosen.sigma, chosen.rounds) for row in chosen.rows]
    shape = f"{chosen.batch}x{chosen.bins}x{chosen.size[0]}x{chosen.size[1]}"
    if chosen.json:
        print(json.dumps({"settings": {k: v for k, v in vars(chosen).items() if k not in ("json", "hold")},
                          "torch": torch.__version__, "agreement_and_memory": rows, "times": times}, indent=1))
        return
    print(f"logits {shape}, sigma {chosen.sigma:g} m, {chosen.device}, torch {torch.__version__}; times: both maps "
          "over fused, from low to high the middle half of the rounds; held: in sizes of the logits, which are one")
    print(f"{'':22}{'value differs':>15}{'gradient':>11}{'maps hold':>12}{'fused':>9}")
    for row in rows:
        print(f"{row['row']:22}{row['value_differs']:15.1e}{row['gradient_differs']:11.1e}{row['maps_held']:12.2f}"
              f"{row['fused_held']:9.2f}")
    print(f"{'':22}{'threads':>8}{'maps CPU s':>12}{'fused':>8}{'times':>8}{'low':>7}{'high':>7}{'maps clock s':>14}"
          f"{'fused':>8}")
    for row in times:
        print(f"{row['row']:22}{row['threads']:8d}{row['maps_s']:12.2f}{row['fused_s']:8.2f}{row['times']:8.1f}"
              f"{row['low']:7.1f}{row['high']:7.1f}{row['maps_wall_s']:14.2f}{row['fused_wall_s']:8.2f}")


if __name__ == "__main__":
    main()
