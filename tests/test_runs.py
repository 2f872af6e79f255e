"""A run is made once, loaded when its key matches, and made again when anything that counts has changed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from mdelib import references, runs
from mdelib.experiments import Experiment, Selectivity, Sparse
from mdelib.references import collect, reference, stored_reference
from mdelib.runs import current, execute, folder_of, mask_network, needed, network, run_key, ship
from mdelib.store import Damaged, read_result

TOY = {"name": "toy", "title": "Toy", "paper": "yao2023", "place": "-", "notebook": "02",
       "common": {"network": "meter_xxs", "protocol": "rooms", "size": (32, 48), "train_views": 4, "test_views": 2,
                  "measures": ["depth", "edges"], "train": {"epochs": 2, "batch": 2}},
       "variants": {"a": {"title": "A"}, "b": {"title": "B", "settings": {"loss": "l1"}},
                    "untrained": {"title": "U", "settings": {"train": None}}},
       "data": {"scenes-rooms": {}}, "scales": {"smoke": {"seeds": [0, 1]}}}
FILES = {"toy": TOY}
pytestmark = pytest.mark.usefixtures("place")


def toy(variant: str = "a", seed: int = 0, **changes):
    run, = Experiment(**TOY).runs("scenes-rooms", "smoke", variants=[variant], seeds=[seed])
    return run.model_copy(update={"settings": run.settings.model_copy(update=changes)}) if changes else run


def refuse(*_, **__):
    raise AssertionError("trained again")


def test_a_run_is_made_once(monkeypatch):
    made = execute(toy())
    assert {"abs_rel", "rmse", "delta1", "roughness", "edge_f1"} <= made.metrics.keys()
    assert len(made.history) == 2 and len(made.names) == len(made.per_image["rmse"]) == 2
    assert {"commit", "versions", "data_fingerprint", "device", "threads", "wall_s", "peak_memory_mb",
            "parameters"} <= made.provenance.keys()
    assert made.provenance["trained_cpu_s"] > 0
    monkeypatch.setattr(runs, "fit", refuse)
    again = execute(toy())
    assert again == made
    assert not list(folder_of(toy()).glob("checkpoint*"))


def test_a_run_that_is_being_made_is_waited_for_and_not_made_twice(monkeypatch):
    made, fit = [], runs.fit

    def counted(*given, **named):
        made.append(1)
        return fit(*given, **named)

    monkeypatch.setattr(runs, "fit", counted)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: execute(toy()), range(2))
    assert first == second and len(made) == 1


def test_a_result_cut_off_in_the_middle_is_made_again_with_the_same_numbers():
    made = execute(toy())
    path = folder_of(toy()) / "result.json"
    path.write_text(path.read_text()[:200])
    assert current(toy()) is None
    remade = execute(toy())
    assert (remade.metrics, remade.per_image) == (made.metrics, made.per_image)
    assert read_result(path).key == made.key


def test_lost_weights_are_made_again():
    execute(toy())
    (folder_of(toy()) / "weights.safetensors").unlink()
    assert current(toy()) is None


@pytest.mark.parametrize("change", [{"loss": "l1"}, {"size": (48, 64)}, {"train_views": 3}, {"protocol": "plain"},
                                    {"network_options": {"output": "linear"}}, {"measures": ("depth",)}])
def test_anything_that_counts_changes_the_key(change):
    assert run_key(toy()) != run_key(toy(**change))


def test_seed_counts_for_trainings_only():
    assert run_key(toy(seed=0)) != run_key(toy(seed=1))
    assert run_key(toy("untrained", 0)) == run_key(toy("untrained", 1))


def test_editing_a_loss_invalidates_only_what_used_it(monkeypatch):
    from mdelib import losses

    before = run_key(toy("a")), run_key(toy("b"))
    monkeypatch.setitem(runs.LOSSES, "l1", losses.mse)  # as if l1 had been rewritten
    runs._code.cache_clear()
    assert run_key(toy("a")) == before[0] and run_key(toy("b")) != before[1]
    runs._code.cache_clear()


def test_a_network_comes_back_with_its_weights():
    made = execute(toy())
    one, two = network("toy", "a", "scenes-rooms", "smoke", 0), network("toy", "a", "scenes-rooms", "smoke", 0)
    image = torch.rand(1, 3, 32, 48)
    assert torch.equal(one(image), two(image)) and not one.training
    assert made.provenance["parameters"] == sum(p.numel() for p in one.parameters())


def test_unknown_names_in_settings_are_sentences():
    for change, words in (({"network": "hu_resnet"}, "did you mean 'hu_resnet50'"), ({"loss": "silogg"}, "'silog'"),
                          ({"protocol": "room"}, "'rooms'")):
        with pytest.raises(ValueError, match=words):
            run_key(toy(**change))


def test_collected_results_are_kept_until_something_new_comes(place: Path):
    assert reference("toy", "scenes-rooms", "smoke") == []
    assert collect("toy", "scenes-rooms", "smoke") is None
    execute(toy())
    path = collect("toy", "scenes-rooms", "smoke")
    first = path.read_text()
    json.loads(first)
    found, = reference("toy", "scenes-rooms", "smoke")
    assert found.provenance["outdated"] is False
    execute(toy(seed=1))
    collect("toy", "scenes-rooms", "smoke")
    assert len(stored_reference("toy", "scenes-rooms", "smoke")) == 2


def test_many_results_go_into_several_files(place: Path, monkeypatch: pytest.MonkeyPatch):
    for run in (toy(), toy(seed=1), toy(variant="b")):
        execute(run)
    one = collect("toy", "scenes-rooms", "smoke")
    whole = stored_reference("toy", "scenes-rooms", "smoke")
    several = (0.7 * one.stat().st_size, ["toy.2.json", "toy.json"])
    for largest, names in (several, (1, ["toy.2.json", "toy.3.json", "toy.json"]), (1e9, ["toy.json"])):
        monkeypatch.setattr(references, "LARGEST", largest)
        assert collect("toy", "scenes-rooms", "smoke") == one
        assert sorted(path.name for path in one.parent.iterdir()) == names
        assert {references.experiment_of(path) for path in one.parent.iterdir()} == {"toy"}
        assert stored_reference("toy", "scenes-rooms", "smoke") == whole


def test_nothing_is_lost_when_a_collection_is_cut_off_between_files(place: Path, monkeypatch: pytest.MonkeyPatch):
    for run in (toy(), toy(seed=1), toy(variant="b")):
        execute(run)
    one = collect("toy", "scenes-rooms", "smoke")
    whole = stored_reference("toy", "scenes-rooms", "smoke")
    write, written = references.store.atomic_write, []

    def cut_off(path: Path, content: str) -> Path:
        if written:
            raise OSError("no space left")
        written.append(path)
        return write(path, content)

    monkeypatch.setattr(references, "LARGEST", 0.7 * one.stat().st_size)
    with monkeypatch.context() as patch:
        patch.setattr(references.store, "atomic_write", cut_off)
        with pytest.raises(OSError, match="no space"):
            collect("toy", "scenes-rooms", "smoke")
    assert stored_reference("toy", "scenes-rooms", "smoke") == whole
    collect("toy", "scenes-rooms", "smoke")
    assert stored_reference("toy", "scenes-rooms", "smoke") == whole and len(list(one.parent.iterdir())) == 2


def test_a_reference_made_by_other_code_is_shown_as_outdated(place: Path, monkeypatch: pytest.MonkeyPatch):
    execute(toy())
    path = collect("toy", "scenes-rooms", "smoke")
    with monkeypatch.context() as patch:
        patch.setattr(references, "run_key", lambda run: "0" * 16)
        found, = reference("toy", "scenes-rooms", "smoke")
    assert found.provenance["outdated"] is True and found.key != "0" * 16
    path.write_text(path.read_text()[:100])
    with pytest.raises(Damaged, match="restore it with git"):
        reference("toy", "scenes-rooms", "smoke")


def test_only_a_finished_network_is_shipped(place: Path, monkeypatch: pytest.MonkeyPatch):
    from mdelib.weights import build_from, read_record

    monkeypatch.setenv("MDE_WEIGHTS", str(place / "weights"))
    with pytest.raises(ValueError, match="no up-to-date result"):
        ship(toy(), "toy")
    made = execute(toy())
    path = ship(toy(), "toy")
    assert read_record(path)["record"]["key"] == made.key
    image = torch.rand(1, 3, 32, 48)
    trained, shipped = network("toy", "a", "scenes-rooms", "smoke", 0), build_from(path).eval()
    assert torch.allclose(trained(image), shipped(image), rtol=0.02)


def test_a_run_with_dissection_keeps_its_tables_and_its_regulariser_counts(place: Path):
    units = Selectivity(layers=("decoder", "mff"), bins=4, ablated_views=1)
    plain, pushed = (toy(network="hu_resnet50", measures=("depth", "dissection"),
                         selectivity=units.model_copy(update={"weight": weight})) for weight in (0.0, 5.0))
    assert run_key(plain) != run_key(pushed)
    made = execute(plain)
    assert {"edges", "response/decoder/train", "response/mff/test", "shuffled/mff/test", "ablation/decoder"
            } <= made.tables.keys()
    assert 0 <= made.metrics["selectivity_test"] <= 1 and "own_range_mff" in made.metrics
    assert read_result(folder_of(plain) / "result.json").tables == made.tables
    folder_of(plain).rename(place / "kept")
    assert execute(pushed).metrics["rmse"] != made.metrics["rmse"]


def test_settings_that_a_run_does_not_use_are_not_in_its_key():
    assert "selectivity" not in toy().settings.plain()
    assert "selectivity" in toy(selectivity=Selectivity(layers=("mff",), bins=4)).settings.plain()


MASKS = {**TOY, "variants": {**TOY["variants"], "masks": {"title": "M", "settings": {
    "measures": ["depth"], "sparse": {"explained": "toy/a", "other": "toy/b", "lam": 2, "shares": [0.25]}}}}}


@pytest.fixture
def masks(monkeypatch: pytest.MonkeyPatch):
    """A run that trains a mask network for the toy's first variant, with the second as the other network."""
    for module in (runs, references):
        monkeypatch.setattr(module, "load_experiment", lambda name: Experiment(**MASKS))

    def run(seed: int = 0, **changes):
        one, = Experiment(**MASKS).runs("scenes-rooms", "smoke", variants=["masks"], seeds=[seed])
        sparse = one.settings.sparse.model_copy(update=changes)
        return one.model_copy(update={"settings": one.settings.model_copy(update={"sparse": sparse})})

    return run


