"""Attribution in the run system: scored for the network of another run, nothing trained, settings that do not fit."""

from __future__ import annotations

import pytest

from mdelib import data as datasets
from mdelib.attribution import METHODS
from mdelib.experiments import Attribution, Experiment, RunSettings, ShuffledLabels, list_experiments, load_experiment
from mdelib.fidelity import CONTROLS, KINDS, label_scores
from mdelib.runs import execute, needed, network, run_key

COMMON = {"network": "unet_mobilenetv3", "protocol": "rooms", "size": (32, 48), "train_views": 2, "test_views": 3}
LOOK = {"explained": "toy/plain", "method": "saliency", "fractions": (0.1, 0.3, 0.5), "fills": ("mean", "blur"),
        "samples": 2}
FILES = {
    "toy": {"name": "toy", "title": "Toy", "paper": "cirillo2025", "place": "-", "notebook": "14",
            "common": {**COMMON, "train": {"epochs": 1, "batch": 2, "precision": "32-true"}},
            "variants": {"plain": {"title": "A"}}, "data": {"scenes-rooms": {}},
            "scales": {"smoke": {"seeds": [0, 1]}}},
    "looked": {"name": "looked", "title": "Looked", "paper": "cirillo2025", "place": "-", "notebook": "14",
               "common": {**COMMON, "attribution": LOOK}, "data": {"scenes-rooms": {}},
               "variants": {"saliency": {"title": "A"},
                            "gradients": {"title": "B", "settings": {"attribution": {
                                "method": "integrated_gradients", "options": {"steps": 4}, "target": "near_far"}}},
                            **{name: {"title": name, "settings": {"attribution": {"method": name}}}
                               for name in (*CONTROLS, "position_only")}},
               "scales": {"smoke": {"seeds": [0, 1]}}},
    "shuffled": {"name": "shuffled", "title": "Shuffled", "paper": "cirillo2025", "place": "-", "notebook": "14",
                 "common": {**COMMON, "train": {"epochs": 1, "batch": 2, "precision": "32-true"},
                            "shuffled": {"explained": "toy/plain",
                                         "methods": {"saliency": {}, "position_only": {},
                                                     "grad_cam": {"signed": True}}}},
                 "variants": {"plain": {"title": "A"}}, "data": {"scenes-rooms": {}}, "scales": {"smoke": {}}},
}
LABELS = FILES["shuffled"]["common"]["shuffled"]
pytestmark = pytest.mark.usefixtures("place")


def run_of(variant: str = "saliency", experiment: str = "looked", seed: int = 0, **changes: object):
    run, = Experiment(**FILES[experiment]).runs("scenes-rooms", "smoke", variants=[variant], seeds=[seed])
    return run.model_copy(update={"settings": run.settings.model_copy(update=changes)}) if changes else run


def test_a_method_is_scored_for_the_network_of_another_run() -> None:
    assert [one.address for one in needed(run_of())] == [run_of("plain", "toy").address]
    made = execute(run_of())  # trains the other run first
    assert made.history == [] and len(made.names) == 3
    wanted = {*KINDS, *(f"{kind}_position" for kind in KINDS), "gap_rmse", "gap_delta1", "gap_rmse_truth",
              "gap_target", "gap_rmse_blur", "infidelity", "abs_rel"}
    assert wanted <= made.per_image.keys() and "completeness" not in made.metrics
    assert {"rmse_most_10", "rmse_least_50", "rmse_most_30_blur"} <= made.metrics.keys()
    assert made.metrics["gap_rmse"] == pytest.approx(
        sum(made.per_image["gap_rmse"]) / 3, abs=1e-4)
    theirs, ours = network("toy", "plain", "scenes-rooms", "smoke", 0), network("looked", "saliency", "scenes-rooms",
                                                                                "smoke", 0)
    assert all(a.equal(b) for a, b in zip(theirs.parameters(), ours.parameters(), strict=True))
    assert made.metrics["abs_rel"] == pytest.approx(execute(run_of("plain", "toy")).metrics["abs_rel"], rel=1e-5)


