"""Depth selectivity of units (You et al. 2021): bins, response tables, expectation, and the regulariser.

    edges = depth_bin_edges(16, 0.75, 10.0)
    tables = response_table(network, ["decoder", "mff"], batches, edges)      # (U, K) each
    selectivity = depth_selectivity(tables["mff"])                            # (U,)

Explained in notebooks/03_expected_selectivity.ipynb and notebooks/04_dissection.ipynb.
"""

from mdelib.selectivity.bins import assigned_bins, bin_labels, depth_bin_edges
from mdelib.selectivity.expectation import (
    RESPONSE_LAWS,
    expected_selectivity,
    expected_selectivity_series,
    simulate_selectivity,
)
from mdelib.selectivity.pooling import BinPooling, bin_weights
from mdelib.selectivity.regulariser import SelectivityRegulariser, assigned_selectivity
from mdelib.selectivity.response import ResponseMeter, depth_selectivity, unit_bins
from mdelib.selectivity.table import response_table

__all__ = ["RESPONSE_LAWS", "BinPooling", "ResponseMeter", "SelectivityRegulariser", "assigned_bins",
           "assigned_selectivity", "bin_labels", "bin_weights", "depth_bin_edges", "depth_selectivity",
           "expected_selectivity", "expected_selectivity_series", "response_table", "simulate_selectivity",
           "unit_bins"]
