"""From a `Run` to its result: load it when the key matches, otherwise train, measure and write it.

The key is made from the resolved settings, the fingerprints of the data and the source of the code that can
change the numbers (`mdelib.provenance.source_key`), so a result is never shown for another question than the
one it answers. Explained in notebooks/02_two_networks.ipynb.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mdelib import data as datasets
from mdelib import evaluation, models, provenance, store
from mdelib.attribution import METHODS
from mdelib.data.base import DepthBatch, DepthData, resize_depth
from mdelib.data.cache import cached_tensors
from mdelib.dgr import add_dgr
from mdelib.dissection import dissection_measures
from mdelib.distill.signed import SignedTraining
from mdelib.distill.teachers import TeacherSource, learned_views, teacher_maps
from mdelib.distill.training import StudentTraining, distillation_scores
from mdelib.edges import edge_scores, region_errors
from mdelib.experiments import Run, RunSettings, Selectivity, load_experiment
from mdelib.fidelity import CONTROLS, attribution_scores, label_scores, shuffled_labels
from mdelib.fusanet import FuSaNetLoss
from mdelib.fusanet_scores import fusanet_scores
from mdelib.fusanet_training import FuSaNetTraining
from mdelib.losses import LOSSES
from mdelib.models.base import DepthNetwork
from mdelib.names import check_name
from mdelib.protocols import PROTOCOLS
from mdelib.relief import relief_agreement
from mdelib.selectivity import SelectivityRegulariser, depth_bin_edges
from mdelib.sparse import MaskNetwork, MaskTraining, sparse_scores
from mdelib.store import Result
from mdelib.train import Loss, fit
from mdelib.weights import load_weights, save_weights, weights_root

__all__ = ["current", "execute", "folder_of", "mask_network", "needed", "network", "results", "run_key", "ship"]

Progress = Callable[[int, int, dict[str, float]], None]


def folder_of(run: Run) -> Path:
    """The folder of a run."""
    return store.runs_root() / run.address


def _data(run: Run, split: str, *, lazy: bool = False) -> DepthData:
    chosen = run.settings
    count = chosen.train_views if split == chosen.train_split else chosen.test_views
    rendered = run.data.startswith("scenes-")
    return datasets.load(run.data, split, count=count, lazy=lazy, **({"size": chosen.size} if rendered else {}))


def _tensors(run: Run, split: str) -> DepthBatch:
    return cached_tensors(_data(run, split), run.settings.size, folder=store.runs_root() / "cache")


def _network(run: Run) -> DepthNetwork:
    chosen = run.settings
    return models.create_model(chosen.network, scale=chosen.network_scale, weights=chosen.weights,
                               **chosen.network_options)


def needed(run: Run) -> list[Run]:
    """The runs whose networks a run works with: explained, the other one, scored on new data, teachers; mostly none.

    Raises:
        ValueError: a run that does not exist, or whose network or image size is not what `run` says.
    """
    chosen = run.settings
    if chosen.distillation:
        return list(filter(None, (_teacher_run(run, name) for name in chosen.distillation.asked)))
    named = [(part, getattr(chosen.sparse, part), run.data, run.seed) for part in ("explained", "other")
             if chosen.sparse]
    named += [("scored", chosen.transfer.run, chosen.transfer.data, run.seed)] if chosen.transfer else []
    named += [("explained", chosen.attribution.explained, run.data, run.seed)] if chosen.attribution else []
    named += [("explained", chosen.shuffled.explained, run.data, run.seed + k) for k in (0, 1) if chosen.shuffled]
    found = []
    for part, name, data, seed in named:
        if name is None:
            continue
        experiment, variant = name.split("/")
        one, = load_experiment(experiment).runs(data, run.scale, variants=[variant], seeds=[seed])
        for setting in ("size", *(("network", "network_scale", "network_options") if part != "other" else ())):
            ours, theirs = getattr(chosen, setting), getattr(one.settings, setting)
            if ours != theirs:
                raise ValueError(f"{run.address} looks at the network of {one.address}, but its setting {setting} is "
                                 f"{ours!r} and there it is {theirs!r}: make them equal")
        found.append(one)
    return found


@lru_cache(maxsize=256)
def _code(network: str, loss: str, trained: bool, measures: tuple[str, ...], regularised: bool, refined: bool,
          data: str, sparse: bool = False, points: bool = False, distilled: str | None = None,
          attribution: str | None = None, shuffled: tuple[str, ...] = ()) -> str:
    """The source behind a run. How results are stored and where they come from cannot change a number."""
    objects: list[Any] = [models.NETWORKS[network], evaluation.evaluate, evaluation.pooled]
    objects += [fit, cached_tensors] if trained else []
    objects += [LOSSES[loss]] if trained and not sparse and not points and not distilled else []
    objects += [MaskNetwork, MaskTraining, sparse_scores] if sparse else []
    objects += [FuSaNetTraining, FuSaNetLoss, fusanet_scores] if points else []
    objects += [StudentTraining, learned_views, teacher_maps, distillation_scores] if distilled else []
    objects += [attribution_scores] if attribution else []
    objects += [METHODS[attribution]] if attribution in METHODS else []
    objects += [shuffled_labels, label_scores, *(METHODS[method] for method in shuffled)] if shuffled else []
    objects += [SignedTraining] if distilled == "tie_kd_signed" else []
    objects += [_edge_measures] if "edges" in measures else []
    objects += [relief_agreement] if "relief" in measures else []
    objects += [dissection_measures, depth_bin_edges, cached_tensors] if "dissection" in measures else []
    objects += [_regularised] if trained and regularised else []
    objects += [add_dgr] if refined else []
    objects += [datasets.LOADERS[data]] if data in datasets.LOADERS else []  # a scene's fingerprint has its code
    return provenance.source_key(*objects, neutral=("mdelib.store", "mdelib.provenance"))


def run_key(run: Run) -> str:
    """The key of a run: settings, seed, data and code."""
    chosen = run.settings
    check_name(chosen.network, models.NETWORKS, "network", "the networks of mdelib.models")
    check_name(chosen.loss, LOSSES, "loss", "mdelib.losses.LOSSES")
    check_name(chosen.protocol, PROTOCOLS, "protocol", "mdelib.protocols.PROTOCOLS")
    if chosen.attribution:
        check_name(chosen.attribution.method, (*METHODS, *CONTROLS), "method", "mdelib.attribution.METHODS")
    for method in chosen.shuffled.methods if chosen.shuffled else ():
        check_name(method, METHODS, "method", "mdelib.attribution.METHODS")
    splits = [chosen.test_split, *([chosen.train_split] if chosen.train else [])]
    return provenance.digest({
        "settings": chosen.plain(), "seed": run.seed if chosen.train or chosen.transfer or chosen.attribution else 0,
        "data": [_data(run, split, lazy=True).fingerprint for split in splits],
        "protocol": repr(PROTOCOLS[chosen.protocol]),
        "weights": models.weights_digest(chosen.weights) if chosen.weights else None,
        "code": _code(chosen.network, chosen.loss, chosen.train is not None, chosen.measures,
                      bool(chosen.selectivity and chosen.selectivity.weight),
                      chosen.network_options.get("dgr") is not None, run.data, chosen.sparse is not None,
                      chosen.points is not None, chosen.distillation.loss if chosen.distillation else None,
                      chosen.attribution.method if chosen.attribution else None,
                      tuple(chosen.shuffled.methods) if chosen.shuffled else ()),
        **({"teachers": [_teacher(run, one).key for one in chosen.distillation.asked]} if chosen.distillation else {}),
        **({"needed": [run_key(one) for one in needed(run)]}
           if chosen.sparse or chosen.transfer or chosen.attribution or chosen.shuffled else {})})


def current(run: Run) -> Result | None:
    """The stored result of a run if it answers exactly this run; None if it is missing, damaged or outdated."""
    try:
        found = store.read_result(folder_of(run) / "result.json")
    except (FileNotFoundError, store.Damaged):
        return None
    complete = run.settings.train is None or (folder_of(run) / "weights.safetensors").is_file()
    return found if complete and found.key == run_key(run) else None


@dataclass(frozen=True)
class Task:
    """What a run trains: a depth network, or a mask network for a fixed one. Built by `_depth_task` and its like."""

    model: nn.Module  # on the device
    kept: nn.Module  # the part of it whose weights are stored
    loss: AbstractContextManager[Loss]  # gives what training minimises
    # of the test data: the views' names, (N,) values per measure, further numbers of all views together
    measure: Callable[[DepthData], tuple[Sequence[str], dict[str, torch.Tensor], dict[str, float]]]
    learned: Callable[[DepthBatch], DepthBatch] = lambda views: views  # what of the training views is learned from


def execute(run: Run, *, device: str | torch.device = "cpu", progress: Progress | None = None,
            devices: int = 1) -> Result:
    """The result of a run: loaded when it is there, otherwise made, which can take long.

    A run that was killed goes on from its last epoch, and one that another process is making is waited for.
    `progress` is called after each epoch. With several `devices` a depth network is trained on them together, see
    `mdelib.train_parallel`; like `device`, that is no part of the key.

    Raises:
        ValueError: several devices for a training whose loss looks into the network, not only at its depth.
    """
    if (found := current(run)) is not None:
        return found
    for one in needed(run):  # trained first where they are missing, and not on this run's clock
        execute(one, device=device)
    with store.lock(folder_of(run), run.address, wait=True):
        return current(run) or _make(run, device, progress, devices)


def _make(run: Run, device: str | torch.device, progress: Progress | None, devices: int = 1) -> Result:
    """Train, measure and write; the run's folder is held."""
    key, chosen, folder = run_key(run), run.settings, folder_of(run)
    started = time.perf_counter()
    task = (_mask_task if chosen.sparse else _points_task if chosen.points
            else _distill_task if chosen.distillation
            else _attribution_task if chosen.attribution
            else _shuffled_task if chosen.shuffled else _depth_task)(run, device)
    history, tables = [], {}
    elsewhere, cpu = 0.0, None  # seconds: of training before this process took over; of the CPU, if all were here
    if chosen.train is not None:
        views = task.learned(_tensors(run, chosen.train_split))
        checkpoint = folder / f"checkpoint-{key}.pt"
        if devices > 1:
            _train_on_several(run, devices, device, checkpoint, progress)
        resumed, begun, busy = checkpoint.is_file(), time.perf_counter(), time.process_time()
        with task.loss as loss:
            history = fit(task.model, views, loss, chosen.train, seed=run.seed, device=device, checkpoint=checkpoint,
                          progress=progress)
        elsewhere = max(0.0, sum(epoch["seconds"] for epoch in history) - (time.perf_counter() - begun))
        cpu = None if resumed else round(time.process_time() - busy, 2)
    test = _data(run, chosen.test_split)
    task.model.eval()
    names, per_image, further = task.measure(test)
    if "dissection" in chosen.measures:
        views = {split: _tensors(run, split) for split in (chosen.train_split, chosen.test_split)}
        further, tables = dissection_measures(
            task.model, chosen.selectivity.layers, _edges(chosen.selectivity), views, ablated=chosen.test_split,
            ablated_views=chosen.selectivity.ablated_views, device=device)
    result = Result(
        run.experiment, run.variant, run.data, run.scale, run.seed, key, chosen.plain(),
        {**evaluation.pooled(per_image, chosen.protocol), **further},
        {name: [round(value, 5) if math.isfinite(value) else None for value in values.tolist()]
         for name, values in per_image.items()},
        list(names), history,
        {**provenance.stamp(device), "devices": devices, "data_fingerprint": test.fingerprint,
         "wall_s": round(time.perf_counter() - started + elsewhere, 2),
         "trained_s": round(sum(epoch["seconds"] for epoch in history), 2),
         "trained_cpu_s": cpu,
         "peak_memory_mb": provenance.peak_memory_mb(device),
         "parameters": sum(p.numel() for p in task.model.parameters())}, tables)
    if chosen.train is not None:
        weights = save_weights(task.kept, folder / "weights.safetensors", record={"run": run.address, "key": key})
        result.provenance["weights"] = store.file_checksum(weights)
    store.write_result(folder / "result.json", result)
    for leftover in folder.glob("checkpoint-*.pt"):
        leftover.unlink(missing_ok=True)
    return result


