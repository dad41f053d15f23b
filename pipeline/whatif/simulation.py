"""The what-if: a candidate against the active rule on the same frozen people."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import polars as pl

from pipeline.problems import Malformed, Problem, suggestion
from pipeline.rules import GRANTED, Rule
from pipeline.rules.difference import changes

from .comparison import Chunk, Comparison, Side
from .families import Alike, Curves, FamilyCount, Moved, as_family
from .groups import Grouping, ages, deciles, title_of, values
from .months import budget_of, months_of
from .people import Rows, drawn_rows, shown
from .result import Cliff, Family, Population, RuleSaid, SimulationResult

FAMILIES = 4
DRAWN = 20
MOST_DIMENSIONS = 6
KNOWN_AS = ("age", "household_type", "size", "children", "region", "municipality", "state")
"""Columns that people are grouped by wherever they stand in a file, though no rule reads them."""


class Frozen(Protocol):
    """People who do not change while they are decided: the same rows in the same order however often they are read."""

    @property
    def population(self) -> Population:
        """Who they are."""

    @property
    def names(self) -> tuple[str, ...]:
        """What people can be grouped by beside the facts of the candidate."""

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Everybody, in chunks, with these columns to group by."""

    def column(self, name: str) -> pl.Series:
        """One column of everybody: a fact of the candidate, or one of `names`."""

    def rows(self, rows: Sequence[int]) -> Rows:
        """Some people, in the order asked for."""

    def row_of(self, subject: str) -> int:
        """The row of a subject; Malformed where there is none."""


def income_of(rule: Rule) -> str:
    """The fact that deciles, bands and curves go by: the first amount of money per year, else the first amount; empty where there is none."""
    money = [fact for fact in rule.facts if fact.type == "money"]
    yearly = [fact for fact in money if fact.per == "year" or fact.year is not None]
    return (yearly or money)[0].name if money else ""


def groupings_of(rule: Rule, people: Frozen, by: Sequence[str] = ()) -> tuple[Grouping, ...]:
    """How people are grouped: as asked for, else by the income, the age, the kinds and the small numbers that the candidate reads, and what is known beside."""
    facts = {fact.name: fact for fact in rule.facts}
    unknown = [name for name in by if name not in facts and name not in people.names]
    if unknown:
        known = [*facts, *people.names]
        raise Malformed(
            [Problem("--by", f"nothing is known by the name {name!r}", suggestion(name, known) or f"Known: {', '.join(known)}.") for name in unknown]
        )
    if not by:
        income = income_of(rule)
        small = [fact.name for fact in rule.facts if fact.type == "number" and fact.range is not None and fact.range[1] - fact.range[0] <= 60]
        typed = [fact.name for fact in rule.facts if fact.type == "years" or fact.one_of]
        by = [*dict.fromkeys([*([income] if income else []), *typed, *small, *(name for name in KNOWN_AS if name in people.names)])][:MOST_DIMENSIONS]
    return tuple(_grouping(rule, people, name) for name in by)


def _grouping(rule: Rule, people: Frozen, name: str) -> Grouping:
    fact = next((fact for fact in rule.facts if fact.name == name), None)
    title = title_of(rule, name)
    kind = fact.type if fact is not None else ""
    if kind == "years" or (fact is None and name.rpartition(".")[2] == "age"):
        return ages(name, title)
    small = fact is not None and fact.range is not None and fact.range[1] - fact.range[0] <= 60
    if kind == "money" or (kind in ("number", "percent") and not small):
        return deciles(name, title, people.column(name), rule.currency if kind == "money" else "")
    return values(name, title, counts=kind == "number")


def check_comparable(candidate: Side, active: Side | None) -> None:
    """Malformed unless both pay one currency and decide about the same people."""
    if active is not None and active.rule.currency != candidate.rule.currency:
        what = f"{active.rule.benefit} pays {active.rule.currency}, the candidate {candidate.rule.currency}"
        raise Malformed([Problem("--against", what, "Compare rules of one currency.")])
    if active is not None and active.rule.decides_for != candidate.rule.decides_for:
        what = f"{active.rule.benefit} decides for each {active.rule.decides_for}, the candidate for each {candidate.rule.decides_for}"
        raise Malformed([Problem("--against", what, "Compare rules about the same subjects.")])


