"""PixelFormer and its Swin encoder: shifts that pad first, windows, bins, the published sizes, DGR on top."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock
from torchvision.models.swin_transformer import shifted_window_attention

from mdelib.models.base import count_parameters
from mdelib.models.pixelformer import (
    PAPER,
    BinCentres,
    CrossWindowAttention,
    PixelFormerDecoder,
    PixelQueries,
    SkipAttention,
    pixelformer,
)
from mdelib.models.swin import SwinBlock, join_windows, split_windows, swin_encoder


def swin_block(shift: int, window: int = 4) -> SwinBlock:
    """A block whose every weight is drawn, so that nothing is 0 or 1 by its start."""
    block = SwinTransformerBlock(8, (8, 8), num_heads=2, window_size=window, shift_size=shift, always_partition=True,
                                 dynamic_mask=True).double()
    block.__class__ = SwinBlock
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return block


@pytest.mark.parametrize(("height", "width"), [(8, 8), (5, 9), (3, 2)])
def test_windows_are_rows_of_the_padded_map(height: int, width: int) -> None:
    x = torch.randn(2, height, width, 3)
    windows = split_windows(x, (4, 3))
    rows, columns = -(-height // 4), -(-width // 3)
    assert windows.shape == (2 * rows * columns, 12, 3)
    padded = F.pad(x, (0, 0, 0, 3 * columns - width, 0, 4 * rows - height))
    assert torch.equal(windows[0].view(4, 3, 3), padded[0, :4, :3])
    assert torch.equal(windows[-1].view(4, 3, 3), padded[1, -4:, -3:])
    assert torch.equal(join_windows(windows, (4, 3), height, width), x)


@pytest.mark.parametrize("shift", [0, 2])
@pytest.mark.parametrize("size", [(8, 12), (9, 14), (5, 7)])
def test_swin_block_is_torchvisions(shift: int, size: tuple[int, int]) -> None:
    block, x = swin_block(shift), torch.randn(2, *size, 8, dtype=torch.float64)
    attn = block.attn
    bias = attn.relative_position_bias_table[attn.relative_position_index].permute(2, 0, 1)[None]
    wanted = shifted_window_attention(x, attn.qkv.weight, attn.proj.weight, bias, [4, 4], 2, [shift, shift],
                                      qkv_bias=attn.qkv.bias, proj_bias=attn.proj.bias)
    torch.testing.assert_close(block.attend(x), wanted)


@pytest.mark.parametrize("shift", [0, 2])
def test_swin_block_is_timms_where_windows_fit(shift: int) -> None:
    block, x = swin_block(shift), torch.randn(2, 12, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), SwinTransformerBlock.forward(block, x))


@pytest.mark.parametrize("fused", [True, False])
def test_shifted_windows_do_not_meet_round_the_corner(fused: bool) -> None:
    block = swin_block(2)
    block.attn.fused_attn = fused
    x = torch.randn(1, 9, 9, 8, dtype=torch.float64, requires_grad=True)
    for row, seen in ((0, [0, 1]), (1, [0, 1]), (2, [2, 3, 4, 5]), (5, [2, 3, 4, 5]), (8, [6, 7, 8])):
        gradient, = torch.autograd.grad(block(x)[0, row, row].square().sum(), x)
        reached = gradient[0].norm(dim=-1) > 1e-20  # masked pairs are left exp(-100) of their weight
        wanted = torch.zeros(9, 9, dtype=torch.bool)
        wanted[min(seen):max(seen) + 1, min(seen):max(seen) + 1] = True
        assert torch.equal(reached, wanted), row


def test_encoder_hands_out_normalised_features_of_any_size() -> None:
    encoder = swin_encoder("lab").eval()
    with torch.no_grad():
        features = encoder(torch.randn(2, 3, 96, 64))
    assert [tuple(f.shape) for f in features] == [(2, 20, 24, 16), (2, 40, 12, 8), (2, 80, 6, 4), (2, 160, 3, 2)]
    for feature in features:
        torch.testing.assert_close(feature.mean(1), torch.zeros_like(feature[:, 0]), atol=1e-5, rtol=0)
        torch.testing.assert_close(feature.var(1, correction=0), torch.ones_like(feature[:, 0]), atol=1e-2, rtol=0)
    shifts = [block.shift_size for layer in encoder.layers for block in layer.blocks]
    assert shifts == [(0, 0), (2, 2)] * 4  # also where the map is smaller than a window


def test_cross_attention_is_torchs() -> None:
    attention = CrossWindowAttention(8, 2, 3).double()
    torch.nn.init.normal_(attention.relative_position_bias_table)
    peer = torch.nn.MultiheadAttention(8, 2, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        peer.in_proj_weight.copy_(torch.cat([attention.q.weight, attention.kv.weight]))
        peer.in_proj_bias.copy_(torch.cat([attention.q.bias, attention.kv.bias]))
        peer.out_proj.load_state_dict(attention.proj.state_dict())
    bias = torch.empty(2, 9, 9, dtype=torch.float64)
    for i in range(9):
        for j in range(9):  # the table's row for an offset (dy, dx) is (dy + 2) * 5 + dx + 2
            row = (i // 3 - j // 3 + 2) * 5 + i % 3 - j % 3 + 2
            bias[:, i, j] = attention.relative_position_bias_table[row].detach()
    query, skip = torch.randn(2, 4, 9, 8, dtype=torch.float64)
    wanted, weights = peer(query, skip, skip, attn_mask=bias.repeat(4, 1, 1), average_attn_weights=False)
    seen = []
    attention.attn_drop.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for fused in (True, False):
        attention.fused_attn = fused
        torch.testing.assert_close(attention(query, skip), wanted)
    torch.testing.assert_close(seen[0], weights)


def test_padding_of_the_windows_takes_its_share() -> None:
    # every key alike: a query takes the mean of its window's 16 values, of which 9 are ones and 7 are padding
    attention = CrossWindowAttention(1, 1, 4)
    for parameter in attention.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.ones_(attention.kv.weight)
    torch.nn.init.ones_(attention.proj.weight)
    tokens = split_windows(torch.ones(1, 3, 3, 1), (4, 4))
    out = join_windows(attention(tokens, tokens), (4, 4), 3, 3)
    torch.testing.assert_close(out, torch.full((1, 3, 3, 1), 9 / 16))


def test_skip_attention_stays_in_its_window() -> None:
    sam = SkipAttention(8, 8, 8, 2, 4).double()
    skip = torch.randn(1, 8, 6, 10, dtype=torch.float64, requires_grad=True)
    query = torch.randn(1, 8, 6, 10, dtype=torch.float64)
    weight = torch.randn(8, dtype=torch.float64)
    gradient, = torch.autograd.grad((sam(skip, query)[0, :, 1, 5] * weight).sum(), skip)
    reached = gradient[0].abs().sum(0) > 0
    wanted = torch.zeros(6, 10, dtype=torch.bool)
    wanted[:4, 4:8] = True
    assert torch.equal(reached, wanted)


def test_skip_attention_by_hand() -> None:
    """Without attention and MLP what is left is LN(q) + e + q."""
    sam = SkipAttention(4, 4, 4, 2, 4)
    torch.nn.init.zeros_(sam.attn.proj.weight)
    torch.nn.init.zeros_(sam.attn.proj.bias)
    torch.nn.init.zeros_(sam.mlp.fc2.weight)
    torch.nn.init.zeros_(sam.mlp.fc2.bias)
    skip, query = torch.randn(2, 2, 4, 5, 6)
    wanted = F.layer_norm(query.movedim(1, -1), (4,)).movedim(-1, 1) + skip + query
    torch.testing.assert_close(sam(skip, query), wanted)


def test_published_norm_lets_only_a_sign_of_the_mean_through() -> None:
    x = 1000 * torch.randn(3, 16, 5, 7)  # so large that the norm's epsilon does not count
    narrow, wide = PixelQueries(16, 8, 4), PixelQueries(16, 8, 2)
    sign = narrow.branches[0](x)
    torch.testing.assert_close(sign, (sign > 0.5).float(), atol=1e-3, rtol=0)
    assert sign.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert len(wide.branches[0](x).round(decimals=2).unique()) > 6
    assert narrow(x).shape == (3, 8, 5, 7)
    assert [branch(x).shape[-1] for branch in narrow.branches] == [1, 2, 3, 6]


def test_bin_centres_by_hand() -> None:
    centres = BinCentres(4, 4, 1.0, 9.0)
    torch.nn.init.zeros_(centres.mlp.fc2.weight)
    with torch.no_grad():
        start = centres(torch.randn(2, 4, 3, 3))
        centres.mlp.fc2.bias.zero_()
        equal = centres(torch.randn(2, 4, 3, 3))
        centres.mlp.fc2.bias.copy_(torch.tensor([1.0, 1.0, 2.0, 4.0]).log())
        given = centres(torch.randn(2, 4, 3, 3))
    edges = torch.tensor([1.0, math.sqrt(3), 3.0, 3 * math.sqrt(3), 9.0])
    torch.testing.assert_close(start, ((edges[1:] + edges[:-1]) / 2).expand(2, 4))
    torch.testing.assert_close(equal, torch.tensor([2.0, 4.0, 6.0, 8.0]).expand(2, 4))
    torch.testing.assert_close(given, torch.tensor([1.5, 2.5, 4.0, 7.0]).expand(2, 4))


def test_depth_is_the_mean_of_the_centres() -> None:
    network = pixelformer(bins=16).eval()
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        probability, centres = network.decoder.distribution(network.encode(x))
        depth = network.raw(x)
    assert probability.shape == (2, 16, 16, 24)
    torch.testing.assert_close(probability.sum(1), torch.ones(2, 16, 24))
    assert (centres.diff(dim=1) > 0).all()
    torch.testing.assert_close(depth[:, 0], torch.einsum("bkhw,bk->bhw", probability, centres))


def test_depth_stays_in_its_range() -> None:
    network = pixelformer(min_depth=0.5, max_depth=80.0).eval()
    torch.nn.init.normal_(network.decoder.head.weight, std=10.0)
    with torch.no_grad():
        depth = network(torch.rand(1, 3, 64, 64))
    assert depth.min() > 0.5
    assert depth.max() < 80.0
    assert depth.max() - depth.min() > 20


@pytest.mark.parametrize("size", [(64, 64), (65, 97)])
def test_smoke_and_start(size: tuple[int, int]) -> None:
    network = pixelformer()
    assert 0.8e6 < count_parameters(network) < 2.0e6
    depth = network(torch.rand(2, 3, *size))
    assert depth.shape == (2, 1, *size)
    assert 1.7 < depth.min() < depth.max() < 2.6


# Millions of parameters by the authors' code, unused convolutions included.
@pytest.mark.parametrize(("encoder", "published"), [("tiny", 88.9), ("base", 140.4), ("large", 270.9)])
def test_published_sizes(encoder: str, published: float) -> None:
    with torch.device("meta"):
        network = pixelformer("paper", encoder=encoder)
    unused = sum(9 * dim**2 + dim for dim in PAPER["dims"])
    assert unused / 1e6 == pytest.approx(12.5, abs=0.05)
    assert (count_parameters(network) + unused) / 1e6 == pytest.approx(published, abs=0.05)


def test_paper_scale_is_the_published_network() -> None:
    with torch.device("meta"):
        network = pixelformer("paper")
    decoder = network.decoder
    assert network.encoder.channels == (192, 384, 768, 1536)
    assert [len(layer.blocks) for layer in network.encoder.layers] == [2, 2, 18, 2]
    assert network.encoder.layers[2].blocks[17].shift_size == (3, 3)
    assert network.encoder.layers[3].blocks[1].drop_path1.drop_prob == pytest.approx(0.3)
    assert [(skip.attn.q.in_features, skip.attn.num_heads, skip.attn.window) for skip in decoder.skips] == [
        (1024, 32, 7), (512, 16, 7), (256, 8, 7), (128, 4, 7)]
    assert [skip.project_query.in_channels for skip in decoder.skips] == [512, 256, 128, 64]
    assert (decoder.centres.mlp.fc1.in_features, decoder.centres.mlp.fc1.out_features) == (512, 2048)
    assert decoder.head.out_channels == decoder.centres.mlp.fc2.out_features == 256
    assert (decoder.centres.min_depth, decoder.centres.max_depth) == (0.1, 10.0)


def test_queries_climb_by_pixel_shuffle() -> None:
    decoder = PixelFormerDecoder((6, 6, 7, 8), (32, 16, 8, 4), (4, 2, 1, 1), 4, 4, 5, 0.1, 10.0).eval()
    features = tuple(torch.randn(1, c, 16 // 2**k, 24 // 2**k) for k, c in enumerate((6, 6, 7, 8)))
    given, made = [], []
    for skip in decoder.skips:
        skip.register_forward_pre_hook(lambda module, args: given.append(args))
        skip.register_forward_hook(lambda module, args, output: made.append(output))
    with torch.no_grad():
        decoder(features)
        torch.testing.assert_close(given[0][1], decoder.queries(features[3]))
    for level in range(4):
        assert given[level][0] is features[3 - level]
    for level in range(3):
        torch.testing.assert_close(given[level + 1][1], F.pixel_shuffle(made[level], 2))


def test_attention_is_seen_and_changes_nothing() -> None:
    network, seen = pixelformer().eval(), {}
    image = torch.rand(1, 3, 96, 128)
    with torch.no_grad():
        fused = network(image)
        for name, module in network.named_modules():
            if hasattr(module, "fused_attn"):
                module.fused_attn = False
                module.attn_drop.register_forward_pre_hook(lambda m, args, name=name: seen.__setitem__(name, args[0]))
        torch.testing.assert_close(network(image), fused)
    assert len(seen) == 8 + 4
    assert seen["encoder.layers.0.blocks.1.attn"].shape == (48, 1, 16, 16)
    assert seen["encoder.layers.2.blocks.0.attn"].shape == (4, 4, 16, 16)  # 6x8 padded to 8x8
    assert seen["decoder.skips.0.attn"].shape == (1, 8, 16, 16)
    for attention in seen.values():
        torch.testing.assert_close(attention.sum(-1), torch.ones(attention.shape[:-1]))


@pytest.mark.parametrize(("options", "words"), [
    ({"encoder": "huge"}, "unknown Swin variant 'huge'"),
    ({"pretrained": True}, "no pretrained weights for the narrowed encoder"),
    ({"bins": 1}, "bins=1 leave every pixel the same depth"),
    ({"min_depth": 0.0}, "min_depth=0.0 and max_depth=10.0 are no range"),
    ({"max_depth": 0.1}, "max_depth=0.1 are no range"),
    ({"drop_path": 1.0}, "drop_path=1.0 is no rate"),
])
def test_bad_requests(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pixelformer(**options)
