"""The normalised Hessian against scipy's Gaussian derivatives, closed forms, and the limits of its invariance."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import ndimage

from mdelib.hessian import (
    KERNELS,
    LITERAL_EPS,
    derivative_kernels,
    gaussian_hessian,
    hessian_noise,
    hessian_radius,
    hessian_valid,
    noise_eps,
    normalized_hessian,
    normalized_hessian_loss,
)

LITERAL = {"eps": LITERAL_EPS}
DEFAULT_EPS = noise_eps()


def coordinates(height=40, width=48, dtype=torch.float64):
    y, x = torch.meshgrid(torch.arange(height, dtype=dtype), torch.arange(width, dtype=dtype), indexing="ij")
    return x[None, None], y[None, None]


def relief(height=40, width=48, dtype=torch.float64):
    """A surface that bends everywhere, a few metres away."""
    x, y = coordinates(height, width, dtype)
    return 3 + 0.5 * torch.sin(x / 7) * torch.cos(y / 9) + 0.2 * torch.sin((x + y) / 5)


def plane(height=40, width=48, dtype=torch.float64):
    x, y = coordinates(height, width, dtype)
    return 2 + 0.01 * x - 0.02 * y


def noise(shape, size, generator, dtype=torch.float64):
    return size * torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def inside(values, sigma=1.5):
    """What does not lie in the border, which is checked to be 0."""
    r = hessian_radius(sigma)
    border = values.clone()
    border[..., r:-r, r:-r] = 0
    assert not border.any()
    return values[..., r:-r, r:-r]


def rms(one, two):
    return float((inside(one) - inside(two)).square().sum(1).mean().sqrt())


# the kernels

@pytest.mark.parametrize("sigma", [0.3, 0.5, 1.0, 1.5, 3.7])
def test_exact_kernels_have_the_moments_of_derivatives(sigma):
    kernels = derivative_kernels(sigma)
    x = torch.arange(kernels.shape[1], dtype=torch.float64) - kernels.shape[1] // 2
    moments = torch.stack([(kernels * x**k).sum(1) for k in range(3)])
    assert torch.allclose(moments[0], torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64), atol=1e-13)
    assert torch.allclose(moments[1], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), atol=1e-14)
    assert moments[2, 1:].tolist() == pytest.approx([0, 2], abs=1e-13)


def test_sampled_kernels_are_those_of_scipy_and_leak():
    impulse = np.zeros(31)
    impulse[15] = 1
    for order, kernel in enumerate(derivative_kernels(1.5, "sampled")):
        theirs = ndimage.gaussian_filter1d(impulse, 1.5, order=order, mode="constant", truncate=4)[15 - 6:15 + 7]
        assert np.abs(theirs[::-1] - kernel.numpy()).max() < 1e-15  # a filter's answer to an impulse is it mirrored
    assert float(derivative_kernels(1.5, "sampled")[2].sum()) == pytest.approx(-9.6e-5, abs=1e-6)
    assert float(derivative_kernels(0.5, "sampled")[2].sum()) == pytest.approx(-0.56, abs=0.01)


def test_narrow_kernels_become_finite_differences():
    smooth, first, second = derivative_kernels(0.3)
    assert first.tolist() == pytest.approx([-0.5, 0, 0.5]) and second.tolist() == pytest.approx([1, -2, 1])
    assert smooth[1] > 0.99


@pytest.mark.parametrize(("sigma", "radius"), [(0.3, 1), (1.0, 4), (1.5, 6), (2.0, 8), (1.3, 5)])
def test_radius(sigma, radius):
    assert hessian_radius(sigma) == radius
    assert derivative_kernels(sigma).shape == (3, 2 * radius + 1)


@pytest.mark.parametrize("sigma", [0, -1.5, 0.1, math.nan, math.inf])
def test_a_sigma_without_a_gaussian_is_refused(sigma):
    for call in (hessian_radius, derivative_kernels, lambda s: gaussian_hessian(relief(), sigma=s),
                 lambda s: normalized_hessian(relief(), sigma=s), hessian_noise_of,
                 lambda s: normalized_hessian_loss(relief(), relief(), sigma=s)):
        with pytest.raises(ValueError, match=f"sigma is {sigma}"):
            call(sigma)


def hessian_noise_of(sigma):
    return hessian_noise(0.01, sigma)


# the Hessian

@pytest.mark.parametrize("sigma", [0.7, 1.5, 2.5])
def test_sampled_hessian_equals_scipy(generator, sigma):
    depth = 1 + 5 * torch.rand(2, 1, 40, 48, generator=generator, dtype=torch.float64)
    ours = inside(gaussian_hessian(depth, sigma=sigma, kernel="sampled"), sigma)
    for index, order in enumerate(((0, 2), (1, 1), (2, 0))):
        theirs = torch.stack([torch.from_numpy(ndimage.gaussian_filter(one.numpy(), sigma, order=order, truncate=4))
                              for one in depth[:, 0]])
        r = hessian_radius(sigma)
        assert torch.allclose(ours[:, index], theirs[:, r:-r, r:-r], atol=1e-12)


@pytest.mark.parametrize("sigma", [0.5, 1.5, 3.0])
@pytest.mark.parametrize("far", [0.0, 100.0])
def test_exact_hessian_of_a_quadratic(sigma, far):
    x, y = coordinates()
    depth = far + 3 + 0.1 * x - 0.2 * y + 0.5 * 0.03 * x**2 - 0.01 * x * y + 0.5 * 0.02 * y**2
    found = inside(gaussian_hessian(depth, sigma=sigma), sigma)
    for channel, wanted in zip(found[0], (0.03, -0.01, 0.02), strict=True):
        assert float((channel - wanted).abs().max()) < 1e-12


def test_hessian_of_a_gaussian_bump_is_that_of_a_wider_one():
    """A Gaussian of width s seen through one of width σ is one of width √(s² + σ²), lower by s²/(s² + σ²)."""
    x, y = coordinates(61, 61)
    x, y, s, sigma = x - 30, y - 30, 5.0, 1.5
    wide = s**2 + sigma**2
    seen = s**2 / wide * torch.exp(-(x**2 + y**2) / (2 * wide))
    wanted = torch.cat([(x**2 / wide**2 - 1 / wide) * seen, x * y / wide**2 * seen,
                        (y**2 / wide**2 - 1 / wide) * seen], 1)
    found = gaussian_hessian(torch.exp(-(x**2 + y**2) / (2 * s**2)), sigma=sigma)
    assert float((inside(found) - wanted[..., 6:-6, 6:-6]).abs().max()) < 5e-5  # of 0.034 in the middle
    assert float(found[0, 0, 30, 30]) < 0 and float(found[0, 2, 30, 30]) < 0  # a bump away from the camera


def test_x_is_to_the_right_and_y_down():
    x, y = coordinates()
    assert float(inside(gaussian_hessian(0.5 * x**2))[0, 0].mean()) == pytest.approx(1)
    assert float(inside(gaussian_hessian(0.5 * y**2))[0, 2].mean()) == pytest.approx(1)
    assert float(inside(gaussian_hessian(x * y))[0, 1].mean()) == pytest.approx(1)


@pytest.mark.parametrize("sigma", [0.7, 1.5, 2.5])
@pytest.mark.parametrize("kernel", KERNELS)
def test_noise_has_the_hessian_that_is_predicted(generator, sigma, kernel):
    depth = 1e-3 * torch.randn(4, 1, 200, 200, generator=generator, dtype=torch.float64)
    found = inside(gaussian_hessian(depth, sigma=sigma, kernel=kernel), sigma).square().sum(1).mean().sqrt()
    assert float(found) == pytest.approx(hessian_noise(1e-3, sigma), rel=0.03)


@pytest.mark.parametrize("sigma", [1.0, 1.5, 3.0])
def test_the_default_floor_leaves_noise_of_a_centimetre_a_quarter(generator, sigma):
    flat = plane(90, 90)
    one = normalized_hessian(flat + noise(flat.shape, 0.01, generator), sigma=sigma)
    assert float(inside(one, sigma).square().sum(1).mean().sqrt()) == pytest.approx(1 / 4, rel=0.1)
    assert noise_eps(sigma) == 3 * hessian_noise(0.01, sigma)
    assert torch.equal(normalized_hessian(relief(), sigma=sigma),
                       normalized_hessian(relief(), sigma=sigma, eps=noise_eps(sigma)))


# Eq 1

def test_direction_worked_by_hand():
    """z = 3x²/2 + 2xy bends (3, 2, 0): H is that divided by √13 + ε."""
    x, y = coordinates()
    found = inside(normalized_hessian(1.5 * x**2 + 2 * x * y, eps=1.0))[0]
    for channel, wanted in zip(found, (3, 2, 0), strict=True):
        assert float((channel - wanted / (math.sqrt(13) + 1)).abs().max()) < 1e-9


def transformations():
    random = np.random.default_rng(0)
    for number in range(10):
        a, (b, c) = math.exp(random.uniform(-2, 2)), random.uniform(-1, 1, 2)
        d = (100.0, -100.0)[number] if number < 2 else float(random.uniform(-100, 100))
        yield pytest.param(a, b, c, d, id=f"{a:.2f}z{b:+.2f}x{c:+.2f}y{d:+.0f}")


@pytest.mark.parametrize(("a", "b", "c", "d"), list(transformations()))
def test_invariant_under_scaling_shear_and_offset(a, b, c, d):
    x, y = coordinates()
    one, other = (normalized_hessian(z, **LITERAL) for z in (relief(), a * relief() + b * x + c * y + d))
    assert float(inside(one).norm(dim=1).min()) > 1 - 1e-12
    assert float((one - other).abs().max()) < 1e-8
    assert rms(one, other) < 1e-8
    if a * relief().min() + (b * x + c * y).min() + d > 0:
        assert float(normalized_hessian_loss(a * relief() + b * x + c * y + d, relief(), **LITERAL)) < 1e-8


def test_the_default_forgives_shear_and_offset_and_scale_only_beyond_eps():
    x, y = coordinates()
    h = normalized_hessian(relief())
    assert float((h - normalized_hessian(relief() + 0.7 * x - 0.3 * y + 100)).abs().max()) < 1e-8
    losses = [float(normalized_hessian_loss(2 * size * relief(), size * relief())) for size in (1000, 100, 10, 1)]
    assert losses == sorted(losses) and losses[0] < 1e-3 and losses[-1] > 0.1


def test_a_hollow_surface_is_as_wrong_as_can_be():
    assert float(normalized_hessian_loss(10 - relief(), relief(), **LITERAL)) == pytest.approx(2, abs=1e-5)
    assert 1.9 < float(normalized_hessian_loss(500 - 100 * relief(), 100 * relief())) < 2
    assert float(normalized_hessian_loss(10 - relief(), relief())) < 1.9  # what bends as little as noise counts less


def test_sampled_kernels_see_the_offset():
    """FACTS: 100 m farther, a loss near 1 where it should be 0; exact kernels give 0."""
    x, y = coordinates()
    farther, sheared = relief() + 100, 2.5 * relief() + 0.3 * x + 0.2 * y + 7
    for changed, least in ((farther, 0.5), (sheared, 0.05)):
        assert float(normalized_hessian_loss(changed, relief(), kernel="sampled", **LITERAL)) > least
        assert float(normalized_hessian_loss(changed, relief(), kernel="exact", **LITERAL)) < 1e-8


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1e-1])
def test_a_plane_has_the_direction_of_its_noise(generator, size, dtype):
    """Two independent random directions are √2 apart on average, however small the noise."""
    flat = plane(60, 60, dtype)
    one, other = (flat + noise(flat.shape, size, generator, dtype) for _ in range(2))
    assert float(normalized_hessian_loss(one, other, **LITERAL)) == pytest.approx(math.sqrt(2), abs=0.05)
    assert float(normalized_hessian_loss(one, flat, **LITERAL)) == pytest.approx(math.sqrt(2), abs=0.15)


def test_noise_sized_eps_forgives_noise(generator):
    flat = plane(60, 60)
    losses = [float(normalized_hessian_loss(flat + noise(flat.shape, size, generator), flat)) for size in
              (1e-5, 1e-4, 1e-3, 1e-2)]
    assert losses[0] < 0.002 and losses[2] < 0.12 and losses == sorted(losses)
    assert losses[1] == pytest.approx(hessian_noise(1e-4) / DEFAULT_EPS, rel=0.1)


def test_weights_of_the_truth_let_planes_drop_out(generator):
    flat = plane(60, 60)
    rough = flat + noise(flat.shape, 1e-3, generator)
    literal = float(normalized_hessian_loss(flat, rough, **LITERAL))
    weighted = float(normalized_hessian_loss(flat, rough, weighting=DEFAULT_EPS, **LITERAL))
    assert literal > 1.3 and weighted < 0.1
    bent = 10 * relief()
    one, other = (float(normalized_hessian_loss(90 - bent, bent, weighting=w, **LITERAL)) for w in (None, DEFAULT_EPS))
    assert other == pytest.approx(one, rel=0.02)


def test_weights_by_hand():
    x, y = coordinates()
    pred, target = 100 + y**2, 100 + 0.5 * 0.3 * x**2
    share = 0.3**2 / (0.3**2 + 0.4**2)
    assert float(normalized_hessian_loss(pred, target, weighting=0.4, **LITERAL)) == pytest.approx(
        math.sqrt(2 * share), abs=1e-5)


def test_the_paper_eps_never_acts_in_float32():
    flat = plane(dtype=torch.float32)
    size = inside(gaussian_hessian(flat)).norm(dim=1)
    assert 1e-10 < float(size.median()) < 1e-6  # nothing but rounding
    length = inside(normalized_hessian(flat, **LITERAL)).norm(dim=1)
    assert float(((length - 1).abs() < 1e-6).float().mean()) > 0.95
    assert float(inside(normalized_hessian(flat)).norm(dim=1).max()) < 1e-3


def test_a_plane_in_perspective_bends_and_its_inverse_does_not():
    """z = 1/(αx + βy + γ): z_xx = 2α²z³; 1/z is linear."""
    x, y = coordinates()
    depth = 1 / (0.001 * x + 0.002 * y + 0.2)
    found = inside(gaussian_hessian(depth))
    wanted = 2 * torch.tensor([0.001**2, 0.001 * 0.002, 0.002**2], dtype=torch.float64)[:, None, None] * depth[0]**3
    assert torch.allclose(found[0], wanted[..., 6:-6, 6:-6], rtol=2e-3)
    assert float(found.norm(dim=1).min()) > 1e-4
    assert float(gaussian_hessian(1 / depth).abs().max()) < 1e-16


def turned(p, q, r, angle):
    """The Hessian (p, q, r) in a frame turned by an angle."""
    cos, sin = math.cos(angle), math.sin(angle)
    return (p * cos**2 + 2 * q * cos * sin + r * sin**2, (r - p) * cos * sin + q * (cos**2 - sin**2),
            p * sin**2 - 2 * q * cos * sin + r * cos**2)


def test_the_norm_depends_on_how_the_camera_is_held():
    """A cylinder beside a bowl: turning both by 45° changes the distance of their H; with z_xy twice it would not."""
    x, y = coordinates()

    def surface(p, q, r):
        return 100 + 0.5 * p * x**2 + q * x * y + 0.5 * r * y**2

    values = []
    for angle in (0, math.pi / 4):
        one, two = (surface(*turned(*bend, angle)) for bend in ((0.2, 0.0, 0.0), (0.1, 0.0, 0.1)))
        values.append(float(normalized_hessian_loss(one, two, **LITERAL)))
    direct = [math.dist(*(np.array(t) / np.linalg.norm(t) for t in (turned(1, 0, 0, w), turned(1, 0, 1, w))))
              for w in (0, math.pi / 4)]
    assert values == pytest.approx(direct, abs=1e-6) and abs(values[0] - values[1]) > 0.1


# the loss

def test_loss_worked_by_hand():
    """Directions (1, 0, 0) and (0, 0, 1), by halves of the image: √(2 · share)."""
    x, y = coordinates(40, 80)
    target = 100 + 0.5 * x**2
    pred = torch.cat([target[..., :40], (100 + 0.5 * y**2)[..., 40:]], -1)
    mask = torch.ones_like(pred, dtype=torch.bool)
    mask[..., 40] = False  # and so the kernel never sees both halves
    counts = hessian_valid(mask)
    share = float(counts[..., 40:].sum() / counts.sum())
    assert 0.4 < share < 0.6
    value = float(normalized_hessian_loss(pred, target, mask, **LITERAL))
    assert value == pytest.approx(math.sqrt(2 * share), abs=1e-5)


def test_equal_maps_cost_nothing_and_pull_nowhere():
    for dtype in (torch.float32, torch.float64):
        pred = relief(dtype=dtype).requires_grad_()
        value = normalized_hessian_loss(pred, relief(dtype=dtype))
        value.backward()
        assert value.item() == 0 and value.dtype == dtype and not pred.grad.any()


@pytest.mark.parametrize("low", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised(low):
    depth = relief(dtype=torch.float32)
    assert normalized_hessian(depth.to(low)).dtype == torch.float32
    value = normalized_hessian_loss(depth.to(low).requires_grad_(), depth)
    assert value.dtype == torch.float32 and 0 < value.item() < 1.5


def test_autocast_changes_nothing():
    pred, target = relief(dtype=torch.float32), 1.1 * relief(dtype=torch.float32).flip(-1)
    plain = normalized_hessian_loss(pred, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(normalized_hessian_loss(pred, target), plain)


def test_float32_is_as_good_as_float64_at_100_metres():
    pred, target = relief() + 100, relief().flip(-1) + 100
    fine = float(normalized_hessian_loss(pred, target))
    assert float(normalized_hessian_loss(pred.float(), target.float())) == pytest.approx(fine, rel=1e-3)


def test_invalid_pixels_have_no_influence(generator):
    pred, target = relief() + noise((2, 1, 40, 48), 0.05, generator), relief().expand(2, -1, -1, -1)
    mask = torch.rand(target.shape, generator=generator) > 0.003
    clean = normalized_hessian_loss(pred, target, mask)
    holes = target.clone()
    holes[~mask] = torch.tensor([0.0, -1.0, math.nan, math.inf]).repeat(100)[:int((~mask).sum())].double()
    spoiled = torch.where(mask, pred, math.nan).requires_grad_()
    value = normalized_hessian_loss(spoiled, holes)
    assert value.item() == pytest.approx(float(clean), rel=1e-12)
    value.backward()
    assert torch.isfinite(spoiled.grad).all() and not spoiled.grad[~mask].any() and spoiled.grad.any()


def test_an_image_without_a_valid_pixel_is_left_out(generator):
    pred = relief() + noise((2, 1, 40, 48), 0.05, generator)
    mask = torch.ones(2, 1, 40, 48, dtype=torch.bool)
    mask[1] = False
    target = relief().expand_as(pred)
    assert float(normalized_hessian_loss(pred, target, mask)) == pytest.approx(
        float(normalized_hessian_loss(pred[:1], target[:1])), rel=1e-12)


def test_valid_where_the_whole_kernel_is():
    mask = torch.ones(2, 1, 20, 24, dtype=torch.bool)
    mask[1, 0, 10, 12] = False
    found = hessian_valid(mask, 1.0)
    assert found.dtype == torch.bool and found.shape == mask.shape
    assert int(found[0].sum()) == 12 * 16 and found[0, 0, 4:-4, 4:-4].all()
    assert int(found[1].sum()) == 12 * 16 - 9 * 9 and not found[1, 0, 6:15, 8:17].any()
    assert torch.equal(hessian_valid(mask, 1.0), torch.from_numpy(np.stack(
        [ndimage.binary_erosion(one[0].numpy(), np.ones((9, 9)))[None] for one in mask])))


@pytest.mark.parametrize("size", [(6, 8), (12, 40), (40, 12), (1, 1)])
def test_maps_smaller_than_the_kernel(size):
    depth = 1 + torch.rand(1, 1, *size)
    assert not hessian_valid(torch.ones(1, 1, *size, dtype=torch.bool)).any()
    for call in (normalized_hessian, gaussian_hessian, lambda d: normalized_hessian_loss(d, d)):
        with pytest.raises(ValueError, match=f"{size[0]}x{size[1]} pixels is smaller than the kernel of 13x13"):
            call(depth)


def test_the_smallest_map_has_one_pixel():
    depth = relief()[..., :13, :13]
    assert int(hessian_valid(depth > 0).sum()) == 1
    assert float(normalized_hessian_loss(10 - depth, depth, **LITERAL)) == pytest.approx(2, abs=1e-5)


@pytest.mark.parametrize("build", [relief, plane], ids=["relief", "plane"])
@pytest.mark.parametrize("options", [{}, {"weighting": DEFAULT_EPS}, {"sigma": 1.0, "eps": 0.01}])
def test_gradients_of_the_default_form(generator, build, options):
    target = build(13, 14)
    pred = (target + noise(target.shape, 0.02, generator)).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: normalized_hessian_loss(p, target, **options), pred, rtol=1e-3)


def test_gradient_of_a_perfect_plane_is_that_of_the_floor():
    """Exactly flat: dH/d(Hessian) is the identity divided by eps, and finite differences agree."""
    flat = torch.full((1, 1, 10, 11), 2.0, dtype=torch.float64, requires_grad=True)
    for call in (lambda p: normalized_hessian(p, sigma=1.0)[..., 4:-4, 4:-4],
                 lambda p: normalized_hessian_loss(p, relief(10, 11), sigma=1.0),
                 lambda p: normalized_hessian_loss(p, plane(10, 11), sigma=1.0)):
        assert torch.autograd.gradcheck(call, flat, eps=1e-8, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("truth", [relief, plane])
def test_gradients_on_a_plane_are_bounded_by_default_and_not_in_the_literal_form(dtype, truth):
    steepest = {}
    for name, options in (("default", {}), ("literal", LITERAL)):
        pred = plane(dtype=dtype).requires_grad_()
        normalized_hessian_loss(pred, truth(dtype=dtype), **options).backward()
        assert torch.isfinite(pred.grad).all()
        steepest[name] = float(pred.grad.abs().max())
    pixels = int(hessian_valid(torch.ones(1, 1, 40, 48, dtype=torch.bool)).sum())
    kernel = derivative_kernels(1.5)
    most = float(2 * kernel[0].abs().sum() * kernel[2].abs().sum() + kernel[1].abs().sum()**2)
    assert steepest["default"] <= most / DEFAULT_EPS / math.sqrt(pixels)
    assert truth is plane or steepest["literal"] > 1e3 * steepest["default"]


def test_the_literal_gradient_grows_as_the_prediction_flattens():
    steepest = []
    for size in (1, 1e-2, 1e-4, 1e-6):
        pred = (3 + size * (relief().mT[..., :40, :40] - 3)).requires_grad_()
        normalized_hessian_loss(pred, relief(40, 40), **LITERAL).backward()
        steepest.append(float(pred.grad.norm()))
    ratios = [b / a for a, b in pairwise(steepest)]
    assert ratios == pytest.approx([100] * 3, rel=1e-3)  # homogeneous of degree -1


# what does not fit

@pytest.mark.parametrize(("depth", "words"), [
    (torch.rand(20, 20), r"shape \(20, 20\)"), (torch.rand(1, 3, 20, 20), r"shape \(1, 3, 20, 20\)"),
    (torch.ones(1, 1, 20, 20, dtype=torch.int64), "int64: floating point"),
    (torch.full((1, 1, 20, 20), math.nan), "not finite at 400 of 400"),
    (torch.full((1, 1, 20, 20), math.inf), "not finite"),
])
def test_depth_that_does_not_fit(depth, words):
    for call in (gaussian_hessian, normalized_hessian):
        with pytest.raises(ValueError, match=words):
            call(depth)


def test_values_of_the_prediction_that_are_not_finite_are_counted():
    pred = relief()
    pred[0, 0, 3, 4] = math.nan
    with pytest.raises(ValueError, match="not finite at 1 of 1920 valid pixels"):
        normalized_hessian_loss(pred, relief())


@pytest.mark.parametrize(("options", "words"), [
    ({"eps": 0.0}, "eps is 0.0"), ({"eps": -1e-3}, "eps is -0.001"), ({"eps": math.nan}, "eps is nan"),
    ({"eps": 1e-50}, "eps is 1e-50"), ({"weighting": 0.0}, "weighting is 0.0"), ({"weighting": -1}, "weighting is -1"),
    ({"kernel": "exakt"}, "did you mean 'exact'"),
])
def test_options_that_mean_nothing(options, words):
    with pytest.raises(ValueError, match=words):
        normalized_hessian_loss(relief(dtype=torch.float32), relief(dtype=torch.float32), **options)


@pytest.mark.parametrize("target", [torch.zeros(1, 1, 40, 48), torch.full((1, 1, 40, 48), math.nan)])
def test_no_valid_pixel(target):
    with pytest.raises(ValueError, match="no pixel has a neighbourhood of 13x13"):
        normalized_hessian_loss(relief(dtype=torch.float32), target)


def test_sparse_truth_has_no_hessian():
    mask = torch.zeros(1, 1, 40, 48, dtype=torch.bool)
    mask[..., ::3, ::3] = True
    assert not hessian_valid(mask).any()
    with pytest.raises(ValueError, match="needs dense depth"):
        normalized_hessian_loss(relief(), relief(), mask)


def test_masks_and_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="differ in shape"):
        normalized_hessian_loss(relief(), relief(30, 30))
    with pytest.raises(ValueError, match="must be bool"):
        normalized_hessian_loss(relief(), relief(), torch.ones(1, 1, 40, 48))
    for mask in (torch.ones(20, 20, dtype=torch.bool), torch.ones(1, 1, 20, 20)):
        with pytest.raises(ValueError, match="bool is needed"):
            hessian_valid(mask)


def test_the_hessian_of_a_batch_is_that_of_each_image(generator):
    depth = 1 + torch.rand(3, 1, 30, 33, generator=generator, dtype=torch.float64)
    each = torch.cat([normalized_hessian(one[None]) for one in depth])
    assert torch.allclose(normalized_hessian(depth), each, atol=1e-12) and each.shape == (3, 3, 30, 33)
