"""Slips of the pen: what a written value, a key or an expression would be with one small mistake in it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

_NUMBER = re.compile(r"[+-]?\d[\d_]*(\.\d+)?", re.ASCII)
_RANGE = re.compile(r"([+-]?\d[\d_.]*?)?(-|\.\.<?)([+-]?\d[\d_]*(?:\.\d+)?)?", re.ASCII)
_COMPARED: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="),
    ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
}  # fmt: skip
_JOINED = {ast.And: ("and", "or"), ast.Or: ("or", "and")}
_ADDED: dict[type[ast.operator], tuple[str, str]] = {ast.Add: ("+", "-"), ast.Sub: ("-", "+")}
_CALLED = {"min": "max", "max": "min", "full_steps": "started_steps", "started_steps": "full_steps"}


def number_slips(text: str) -> list[str]:
    """One less and one more in the last place that is written."""
    digits = len(text.partition(".")[2].replace("_", ""))
    value, unit = Fraction(text.replace("_", "")), Fraction(1, 10**digits)
    return [_written(value - unit, digits), _written(value + unit, digits)]


def _written(value: Fraction, digits: int) -> str:
    whole = abs(value * 10**digits).numerator
    text = f"{whole // 10**digits}.{whole % 10**digits:0{digits}d}" if digits else str(whole)
    return f"-{text}" if value < 0 else text


def value_slips(text: str) -> list[str]:
    """The slips of a number, a percentage, a share or a date; none of other texts."""
    if _NUMBER.fullmatch(text):
        return number_slips(text)
    if text.endswith("%") and _NUMBER.fullmatch(text[:-1].strip()):
        return [f"{other} %" for other in number_slips(text[:-1].strip())]
    share = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
    if share:
        return [f"{other}/{share[2]}" for other in number_slips(share[1])]
    return _day_slips(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else []


def _day_slips(text: str) -> list[str]:
    try:
        written = date.fromisoformat(text)
        return [(written + timedelta(days=later)).isoformat() for later in (-1, 1)]
    except (ValueError, OverflowError):
        return []


def key_slips(text: str) -> Iterator[str]:
    """A key with one of its ends one less or one more."""
    if _NUMBER.fullmatch(text):
        yield from number_slips(text)
        return
    span = _RANGE.fullmatch(text)
    if span is None:
        return
    low, sign, high = span.groups()
    for other in number_slips(low) if low else ():
        yield f"{other}{sign}{high or ''}"
    for other in number_slips(high) if high else ():
        yield f"{low or ''}{sign}{other}"


def shifted_keys(first: str, second: str) -> Iterator[tuple[str, str]]:
    """Two keys that follow each other, with the boundary between them one less and one more."""
    one, other = _RANGE.fullmatch(first), _RANGE.fullmatch(second)
    if one is None or other is None or not one[3] or not other[1]:
        return
    gap = Fraction(other[1].replace("_", "")) - Fraction(one[3].replace("_", ""))
    if gap != (0 if one[2].endswith("<") else 1):
        return
    for end, start in zip(number_slips(one[3]), number_slips(other[1]), strict=True):
        yield f"{one[1] or ''}{one[2]}{end}", f"{start}{other[2]}{other[3] or ''}"


@dataclass(frozen=True, slots=True)
class Slip:
    """A part of an expression, from a character on, and what stands there instead."""

    start: int
    was: str
    now: str

    def of(self, text: str) -> str:
        """The expression with the slip in it."""
        return text[: self.start] + self.now + text[self.start + len(self.was) :]


def expression_slips(text: str, condition: bool = False) -> Iterator[Slip]:
    """An expression with one constant, comparison, date or word changed; a condition without any is turned round as a whole."""
    lead, stripped = len(text) - len(text.lstrip()), text.strip()
    values = value_slips(stripped)
    if values:
        yield from (Slip(lead, stripped, other) for other in values)
        return
    found = {slip for node in ast.walk(ast.parse(stripped, mode="eval")) for slip in _of_node(stripped, node)}
    for start, end, instead in sorted(found):
        yield Slip(lead + start, stripped[start:end], instead)
    if condition and not found:
        yield Slip(lead, stripped, f"not ({stripped})")


def _of_node(text: str, node: ast.AST) -> Iterator[tuple[int, int, str]]:
    """(from, to, what stands there instead) for each slip that a node of the syntax allows."""
    if isinstance(node, ast.Compare):
        for left, operator, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            yield from _between(text, left, right, *_COMPARED[type(operator)])
    elif isinstance(node, ast.BoolOp):
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from _between(text, left, right, *_JOINED[type(node.op)])
    elif isinstance(node, ast.BinOp) and type(node.op) in _ADDED:
        yield from _between(text, node.left, node.right, *_ADDED[type(node.op)])
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLED:
        start, end = _span(text, node.func)
        yield start, end, _CALLED[node.func.id]
    elif isinstance(node, ast.Constant):
        start, end = _span(text, node)
        if isinstance(node.value, str):
            quote = text[start]
            yield from ((start, end, f"{quote}{other}{quote}") for other in _day_slips(node.value))
        elif _NUMBER.fullmatch(text[start:end]):
            yield from ((start, end, other) for other in number_slips(text[start:end]))


def _between(text: str, left: ast.expr, right: ast.expr, word: str, instead: str) -> Iterator[tuple[int, int, str]]:
    start, end = _span(text, left)[1], _span(text, right)[0]
    found = re.search(re.escape(word).replace(r"\ ", r"\s+"), text[start:end])
    if found:
        yield start + found.start(), start + found.end(), instead


def _span(text: str, node: ast.expr) -> tuple[int, int]:
    """Where a node begins and ends, in characters; the syntax counts in bytes."""
    lines = text.split("\n")
    raw = text.encode()
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()) + 1)
    ends = (starts[node.lineno - 1] + node.col_offset, starts[(node.end_lineno or 1) - 1] + (node.end_col_offset or 0))
    first, last = (len(raw[:end].decode(errors="ignore")) for end in ends)
    return first, last
