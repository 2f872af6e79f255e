"""Swin-Depth as this course reads it: the attention among scales, sizes, DGR on top."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mdelib.models.base import count_parameters
from mdelib.models.swindepth import ScaleAttention, SwinDepthDecoder, swindepth


def open_attention(channels: int, scales: int) -> ScaleAttention:
    """With a gate of 1/2 everywhere, equal weights, and nothing after the mix."""
    attention = ScaleAttention(channels, scales)
    for layer in (attention.scores, attention.gate[2]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    attention.join = torch.nn.Identity()
    return attention


def test_scale_attention_by_hand() -> None:
    attention = open_attention(2, 3)
    maps = [torch.full((1, 2, 2, 2), value) for value in (1.0, 2.0, 6.0)]
    torch.testing.assert_close(attention(maps), torch.full((1, 2, 2, 2), 3.0 / 2))  # their mean, halved by the gate
    attention.scores.bias.data = torch.tensor([0.0, 3.0, 6.0]).log()  # weights 0, 1/3, 2/3
    torch.testing.assert_close(attention(maps), torch.full((1, 2, 2, 2), (2.0 / 3 + 4.0) / 2))


def test_scale_attention_is_each_pixels_own() -> None:
    attention = open_attention(1, 2)
    attention.scores.weight.data = torch.tensor([[50.0, 0.0], [0.0, 50.0]]).view(2, 2, 1, 1)
    left, right = torch.rand(2, 1, 1, 4, 5)
    weights = []
    attention.softmax.register_forward_hook(lambda module, args, output: weights.append(output))
    torch.testing.assert_close(attention([left, right]), torch.maximum(left, right) / 2, atol=1e-2, rtol=0)
    torch.testing.assert_close(weights[0].sum(1), torch.ones(1, 4, 5))


def test_gate_sees_the_whole_image() -> None:
    attention = ScaleAttention(4, 2).eval()
    maps = [torch.randn(1, 4, 6, 20).requires_grad_() for _ in range(2)]
    attention(maps)[0, :, 0, 0].square().sum().backward()
    assert (maps[0].grad.abs().sum((0, 1)) > 0).all()


def test_pyramid_goes_from_coarse_to_fine() -> None:
    decoder = SwinDepthDecoder((3, 4, 5, 6), 8).eval()
    features = tuple(torch.randn(1, c, 16 // 2**k, 24 // 2**k) for k, c in enumerate((3, 4, 5, 6)))
    given, made = {}, {}
    for name in ("smooth.0", "smooth.1", "smooth.2", "smooth.3", "project.0", "project.3", "attention"):
        module = decoder.get_submodule(name)
        module.register_forward_pre_hook(lambda module, args, name=name: given.__setitem__(name, args[0]))
        module.register_forward_hook(lambda module, args, output, name=name: made.__setitem__(name, output))
    with torch.no_grad():
        assert decoder(features).shape == (1, 4, 32, 48)
    torch.testing.assert_close(given["smooth.3"], made["project.3"])
    coarse = F.interpolate(made["smooth.1"], size=(16, 24), mode="bilinear")
    torch.testing.assert_close(given["smooth.0"], made["project.0"] + coarse)
    assert [tuple(x.shape) for x in given["attention"]] == [(1, 8, 16, 24)] * 4
    torch.testing.assert_close(given["attention"][0], made["smooth.0"])
    torch.testing.assert_close(given["attention"][1], coarse)


@pytest.mark.parametrize("output", ["sigmoid", "log", "linear"])
def test_smoke_and_start(output: str) -> None:
    network = swindepth(output=output)
    assert 0.8e6 < count_parameters(network) < 2.0e6
    depth = network(torch.rand(2, 3, 65, 97))
    assert depth.shape == (2, 1, 65, 97)
    assert 2.0 < depth.min() < depth.max() < 3.2


def test_sizes_at_paper_scale() -> None:
    with torch.device("meta"):
        network, large = swindepth("paper"), swindepth("paper", encoder="large")
    assert count_parameters(network) / 1e6 == pytest.approx(31.2, abs=0.05)  # what the docstring says
    assert network.encoder.channels == (96, 192, 384, 768)
    assert large.encoder.channels == (192, 384, 768, 1536)
    assert network.head.in_channels == 128
    assert network.encoder.layers[3].blocks[1].drop_path1.drop_prob == pytest.approx(0.1)


def test_depth_stays_in_its_range() -> None:
    network = swindepth(max_depth=80.0).eval()
    torch.nn.init.normal_(network.head.weight, std=100.0)
    with torch.no_grad():
        depth = network(torch.rand(1, 3, 64, 64))
    assert depth.min() >= 0
    assert depth.max() <= 80.0
    assert depth.max() - depth.min() > 20


@pytest.mark.parametrize(("options", "words"), [
    ({"encoder": "huge"}, "unknown Swin variant 'huge'"),
    ({"pretrained": True}, "no pretrained weights for the narrowed encoder"),
    ({"width": 7}, "width=7 cannot be halved"),
    ({"width": 0}, "width=0 cannot be halved"),
    ({"max_depth": 0.0}, "max_depth=0.0 is no positive length"),
    ({"output": "disparity"}, "unknown output form"),
])
def test_bad_requests(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        swindepth(**options)
