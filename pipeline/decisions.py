"""Decisions about many subjects at once: a rule's facts read out of histories, decided by the one evaluator, each with its receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import NamedTuple

import polars as pl

from .accounts import ASSIGNMENT
from .entitlements import encode_receipt
from .facts import LAST_DAY, History, Known, Reader, Value
from .facts_together import Shape, Told, by_shape, read_all, shape_of
from .households import MemberReader
from .members import HOUSEHOLD, MARK, Heads, by_member, own
from .questions import age_years, day_asked, question
from .registry import FactSpec
from .rules import Period, Rule, RuleFact, decide, physical_type

Outcome = tuple[str, int, int, bytes]
"""One subject decided: (subject, decision as in `entitlements.Decision`, amount_minor, receipt); the amount is 0 unless granted."""


class FactTable(NamedTuple):
    """The facts of subjects whom a rule decides about: their places among those asked, a table with `subject`, each fact of the rule and `event_day`,
    the same facts as columns, and what the registries answered of each subject."""

    places: Sequence[int]
    table: pl.DataFrame
    columns: list[Sequence[Value | None]]
    answers: list[Told]


class ActiveRule:
    """A rule that decides now, for one period: how to read its facts, and the numbers the store knows it by."""

    def __init__(self, rule: Rule, period: Period, catalogue: Mapping[str, FactSpec], *, rule_id: int = 0, benefit_period_id: int = 0) -> None:
        self.rule, self.period, self.rule_id, self.benefit_period_id = rule, period, rule_id, benefit_period_id
        told = [fact for fact in rule.facts if fact.aggregate is None]
        self._made = [fact.name for fact in rule.facts if fact.aggregate is not None]
        self.reader = Reader([question(rule, fact, period, catalogue[fact.source]) for fact in told])
        self.members = None if rule.members is None else MemberReader(rule, period, catalogue)
        self._ages = [(index, fact) for index, fact in enumerate(told) if fact.type == "years" and catalogue[fact.source].type == "date"]
        self._schema = {"subject": pl.String(), **{fact.name: physical_type(fact) for fact in told}, "event_day": pl.Int32()}
        self._told = ["decision", "amount_minor", "missing", "conditions", *(f"step:{step.id}" for step in rule.steps)]
        self._asks_day = rule.needs_event_day or self.reader.needs_event_day or (self.members is not None and self.members.needs_event_day)
        self._speaking = frozenset(spec.registry for spec in catalogue.values() if spec.subject in (rule.decides_for, ""))
        self._for_households = rule.decides_for == "household"
        home = HOUSEHOLD if rule.members is None else rule.members.of
        self._heads = Heads(home, catalogue) if self._for_households and "household.head" in rule.payment.to else None

    def concerns(self, event: Known) -> bool:
        """Whether an event can change this rule's decision."""
        return self.reader.concerns(event) or (self.members is not None and self.members.concerns(event))

    def decides(self, history: History) -> bool:
        """Whether the subject of a history is of the kind that the rule decides about, as the registries spoke of it: a person, a household, a business."""
        if len(history) == 1 and not self._for_households:
            return history[0].registry in self._speaking  # nearly everybody whom a frame brings
        return self._decides_shape(shape_of(history))

    def _decides_shape(self, shape: Shape) -> bool:
        return any(registry in self._speaking or (self._for_households and MARK in registry) for registry in shape)

    def is_asked(self, before: History, after: History, fresh: Sequence[Known]) -> bool:
        """Whether new events can change the decision about a subject: the first of the rule's kind, or such as concern it."""
        return self.decides(after) and (not self.decides(before) or any(self.concerns(event) for event in fresh))

    def payee(self, subject: str, history: History, on: int) -> History | None:
        """The history of whoever receives the money on a day, their accounts among it; None where nobody is known to be the head of a household."""
        if not self._for_households:
            return history
        for to in self.rule.payment.to:
            if to == "household.head" and self._heads is not None:
                members = by_member(history)
                heads = self._heads.of(subject, members, on)
                if len(heads) == 1:
                    return members[heads[0]]
            elif to == "self" and (self._heads is None or any(event.type == ASSIGNMENT for event in own(history))):
                return own(history)
        return None

    def event_day(self, history: History) -> int:
        """The day of the latest event that was asked for, of the subject or of a member."""
        own = self.reader.event_day(history)
        return own if self.members is None else max(own, self.members.event_day(history))

    def read(self, histories: Sequence[tuple[str, History]]) -> FactTable:
        """The facts of those of these subjects that the rule decides about."""
        places: Sequence[int] = range(len(histories))
        rows_of = by_shape([history for _, history in histories])
        if not all(map(self._decides_shape, rows_of)):
            places = sorted(row for shape, rows in rows_of.items() if self._decides_shape(shape) for row in rows)
            histories = [histories[place] for place in places]
            rows_of = by_shape([history for _, history in histories])
        event_days = [self.event_day(history) for _, history in histories] if self._asks_day else [LAST_DAY] * len(histories)
        answers = read_all(self.reader, rows_of, [history for _, history in histories], event_days)
        columns: list[Sequence[Value | None]] = list(zip(*[values for values, _, _ in answers], strict=True)) or [()] * len(self.reader.questions)
        for index, fact in self._ages:
            columns[index] = self._years(fact, columns[index], event_days)
        named = zip(self._schema.items(), [[subject for subject, _ in histories], *columns, event_days], strict=True)
        table = pl.DataFrame([pl.Series(name, column, dtype) for (name, dtype), column in named])
        if self.members is not None:
            table = self.members.made(histories, event_days, table)
            columns += [column.to_list() for column in table.select(self._made).get_columns()]
        return FactTable(places, table, columns, answers)

    def decide(self, histories: Sequence[tuple[str, History]]) -> list[Outcome]:
        """The decisions for those of these subjects that the rule decides about, in their order."""
        _, table, columns, answers = self.read(histories)
        if not answers:
            return []
        values, events, told_by = zip(*answers, strict=True)
        if self._ages or self._made:  # what is kept is the age, and what was made of the members
            values, told_by = tuple(zip(*columns, strict=True)), tuple([*places, *[-1] * len(self._made)] for places in told_by)
        result = decide(self.rule, table, self.period)
        decision, amount_minor, missing, conditions, *steps = [column.to_list() for column in result.select(self._told).get_columns()]
        receipts = map(encode_receipt, missing, conditions, zip(*steps, strict=True) if steps else repeat(()), values, events, told_by)
        return list(zip(table.get_column("subject").to_list(), decision, amount_minor, receipts, strict=True))

    def _years(self, fact: RuleFact, births: Sequence[Value | None], event_days: Sequence[int]) -> list[int | None]:
        """Dates of birth as ages on the day that the fact is asked for."""
        asked = day_asked(self.rule, fact, self.period)
        days = event_days if asked is None else [asked] * len(births)
        return [None if born is None else age_years(int(born), on) for born, on in zip(births, days, strict=True)]
