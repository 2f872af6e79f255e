"""Targets and attribution methods: linear toys worked out by hand, captum as oracle, METER for completeness."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion, Saliency
from torch import Tensor, nn

from mdelib.attribution import (
    METHODS,
    TITLES,
    Target,
    completeness_error,
    explain,
    fill_image,
    grad_cam,
    input_x_gradient,
    integrated_gradients,
    methods_for,
    occlusion,
    position_only,
    position_without,
    saliency,
    smoothgrad,
    targets,
)
from mdelib.attribution.grad_cam import coarsest_convolution
from mdelib.models import create_model
from mdelib.models.base import DepthNetwork, wrap
from mdelib.references import reference

GRADIENT_METHODS = (saliency, integrated_gradients, smoothgrad, input_x_gradient, grad_cam, occlusion)


class Weighted(nn.Module):
    """Depth 2 + w_ij mean(colour) at every pixel: every attribution can be written down."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.register_buffer("weights", weights)

    def forward(self, image: Tensor) -> Tensor:
        return 2 + self.weights * image.mean(1, keepdim=True)


class Curved(nn.Module):
    """Depth 1 + (sum of red)² / N everywhere: integrated gradients of it is red · sum / N for every pixel."""

    def forward(self, image: Tensor) -> Tensor:
        total = image[:, :1].sum((2, 3), keepdim=True)
        return (1 + total.square() / image[0, 0].numel()).expand(-1, 1, *image.shape[-2:])


class Small(DepthNetwork):
    """Two convolutions, an encoder and a decoder."""

    def __init__(self, **settings: object):
        super().__init__(**settings)
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 5, 3, 2, 1))
        self.head = nn.Conv2d(5, 1, 1)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.encoder(x),)

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        return self.head(features[-1].relu())


