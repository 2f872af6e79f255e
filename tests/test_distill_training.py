"""Students in training: teacher maps on disk, in the augmentation and in the run system."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from mdelib import data, runs
from mdelib.augment import Augmentation, augment
from mdelib.data.base import DepthBatch, resize_depth
from mdelib.distill.objectives import response_loss, tie_kd_loss
from mdelib.distill.settings import Distillation, Teacher
from mdelib.distill.teachers import TeacherSource, learned_views, taught_by, teacher_maps
from mdelib.distill.training import SIMILARITIES, StudentTraining, distillation_scores, teacher_similarity
from mdelib.experiments import Experiment, RunSettings
from mdelib.metrics import depth_metrics
from mdelib.models import create_model, wrap
from mdelib.runs import execute, needed, network, run_key
from mdelib.train import TrainSettings, fit
from mdelib.weights import save_weights

SIZE = (32, 48)
TEACHERS = {"given": {"network": "segformer", "weights": "rooms_transformer", "size": [48, 64]},
            "made": {"run": "plain/cnn"}}
FILES = {
    "toy": {"name": "toy", "title": "Toy", "paper": "choi2024", "place": "-", "notebook": "11",
            "common": {"network": "densedepth_mobilenetv2", "protocol": "rooms", "size": SIZE, "train_views": 4,
                       "test_views": 2, "train": {"epochs": 1, "batch": 2, "precision": "32-true"},
                       "distillation": {"teacher": "given", "sigma": 0.15, "teachers": TEACHERS,
                                        "compare": ["given"]}},
            "variants": {
                "tie_kd": {"title": "A"},
                "made": {"title": "B", "settings": {"distillation": {"teacher": "made",
                                                                     "compare": ["given", "made"]}}},
                "signed": {"title": "E", "settings": {"distillation": {"loss": "tie_kd_signed"}}},
                "truth": {"title": "C", "settings": {"distillation": {"teacher": "truth"}}},
                "baseline": {"title": "D", "settings": {"network_options": {"head": "regression"},
                                                        "distillation": {"teacher": "truth", "loss": "si"}}}},
            "data": {"scenes-rooms": {}}, "scales": {"smoke": {"seeds": [0, 1]}}},
    "plain": {"name": "plain", "title": "Plain", "paper": "choi2024", "place": "-", "notebook": "11",
              "common": {"network": "meter_xxs", "protocol": "rooms", "size": (64, 64), "train_views": 4,
                         "test_views": 2, "train": {"epochs": 1, "batch": 2, "precision": "32-true"}},
              "variants": {"cnn": {"title": "A"}}, "data": {"scenes-rooms": {}}, "scales": {"smoke": {}}},
}


def run_of(variant: str = "tie_kd", seed: int = 0, **changes):
    run, = Experiment(**FILES["toy"]).runs("scenes-rooms", "smoke", variants=[variant], seeds=[seed])
    setting = run.settings.distillation.model_copy(update=changes)
    return run.model_copy(update={"settings": run.settings.model_copy(update={"distillation": setting})})


class Row(nn.Module):
    """Depth is 1 m and the row's number; the images that it saw are kept."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image):
        self.seen.append(tuple(image.shape))
        rows = torch.arange(image.shape[-2], dtype=torch.float32)[:, None]
        return (1 + rows).expand(len(image), 1, *image.shape[-2:])


def source(module: nn.Module, size=(16, 24), key="row"):
    return TeacherSource(key, size, lambda: wrap(module).eval())


@pytest.fixture
def rooms(scenes: Path):
    return data.load("scenes-rooms", "test", count=3, size=(32, 48))


# teacher maps

