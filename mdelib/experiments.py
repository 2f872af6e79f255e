"""Experiment files: one YAML per published table or figure, resolved into runs.

A file says what all variants share (`common`), what each variant changes, and what a scale or a data set
changes. `Experiment.runs` merges them in the order common < data set < scale < variant < the variant's own
changes at that scale, checks the result, and returns one `Run` for each variant and seed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mdelib.distill.settings import Distillation
from mdelib.names import check_name
from mdelib.provenance import find_home
from mdelib.train import TrainSettings

__all__ = ["SCALES", "Attribution", "Distillation", "Experiment", "Points", "Run", "RunSettings", "Selectivity",
           "ShuffledLabels", "Sparse", "Transfer", "list_experiments", "load_experiment"]

SCALES = ("smoke", "lab", "study", "paper")
Measures = Literal["depth", "edges", "dissection", "relief"]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Selectivity(Strict):
    """Which units are dissected, over which depth bins, and how hard training pushes them to be selective.

    Attributes:
        layers: names of the network's submodules whose channels are the units.
        bins, min_depth, max_depth: of `mdelib.selectivity.depth_bin_edges`, spacing "sid"; metres.
        weight: of you2021's regulariser in the loss (0.1 in the paper); 0 dissects without it.
        ablated_views: test views on which each unit is switched off in turn; 0 switches none off.
    """

    layers: tuple[str, ...] = Field(min_length=1)
    bins: int = Field(ge=2)
    min_depth: float = Field(0.75, gt=0)
    max_depth: float = Field(10.0, gt=0)
    weight: float = Field(0.0, ge=0)
    ablated_views: int = Field(0, ge=0)


class Sparse(Strict):
    """Which depth network a mask network is trained for, how hard it is pushed to be sparse, and what is measured.

    Attributes:
        explained: ``"<experiment>/<variant>"``, the run whose trained network stays fixed, on the same data and scale
            and with the same seed; None for a network that comes with `weights`.
        other: the run of a second network that sees the same pixels (yao2023 Eq 7-8), or None.
        lam: λ of yao2023 Eq 5-6.
        mask_scale, widths: of `mdelib.sparse.MaskNetwork`.
        shares: of the pixels that binary masks keep. controls: measure masks that need no training beside them.
    """

    explained: str | None = None
    other: str | None = None
    lam: float = Field(ge=0, allow_inf_nan=False)
    mask_scale: Literal["lab", "paper"] = "lab"
    widths: tuple[int, int, int, int, int, int] | None = None
    shares: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.1, 0.25, 0.5)
    controls: bool = False

    @field_validator("explained", "other")
    @classmethod
    def _names_a_run(cls, value: str | None) -> str | None:
        return value if value is None else _run_name(value)


def _run_name(value: str) -> str:
    if value.count("/") != 1 or not all(value.split("/")):
        raise ValueError(f"{value!r} names no run: write <experiment>/<variant>, for example two_networks/cnn")
    return value


class Points(Strict):
    """How a FuSaNet is trained: its guiding points, its losses, its own augmentation.

    Attributes:
        guiding, zero_share, drop, recolour: of `mdelib.fusanet_training.FuSaNetTraining`.
        loss: changed weights of `mdelib.fusanet.FuSaNetLoss`, for example ``{lam: 0}``.
    """

    guiding: int = Field(128, ge=1)
    zero_share: float = Field(0.5, ge=0, le=1)
    drop: float = Field(0.5, ge=0, le=1)
    recolour: tuple[float, float, float] | None = (0.1, 0.3, 0.1)
    loss: dict[Literal["beta", "phi", "lam", "mu", "theta", "psi"], Annotated[float, Field(ge=0)]] = {}


class Transfer(Strict):
    """The network of a finished run, scored on other data than it was trained on.

    Attributes:
        run: ``"<experiment>/<variant>"``, at the same scale and with the same seed. data: that run's data set.
    """

    run: str
    data: str

    @field_validator("run")
    @classmethod
    def _names_a_run(cls, value: str) -> str:
        return _run_name(value)


class Attribution(Strict):
    """Which attribution method is scored for which fixed network.

    Attributes:
        explained: ``"<experiment>/<variant>"``, the run whose trained network is explained, on the same data and scale
            and with the same seed; None for a network that comes with `weights`.
        method, options, target, fractions, fills, cell, samples: of `mdelib.fidelity.attribution_scores`.
    """

    explained: str | None = None
    method: str
    options: dict[str, Any] = {}
    target: Literal["mean_depth", "near_far"] = "mean_depth"
    fractions: tuple[Annotated[float, Field(ge=0, le=1)], ...] = (0.01, 0.05, 0.1, 0.2, 0.3, 0.5)
    fills: tuple[str, ...] = ("mean", "blur", "noise")
    cell: int = Field(16, ge=1)
    samples: int = Field(16, ge=2)

    @field_validator("explained")
    @classmethod
    def _names_a_run(cls, value: str | None) -> str | None:
        return value if value is None else _run_name(value)


class ShuffledLabels(Strict):
    """A network that learns from shuffled depth maps, and which explanations of it are compared with whose.

    Attributes:
        explained: ``"<experiment>/<variant>"``, the run that trains the same network with the true depth maps, on the
            same data and scale: with the same seed, and with the next one, which shows how far the explanations of
            two equally good networks agree.
        methods: names of `mdelib.attribution.METHODS` -> options.
    """

    explained: str
    methods: dict[str, dict[str, Any]] = Field(min_length=1)

    @field_validator("explained")
    @classmethod
    def _names_a_run(cls, value: str) -> str:
        return _run_name(value)


class RunSettings(Strict):
    """Everything that decides the result of a run, beside its data and its seed.

    Attributes:
        network, network_scale, network_options, weights: what `mdelib.models.create_model` is called with.
        loss, loss_options: a name of `mdelib.losses.LOSSES` and its keyword arguments.
        train: the schedule; None evaluates the network as it comes.
        train_split, test_split: split names of `mdelib.data.load`.
        train_views, test_views: how many views of each, evenly spread; None is all of them.
        size: (height, width) of the images the network sees.
        protocol: a name of `mdelib.protocols.PROTOCOLS`.
        measures: groups of metrics beside the protocol's own.
        selectivity: the units that the measure "dissection" looks at; see `Selectivity`.
        sparse: train a mask network for a fixed depth network, which `network`, `network_scale`, `network_options` and
            `size` must agree with, instead of training a depth network; `loss` plays no part then. See `Sparse`.
        points: train a FuSaNet with guiding points and its own losses; `loss` plays no part then. See `Points`.
        transfer: score the network of another run, which `network`, `network_scale`, `network_options` and `size` must
            agree with, instead of training one. See `Transfer`.
        distillation: train a student with what a teacher says, or with the truth, by a loss of its own; `loss` plays
            no part then. See `mdelib.distill.settings.Distillation`.
        attribution: score an attribution method for the network of another run, which `network`, `network_scale`,
            `network_options` and `size` must agree with, or for one with `weights`; nothing is trained. See
            `Attribution`.
        shuffled: train with every view's depth map in the place of another's, and compare explanations with those of
            a run with the true ones, which `network`, `network_scale`, `network_options` and `size` must agree with.
            See `ShuffledLabels`.
    """

    network: str
    network_scale: Literal["lab", "paper"] = "lab"
    network_options: dict[str, Any] = {}
    weights: str | None = None
    loss: str = "silog"
    loss_options: dict[str, Any] = {}
    train: TrainSettings | None = None
    train_split: str = "train"
    test_split: str = "test"
    train_views: int | None = Field(None, ge=1)
    test_views: int | None = Field(None, ge=1)
    size: tuple[int, int] = (96, 128)
    protocol: str
    measures: tuple[Measures, ...] = ("depth",)
    selectivity: Selectivity | None = None
    sparse: Sparse | None = None
    points: Points | None = None
    transfer: Transfer | None = None
    distillation: Distillation | None = None
    attribution: Attribution | None = None
    shuffled: ShuffledLabels | None = None

    @model_validator(mode="after")
    def _units_are_named(self) -> RunSettings:
        if "dissection" in self.measures and self.selectivity is None:
            raise ValueError("the measure 'dissection' needs the setting 'selectivity', which names the layers")
        return self

    @model_validator(mode="after")
    def _masks_are_complete(self) -> RunSettings:
        if self.sparse is None:
            return self
        if self.train is None or self.measures != ("depth",) or self.selectivity is not None:
            raise ValueError("a run with the setting 'sparse' trains a mask network: give it 'train', and leave "
                             "'measures' and 'selectivity' as they come")
        if (self.sparse.explained is None) == (self.weights is None):
            raise ValueError("the setting 'sparse' explains either the network of another run, 'explained', or one "
                             "that comes with 'weights': give one of the two")
        return self

    @model_validator(mode="after")
    def _points_are_complete(self) -> RunSettings:
        alone = self.selectivity is None and self.sparse is None
        if self.points is not None and (self.network != "fusanet" or not alone or self.measures != ("depth",)):
            raise ValueError("the setting 'points' trains the network fusanet: name it, and leave 'measures', "
                             "'selectivity' and 'sparse' as they come")
        if self.transfer is not None and not (alone and self.train is None and self.weights is None):
            raise ValueError("the setting 'transfer' scores the network of another run: leave 'train', 'weights', "
                             "'selectivity' and 'sparse' as they come")
        return self

    @model_validator(mode="after")
    def _students_are_complete(self) -> RunSettings:
        if self.distillation is None:
            return self
        others = (self.selectivity, self.sparse, self.points, self.transfer, self.weights)
        if self.train is None or any(other is not None for other in others):
            raise ValueError("a run with the setting 'distillation' trains a student: give it 'train', and leave "
                             "'weights', 'selectivity', 'sparse', 'points' and 'transfer' as they come")
        if not self.network.startswith("densedepth_"):
            raise ValueError(f"the setting 'distillation' trains a student of TIE-KD, not {self.network!r}: name "
                             "densedepth_mobilenetv2, densedepth_resnet18 or densedepth_resnet50")
        if self.distillation.says_maps and self.network_options.get("head", "dpm") != "dpm":
            raise ValueError("TIE-KD's loss needs a student that says probabilities: set network_options to "
                             "{head: dpm}, or choose a response loss")
        return self

    @model_validator(mode="after")
    def _attributions_are_complete(self) -> RunSettings:
        if self.attribution is None:
            return self
        if self.train is not None or self.measures != ("depth",) or self.transfer or self.sparse or self.points:
            raise ValueError("a run with the setting 'attribution' explains a network that is there: leave 'train', "
                             "'measures', 'sparse', 'points' and 'transfer' as they come")
        if (self.attribution.explained is None) == (self.weights is None):
            raise ValueError("the setting 'attribution' explains either the network of another run, 'explained', or "
                             "one that comes with 'weights': give one of the two")
        return self

    @model_validator(mode="after")
    def _labels_are_complete(self) -> RunSettings:
        others = (self.selectivity, self.sparse, self.points, self.transfer, self.distillation, self.attribution)
        if self.shuffled and (self.train is None or self.measures != ("depth",) or any(map(bool, others))):
            raise ValueError("a run with the setting 'shuffled' trains a network with shuffled depth maps: give it "
                             "'train', and leave 'measures' and the settings of other experiments as they come")
        return self

    def plain(self) -> dict[str, Any]:
        """As JSON holds it. What a run does not use is left out, so that a new setting leaves old keys alone."""
        return {name: value for name, value in self.model_dump(mode="json").items()
                if name not in ("selectivity", "sparse", "points", "transfer", "distillation", "attribution",
                                "shuffled")
                or value is not None}


class Run(Strict):
    """One training or evaluation: its address and its resolved settings."""

    experiment: str
    variant: str
    data: str
    scale: str
    seed: int
    settings: RunSettings

    @property
    def address(self) -> str:
        return f"{self.experiment}/{self.variant}/{self.data}-{self.scale}/seed{self.seed}"


class Variant(Strict):
    title: str
    settings: dict[str, Any] = {}
    scales: dict[str, dict[str, Any]] = {}


class ScaleChange(Strict):
    """What a scale changes.

    Attributes:
        seeds: one run each. variants: those that are run; None for all. settings: changed ones.
    """

    seeds: tuple[int, ...] = (0,)
    variants: tuple[str, ...] | None = None
    settings: dict[str, Any] = {}


class Experiment(Strict):
    """One experiment file, `experiments/<name>.yaml`.

    Attributes:
        name, title: the file's own name, and the one for tables.
        paper, place: which paper's which table or figure, for example ``yao2023`` and ``Fig. 1``.
        notebook: number of the notebook that shows it.
        common: settings that all variants share.
        variants: name -> title and changed settings, also by scale.
        scales: scale -> seeds and changed settings.
        data: data set -> changed settings; only these data sets can be asked for.
    """

    name: str
    title: str
    paper: str
    place: str
    notebook: str
    common: dict[str, Any]
    variants: dict[str, Variant]
    scales: dict[str, ScaleChange]
    data: dict[str, dict[str, Any]]

    def resolve(self, variant: str, data: str, scale: str) -> RunSettings:
        """The settings of one variant on one data set at one scale.

        Raises:
            ValueError: a name this file does not have, or a setting that does not fit, in one sentence.
        """
        where = f"experiments/{self.name}.yaml"
        check_name(variant, self.variants, "variant", where)
        check_name(data, self.data, "data set", where)
        check_name(scale, self.scales, "scale", where)
        chosen = self.variants[variant]
        for name in chosen.scales:
            check_name(name, self.scales, "scale", f"variant {variant!r} of {where}")
        merged: dict[str, Any] = {}
        for layer in (self.common, self.data[data], self.scales[scale].settings, chosen.settings,
                      chosen.scales.get(scale, {})):
            merged = _merge(merged, layer)
        try:
            return RunSettings(**merged)
        except ValidationError as error:
            raise ValueError(f"{where}, variant {variant!r} at scale {scale!r}: {_first(error)}") from None

    def runs(self, data: str, scale: str, *, variants: list[str] | None = None,
             seeds: list[int] | None = None) -> list[Run]:
        """All runs of the experiment on `data` at `scale`, seed by seed; `variants` may name any of the file's."""
        check_name(scale, self.scales, "scale", f"experiments/{self.name}.yaml")
        names = list(self.scales[scale].variants or self.variants) if variants is None else variants
        settings = {name: self.resolve(name, data, scale) for name in names}
        chosen = self.scales[scale].seeds if seeds is None else seeds
        return [Run(experiment=self.name, variant=name, data=data, scale=scale, seed=seed, settings=settings[name])
                for seed in chosen for name in names]


