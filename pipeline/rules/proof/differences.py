"""The ways in which two documents decide people differently, each with a person, or the proof that there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from pipeline.problems import Malformed, Problem
from pipeline.rules.evaluate import DECISIONS, GRANTED, REFUSED, UNDETERMINED
from pipeline.rules.rule import Rule

from .arithmetic import Truth, compared, every
from .calendar import Calendar
from .encode import Seen, Texts
from .findings import NOT_DECIDED, PROVED, Person
from .people import Somebody
from .questions import FOUND, NOBODY, Question
from .stretches import Stretch, stretches

DIFFERS = "differs"


class Difference(msgspec.Struct, frozen=True):
    """One way in which two documents may part: `outcome` is differs, with the person as `old` and as `new` has them, proved (they never do) or not_decided."""

    way: str
    outcome: str
    old: Person | None = None
    new: Person | None = None
    message: str = ""

    def __str__(self) -> str:
        if self.old is None or self.new is None:
            return f"{'nobody' if self.outcome == PROVED else 'not decided'}: {self.way}{f' ({self.message})' if self.message else ''}"
        return f"{self.way}:\n  old: {self.old}\n  new: {self.new}"


def differences(old: Rule, new: Rule, timeout_s: int) -> list[Difference]:
    """Every way in which the documents may part: decision, amount, each condition and each step that both have.

    People may have unknown facts as well. Where the documents are in force on no common day, the last days of the old one are held against the first of the
    new one.
    """
    _comparable(old, new)
    timed = pairs(old, new)
    found: dict[str, Difference] = {}
    for before, after, at in timed:
        texts, calendar = Texts(), Calendar()
        one = Somebody(old, before, texts, calendar, complete=False)
        other = Somebody(new, after, texts, calendar, complete=False, at=at)
        question = Question([one, other], max(1, timeout_s * 1_000 // len(timed)))
        for way, truth in ways(one, other):
            if found.get(way) is None or found[way].outcome != DIFFERS:
                found[way] = _asked(question, way, truth, timeout_s, found.get(way))
    return list(found.values())


def _asked(question: Question, way: str, truth: Truth, timeout_s: int, before: Difference | None) -> Difference:
    answer = question.ask(truth)
    if answer == FOUND:
        one, other = question.ordinary(truth)
        return Difference(way, DIFFERS, one, other)
    if answer == NOBODY:
        return before if before is not None and before.outcome == NOT_DECIDED else Difference(way, PROVED)
    return Difference(way, NOT_DECIDED, message=f"not decided in {timeout_s} s")


def ways(one: Somebody, other: Somebody) -> Iterator[tuple[str, Truth]]:
    """How two documents may part over somebody."""
    for was in (GRANTED, REFUSED, UNDETERMINED):
        for now in (GRANTED, REFUSED, UNDETERMINED):
            if was != now:
                decided = every(compared("eq", one.decided.decision, was), compared("eq", other.decided.decision, now))
                yield f"{DECISIONS[was]} becomes {DECISIONS[now]}", decided
    granted = every(one.decided.granted, other.decided.granted)
    yield "a larger amount", every(granted, compared("gt", other.decided.paid, one.decided.paid))
    yield "a smaller amount", every(granted, compared("lt", other.decided.paid, one.decided.paid))
    for name in (name for name in one.decided.conditions if name in other.decided.conditions):
        yield f"{name} comes out otherwise", _parted(one.decided.conditions[name], other.decided.conditions[name])
    dens = {step.id: step.denominator for step in one.rule.steps}, {step.id: step.denominator for step in other.rule.steps}
    for name in (name for name in dens[0] if name in dens[1]):
        seen = one.decided.steps[name], other.decided.steps[name]
        numbers = Seen(seen[0].value * dens[1][name], seen[0].known), Seen(seen[1].value * dens[0][name], seen[1].known)
        yield f"{name} comes out otherwise", every(granted, _parted(*numbers))


def _parted(was: Seen, now: Seen) -> Truth:
    return every(was.known, now.known, compared("ne", was.value, now.value))


def _comparable(old: Rule, new: Rule) -> None:
    problems = [
        Problem(place, f"the old document says {was!r}, the new one {now!r}: their decisions cannot be compared")
        for place, was, now in (
            ("decides.for", old.decides_for, new.decides_for),
            ("decides.period", old.period_kind, new.period_kind),
            ("decides.currency", old.currency, new.currency),
        )
        if was != now
    ]
    problems += [
        Problem(f"facts.{fact.name}", f"the old document says {fact.type}, the new one {other.type}", "Give the fact another name in one of them.")
        for fact in old.facts
        for other in new.facts
        if fact.name == other.name and fact.type != other.type
    ]
    if problems:
        raise Malformed(problems)


def differently_asked(old: Rule, new: Rule) -> list[str]:
    """The facts that both documents name and ask of another source, day, year or status: for them one person may have two values."""
    before, after = ({fact.name: (fact.source, fact.at, fact.year, fact.accept, fact.max_age_days) for fact in rule.facts} for rule in (old, new))
    return [name for name in before if name in after and before[name] != after[name]]


def pairs(old: Rule, new: Rule) -> list[tuple[Stretch, Stretch, str]]:
    """Stretches of both with the periods that are in both; the name of the newer's time is another where they share none."""
    before, after = stretches(old), stretches(new)
    found = []
    for one in before:
        for other in after:
            periods = max(one.periods[0], other.periods[0]), min(one.periods[1], other.periods[1])
            by_event = old.parameters_at == new.parameters_at == "event.date"
            if periods[0] <= periods[1] and not (by_event and (one.first > other.last or other.first > one.last)):
                found.append((replace(one, periods=periods), replace(other, periods=periods), ""))
    if found or not before or not after:
        return found
    last, first = before[-1], after[0]
    return [(replace(last, periods=(last.periods[1],) * 2), replace(first, periods=(first.periods[0],) * 2), " of the newer")]
