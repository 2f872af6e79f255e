"""Attention rollout: dense products as oracle, the layout checked against what the layers really do."""

from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, nn

from mdelib.attribution import attention_layers, attention_rollout, recorded_attention, targets, unfused_attention
from mdelib.attribution.rollout import roll_back, stages_of
from mdelib.attribution.tokens import TokenAttention, patch_tokens, spread_to_children, token_grid, window_tokens
from mdelib.models import create_model
from mdelib.models.base import wrap

SIZE = (64, 96)


class ViTDepth(nn.Module):
    """Anybody's: a timm ViT and a linear layer to 8x8 depths a patch."""

    def __init__(self) -> None:
        super().__init__()
        self.vit = timm.models.vision_transformer.VisionTransformer(
            img_size=(32, 48), patch_size=8, embed_dim=24, depth=3, num_heads=2, num_classes=0, reg_tokens=2)
        self.head = nn.Linear(24, 64)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.head(self.vit.forward_features(image)[:, self.vit.num_prefix_tokens:])
        return nn.functional.pixel_shuffle(patches.transpose(1, 2).unflatten(2, (4, 6)), 8)


class TorchEncoder(nn.Module):
    """PyTorch's own Transformer layers over 8x8 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 16, 8, 8)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Conv2d(16, 64, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image)
        x = self.layers(x.flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(2, x.shape[-2:])
        return nn.functional.pixel_shuffle(self.head(x), 8)


@pytest.fixture(scope="module")
def pixelformer() -> nn.Module:
    torch.manual_seed(1)
    network = create_model("pixelformer").eval()
    for name, weight in network.named_parameters():  # attention that is far from uniform
        if "qkv.weight" in name or "bias_table" in name:
            weight.data.mul_(20)
    return network


def layers_of(model: nn.Module, image: Tensor) -> list[TokenAttention]:
    with recorded_attention(model, tuple(image.shape[-2:])) as layers, torch.no_grad():
        model(image)
    return [one for _, one in layers]


def swin_matrix(layer: TokenAttention, window: int, shift: int) -> Tensor:
    """The dense (B, T, T) matrix of a windowed layer, token by token from the coordinates alone."""
    (height, width), batch = layer.grid, len(layer.weights)
    tall, wide = height + -height % window, width + -width % window
    place = {}
    for row in range(height):
        for column in range(width):
            i, j = (row - shift) % tall, (column - shift) % wide
            place[row * width + column] = ((i // window) * (wide // window) + j // window,
                                           (i % window) * window + j % window)
    dense = torch.zeros(batch, height * width, height * width)
    for one, (block, query) in place.items():
        for other, (second, key) in place.items():
            if block == second:
                dense[:, one, other] = layer.weights[:, block, query, key]
    return dense / dense.sum(2, keepdim=True)


def dense_product(matrices: list[Tensor], start: Tensor) -> Tensor:
    """rᵀ Â_L ... Â_1 by whole matrices, first layer first in the list."""
    product = torch.eye(matrices[0].shape[-1]).expand_as(matrices[0])
    for matrix in matrices:
        product = (torch.eye(matrix.shape[-1]) + matrix) / 2 @ product
    return torch.einsum("bt,bts->bs", start, product)


# the sparse matrix


def test_windows_plain_shifted_and_padded_equal_the_dense_product(pixelformer: nn.Module,
                                                                  generator: torch.Generator) -> None:
    image = torch.rand(2, 3, *SIZE, generator=generator)
    stages = stages_of(layers_of(pixelformer, image))
    assert [[one.grid for one in stage] for stage in stages] == [[(2 * side, 3 * side)] * 2 for side in (8, 4, 2, 1)]
    for stage in stages:  # each has a plain and a shifted layer; windows of 4 do not fit the last two grids
        start = torch.rand(2, stage[0].count, generator=generator)
        start = start / start.sum(1, keepdim=True)
        matrices = [swin_matrix(layer, 4, shift) for layer, shift in zip(stage, (0, 2), strict=True)]
        for matrix, layer in zip(matrices, stage, strict=True):
            torch.testing.assert_close(layer.back(start), torch.einsum("bt,bts->bs", start, matrix))
            assert matrix.std() > 0.01  # the test can tell tokens apart
        torch.testing.assert_close(roll_back([stage], start), dense_product(matrices, start))


def test_chained_stages_equal_the_dense_product(pixelformer: nn.Module, generator: torch.Generator) -> None:
    image = torch.rand(1, 3, *SIZE, generator=generator)
    stages = stages_of(layers_of(pixelformer, image))
    relevance = torch.full((1, 6), 1 / 6)
    for stage, finer in zip(stages[::-1], [*stages[-2::-1], None], strict=True):
        matrices = [swin_matrix(one, 4, shift) for one, shift in zip(stage, (0, 2), strict=True)]
        relevance = dense_product(matrices, relevance)
        if finer is not None:
            height, width = finer[0].grid
            coarse = stage[0].grid[1]
            merge = torch.zeros(height * width, relevance.shape[1])
            for i in range(height):
                for j in range(width):
                    merge[i * width + j, (i // 2) * coarse + j // 2] = 1 / 4
            relevance = relevance @ merge.T
    torch.testing.assert_close(roll_back(stages, torch.full((1, 6), 1 / 6)), relevance)
    shown = attention_rollout(pixelformer, image)
    wanted = nn.functional.interpolate(relevance.view(1, 1, 16, 24), SIZE, mode="bilinear")[:, 0]
    torch.testing.assert_close(shown, wanted / wanted.sum())


@pytest.mark.parametrize("place", ["layers.0.blocks.0", "layers.0.blocks.1", "layers.2.blocks.1", "layers.3.blocks.0"])
def test_windows_are_where_the_network_puts_them(place: str, generator: torch.Generator) -> None:
    """Changing one token changes what exactly the tokens attend that the matrix says look at it."""
    network = create_model("pixelformer").eval().double()
    image = torch.rand(1, 3, *SIZE, generator=generator).double()
    block = network.encoder.get_submodule(place)
    with recorded_attention(network, SIZE) as layers, torch.no_grad():
        network(image)
        layer = dict(layers)[f"encoder.{place}"]
        x = torch.randn(1, *layer.grid, block.dim, generator=generator).double()
        before = block.attend(x)
        every = replace(layer, weights=layer.weights.expand(layer.count, -1, -1, -1))
        rows = every.back(torch.eye(layer.count).double())
        for token in range(0, layer.count, 11):
            other = x.clone()
            other.view(-1, block.dim)[token] += 1
            changed = (block.attend(other) - before).abs().amax(3).flatten() > 1e-12
            assert torch.equal(changed, rows[:, token] > 1e-20)


def test_timms_own_swin_is_read_as_it_rolls() -> None:
    swin = timm.models.swin_transformer.SwinTransformer(
        img_size=(40, 56), patch_size=4, embed_dim=8, depths=(2,), num_heads=(2,), window_size=4, num_classes=0,
        always_partition=True).eval()
    tokens = window_tokens((10, 14), (4, 4), (2, 2), roll_first=True)
    block = swin.layers[0].blocks[1]
    x = torch.randn(1, 10, 14, 8)
    with torch.no_grad():
        before = block._attn(x)
        for token in (0, 5, 77, 139):
            other = x.clone()
            other.view(-1, 8)[token] += 1
            changed = ((block._attn(other) - before).abs().amax(3).flatten() > 1e-7).nonzero().flatten().tolist()
            group = tokens[(tokens == token).any(1)].flatten().tolist()
            assert set(changed) <= set(group) and token in changed


def test_meter_groups_equal_the_dense_product(generator: torch.Generator) -> None:
    model = create_model("meter_xxs").eval()
    image = torch.rand(2, 3, *SIZE, generator=generator)
    layers = layers_of(model, image)
    assert [one.grid for one in layers] == [(8, 12), (4, 6), (2, 3)]  # 1/8, 1/16, 1/32; the last has an odd side
    for layer in layers:
        width, columns = layer.grid[1], -(-layer.grid[1] // 2)
        dense = torch.zeros(2, layer.count, layer.count)
        for one in range(layer.count):
            for other in range(layer.count):
                (i, j), (k, m) = divmod(one, width), divmod(other, width)
                if (i % 2, j % 2) == (k % 2, m % 2):
                    dense[:, one, other] = layer.weights[:, 2 * (i % 2) + j % 2, (i // 2) * columns + j // 2,
                                                         (k // 2) * columns + m // 2]
        dense = dense / dense.sum(2, keepdim=True)
        start = torch.rand(2, layer.count, generator=generator)
        torch.testing.assert_close(layer.back(start), torch.einsum("bt,bts->bs", start, dense))
    block = model.encoder.mvit[0].transformer
    tokens = torch.arange(96.0).view(1, 1, 8, 12)
    seen = tokens.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).permute(0, 3, 5, 2, 4, 1).flatten(3, 4).flatten(1, 2)
    assert torch.equal(seen[0, ..., 0].long(), patch_tokens((8, 12))) and block is not None


def test_reduced_keys_equal_the_dense_product(generator: torch.Generator) -> None:
    layers = layers_of(create_model("segformer").eval(), torch.rand(1, 3, *SIZE, generator=generator))
    assert [one.cell for one in layers] == [8, 8, 4, 4, 2, 2, 1, 1]
    layer = layers[0]
    dense = torch.zeros(1, layer.count, layer.count)
    for other in range(layer.count):
        i, j = divmod(other, 24)
        dense[:, :, other] = layer.weights[:, 0, :, (i // 8) * 3 + j // 8] / 64
    start = torch.rand(1, layer.count, generator=generator)
    torch.testing.assert_close(layer.back(start), torch.einsum("bt,bts->bs", start, dense))


def test_plain_attention_equals_the_textbook(generator: torch.Generator) -> None:
    """Abnar and Zuidema's own loop on the matrices of a hook of our own."""
    model = create_model("dpt").eval()
    image = torch.rand(2, 3, *SIZE, generator=generator)
    seen: list[Tensor] = []
    with unfused_attention(model), torch.no_grad():
        hooks = [block.attn.attn_drop.register_forward_pre_hook(lambda _, given: seen.append(given[0].mean(1)))
                 for block in model.encoder.vit.blocks]
        model(image)
        for hook in hooks:
            hook.remove()
    joint = torch.eye(25)
    for attention in seen:
        joint = (attention + torch.eye(25)) / 2 @ joint
    wanted = joint[:, 1:, 1:].mean(1)  # from the patches, to the patches; the readout is left out on both sides
    layers = layers_of(model, image)
    assert layers[0].grid == (4, 6) and layers[0].prefix == 1
    torch.testing.assert_close(roll_back([layers], torch.full((2, 24), 1 / 24)), wanted / wanted.sum(1, keepdim=True))