def test_a_teacher_sees_its_own_size_and_its_map_has_the_students(rooms, tmp_path: Path) -> None:
    teacher = Row()
    maps = teacher_maps(source(teacher), rooms, (8, 12), folder=tmp_path, batch=2)
    assert maps.shape == (3, 1, 8, 12)
    assert teacher.seen == [(2, 3, 16, 24), (1, 3, 16, 24)]
    torch.testing.assert_close(maps[0, 0, :, 0], 1.5 + 2 * torch.arange(8.0))  # halved: means of two rows


def test_maps_are_made_once(rooms, tmp_path: Path) -> None:
    teacher = Row()
    first = teacher_maps(source(teacher), rooms, (8, 12), folder=tmp_path)
    asked = len(teacher.seen)
    assert torch.equal(teacher_maps(source(teacher), rooms, (8, 12), folder=tmp_path), first)
    assert len(teacher.seen) == asked
    for other in ((source(teacher, key="other"), rooms, (8, 12)), (source(teacher), rooms, (4, 6)),
                  (source(teacher, size=(32, 48)), rooms, (8, 12)), (source(teacher), rooms.subset([0, 1]), (8, 12))):
        teacher_maps(*other, folder=tmp_path)
    assert len(teacher.seen) == asked + 4


def test_a_damaged_file_is_made_again(rooms, tmp_path: Path) -> None:
    teacher = Row()
    first = teacher_maps(source(teacher), rooms, (8, 12), folder=tmp_path)
    file, = tmp_path.glob("teacher-*")
    file.write_bytes(file.read_bytes()[:-9])
    assert torch.equal(teacher_maps(source(teacher), rooms, (8, 12), folder=tmp_path), first)


def test_a_teacher_that_says_nan_is_refused(rooms, tmp_path: Path) -> None:
    class Broken(nn.Module):
        def forward(self, image):
            return torch.full((len(image), 1, *image.shape[-2:]), torch.nan)

    with pytest.raises(ValueError, match="not finite at 288 pixels"):
        teacher_maps(source(Broken()), rooms, (8, 12), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def views_of(count: int = 2, size=(8, 12)) -> DepthBatch:
    truth = torch.full((count, 1, *size), 3.0)
    return DepthBatch(tuple(map(str, range(count))), torch.rand(count, 3, *size), truth, truth > 9)


def test_the_map_takes_the_place_of_the_truth() -> None:
    views, maps = views_of(), 1 + torch.rand(2, 1, 8, 12)
    taught = taught_by(views, maps)
    assert torch.equal(taught.depth, maps) and taught.mask.all() and taught.image is views.image
    holed = maps.clone()
    holed[0, 0, 0], holed[1, 0, 3, 3] = 0, torch.nan
    taught = taught_by(views, holed)
    assert int((~taught.mask).sum()) == 13 and torch.isfinite(taught.depth).all()
    with pytest.raises(ValueError, match="student's size"):
        taught_by(views, maps[..., :6])
    with pytest.raises(ValueError, match="student's size"):
        taught_by(views, maps[:1])
    with pytest.raises(ValueError, match="says nothing"):
        taught_by(views, torch.zeros_like(maps))


def test_the_map_is_mirrored_together_with_the_image(generator) -> None:
    maps = torch.arange(12.0).expand(2, 1, 8, 12) + 1
    views = views_of()
    views = taught_by(DepthBatch(views.names, maps.expand(-1, 3, -1, -1) / 20, views.depth, views.mask), maps)
    image, depth, mask = augment(views.image, views.depth, views.mask, Augmentation(flip=1.0), generator)
    torch.testing.assert_close(depth, maps.flip(-1))
    torch.testing.assert_close(image[:, :1] * 20, depth)
    assert mask.all()


def test_without_a_teacher_the_truth_stays(rooms) -> None:
    views = views_of()
    assert learned_views(None, rooms, views) is views
    maps = learned_views(lambda asked: torch.full((2, 1, 8, 12), float(len(asked))), rooms, views)
    assert (maps.depth == 3).all()


# training

def test_the_module_is_the_student_and_its_loss_the_objective(generator) -> None:
    student = create_model("densedepth_mobilenetv2").eval()
    image, depth = torch.rand(2, 3, 32, 48), 1 + 5 * torch.rand(2, 1, 32, 48, generator=generator)
    mask = torch.rand(2, 1, 32, 48, generator=generator) > 0.3
    training = StudentTraining(student, "tie_kd", sigma=0.15, alpha=0.3)
    with torch.no_grad():
        raw = training(image)
        half = [resize_depth(part, (16, 24)) for part in (depth, mask.float())]
        half[1] = half[1] > 0.5
        wanted = tie_kd_loss(student.predict_raw(image), half[0], student.edges, half[1], sigma=0.15, alpha=0.3)
        torch.testing.assert_close(training.loss(raw, depth, mask), wanted)
        response = StudentTraining(student, "ssim_si", ssim_weight=1.0, top=2 / 16)
        torch.testing.assert_close(response.loss(raw, depth, mask), response_loss(
            student.to_depth(raw), *half, kind="ssim_si", ssim_weight=1.0, top_rows=2))


@pytest.mark.parametrize(("head", "loss", "options"), [("dpm", "tie_kd", {"sigma": 0.15}),
                                                       ("regression", "ssim_si", {}), ("dpm", "si", {})])
def test_a_student_learns_a_flat_wall(head: str, loss: str, options: dict) -> None:
    student = create_model("densedepth_mobilenetv2", head=head)
    views = views_of(4, (32, 32))
    views = taught_by(views, torch.full((4, 1, 32, 32), 3.2))
    training = StudentTraining(student, loss, **options)
    history = fit(training, views, training.loss, TrainSettings(epochs=12, batch=4, lr=3e-3, precision="32-true"))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]


