"""Random views: what is moved, is moved alike in image, depth and mask."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from mdelib.augment import Augmentation, augment, random_geometry, random_light


@pytest.fixture
def views():
    depth = torch.rand(4, 1, 24, 32) + 1
    return depth.expand(-1, 3, -1, -1) / 2, depth, torch.ones_like(depth, dtype=torch.bool)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_default_changes_nothing(views):
    for old, new in zip(views, augment(*views, Augmentation(), seeded()), strict=True):
        assert torch.equal(old, new)


def test_a_certain_mirror_is_the_mirror_image(views):
    image, depth, mask = augment(*views, Augmentation(flip=1.0), seeded())
    assert torch.allclose(image, views[0].flip(-1), atol=1e-5)
    assert torch.equal(depth, views[1].flip(-1))
    assert mask.all()


def test_image_and_depth_move_together():
    ramp = torch.linspace(0.2, 0.9, 64).expand(6, 1, 48, 64)
    setting = Augmentation(flip=0.5, zoom=1.5, rotate=5)
    image, depth, mask = augment(ramp.expand(-1, 3, -1, -1), ramp, torch.ones_like(ramp).bool(), setting, seeded())
    difference = (image[:, :1] - depth).abs()
    assert difference[mask].max() < 0.02  # one pixel of the ramp: nearest against bilinear
    assert (depth - ramp).abs().mean() > 0.01


def test_pixels_from_outside_are_masked(views):
    _, depth, mask = augment(*views, Augmentation(rotate=30), seeded())
    assert 0.5 < mask.float().mean() < 0.999
    assert (depth[mask] >= 1).all()


def test_masked_pixels_stay_masked(views):
    image, depth, _ = views
    _, _, mask = augment(image, depth, torch.zeros_like(depth, dtype=torch.bool), Augmentation(zoom=2.0), seeded())
    assert not mask.any()


def test_zooming_in_brings_nearer_where_asked():
    depth = torch.full((8, 1, 16, 16), 4.0)
    views = (torch.rand(8, 3, 16, 16), depth, torch.ones_like(depth).bool())
    _, same, _ = augment(*views, Augmentation(zoom=2.0), seeded())
    _, nearer, _ = augment(*views, Augmentation(zoom=2.0, zoom_depth=True), seeded())
    assert torch.equal(same, depth)
    assert (nearer <= 4).all() and (nearer >= 2).all() and nearer.std() > 0.1


def test_a_zoomed_crop_never_leaves_the_view():
    affine, zoom = random_geometry(200, 24, 32, Augmentation(flip=0.5, zoom=1.7), seeded())
    corners = torch.tensor([[x, y, 1.0] for x in (-1, 1) for y in (-1, 1)])
    reached = torch.einsum("nij,kj->nki", affine, corners)
    assert reached.abs().max() <= 1 + 1e-6
    assert (zoom >= 1).all() and (zoom <= 1.7).all()


def test_light_keeps_the_range_and_the_generator_decides(views):
    setting = Augmentation(light=0.3)
    one, two = (random_light(views[0], setting, seeded(seed)) for seed in (0, 1))
    assert one.min() >= 0 and one.max() <= 1
    assert torch.equal(one, random_light(views[0], setting, seeded(0)))
    assert not torch.equal(one, two)


@pytest.mark.parametrize("bad", [{"flip": 2}, {"zoom": 0.5}, {"rotate": 50}, {"light": 1.0}, {"zomm": 1.2}])
def test_settings_out_of_range_are_refused(bad):
    with pytest.raises(ValidationError):
        Augmentation(**bad)
