"""A progress bar with the time left, read from Snakemake's log while it is written."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

__all__ = ["events", "follow"]


def follow(process: subprocess.Popen, log: Path, seconds: Mapping[str, float], console: Console, *,
           workers: int) -> None:
    """Show what runs and how long it may take, until `process` ends (lines where there is no terminal).

    Args:
        process: Snakemake, which writes to `log`.
        seconds: step -> what it is expected to cost, for the steps that have to run.
        console: where to show it.
        workers: steps that run side by side.
    """
    total = sum(seconds.values()) or 1.0
    running: dict[str, float] = {}
    done = 0.0
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=total, left="")
        for event, name in events(process, log):
            now = time.perf_counter()
            if event == "ends":
                done += seconds.get(name, 0.0)
                running.pop(name, None)
            spent = done + sum(min(now - begun, seconds.get(step, 0.0)) for step, begun in running.items())
            left = max(total - spent, 0.0) / workers
            if event == "begins":
                running[name] = now
                if not console.is_terminal:
                    console.print(f"{name} ... ({_words(left)})", highlight=False)
            now_running = ", ".join(running) or "waiting"
            bar.update(task, completed=min(spent, total), left=_words(left), description=now_running)
        if process.returncode == 0:
            bar.update(task, completed=total, description="finished", left="")


def _words(seconds: float) -> str:
    if seconds < 90:
        return f"about {seconds:.0f} s left"
    return f"about {seconds / 60:.0f} min left" if seconds < 5400 else f"about {seconds / 3600:.1f} h left"


def events(process: subprocess.Popen, log: Path, pause: float = 0.3) -> Iterator[tuple[str, str]]:
    """What the log says as it grows: ("begins" or "ends", step), and ("tick", "") while nothing happens.

    Every rule's message begins with ``STEP``, followed by the rule and the step's name; the step's number follows
    in a line ``jobid: N``, and its end is ``Finished jobid: N``.
    """
    names: dict[str, str] = {}
    latest = ""
    with log.open() as lines:
        while True:
            ended = process.poll() is not None
            line = lines.readline()
            if not line:
                if ended:
                    return
                time.sleep(pause)
                yield "tick", ""
            elif match := re.search(r"STEP (\w+ \S+)", line):
                latest = match[1]
                yield "begins", latest
            elif match := re.search(r"^\s+jobid: (\d+)", line):
                names[match[1]] = latest
            elif match := re.search(r"Finished jobid: (\d+)", line):
                yield "ends", names.get(match[1], "")
