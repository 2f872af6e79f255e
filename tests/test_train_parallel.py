"""Training on two processes has the loss curve of one, whatever the masks; checkpoints go from one to the other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from mdelib import train_parallel  # and no more: each process imports what this file does
from mdelib.augment import Augmentation
from mdelib.data.base import DepthBatch
from mdelib.train import TrainSettings, fit
from mdelib.train_parallel import fit_parallel, gathered, own_rows

# Batches of five rows on two processes: three and two. In single precision, so that only the order of sums differs.
SETTINGS = TrainSettings(epochs=4, batch=5, ema=0.9, lr=0.01, precision="32-true",
                         augmentation=Augmentation(flip=0.5, zoom=1.3, rotate=3, light=0.1))
# One sum in another order moves a gradient by 1e-7 of its size, an AdamW step by about as much of lr, and 8 steps with
# a smooth loss by less than a hundred times that. A mean of the processes' means would be off by 1e-2 here.
CLOSE = 1e-5
TOY = {"name": "toy", "title": "Toy", "paper": "yao2023", "place": "-", "notebook": "02",
       "common": {"network": "dpt", "protocol": "rooms", "size": (32, 48), "train_views": 4, "test_views": 2,
                  "measures": ["depth"], "train": {"epochs": 2, "batch": 4, "precision": "32-true"}},
       "variants": {"a": {"title": "A"}}, "data": {"scenes-rooms": {}}, "scales": {"smoke": {"seeds": [0]}}}
FILES = {"toy": TOY}


class Toy(nn.Module):
    """No statistics of the batch, unless asked for; one weight that nothing uses, as some networks have."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6) if norm else nn.GroupNorm(2, 6)
        self.head, self.spare = nn.Conv2d(6, 1, 1), nn.Linear(2, 2)
        self.drop = nn.Dropout(0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.relu(self.norm(self.conv(x))))).exp()


def l1(pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return (pred - target)[mask].abs().mean()


def never(pred: torch.Tensor, target: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return pred.mean() * float("nan")


def parts(device: torch.device, *, norm: bool = False, loss=l1, drop: float = 0.0
          ) -> tuple[nn.Module, DepthBatch, object]:
    """Views whose masks differ much: of the first almost nothing is valid, of the last everything."""
    drawn = torch.Generator().manual_seed(3)
    image = torch.rand(11, 3, 12, 16, generator=drawn)
    depth = 1 + 2 * image.mean(1, keepdim=True) + torch.arange(11.0)[:, None, None, None] / 4
    valid = torch.rand(depth.shape, generator=drawn) < torch.linspace(0.02, 1, 11)[:, None, None, None]
    torch.manual_seed(0)
    network = Toy(norm)
    network.drop.p = drop
    return network, DepthBatch(tuple("abcdefghijk"), image, depth, valid), loss


def alone(*, drop: float = 0.0, **options) -> tuple[nn.Module, list[dict[str, float]]]:
    network, views, loss = parts(torch.device("cpu"), drop=drop)
    return network, fit(network, views, loss, SETTINGS, seed=1, **options)


def losses(history: list[dict[str, float]]) -> list[float]:
    return [record["loss"] for record in history]


@pytest.mark.parametrize(("count", "processes", "wanted"), [
    (5, 2, [[0, 1, 2], [3, 4]]), (4, 2, [[0, 1], [2, 3]]), (7, 3, [[0, 1, 2], [3, 4], [5, 6]]), (2, 2, [[0], [1]])])
def test_rows_are_shared_out_whole_and_in_order(count: int, processes: int, wanted: list[list[int]]) -> None:
    assert [list(range(count))[own_rows(count, rank, processes)] for rank in range(processes)] == wanted


def test_two_processes_have_the_loss_curve_of_one(tmp_path: Path) -> None:
    one, history = alone()
    said = []
    fit_parallel(parts, SETTINGS, devices=2, seed=1, checkpoint=tmp_path / "c.pt", progress=lambda *w: said.append(w))
    two, together = alone(checkpoint=tmp_path / "c.pt")  # everything is in the checkpoint: nothing is trained here
    assert losses(together) == pytest.approx(losses(history), rel=CLOSE)
    assert [record["lr"] for record in together] == [record["lr"] for record in history]
    assert [(done, epochs) for done, epochs, _ in said] == [(n, 4) for n in (1, 2, 3, 4)]
    assert losses(record for *_, record in said) == losses(together)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-3, atol=1e-5, msg=name)


def test_a_training_begun_on_one_process_goes_on_with_two(tmp_path: Path) -> None:
    _, history = alone()

    def stop(epoch: int, epochs: int, record: dict[str, float]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        alone(checkpoint=tmp_path / "c.pt", progress=stop)
    before = torch.load(tmp_path / "c.pt", weights_only=True)["history"]
    fit_parallel(parts, SETTINGS, devices=2, seed=1, checkpoint=tmp_path / "c.pt")
    after = torch.load(tmp_path / "c.pt", weights_only=True)["history"]
    assert after[:2] == before and len(after) == 4
    assert losses(after) == pytest.approx(losses(history), rel=CLOSE)


class Pair:
    """Process 1 of two, the other one of which has predicted 7."""

    world_size, global_rank = 2, 1

    def all_gather(self, mine: torch.Tensor) -> torch.Tensor:
        assert not mine.requires_grad
        return torch.stack([torch.full_like(mine, 7.0), mine])


def test_ones_own_predictions_keep_their_gradient_among_those_of_others() -> None:
    mine = torch.tensor([[1.0], [2.0]], requires_grad=True)
    whole = gathered(mine, Pair(), 5)
    assert whole.flatten().tolist() == [7, 7, 7, 1, 2]
    (whole.square().mean()).backward()
    assert mine.grad.flatten().tolist() == pytest.approx([2 * 1 / 5, 2 * 2 / 5])


def test_a_shared_batch_adds_gradients_up_and_draws_its_own_dropout_in_each_epoch() -> None:
    weight = nn.Conv2d(3, 1, 1, bias=False)
    shared, image = train_parallel.SharedBatch(weight, Pair()), torch.ones(5, 3, 2, 2)
    torch.manual_seed(40)
    whole = shared(image)
    assert whole.shape == (5, 1, 2, 2) and (whole[:3] == 7).all() and torch.equal(whole[3:], weight(image[3:]))
    whole.sum().backward()
    assert weight.weight.grad.flatten().tolist() == [2 * 8] * 3  # two rows of four pixels; DDP takes the mean
    assert torch.initial_seed() == 41  # process 1
    drawn = torch.rand(1)
    shared(image)
    assert torch.initial_seed() == 41 and torch.rand(1) != drawn  # within an epoch nothing is drawn again
    torch.manual_seed(80)
    shared(image)
    assert torch.initial_seed() == 81


@pytest.mark.parametrize("drop", [0.0, 0.3])
def test_one_process_trains_exactly_as_the_plain_loop(drop: float, tmp_path: Path) -> None:
    train_parallel._train(Fabric(accelerator="cpu", devices=1), partial(parts, drop=drop), SETTINGS, 1,
                          tmp_path / "c.pt", _Silent())
    two, together = alone(checkpoint=tmp_path / "c.pt")
    one, history = alone(drop=drop)
    assert losses(together) == losses(history)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))


