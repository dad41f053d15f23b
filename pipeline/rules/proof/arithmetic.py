"""Whole numbers and truths of the solver, calculated at once where they are known here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import z3  # type: ignore[import-untyped]

Whole = Any
"""An int, or a whole number of the solver."""
Truth = Any
"""A bool, or a truth of the solver."""


def every(*parts: Truth) -> Truth:
    open_parts = []
    for part in parts:
        if part is False:
            return False
        if part is not True:
            open_parts.append(part)
    return True if not open_parts else open_parts[0] if len(open_parts) == 1 else z3.And(open_parts)


def some(*parts: Truth) -> Truth:
    open_parts = []
    for part in parts:
        if part is True:
            return True
        if part is not False:
            open_parts.append(part)
    return False if not open_parts else open_parts[0] if len(open_parts) == 1 else z3.Or(open_parts)


def negated(part: Truth) -> Truth:
    return not part if isinstance(part, bool) else z3.Not(part)


def choose(when: Truth, one: Any, other: Any) -> Any:
    """`one` where `when` holds, else `other`: two whole numbers or two truths."""
    if isinstance(when, bool):
        return one if when else other
    if same(one, other):
        return one
    if one is True and other is False:
        return when
    if one is False and other is True:
        return negated(when)
    return z3.If(when, solved(one), solved(other))


def same(one: Any, other: Any) -> bool:
    """Whether two are surely one; what is not surely one may still be equal."""
    if z3.is_expr(one) and z3.is_expr(other):
        return bool(one.eq(other))
    return not z3.is_expr(one) and not z3.is_expr(other) and type(one) is type(other) and one == other


def solved(value: Any) -> Any:
    """A value as the solver has it."""
    if isinstance(value, bool):
        return z3.BoolVal(value)
    return z3.IntVal(value) if isinstance(value, int) else value


def times(value: Whole, factor: int) -> Whole:
    return value if factor == 1 else 0 if factor == 0 else value * factor


def divided(value: Whole, size: Whole) -> Whole:
    """The whole steps of a size above zero in a value, rounded down."""
    if isinstance(size, int):
        return value if size == 1 else value // size if isinstance(value, int) else value / z3.IntVal(size)
    return solved(value) / size


def compared(op: str, one: Any, other: Any) -> Truth:
    """eq, ne, lt, le, gt or ge."""
    if same(one, other):
        return op in ("eq", "le", "ge")
    operation = {"eq": "__eq__", "ne": "__ne__", "lt": "__lt__", "le": "__le__", "gt": "__gt__", "ge": "__ge__"}[op]
    if not z3.is_expr(one) and not z3.is_expr(other):
        return bool(getattr(one, operation)(other))
    return getattr(solved(one), operation)(solved(other))


def among(value: Whole, numbers: Iterable[int]) -> Truth:
    return some(*(compared("eq", value, number) for number in numbers))


def within(value: Whole, low: int, high: int) -> Truth:
    return every(compared("ge", value, low), compared("le", value, high))
