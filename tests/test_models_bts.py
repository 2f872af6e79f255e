"""BTS: planes and the rays that meet them, the published sizes, and the layers that you2021 dissects."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
import torchvision

from mdelib.models import count_parameters, create_model
from mdelib.models.bts import KITTI_FOCAL, BTSDecoder, DenseASPP, DenseNetEncoder, bts
from mdelib.models.planar_guidance import PlaneHead, local_planar_guidance, plane_parameters


def random_planes(*shape: int) -> torch.Tensor:
    torch.manual_seed(0)
    return plane_parameters(2 * torch.randn(shape[0], 3, *shape[1:], dtype=torch.float64))


def test_plane_of_zeros_by_hand() -> None:
    # sigmoid(0) = 1/2: 30 degrees from the axis, half a turn round it, half of the largest distance
    plane = plane_parameters(torch.zeros(1, 3, 1, 1), max_depth=8.0)
    torch.testing.assert_close(plane.flatten(), torch.tensor([-0.5, 0.0, math.sqrt(3) / 2, 4.0]), atol=1e-6, rtol=0)


def test_planes_are_unit_normals_within_sixty_degrees() -> None:
    plane = plane_parameters(10 * torch.randn(4, 3, 9, 9), max_depth=80.0)
    normal, distance = plane[:, :3], plane[:, 3]
    torch.testing.assert_close(normal.norm(dim=1), torch.ones(4, 9, 9))
    assert normal[:, 2].min() >= 0.5 - 1e-6
    assert normal[:, 2].max() <= 1.0
    assert 0 <= distance.min() <= distance.max() <= 80.0
    assert normal[:, :2].amin(dim=(0, 2, 3)).max() < -0.5  # every direction round the axis
    assert normal[:, :2].amax(dim=(0, 2, 3)).min() > 0.5


@pytest.mark.parametrize(("dtype", "wanted"), [(torch.float64, torch.float64), (torch.float32, torch.float32),
                                               (torch.bfloat16, torch.float32), (torch.float16, torch.float32)])
def test_half_precision_planes_are_raised(dtype: torch.dtype, wanted: torch.dtype) -> None:
    plane = plane_parameters(torch.randn(1, 3, 2, 2).to(dtype))
    assert plane.dtype == wanted
    assert local_planar_guidance(plane, 2).dtype == wanted


@pytest.mark.parametrize("patch", [1, 2, 4, 8])
def test_guidance_smoke(patch: int) -> None:
    depth = local_planar_guidance(random_planes(2, 3, 5), patch)
    assert depth.shape == (2, 1, 3 * patch, 5 * patch)
    assert torch.isfinite(depth).all()
    assert depth.min() > 0


def test_guidance_of_one_patch_by_hand() -> None:
    # u, v are -1/4 and 1/4; the plane leans to the right only: 1 / (0.8 -+ 0.15)
    plane = torch.tensor([0.6, 0.0, 0.8, 1.0]).view(1, 4, 1, 1)
    wanted = torch.tensor([[1 / 0.65, 1 / 0.95], [1 / 0.65, 1 / 0.95]])
    torch.testing.assert_close(local_planar_guidance(plane, 2)[0, 0], wanted)
    upright = torch.tensor([0.0, 0.6, 0.8, 1.0]).view(1, 4, 1, 1)
    torch.testing.assert_close(local_planar_guidance(upright, 2)[0, 0], wanted.T)


def test_guidance_is_where_rays_meet_planes() -> None:
    patch, planes = 4, random_planes(2, 3, 2)
    depth = local_planar_guidance(planes, patch)
    centres = [-0.375, -0.125, 0.125, 0.375]
    for b, row, column in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(2)).tolist():
        normal, distance = planes[b, :3, row, column], planes[b, 3, row, column]
        foot = distance * normal  # the plane's nearest point, and two directions along it
        along = torch.linalg.cross(normal, torch.tensor([0.3, 1.0, -0.2], dtype=torch.float64))
        across = torch.linalg.cross(normal, along)
        for i, v in enumerate(centres):
            for j, u in enumerate(centres):
                ray = torch.tensor([u, v, 1.0], dtype=torch.float64)
                # foot + a along + b across = z ray
                z = torch.linalg.solve(torch.stack([-along, -across, ray], 1), foot)[2]
                torch.testing.assert_close(depth[b, 0, row * patch + i, column * patch + j], z)


def test_a_plane_that_faces_the_camera_is_flat() -> None:
    plane = torch.tensor([0.0, 0.0, 1.0, 3.0]).view(1, 4, 1, 1).expand(1, 4, 2, 3)
    torch.testing.assert_close(local_planar_guidance(plane, 8), torch.full((1, 1, 16, 24), 3.0))


def test_guidance_is_proportional_to_the_distance() -> None:
    planes = random_planes(1, 4, 4)
    farther = torch.cat([planes[:, :3], 2.5 * planes[:, 3:]], 1)
    torch.testing.assert_close(local_planar_guidance(farther, 4), 2.5 * local_planar_guidance(planes, 4))


def test_each_patch_has_its_own_plane() -> None:
    planes = random_planes(1, 3, 3)
    other = planes.clone()
    other[:, 3, 1, 2] *= 2
    changed = local_planar_guidance(planes, 4) != local_planar_guidance(other, 4)
    wanted = torch.zeros(1, 1, 12, 12, dtype=torch.bool)
    wanted[..., 4:8, 8:12] = True
    assert torch.equal(changed, wanted)


def test_steepest_planes_stay_in_front_of_the_camera() -> None:
    # 60 degrees towards a corner: cos 60 - sin 60 * sqrt(2) * 7/16 < 0 in an 8x8 patch, and > 0 in a 4x4 patch
    angle = torch.tensor([math.pi / 4])
    plane = torch.cat([math.sin(math.pi / 3) * angle.cos(), math.sin(math.pi / 3) * angle.sin(), torch.tensor([0.5]),
                       torch.tensor([2.0])]).view(1, 4, 1, 1)
    steep = local_planar_guidance(plane, 8, floor=1e-2)
    assert steep.min() > 0
    assert steep.max() == pytest.approx(2 / 1e-2)
    assert (local_planar_guidance(plane, 8, floor=-math.inf) < 0).any()  # the formula to the letter
    torch.testing.assert_close(local_planar_guidance(plane, 4), local_planar_guidance(plane, 4, floor=-math.inf))


def test_guidance_gradients() -> None:
    torch.manual_seed(1)
    raw = torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: local_planar_guidance(plane_parameters(x), 2), raw)


def test_bad_planes() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4, 2, 2\): expected \(B, 3, h, w\)"):
        plane_parameters(torch.zeros(1, 4, 2, 2))
    with pytest.raises(ValueError, match=r"\(1, 3, 2, 2\): expected \(B, 4, h, w\)"):
        local_planar_guidance(torch.zeros(1, 3, 2, 2), 2)
    with pytest.raises(ValueError, match="patch=0 has no pixels"):
        local_planar_guidance(torch.ones(1, 4, 2, 2), 0)


def test_plane_head_halves_its_channels() -> None:
    head = PlaneHead(128, 128, 8)
    widths = [(step[0].in_channels, step[0].out_channels) for step in head.reduce]
    assert widths == [(128, 128), (128, 64), (64, 32), (32, 16), (16, 8)]
    assert (head.plane.in_channels, head.plane.out_channels) == (8, 3)
    x = torch.rand(1, 128, 2, 3)
    share = head(x)
    assert share.shape == (1, 1, 16, 24)
    planes = plane_parameters(head.plane(head.reduce(x)), max_depth=10.0)
    torch.testing.assert_close(10 * share, local_planar_guidance(planes, 8))
    assert head.bfloat16()(x.bfloat16()).dtype == torch.bfloat16


def test_dense_aspp_reads_what_was_written_before() -> None:
    aspp = DenseASPP(448, 256, 128)  # DenseNet-161: 256 from above and 192 of the encoder
    convolutions = [[m for m in atrous if isinstance(m, torch.nn.Conv2d)] for atrous in aspp.atrous]
    assert [first.in_channels for first, _ in convolutions] == [256, 576, 704, 832, 960]
    assert [second.dilation[0] for _, second in convolutions] == [3, 6, 12, 18, 24]
    assert {(first.out_channels, second.out_channels) for first, second in convolutions} == {(256, 128)}
    assert aspp.join[0].in_channels == 256 + 5 * 128


def test_dense_aspp_reaches_as_far_as_its_rates_add_up() -> None:
    aspp = DenseASPP(2, 2, 4).double().eval()
    torch.manual_seed(0)
    x = torch.rand(1, 2, 1, 161, dtype=torch.float64, requires_grad=True)
    aspp(x, torch.rand(1, 2, 1, 161, dtype=torch.float64))[..., 80].sum().backward()
    reached = x.grad.abs().sum(dim=(0, 1, 2)).nonzero().flatten()
    # 3 + 6 + 12 + 18 + 24 and one pixel of the last 3x3, to either side
    assert (reached.min().item(), reached.max().item()) == (80 - 64, 80 + 64)


def test_decoder_joins_features_and_guidance() -> None:
    torch.manual_seed(0)
    channels = (6, 6, 7, 8, 9)
    decoder = BTSDecoder(channels, 64, 8).eval()
    f1, f2, f3, f4, f5 = (torch.randn(2, c, 64 // 2**k, 96 // 2**k) for k, c in enumerate(channels, start=1))
    given, made = {}, {}
    for name, module in decoder.named_children():
        module.register_forward_pre_hook(lambda module, args, name=name: given.__setitem__(name, args))
        module.register_forward_hook(lambda module, args, output, name=name: made.__setitem__(name, output))
    with torch.no_grad():
        out = decoder((f1, f2, f3, f4, f5))
    depths = [made[name] for name in ("reduc1", "lpg2", "lpg4", "lpg8")]
    assert {tuple(depth.shape) for depth in depths} == {(2, 1, 64, 96)}
    # coarser layers read every fourth and every second pixel of the guidance, as nearest-neighbour resizing does
    depth8, depth4 = (F.interpolate(made[name], scale_factor=1 / scale, mode="nearest")
                      for name, scale in (("lpg8", 4), ("lpg4", 2)))
    wanted = {"upconv5": [f5.relu()], "iconv5": [made["norm5"], f4], "upconv4": [made["iconv5"]],
              "iconv4": [made["norm4"], f3], "norm_aspp": [made["iconv4"]], "lpg8": [made["aspp"]],
              "upconv3": [made["aspp"]], "iconv3": [made["norm3"], f2, depth8], "lpg4": [made["iconv3"]],
              "upconv2": [made["iconv3"]], "iconv2": [made["norm2"], f1, depth4], "lpg2": [made["iconv2"]],
              "upconv1": [made["iconv2"]], "reduc1": [made["upconv1"]], "iconv1": [made["upconv1"], *depths]}
    for name, parts in wanted.items():
        torch.testing.assert_close(given[name][0], torch.cat(parts, 1), msg=f"the input of {name}")
    torch.testing.assert_close(given["aspp"][0], made["norm_aspp"])
    torch.testing.assert_close(given["aspp"][1], given["iconv4"][0])
    assert torch.equal(out, made["iconv1"])


def test_densenet_features_are_torchvisions() -> None:
    """The five features that the authors take from torchvision's DenseNet, the last one after its ReLU."""
    torch.manual_seed(0)
    network = bts("paper", encoder="densenet121").encoder.eval()
    assert isinstance(network, DenseNetEncoder)
    assert network.channels == (64, 64, 128, 256, 1024)
    peer = torchvision.models.densenet121().eval()
    peer.features.load_state_dict(network.features.state_dict())
    x, wanted = torch.randn(1, 3, 64, 64), []
    with torch.no_grad():
        mine, y = network(x), x
        for name, layer in peer.features.named_children():
            y = layer(y)
            if name in ("relu0", "pool0", "transition1", "transition2", "norm5"):
                wanted.append(y.clone())
    wanted[-1].relu_()
    assert [feature.shape[-1] for feature in mine] == [32, 16, 8, 4, 2]
    for ours, theirs in zip(mine, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


# Millions of parameters in the table of the authors' repository; ResNets there bring ImageNet's unused classifier.
@pytest.mark.parametrize(("encoder", "unused", "published"), [
    ("densenet161", 0, 47.0), ("densenet121", 0, 21.2), ("resnet50", 2048 * 1000 + 1000, 49.5),
    ("resnet101", 2048 * 1000 + 1000, 68.5)])
def test_published_sizes(encoder: str, unused: int, published: float) -> None:
    with torch.device("meta"):
        network = create_model("bts", scale="paper", encoder=encoder)
    assert (count_parameters(network) + unused) / 1e6 == pytest.approx(published, abs=0.05)


def test_paper_scale_is_the_published_network() -> None:
    with torch.device("meta"):
        network = create_model("bts", scale="paper")
        residual = create_model("bts", scale="paper", encoder="resnet50")
    assert network.encoder.channels == (96, 96, 192, 384, 2208)
    assert residual.encoder.feature_info.channels() == [64, 256, 512, 1024, 2048]
    decoder = network.decoder
    widths = [decoder.get_submodule(f"iconv{level}")[0].out_channels for level in (5, 4, 3, 2, 1)]
    assert widths == [512, 256, 128, 64, 32]
    assert decoder.iconv1[0].in_channels == 36
    assert decoder.upconv1[1].out_channels == 32
    assert network.output == "sigmoid"
    assert decoder.norm5.momentum == 0.01
    assert network.encoder.features.norm0.momentum == 0.1


@pytest.mark.parametrize("units", [16, 32])
def test_dissected_layers_are_seen_after_elu_at_full_resolution(units: int) -> None:
    torch.manual_seed(0)
    network = create_model("bts", units=units).eval()
    seen = {}
    for name in ("decoder.upconv1", "decoder.upconv1.1", "decoder.iconv1", "decoder.iconv1.0"):
        network.get_submodule(name).register_forward_hook(
            lambda module, args, output, name=name: seen.__setitem__(name, output))
    with torch.no_grad():
        network(torch.rand(1, 3, 64, 96))
    for layer, convolution in (("decoder.upconv1", "decoder.upconv1.1"), ("decoder.iconv1", "decoder.iconv1.0")):
        assert seen[layer].shape == (1, units, 64, 96)
        assert seen[convolution].min() < 0
        torch.testing.assert_close(seen[layer], F.elu(seen[convolution]))


def test_lab_network_keeps_the_papers_units_when_asked() -> None:
    narrow, wide = create_model("bts"), create_model("bts", units=32)
    assert narrow.decoder.iconv1[0].out_channels == 16
    assert wide.decoder.iconv1[0].out_channels == 32
    assert count_parameters(wide) < 1.1 * count_parameters(narrow)


def test_width_scales_encoder_decoder_and_units() -> None:
    with torch.device("meta"):
        half = create_model("bts", scale="paper", width=0.5)
        residual = create_model("bts", encoder="resnet18", width=0.125)
    assert half.encoder.channels[0] == 48
    assert half.decoder.iconv5[0].out_channels == 256
    assert half.decoder.iconv1[0].out_channels == 16
    assert residual.encoder.feature_info.channels() == [64, 8, 16, 32, 64]
    assert residual.decoder.iconv1[0].out_channels == 4


def test_depth_never_beyond_the_largest() -> None:
    network = create_model("bts", max_depth=80.0).eval()
    torch.nn.init.normal_(network.head.weight, std=10.0)
    with torch.no_grad():
        depth = network(torch.rand(1, 3, 64, 64))
    assert depth.min() >= 0
    assert depth.max() <= 80.0
    assert depth.max() - depth.min() > 40


def test_focal_length_scales_depth() -> None:
    network = create_model("bts", max_depth=80.0).eval()
    image = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        plain = network(image)
        network.focal = KITTI_FOCAL
        torch.testing.assert_close(network(image), plain)
        network.focal = 2 * KITTI_FOCAL
        torch.testing.assert_close(network(image), 2 * plain)
    assert create_model("bts", focal=721.5377).focal == 721.5377


def test_encode_then_decode_is_raw() -> None:
    network = create_model("bts").eval()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        features = network.encode(x)
        assert [f.shape[-1] for f in features] == [32, 16, 8, 4, 2]
        assert torch.equal(network.decode(features), network.raw(x))


@pytest.mark.parametrize(("options", "words"), [
    ({"encoder": "densenet160"}, "unknown encoder 'densenet160': expected one of densenet121"),
    ({"encoder": "mobilenetv2_100"}, "cannot be narrowed to width 0.25"),
    ({"encoder": "swin_tiny_patch4_window7_224", "width": 1.0}, "features at strides 4, 8, 16, 32"),
    ({"width": 0.0}, "width=0.0 is out of range"),
    ({"units": 0}, "units=0 leaves no channels"),
    ({"max_depth": 0.0}, "max_depth=0.0 is no positive length"),
    ({"focal": -1.0}, "focal=-1.0 is no positive length"),
    ({"pretrained": True}, "no pretrained weights for encoder 'lab'"),
    ({"encoder": "resnet50", "pretrained": True}, "no pretrained weights for encoder 'resnet50' at width 0.25"),
    ({"output": "disparity"}, "unknown output form"),
])
def test_bad_requests(options: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words), torch.device("meta"):
        create_model("bts", **options)
