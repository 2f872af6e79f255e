"""TIE-KD's loss with the sign of the covariance: equal where relief agrees, far from it where it is inside out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from skimage.metrics import structural_similarity

from mdelib.distill.signed import SignedTraining, signed_ssim_loss
from mdelib.distill.training import StudentTraining
from mdelib.losses import ssim_loss
from mdelib.models import create_model


@pytest.fixture
def depth(generator) -> torch.Tensor:
    return 2 + F.interpolate(3 * torch.rand(2, 1, 5, 7, generator=generator), size=(24, 32), mode="bicubic")


def test_where_relief_agrees_it_is_the_authors_loss(depth) -> None:
    for pred in (depth, 1.2 * depth):  # padded with zeros, they rise and fall together at the border as well
        assert torch.isclose(signed_ssim_loss(pred, depth), ssim_loss(pred, depth, variant="tiekd"), atol=1e-6)
    assert signed_ssim_loss(depth, depth).abs() < 1e-6


def test_inside_out_is_far_here_and_near_there(depth) -> None:
    mean = F.avg_pool2d(F.pad(depth, (5,) * 4, mode="replicate"), 11, 1)
    turned = 2 * mean - depth  # the same means, each bump a dent
    inner = (slice(None), slice(None), slice(5, -5), slice(5, -5))  # windows without padding
    here, there = (loss(turned[inner], depth[inner]) for loss in (
        signed_ssim_loss, lambda p, t: ssim_loss(p, t, variant="tiekd")))
    assert here > there + 0.3


def test_it_is_scikit_images_ssim_of_the_padded_maps(depth) -> None:
    pred, target = depth.double(), depth.flip(-1).double()
    ours = 1 - signed_ssim_loss(pred, target)
    theirs = [structural_similarity(*(F.pad(one, (5,) * 4)[0].numpy() for one in pair), win_size=11, data_range=1.0,
                                    gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
              for pair in zip(pred, target, strict=True)]
    assert ours.item() == pytest.approx(sum(theirs) / 2, abs=1e-6)


def test_holes_do_not_count_and_need_a_pixel_beside(depth, generator) -> None:
    mask = torch.rand(depth.shape, generator=generator) < 0.8
    value = signed_ssim_loss(1.1 * depth, depth, mask)
    for nonsense in (0.0, torch.nan, -1.0, torch.inf):
        holed = depth.where(mask, nonsense)
        assert torch.isclose(signed_ssim_loss(1.1 * depth, holed), value, atol=1e-6)
    with pytest.raises(ValueError, match="no valid window centre"):
        signed_ssim_loss(depth, depth, torch.zeros_like(mask))
    with pytest.raises(ValueError, match=r"expected two of one shape"):
        signed_ssim_loss(depth, depth[..., :20])


def test_gradients_are_finite_and_point_down(depth) -> None:
    start = (8 - depth).requires_grad_()
    slope, = torch.autograd.grad(signed_ssim_loss(start, depth), start)
    assert torch.isfinite(slope).all()
    assert signed_ssim_loss(start - slope / slope.norm(), depth) < signed_ssim_loss(start, depth)


@pytest.mark.parametrize(("alpha", "same"), [(1.0, True), (0.1, False)])
def test_training_differs_in_ssim_alone(alpha: float, same: bool, generator) -> None:
    student = create_model("densedepth_mobilenetv2")
    options = {"sigma": 0.15, "alpha": alpha, "beta": 10.0, "top": 0.25}
    image = torch.rand(2, 3, 32, 48, generator=generator)
    target = 1 + 4 * torch.rand(2, 1, 32, 48, generator=generator)
    ours, theirs = SignedTraining(student, **options), StudentTraining(student, "tie_kd", **options)
    raw = ours(image)
    values = [training.loss(raw, target, target > 1.5) for training in (ours, theirs)]
    assert torch.isclose(*values).item() is same
    assert values[0] >= values[1] - 1e-5  # a covariance is at most its absolute value