def test_a_training_that_was_stopped_goes_on_exactly(tmp_path: Path) -> None:
    def trained(*stops: int) -> torch.Tensor:
        torch.manual_seed(0)
        training = StudentTraining(create_model("densedepth_mobilenetv2"), "tie_kd", sigma=0.15)
        views = taught_by(views_of(2, (32, 32)), 2 + torch.arange(32.0).expand(2, 1, 32, 32) / 8)
        for stop in stops:
            def enough(done: int, _: int, __: dict, stop: int = stop) -> None:
                if done == stop and stop < 2:
                    raise KeyboardInterrupt
            settings = TrainSettings(epochs=2, batch=2, ema=0.9, augmentation=Augmentation(flip=0.5))
            try:
                fit(training, views, training.loss, settings, checkpoint=tmp_path / f"{len(stops)}.pt",
                    progress=enough)
            except KeyboardInterrupt:
                training = StudentTraining(create_model("densedepth_mobilenetv2"), "tie_kd", sigma=0.15)
        return training.student.head.weight.detach()

    torch.manual_seed(0)
    assert torch.equal(trained(2), trained(1, 2))


def test_tie_kd_needs_probabilities() -> None:
    student = create_model("densedepth_mobilenetv2", head="regression")
    with pytest.raises(ValueError, match="says no probabilities"):
        StudentTraining(student, "tie_kd", sigma=0.15)
    with pytest.raises(ValueError, match="loss"):
        StudentTraining(student, "kl")


# measures

def test_similarity_is_the_error_with_the_teacher_as_truth(generator) -> None:
    student, teacher = (1 + 8 * torch.rand(3, 1, 8, 9, generator=generator) for _ in range(2))
    found = teacher_similarity(student, teacher)
    assert found.keys() == set(SIMILARITIES)
    wanted = depth_metrics(student, teacher)
    for measure in SIMILARITIES:
        assert found[measure].shape == (3,)
        assert float(found[measure].mean()) == pytest.approx(wanted[measure])
    same = teacher_similarity(teacher, teacher)
    assert [float(same[m].mean()) for m in SIMILARITIES] == pytest.approx([0, 0, 1])
    changed = teacher.clone()
    changed[:, :, :3] = 9
    torch.testing.assert_close(teacher_similarity(student, changed, top_rows=3)["rmse"],
                               teacher_similarity(student, teacher, top_rows=3)["rmse"])
    with pytest.raises(ValueError, match="differ in shape"):
        teacher_similarity(student, teacher[..., :5])


