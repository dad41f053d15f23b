"""Statements as the columns of a rule's facts: what would be read out of the events, without the events."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

import polars as pl

from pipeline.facts import FIRST_DAY, LAST_DAY, Question
from pipeline.questions import question
from pipeline.registry import EventType, FactSpec, Registries
from pipeline.rules import Period, Rule, RuleFact, physical_type

from .statements import Kind, Statement

STATUS = ":status"
"""What follows a fact's name in the column that says how sure it is."""


class FactColumns:
    """The facts of a rule for a period, read out of statements as `pipeline.facts.Reader` reads them out of histories.

    `known` is whether a registry of facts of this kind of subject speaks of a row: the rule decides about nobody else.
    """

    def __init__(self, rule: Rule, period: Period, facts: Sequence[RuleFact], kind: Kind, registries: Registries) -> None:
        types = registries.event_types()
        self._told = [(statement, *types[statement.type][statement.source]) for statement in sorted(kind.statements, key=_in_order)]
        speaking = {spec.registry for spec in registries.catalogue.values() if spec.subject in (kind.index, "")}
        self.known = _any([statement.said for statement, registry, _ in self._told if registry.name in speaking])
        asked = [(fact, registries.catalogue[fact.source]) for fact in facts]
        sources = {spec.registry for _, spec in asked}
        days = [pl.when(statement.said).then(statement.told) for statement, registry, _ in self._told if registry.name in sources]
        self._event_day = pl.max_horizontal(*days).fill_null(0) if days else pl.lit(0, pl.Int64)
        self.columns = [column for fact, spec in asked for column in self._columns(fact, spec, question(rule, fact, period, spec))]
        self.event_day = self._event_day.cast(pl.Int64)

    def _columns(self, fact: RuleFact, spec: FactSpec, asked: Question) -> list[pl.Expr]:
        """The fact, and how sure it is where the registry says so."""
        day = self._event_day if asked.day is None else pl.lit(asked.day, pl.Int64)
        if asked.until:
            return [self._until(asked, day).alias(fact.name)]
        value, status = self._latest(asked, day)
        if fact.type == "years" and spec.type == "date":
            value = age_years(value, day)
        columns = [value.cast(physical_type(fact)).alias(fact.name)]
        return columns if status is None else [*columns, pl.when(value.is_not_null()).then(status).alias(fact.name + STATUS)]

    def _latest(self, asked: Question, day: pl.Expr) -> tuple[pl.Expr, pl.Expr | None]:
        """The latest word that holds on the day, and its status where events have one; a status that does not count makes the word unknown."""
        value, status = pl.lit(None), None
        for statement, registry, event in self._told:
            field = next((field for field in event.fields if field.fact == asked.name), None)
            if registry.name != asked.registry or field is None:
                continue
            stated = statement.fields.get(".".join(field.path), pl.lit(None))
            if field.absent_means is not None:
                stated = stated.fill_null(field.absent_means)
            holds = statement.said & stated.is_not_null()
            if not asked.timeless:
                first, end = _valid_time(statement, event)
                holds = holds & (first <= day) & (day < end)
            sure = statement.fields[event.status] if event.status else pl.lit("final")
            told = stated if asked.accept is None else pl.when(sure.is_in(sorted(asked.accept))).then(stated)
            value = pl.when(holds).then(told).otherwise(value)
            if event.status:
                status = pl.when(holds).then(sure).otherwise(pl.lit(None) if status is None else status)
        return value, status

    def _until(self, asked: Question, day: pl.Expr) -> pl.Expr:
        """Whether the day comes before the date told last; yes where the registry spoke and told none."""
        ends, spoke = pl.lit(None, pl.Int64), []
        for statement, registry, event in self._told:
            if registry.name == asked.registry:
                spoke.append(statement.said)
                path = next((".".join(field.path) for field in event.fields if field.fact == asked.until), "")
                stated = statement.fields.get(path)
                if stated is not None:
                    ends = pl.when(statement.said & stated.is_not_null()).then(stated).otherwise(ends)
        return pl.when(ends.is_not_null()).then(day < ends).when(_any(spoke)).then(True)


def age_years(born: pl.Expr, at: pl.Expr) -> pl.Expr:
    """Full years between two day numbers; who was born on 29 February turns a year older on 1 March of a common year."""
    return (_digits(at) - _digits(born)) // 10_000


def _digits(day: pl.Expr) -> pl.Expr:
    """20220131 for 31 January 2022."""
    on = day.cast(pl.Int32).cast(pl.Date).dt
    return on.year().cast(pl.Int64) * 10_000 + on.month().cast(pl.Int64) * 100 + on.day().cast(pl.Int64)


def _valid_time(statement: Statement, event: EventType) -> tuple[pl.Expr, pl.Expr]:
    """From which day an event holds, and from which on no longer."""
    if event.year:
        year = statement.fields[event.year]
        return _new_year(year), _new_year(year + 1)
    first, end = (statement.fields.get(path, pl.lit(None)) for path in (event.valid_from, event.valid_to))
    return first.fill_null(FIRST_DAY), end.fill_null(LAST_DAY)


def _new_year(year: pl.Expr) -> pl.Expr:
    return pl.date(year, 1, 1).to_physical().cast(pl.Int64)


def _in_order(statement: Statement) -> tuple[int, str]:
    return statement.sequence, statement.id


def _any(conditions: Sequence[pl.Expr]) -> pl.Expr:
    return reduce(or_, conditions, pl.lit(False))
