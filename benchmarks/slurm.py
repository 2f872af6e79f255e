"""The batch on a real Slurm with two nodes, one of which is lost in the middle: it ends complete and equal.

    python benchmarks/slurm.py [--notebooks 02 07] [--folder FOLDER] [--json]

Needs root and Debian's packages slurm-wlm and munge, and `pip install 'mdelib[cluster]'`. A controller and two node
daemons with one core and one (pretended) GPU each are started on this machine and stopped again; where another
/etc/slurm/slurm.conf lies, nothing is touched. A true part of the smoke batch, the trainings behind some notebooks and
those notebooks, runs once locally and once on this cluster, through the profile that people use. When a node trains,
its daemon and everything on it are killed as in a power cut. `--json` writes results/scenes-rooms-smoke/slurm.json.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mdelib.measured import SLURM, keep
from mdelib.rehearsal import begin_batch, compared, differing, part_of_pack

CONFIG = Path("/etc/slurm/slurm.conf")
MARK = "# Written by benchmarks/slurm.py of the mdelib pack, which removes it again."
NODES = ("mde1", "mde2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
OPTIONS = ("--slurm-no-account", "--slurm-status-command", "squeue",  # there is no accounting
           "--slurm-init-seconds-before-status-checks", "3", "--latency-wait", "10")
TEXT = """\
{mark}
ClusterName=mdelib
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=26817
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
SlurmdTimeout=15
ReturnToService=0
GresTypes=gpu
{nodes}
PartitionName=batch Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def missing() -> str | None:
    """Why there can be no cluster here, in words; None where there can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    absent = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    if absent:
        return f"{', '.join(absent)} not found: apt-get install slurm-wlm munge"
    if importlib.util.find_spec("snakemake_executor_plugin_slurm") is None:
        return "Snakemake's Slurm executor is not installed: pip install 'mdelib[cluster]'"
    if os.geteuid() != 0:
        return "node daemons that start jobs need root"
    if CONFIG.exists() and not CONFIG.read_text().startswith(MARK):
        return f"{CONFIG} is somebody's own: this machine belongs to a real cluster, which is left alone"
    return None


class Cluster:
    """A controller and two node daemons on this machine.

    Raises:
        RuntimeError: there can be no cluster here, or it does not come up; the message says why.
    """

    def __init__(self, folder: Path) -> None:
        if (why := missing()) is not None:
            raise RuntimeError(why)
        self.folder, self.daemons = folder, {}
        self.seen: dict[str, dict[str, str]] = {}  # job -> what it did last, and all nodes it was on

    def __enter__(self) -> Cluster:
        if self.ask("sinfo", "-h"):
            raise RuntimeError("a controller answers on this machine: there is one already")
        host = socket.gethostname()
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        (self.folder / "munge.key").write_bytes(os.urandom(1024))
        (self.folder / "munge.key").chmod(0o600)
        lines = [f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={27001 + place} CPUs=1 RealMemory=8000 "
                 "Gres=gpu:1" for place, node in enumerate(NODES)]
        CONFIG.parent.mkdir(parents=True, exist_ok=True)
        CONFIG.write_text(TEXT.format(mark=MARK, host=host, folder=self.folder, nodes="\n".join(lines)))
        CONFIG.with_name("gres.conf").write_text(MARK + "\n" + "".join(
            f"NodeName={node} Name=gpu File=/dev/{device}\n"
            for node, device in zip(NODES, ("null", "zero"), strict=True)))
        try:
            self._start("munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket",
                        f"--key-file={self.folder}/munge.key", f"--pid-file={self.folder}/munged.pid",
                        f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munge.seed")
            _until(lambda: (self.folder / "munge.socket").exists(), "munged does not answer")
            self._start("slurmctld", "-D", "-c")
            for node in NODES:
                self._start("slurmd", "-D", "-N", node)
            _until(lambda: self.ask("sinfo", "-h", "-N", "-o", "%t").split() == ["idle"] * len(NODES),
                   f"the nodes do not come up, see {self.folder}", seconds=60)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if "slurmctld" in self.daemons:
            self.ask("scancel", "--full", "-u", "root")
        for node in NODES:
            self._end_jobs(list(self.seen), node)
        for daemon in reversed(self.daemons.values()):
            daemon.terminate()
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        for path in (CONFIG, CONFIG.with_name("gres.conf")):
            path.unlink(missing_ok=True)

    def _start(self, program: str, *options: str) -> None:
        name = f"{program} {options[-1]}" if program == "slurmd" else program
        with (self.folder / f"{name.replace(' ', '-')}.out").open("w") as out:
            self.daemons[name] = subprocess.Popen(
                [shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin"), *options], stdout=out, stderr=out,
                env={**os.environ, "SLURM_CONF": str(CONFIG)})

    def ask(self, *command: str) -> str:
        """What one of Slurm's commands prints; nothing where it fails."""
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stdout if done.returncode == 0 else ""

    def look(self) -> list[dict[str, str]]:
        """The jobs that are running now: id, node, state, and the step in the executor's words."""
        running = []
        for line in self.ask("squeue", "-h", "--states=all", "-o", "%A|%N|%T|%k|%r").splitlines():
            job, node, state, step, reason = line.split("|")
            entry = {"job": job, "node": node, "state": state, "step": step, "reason": reason}
            nodes = {*self.seen.get(job, {}).get("nodes", "").split(), *([node] if node else [])}
            self.seen[job] = {**entry, "nodes": " ".join(sorted(nodes))}
            running += [entry] if state == "RUNNING" else []
        return running

    def lose(self, node: str) -> None:
        """Take a node down as a power cut would: its daemon and all that runs on it are gone at once."""
        jobs = [entry["job"] for entry in self.look() if entry["node"] == node]
        self.daemons[f"slurmd {node}"].kill()
        self._end_jobs(jobs, node)
        self.ask("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
        for job in jobs:  # Slurm would wait two minutes before it runs them again
            self.ask("scontrol", "update", f"JobId={job}", "StartTime=now")

    def _end_jobs(self, jobs: Sequence[str], node: str) -> None:
        """Kill what belongs to jobs of this cluster on a node, by its environment, and the daemons of their steps."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                words = (process / "environ").read_bytes().split(b"\0")
                title = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            mine = (b"SLURM_CLUSTER_NAME=mdelib" in words and f"SLURMD_NODENAME={node}".encode() in words
                    and any(f"SLURM_JOB_ID={job}".encode() in words for job in jobs))
            daemon = re.match(r"slurmstepd: \[(\d+)\.", title)
            if mine or (daemon and daemon[1] in jobs and self._on(daemon[1], node)):
                with suppress(ProcessLookupError):
                    os.kill(int(process.name), signal.SIGKILL)

    def _on(self, job: str, node: str) -> bool:
        return self.seen.get(job, {}).get("node") == node


def _until(ready: Any, words: str, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(words)
        time.sleep(0.3)


@contextmanager
def batch(home: Path, runs: Path, *options: str) -> Iterator[subprocess.Popen]:
    """A batch at smoke scale, which is stopped where it is left."""
    process = begin_batch(home, runs, *options)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def on_cluster(cluster: Cluster, home: Path, runs: Path, *, lost: str = "train",
               seconds: float = 1800) -> dict[str, Any]:
    """Run the batch of a pack on the cluster; when a step of rule `lost` runs and another is done, its node is lost.

    Raises:
        RuntimeError: the batch failed, took too long, or ended before a node could be lost.
    """
    begun, struck, since = time.monotonic(), None, {}
    with batch(home, runs, "--profile", str(home / "profiles" / "slurm"), "--", *OPTIONS) as process:
        while process.poll() is None and time.monotonic() - begun < seconds:
            running = cluster.look()
            done = len(list((runs / "batch").glob(f"*/done/{lost}/**/*.done")))
            now = time.monotonic()
            since = {entry["job"]: since.get(entry["job"], now) for entry in running}
            ours = [entry for entry in running if f"rule_{lost}" in entry["step"] and now - since[entry["job"]] > 6]
            if struck is None and done and ours:
                struck = ours[0]
                cluster.lose(struck["node"])
            time.sleep(0.5)
    printed = (runs / "printed.txt").read_text()
    if process.returncode != 0:
        raise RuntimeError(f"the batch on the cluster ended with {process.returncode}:\n{printed[-1500:]}")
    if struck is None:
        raise RuntimeError("the batch ended before a node could be lost")
    cluster.look()
    again = cluster.seen[struck["job"]]
    per_node = {node: sum(node in entry["nodes"].split() for entry in cluster.seen.values()) for node in NODES}
    return {"steps": len(list((runs / "batch").glob("*/done/**/*.done"))), "jobs": len(cluster.seen),
            "jobs_on": per_node, "lost_node": struck["node"], "lost_step": struck["step"],
            "went_on_as": again["state"], "went_on_on": again["node"],
            "seconds": round(time.monotonic() - begun, 1)}


def prove(folder: Path, notebooks: Sequence[str]) -> dict[str, Any]:
    """The batch of some notebooks locally and on a cluster of this machine, and in what the two differ."""
    home = part_of_pack(folder / "pack", notebooks)
    begun = time.monotonic()
    with batch(home, folder / "local", "--cores", "2") as process:
        process.wait()
    if process.returncode:
        raise RuntimeError(f"the local batch failed:\n{(folder / 'local' / 'printed.txt').read_text()[-1500:]}")
    local = round(time.monotonic() - begun, 1)
    with Cluster(folder / "slurm") as cluster:
        version = cluster.ask("sinfo", "--version").strip()
        found = on_cluster(cluster, home, folder / "cluster")
    return {"slurm": version, "notebooks": list(notebooks), **found, "seconds_locally": local,
            "compared": len(compared(folder / "local")),
            "differing": differing(folder / "local", folder / "cluster")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notebooks", nargs="+", default=["02", "07"], help="whose trainings and selves are run")
    parser.add_argument("--folder", type=Path, help="an empty folder; by default a temporary one, removed again")
    parser.add_argument("--json", action="store_true", help="write the result file, too")
    chosen = parser.parse_args()
    if (why := missing()) is not None:
        sys.exit(f"no Slurm can be started here: {why}")
    folder = chosen.folder or Path(tempfile.mkdtemp(prefix="mde-slurm"))
    folder.mkdir(parents=True, exist_ok=True)
    found = prove(folder.resolve(), chosen.notebooks)
    if chosen.folder is None:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(found, indent=1))
    if chosen.json:
        keep(SLURM, found)
    sys.exit(bool(found["differing"]))


if __name__ == "__main__":
    main()
