"""Depth probability maps against direct computation in float64, closed forms, and the limits of narrow bins."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from mdelib.distill import (
    CUT_OFF,
    MASSES,
    NORMALIZATIONS,
    bin_centres,
    depth_bins,
    depth_probability_map,
    entropy,
    expected_depth,
    support,
)
from mdelib.distill.bins import reach

SWITCHES = pytest.mark.parametrize(("mass", "normalize"), list(itertools.product(MASSES, NORMALIZATIONS)))
KITTI, NYU = depth_bins(), depth_bins(49, 1e-3, 10.0)


def row(*depths, dtype=torch.float64):
    return torch.tensor(depths, dtype=dtype).view(1, 1, 1, -1)


def random_depth(generator, size=(2, 1, 9, 11), edges=KITTI, dtype=torch.float64):
    span = float(edges[-1] - edges[0])
    return (float(edges[0]) + span * torch.rand(size, generator=generator, dtype=torch.float64)).to(dtype)


def direct(depth, edges, sigma, mass, normalize):
    """By scipy, pixel by pixel, in float64: each bin's share from whichever tail is the smaller one."""
    edges = edges.numpy()
    maps = np.empty((len(edges) - 1, depth.numel()))
    for n, t in enumerate(depth.double().flatten().tolist()):
        law = stats.norm(t, sigma)
        if mass == "density":
            values = law.pdf((edges[1:] + edges[:-1]) / 2)
        else:
            values = np.where(edges[:-1] > t, law.sf(edges[:-1]) - law.sf(edges[1:]),
                              law.cdf(edges[1:]) - law.cdf(edges[:-1]))
        kept = values >= 1e-16
        weights = np.where(kept, np.exp(values - values.max()) if normalize == "softmax" else values, 0)
        maps[:, n] = weights / weights.sum()
    return torch.from_numpy(maps).view(-1, *depth.shape[2:])[None]


# bins

def test_bins_are_those_of_the_authors():
    assert len(KITTI) == 258 and KITTI.dtype == torch.float64
    assert float(KITTI[0]) == 1e-3 and float(KITTI[-1]) == 80.0
    assert KITTI.diff().tolist() == pytest.approx([79.999 / 257] * 257)
    assert float(NYU.diff()[0]) == pytest.approx(0.20406, abs=1e-5)
    assert bin_centres(torch.tensor([0.0, 1.0, 3.0])).tolist() == [0.5, 2.0]


@pytest.mark.parametrize(("arguments", "words"), [
    ((1,), "1 depth bins"), ((0,), "at least two"), ((10, 5.0, 5.0), "5.0 to 5.0"),
    ((10, -1.0, 5.0), "0 <= min_depth"), ((10, 0.0, math.inf), "both finite"), ((10, math.nan, 5.0), "min_depth")])
def test_bins_that_cannot_be(arguments, words):
    with pytest.raises(ValueError, match=words):
        depth_bins(*arguments)


# the map

@SWITCHES
@pytest.mark.parametrize("sigma", [0.1, 0.5, 0.8, 1.5])
def test_equal_to_direct_computation(generator, mass, normalize, sigma):
    depth = torch.cat([random_depth(generator, (1, 1, 1, 60), dtype=torch.float32), row(0.001, 0.7, 3, 79.9, 80,
                                                                                        dtype=torch.float32)], 3)
    expected = direct(depth, KITTI, sigma, mass, normalize)
    single = depth_probability_map(depth, KITTI, sigma, mass=mass, normalize=normalize)
    double = depth_probability_map(depth.double(), KITTI, sigma, mass=mass, normalize=normalize)
    assert torch.allclose(double, expected, rtol=0, atol=1e-13)
    assert single.dtype == torch.float32 and torch.allclose(single.double(), expected, rtol=0, atol=1e-6)
    assert torch.equal(support(single), support(expected)) and torch.equal(support(double), support(expected))


@SWITCHES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_every_pixel_sums_to_one(generator, mass, normalize, dtype):
    depth = random_depth(generator, dtype=dtype)
    probability = depth_probability_map(depth, KITTI, 0.8, mass=mass, normalize=normalize)
    assert probability.shape == (2, 257, 9, 11) and probability.min() >= 0
    assert probability.dtype == torch.promote_types(dtype, torch.float32)
    assert torch.allclose(probability.sum(1), torch.ones_like(probability[:, 0]), atol=1e-5)


