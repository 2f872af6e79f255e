"""The plan of the course: which notebook is about what, and which of them are here.

Explained in notebooks/00_start_here.ipynb.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mdelib.editions import list_sources

__all__ = ["SYLLABUS", "course_map"]

# number -> what it is about, and the papers that it reads. A notebook is here when its source is.
SYLLABUS: dict[str, tuple[str, str]] = {
    "00": ("start here: the data sets, one prediction with a real network", ""),
    "01": ("metrics and protocols: how conventions move a number", "all five"),
    "02": ("two networks: a CNN and a Transformer", "yao2023"),
    "03": ("the expectation of depth selectivity", "you2021"),
    "04": ("dissection and interpretable units", "you2021"),
    "05": ("depth from sparse pixels", "yao2023"),
    "06": ("depth gradient refinement", "yao2023"),
    "07": ("optimal transport as a depth loss", "yao2023"),
    "08": ("the normalised Hessian", "huynh2021"),
    "09": ("FuSaNet and its ablations", "huynh2021"),
    "10": ("depth probability maps", "choi2024"),
    "11": ("teacher-independent distillation", "choi2024"),
    "12": ("the α and σ sweeps", "choi2024"),
    "13": ("attribution for dense depth", "cirillo2025"),
    "14": ("is the explanation faithful?", "cirillo2025"),
    "15": ("audit: the papers' claims against their own tables", "all five"),
    "16": ("scoreboard: every claim, its evidence, its verdict", "all five"),
}


def course_map(sources: Sequence[Path] | None = None) -> str:
    """The plan as a Markdown table; a notebook that is here is a link, one that is not is said to be planned.

    Args:
        sources: the notebook sources that there are; by default those in `notebooks/src`.
    """
    here = {path.name[:2]: f"{path.stem}.ipynb" for path in (list_sources() if sources is None else sources)}
    lines = ["| | notebook | paper | |", "|:--|:--|:--|:--|"]
    for number, (topic, paper) in SYLLABUS.items():
        title = f"[{topic}]({here[number]})" if number in here and number != "00" else topic
        state = "you are here" if number == "00" else "" if number in here else "planned"
        lines.append(f"| {number} | {title} | {paper} | {state} |")
    return "\n".join(lines)
