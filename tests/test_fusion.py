"""Normalised convolution and FKAConv against plain loops, examples worked out by hand, and finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree

from mdelib.exercises import check
from mdelib.fusanet import confidence_loss, sparse_loss
from mdelib.fusion import FKAConv, NormalizedConv2d, nearest_neighbours, normalized_convolution
from mdelib.geometry import backproject
from mdelib.points import SparsePoints, salient_points

DOUBLE = torch.float64


# NormalizedConv2d

DIAGONAL = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 1.0]]).view(1, 1, 3, 3)
ONE_TO_NINE = torch.arange(1.0, 10.0).view(1, 1, 3, 3)


def random_input(shape=(2, 3, 5, 6), dtype=DOUBLE, share=0.5):
    """Values, and confidence of which about a half is 0."""
    x = torch.randn(shape, dtype=dtype)
    return x, torch.rand(shape, dtype=dtype) * (torch.rand(shape) < share)


def looped(x, c, weight, bias, stride, dilation, eps):
    """One output value after the other, from the formula."""
    batch, inputs, height, width = x.shape
    outputs, _, kernel, _ = weight.shape
    half = kernel // 2
    rows, columns = (math.ceil(n / stride) for n in (height, width))
    y, sure = (torch.zeros(batch, outputs, rows, columns, dtype=x.dtype) for _ in range(2))
    for b, o, i, j in np.ndindex(batch, outputs, rows, columns):
        weighted = trusted = 0.0
        for channel, u, v in np.ndindex(inputs, kernel, kernel):
            row, column = i * stride + (u - half) * dilation, j * stride + (v - half) * dilation
            if 0 <= row < height and 0 <= column < width:
                amount = weight[o, channel, u, v].item() * c[b, channel, row, column].item()
                weighted += amount * x[b, channel, row, column].item()
                trusted += amount
        sure[b, o, i, j] = trusted / weight[o].sum().item()
        y[b, o, i, j] = (weighted / trusted if sure[b, o, i, j] > eps else 0.0) + bias[o].item()
    return y, sure


def test_equal_weights_by_hand() -> None:
    """At the middle 1, 5 (half) and 9 count: 12.5 / 2.5; in the corner 1 and 5 (half): 3.5 / 1.5."""
    y, c = normalized_convolution(ONE_TO_NINE, DIAGONAL, torch.ones(1, 1, 3, 3))
    assert y[0, 0, 1, 1].item() == pytest.approx(5) and c[0, 0, 1, 1].item() == pytest.approx(2.5 / 9)
    assert y[0, 0, 0, 0].item() == pytest.approx(3.5 / 1.5) and c[0, 0, 0, 0].item() == pytest.approx(1.5 / 9)
    assert y[0, 0, 0, 2].item() == pytest.approx(5) and c[0, 0, 0, 2].item() == pytest.approx(0.5 / 9)


def test_different_weights_by_hand() -> None:
    """Weights 1 to 9: at the middle (1·1 + 5·0.5·5 + 9·9) / (1 + 2.5 + 9) + b, and 12.5 of 45 is trusted."""
    y, c = normalized_convolution(ONE_TO_NINE, DIAGONAL, ONE_TO_NINE, torch.tensor([0.25]))
    assert y[0, 0, 1, 1].item() == pytest.approx(94.5 / 12.5 + 0.25, rel=1e-6)
    assert c[0, 0, 1, 1].item() == pytest.approx(12.5 / 45, rel=1e-6)


def test_two_channels_are_one_neighbourhood() -> None:
    """A single trusted value of one channel is the answer of all output channels, with its share of all weights."""
    x, c = torch.full((1, 2, 1, 1), 7.0), torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    x[0, 1] = -3
    y, sure = normalized_convolution(x, c, torch.tensor([[1.0, 3.0], [2.0, 2.0]]).view(2, 2, 1, 1))
    assert y.flatten().tolist() == pytest.approx([7, 7])
    assert sure.flatten().tolist() == pytest.approx([0.25, 0.5])


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (5, 1, 1), (3, 1, 2), (1, 1, 1)])
def test_equals_plain_loops(kernel: int, stride: int, dilation: int) -> None:
    layer = NormalizedConv2d(3, 2, kernel, stride=stride, dilation=dilation).double()
    x, c = random_input(share=0.2)
    got = layer(x, c)
    for mine, theirs in zip(got, looped(x, c, layer.weight, layer.bias, stride, dilation, layer.eps), strict=True):
        assert mine.shape == theirs.shape
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dilation", [1, 2])
def test_full_confidence_is_an_ordinary_convolution(dilation: int) -> None:
    """With weights that sum to 1; at the frame those outside are left out, and the rest sums to 1 again."""
    layer = NormalizedConv2d(3, 4, 3, dilation=dilation).double()
    x = torch.randn(2, 3, 9, 10, dtype=DOUBLE)
    weight = layer.weight / layer.weight.sum((1, 2, 3), keepdim=True)
    ordinary = {"padding": dilation, "dilation": dilation}
    plain, inside = (F.conv2d(one, weight, **ordinary) for one in (x, torch.ones_like(x)))
    y, c = layer(x, torch.ones_like(x))
    middle = (..., slice(dilation, -dilation), slice(dilation, -dilation))
    torch.testing.assert_close(y[middle], (plain + layer.bias[:, None, None])[middle])
    torch.testing.assert_close(y, plain / inside + layer.bias[:, None, None])
    torch.testing.assert_close(c, inside)
    assert (c[middle] > 1 - 1e-12).all() and c[..., 0, :].max() < 1 - 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_no_confidence_anywhere_gives_the_bias(dtype: torch.dtype) -> None:
    layer = NormalizedConv2d(3, 2, 3).to(dtype)
    x, c = torch.randn(1, 3, 6, 7, dtype=dtype).requires_grad_(), torch.zeros(1, 3, 6, 7, dtype=dtype).requires_grad_()
    y, sure = layer(x, c)
    assert y.dtype == dtype and (y == layer.bias[:, None, None]).all() and (sure == 0).all()
    (y.square().sum() + sure.sum()).backward()
    assert (x.grad == 0).all()
    assert all(torch.isfinite(value).all() for value in (c.grad, layer.raw.grad, layer.bias.grad))


def test_a_part_without_confidence() -> None:
    x, c = torch.randn(1, 1, 5, 9).requires_grad_(), torch.zeros(1, 1, 5, 9)
    c[..., :3] = 0.7
    layer = NormalizedConv2d(1, 1, 3)
    y, sure = layer(x, c.requires_grad_())
    assert (y[..., 4:] == layer.bias).all() and (sure[..., 4:] == 0).all() and (sure[..., :4] > 0).all()
    y.sum().backward()
    assert all(torch.isfinite(value).all() for value in (x.grad, c.grad, layer.raw.grad))


def test_gradients() -> None:
    layer = NormalizedConv2d(2, 3, 3, stride=2).double()
    x, c = torch.randn(2, 2, 4, 5, dtype=DOUBLE), 0.1 + 0.8 * torch.rand(2, 2, 4, 5, dtype=DOUBLE)

    def call(x, c, raw, bias):
        return torch.func.functional_call(layer, {"raw": raw, "bias": bias}, (x, c))

    arguments = [value.detach().clone().requires_grad_() for value in (x, c, layer.raw, layer.bias)]
    assert torch.autograd.gradcheck(call, arguments)


def test_values_that_are_not_trusted_do_not_matter() -> None:
    x, c = random_input()
    other = torch.where(c > 0, x, 1e6)
    weight = torch.rand(2, 3, 3, 3, dtype=DOUBLE) + 0.1
    for mine, theirs in zip(normalized_convolution(x, c, weight), normalized_convolution(other, c, weight),
                            strict=True):
        torch.testing.assert_close(mine, theirs)


def test_it_is_a_mean_whatever_the_scale_of_weights_and_confidence() -> None:
    x, _ = random_input()
    c, weight = 0.2 + 0.8 * torch.rand_like(x), torch.rand(2, 3, 3, 3, dtype=DOUBLE) + 0.1
    y, sure = normalized_convolution(x, c, weight)
    assert (y <= x.max()).all() and (y >= x.min()).all()
    torch.testing.assert_close(normalized_convolution(x + 3, c, weight)[0], y + 3)
    torch.testing.assert_close(normalized_convolution(x, c, 7 * weight), (y, sure))
    torch.testing.assert_close(normalized_convolution(x, c / 2, weight), (y, sure / 2))


def test_confidence_stays_between_nought_and_one() -> None:
    c = torch.ones(2, 16, 12, 13)
    for _ in range(4):
        layer = NormalizedConv2d(16, 16, 3)
        _, c = layer(torch.randn_like(c), c)
        assert c.min() >= 0 and c.max() <= 1
    one = NormalizedConv2d(16, 16, 3)
    weight = one.weight / one.weight.sum((1, 2, 3), keepdim=True)
    assert F.conv2d(torch.ones(2, 16, 12, 13), weight).max() > 1  # what rounding does without the guard


def test_the_guard_against_rounding_has_no_effect_on_gradients() -> None:
    layer = NormalizedConv2d(4, 4, 3)
    c = torch.ones(1, 4, 6, 6, requires_grad=True)
    layer(torch.randn(1, 4, 6, 6), c)[1].sum().backward()
    expected = torch.autograd.grad(F.conv2d(c, layer.weight / layer.weight.sum((1, 2, 3), keepdim=True),
                                            padding=1).sum(), c)[0]
    torch.testing.assert_close(c.grad, expected)


def test_weights_are_positive_by_reparameterisation() -> None:
    """The raw parameter stays the optimiser's own, and training and evaluation see the same weights."""
    layer = NormalizedConv2d(2, 2, 3)
    torch.testing.assert_close(layer.weight, torch.log1p(torch.exp(10 * layer.raw)) / 10)
    assert (layer.weight > 0).all() and (layer.raw < 0).any() and (layer.bias == 0.01).all()
    before = layer.raw.detach().clone()
    x, c = random_input((1, 2, 5, 5), torch.float32)
    trained = layer.train()(x, c)
    assert torch.equal(layer.raw, before)
    for one, two in zip(trained, layer.eval()(x, c), strict=True):
        assert torch.equal(one, two)
    assert NormalizedConv2d(2, 2, 3, bias=False).bias is None