@SWITCHES
def test_uneven_bins(generator, mass, normalize):
    edges = torch.tensor([0.1, 0.5, 0.6, 1.4, 3.0, 3.1, 7.0, 10.0], dtype=torch.float64)
    depth = random_depth(generator, (1, 1, 5, 6), edges)
    expected = direct(depth, edges, 0.9, mass, normalize)
    got = depth_probability_map(depth, edges, 0.9, mass=mass, normalize=normalize)
    assert torch.allclose(got, expected.view_as(got), atol=1e-13)


def test_two_bins_by_hand():
    """A depth on the inner edge: half and half; one sigma before it: Φ(1) of the cut Gaussian to the left."""
    edges = torch.tensor([0.0, 5.0, 10.0], dtype=torch.float64)
    got = depth_probability_map(row(5, 4), edges, 1.0, normalize="linear")
    left = stats.norm.cdf(1) - stats.norm.cdf(-4)
    right = stats.norm.cdf(6) - stats.norm.cdf(1)
    assert got[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.5])
    assert got[0, :, 0, 1].tolist() == pytest.approx([left / (left + right), right / (left + right)])
    soft = depth_probability_map(row(4), edges, 1.0)
    assert float(soft[0, 0] / soft[0, 1]) == pytest.approx(math.exp(left - right))


def test_softmax_of_densities_is_nearly_a_box():
    """At 0.8 m the largest density is 0.499, so the highest bin is only e^0.499 times the lowest that is kept."""
    probability = depth_probability_map(bin_centres(KITTI)[130].view(1, 1, 1, 1), KITTI, 0.8, mass="density")
    kept = probability[probability > 0]
    assert float(kept.max() / kept.min()) == pytest.approx(math.exp(1 / (0.8 * math.sqrt(2 * math.pi))))
    assert float(entropy(probability)) == pytest.approx(math.log(len(kept)), abs=0.02)


@pytest.mark.parametrize(("mass", "normalize", "sigma", "kept", "decoded"), [
    ("density", "softmax", 0.1, 5, (1.04, 2.96, 5.01, 30.04, 78.96)),
    ("density", "softmax", 0.5, 27, (2.32, 3.49, 4.98, 30.03, 77.68)),
    ("density", "softmax", 0.8, 43, (3.55, 4.62, 5.83, 30.04, 76.45)),
    ("density", "softmax", 1.5, 81, (6.55, 7.48, 8.65, 30.04, 73.45)),
    ("integral", "softmax", 0.8, 43, (3.79, 4.77, 5.89, 30.04, 76.21)),
    ("integral", "linear", 0.8, 43, (1.17, 3.00, 5.00, 30.00, 78.83))])
def test_decode_of_known_depths(mass, normalize, sigma, kept, decoded):
    """Decode biases of the authors' code, the paper's text and the linear normalisation; FACTS, section 1.1."""
    for dtype in (torch.float32, torch.float64):
        maps = depth_probability_map(row(1, 3, 5, 30, 79, dtype=dtype), KITTI, sigma, mass=mass, normalize=normalize)
        assert expected_depth(maps, KITTI).flatten().tolist() == pytest.approx(decoded, abs=0.0051)
        assert int(support(maps)[..., 3]) == kept


@pytest.mark.parametrize("mass", MASSES)
def test_one_bin_farther_moves_the_map_by_one_bin(generator, mass):
    depth = 20 + 20 * torch.rand(1, 1, 4, 5, generator=generator, dtype=torch.float64)
    width = float(KITTI[1] - KITTI[0])
    for normalize in NORMALIZATIONS:
        here, there = (depth_probability_map(d, KITTI, 0.7, mass=mass, normalize=normalize)
                       for d in (depth, depth + width))
        assert torch.allclose(here[:, :-1], there[:, 1:], atol=1e-12)
        mirrored = depth_probability_map(80.001 - depth, KITTI, 0.7, mass=mass, normalize=normalize)
        assert torch.allclose(here.flip(1), mirrored, atol=1e-12)


