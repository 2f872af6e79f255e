"""The scoreboard: every claim that an experiment or a derivation of the course bears on, and what became of it.

One row is one claim on one data set: the paper's own numbers, ours with n and interval, the verdict, the notebook cell
that shows it, and the commit that made it. Explained in notebooks/16_scoreboard.ipynb.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
from markupsafe import Markup, escape

from mdelib.audit import audit_claim, fill_numbers
from mdelib.editions import build, find_source
from mdelib.papers import Claim, check_analytic, list_papers, load_claims
from mdelib.store import Result
from mdelib.verdicts import Finding, judge, tolerant_verdict

__all__ = ["VERDICTS", "Score", "cell_of", "exhibit_table", "exhibits", "overall", "score", "score_all",
           "score_counts", "score_table", "verdicts_by_tolerance"]

VERDICTS = ("agrees", "agrees in part", "mixed", "disagrees in part", "disagrees", "inconclusive", "holds",
            "holds only if", "contradicted", "not comparable", "not yet tested")
EXHIBITS = re.compile(r"\b(Tables?|Figs?\.?|Eqs?\.?)\s+((?:\d+(?:\s*(?:[-–,]|and)\s*)?)+)")
KINDS = {"T": "Table", "F": "Fig", "E": "Eq"}


@dataclass(frozen=True)
class Score:
    """One claim on one data set.

    Attributes:
        claim: the claim. verdict: one of `VERDICTS`.
        on: data set and scale, or empty where no experiment was needed or made.
        findings: the measures behind a verdict from an experiment.
        seen: what was found where no experiment stands behind it, in words.
        commits: that made the results.
    """

    claim: Claim
    verdict: str
    on: str = ""
    findings: tuple[Finding, ...] = ()
    seen: str = ""
    commits: tuple[str, ...] = ()


def overall(verdicts: Iterable[str]) -> str:
    """The verdict on a claim from those on its measures.

    All alike: that one. ``"agrees in part"`` or ``"disagrees in part"`` where the others are inconclusive, and
    ``"mixed"`` where some measures agree and some disagree.

    Raises:
        ValueError: no measure at all.
    """
    found = set(verdicts)
    if not found:
        raise ValueError("no measure was given: a claim without one is 'not yet tested'")
    if len(found) == 1:
        return found.pop()
    if {"agrees", "disagrees"} <= found:
        return "mixed"
    return "agrees in part" if "agrees" in found else "disagrees in part"


def score(claim: Claim, results: Sequence[Result]) -> list[Score]:
    """What became of one claim: a row for each data set and scale whose results bear on it.

    A claim without evidence has one row: its equation's, the reason why nothing can be compared, or what the paper's
    own tables say.
    """
    if claim.identity:
        state, values = check_analytic(claim)
        return [Score(claim, state, seen=f"{claim.identity.left} = {claim.identity.right}: "
                                         f"{_off(values, state, claim)}")]
    if not claim.evidence:
        if claim.untested or claim.audit.why:
            return [Score(claim, "not comparable", seen=claim.untested or claim.audit.why)]
        found = audit_claim(claim)
        return [Score(claim, found.verdict, seen=found.seen)]
    rows = []
    for data, scale in dict.fromkeys((r.data, r.scale) for r in results):
        mine = [r for r in results if (r.data, r.scale) == (data, scale)]
        findings = tuple(judge(claim, mine))
        if findings:
            used = {(e.experiment, variant) for e in claim.evidence for variant in e.compare}
            commits = {str(r.provenance.get("commit", "unknown"))[:7] for r in mine
                       if (r.experiment, r.variant) in used}
            rows.append(Score(claim, overall(f.verdict for f in findings), f"{data}, {scale}", findings,
                              commits=tuple(sorted(commits))))
    return rows or [Score(claim, "not yet tested")]


def score_all(results: Sequence[Result]) -> list[Score]:
    """Every claim of every paper that has a place on the scoreboard, on every data set of `results`."""
    claims = (claim for paper in list_papers() for claim in load_claims(paper) if claim.on_scoreboard)
    return [row for claim in claims for row in score(claim, results)]


def score_counts(scores: Sequence[Score]) -> pd.DataFrame:
    """How many rows of each paper got which verdict; verdicts that nobody got have no column."""
    rows = pd.DataFrame([{"paper": s.claim.paper, "verdict": s.verdict} for s in scores])
    table = pd.crosstab(rows["paper"], rows["verdict"])
    return table[[name for name in VERDICTS if name in table]]


def score_table(scores: Sequence[Score], *, link: str = "{notebook}#cell-id={cell}") -> pd.DataFrame:
    """One row a claim and data set, for `mdelib.filters.filter_table`: cells with several lines or a link are markup.

    Args:
        scores: to show. link: address of the cell that shows the evidence, with its {notebook} and {cell}.
    """
    rows = []
    for s in scores:
        notebook, cell = cell_of(s.claim)
        address = link.format(notebook=notebook, cell=cell)
        place = Markup("<b>{}</b>").format(f"{s.claim.paper}, {s.claim.place}")
        rows.append({"claim": _lines([place, s.claim.states]),
                     "the paper's numbers": _lines(_published(s.claim)),
                     "ours: first − second (95 % interval)": _lines(map(_words, s.findings)) if s.findings else s.seen,
                     "n": _lines(dict.fromkeys(f.count for f in s.findings)) or "–", "on": s.on or "–",
                     "verdict": s.verdict, "evidence": Markup('<a href="{}">{}</a>').format(address, notebook[:2]),
                     "made at": ", ".join(s.commits) or "–"})
    return pd.DataFrame(rows)


def _words(finding: Finding) -> str:
    return (f"{finding.measure}, {finding.first} − {finding.second}: {finding.difference:+.2g} ({finding.span}), "
            f"{finding.verdict}")


def _published(claim: Claim) -> list[str]:
    """The paper's own numbers, and whether they say what the claim says."""
    said = [fill_numbers(claim.published, claim.paper)] if claim.published else []
    own = audit_claim(claim) if claim.audit else None
    if own is not None and own.verdict != "cannot be checked":
        said.append(f"its own table: {own.words}")
    return said or ["no number printed"]


