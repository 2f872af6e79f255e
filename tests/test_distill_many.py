"""Many students at once against one after another."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from mdelib.augment import Augmentation
from mdelib.data.base import DepthBatch
from mdelib.distill.many import Ensemble, fit_many
from mdelib.distill.teachers import taught_by
from mdelib.distill.training import StudentTraining
from mdelib.models import create_model
from mdelib.train import TrainSettings, fit

SETTINGS = TrainSettings(epochs=2, batch=2, lr=1e-3, ema=0.9, precision="32-true", clip=1.0,
                         augmentation=Augmentation(flip=0.5, rotate=2.0, light=0.1))


class Wall(nn.Module):
    """A small network with a norm, so that buffers count, too."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
                                    nn.Conv2d(4, 1, 1))

    def forward(self, image):
        return self.layers(image)


def views_of(count=4, size=(8, 12), seed=0):
    generator = torch.Generator().manual_seed(seed)
    depth = 1 + 4 * torch.rand(count, 1, *size, generator=generator)
    image = torch.rand(count, 3, *size, generator=generator)
    return DepthBatch(tuple(map(str, range(count))), image, depth, depth > 0)


def squared(output, depth, mask):
    return torch.where(mask, output - depth, 0).square().mean()


def absolute(output, depth, mask):
    return torch.where(mask, output - depth, 0).abs().mean()


def far(one: nn.Module, two: nn.Module) -> float:
    return max(float((a.float() - b.float()).abs().max()) for a, b in zip(
        one.state_dict().values(), two.state_dict().values(), strict=True))


@torch.no_grad()
def distance(one: nn.Module, two: nn.Module) -> float:
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return float(sum((a - b).square().sum() for a, b in pairs)) ** 0.5


def test_an_ensemble_says_what_each_says(generator):
    networks = [Wall().eval() for _ in range(3)]
    image = torch.rand(2, 3, 6, 7, generator=generator)
    with torch.no_grad():
        said = Ensemble(networks)(image)
        for place, network in enumerate(networks):
            torch.testing.assert_close(said[place], network(image))


def test_together_is_as_one_after_another():
    networks = [Wall() for _ in range(3)]
    alone = [deepcopy(network) for network in networks]
    start = deepcopy(networks[0])
    losses = [squared, absolute, lambda *parts: 5 * squared(*parts)]
    views = [views_of(), views_of(), views_of()]
    views[2] = taught_by(views[2], views[2].depth.flip(-1))  # another teacher, the same images
    together = fit_many(networks, views, losses, SETTINGS, seed=3)
    for place, network in enumerate(alone):
        history = fit(network, views[place], losses[place], SETTINGS, seed=3)
        assert [epoch["loss"] for epoch in together[place]] == pytest.approx([e["loss"] for e in history], rel=1e-4)
        assert far(networks[place], network) < 2e-5
        assert together[place][-1]["lr"] == history[-1]["lr"]
    assert far(networks[0], start) > 1e-3 and not networks[0].training


def test_students_of_different_alpha_and_sigma():
    def students():
        torch.manual_seed(0)
        base = create_model("densedepth_mobilenetv2")
        return [StudentTraining(deepcopy(base), "tie_kd", sigma=sigma, alpha=alpha)
                for sigma, alpha in ((0.15, 0.1), (0.8, 0.5))]

    views = taught_by(views_of(2, (32, 32)), views_of(2, (32, 32), seed=1).depth)
    settings = SETTINGS.model_copy(update={"epochs": 1})
    together, alone = students(), students()
    histories = fit_many(together, [views], [one.loss for one in together], settings)
    for one, other, history in zip(together, alone, histories, strict=True):
        wanted = fit(other, views, other.loss, settings)
        assert history[0]["loss"] == pytest.approx(wanted[0]["loss"], rel=1e-4)
        assert distance(one, other) < 0.03 * distance(one, students()[0])


def test_clipping_is_for_each_alone():
    networks = [Wall(), Wall()]
    quiet = deepcopy(networks[1])
    fit_many(networks, [views_of()], [lambda *parts: 1e6 * squared(*parts), absolute], SETTINGS)
    fit(quiet, views_of(), absolute, SETTINGS)
    assert far(networks[1], quiet) < 2e-5


def test_bad_requests():
    with pytest.raises(ValueError, match="one architecture"):
        Ensemble([Wall(), nn.Conv2d(3, 1, 1)])
    with pytest.raises(ValueError, match="at least one|least one, and all"):
        Ensemble([])
    with pytest.raises(ValueError, match="one of each"):
        fit_many([Wall(), Wall()], [views_of()], [squared], SETTINGS)
    with pytest.raises(ValueError, match="same images"):
        fit_many([Wall(), Wall()], [views_of(4), views_of(3)], [squared, squared], SETTINGS)
    with pytest.raises(FloatingPointError, match="network 1"):
        fit_many([Wall(), Wall()], [views_of()], [squared, lambda *parts: squared(*parts) / 0], SETTINGS)