def simulate(
    candidate: Side,
    active: Side | None,
    people: Frozen,
    *,
    by: Sequence[str] = (),
    seed: int = 1,
    family: str = "",
    proved_cliffs: Sequence[Cliff] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SimulationResult:
    """Decides everybody by both rules and says what the candidate would change."""
    rule, population = candidate.rule, people.population
    check_comparable(candidate, active)
    groupings, income = groupings_of(rule, people, by), income_of(rule)
    comparison, alike = Comparison(candidate, active, groupings, income), FamilyCount(rule)
    for chunk in people.chunks([grouping.name for grouping in groupings]):
        both = comparison.add(chunk)
        if income:
            alike.add(chunk.candidate, both.candidate.get_column("decision") == GRANTED, chunk.first_row)
        progress(chunk.first_row + chunk.candidate.height, population.people)
    whole = comparison.whole
    months = months_of(rule, candidate.period, whole.active_minor, whole.candidate_minor)
    largest = alike.most(FAMILIES) if income else []
    samples = [comparison.gains, comparison.losses, drawn_rows(seed, population.people, DRAWN)]
    own = [people.row_of(family)] if family and income else []
    asked = sorted({*own, *(one.row for one in largest), *(row for rows in samples for row in rows)})
    read = _Read(people.rows(asked), {row: place for place, row in enumerate(asked)})
    families, cliffs = _families(candidate, active, people, read, own, largest) if income else ((), ())
    gains, losses, drawn = (tuple(shown(candidate, active, read.of(rows))) for rows in samples)
    return SimulationResult(
        format="simulation/1",
        currency=rule.currency,
        candidate=_said(candidate),
        active=None if active is None else _said(active),
        differences=_differences(candidate, active),
        population=population,
        seed=seed,
        whole=whole,
        changes=comparison.changes,
        decisions=comparison.decisions,
        months=months,
        budget=budget_of(rule, months),
        bands_of=income,
        newly_out_by=comparison.newly_out_by,
        newly_in_by=comparison.newly_in_by,
        dimensions=comparison.dimensions,
        certainty=comparison.certainty,
        payability=comparison.payability,
        families=families,
        cliffs=cliffs if proved_cliffs is None else tuple(proved_cliffs),
        cliffs_by="sampling" if proved_cliffs is None else "proof",
        gains=gains,
        losses=losses,
        drawn=drawn,
    )


def _differences(candidate: Side, active: Side | None) -> tuple[str, ...]:
    """What the documents say differently, of all that decides: their own tests are left out."""
    found = [] if active is None else changes(active.rule, candidate.rule)
    return tuple(str(change) for change in found if not change.what.startswith("test "))


def _said(side: Side) -> RuleSaid:
    title = side.rule.title.get("en") or next(iter(side.rule.title.values()))
    return RuleSaid(hash=side.rule.hash, benefit=side.rule.benefit, title=title, period=side.period.label)


class _Read(NamedTuple):
    """Rows that have been read, and where each of them stands."""

    rows: Rows
    place: dict[int, int]

    def of(self, rows: Sequence[int]) -> Rows:
        """Some of them."""
        places = [self.place[row] for row in rows]
        active = None if self.rows.active is None else self.rows.active[places]
        return Rows([self.rows.subjects[place] for place in places], self.rows.candidate[places], active)


def _families(
    candidate: Side, active: Side | None, people: Frozen, read: _Read, own: Sequence[int], largest: Sequence[Alike]
) -> tuple[tuple[Family, ...], tuple[Cliff, ...]]:  # fmt: skip
    """The curves of the largest families, that of the subject asked for before them."""
    along = income_of(candidate.rule)
    rows = read.of([*own, *(family.row for family in largest)])
    before: list[dict[str, int | bool | str | None]] = [{}] * len(rows.subjects) if rows.active is None else rows.active.to_dicts()
    moved = []
    for index, (now, was) in enumerate(zip(rows.candidate.to_dicts(), before, strict=True)):
        days = _day(now), _day(was)
        if index < len(own):
            moved.append(Moved(now, was, 1, days))
        else:
            of_active = as_family(active.rule, was, along) if active is not None else was
            moved.append(Moved(as_family(candidate.rule, now, along), of_active, largest[index - len(own)].people, days))
    column = people.column(along).drop_nulls()
    high = int(column.quantile(0.99, "nearest") or 0) if len(column) else 0
    return Curves(candidate, active, along, high).families(moved)


def _day(facts: Mapping[str, int | bool | str | None]) -> int | None:
    on = facts.get("event_day")
    return None if on is None else int(on)