def _lines(parts: Iterable[str]) -> Markup:
    return Markup("<br>").join(escape(part) for part in parts)


@lru_cache
def _code_cells(number: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    source = find_source(number)
    return f"{source.stem}.ipynb", tuple((cell.id, cell.source) for cell in build(source).cells
                                         if cell.cell_type == "code")


def cell_of(claim: Claim) -> tuple[str, str]:
    """File name of the notebook that shows the evidence for a claim, and the id of the cell.

    It is the first cell that names the claim; else the first that judges claims, or else the first that loads the
    experiment; a notebook's last code cell where none of these is there.
    """
    notebook, cells = _code_cells(claim.notebook)
    words = [claim.id, "judge(", "check_analytic(", "audit_claim(", *(f'"{e.experiment}"' for e in claim.evidence)]
    for word in words:
        for name, text in cells:
            if word in text:
                return notebook, name
    return notebook, cells[-1][0]


def verdicts_by_tolerance(findings: Sequence[Finding], tolerances: Sequence[float]) -> pd.DataFrame:
    """How many measures get which verdict if a difference up to a share of the second value does not count.

    Args:
        findings: the measures. tolerances: (T,) shares, 0 or more.

    Returns:
        Indexed by tolerance, with the columns agrees, disagrees, no difference, inconclusive.
    """
    columns = ["agrees", "disagrees", "no difference", "inconclusive"]
    rows = [pd.Series([tolerant_verdict(f, t) for f in findings]).value_counts() for t in tolerances]
    return pd.DataFrame(rows, index=list(tolerances)).reindex(columns=columns).fillna(0).astype(int)


def exhibits(place: str) -> set[str]:
    """The tables, figures and equations that a place names: ``"Tables 2 and 3; Figs. 4-6"`` -> {"Table 2", ...}."""
    found = set()
    for kind, numbers in EXHIBITS.findall(place):
        for first, last in re.findall(r"(\d+)(?:\s*[-–]\s*(\d+))?", numbers):
            found |= {f"{KINDS[kind[0]]} {n}" for n in range(int(first), int(last or first) + 1)}
    return found


def exhibit_table(scores: Sequence[Score]) -> pd.DataFrame:
    """One row a table, figure or equation: the notebooks that take it up, and the verdicts on its claims."""
    found: dict[tuple[str, str], list[Score]] = {}
    for s in scores:
        for name in exhibits(s.claim.place):
            found.setdefault((s.claim.paper, name), []).append(s)
    order = sorted(found, key=lambda k: (k[0], k[1].split()[0], int(k[1].split()[1])))
    return pd.DataFrame([{"paper": paper, "exhibit": name,
                          "notebooks": ", ".join(sorted({s.claim.notebook for s in found[paper, name]})),
                          "verdicts": ", ".join(dict.fromkeys(s.verdict for s in found[paper, name]))}
                         for paper, name in order])


def _off(values: pd.DataFrame, state: str, claim: Claim) -> str:
    """How far the two sides of an equation are apart, in words."""
    if state == "holds":
        return "equal"
    few, many = values.iloc[0], values.iloc[-1]
    where = f"{claim.identity.condition}; " if state == "holds only if" else ""
    if claim.identity.positive:
        name = claim.identity.positive
        return f"{where}off by {many['difference']:+.2g} at {name} = {many[name]:g}"
    return (f"{where}off by {few['difference']:+.2g} at N = {few['N']:.0f}, {many['difference']:+.2g} at "
            f"N = {many['N']:.0f}")
