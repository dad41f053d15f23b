"""The one evaluator: the decision on a frame of subjects, by expressions compiled once for a rule, parameter segment and period."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_

import polars as pl

from .emit import Emitter
from .periods import Period
from .rule import Rule, RuleFact
from .terms import Term

REFUSED, GRANTED, UNDETERMINED = 0, 1, 2
DECISIONS = ("refused", "granted", "undetermined")
NO, YES, UNKNOWN = 0, 1, 2

_INT = pl.Int64()
_DTYPES: dict[str, pl.DataType] = {"yes_no": pl.Boolean(), "text": pl.String(), "ratio": pl.String()}


def physical_type(fact: RuleFact) -> pl.DataType:
    """The type of a fact's column: Int64, Boolean or String."""
    return _DTYPES.get(fact.type, _INT)


def decide(rule: Rule, table: pl.DataFrame, period: Period, payment_day: int | None = None) -> pl.DataFrame:
    """The decision on every row of `table`, in the same order.

    `table` has a column for each fact of the rule (null is unknown) and, where the rule asks for the date of the event, `event_day`.
    The result has `decision` (0 refused, 1 granted, 2 undetermined), `amount_minor`, `missing` (a bit for each fact that stands in
    the way), `conditions` (two bits each: 0 no, 1 yes, 2 unknown) and `step:<id>`, numerators over the steps' denominators.
    """
    frame = typed_facts(rule, table)
    days = tuple(rule.day(name, period, payment_day) for name in ("period.start", "period.end", "payment.date"))
    if rule.parameters_at != "event.date":
        at = ("period.start", "period.end", "payment.date").index(rule.parameters_at)
        return _plan(rule, rule.segment(days[at]), days).run(frame)
    events = frame.get_column("event_day")
    if frame.height == 0 or events.null_count():
        if frame.height:
            raise ValueError("event_day is null in some rows; it picks the parameters and is always known")
        return _plan(rule, 0, days).run(frame)
    first, last = rule.segment(int(events.min())), rule.segment(int(events.max()))  # type: ignore[arg-type]
    if first == last:
        return _plan(rule, first, days).run(frame)
    parts = frame.with_columns(_segments(rule, events), pl.int_range(pl.len()).alias("row:")).partition_by("segment:", as_dict=True)
    decided = [_plan(rule, int(key[0]), days).run(part).with_columns(part.get_column("row:")) for key, part in sorted(parts.items())]
    return pl.concat(decided).sort("row:").drop("row:")


def _segments(rule: Rule, events: pl.Series) -> pl.Series:
    which = {on: bisect_right(rule.segments, on) - 1 for on in events.unique().to_list()}
    return events.replace_strict(which, return_dtype=pl.Int64).alias("segment:")


def typed_facts(rule: Rule, table: pl.DataFrame) -> pl.DataFrame:
    """The table with the fact columns in their physical types; what is outside its range is unknown, what may be assumed is filled in."""
    changed = []
    for fact in rule.facts:
        given = column = table.get_column(fact.name)
        wanted = physical_type(fact)
        if column.dtype != wanted:
            column = _cast(column, fact, wanted)
        if fact.range is not None and column.len() > column.null_count():
            low, high = fact.range
            if int(column.min()) < low or int(column.max()) > high:  # type: ignore[arg-type]
                column = column.set(~column.is_between(low, high), None)
        elif fact.one_of and not _all_among(column, fact.one_of):
            column = column.set(~column.is_in(fact.one_of), None)
        if fact.assume is not None and column.null_count():
            column = column.fill_null(pl.lit(fact.assume, dtype=wanted))
        if column is not given:
            changed.append(column)
    if rule.needs_event_day and table.get_column("event_day").dtype != pl.Int64:
        changed.append(table.get_column("event_day").cast(pl.Int64))
    return table.with_columns(changed) if changed else table


def _cast(column: pl.Series, fact: RuleFact, wanted: pl.DataType) -> pl.Series:
    held = column.dtype
    fits = held.is_integer() if wanted == pl.Int64 else held in (pl.Categorical, pl.Enum) and wanted == pl.String
    if not fits and held != pl.Null:
        raise TypeError(f"the column {fact.name!r} is {held}, the fact is {fact.type} and takes {wanted}")
    return column.cast(wanted)


