"""The tests that a document carries, read with it: facts in physical form and what is expected of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from pipeline.facts import LAST_DAY, day_date
from pipeline.money import minor_digits, parse_minor

from . import document
from .definitions import Definitions
from .periods import ONCE, Period, period_for
from .rule import Case, RuleFact, Step
from .scalars import Path
from .values import read_fact, read_number

Value = int | bool | str | None
_SHARE = re.compile(r"[+-]?\d[\d_]*/[1-9][\d_]*", re.ASCII)


@dataclass(slots=True)
class _Expected:
    decision: str | None = None
    missing: tuple[str, ...] | None = None
    refused_by: tuple[str, ...] | None = None
    values: dict[str, Fraction] = field(default_factory=dict)
    made: dict[str, Value] = field(default_factory=dict)


class Cases:
    """Reads the tests of a document whose facts and steps are known."""

    def __init__(self, defined: Definitions, steps: Mapping[str, Step]) -> None:
        self.defined, self.steps = defined, steps

    def read(self) -> tuple[Case, ...]:
        cases = [self._case(("tests", index), case) for index, case in enumerate(self.defined.doc.tests)]
        return tuple(case for case in cases if case is not None)

    def _case(self, path: Path, case: document.Test) -> Case | None:
        before, given = len(self.defined.problems), dict(case.given)
        members = self._members((*path, "given", "members"), given.pop("members", None))
        period, event_text = self._period(path, given.pop("period", None)), given.pop("event_date", None)
        event_day = None if event_text is None else self._fact((*path, "given", "event_date"), event_text, "date")
        values = self._values((*path, "given"), given, self.defined.facts, ["members"] * bool(self.defined.doc.members) + ["period", "event_date"])
        for name in values if members is not None else ():
            if self.defined.facts[name].aggregate is not None:
                self.defined.bad((*path, "given", name), f"{name!r} follows from the members that are given", "Leave it out.", key=True)
        if self.defined.doc.decides.parameters_at == "event.date" and event_day is None:
            self.defined.bad((*path, "given"), "the test gives no event_date, which picks the parameters", key=True)
        expected = self._expected(path, case)
        if len(self.defined.problems) == before:
            self._decided((*path, "given"), period, event_day)
        if len(self.defined.problems) > before:
            return None
        on = None if event_day is None else int(event_day)
        return Case(
            case.name, values, period, on, expected.decision, expected.missing, expected.refused_by, expected.values, case.source, members, expected.made
        )

    def _values(self, path: Path, given: Mapping[str, Any], facts: Mapping[str, RuleFact], words: Sequence[str] = ()) -> dict[str, int | bool | str | None]:
        values: dict[str, int | bool | str | None] = {}
        for name, text in given.items():
            fact = facts.get(name)
            if fact is None:
                self.defined.unknown((*path, name), "unknown fact", name, [*facts, *words], key=True)
            elif not isinstance(text, str):
                self.defined.bad((*path, name), "one value must stand here")
            else:
                values[name] = None if text == "unknown" else self._fact((*path, name), text, fact.type, fact.one_of)
        return values

    def _members(self, path: Path, given: Any) -> tuple[Mapping[str, int | bool | str | None], ...] | None:
        if given is None or given == "unknown":
            return None
        if self.defined.doc.members is None:
            self.defined.bad(path, "the rule looks at no members", "Say members.facts and aggregates.", key=True)
            return None
        if isinstance(given, str):
            self.defined.bad(path, f"{given!r} is no list of members", "Write a list, such as [{age: 40}, {age: 8}].")
            return None
        return tuple(self._values((*path, index), member, self.defined.member_facts) for index, member in enumerate(given))

    def _fact(self, path: Path, text: str, kind: str, one_of: tuple[str, ...] = ()) -> int | bool | str | None:
        try:
            return read_fact(text, kind, self.defined.currency, one_of)
        except ValueError as error:
            self.defined.bad(path, str(error))
            return None

    def _period(self, path: Path, label: str | None) -> Period:
        try:
            return period_for(self.defined.doc.decides.period, label or "")
        except ValueError as error:
            self.defined.bad((*path, "given", "period"), str(error))
            return ONCE

    def _decided(self, path: Path, period: Period, event_day: Value) -> None:
        """Whether the rule is in force on the day that picks the parameters for a test."""
        at, (first, last) = self.defined.doc.decides.parameters_at, self.defined.in_force
        if period.kind == "once" and at in ("period.start", "period.end"):
            return
        paid = self.defined.doc.payment.date
        days = {"period.start": period.start, "period.end": period.end, "payment.date": LAST_DAY if paid is None else paid}
        on = int(event_day or 0) if at == "event.date" else days[at]
        if not first <= on <= last:
            key = "event_date" if at == "event.date" else "period"
            from_to = f"from {day_date(first)}" + ("" if last == LAST_DAY else f" to {day_date(last)}")
            if at == "payment.date":
                stands = "the rule says no payment.date" if paid is None else f"payment.date is {day_date(on)}"
                self.defined.bad(path, f"{stands}, and the rule is in force {from_to}", "Give a payment.date on which the rule is in force.", key=True)
                return
            begins = {"period.start": f"{period} begins on", "period.end": f"{period} ends on"}.get(at, "the event is of")
            mend = "Give another day, or mend in_force." if key == "event_date" else "Give another period, or mend in_force."
            self.defined.bad((*path, key), f"{begins} {day_date(on)}, the rule is in force {from_to}", mend)

    def _expected(self, path: Path, case: document.Test) -> _Expected:
        found = _Expected()
        ids = [item.id for item in (*self.defined.doc.eligible_when, *self.defined.doc.excluded_when)]
        for name, text in case.expect.items():
            place = (*path, "expect", name)
            listed = tuple(text if isinstance(text, list) else [text])
            if name in ("missing", "refused_by"):
                self._known(place, listed, list(self.defined.facts) if name == "missing" else ids)
                setattr(found, name, listed)
            elif name == "decision":
                self._known(place, listed[:1], ["granted", "refused", "undetermined"])
                found.decision = listed[0]
            elif name == "amount" or name in self.steps:
                self._value(found.values, place, name, str(text))
            elif name in self.defined.doc.aggregates:
                fact = self.defined.facts[name]
                found.made[name] = None if text == "unknown" else self._fact(place, str(text), fact.type, fact.one_of)
            else:
                known = ["decision", "amount", "missing", "refused_by", *self.steps, *self.defined.doc.aggregates]
                self.defined.unknown(place, "unknown expectation", name, known, key=True)
        return found

    def _known(self, path: Path, listed: tuple[str, ...], known: list[str]) -> None:
        for entry in listed:
            if entry not in known:
                self.defined.unknown(path, "unknown name", entry, known)

    def _value(self, values: dict[str, Fraction], path: Path, name: str, text: str) -> None:
        step = self.steps[self.defined.doc.amount.pay if name == "amount" else name]
        money = step.term.kind.type == "money"
        try:
            if step.term.den == 1:
                values[name] = Fraction(parse_minor(text, self.defined.currency)) if money else read_number(text)
            else:
                exact = Fraction(text.replace("_", "")) if _SHARE.fullmatch(text) else read_number(text)
                values[name] = exact * (10 ** minor_digits(self.defined.currency) if money else 1)
        except ValueError as error:
            self.defined.bad(path, str(error))
