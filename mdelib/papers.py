"""Published claims and tables, and the claims that a paper's own tables decide.

A claim stands in `papers/<key>/claims.yaml` with its place in the paper. One that an experiment bears on names
the measure and the two variants it compares (see `mdelib.verdicts`); an arithmetic one names a rule over a table of
the paper; an analytic one names two expressions that must be equal. What only the printed numbers decide is audited
(see `mdelib.audit`). Explained in notebooks/15_audit.ipynb and notebooks/16_scoreboard.ipynb.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from mdelib.identities import check_identity
from mdelib.provenance import find_home

__all__ = ["KINDS", "Audit", "Claim", "Evidence", "Identity", "Reading", "check_analytic",
           "list_papers", "load_claims", "load_table"]

Kind = Literal["number", "comparison", "rank", "trend", "count", "agreement", "between papers", "possible",
               "analytic", "words"]
KINDS: tuple[str, ...] = get_args(Kind)


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Evidence(Strict):
    """What an experiment can say about a claim.

    Attributes:
        experiment, measure: where the numbers are.
        compare: the two variants; the claim is about first minus second.
        direction: the sign of that difference if the claim is right.
        against: the measure of the second variant, where it is another one than the first's.
        data: the one data set that the claim is about, where it is about one.
    """

    experiment: str
    measure: str
    compare: tuple[str, str]
    direction: Literal["greater", "smaller"]
    against: str | None = None
    data: str | None = None


class Identity(Strict):
    """Two expressions that must be equal, in the language of sympy; see `mdelib.identities.check_identity`.

    Attributes:
        left, right: the expressions.
        limit: the symbol that goes to infinity, if they may also be equal only there.
        positive: the real symbol that must be positive, if they may also be equal only then.
    """

    left: str
    right: str
    limit: str | None = None
    positive: str | None = None

    @property
    def condition(self) -> str:
        """The case in which an equation that "holds only if" holds, in words."""
        return f"{self.positive} > 0" if self.positive else f"{self.limit} → ∞"


class Reading(Strict):
    """Another reading under which a claim may hold: what is read otherwise, in words, and its rule."""

    reading: str
    rule: str


class Audit(Strict):
    """How the printed numbers decide a claim; see `mdelib.audit` and, for the language of rules, `mdelib.rules`.

    Attributes:
        kind: what the claim is about, one of `KINDS`.
        rule: over the tables of this and other papers; true if the claim holds.
        otherwise: readings to try where it does not, for example another denominator.
        identity: an equation in place of a rule.
        why: the reason why nothing can be computed, in place of both.
        judged: what a vague word was taken to mean, or where a number of the rule comes from.
    """

    kind: Kind
    rule: str | None = None
    otherwise: tuple[Reading, ...] = ()
    identity: Identity | None = None
    why: str | None = None
    judged: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Audit:
        if sum(map(bool, (self.rule, self.identity, self.why))) != 1:
            raise ValueError("an audit needs exactly one of a rule, an identity, or a reason (why) for having neither")
        if self.otherwise and not self.rule:
            raise ValueError("an audit without a rule cannot be read otherwise")
        return self


class Claim(Strict):
    """One claim of a paper.

    Attributes:
        id: unique, begins with the paper's key. place: section, table or figure. states: the claim, quoted or
            close to it. notebook: number of the notebook that tests it.
        evidence: the experiments that test it; several measures of one claim stand beside each other.
        published: the paper's own numbers for it, in short; expressions in braces are computed from its tables.
        untested: why no experiment of the course can be compared with it, in place of evidence.
        identity: for analytic claims, the equation that must hold.
        audit: how the printed numbers decide it. A claim that only notebook 15 bears on is not on the scoreboard.
        instead: what a reader should believe where the claim is contradicted; expressions in braces are computed.
    """

    id: str
    place: str
    states: str
    notebook: str
    evidence: tuple[Evidence, ...] = ()
    published: str | None = None
    untested: str | None = None
    identity: Identity | None = None
    audit: Audit | None = None
    instead: str | None = None

    @model_validator(mode="after")
    def _tested_or_not(self) -> Claim:
        if self.untested and (self.evidence or self.identity):
            raise ValueError("a claim with evidence or an equation is tested: leave 'untested' out")
        return self

    @property
    def paper(self) -> str:
        """The key of its paper."""
        return self.id.split("-")[0]

    @property
    def on_scoreboard(self) -> bool:
        """Whether another notebook than the audit bears on it."""
        return self.notebook != "15"


def list_papers() -> list[str]:
    """Keys of the papers that have a folder under `papers/`."""
    return sorted(path.parent.name for path in (find_home() / "papers").glob("*/claims.yaml"))


def load_claims(paper: str, folder: Path | None = None) -> list[Claim]:
    """Read `papers/<paper>/claims.yaml`.

    Raises:
        ValueError: no such paper, or an entry that does not fit; the entry is named.
    """
    path = (folder or find_home() / "papers") / paper / "claims.yaml"
    if not path.is_file():
        raise ValueError(f"paper {paper!r} has no claims.yaml: expected one of {', '.join(list_papers())}")
    claims = []
    for number, entry in enumerate(yaml.safe_load(path.read_text()) or [], start=1):
        try:
            claims.append(Claim(**entry))
        except (ValidationError, TypeError) as error:
            problem = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            place = ".".join(map(str, problem["loc"]))
            raise ValueError(f"papers/{paper}/claims.yaml, entry {number}: {place} {problem['msg']}") from None
    names = [claim.id for claim in claims]
    double = sorted({name for name in names if names.count(name) > 1})
    if double:
        raise ValueError(f"papers/{paper}/claims.yaml uses the id {double[0]!r} twice: give each claim its own")
    return claims


def load_table(paper: str, table: str, folder: Path | None = None) -> pd.DataFrame:
    """A published table, `papers/<paper>/tables/<table>.csv`: row, column, value, unit, direction, place."""
    path = (folder or find_home() / "papers") / paper / "tables" / f"{table}.csv"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.csv"))) or "none"
        raise ValueError(f"paper {paper!r} has no table {table!r}: expected one of {known}")
    return pd.read_csv(path, comment="#")


def check_analytic(claim: Claim) -> tuple[str, pd.DataFrame]:
    """Whether the equation of an analytic claim holds.

    Returns:
        ``"holds"``, ``"holds only if"`` (in the limit, or for the sign, that the claim names) or ``"contradicted"``,
        and the values of both sides; see `mdelib.identities.check_identity`.

    Raises:
        ValueError: the claim has no equation, or one that cannot be read.
    """
    if claim.identity is None:
        raise ValueError(f"claim {claim.id} has no equation to check: give it an identity, or judge it otherwise")
    try:
        return check_identity(claim.identity.left, claim.identity.right, limit=claim.identity.limit,
                              positive=claim.identity.positive)
    except ValueError as error:
        raise ValueError(f"claim {claim.id}: {error}") from None