def _train_on_several(run: Run, devices: int, device: str | torch.device, checkpoint: Path,
                      progress: Progress | None) -> None:
    """Train until the checkpoint holds every epoch, with which `fit` has nothing left to do."""
    from mdelib.train_parallel import fit_parallel

    chosen = run.settings
    if chosen.sparse or chosen.points or chosen.distillation or (chosen.selectivity and chosen.selectivity.weight):
        raise ValueError(f"{run.address} trains with a loss that looks into the network, which several devices cannot "
                         "share: leave --devices out")
    fit_parallel(partial(_parts, run), chosen.train, devices=devices, seed=run.seed, device=device,
                 checkpoint=checkpoint, progress=progress)


def _parts(run: Run, device: torch.device) -> tuple[nn.Module, DepthBatch, Loss]:
    """Network, training views and loss of a run whose loss looks at depth alone."""
    views = _tensors(run, run.settings.train_split)
    with (task := _depth_task(run, device)).loss as loss:
        return task.model, shuffled_labels(views, seed=run.seed) if run.settings.shuffled else views, loss


def _depth_task(run: Run, device: str | torch.device) -> Task:
    """The run's depth network, its loss, regularised where the run asks for it, and its errors."""
    chosen, units = run.settings, run.settings.selectivity
    torch.manual_seed(run.seed)
    model = (_fixed(run, device)[0] if chosen.transfer else _network(run)).to(device)
    loss = partial(LOSSES[chosen.loss], **chosen.loss_options)
    minimised = _regularised(loss, model, units) if chosen.train and units and units.weight else nullcontext(loss)
    score = partial(evaluation.evaluate, model, protocol=chosen.protocol, size=chosen.size, device=device,
                    extra=_further(chosen))
    return Task(model, model, minimised, lambda test: (*score(test), {}))