def test_half_precision_is_left_before_the_division() -> None:
    layer = NormalizedConv2d(8, 8, 3)
    x, c = random_input((2, 8, 12, 12), torch.float32, share=0.3)
    c.requires_grad_()
    full = layer(x, c)
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x, c)
    for one, two in zip(half, full, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, two, rtol=0.05, atol=0.02)
    assert half[1].max() <= 1
    (half[0].sum() + half[1].sum()).backward()
    assert torch.isfinite(layer.raw.grad).all() and torch.isfinite(c.grad).all()


@pytest.mark.parametrize(("changes", "words"), [
    ({"kernel_size": 4}, "kernel size odd"), ({"in_channels": 0}, "at least 1"), ({"stride": 0}, "at least 1"),
    ({"beta": 0.0}, "beta must be positive"), ({"eps": 0.0}, "eps between 0 and 1")])
def test_impossible_layers_are_refused(changes: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        NormalizedConv2d(**{"in_channels": 2, "out_channels": 2, "kernel_size": 3} | changes)


def test_confidence_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="a confidence for every value"):
        NormalizedConv2d(3, 2, 3)(torch.rand(1, 3, 4, 4), torch.rand(1, 1, 4, 4))
    assert "3, 2, kernel_size=3" in repr(NormalizedConv2d(3, 2, 3))


