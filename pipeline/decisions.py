"""Decisions about many subjects at once: a rule's facts read out of histories, decided by the one evaluator, each with its receipt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat

import polars as pl

from .accounts import ASSIGNMENT
from .entitlements import encode_receipt
from .facts import LAST_DAY, History, Known, Reader, Value
from .households import MemberReader
from .members import HOUSEHOLD, MARK, Heads, by_member, own
from .questions import age_years, day_asked, question
from .registry import FactSpec
from .rules import Period, Rule, RuleFact, decide, physical_type

Outcome = tuple[str, int, int, bytes]
"""One subject decided: (subject, decision as in `entitlements.Decision`, amount_minor, receipt); the amount is 0 unless granted."""


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
        return any(event.registry in self._speaking or (self._for_households and MARK in event.registry) for event in history)

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

    def decide(self, histories: Sequence[tuple[str, History]]) -> list[Outcome]:
        """The decisions for those of these subjects that the rule decides about, in their order."""
        histories = [entry for entry in histories if self.decides(entry[1])]
        if not histories:
            return []
        answers: list[list[Value | None]] = []
        sources: list[list[Known | None]] = []
        event_days: list[int] = []
        read, asks_day = self.reader.read, self._asks_day
        event_day = LAST_DAY
        for _, history in histories:
            if asks_day:
                event_day = self.event_day(history)
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
        if self.members is not None:
            table = self.members.made(histories, event_days, table)
            for values, made in zip(answers, table.select(self._made).iter_rows(), strict=True):
                values.extend(made)
            sources = [[*told, *[None] * len(self._made)] for told in sources]
        result = decide(self.rule, table, self.period)
        decision, amount_minor, missing, conditions, *steps = result.select(self._told).get_columns()
        steps_of = zip(*[step.to_list() for step in steps], strict=True) if steps else repeat(())
        receipts = map(encode_receipt, missing.to_list(), conditions.to_list(), steps_of, answers, sources)
        return list(zip(subjects, decision.to_list(), amount_minor.to_list(), receipts, strict=True))

    def _age_day(self, fact: RuleFact, event_day: int) -> int:
        asked = day_asked(self.rule, fact, self.period)
        return event_day if asked is None else asked
