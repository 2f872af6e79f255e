"""DPT-Hybrid: the features that it reads of a ViT on a ResNet, their fusion, and the published size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mdelib.models.base import count_parameters
from mdelib.models.dpt import FusionBlock, Reassemble, ResidualConvUnit, dpt, resize_positions

UNUSED = 768 * 1000 + 1000 + 2 * 768 + 2 * (9 * 256 * 256 + 256)  # classifier, last norm, residual unit


def zeroed(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (77, 101)])
def test_depth_at_any_size(size: tuple[int, int]) -> None:
    network = dpt().eval()
    with torch.no_grad():
        depth = network(torch.rand(2, 3, *size))
    assert depth.shape == (2, 1, *size)
    assert torch.isfinite(depth).all()
    assert depth.min() > 0


@pytest.mark.parametrize("output", ["log", "inverse", "linear", "sigmoid"])
def test_untrained_network_predicts_an_indoor_depth(output: str) -> None:
    depth = dpt(output=output)(torch.rand(2, 3, 64, 64))
    assert depth.min() > 1.7
    assert depth.max() < 3.3


def test_inverse_depth_by_hand() -> None:
    network = dpt(output="inverse", max_depth=8.0)
    raw = torch.tensor([-3.0, 0.0, 0.125, 0.375, 1e30])
    # 1/8 per metre at the least: 8 m, 8 m, 4 m, 2 m
    torch.testing.assert_close(network.to_depth(raw), torch.tensor([8.0, 8.0, 4.0, 2.0, 1e-30]))
    assert network.to_depth(raw.bfloat16()).dtype == torch.float32
    torch.testing.assert_close(dpt(output="log").to_depth(torch.zeros(1)), torch.ones(1))


def test_images_are_centred_at_a_half() -> None:
    image = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(dpt().normalize(image).flatten(), torch.tensor([-1.0, 0.0, 1.0]))


def test_published_size() -> None:
    with torch.device("meta"):
        network = dpt("paper")
        features = network.encode(torch.empty(1, 3, 480, 640))
        depth = network.decode(features)
    # 123M in the authors' Table 1; huynh2021 prints 123.9M
    assert count_parameters(network) == 121_196_289
    assert (count_parameters(network) + UNUSED) / 1e6 == pytest.approx(123, abs=0.5)
    assert (count_parameters(network) + UNUSED) / 1e6 == pytest.approx(123.9, rel=0.01)
    assert [tuple(feature.shape[1:]) for feature in features] == [
        (256, 120, 160), (512, 60, 80), (768, 30, 40), (768, 15, 20)]
    assert depth.shape == (1, 1, 480, 640)
    assert network.encoder.taps == (9, 12)
    assert network.inverse
    assert (network.decoder.narrow.out_channels, network.decoder.detail.out_channels) == (128, 32)


def test_lab_network_has_every_part_of_the_published_one() -> None:
    def kinds(network: nn.Module) -> set[str]:
        return {type(module).__name__ for module in network.modules()}

    lab = dpt()
    with torch.device("meta"):
        assert kinds(lab) == kinds(dpt("paper"))
    assert 0.8e6 < count_parameters(lab) < 1.5e6
    assert lab.encoder.taps == (3, 4)
    assert lab.output == "log"
    assert not lab.inverse
    assert count_parameters(dpt(width=32)) < count_parameters(lab)


def test_features_are_what_timm_computes() -> None:
    encoder = dpt().encoder.eval()
    x, tokens = torch.randn(2, 3, 96, 128), []
    for reassemble in (encoder.reassemble3, encoder.reassemble4):
        reassemble.register_forward_pre_hook(lambda module, args: tokens.append(args[0]))
    with torch.no_grad():
        features = encoder(x)
        third, fourth = encoder.vit.forward_intermediates(x, indices=[2, 3], return_prefix_tokens=True,
                                                          output_fmt="NLC", intermediates_only=True)
        stages = encoder.vit.patch_embed.backbone.forward_intermediates(x, indices=[1, 2], intermediates_only=True)
    for mine, theirs in zip(tokens, (third, fourth), strict=True):
        torch.testing.assert_close(mine[:, 1:], theirs[0])
        torch.testing.assert_close(mine[:, :1], theirs[1])
    for mine, theirs in zip(features[:2], stages, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert [tuple(feature.shape[-2:]) for feature in features] == [(24, 32), (12, 16), (6, 8), (3, 4)]


def test_positions_are_stretched_over_the_grid() -> None:
    grid = torch.arange(3.0).view(1, 3, 1).expand(2, 3, 2).reshape(1, 6, 2)  # rows of 2, columns 0, 1, 2
    positions = torch.cat([torch.full((1, 1, 2), 9.0), grid], 1)
    wide = resize_positions(positions, (2, 3), (4, 6))
    assert wide.shape == (1, 25, 2)
    assert (wide[:, 0] == 9).all()
    # centres of half the width: at -1/4 (the border's value), 1/4, 3/4, ...
    row = torch.tensor([0.0, 0.25, 0.75, 1.25, 1.75, 2.0])
    torch.testing.assert_close(wide[0, 1:, 0].view(4, 6), row.expand(4, 6))
    assert resize_positions(positions, (2, 3), (2, 3)) is positions
    with pytest.raises(ValueError, match=r"\(1, 7, 2\): a grid of 3 x 3 tokens and the readout need \(1, 10, D\)"):
        resize_positions(positions, (3, 3), (6, 6))


def test_reassembled_map_by_hand() -> None:
    reassemble = Reassemble(2, halve=False).double()
    tokens = torch.randn(1, 7, 2, dtype=torch.float64)
    with torch.no_grad():
        weight = torch.zeros(2, 4)
        weight[:, :2], weight[:, 2:] = torch.eye(2), 2 * torch.eye(2)  # token + 2 readout
        reassemble.project[0].weight.copy_(weight)
        reassemble.project[0].bias.zero_()
        reassemble.resample[0].weight.copy_(torch.eye(2)[:, :, None, None])
        reassemble.resample[0].bias.zero_()
        y = reassemble(tokens, (2, 3))
    wanted = F.gelu(tokens[0, 1:] + 2 * tokens[0, :1])
    for place in range(6):
        torch.testing.assert_close(y[0, :, place // 3, place % 3], wanted[place])
    assert Reassemble(2, halve=True)(torch.randn(1, 13, 2), (4, 3)).shape == (1, 2, 2, 2)


def test_residual_unit_starts_from_its_input() -> None:
    x = torch.randn(1, 4, 5, 5)
    assert torch.equal(zeroed(ResidualConvUnit(4))(x), x)
    unit = ResidualConvUnit(4)
    with torch.no_grad():
        torch.testing.assert_close(unit(x) - x, unit.conv2(unit.conv1(x.relu()).relu()))


def test_fusion_is_the_same_in_the_authors_order() -> None:
    block, last = FusionBlock(4).double(), FusionBlock(4, last=True)
    feature, below = torch.randn(2, 1, 4, 3, 5, dtype=torch.float64)
    with torch.no_grad():
        fused = block.refine_sum(below + block.refine_feature(feature))
        wanted = block.project(F.interpolate(fused, scale_factor=2.0, mode="bilinear", align_corners=True))
        torch.testing.assert_close(block(feature, below), wanted)
        assert last(feature.float()).shape == (1, 4, 6, 10)
    assert last.refine_feature is None


def test_every_feature_and_the_readout_reach_the_depth() -> None:
    network = dpt().eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        features = network.encode(x)
        whole = network.decode(features)
        assert torch.equal(whole, network.raw(x))
        for place in range(4):
            changed = [f + (index == place) for index, f in enumerate(features)]
            assert not torch.allclose(network.decode(tuple(changed)), whole)
        network.encoder.vit.cls_token += 1
        assert not torch.allclose(network.raw(x), whole)


def test_gradient_reaches_every_parameter_after_a_step() -> None:
    network = dpt().train()
    optimizer, dead = torch.optim.SGD(network.parameters(), lr=0.1), []
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.rand(2, 3, 64, 96)).square().mean().backward()
        optimizer.step()
        dead.append([key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0])
    # timm starts the ResNet's blocks as identities (their last norm is zero): what is before it waits for a step
    assert all("backbone.stages" in key and "norm3" not in key for key in dead[0])
    assert dead[1] == []


def test_attention_is_within_reach() -> None:
    network, seen = dpt().eval(), []
    for block in network.encoder.vit.blocks:
        block.attn.attn_drop.register_forward_hook(lambda module, args, output: seen.append(output))
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        fused = network(image)
        assert seen == []
        for block in network.encoder.vit.blocks:
            block.attn.fused_attn = False
        torch.testing.assert_close(network(image), fused)
    assert [tuple(attention.shape) for attention in seen] == 4 * [(1, 4, 25, 25)]
    for attention in seen:
        torch.testing.assert_close(attention.sum(-1), torch.ones(1, 4, 25))


@pytest.mark.parametrize(("options", "words"), [
    ({"pretrained": True}, "no pretrained weights for the narrowed encoder"),
    ({"width": 20}, "width=20 cannot be halved three times"),
    ({"width": 0}, "width=0 cannot be halved three times"),
    ({"output": "disparity"}, "unknown output form 'disparity'"),
    ({"output": "inverse", "max_depth": 2.0}, "max_depth=2.0 m is below the depth 2.5 m"),
    ({"output": "sigmoid", "max_depth": 2.0}, "choose a start inside the range"),
])
def test_bad_requests(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        dpt(**options)
