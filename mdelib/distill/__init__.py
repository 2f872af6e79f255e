"""Depth probability maps (Choi et al. 2024): a teacher's depth as a distribution over bins, and the loss between two.

    edges = depth_bins(257, 1e-3, 80.0)
    teacher = depth_probability_map(depth, edges, sigma=0.8)                       # (B, 257, H, W)
    loss = fused_dpm_loss(student.logits, depth, edges, 0.8)                       # the same without that map

Explained in notebooks/10_depth_probability_maps.ipynb.
"""

from mdelib.distill.bins import CUT_OFF, MASSES, bin_centres, depth_bins
from mdelib.distill.fused import fused_dpm_loss
from mdelib.distill.losses import DIRECTIONS, dpm_loss
from mdelib.distill.probability import NORMALIZATIONS, depth_probability_map, entropy, expected_depth, support

__all__ = ["CUT_OFF", "DIRECTIONS", "MASSES", "NORMALIZATIONS", "bin_centres", "depth_bins", "depth_probability_map",
           "dpm_loss", "entropy", "expected_depth", "fused_dpm_loss", "support"]