def _all_among(column: pl.Series, values: tuple[str, ...]) -> bool:
    """Whether only these texts stand in the column; a cast to an Enum tells it six times faster than is_in."""
    try:
        column.cast(pl.Enum(values))
    except pl.exceptions.InvalidOperationError:
        return False
    return True


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """A rule compiled for one parameter segment and one period. `checks` names the column of each condition and what it must be."""

    stages: tuple[tuple[pl.Expr, ...], ...]
    checks: tuple[tuple[str, bool], ...]
    steps: tuple[str, ...]
    pay: str
    missing: tuple[tuple[pl.Expr, ...], ...]

    def run(self, frame: pl.DataFrame) -> pl.DataFrame:
        work = frame
        for stage in self.stages:
            work = work.with_columns(stage)
        amount = work.get_column(self.pay)
        passes, bits = self._outcome(work)
        if passes.null_count() or amount.null_count():
            granted = passes.fill_null(False) & amount.is_not_null()
            refused = ~passes.fill_null(True)
            decision = 2 - granted.cast(pl.UInt8) - 2 * refused.cast(pl.UInt8)
            missing, amount = self._missing(work, decision), amount.fill_null(0)
        else:
            granted = passes
            decision, missing = granted.cast(pl.UInt8), _repeat(0, work.height)
        paid = amount * granted.cast(_INT)
        columns = [decision.alias("decision"), paid.alias("amount_minor"), missing.alias("missing"), bits.alias("conditions")]
        return pl.DataFrame([*columns, *(work.get_column(step) for step in self.steps)])

    def _outcome(self, work: pl.DataFrame) -> tuple[pl.Series, pl.Series]:
        """Who passes every condition (null: not known), and each condition's outcome in two bits. What is yes or no for all is not calculated by row."""
        passes, same = None, 0
        bits: list[pl.Series] = []
        for index, (name, wanted) in enumerate(self.checks):
            outcome, weight = work.get_column(name), 1 << 2 * index
            unknown = outcome.null_count()
            if not unknown and outcome.all():
                same += weight
                if wanted:
                    continue
            elif unknown or outcome.any():
                bits.append((outcome.cast(pl.UInt64).fill_null(UNKNOWN) if unknown else outcome.cast(pl.UInt64)) * weight)
            good = outcome if wanted else ~outcome
            passes = good if passes is None else passes & good
        if passes is None:
            passes = pl.Series([True]).new_from_index(0, work.height)
        return passes, reduce(lambda one, other: one + other, bits, _repeat(same, work.height))

    def _missing(self, work: pl.DataFrame, decision: pl.Series) -> pl.Series:
        none, rows = _repeat(0, work.height), (decision == UNDETERMINED).arg_true()
        if not len(rows):
            return none
        undecided = work[rows]
        for stage in self.missing:
            undecided = undecided.with_columns(stage)
        return none.scatter(rows, undecided.get_column("missing"))


def _repeat(value: int, height: int) -> pl.Series:
    return pl.Series([value], dtype=pl.UInt64).new_from_index(0, height)


@lru_cache(maxsize=512)
def _plan(rule: Rule, segment: int, days: tuple[int, ...]) -> _Plan:
    emit = Emitter(rule, segment, dict(zip(("period.start", "period.end", "payment.date"), days, strict=True)))
    levels: dict[str, int] = {}
    stages: list[list[pl.Expr]] = []

    def place(name: str, term: Term) -> int:
        level = 1 + max((levels[step] for step in _steps_of(term)), default=-1)
        while len(stages) <= level:
            stages.append([])
        stages[level].append(emit(term).alias(name))
        return level

    for step in rule.steps:
        levels[step.id] = place("step:" + step.id, step.term)
    checks: list[tuple[str, bool]] = []
    for item, wanted in (*((item, True) for item in rule.conditions), *((item, False) for item in rule.exclusions)):
        checks.append((str(item.term.value) if item.term.op == "fact" else "when:" + item.id, wanted))
        if item.term.op != "fact":
            place("when:" + item.id, item.term)
    missing = [(emit.missing(step.term).alias("missing:" + step.id),) for step in rule.steps]
    parts = [emit.missing(item.term) for item in (*rule.conditions, *rule.exclusions)] + [pl.col("missing:" + rule.pay)]
    steps = tuple("step:" + step.id for step in rule.steps)
    return _Plan(tuple(map(tuple, stages)), tuple(checks), steps, "step:" + rule.pay, (*missing, (reduce(or_, parts).alias("missing"),)))


def _steps_of(term: Term) -> set[str]:
    found = {str(term.value)} if term.op == "step" else set()
    return found.union(*(_steps_of(arg) for arg in term.args))
