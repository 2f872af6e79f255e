"""TransDepth: pixel filters and gates by hand and by unfolding, the hybrid against timm's, the size, and training."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from timm.layers import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from mdelib.models.attention_gates import (
    DILATIONS,
    AttentionGateDecoder,
    GatedMessage,
    StructuredGate,
    filter_pixels,
)
from mdelib.models.base import count_parameters
from mdelib.models.bts import BTSDecoder
from mdelib.models.transdepth import transdepth


def unfolded(x: torch.Tensor, kernels: torch.Tensor, dilation: int) -> torch.Tensor:
    """`filter_pixels` through PyTorch's own unfolding."""
    batch, channels, height, width = x.shape
    around = F.unfold(x, 3, dilation=dilation, padding=dilation).view(batch, channels, 9, height, width)
    return (around * kernels[:, None]).sum(2)


def test_filter_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])[None, None]
    kernels = torch.zeros(1, 9, 2, 3)
    kernels[0, 0] = 1.0  # the upper left neighbour
    kernels[0, 5] = 10.0  # the right one
    wanted = torch.tensor([[20.0, 30.0, 0.0], [50.0, 61.0, 2.0]])
    torch.testing.assert_close(filter_pixels(x, kernels)[0, 0], wanted)


@pytest.mark.parametrize("dilation", DILATIONS)
def test_filter_is_unfolding_and_convolution(dilation: int) -> None:
    torch.manual_seed(0)
    x, kernels = torch.randn(2, 3, 6, 9, dtype=torch.float64), torch.randn(2, 9, 6, 9, dtype=torch.float64)
    torch.testing.assert_close(filter_pixels(x, kernels, dilation), unfolded(x, kernels, dilation))
    same = torch.randn(9, dtype=torch.float64)
    weight = same.view(1, 1, 3, 3).expand(3, 1, 3, 3)
    torch.testing.assert_close(filter_pixels(x, same.view(1, 9, 1, 1).expand(2, 9, 6, 9), dilation),
                               F.conv2d(x, weight, padding=dilation, dilation=dilation, groups=3))


def test_gate_by_hand() -> None:
    gate = StructuredGate(2, 1)
    a = torch.tensor([1.0, 3.0]).view(1, 2, 1, 1)
    with torch.no_grad():
        gate.logits.copy_(torch.tensor([[math.log(3.0), 0.0]]))  # v = 3/4, 1/4 and so m = σ(3/4 + 3/4)
        m = 1 / (1 + math.exp(-1.5))
        torch.testing.assert_close(gate(a).flatten(), torch.tensor([0.75 * m, 0.25 * m * 3]))


def test_gate_adds_ranks_and_repeats_itself() -> None:
    torch.manual_seed(0)
    gate, a = StructuredGate(6, 3), torch.randn(2, 6, 4, 5)
    single, total = StructuredGate(6, 1), torch.zeros_like(a)
    for rank in range(3):
        single.logits.data = gate.logits.data[rank:rank + 1]
        total = total + single(a)
    torch.testing.assert_close(gate(a), total)
    assert torch.equal(gate(a), gate(a))
    ratio = (gate(a) / a).abs()
    assert ratio.max() < 3 and ratio.min() > 0  # each m_t and each v_t is a share


def test_message_follows_the_formula() -> None:
    torch.manual_seed(0)
    module, receiver, emitter = GatedMessage(4, 2), torch.randn(2, 4, 9, 11), torch.randn(2, 4, 9, 11)
    parts, kernels = [], module.kernels
    for step in DILATIONS:
        name = str(step)
        message = unfolded(emitter, kernels["both"][name](torch.cat([emitter, receiver], 1)), step)
        attention = (receiver * message + unfolded(emitter, kernels["emitter"][name](emitter), step)
                     + unfolded(receiver, kernels["receiver"][name](receiver), step))
        parts.append(module.gates[name](attention) * message)
    wanted = module.join(torch.cat(parts, 1))
    torch.testing.assert_close(module(receiver, emitter), wanted)
    assert wanted.shape == (2, 4, 9, 11)
    assert wanted.min() == 0 < wanted.max()


def test_messages_go_to_the_coarsest_feature() -> None:
    torch.manual_seed(0)
    agd = AttentionGateDecoder((5, 6, 16)).eval()
    features = (torch.randn(1, 5, 16, 24), torch.randn(1, 6, 8, 12), torch.randn(1, 16, 4, 6))
    heard = []
    for message in agd.messages:
        message.register_forward_pre_hook(lambda module, args: heard.append(args))
    with torch.no_grad():
        whole = agd(features)
        assert whole.shape == (1, 16, 4, 6)
        reduced = [agd.reduce[k](features[k]) for k in range(3)]
        enlarged = [m.repeat_interleave(2**k, 2).repeat_interleave(2**k, 3) for k, m in enumerate(reduced)]
        for place, (receiver, emitter) in enumerate(heard):
            torch.testing.assert_close(receiver, enlarged[2])
            torch.testing.assert_close(emitter, enlarged[place])
        for place in range(3):
            changed = tuple(f + (place == index) for index, f in enumerate(features))
            assert not torch.allclose(agd(changed), whole)


