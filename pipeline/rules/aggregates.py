"""Aggregates: what a rule counts, adds up or asks of the members of a household, worked out from a row for each member.

Three-valued like everything else: a member of whom it is unknown whether they count, or for how much, makes a count or a sum unknown. One
member who surely holds settles `any`, one who surely does not settles `all`, and who surely does not count does not matter. A household of
more members than the document allows for, or whose members nobody knows, has no aggregates: they are unknown, never wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

import polars as pl

from .emit import Emitter
from .evaluate import physical_type, typed_facts
from .periods import Period
from .rule import Aggregate, Case, Rule, RuleFact

ROW, COUNT = "row", "members"
"""In the table of members the number of the household's row; in the table of households how many members there are, null where nobody knows."""

_INT = pl.Int64()


def with_aggregates(rule: Rule, table: pl.DataFrame, members: pl.DataFrame, period: Period, payment_day: int | None = None) -> pl.DataFrame:
    """`table` with a column for each aggregate.

    `table` has a row for each household with the number of its members in `members` (null: not known) and, where the rule asks for it,
    `event_day`; the table `members` has a row for each member with the household's row number in `row` and a column for each fact of a member.
    """
    if rule.members is None:
        return table
    aggregates = [fact for fact in rule.facts if fact.aggregate is not None]
    days = tuple(rule.day(name, period, payment_day) for name in ("period.start", "period.end", "payment.date"))
    lines = members if not rule.needs_event_day else members.with_columns(table.get_column("event_day").gather(members.get_column(ROW)))
    parts = [_made(rule, segment, days, part) for segment, part in _by_segment(rule, lines, days)]
    made = pl.concat(parts) if parts else pl.DataFrame(schema={ROW: _INT, **{fact.name: physical_type(fact) for fact in aggregates}})
    counted = pl.DataFrame({ROW: pl.int_range(table.height, eager=True), COUNT: table.get_column(COUNT).cast(_INT)})
    known = counted.join(made, on=ROW, how="left", maintain_order="left")
    return table.with_columns(
        known.select(
            pl.when(pl.col(COUNT) == 0).then(_of_nobody(fact)).when(pl.col(COUNT) <= rule.members.most).then(pl.col(fact.name)).otherwise(None).alias(fact.name)
            for fact in aggregates
        )
    )


def _by_segment(rule: Rule, members: pl.DataFrame, days: tuple[int, ...]) -> list[tuple[int, pl.DataFrame]]:
    """The members by the stretch of time in which no parameter changes; all in one unless the date of the event picks the parameters."""
    if not members.height:
        return []
    if rule.parameters_at != "event.date":
        return [(rule.segment(days[("period.start", "period.end", "payment.date").index(rule.parameters_at)]), members)]
    which = {on: rule.segment(on) for on in members.get_column("event_day").unique().to_list()}
    parted = members.with_columns(pl.col("event_day").replace_strict(which, return_dtype=_INT).alias("segment:"))
    return [(int(key[0]), part) for key, part in sorted(parted.partition_by("segment:", as_dict=True).items())]


def _made(rule: Rule, segment: int, days: tuple[int, ...], members: pl.DataFrame) -> pl.DataFrame:
    columns, sums = _plan(rule, segment, days)
    lines = typed_facts(of_each(rule), members)
    return lines.with_columns(columns).group_by(ROW).agg(sums)


@lru_cache(maxsize=64)
def of_each(rule: Rule) -> Rule:
    """The rule as it looks at one member."""
    assert rule.members is not None
    return replace(rule, facts=rule.members.facts)


@lru_cache(maxsize=256)
def _plan(rule: Rule, segment: int, days: tuple[int, ...]) -> tuple[list[pl.Expr], list[pl.Expr]]:
    """What is worked out for each member, and what is made of it for each household."""
    emit = Emitter(of_each(rule), segment, dict(zip(("period.start", "period.end", "payment.date"), days, strict=True)))
    columns, sums = [], []
    for fact in rule.facts:
        if fact.aggregate is not None:
            columns += _of_member(emit, fact.name, fact.aggregate)
            sums.append(_of_household(fact.name, fact.aggregate).alias(fact.name))
    return columns, sums


def _of_member(emit: Emitter, name: str, aggregate: Aggregate) -> list[pl.Expr]:
    value = emit(aggregate.term)
    where = None if aggregate.where is None else emit(aggregate.where)
    if aggregate.how in ("count", "any"):
        return [(value if where is None else value & where).alias(name)]
    if aggregate.how == "all":
        return [(value if where is None else value | ~where).alias(name)]
    if aggregate.how == "sum":
        counted = value if where is None else pl.when(~where).then(pl.lit(0, _INT)).when(value == 0).then(pl.lit(0, _INT)).when(where).then(value)
        return [counted.cast(_INT).alias(name)]
    return [value.cast(_INT).alias(name), (pl.lit(True) if where is None else where).alias("where:" + name)]


def _of_household(name: str, aggregate: Aggregate) -> pl.Expr:
    """One value of the members' values; null where it is not known. Polars' own sums, extremes and `any` pass over what is null."""
    value = pl.col(name)
    if aggregate.how == "any":
        return pl.when(value.sum() > 0).then(True).when(value.null_count() == 0).then(False)
    if aggregate.how == "all":
        return pl.when((~value).sum() > 0).then(False).when(value.null_count() == 0).then(True)
    if aggregate.how in ("count", "sum"):
        return pl.when(value.null_count() == 0).then(value.sum().cast(_INT))
    where = pl.col("where:" + name)
    sure, open_ = value.filter(where), value.filter(where.is_null())
    unknown = value.filter(where.fill_null(True)).null_count() > 0
    settled, beyond = (sure.min(), open_.min() < sure.min()) if aggregate.how == "min" else (sure.max(), open_.max() > sure.max())
    none = pl.lit(aggregate.if_none, _INT)
    return (
        pl.when(unknown).then(None)
        .when(sure.len() == 0).then(pl.when(open_.len() == 0).then(none))
        .when(beyond).then(None)
        .otherwise(settled)
    )  # fmt: skip


def _of_nobody(fact: RuleFact) -> pl.Expr:
    """The aggregate of a household that is known to have no members."""
    aggregate = fact.aggregate
    assert aggregate is not None
    if aggregate.how in ("any", "all"):
        return pl.lit(aggregate.how == "all")
    return pl.lit(aggregate.if_none or 0, _INT)


def told_by_members(rule: Rule) -> tuple[Case, ...]:
    """The tests of a document, with the facts that follow from the members they give."""
    filled = []
    for case in rule.tests:
        if case.members is not None:
            table = pl.DataFrame({COUNT: pl.Series([len(case.members)], dtype=_INT), "event_day": pl.Series([case.event_day], dtype=_INT)})
            row = with_aggregates(rule, table, members_frame(rule, [case.members]), case.period).row(0, named=True)
            case = replace(case, given={**case.given, **{fact.name: row[fact.name] for fact in rule.facts if fact.aggregate is not None}})
        filled.append(case)
    return tuple(filled)


def members_frame(rule: Rule, households: Sequence[Sequence[Mapping[str, int | bool | str | None]]]) -> pl.DataFrame:
    """The table of members of households, each a list of members with their facts by name."""
    assert rule.members is not None
    lines = [(row, member) for row, members in enumerate(households) for member in members]
    columns = [pl.Series(fact.name, [member.get(fact.name) for _, member in lines], dtype=physical_type(fact)) for fact in rule.members.facts]
    return pl.DataFrame([pl.Series(ROW, [row for row, _ in lines], dtype=_INT), *columns])
