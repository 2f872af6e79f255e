"""Edge measures on steps, ramps and planes whose answers are known in closed form."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate

from mdelib.data import load
from mdelib.edges import REGION_ERRORS, depth_edges, edge_precision_recall, edge_regions, edge_scores, region_errors


def step(near=2.0, far=4.0, at=20, width=40, height=24, ramp=0):
    """Depth that jumps between columns at - 1 and at; or climbs in log depth over `ramp` pixels around there."""
    x = torch.arange(width, dtype=torch.float64)
    share = (x >= at).double() if ramp == 0 else ((x - at + 0.5) / ramp + 0.5).clamp(0, 1)
    log = math.log(near) + share * math.log(far / near)
    return log.exp().expand(1, 1, height, width).contiguous()


def columns(mask):
    """The columns that a mask holds in the middle row."""
    return mask[0, 0, mask.shape[-2] // 2].nonzero().flatten().tolist()


def test_step_of_h_metres_answers_4h_on_both_sides():
    depth = step(2.0, 2.1)
    assert columns(depth_edges(depth, threshold=0.39)) == [19, 20]
    assert columns(depth_edges(depth, threshold=0.41)) == []
    assert depth_edges(depth).shape == depth.shape and depth_edges(depth).dtype == torch.bool


def test_depth_edges_by_scipy(generator):
    depth = torch.rand(1, 1, 12, 13, generator=generator, dtype=torch.float64) + 2
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], float)
    dx, dy = (correlate(depth[0, 0].numpy(), k, mode="constant") for k in (kernel, kernel.T))
    strong = np.hypot(dx, dy) > 1.0
    assert np.array_equal(depth_edges(depth, threshold=1.0, border="zeros")[0, 0].numpy(), strong)
    inside = depth_edges(depth, threshold=1.0)[0, 0].numpy()
    assert np.array_equal(inside[1:-1, 1:-1], strong[1:-1, 1:-1]) and 0 < inside.sum() < inside.size
    assert not inside[0].any() and not inside[:, -1].any()  # the frame is no edge
    assert strong[0].all() and strong[:, -1].all()  # padded with zeros it is


def test_depth_edges_stay_away_from_holes():
    depth = step()
    mask = torch.ones_like(depth, dtype=torch.bool)
    mask[..., 10, 5] = False
    spoiled = torch.where(mask, depth, math.nan)
    edges = depth_edges(spoiled, mask)
    assert columns(edges) == [19, 20] and not edges[..., 9:12, 4:7].any()
    mask[..., 12, 19] = False
    assert columns(depth_edges(depth, mask)) == []


def test_precision_and_recall_by_counting():
    true = step(at=20)
    assert edge_precision_recall(true, true) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert edge_precision_recall(step(at=21), true) == pytest.approx({"precision": 0.5, "recall": 0.5, "f1": 0.5})
    assert edge_precision_recall(step(at=30), true) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    two = torch.where(torch.arange(40) >= 30, true + 3, true)  # the right edge and another
    assert edge_precision_recall(two, true) == pytest.approx({"precision": 0.5, "recall": 1.0, "f1": 2 / 3})
    missed = torch.full_like(true, 3.0)
    assert edge_precision_recall(missed, true) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_images_without_true_edges_have_no_score():
    true = torch.cat([step(at=20), torch.full_like(step(), 3.0)])
    pred = torch.cat([step(at=21), step(at=10)])
    scores = edge_scores(pred, true)
    assert scores["f1"][0] == 0.5 and all(values[1].isnan() for values in scores.values())
    assert edge_precision_recall(pred, true)["f1"] == 0.5
    with pytest.raises(ValueError, match=r"none of 1 images has a true edge above 0\.25 m"):
        edge_precision_recall(pred[1:], true[1:])


def test_edge_scores_respect_the_mask():
    true, pred = step(at=20), step(at=30)
    mask = torch.ones_like(true, dtype=torch.bool)
    mask[..., 28:32] = False
    mask[..., 18:20] = False
    with pytest.raises(ValueError, match="none of 1 images"):
        edge_precision_recall(pred, true, mask)


def test_edge_and_smooth_regions_of_a_step():
    near, smooth = edge_regions(step(at=20), radius=2)
    strong, _ = edge_regions(step(at=20), radius=0)
    first, last = columns(strong)[0], columns(strong)[-1]
    assert {19, 20} <= set(columns(strong)) and first + last == 39  # symmetric around the step
    assert columns(near) == list(range(first - 2, last + 3))
    assert columns(smooth) == [*range(1, first - 4), *range(last + 5, 39)]
    assert not (near & smooth).any() and not smooth[..., 0, :].any()


@pytest.mark.parametrize(("jump", "found"), [(0.10, False), (0.149, False), (0.151, True), (0.5, True)])
def test_a_step_answers_its_height_in_log_depth(jump, found):
    for sigma in (0.5, 1.0, 2.0):
        near, _ = edge_regions(step(3.0, 3.0 * math.exp(jump)), sigma=sigma)
        assert bool(near.any()) is found


def test_storage_steps_of_an_8_bit_copy_are_no_edges():
    x = torch.linspace(0.7, 9.5, 160, dtype=torch.float64).expand(1, 1, 120, 160)
    quantised = (x / 0.039).round() * 0.039
    near, smooth = edge_regions(quantised)
    assert float(near.float().mean()) < 0.12  # only the nearest part, where 5.5 cm a pixel is a steep slope
    assert not near[..., 20:].any() and smooth[..., 5:-5, 25:-5].all()


def test_regions_need_valid_neighbourhoods():
    depth = step()
    mask = torch.zeros_like(depth, dtype=torch.bool)
    mask[..., ::2, ::2] = True
    near, smooth = edge_regions(depth, mask)
    assert not near.any() and not smooth.any()
    assert all(value.isnan().all() for value in region_errors(depth, depth, mask).values())


def test_perfect_prediction():
    true = step()
    got = region_errors(true, true)
    assert list(got) == list(REGION_ERRORS)
    assert all(value.shape == (1,) and value.dtype == torch.float64 for value in got.values())
    expected = dict.fromkeys(REGION_ERRORS, 0.0) | {"edge_sharpness": 1.0}
    assert {key: float(value) for key, value in got.items()} == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("ramp", [4, 6, 8])
def test_a_step_drawn_out_over_n_pixels_has_sharpness_2_over_n(ramp):
    got = region_errors(step(ramp=ramp), step())
    assert float(got["edge_sharpness"]) == pytest.approx(2 / ramp)
    assert float(got["gradient_error_edge"]) > 0.01
    assert float(got["abs_rel_edge"]) > float(got["abs_rel_smooth"]) == 0.0


def test_sharper_than_the_truth_is_above_one():
    got = region_errors(step(1.0, 5.0), step(2.0, 4.0))
    assert float(got["edge_sharpness"]) == pytest.approx(math.log(5) / math.log(2))


def test_errors_by_region_in_closed_form():
    true = step(2.0, 4.0)
    near, smooth = edge_regions(true)
    got = region_errors(torch.where(near, 1.5, torch.where(smooth, 1.1, 1.0)) * true, true)
    assert float(got["abs_rel_edge"]) == pytest.approx(0.5)
    assert float(got["abs_rel_smooth"]) == pytest.approx(0.1)
    assert float(got["rmse_edge"]) == pytest.approx(math.sqrt(float((0.25 * true[near] ** 2).mean())))
    assert float(got["rmse_smooth"]) == pytest.approx(math.sqrt(float((0.01 * true[smooth] ** 2).mean())))


def test_scale_changes_no_shape_measure():
    true = step()
    got, scaled = region_errors(step(ramp=6), true), region_errors(1.3 * step(ramp=6), true)
    for key in REGION_ERRORS[4:]:
        assert float(scaled[key]) == pytest.approx(float(got[key]), abs=1e-12)


def test_slope_and_ripples_on_a_smooth_surface():
    true = torch.full((1, 1, 24, 40), 3.0, dtype=torch.float64)
    x = torch.arange(40, dtype=torch.float64).expand_as(true)
    tilted = region_errors(true * torch.exp(0.01 * x), true)
    assert float(tilted["roughness"]) == pytest.approx(0, abs=1e-12)
    _, smooth = edge_regions(true)
    assert columns(smooth) == list(range(1, 39))
    # smoothing at the border is one-sided and steepens nothing away from it
    assert float(tilted["gradient_error_smooth"]) == pytest.approx(0.01, rel=0.1)
    ripples = region_errors(true * torch.exp(0.01 * (-1) ** x), true)
    assert float(ripples["roughness"]) == pytest.approx(0.04)  # two neighbours in x, each two amplitudes off
    assert tilted["edge_sharpness"].isnan() and tilted["abs_rel_edge"].isnan()


def test_images_are_independent():
    pred, true = torch.cat([step(ramp=6), step(at=22)]), torch.cat([step(), step()])
    both = region_errors(pred, true)
    for i in range(2):
        one = region_errors(pred[i:i + 1], true[i:i + 1])
        assert {k: float(v[i]) for k, v in both.items()} == pytest.approx({k: float(v) for k, v in one.items()})


def test_float32_is_enough():
    double, single = region_errors(step(ramp=6), step()), region_errors(step(ramp=6).float(), step().float())
    for key in REGION_ERRORS:
        assert float(single[key]) == pytest.approx(float(double[key]), abs=1e-6)


def test_half_precision_prediction_is_measured_in_the_truths_precision():
    pred, true = step(ramp=6).half(), step().float()
    half, single = region_errors(pred, true), region_errors(pred.float(), true)
    assert {k: float(v) for k, v in half.items()} == {k: float(v) for k, v in single.items()}


def test_real_rooms_have_few_edges_and_blurring_softens_them(real_data):
    """Depth in storage steps of 3.9 cm at 480x640: were the steps edges, there would be hardly a smooth pixel."""
    views = load("nyu", "test", root=real_data).first(4).tensors()
    near, smooth = edge_regions(views.depth, views.mask)
    assert 0.005 < float(near.float().mean()) < 0.1 and float(smooth.float().mean()) > 0.85
    sharpness = [1.0]
    for factor in (2, 4, 8):
        small = F.interpolate(views.depth, scale_factor=1 / factor, mode="area")
        blurred = F.interpolate(small, size=views.depth.shape[-2:], mode="bilinear")
        got = region_errors(blurred, views.depth, views.mask)
        sharpness.append(float(got["edge_sharpness"].mean()))
        assert (got["abs_rel_edge"] > 3 * got["abs_rel_smooth"]).all()
    assert all(b < 0.8 * a for a, b in pairwise(sharpness))


def test_bad_input():
    true = step()
    broken = true.clone()
    broken[..., 3, :4] = math.nan
    for measure in (region_errors, edge_precision_recall):
        with pytest.raises(ValueError, match="not finite at 4 valid pixels"):
            measure(broken, true)
        with pytest.raises(ValueError, match="differ in shape"):
            measure(true[..., :9], true)
    for options in ({"edge": 0.0}, {"radius": -1}, {"sigma": 0.0}):
        with pytest.raises(ValueError, match="must be positive"):
            edge_regions(true, **options)
