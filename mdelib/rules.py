"""Rules over published tables: a small, safe language of comparisons, and the digits behind a printed number.

``table1.rel["DPT"]`` is a cell, ``table1.rel`` a column, ``table1`` the table and ``yao2023.table2`` that of another
paper. Rows go by the names in the CSV. Cells add, compare and combine as in Python; `mdelib.sheets.FUNCTIONS` lists
what can be called. ``prints("7.4", x)`` asks whether x, computed from rounded cells, can be what is printed as 7.4.
Explained in notebooks/15_audit.ipynb.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mdelib.provenance import find_home
from mdelib.sheets import FUNCTIONS, RANKING, SHAPING, Sheet, joined, read_sheet

__all__ = ["Cell", "Found", "Quantity", "evaluate", "number_of", "possible_values", "printed_range"]

Cell = tuple[str, str, str, str]  # paper, table, column, row
MOST_CELLS = 12  # corners of a box of rounded cells: 2**12
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.BitOr: operator.or_, ast.BitAnd: operator.and_}
SIGNS = {ast.Lt: "<", ast.LtE: "≤", ast.Gt: ">", ast.GtE: "≥", ast.Eq: "=", ast.NotEq: "≠"}


@dataclass(frozen=True)
class Quantity:
    """A number that a paper prints in words, and what its tables give for it: nominal value and possible range."""

    printed: str
    value: float
    low: float
    high: float

    @property
    def fits(self) -> bool:
        """Whether some value in the range prints as `printed`."""
        low, high = printed_range(self.printed)
        return self.low <= high and low <= self.high


@dataclass(frozen=True)
class Found:
    """What came of a rule: its truth, what was seen on the way in words, its quantities, and the cells it reads."""

    holds: bool
    seen: str
    quantities: tuple[Quantity, ...]
    cells: frozenset[Cell]


def printed_range(text: str) -> tuple[float, float]:
    """The numbers that print as `text`: half a unit of its last digit to either side.

    Raises:
        ValueError: a text that is not a decimal number.

    Explained in notebooks/15_audit.ipynb.
    """
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise ValueError(f"{text!r} is not a printed decimal number: write it as the paper does, for example "
                         "'7.4'") from None
    half = 0.5 * 10.0 ** -len(text.partition(".")[2])
    return round(value - half, 12), round(value + half, 12)


def evaluate(rule: str, paper: str, folder: Path | None = None, *,
             changes: Mapping[Cell, float] | None = None) -> Found:
    """Evaluate a rule over the tables of `paper` (and others that it names).

    Args:
        rule: see the module. paper: whose tables have no prefix. folder: of the papers, by default `papers/`.
        changes: other values for some cells, to see whether the verdict turns.

    Raises:
        ValueError: a rule that cannot be read, names what is not there, or is neither true nor false.
    """
    reader = _Reader(paper, folder or find_home() / "papers", changes or {})
    value = reader.read_text(rule)
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"the rule {rule!r} is neither true nor false but a {type(value).__name__}: compare it with "
                         "something")
    return Found(bool(value), "; ".join(dict.fromkeys(reader.seen)), tuple(reader.quantities), frozenset(reader.cells))


def number_of(expression: str, paper: str, folder: Path | None = None) -> float:
    """The value of an expression over the printed numbers; arguments and errors as in `evaluate`."""
    return float(_Reader(paper, folder or find_home() / "papers", {}).read_text(expression))


def possible_values(expression: str, paper: str, folder: Path | None = None) -> tuple[float, float]:
    """The range of an expression when every printed cell may be anything that prints so.

    The expression is evaluated at all corners of the box of its rounded cells, which is exact where it rises or falls
    in each cell. Arguments and errors as in `evaluate`.

    Explained in notebooks/15_audit.ipynb.
    """
    reader = _Reader(paper, folder or find_home() / "papers", {})
    _, low, high = reader.range_of(reader.parse(expression))
    return low, high


class _Reader:
    """Walks over the syntax tree of one rule; everything that is not listed here is refused."""

    def __init__(self, paper: str, folder: Path, changes: Mapping[Cell, float]):
        self.paper, self.folder, self.changes = paper, folder, changes
        self.cells: set[Cell] = set()
        self.seen: list[str] = []
        self.quantities: list[Quantity] = []
        self.corners: dict[Cell, np.ndarray] = {}
        self.sheets: dict[tuple[str, str], Sheet] = {}

    def parse(self, text: str) -> ast.expr:
        try:
            return ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, AttributeError) as error:
            raise ValueError(f"the rule {text!r} cannot be read: {error}") from None

    def read_text(self, text: str) -> Any:
        try:
            return self.read(self.parse(text))
        except (KeyError, TypeError) as error:
            raise ValueError(f"the rule {text!r} does not fit its tables: {error}") from None
        except ZeroDivisionError:
            raise ValueError(f"the rule {text!r} divides by zero: choose another denominator") from None

    def read(self, node: ast.expr) -> Any:
        reader = getattr(self, f"_{type(node).__name__.lower()}", None)
        if reader is None:
            raise ValueError(f"{ast.unparse(node)!r} is not allowed in a rule: use cells, numbers, comparisons and "
                             "calls")
        return reader(node)

    def range_of(self, node: ast.expr) -> tuple[float, float, float]:
        """Nominal value, lowest and highest possible value of an expression of cells."""
        inner = _Reader(self.paper, self.folder, self.changes)
        inner.sheets = self.sheets
        nominal = float(inner.read(node))
        self.cells |= inner.cells
        halves = {cell: float(self._sheet(*cell[:2]).halves.at[cell[3], cell[2]]) for cell in sorted(inner.cells)}
        if len(halves) > MOST_CELLS:
            raise ValueError(f"{ast.unparse(node)!r} reads {len(halves)} cells: at most {MOST_CELLS} are possible "
                             "here")
        signs = np.array(list(product((-1.0, 1.0), repeat=len(halves)))).T
        inner.corners = {cell: inner._value(cell) + half * sign
                         for (cell, half), sign in zip(halves.items(), signs, strict=True)}
        values = np.asarray(inner.read(node), float)
        return nominal, float(values.min()), float(values.max())

    def _sheet(self, paper: str, table: str) -> Sheet:
        if (paper, table) not in self.sheets:
            sheet = read_sheet(paper, table, self.folder)
            mine = {cell: value for cell, value in self.changes.items() if cell[:2] == (paper, table)}
            if mine:
                sheet = replace(sheet, values=sheet.values.copy())
                for (_, _, column, row), value in mine.items():
                    sheet.values.at[row, column] = value
            self.sheets[paper, table] = sheet
        return self.sheets[paper, table]

    def _value(self, cell: Cell) -> float:
        return float(self._sheet(*cell[:2]).values.at[cell[3], cell[2]])

    def _note(self, sheet: Sheet, columns: Iterable[str], rows: Iterable[str]) -> None:
        self.cells |= {(sheet.paper, sheet.name, c, r) for c in columns for r in rows
                       if pd.notna(sheet.values.at[r, c])}

    def _constant(self, node: ast.Constant) -> float | int | str:
        if isinstance(node.value, bool) or not isinstance(node.value, int | float | str):
            raise ValueError(f"{node.value!r} is not allowed in a rule: only numbers and names are")
        return node.value

    def _list(self, node: ast.List) -> list[Any]:
        return [self.read(entry) for entry in node.elts]

    def _name(self, node: ast.Name) -> Sheet | _Paper:
        if (self.folder / node.id / "tables").is_dir():
            return _Paper(node.id)
        return self._sheet(self.paper, node.id)

    def _attribute(self, node: ast.Attribute) -> Sheet | pd.Series:
        owner = self.read(node.value)
        if isinstance(owner, _Paper):
            return self._sheet(owner.key, node.attr)
        if not isinstance(owner, Sheet):
            raise ValueError(f"{ast.unparse(node)!r} is not allowed in a rule: only papers and tables have parts")
        column = owner.column(node.attr)
        self._note(owner, [node.attr], column.index)
        return column

    def _subscript(self, node: ast.Subscript) -> Any:
        key = self.read(node.slice)
        if isinstance(node.value, ast.Attribute):
            owner = self.read(node.value.value)
            if isinstance(owner, Sheet):
                column = owner.column(node.value.attr)
                rows = [key] if isinstance(key, str) else key
                unknown = [row for row in rows if row not in column.index]
                if unknown:
                    raise ValueError(f"{owner.paper} {owner.name} prints no {node.value.attr} for {unknown[0]!r}: "
                                     f"expected one of {', '.join(column.index)}")
                self._note(owner, [node.value.attr], rows)
                if isinstance(key, str):
                    return self.corners.get((owner.paper, owner.name, node.value.attr, key), float(column[key]))
                return column[rows]
        owner = self.read(node.value)
        if isinstance(owner, pd.Series) and key in owner.index:
            if owner.dtype == bool:
                self.seen.append(f"{key}: {'yes' if owner[key] else 'no'}")
            return owner[key] if owner.dtype == bool else float(owner[key])
        if not isinstance(owner, Sheet) or not isinstance(key, list):
            raise ValueError(f"{ast.unparse(node)!r} is not allowed in a rule: choose a row of a column, or rows of a "
                             "table")
        return owner.rows(key)

    def _binop(self, node: ast.BinOp) -> Any:
        return self._operator(node.op)(self.read(node.left), self.read(node.right))

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.read(node.operand)
        if isinstance(node.op, ast.Not):
            return not value
        if isinstance(node.op, ast.USub):
            return -value
        raise ValueError(f"{ast.unparse(node)!r} is not allowed in a rule")

    def _boolop(self, node: ast.BoolOp) -> bool:
        values = [self.read(entry) for entry in node.values]  # all: a rule reads the same cells whatever they hold
        return all(values) if isinstance(node.op, ast.And) else any(values)

    def _compare(self, node: ast.Compare) -> Any:
        sides = [self.read(entry) for entry in (node.left, *node.comparators)]
        results = [self._operator(op)(a, b) for op, a, b in zip(node.ops, sides[:-1], sides[1:], strict=True)]
        if all(isinstance(side, int | float) for side in sides):
            words = [f"{SIGNS[type(op)]} {side:.6g}" for op, side in zip(node.ops, sides[1:], strict=True)]
            self.seen.append(f"{sides[0]:.6g} {' '.join(words)}" + ("" if all(results) else " is false"))
            return all(results)
        return np.logical_and.reduce(results) if len(results) > 1 else results[0]

    def _operator(self, op: ast.operator | ast.cmpop) -> Callable[[Any, Any], Any]:
        if type(op) not in OPERATORS:
            raise ValueError(f"the operator {type(op).__name__} is not allowed in a rule")
        return OPERATORS[type(op)]

    def _call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
        if node.keywords or name not in (*FUNCTIONS, "prints"):
            raise ValueError(f"{ast.unparse(node)!r} is not allowed in a rule: it may call prints, "
                             f"{', '.join(FUNCTIONS)}")
        if name == "prints":
            return self._prints(node)
        values = [self.read(entry) for entry in node.args]
        if name not in SHAPING:  # those choose rows and columns and look into no cell
            for sheet in (value for value in values if isinstance(value, Sheet)):
                named = [value for value in values if isinstance(value, str) and value in sheet.values.index]
                rows = sheet.values.index if name in RANKING else named
                self._note(sheet, sheet.gains().columns, rows)
        result = FUNCTIONS[name](*values)
        if name in ("rising", "falling"):
            self.seen.append(", ".join(f"{value:.5g}" for value in values[0]))
        if name in ("all", "any", "most", "count"):
            self.seen.append(f"{result} counted" if name == "count" else _in_words(name, joined(*values)))
        return result

    def _prints(self, node: ast.Call) -> bool:
        if len(node.args) != 2 or not isinstance(text := self.read(node.args[0]), str):
            raise ValueError(f"{ast.unparse(node)!r}: prints takes the printed number, in quotes, and an expression")
        quantity = Quantity(text, *self.range_of(node.args[1]))
        self.quantities.append(quantity)
        self.seen.append(f"{quantity.value:.5g} ({quantity.low:.5g} to {quantity.high:.5g})")
        return quantity.fits


@dataclass(frozen=True)
class _Paper:
    key: str


def _in_words(name: str, values: pd.Series) -> str:
    """How many of a row of truths are true, and which are not."""
    wrong = [str(label) for label in values.index[~values]]
    few = f", not {', '.join(wrong)}" if name != "any" and 0 < len(wrong) <= 4 else ""
    return f"{int(values.sum())} of {len(values)}{few}"
