"""The tables of a rule: rows of conditions on facts with a value each, checked for regions that no row or more than one row covers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from pipeline.facts import day_date
from pipeline.money import decimal_text

from . import regions, terms
from .regions import Box, TooMany
from .terms import Term

if TYPE_CHECKING:
    from .rule import Key

MAX_ROWS = 128
MOST_NAMED = 3
"""How many of the regions that no row covers are named."""
NAMED = ("text", "yes_no", "ratio")
"""The types whose values have names; of a step there is none."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A fact or an earlier step that the rows of a table look at; texts are counted in the order of its choices."""

    name: str
    term: Term
    type: str
    bounds: tuple[int, int]

    @property
    def choices(self) -> tuple[str | bool, ...]:
        if self.type == "yes_no":
            return (False, True)
        return self.term.choices

    def span(self, key: Key) -> tuple[int, int]:
        return (key.low, key.high) if key.value is None else (self.choices.index(key.value),) * 2

    def condition(self, keys: Sequence[Key]) -> Term:
        """Whether one of the keys holds."""
        held = [self._one(key) for key in keys]
        return held[0] if len(held) == 1 else terms.logical("or", held)

    def _one(self, key: Key) -> Term:
        if isinstance(key.value, bool):
            return self.term if key.value else terms.logical("not", [self.term])
        if key.value is not None:
            other = terms.text_constant(key.value) if self.type == "text" else terms.constant(Fraction(key.value), self.term.kind)
            return terms.compare("eq", self.term, other)
        low, high = (terms.constant(Fraction(end, self.term.den), self.term.kind) for end in (key.low, key.high))
        if key.low == key.high:
            return terms.compare("eq", self.term, low)
        least, most = terms.compare("ge", self.term, low), terms.compare("le", self.term, high)
        if key.high >= self.bounds[1]:
            return least
        return most if key.low <= self.bounds[0] else terms.logical("and", [least, most])

    def text(self, number: int, currency: str) -> str:
        """A value of the axis for people."""
        if self.type in NAMED:
            value = self.choices[number]
            return value if isinstance(value, str) else ("no", "yes")[value]
        if self.term.kind.type == "money" and self.term.den != 1:
            return f"{Fraction(number, self.term.den)} minor units"
        if self.term.kind.type == "money" or self.type in ("date", "percent"):
            return written(self.term.kind.type if self.type == "step" else self.type, number, currency)
        return str(Fraction(number, self.term.den))


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: its axes and the boxes of each of its rows."""

    hit: str
    axes: tuple[Axis, ...]
    rows: tuple[tuple[Box, ...], ...]
    laws: tuple[str, ...]
    currency: str

    def row(self, values: Mapping[str, int | bool | str | None]) -> int | None:
        """The row that holds for somebody, by the columns of facts and the numerators of steps; None where a value is unknown."""
        point: list[tuple[int, int]] = []
        for axis in self.axes:
            value = values[axis.name]
            if value is None:
                return None
            point.append(((axis.choices.index(value) if axis.type in NAMED else int(value)),) * 2)
        return next((index for index, row in enumerate(self.rows) if any(regions.meet(tuple(point), box) for box in row)), None)

    def mistakes(self) -> list[tuple[int | None, str, str]]:
        """Rows that overlap or that nobody reaches: (row or None for the whole, message, mend)."""
        try:
            if self.hit == "only_one":
                twice = regions.doubly_covered(self.rows)
                if twice is None:
                    return []
                first, second, box = twice
                return [(second, f"rows {first} and {second} both hold where {self._region(box)}", "Part their ranges, or say hit: first.")]
            seen: list[Box] = []
            for index, row in enumerate(self.rows):
                if not regions.without(row, seen):
                    return [(index, f"row {index} is never reached: rows before it hold wherever it does", "Move it up, or leave it out.")]
                seen += row
        except TooMany:
            return [(None, *_TANGLED)]
        return []

    def gap(self, bounds: Mapping[str, tuple[int, int]]) -> tuple[str, str] | None:
        """The message about the regions within `bounds` that no row covers, and what to do about them."""
        whole = tuple(bounds.get(axis.name, axis.bounds) if axis.type not in NAMED else axis.bounds for axis in self.axes)
        try:
            rest = regions.without([whole], [box for row in self.rows for box in row]) if all(low <= high for low, high in whole) else []
        except TooMany:
            return _TANGLED
        if not rest:
            return None
        steps = [axis.name for axis, span in zip(self.axes, rest[0], strict=True) if axis.type == "step" and span != axis.bounds]
        never = f" Where {steps[0]} is never so, say floor and cap in its step." if steps else ""
        regions_named = [self._region(box) for box in rest[:MOST_NAMED]]
        further = f"; and {len(rest) - MOST_NAMED} more" if len(rest) > MOST_NAMED else ""
        rows = "Add a row" if len(rest) == 1 else "Add rows"
        return f"no row holds where {'; nor where '.join(regions_named)}{further}", f"{rows}, or a condition that keeps those out.{never}"

    def _region(self, box: Box) -> str:
        """A box in words, with an example."""
        spans, example = [], []
        for axis, (low, high) in zip(self.axes, box, strict=True):
            first, last = axis.text(low, self.currency), axis.text(high, self.currency)
            example.append(f"{axis.name} {first}")
            if axis.type in NAMED:
                several = [axis.text(number, self.currency) for number in range(low, high + 1)]
                spans.append(f"{axis.name} is {' or '.join(several)}")
            else:
                spans.append(f"{axis.name} is {first}" if low == high else f"{axis.name} is {first} to {last}")
        whole = " and ".join(spans)
        return whole if all(low == high for low, high in box) else f"{whole}, for example {', '.join(example)}"


_TANGLED = ("the rows cut the facts into too many regions to be checked", "Split the table into several steps.")


def written(kind: str, number: int, currency: str) -> str:
    """A whole number of a fact's column as the fact is written in a document."""
    if kind == "money":
        return decimal_text(number, currency)
    if kind == "date":
        return day_date(number).isoformat()
    return f"{number} %" if kind == "percent" else str(number)


def axis_of(name: str, term: Term, fact_type: str, fact_range: tuple[int, int] | None) -> Axis:
    """The axis of a fact, with its type and range, or of a step, with neither."""
    if fact_type in NAMED:
        return Axis(name, term, fact_type, (0, 1 if fact_type == "yes_no" else len(term.choices) - 1))
    return Axis(name, term, fact_type or "step", fact_range or (int(term.low * term.den), int(term.high * term.den)))


def table_term(rows: Sequence[tuple[Sequence[Term], Term]], text: str) -> Term:
    """The value of the row that holds; a row without conditions holds for everybody."""
    read = []
    for conditions, value in rows:
        when = terms.yes_no(True) if not conditions else conditions[0] if len(conditions) == 1 else terms.logical("and", list(conditions))
        read.append((when, value))
    return terms.first_that_holds(read, text)
