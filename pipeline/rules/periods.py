"""Periods of a benefit: once, a year, a quarter or a month, and the days they begin and end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from pipeline.facts import FIRST_DAY, LAST_DAY, day, day_date

_LABEL = re.compile(r"(\d{4})(?:-Q([1-4])|-(0[1-9]|1[0-2]))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """The stretch of time one decision is about. `start` and `end` are day numbers, both within the period."""

    label: str
    kind: str
    start: int
    end: int
    year: int

    def __str__(self) -> str:
        return self.label


ONCE = Period("once", "once", FIRST_DAY, LAST_DAY, 0)


def parse_period(label: str) -> Period:
    """``once``, ``2022``, ``2022-Q1`` or ``2022-03``; ValueError holds anything else."""
    if label == "once":
        return ONCE
    match = _LABEL.fullmatch(label)
    if not match or not 1 <= int(match[1]) <= 9998:
        raise ValueError(f"{label!r} is no period, write once, 2022, 2022-Q1 or 2022-03")
    year = int(match[1])
    if match[2]:
        kind, first, months = "quarter", 3 * int(match[2]) - 2, 3
    elif match[3]:
        kind, first, months = "month", int(match[3]), 1
    else:
        kind, first, months = "year", 1, 12
    following = date(year + (first + months > 12), (first + months - 1) % 12 + 1, 1)
    return Period(label, kind, day(date(year, first, 1)), day(following) - 1, year)


EXAMPLES = {"year": "2022", "quarter": "2022-Q1", "month": "2022-03"}


DAYS_WITHIN = {"year": (364, 365), "quarter": (89, 91), "month": (27, 30)}
"""How many days there are at least and at most from the first day of a period to its last."""


def period_for(kind: str, label: str) -> Period:
    """The period of a benefit decided once, per year, quarter or month; ValueError says which kind is wanted, with an example."""
    if kind == "once":
        if label not in ("", "once"):
            raise ValueError(f"the benefit is decided once, not for {label}")
        return ONCE
    if not label:
        raise ValueError(f"there is no period: the benefit is decided per {kind}, write it like {EXAMPLES[kind]}")
    try:
        period = parse_period(label)
    except ValueError:
        raise ValueError(f"{label!r} is no {kind}, write it like {EXAMPLES[kind]}") from None
    if period.kind != kind:
        raise ValueError(f"{label!r} is no {kind}, write it like {EXAMPLES[kind]}")
    return period


def period_with(kind: str, on: int) -> Period:
    """The year, quarter or month that a day lies in."""
    found = day_date(on)
    label = {"year": f"{found.year:04d}", "quarter": f"{found.year:04d}-Q{(found.month + 2) // 3}", "month": f"{found.year:04d}-{found.month:02d}"}[kind]
    return parse_period(label)
