"""Published tables as sheets: rows, columns, the last printed digit and the better direction, and what a rule may ask.

Explained in notebooks/15_audit.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from mdelib.provenance import find_home

__all__ = ["FUNCTIONS", "RANKING", "SHAPING", "Sheet", "better", "joined", "leads", "mean_ranks", "no_worse", "place",
           "read_sheet", "same", "shares_lead", "spearman", "without"]


@dataclass(frozen=True)
class Sheet:
    """One published table.

    Attributes:
        paper, name: where it stands.
        values: (rows, columns) as printed, in the printed order; NaN where a cell is empty.
        halves: half a unit of the last printed digit of each.
        direction: of each column with one, ``"smaller"`` or ``"greater"`` is better.
    """

    paper: str
    name: str
    values: pd.DataFrame
    halves: pd.DataFrame
    direction: pd.Series

    def column(self, name: str) -> pd.Series:
        """The printed values of a column, without empty cells."""
        if name not in self.values:
            raise ValueError(f"{self.paper} {self.name} has no column {name!r}: expected one of "
                             f"{', '.join(self.values.columns)}")
        return self.values[name].dropna()

    def rows(self, names: list[str]) -> Sheet:
        """The same table with these rows only."""
        unknown = [name for name in names if name not in self.values.index]
        if unknown:
            raise ValueError(f"{self.paper} {self.name} has no row {unknown[0]!r}: expected one of "
                             f"{', '.join(self.values.index)}")
        return replace(self, values=self.values.loc[names])

    def columns(self, *names: str) -> Sheet:
        """The same table with these columns only."""
        return replace(self, values=pd.DataFrame({name: self.column(name) for name in names}))

    def gains(self) -> pd.DataFrame:
        """Columns that have a better direction, turned so that more is better."""
        measured = [name for name in self.values if name in self.direction.index]
        if not measured:
            raise ValueError(f"{self.paper} {self.name} has no column with a better direction")
        return self.values[measured] * self.direction[measured].map({"greater": 1.0, "smaller": -1.0})


def read_sheet(paper: str, table: str, folder: Path | None = None) -> Sheet:
    """Read `papers/<paper>/tables/<table>.csv` with the last printed digit of every number.

    What is read is kept until the file changes: do not write into it.

    Raises:
        ValueError: no such table.
    """
    path = (folder or find_home() / "papers") / paper / "tables" / f"{table}.csv"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.csv"))) or "none"
        raise ValueError(f"paper {paper!r} has no table {table!r}: expected one of {known}")
    return _parsed(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=256)
def _parsed(path: Path, _changed: int) -> Sheet:
    cells = pd.read_csv(path, comment="#", dtype=str)
    rows, columns = cells["row"].unique(), cells["column"].unique()
    half = cells["value"].map(lambda text: 0.5 * 10.0 ** -len(text.partition(".")[2]))
    values, halves = (cells.assign(value=v).pivot(index="row", columns="column", values="value").loc[rows, columns]
                      for v in (cells["value"].astype(float), half))
    direction = cells.drop_duplicates("column").set_index("column")["direction"]
    return Sheet(path.parent.parent.name, path.stem, values, halves, direction[direction.isin(["smaller", "greater"])])


def better(sheet: Sheet, row: str, other: str) -> pd.Series:
    """For each metric that both rows have, whether `row` is strictly better than `other`."""
    gains = sheet.rows([row, other]).gains().dropna(axis=1)
    return gains.loc[row] > gains.loc[other]


def no_worse(sheet: Sheet, row: str, other: str) -> pd.Series:
    """For each metric that both rows have, whether `row` is better than `other` or equal to it."""
    return ~better(sheet, other, row)


def leads(sheet: Sheet, row: str) -> pd.Series:
    """For each metric, whether `row` is strictly better than every other row."""
    gains = sheet.gains()
    return gains.loc[row] > gains.drop(index=row).max()


def shares_lead(sheet: Sheet, row: str) -> pd.Series:
    """For each metric, whether no other row is better than `row`."""
    gains = sheet.gains()
    return gains.loc[row] >= gains.drop(index=row).max()


def place(sheet: Sheet, row: str) -> pd.Series:
    """For each metric, the place of `row`: 1 is best, equal rows share a place, the next value has the next one."""
    return sheet.gains().rank(ascending=False, method="dense").loc[row]


def mean_ranks(sheet: Sheet) -> pd.Series:
    """For each row, its mean rank over the metrics; 1 is best, and equal rows share the mean of their ranks."""
    return sheet.gains().rank(ascending=False).mean(axis=1)


def same(sheet: Sheet, row: str, other: Sheet, other_row: str) -> pd.Series:
    """For each metric that both rows have, whether both tables print the same number."""
    one, two = sheet.gains().loc[row].dropna(), other.gains().loc[other_row].dropna()
    shared = [name for name in one.index if name in two.index]
    if not shared:
        raise ValueError(f"{sheet.name} and {other.name} share no metric in these rows: nothing can be compared")
    return one[shared] == two[shared]


def spearman(one: pd.Series, two: pd.Series) -> float:
    """Rank correlation of two columns over the rows that both have."""
    rows = [name for name in one.index if name in two.index]
    if min(one[rows].nunique(), two[rows].nunique()) < 2:
        raise ValueError("a column of equal numbers, or of one, has no rank correlation")
    return float(stats.spearmanr(one[rows], two[rows]).statistic)


def without(what: Sheet | pd.Series, *rows: str) -> Sheet | pd.Series:
    """A table or a column without some of its rows, which must be there."""
    names = list((what.values if isinstance(what, Sheet) else what).index)
    missing = [row for row in rows if row not in names]
    if missing:
        raise ValueError(f"there is no row {missing[0]!r} to leave out: expected one of {', '.join(names)}")
    kept = [name for name in names if name not in rows]
    return what.rows(kept) if isinstance(what, Sheet) else what[kept]


def rows_of(what: Sheet | pd.Series, part: str) -> list[str]:
    """The names of rows that contain `part`; at least one."""
    found = [name for name in (what.values if isinstance(what, Sheet) else what).index if part in name]
    if not found:
        raise ValueError(f"no row has {part!r} in its name")
    return found


def _over(many: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one column, or of several numbers (which may be arrays of corners)."""
    def call(*values: Any) -> Any:
        if len(values) == 1:
            return many(values[0])
        return many(np.stack(np.broadcast_arrays(*values)), axis=0)
    return call


