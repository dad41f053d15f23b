"""The stretches of time between which no parameter of a rule changes, and the days of a period in one of them as the solver has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import z3  # type: ignore[import-untyped]

from pipeline.facts import FIRST_DAY, LAST_DAY, day, day_date
from pipeline.rules.periods import DAYS_WITHIN, ONCE, PER_YEAR, Period, parse_period, period_with
from pipeline.rules.rule import Rule
from pipeline.rules.terms import Term

from .arithmetic import Truth, Whole, divided, times
from .calendar import first_day

_LAST_YEAR = 9998
SOON_YEARS = 5
"""People are looked for in so many years first, since a search through all the years to come takes long."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A parameter segment with its first and last day, and the numbers of the first and the last period that it decides."""

    segment: int
    first: int
    last: int
    periods: tuple[int, int]

    def __str__(self) -> str:
        return f"from {day_date(self.first)}" + (f" to {day_date(self.last)}" if self.last < LAST_DAY else "")


def stretches(rule: Rule) -> list[Stretch]:
    """The stretches of a rule in which somebody is decided, from the first to the last."""
    found = []
    for segment, first in enumerate(rule.segments):
        last = rule.segments[segment + 1] - 1 if segment + 1 < len(rule.segments) else rule.in_force[1]
        if rule.period_kind == "once":
            on = None if rule.parameters_at == "event.date" else rule.day(rule.parameters_at, ONCE)
            periods = (0, 0) if on is None or first <= on <= last else (1, 0)
        elif rule.parameters_at == "event.date":
            periods = _number(rule.period_kind, rule.in_force[0]), _number(rule.period_kind, rule.in_force[1])
        else:
            periods = _within(rule, first, last)
        if periods[0] <= periods[1]:
            found.append(Stretch(segment, first, last, periods))
    return found


def _number(kind: str, on: int) -> int:
    """The number of the period that a day is in, counted from the year 0; a week from the first one of the year 1."""
    if kind == "week":
        return (min(on, day(date(_LAST_YEAR, 12, 28))) - FIRST_DAY) // 7
    date_on = day_date(on)
    each = PER_YEAR[kind]
    return min(date_on.year, _LAST_YEAR) * each + (date_on.month - 1) * each // 12


def _within(rule: Rule, first: int, last: int) -> tuple[int, int]:
    """The periods whose day for the parameters is within two days."""
    low, high = _number(rule.period_kind, first), _number(rule.period_kind, last)
    days = [rule.day(rule.parameters_at, period_of(rule.period_kind, number)) for number in (low, high)]
    return low + (days[0] < first), high - (days[1] > last)


def period_of(kind: str, number: int) -> Period:
    """The period of a number."""
    if kind == "once":
        return ONCE
    if kind == "week":
        return period_with("week", FIRST_DAY + 7 * number)
    year, turn = divmod(number, PER_YEAR[kind])
    return parse_period(f"{year:04}" + {"year": "", "quarter": f"-Q{turn + 1}", "month": f"-{turn + 1:02}"}[kind])


@dataclass(frozen=True, slots=True)
class Moment:
    """A period, and for a rule that asks for it the day of an event, with what is true of both; `soon` is one of the first periods of the stretch."""

    days: Mapping[str, Whole]
    month: Whole
    period: Whole
    event: Whole | None
    given: tuple[Any, ...]
    soon: Truth = True


def moment(rule: Rule, stretch: Stretch, name: str = "") -> Moment:
    """Any period of a stretch; its first one where the rule asks for no day of the period, since all are then alike."""
    given: list[Any] = []
    soon: Truth = True
    number: Whole = stretch.periods[0]
    if stretch.periods[0] < stretch.periods[1] and asks_period(rule):
        number = z3.Int(f"period{name}")
        given += [number >= stretch.periods[0], number <= stretch.periods[1]]
        soon = number < stretch.periods[0] + SOON_YEARS * PER_YEAR[rule.period_kind]
    days: dict[str, Whole] = {}
    if isinstance(number, int):
        period = period_of(rule.period_kind, number)
        days = {day_name: rule.day(day_name, period) for day_name in ("period.start", "period.end", "payment.date")}
        month: Whole = (day_date(period.start).month - 1) if rule.period_kind != "once" else 0
    else:
        month = _month(rule.period_kind, number)
        start = first_day(rule.period_kind, number)
        paid = rule.day("payment.date", period_of(rule.period_kind, stretch.periods[0]))
        end = first_day(rule.period_kind, number + 1) - 1
        shortest, longest = DAYS_WITHIN[rule.period_kind]
        # This follows from the two, and is hard to find out.
        given += [end - start >= shortest, end - start <= longest]
        days = {"period.start": start, "period.end": end, "payment.date": paid}
    event: Whole | None = None
    if rule.needs_event_day:
        event = z3.Int(f"event_day{name}")
        low, high = (stretch.first, stretch.last) if rule.parameters_at == "event.date" else (FIRST_DAY, LAST_DAY)
        given += [event >= low, event <= high]
        days["event.date"] = event
    return Moment(days, month, number, event, tuple(given), soon)


def _month(kind: str, number: Whole) -> Whole:
    """The month of the year, from 0, in which a year, quarter or month begins; nothing asks for that of a week."""
    if kind == "week":
        return 0
    each = PER_YEAR[kind]
    return times(number - times(divided(number, each), each), 12 // each)


def asks_period(rule: Rule) -> bool:
    """Whether anything that the rule says depends on which period it is."""
    stack: list[Term] = [item.term for item in (*rule.conditions, *rule.exclusions)] + [step.term for step in rule.steps]
    stack += [term for claim in rule.claims for term in (claim.bound, claim.where) if term is not None]
    while stack:
        term = stack.pop()
        if term.op == "part" or (term.op == "day" and str(term.value).startswith("period.")):
            return True
        stack += term.args
    return False