def test_scores_stand_beside_the_protocols(rooms) -> None:
    student = create_model("densedepth_mobilenetv2").eval()
    with torch.no_grad():
        own = torch.cat([student(view.image[None]) for view in rooms.stream()])
    names, values, further = distillation_scores(student, rooms, "rooms", size=(32, 48), teachers={
        "itself": lambda _: own, "half": lambda _: own / 2})
    assert names == rooms.names and further == {}
    assert {"abs_rel", "rmse", "half_abs_rel", "half_rmse", "half_delta1"} <= values.keys()
    torch.testing.assert_close(values["half_abs_rel"], torch.ones(3, dtype=torch.float64), rtol=1e-5, atol=0)
    assert float(values["itself_rmse"].max()) < 1e-5
    assert not [name for name in distillation_scores(student, rooms, "rooms", size=(32, 48), teachers={})[1]
                if "itself" in name]


# runs

def test_a_run_is_made_and_its_student_comes_back(place: Path) -> None:
    made = execute(run_of())
    assert {"abs_rel", "given_abs_rel", "given_rmse", "given_delta1"} <= made.metrics.keys()
    assert made.parameters["distillation"]["sigma"] == 0.15 and len(made.history) == 1
    assert len(made.per_image["given_rmse"]) == len(made.names) == 2
    student = network("toy", "tie_kd", "scenes-rooms", "smoke", 0)
    assert student.head_kind == "dpm" and not student.training
    assert made.provenance["parameters"] == sum(p.numel() for p in student.parameters())
    assert len(list((place / "runs/cache").glob("teacher-*-48x64-32x48-*"))) == 2  # training and test views
    assert execute(run_of()) == made


def test_the_truth_and_a_teacher_give_different_students(place: Path) -> None:
    heads = []
    for variant in ("tie_kd", "truth", "baseline"):
        execute(run_of(variant))
        heads.append(network("toy", variant, "scenes-rooms", "smoke", 0).bottom.weight)
    assert not torch.equal(heads[0], heads[1]) and heads[2].shape == heads[1].shape


def test_the_sign_of_the_covariance_is_a_loss_of_its_own(place: Path) -> None:
    execute(run_of("signed"))
    one, other = (network("toy", variant, "scenes-rooms", "smoke", 0) for variant in ("signed", "tie_kd"))
    assert not torch.equal(one.bottom.weight, other.bottom.weight)


