"""Terms as Polars expressions, null where a fact they need is unknown.

Every arithmetic expression here is null where an operand is null; `and`, `or` and `not` are those of Kleene, as Polars has them; `when`
is used only where its condition cannot be null, or where an unknown one is caught as well. Polars would otherwise take the *otherwise*
branch for an unknown condition, and `max_horizontal` would pass over an unknown income.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import reduce
from math import lcm
from operator import and_, or_

import polars as pl

from pipeline.facts import day_date

from .rule import Key, Parameter, Rule
from .terms import MONTHS, NUMERIC, Term

_INT, _MASK = pl.Int64(), pl.UInt64()


def _whole(value: int) -> pl.Expr:
    return pl.lit(value, dtype=_INT)


class Emitter:
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
            if factor.low == factor.high == Fraction(1, factor.den) and self._is_fixed(factor):
                return self(rest)
        return self(one) * self(other)

    def _is_fixed(self, term: Term) -> bool:
        """Whether the same number holds for everybody; a parameter by key is unknown where its key is."""
        return term.op == "const" or (term.op == "parameter" and not self.rule.parameters[str(term.value)].by)

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

    def inverse(self, term: Term) -> pl.Expr:
        return _whole(term.den * term.args[0].den) // self(term.args[0])

    def part(self, term: Term) -> pl.Expr:
        """Equal parts, and what they leave in the first or last of them: which of them the period is, is known here."""
        of_whole, of_part = MONTHS[term.args[0].kind.per], MONTHS[self.rule.period_kind]
        parts = of_whole // of_part
        turn = (day_date(self.days["period.start"]).month - 1) % of_whole // of_part
        whole, share = (self(arg) for arg in term.args)
        return whole - share * _whole(parts - 1) if turn == (0 if term.value == "first" else parts - 1) else share

    def table(self, term: Term) -> pl.Expr:
        rows = [(self(when), self.over(value, term.den)) for when, value in zip(term.args[::2], term.args[1::2], strict=True)]
        chosen = pl.lit(None, dtype=_INT)
        for when, value in reversed(rows):
            chosen = pl.when(when.is_null()).then(None).when(when).then(value).otherwise(chosen)
        return chosen

    def years(self, term: Term) -> pl.Expr:
        birth, now = (_date(self(arg)) for arg in term.args)
        earlier = now.dt.month().cast(_INT) * _whole(32) + now.dt.day().cast(_INT) < birth.dt.month().cast(_INT) * _whole(32) + birth.dt.day().cast(_INT)
        return now.dt.year().cast(_INT) - birth.dt.year().cast(_INT) - earlier.cast(_INT)

    def months(self, term: Term) -> pl.Expr:
        birth, now = (_date(self(arg)) for arg in term.args)
        since = [date.dt.year().cast(_INT) * _whole(12) + date.dt.month().cast(_INT) for date in (now, birth)]
        return since[0] - since[1] - (now.dt.day() < birth.dt.day()).cast(_INT)

    def birthday(self, term: Term) -> pl.Expr:
        """The day of the same name so many years later, at most in the year 9999; after 28 February where a year has no 29th."""
        born = _date(self(term.args[0]))
        year = pl.min_horizontal(born.dt.year() + int(Fraction(str(term.value))), pl.lit(9999))
        leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
        late = (born.dt.month() == 2) & (born.dt.day() == 29) & ~leap
        found = pl.date(year, pl.when(late).then(3).otherwise(born.dt.month()), pl.when(late).then(1).otherwise(born.dt.day()))
        return pl.when(born.is_null()).then(None).otherwise(found.cast(pl.Int32).cast(_INT))

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
            keyed = (pl.col(by).is_null().cast(_MASK) * self.bits[by] for by in self.rule.parameters[str(term.value)].by)
            return reduce(or_, keyed, none)
        if term.op == "step":
            return pl.col("missing:" + str(term.value))
        if term.op == "if":
            when, then, otherwise = term.args
            chosen = self(when)
            return pl.when(chosen).then(self.missing(then)).when(~chosen).then(self.missing(otherwise)).otherwise(self.missing(when))
        if term.op == "table":
            found = none
            for when, value in reversed(list(zip(term.args[::2], term.args[1::2], strict=True))):
                held = self(when)
                found = pl.when(held).then(self.missing(value)).when(held.is_null()).then(self.missing(when)).otherwise(found)
            return found
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
    if len(parameter.by) == 1 and isinstance(parameter.keys[0][0].value, str) and parameter.kind.type in NUMERIC:
        return _table(pl.col(parameter.by[0]), {str(key.value): int(value) for key, value in zip(parameter.keys[0], row, strict=True)})
    rows = [(reduce(and_, map(_holds, parameter.by, keys)), _literal(value)) for keys, value in zip(parameter.rows(), row, strict=True)]
    return reduce(lambda rest, entry: pl.when(entry[0]).then(entry[1]).otherwise(rest), reversed(rows), pl.lit(None))


def _holds(name: str, key: Key) -> pl.Expr:
    return pl.col(name).is_between(key.low, key.high) if key.value is None else pl.col(name) == key.value


_EMIT: dict[str, Callable[[Emitter, Term], pl.Expr]] = {
    "const": Emitter.const, "fact": Emitter.fact, "share": Emitter.share, "step": Emitter.step, "day": Emitter.day,
    "parameter": Emitter.parameter, "add": Emitter.add, "sub": Emitter.sub, "neg": Emitter.neg, "mul": Emitter.mul,
    "min": Emitter.extreme, "max": Emitter.extreme, "full": Emitter.steps, "started": Emitter.steps, "if": Emitter.choose,
    "round_half_up": Emitter.rounding, "round_up": Emitter.rounding, "round_down": Emitter.rounding,
    "eq": Emitter.compare, "ne": Emitter.compare, "lt": Emitter.compare, "le": Emitter.compare, "gt": Emitter.compare, "ge": Emitter.compare,
    "and": Emitter.every, "or": Emitter.some, "not": Emitter.invert, "years": Emitter.years, "full_months": Emitter.months, "days": Emitter.days_between,
    "birthday": Emitter.birthday,
    "year": Emitter.year,
    "inverse": Emitter.inverse, "part": Emitter.part, "table": Emitter.table,
}  # fmt: skip
