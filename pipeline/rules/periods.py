"""Periods of a benefit: once, a year, a quarter, a month or a week, and the days they begin and end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

from pipeline.facts import FIRST_DAY, LAST_DAY, day, day_date

_LABEL = re.compile(r"(\d{4})(?:-Q([1-4])|-(0[1-9]|1[0-2])|-W(\d\d))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Period:
    """The stretch of time one decision is about. `start` and `end` are day numbers, both within the period.

    Weeks are those of ISO 8601: from Monday to Sunday, and of the year in which most of their days lie.
    """

    label: str
    kind: str
    start: int
    end: int
    year: int

    def __str__(self) -> str:
        return self.label


ONCE = Period("once", "once", FIRST_DAY, LAST_DAY, 0)


def parse_period(label: str) -> Period:
    """``once``, ``2022``, ``2022-Q1``, ``2022-03`` or ``2022-W05``; ValueError holds anything else."""
    if label == "once":
        return ONCE
    match = _LABEL.fullmatch(label)
    if not match or not 1 <= int(match[1]) <= 9998:
        raise ValueError(f"{label!r} is no period, write once, 2022, 2022-Q1, 2022-03 or 2022-W05")
    year = int(match[1])
    if match[4]:
        return _week(label, year, int(match[4]))
    if match[2]:
        kind, first, months = "quarter", 3 * int(match[2]) - 2, 3
    elif match[3]:
        kind, first, months = "month", int(match[3]), 1
    else:
        kind, first, months = "year", 1, 12
    following = date(year + (first + months > 12), (first + months - 1) % 12 + 1, 1)
    return Period(label, kind, day(date(year, first, 1)), day(following) - 1, year)


def _week(label: str, year: int, number: int) -> Period:
    try:
        monday = day(date.fromisocalendar(year, number, 1))
    except ValueError:
        raise ValueError(f"{label!r} is no period: the year {year} has no week {number}") from None
    return Period(label, "week", monday, monday + 6, year)


EXAMPLES = {"year": "2022", "quarter": "2022-Q1", "month": "2022-03", "week": "2022-W05"}

PER_YEAR = {"once": 1, "year": 1, "quarter": 4, "month": 12, "week": 52}
"""How many periods a year has for a budget: a year has 52 weeks and a day or two."""

DAYS_WITHIN = {"year": (364, 365), "quarter": (89, 91), "month": (27, 30), "week": (6, 6)}
"""How many days there are at least and at most from the first day of a period to its last."""


def period_for(kind: str, label: str) -> Period:
    """The period of a benefit decided once, per year, quarter, month or week; ValueError says which kind is wanted, with an example."""
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
    """The year, quarter, month or week that a day lies in; every day lies in once."""
    if kind == "once":
        return ONCE
    found = day_date(on)
    if kind == "week":
        year, week, _ = found.isocalendar()
        return parse_period(f"{year:04d}-W{week:02d}")
    label = {"year": f"{found.year:04d}", "quarter": f"{found.year:04d}-Q{(found.month + 2) // 3}", "month": f"{found.year:04d}-{found.month:02d}"}[kind]
    return parse_period(label)
