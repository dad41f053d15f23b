"""The one evaluator: a rule's terms as Polars expressions, and the decision on a frame of subjects.

Facts that are null are unknown. Every arithmetic expression here is null where an operand is null; `and`, `or` and `not` are those of
Kleene, as Polars has them; `when` is used only where its condition cannot be null or an unknown one is caught before.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, reduce
from math import lcm
from operator import or_

import polars as pl

from pipeline.facts import Value, day_date

from .periods import Period
from .rule import Parameter, Rule, RuleFact
from .terms import NUMERIC, Term

REFUSED, GRANTED, UNDETERMINED = 0, 1, 2
DECISIONS = ("refused", "granted", "undetermined")
NO, YES, UNKNOWN = 0, 1, 2

_INT, _MASK = pl.Int64(), pl.UInt64()
_DTYPES: dict[str, pl.DataType] = {"yes_no": pl.Boolean(), "text": pl.String(), "ratio": pl.String()}


def physical_type(fact: RuleFact) -> pl.DataType:
    """The type of a fact's column: Int64, Boolean or String."""
    return _DTYPES.get(fact.type, _INT)


def years_on(birth: int, on: int) -> int:
    """Whole years from one day to another. Who was born on 29 February becomes a year older on 1 March of common years."""
    born, now = day_date(birth), day_date(on)
    return now.year - born.year - ((now.month, now.day) < (born.month, born.day))


def physical_value(fact: RuleFact, value: Value | None, on: int) -> int | bool | str | None:
    """A kept fact's value as the rule's column holds it on a day: years from a date of birth, anything else as it is."""
    return years_on(int(value), on) if fact.type == "years" and value is not None else value


def decide(rule: Rule, table: pl.DataFrame, period: Period, payment_day: int | None = None) -> pl.DataFrame:
    """The decision on every row of `table`, in the same order.

    `table` has a column for each fact of the rule (null is unknown) and, where the rule asks for the date of the event, `event_day`.
    The result has `decision` (0 refused, 1 granted, 2 undetermined), `amount_minor`, `missing` (a bit for each fact that stands in
    the way), `conditions` (two bits each: 0 no, 1 yes, 2 unknown) and `step:<id>`, numerators over the steps' denominators.
    """
    frame = _facts_of(rule, table)
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


def _facts_of(rule: Rule, table: pl.DataFrame) -> pl.DataFrame:
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
    emit = _Emitter(rule, segment, dict(zip(("period.start", "period.end", "payment.date"), days, strict=True)))
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


def _whole(value: int) -> pl.Expr:
    return pl.lit(value, dtype=_INT)


