"""FuSaNet in the run system: trained with points, its network scored on other data, and settings that do not fit."""

from __future__ import annotations

import pytest
import torch

from mdelib import batch, data, runs
from mdelib.experiments import Experiment, Points, RunSettings, Transfer
from mdelib.runs import execute, needed, network, run_key

COMMON = {"network": "fusanet", "network_options": {"focal": 0.81}, "protocol": "rooms", "size": (32, 48),
          "train_views": 4, "test_views": 2}
TRAIN = {"epochs": 1, "batch": 2, "precision": "32-true"}
FILES = {
    "toy": {"name": "toy", "title": "Toy", "paper": "huynh2021", "place": "-", "notebook": "09",
            "common": {**COMMON, "train": TRAIN, "points": {"guiding": 8}},
            "variants": {"full": {"title": "A"}, "dc": {"title": "B", "settings": {"points": {"loss": {"phi": 0}}}}},
            "data": {"scenes-rooms": {}, "scenes-streets": {"protocol": "streets"}},
            "scales": {"smoke": {"seeds": [0, 1]}}},
    "moved": {"name": "moved", "title": "Moved", "paper": "huynh2021", "place": "-", "notebook": "09",
              "common": {**COMMON, "transfer": {"run": "toy/full"}}, "variants": {"full": {"title": "A"}},
              "data": {"scenes-streets": {"protocol": "streets", "transfer": {"data": "scenes-rooms"}}},
              "scales": {"smoke": {"seeds": [0, 1]}}},
}
pytestmark = pytest.mark.usefixtures("place")


def run_of(experiment: str = "toy", variant: str = "full", where: str = "scenes-rooms", seed: int = 0, **changes):
    run, = Experiment(**FILES[experiment]).runs(where, "smoke", variants=[variant], seeds=[seed])
    return run.model_copy(update={"settings": run.settings.model_copy(update=changes)}) if changes else run


def test_a_run_with_points_is_made_and_its_network_comes_back() -> None:
    made = execute(run_of())
    assert len(made.history) == 1
    assert {"abs_rel", "rmse_salient", "rmse_random", "guided_rmse", "confidence"} <= made.metrics.keys()
    assert made.parameters["points"]["guiding"] == 8 and "transfer" not in made.parameters
    one = network("toy", "full", "scenes-rooms", "smoke", 0)
    assert made.provenance["parameters"] == sum(p.numel() for p in one.parameters())
    with torch.no_grad():
        assert one(torch.rand(1, 3, 32, 48)).shape == (1, 1, 32, 48)


def test_a_network_is_scored_on_other_data() -> None:
    moved = run_of("moved", where="scenes-streets")
    assert [one.address for one in needed(moved)] == [run_of().address]
    made = execute(moved)  # trains the other run first
    assert made.data == "scenes-streets" and made.history == [] and made.names
    assert {"si", "sq_rel", "imae", "irmse"} <= made.metrics.keys()
    image = torch.rand(1, 3, 32, 48)
    theirs = network("toy", "full", "scenes-rooms", "smoke", 0)
    with torch.no_grad():
        assert torch.equal(network("moved", "full", "scenes-streets", "smoke", 0)(image), theirs(image))
    assert execute(moved) == made


def test_what_counts_changes_the_key() -> None:
    keys = {run_key(run_of()), run_key(run_of(variant="dc")), run_key(run_of(seed=1)),
            run_key(run_of(points=Points(guiding=9))), run_key(run_of(points=None)),
            run_key(run_of("moved", where="scenes-streets")), run_key(run_of("moved", where="scenes-streets", seed=1))}
    assert len(keys) == 7


def test_the_loss_that_plays_no_part_is_no_part_of_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from mdelib import fusanet_training, losses

    before = run_key(run_of())
    monkeypatch.setitem(runs.LOSSES, "silog", losses.mse)
    runs._code.cache_clear()
    assert run_key(run_of()) == before
    monkeypatch.setattr(fusanet_training, "fusanet_loss", losses.mse)
    runs._code.cache_clear()
    assert run_key(run_of()) != before
    runs._code.cache_clear()


def test_a_transfer_from_data_that_is_not_there_is_left_out_of_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = run_of("moved", where="scenes-streets")
    assert batch.at_hand(moved) and batch.at_hand(run_of())

    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("not here")

    monkeypatch.setattr(data, "load", missing)
    assert not batch.at_hand(moved) and batch.at_hand(run_of())


@pytest.mark.parametrize(("changes", "words"), [
    ({"network": "bts", "points": Points()}, "'points' trains the network fusanet"),
    ({"points": Points(), "measures": ("depth", "edges")}, "leave 'measures'"),
    ({"transfer": Transfer(run="toy/full", data="nyu"), "train": TRAIN}, "leave 'train'"),
    ({"transfer": Transfer(run="toy/full", data="nyu"), "weights": "x"}, "leave 'train', 'weights'"),
])
def test_settings_that_do_not_fit_are_sentences(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RunSettings(**{**COMMON, **changes})


@pytest.mark.parametrize("changes", [{"guiding": 0}, {"zero_share": 1.5}, {"loss": {"kappa": 1}},
                                     {"loss": {"phi": -1}}])
def test_point_settings_that_do_not_fit(changes: dict) -> None:
    with pytest.raises(ValueError, match="guiding|zero_share|loss"):
        Points(**changes)


def test_a_transfer_names_a_run_whose_network_is_the_same() -> None:
    with pytest.raises(ValueError, match="'toy' names no run"):
        Transfer(run="toy", data="nyu")
    with pytest.raises(ValueError, match="its setting size is"):
        needed(run_of("moved", where="scenes-streets", size=(48, 64)))
