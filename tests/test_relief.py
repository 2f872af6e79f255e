"""The correlation of predicted and true depth: which way round a relief is."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from mdelib.relief import is_inside_out, relief_agreement


def views(generator: torch.Generator, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    target = 1 + 4 * torch.rand(3, 1, 6, 8, generator=generator, dtype=dtype)
    pred = target + torch.rand(target.shape, generator=generator, dtype=dtype)
    return pred, target, torch.rand(target.shape, generator=generator) < 0.7


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_it_is_pearsons_correlation_of_each_image(generator, dtype) -> None:
    pred, target, mask = views(generator)
    pred, target = pred.to(dtype), target.to(dtype)
    found = relief_agreement(pred, target, mask)["relief"]
    assert found.dtype == torch.float64 and found.shape == (3,)
    for value, p, t, m in zip(found, pred, target, mask, strict=True):
        assert value.item() == pytest.approx(stats.pearsonr(p[m].double(), t[m].double())[0], rel=1e-9)


def test_right_is_1_inside_out_is_minus_1_however_stretched(generator) -> None:
    _, target, mask = views(generator)
    assert relief_agreement(0.1 * target + 3, target, mask)["relief"].sub(1).abs().max() < 1e-6
    assert relief_agreement(7 - target, target, mask)["relief"].add(1).abs().max() < 1e-6


def test_pixels_that_do_not_count_have_no_say(generator) -> None:
    pred, target, mask = views(generator, torch.float64)
    for nonsense in (0.0, math.nan, math.inf, 1e30):
        other = relief_agreement(pred.where(mask, nonsense), target.where(mask, nonsense), mask)["relief"]
        assert torch.equal(other, relief_agreement(pred, target, mask)["relief"])


def test_nothing_to_correlate_is_nan(generator) -> None:
    pred, target, mask = views(generator)
    mask[0] = False
    mask[1] = torch.arange(48).view(1, 6, 8) == 5
    flat = torch.full_like(pred, 2.3)
    assert relief_agreement(pred, target, mask)["relief"].isnan().tolist() == [True, True, False]
    assert relief_agreement(flat, target, mask)["relief"].isnan().all()
    assert relief_agreement(pred, flat, mask)["relief"].isnan().all()


def test_inside_out_is_a_matter_of_the_middle_view() -> None:
    assert is_inside_out([-0.9, -0.1, 0.8]) and not is_inside_out([-0.9, 0.1, 0.8])
    assert is_inside_out([-0.2, None, math.nan]) and not is_inside_out([0.0])


def test_sizes_that_do_not_fit() -> None:
    one = torch.ones(2, 1, 4, 5)
    for others in ((one[:1], one > 0), (one, one[..., :4] > 0), (one[:, 0], one > 0)):
        with pytest.raises(ValueError, match=r"expected three of one shape, \(B, 1, H, W\)"):
            relief_agreement(one, *others)
