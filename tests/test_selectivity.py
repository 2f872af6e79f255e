"""Bins, response tables and the regulariser against loops written from their definitions, and closed forms."""

from __future__ import annotations

import importlib
import math
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mdelib.data.base import DepthBatch, View
from mdelib.losses import l1, silog
from mdelib.models import create_model
from mdelib.selectivity import (
    BinPooling,
    ResponseMeter,
    SelectivityRegulariser,
    assigned_bins,
    assigned_selectivity,
    bin_labels,
    bin_weights,
    depth_bin_edges,
    depth_selectivity,
    response_table,
    unit_bins,
)
from mdelib.train import TrainSettings, fit

EDGES = depth_bin_edges(5, 1.0, 8.0)


def upsampled(features: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(features.double(), size=size, mode="bilinear", align_corners=False)


def loop_table(features: Tensor, depth: Tensor, edges: Tensor, mask: Tensor, *, absolute: bool = False) -> Tensor:
    """The response table from its definition: one unit, one bin at a time; NaN without pixels."""
    units, bins = features.shape[1], len(edges) - 1
    table = torch.full((units, bins), math.nan, dtype=torch.float64)
    for k in range(units):
        values = upsampled(features[:, k:k + 1], depth.shape[-2:])
        values = values.abs() if absolute else values
        for d in range(bins):
            inside = (edges[d] < depth.double()) & (depth.double() <= edges[d + 1]) & mask
            if inside.any():
                table[k, d] = values[inside].mean()
    return table


def views(generator: torch.Generator, count: int = 6, size: tuple[int, int] = (19, 26)) -> DepthBatch:
    """Images, smooth depths from 0.2 to 8 m that hit every bin of EDGES, and masks with holes."""
    coarse = torch.rand(count, 1, 4, 5, generator=generator) * 12 - 1
    depth = F.interpolate(coarse, size=size, mode="bilinear").clamp(0.2, 7.99)
    mask = torch.rand(depth.shape, generator=generator) > 0.2
    image = torch.rand(count, 3, *size, generator=generator)
    return DepthBatch(tuple(f"view{i}" for i in range(count)), image, torch.where(mask, depth, 0.0), mask)


class Toy(nn.Module):
    """Two layers of maps at different resolutions, a token layer, a layer that never runs, one that runs twice."""

    def __init__(self, units: int = 6):
        super().__init__()
        self.first = nn.Conv2d(3, units, 3, padding=1)
        self.second = nn.Sequential(nn.Conv2d(units, units, 3, stride=2, padding=1), nn.BatchNorm2d(units), nn.ReLU())
        self.tokens, self.unused, self.twice = nn.Flatten(2), nn.Conv2d(1, 1, 1), nn.Identity()
        self.head = nn.Conv2d(units, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.twice(self.twice(self.second(self.first(image))))
        self.tokens(x)
        return 2 + F.interpolate(self.head(x), size=image.shape[-2:], mode="bilinear").square()

    def features(self, image: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            first = self.first(image)
            return first, self.second(first)


# --- bins ---


def test_nyu_edges_of_you2021():
    a, beta, bins = 0.75, 10.0, 64
    expected = [0.0, a]
    expected += [math.exp(i * math.log(beta + 1 - a) / (bins - 1)) - (1 - a) for i in range(1, bins - 1)] + [beta]
    edges = depth_bin_edges(bins, a, beta)
    assert edges.dtype == torch.float64 and edges.shape == (65,)
    assert edges.tolist() == pytest.approx(expected, rel=1e-12)
    assert edges[2].item() == pytest.approx(10.25 ** (1 / 63) - 0.25, rel=1e-12)
    assert edges[22].item() == pytest.approx(10.25 ** (1 / 3) - 0.25, rel=1e-12)  # 21 of 63 steps
    widths = edges.diff()
    assert widths[0] == 0.75 and (widths[2:] > widths[1:-1]).all()
    kitti = depth_bin_edges(64, 3.0, 80.0)
    assert (kitti[0], kitti[1], kitti[-1]) == (0, 3, 80)
    assert kitti[43].item() == pytest.approx(78 ** (2 / 3) + 2, rel=1e-12)


def test_other_bins():
    assert depth_bin_edges(2, 1.0, 8.0).tolist() == [0, 1, 8]
    assert depth_bin_edges(3, 1.0, 8.0).tolist() == pytest.approx([0, 1, math.sqrt(8), 8])
    assert depth_bin_edges(4, 0.0, 8.0, "uniform").tolist() == [0, 2, 4, 6, 8]
    assert depth_bin_edges(4, 1.0, 3.0, "uniform").tolist() == [1, 1.5, 2, 2.5, 3]


def test_a_bin_holds_its_far_edge():
    edges = torch.tensor([0.0, 1.0, 2.0, 4.0])
    depth = torch.tensor([0.0, 0.5, 1.0, 1.001, 2.0, 4.0, 4.001, math.nan, math.inf, -1.0]).view(1, 1, 2, 5)
    assert bin_labels(depth, edges).flatten().tolist() == [-1, 0, 0, 1, 1, 2, -1, -1, -1, -1]
    assert bin_labels(depth, edges).dtype == torch.int64
    mask = torch.ones_like(depth, dtype=torch.bool)
    mask[0, 0, 0, 1] = False
    assert bin_labels(depth, edges, mask).flatten().tolist() == [-1, -1, 0, 1, 1, 2, -1, -1, -1, -1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_labels_of_any_float(dtype):
    depth = torch.rand(2, 1, 9, 11).mul(9).to(dtype)
    expected = sum((depth[:, 0].double() > edge).long() for edge in EDGES) - 1
    assert torch.equal(bin_labels(depth, EDGES), expected.masked_fill(depth[:, 0].double() > 8, -1))


def test_assigned_bins():
    assert assigned_bins(64, 64).tolist() == list(range(64))
    assert assigned_bins(5, 3).tolist() == [0, 0, 1, 1, 2]
    assert assigned_bins(128, 64).bincount().tolist() == [2] * 64


def test_bad_bins():
    cases = [(lambda: depth_bin_edges(1, 1, 8), "1 depth bins: .* at least two"),
             (lambda: depth_bin_edges(8, 9, 8), "depth range 9 to 8 m: 0 < min_depth"),
             (lambda: depth_bin_edges(8, 0, 8), "0 < min_depth < max_depth is needed for the spacing 'sid'"),
             (lambda: depth_bin_edges(8, 1, math.inf), "depth range"),
             (lambda: depth_bin_edges(8, 1, 8, "linear"), "unknown spacing 'linear'"),
             (lambda: assigned_bins(16, 64), "16 units for 64 depth bins: .* use at most 16 bins"),
             (lambda: bin_labels(torch.ones(1, 1, 2, 2), torch.tensor([0.0, 2.0, 2.0, 3.0])),
              "must increase: edge 1 is 2 m and edge 2 is 2 m"),
             (lambda: bin_labels(torch.ones(1, 1, 2, 2), torch.tensor([0.0, 1.0])), "at least two bins"),
             (lambda: bin_labels(torch.ones(1, 1, 2, 2), torch.tensor([0.0, 1.0, math.inf])), "not all finite"),
             (lambda: bin_labels(torch.ones(2, 2), EDGES), "depth has the shape"),
             (lambda: bin_labels(torch.ones(1, 1, 2, 2), EDGES, torch.ones(1, 1, 2, 2)), "must be bool"),
             (lambda: bin_labels(torch.ones(1, 1, 2, 2), EDGES, torch.ones(1, 1, 2, 1) > 0), "differ in shape")]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()


# --- pooling ---


@pytest.mark.parametrize("size", [(5, 7), (1, 1), (11, 13), (20, 30), (11, 6), (3, 13)])
def test_weights_are_the_adjoint_of_upsampling(generator, size):
    """<A f, 1_d> = <f, A^T 1_d>, for maps that are smaller, equal, larger, and mixed."""
    labels = torch.randint(-1, 4, (2, 11, 13), generator=generator)
    features = torch.randn(2, 3, *size, generator=generator, dtype=torch.float64)
    indicator = torch.stack([labels == d for d in range(4)], 1).double()
    expected = torch.einsum("buhw,bdhw->ud", upsampled(features, (11, 13)), indicator)
    pooling = BinPooling(labels, 4)
    assert torch.allclose(pooling.sums(features), expected, rtol=0, atol=1e-12)
    assert torch.equal(pooling.counts, indicator.sum((0, 2, 3)).long())
    weights = bin_weights(labels, 4, size)
    assert weights.shape == (2, 4, size[0] * size[1]) and (weights >= 0).all()
    assert torch.allclose(weights.sum((0, 2)), indicator.sum((0, 2, 3)))  # every pixel weighs 1
    expected = torch.einsum("buhw,bdhw->ud", upsampled(features, (11, 13)).abs(), indicator)
    assert torch.allclose(pooling.absolute_sums(features), expected, rtol=0, atol=1e-12)


def test_large_weights_are_made_in_parts(generator, monkeypatch):
    labels = torch.randint(-1, 4, (5, 11, 13), generator=generator)
    features = torch.randn(5, 3, 6, 7, generator=generator, dtype=torch.float64).requires_grad_()
    whole = BinPooling(labels, 4).sums(features)
    monkeypatch.setattr("mdelib.selectivity.pooling.LARGEST", 2 * 4 * 6 * 7 * 8)  # two images at a time
    parts = BinPooling(labels, 4)
    assert torch.allclose(parts.sums(features), whole, rtol=0, atol=1e-12) and not parts._weights
    assert torch.allclose(*(torch.autograd.grad(x.square().sum(), features)[0] for x in (parts.sums(features), whole)))


# --- selectivity of a table ---


def test_selectivity_worked_by_hand():
    response = torch.tensor([[0.0, 5.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0], [-4.0, 1.0, -2.0, 0.0], [0.0, 0.0, 0.0, 0.0],
                             [-3.0, 3.0, 3.0, -3.0]], dtype=torch.float64)
    assert depth_selectivity(response).tolist() == pytest.approx([1, 0, (4 - 1) / (4 + 1), 0, 0], abs=1e-14)
    assert unit_bins(response)[:3].tolist() == [1, 0, 0]
    scaled = depth_selectivity(-1e3 * response[:, [2, 0, 3, 1]])
    assert torch.allclose(scaled, depth_selectivity(response))  # neither scale, nor sign, nor order of the bins
    assert depth_selectivity(torch.tensor([[1, 3]])).tolist() == pytest.approx([0.5])
    assert depth_selectivity(response.float()).dtype == torch.float32


def test_selectivity_leaves_empty_bins_out(generator):
    response = torch.randn(7, 5, generator=generator)
    with_gaps = torch.full((7, 8), math.nan)
    with_gaps[:, [0, 2, 3, 5, 7]] = response
    assert torch.allclose(depth_selectivity(with_gaps), depth_selectivity(response))
    places = torch.tensor([0, 2, 3, 5, 7])
    assert torch.equal(unit_bins(with_gaps), places[unit_bins(response)])


def test_selectivity_of_bad_tables():
    one = torch.full((3, 4), math.nan)
    one[:, 1] = 1.0
    mixed = torch.ones(3, 4)
    mixed[2, 1] = math.nan
    for table, message in [(torch.ones(4), r"shape \(4,\)"), (one, "1 of 4 depth bins hold pixels"),
                           (torch.ones(3, 1), "1 of 1 depth bins"),
                           (mixed, "unit 2 has a response that is not finite"),
                           (mixed.nan_to_num(nan=math.inf), "unit 2")]:
        with pytest.raises(ValueError, match=message):
            depth_selectivity(table)


# --- the meter ---


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("size", [(10, 13), (19, 26), (5, 26)])
def test_meter_against_the_loop(generator, absolute, size):
    batch = views(generator)
    features = torch.randn(6, 4, *size, generator=generator)
    meter = ResponseMeter(EDGES, absolute=absolute).update(features, batch.depth, batch.mask)
    expected = loop_table(features, batch.depth, EDGES, batch.mask, absolute=absolute)
    table = meter.compute()
    assert table.dtype == torch.float64 and table.shape == (4, 5)
    assert torch.allclose(table, expected, rtol=0, atol=1e-9)
    assert int(meter.pixels.sum()) == int((batch.mask & (batch.depth > 0)).sum()) and meter.images == 6


def test_batches_do_not_matter_and_pixels_weigh_alike(generator):
    batch = views(generator)
    features = torch.randn(6, 4, 10, 13, generator=generator)
    whole = ResponseMeter(EDGES).update(features, batch.depth, batch.mask).compute()
    meter = ResponseMeter(EDGES)
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        assert meter.update(features[rows], batch.depth[rows], batch.mask[rows]) is meter
    assert torch.allclose(meter.compute(), whole, rtol=0, atol=1e-12)
    depth = torch.tensor([[[[1.5, 1.5, 0.5, 0.5]]], [[[0.5, 0.5, 0.5, 1.5]]]])  # images of different weight
    features = torch.tensor([2.0, 10.0]).view(2, 1, 1, 1)
    table = ResponseMeter(torch.tensor([0.0, 1.0, 2.0])).update(features, depth).compute()
    assert table.tolist() == [[(2 * 2 + 3 * 10) / 5, (2 * 2 + 10) / 3]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_float_is_summed_in_float64(generator, dtype):
    batch = views(generator)
    features = torch.full((6, 1, 10, 13), 0.1, dtype=dtype)
    table = ResponseMeter(EDGES).update(features, batch.depth.to(dtype), batch.mask).compute()
    assert torch.allclose(table, features[0, 0, 0, 0].double(), rtol=1e-14, atol=0)
    assert not ResponseMeter(EDGES).update(features.requires_grad_(), batch.depth).compute().requires_grad


def test_bin_without_pixels_is_named(generator):
    batch = views(generator)
    depth, features = batch.depth.clamp_max(2.0), torch.rand(6, 4, 10, 13, generator=generator)
    meter = ResponseMeter(EDGES).update(features, depth, batch.mask)
    first = next(i for i in range(5) if EDGES[i] >= 2)
    count = int((batch.mask & (depth > 0)).sum())
    with pytest.raises(ValueError, match=rf"depth bin {first} \({float(EDGES[first]):.4g} to .* m\), .*among {count} "
                                         r"valid pixels of 6 images: .* empty='nan' leaves"):
        meter.compute()
    table = meter.compute(empty="nan")
    assert torch.equal(table.isnan().any(0), torch.arange(5) >= first)
    assert torch.equal(table.isnan().all(0), torch.arange(5) >= first)
    assert torch.isfinite(depth_selectivity(table)).all()
    nothing = ResponseMeter(EDGES).update(features, depth, torch.zeros_like(batch.mask))
    assert nothing.compute("nan").isnan().all()


def test_meter_refuses(generator):
    batch = views(generator)
    features = torch.rand(6, 4, 10, 13, generator=generator)
    broken = features.clone()
    broken[2, 1, 0, 0], broken[4, 0, 0, 0] = math.inf, math.nan
    meter = ResponseMeter(EDGES, name="layer 'mff'").update(features, batch.depth, batch.mask)
    cases = [(features.flatten(2).transpose(1, 2), r"\(6, 130, 4\): maps \(B, C, h, w\) .* tokens"),
             ([features], "gave a list"), (features[:2], "maps of 2 images for 6 depth maps"),
             (features[:, :3], "gave 3 units after 4"),
             (broken, r"layer 'mff' gave 1 activations that are not finite for image 8 \(2 such images")]
    for wrong, message in cases:
        with pytest.raises(ValueError, match=message):
            meter.update(wrong, batch.depth, batch.mask)
    assert torch.equal(meter.compute(), ResponseMeter(EDGES).update(features, batch.depth, batch.mask).compute())
    for call, message in [(lambda: ResponseMeter(EDGES).compute(), "call update"),
                          (lambda: meter.compute("skip"), "unknown empty 'skip'"),
                          (lambda: ResponseMeter(EDGES.flip(0)), "must increase")]:
        with pytest.raises(ValueError, match=message):
            call()


# --- tables of a network ---


def test_table_of_several_layers_against_the_loop(generator):
    model, batch = Toy(), views(generator)
    model(batch.image)  # moves the running statistics of batch normalisation
    model.train()
    model.second[1].eval()
    modes = [module.training for module in model.modules()]
    tables = response_table(model, ["second", "first"], [batch[:4], batch[4:]], EDGES)
    assert list(tables) == ["second", "first"]
    assert [module.training for module in model.modules()] == modes
    assert not any(module._forward_hooks for module in model.modules())
    first, second = model.eval().features(batch.image)
    for name, features in (("first", first), ("second", second)):
        assert torch.allclose(tables[name], loop_table(features, batch.depth, EDGES, batch.mask), rtol=0, atol=1e-9)
    absolute = response_table(model, "first", [batch], EDGES, absolute=True)["first"]
    assert torch.allclose(absolute, loop_table(first, batch.depth, EDGES, batch.mask, absolute=True), atol=1e-6)
    assert (absolute - tables["first"]).abs().max() > 1e-3  # these activations have both signs


def test_every_form_of_data_gives_the_same_table(generator):
    model, batch = Toy().eval(), views(generator)
    expected = response_table(model, "second", batch, EDGES)["second"]  # a whole split as one batch
    singles = [View(name, *parts) for name, *parts in zip(batch.names, batch.image, batch.depth, batch.mask,
                                                          strict=True)]
    tuples = ((part.image, part.depth, part.mask) for part in (batch[:5], batch[5:]))
    plain = [SimpleNamespace(image=batch.image, depth=batch.depth, mask=batch.mask)]
    for form in (singles, tuples, plain, [(batch.image, batch.depth)]):  # unknown depth is 0, in no bin
        assert torch.allclose(response_table(model, "second", form, EDGES, device="cpu")["second"], expected)


def test_layer_whose_output_is_changed_in_place(generator):
    model, batch = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)).eval(), views(generator)
    with torch.no_grad():
        before = model[0](batch.image)
    table = response_table(model, "0", [batch], EDGES)["0"]
    assert torch.allclose(table, loop_table(before, batch.depth, EDGES, batch.mask), rtol=0, atol=1e-6)
    assert (table < 0).any()


def test_units_of_a_real_network(generator):
    model, batch = create_model("hu_resnet50").eval(), views(generator, count=2, size=(32, 48))
    tables = response_table(model, ["decoder", "mff"], batch, EDGES)
    assert {name: tuple(table.shape) for name, table in tables.items()} == {"decoder": (16, 5), "mff": (16, 5)}
    assert all((table >= 0).all() for table in tables.values())  # both layers end in a ReLU


class Depths(nn.Module):
    """A network whose first layer shows it the depth that was put into the image's red channel."""

    def __init__(self, edges: Tensor):
        super().__init__()
        self.layer, self.edges = nn.Identity(), edges

    def forward(self, image: Tensor) -> Tensor:
        red = 10 * image[:, :1].double()
        self.units = self.layer(torch.cat([((low < red) & (red <= high)) for low, high in
                                           zip(self.edges[:-1], self.edges[1:], strict=True)], 1).double())
        return red


def test_perfectly_selective_units_and_both_controls(generator):
    """Units that are 1 in their own bin and 0 elsewhere have DS 1; shuffled depth takes that away."""
    batch = views(generator, count=20)
    batch = DepthBatch(batch.names, (batch.depth / 10).expand(-1, 3, -1, -1), batch.depth, batch.mask)
    model = Depths(EDGES)
    table = response_table(model, "layer", batch, EDGES)["layer"]
    assert torch.equal(table, torch.eye(5, dtype=torch.float64))
    assert torch.allclose(depth_selectivity(table), torch.ones(5, dtype=torch.float64))
    for shuffle in ("images", "pixels"):
        null = response_table(model, "layer", batch, EDGES, shuffle=shuffle)["layer"]
        assert torch.equal(null, response_table(model, "layer", batch, EDGES, shuffle=shuffle)["layer"])
        other = torch.Generator().manual_seed(7)
        assert not torch.equal(null, response_table(model, "layer", batch, EDGES, shuffle=shuffle,
                                                    generator=other)["layer"])
        assert depth_selectivity(null).max() < 0.8
        counted = bin_labels(batch.depth, EDGES, batch.mask)
        counts = counted[counted >= 0].bincount(minlength=5)
        meter = ResponseMeter(EDGES).update(torch.ones(20, 1, 1, 1), batch.depth, batch.mask)
        assert torch.equal(meter.pixels, counts)


def test_images_are_paired_with_others_across_batches():
    """Image i is i everywhere and its depth lies in bin i: the table shows who met whom."""
    count = 9
    edges = torch.arange(count + 1, dtype=torch.float64)
    number = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1)
    depth = (number + 0.5).expand(-1, 1, 4, 6)
    items = [(number[i:i + 2].expand(-1, 3, 4, 6), depth[i:i + 2], None) for i in range(0, count, 2)]
    same = response_table(nn.Identity(), "", items, edges)[""]
    assert same[0].tolist() == list(range(count))
    seen = set()
    for seed in range(3):
        source = (item for item in items) if seed else items  # a stream that can be read only once, too
        met = response_table(nn.Identity(), "", source, edges, shuffle="images",
                             generator=torch.Generator().manual_seed(seed))[""][0].tolist()
        assert sorted(met) == list(range(count)) and all(i != image for i, image in enumerate(met))
        seen.add(tuple(met))
    assert len(seen) == 3
    large = [(torch.ones(1, 3, 4, 6), depth[:1]), (torch.zeros(1, 3, 8, 12), torch.full((1, 1, 8, 12), 1.5))]
    table = response_table(nn.Identity(), "", large, edges, shuffle="images", empty="nan")[""]
    assert table[0, :2].tolist() == [0, 1]  # sizes may differ
    with pytest.raises(ValueError, match="1 image: shuffle='images' pairs"):
        response_table(nn.Identity(), "", items[-1:], edges, shuffle="images")


def test_shuffled_pixels_stay_in_their_image_and_leave_its_mean(generator):
    """Pixels change bins inside their image, so a unit that is constant in each image keeps its table."""
    batch = views(generator)
    level = torch.arange(6.0).view(6, 1, 1, 1).expand(-1, 3, 19, 26)
    steady = DepthBatch(batch.names, level, batch.depth, batch.mask)
    kept = response_table(nn.Identity(), "", steady, EDGES)[""]
    assert torch.allclose(response_table(nn.Identity(), "", steady, EDGES, shuffle="pixels")[""], kept, atol=1e-12)
    hidden = DepthBatch(batch.names, (~batch.mask).float().expand(-1, 3, -1, -1), batch.depth, batch.mask)
    assert (response_table(nn.Identity(), "", hidden, EDGES, shuffle="pixels")[""] == 0).all()  # stay out of it
    one = DepthBatch(batch.names[:1], (batch.depth[:1] + 1).expand(-1, 3, -1, -1), batch.depth[:1], batch.mask[:1])
    edges = torch.tensor([0.0, 3.0, 8.0])
    before, after = (response_table(nn.Identity(), "", one, edges, shuffle=s)[""][0] for s in (None, "pixels"))
    valid = one.depth[one.mask] + 1
    spread = valid.std() * (2 / min((one.depth[one.mask] <= 3).sum(), (one.depth[one.mask] > 3).sum())).sqrt()
    assert before[1] - before[0] > 1 and (after[1] - after[0]).abs() < 4 * spread


def test_table_refuses_and_leaves_no_hook(generator):
    model, batch = Toy(), views(generator)
    poisoned = DepthBatch(batch.names, batch.image.clone(), batch.depth, batch.mask)
    poisoned.image[4, 0, 3, 3] = math.nan
    cases = [(("secnd",), [batch], {}, "Toy has no layer 'secnd': near it are 'second'"),
             (("zzz",), [batch], {}, "Toy has no layer 'zzz': near it are 'first'"),
             ((), [batch], {}, "no layers"), (("unused",), [batch], {}, "layer 'unused' did not run"),
             (("twice",), [batch], {}, "layer 'twice' runs more than once"),
             (("tokens",), [batch], {}, r"layer 'tokens' gave .*\(6, 6, 130\): maps"),
             (("first",), [batch[:4], poisoned[4:]], {}, r"layer 'first' gave \d+ activations .* image 'view4'"),
             (("first",), [], {}, "no images"), (("first",), [batch], {"empty": "zero"}, "unknown empty 'zero'"),
             (("first",), [batch], {"shuffle": "rows"}, "unknown shuffle 'rows'"),
             (("first",), [View("kitchen", batch.image[0])], {}, "'kitchen' has no depth map"),
             (("first",), [(batch.image[:2], batch.depth, batch.mask)], {}, "do not fit")]
    for layers, batches, options, message in cases:
        with pytest.raises(ValueError, match=message):
            response_table(model, layers, batches, EDGES, **options)
        assert not any(module._forward_hooks for module in model.modules())
        assert all(module.training for module in model.modules())
    far = depth_bin_edges(5, 20.0, 80.0)
    with pytest.raises(ValueError, match=r"no pixel in depth bin 1 \(20 to .* 2 \(.*and 1 more"):
        response_table(model, "first", [batch], far)


# --- the regulariser ---


def loop_assigned(features: Tensor, labels: Tensor, num_bins: int) -> Tensor:
    """Selectivity of the assigned bins, unit by unit, from the definition."""
    up = F.interpolate(features, size=labels.shape[-2:], mode="bilinear", align_corners=False).abs()
    units = features.shape[1]
    values = []
    for k in range(units):
        means = {d: up[:, k][labels == d].mean() for d in range(num_bins) if (labels == d).any()}
        own = k * num_bins // units
        others = [mean for d, mean in means.items() if d != own]
        if own not in means or not others:
            values.append(features.new_zeros(()))
            continue
        rest = sum(others) / len(others)
        values.append((means[own] - rest) / (means[own] + rest + 1e-15))
    return torch.stack(values)


@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("size", [(4, 6), (9, 11)])
def test_assigned_selectivity_against_the_loop(generator, positive, size):
    labels = torch.randint(-1, 4, (2, 9, 11), generator=generator)
    labels[labels == 2] = 0  # a bin that does not occur
    features = torch.randn(2, 7, *size, generator=generator, dtype=torch.float64)
    features = (features.abs() if positive else features).requires_grad_()
    got, expected = assigned_selectivity(features, labels, 4), loop_assigned(features, labels, 4)
    assert torch.allclose(got, expected, rtol=0, atol=1e-12)
    absent = assigned_bins(7, 4) == 2
    assert (got[absent] == 0).all() and (got[~absent] != 0).all() and got.abs().max() <= 1
    weights = torch.randn(7, generator=generator, dtype=torch.float64)
    ours, theirs = (torch.autograd.grad((value * weights).sum(), features)[0] for value in (got, expected))
    assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-14) and ours[:, ~absent].abs().sum() > 0
    assert torch.autograd.gradcheck(lambda x: assigned_selectivity(x, labels, 4, non_negative=positive), features)


def test_assigned_selectivity_worked_by_hand():
    labels = torch.tensor([[[0, 1, 1, 2]]])
    features = torch.tensor([[[[4.0, 0.0, 0.0, 0.0]], [[1.0, 2.0, 4.0, 1.0]], [[5.0, 5.0, 5.0, 0.0]],
                              [[0.0, 0.0, 0.0, 0.0]]]])
    # units 0, 1 -> bin 0; 2 -> bin 1; 3 -> bin 2: means (4, 0, 0), (1, 3, 1), (5, 5, 0), dead
    got = assigned_selectivity(features, labels, 3)
    assert got.tolist() == pytest.approx([1, (1 - 2) / (1 + 2), (5 - 2.5) / (5 + 2.5), 0])
    assert assigned_selectivity(-features, labels, 3).tolist() == pytest.approx(got.tolist())


def test_nothing_to_compare_gives_zero_and_a_finite_gradient():
    features = torch.rand(1, 4, 3, 3, requires_grad=True)
    for labels in (torch.full((1, 6, 6), -1), torch.ones(1, 6, 6, dtype=torch.int64)):
        value = assigned_selectivity(features, labels, 2)
        assert value.tolist() == [0, 0, 0, 0]
        assert (torch.autograd.grad(value.sum(), features)[0] == 0).all()
    dead = torch.zeros(1, 4, 3, 3, requires_grad=True)
    labels = torch.tensor([0, 1]).repeat(18).view(1, 6, 6)
    assert (torch.autograd.grad(assigned_selectivity(dead, labels, 2).sum(), dead)[0] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_and_keeps_its_gradient(generator, dtype):
    labels = torch.randint(0, 3, (2, 8, 8), generator=generator)
    features = torch.rand(2, 6, 4, 4, generator=generator).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = assigned_selectivity(features, labels, 3)
    assert value.dtype == torch.float32
    assert torch.allclose(value, assigned_selectivity(features.detach().double(), labels, 3).float(), atol=1e-5)
    value.sum().backward()
    assert features.grad.dtype == dtype and features.grad.abs().sum() > 0


def test_regularised_loss_is_its_definition(generator):
    model, batch = Toy(), views(generator)
    with SelectivityRegulariser(silog, model, ["first", "second"], EDGES, weight=0.3) as loss:
        pred = model(batch.image)
        value = loss(pred, batch.depth, batch.mask)
        model.eval()
        pred = model(batch.image)
        value = loss(pred, batch.depth, batch.mask)
        labels = bin_labels(batch.depth, EDGES, batch.mask)
        each = [loop_assigned(features, labels, 5) for features in model.features(batch.image)]
        expected = silog(pred, batch.depth, batch.mask) - 0.3 * sum(one.mean() for one in each)
        assert value.item() == pytest.approx(expected.item(), rel=1e-5)
        assert torch.allclose(loss.latest["second"], each[1], atol=1e-5) and not loss.latest["second"].requires_grad
        value.backward()
        assert model.first.weight.grad.abs().sum() > 0
    assert not any(module._forward_hooks for module in model.modules())


def test_copies_of_the_network_are_not_listened_to(generator):
    model, batch = Toy().eval(), views(generator)
    loss = SelectivityRegulariser(l1, model, "second", EDGES)
    copy = deepcopy(model)
    with torch.no_grad():
        copy.first.weight.zero_()
    pred = model(batch.image)
    expected = assigned_selectivity(model.features(batch.image)[1], bin_labels(batch.depth, EDGES, batch.mask), 5)
    model(batch.image)
    copy(batch.image)
    loss(pred, batch.depth, batch.mask)
    assert torch.allclose(loss.latest["second"], expected)
    copy(batch.image)
    with pytest.raises(ValueError, match="no features of layer 'second': it has not run since the last call"):
        loss(pred, batch.depth, batch.mask)
    loss.remove()
    model(batch.image)
    with pytest.raises(ValueError, match="the hooks were removed"):
        loss(pred, batch.depth, batch.mask)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_with_averaged_weights_becomes_more_selective(generator, precision):
    """The regulariser does what it is for, inside the course's own loop."""
    batch = views(generator, count=8)
    settings = TrainSettings(epochs=25, batch=4, lr=0.01, ema=0.5, precision=precision)
    found = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        model = Toy(units=10)
        with SelectivityRegulariser(l1, model, ["second"], EDGES, weight=weight) as loss:
            history = fit(model, batch, loss, settings)
        model(batch.image)
        found[weight] = assigned_selectivity(model.features(batch.image)[1],
                                             bin_labels(batch.depth, EDGES, batch.mask), 5).mean()
        assert all(math.isfinite(epoch["loss"]) for epoch in history)
    assert found[1.0] > found[0.0] + 0.1


def test_regulariser_refuses(generator):
    model, batch = Toy().eval(), views(generator)
    for arguments, options, message in [
            (("third", EDGES), {}, "Toy has no layer 'third'"), (("first", EDGES.flip(0)), {}, "must increase"),
            (([], EDGES), {}, "no layers"), (("first", EDGES), {"weight": math.nan}, "weight is nan")]:
        with pytest.raises(ValueError, match=message):
            SelectivityRegulariser(l1, model, *arguments, **options)
        assert not any(module._forward_hooks for module in model.modules())
    for layer, edges, message in [
            ("first", depth_bin_edges(7, 1.0, 8.0), "6 units for 7 depth bins"),
            ("tokens", EDGES, r"layer 'tokens' gave \(6, 6, 130\) for a batch of 6"),
            ("unused", EDGES, "no features of layer 'unused'")]:
        with SelectivityRegulariser(l1, model, layer, edges) as loss, pytest.raises(ValueError, match=message):
            loss(model(batch.image), batch.depth, batch.mask)
    with SelectivityRegulariser(l1, model, "first", EDGES) as loss:
        pred = model(batch.image)
        model(batch.image[:2])
        with pytest.raises(ValueError, match="for a batch of 6"):
            loss(pred, batch.depth, batch.mask)
    inplace = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(inplace=True), nn.Conv2d(6, 1, 1))
    with SelectivityRegulariser(l1, inplace, "0", EDGES) as loss:
        pred = inplace(batch.image)
        with pytest.raises(ValueError, match="layer '0' was changed in place"):
            loss(pred, batch.depth, batch.mask)
    with pytest.raises(ValueError, match="do not fit"):
        assigned_selectivity(torch.rand(2, 4, 3, 3), torch.zeros(1, 3, 3, dtype=torch.int64), 2)


# --- speed ---


def test_fifty_times_faster_than_the_plain_loop(monkeypatch):
    """64 units, 57x76 -> 228x304, 64 bins: CPU time, each at its best, by the benchmark that anyone can run."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    measure = importlib.import_module("_timing").measure
    ways = measure("response_table", "table", "full", threads=[1], rounds=3, memory=False)["ways"]
    seconds = {way: row["threads_1"]["cpu_s"] for way, row in ways.items()}
    assert seconds["plain loop"] >= 50 * seconds["mdelib, adjoint"]
    assert ways["plain loop"]["differs"] < 1e-9