def test_a_mask_run_trains_what_it_explains_once_and_keeps_only_the_mask_network(masks, monkeypatch):
    run = masks()
    made = execute(run)
    assert current(toy("a")) is not None and current(toy("b")) is not None
    assert {"rmse", "rmse_full", "rmse_mask_25", "rmse_other_25", "sparseness", "auc_depth_edges"} <= set(made.metrics)
    assert len(made.per_image["rmse_other_25"]) == 2 and len(made.history) == 2
    generator, (explained, other) = mask_network("toy", "masks", "scenes-rooms", "smoke", 0)
    assert made.provenance["parameters"] == sum(p.numel() for p in generator.parameters())
    assert not generator.training and not explained.training
    image = torch.rand(1, 3, 32, 48)
    assert torch.equal(explained(image), network("toy", "a", "scenes-rooms", "smoke", 0)(image))
    assert not torch.equal(explained(image), other(image))
    assert made.metrics["rmse_full"] == pytest.approx(current(toy("a")).metrics["rmse"], rel=1e-4)
    monkeypatch.setattr(runs, "fit", refuse)
    assert execute(run) == made


def test_a_killed_mask_run_goes_on_and_ends_the_same(masks, place: Path):
    made = execute(masks())

    class Killed(Exception):
        pass

    def stop(epoch: int, *_):
        raise Killed

    folder_of(masks()).rename(place / "kept")
    with pytest.raises(Killed):
        execute(masks(), progress=stop)
    assert len(list(folder_of(masks()).glob("checkpoint-*.pt"))) == 1 and current(masks()) is None
    begun = []
    again = execute(masks(), progress=lambda epoch, *_: begun.append(epoch))
    assert begun == [2] and again.metrics == made.metrics and again.per_image == made.per_image
    assert made.provenance["trained_cpu_s"] > 0 and again.provenance["trained_cpu_s"] is None  # half was elsewhere


