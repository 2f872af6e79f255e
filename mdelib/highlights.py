"""A handful of findings of the study, each a sentence whose numbers come from the stored results.

Explained in notebooks/16_scoreboard.ipynb.
"""

from __future__ import annotations

import numpy as np

from mdelib import audit, papers, references, verdicts
from mdelib.relief import is_inside_out
from mdelib.store import Result

__all__ = ["highlights"]


def highlights() -> list[str]:
    """The findings as Markdown, each with the notebook that shows it; those without results are left out."""
    found = [make() for make in (_protocols, _audit, _inside_out, _labels, _fills, _transport)]
    return [f"{sentence} ([{number}](notebooks/{name}.ipynb))"
            for sentence, name in filter(None, found) for number in [name[:2]]]


def _study(experiment: str, *variants: str) -> dict[str, list[Result]]:
    """The runs of some variants on NYU, in the order of their seeds; empty if one of them has none."""
    runs = sorted(references.stored_reference(experiment, "nyu", "study"), key=lambda run: run.seed)
    chosen = {name: [run for run in runs if run.variant == name] for name in variants}
    return chosen if all(chosen.values()) else {}


def _protocols() -> tuple[str, str] | None:
    runs = references.stored_reference("protocols", "nyu", "study")
    rmse = [run.metrics["rmse"] for run in runs if not run.parameters["protocol"].startswith("affine")]
    if not rmse:
        return None
    return ("**One network, one set of predictions, two accuracies.** The RMSE of METER-XXS on NYU is "
            f"{min(rmse):.2f} or {max(rmse):.2f} m, as one or the other published protocol counts.",
            "01_metrics_and_protocols")


def _audit() -> tuple[str, str]:
    return f"**What the papers print.** {audit.audit_line(audit.audit_all())}", "15_audit"


def _inside_out() -> tuple[str, str] | None:
    runs = references.stored_reference("inside_out", "nyu", "study")
    coded, signed = ([run for run in runs if run.variant.startswith(name)] for name in ("tie_kd", "signed"))
    turned = [[run for run in side if is_inside_out(run.per_image["relief"])] for side in (coded, signed)]
    if not (turned[0] and signed):
        return None
    return (f"**A loss that does not know near from far.** {len(turned[0])} of {len(coded)} students of TIE-KD see "
            "rooms inside out: its code takes the absolute value of a covariance. With the sign, it is "
            f"{len(turned[1])} of {len(signed)}.", "11_teacher_independent_distillation")


def _labels() -> tuple[str, str] | None:
    runs = _study("shuffled_labels", "cnn")
    if not runs:
        return None
    found = runs["cnn"][0].metrics
    return ("**Maps that hardly know what was learnt.** Train a CNN with the depth maps of other photographs: its "
            "saliency maps agree with those of the true network about as well (rank correlation "
            f"{found['saliency']:.2f}) as those of a second true network do ({found['saliency_reseeded']:.2f}).",
            "14_faithful_explanations")


def _fills() -> tuple[str, str] | None:
    runs = _study("attribution", "transformer_position_only", "transformer_saliency")
    if not runs:
        return None
    blind, seeing = (runs[f"transformer_{name}"][0].metrics for name in ("position_only", "saliency"))
    gaps = [f"{blind[fill]:.2f} against {seeing[fill]:.2f} m" for fill in ("gap_rmse", "gap_rmse_noise")]
    return ("**The test decides which map is faithful.** Remove pixels from a Transformer's photographs and fill them "
            f"with the mean colour: a map that never saw the photograph beats saliency ({gaps[0]} between most and "
            f"least relevant first). Fill them with noise, and it is {gaps[1]}.", "14_faithful_explanations")


def _transport() -> tuple[str, str] | None:
    runs = _study("transport", "mse_transport", "mse")
    if not runs:
        return None
    seeds = sorted({run.seed for run in runs["mse"]} & {run.seed for run in runs["mse_transport"]})
    sides = [np.array([run.per_image["rmse"] for run in side if run.seed in seeds], float) for side in runs.values()]
    table = papers.load_table("yao2023", "table4").query("column == 'rmse'").set_index("row")["value"]
    gain = table["MSE + OTDL"] - table["MSE"]
    change, (low, high) = verdicts.paired_interval(*sides)
    return (f"**Optimal transport beside MSE** changes the RMSE of a small network by {1000 * change:+.0f} mm "
            f"({1000 * low:+.0f} to {1000 * high:+.0f}, {len(seeds)} seeds). The paper prints {1000 * gain:+.0f} mm, "
            "and neither an interval nor a seed.", "07_optimal_transport")

