"""What a rule asks of a history: for each of its facts the question, with the day it is asked for."""

from __future__ import annotations

from datetime import date

from .facts import LAST_DAY, Question, day, day_date
from .registry import FactSpec
from .rules import Period, Rule, RuleFact


def question(rule: Rule, fact: RuleFact, period: Period, spec: FactSpec) -> Question:
    """What to ask the histories for one fact of a rule."""
    asked = day_asked(rule, fact, period)
    accept = frozenset(fact.accept) if fact.accept else None
    return Question(fact.source, spec.registry, asked, accept, spec.timeless, spec.until)


def day_asked(rule: Rule, fact: RuleFact, period: Period) -> int | None:
    """The day for which a rule asks a fact; None is the day of the event.

    The payment date of a benefit paid once, whenever it can be, is the last day there is: whatever the registries have
    announced by then counts. It is asked for as the day before, which an interval without an end still holds.
    """
    if isinstance(fact.year, str):
        return day_of_year(max(period.year - int(fact.year.removeprefix("period.year").removeprefix(" - ") or 0), 1))
    if fact.year is not None:
        return day_of_year(fact.year)
    return None if fact.at == "event.date" else min(rule.day(fact.at, period), LAST_DAY - 1)


def day_of_year(year: int) -> int:
    """A day inside a calendar year."""
    return day(date(year, 7, 1))


def age_years(born: int, at: int) -> int:
    """Full years of age on a day; who was born on 29 February turns a year older on 1 March of a common year."""
    birth, then = day_date(born), day_date(at)
    return then.year - birth.year - ((then.month, then.day) < (birth.month, birth.day))
