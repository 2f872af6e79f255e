"""Is an explanation faithful? Perturbation curves, agreement with depth, robustness and sanity checks (cirillo2025).

Explained in notebooks/14_faithful_explanations.ipynb.
"""

from mdelib.fidelity.agreement import KINDS, attribution_fidelity, correlation, map_agreement
from mdelib.fidelity.areas import curve_area, curve_gap, gap_interval
from mdelib.fidelity.cues import CueTruth, cue_scores, cue_truth
from mdelib.fidelity.labels import label_scores, shuffled_labels
from mdelib.fidelity.perturbation import (
    FRACTIONS,
    ORDERS,
    SCORES,
    PerturbationCurve,
    check_attribution,
    perturbation_curve,
    pixel_ranks,
)
from mdelib.fidelity.robustness import infidelity, sensitivity
from mdelib.fidelity.sanity import randomized_networks, weight_layers, weight_sanity
from mdelib.fidelity.scores import CONTROLS, attribution_scores, maps_of

__all__ = ["CONTROLS", "FRACTIONS", "KINDS", "ORDERS", "SCORES", "CueTruth", "PerturbationCurve",
           "attribution_fidelity", "attribution_scores", "check_attribution", "correlation", "cue_scores", "cue_truth",
           "curve_area", "curve_gap", "gap_interval", "infidelity", "label_scores", "map_agreement", "maps_of",
           "perturbation_curve", "pixel_ranks", "randomized_networks", "sensitivity", "shuffled_labels",
           "weight_layers", "weight_sanity"]
