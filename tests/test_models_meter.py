"""METER: its published sizes, its attention, and the authors' released weights on real photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from mdelib.data.files import read_depth_png, read_image
from mdelib.models import count_parameters, create_model
from mdelib.models.meter import RELEASED, Attention, MobileViTBlock, UpSample
from mdelib.weights import RELEASED_NAMES


@pytest.mark.parametrize(("name", "count"), [("meter_s", 3_295_168), ("meter_xs", 1_449_760), ("meter_xxs", 713_464)])
@pytest.mark.parametrize("scale", ["lab", "paper"])
def test_published_sizes(name: str, count: int, scale: str) -> None:
    with torch.device("meta"):
        network = create_model(name, scale=scale)
    assert count_parameters(network) == count


def test_output_is_a_quarter_of_the_training_size() -> None:
    network = create_model("meter_xxs", scale="paper").eval()
    with torch.no_grad():
        assert network.raw(torch.rand(1, 3, 192, 256)).shape == (1, 1, 48, 64)
        assert network.raw(torch.rand(1, 3, 192, 636)).shape == (1, 1, 48, 160)
    assert (network.output, network.unit, network.size) == ("linear", 0.01, (192, 256))


def test_lab_scale_works_at_the_images_own_size() -> None:
    network = create_model("meter_xxs")
    assert (network.output, network.unit, network.size) == ("log", 2.5, None)


def test_attention_by_hand() -> None:
    attention = Attention(dim=6, heads=2, head_dim=3)
    x = torch.rand(2, 4, 5, 6)
    seen = []
    attention.attend.register_forward_hook(lambda module, args, output: seen.append(output))
    y = attention(x)
    assert seen[0].shape == (2, 4, 2, 5, 5)
    torch.testing.assert_close(seen[0].sum(-1), torch.ones(2, 4, 2, 5))
    q, k, v = attention.to_qkv(x)[1, 3].chunk(3, -1)  # one image, one position in the patch
    heads = [F.scaled_dot_product_attention(q[None, :, s], k[None, :, s], v[None, :, s])[0]
             for s in (slice(0, 3), slice(3, 6))]
    torch.testing.assert_close(y[1, 3], attention.to_out(torch.cat(heads, -1)))


def test_patches_fold_back_to_where_they_came_from() -> None:
    block = MobileViTBlock(channels=3, dim=5, hidden=4).eval()
    seen = []
    block.transformer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    block.transformer.forward = lambda tokens: tokens  # type: ignore[method-assign]
    folded = []
    block.conv3.register_forward_pre_hook(lambda module, args: folded.append(args[0]))
    x = torch.rand(1, 3, 4, 6)
    with torch.no_grad():
        block(x)
        local = block.conv2(block.conv1(x))
    assert torch.equal(folded[0], local)
    # position (1, 0) of each 2x2 patch is group 2, and its tokens run along rows of patches
    assert seen[0].shape == (1, 4, 6, 5)
    torch.testing.assert_close(seen[0][0, 2], local[0, :, 1::2, 0::2].flatten(1).T)


def test_odd_features_keep_their_size() -> None:
    block = MobileViTBlock(channels=3, dim=5, hidden=4).eval()
    with torch.no_grad():
        assert block(torch.rand(1, 3, 3, 5)).shape == (1, 3, 3, 5)


def test_odd_skip_is_padded_on_the_left() -> None:
    up = UpSample(2, 1, 3)
    seen = []
    up.end_up_layer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    up(torch.rand(1, 2, 2, 3), torch.ones(1, 1, 4, 5))
    assert seen[0].shape == (1, 4, 4, 6)
    assert seen[0][0, 3, 0].tolist() == [0, 1, 1, 1, 1, 1]


def test_attention_of_each_stage_can_be_hooked() -> None:
    network = create_model("meter_xxs", scale="paper").eval()
    shapes = []
    for stage in range(3):
        network.get_submodule(f"encoder.mvit.{stage}.transformer.layers.0.0.fn.attend").register_forward_hook(
            lambda module, args, output: shapes.append(tuple(output.shape)))
    with torch.no_grad():
        network(torch.rand(1, 3, 48, 64))
    assert shapes == [(1, 4, 4, 192, 192), (1, 4, 4, 48, 48), (1, 4, 4, 12, 12)]


def test_released_names_are_known_everywhere() -> None:
    assert tuple(RELEASED) == RELEASED_NAMES


def test_released_weights_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MDE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"python data_scripts/download_meter\.py"):
        create_model("meter_xxs", weights="meter_xxs_nyu")


def test_released_weights_for_another_network(real_data: Path) -> None:
    with pytest.raises(ValueError, match="are for meter_xxs, not for segformer"):
        create_model("segformer", weights="meter_xxs_nyu")
    with pytest.raises(ValueError, match="are for meter_xxs, not for meter_xs"):
        create_model("meter_xs", weights=real_data / "weights" / "meter_xxs_nyu.pth")


def test_state_dict_keys_are_the_authors(real_data: Path) -> None:
    for name in RELEASED:
        state = torch.load(real_data / "weights" / f"{name}.pth", map_location="cpu", weights_only=True)
        network = create_model("meter_xxs")
        assert list(network.state_dict()) == list(state)


def test_authors_weights_on_nyu_photographs(real_data: Path) -> None:
    folder = real_data / "nyu"
    network = create_model("meter_xxs", weights="meter_xxs_nyu")
    assert not network.training
    numbers = json.loads((folder / "splits.json").read_text())["test"][::25]  # 20 of 500, evenly
    rmse, abs_rel, delta1 = [], [], []
    for number in numbers:
        image = read_image(folder / "rgb" / f"{number:05d}.jpg")
        truth = read_depth_png(folder / "depth" / f"{number:05d}.png", 1000.0)[0, 45:471, 41:601]
        with torch.inference_mode():
            depth = network(image[None])[0, 0].clamp(1e-3, 10)[45:471, 41:601]
        rmse.append((depth - truth).square().mean().sqrt())
        abs_rel.append(((depth - truth).abs() / truth).mean())
        delta1.append((torch.maximum(depth / truth, truth / depth) < 1.25).float().mean())
    # 0.532, 0.159, 0.789 on all 500; the tolerance is what 20 images leave open
    assert torch.stack(rmse).mean().item() == pytest.approx(0.532, abs=0.08)
    assert torch.stack(abs_rel).mean().item() == pytest.approx(0.159, abs=0.03)
    assert torch.stack(delta1).mean().item() == pytest.approx(0.789, abs=0.06)


def test_authors_weights_on_a_kitti_photograph(real_data: Path) -> None:
    path = sorted((real_data / "kitti" / "raw").rglob("image_02/data/*"))[0]
    image = read_image(path)
    network = create_model("meter_xxs", weights="meter_xxs_kitti")
    with torch.inference_mode():
        depth = network(image[None])
    assert depth.shape[-2:] == image.shape[-2:]
    road, distance = depth[..., -40:, :].median().item(), depth[..., 150:200, :].median().item()
    assert 3 < road < 12 < distance < 80