def test_encoder_is_timms_hybrid() -> None:
    torch.manual_seed(0)
    encoder = transdepth().encoder.eval()
    seen = {}
    encoder.norm.register_forward_hook(lambda module, args, output: seen.setdefault("tokens", output))
    x = torch.randn(2, 3, 64, 96)

    class Backbone(nn.Module):
        """The encoder's own stem and stages, run as timm runs them."""

        def __init__(self) -> None:
            super().__init__()
            self.stem, self.stages = encoder.stem, encoder.stages

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.stages(self.stem(x))

    peer = VisionTransformer((64, 96), 1, embed_layer=partial(HybridEmbed, backbone=Backbone()), embed_dim=64, depth=6,
                             num_heads=4, class_token=False, pos_embed="none", global_pool="avg", fc_norm=False,
                             num_classes=0).eval()
    peer.blocks.load_state_dict(encoder.blocks.state_dict())
    peer.norm.load_state_dict(encoder.norm.state_dict())
    peer.patch_embed.proj.load_state_dict(encoder.embed.state_dict())
    with torch.no_grad():
        features = encoder(x)
        torch.testing.assert_close(seen["tokens"], peer.forward_features(x), rtol=1e-4, atol=1e-5)
        tokens = seen["tokens"].transpose(1, 2).unflatten(2, (4, 6))
        torch.testing.assert_close(features[3], encoder.lift(tokens))
        torch.testing.assert_close(features[4], encoder.lift_down(features[3]))
    assert [tuple(f.shape[-2:]) for f in features] == [(64 // 2**k, 96 // 2**k) for k in range(1, 6)]
    assert tuple(f.shape[1] for f in features) == encoder.channels


def test_attention_is_seen_where_the_docstring_says() -> None:
    torch.manual_seed(0)
    network, seen = transdepth().eval(), []
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        fused = network(image)
        for block in network.encoder.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
        torch.testing.assert_close(network(image), fused, rtol=1e-4, atol=1e-5)
    assert [tuple(attention.shape) for attention in seen] == 6 * [(1, 4, 24, 24)]
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(1, 4, 24))


def test_published_size() -> None:
    """Our count, part by part, beside the two that are printed.

    What the authors' code builds and never uses is the decoder of TransUNet, four steps of two 3x3 convolutions with
    batch norm. With it the count rounds to 247 M. The 311.3 M of huynh2021 Table 1 stay unexplained.
    """
    with torch.device("meta"):
        network = transdepth("paper")
    ours = count_parameters(network)
    assert network.encoder.channels == (64, 256, 512, 1024, 2048)
    assert isinstance(network.decoder, BTSDecoder)
    assert ours == 243_566_180
    steps = ((512 + 512, 256), (256 + 256, 128), (128 + 64, 64), (64, 16))
    unused = sum(9 * (wide + narrow) * narrow + 4 * narrow for wide, narrow in steps)
    added = 3 * 3 * 3 * 512 + 1  # learned gate logits and the head's bias, which the authors have not
    assert (ours - added + unused) / 1e6 == pytest.approx(247.4, abs=0.05)
    assert 311.3 - ours / 1e6 == pytest.approx(67.7, abs=0.05)
    assert {block.mlp.drop1.p for block in network.encoder.blocks} == {0.1}
    assert {block.attn.proj_drop.p for block in network.encoder.blocks} == {0.0}
    assert len(network.encoder.blocks) == 12


def test_lab_size_and_parts() -> None:
    network = transdepth()
    assert 0.8e6 < count_parameters(network) < 2e6
    assert not [m for m in network.modules() if isinstance(m, nn.Dropout) and m.p > 0]
    assert len(network.agd.messages) == len(DILATIONS) == 3


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 128), (75, 101)])
def test_depth_of_any_size_inside_the_range(height: int, width: int) -> None:
    torch.manual_seed(0)
    network = transdepth(max_depth=80.0).eval()
    nn.init.normal_(network.head.weight, std=10.0)
    with torch.no_grad():
        depth = network(torch.rand(2, 3, height, width))
    assert depth.shape == (2, 1, height, width)
    assert depth.isfinite().all()
    assert depth.min() > 0 and depth.log().isfinite().all()
    assert depth.max() <= 80.0
    assert depth.max() - depth.min() > 20


def test_encode_then_decode_is_raw_and_starts_indoors() -> None:
    torch.manual_seed(0)
    network, x = transdepth().eval(), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(network.decode(network.encode(x)), network.raw(x))
        assert network.raw(x).shape == (1, 1, 64, 96)
        assert 2.0 < network(x).mean() < 3.0


@pytest.mark.parametrize(("options", "words"), [
    ({"max_depth": 0.0}, "max_depth=0.0 is no positive length"),
    ({"pretrained": True}, "no pretrained weights for the narrowed encoder"),
    ({"output": "disparity"}, "unknown output form"),
])
def test_bad_requests(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        transdepth(**options)


def test_filter_refuses_kernels_of_another_size() -> None:
    with pytest.raises(ValueError, match=r"\(B, C, h, w\) and \(B, 9, h, w\) are needed"):
        filter_pixels(torch.zeros(1, 2, 4, 4), torch.zeros(1, 8, 4, 4))