def test_the_key_of_a_mask_run_holds_its_settings_and_the_networks_behind_it(masks, monkeypatch):
    before = run_key(masks())
    assert len({before, run_key(masks(seed=1)), run_key(masks(lam=3.0)), run_key(masks(other=None)),
                run_key(masks(controls=True)), run_key(masks(shares=(0.5,)))}) == 6
    monkeypatch.setitem(MASKS["variants"]["b"]["settings"], "loss", "berhu")  # of the other network
    assert run_key(masks()) != before


def test_editing_the_masks_code_invalidates_mask_runs_alone(masks, monkeypatch):
    before = run_key(masks()), run_key(toy("a"))
    monkeypatch.setattr(runs, "sparse_scores", runs.needed)  # as if it had been rewritten
    runs._code.cache_clear()
    assert run_key(masks()) != before[0] and run_key(toy("a")) == before[1]
    runs._code.cache_clear()


def test_a_mask_run_names_what_it_needs_and_refuses_what_does_not_fit(masks):
    assert [run.address for run in needed(masks(seed=1))] == [toy("a", 1).address, toy("b", 1).address]
    assert needed(toy("a")) == []
    for changes, words in (({"network": "meter_xs"}, "setting network is 'meter_xs' and there it is 'meter_xxs'"),
                           ({"size": (48, 64)}, "setting size is"),
                           ({"sparse": Sparse(explained="toy/z", lam=1)}, "variant 'z' is not in")):
        run = masks()
        with pytest.raises(ValueError, match=words):
            needed(run.model_copy(update={"settings": run.settings.model_copy(update=changes)}))
    with pytest.raises(ValueError, match="trains a mask network, not a depth network: use mask_network"):
        network("toy", "masks", "scenes-rooms", "smoke", 0)
    with pytest.raises(ValueError, match="trains a depth network, not a mask network: use network"):
        mask_network("toy", "a", "scenes-rooms", "smoke", 0)


def test_a_mask_run_can_explain_a_network_that_comes_with_weights(place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MDE_WEIGHTS", str(place / "weights"))
    execute(toy())
    ship(toy(), "shipped")
    run = toy(measures=("depth",), weights="shipped", sparse=Sparse(lam=1, shares=(0.5,)))
    run = run.model_copy(update={"variant": "shipped_masks"})
    assert needed(run) == []
    made = execute(run)
    assert made.metrics["rmse_full"] == pytest.approx(current(toy()).metrics["rmse"], rel=0.02)
    assert not any("other" in name for name in made.metrics)
