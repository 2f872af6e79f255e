"""What all timings share: contests of one thing computed in several ways, beside each other in one process.

A contest first shows that all ways give the same result. Then they take turns, on one thread and on all: seconds of
the processor (all threads together, which other programs disturb little) and seconds on the clock, the least and the
median of the rounds. What a way holds is the most memory that a fresh process of its own ever had, less what it had
before the inputs were made: whatever allocates is seen, torch, NumPy or C.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import multiprocessing
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import psutil
import torch

from mdelib.complexity import ratio_interval, time_in_turns

PEERS = Path(os.environ.get("MDE_PEERS", Path(sys.prefix) / "peers"))  # where `make bench` puts them
SECONDS = 4.0  # of processor time for the rounds of one contest at one number of threads, if three take less
MIB = 2**20


@dataclass(frozen=True)
class Contest:
    """One thing computed in several ways.

    Attributes:
        title: of the row. what: sizes and conventions, in words.
        calls: way -> what is timed; the first one is ours.
        differences: -> way -> how far its result is from ours, relative to its largest entry.
        tolerance: that no difference may exceed. looser: way -> another one, for a peer that stops earlier.
        asked: way -> how many times our processor seconds it should take at least; 1 where nothing is said.
        why: way -> the reason where we are not ahead.
        missing: peers that are not installed.
    """

    title: str
    what: str
    calls: Mapping[str, Callable[[], Any]]
    differences: Callable[[], Mapping[str, float]]
    tolerance: float = 1e-5
    looser: Mapping[str, float] = field(default_factory=dict)
    asked: Mapping[str, float] = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)
    missing: Sequence[str] = ()


@dataclass(frozen=True)
class Reading:
    """One measured number that has no peer.

    Attributes:
        title: of the row. what: sizes and conventions, in words. value, unit: what came out.
        at_most: the largest value that was asked for, or None.
    """

    title: str
    what: str
    value: float
    unit: str
    at_most: float | None = None


def peer(name: str) -> ModuleType | None:
    """An optional package, or None; those of `PEERS` come after all others."""
    if str(PEERS) not in sys.path:
        sys.path.append(str(PEERS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # at the import of other people's packages
        try:
            return importlib.import_module(name)
        except ImportError:
            return None


def apart(value: Any, reference: Any) -> float:
    """The largest difference of two results, relative to the largest entry of the reference."""
    one, other = (np.asarray(v.detach() if isinstance(v, torch.Tensor) else v, float) for v in (value, reference))
    assert one.shape == other.shape, f"results of shapes {one.shape} and {other.shape} cannot be equal"
    assert (np.isnan(one) == np.isnan(other)).all(), "one result is NaN where the other is not"
    return float(np.nanmax(np.abs(one - other)) / max(np.nanmax(np.abs(other)), np.finfo(float).tiny))


def same_results(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """`Contest.differences` where the timed calls return the results themselves."""
    ours, *others = calls
    reference = calls[ours]()
    return {name: apart(calls[name](), reference) for name in others}


def all_cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()


def both_clocks() -> np.ndarray:
    """Seconds of the processor and on the clock, after all work of a GPU."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return np.array([time.process_time(), time.perf_counter()])


def timed(calls: Mapping[str, Callable[[], Any]], rounds: int | None = None) -> dict[str, np.ndarray]:
    """Way -> (R, 2) seconds of the processor and on the clock, one row a round; by default 3 to 15 rounds."""
    began = time.process_time()
    for call in calls.values():
        call()
    once = max(time.process_time() - began, 1e-6)
    chosen = rounds or int(min(15, max(3, SECONDS / once)))
    return {name: np.array(turns)
            for name, turns in time_in_turns(calls, rounds=chosen, warm_up=0, clock=both_clocks).items()}


