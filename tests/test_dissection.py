"""Dissection: shuffled controls, silenced units and the errors they cause, on networks worked out by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mdelib.data.base import DepthBatch
from mdelib.dissection import (
    ablation_matrix,
    binned_error,
    dissect,
    dissection_measures,
    own_range_advantage,
    silenced,
)
from mdelib.selectivity import bin_labels, depth_bin_edges

EDGES = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0], dtype=torch.float64)


class OneUnitABin(nn.Module):
    """Reads the depth from the image's first channel; unit k of `units` is 1 where depth lies in bin k."""

    def __init__(self, bins: int = 4):
        super().__init__()
        self.units = nn.Identity()
        self.bins = bins
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, image: Tensor) -> Tensor:
        depth = image[:, :1] * self.bins
        places = torch.arange(self.bins)[:, None, None]
        features = self.units(((depth > places) & (depth <= places + 1)).float())
        middle = (torch.arange(self.bins) + 0.5)[:, None, None]
        return (features * middle).sum(1, keepdim=True) * self.scale


def views(count: int = 3) -> DepthBatch:
    rows = torch.linspace(0.02, 0.98, 8)
    depth = rows.repeat(count, 1, 6, 1).roll(1, 0) * 4
    image = (depth / 4).expand(-1, 3, -1, -1).clone()
    for index in range(count):
        depth[index], image[index] = depth[index].roll(2 * index, -1), image[index].roll(2 * index, -1)
    return DepthBatch(tuple(map(str, range(count))), image, depth, torch.ones_like(depth, dtype=torch.bool))


def test_units_that_know_one_bin_each_are_wholly_selective_and_their_shuffled_selves_less():
    found = dissect(OneUnitABin(), ["units"], views(), EDGES, batch=3)["units"]
    torch.testing.assert_close(found["response"], torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(found["selectivity"], torch.ones(4, dtype=torch.float64))
    assert (found["shuffled"] < 0.999).any() and (found["shuffled"] <= 1).all()


def test_dissection_does_not_depend_on_the_batches():
    whole, split = (dissect(OneUnitABin(), ["units"], views(5), EDGES, batch=size)["units"] for size in (5, 2))
    torch.testing.assert_close(whole["response"], split["response"])


def test_a_silent_unit_is_zero_inside_the_context_and_only_there():
    network, image = OneUnitABin(), views().image
    before = network(image)
    with silenced(network, "units", 1):
        during = network(image)
    in_bin = (image[:, :1] * 4 > 1) & (image[:, :1] * 4 <= 2)
    assert (during[in_bin] == 0).all() and in_bin.any()
    torch.testing.assert_close(during[~in_bin], before[~in_bin])
    torch.testing.assert_close(network(image), before)


def test_the_hook_is_removed_after_an_exception():
    network = OneUnitABin()
    with pytest.raises(ValueError, match="unit 9 does not exist in a layer of 4 units: choose 0 to 3"), \
            silenced(network, "units", 9):
        network(views().image)
    assert not network.units._forward_hooks


def test_binned_error_by_hand():
    target = torch.tensor([[[[1.0, 2.0, 4.0, 0.5]]]])
    pred = torch.tensor([[[[1.1, 3.0, 3.0, 9.0]]]])
    labels = torch.tensor([[[0, 1, 1, -1]]])
    error = binned_error(pred, target, labels, 3)
    assert error[:2].tolist() == pytest.approx([0.1, (0.5 + 0.25) / 2], abs=1e-7)
    assert torch.isnan(error[2]) and error.dtype == torch.float64


def test_an_ablated_unit_hurts_exactly_its_own_bin():
    network, data = OneUnitABin().train(), views(4)
    matrix = ablation_matrix(network, "units", data, EDGES, batch=3)
    off = matrix - torch.diag(matrix.diagonal())
    torch.testing.assert_close(off, torch.zeros(4, 4, dtype=torch.float64))
    with torch.no_grad():
        labels = bin_labels(data.depth, EDGES, data.mask)
        whole = binned_error(network(data.image), data.depth, labels, 4)
    torch.testing.assert_close(matrix.diagonal(), 1 - whole)  # a silent unit leaves depth 0: a relative error of 1
    assert network.training and not network.units._forward_hooks


def test_bins_without_pixels_are_unknown_in_the_matrix():
    edges = torch.tensor([0.0, 2.0, 4.0, 8.0], dtype=torch.float64)
    matrix = ablation_matrix(OneUnitABin(), "units", views(), edges)
    assert torch.isnan(matrix[:, 2]).all() and torch.isfinite(matrix[:, :2]).all()


@pytest.mark.parametrize("reach, inside, outside", [(0, 3.0, 2.0), (1, 2.5, 2.0)])
def test_own_range_advantage_by_hand(reach, inside, outside):
    matrix = torch.tensor([[3.0, 2.0, 1.0, 3.0]], dtype=torch.float64)
    response = torch.tensor([[-5.0, 1.0, 0.0, 2.0]], dtype=torch.float64)
    assert own_range_advantage(matrix, response, reach=reach).item() == pytest.approx(inside - outside)


def test_own_range_advantage_leaves_unknown_bins_out():
    matrix = torch.tensor([[3.0, torch.nan, 1.0]], dtype=torch.float64)
    response = torch.tensor([[5.0, torch.nan, 0.0]], dtype=torch.float64)
    assert own_range_advantage(matrix, response).item() == pytest.approx(2.0)


def test_what_a_run_keeps_is_plain_and_complete():
    data = {"train": views(4), "test": views(2)}
    metrics, tables = dissection_measures(OneUnitABin(), ["units"], EDGES, data, ablated="test", ablated_views=1)
    assert metrics["selectivity_units_test"] == metrics["selectivity_test"] == pytest.approx(1.0)
    matrix = torch.tensor(tables["ablation/units"], dtype=torch.float64)
    expected = own_range_advantage(matrix, torch.eye(4)).mean().item()
    assert metrics["own_range_units"] == pytest.approx(expected, rel=1e-4) and expected > 0
    assert tables["edges"] == EDGES.tolist() and len(tables["ablation/units"]) == 4
    assert set(tables) == {"edges", "ablation/units", *(f"{kind}/units/{split}" for kind in ("response", "shuffled")
                                                        for split in ("train", "test"))}
    metrics, tables = dissection_measures(OneUnitABin(), ["units"], depth_bin_edges(4, 2.0, 20.0), data,
                                          ablated="test")
    assert tables["response/units/test"][0][-1] is None and "ablation/units" not in tables


def test_a_layer_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="unit"):
        dissect(OneUnitABin(), ["unitz"], views(), EDGES)
    with pytest.raises(ValueError, match="unit"):
        ablation_matrix(OneUnitABin(), "unitz", views(), EDGES)