# FKAConv


def some_cloud(batch=2, count=11, channels=3, dtype=DOUBLE):
    """Features, points of a room, and which of them are valid: not as many in each cloud."""
    points = 2 * torch.rand(batch, 3, count, dtype=dtype) + torch.tensor([-1.0, -1.0, 2.0], dtype=dtype)[:, None]
    valid = torch.rand(batch, count) < torch.linspace(0.9, 0.5, batch)[:, None]
    return torch.randn(batch, channels, count, dtype=dtype), points, valid


def layer_of(neighbours=4, kernel_elements=5, dtype=DOUBLE, channels=(3, 2)) -> FKAConv:
    """Parameters as after some training: nothing at the value that it starts with."""
    layer = FKAConv(*channels, kernel_elements=kernel_elements, neighbours=neighbours).to(dtype).eval()
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.2 * torch.randn_like(p))
        layer.radius.fill_(0.8)
    return layer


def looped_fka(layer: FKAConv, features, points, valid):
    """FACTS: one cloud, one point, one neighbour after the other; numpy, in the words of the paper's Fig. 2."""
    weights = {name: p.detach().numpy() for name, p in layer.named_parameters()}
    out = np.zeros((len(features), layer.kernel.out_features, features.shape[2]))
    for b in range(len(features)):
        f, p = features[b].numpy().T, points[b].numpy().T
        there = np.flatnonzero(valid[b].numpy())
        hoods = {i: sorted(there, key=lambda j: np.linalg.norm(p[j] - p[i]))[:layer.neighbours]
                 for i in there}
        pairs = [(i, j) for i in there for j in hoods[i]]
        r = {(i, j): np.linalg.norm(p[j] - p[i]) for i, j in pairs}
        s = {pair: 1 / (1 + np.exp(weights["steepness"] * r[pair] - weights["offset"])) for pair in pairs}
        for i in there:
            mean = (sum(s[i, j] for j in hoods[i]) + 1e-6) / len(hoods[i])
            s |= {(i, j): s[i, j] / mean for j in hoods[i]}
        value = {(i, j): weights["layer1.weight"] @ ((p[j] - p[i]) / layer.radius.item()) for i, j in pairs}
        for norm, following in (("norm1", "layer2"), ("norm2", "layer3")):
            stacked = np.array([value[pair] for pair in pairs]).reshape(len(pairs), -1)
            mean, variance = stacked.mean(0), stacked.var(0)
            scaled = {pair: np.maximum(0, (value[pair] - mean) / np.sqrt(variance + 1e-5) * weights[f"{norm}.scale"]
                                       + weights[f"{norm}.shift"]) for pair in pairs}
            best = {i: np.max([scaled[i, j] * s[i, j] for j in hoods[i]], 0) for i in there}
            value = {(i, j): weights[f"{following}.weight"] @ np.concatenate([scaled[i, j], best[i]])
                     + weights.get(f"{following}.bias", 0) for i, j in pairs}
        for i in there:
            elements = sum(np.outer(np.maximum(0, value[i, j]) * s[i, j], f[j]) for j in hoods[i])  # (m, C)
            out[b, :, i] = weights["kernel.weight"] @ elements.ravel()
    return torch.from_numpy(out)


