"""Sparse pixels: the published size, masks by sorting, overlap by SciPy's rank test, and toys worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from mdelib.losses import hu_loss
from mdelib.metrics import depth_metrics
from mdelib.models import count_parameters, create_model
from mdelib.models.base import DepthNetwork, wrap
from mdelib.models.drn import PAPER_WIDTHS, DilatedResNet, ResidualBlock
from mdelib.sparse import (
    MaskNetwork,
    binarize,
    cross_mask_error,
    depth_edge_pixels,
    image_edge_pixels,
    keep_fraction,
    mask_loss,
    masked_image,
    object_borders,
    overlap,
    random_pixels,
    sparse_objective,
    sparseness,
)

TINY = (2, 4, 4, 8, 8, 8)


class Brightness(DepthNetwork):
    """Depth 2 + mean of the normalised colour, so that a masked pixel has depth 2."""

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)

    def decode(self, features: tuple[Tensor, ...]) -> Tensor:
        return 2 + features[0].mean(1, keepdim=True)


def step_image(column: int = 4) -> Tensor:
    """Black left of `column`, white from it on."""
    image = torch.zeros(1, 3, 6, 10)
    image[..., column:] = 1
    return image


# the networks


def test_published_size() -> None:
    with torch.device("meta"):
        network = MaskNetwork("paper")
    encoder, whole = count_parameters(network.encoder), count_parameters(network)
    assert round(encoder / 1e6, 1) == 15.9 and round(whole / 1e6, 1) == 25.3
    assert round((whole - encoder) / 1e6, 1) == 9.4


def test_encoder_by_layer_arithmetic() -> None:
    """A residual level has four 3x3 convolutions and a 1x1 shortcut; a batch norm two numbers a channel."""
    def conv(a: int, b: int, k: int = 3) -> int:
        return k * k * a * b + 2 * b

    w = PAPER_WIDTHS
    expected = conv(3, w[0], 7) + conv(w[0], w[0]) + conv(w[0], w[1])
    for a, b in ((w[1], w[2]), (w[2], w[3]), (w[3], w[4]), (w[4], w[5])):
        expected += conv(a, b) + 3 * conv(b, b) + conv(a, b, 1)
    expected += 2 * conv(w[5], w[5])
    with torch.device("meta"):
        assert count_parameters(DilatedResNet()) == expected == 15_880_752


def test_lab_size() -> None:
    network = MaskNetwork()
    assert count_parameters(network) < 0.5e6
    dilations = [m.dilation for m in network.encoder.modules() if isinstance(m, nn.Conv2d) and m.dilation != (1, 1)]
    assert dilations == [(2, 2)] * 4 + [(4, 4)] * 4 + [(2, 2)]


@pytest.mark.parametrize("size", [(32, 48), (37, 51)])
def test_mask_has_the_images_size(size: tuple[int, int]) -> None:
    network = MaskNetwork(widths=TINY)
    half, quarter, eighth = network.encoder(torch.rand(2, 3, *size))
    for feature, stride in ((half, 2), (quarter, 4), (eighth, 8)):
        assert tuple(feature.shape[-2:]) == tuple(math.ceil(side / stride) for side in size)
    mask = network(torch.rand(2, 3, *size))
    assert mask.shape == (2, 1, *size) and mask.min() > 0 and mask.max() < 1 and mask.std() > 0


def test_residual_block_by_hand() -> None:
    block = ResidualBlock(1, 1).eval()
    with torch.no_grad():
        for conv in (block.first[0], block.second[0]):
            conv.weight.zero_()[0, 0, 1, 1] = 2.0
    x = torch.tensor([[[[1.0, -3.0]]]])
    # relu(2 relu(2 x) + x): 5 and relu(0 - 3); batch norms at their start divide by sqrt(1 + 1e-5)
    torch.testing.assert_close(block(x), torch.tensor([[[[5.0, 0.0]]]]), rtol=1e-4, atol=0)


def test_gradient_reaches_every_parameter_and_double_works() -> None:
    network = MaskNetwork(widths=TINY).double()
    mask = network(torch.rand(2, 3, 32, 32, dtype=torch.float64))
    assert mask.dtype == torch.float64
    (mask * torch.rand_like(mask)).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


# masking and its objective


def test_masked_pixels_are_the_mean_colour() -> None:
    network = Brightness(mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.4))
    image = torch.rand(2, 3, 4, 5)
    mask = torch.rand(2, 1, 4, 5)
    mask[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    seen = masked_image(image, mask, network)
    torch.testing.assert_close(network.normalize(seen), mask * network.normalize(image), atol=1e-5, rtol=1e-5)
    assert torch.equal(seen[0, :, 0, 0], network.mean.flatten()) and torch.equal(seen[0, :, 0, 1], image[0, :, 0, 1])
    assert torch.equal(masked_image(image, torch.ones(2, 1, 4, 5, dtype=torch.bool), network), image)
    assert not masked_image(image, torch.zeros(2, 1, 4, 5), wrap(nn.Identity())).any()  # no statistics: black


def test_masked_image_reaches_a_network_that_resizes_as_if_it_had_masked_inside() -> None:
    network = Brightness(size=(8, 12))
    image, mask = torch.rand(1, 3, 16, 24), torch.zeros(1, 1, 16, 24)
    torch.testing.assert_close(network(masked_image(image, mask, network)), torch.full((1, 1, 16, 24), 2.0))


def test_objective_is_hus_loss_and_the_masks_mean(generator: torch.Generator) -> None:
    pred, full = (torch.rand(2, 1, 8, 9, generator=generator, dtype=torch.float64) + 1 for _ in range(2))
    mask = torch.rand(2, 1, 8, 9, generator=generator, dtype=torch.float64)
    for border in ("valid", "zeros"):
        got = sparse_objective(pred, full, mask, 3.0, border=border)
        torch.testing.assert_close(got, hu_loss(pred, full, border=border) + 3 * mask.mean())
    perfect = sparse_objective(full, full, torch.full_like(mask, 0.25), 4.0)
    assert perfect.item() == pytest.approx(3 * math.log(0.5) + 1)  # ln α + 2 ln α + 0, and λ/4


def test_objective_moves_the_prediction_and_the_mask_but_not_the_target() -> None:
    pred, full, mask = (torch.rand(1, 1, 6, 6, dtype=torch.float64).add(1).requires_grad_() for _ in range(3))
    sparse_objective(pred, full, mask, 2.0).backward()
    assert full.grad is None and pred.grad.abs().sum() > 0
    torch.testing.assert_close(mask.grad, torch.full_like(mask, 2 / 36))
    target = full.detach() + 0.1
    smooth = torch.rand(1, 1, 4, 4, dtype=torch.float64) + 3  # far from the kink of |e|
    assert torch.autograd.gradcheck(lambda p, m: sparse_objective(p, target[..., :4, :4], m, 2.0),
                                    (smooth.requires_grad_(), mask.detach()[..., :4, :4].requires_grad_()))


def test_mask_loss_is_the_objective_and_leaves_the_network_alone() -> None:
    network = create_model("unet_mobilenetv3", widths=(8, 8)).eval().requires_grad_(False)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    generator, image = MaskNetwork(widths=TINY), torch.rand(2, 3, 32, 32)
    loss, mask = mask_loss(generator, network, image, 2.0)
    wanted = sparse_objective(network(masked_image(image, mask, network)), network(image), mask, 2.0)
    torch.testing.assert_close(loss, wanted)
    loss.backward()
    assert all(p.grad is not None for p in generator.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with pytest.raises(ValueError, match=r"call network.eval\(\) first"):
        mask_loss(generator, network.train(), image, 2.0)


def test_training_finds_the_pixels_that_matter() -> None:
    """Depth is the brightness, and all but a bright square is the mean colour already: only the square is needed."""
    network = Brightness(mean=(0.5, 0.5, 0.5), std=(0.05, 0.05, 0.05)).eval()
    image = torch.full((1, 3, 16, 16), 0.5)
    image[..., 4:10, 6:12] = 0.9  # 8 m further
    square = (image[:, :1] > 0.6)
    logits = torch.zeros(1, 1, 16, 16, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.3)
    for _ in range(60):
        optimizer.zero_grad()
        mask = torch.sigmoid(logits)
        sparse_objective(network(masked_image(image, mask, network)), network(image), mask, 1.0).backward()
        optimizer.step()
    assert torch.equal(binarize(logits.sigmoid()), square)


# masks


def test_sparseness_and_threshold() -> None:
    mask = torch.tensor([[0.0, 0.5, 0.6, 1.0], [0.2, 0.2, 0.2, 0.2]]).view(2, 1, 2, 2)
    assert sparseness(mask).tolist() == pytest.approx([0.525, 0.2]) and sparseness(mask).dtype == torch.float64
    assert binarize(mask).flatten(1).tolist() == [[False, False, True, True], [False] * 4]
    assert sparseness(binarize(mask, 0.1)).tolist() == [0.75, 1.0]
    assert torch.equal(binarize(binarize(mask)), binarize(mask))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_keep_fraction_by_sorting(generator: torch.Generator, dtype: torch.dtype) -> None:
    mask = torch.stack([torch.randperm(63, generator=generator) for _ in range(3)]).view(3, 1, 7, 9).to(dtype) / 64
    for share in (0.0, 0.1, 0.36, 0.5, 1.0):
        kept = keep_fraction(mask, share)
        for image, scores in zip(kept.flatten(1), mask.flatten(1), strict=True):
            wanted = set(np.argsort(-scores.double().numpy())[:round(share * 63)].tolist())
            assert set(image.nonzero().flatten().tolist()) == wanted
    assert torch.equal(keep_fraction(mask**3, 0.3), keep_fraction(mask, 0.3)) or dtype == torch.float16


def test_keep_fraction_ties_are_fixed_and_spread() -> None:
    flat = torch.ones(2, 1, 40, 50)
    kept = keep_fraction(flat, 0.25)
    assert torch.equal(kept, keep_fraction(flat, 0.25)) and torch.equal(kept[0], kept[1])
    assert not torch.equal(kept, keep_fraction(flat, 0.25, seed=1))
    assert sparseness(kept).tolist() == [0.25, 0.25]
    assert kept[0, 0, :20].double().mean().item() == pytest.approx(0.25, abs=0.05)  # not the top of the image
    two = torch.zeros(1, 1, 4, 4)
    two[0, 0, 1] = 1
    for scores in (two, two.bool()):
        assert torch.equal(keep_fraction(scores, 0.25), two.bool())
    assert (keep_fraction(two, 0.5) & two.bool()).sum() == 4  # ones first, then some of the others
    assert (keep_fraction(flat, 0.5) & kept).sum() == kept.sum()  # larger shares hold the smaller ones


def test_shares_matched_image_by_image() -> None:
    shares = torch.tensor([0.1, 0.5, 0.0], dtype=torch.float64)
    image = torch.rand(3, 3, 10, 10)
    depth = image[:, :1] + 1
    for kept in (keep_fraction(depth, shares), random_pixels(image, shares), image_edge_pixels(image, shares),
                 depth_edge_pixels(depth, shares)):
        assert kept.dtype == torch.bool and kept.shape == (3, 1, 10, 10)
        assert torch.equal(sparseness(kept), shares)


def test_random_pixels() -> None:
    image = torch.rand(2, 3, 60, 80)
    kept = random_pixels(image, 0.3)
    assert torch.equal(kept, random_pixels(image, 0.3)) and not torch.equal(kept, random_pixels(image, 0.3, seed=1))
    assert not torch.equal(kept[0], kept[1])
    both = (kept[0] & kept[1]).double().mean().item()
    assert both == pytest.approx(0.09, abs=0.02)  # independent


def test_image_edges_of_a_step() -> None:
    kept = image_edge_pixels(step_image(4), 0.2)
    assert kept[0, 0].nonzero()[:, 1].unique().tolist() == [3, 4] and kept.sum() == 12
    coloured = step_image(4) * torch.tensor([0.2, 0.5, 0.3]).view(1, 3, 1, 1)
    assert torch.equal(image_edge_pixels(coloured, 0.2), kept)


def test_depth_edges_of_a_step_and_of_holes() -> None:
    depth = 2 + 2 * step_image(4)[:, :1]
    kept = depth_edge_pixels(depth, 8 / 60, sigma=0)
    assert kept[0, 0].nonzero().tolist() == [[r, c] for r in range(1, 5) for c in (3, 4)]
    assert torch.equal(depth_edge_pixels(depth * 3, 8 / 60, sigma=0), kept)  # logarithm: no unit
    holes = torch.ones_like(depth, dtype=torch.bool)
    holes[0, 0, :, 3] = False
    spoiled = torch.where(holes, depth, torch.nan)
    far = depth_edge_pixels(spoiled, 2 / 60)  # what touches a hole or the frame comes last
    assert torch.equal(far, depth_edge_pixels(depth, 2 / 60, holes)) and not far[..., 2:5].any()
    none = depth_edge_pixels(depth, 0.3, torch.zeros_like(holes))  # no valid pixel: a fixed random choice
    assert sparseness(none).item() == pytest.approx(0.3)


def test_object_borders_by_hand() -> None:
    ids = torch.tensor([[1, 1, 2], [1, 1, 2], [3, 1, 1]])[None, None]
    wanted = [[False, True, True], [True, True, True], [True, True, True]]
    assert object_borders(ids)[0, 0].tolist() == wanted
    assert not object_borders(torch.ones(1, 1, 3, 4, dtype=torch.int64)).any()


# measures


def test_overlap_by_hand() -> None:
    mask = torch.tensor([0.8, 0.4, 0.4, 0.4]).view(1, 1, 2, 2)
    region = torch.tensor([True, False, False, False]).view(1, 1, 2, 2)
    got = {key: value.item() for key, value in overlap(mask, region).items()}
    assert got == pytest.approx({"area": 0.25, "weight": 0.4, "lift": 1.6, "auc": 1.0})
    valid = torch.tensor([True, True, False, False]).view(1, 1, 2, 2)
    got = {key: value.item() for key, value in overlap(mask, region, valid).items()}
    assert got == pytest.approx({"area": 0.5, "weight": 2 / 3, "lift": 4 / 3, "auc": 1.0})


def test_auc_against_the_rank_test(generator: torch.Generator) -> None:
    mask = torch.rand(3, 1, 9, 11, generator=generator).mul(8).round() / 8  # with ties
    region = torch.rand(mask.shape, generator=generator) > 0.6
    valid = torch.rand(mask.shape, generator=generator) > 0.2
    got = overlap(mask, region, valid)["auc"]
    for i in range(3):
        inside, outside = mask[i][region[i] & valid[i]], mask[i][~region[i] & valid[i]]
        wanted = mannwhitneyu(inside.numpy(), outside.numpy()).statistic / (len(inside) * len(outside))
        assert got[i].item() == pytest.approx(wanted, rel=1e-12)


def test_overlap_invariants(generator: torch.Generator) -> None:
    mask = torch.rand(2, 1, 8, 9, generator=generator, dtype=torch.float64)
    region = torch.rand(mask.shape, generator=generator) > 0.7
    got = overlap(mask, region)
    torch.testing.assert_close(got["weight"] + overlap(mask, ~region)["weight"], torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(got["auc"] + overlap(mask, ~region)["auc"], torch.ones(2, dtype=torch.float64))
    torch.testing.assert_close(overlap(mask**3, region)["auc"], got["auc"])
    torch.testing.assert_close(overlap(mask / 2, region)["lift"], got["lift"])
    flat = overlap(torch.full_like(mask, 0.3), region)
    torch.testing.assert_close(flat["lift"], torch.ones(2, dtype=torch.float64))
    assert flat["auc"].tolist() == [0.5, 0.5]
    binary = keep_fraction(mask, 0.5)
    assert (overlap(binary, region)["lift"] <= 1 / sparseness(binary) + 1e-9).all()


def test_overlap_of_nothing() -> None:
    mask, region = torch.rand(2, 1, 4, 4), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    empty = overlap(mask, region)
    assert empty["area"].tolist() == [0, 0]
    assert all(empty[key].isnan().all() for key in ("weight", "lift", "auc"))
    whole = overlap(mask, ~region)
    assert whole["lift"].tolist() == pytest.approx([1, 1]) and whole["auc"].isnan().all()
    weightless = overlap(torch.zeros(2, 1, 4, 4), torch.rand(2, 1, 4, 4) > 0.5)
    assert weightless["lift"].isnan().all()
    assert all(value.isnan().all() for value in overlap(mask, region, region).values())  # no pixel counts


def test_cross_mask_error_by_hand() -> None:
    """One network reads colour about black, one about white; the truth is what each sees of the whole image."""
    image = torch.rand(5, 3, 4, 6)
    networks = {"black": Brightness(mean=(0.0,) * 3, std=(1.0,) * 3).eval(),
                "white": Brightness(mean=(1.0,) * 3, std=(1.0,) * 3).eval()}
    depth = 2 + image.mean(1, keepdim=True)
    left = torch.zeros(5, 1, 4, 6, dtype=torch.bool)
    left[..., :3] = True
    got = cross_mask_error(networks, {"whole": None, "left": left, "right": (~left).float()}, image, depth, batch=2)
    assert list(got) == ["black", "white"] and list(got["black"]) == ["whole", "left", "right"]
    assert got["black"]["whole"].tolist() == pytest.approx([0] * 5, abs=1e-6)
    assert got["white"]["whole"].tolist() == pytest.approx([1] * 5, rel=1e-5)
    for i in range(5):
        grey = image[i].mean(0)
        assert got["black"]["left"][i].item() == pytest.approx(float((grey[:, 3:] ** 2).sum() / 24) ** 0.5, rel=1e-4)
        error = torch.cat([torch.ones(4, 3), grey[:, 3:]], 1)  # masked white pixels have depth 2 again
        assert got["white"]["left"][i].item() == pytest.approx(float(error.square().mean()) ** 0.5, rel=1e-4)
    valid = torch.rand(5, 1, 4, 6) > 0.3
    part = cross_mask_error(networks, {"left": left}, image, depth, valid, metric="abs_rel", max_depth=80.0)
    with torch.no_grad():
        pred = networks["black"](masked_image(image, left, networks["black"]))
    wanted = depth_metrics(pred, depth, valid, max_depth=80.0)["abs_rel"]
    assert part["black"]["left"].mean().item() == pytest.approx(wanted)


MASK, IMAGE, BOOL = torch.rand(2, 1, 4, 4), torch.rand(2, 3, 4, 4), torch.ones(2, 1, 4, 4, dtype=torch.bool)


@pytest.mark.parametrize(("call", "words"), [
    (lambda: MaskNetwork("large"), "unknown scale 'large'"),
    (lambda: MaskNetwork(widths=(2, 2, 2, 2, 2, 6)), "the last width is 6: .* multiple of 8"),
    (lambda: MaskNetwork(widths=(2, 2, 8)), "six positive numbers"),
    (lambda: MaskNetwork(widths=TINY)(MASK), "expected 3 RGB channels"),
    (lambda: masked_image(IMAGE, MASK[:1], Brightness()), r"mask \(1, 1, 4, 4\) do not fit"),
    (lambda: masked_image(IMAGE, MASK[..., :2], Brightness()), "do not fit"),
    (lambda: masked_image(IMAGE, MASK, nn.Identity()), "Identity has no mean colour"),
    (lambda: masked_image(IMAGE, MASK[0], Brightness()), r"got a mask \(1, 4, 4\)"),
    (lambda: sparse_objective(MASK, MASK, MASK, -1.0), "lam=-1.0: the weight"),
    (lambda: sparse_objective(MASK, MASK, MASK, math.nan), "lam=nan"),
    (lambda: sparse_objective(MASK, -MASK, MASK, 1.0), "no valid pixel"),
    (lambda: sparseness(BOOL.long()), "of torch.int64: .* floating point or bool"),
    (lambda: binarize(MASK, 1.0), "threshold=1.0: shares are compared"),
    (lambda: keep_fraction(MASK, 1.2), r"share=1.2: one share in \[0, 1\]"),
    (lambda: keep_fraction(MASK, math.nan), "share=nan"),
    (lambda: keep_fraction(MASK, torch.rand(3)), "each of the 2 images"),
    (lambda: keep_fraction(MASK / 0, 0.5), "not all finite"),
    (lambda: object_borders(MASK), "whole numbers"),
    (lambda: overlap(MASK, MASK), "region and valid bool"),
    (lambda: overlap(MASK, BOOL[:1]), "do not fit"),
    (lambda: overlap(MASK + 1, BOOL), r"outside \[0, 1\]"),
    (lambda: overlap(MASK * math.nan, BOOL), r"outside \[0, 1\]"),
    (lambda: cross_mask_error({"n": Brightness()}, {"m": MASK}, IMAGE, MASK + 1), "n in training mode"),
    (lambda: cross_mask_error({"n": Brightness().eval()}, {"m": MASK}, IMAGE, MASK + 1, metric="mae"),
     "unknown metric 'mae'"),
])
def test_bad_input(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