def _mask_task(run: Run, device: str | torch.device) -> Task:
    """The run's mask network beside the fixed network that it is trained for (yao2023 Eq 6), and what it is worth."""
    chosen, sparse = run.settings, run.settings.sparse
    explained, *others = _fixed(run, device)  # before the seed, which is for the mask network alone
    torch.manual_seed(run.seed)
    model = MaskTraining(MaskNetwork(sparse.mask_scale, widths=sparse.widths), explained, sparse.lam).to(device)
    score = partial(sparse_scores, model.generator, explained, protocol=chosen.protocol, size=chosen.size,
                    shares=sparse.shares, other=others[0] if others else None, controls=sparse.controls, device=device)
    return Task(model, model.generator, nullcontext(model.loss), score)


def _points_task(run: Run, device: str | torch.device) -> Task:
    """The run's FuSaNet with all that its training needs (huynh2021 section 4.2), and what its points are worth."""
    chosen, points = run.settings, run.settings.points
    torch.manual_seed(run.seed)
    views = len(_data(run, chosen.train_split, lazy=True))
    batch = chosen.train.batch if chosen.train else 1
    half = chosen.train is not None and chosen.train.precision == "bf16-mixed"
    model = FuSaNetTraining(_network(run), steps=max(1, views // batch), guiding=points.guiding,
                            zero_share=points.zero_share, weights=FuSaNetLoss(**points.loss), drop=points.drop,
                            recolour=points.recolour, half=half).to(device)
    score = partial(fusanet_scores, model.network, protocol=chosen.protocol, size=chosen.size, device=device)
    return Task(model, model.network, nullcontext(model.loss), score)


def _distill_task(run: Run, device: str | torch.device) -> Task:
    """The run's student, what it learns from, and how near it comes to the truth and to the teachers (choi2024)."""
    chosen, setting = run.settings, run.settings.distillation
    maps = {name: partial(teacher_maps, _teacher(run, name), size=chosen.size, folder=store.runs_root() / "cache",
                          device=device) for name in setting.asked}
    torch.manual_seed(run.seed)
    build = SignedTraining if setting.loss == "tie_kd_signed" else partial(StudentTraining, loss=setting.loss)
    model = build(_network(run), **setting.options).to(device)
    score = partial(distillation_scores, model.student, protocol=chosen.protocol, size=chosen.size, device=device,
                    teachers={name: maps[name] for name in setting.compared}, extra=_further(chosen),
                    top_rows=setting.top_rows(chosen.size[0]))
    return Task(model, model.student, nullcontext(model.loss), score,
                partial(learned_views, maps.get(setting.teacher), _data(run, chosen.train_split, lazy=True)))


def _teacher_run(run: Run, name: str) -> Run | None:
    """The run whose network is the teacher `name`; None for one that comes with weights."""
    chosen = run.settings.distillation.teachers[name]
    if chosen.run is None:
        return None
    experiment, variant = chosen.run.split("/")
    one, = load_experiment(experiment).runs(run.data, run.scale, variants=[variant], seeds=[chosen.seed])
    return one


def _teacher(run: Run, name: str) -> TeacherSource:
    """The teacher `name` of a run; its network is made only when its maps are not on disk."""
    chosen, one = run.settings.distillation.teachers[name], _teacher_run(run, name)
    if one is not None:
        build = partial(network, one.experiment, one.variant, one.data, one.scale, one.seed)
        return TeacherSource(run_key(one), chosen.size or one.settings.size, build)
    key = provenance.digest([chosen.network, models.weights_digest(chosen.weights),
                             provenance.source_key(models.NETWORKS[chosen.network])])
    build = partial(models.create_model, chosen.network, weights=chosen.weights)
    return TeacherSource(key, chosen.size or run.settings.size, build)


def _attribution_task(run: Run, device: str | torch.device) -> Task:
    """The network that the run explains, and what the run's attribution method is worth for it; nothing is trained."""
    model, chosen = _fixed(run, device)[0], run.settings.attribution.model_dump(exclude={"explained"})
    score = partial(attribution_scores, model, protocol=run.settings.protocol, size=run.settings.size, device=device,
                    **chosen)
    return Task(model, model, nullcontext(None), score)


def _shuffled_task(run: Run, device: str | torch.device) -> Task:
    """The run's depth network, which learns from shuffled depth maps, and whose explanations it makes again."""
    task, (trained, reseeded) = _depth_task(run, device), _fixed(run, device)
    score = partial(label_scores, task.model, trained, reseeded, protocol=run.settings.protocol,
                    size=run.settings.size, methods=run.settings.shuffled.methods, device=device)
    return replace(task, measure=score, learned=partial(shuffled_labels, seed=run.seed))


def _fixed(run: Run, device: str | torch.device) -> list[DepthNetwork]:
    """The networks of the runs that a run needs, in evaluation mode; the one that is looked at comes first."""
    made = [network(one.experiment, one.variant, one.data, one.scale, one.seed, device=device) for one in needed(run)]
    looking = run.settings.sparse or run.settings.attribution
    given = looking is not None and looking.explained is None
    return [_network(run).eval().to(device), *made] if given else made


def _regularised(loss: Loss, model: DepthNetwork, chosen: Selectivity) -> SelectivityRegulariser:
    """`loss` minus you2021's weighted selectivity of the layers' units."""
    return SelectivityRegulariser(loss, model, chosen.layers, _edges(chosen), weight=chosen.weight)


def _edges(chosen: Selectivity) -> torch.Tensor:
    return depth_bin_edges(chosen.bins, chosen.min_depth, chosen.max_depth)


def _further(chosen: RunSettings) -> Callable[..., dict[str, torch.Tensor]] | None:
    """What is measured of every view beside the protocol's errors: called with prediction, truth and mask."""
    asked = [partial(_edge_measures, size=chosen.size)] if "edges" in chosen.measures else []
    asked += [relief_agreement] if "relief" in chosen.measures else []
    return (lambda *maps: {name: value for one in asked for name, value in one(*maps).items()}) if asked else None


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
    if run.settings.sparse is not None:
        raise ValueError(f"{run.address} trains a mask network, not a depth network: use mask_network")
    result = execute(run, device=device)
    if run.settings.transfer is not None or run.settings.attribution is not None:
        return _fixed(run, device)[0]
    model = _network(run)
    if run.settings.train is not None:
        load_weights(model, _weights_of(run, result))
    return model.eval().to(device)


def mask_network(experiment: str, variant: str, data: str, scale: str, seed: int, *,
                 device: str | torch.device = "cpu") -> tuple[MaskNetwork, list[DepthNetwork]]:
    """The mask network of a run after training, the network it was trained for, and the other one if there is one.

    Returns:
        G, and [N] or [N, the other network of yao2023 Eq 7-8], all in evaluation mode.

    Raises:
        ValueError: a run without the setting `sparse`.

    Explained in notebooks/05_sparse_pixels.ipynb.
    """
    run, = load_experiment(experiment).runs(data, scale, variants=[variant], seeds=[seed])
    if run.settings.sparse is None:
        raise ValueError(f"{run.address} trains a depth network, not a mask network: use network")
    result = execute(run, device=device)
    generator = MaskNetwork(run.settings.sparse.mask_scale, widths=run.settings.sparse.widths)
    load_weights(generator, _weights_of(run, result))
    return generator.eval().to(device), _fixed(run, device)


def _weights_of(run: Run, result: Result) -> Path:
    """The file with a finished run's weights, unchanged since its result was written; older results cannot tell."""
    path = folder_of(run) / "weights.safetensors"
    if result.provenance.get("weights") not in (None, store.file_checksum(path)):
        raise store.Damaged(f"{path} was changed after it was written: its content does not match the checksum in "
                            "result.json; delete it and run again to have it made anew")
    return path


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
