"""Equations of papers, checked: by algebra where sympy can, else by numbers, and in a limit where one is named.

Explained in notebooks/03_expected_selectivity.ipynb.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from itertools import pairwise

import pandas as pd
import sympy
import torch

from mdelib.distill import depth_bins, depth_probability_map, expected_depth
from mdelib.selectivity.expectation import expected_selectivity

__all__ = ["FUNCTIONS", "check_identity"]

# what an expression may name beside sympy's own words: positive and real symbols, and functions of the library
SYMBOLS = {"N": sympy.Symbol("N", integer=True, positive=True),
           **{name: sympy.Symbol(name, positive=True) for name in ("b", "t", "u", "x", "y")},
           **{name: sympy.Symbol(name, real=True) for name in ("a", "p", "q", "r")},
           "d": sympy.Symbol("d", integer=True, nonnegative=True)}


def decoded_depth(num_bins: int) -> float:
    """What Eq 3 of choi2024 makes of 3 m, mapped by its Eq 1 and 2 (sigma = 0.8 m) and normalised by softmax."""
    edges = depth_bins(num_bins).double()
    return float(expected_depth(depth_probability_map(torch.full((1, 1, 1, 1), 3.0, dtype=torch.float64), edges, 0.8),
                                edges))


FUNCTIONS: dict[str, Callable[[int], float]] = {"expected_selectivity": expected_selectivity,
                                                "decoded_depth": decoded_depth}
WORDS = ("Abs", "Derivative", "Integral", "Product", "Rational", "Sum", "binomial", "exp", "factorial", "log", "oo",
         "abs", "pi", "sqrt")  # of sympy
PARTS = (ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Call, ast.Name, ast.Load, ast.Constant, ast.Tuple,
         ast.Attribute)  # of a formula; the attribute is a column's norm()
COUNTS = (2, 3, 10, 64, 256)  # values of N at which both sides are compared
LIMIT = (10**3, 10**4, 10**5, 10**6)
VALUES = {"b": 2.5, "t": 0.7, "u": 0.4, "x": 1.5, "y": 0.3, "a": 1.7, "p": 0.6, "q": -0.9, "r": -0.2}
SIGNED = (4.0, 1.7, 0.3, -0.3, -1.0, -4.0)  # values of a symbol whose sign decides
EQUAL = 1e-9  # relative; the library's functions are exact to 1e-11


def check_identity(left: str, right: str, *, limit: str | None = None,
                   positive: str | None = None) -> tuple[str, pd.DataFrame]:
    """Whether two expressions are equal for every N >= 2, all positive and all real values of the other symbols.

    "holds" needs a proof by sympy, or nine equal digits at every N of `COUNTS`. "holds only if" is for expressions
    that differ there, but whose difference falls at every step of `LIMIT`, by the last to less than 1e-5; or that
    are equal at the positive values of `SIGNED` and not at all of the negative ones.

    Args:
        left, right: in the language of sympy, with the symbols N (a count), b, t, u, x, y (positive), a, p, q, r
            (real), d (an index), and functions of N by the names in `FUNCTIONS`; ``direction(z)`` is the unit vector
            along the second derivatives (z_xx, z_xy, z_yy), a column.
        limit: ``"N"``, where equality in the limit of many is to be looked at as well.
        positive: a real symbol, where equality for its positive values is to be looked at as well.

    Returns:
        ``"holds"``, ``"holds only if"`` or ``"contradicted"``, and a table with the columns N, left, right, difference
        for `COUNTS`; with `positive` that symbol's name for N, and a row for each of `SIGNED`.

    Raises:
        ValueError: an expression that cannot be read or has no value, or an unknown limit or sign.

    Explained in notebooks/03_expected_selectivity.ipynb and, for signs, notebooks/08_normalized_hessian.ipynb.
    """
    if limit not in (None, "N"):
        raise ValueError(f"limit is {limit!r}: only 'N' can go to infinity here")
    sides = [_read(left), _read(right)]
    if positive is not None:
        return _check_sign(*sides, positive)
    rows = [(n, *(_value(side, n) for side in sides)) for n in COUNTS]
    table = pd.DataFrame(rows, columns=["N", "left", "right"]).assign(difference=lambda t: t["left"] - t["right"])
    size = table[["left", "right"]].abs().max(axis=1)
    if _proved(*sides) or (table["difference"].abs() <= EQUAL * size).all():
        return "holds", table
    if limit:
        gaps = [abs(_value(sides[0], n) - _value(sides[1], n)) for n in LIMIT]
        if gaps[-1] < 1e-5 and all(a > b for a, b in pairwise(gaps)):
            return "holds only if", table
    return "contradicted", table


def _check_sign(left: sympy.Expr, right: sympy.Expr, name: str) -> tuple[str, pd.DataFrame]:
    """As `check_identity`, over the signs of one symbol."""
    if name not in SYMBOLS or SYMBOLS[name].is_positive is not None:
        raise ValueError(f"positive is {name!r}: only a real symbol (a, p, q, r) has a sign that can decide")
    rows = [(at, *(_value(side, COUNTS[0], {name: at}) for side in (left, right))) for at in SIGNED]
    table = pd.DataFrame(rows, columns=[name, "left", "right"]).assign(difference=lambda t: t["left"] - t["right"])
    fine = table["difference"].abs() <= EQUAL * table[["left", "right"]].abs().max(axis=1).clip(lower=1.0)
    if fine.all():
        return "holds", table
    return ("holds only if" if fine[table[name] > 0].all() else "contradicted"), table


def _direction(surface: sympy.Expr) -> sympy.Matrix:
    """(z_xx, z_xy, z_yy) divided by its norm."""
    x, y = SYMBOLS["x"], SYMBOLS["y"]
    return sympy.Matrix([surface.diff(x, 2), surface.diff(x, y), surface.diff(y, 2)]).normalized()


def _read(text: str) -> sympy.Expr:
    _refuse_code(text)
    names = SYMBOLS | {name: sympy.Function(name) for name in FUNCTIONS} | {"direction": _direction}
    try:
        expression = sympy.sympify(text, locals=names)
    except (sympy.SympifyError, TypeError, AttributeError) as error:
        raise ValueError(f"the expression {text!r} cannot be read: {error}") from None
    unknown = sorted({str(s) for s in expression.free_symbols} - set(SYMBOLS)
                     | {str(f.func) for f in expression.atoms(sympy.core.function.AppliedUndef)} - set(FUNCTIONS))
    if unknown:
        raise ValueError(f"the expression {text!r} names {unknown[0]!r}: expected {', '.join(SYMBOLS)} and "
                         f"{', '.join(FUNCTIONS)}")
    return expression.doit()


def _refuse_code(text: str) -> None:
    """Let only formulas through: sympy reads text by running it as Python."""
    try:
        nodes = list(ast.walk(ast.parse(str(text).strip(), mode="eval").body))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"the expression {text!r} cannot be read: {error}") from None
    known = {*SYMBOLS, *FUNCTIONS, *WORDS, "direction"}
    for node in nodes:
        if isinstance(node, ast.Name) and node.id not in known:
            raise ValueError(f"the expression {text!r} names {node.id!r}: expected {', '.join(SYMBOLS)}, "
                             f"{', '.join(FUNCTIONS)} and {', '.join(WORDS)}")
        if (not isinstance(node, PARTS) or (isinstance(node, ast.Attribute) and node.attr != "norm")
                or (isinstance(node, ast.Constant) and type(node.value) not in (int, float))):
            raise ValueError(f"the expression {text!r} cannot be read: {ast.unparse(node)!r} is no formula; use "
                             "numbers, symbols, arithmetic and functions")


def _proved(left: sympy.Expr, right: sympy.Expr) -> bool:
    return sympy.simplify(left - right) == 0


def _value(expression: sympy.Expr, count: int, others: dict[str, float] | None = None) -> float:
    values = VALUES | (others or {})
    at = expression.subs({SYMBOLS["N"]: count, **{SYMBOLS[name]: sympy.Float(v) for name, v in values.items()}}).doit()
    for name, function in FUNCTIONS.items():
        at = at.replace(sympy.Function(name), lambda n, f=function: sympy.Float(f(int(n)), 17))
    number = sympy.N(at)
    if not number.is_real:
        raise ValueError(f"{expression} has no value at N = {count}: it gave {number}")
    return float(number)
