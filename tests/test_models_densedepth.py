"""TIE-KD's students: the published sizes, both heads, and where the strides are gone."""

from __future__ import annotations

import pytest
import torch

from mdelib.complexity import blueprint
from mdelib.distill import bin_centres, depth_bins, expected_depth
from mdelib.layers import resize
from mdelib.models import count_parameters, create_model
from mdelib.models.densedepth import DenseDepth, JoinConvs

NAMES = ("densedepth_mobilenetv2", "densedepth_resnet18", "densedepth_resnet50")


@pytest.mark.parametrize(("name", "total"), list(zip(NAMES, (17.65, 16.78, 78.39), strict=True)))
def test_published_sizes(name: str, total: float) -> None:
    network = blueprint(name, max_depth=80.0)
    assert count_parameters(network) / 1e6 == pytest.approx(total, abs=0.005)
    assert network.head.out_channels == 257
    # 1x1 to 257 bins against 3x3 to one channel: "a similar parameter count" (Section 4.2)
    other = count_parameters(blueprint(name, max_depth=80.0, head="regression"))
    assert count_parameters(network) - other == 128 * 257 + 257 - (128 * 9 + 1)


def test_ninety_percent_of_the_lightweight_student_is_decoder() -> None:
    network = blueprint(NAMES[0], max_depth=80.0)
    assert count_parameters(network.encoder) / 1e6 == pytest.approx(1.81, abs=0.005)
    assert count_parameters(network.encoder) / count_parameters(network) < 0.11


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("head", ["dpm", "regression"])
@pytest.mark.parametrize("size", [(45, 61), (64, 96)])
def test_depth_and_raw_output_have_the_size_of_the_image(name: str, head: str, size: tuple[int, int]) -> None:
    network = create_model(name, head=head).eval()
    image = torch.rand(2, 3, *size)
    with torch.no_grad():
        depth, raw = network(image), network.predict_raw(image)
    assert depth.shape == (2, 1, *size)
    assert raw.shape == (2, 49 if head == "dpm" else 1, (size[0] + 1) // 2, (size[1] + 1) // 2)
    assert depth.min() > 0 and depth.max() < 10
    if size == (64, 96):  # without padding
        torch.testing.assert_close(resize(network.to_depth(raw), size), depth)


def test_depth_is_the_mean_of_the_probabilities() -> None:
    network = create_model(NAMES[0]).eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        maps, depth = network.depth_probability(image), network.to_depth(network.predict_raw(image))
    torch.testing.assert_close(maps.sum(1), torch.ones(1, 16, 16))
    torch.testing.assert_close(expected_depth(maps, network.edges), depth)
    centres = bin_centres(depth_bins(49, 1e-3, 10.0))[:, None, None].float()
    torch.testing.assert_close((maps * centres).sum(1), depth[0])


def test_bins_follow_the_range_unless_they_are_given() -> None:
    assert create_model(NAMES[0], max_depth=80.0).head.out_channels == 257
    assert create_model(NAMES[0], max_depth=8.0).head.out_channels == 49
    network = create_model(NAMES[0], bins=7, min_depth=0.5, max_depth=4.0)
    torch.testing.assert_close(network.edges, depth_bins(7, 0.5, 4.0))


def test_the_baseline_starts_at_a_quarter_of_the_range_and_stays_inside() -> None:
    network = create_model(NAMES[0], head="regression", max_depth=8.0).eval()
    with torch.no_grad():
        assert network(torch.rand(1, 3, 32, 32)).mean().item() == pytest.approx(2.0, abs=0.5)
        network.head.bias.fill_(1e4)
        assert network(torch.rand(1, 3, 32, 32)).max() <= 8.0


def test_the_encoder_stops_at_an_eighth() -> None:
    encoder = create_model(NAMES[0]).encoder.eval()
    with torch.no_grad():
        sizes = [tuple(feature.shape[-2:]) for feature in encoder(torch.rand(1, 3, 64, 96))]
    assert sizes == [(16, 24), (8, 12), (8, 12), (8, 12)]
    first = [stage[0].conv_dw for stage in encoder.blocks[3:]]
    assert [conv.dilation[0] for conv in first] == [2, 2, 4, 4]
    assert all(conv.stride == (1, 1) for conv in first)
    later = [block.conv_dw for stage in encoder.blocks[3:] for block in list(stage)[1:]]
    assert {conv.dilation for conv in later} == {(1, 1)}


def test_paper_scale_has_the_authors_channels() -> None:
    network = blueprint(NAMES[0], max_depth=80.0)
    assert network.encoder.feature_info.channels() == [24, 32, 96, 320]
    assert [join.convs[0].in_channels for join in network.joins] == [2048 + 96, 512 + 32, 256 + 24]
    larger = blueprint(NAMES[2], max_depth=80.0)
    assert larger.encoder.feature_info.channels() == [64, 256, 512, 1024, 2048]
    assert [join.convs[0].out_channels for join in larger.joins] == [1024, 512, 256, 128]


def test_the_decoder_has_no_norm_and_a_join_is_two_convolutions() -> None:
    network = create_model(NAMES[1])
    decoder = [network.bottom, *network.joins, *network.doublings, network.head]
    assert not [m for part in decoder for m in part.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    join = JoinConvs(1, 1, 1)
    with torch.no_grad():
        for conv in (join.convs[0], join.convs[2]):
            conv.weight.zero_()
            conv.weight[:, :, 1, 1] = 1
        found = join(torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 2, 2), 0.5))
    torch.testing.assert_close(found, torch.full((1, 1, 2, 2), 2.5))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_reaches_every_parameter(name: str) -> None:
    network = create_model(name).train()
    network(torch.rand(2, 3, 64, 64)).square().mean().backward()
    dead = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert [key for key in dead if "encoder.layer" not in key] == []  # residual blocks start as identities


def test_the_published_networks_end_at_the_size_of_the_image() -> None:
    wide = {"bins": 5, "max_depth": 8.0}
    for name, count in zip(NAMES[:2], (2, 1), strict=True):
        network = create_model(name, scale="paper", **wide).eval()
        assert len(network.doublings) == count
        with torch.no_grad():
            assert network.predict_raw(torch.rand(1, 3, 32, 64)).shape == (1, 5, 32, 64)


def test_only_the_published_resnets_have_a_part_that_nothing_goes_through() -> None:
    assert len(create_model(NAMES[1]).spare) == len(create_model(NAMES[0]).spare) == 0
    assert len(blueprint(NAMES[1]).spare) == 1


def test_mixed_precision_gives_metres_in_float32() -> None:
    network = create_model(NAMES[0]).eval()
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        exact = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            depth = network(image)
    assert depth.dtype == torch.float32
    torch.testing.assert_close(depth, exact, atol=0.1, rtol=0.05)


def test_bad_requests() -> None:
    with pytest.raises(ValueError, match="head"):
        create_model(NAMES[0], head="both")
    with pytest.raises(ValueError, match="at least two"):
        create_model(NAMES[0], bins=1)
    with pytest.raises(ValueError, match="no pretrained weights"):
        create_model(NAMES[1], pretrained=True)
    with pytest.raises(ValueError, match="says no probabilities"):
        create_model(NAMES[0], head="regression").depth_probability(torch.rand(1, 3, 32, 32))
    with pytest.raises(ValueError, match="expected images"):
        create_model(NAMES[0]).predict_raw(torch.rand(3, 32, 32))
    encoder = create_model(NAMES[0]).encoder
    with pytest.raises(ValueError, match="one for each"):
        DenseDepth(encoder, (8, 8), steps=1)
