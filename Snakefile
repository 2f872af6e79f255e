# The batch as a graph: data -> trainings -> notebooks -> report. Driven by `mde reproduce`.
# Outputs here are markers; what a step really made is checked by the `mde` command itself, by key.
import sys

from pathlib import Path

from mdelib.steps import forget_outdated, saved_plan

DATA, SCALE = config.get("data", "scenes-rooms"), config.get("scale", "lab")
if "plan" in config:  # `mde reproduce` has made it; on a cluster every job reads it
    STEPS = saved_plan(Path(config["plan"]))
else:
    from mdelib.batch import plan

    STEPS = plan(DATA, SCALE)
    forget_outdated(STEPS, Path.cwd())
MARKERS = {rule: [step.marker for step in STEPS if step.rule == rule]
           for rule in ("data", "train", "notebook", "report")}
KEYS = {step.name: step.key for step in STEPS}
FIRST = {step.name: [f"done/train/{name}.done" for name in step.needs] for step in STEPS}
MDE = f"{sys.executable} -m mdelib.cli"
CHOICE = f"--data {DATA} --scale {SCALE}"


rule all:
    input: MARKERS["report"]

rule data:
    output: touch("done/data/{name}.done")
    message: "STEP data {wildcards.name}"
    shell: "{MDE} ready {CHOICE}"

rule train:
    input: MARKERS["data"], lambda wildcards: FIRST["{experiment}/{variant}/seed{seed}".format(**wildcards)]
    output: touch("done/train/{experiment}/{variant}/seed{seed}.done")
    message: "STEP train {wildcards.experiment}/{wildcards.variant}/seed{wildcards.seed}"
    threads: 1  # two trainings side by side finish sooner than one after the other on two threads
    shell: "{MDE} run {wildcards.experiment} --variant {wildcards.variant} --seed {wildcards.seed} {CHOICE}"

rule notebook:
    input: MARKERS["data"], lambda wildcards: FIRST[wildcards.name]
    output: touch("done/notebook/{name}.done")
    params: key=lambda wildcards: KEYS[wildcards.name]
    message: "STEP notebook {wildcards.name}"
    threads: 1
    shell: "{MDE} notebook {wildcards.name} {CHOICE} --key {params.key}"

rule report:
    input: MARKERS["notebook"], MARKERS["train"]
    output: touch("done/report/{name}.done")
    message: "STEP report {wildcards.name}"
    shell: "{MDE} report {CHOICE}"