@pytest.mark.parametrize("make", [ViTDepth, TorchEncoder])
def test_anybodys_vit(make: type[nn.Module], generator: torch.Generator) -> None:
    model = wrap(make().eval()).eval()
    image = torch.rand(2, 3, 32, 48, generator=generator)
    shown = attention_rollout(model, image)
    assert shown.shape == (2, 32, 48) and shown.min() >= 0
    torch.testing.assert_close(shown.sum((1, 2)), torch.ones(2))
    layers = layers_of(model, image)
    assert len(layers) == (3 if make is ViTDepth else 2) and layers[0].prefix == (3 if make is ViTDepth else 0)
    before = model(image)
    assert torch.equal(before, model(image))  # and the network goes on as before


# the maps


@pytest.mark.parametrize("name", ["pixelformer", "meter_xxs", "segformer", "dpt", "transdepth", "swindepth",
                                  "depthformer", "adabins"])
def test_maps_are_shares_of_the_image(name: str, generator: torch.Generator) -> None:
    model = create_model(name).eval()
    image = torch.rand(2, 3, *SIZE, generator=generator)
    shown = attention_rollout(model, image, targets.pixel(10, 20))
    assert shown.shape == (2, *SIZE) and shown.min() >= 0 and not shown.requires_grad
    torch.testing.assert_close(shown.sum((1, 2)), torch.ones(2), atol=1e-4, rtol=0)