def joined(*values: Any) -> pd.Series:
    """Truths of columns, and single ones, in one row."""
    parts = [value if isinstance(value, pd.Series) else pd.Series([value], dtype=object) for value in values]
    together = pd.concat(parts) if parts else pd.Series(dtype=object)
    if not len(together) or not together.map(lambda value: isinstance(value, bool | np.bool_)).all():
        raise ValueError("all, any and most take what is true or false, for example comparisons of columns")
    return together.astype(bool)


def _count(*values: Any) -> int:
    """How many are true, or how many there are."""
    return sum(int(value.sum()) if isinstance(value, pd.Series) and value.dtype == bool else len(value)
               for value in values)


SHAPING = ("without", "rows_of", "columns")
RANKING = ("leads", "shares_lead", "place", "mean_ranks")  # they compare a row with all others
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "all": lambda *truths: bool(joined(*truths).all()), "any": lambda *truths: bool(joined(*truths).any()),
    "most": lambda *truths: bool(joined(*truths).mean() > 0.5), "count": _count,
    "min": _over(np.min), "max": _over(np.max), "mean": _over(np.mean), "median": _over(np.median),
    "sum": _over(np.sum), "abs": np.abs, "log": np.log, "sqrt": np.sqrt, "same": same,
    "better": better, "no_worse": no_worse, "leads": leads, "shares_lead": shares_lead, "place": place,
    "mean_ranks": mean_ranks, "spearman": spearman, "without": without, "rows_of": rows_of,
    "columns": lambda sheet, *names: sheet.columns(*names),
    "rising": lambda column: bool(np.all(np.diff(column) > 0)),
    "falling": lambda column: bool(np.all(np.diff(column) < 0)),
}