def test_contributions_and_controls() -> None:
    made = execute(run_of("gradients"))
    assert "completeness" in made.per_image
    position, random, oracle = (execute(run_of(name)) for name in ("position_only", *CONTROLS))
    assert oracle.metrics["gap_rmse"] > random.metrics["gap_rmse"]
    assert position.metrics["pearson"] == pytest.approx(position.metrics["pearson_position"], abs=1e-4)


def test_keys_know_method_seed_and_the_other_run(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = run_key(run_of())
    assert len({plain, run_key(run_of("gradients")), run_key(run_of(seed=1)), run_key(run_of("random"))}) == 4
    monkeypatch.setitem(FILES["toy"]["common"], "loss", "hu")
    assert run_key(run_of()) != plain
    with pytest.raises(ValueError, match="make them equal"):
        needed(run_of(size=(48, 64)))
    with pytest.raises(ValueError, match="method 'salience'"):
        run_key(run_of(attribution=Attribution(explained="toy/plain", method="salience")))


def test_a_network_that_learnt_from_shuffled_labels() -> None:
    run = run_of("plain", "shuffled")
    assert [one.address for one in needed(run)] == [run_of("plain", "toy", seed).address for seed in (0, 1)]
    made = execute(run)
    assert len(made.history) == 1 and len(made.names) == 3
    assert {"saliency", "saliency_reseeded", "grad_cam", "abs_rel"} <= made.per_image.keys()
    assert made.metrics["position_only"] == pytest.approx(1, abs=1e-4)  # a map that no training can move
    true, own = execute(run_of("plain", "toy")), network("shuffled", "plain", "scenes-rooms", "smoke", 0)
    assert made.history[0]["loss"] != true.history[0]["loss"]  # same start, same images, other depth
    views = datasets.load("scenes-rooms", "test", count=3, size=(32, 48))
    _, alike, _ = label_scores(own, own, own, views, "rooms", size=(32, 48), methods=LABELS["methods"], batch=2)
    assert alike["saliency"].tolist() == alike["grad_cam_reseeded"].tolist() == pytest.approx([1] * 3)
    assert run_key(run) != run_key(run_of("plain", "shuffled", shuffled=None))
    with pytest.raises(ValueError, match="method 'salience'"):
        run_key(run_of("plain", "shuffled", shuffled=ShuffledLabels(explained="toy/plain", methods={"salience": {}})))


@pytest.mark.parametrize(("changes", "message"), [
    ({"train": None}, "give it 'train'"), ({"measures": ["depth", "edges"]}, "as they come"),
    ({"shuffled": {**LABELS, "explained": "toy"}}, "names no run"), ({"attribution": LOOK}, "as they come"),
    ({"shuffled": {**LABELS, "methods": {}}}, "at least 1 item"),
])
def test_settings_of_shuffled_labels_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunSettings(**{**COMMON, "train": {"epochs": 1}, "shuffled": LABELS, **changes})


@pytest.mark.parametrize(("changes", "message"), [
    ({"train": {"epochs": 1}}, "explains a network that is there"), ({"weights": "rooms_cnn"}, "give one of the two"),
    ({"attribution": {"method": "saliency"}}, "give one of the two"),
    ({"measures": ["depth", "edges"]}, "as they come"),
    ({"attribution": {**LOOK, "explained": "toy"}}, "names no run"),
    ({"attribution": {**LOOK, "target": "depth"}}, "mean_depth"),
    ({"attribution": {**LOOK, "fractions": (2.0,)}}, "less than or equal to 1"),
])
def test_settings_that_do_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RunSettings(**{**COMMON, "attribution": LOOK, **changes})


def test_the_setting_leaves_other_runs_alone() -> None:
    assert "attribution" not in RunSettings(**COMMON).plain()
    assert "attribution" in RunSettings(**COMMON, attribution=LOOK).plain()


@pytest.mark.parametrize("name", [name for name in list_experiments() if name.startswith("attribution")])
def test_committed_variants_name_methods_that_exist(name: str) -> None:
    for run in load_experiment(name).runs("nyu", "study"):
        assert run.settings.attribution.method in (*METHODS, *CONTROLS)
        assert run.variant.endswith(run.settings.attribution.method)
