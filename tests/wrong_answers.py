"""Wrong answers made from right ones: each differs from a solution in one place, as a slip of the learner would."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
             ast.FloorDiv: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd}
COMPARED = {ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt),
            ast.GtE: (ast.Gt, ast.LtE), ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,)}
NAMES = {
    "mean": "sum", "sum": "mean", "max": "min", "min": "max", "maximum": "minimum", "minimum": "maximum",
    "argmax": "argmin", "argmin": "argmax", "std": "var", "exp": "log", "log": "exp", "sin": "cos", "cos": "sin",
    "amax": "amin", "amin": "amax", "all": "any", "any": "all", "log_softmax": "softmax", "softmax": "log_softmax",
    "logsumexp": "sum", "cumsum": "cumprod", "cumprod": "cumsum", "zeros_like": "ones_like",
    "ones_like": "zeros_like", "floor": "ceil", "ceil": "floor", "diff": "cumsum", "norm": "sum"}
DROPPED = {"abs", "sqrt", "square", "clamp", "sort", "log", "exp", "float", "clone", "relu", "T"}


def slips(code: str) -> dict[str, str]:
    """The body of a function -> what was changed -> the body with that slip, in the order of the lines.

    Args:
        code: statements, as they stand in a solution.
    """
    tree = ast.parse(f"def f():\n{''.join(f'    {line}' for line in code.splitlines(keepends=True))}")
    found = {}
    for place, node in enumerate(ast.walk(tree)):
        for changed in _changed(node):
            other = copy.deepcopy(tree)
            was = list(ast.walk(other))[place]
            _put(other, was, changed)
            ast.fix_missing_locations(other)
            text = ast.unparse(ast.Module(other.body[0].body, []))
            where = f"line {getattr(node, 'lineno', 2) - 1}: {ast.unparse(node)} -> {ast.unparse(changed)}"
            if text != ast.unparse(ast.Module(tree.body[0].body, [])):
                found[where] = text
    return found


def _put(tree: ast.AST, was: ast.AST, now: ast.AST) -> None:
    class Put(ast.NodeTransformer):
        def visit(self, node: ast.AST) -> ast.AST:
            return now if node is was else self.generic_visit(node)

    Put().visit(tree)


def _changed(node: ast.AST) -> Iterator[ast.AST]:
    """All single slips at one place of the tree."""
    if isinstance(node, ast.BinOp):
        if type(node.op) in OPERATORS:
            yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
        if isinstance(node.op, ast.Sub | ast.Div | ast.Pow | ast.MatMult):
            yield ast.BinOp(node.right, node.op, node.left)
        yield node.left
        yield node.right
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        for other in COMPARED.get(type(node.ops[0]), ()):
            yield ast.Compare(node.left, [other()], node.comparators)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield ast.Constant(node.value + 1)
        if node.value:
            yield ast.Constant(0)
    elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        yield node.value
    elif isinstance(node, ast.Call):
        yield from _changed_call(node)
    elif isinstance(node, ast.Slice):
        yield ast.Slice(node.upper, node.lower)
        for end in (node.lower, node.upper):
            if end is not None:
                yield ast.Slice()
                yield ast.Slice(*(ast.BinOp(end, ast.Add(), ast.Constant(1)) if other is end else other
                                  for other in (node.lower, node.upper)))
                yield ast.Slice(*(ast.UnaryOp(ast.USub(), end) if other is end else other
                                  for other in (node.lower, node.upper)))
    elif isinstance(node, ast.Tuple) and isinstance(node.ctx, ast.Load):
        for place in range(len(node.elts)):
            yield ast.Tuple(node.elts[:place] + node.elts[place + 1:], node.ctx)
        yield ast.Tuple(node.elts[::-1], node.ctx)
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.UnaryOp(ast.USub(), node.value))
        yield ast.Return(ast.BinOp(node.value, ast.Add(), ast.Constant(1)))
        yield ast.Return(ast.BinOp(node.value, ast.Mult(), ast.Constant(2)))
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse


def _changed_call(node: ast.Call) -> Iterator[ast.AST]:
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    if name in NAMES:
        other = (ast.Attribute(called.value, NAMES[name], called.ctx) if isinstance(called, ast.Attribute)
                 else ast.Name(NAMES[name], called.ctx))
        yield ast.Call(other, node.args, node.keywords)
    if name in DROPPED and isinstance(called, ast.Attribute):
        yield called.value if not (isinstance(called.value, ast.Name) and called.value.id in ("torch", "math", "np")
                                   ) else node.args[0]
    for place in range(len(node.args)):
        if len(node.args) > 1:
            yield ast.Call(called, node.args[:place] + node.args[place + 1:], node.keywords)
    if len(node.args) == 2:
        yield ast.Call(called, node.args[::-1], node.keywords)
    for word in node.keywords:
        yield ast.Call(called, node.args, [other for other in node.keywords if other is not word])
