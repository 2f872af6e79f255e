"""`mdelib.priors`: what position alone says about depth."""

from __future__ import annotations

import pytest
import torch

from mdelib.priors import PositionPrior, mean_depth_map


def views() -> tuple[torch.Tensor, torch.Tensor]:
    depth = torch.tensor([[[[1.0, 2.0], [3.0, 0.0]]], [[[3.0, 9.0], [5.0, 0.0]]]])
    mask = torch.tensor([[[[True, True], [True, False]]], [[[True, False], [True, False]]]])
    return depth, mask


def test_mean_by_hand_with_holes() -> None:
    depth, mask = views()
    known = (1 + 2 + 3 + 3 + 5) / 5  # what a pixel gets that no view knows
    expected = torch.tensor([[[[2.0, 2.0], [4.0, known]]]])
    assert torch.allclose(mean_depth_map(depth, mask), expected)


def test_what_is_under_the_mask_does_not_matter() -> None:
    depth, mask = views()
    assert torch.equal(mean_depth_map(depth, mask), mean_depth_map(torch.where(mask, depth, torch.nan), mask))


def test_the_mean_map_has_the_smallest_squared_error_of_all_maps(generator: torch.Generator) -> None:
    depth = 1 + torch.rand(5, 1, 4, 6, generator=generator)
    best = mean_depth_map(depth, torch.ones_like(depth).bool())
    error = (depth - best).square().mean()
    for _ in range(5):
        other = best + 0.1 * torch.randn(best.shape, generator=generator)
        assert (depth - other).square().mean() > error


def test_the_prior_answers_every_image_alike_and_at_its_size() -> None:
    prior = PositionPrior(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    answer = prior(torch.rand(3, 3, 8, 10))
    assert answer.shape == (3, 1, 8, 10)
    assert torch.equal(answer[0], answer[2])
    assert torch.equal(prior(torch.rand(1, 3, 2, 2)), prior.depth)
    assert answer.min() >= 1 and answer.max() <= 4
    assert sum(p.numel() for p in prior.parameters()) == 0


def test_bad_input_is_one_sentence() -> None:
    depth, mask = views()
    with pytest.raises(ValueError, match="bool mask"):
        mean_depth_map(depth, mask.float())
    with pytest.raises(ValueError, match="do not fit"):
        mean_depth_map(depth[0], mask[0])
    with pytest.raises(ValueError, match="no pixel"):
        mean_depth_map(depth, torch.zeros_like(mask))
    with pytest.raises(ValueError, match="one map"):
        PositionPrior(depth)
