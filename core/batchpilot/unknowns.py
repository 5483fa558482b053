"""Unknown values (None, NaN, pandas' NA and NaT) and the logic of three values that goes with them.

An unknown result is spelled None here.
"""

from __future__ import annotations

import ast
import operator
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any


Row = tuple[Any, ...]
Step = Callable[[Row], Any]
Compile = Callable[[ast.expr], Callable[..., Any]]
Build = Callable[[ast.expr], Step]

_NEVER = frozenset((int, str, bool, bytes, tuple, list, dict, set, frozenset, range))


def is_unknown(value: object) -> bool:
    """Tell whether a value stands for "not known"."""
    kind = type(value)
    if value is None:
        return True
    if kind in _NEVER:
        return False
    if isinstance(value, float):
        return value != value  # noqa: PLR0124 - only NaN differs from itself
    module = kind.__module__.partition(".")[0]
    if module == "numpy":
        return getattr(value, "ndim", 1) == 0 and _differs_from_itself(value)
    return module == "pandas" and _is_pandas_missing(value)


def without_unknowns(column: Sequence[Any]) -> bool:
    """Tell, fast, whether no value of a column is unknown."""
    kinds = set(map(type, column))
    if kinds <= _NEVER:
        return True
    if kinds <= _NEVER | {float}:
        return not any(map(operator.ne, column, column))
    return not any(map(is_unknown, column))


def kleene(node: ast.expr, compiled: Compile) -> Step:
    """Return a function of a row that evaluates an expression where some values are unknown.

    Args:
        node: The expression.
        compiled: Turns a part of it into a function of a row's values, for plain evaluation.
    """
    build = partial(kleene, compiled=compiled)
    return _STEPS.get(type(node), _plain)(node, build, compiled)


def _bool(node: Any, build: Build, _: Compile) -> Step:
    decisive = isinstance(node.op, ast.Or)
    return partial(_decide, [build(value) for value in node.values], decisive)


def _unary(node: Any, build: Build, _: Compile) -> Step:
    return partial(_strict, _UNARY[type(node.op)], [build(node.operand)])


def _binary(node: Any, build: Build, _: Compile) -> Step:
    return partial(_strict, _BINARY[type(node.op)], [build(node.left), build(node.right)])


def _comparison(node: Any, build: Build, _: Compile) -> Step:
    operands = [build(operand) for operand in (node.left, *node.comparators)]
    links: list[Step] = [
        partial(_IDENTITY.get(type(op), _strict_link), _COMPARE[type(op)], left, right)
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False)
    ]
    return links[0] if len(links) == 1 else partial(_decide, links, False)


def _either(node: Any, build: Build, _: Compile) -> Step:
    return partial(_choose, build(node.test), build(node.body), build(node.orelse))


def _attribute(node: Any, build: Build, _: Compile) -> Step:
    return partial(_attribute_of, build(node.value), node.attr)


def _element(node: Any, build: Build, _: Compile) -> Step:
    return partial(_strict, operator.getitem, [build(node.value), build(node.slice)])


def _call(node: Any, build: Build, compiled: Compile) -> Step:
    plain = partial(_native, compiled(node), forgiving=True)
    if isinstance(node.func, ast.Attribute):
        return partial(_method_of, build(node.func.value), plain)
    return plain


def _plain(node: ast.expr, _: Build, compiled: Compile) -> Step:
    return partial(_native, compiled(node), forgiving=False)


def _decide(steps: Sequence[Step], decisive: bool, row: Row) -> Any:
    """Evaluate `and` (decided by False) or `or` (decided by True)."""
    unknown = False
    value: Any = None
    for step in steps:
        value = step(row)
        if is_unknown(value):
            unknown = True
        elif bool(value) is decisive:
            return value
    return None if unknown else value


def _strict(operation: Callable[..., Any], steps: Sequence[Step], row: Row) -> Any:
    """Apply an operation; with an unknown operand the outcome is unknown."""
    values = [step(row) for step in steps]
    return None if any(map(is_unknown, values)) else operation(*values)


def _strict_link(operation: Callable[..., Any], left: Step, right: Step, row: Row) -> Any:
    return _strict(operation, (left, right), row)


def _plain_link(operation: Callable[..., Any], left: Step, right: Step, row: Row) -> Any:
    return operation(left(row), right(row))


def _choose(test: Step, body: Step, orelse: Step, row: Row) -> Any:
    chosen = test(row)
    if is_unknown(chosen):
        return None
    return body(row) if chosen else orelse(row)


def _attribute_of(step: Step, name: str, row: Row) -> Any:
    value = step(row)
    return None if is_unknown(value) else getattr(value, name)


def _method_of(owner: Step, call: Step, row: Row) -> Any:
    """Call a method; an unknown has none."""
    return None if is_unknown(owner(row)) else call(row)


def _native(function: Callable[..., Any], row: Row, *, forgiving: bool) -> Any:
    """Evaluate plainly; a call that cannot take an unknown (`len(None)`) has no known outcome."""
    try:
        return function(*row)
    except TypeError:
        if forgiving:
            return None
        raise


def _in(value: Any, container: Any) -> bool:
    return bool(value in container)


def _not_in(value: Any, container: Any) -> bool:
    return value not in container


def _differs_from_itself(value: Any) -> bool:
    return bool(value != value)  # noqa: PLR0124 - only NaN and NaT differ from themselves


def _is_pandas_missing(value: object) -> bool:
    pandas: Any = sys.modules["pandas"]
    return value is pandas.NA or value is pandas.NaT


_IDENTITY: dict[type[ast.cmpop], Callable[..., Any]] = {ast.Is: _plain_link, ast.IsNot: _plain_link}
_COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: _in,
    ast.NotIn: _not_in,  # codespell:ignore notin
}
_UNARY: dict[type[ast.unaryop], Callable[..., Any]] = {
    ast.Not: operator.not_,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
}
_BINARY: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.MatMult: operator.matmul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
}
_STEPS: dict[type[ast.expr], Callable[[Any, Build, Compile], Step]] = {
    ast.BoolOp: _bool,
    ast.UnaryOp: _unary,
    ast.BinOp: _binary,
    ast.Compare: _comparison,
    ast.IfExp: _either,
    ast.Attribute: _attribute,
    ast.Subscript: _element,
    ast.Call: _call,
}
