"""Experiment files: resolved as documented, and refused in one sentence when something does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from mdelib import experiments
from mdelib.experiments import RunSettings, list_experiments, load_experiment

GOOD = {
    "title": "Toy", "paper": "yao2023", "place": "Fig. 1", "notebook": "02",
    "common": {"loss": "silog", "train": {"epochs": 5, "lr": 0.1}, "protocol": "rooms"},
    "variants": {"cnn": {"title": "CNN", "settings": {"network": "hu_resnet50"}},
                 "vit": {"title": "ViT", "settings": {"network": "segformer", "train": {"lr": 0.2}},
                         "scales": {"lab": {"train": {"batch": 2}}}}},
    "data": {"scenes-rooms": {}, "nyu": {"protocol": "bts_nyu"}},
    "scales": {"smoke": {"settings": {"train": {"epochs": 1}}}, "lab": {"seeds": [0, 1, 2]}},
}


@pytest.fixture
def write(tmp_path: Path):
    def make(change=None, name="toy", text=None) -> Path:
        content = yaml.safe_load(yaml.safe_dump(GOOD))
        if change:
            change(content)
        (tmp_path / f"{name}.yaml").write_text(text if text is not None else yaml.safe_dump(content))
        return tmp_path
    return make


def test_layers_are_merged_in_the_documented_order(write):
    toy = load_experiment("toy", write())
    assert toy.resolve("vit", "nyu", "lab").model_dump(include={"network", "protocol"}) == {
        "network": "segformer", "protocol": "bts_nyu"}
    lab = toy.resolve("vit", "scenes-rooms", "lab").train
    assert (lab.epochs, lab.lr, lab.batch) == (5, 0.2, 2)
    smoke = toy.resolve("vit", "scenes-rooms", "smoke").train
    assert (smoke.epochs, smoke.lr, smoke.batch) == (1, 0.2, 16)
    assert toy.resolve("cnn", "scenes-rooms", "smoke").train.lr == 0.1


def test_runs_are_seed_by_seed_and_addressed(write):
    runs = load_experiment("toy", write()).runs("scenes-rooms", "lab")
    assert [run.address for run in runs][:3] == ["toy/cnn/scenes-rooms-lab/seed0", "toy/vit/scenes-rooms-lab/seed0",
                                                 "toy/cnn/scenes-rooms-lab/seed1"]
    assert len(runs) == 6
    only = load_experiment("toy", write()).runs("nyu", "lab", variants=["vit"], seeds=[7])
    assert [(run.variant, run.seed) for run in only] == [("vit", 7)]


def test_a_scale_may_run_some_variants_only(write):
    folder = write(lambda content: content["scales"]["lab"].update(variants=["vit"], seeds=[0]))
    toy = load_experiment("toy", folder)
    assert [run.variant for run in toy.runs("nyu", "lab")] == ["vit"]
    assert [run.variant for run in toy.runs("nyu", "lab", variants=["cnn"])] == ["cnn"]  # asked for by name
    assert [run.variant for run in toy.runs("nyu", "smoke")] == ["cnn", "vit"]
    with pytest.raises(ValueError, match="variant 'vitt' is not in .*asked for at lab"):
        load_experiment("toy", write(lambda content: content["scales"]["lab"].update(variants=["vitt"])))
    with pytest.raises(ValueError, match="scale 'study' is not in"):
        toy.runs("nyu", "study")


@pytest.mark.parametrize(("ask", "words"), [
    (("cnnn", "nyu", "lab"), "variant 'cnnn' is not in experiments/toy.yaml (did you mean 'cnn'?): expected one of"),
    (("cnn", "kitti", "lab"), "data set 'kitti' is not in experiments/toy.yaml"),
    (("cnn", "nyu", "study"), "scale 'study' is not in experiments/toy.yaml"),
])
def test_an_unknown_name_is_a_sentence(write, ask, words):
    with pytest.raises(ValueError) as error:
        load_experiment("toy", write()).resolve(*ask)
    assert words in str(error.value)


def test_an_unknown_variant_stops_runs_too(write):
    with pytest.raises(ValueError, match="variant 'bts' is not in experiments/toy.yaml"):
        load_experiment("toy", write()).runs("nyu", "lab", variants=["bts"])


@pytest.mark.parametrize(("change", "words"), [
    (lambda c: c["common"].update(lerning_rate=1), "setting 'lerning_rate' is unknown"),
    (lambda c: c["common"]["train"].update(epochs="many"), "setting 'train.epochs' is 'many'"),
    (lambda c: c["common"]["train"].update(lr=-1), "setting 'train.lr' is -1"),
    (lambda c: c["common"].pop("protocol"), "setting 'protocol' is missing"),
    (lambda c: c["variants"]["cnn"]["settings"].pop("network"), "setting 'network' is missing"),
    (lambda c: c["variants"]["vit"]["scales"].update(lob={}), "scale 'lob' is not in variant 'vit'"),
])
def test_a_setting_that_does_not_fit_is_named(write, change, words):
    with pytest.raises(ValueError) as error:
        toy = load_experiment("toy", write(change))
        toy.resolve("vit", "scenes-rooms", "lab")
        toy.resolve("cnn", "scenes-rooms", "lab")
    assert words in str(error.value) and "toy.yaml" in str(error.value)


@pytest.mark.parametrize(("change", "words"), [
    (lambda c: c.update(nootebook="02"), "setting 'nootebook' is unknown"),
    (lambda c: c.pop("title"), "setting 'title' is missing"),
    (lambda c: c["scales"].update(huge={}), "scale 'huge'"),
])
def test_the_files_own_fields_are_checked(write, change, words):
    with pytest.raises(ValueError, match=words):
        load_experiment("toy", write(change))


@pytest.mark.parametrize("text", ["a: [1, 2", "a:\n\t- b", ""])
def test_a_file_that_is_no_yaml_says_so(write, text):
    with pytest.raises(ValueError, match=r"experiments/toy\.yaml"):
        load_experiment("toy", write(text=text))


def test_an_unknown_experiment_lists_the_known_ones(write):
    with pytest.raises(ValueError, match="did you mean 'toy'"):
        load_experiment("toi", write())


@pytest.mark.parametrize("name", list_experiments())
def test_every_committed_file_resolves_at_every_scale_and_data(name):
    definition = load_experiment(name)
    for data in definition.data:
        for scale in definition.scales:
            for run in definition.runs(data, scale):
                assert run.settings.protocol in experiments_protocols()


def experiments_protocols():
    from mdelib.protocols import PROTOCOLS
    return PROTOCOLS


def test_yaml_cannot_run_code(write):
    with pytest.raises(ValueError, match="no valid YAML"):
        load_experiment("toy", write(text="title: !!python/object/apply:os.getcwd []"))
    assert experiments.SCALES == ("smoke", "lab", "study", "paper")


def test_dissection_needs_to_know_its_units(write):
    folder = write(lambda content: content["common"].update(measures=["depth", "dissection"]))
    with pytest.raises(ValueError, match="needs the setting 'selectivity', which names the layers"):
        load_experiment("toy", folder).runs("scenes-rooms", "smoke")


@pytest.mark.parametrize(("changes", "words"), [
    ({"train": None}, "trains a mask network: give it 'train'"),
    ({"measures": ["depth", "edges"]}, "leave 'measures' and 'selectivity' as they come"),
    ({"weights": "rooms_cnn"}, "give one of the two"),
    ({"sparse": {"lam": 1}}, "give one of the two"),
    ({"sparse": {"explained": "cnn", "lam": 1}}, "names no run: write <experiment>/<variant>"),
    ({"sparse": {"explained": "two_networks/", "lam": 1}}, "names no run"),
    ({"sparse": {"explained": "a/b", "lam": -1}}, "greater than or equal to 0"),
    ({"sparse": {"explained": "a/b", "lam": float("nan")}}, "finite number"),
    ({"sparse": {"explained": "a/b"}}, "Field required"),
    ({"sparse": {"explained": "a/b", "lam": 1, "shares": [1.5]}}, "less than 1"),
    ({"sparse": {"explained": "a/b", "lam": 1, "widths": [4, 8]}}, "Field required"),
])
def test_masks_that_cannot_be_trained_are_refused(changes, words):
    whole = {"network": "bts", "protocol": "rooms", "train": {}, "sparse": {"explained": "a/b", "lam": 1}}
    assert RunSettings(**whole).plain()["sparse"]["lam"] == 1
    with pytest.raises(ValidationError, match=words):
        RunSettings(**{**whole, **changes})


def test_settings_without_masks_do_not_name_them():
    assert "sparse" not in RunSettings(network="bts", protocol="rooms").plain()


def test_shuffled_labels_are_trained_as_the_networks_that_they_are_compared_with() -> None:
    from mdelib.runs import needed

    for run in load_experiment("shuffled_labels").runs("nyu", "study"):
        true, reseeded = needed(run)
        assert (true.seed, reseeded.seed) == (run.seed, run.seed + 1)
        ours, theirs = run.settings.plain(), true.settings.plain()
        aside = ("shuffled", "measures", "test_views")
        assert {k: v for k, v in ours.items() if k not in aside} == {k: v for k, v in theirs.items() if k not in aside}