@pytest.mark.parametrize("neighbours", [1, 4, 20])
def test_fka_equals_plain_loops(neighbours: int) -> None:
    layer = layer_of(neighbours)
    features, points, valid = some_cloud(3)
    assert len(set(valid.sum(1).tolist())) > 1
    with torch.no_grad():
        got = layer(features, points, valid)
    torch.testing.assert_close(got, looped_fka(layer, features, points, valid), rtol=1e-9, atol=1e-9)
    assert got.abs().sum() > 0


def test_the_order_of_the_points_is_no_matter() -> None:
    layer, (features, points, valid) = layer_of(), some_cloud()
    order = torch.randperm(11)
    with torch.no_grad():
        torch.testing.assert_close(layer(features[..., order], points[..., order], valid[:, order]),
                                   layer(features, points, valid)[..., order], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dtype", "far", "tolerance"), [(DOUBLE, 1000.0, 1e-9), (torch.float32, 16.0, 1e-3)])
def test_the_place_of_the_cloud_is_no_matter(dtype: torch.dtype, far: float, tolerance: float) -> None:
    layer, (features, points, valid) = layer_of(dtype=dtype), some_cloud(dtype=dtype)
    moved = points + torch.tensor([far, -0.5 * far, far], dtype=dtype)[:, None]
    with torch.no_grad():
        here = layer(features, points, valid)
        torch.testing.assert_close(layer(features, moved, valid), here, rtol=tolerance, atol=tolerance)
        assert not torch.allclose(layer(features, 1.5 * points, valid), here, rtol=0.01)


def test_points_that_are_not_valid_influence_nobody() -> None:
    """More of them, with other features, in the midst of the cloud, also change no neighbourhood's size."""
    layer = layer_of(neighbours=16)
    features, points, valid = some_cloud()
    more = [torch.cat([one, extra], -1) for one, extra in (
        (features, 1e3 * torch.randn(2, 3, 9, dtype=DOUBLE)), (points, points[..., :9].flip(0)),
        (valid, torch.zeros(2, 9, dtype=torch.bool)))]
    layer.train()
    with torch.no_grad():
        one = layer(features, points, valid)
        radius = layer.radius.clone()
        layer.radius.fill_(0.8)
        two = layer(*more)
    torch.testing.assert_close(two[..., :11], one, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(layer.radius, radius)
    assert (two.masked_select(~more[2][:, None]) == 0).all()


def test_the_other_clouds_of_a_batch_are_no_matter() -> None:
    layer, (features, points, valid) = layer_of(), some_cloud(3)
    with torch.no_grad():
        together = layer(features, points, valid)
        for place in range(3):
            here = valid[place]
            alone = layer(features[place, :, here][None], points[place, :, here][None])
            torch.testing.assert_close(together[place, :, here], alone[0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_points_than_neighbours(count: int) -> None:
    layer = layer_of(neighbours=16)
    features, points, _ = some_cloud(count=count)
    features.requires_grad_(), points.requires_grad_()
    out = layer(features, points)
    assert out.shape == (2, 2, count)
    everybody = torch.ones(2, count, dtype=torch.bool)
    torch.testing.assert_close(out, looped_fka(layer, features.detach(), points.detach(), everybody))
    out.square().sum().backward()
    assert torch.isfinite(points.grad).all() and features.grad.abs().sum() > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_point_alone_is_seen_from_the_start(seed: int) -> None:
    torch.manual_seed(seed)
    layer = FKAConv(3, 2, kernel_elements=4)
    assert (layer(torch.randn(1, 3, 1), torch.randn(1, 3, 1)) != 0).all()


@pytest.mark.parametrize("count", [0, 5])
def test_no_point_at_all(count: int) -> None:
    layer = FKAConv(3, 2).train()
    features, points = torch.randn(2, 3, count, requires_grad=True), torch.randn(2, 3, count, requires_grad=True)
    out = layer(features, points, torch.zeros(2, count, dtype=torch.bool))
    assert out.shape == (2, 2, count) and (out == 0).all() and layer.radius == 1
    out.sum().backward()
    grads = [p.grad for p in layer.parameters() if p.grad is not None] + [features.grad, points.grad]
    assert all(torch.isfinite(grad).all() for grad in grads if grad is not None)


def test_one_cloud_of_a_batch_without_points() -> None:
    layer, (features, points, _) = layer_of().train(), some_cloud()
    valid = torch.tensor([[True] * 11, [False] * 11])
    out = layer(features.requires_grad_(), points.requires_grad_(), valid)
    assert (out[1] == 0).all() and (out[0] != 0).any()
    out.square().sum().backward()
    assert torch.isfinite(points.grad).all() and (features.grad[1] == 0).all()


def test_points_at_one_place_have_finite_gradients() -> None:
    layer = layer_of()
    points = torch.ones(1, 3, 6, dtype=DOUBLE, requires_grad=True)
    layer(torch.randn(1, 3, 6, dtype=DOUBLE), points).sum().backward()
    assert torch.isfinite(points.grad).all()
    assert all(torch.isfinite(p.grad).all() for p in layer.parameters())


def test_fka_gradients() -> None:
    layer = layer_of(neighbours=3, kernel_elements=3, channels=(2, 2))
    features, points, _ = some_cloud(2, 5, 2)
    valid = torch.tensor([[True] * 5, [True, True, False, True, False]])
    names = [name for name, _ in layer.named_parameters()]

    def call(features, points, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (features, points, valid))

    arguments = [value.detach().clone().requires_grad_() for value in (features, points, *layer.parameters())]
    assert torch.autograd.gradcheck(call, arguments)


def test_the_running_mean_of_the_radius() -> None:
    """Three points on a line, 1 m and 2 m apart, two neighbours: the farthest are 1, 1 and 2 m away."""
    layer = FKAConv(3, 2, neighbours=2)
    points = torch.zeros(1, 3, 3)
    points[0, 0] = torch.tensor([0.0, 1.0, 3.0])
    layer.eval()(torch.randn(1, 3, 3), points)
    assert layer.radius == 1
    layer.train()(torch.randn(1, 3, 3), points)
    assert layer.radius.item() == pytest.approx(0.9 + 0.1 * 4 / 3)
    layer(torch.randn(1, 3, 3), points, torch.tensor([[True, False, True]]))  # 3 m both ways
    assert layer.radius.item() == pytest.approx(0.9 * (0.9 + 0.1 * 4 / 3) + 0.1 * 3)
    before = layer.radius.clone()
    layer(torch.randn(1, 3, 3), points, torch.tensor([[True, False, False]]))  # a point alone has no radius
    assert layer.radius == before and "radius" in layer.state_dict()


def test_neighbours_equal_a_tree_search() -> None:
    _, points, valid = some_cloud(2, 40)
    points = points.mT
    index, near = nearest_neighbours(points, valid, 6)
    for place in range(2):
        there = valid[place].nonzero()[:, 0].numpy()
        tree = cKDTree(points[place].numpy()[there])
        for i in range(40):
            if valid[place, i]:
                expected = set(there[tree.query(points[place, i].numpy(), 6)[1]].tolist())
                assert near[place, i].all() and set(index[place, i].tolist()) == expected and i in expected
            else:
                assert not near[place, i].any()


def test_neighbours_of_a_far_cloud_in_single_precision() -> None:
    """Points 1 cm apart at 60 m: the squares of their places lose what tells them apart."""
    points = torch.zeros(1, 8, 3)
    points[0, :, 0], points[0, :, 2] = 60 + 0.01 * torch.arange(8), 60
    index, _ = nearest_neighbours(points, torch.ones(1, 8) > 0, 2)
    assert all(i in row and max(abs(i - j) for j in row) == 1 for i, row in enumerate(index[0].tolist()))


def test_few_points_have_few_neighbours() -> None:
    index, near = nearest_neighbours(torch.rand(1, 5, 3), torch.tensor([[True, False, True, False, False]]), 4)
    assert index.shape == near.shape == (1, 5, 4) and near.sum(2).tolist() == [[2, 0, 2, 0, 0]]
    assert set(index[0, 0][near[0, 0]].tolist()) == {0, 2}


def test_half_precision_features_keep_their_dtype() -> None:
    layer = layer_of(dtype=torch.float32)
    features, points, valid = some_cloud(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        half, full = (layer(one, points, valid) for one in (features.bfloat16(), features))
    assert half.dtype == torch.bfloat16 and full.dtype == torch.float32
    torch.testing.assert_close(half.float(), full, rtol=0.05, atol=0.05)
    with torch.no_grad():
        assert torch.equal(layer(features, points, valid), full)


@pytest.mark.parametrize(("features", "points", "valid", "words"), [
    ((2, 4, 5), (2, 3, 5), None, "features have the shape"), ((2, 3, 5), (2, 5, 3), None, "are needed"),
    ((2, 3, 5), (1, 3, 5), None, "are needed"), ((3, 5), (3, 5), None, "are needed"),
    ((2, 3, 5), (2, 3, 5), torch.ones(2, 4) > 0, "one for every point"),
    ((2, 3, 5), (2, 3, 5), torch.ones(2, 5), "bool of the shape")])
def test_clouds_that_do_not_fit_are_refused(features, points, valid, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FKAConv(3, 2)(torch.rand(features), torch.rand(points), valid)


def test_impossible_fka_layers_are_refused() -> None:
    for changes in ({"neighbours": 0}, {"kernel_elements": 0}):
        with pytest.raises(ValueError, match="at least 1"):
            FKAConv(3, 2, **changes)


# the exercises of notebook 09


def test_the_exercise_on_one_pixel_is_a_pixel_of_the_layer() -> None:
    x, c = random_input((1, 1, 3, 3))
    layer = NormalizedConv2d(1, 1, 3, bias=False).double()
    y, sure = layer(x, c)
    mine = check.normalized_pixel.reference(x[0, 0], c[0, 0], layer.weight[0, 0])
    assert [value.item() for value in mine] == [pytest.approx(value[0, 0, 1, 1].item()) for value in (y, sure)]


def test_the_exercise_on_space_is_back_projection() -> None:
    depth, camera = 1 + torch.rand(1, 1, 6, 7), torch.tensor([[5.0, 0.0, 3.0], [0.0, 4.0, 2.0], [0.0, 0.0, 1.0]])
    pixels = torch.tensor([[0, 0], [5, 6], [2, 3]])
    expected = backproject(depth, camera)[0][:, pixels[:, 0], pixels[:, 1]].T
    torch.testing.assert_close(check.points_in_space.reference(pixels, depth[0, 0][tuple(pixels.T)], camera), expected)


def test_the_exercise_on_salient_cells_is_the_choice_of_the_network() -> None:
    saliency, one = torch.rand(1, 1, 9, 9), torch.ones(1, 1, 9, 9)
    expected = salient_points(saliency, one, one, 7).pixels[0]
    assert torch.equal(check.salient_cells.reference(saliency[0, 0], 7), expected)


def test_the_exercises_on_losses_are_the_losses() -> None:
    pred, target = (1 + torch.rand(5, 6) for _ in range(2))
    known, sure = torch.rand(5, 6) < 0.8, torch.rand(5, 6)
    maps = [one[None, None] for one in (pred, target, sure, known)]
    each = check.confidence_map.reference(pred, target, sure, known)
    assert (each.sum() / known.sum()).item() == pytest.approx(confidence_loss(*maps).item(), rel=1e-5)
    pixels = known.nonzero()[:4]
    depth = target[tuple(pixels.T)][None]
    points = SparsePoints(pixels[None], depth, torch.ones(1, 4), torch.ones(1, 4) > 0)
    leaf = maps[0].clone().requires_grad_()
    loss = sparse_loss(leaf, maps[1], points, maps[3])
    loss.backward()
    assert check.sparse_ratio.reference(pred, target, known, pixels).item() == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(check.sparse_gradient.reference(pred.clone(), target, known, pixels), leaf.grad[0, 0])
    assert (leaf.grad[0, 0] != 0).nonzero().tolist() == pixels.tolist()
