"""AdaBins: bins and their mean by hand, mini-ViT against PyTorch's Transformer, the published size, and training."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn

from mdelib.models.adabins import PAPER, AdaBins, AdaBinsDecoder, EfficientNetEncoder, adabins, efficientnet
from mdelib.models.adaptive_bins import bin_edges, expected_centre
from mdelib.models.base import count_parameters
from mdelib.models.mini_vit import POSITIONS, EncoderLayer, MiniViT, bin_widths


def small_vit(**options: int) -> MiniViT:
    settings = {"queries": 5, "bins": 7, "patch": 4, "depth": 2, "heads": 2, "hidden": 16, "regressor": 8}
    return MiniViT(8, dropout=0.0, **{**settings, **options})


def test_widths_by_hand() -> None:
    # ReLU gives 0, 0.9, 0, 1.9; with 0.1 each 0.1, 1, 0.1, 2 of 3.2
    widths = bin_widths(torch.tensor([[-3.0, 0.9, 0.0, 1.9]]))
    torch.testing.assert_close(widths, torch.tensor([[0.1, 1.0, 0.1, 2.0]]) / 3.2)


def test_edges_and_mean_by_hand() -> None:
    edges = bin_edges(torch.tensor([[0.5, 0.25, 0.25]]), 2.0, 10.0)
    torch.testing.assert_close(edges, torch.tensor([[2.0, 6.0, 8.0, 10.0]]))
    # centres 4, 7, 9
    probability = torch.tensor([[1.0, 0.0], [0.0, 0.5], [0.0, 0.5]]).view(1, 3, 1, 2)
    torch.testing.assert_close(expected_centre(probability, edges), torch.tensor([[[[4.0, 8.0]]]]))


@pytest.mark.parametrize(("dtype", "wanted"), [(torch.float64, torch.float64), (torch.bfloat16, torch.float32)])
def test_edges_ascend_through_the_whole_range(dtype: torch.dtype, wanted: torch.dtype) -> None:
    torch.manual_seed(0)
    edges = bin_edges(bin_widths((20 * torch.randn(5, 256)).to(dtype)), 1e-3, 10.0)
    assert edges.dtype == wanted
    assert edges.shape == (5, 257)
    assert edges.diff(dim=1).min() > 0
    torch.testing.assert_close(edges[:, 0], torch.full((5,), 1e-3, dtype=wanted))
    torch.testing.assert_close(edges[:, -1], torch.full((5,), 10.0, dtype=wanted))


def test_layer_is_pytorchs_transformer_layer() -> None:
    torch.manual_seed(0)
    mine, peer = EncoderLayer(16, 4, 24, 0.0), nn.TransformerEncoderLayer(16, 4, 24, 0.0, batch_first=True)
    pairs = {"self_attn.in_proj_weight": mine.attn.qkv.weight, "self_attn.in_proj_bias": mine.attn.qkv.bias,
             "self_attn.out_proj.weight": mine.attn.proj.weight, "self_attn.out_proj.bias": mine.attn.proj.bias,
             "linear1.weight": mine.mlp[0].weight, "linear1.bias": mine.mlp[0].bias,
             "linear2.weight": mine.mlp[3].weight, "linear2.bias": mine.mlp[3].bias,
             "norm1.weight": mine.norm1.weight, "norm1.bias": mine.norm1.bias,
             "norm2.weight": mine.norm2.weight, "norm2.bias": mine.norm2.bias}
    peer.load_state_dict(pairs)
    x = torch.randn(2, 9, 16)
    torch.testing.assert_close(mine(x), peer(x))
    assert count_parameters(mine) == count_parameters(peer)


def test_attention_is_seen_where_the_docstring_says() -> None:
    torch.manual_seed(0)
    vit, x, seen = small_vit(), torch.randn(2, 8, 12, 16), []
    fused = vit(x)
    vit.layers[0].attn.attn_drop.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for layer in vit.layers:
        layer.attn.fused_attn = False
    widths, maps = vit(x)
    assert seen[0].shape == (2, 2, 12, 12)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 2, 12))
    torch.testing.assert_close(widths, fused[0])
    torch.testing.assert_close(maps, fused[1])


def test_range_attention_maps_are_1x1_convolutions_by_tokens() -> None:
    torch.manual_seed(0)
    vit, x = small_vit(), torch.randn(2, 8, 12, 16)
    widths, maps = vit(x)
    assert widths.shape == (2, 7)
    assert maps.shape == (2, 5, 12, 16)
    tokens = vit.layers(vit.tokens(x))
    for image in range(2):
        kernels = tokens[image, 1:6, :, None, None]
        torch.testing.assert_close(maps[image], F.conv2d(vit.project(x)[image], kernels))
    torch.testing.assert_close(widths, bin_widths(vit.regress(tokens[:, 0])))


def test_tokens_carry_positions_row_by_row() -> None:
    vit = small_vit()
    nn.init.zeros_(vit.embed.weight)
    nn.init.zeros_(vit.embed.bias)
    tokens = vit.tokens(torch.randn(3, 8, 12, 19))  # three columns are left over
    torch.testing.assert_close(tokens, vit.positions[:12].expand(3, 12, 8))


def test_map_too_small_for_its_queries_is_enlarged() -> None:
    vit = small_vit()
    assert vit.tokens(torch.zeros(1, 8, 8, 12)).shape[1] == 6  # just enough for 5 queries
    assert vit.tokens(torch.zeros(1, 8, 8, 8)).shape[1] == 16  # 4 are not: twice as large
    assert vit.tokens(torch.zeros(1, 8, 2, 2)).shape[1] == 9  # 10 x 10 pixels would give 4: 12 x 12
    assert vit(torch.zeros(1, 8, 2, 2))[1].shape == (1, 5, 2, 2)


def test_many_tokens_share_interpolated_positions() -> None:
    vit = small_vit()
    nn.init.zeros_(vit.embed.weight)
    nn.init.zeros_(vit.embed.bias)
    tokens = vit.tokens(torch.zeros(1, 8, 4, 4 * (2 * POSITIONS - 1)))  # one new token between any two
    torch.testing.assert_close(tokens[0, ::2], vit.positions)
    torch.testing.assert_close(tokens[0, 1], (vit.positions[0] + vit.positions[1]) / 2)


def test_decoder_joins_every_scale() -> None:
    torch.manual_seed(0)
    channels = (3, 4, 5, 6, 32)
    features = tuple(torch.randn(1, c, 64 // 2**k, 96 // 2**k) for k, c in enumerate(channels, start=1))
    decoder = AdaBinsDecoder(channels, 4, frame=1).eval()
    assert [step.convs[0].in_channels for step in (decoder.up1, decoder.up2, decoder.up3, decoder.up4)] == [
        32 + 6, 16 + 5, 8 + 4, 4 + 3]
    with torch.no_grad():
        whole = decoder(features)
        assert whole.shape == (1, 4, 32, 48)
        for place in range(5):
            changed = tuple(f + (place == index) for index, f in enumerate(features))
            assert not torch.allclose(decoder(changed), whole)
        assert decoder.conv2(features[-1]).shape[-2:] == (4, 5)  # 2 x 3 and the frame
        torch.testing.assert_close(decoder.conv2(features[-1])[0, :, 0, 0], decoder.conv2.bias)


def test_encoder_taps_are_timms_stages() -> None:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_b0").eval()
    encoder, x = EfficientNetEncoder(network), torch.rand(1, 3, 64, 96)
    peer = timm.create_model("tf_efficientnet_b0", features_only=True).eval()
    peer.load_state_dict(network.state_dict(), strict=False)
    with torch.no_grad():
        mine, theirs = encoder(x), peer(x)
        for place in range(4):
            torch.testing.assert_close(mine[place], theirs[place])
        torch.testing.assert_close(network.bn2(mine[4]), network.forward_features(x))
    assert encoder.channels == (16, 24, 40, 112, 1280)


def test_published_size() -> None:
    with torch.device("meta"):
        network = adabins("paper")
        peer = timm.create_model("tf_efficientnet_b5.ap_in1k", num_classes=0)
        b5 = efficientnet(1.6, 2.2, 2048)
    assert count_parameters(network) / 1e6 == pytest.approx(78, abs=0.5)  # printed without decimals
    assert count_parameters(network) == 78_253_232
    assert network.encoder.channels == (24, 40, 64, 176, 2048)
    assert network.decoder.conv3.out_channels == PAPER["channels"] == 128
    assert network.head.weight.shape[:2] == (256, 128)
    assert network.mvit.layers[3].attn.attn_drop.p == 0.1
    assert {k: v.shape for k, v in b5.state_dict().items()} == {k: v.shape for k, v in peer.state_dict().items()}


def test_lab_size_and_parts() -> None:
    network = adabins()
    assert 0.8e6 < count_parameters(network) < 2e6
    assert len(network.mvit.layers) == PAPER["depth"]
    assert not [m for m in network.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    with torch.no_grad():
        assert network.mvit.tokens(torch.zeros(1, 32, 48, 64)).shape[1] == 192


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 128), (75, 101)])
def test_depth_of_any_size_inside_the_range(height: int, width: int) -> None:
    torch.manual_seed(0)
    network = adabins(min_depth=0.5, max_depth=4.0).eval()
    image = torch.rand(2, 3, height, width)
    with torch.no_grad():
        edges = network.bin_edges(image)
        assert edges.shape == (2, 257)
        assert edges[0, 0] == 0.5 and edges[0, -1].item() == pytest.approx(4.0)
        for chosen in (0, 255):  # a head that knows one bin alone answers with its centre
            nn.init.zeros_(network.head.bias)
            network.head.bias[chosen] = 1e5
            depth = network(image)
            assert depth.shape == (2, 1, height, width)
            centre = (edges[:, chosen] + edges[:, chosen + 1]) / 2
            torch.testing.assert_close(depth, centre.view(2, 1, 1, 1).expand_as(depth))
            assert depth.min() > 0.5 and depth.max() < 4.0


def test_depth_is_the_mean_of_the_images_own_bins() -> None:
    torch.manual_seed(0)
    network = adabins(bins=32).eval()
    image = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        features = network.encode(network.normalize(image))
        edges, probability = network.decode_bins(features)
        raw = network.decode(features)
        assert torch.equal(raw, network.raw(network.normalize(image)))
        torch.testing.assert_close(edges, network.bin_edges(image))
    assert [f.shape[-1] for f in features] == [48, 24, 12, 6, 3]
    assert not torch.equal(edges[0], edges[1])
    torch.testing.assert_close(probability.sum(1), torch.ones(2, 32, 48))
    centres = (edges[:, 1:] + edges[:, :-1]).view(2, 32, 1, 1) / 2
    torch.testing.assert_close(raw, (probability * centres).sum(1, keepdim=True))
    assert network(image).shape == (2, 1, 64, 96)


@pytest.mark.parametrize(("options", "words"), [
    ({"bins": 0}, "bins=0 divide nothing"),
    ({"min_depth": 0.0}, "min_depth=0.0 and max_depth=10.0 are no range"),
    ({"min_depth": 2.0, "max_depth": 1.0}, "are no range of depths"),
    ({"pretrained": True}, "no pretrained weights for the narrowed encoder"),
])
def test_bad_requests(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        adabins(**options)


def test_bad_parts() -> None:
    with pytest.raises(ValueError, match="8 channels cannot be shared by 3 heads"):
        small_vit(heads=3)
    network = adabins()
    assert isinstance(network, AdaBins)
    with pytest.raises(ValueError, match="expected 3 RGB channels"):
        network.bin_edges(torch.zeros(1, 1, 64, 64))