def test_a_narrow_gaussian_is_the_bin_of_the_depth(generator):
    depth = random_depth(generator, edges=NYU)
    number = torch.bucketize(depth[:, 0], NYU) - 1
    for normalize in NORMALIZATIONS:
        probability = depth_probability_map(depth, NYU, 1e-6, normalize=normalize)
        assert torch.equal(probability.argmax(1), number)
        assert torch.equal(probability.amax(1), torch.ones_like(depth[:, 0]))


@SWITCHES
def test_the_likeliest_bin_holds_the_depth(generator, mass, normalize):
    depth = random_depth(generator)
    probability = depth_probability_map(depth, KITTI, 0.8, mass=mass, normalize=normalize)
    assert torch.equal(probability.argmax(1), torch.bucketize(depth[:, 0], KITTI) - 1)


@SWITCHES
def test_depths_outside_the_bins_count_as_the_nearest_edge(mass, normalize):
    outside, ends = (depth_probability_map(row(*d), KITTI, 0.8, mass=mass, normalize=normalize)
                     for d in ((-5, 0, 81, 1000), (0.001, 0.001, 80, 80)))
    assert torch.equal(outside, ends)


def test_values_can_be_differentiated_by_depth():
    depth = row(3.1, 40.2, 0.4).requires_grad_()
    for mass, normalize in itertools.product(MASSES, NORMALIZATIONS):
        assert torch.autograd.gradcheck(
            lambda d, m=mass, n=normalize: depth_probability_map(d, NYU * 5, 2.0, mass=m, normalize=n), depth)


def test_a_difference_of_erf_loses_the_tails():
    """The reason for erfc: in float32 a difference of erf is 0 or 6e-8, so that bins are lost and 3 m moves."""
    z = ((KITTI - 3.0) / (0.8 * math.sqrt(2))).float()
    values = torch.erf(z).diff() / 2
    weights = torch.where(values < CUT_OFF, -math.inf, values).softmax(0)
    naive = float((weights * bin_centres(KITTI)).sum())
    ours = float(expected_depth(depth_probability_map(row(3, dtype=torch.float32), KITTI, 0.8), KITTI))
    assert naive == pytest.approx(3.7, abs=0.1) and ours == pytest.approx(4.77, abs=0.01)


@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("sigma", [0.01, 0.1, 0.8, 5.0])
def test_nothing_is_kept_beyond_reach(mass, sigma):
    edges = depth_bins(4000, 0.0, 8000 * sigma)
    probability = depth_probability_map(row(4000 * sigma), edges, sigma, mass=mass)
    places = bin_centres(edges)[probability[0, :, 0, 0] > 0] if mass == "density" else edges[1:-1][
        (probability[0, 1:, 0, 0] > 0) & (probability[0, :-1, 0, 0] > 0)]
    assert float((places - 4000 * sigma).abs().max()) <= reach(sigma, mass)


# back to depth

@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("sigma", [0.5, 0.8, 1.5])
def test_linear_maps_decode_exactly_away_from_the_ends(generator, mass, sigma):
    depth = 10 * sigma + (80 - 20 * sigma) * torch.rand(1, 1, 30, 30, generator=generator, dtype=torch.float64)
    probability = depth_probability_map(depth, KITTI, sigma, mass=mass, normalize="linear")
    assert torch.allclose(expected_depth(probability, KITTI), depth, rtol=0, atol=1e-9)
    single = depth_probability_map(depth.float(), KITTI, sigma, mass=mass, normalize="linear")
    assert torch.allclose(expected_depth(single, KITTI), depth.float(), rtol=2e-6)


