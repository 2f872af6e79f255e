"""The audit: every claim of the papers that their own printed numbers can decide, and its verdict.

A verdict is computed each time. "Holds only with" another reading (another denominator, say) means that the claim
fails as it is written and holds when read that way. Explained in notebooks/15_audit.ipynb.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mdelib.identities import check_identity
from mdelib.papers import Claim, check_analytic, list_papers, load_claims
from mdelib.rules import Quantity, evaluate, number_of

__all__ = ["AUDIT_VERDICTS", "Audited", "audit_all", "audit_claim", "audit_counts", "audit_line", "audit_table",
           "fill_numbers"]

AUDIT_VERDICTS = ("holds", "holds only with", "contradicted", "cannot be checked")


@dataclass(frozen=True)
class Audited:
    """What the audit found for one claim.

    Attributes:
        verdict: one of `AUDIT_VERDICTS`. reading: with which other reading it holds, or empty.
        seen: what the rule saw, or why there is none. quantities: numbers in words, against the tables.
        instead: what to believe where the claim is contradicted, with its numbers computed.
    """

    claim: Claim
    verdict: str
    reading: str
    seen: str
    quantities: tuple[Quantity, ...] = ()
    instead: str = ""

    @property
    def words(self) -> str:
        """The verdict and the reading it needs."""
        return f"{self.verdict} {self.reading}".strip()

    @property
    def kind(self) -> str:
        """What the claim is about; one of `mdelib.papers.KINDS`."""
        return self.claim.audit.kind if self.claim.audit else "analytic"


def audit_claim(claim: Claim, folder: Path | None = None) -> Audited | None:
    """Decide one claim by its paper's printed numbers; None for one that only an experiment can decide.

    Args:
        claim: with an audit or an identity. folder: of the papers, by default `papers/`.

    Raises:
        ValueError: a rule or an equation that cannot be read; the claim is named.

    Explained in notebooks/15_audit.ipynb.
    """
    try:
        found = _decide(claim, folder)
        if found is None:
            return None
        verdict, reading, seen, quantities = found
        instead = fill_numbers(claim.instead or "", claim.paper, folder)
    except ValueError as error:
        raise ValueError(f"claim {claim.id}: {error}") from None
    return Audited(claim, verdict, reading, seen, quantities, instead)


def _decide(claim: Claim, folder: Path | None) -> tuple[str, str, str, tuple[Quantity, ...]] | None:
    """Verdict, reading, what was seen, quantities."""
    audit = claim.audit
    if audit is None and claim.identity is None:
        return None
    if audit is None:
        state, _ = check_analytic(claim)
        return _equation(state, claim.identity.condition)
    if audit.why:
        return "cannot be checked", "", audit.why, ()
    if audit.identity:
        of = audit.identity
        state, _ = check_identity(of.left, of.right, limit=of.limit, positive=of.positive)
        return _equation(state, of.condition)
    first = evaluate(audit.rule, claim.paper, folder)
    if first.holds:
        return "holds", "", first.seen, first.quantities
    for other in audit.otherwise:
        found = evaluate(other.rule, claim.paper, folder)
        if found.holds:
            seen = f"as written {first.seen}; with {other.reading} {found.seen}"
            return "holds only with", other.reading, seen, first.quantities + found.quantities
    return "contradicted", "", first.seen, first.quantities


def _equation(state: str, condition: str) -> tuple[str, str, str, tuple[Quantity, ...]]:
    if state == "holds only if":
        return "holds only with", condition, "by algebra or numbers", ()
    return state, "", "by algebra or numbers", ()


def fill_numbers(text: str, paper: str, folder: Path | None = None) -> str:
    """`text` with each ``{expression:format}`` replaced by its value over the printed tables.

    Raises:
        ValueError: an expression that cannot be read, or a format that does not fit a number.
    """
    def value(match: re.Match[str]) -> str:
        try:
            return format(number_of(match[1], paper, folder), match[2] or "g")
        except ValueError as error:
            raise ValueError(f"{match[0]} in its sentence: {error}") from None

    return re.sub(r"\{([^{}]+?)(?::([^{}:]*))?\}", value, text)


def audit_all(folder: Path | None = None) -> list[Audited]:
    """Every claim that the audit decides, paper by paper."""
    papers = list_papers() if folder is None else sorted(p.parent.name for p in folder.glob("*/claims.yaml"))
    found = (audit_claim(claim, folder) for paper in papers for claim in load_claims(paper, folder))
    return [one for one in found if one is not None]


def audit_table(found: Sequence[Audited]) -> pd.DataFrame:
    """One row a claim: paper, place, kind, what is claimed, what the numbers say, the verdict, and what to believe."""
    return pd.DataFrame([{"paper": one.claim.paper, "place": one.claim.place, "kind": one.kind,
                          "claim": one.claim.states, "the numbers": one.seen, "verdict": one.words,
                          "instead": one.instead} for one in found])


def audit_counts(found: Sequence[Audited]) -> pd.DataFrame:
    """How many claims of each paper got which verdict."""
    counts = pd.DataFrame([{"paper": one.claim.paper, "verdict": one.verdict} for one in found])
    table = pd.crosstab(counts["paper"], counts["verdict"])
    return table.reindex(columns=list(AUDIT_VERDICTS), fill_value=0)


def audit_line(found: Sequence[Audited]) -> str:
    """The audit in one sentence, for the README."""
    counts = audit_counts(found).sum()
    return (f"{len(found)} claims audited against the papers' own printed numbers: {counts['holds']} hold, "
            f"{counts['holds only with']} hold only with another reading, {counts['contradicted']} are contradicted, "
            f"{counts['cannot be checked']} cannot be checked.")
