"""Written values of a rule document in physical form: money in minor units, days as day numbers, shares as exact fractions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from fractions import Fraction
from math import ceil, floor

from pipeline.facts import day
from pipeline.money import parse_minor
from pipeline.problems import suggestion

from .rule import Key

_NUMBER = re.compile(r"[+-]?\d[\d_]*(\.\d+)?", re.ASCII)
_DASHED = re.compile(r"\s*(\d[\d_]*(?:\.\d+)?)\s*()-\s*(\d[\d_]*(?:\.\d+)?)\s*", re.ASCII)
_SPAN = re.compile(r"(.*?)\.\.(<?)(.*)")
_SHARE = re.compile(r"\d[\d_]*/[1-9][\d_]*", re.ASCII)


def is_number(text: str) -> bool:
    return bool(_NUMBER.fullmatch(text))


def read_number(text: str) -> Fraction:
    if not is_number(text):
        raise ValueError(f"{text!r} is not a number, write it like 1_234.5")
    return Fraction(text.replace("_", ""))


def read_day(text: str) -> int:
    try:
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
            raise ValueError
        return day(date.fromisoformat(text))
    except ValueError:
        raise ValueError(f"{text!r} is not a date that exists, write it like 2022-01-31") from None


def read_yes_no(text: str) -> bool:
    if text not in ("yes", "no", "true", "false"):
        raise ValueError(f"{text!r} is neither yes nor no")
    return text in ("yes", "true")


def read_value(text: str, kind: str, currency: str) -> Fraction | str | bool:
    """A parameter's value: money in minor units, percent and ratio as a fraction of one."""
    if kind == "money":
        return Fraction(parse_minor(text, currency))
    if kind == "percent":
        return read_number(text.removesuffix("%").strip()) / 100
    if kind == "ratio":
        return Fraction(text.replace("_", "")) if _SHARE.fullmatch(text) else read_number(text)
    if kind in ("number", "years"):
        return read_number(text)
    if kind == "date":
        return Fraction(read_day(text))
    return read_yes_no(text) if kind == "yes_no" else text


def read_fact(text: str, kind: str, currency: str, one_of: Sequence[str] = ()) -> int | bool | str:
    """A fact's value as a column holds it."""
    if kind == "money":
        return parse_minor(text, currency)
    if kind in ("number", "years", "percent"):
        number = read_number(text)
        if number.denominator != 1:
            raise ValueError(f"{text!r} is not a whole number")
        return number.numerator
    if kind == "date":
        return read_day(text)
    if kind == "yes_no":
        return read_yes_no(text)
    if one_of and text not in one_of:
        near = suggestion(text, one_of)
        raise ValueError(f"{text!r} is none of {', '.join(one_of)}" + (f", {near}" if near else ""))
    return text


def read_range(text: str, kind: str, currency: str) -> tuple[int, int]:
    """``0..130`` in the fact's own unit."""
    low, dots, high = text.partition("..")
    if not dots:
        raise ValueError(f"{text!r} is no range, write it like 0..130")
    bounds = [int(read_fact(part.strip(), kind, currency)) for part in (low, high)]
    if bounds[0] > bounds[1]:
        raise ValueError(f"{text!r} is empty: its first value is above its last")
    return bounds[0], bounds[1]


def read_key(text: str, kind: str, currency: str, one_of: Sequence[str], bounds: tuple[int, int], den: int = 1) -> Key:
    """A key: ``3``, ``3-6``, ``-5..5``, ``0..<10_000`` (up to, not including), ``15..``, ``..<0``, a text of the fact, or yes/no.

    A range is in whole parts of 1/`den`, as the column holds them; where an end is left open, it is that of `bounds`.
    """
    if kind == "yes_no":
        return Key(value=read_yes_no(text))
    if kind == "text" or (kind == "ratio" and one_of):
        return Key(value=str(read_fact(text, kind, currency, one_of)))
    span = _DASHED.fullmatch(text) or _SPAN.fullmatch(text)
    low, below, high = span.groups() if span else (text, "", text)
    ends = [Fraction(str(read_value(end.strip(), kind, currency))) * den if end.strip() else None for end in (low, high)]
    if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
        raise ValueError(f"{text!r} is empty: its first value is above its last")
    first = bounds[0] if ends[0] is None else ceil(ends[0])
    last = bounds[1] if ends[1] is None else ceil(ends[1]) - 1 if below else floor(ends[1])
    if first > last:
        raise ValueError(f"{text!r} holds no value that can be")
    return Key(first, last)
