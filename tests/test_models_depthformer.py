"""DepthFormer (Agarwal and Arora): Transbins, the decoder, the size of MiT-B4, and the depth that bins make."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mdelib.models.base import count_parameters
from mdelib.models.depthformer import LAB_BINS, PAPER, DepthFormerDecoder, TransBins, UpStep, depthformer


def transbins(**options: object) -> TransBins:
    return TransBins(8, **{**LAB_BINS, "dropout": 0.0, **options}).eval()


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (77, 101)])
def test_depth_at_any_size(size: tuple[int, int]) -> None:
    network = depthformer().eval()
    with torch.no_grad():
        depth = network(torch.rand(2, 3, *size))
    assert depth.shape == (2, 1, *size)
    assert torch.isfinite(depth).all()
    assert depth.min() > 0


def test_published_size() -> None:
    network = depthformer("paper")
    assert count_parameters(network.encoder) / 1e6 == pytest.approx(60.8, abs=0.05)  # Xie et al., Table 1
    assert count_parameters(network) == 75_000_128
    c1, c2, c3, c4 = PAPER["channels"]

    def pair(a: int, b: int) -> int:  # two 3x3 convolutions and their norms
        return 9 * (a * b + b * b) + 4 * b

    def up(a: int) -> int:  # a transposed 2x2 convolution
        return 4 * a * a + a

    decoder = 9 * c4 * c4 + 2 * c4 + sum(up(a) + pair(a + b, b) for a, b in ((c4, c3), (c3, c2), (c2, c1)))
    assert count_parameters(network.decoder) == decoder + up(c1) + pair(c1, c2)
    layer = 4 * 128 * 128 + 4 * 128 + 2 * 128 * 1024 + 1024 + 128 + 4 * 128
    embed, regress = 16 * 16 * 128 * 128 + 128 + 1500 * 128, 128 * 256 + 2 * 256 * 256 + 3 * 256
    assert count_parameters(network.transbins) == embed + 4 * layer + regress
    assert (network.head.in_channels, network.head.out_channels) == (128, 256)
    assert [len(getattr(network.encoder, f"block{stage}")) for stage in (1, 2, 3, 4)] == [3, 8, 27, 3]
    assert network.transbins.layers[0].attn.attn_drop.p == 0.1
    assert network.encoder.block4[2].drop_path.drop_prob == pytest.approx(0.1)


def test_lab_network_is_small_and_has_no_dropout() -> None:
    network = depthformer()
    assert 0.8e6 < count_parameters(network) < 1.5e6
    assert all(module.p == 0 for module in network.modules() if isinstance(module, nn.Dropout))
    assert network.head.out_channels == 64
    assert depthformer(bins=20).head.out_channels == 20


def test_widths_are_shares() -> None:
    widths = transbins()(torch.randn(3, 8, 32, 48))
    assert widths.shape == (3, 64)
    assert widths.min() > 0
    torch.testing.assert_close(widths.sum(1), torch.ones(3))


def test_tokens_by_hand() -> None:
    block, x = transbins(patch=4), torch.randn(1, 8, 9, 14)
    with torch.no_grad():
        tokens = block.tokens(x)
        assert tokens.shape == (1, 6, 8)  # 2 x 3 whole patches
        patch = x[0, :, 4:8, 8:12]  # the second row's third
        wanted = torch.einsum("ocij,cij->o", block.embed.weight, patch) + block.embed.bias + block.positions[5]
    torch.testing.assert_close(tokens[0, 5], wanted)


def test_tokens_of_small_and_of_large_maps() -> None:
    block = transbins(patch=4, positions=5)
    with torch.no_grad():
        assert block.tokens(torch.randn(1, 8, 2, 3)).shape == (1, 1, 8)
        block.embed.weight.zero_()
        block.embed.bias.zero_()
        block.positions.copy_(torch.arange(5.0)[:, None].expand(5, 8))
        # nine tokens on five positions: halves between
        torch.testing.assert_close(block.tokens(torch.randn(1, 8, 12, 12))[0, :, 0], torch.arange(9.0) / 2)


def test_bins_see_the_whole_map() -> None:
    block, x = transbins(), torch.randn(1, 8, 32, 32, requires_grad=True)
    weights = torch.randn(64)  # the sum of the widths is 1 whatever the map
    (block(x)[0] * weights).sum().backward()
    assert F.avg_pool2d(x.grad.abs().sum(1), 4).min() > 0


def test_up_step_by_hand() -> None:
    step = UpStep(2, 3).eval()
    x, skip = torch.randn(1, 2, 2, 2), torch.randn(1, 3, 4, 4)
    with torch.no_grad():
        # each pixel becomes a block of 2 x 2 by its own
        raised = torch.einsum("bchw,coij->bohiwj", x, step.up.weight).reshape(1, 2, 4, 4) + step.up.bias[:, None, None]
        torch.testing.assert_close(step.up(x), raised)
        assert torch.equal(step(x, skip), step.convs(torch.cat([step.up(x), skip], 1)))
    assert [layer.in_channels for layer in step.convs if isinstance(layer, nn.Conv2d)] == [5, 3]


def test_every_feature_reaches_the_decoded_map() -> None:
    decoder = DepthFormerDecoder((4, 6, 8, 10)).eval()
    features = [torch.randn(1, c, 32 // 2**k, 48 // 2**k) for k, c in enumerate((4, 6, 8, 10))]
    with torch.no_grad():
        whole = decoder(tuple(features))
        assert whole.shape == (1, 6, 64, 96)
        for place in range(4):
            changed = [f + (index == place) for index, f in enumerate(features)]
            assert not torch.allclose(decoder(tuple(changed)), whole)


def test_depth_is_the_mean_of_the_centres() -> None:
    network = depthformer(bins=8, min_depth=1.0, max_depth=9.0).eval()
    x = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        features = network.encode(x)
        edges, probability = network.decode_bins(features)
        depth = network.decode(features)
        assert torch.equal(depth, network.raw(x))
    assert edges.shape == (2, 9)
    torch.testing.assert_close(edges[:, 0], torch.ones(2))
    torch.testing.assert_close(edges[:, -1], torch.full((2,), 9.0))
    assert (edges.diff() > 0).all()
    assert probability.shape == (2, 8, 32, 48)
    for image in range(2):
        centres = [(a + b) / 2 for a, b in pairwise(edges[image].tolist())]
        by_hand = sum(c * probability[image, k, 7, 11] for k, c in enumerate(centres))
        torch.testing.assert_close(depth[image, 0, 7, 11], by_hand)


def test_depth_never_leaves_the_range() -> None:
    network = depthformer(min_depth=0.5, max_depth=80.0).eval()
    image = torch.rand(1, 3, 75, 90)
    with torch.no_grad():
        for place in (0, -1):  # all of the probability in the nearest, then in the farthest bin
            network.head.bias.zero_()[place] = 100.0
            depth, edges = network(image), network.bin_edges(image)
            centre = (edges[:, 1:] + edges[:, :-1])[0, place] / 2
            torch.testing.assert_close(depth, centre.expand_as(depth), rtol=1e-4, atol=0)
            assert 0.5 < depth.min() <= depth.max() < 80
    assert torch.equal(network.to_depth(depth), depth)


def test_every_image_has_its_own_bins() -> None:
    network = depthformer()
    images = torch.stack([torch.full((3, 64, 64), 0.1), torch.rand(3, 64, 64)])
    with torch.no_grad():
        edges = network.bin_edges(images)
    assert (edges[0] - edges[1]).abs().max() > 0.01


def test_attention_is_within_reach() -> None:
    network, seen = depthformer().eval(), {}
    names = ("encoder.block1.0.attn", "encoder.block4.1.attn", "transbins.layers.3.attn")
    for name in names:
        network.get_submodule(f"{name}.attn_drop").register_forward_hook(
            lambda module, args, output, name=name: seen.__setitem__(name, output))
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        fused = network(image)
        for layer in network.transbins.layers:
            layer.attn.fused_attn = False
        torch.testing.assert_close(network(image), fused)
    assert [tuple(seen[name].shape) for name in names] == [(1, 1, 384, 6), (1, 8, 6, 6), (1, 4, 96, 96)]
    for attention in seen.values():
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))


@pytest.mark.parametrize(("options", "words"), [
    ({"bins": 0}, "bins=0 divide nothing"),
    ({"min_depth": 0.0}, "min_depth=0.0 and max_depth=10.0 are no range of depths"),
    ({"min_depth": 2.0, "max_depth": 1.0}, "are no range of depths"),
    ({"pretrained": True}, "no pretrained weights for the narrowed encoder"),
])
def test_bad_requests(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        depthformer(**options)