class _Silent:
    def put(self, words: object) -> None:
        pass


@pytest.mark.parametrize(("options", "kind", "words"), [
    ({"norm": True}, ValueError, "batch normalisation, whose statistics processes on a CPU cannot share"),
    ({"loss": never}, FloatingPointError, "the loss became nan in epoch 1, step 1")])
def test_what_cannot_be_trained_is_a_sentence(options: dict, kind: type[Exception], words: str,
                                              tmp_path: Path) -> None:
    with pytest.raises(kind, match=words) as caught:
        train_parallel._train(Fabric(accelerator="cpu", devices=1), partial(parts, **options), SETTINGS, 1,
                              tmp_path / "c.pt", _Silent())
    text = f"\n\n-- Process 1 terminated\nTraceback ...\n{kind.__name__}: {caught.value}\n"
    with pytest.raises(kind, match=words):  # as it comes out of the other process
        train_parallel._raise_in_words(RuntimeError(text))
    assert not (tmp_path / "c.pt").exists()


def test_an_unknown_error_of_a_process_is_shown_as_it_is() -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'x'"):
        train_parallel._raise_in_words(RuntimeError("Traceback ...\nKeyError: 'x'"))


def test_more_gpus_than_there_are_and_more_processes_than_views_are_refused(
        monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 devices were asked for, but PyTorch sees 1 GPUs"):
        fit_parallel(parts, SETTINGS, devices=2, device="cuda", checkpoint=tmp_path / "c.pt")
    few = SETTINGS.model_copy(update={"batch": 1})

    class Two(Pair):
        device = torch.device("cpu")

    with pytest.raises(ValueError, match="2 devices cannot share batches of 1 views"):
        train_parallel._train(Two(), parts, few, 0, tmp_path / "c.pt", _Silent())


@pytest.mark.usefixtures("place")
def test_a_run_records_its_devices_and_keeps_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from mdelib import runs
    from mdelib.experiments import Experiment

    run, = Experiment(**TOY).runs("scenes-rooms", "smoke")
    asked = {}

    def stand_in(make, settings, *, checkpoint, progress, **options) -> None:
        asked.update(options)
        network, views, loss = make(torch.device("cpu"))
        fit(network, views, loss, settings, seed=options["seed"], checkpoint=checkpoint, progress=progress)

    monkeypatch.setattr(train_parallel, "fit_parallel", stand_in)
    made = runs.execute(run, devices=2)
    assert made.provenance["devices"] == asked["devices"] == 2 and len(made.history) == 2
    (runs.folder_of(run) / "result.json").unlink()
    again = runs.execute(run)
    assert again.provenance["devices"] == 1
    assert (again.key, again.metrics, losses(again.history)) == (made.key, made.metrics, losses(made.history))


@pytest.mark.usefixtures("place")
def test_a_loss_that_looks_into_the_network_is_refused() -> None:
    from mdelib import runs
    from mdelib.experiments import Experiment

    changed = {**TOY, "variants": {"a": {"title": "A", "settings": {"network": "fusanet", "points": {}}}}}
    run, = Experiment(**changed).runs("scenes-rooms", "smoke")
    with pytest.raises(ValueError, match="a loss that looks into the network.*leave --devices out"):
        runs.execute(run, devices=2)
