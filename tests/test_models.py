"""What every network owes its user, and the published sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from torch import nn

from mdelib import models
from mdelib.models import count_parameters, create_model, list_models, wrap
from mdelib.models.base import DepthNetwork
from mdelib.models.segformer import VARIANTS, segformer
from mdelib.models.senet import senet154_features
from mdelib.models.unet import DepthwiseConv2d, random_colours
from mdelib.weights import save_weights

SMALL = ("hu_resnet50", "hu_senet154", "segformer", "bts", "meter_xxs", "unet_mobilenetv3")


class Toy(DepthNetwork):
    """Depth is the mean of the normalised channels, at half resolution."""

    def raw(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.avg_pool2d(x.mean(1, keepdim=True), 2)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("size", [(45, 61), (96, 128), (32, 33)])
def test_depth_has_the_size_of_the_image(name: str, size: tuple[int, int]) -> None:
    network = create_model(name).eval()
    with torch.no_grad():
        depth = network(torch.rand(2, 3, *size))
    assert depth.shape == (2, 1, *size)
    assert torch.isfinite(depth).all()


@pytest.mark.parametrize("name", SMALL)
def test_untrained_network_predicts_an_indoor_depth(name: str) -> None:
    depth = create_model(name)(torch.rand(2, 3, 64, 64))
    assert depth.min() > 2.0
    assert depth.max() < 3.2


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("name", ["hu_resnet50", "segformer", "bts"])
def test_other_output_forms_start_there_too(name: str, output: str) -> None:
    depth = create_model(name, output=output, max_depth=8.0)(torch.rand(2, 3, 64, 64))
    assert depth.mean().item() == pytest.approx(2.5, abs=0.4)


@pytest.mark.parametrize("name", SMALL)
def test_gradient_reaches_every_parameter(name: str) -> None:
    network = create_model(name).train()
    target = torch.rand(2, 1, 64, 96)
    ((network(torch.rand(2, 3, 64, 96)) - target) ** 2).mean().backward()
    dead = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # Residual blocks start as identities (their last norm is zero), so that what is before it waits for a step;
    # a bias in front of a batch norm moves nothing, so that its gradient is rounding.
    waiting = {"hu_resnet50": ".layer", "segformer": "decoder.project"}.get(name, "none")
    dead = [key for key in dead if waiting not in key]
    assert dead == []


def test_gradient_reaches_the_residual_blocks_after_a_step() -> None:
    network = create_model("hu_resnet50").train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.rand(2, 3, 64, 96)).square().mean().backward()
        optimizer.step()
    assert all(p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_evaluation_is_deterministic_and_independent_of_the_batch(name: str) -> None:
    network = create_model(name).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        together = network(images)
        assert torch.equal(together, network(images))
        torch.testing.assert_close(network(images[1:2]), together[1:2], rtol=1e-4, atol=1e-5)


def test_dropout_only_in_training() -> None:
    network = create_model("segformer", dropout=0.5, drop_path=0.2)
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(network.train()(images), network(images))
        assert torch.equal(network.eval()(images), network(images))


@pytest.mark.parametrize("name", SMALL)
def test_mixed_precision_gives_metres_in_float32(name: str) -> None:
    network = create_model(name).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        depth = network(images)
    assert depth.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(depth, network(images), rtol=0.05, atol=0.05)


def test_normalisation_belongs_to_the_network() -> None:
    network = Toy(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.4))
    image = torch.tensor([0.3, 0.8, 0.2]).view(1, 3, 1, 1).expand(1, 3, 4, 4)
    # (0.3-0.2)/0.1 = 1, (0.8-0.4)/0.2 = 2, (0.2-0.6)/0.4 = -1: mean 2/3
    torch.testing.assert_close(network(image), torch.full((1, 1, 4, 4), 2 / 3))
    assert {"mean", "std"} <= set(network.state_dict())
    assert not {"mean", "std"} & set(Toy(statistics_in_weights=False).state_dict())
    other = Toy()
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(image), network(image))


def test_unit_size_and_padding() -> None:
    image = torch.rand(1, 3, 6, 10)
    plain = Toy()
    torch.testing.assert_close(Toy(unit=0.01)(image), plain(image) / 100)
    assert Toy(size=(8, 8))(image).shape == (1, 1, 6, 10)
    seen: list[tuple[int, ...]] = []
    padded = Toy(multiple=8)
    padded.register_forward_pre_hook(lambda module, args: seen.append(tuple(args[0].shape)))
    raw, padded.raw = padded.raw, lambda x: (seen.append(tuple(x.shape)), raw(x))[1]
    depth = padded(image)
    assert seen[-1] == (1, 3, 8, 16)
    assert depth.shape == (1, 1, 6, 10)
    # a pixel away from the padded border sees the same neighbours
    torch.testing.assert_close(depth[..., :4, :8], plain(image)[..., :4, :8])


def test_published_sizes_of_hu() -> None:
    with torch.device("meta"):
        assert count_parameters(create_model("hu_resnet50", scale="paper")) == 67_569_473
        senet = count_parameters(create_model("hu_senet154", scale="paper"))
    assert senet == pytest.approx(157.0e6, rel=1e-3)  # "157.0M" in huynh2021 Table 1


@pytest.mark.parametrize(("variant", "total", "encoder"), [("b0", 3.8, 3.4), ("b2", 27.5, 24.2)])
def test_published_sizes_of_segformer(variant: str, total: float, encoder: float) -> None:
    network = segformer("paper", variant=variant)
    width = VARIANTS[variant][2]
    # Xie et al., Table 1, print 150 class scores where this network has one depth
    classes = count_parameters(network) + 149 * (width + 1)
    assert classes / 1e6 == pytest.approx(total, abs=0.051)
    assert count_parameters(network.encoder) / 1e6 == pytest.approx(encoder, abs=0.1)


def test_paper_scale_defaults() -> None:
    network = create_model("segformer", scale="paper")
    assert network.output == "linear"
    assert len(network.encoder.block3) == 6  # MiT-B2
    with torch.device("meta"):
        hu = create_model("hu_resnet50", scale="paper")
    assert hu.output == "linear"
    assert hu.decoder.up4.branch[1].num_features == hu.mff.fuse[1].num_features == 64


@pytest.mark.parametrize(("name", "output"), [("hu_resnet50", "log"), ("segformer", "log"), ("bts", "sigmoid")])
def test_lab_networks_fit_the_repository(name: str, output: str, tmp_path: Path) -> None:
    network = create_model(name)
    assert 1.0e6 < count_parameters(network) < 1.5e6
    assert save_weights(network, tmp_path / "lab.safetensors", half=True).stat().st_size < 3e6
    assert network.output == output


def test_hu_layers_can_be_hooked_by_name() -> None:
    network = create_model("hu_resnet50", units=12).eval()
    seen = {}
    for name in ("decoder", "mff"):
        network.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.__setitem__(name, output))
    with torch.no_grad():
        network(torch.rand(1, 3, 64, 96))
    assert {name: tuple(value.shape) for name, value in seen.items()} == {
        "decoder": (1, 12, 32, 48), "mff": (1, 12, 32, 48)}
    assert all(value.min() >= 0 for value in seen.values())


def test_hu_width_scales_encoder_and_decoder() -> None:
    with torch.device("meta"):
        quarter = create_model("hu_resnet50", width=0.25)
        published = create_model("hu_resnet50", width=1.0)
    assert quarter.encoder.feature_info.channels() == [64, 128, 256, 512]
    assert quarter.mff.fuse[1].num_features == 16
    assert count_parameters(published) == 67_569_473


def test_segformer_attention_is_within_reach() -> None:
    network = create_model("segformer").eval()
    seen = []
    network.get_submodule("encoder.block1.0.attn.attn_drop").register_forward_hook(
        lambda module, args, output: seen.append(output))
    with torch.no_grad():
        network(torch.rand(1, 3, 64, 64))
    assert seen[0].shape == (1, 1, 16 * 16, 2 * 2)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(1, 1, 256))


def test_encode_then_decode_is_raw() -> None:
    network = create_model("hu_resnet50").eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        features = network.encode(x)
        assert [f.shape[-1] for f in features] == [16, 8, 4, 2]
        assert torch.equal(network.decode(features), network.raw(x))


@pytest.mark.parametrize(("image", "words"), [
    (torch.rand(3, 8, 8), "add the batch dimension"),
    (torch.rand(1, 4, 8, 8), "expected 3 RGB channels"),
    (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "divide an 8-bit image by 255"),
])
def test_bad_images(image: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Toy()(image)


def test_bad_requests() -> None:
    with pytest.raises(ValueError, match="did you mean hu_resnet50"):
        create_model("hu_resnet")
    with pytest.raises(ValueError, match=r"'vgg' is unknown: choose one of .*meter_xxs"):
        create_model("vgg")
    with pytest.raises(ValueError, match="built at scale lab or paper"):
        create_model("segformer", scale="study")
    with pytest.raises(ValueError, match=r"meter_xs has no option 'widht': its options are size, unit"):
        create_model("meter_xs", widht=1)
    with pytest.raises(ValueError, match="expected one of b0, b1"):
        create_model("segformer", variant="b9")
    with pytest.raises(ValueError, match="pretrained"):
        create_model("hu_resnet50", pretrained=True)
    with pytest.raises(ValueError, match="pretrained"):
        create_model("segformer", pretrained=True)
    with pytest.raises(ValueError, match="out of range"):
        create_model("hu_resnet50", width=0)
    with pytest.raises(ValueError, match="multiple of 4"):
        create_model("hu_resnet50", units=6)
    with pytest.raises(ValueError, match="no pretrained weights for the narrowed encoder"):
        create_model("hu_senet154", pretrained=True)
    with pytest.raises(ValueError, match="unknown output form"):
        create_model("hu_resnet50", output="disparity")


def test_list_models_and_recipe() -> None:
    assert list_models() == list(models.NETWORKS)
    network = create_model("meter_xxs", output="sigmoid")
    assert network.recipe == {"name": "meter_xxs", "scale": "lab", "overrides": {"output": "sigmoid"}}


def test_same_seed_same_network() -> None:
    def first() -> torch.Tensor:
        torch.manual_seed(3)
        return create_model("segformer").head.weight

    assert torch.equal(first(), first())


def test_wrap_anybodys_network() -> None:
    class Grey(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean(1)  # (B, H, W)

    image = torch.rand(2, 3, 6, 8)
    grey = image.mean(1, keepdim=True)
    torch.testing.assert_close(wrap(Grey())(image), grey)
    torch.testing.assert_close(wrap(Grey(), unit="mm")(image), grey / 1000)
    torch.testing.assert_close(wrap(Grey(), unit=3.0)(image), grey * 3)
    torch.testing.assert_close(wrap(Grey(), kind="log")(image), grey.exp())
    torch.testing.assert_close(wrap(Grey(), kind="inverse")(image), 1 / grey)
    half = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    torch.testing.assert_close(wrap(Grey(), normalize=half)(image), 2 * grey - 1)
    assert wrap(Grey(), size=(3, 3))(image).shape == (2, 1, 6, 8)
    with pytest.raises(ValueError, match="unknown unit 'km'"):
        wrap(Grey(), unit="km")
    with pytest.raises(ValueError, match="unknown kind of output"):
        wrap(Grey(), kind="disparity")
    with pytest.raises(ValueError, match=r"returned a tensor of shape \(2, 3, 6, 8\)"):
        wrap(nn.Identity())(image)


def test_unet_joins_every_scale_that_it_passes() -> None:
    network = create_model("unet_mobilenetv3", widths=(24, 16, 8)).eval()
    with torch.no_grad():
        features = network.encode(torch.rand(1, 3, 64, 96))
        assert [tuple(f.shape[-2:]) for f in features] == [(32, 48), (16, 24), (8, 12), (4, 6)]
        whole = network.decode(features)
        assert whole.shape == (1, 1, 32, 48)
        for place in range(len(features)):
            changed = [f + (index == place) for index, f in enumerate(features)]
            assert not torch.allclose(network.decode(tuple(changed)), whole)
    assert network.ups[0].conv1[0].in_channels == 112 + 40


@pytest.mark.parametrize("options, message", [
    ({"scale": "paper"}, "no published size: use scale='lab'"),
    ({"widths": ()}, "0 steps up were asked for from 4 features: choose 1 to 3"),
    ({"widths": (8, 8, 8, 8)}, "4 steps up were asked for from 4 features: choose 1 to 3"),
])
def test_unet_refuses_what_it_cannot_be(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_model("unet_mobilenetv3", **options)


def test_recolouring_acts_in_training_only() -> None:
    network = create_model("unet_mobilenetv3", recolour=(0.2, 0.3, 0.5))
    image = torch.rand(8, 3, 32, 32)
    torch.manual_seed(0)
    first = network.train().normalize(image)
    torch.manual_seed(0)
    assert torch.equal(network.normalize(image), first)
    plain = create_model("unet_mobilenetv3")
    assert torch.equal(network.eval().normalize(image), plain.normalize(image))
    assert torch.equal(plain.train().normalize(image), plain.eval().normalize(image))
    assert not torch.allclose(first, plain.normalize(image))
    assert list(network.state_dict()) == list(plain.state_dict())


def test_random_colours_keep_what_they_should() -> None:
    image = torch.rand(6, 3, 16, 16)
    torch.testing.assert_close(random_colours(0, 0, 0)(image), image, atol=1e-5, rtol=0)
    grey = random_colours(0, 0, 1)(image)
    assert (grey - grey[:, :1]).abs().max() < 1e-6
    turned = random_colours(0.5, 0, 0)(image)  # a turn of the hue keeps the largest and the smallest of the three
    torch.testing.assert_close(turned.amax(1), image.amax(1), atol=1e-5, rtol=0)
    torch.testing.assert_close(turned.amin(1), image.amin(1), atol=1e-5, rtol=0)
    assert not torch.allclose(turned, image, atol=0.05)
    for wrong in ((0.6, 0, 0), (0, 1.0, 0), (0, 0, 2)):
        with pytest.raises(ValueError, match="hue from 0 to 0.5"):
            random_colours(*wrong)


def test_depthwise_layers_keep_float32_and_change_no_number(generator) -> None:
    plain = timm.create_model("mobilenetv3_large_100", features_only=True, out_indices=(0, 1)).eval()
    x = torch.rand(2, 3, 32, 48, generator=generator)
    with torch.no_grad():
        before = plain(x)
        names = list(plain.state_dict())
        depthwise = sum(isinstance(m, torch.nn.Conv2d) and m.groups > 1 for m in plain.modules())
        after = DepthwiseConv2d.everywhere(plain)(x)
    assert sum(isinstance(m, DepthwiseConv2d) for m in plain.modules()) == depthwise > 3
    assert list(plain.state_dict()) == names
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=0)


def test_depthwise_layers_in_half_precision(generator) -> None:
    layer = DepthwiseConv2d(4, 4, 3, 2, 1, groups=4)
    x = torch.rand(2, 4, 8, 10, generator=generator)
    exact = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(layer(x), exact, rtol=0, atol=0)
        assert layer(x.bfloat16()).dtype == torch.float32
    assert layer.double()(x).dtype == torch.float64


def test_senet_has_the_published_layers_at_any_width() -> None:
    with torch.device("meta"):
        published = timm.create_model("legacy_senet154", features_only=True, out_indices=(1, 2, 3, 4))
        ours = senet154_features(1.0)
    shapes = [{k: v.shape for k, v in network.state_dict().items()} for network in (ours, published)]
    assert shapes[0] == shapes[1]
    narrow = senet154_features(1 / 16).eval()
    assert list(narrow.state_dict()) == list(ours.state_dict())
    with torch.no_grad():
        maps = narrow(torch.rand(1, 3, 64, 96))
    assert [m.shape[1] for m in maps] == narrow.feature_info.channels() == [16, 32, 64, 128]
    assert [tuple(m.shape[-2:]) for m in maps] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert {m.groups for m in narrow.modules() if isinstance(m, nn.Conv2d)} == {1, 4}


@pytest.mark.parametrize("width", [0, 1 / 128, 0.1, 1.5])
def test_senet_refuses_a_width_without_whole_groups(width: float) -> None:
    with pytest.raises(ValueError, match="of 64 groups: choose a multiple of 1/64, up to 1"):
        senet154_features(width)