class _Emitter:
    """Terms as Polars expressions; a numeric one is the numerator over the term's denominator."""

    def __init__(self, rule: Rule, segment: int, days: Mapping[str, int]) -> None:
        self.rule, self.segment, self.days = rule, segment, days
        self.bits = {fact.name: pl.lit(1 << index, dtype=_MASK) for index, fact in enumerate(rule.facts)}

    def __call__(self, term: Term) -> pl.Expr:
        return _EMIT[term.op](self, term)

    def over(self, term: Term, den: int) -> pl.Expr:
        """The numerator over a multiple of the term's denominator."""
        if term.op == "const":
            assert isinstance(term.value, Fraction)
            return _whole(int(term.value * den))
        expr = self(term)
        return expr if term.den == den else expr * _whole(den // term.den)

    def const(self, term: Term) -> pl.Expr:
        return self.over(term, term.den) if isinstance(term.value, Fraction) else pl.lit(term.value)

    def fact(self, term: Term) -> pl.Expr:
        return pl.col(str(term.value))

    def share(self, term: Term) -> pl.Expr:
        return _table(pl.col(str(term.value)), {text: int(Fraction(text) * term.den) for text in term.choices})

    def step(self, term: Term) -> pl.Expr:
        return pl.col("step:" + str(term.value))

    def day(self, term: Term) -> pl.Expr:
        return pl.col("event_day") if term.value == "event.date" else _whole(self.days[str(term.value)])

    def parameter(self, term: Term) -> pl.Expr:
        parameter = self.rule.parameters[str(term.value)]
        row = [int(value * term.den) if isinstance(value, Fraction) else value for value in parameter.values[self.segment]]
        return _looked_up(parameter, row) if parameter.by else _literal(row[0])

    def both(self, term: Term) -> tuple[pl.Expr, pl.Expr]:
        if not term.args[0].numeric:
            return self(term.args[0]), self(term.args[1])
        den = lcm(term.args[0].den, term.args[1].den)
        return self.over(term.args[0], den), self.over(term.args[1], den)

    def add(self, term: Term) -> pl.Expr:
        one, other = self.both(term)
        return one + other

    def sub(self, term: Term) -> pl.Expr:
        one, other = self.both(term)
        return one - other

    def neg(self, term: Term) -> pl.Expr:
        return _whole(0) - self(term.args[0])

    def mul(self, term: Term) -> pl.Expr:
        one, other = term.args
        for factor, rest in ((one, other), (other, one)):
            if factor.low == factor.high == Fraction(1, factor.den) and factor.op in ("const", "parameter"):
                return self(rest)
        return self(one) * self(other)

    def extreme(self, term: Term) -> pl.Expr:
        """b + max(a - b, 0): null where either is, which max_horizontal is not."""
        one, other = self.both(term)
        for bound, free in ((term.args[1], one), (term.args[0], other)):
            if bound.op == "const":
                assert isinstance(bound.value, Fraction)
                limit = _whole(int(bound.value * term.den))
                return free.clip(lower_bound=limit) if term.op == "max" else free.clip(upper_bound=limit)
        rest = one - other
        return other + (rest.clip(lower_bound=_whole(0)) if term.op == "max" else rest.clip(upper_bound=_whole(0)))

    def rounding(self, term: Term) -> pl.Expr:
        arg, mode = term.args[0], term.op.removeprefix("round_")
        assert isinstance(term.value, Fraction)
        to = int(term.value)
        size = arg.den * to

        def magnitude(numerator: pl.Expr) -> pl.Expr:
            if size == 1:
                return numerator
            if mode == "half_up":
                whole = (numerator * _whole(2) + _whole(size)) // _whole(2 * size)
            else:
                whole = (numerator + _whole(size - 1 if mode == "up" else 0)) // _whole(size)
            return whole if to == 1 else whole * _whole(to)

        numerator = self(arg)
        if arg.low >= 0:
            return magnitude(numerator)
        below = magnitude((_whole(0) - numerator).clip(lower_bound=_whole(0)))
        return magnitude(numerator.clip(lower_bound=_whole(0))) - below

    def steps(self, term: Term) -> pl.Expr:
        one, size = self.both(term)
        return one // size if term.op == "full" else _whole(0) - (_whole(0) - one) // size

    def choose(self, term: Term) -> pl.Expr:
        when, then, otherwise = term.args
        one, other = (self.over(then, term.den), self.over(otherwise, term.den)) if then.numeric else (self(then), self(otherwise))
        chosen = self(when)
        return pl.when(chosen).then(one).when(~chosen).then(other).otherwise(None)

    def compare(self, term: Term) -> pl.Expr:
        one, other = self.both(term)
        operation: dict[str, Callable[[pl.Expr], pl.Expr]] = {
            "eq": one.eq, "ne": one.ne, "lt": one.lt, "le": one.le, "gt": one.gt, "ge": one.ge,
        }  # fmt: skip
        return operation[term.op](other)

    def every(self, term: Term) -> pl.Expr:
        return reduce(lambda one, other: one & other, (self(arg) for arg in term.args))

    def some(self, term: Term) -> pl.Expr:
        return reduce(lambda one, other: one | other, (self(arg) for arg in term.args))

    def invert(self, term: Term) -> pl.Expr:
        return ~self(term.args[0])

    def years(self, term: Term) -> pl.Expr:
        birth, now = (_date(self(arg)) for arg in term.args)
        earlier = now.dt.month().cast(_INT) * _whole(32) + now.dt.day().cast(_INT) < birth.dt.month().cast(_INT) * _whole(32) + birth.dt.day().cast(_INT)
        return now.dt.year().cast(_INT) - birth.dt.year().cast(_INT) - earlier.cast(_INT)

    def days_between(self, term: Term) -> pl.Expr:
        return self(term.args[1]) - self(term.args[0])

    def year(self, term: Term) -> pl.Expr:
        return _date(self(term.args[0])).dt.year().cast(_INT)

    def missing(self, term: Term) -> pl.Expr:
        """A bit for each unknown fact for which the term is unknown; no bits where the term is known."""
        none = pl.lit(0, dtype=_MASK)
        if term.op in ("fact", "share"):
            return pl.col(str(term.value)).is_null().cast(_MASK) * self.bits[str(term.value)]
        if term.op == "parameter":
            by = self.rule.parameters[str(term.value)].by
            return pl.col(by).is_null().cast(_MASK) * self.bits[by] if by else none
        if term.op == "step":
            return pl.col("missing:" + str(term.value))
        if term.op == "if":
            when, then, otherwise = term.args
            chosen = self(when)
            return pl.when(chosen).then(self.missing(then)).when(~chosen).then(self.missing(otherwise)).otherwise(self.missing(when))
        parts = [self.missing(arg) for arg in term.args]
        every = reduce(or_, parts) if parts else none
        return pl.when(self(term).is_null()).then(every).otherwise(none) if term.op in ("and", "or") else every


def _date(days: pl.Expr) -> pl.Expr:
    return days.cast(pl.Int32).cast(pl.Date)


def _table(column: pl.Expr, rows: Mapping[str, int]) -> pl.Expr:
    """The number of a text: one of the numbers and the differences from it, so that an unknown text gives an unknown number."""
    numbers = list(rows.values())
    base = max(numbers, key=numbers.count)
    other = {text: number - base for text, number in rows.items() if number != base} or {next(iter(rows)): 0}
    return reduce(lambda one, more: one + more, ((column == text).cast(_INT) * _whole(difference) for text, difference in other.items()), _whole(base))


def _literal(value: int | str | bool) -> pl.Expr:
    return _whole(value) if isinstance(value, int) and not isinstance(value, bool) else pl.lit(value)


def _looked_up(parameter: Parameter, row: list[int | str | bool]) -> pl.Expr:
    column, keyed = pl.col(parameter.by), list(zip(parameter.keys, row, strict=True))
    if isinstance(parameter.keys[0].value, str) and parameter.kind.type in NUMERIC:
        return _table(column, {str(key.value): int(value) for key, value in keyed})
    rows = [(column.is_between(key.low, key.high) if key.value is None else column == key.value, _literal(value)) for key, value in keyed]
    return reduce(lambda rest, entry: pl.when(entry[0]).then(entry[1]).otherwise(rest), reversed(rows), pl.lit(None))


_EMIT: dict[str, Callable[[_Emitter, Term], pl.Expr]] = {
    "const": _Emitter.const, "fact": _Emitter.fact, "share": _Emitter.share, "step": _Emitter.step, "day": _Emitter.day,
    "parameter": _Emitter.parameter, "add": _Emitter.add, "sub": _Emitter.sub, "neg": _Emitter.neg, "mul": _Emitter.mul,
    "min": _Emitter.extreme, "max": _Emitter.extreme, "full": _Emitter.steps, "started": _Emitter.steps, "if": _Emitter.choose,
    "round_half_up": _Emitter.rounding, "round_up": _Emitter.rounding, "round_down": _Emitter.rounding,
    "eq": _Emitter.compare, "ne": _Emitter.compare, "lt": _Emitter.compare, "le": _Emitter.compare, "gt": _Emitter.compare, "ge": _Emitter.compare,
    "and": _Emitter.every, "or": _Emitter.some, "not": _Emitter.invert, "years": _Emitter.years, "days": _Emitter.days_between, "year": _Emitter.year,
}  # fmt: skip