def test_a_finished_student_is_scored_once_more(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    common = {name: value for name, value in FILES["toy"]["common"].items() if name not in ("train", "distillation")}
    later = {**FILES["toy"], "name": "later", "variants": {"tie_kd": {"title": "A"}}, "common": {
        **common, "measures": ["depth", "relief"], "transfer": {"run": "toy/tie_kd", "data": "scenes-rooms"}}}
    monkeypatch.setitem(FILES, "later", later)
    run, = Experiment(**later).runs("scenes-rooms", "smoke", seeds=[0])
    found, made = execute(run), execute(run_of())
    assert found.per_image["abs_rel"] == made.per_image["abs_rel"] and not found.history
    assert all(-1 <= value <= 1 for value in found.per_image["relief"])


def test_a_teacher_from_a_run_is_trained_first(place: Path) -> None:
    run = run_of("made")
    assert [one.address for one in needed(run)] == ["plain/cnn/scenes-rooms-smoke/seed0"]
    assert needed(run_of()) == []
    made = execute(run)
    assert {"made_rmse", "given_rmse"} <= made.metrics.keys()
    assert (place / "runs/plain/cnn/scenes-rooms-smoke/seed0/result.json").is_file()
    assert list((place / "runs/cache").glob("teacher-*-64x64-32x48-*"))  # at the size of the teacher's run


def test_what_counts_changes_the_key(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [run_of(), run_of(seed=1), run_of(sigma=0.2), run_of(alpha=0.2), run_of(normalize="linear"),
             run_of(top=0.3), run_of(loss="tie_kd_signed"), run_of("made"), run_of("truth"), run_of("baseline"),
             run_of(teachers={**run_of().settings.distillation.teachers,
                              "given": Teacher(network="segformer", weights="rooms_transformer", size=(32, 48))})]
    keys = [run_key(one) for one in cases]
    assert len(set(keys)) == len(cases)
    other = create_model("segformer")
    file = save_weights(other, place / "other.safetensors")
    monkeypatch.setattr(runs.models, "weights_digest", lambda weights: str(file))
    assert run_key(run_of()) != keys[0]


def test_the_loss_that_plays_no_part_is_no_part_of_the_code(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mdelib import losses
    from mdelib.distill import training

    before = run_key(run_of())
    monkeypatch.setitem(runs.LOSSES, "silog", losses.berhu)
    runs._code.cache_clear()
    assert run_key(run_of()) == before
    monkeypatch.setattr(training, "tie_kd_loss", losses.berhu)
    runs._code.cache_clear()
    assert run_key(run_of()) != before
    monkeypatch.undo()
    runs._code.cache_clear()


# settings

def test_the_crop_is_a_share_of_the_rows() -> None:
    setting = Distillation(top=110 / 352, loss="tie_kd", crop="tie_kd")
    assert setting.top_rows(352) == 110 and setting.top_rows(96) == 30
    assert setting.options["top"] == 110 / 352
    assert Distillation(top=110 / 352, loss="ssim", crop="tie_kd").options == {"ssim_weight": 1.5, "top": 0.0}
    assert Distillation(top=110 / 352, loss="ssim").options["top"] == 110 / 352


def test_who_is_asked() -> None:
    teachers = {name: Teacher(network="segformer", weights="rooms_transformer") for name in "abc"}
    assert Distillation(teacher="b", teachers=teachers).asked == ("b", "a", "c")
    assert Distillation(teachers=teachers, compare=("c",)).asked == ("c",)
    assert Distillation(teacher="a", teachers=teachers, compare=()).asked == ("a",)


@pytest.mark.parametrize(("changes", "words"), [
    ({"teacher": "nobody"}, "nobody"), ({"compare": ("nobody",)}, "nobody"), ({"compare": ("truth",)}, "truth"),
    ({"sigma": 0}, "greater than 0"), ({"sigma": -1}, "greater than 0"), ({"alpha": 1.5}, "less than or equal to 1"),
    ({"top": 1}, "less than 1"), ({"loss": "l1"}, "tie_kd"),
    ({"teachers": {"a": {"run": "x/y", "network": "bts", "weights": "w"}}}, "one of the two"),
    ({"teachers": {"a": {"network": "bts"}}}, "one of the two"), ({"teachers": {"a": {}}}, "one of the two"),
    ({"teachers": {"a": {"run": "xy"}}}, "pattern"),
])
def test_settings_that_do_not_fit(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Distillation(**changes)


def test_a_run_that_does_not_fit() -> None:
    good = {"network": "densedepth_mobilenetv2", "protocol": "rooms", "train": {}, "distillation": {}}
    assert "distillation" in RunSettings(**good).plain()
    assert "distillation" not in RunSettings(**{**good, "distillation": None}).plain()
    for changes, words in (({"train": None}, "give it 'train'"), ({"weights": "x"}, "trains a student"),
                           ({"network": "bts"}, "student of TIE-KD"),
                           ({"network_options": {"head": "regression"}}, "says probabilities")):
        with pytest.raises(ValueError, match=words):
            RunSettings(**{**good, **changes})
