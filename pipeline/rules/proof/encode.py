"""The terms of a compiled rule in linear arithmetic of whole numbers, each with whether it is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce
from math import lcm

from pipeline.rules.rule import Key, Rule
from pipeline.rules.terms import MONTHS, Term

from .arithmetic import Truth, Whole, choose, compared, divided, every, negated, some, times, within
from .calendar import Calendar

MOST_VALUES = 256
"""How many values a factor may have to be told apart one by one; the product of two that have more is left to the solver as it is."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a term is of somebody: a numerator over its denominator, a day, a truth or the number of a text, and whether it is known."""

    value: Whole | Truth
    known: Truth = True


class Texts:
    """Texts by number, the same in every rule that is compared; a number that none has is some other text."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(text, len(self._numbers))

    def text(self, number: int) -> str:
        texts = list(self._numbers)
        return texts[number] if 0 <= number < len(texts) else f"other {number}"


class Encoder:
    """The terms of a rule in one segment. `days` has the days of the period and of the event, `month` the month in which it begins, from 0."""

    def __init__(self, rule: Rule, segment: int, days: Mapping[str, Whole], month: Whole, facts: Mapping[str, Seen], texts: Texts, calendar: Calendar) -> None:
        self.rule, self.segment, self.days, self.month = rule, segment, days, month
        self.facts, self.texts, self.calendar = facts, texts, calendar
        self.steps = {step.id: step for step in rule.steps}
        self.by_name = {fact.name: fact for fact in rule.facts}
        self._seen: dict[Term, Seen] = {}
        self._values: dict[Term, frozenset[int] | None] = {}

    def __call__(self, term: Term) -> Seen:
        if term not in self._seen:
            self._seen[term] = _ENCODE[term.op](self, term)
        return self._seen[term]

    def over(self, term: Term, den: int) -> Whole:
        """The numerator over a multiple of the term's denominator."""
        return times(self(term).value, den // term.den)

    def scalar(self, value: Fraction | str | bool, den: int) -> Whole | Truth:
        if isinstance(value, Fraction):
            return int(value * den)
        return value if isinstance(value, bool) else self.texts.number(value)

    def const(self, term: Term) -> Seen:
        assert term.value is not None
        return Seen(self.scalar(term.value, term.den))

    def fact(self, term: Term) -> Seen:
        return self.facts[str(term.value)]

    def share(self, term: Term) -> Seen:
        held = self.facts[str(term.value)]
        numbers = [(self.texts.number(text), int(Fraction(text) * term.den)) for text in term.choices]
        value: Whole = numbers[-1][1]
        for number, share in reversed(numbers[:-1]):
            value = choose(compared("eq", held.value, number), share, value)
        return Seen(value, held.known)

    def step(self, term: Term) -> Seen:
        return self(self.steps[str(term.value)].term)

    def day(self, term: Term) -> Seen:
        return Seen(self.days[str(term.value)])

    def parameter(self, term: Term) -> Seen:
        parameter = self.rule.parameters[str(term.value)]
        row = [self.scalar(value, term.den) for value in parameter.values[self.segment]]
        if not parameter.by:
            return Seen(row[0])
        held = [every(*map(self.holds, parameter.by, keys)) for keys in parameter.rows()]
        value = row[-1]
        for holds, number in zip(reversed(held[:-1]), reversed(row[:-1]), strict=True):
            value = choose(holds, number, value)
        return Seen(value, every(*(self.facts[by].known for by in parameter.by), some(*held)))

    def holds(self, by: str, key: Key) -> Truth:
        """Whether a key of a parameter is that of somebody, where the fact is known."""
        value = self.facts[by].value
        if key.value is None:
            return within(value, key.low, key.high)
        if isinstance(key.value, bool):
            return value if key.value else negated(value)
        return compared("eq", value, self.texts.number(key.value))

    def both(self, term: Term) -> tuple[Whole, Whole, Truth]:
        one, other = term.args
        den = lcm(one.den, other.den)
        return self.over(one, den), self.over(other, den), every(self(one).known, self(other).known)

    def add(self, term: Term) -> Seen:
        one, other, known = self.both(term)
        return Seen(one + other, known)

    def sub(self, term: Term) -> Seen:
        one, other, known = self.both(term)
        return Seen(one - other, known)

    def neg(self, term: Term) -> Seen:
        held = self(term.args[0])
        return Seen(-held.value, held.known)

    def mul(self, term: Term) -> Seen:
        one, other = sorted(term.args, key=lambda factor: len(self.values(factor) or range(MOST_VALUES + 1)))
        known = every(self(one).known, self(other).known)
        return Seen(self.by_value(one, lambda number: times(self(other).value, number), lambda value: value * self(other).value), known)

    def by_value(self, term: Term, result: Callable[[int], Whole], otherwise: Callable[[Whole], Whole]) -> Whole:
        """What comes of a term that has few values, told apart one by one; `otherwise` says it of a term that has many."""
        value, values = self(term).value, self.values(term)
        if isinstance(value, int):
            return result(value)
        if values is None:
            return otherwise(value)
        return reduce(lambda rest, number: choose(compared("eq", value, number), result(number), rest), sorted(values)[1:], result(min(values)))

    def extreme(self, term: Term) -> Seen:
        one, other, known = self.both(term)
        return Seen(choose(compared("ge" if term.op == "max" else "le", one, other), one, other), known)

    def rounding(self, term: Term) -> Seen:
        arg, mode = term.args[0], term.op.removeprefix("round_")
        assert isinstance(term.value, Fraction)
        held, to = self(arg), int(term.value)
        size = arg.den * to

        def magnitude(numerator: Whole) -> Whole:
            if size == 1:
                return numerator
            if mode == "half_up":
                return times(divided(times(numerator, 2) + size, 2 * size), to)
            return times(divided(numerator + (size - 1 if mode == "up" else 0), size), to)

        if arg.low >= 0:
            return Seen(magnitude(held.value), held.known)
        return Seen(choose(compared("ge", held.value, 0), magnitude(held.value), -magnitude(-held.value)), held.known)

    def whole_steps(self, term: Term) -> Seen:
        of, size = term.args
        den = lcm(of.den, size.den)
        amount, known = self.over(of, den), every(self(of).known, self(size).known)

        def counted(numerator: Whole) -> Whole:
            each = times(numerator, den // size.den)
            return divided(amount, each) if term.op == "full" else -divided(-amount, each)

        return Seen(self.by_value(size, counted, counted), known)

    def conditional(self, term: Term) -> Seen:
        when, then, otherwise = (self(arg) for arg in term.args)
        one, other = (self.over(arg, term.den) for arg in term.args[1:]) if term.args[1].numeric else (then.value, otherwise.value)
        return Seen(choose(when.value, one, other), every(when.known, choose(when.value, then.known, otherwise.known)))

    def compare(self, term: Term) -> Seen:
        if term.args[0].numeric:
            one, other, known = self.both(term)
            return Seen(compared(term.op, one, other), known)
        left, right = (self(arg) for arg in term.args)
        return Seen(compared(term.op, left.value, right.value), every(left.known, right.known))

    def kleene(self, term: Term) -> Seen:
        return all_of([self(arg) for arg in term.args]) if term.op == "and" else any_of([self(arg) for arg in term.args])

    def invert(self, term: Term) -> Seen:
        return opposite(self(term.args[0]))

    def inverse(self, term: Term) -> Seen:
        width = term.args[0]

        def share(numerator: Whole) -> Whole:
            return divided(term.den * width.den, numerator)

        return Seen(self.by_value(width, share, share), self(width).known)

    def part(self, term: Term) -> Seen:
        """Equal parts, and what they leave in the first or last of them."""
        of_whole, of_part = MONTHS[term.args[0].kind.per], MONTHS[self.rule.period_kind]
        parts = of_whole // of_part
        within_whole = self.month - times(divided(self.month, of_whole), of_whole)
        whole, share = (self(arg) for arg in term.args)
        kept = compared("eq", within_whole, 0 if term.value == "first" else of_whole - of_part)
        return Seen(choose(kept, whole.value - times(share.value, parts - 1), share.value), every(whole.known, share.known))

    def table(self, term: Term) -> Seen:
        rows = list(zip(term.args[::2], term.args[1::2], strict=True))
        found = Seen(self.over(rows[-1][1], term.den), False)
        for when, value in reversed(rows):
            held = self(when)
            number = choose(held.value, self.over(value, term.den), found.value)
            found = Seen(number, every(held.known, choose(held.value, self(value).known, found.known)))
        return found

    def years(self, term: Term) -> Seen:
        birth, now = (self(arg) for arg in term.args)
        return Seen(self.calendar.age(birth.value, now.value), every(birth.known, now.known))

    def months(self, term: Term) -> Seen:
        birth, now = (self(arg) for arg in term.args)
        return Seen(self.calendar.months(birth.value, now.value), every(birth.known, now.known))

    def birthday(self, term: Term) -> Seen:
        birth = self(term.args[0])
        return Seen(self.calendar.birthday(birth.value, int(Fraction(str(term.value)))), birth.known)

    def days_between(self, term: Term) -> Seen:
        start, end = (self(arg) for arg in term.args)
        return Seen(end.value - start.value, every(start.known, end.known))

    def year(self, term: Term) -> Seen:
        held = self(term.args[0])
        return Seen(self.calendar.year(held.value), held.known)

    def values(self, term: Term) -> frozenset[int] | None:
        """All numerators that a term can have, where they are few."""
        if term not in self._values:
            found = self._found_values(term)
            self._values[term] = found if found is not None and len(found) <= MOST_VALUES else None
        return self._values[term]

    def _found_values(self, term: Term) -> frozenset[int] | None:
        if term.op == "const":
            return frozenset({int(term.low * term.den)})
        if term.op == "parameter":
            return frozenset(int(Fraction(value) * term.den) for value in self.rule.parameters[str(term.value)].values[self.segment])
        if term.op == "share":
            return frozenset(int(Fraction(text) * term.den) for text in term.choices)
        if term.op == "step":
            return self.values(self.steps[str(term.value)].term)
        if term.op == "fact":
            low, high = int(term.low * term.den), int(term.high * term.den)
            return frozenset(range(low, high + 1)) if high - low < MOST_VALUES else None
        if term.op in ("if", "table"):
            return self._union([*term.args[1::2], *([term.args[2]] if term.op == "if" else [])], term.den)
        if term.op in _COMBINED:
            one, other = (self._union([arg], arg.den if term.op == "mul" else term.den) for arg in term.args)
            if one is None or other is None:
                return None
            combined = frozenset(_COMBINED[term.op](first, second) for first in one for second in other)
            return frozenset(number for number in combined if term.low * term.den <= number <= term.high * term.den)
        return None

    def _union(self, terms: list[Term], den: int) -> frozenset[int] | None:
        """All numerators over `den` that one of the terms can have."""
        found: set[int] = set()
        for term in terms:
            held = self.values(term)
            if held is None:
                return None
            found |= {number * (den // term.den) for number in held}
        return frozenset(found)


_COMBINED: dict[str, Callable[[int, int], int]] = {
    "add": lambda one, other: one + other, "sub": lambda one, other: one - other, "min": min, "max": max,
    "mul": lambda one, other: one * other,
}  # fmt: skip


def all_of(parts: list[Seen]) -> Seen:
    """False where one surely is, true where all surely are, else unknown."""
    surely_not = some(*(every(part.known, negated(part.value)) for part in parts))
    return Seen(every(*(part.value for part in parts)), some(surely_not, every(*(part.known for part in parts))))


def any_of(parts: list[Seen]) -> Seen:
    return opposite(all_of([opposite(part) for part in parts]))


def opposite(part: Seen) -> Seen:
    return Seen(negated(part.value), part.known)


_ENCODE: dict[str, Callable[[Encoder, Term], Seen]] = {
    "const": Encoder.const, "fact": Encoder.fact, "share": Encoder.share, "step": Encoder.step, "day": Encoder.day,
    "parameter": Encoder.parameter, "add": Encoder.add, "sub": Encoder.sub, "neg": Encoder.neg, "mul": Encoder.mul,
    "min": Encoder.extreme, "max": Encoder.extreme, "full": Encoder.whole_steps, "started": Encoder.whole_steps, "if": Encoder.conditional,
    "round_half_up": Encoder.rounding, "round_up": Encoder.rounding, "round_down": Encoder.rounding,
    "eq": Encoder.compare, "ne": Encoder.compare, "lt": Encoder.compare, "le": Encoder.compare, "gt": Encoder.compare, "ge": Encoder.compare,
    "and": Encoder.kleene, "or": Encoder.kleene, "not": Encoder.invert, "years": Encoder.years, "full_months": Encoder.months, "days": Encoder.days_between,
    "birthday": Encoder.birthday,
    "year": Encoder.year, "inverse": Encoder.inverse, "part": Encoder.part, "table": Encoder.table,
}  # fmt: skip