def test_layers_of_a_decoder_are_left_out(pixelformer: nn.Module) -> None:
    wanted = [f"encoder.layers.{i}.blocks.{j}" for i in range(4) for j in range(2)]
    assert list(attention_layers(pixelformer)) == wanted
    assert not any(name.startswith("transbins") for name in attention_layers(create_model("depthformer")))


@pytest.mark.parametrize("name", ["pixelformer", "meter_xxs"])
def test_stages_alone_and_chained(name: str, generator: torch.Generator) -> None:
    model = create_model(name).eval()
    image = torch.rand(1, 3, *SIZE, generator=generator)
    alone = [attention_rollout(model, image, stage=stage) for stage in range(3)]
    last = attention_rollout(model, image, stage=-1)
    chained = attention_rollout(model, image)
    assert len({float(one.std()) for one in (*alone, chained)}) == 4
    count = len(stages_of(layers_of(model, image)))
    torch.testing.assert_close(last, attention_rollout(model, image, stage=count - 1))
    with pytest.raises(ValueError, match="stage 7 is not there"):
        attention_rollout(model, image, stage=7)


def test_rollout_begins_under_the_target(pixelformer: nn.Module, generator: torch.Generator) -> None:
    image = torch.rand(1, 3, *SIZE, generator=generator)
    left = attention_rollout(pixelformer, image, targets.pixel(5, 5), stage=0)[0]
    assert left[:18, :18].sum() > 0.9999  # no window reaches farther; two pixels for the enlargement
    right = attention_rollout(pixelformer, image, targets.pixel(5, 90), stage=0)[0]
    assert right[:18, :18].sum() < 1e-30


