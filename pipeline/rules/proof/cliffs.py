"""Cliffs: the incomes at which one more unit costs more than it brings, exactly, with what is lost there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from pipeline.money import money_text
from pipeline.rules.periods import PER_YEAR
from pipeline.rules.rule import Rule, RuleFact

from .arithmetic import Truth, Whole, compared, every, some
from .encode import Seen
from .findings import Person
from .people import Somebody, Value, read, written_fact
from .questions import FOUND, NOBODY, Question, somebody_of
from .stretches import Stretch, stretches

MOST_SIZES = 10
MOST_PLACES = 10


class Cliff(msgspec.Struct, frozen=True):
    """A fall: all incomes between `first` and `last`, `places` of them (0: more than are counted), at which one more unit costs `loss_minor` more than
    it brings; `before` and `after` are somebody at one of them and with one unit more. `over` says for how long the loss is."""

    of: str
    when: str
    first: str
    last: str
    places: int
    loss_minor: int
    loss: str
    over: str
    before: Person
    after: Person

    def __str__(self) -> str:
        at = self.first if self.first == self.last else f"{self.first} to {self.last}"
        several = f", at {self.places or f'more than {MOST_PLACES}'} incomes" if self.places != 1 else ""
        lines = [f"{self.of} {at}{several}, {self.when}: one more unit costs {self.loss} more than it brings{self.over and f' over a {self.over}'}"]
        return "\n".join([*lines, f"  {self.before}", f"  {self.after}"])


@dataclass(frozen=True, slots=True)
class Cliffs:
    """The largest cliffs of a rule, from the largest loss down, in each stretch; `complete` where there are no others."""

    found: tuple[Cliff, ...]
    complete: bool
    undecided: tuple[str, ...] = ()


def income_facts(rule: Rule) -> list[str]:
    """The facts that are amounts of money."""
    return [fact.name for fact in rule.facts if fact.type == "money"]


def cliffs(rule: Rule, of: str, given: Mapping[str, Value], timeout_s: int, on_stretch: Callable[[int, int], object] = lambda done, whole: None) -> Cliffs:
    """The cliffs along the income `of`, of people with the facts `given`; every other fact may be anything that is known.

    `on_stretch` hears of how many of the stretches of time are done, and how many there are.
    """
    found: list[Cliff] = []
    complete, undecided = True, []
    parts = stretches(rule)
    for number, stretch in enumerate(parts):
        on_stretch(number, len(parts))
        here, all_of_them, decided = _in_stretch(rule, stretch, of, given, max(1, timeout_s * 1_000 // len(parts)))
        found += here
        complete = complete and all_of_them
        if not decided:
            undecided.append(str(stretch))
    return Cliffs(tuple(found), complete and not undecided, tuple(undecided))


def factors(rule: Rule, fact: RuleFact) -> tuple[int, int, str]:
    """How many payments and how many incomes are in the longer of the two periods, or in a year of 52 weeks, and which that is."""
    if fact.per not in PER_YEAR or rule.period_kind == "once":
        return 1, 1, ""
    incomes, payments = PER_YEAR[fact.per], PER_YEAR[rule.period_kind]
    if payments % incomes == 0:
        return payments // incomes, 1, fact.per
    return (1, incomes // payments, rule.period_kind) if incomes % payments == 0 else (payments, incomes, "year")


class _Step:
    """Somebody, and the same with one more unit of income."""

    def __init__(self, rule: Rule, stretch: Stretch, of: str, given: Mapping[str, Value], timeout_ms: int) -> None:
        self.fact = next(fact for fact in rule.facts if fact.name == of)
        self.one = somebody_of(rule, stretch)
        self.income: Whole = self.one.facts[of].value
        more = {**self.one.facts, of: Seen(self.income + 1)}
        self.other = Somebody(rule, stretch, self.one.texts, self.one.encoder.calendar, instead=more)
        self.payments, self.incomes, self.over = factors(rule, self.fact)
        self.loss: Whole = (self.one.decided.paid - self.other.decided.paid) * self.payments - self.incomes
        self.question = Question([self.one, self.other], timeout_ms)
        assert self.fact.range is not None
        self.question.add(compared("lt", self.income, self.fact.range[1]), *(self._pinned(name, value) for name, value in given.items()))
        self.question.add(*(some(somebody.decided.granted, somebody.decided.refused) for somebody in (self.one, self.other)))

    def _pinned(self, name: str, value: Value) -> Truth:
        held = self.one.facts[name].value
        return compared("eq", held, self.one.texts.number(value) if isinstance(value, str) else value)


def _in_stretch(rule: Rule, stretch: Stretch, of: str, given: Mapping[str, Value], timeout_ms: int) -> tuple[list[Cliff], bool, bool]:
    step = _Step(rule, stretch, of, given, timeout_ms)
    found: list[Cliff] = []
    wanted: Truth = compared("gt", step.loss, 0)
    pay = next(term.term for term in rule.steps if term.id == rule.pay)
    while len(found) < MOST_SIZES:
        answer = step.question.ask(wanted)
        if answer != FOUND:
            return found, answer == NOBODY, answer == NOBODY
        largest = step.question.most(step.loss, int(pay.high) * step.payments, wanted)
        if largest is None:
            return found, False, False
        cliff = _cliff(step, stretch, largest)
        if cliff is None:
            return found, False, False
        found.append(cliff)
        wanted = every(compared("gt", step.loss, 0), compared("lt", step.loss, largest))
    answer = step.question.ask(wanted)
    return found, answer == NOBODY, answer in (FOUND, NOBODY)


def _cliff(step: _Step, stretch: Stretch, loss: int) -> Cliff | None:
    """Where a loss of this size is; None where that is not decided."""
    rule, question = step.one.rule, step.question
    here = compared("eq", step.loss, loss)
    assert step.fact.range is not None
    low, high = step.fact.range
    ends = []
    for number, bound in ((-step.income, -low), (step.income, high)):
        if question.ask(here) != FOUND:
            return None
        ends.append(question.most(number, bound, here))
    if ends[0] is None or ends[1] is None:
        return None
    first, last = -ends[0], ends[1]
    places = _counted(step, here)
    at_first = compared("eq", step.income, first)  # of many incomes always the same one is shown, however long the solver looked
    if question.ask(here, at_first) != FOUND:
        return None
    before, after = question.ordinary(here, at_first)
    lowest, highest = (written_fact(rule, step.fact, end) for end in (first, last))
    return Cliff(step.fact.name, str(stretch), lowest, highest, places, loss, money_text(loss, rule.currency), step.over, before, after)


def _counted(step: _Step, here: Truth) -> int:
    """How many incomes there are, 0 for more than MOST_PLACES."""
    seen: list[Any] = []
    while len(seen) <= MOST_PLACES:
        if step.question.ask(here, *(compared("ne", step.income, income) for income in seen)) != FOUND:
            return len(seen)
        seen.append(int(read(step.question.model, step.income)))
    return 0