def list_experiments(folder: Path | None = None) -> list[str]:
    """The names of all experiment files."""
    return sorted(path.stem for path in (folder or find_home() / "experiments").glob("*.yaml"))


def load_experiment(name: str, folder: Path | None = None) -> Experiment:
    """Read and check `experiments/<name>.yaml`.

    Raises:
        ValueError: no such file, no YAML, or content that does not fit; one sentence says where and what.
    """
    home = folder or find_home() / "experiments"
    check_name(name, list_experiments(home), "experiment", "experiments/")
    try:
        content = yaml.safe_load((home / f"{name}.yaml").read_text())
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" in line {place.line + 1}" if place else ""
        raise ValueError(f"experiments/{name}.yaml is no valid YAML{line}: correct the indentation or the "
                         "punctuation there") from None
    try:
        experiment = Experiment(name=name, **(content or {}))
    except (ValidationError, TypeError) as error:
        what = _first(error) if isinstance(error, ValidationError) else str(error)
        raise ValueError(f"experiments/{name}.yaml: {what}") from None
    for scale, change in experiment.scales.items():
        check_name(scale, SCALES, "scale", f"the scales mdelib knows, but stands in experiments/{name}.yaml")
        for variant in change.variants or ():
            check_name(variant, experiment.variants, "variant", f"experiments/{name}.yaml, but asked for at {scale}")
    return experiment


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`change` over `base`; dictionaries are merged, anything else is replaced."""
    merged = dict(base)
    for name, value in change.items():
        old = merged.get(name)
        merged[name] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _first(error: ValidationError) -> str:
    """The first complaint of pydantic, as words."""
    problem = error.errors()[0]
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        return f"setting {place!r} is unknown: remove it or correct its name"
    if problem["type"] == "missing":
        return f"setting {place!r} is missing: add it"
    return f"setting {place!r} is {problem.get('input')!r}, but {problem['msg'].lower()}"
