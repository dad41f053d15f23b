"""The members of a household as a rule sees them: who they are on the day asked, what is read of each, and what the rule makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import polars as pl

from .facts import History, Known, Question, Reader, Value
from .members import MARK, by_member
from .questions import age_years, day_asked, question
from .registry import FactSpec
from .rules import Period, Rule, RuleFact, physical_type
from .rules.aggregates import COUNT, ROW, with_aggregates


class MemberReader:
    """Reads the members of households out of their histories, and adds to a table what the rule makes of them."""

    def __init__(self, rule: Rule, period: Period, catalogue: Mapping[str, FactSpec]) -> None:
        members = rule.members
        assert members is not None
        self.rule, self.period = rule, period
        of, home = catalogue[members.of], RuleFact(members.of, "text", members.of, members.at)
        asked = day_asked(rule, home, period)
        self._home = Reader([Question(of.name, of.registry, asked, None, of.timeless, of.until)])
        self._facts = Reader([question(rule, fact, period, catalogue[fact.source]) for fact in members.facts])
        self._ages = [(index, fact) for index, fact in enumerate(members.facts) if fact.type == "years" and catalogue[fact.source].type == "date"]
        self.needs_event_day = self._home.needs_event_day or self._facts.needs_event_day

    def concerns(self, event: Known) -> bool:
        """Whether a copy of a member's event can change what is made of the members."""
        registry, mark, _ = event.registry.partition(MARK)
        if not mark:
            return False
        told = msgspec.structs.replace(event, registry=registry)
        return self._home.concerns(told) or self._facts.concerns(told)

    def event_day(self, history: History) -> int:
        """The day of the latest event of any member that was asked for."""
        return max((reader.event_day(told) for told in by_member(history).values() for reader in (self._home, self._facts)), default=0)

    def read(self, household: str, history: History, event_day: int) -> list[list[Value | None]] | None:
        """The facts of each member on the day asked; None where it is unknown of somebody whether they belong to the household."""
        found = self.people(household, history, event_day)
        return None if found is None else [values for _, values, _ in found]

    def people(self, household: str, history: History, event_day: int) -> list[tuple[str, list[Value | None], list[Known | None]]] | None:
        """Each member on the day asked with their facts and the events that told these; None where it is unknown of somebody whether they belong."""
        found = []
        for member, told in by_member(history).items():
            (home,), (teller,) = self._home.read(told, event_day)
            if teller is None:
                continue  # nobody ever said that they lived here on that day
            if home is None:
                return None
            if home != household:
                continue
            values, events = self._facts.read(told, event_day)
            for index, fact in self._ages:
                born, asked = values[index], day_asked(self.rule, fact, self.period)
                values[index] = None if born is None else age_years(int(born), event_day if asked is None else asked)
            found.append((member, values, events))
        return found

    def made(self, histories: Sequence[tuple[str, History]], event_days: Sequence[int], table: pl.DataFrame) -> pl.DataFrame:
        """`table`, which has a row for each of these households, with a column for each aggregate of the rule."""
        assert self.rule.members is not None
        counts: list[int | None] = []
        rows: list[int] = []
        lines: list[list[Value | None]] = []
        for row, ((household, history), event_day) in enumerate(zip(histories, event_days, strict=True)):
            members = self.read(household, history, event_day)
            counts.append(None if members is None else len(members))
            lines += members or []
            rows += [row] * len(members or ())
        columns = list(zip(*lines, strict=True)) if lines else [()] * len(self.rule.members.facts)
        facts = [pl.Series(fact.name, column, dtype=physical_type(fact)) for fact, column in zip(self.rule.members.facts, columns, strict=True)]
        people = pl.DataFrame([pl.Series(ROW, rows, dtype=pl.Int64), *facts])
        counted = table.with_columns(pl.Series(COUNT, counts, dtype=pl.Int64))
        return with_aggregates(self.rule, counted, people, self.period).drop(COUNT)
