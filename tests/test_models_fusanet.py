"""FuSaNet: its published size, its two passes, and what it does with points and without."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from mdelib.models import count_parameters, create_model
from mdelib.models.fusanet import FuSaNet, fusanet
from mdelib.models.fusion_block import FusionEncoder, Located, PlainConv2d, attending
from mdelib.models.saliency_net import DILATIONS, MultiScaleFeatures, SaliencyNet
from mdelib.points import SparsePoints, default_intrinsics

FOCAL = 0.81
SIZE = (64, 96)


def network(**options) -> FuSaNet:
    return create_model("fusanet", focal=FOCAL, **options)


def points_of(pixels: list[tuple[int, int]], depth: list[float], batch: int = 1) -> SparsePoints:
    """The same measured points for each image of a batch."""
    count = len(pixels)
    return SparsePoints(torch.tensor(pixels).expand(batch, count, 2), torch.tensor(depth).expand(batch, count),
                        torch.ones(batch, count), torch.ones(batch, count, dtype=torch.bool))


def some_points(batch: int = 1, count: int = 12) -> SparsePoints:
    pixels = torch.stack([torch.randint(SIZE[0], (batch, count)), torch.randint(SIZE[1], (batch, count))], -1)
    return SparsePoints(pixels, 1 + 4 * torch.rand(batch, count), torch.ones(batch, count),
                        torch.ones(batch, count, dtype=torch.bool))


def test_published_size() -> None:
    with torch.device("meta"):
        assert count_parameters(create_model("fusanet", scale="paper", focal=FOCAL)) == pytest.approx(8.1e6, rel=0.03)


@pytest.mark.parametrize("size", [(45, 61), (96, 128), (33, 32)])
def test_depth_has_the_size_of_the_image(size: tuple[int, int]) -> None:
    with torch.no_grad():
        found = network().eval().predict(torch.rand(2, 3, *size))
    for one in (found.depth, found.first_depth, found.confidence, found.first_confidence):
        assert one.shape == (2, 1, *size) and torch.isfinite(one).all()
    assert (found.depth > 0).all()
    for confidence in (found.confidence, found.first_confidence, found.saliency):
        assert (confidence >= 0).all() and (confidence <= 1).all()


def test_five_scales_from_a_quarter_on_finest_first() -> None:
    with torch.no_grad():
        found = network().eval().predict(torch.rand(1, 3, 96, 128))
    sizes = [(24, 32), (12, 16), (6, 8), (3, 4), (2, 2)]
    for maps in (found.first, found.second):
        assert [tuple(depth.shape[-2:]) for depth in maps.depth] == sizes
        assert [tuple(one.shape[-2:]) for one in maps.confidences] == sizes
    assert found.saliency.shape == (1, 1, 24, 32)
    assert found.points.pixels.shape == (1, 64, 2) and found.points.valid.all()


@pytest.mark.parametrize("options", [{}, {"saliency": False}, {"confidence": False}, {"output": "sigmoid"}])
def test_untrained_network_predicts_an_indoor_depth(options: dict) -> None:
    depth = network(**options)(torch.rand(2, 3, *SIZE))
    assert depth.mean().item() == pytest.approx(2.5, abs=0.4) and depth.min() > 1.5 and depth.max() < 4


@pytest.mark.parametrize("options", [{}, {"saliency": False}, {"confidence": False}])
def test_gradient_reaches_every_parameter(options: dict) -> None:
    model = network(**options).train()
    found = model.predict(torch.rand(2, 3, *SIZE), some_points(2))
    value = sum((depth - 3).square().mean() for maps in (found.first, found.second) for depth in maps.depth)
    (value + sum(c.square().mean() for c in found.second.confidences)).backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


def test_evaluation_is_deterministic_and_independent_of_the_batch() -> None:
    model = network().eval()
    images = torch.rand(3, 3, *SIZE)
    with torch.no_grad():
        together = model(images)
        assert torch.equal(together, model(images))
        torch.testing.assert_close(model(images[1:2]), together[1:2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("confidence", [True, False])
def test_mixed_precision_is_finite_and_in_metres(confidence: bool) -> None:
    model = network(confidence=confidence).train()
    with torch.autocast("cpu", torch.bfloat16):
        found = model.predict(torch.rand(2, 3, *SIZE), some_points(2))
    assert found.depth.dtype == torch.float32
    (found.depth.mean() + found.first_depth.mean() + found.confidence.mean()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_without_points_or_with_none_that_is_valid() -> None:
    model, image, found = network().eval(), torch.rand(1, 3, *SIZE), []
    nowhere = some_points()
    nowhere = SparsePoints(nowhere.pixels, nowhere.depth, nowhere.confidence, torch.zeros_like(nowhere.valid))
    with torch.no_grad():
        found = [model.predict(image, points).depth
                 for points in (None, SparsePoints.empty(1, 0, "cpu"), SparsePoints.empty(1, 7, "cpu"), nowhere)]
        moved = model.predict(image, some_points()).depth
    for depth in found[1:]:
        torch.testing.assert_close(depth, found[0])
    assert not torch.allclose(moved, found[0])


def test_an_image_without_points_still_has_confidence() -> None:
    """Normalised convolutions alone would make a zero mask zero confidence everywhere."""
    found = network().eval().predict(torch.rand(1, 3, *SIZE))
    assert found.first_confidence.min() > 0


def test_points_outside_the_image_are_ignored() -> None:
    model, image = network().eval(), torch.rand(1, 3, *SIZE)
    inside = points_of([(5, 5), (40, 60)], [2.0, 3.0])
    more = points_of([(5, 5), (40, 60), (-3, 8), (SIZE[0], 2), (4, 500)], [2.0, 3.0, 1.0, 1.0, 1.0])
    with torch.no_grad():
        torch.testing.assert_close(model.predict(image, more).depth, model.predict(image, inside).depth)


def test_the_order_of_the_points_is_no_matter() -> None:
    model, image, points = network().eval(), torch.rand(1, 3, *SIZE), some_points()
    order = torch.randperm(points.depth.shape[1])
    turned = SparsePoints(points.pixels[:, order], points.depth[:, order], points.confidence[:, order],
                          points.valid[:, order])
    with torch.no_grad():
        torch.testing.assert_close(model.predict(image, turned).first.depth[0],
                                   model.predict(image, points).first.depth[0])


def test_the_camera_counts_where_there_are_points() -> None:
    model, image = network(saliency=False).eval(), torch.rand(1, 3, *SIZE)
    wide = default_intrinsics(SIZE, focal=0.4)
    with torch.no_grad():
        assert torch.equal(model.predict(image, intrinsics=wide).depth, model(image))
        given = [model.predict(image, points_of([(5, 5), (9, 50), (40, 60)], [2.0, 2.0, 3.0]), camera).depth
                 for camera in (None, default_intrinsics(SIZE, focal=FOCAL), wide)]
    torch.testing.assert_close(given[0], given[1])
    assert not torch.equal(given[0], given[2])


def test_a_missing_camera_is_a_warning_and_a_given_one_is_not() -> None:
    image = torch.rand(1, 3, *SIZE)
    with pytest.warns(UserWarning, match="intrinsics|camera"):
        create_model("fusanet").eval()(image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        create_model("fusanet").eval().predict(image, intrinsics=default_intrinsics(SIZE, focal=FOCAL))


def test_one_pass_without_a_saliency_net_two_with_one() -> None:
    both, one = network().eval(), network(saliency=False).eval()
    one.load_state_dict({name: value for name, value in both.state_dict().items() if not name.startswith("saliency.")})
    image = torch.rand(1, 3, *SIZE)
    with torch.no_grad():
        found, single = both.predict(image), one.predict(image)
    assert single.second is single.first and single.saliency is None and single.points is None
    torch.testing.assert_close(found.first_depth, single.depth)
    assert not torch.allclose(found.depth, single.depth)


def test_salient_points_carry_the_depth_of_the_first_pass() -> None:
    found = network().eval().predict(torch.rand(1, 3, *SIZE))
    cells = found.points.scaled(SIZE, (SIZE[0] // 4, SIZE[1] // 4))
    torch.testing.assert_close(cells.gather(found.first.depth[0])[:, 0], found.points.depth)
    assert not found.points.depth.requires_grad


def test_the_saliency_net_learns_from_the_second_pass_alone() -> None:
    model = network().train()
    found = model.predict(torch.rand(2, 3, *SIZE))
    found.second.depth[0].square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.saliency.parameters())


def test_without_the_confidence_predictor_all_is_sure_and_as_large() -> None:
    model = network(confidence=False).eval()
    found = model.predict(torch.rand(1, 3, *SIZE))
    assert all((one == 1).all() for one in (*found.first.confidences, *found.second.confidences))
    assert count_parameters(model) == pytest.approx(count_parameters(network()), rel=0.01)
    assert attending(False) is PlainConv2d and not any(isinstance(m, attending(True)) for m in model.modules())


def test_plain_convolution_by_hand() -> None:
    layer = PlainConv2d(1, 1, 3)
    nn.init.constant_(layer.conv.weight, 1.0)
    nn.init.constant_(layer.conv.bias, 0.5)
    x = torch.arange(9.0).view(1, 1, 3, 3)
    sure = torch.zeros_like(x)
    sure[0, 0, 1, 1] = 0.5
    y, confidence = layer(x, sure)
    torch.testing.assert_close(y, torch.full((1, 1, 3, 3), 2.5))  # 4 at the middle, half of it, and the bias
    assert (confidence == 1).all()


def test_an_encoder_puts_point_features_where_the_points_are() -> None:
    encoder = FusionEncoder(4, confidence=True, kernel_elements=4, neighbours=4).eval()
    encoder.fuse[1] = nn.Identity()  # the norm would tell all pixels about the point
    x, attention = torch.rand(1, 4, 16, 24), torch.rand(1, 4, 16, 24)
    points = points_of([(8, 12)], [2.0])
    camera = default_intrinsics((16, 24), focal=FOCAL)[None]
    with torch.no_grad():
        with_point = encoder(x, attention, Located(points, points.cloud(camera), (16, 24)))
        nothing = SparsePoints.empty(1, 0, "cpu")
        without = encoder(x, attention, Located(nothing, nothing.cloud(camera), (16, 24)))
    changed = ((with_point[0] - without[0]).abs().sum(1) > 1e-6)[0].nonzero()
    assert len(changed) and (changed - torch.tensor([8, 12])).abs().max() <= 1  # what a 3x3 convolution reaches
    torch.testing.assert_close(with_point[1], without[1])
    assert with_point[0].shape == with_point[1].shape == x.shape


def test_multi_scale_features_reach_as_far_as_their_dilations() -> None:
    layer = MultiScaleFeatures(1, 1)
    point = torch.zeros(1, 1, 51, 51)
    point[0, 0, 25, 25] = 1
    for conv, reach in zip(layer.convs, (1, 2, *DILATIONS), strict=True):
        nn.init.ones_(conv.weight), nn.init.zeros_(conv.bias)
        lit = conv(point)[0, 0].nonzero() - 25
        assert len(lit) == conv.weight.numel() and lit.abs().max() == reach
    assert layer(torch.rand(2, 1, 9, 9)).shape == (2, 9, 9, 9)


def test_saliency_is_a_product_of_two_shares() -> None:
    net = SaliencyNet(3, width=2, hidden=4).eval()
    confidence, features, depth = torch.rand(2, 1, 9, 12), torch.rand(2, 3, 9, 12), 1 + torch.rand(2, 1, 9, 12)
    whole = net(confidence, features, depth)
    assert whole.shape == (2, 1, 9, 12) and (whole > 0).all() and (whole < 1).all()
    for branch in (net.appearance, net.geometry):  # one branch that sees nothing leaves nothing
        before = branch[-1].bias.data.clone()
        branch[-1].bias.data.fill_(-50)
        assert net(confidence, features, depth).max() < 1e-12
        branch[-1].bias.data.copy_(before)


@pytest.mark.parametrize("image", [torch.rand(3, 32, 32), torch.rand(1, 1, 32, 32), torch.ones(1, 3, 32, 32).long()])
def test_bad_images(image: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected"):
        network()(image)


def test_bad_options() -> None:
    with pytest.raises(ValueError, match="no option 'points'"):
        create_model("fusanet", points=3)
    with pytest.raises(ValueError, match="salient=0"):
        fusanet(focal=FOCAL, salient=0)
    with pytest.raises(ValueError, match="no encoder whose features can be refined"):
        create_model("fusanet", focal=FOCAL, dgr={})
