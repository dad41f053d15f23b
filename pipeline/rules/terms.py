"""Typed terms: what an expression of a rule means, with its unit, its denominator and the interval of its values.

Every numeric term is a whole number over a denominator known here, so that the plan needs Int64 only. The interval proves that
no numerator on the way leaves Int64; a term that could is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import lcm

from pipeline.facts import FIRST_DAY, LAST_DAY

INT64_MAX = 2**63 - 1
MOST_YEARS = 150
NUMERIC = frozenset({"money", "number", "years", "ratio"})


class Refused(ValueError):
    """A term that cannot be; the mend says what to write instead."""

    def __init__(self, message: str, mend: str = "") -> None:
        self.mend = mend
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Kind:
    """money, number, years, ratio, date, yes_no or text; money may be per year, quarter, month, week or day."""

    type: str
    per: str = ""
    said: str = field(default="", compare=False)
    """What a document calls it: a percent is a ratio."""

    def __str__(self) -> str:
        name = self.said or self.type
        return f"{name} per {self.per}" if self.per else name


@dataclass(frozen=True, slots=True, eq=False)
class Term:
    """One node of a typed expression. Money is counted in minor units; `low` and `high` bound the value, not the numerator."""

    op: str
    kind: Kind
    args: tuple[Term, ...] = ()
    value: Fraction | str | bool | None = None
    low: Fraction = Fraction(0)
    high: Fraction = Fraction(0)
    den: int = 1
    literal: bool = False
    text: str = ""
    choices: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        return self.kind.type in NUMERIC

    def __str__(self) -> str:
        return self.text or str(self.kind)


YES_NO = Kind("yes_no")
NUMBER = Kind("number")
UNKNOWN = Term("unknown", Kind("unknown"))
"""Stands for a name whose own definition has a problem, so that one mistake is reported once."""


def constant(value: Fraction | int, kind: Kind, text: str = "", literal: bool = False) -> Term:
    exact = Fraction(value)
    return checked(Term("const", kind, (), exact, exact, exact, exact.denominator, literal, text))


def yes_no(value: bool) -> Term:
    return Term("const", YES_NO, value=value)


def text_constant(value: str) -> Term:
    return Term("const", Kind("text"), value=value, text=repr(value))


def named(op: str, name: str, kind: Kind, low: Fraction | int = 0, high: Fraction | int = 0, den: int = 1) -> Term:
    """A fact, a parameter, a step or a day, read by its name."""
    return checked(Term(op, kind, (), name, Fraction(low), Fraction(high), den, text=name))


def day_of(name: str) -> Term:
    return named("day", name, Kind("date"), FIRST_DAY, LAST_DAY)


def checked(term: Term, den: int = 0) -> Term:
    """The term, where all its numerators (over `den`) are whole numbers of Int64; else Refused with the way it grows."""
    most = max(abs(term.low), abs(term.high)) * (den or term.den)
    if most > INT64_MAX:
        raise Refused(f"may overflow: {term} reaches {_size(term)}, which does not fit 64 bits", "Narrow the range of the facts it uses.")
    return term


def _size(term: Term) -> str:
    most = max(abs(term.low), abs(term.high))
    unit = " minor units" if term.kind.type == "money" else ""
    return f"{int(most):,}{unit}" + (f" in parts of 1/{term.den}" if term.den > 1 else "")


def same_kind(a: Term, b: Term, doing: str) -> Kind:
    """The common kind of two terms that are added or compared. Zero fits every unit, a literal number fits numbers of any unit."""
    if a.kind == b.kind:
        return a.kind
    for one, other in ((a, b), (b, a)):
        if one.literal and other.numeric and (one.low == one.high == 0 or other.kind.type != "money"):
            return other.kind
    if {a.kind.type, b.kind.type} == {"number", "years"}:
        return Kind("years")
    for one, other in ((a, b), (b, a)):
        if one.kind.type == "ratio" and of_shares(other):
            return one.kind
    if a.kind.type == b.kind.type == "money":
        raise Refused(f"cannot {doing} {a.kind} and {b.kind}: {_is(a)}, {_is(b)}", _converted(a, b))
    if {a.kind.type, b.kind.type} == {"ratio", "number"}:
        ratio = a if a.kind.type == "ratio" else b
        raise Refused(f"cannot {doing} {a.kind} and {b.kind}: {_is(a)}, {_is(b)}", f"Times 1 it is a number: {ratio} * 1.")
    raise Refused(f"cannot {doing} {a.kind} and {b.kind}: {_is(a)}, {_is(b)}", _as_parameter(a, b) or _as_parameter(b, a))


def _as_parameter(written: Term, other: Term) -> str:
    """How a written amount becomes a parameter; empty where none is written."""
    if other.kind.type != "money" or not written.literal:
        return ""
    per = f", per: {other.kind.per}" if other.kind.per else ""
    return f"Give the amount as a parameter with its law, some_amount: {{type: money{per}, law: ..., from: {{...: {written}}}}}, and write its name here."


def of_shares(term: Term) -> bool:
    """Whether a number was made of a ratio, as rate * children is: it may stand as a ratio."""
    shares = ((arg.kind.type == "ratio" and arg.op != "const") or of_shares(arg) for arg in term.args)
    return term.kind.type == "number" and term.op == "mul" and any(shares)


def _converted(a: Term, b: Term) -> str:
    """How two amounts for different times become amounts for the same."""
    if a.kind.per in MONTHS and b.kind.per in MONTHS:
        return f"Convert one: per_{a.kind.per}({b}), or per_{b.kind.per}({a})."
    if "" in (a.kind.per, b.kind.per):
        long, short = (a, b) if a.kind.per else (b, a)
        parts = f", or spread({long}, {MONTHS[long.kind.per]}) for that of a month" if MONTHS.get(long.kind.per, 1) > 1 else ""
        said = f"Say per: {long.kind.per} where {short} is defined, or write" if short.op in ("fact", "parameter") else "Write"
        return f"{said} spread({long}, 1) for the whole of it in one payment{parts}."
    return "Weeks and days are no parts of a month: leave per out where they are defined, and multiply by the number that the law counts."


def payable(name: str, per: str, period: str) -> str:
    """What to write where an amount per one time is to be paid for another."""
    if period == "once":
        return f"Write spread({name}, 1) in a step after it for all of it at once, and pay that; or leave per: {per} out where it is defined."
    if period == "week" and per in MONTHS:
        return (
            f"Write spread({name if per == 'year' else f'per_year({name})'}, 52) in a step after it, or the number of weeks that the law counts, and pay that."
        )
    if per not in MONTHS:
        return (
            f"Multiply it by the {per}s that the law counts for a {period}, a parameter such as the ratio 52/12, and leave per: {per} out where it is defined."
        )
    exactly = f"; spread: {{of: {name}, remainder: last}} where the parts must add up to the {per}" if MONTHS[per] > MONTHS[period] else ""
    return f"Write per_{period}({name}) in a step after it, and pay that{exactly}."


def _is(term: Term) -> str:
    return f"{term} is {term.kind}"


def _numbers(doing: str, *terms: Term) -> None:
    for term in terms:
        if not term.numeric:
            raise Refused(f"cannot {doing} {term.kind}: {_is(term)}")


def add(a: Term, b: Term, text: str = "") -> Term:
    _numbers("add", a, b)
    kind, den = same_kind(a, b, "add"), lcm(a.den, b.den)
    checked(a, den), checked(b, den)
    return checked(Term("add", kind, (a, b), None, a.low + b.low, a.high + b.high, den, a.literal and b.literal, text))


def negative(a: Term, text: str = "") -> Term:
    _numbers("negate", a)
    return Term("neg", a.kind, (a,), None, -a.high, -a.low, a.den, a.literal, text)


def subtract(a: Term, b: Term, text: str = "") -> Term:
    _numbers("subtract", a, b)
    kind, den = same_kind(a, b, "subtract"), lcm(a.den, b.den)
    checked(a, den), checked(b, den)
    return checked(Term("sub", kind, (a, b), None, a.low - b.high, a.high - b.low, den, a.literal and b.literal, text))


def multiply(a: Term, b: Term, text: str = "") -> Term:
    _numbers("multiply", a, b)
    if a.kind.type == b.kind.type == "money":
        raise Refused(f"cannot multiply money by money: {a} and {b}")
    money = next((term for term in (a, b) if term.kind.type == "money"), None)
    kind = money.kind if money else Kind("ratio" if a.kind.type == b.kind.type == "ratio" else "number")
    corners = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    return checked(Term("mul", kind, (a, b), None, min(corners), max(corners), a.den * b.den, a.literal and b.literal, text))


def divide(a: Term, b: Term, text: str = "") -> Term:
    _numbers("divide", a, b)
    if b.op != "const" or b.kind.type == "money":
        few = b.kind.type in ("number", "years")
        by = {"fact": f", such as a parameter by {b} with 1, 1/2, 1/3", "step": f", such as a table of {b} that gives 1, 1/2, 1/3"}.get(b.op, "") if few else ""
        mend = f"Multiply by a ratio{by}; whole steps are full_steps(a, size) or started_steps(a, size)."
        raise Refused(f"cannot divide by {b}: only a written number divides", mend)
    if b.low == 0:
        raise Refused("cannot divide by zero")
    share = constant(1 / b.low, Kind("ratio") if not a.literal else NUMBER, text=f"1/{b.low}", literal=a.literal)
    return replace(multiply(a, share, text), kind=a.kind)


def least(a: Term, b: Term, text: str = "") -> Term:
    return _extreme("min", a, b, text)


def greatest(a: Term, b: Term, text: str = "") -> Term:
    return _extreme("max", a, b, text)


def _extreme(op: str, a: Term, b: Term, text: str) -> Term:
    _numbers("compare", a, b)
    kind, den, pick = same_kind(a, b, "compare"), lcm(a.den, b.den), (min if op == "min" else max)
    checked(a, den), checked(b, den), checked(Term("sub", kind, low=a.low - b.high, high=a.high - b.low, den=den, text=f"{a} - {b}"))
    return checked(Term(op, kind, (a, b), None, pick(a.low, b.low), pick(a.high, b.high), den, a.literal and b.literal, text))


def spread(a: Term, parts: Term, text: str = "") -> Term:
    """A yearly (quarterly, ...) amount over so many payments: an amount for one of them."""
    if a.kind.type != "money":
        raise Refused(f"only money is spread: {_is(a)}")
    if parts.op != "const" or parts.low < 1 or parts.low.denominator != 1:
        raise Refused(f"spread over {parts}: the parts are a written whole number of at least 1")
    return replace(divide(a, parts, text), kind=Kind("money"))


MONTHS = {"year": 12, "quarter": 3, "month": 1}


def convert(a: Term, per: str, text: str = "") -> Term:
    """An amount per year, quarter or month as the amount per another of them, exactly."""
    if a.kind.type != "money" or a.kind.per not in MONTHS:
        raise Refused(f"only money per year, quarter or month is converted: {_is(a)}", "Say per: year, quarter or month where it is defined.")
    factor = constant(Fraction(MONTHS[per], MONTHS[a.kind.per]), NUMBER, literal=True)
    return replace(multiply(a, factor, text), kind=Kind("money", per))


def within(a: Term, low: Fraction, high: Fraction) -> Term:
    """The term with bounds that are known to be tighter than those of its arithmetic."""
    return replace(a, low=low, high=high)


def inverse(width: Term, values: Iterable[Fraction]) -> Term:
    """One part of `width`, which takes no other than these values, all above zero."""
    known = list(values)
    den = lcm(*(value.numerator for value in known))
    term = Term("inverse", Kind("ratio"), (width,), None, 1 / max(known), 1 / min(known), den, text=f"one part of {width}")
    return checked(checked(term), den * width.den)


def first_that_holds(rows: Sequence[tuple[Term, Term]], text: str) -> Term:
    """The value of the first row whose condition holds; unknown where that is not known."""
    kind, den = rows[0][1].kind, lcm(*(value.den for _, value in rows))
    for _, value in rows:
        checked(value, den)
    bounds = min(value.low for _, value in rows), max(value.high for _, value in rows)
    return checked(Term("table", kind, tuple(term for row in rows for term in row), None, *bounds, den, text=text))


def whole_steps(a: Term, size: Term, started: bool, text: str = "") -> Term:
    """How many steps of `size` are in `a`: full ones, or started ones."""
    _numbers("count steps of", a, size)
    same_kind(a, size, "count steps of")
    if size.op not in ("const", "parameter") or size.low <= 0:
        raise Refused(f"the size of a step is a parameter or a written number above zero, {size} may be {size.low}")
    den = lcm(a.den, size.den)
    checked(a, den), checked(size, den)
    low, high = (-(-bound // size.low) if started else bound // size.low for bound in (min(a.low, Fraction(0)), max(a.high, Fraction(0))))
    return checked(Term("started" if started else "full", NUMBER, (a, size), None, Fraction(low), Fraction(high), 1, text=text))


def rounded(a: Term, to: Fraction, mode: str) -> Term:
    """To a whole multiple of `to` minor units. half_up rounds ties away from zero, up away from zero, down towards zero."""
    if to < 1 or to.denominator != 1:
        raise Refused("rounding is to a whole number of minor units")
    whole = a.den * int(to)
    most = max(abs(a.low), abs(a.high)) * a.den * 2 + whole
    if most > INT64_MAX:
        raise Refused(f"may overflow: {a} reaches {_size(a)}, which cannot be rounded in 64 bits", "Narrow the range of the facts it uses.")
    return checked(Term("round_" + mode, a.kind, (a,), to, round_exact(a.low, to, mode), round_exact(a.high, to, mode), 1, text=str(a)))


def round_exact(value: Fraction, to: Fraction, mode: str) -> Fraction:
    size, sign = abs(value) / to, -1 if value < 0 else 1
    whole = {"half_up": (2 * size + 1) // 2, "up": -(-size // 1), "down": size // 1}[mode]
    return sign * whole * to


_MIRROR = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le"}


def compare(op: str, a: Term, b: Term, text: str = "") -> Term:
    """eq, ne, lt, le, gt or ge of two terms of one kind."""
    if a.kind.type in ("text", "yes_no") or b.kind.type in ("text", "yes_no"):
        if a.kind.type != b.kind.type:
            raise Refused(f"cannot compare {a.kind} and {b.kind}: {_is(a)}, {_is(b)}")
        if op not in ("eq", "ne"):
            raise Refused(f"{a.kind} has no order: {_is(a)}", "Compare it with == or !=.")
        return Term(op, YES_NO, (a, b), text=text)
    same_kind(a, b, "compare")
    den = lcm(a.den, b.den)
    checked(a, den), checked(b, den)
    return Term(op, YES_NO, (a, b), text=text)


def logical(op: str, args: Sequence[Term], text: str = "") -> Term:
    """and, or, not: of yes/no terms only."""
    for arg in args:
        if arg.kind.type != "yes_no":
            raise Refused(f"'{op}' takes yes/no: {_is(arg)}")
    return Term(op, YES_NO, tuple(args), text=text)


def choose(when: Term, then: Term, otherwise: Term, text: str = "") -> Term:
    """`then if when else otherwise`; unknown where `when` is unknown."""
    if when.kind.type != "yes_no":
        raise Refused(f"'if' takes yes/no: {_is(when)}")
    if not (then.numeric and otherwise.numeric):
        if then.kind != otherwise.kind or then.kind.type not in ("yes_no", "date"):
            raise Refused(f"both branches must be of one kind, numbers, dates or yes/no: {_is(then)}, {_is(otherwise)}")
        kind = then.kind
    else:
        kind = same_kind(then, otherwise, "choose between")
    den = lcm(then.den, otherwise.den)
    if then.numeric:
        checked(then, den), checked(otherwise, den)
    return Term("if", kind, (when, then, otherwise), None, min(then.low, otherwise.low), max(then.high, otherwise.high), den, text=text)


def day_term(op: str, *args: Term, text: str = "") -> Term:
    """years(birth, day), full_months(birth, day), days(from, to), year(day): whole numbers out of days."""
    for arg in args:
        if arg.kind.type != "date":
            raise Refused(f"{op} takes dates: {_is(arg)}")
    bounds = {"years": (-9999, 9999), "full_months": (-119_988, 119_988), "days": (FIRST_DAY - LAST_DAY, LAST_DAY - FIRST_DAY), "year": (1, 9999)}[op]
    kind = Kind("years") if op == "years" else NUMBER
    return Term(op, kind, args, None, Fraction(bounds[0]), Fraction(bounds[1]), 1, text=text)


def birthday(birth: Term, age: Term, text: str = "") -> Term:
    """The day on which somebody born on a day is so many years old."""
    if birth.kind.type != "date":
        raise Refused(f"birthday takes a date and a number of years: {_is(birth)}")
    if age.op != "const" or not age.literal or age.low.denominator != 1 or not 0 <= age.low <= MOST_YEARS:
        raise Refused(f"the age of a birthday is a written whole number from 0 to {MOST_YEARS}: {_is(age)}")
    return Term("birthday", Kind("date"), (birth,), age.low, birth.low, Fraction(LAST_DAY), 1, text=text)