class Counting(nn.Module):
    """Notes how many images come at a time."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network, self.most = network, 0

    def forward(self, image: Tensor) -> Tensor:
        self.most = max(self.most, len(image))
        return self.network(image)


@pytest.fixture
def image(generator: torch.Generator) -> Tensor:
    return torch.rand(2, 3, 12, 16, generator=generator)


@pytest.fixture
def weighted(generator: torch.Generator) -> nn.Module:
    return Weighted(torch.randn(12, 16, generator=generator)).eval()


# targets


def test_targets_by_hand() -> None:
    depth = torch.tensor([[1.0, 2.0], [3.0, 6.0]])[None, None]
    left = torch.tensor([[True, False], [True, False]])
    assert targets.mean_depth()(depth) == targets.mean_depth(torch.ones_like(depth, dtype=torch.bool))(depth) == 3
    assert targets.pixel(1, 0)(depth) == 3
    assert targets.region(left)(depth) == 2
    assert targets.contrast(~left, left)(depth) == 2
    assert targets.weighted(torch.tensor([[[[1.0, 0], [-2, 0]]]]))(depth) == -5
    assert targets.near_far(depth)(depth) == 5
    assert targets.near_far(depth, share=0.5)(depth) == 3
    assert targets.near_far(depth, mask=depth < 5)(depth) == 2
    assert targets.edge(depth, 0, 0, radius=1)(depth) == 4  # 6 lies behind 3.5, the mean of the others is 2
    assert targets.error_to(depth + 2)(depth) == 4
    assert targets.error_to(depth - 2, measure="mae")(depth) == 2  # only 1 and 4 of -1, 0, 1, 4 are depths
    assert targets.error_to(2 * depth, measure="abs_rel")(depth) == 0.5
    assert targets.error_to(torch.tensor([[0.0, torch.nan], [torch.inf, 5.0]])[None, None])(depth) == 1


def test_target_of_every_image_and_its_support(generator: torch.Generator) -> None:
    depth = 1 + torch.rand(3, 1, 6, 8, generator=generator)
    mask = torch.rand(3, 1, 6, 8, generator=generator) < 0.5
    whole = targets.region(mask)
    assert torch.equal(whole(depth)[1:2], whole.of(slice(1, 2), 3)(depth[1:2]))
    support = whole.support(depth)
    torch.testing.assert_close(support, mask / mask.sum((2, 3), keepdim=True))
    assert targets.pixel(2, 3).support(depth).flatten(1).argmax(1).tolist() == [19] * 3
    torch.testing.assert_close(targets.error_to(depth).support(depth), torch.full_like(depth, 1 / 48))
    with torch.no_grad():
        assert targets.edge(depth, 2, 3).support(depth).sum() == pytest.approx(3)


def test_error_target_has_a_gradient(generator: torch.Generator) -> None:
    depth = (1 + torch.rand(2, 1, 4, 5, generator=generator, dtype=torch.float64)).requires_grad_()
    truth = 1 + torch.rand(2, 1, 4, 5, generator=generator, dtype=torch.float64)
    for measure in targets.ERRORS:
        assert torch.autograd.gradcheck(targets.error_to(truth, measure=measure), depth)


@pytest.mark.parametrize(("make", "message"), [
    (lambda d: targets.pixel(-1, 0), "count rows"), (lambda d: targets.pixel(99, 0)(d), "outside a map of 6x8"),
    (lambda d: targets.region(d), "expected bool"),
    (lambda d: targets.region(torch.zeros(6, 8, dtype=torch.bool)), "without any"),
    (lambda d: targets.region(torch.ones(2, 2, dtype=torch.bool))(d), "make it at the size"),
    (lambda d: targets.region(torch.ones(3, 1, 6, 8, dtype=torch.bool)).of(slice(0, 1), 2), "maps for 3 images"),
    (lambda d: targets.region(torch.ones(1, 2, 6, 8, dtype=torch.bool)), "one channel"),
    (lambda d: targets.near_far(d, share=0.6), "at most half"), (lambda d: targets.near_far(d * torch.nan), "finite"),
    (lambda d: targets.edge(torch.ones_like(d), 1, 1), "two sides"), (lambda d: targets.edge(d, 9, 0), "inside"),
    (lambda d: targets.error_to(d, measure="rsme"), "unknown error"), (lambda d: targets.error_to(0 * d), "any pixel"),
    (lambda d: targets.mean_depth()(d[0]), "expected depth"), (lambda d: targets.weighted(0 * d), "all zero"),
    (lambda d: targets.weighted(d[:, 0]), "expected finite"), (lambda d: targets.weighted(d / 0), "expected finite"),
])
def test_targets_refuse(make: Callable[[Tensor], object], message: str, generator: torch.Generator) -> None:
    with pytest.raises(ValueError, match=message):
        make(1 + torch.rand(2, 1, 6, 8, generator=generator))


# the methods on networks worked out by hand


def test_linear_network_by_hand(weighted: Weighted, image: Tensor) -> None:
    share = weighted.weights / 192
    torch.testing.assert_close(saliency(weighted, image), (share.abs() / 3).expand(2, 12, 16))
    torch.testing.assert_close(saliency(weighted, image, channels="mean"), (share.abs() / 3).expand(2, 12, 16))
    torch.testing.assert_close(saliency(weighted, image, channels="norm"), (share.abs() / 3**0.5).expand(2, 12, 16))
    torch.testing.assert_close(saliency(weighted, image, channels="sum"), share.expand(2, 12, 16))
    torch.testing.assert_close(smoothgrad(weighted, image), (share.abs() / 3).expand(2, 12, 16))
    weighted, image = weighted.double(), image.double()
    contribution = weighted.weights / 192 * image.mean(1)
    for found in (integrated_gradients(weighted, image, steps=3, baseline="black"),
                  input_x_gradient(weighted, image),
                  occlusion(weighted, image, cell=1, fill="black")):
        torch.testing.assert_close(found, contribution)
    cells = contribution.unflatten(1, (3, 4)).unflatten(3, (4, 4)).mean((2, 4))
    torch.testing.assert_close(occlusion(weighted, image, cell=4, fill="black")[:, ::4, ::4], cells)


def test_one_pixel_is_explained_by_itself_alone(weighted: Weighted, image: Tensor) -> None:
    for method in (saliency, integrated_gradients, smoothgrad, input_x_gradient):
        found = method(weighted, image, targets.pixel(3, 5))
        assert found[:, 3, 5].abs().min() > 0 and (found != 0).sum() == 2


def test_curved_network_by_hand(image: Tensor) -> None:
    red = image[:, 0]
    black = {"baseline": "black"}
    found = integrated_gradients(Curved().eval(), image, steps=4, **black)  # exact: the gradient is linear on the way
    torch.testing.assert_close(found, red * red.sum((1, 2), keepdim=True) / 192, rtol=1e-4, atol=1e-6)
    assert completeness_error(Curved().eval(), image, found, **black).max() < 1e-5
    twice = input_x_gradient(Curved().eval(), image)
    torch.testing.assert_close(twice, 2 * found, rtol=1e-4, atol=1e-6)
    assert completeness_error(Curved().eval(), image, twice, **black).tolist() == pytest.approx([1, 1], abs=1e-4)


def test_points_are_laid_where_the_target_changes(image: Tensor) -> None:
    """A target that has changed wholly after a 2000th of the way: even points miss it, halved pieces find it."""
    class Early(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 1 + (4000 * x.mean((1, 2, 3), keepdim=True)).tanh().expand(-1, 1, *x.shape[-2:])

    model, black = Early().double().eval(), {"baseline": "black"}
    image = image.double()
    even = integrated_gradients(model, image, steps=32, **black)
    found = integrated_gradients(model, image, steps=8, tolerance=1e-3, **black)
    assert completeness_error(model, image, even, **black).min() > 0.2
    assert completeness_error(model, image, found, **black).max() <= 1e-3
    share = image.mean(1) / image.mean(1).sum((1, 2), keepdim=True)
    torch.testing.assert_close(found, share * 1.0, rtol=2e-3, atol=1e-6)  # every pixel by its brightness
    limited = integrated_gradients(model, image, steps=8, tolerance=1e-3, most_steps=15, **black)
    assert completeness_error(model, image, limited, **black).min() > 0.2
    model = Counting(Early().eval()).eval()
    integrated_gradients(model, image.float(), steps=8, tolerance=1e-3, batch=2)
    assert model.most <= 2


def test_a_target_that_does_not_change_has_no_error(image: Tensor) -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 + 0 * x.mean(1, keepdim=True)

    assert completeness_error(Flat().eval(), image, torch.zeros(2, 12, 16)).isnan().all()


# captum and other oracles


def test_equal_to_captum(image: Tensor) -> None:
    model, target = Small().eval(), targets.pixel(4, 6)
    wanted = Saliency(lambda x: model(x)[:, 0, 4, 6]).attribute(image.clone().requires_grad_())
    torch.testing.assert_close(saliency(model, image, target), wanted.amax(1))
    wanted = IntegratedGradients(lambda x: model(x)[:, 0, 4, 6]).attribute(image, 0, n_steps=20)
    found = integrated_gradients(model, image, target, steps=20, batch=3, baseline="black")
    torch.testing.assert_close(found, wanted.sum(1).to(image), atol=1e-6, rtol=1e-3)
    wanted = Occlusion(lambda x: model(x)[:, 0, 4, 6]).attribute(image, (3, 4, 4), (3, 4, 4), baselines=0)
    torch.testing.assert_close(occlusion(model, image, target, cell=4, fill="black"), wanted.sum(1) / 48,
                               atol=1e-6, rtol=1e-3)
    cam = LayerGradCam(lambda x: model(x)[:, 0, 4, 6], model.encoder[2]).attribute(image.clone().requires_grad_())
    own = grad_cam(model, image, target, signed=True)
    torch.testing.assert_close(own, nn.functional.interpolate(cam, (12, 16), mode="bilinear")[:, 0])
    torch.testing.assert_close(grad_cam(model, image, target, layer="encoder.2", signed=True), own)
    assert grad_cam(model, image, target).min() >= 0


def test_teaching_version_of_integrated_gradients(image: Tensor) -> None:
    """The midpoint rule in five lines, as notebook 13 writes it."""
    model = Small().eval()
    steps, total = 200, torch.zeros_like(image)
    for step in range(steps):
        x = ((step + 0.5) / steps * image).requires_grad_()
        total += torch.autograd.grad(model(x).mean((1, 2, 3)).sum(), x)[0] / steps
    found = integrated_gradients(model, image, steps=100, baseline="black")
    torch.testing.assert_close(found, (total * image).sum(1), atol=2e-4, rtol=2e-2)


def test_smoothgrad_by_hand(image: Tensor) -> None:
    model = Small().eval()
    state = torch.random.get_rng_state()
    found = smoothgrad(model, image, samples=5, sigma=0.2, seed=3, batch=5)
    assert torch.equal(state, torch.random.get_rng_state())
    torch.manual_seed(3)
    noise = torch.normal(0, 0.2, (5, 3, 12, 16))
    for one, wanted in zip(image, found, strict=True):
        x = (one + noise).requires_grad_()
        slope = torch.autograd.grad(model(x).mean((1, 2, 3)).sum(), x)[0].mean(0)
        torch.testing.assert_close(wanted, slope.abs().amax(0))
    assert not torch.equal(found, smoothgrad(model, image, samples=5, sigma=0.2, seed=4))
    torch.testing.assert_close(smoothgrad(model, image, samples=2, sigma=0), saliency(model, image))


# every method, alike


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_batches_change_nothing_and_bound_what_the_network_sees(method: Callable[..., Tensor],
                                                                generator: torch.Generator) -> None:
    model = Counting(Small().eval()).eval()
    image = torch.rand(5, 3, 12, 16, generator=generator)
    truth = 1 + torch.rand(5, 1, 12, 16, generator=generator)
    options = {"cell": 4} if method is occlusion else {"layer": "network.encoder.2"} if method is grad_cam else {}
    one, many = (method(model, image, targets.error_to(truth), batch=size, **options) for size in (2, 50))
    torch.testing.assert_close(one, many, atol=1e-6, rtol=1e-4)
    model.most = 0
    method(model, image, targets.error_to(truth), batch=2, **options)
    assert 1 <= model.most <= 2


@pytest.mark.parametrize("method", [*GRADIENT_METHODS, position_only])
def test_shape_dtype_and_no_trace(method: Callable[..., Tensor], image: Tensor) -> None:
    model = Small().double().eval()
    kept = image.double()
    found = method(model, kept)
    assert found.shape == (2, 12, 16) and found.dtype == torch.float64 and not found.requires_grad
    assert torch.equal(kept, image.double()) and not kept.requires_grad
    assert all(weight.grad is None for weight in model.parameters())
    with torch.no_grad():  # a caller's no_grad does not take the gradients away
        torch.testing.assert_close(method(model, kept), found)


@pytest.mark.parametrize("method", GRADIENT_METHODS)
def test_methods_refuse(method: Callable[..., Tensor], image: Tensor) -> None:
    model = Small().eval()
    for bad, message in ((image[0], "B, 3, H, W"), (image[:, :1], "3 RGB"), (image.to(torch.uint8), "divide"),
                         (image[:0], "no image")):
        with pytest.raises(ValueError, match=message):
            method(model, bad)
    with pytest.raises(ValueError, match="eval"):
        method(Small(), image)
    with pytest.raises(ValueError, match="batch=0"):
        method(model, image, batch=0)
    with pytest.raises(ValueError, match="make it at the size"):
        method(model, image, targets.region(torch.ones(3, 3, dtype=torch.bool)))


def test_options_refuse(image: Tensor) -> None:
    model = Small().eval()
    for call, message in (
            (lambda: saliency(model, image, channels="min"), "join colours"),
            (lambda: smoothgrad(model, image, samples=0), "samples=0"),
            (lambda: integrated_gradients(model, image, steps=0), "steps=0"),
            (lambda: integrated_gradients(model, image, tolerance=0), "tolerance=0"),
            (lambda: integrated_gradients(model, image, baseline="grey"), "unknown fill"),
            (lambda: occlusion(model, image, cell=0), "cell=0"),
            (lambda: grad_cam(model, image, layer="decoder.9"), "no layer 'decoder.9'"),
            (lambda: position_only(model, image, kind="horizontal"), "position-only"),
            (lambda: position_without(torch.ones(1, 4, 4)), "two or more"),
            (lambda: position_without(torch.zeros(2, 4, 4)), "zero everywhere"),
            (lambda: completeness_error(model, image, torch.zeros(2, 3, 3)), "do not fit"),
            (lambda: explain(model, image, "salience"), "did you mean 'saliency'")):
        with pytest.raises(ValueError, match=message):
            call()


# fills, positions, names


def test_fills_by_hand(image: Tensor) -> None:
    network = wrap(nn.Identity(), normalize=((0.2, 0.4, 0.6), (0.1, 0.1, 0.1)))
    assert fill_image(image, "mean", model=network)[1, :, 3, 3].tolist() == pytest.approx([0.2, 0.4, 0.6])
    torch.testing.assert_close(fill_image(image, "mean", model=wrap(nn.Identity()))[:, :, 0, 0], image.mean((2, 3)))
    assert not fill_image(image, "black").any()
    assert torch.equal(fill_image(image, torch.tensor([0.1, 0.2, 0.3]))[0, :, 5, 5], torch.tensor([0.1, 0.2, 0.3]))
    blurred = fill_image(image, "blur")
    assert blurred.std() < image.std() / 2 and (blurred.mean() - image.mean()).abs() < 0.02
    noise = fill_image(image, "noise", seed=1)
    assert noise.min() >= 0 and noise.max() <= 1 and torch.equal(noise, fill_image(image, "noise", seed=1))
    assert not torch.equal(noise, fill_image(image, "noise", seed=2)) and not torch.equal(noise[0], noise[1])
    with pytest.raises(ValueError, match="does not fit"):
        fill_image(image, torch.zeros(3, 5, 5))


def test_position_maps_by_hand() -> None:
    image = torch.rand(2, 3, 5, 3)
    assert position_only(nn.Identity(), image)[1, :, 2].tolist() == [1, 0.75, 0.5, 0.25, 0]
    centre = position_only(nn.Identity(), image, kind="centre")[0]
    assert centre[2, 1] == 1 and centre[0, 0] == pytest.approx(0) and centre[2, 0] == pytest.approx(1 - 0.5**0.5)
    maps = torch.stack([torch.full((2, 2), 4.0), torch.tensor([[1.0, 0], [0, 0]]), torch.tensor([[0.0, 0], [0, -2]])])
    torch.testing.assert_close(position_without(maps)[0], torch.tensor([[0.5, 0], [0, -0.5]]))


def test_every_method_has_a_title_and_applies_where_it_should() -> None:
    assert METHODS.keys() == TITLES.keys()
    assert "attention_rollout" not in methods_for(Small())
    assert methods_for(create_model("segformer")) == list(METHODS)


def test_grad_cam_on_anybodys_network(image: Tensor) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 4, 1), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 1),
                           nn.Upsample(scale_factor=4), nn.Conv2d(4, 1, 1)).eval()
    model = wrap(module).eval()
    assert coarsest_convolution(model, image[:1]) == "module.2"
    assert grad_cam(model, image, signed=True).abs().max() > 0
    with pytest.raises(ValueError, match="no convolution"):
        grad_cam(Weighted(torch.ones(12, 16)).eval(), image)


def test_maps_lie_on_the_image_whatever_the_network_works_at(generator: torch.Generator) -> None:
    """A bright square on the left is what an untrained network that resizes or pads reacts to on the left."""
    image = torch.zeros(1, 3, 20, 34)
    image[..., 4:12, 2:10] = 1
    for settings in ({"size": (40, 68)}, {"multiple": 16}):
        model = Small(**settings).eval()
        found = grad_cam(model, image, signed=True)
        assert found.shape == (1, 20, 34)
        assert found[0, :, :14].std() > 3 * found[0, 4:16, 20:30].std()


@pytest.mark.parametrize("name", ["hu_resnet50", "segformer", "pixelformer", "unet_mobilenetv3"])
def test_networks_of_the_library(name: str, generator: torch.Generator) -> None:
    model = create_model(name).eval()
    image = torch.rand(1, 3, 32, 64, generator=generator)
    for method in (saliency, input_x_gradient, grad_cam):
        assert torch.isfinite(method(model, image, targets.pixel(10, 20))).all()


# METER: the completeness that is asked for


def _worst(model: nn.Module, image: Tensor, target: Target | None) -> float:
    found = integrated_gradients(model, image, target, tolerance=0.01)
    return float(completeness_error(model, image, found, target).max())


def test_completeness_on_an_untrained_meter(generator: torch.Generator) -> None:
    model = create_model("meter_xxs").eval()
    image = torch.rand(1, 3, 64, 96, generator=generator)
    assert _worst(model, image, None) <= 0.01


def test_completeness_with_the_authors_weights(real_data) -> None:
    from mdelib import data
    from mdelib.data.base import resize_image

    model = create_model("meter_xxs", weights=real_data / "weights" / "meter_xxs_nyu.pth")
    views = data.load("nyu", "test", root=real_data, count=4)
    image = torch.stack([resize_image(views[i].image, (192, 256)) for i in range(1)])
    assert _worst(model, image, None) <= 0.01


def test_every_committed_map_of_meter_adds_up_to_one_percent() -> None:
    run, = (r for r in reference("attribution_meter", "nyu", "study") if r.variant == "meter_integrated_gradients")
    assert len(run.per_image["completeness"]) >= 100 and max(run.per_image["completeness"]) <= 0.01
