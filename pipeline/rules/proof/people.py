"""Somebody whom a rule decides, as unknowns of the solver; and the person found, decided again by the one evaluator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import polars as pl
import z3  # type: ignore[import-untyped]

from pipeline.facts import FIRST_DAY, LAST_DAY, day_date
from pipeline.money import decimal_text, money_text
from pipeline.rules.evaluate import DECISIONS, GRANTED, REFUSED, UNDETERMINED, decide, physical_type
from pipeline.rules.explain import missing_facts, outcomes
from pipeline.rules.figures import step_text
from pipeline.rules.periods import Period
from pipeline.rules.rule import Rule, RuleFact, Step

from .arithmetic import Truth, Whole, among, choose, compared, every, negated, within
from .calendar import Calendar
from .encode import Encoder, Seen, Texts, all_of, opposite
from .findings import Person
from .stretches import Stretch, moment, period_of

Value = int | bool | str | None


class Defect(RuntimeError):
    """The evaluator decides a person otherwise than the proof says: one of the two is wrong."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What comes of somebody: each condition and exclusion, each step, and the decision."""

    conditions: Mapping[str, Seen]
    steps: Mapping[str, Seen]
    passes: Seen
    granted: Truth
    refused: Truth
    paid: Whole

    @property
    def decision(self) -> Whole:
        return choose(self.granted, GRANTED, choose(self.refused, REFUSED, UNDETERMINED))

    @property
    def passing(self) -> Truth:
        return every(self.passes.known, self.passes.value)


class Somebody:
    """Somebody in a stretch, with facts as unknowns: all are the same person, but for the facts of `instead`, at the same time, but where `at` differs.

    Where `complete`, every fact is known. `given` is what is true of the unknowns; every proof must add it.
    """

    def __init__(
        self, rule: Rule, stretch: Stretch, texts: Texts, calendar: Calendar, complete: bool = True, instead: Mapping[str, Seen] | None = None, at: str = ""
    ) -> None:
        self.rule, self.stretch, self.texts, self.complete = rule, stretch, texts, complete
        self.moment = moment(rule, stretch, at)
        self.given: list[Any] = list(self.moment.given)
        self.facts = {fact.name: (instead or {}).get(fact.name) or self.unknown(fact) for fact in rule.facts}
        known = {fact.name: self._cooked(fact) for fact in rule.facts}
        self.encoder = Encoder(rule, stretch.segment, self.moment.days, self.moment.month, known, texts, calendar)
        self.decided = self._decide()

    def unknown(self, fact: RuleFact, name: str = "") -> Seen:
        """A fact as an unknown of the solver, with what is true of it."""
        title = f"{fact.name}:{fact.type}{name}"
        known: Truth = True if self.complete else z3.Bool(f"{title} known")
        if fact.type == "yes_no":
            return Seen(z3.Bool(title), known)
        value = z3.Int(title)
        if self.complete:
            self.given.append(self._possible(fact, value))
        elif fact.type == "date":
            self.given.append(within(value, FIRST_DAY, LAST_DAY))
        elif fact.type in ("text", "ratio"):
            self.given.append(value >= 0)
        return Seen(value, known)

    def _possible(self, fact: RuleFact, value: Whole) -> Truth:
        if fact.range is not None:
            return within(value, *fact.range)
        return among(value, map(self.texts.number, fact.one_of)) if fact.one_of else compared("ge", value, 0)

    def _cooked(self, fact: RuleFact) -> Seen:
        """The fact as the rule reads it: unknown outside its range, assumed where it is unknown and may be."""
        raw = self.facts[fact.name]
        if self.complete:
            return raw
        known = raw.known if fact.type == "yes_no" else every(raw.known, self._possible(fact, raw.value))
        if fact.assume is None:
            return Seen(raw.value, known)
        assumed = self.texts.number(fact.assume) if isinstance(fact.assume, str) else fact.assume
        return Seen(choose(known, raw.value, assumed), True)

    def _decide(self) -> Decided:
        rule, encode = self.rule, self.encoder
        conditions = {item.id: encode(item.term) for item in (*rule.conditions, *rule.exclusions)}
        steps = {step.id: encode(step.term) for step in rule.steps}
        excluded = {item.id for item in rule.exclusions}
        passes = all_of([opposite(seen) if name in excluded else seen for name, seen in conditions.items()])
        pay = steps[rule.pay]
        granted = every(passes.known, passes.value, pay.known)
        return Decided(conditions, steps, passes, granted, every(passes.known, negated(passes.value)), choose(granted, pay.value, 0))

    def values(self, model: Any) -> tuple[dict[str, Value], Period, int | None]:
        """The facts, the period and the day of the event that a model of the solver gives."""
        given: dict[str, Value] = {}
        for fact in self.rule.facts:
            seen = self.facts[fact.name]
            value = read(model, seen.value)
            given[fact.name] = None if not read(model, seen.known) else self.texts.text(int(value)) if fact.type in ("text", "ratio") else value
        event = None if self.moment.event is None else int(read(model, self.moment.event))
        return given, period_of(self.rule.period_kind, int(read(model, self.moment.period))), event

    def person(self, model: Any) -> Person:
        """The person of a model, decided by the evaluator; Defect where that is not what the solver says."""
        given, period, event = self.values(model)
        row = decided_row(self.rule, given, period, event)
        self._hold_against(model, row, given)
        return person_of(self.rule, row, given, period, event)

    def _hold_against(self, model: Any, row: Mapping[str, Any], given: Mapping[str, Value]) -> None:
        says: dict[str, object] = {"decision": read(model, self.decided.decision), "amount_minor": read(model, self.decided.paid)}
        got: dict[str, object] = {name: row[name] for name in says}
        for item, state in outcomes(self.rule, row["conditions"]):
            seen = self.decided.conditions[item.id]
            says[item.id] = ("yes" if read(model, seen.value) else "no") if read(model, seen.known) else "unknown"
            got[item.id] = state
        for step in self.rule.steps:
            seen = self.decided.steps[step.id]
            says["step:" + step.id] = read(model, seen.value) if read(model, seen.known) else None
            got["step:" + step.id] = row["step:" + step.id]
        parted = [f"{name} is {says[name]} by the proof, {got[name]} by the evaluator" for name in says if says[name] != got[name]]
        if parted:
            raise Defect(f"{self.rule.benefit} {self.rule.hash[:12]} on {dict(given)}: {'; '.join(parted)}")