def held(module: str, name: str, way: str, sizes: Mapping[str, Mapping[str, Any]], scale: str) -> float:
    """MiB that one way holds at most with its inputs, measured in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch", "mdelib.attribution", "mdelib.fidelity", "mdelib.train"])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_hold, module, name, way, dict(sizes["tiny"]), dict(sizes[scale])).result()


def _hold(module: str, name: str, way: str, tiny: dict[str, Any], full: dict[str, Any]) -> float:
    torch.set_num_threads(1)
    build = importlib.import_module(module).CONTESTS[name]
    build(**tiny).calls[way]()  # what is loaded at the first use is not counted
    on_gpu = str(full.get("device", "cpu")) != "cpu"
    before = torch.cuda.memory_allocated() if on_gpu else psutil.Process().memory_info().rss
    build(**full).calls[way]()
    unit = 1 if sys.platform == "darwin" else 1024
    most = torch.cuda.max_memory_allocated() if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return max(0.0, (most - before) / MIB)


def measure(module: str, name: str, scale: str, *, threads: Sequence[int] | None = None, rounds: int | None = None,
            memory: bool = True, **changes: Any) -> dict[str, Any]:
    """One contest: agreement, then times, then memory.

    Args:
        module, name: of the script and of its contest. scale: a key of the script's SIZES.
        threads: by default one, and all. rounds: by default as many as `SECONDS` allow.
        changes: of the sizes.

    Raises:
        AssertionError: results that are not the same.
    """
    script = importlib.import_module(module)
    sizes = {**script.SIZES, scale: {**script.SIZES[scale], **changes}}
    contest = script.CONTESTS[name](**sizes[scale])
    apart = dict(contest.differences())
    for way, difference in apart.items():
        allowed = contest.looser.get(way, contest.tolerance)
        assert difference <= allowed, f"{contest.title}: {way} is {difference:.1e} off ours"
    before = torch.get_num_threads()
    ways: dict[str, Any] = {way: {"differs": apart.get(way)} for way in contest.calls}
    try:
        for count in threads or sorted({1, all_cores()}):
            torch.set_num_threads(count)
            turns = timed(contest.calls, rounds)
            ours = next(iter(turns))
            for way, seconds in turns.items():
                ways[way][f"threads_{count}"] = {
                    "cpu_s": short(seconds[:, 0].min()), "cpu_median_s": short(np.median(seconds[:, 0])),
                    "wall_s": short(seconds[:, 1].min()), "wall_median_s": short(np.median(seconds[:, 1])),
                    "rounds": len(seconds)}
                if way != ours:
                    middle, (low, high) = ratio_interval(seconds[:, 0], turns[ours][:, 0])
                    ways[way][f"threads_{count}"] |= {"times": short(middle), "low": short(low), "high": short(high)}
    finally:
        torch.set_num_threads(before)
    found = {"contest": f"{module}.{name}", "title": contest.title, "what": contest.what,
             "asked": {way: contest.asked.get(way, 1.0) for way in list(ways)[1:]}, "why": dict(contest.why),
             "missing": list(contest.missing), "ways": ways}
    del contest  # and with it the inputs
    if memory:
        for way in ways:
            ways[way]["memory_mib"] = short(held(module, name, way, sizes, scale))
    return found


def short(value: float) -> float:
    """Four digits."""
    return float(f"{float(value):.4g}")


def names(script: ModuleType) -> list[str]:
    """The contests and readings of a script."""
    return [*getattr(script, "CONTESTS", {}), *getattr(script, "READINGS", {})]


def read(module: str, name: str, scale: str, **changes: Any) -> dict[str, Any]:
    """One reading of a script, on one thread."""
    script, before = importlib.import_module(module), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = script.READINGS[name](**{**script.SIZES[scale], **changes})
    finally:
        torch.set_num_threads(before)
    return {"reading": f"{module}.{name}", **asdict(found), "value": short(found.value)}


def print_found(found: Mapping[str, Any]) -> None:
    """A contest as a table, or a reading as a line."""
    if "reading" in found:
        limit = "" if found["at_most"] is None else f" (asked: at most {found['at_most']:g})"
        print(f"{found['title']}, {found['what']}: {found['value']:g} {found['unit']}{limit}", flush=True)
        return
    print(f"{found['title']}: {found['what']}")
    for way, row in found["ways"].items():
        parts = [f"  {way:34}"]
        for key, seconds in row.items():
            if key.startswith("threads_"):
                times = f"{seconds['times']:7.2f}x" if "times" in seconds else " " * 8
                parts.append(f"{key[8:]} thread(s) {1e3 * seconds['cpu_s']:9.1f} ms CPU {times} "
                             f"{1e3 * seconds['wall_s']:9.1f} ms clock |")
        parts.append(f"{row.get('memory_mib', float('nan')):8.1f} MiB"
                     + (f"  differs {row['differs']:.1e}" if row["differs"] is not None else ""))
        print(" ".join(parts), flush=True)
    for name in found["missing"]:
        print(f"  left out: {name} is not installed (`make bench` installs it)")


def main(module: str, text: str) -> None:
    """The command line of a script of contests."""
    script = importlib.import_module(module)
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=script.SIZES, default="full")
    parser.add_argument("--only", nargs="+", choices=names(script), default=names(script))
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="other sizes, for example bins=64")
    parser.add_argument("--threads", type=int, nargs="+", help="by default one, and one for each core")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    chosen = parser.parse_args()
    changes = {name: _value(value) for name, _, value in (change.partition("=") for change in chosen.set)}
    found = []
    for name in chosen.only:
        if name in getattr(script, "READINGS", {}):
            found.append(read(module, name, chosen.scale, **changes))
        else:
            found.append(measure(module, name, chosen.scale, threads=chosen.threads, rounds=chosen.rounds, **changes))
        if not chosen.json:
            print_found(found[-1])
    if chosen.json:
        print(json.dumps(found, indent=1))


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