@pytest.mark.parametrize("share", [0.35, 0.5, 0.7])
def test_decode_of_narrow_gaussians_ripples_as_poisson_says(share):
    """Off by -(w/π) q sin θ for integrals and -(4πσ²/w) q sin θ for densities, q = exp(-2π²σ²/w²), θ = 2π (t-c)/w."""
    width = float(KITTI[1] - KITTI[0])
    sigma = share * width
    centre = bin_centres(KITTI)[100]
    depth = (centre + torch.linspace(-0.5, 0.5, 101, dtype=torch.float64) * width).view(1, 1, 1, -1)
    q, theta = math.exp(-2 * (math.pi * share)**2), 2 * math.pi * (depth - centre) / width
    for mass, height in (("integral", width / math.pi), ("density", 4 * math.pi * sigma**2 / width)):
        off = expected_depth(depth_probability_map(depth, KITTI, sigma, mass=mass, normalize="linear"), KITTI) - depth
        assert torch.allclose(off, -height * q * torch.sin(theta), atol=3 * height * q**2 + 1e-12)


def test_decode_near_zero_is_the_mean_of_a_cut_gaussian():
    """Linear integrals at t: the mean of a normal law above 0, t + σ φ(t/σ) / Φ(t/σ); bins are narrow here."""
    edges = depth_bins(8000, 0.0, 80.0)
    depth = row(0.5, 1.0, 2.0)
    got = expected_depth(depth_probability_map(depth, edges, 0.8, normalize="linear"), edges).flatten()
    z = depth.flatten().numpy() / 0.8
    assert got.tolist() == pytest.approx((0.8 * (z + stats.norm.pdf(z) / stats.norm.cdf(z))).tolist(), abs=1e-4)


def test_expected_depth_is_the_mean_of_the_centres(generator):
    probability = torch.rand(2, 49, 3, 4, generator=generator).softmax(1)
    expected = (probability * bin_centres(NYU).float()[:, None, None]).sum(1, keepdim=True)
    assert torch.allclose(expected_depth(probability, NYU), expected)
    assert expected_depth(probability.bfloat16(), NYU).dtype == torch.float32


def test_entropy_and_support():
    even, one = torch.full((1, 8, 1, 1), 1 / 8), torch.eye(8)[3].view(1, 8, 1, 1)
    assert float(entropy(even)) == pytest.approx(math.log(8)) and float(entropy(one)) == 0
    assert int(support(even)) == 8 and int(support(one)) == 1
    wide = depth_probability_map(row(40), depth_bins(4000, 0, 80), 0.8, normalize="linear")
    width = 80 / 4000
    assert float(entropy(wide)) == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 0.64 / width**2), abs=1e-3)


# what is refused

@pytest.mark.parametrize(("changes", "words"), [
    ({"sigma": 0.0}, "sigma is 0"), ({"sigma": -1.0}, "must be positive"), ({"sigma": math.nan}, "sigma is nan"),
    ({"sigma": math.inf}, "finite"), ({"sigma": 1e14}, "no bin holds more"),
    ({"sigma": 0.01, "mass": "density"}, "out of reach of every bin centre"),
    ({"edges": torch.tensor([0.0, 1.0])}, "at least two bins"), ({"edges": KITTI.flip(0)}, "must increase"),
    ({"edges": torch.tensor([0.0, 1.0, 1.0, 2.0])}, "must increase"),
    ({"edges": torch.tensor([0.0, 1.0, math.inf])}, "not all finite"),
    ({"mass": "integrals"}, "did you mean 'integral'"), ({"normalize": "soft"}, "unknown normalize"),
    ({"depth": torch.ones(4, 5)}, r"\(B, 1, H, W\)"), ({"depth": torch.ones(1, 3, 4, 5)}, r"\(1, 3, 4, 5\)"),
    ({"depth": torch.ones(1, 1, 4, 5).long()}, "floating-point"),
    ({"depth": torch.full((1, 1, 2, 2), math.nan)}, "not finite at 4 of 4"),
    ({"depth": row(1, math.inf)}, "give the mask to the loss")])
def test_maps_that_cannot_be(changes, words):
    arguments = {"depth": row(1, 2), "edges": KITTI, "sigma": 0.8, **changes}
    with pytest.raises(ValueError, match=words):
        depth_probability_map(**arguments)


def test_decoding_needs_the_right_bins():
    with pytest.raises(ValueError, match="257 bins"):
        expected_depth(torch.ones(1, 49, 2, 2) / 49, KITTI)
    with pytest.raises(ValueError, match=r"\(B, 49, H, W\)"):
        expected_depth(torch.ones(49, 2, 2) / 49, NYU)
