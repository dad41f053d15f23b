"""The tests that a document carries, read with it: facts in physical form and what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from pipeline.money import parse_minor

from . import document
from .definitions import Definitions
from .periods import ONCE, Period, parse_period
from .rule import Case, Step
from .scalars import Path
from .values import read_fact, read_number


@dataclass(slots=True)
class _Expected:
    decision: str | None = None
    missing: tuple[str, ...] | None = None
    refused_by: tuple[str, ...] | None = None
    values: dict[str, Fraction] = field(default_factory=dict)


class Cases:
    """Reads the tests of a document whose facts and steps are known."""

    def __init__(self, defined: Definitions, steps: Mapping[str, Step]) -> None:
        self.defined, self.steps = defined, steps

    def read(self) -> tuple[Case, ...]:
        cases = [self._case(("tests", index), case) for index, case in enumerate(self.defined.doc.tests)]
        return tuple(case for case in cases if case is not None)

    def _case(self, path: Path, case: document.Test) -> Case | None:
        before, given = len(self.defined.problems), dict(case.given)
        period, event_text = self._period(path, given.pop("period", None)), given.pop("event_date", None)
        event_day = None if event_text is None else self._fact((*path, "given", "event_date"), event_text, "date")
        values: dict[str, int | bool | str | None] = {}
        for name, text in given.items():
            fact = self.defined.facts.get(name)
            if fact is None:
                self.defined.unknown((*path, "given", name), "unknown fact", name, [*self.defined.facts, "period", "event_date"], key=True)
            else:
                values[name] = None if text == "unknown" else self._fact((*path, "given", name), text, fact.type, fact.one_of)
        if self.defined.doc.decides.parameters_at == "event.date" and event_day is None:
            self.defined.bad((*path, "given"), "the test gives no event_date, which picks the parameters", key=True)
        expected = self._expected(path, case)
        if len(self.defined.problems) > before:
            return None
        on = None if event_day is None else int(event_day)
        return Case(case.name, values, period, on, expected.decision, expected.missing, expected.refused_by, expected.values, case.source)

    def _fact(self, path: Path, text: str, kind: str, one_of: tuple[str, ...] = ()) -> int | bool | str | None:
        try:
            return read_fact(text, kind, self.defined.currency, one_of)
        except ValueError as error:
            self.defined.bad(path, str(error))
            return None

    def _period(self, path: Path, label: str | None) -> Period:
        kind = self.defined.doc.decides.period
        try:
            period = parse_period(label or ("once" if kind == "once" else ""))
            if period.kind != kind:
                raise ValueError(f"{period.label} is no {kind}")
        except ValueError as error:
            self.defined.bad((*path, "given", "period"), str(error))
            return ONCE
        return period

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
            else:
                self.defined.unknown(place, "unknown expectation", name, ["decision", "amount", "missing", "refused_by", *self.steps], key=True)
        return found

    def _known(self, path: Path, listed: tuple[str, ...], known: list[str]) -> None:
        for entry in listed:
            if entry not in known:
                self.defined.unknown(path, "unknown name", entry, known)

    def _value(self, values: dict[str, Fraction], path: Path, name: str, text: str) -> None:
        step = self.steps[self.defined.doc.amount.pay if name == "amount" else name]
        try:
            values[name] = Fraction(parse_minor(text, self.defined.currency)) if step.term.kind.type == "money" else read_number(text)
        except ValueError as error:
            self.defined.bad(path, str(error))