def read(model: Any, value: Any) -> Any:
    """What a model gives for a value: an int or a bool."""
    if not z3.is_expr(value):
        return value
    found = model.eval(value, model_completion=True)
    return found.as_long() if z3.is_int(found) else z3.is_true(found)


def decided_row(rule: Rule, given: Mapping[str, Value], period: Period, event_day: int | None) -> dict[str, Any]:
    """One person decided by the evaluator."""
    table = pl.DataFrame([pl.Series(fact.name, [given[fact.name]], dtype=physical_type(fact)) for fact in rule.facts])
    if rule.needs_event_day:
        table = table.with_columns(pl.lit(event_day, dtype=pl.Int64).alias("event_day"))
    return decide(rule, table, period).row(0, named=True)


def person_of(rule: Rule, row: Mapping[str, Any], given: Mapping[str, Value], period: Period, event_day: int | None) -> Person:
    """A decided person as people read it, with facts as a test of the document writes them."""
    written = {fact.name: written_fact(rule, fact, given[fact.name]) for fact in rule.facts}
    if event_day is not None:
        written["event_date"] = day_date(event_day).isoformat()
    if period.kind != "once":
        written["period"] = period.label
    failed = [item.id for item, state in outcomes(rule, row["conditions"]) if state == ("no" if item in rule.conditions else "yes")]
    steps = {step.id: step_text(rule, step, row["step:" + step.id], step.denominator) for step in rule.steps}
    missing = tuple(missing_facts(rule, row["missing"])) if row["decision"] == UNDETERMINED else ()
    amount = int(row["amount_minor"])
    return Person(written, DECISIONS[row["decision"]], amount, money_text(amount, rule.currency), tuple(failed), missing, steps)


def written_fact(rule: Rule, fact: RuleFact, value: Value) -> str:
    """A fact as a test of the document writes it."""
    if value is None:
        return "unknown"
    if fact.type == "money":
        return decimal_text(int(value), rule.currency)
    if fact.type == "date":
        return day_date(int(value)).isoformat()
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def written_step(rule: Rule, step: Step, numerator: int | None) -> str | None:
    """A step's value as a test of the document writes it; None where it has no such form."""
    if numerator is None:
        return None
    value = Fraction(numerator, step.denominator)
    if value.denominator == 1:
        return decimal_text(int(value), rule.currency) if step.term.kind.type == "money" else str(value)
    return None
