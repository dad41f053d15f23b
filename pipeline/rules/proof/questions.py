"""Questions to the solver: whether there is somebody of whom something holds, and the most ordinary such person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import z3  # type: ignore[import-untyped]

from pipeline.rules.rule import Rule, RuleFact

from .arithmetic import Truth, Whole, compared, every, negated, solved
from .calendar import Calendar
from .encode import Texts
from .findings import Person
from .people import Somebody, read
from .stretches import Stretch

FOUND, NOBODY, NOT_DECIDED = "found", "nobody", "not decided"
_ORDINARY_EFFORT = 1_000_000
"""What one attempt to make a person more ordinary may cost, in the solver's own unit, so that every machine finds the same person."""
_ROUND_MINOR = (100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 100)


class Question:
    """Some people, and whether there are such of whom more holds. `timeout_ms` bounds each answer."""

    def __init__(self, people: Sequence[Somebody], timeout_ms: int) -> None:
        self.people, self.timeout_ms = people, timeout_ms
        self.solver = z3.Solver()
        self.model: Any = None
        self._sources = [*(somebody.given for somebody in people), people[0].encoder.calendar.given]
        self._read = [0] * len(self._sources)
        self._soon = every(*(somebody.moment.soon for somebody in people))

    def add(self, *truths: Truth) -> None:
        self.solver.add(*(solved(truth) for truth in truths))

    def ask(self, *truths: Truth, effort: int = 0) -> str:
        """Whether there are such people of whom this holds as well; `model` then has them. `effort` bounds the search beside the time."""
        for index, source in enumerate(self._sources):
            self.add(*source[self._read[index] :])
            self._read[index] = len(source)
        if every(*truths) is False:
            return NOBODY
        self.solver.set("rlimit", effort)
        if self._soon is not True and self._check(self.timeout_ms // 4, self._soon, *truths) == FOUND:
            return FOUND
        return self._check(self.timeout_ms, *truths)

    def _check(self, timeout_ms: int, *truths: Truth) -> str:
        self.solver.set("timeout", max(1, timeout_ms))
        answer = str(self.solver.check(*(solved(truth) for truth in truths)))
        if answer == "sat":
            self.model = self.solver.model()
        return {"sat": FOUND, "unsat": NOBODY}.get(answer, NOT_DECIDED)

    def ordinary(self, *truths: Truth, last: Collection[str] = ()) -> tuple[Person, ...]:
        """The people of whom this holds, as `ask` found them, made as ordinary as they can be; the facts in `last` give way first."""
        self.solver.push()
        self.add(*truths)
        seen: set[int] = set()
        for somebody in self.people:
            for fact in sorted(somebody.rule.facts, key=lambda fact: fact.name in last):
                held = somebody.facts[fact.name]
                if held.value.get_id() not in seen:
                    seen.add(held.value.get_id())
                    self._settle(somebody, fact)
        self.solver.pop()
        return tuple(somebody.person(self.model) for somebody in self.people)

    def _settle(self, somebody: Somebody, fact: RuleFact) -> None:
        held = somebody.facts[fact.name]
        for value in _candidates(somebody.rule, fact, read(self.model, held.value), somebody.texts):
            wish = every(held.known, compared("eq", held.value, value))
            if self.ask(wish, effort=_ORDINARY_EFFORT) == FOUND:
                self.add(wish)
                return
        if self.ask(negated(held.known), effort=_ORDINARY_EFFORT) == FOUND:
            self.add(negated(held.known))

    def most(self, number: Whole, high: int, *truths: Truth) -> int | None:
        """The most that a number can be of people of whom this holds, at most `high`; None where that is not decided. Somebody must have been found."""
        low = int(read(self.model, number))
        while low < high:
            middle = (low + high + 1) // 2
            answer = self.ask(compared("ge", number, middle), *truths)
            if answer == NOT_DECIDED:
                return None
            low, high = (int(read(self.model, number)), high) if answer == FOUND else (low, middle - 1)
        return low


def _candidates(rule: Rule, fact: RuleFact, held: Any, texts: Texts) -> Iterator[Any]:
    """Values that are ordinary for a fact: what is assumed, that of most tests of the document, nothing, and round ones near what was found."""
    tested = Counter(case.given[fact.name] for case in rule.tests if case.given.get(fact.name) is not None)
    if fact.assume is not None:
        yield texts.number(fact.assume) if isinstance(fact.assume, str) else fact.assume
    if fact.type in ("text", "ratio"):
        yield from (texts.number(str(value)) for value, _ in tested.most_common(1))
        return
    yield from (value for value, _ in tested.most_common(1))
    if fact.type == "yes_no":
        return
    if fact.type != "date":
        yield 0
    if fact.type == "money":
        low, high = fact.range or (held, held)
        yield from dict.fromkeys(
            number for unit in _ROUND_MINOR for number in (held // unit * unit, -(-held // unit) * unit) if number and low <= number <= high
        )


def somebody_of(rule: Rule, stretch: Stretch, complete: bool = True) -> Somebody:
    return Somebody(rule, stretch, Texts(), Calendar(), complete=complete)
