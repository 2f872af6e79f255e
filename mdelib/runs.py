"""From a `Run` to its result: load it when the key matches, otherwise train, measure and write it.

The key is made from the resolved settings, the fingerprints of the data and the source of the code that can
change the numbers (`mdelib.provenance.source_key`), so a result is never shown for another question than the
one it answers. Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch

from mdelib import data as datasets
from mdelib import evaluation, models, provenance, store
from mdelib.data.base import DepthData, resize_depth
from mdelib.data.cache import cached_tensors
from mdelib.edges import edge_scores, region_errors
from mdelib.experiments import Run, check_name, load_experiment
from mdelib.losses import LOSSES
from mdelib.models.base import DepthNetwork
from mdelib.protocols import PROTOCOLS
from mdelib.store import Result
from mdelib.train import fit
from mdelib.weights import load_weights, save_weights, weights_root

__all__ = ["collect", "current", "execute", "folder_of", "network", "reference", "results", "run_key", "ship",
           "stored_reference"]

Progress = Callable[[int, int, dict[str, float]], None]


def folder_of(run: Run) -> Path:
    """The folder of a run."""
    return store.runs_root() / run.address


def _data(run: Run, split: str) -> DepthData:
    chosen = run.settings
    count = chosen.train_views if split == chosen.train_split else chosen.test_views
    rendered = run.data.startswith("scenes-")
    return datasets.load(run.data, split, count=count, **({"size": chosen.size} if rendered else {}))


def _network(run: Run) -> DepthNetwork:
    chosen = run.settings
    return models.create_model(chosen.network, scale=chosen.network_scale, weights=chosen.weights,
                               **chosen.network_options)


@lru_cache(maxsize=256)
def _code(network: str, loss: str, trained: bool, edges: bool, data: str) -> str:
    """The source behind a run. How results are stored and where they come from cannot change a number."""
    objects: list[Any] = [models.NETWORKS[network], evaluation.evaluate, evaluation.pooled]
    objects += [fit, LOSSES[loss], cached_tensors] if trained else []
    objects += [_edge_measures] if edges else []
    objects += [datasets.LOADERS[data]] if data in datasets.LOADERS else []  # a scene's fingerprint has its code
    return provenance.source_key(*objects, neutral=("mdelib.store", "mdelib.provenance"))


def run_key(run: Run) -> str:
    """The key of a run: settings, seed, data and code."""
    chosen = run.settings
    check_name(chosen.network, models.NETWORKS, "network", "the networks of mdelib.models")
    check_name(chosen.loss, LOSSES, "loss", "mdelib.losses.LOSSES")
    check_name(chosen.protocol, PROTOCOLS, "protocol", "mdelib.protocols.PROTOCOLS")
    splits = [chosen.test_split, *([chosen.train_split] if chosen.train else [])]
    return provenance.digest({
        "settings": chosen.model_dump(mode="json"), "seed": run.seed if chosen.train else 0,
        "data": [_data(run, split).fingerprint for split in splits],
        "protocol": repr(PROTOCOLS[chosen.protocol]),
        "weights": models.weights_digest(chosen.weights) if chosen.weights else None,
        "code": _code(chosen.network, chosen.loss, chosen.train is not None, "edges" in chosen.measures, run.data)})


def current(run: Run) -> Result | None:
    """The stored result of a run if it answers exactly this run; None if it is missing, damaged or outdated."""
    try:
        found = store.read_result(folder_of(run) / "result.json")
    except (FileNotFoundError, store.Damaged):
        return None
    complete = run.settings.train is None or (folder_of(run) / "weights.safetensors").is_file()
    return found if complete and found.key == run_key(run) else None


def execute(run: Run, *, device: str | torch.device = "cpu", progress: Progress | None = None) -> Result:
    """The result of a run: loaded when it is there, otherwise made, which can take long.

    A run that was killed goes on from its last epoch. `progress` is called after each epoch.
    """
    found = current(run)
    if found is not None:
        return found
    key, chosen, folder = run_key(run), run.settings, folder_of(run)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    torch.manual_seed(run.seed)
    model = _network(run).to(device)
    history: list[dict[str, float]] = []
    elsewhere = 0.0  # seconds of training before this process took over
    checkpoint = folder / f"checkpoint-{key}.pt"
    if chosen.train is not None:
        views = cached_tensors(_data(run, chosen.train_split), chosen.size, folder=store.runs_root() / "cache")
        loss = LOSSES[chosen.loss]

        def weighted(pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return loss(pred, target, mask, **chosen.loss_options)

        begun = time.perf_counter()
        history = fit(model, views, weighted, chosen.train, seed=run.seed, device=device, checkpoint=checkpoint,
                      progress=progress)
        elsewhere = max(0.0, sum(epoch["seconds"] for epoch in history) - (time.perf_counter() - begun))
    test = _data(run, chosen.test_split)
    extra = partial(_edge_measures, size=chosen.size) if "edges" in chosen.measures else None
    names, per_image = evaluation.evaluate(model.eval(), test, chosen.protocol, size=chosen.size, device=device,
                                           extra=extra)
    result = Result(
        run.experiment, run.variant, run.data, run.scale, run.seed, key, chosen.model_dump(mode="json"),
        evaluation.pooled(per_image, chosen.protocol),
        {name: [round(value, 5) if math.isfinite(value) else None for value in values.tolist()]
         for name, values in per_image.items()},
        list(names), history,
        {**provenance.stamp(device), "data_fingerprint": test.fingerprint,
         "wall_s": round(time.perf_counter() - started + elsewhere, 2),
         "trained_s": round(sum(epoch["seconds"] for epoch in history), 2),
         "peak_memory_mb": provenance.peak_memory_mb(device),
         "parameters": sum(p.numel() for p in model.parameters())})
    if chosen.train is not None:
        save_weights(model, folder / "weights.safetensors", record={"run": run.address, "key": key})
    store.write_result(folder / "result.json", result)
    for leftover in folder.glob("checkpoint-*.pt"):
        leftover.unlink(missing_ok=True)
    return result


def _edge_measures(pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor, *,
                   size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """`region_errors` and Hu et al.'s edge scores at the network's own resolution.

    Measured at the truth's resolution they would tell how an enlarged prediction compares with a sharp truth,
    which is the same for all networks of one input size.
    """
    small = torch.nn.functional.interpolate(pred, size=tuple(size), mode="bilinear", antialias=True)
    truth, valid = resize_depth(target, size), resize_depth(mask.float(), size) > 0.5
    scores = edge_scores(small, truth, valid)
    return {**region_errors(small, truth, valid), **{f"edge_{name}": value for name, value in scores.items()}}


def results(experiment: str, data: str, scale: str, *, variants: Sequence[str] | None = None,
            device: str | torch.device = "cpu", progress: Progress | None = None) -> list[Result]:
    """The results of all runs of an experiment; what is missing is made."""
    definition = load_experiment(experiment)
    chosen = list(variants) if variants is not None else None
    return [execute(run, device=device, progress=progress) for run in definition.runs(data, scale, variants=chosen)]


def network(experiment: str, variant: str, data: str, scale: str, seed: int, *,
            device: str | torch.device = "cpu") -> DepthNetwork:
    """The network of a run as it was after training, in evaluation mode."""
    run, = load_experiment(experiment).runs(data, scale, variants=[variant], seeds=[seed])
    execute(run, device=device)
    model = _network(run)
    if run.settings.train is not None:
        load_weights(model, folder_of(run) / "weights.safetensors")
    return model.eval().to(device)


def ship(run: Run, name: str) -> Path:
    """Put the network of a finished run into `weights/<name>.safetensors`, in half precision, with its record.

    Raises:
        ValueError: the run is not finished, or was made by other code.
    """
    result = current(run)
    if result is None:
        raise ValueError(f"{run.address} has no up-to-date result: run `mde run {run.experiment} --data {run.data} "
                         f"--scale {run.scale}` first")
    record = {"run": run.address, "key": result.key, "commit": result.provenance["commit"],
              "metrics": {measure: round(result.metrics[measure], 4) for measure in ("abs_rel", "rmse", "delta1")}}
    model = network(run.experiment, run.variant, run.data, run.scale, run.seed)
    return save_weights(model, weights_root() / f"{name}.safetensors", record=record, half=True)


def reference(experiment: str, data: str, scale: str) -> list[Result]:
    """The committed results of an experiment; empty where there are none.

    A result whose key no longer matches the code is still returned, with ``provenance["outdated"]`` True: it is
    shown as made at its commit, and `make study` makes it again. Where the data is not at hand the key cannot be
    checked and ``outdated`` is None.
    """
    found = stored_reference(experiment, data, scale)
    for result in found:
        result.provenance["outdated"] = _outdated(result)
    return found


def stored_reference(experiment: str, data: str, scale: str) -> list[Result]:
    """The committed results as they stand in the file, their keys unchecked.

    Raises:
        store.Damaged: the file is no result file.
    """
    path = _reference_path(experiment, data, scale)
    if not path.is_file():
        return []
    try:
        return [Result(**entry) for entry in json.loads(path.read_text())["runs"]]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise store.Damaged(f"{path} is cut off or is no result file ({type(error).__name__}): restore it with git, "
                            "or delete it and run `mde collect`") from error


def _reference_path(experiment: str, data: str, scale: str) -> Path:
    return store.results_root() / f"{data}-{scale}" / f"{experiment}.json"


def _outdated(result: Result) -> bool | None:
    try:
        run, = load_experiment(result.experiment).runs(result.data, result.scale, variants=[result.variant],
                                                       seeds=[result.seed])
        return run_key(run) != result.key
    except FileNotFoundError:
        return None
    except ValueError:
        return True


def collect(experiment: str, data: str, scale: str) -> Path | None:
    """Write the finished runs of an experiment to `results/`; None where there are none.

    A run whose key is already there is left as it is, so that a reference is replaced only by something new.
    """
    path = _reference_path(experiment, data, scale)
    kept = {(r.variant, r.seed): r for r in stored_reference(experiment, data, scale)}
    for run in load_experiment(experiment).runs(data, scale):
        found = current(run)
        old = kept.get((run.variant, run.seed))
        if found is not None and (old is None or old.key != found.key):
            kept[run.variant, run.seed] = found
    if not kept:
        return None
    entries = [vars(result) for result in kept.values()]
    store.atomic_write(path, _compact({"experiment": experiment, "data": data, "scale": scale, "runs": entries}))
    return path


def _compact(content: dict[str, Any]) -> str:
    """JSON with one line a list of numbers, so that a difference in git can be read."""
    runs = content.pop("runs")
    lines = [json.dumps(content)[:-1] + ', "runs": [']
    for index, run in enumerate(runs):
        fields = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in run.items()
                  if name not in ("per_image", "names")]
        inner = ",\n".join(f"    {json.dumps(name)}: {json.dumps(value)}" for name, value in run["per_image"].items())
        fields.append(f'  "per_image": {{\n{inner}\n  }}')
        fields.append(f'  "names": {json.dumps(run["names"])}')
        lines.append(" {\n" + ",\n".join(fields) + "\n }" + ("," if index < len(runs) - 1 else ""))
    return "\n".join([*lines, "]}"]) + "\n"