def test_padding_and_resizing_keep_the_place(generator: torch.Generator) -> None:
    image = torch.rand(1, 3, 50, 70, generator=generator)
    for settings in ({"size": (64, 96)}, {}):
        model = create_model("meter_xxs", **settings).eval()
        shown = attention_rollout(model, image, targets.pixel(8, 8), stage=0)
        assert shown.shape == (1, 50, 70) and float(shown.sum()) == pytest.approx(1, abs=1e-5)
        assert shown.flatten().argmax() // 70 < 25  # half of the relevance stays at its own token


def test_batches_change_nothing(generator: torch.Generator) -> None:
    model = create_model("meter_xxs").eval()
    image = torch.rand(3, 3, *SIZE, generator=generator)
    torch.testing.assert_close(attention_rollout(model, image, batch=1), attention_rollout(model, image, batch=3))


# switching fused attention off and on


def test_fused_attention_comes_back_after_an_exception(generator: torch.Generator) -> None:
    model = create_model("dpt").eval()
    fused = [block.attn for block in model.encoder.vit.blocks]
    assert all(one.fused_attn for one in fused)
    with pytest.raises(RuntimeError, match="on purpose"), unfused_attention(model):
        assert not any(one.fused_attn for one in fused)
        raise RuntimeError("on purpose")
    assert all(one.fused_attn for one in fused)
    with pytest.raises(ValueError, match="outside a map"):
        attention_rollout(model, torch.rand(1, 3, *SIZE), targets.pixel(500, 0))
    assert all(one.fused_attn for one in fused)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    image = torch.rand(1, 3, *SIZE, generator=generator)
    with unfused_attention(model), torch.no_grad():
        slow = model(image)
    torch.testing.assert_close(model(image), slow, atol=1e-4, rtol=1e-4)


def test_what_was_not_fused_stays_so() -> None:
    model = create_model("dpt").eval()
    model.encoder.vit.blocks[0].attn.fused_attn = False
    with unfused_attention(model):
        pass
    assert [block.attn.fused_attn for block in model.encoder.vit.blocks] == [False, True, True, True]


# refusals


def test_networks_without_attention_are_told_what_applies() -> None:
    model = create_model("hu_resnet50").eval()
    with pytest.raises(ValueError, match="saliency, input_x_gradient, smoothgrad, integrated_gradients, grad_cam"):
        attention_rollout(model, torch.rand(1, 3, 32, 32))


def test_windows_of_an_unknown_layout_are_refused() -> None:
    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attn = timm.layers.Attention(12, 2)

        def forward(self, image: Tensor) -> Tensor:
            windows = image.unflatten(2, (2, 4)).unflatten(4, (4, 3)).permute(0, 2, 4, 3, 5, 1)
            y = self.attn(windows.flatten(0, 2).flatten(1, 2).repeat(1, 1, 4))
            return y.mean() + image[:, :1]

    with pytest.raises(ValueError, match="unknown layout"):
        attention_rollout(Unknown().eval(), torch.rand(1, 3, 8, 12))


def test_grids_by_hand() -> None:
    assert token_grid(24, (64, 96)) == ((4, 6), 0)
    assert token_grid(25, (64, 96), 1) == ((4, 6), 1)
    assert token_grid(29, (64, 96), 5) == ((4, 6), 5)
    assert token_grid(1201, (480, 640)) == ((30, 40), 1)
    with pytest.raises(ValueError, match="do not tile"):
        token_grid(23, (64, 96))
    finer = spread_to_children(torch.tensor([[1.0, 2.0]]), (1, 2), (2, 3))
    assert finer.tolist() == [[0.25, 0.25, 1.0, 0.25, 0.25, 1.0]]
    with pytest.raises(ValueError, match="coarsened by whole numbers"):
        spread_to_children(torch.ones(1, 4), (1, 4), (1, 5))
    assert patch_tokens((3, 2)).tolist() == [[0, 4], [1, 5], [2, -1], [3, -1]]
    assert window_tokens((2, 3), (2, 2)).tolist() == [[0, 1, 3, 4], [2, -1, 5, -1]]
    assert window_tokens((2, 3), (2, 2), (1, 1)).tolist() == [[4, 5, 1, 2], [-1, 3, -1, 0]]
