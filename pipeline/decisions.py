"""Decisions about many subjects at once: a rule's facts read out of histories, decided by the one evaluator, each with its receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from itertools import repeat

import polars as pl

from .entitlements import encode_receipt
from .facts import LAST_DAY, History, Known, Question, Reader, Value, day, day_date
from .registry import FactSpec
from .rules import Period, Rule, RuleFact, decide, physical_type

Outcome = tuple[str, int, int, bytes]
"""One subject decided: (subject, decision as in `entitlements.Decision`, amount_minor, receipt); the amount is 0 unless granted."""


class ActiveRule:
    """A rule that decides now, for one period: how to read its facts, and the numbers the store knows it by."""

    def __init__(self, rule: Rule, period: Period, catalogue: Mapping[str, FactSpec], *, rule_id: int = 0, benefit_period_id: int = 0) -> None:
        self.rule, self.period, self.rule_id, self.benefit_period_id = rule, period, rule_id, benefit_period_id
        self.reader = Reader([question(rule, fact, period, catalogue[fact.source]) for fact in rule.facts])
        self._ages = [(index, fact) for index, fact in enumerate(rule.facts) if fact.type == "years" and catalogue[fact.source].type == "date"]
        self._schema = {"subject": pl.String(), **{fact.name: physical_type(fact) for fact in rule.facts}, "event_day": pl.Int32()}
        self._told = ["decision", "amount_minor", "missing", "conditions", *(f"step:{step.id}" for step in rule.steps)]
        self._asks_day = rule.needs_event_day or self.reader.needs_event_day

    def concerns(self, event: Known) -> bool:
        """Whether an event can change this rule's decision."""
        return self.reader.concerns(event)

    def decide(self, histories: Sequence[tuple[str, History]]) -> list[Outcome]:
        """The decisions for these subjects, in their order."""
        if not histories:
            return []
        answers: list[list[Value | None]] = []
        sources: list[list[Known | None]] = []
        event_days: list[int] = []
        read, asks_day = self.reader.read, self._asks_day
        event_day = LAST_DAY
        for _, history in histories:
            if asks_day:
                event_day = self.reader.event_day(history)
            values, told = read(history, event_day)
            for index, fact in self._ages:
                born = values[index]
                values[index] = None if born is None else age_years(int(born), self._age_day(fact, event_day))
            answers.append(values)
            sources.append(told)
            event_days.append(event_day)
        subjects = [subject for subject, _ in histories]
        columns = [subjects, *map(list, zip(*answers, strict=True)), event_days]
        table = pl.DataFrame([pl.Series(name, column, dtype) for (name, dtype), column in zip(self._schema.items(), columns, strict=True)])
        result = decide(self.rule, table, self.period)
        decision, amount_minor, missing, conditions, *steps = result.select(self._told).get_columns()
        steps_of = zip(*[step.to_list() for step in steps], strict=True) if steps else repeat(())
        receipts = map(encode_receipt, missing.to_list(), conditions.to_list(), steps_of, answers, sources)
        return list(zip(subjects, decision.to_list(), amount_minor.to_list(), receipts, strict=True))

    def _age_day(self, fact: RuleFact, event_day: int) -> int:
        asked = day_asked(self.rule, fact, self.period)
        return event_day if asked is None else asked


def day_asked(rule: Rule, fact: RuleFact, period: Period) -> int | None:
    """The day for which a rule asks a fact; None is the day of the event.

    The payment date of a benefit paid once, whenever it can be, is the last day there is: whatever the registries have
    announced by then counts. It is asked for as the day before, which an interval without an end still holds.
    """
    if fact.year is not None:
        return day_of_year(period.year if fact.year == "period.year" else int(fact.year))
    return None if fact.at == "event.date" else min(rule.day(fact.at, period), LAST_DAY - 1)


def day_of_year(year: int) -> int:
    """A day inside a calendar year."""
    return day(date(year, 7, 1))


def question(rule: Rule, fact: RuleFact, period: Period, spec: FactSpec) -> Question:
    """What to ask the histories for one fact of a rule."""
    asked = day_asked(rule, fact, period)
    accept = frozenset(fact.accept) if fact.accept else None
    return Question(fact.source, spec.registry, asked, accept, spec.timeless, spec.until)


def age_years(born: int, at: int) -> int:
    """Full years of age on a day; who was born on 29 February turns a year older on 1 March of a common year."""
    birth, then = day_date(born), day_date(at)
    return then.year - birth.year - ((then.month, then.day) < (birth.month, birth.day))
