"""Expressions: a small part of Python's expression syntax, parsed by `ast` with an allow-list and turned into typed terms."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Mapping
from datetime import date
from fractions import Fraction

from pipeline.facts import day
from pipeline.money import minor_digits
from pipeline.problems import suggestion

from . import terms
from .periods import DAYS_WITHIN
from .syntax import WORDS_OF_TRUTH, mend_of, slip
from .terms import Kind, Refused, Term

MAX_CHARACTERS = 500
MAX_NODES = 120
MAX_DEPTH = 16

DAYS = ("period.start", "period.end", "payment.date", "event.date")
FUNCTIONS: dict[str, tuple[int, int, str]] = {
    "min": (2, 8, "min(a, b, ...): the least of them"),
    "max": (2, 8, "max(a, b, ...): the greatest of them"),
    "abs": (1, 1, "abs(a): without its sign"),
    "positive": (1, 1, "positive(a): a where it is above zero, else zero"),
    "spread": (2, 2, "spread(amount, parts): a yearly amount as one of so many equal payments"),
    "per_year": (1, 1, "per_year(amount): an amount per quarter or month as the amount per year"),
    "per_quarter": (1, 1, "per_quarter(amount): an amount per year or month as the amount per quarter"),
    "per_month": (1, 1, "per_month(amount): an amount per year or quarter as the amount per month"),
    "full_steps": (2, 2, "full_steps(a, size): how many full steps of size are in a"),
    "started_steps": (2, 2, "started_steps(a, size): how many steps of size are started in a"),
    "years": (2, 2, "years(birth, day): whole years from one day to another"),
    "full_months": (2, 2, "full_months(birth, day): whole months from one day to another"),
    "birthday": (2, 2, "birthday(birth, age): the day on which somebody born on a day is so many years old; 1 March for 29 February in a common year"),
    "days": (2, 2, "days(from, to): days from one day to another"),
    "year": (1, 1, "year(day): the calendar year of a day"),
    "date": (1, 1, 'date("2022-01-01"): a written day'),
}
_COMPARE: dict[type[ast.cmpop], str] = {ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge"}
_ARITHMETIC: dict[type[ast.operator], Callable[[Term, Term, str], Term]] = {
    ast.Add: terms.add, ast.Sub: terms.subtract, ast.Mult: terms.multiply, ast.Div: terms.divide,
}  # fmt: skip


class BadExpression(Refused):
    """What is wrong, and the character of the expression (from 0) where it stands; `silent` where it was reported before, `name` where a name is unknown."""

    def __init__(self, message: str, mend: str, offset: int, silent: bool = False, name: str = "") -> None:
        self.offset, self.silent, self.name = offset, silent, name
        super().__init__(message, mend)


def parse_expression(text: str, names: Mapping[str, Term], period: str = "once", amounts_in: str = "") -> Term:
    """The typed term of `text`, whose names stand for the terms of `names`, in a benefit per `period`; BadExpression locates the first mistake.

    Where a currency is given in `amounts_in`, a written number that is compared with money is an amount of it.
    """
    if len(text) > MAX_CHARACTERS:
        raise BadExpression(f"the expression has {len(text)} characters, the limit is {MAX_CHARACTERS}", "Split it into steps.", 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise BadExpression(*slip(text, error.msg, (error.offset or len(text) + 1) - 1)) from None
    except (ValueError, RecursionError, MemoryError):
        raise BadExpression("not an expression", "", 0) from None
    nodes = sum(isinstance(node, ast.expr) for node in ast.walk(tree))
    if nodes > MAX_NODES or _depth(tree) > MAX_DEPTH:
        raise BadExpression(f"the expression is too large ({nodes} parts, the limit is {MAX_NODES}; depth limit {MAX_DEPTH})", "Split it into steps.", 0)
    return _Reader(text, names, period, amounts_in).term(tree)


def _depth(node: ast.AST) -> int:
    deepest, level = 0, [node]
    while level:
        deepest += any(isinstance(item, ast.expr) for item in level)
        level = [child for item in level for child in ast.iter_child_nodes(item)]
    return deepest


class _Reader:
    def __init__(self, text: str, names: Mapping[str, Term], period: str, amounts_in: str) -> None:
        self.text, self.names, self.period, self.amounts_in = text, names, period, amounts_in

    def term(self, node: ast.expr) -> Term:
        read = getattr(self, "_" + type(node).__name__.lower(), None)
        if read is None:
            raise self._not_allowed(node)
        try:
            result: Term = read(node)
        except BadExpression:
            raise
        except Refused as refused:
            raise self._bad(node, str(refused), refused.mend) from None
        return result

    def _source(self, node: ast.expr) -> str:
        return ast.get_source_segment(self.text, node) or ""

    def _bad(self, node: ast.expr, message: str, mend: str = "") -> BadExpression:
        line = self.text.splitlines(keepends=True)[: node.lineno]
        before = sum(len(part) for part in line[:-1]) + len(line[-1].encode()[: node.col_offset].decode(errors="ignore"))
        return BadExpression(message, mend, before)

    def _not_allowed(self, node: ast.expr) -> BadExpression:
        source = self._source(node)
        return self._bad(node, f"{source!r} is not allowed in an expression", mend_of(source))

    def _name(self, node: ast.Name) -> Term:
        if node.id in self.names:
            if self.names[node.id] is terms.UNKNOWN:
                raise BadExpression("", "", 0, silent=True)
            return self.names[node.id]
        if node.id in WORDS_OF_TRUTH:
            raise self._not_allowed(node)
        known = [*self.names, *FUNCTIONS, *DAYS]
        near = suggestion(node.id, known)
        refused = self._bad(node, f"unknown name {node.id!r}" + (f", {near}" if near else ""), "" if near else f"Known names: {', '.join(self.names)}.")
        refused.name = node.id
        raise refused

    def _attribute(self, node: ast.Attribute) -> Term:
        name = self._source(node)
        if name not in DAYS:
            near = suggestion(name, DAYS)
            raise self._bad(node, f"unknown name {name!r}" + (f", {near}" if near else ""), "" if near else f"Days are {', '.join(DAYS)}.")
        return terms.day_of(name)

    def _constant(self, node: ast.Constant) -> Term:
        source = self._source(node)
        if isinstance(node.value, str):
            return terms.text_constant(node.value)
        if isinstance(node.value, bool) or not isinstance(node.value, int | float):
            raise self._not_allowed(node)
        try:
            return terms.constant(Fraction(source.replace("_", "")), terms.NUMBER, source, literal=True)
        except Refused:
            raise
        except ValueError:
            raise self._bad(node, f"{source!r} is not a number in decimal notation") from None

    def _unaryop(self, node: ast.UnaryOp) -> Term:
        operand = self.term(node.operand)
        if isinstance(node.op, ast.Not):
            return terms.logical("not", [operand], self._source(node))
        if isinstance(node.op, ast.USub):
            return terms.negative(operand, self._source(node))
        raise self._not_allowed(node)

    def _binop(self, node: ast.BinOp) -> Term:
        combine = _ARITHMETIC.get(type(node.op))
        if combine is None:
            raise self._bad(node, f"{self._source(node)!r}: only + - * and / calculate", mend_of(self._between(node)))
        return combine(self.term(node.left), self.term(node.right), self._source(node))

    def _between(self, node: ast.BinOp) -> str:
        """The sign of an operation."""
        sides = self._source(node.left), self._source(node.right)
        return self._source(node).removeprefix(sides[0]).removesuffix(sides[1]).strip(" ()")

    def _boolop(self, node: ast.BoolOp) -> Term:
        return terms.logical("and" if isinstance(node.op, ast.And) else "or", [self.term(value) for value in node.values], self._source(node))

    def _ifexp(self, node: ast.IfExp) -> Term:
        return terms.choose(self.term(node.test), self.term(node.body), self.term(node.orelse), self._source(node))

    def _compare(self, node: ast.Compare) -> Term:
        parts, left = [], node.left
        for op, right in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, ast.In | ast.NotIn):
                parts.append(self._member(left, right, isinstance(op, ast.NotIn)))
            elif type(op) in _COMPARE:
                one, other = self.term(left), self.term(right)
                one, other = self._amount(one, other), self._amount(other, one)
                self._known_choice(node, one, other)
                parts.append(terms.compare(_COMPARE[type(op)], one, other, self._source(node)))
            else:
                raise self._bad(node, f"{self._source(node)!r} is not allowed in an expression", "Compare with == != < <= > >= in.")
            left = right
        return parts[0] if len(parts) == 1 else terms.logical("and", parts, self._source(node))

    def _amount(self, written: Term, other: Term) -> Term:
        """A written number beside money as an amount, where amounts may be written."""
        if not self.amounts_in or not written.literal or other.kind.type != "money" or other.literal:
            return written
        minor = written.low * 10 ** minor_digits(self.amounts_in)
        if minor.denominator != 1:
            raise Refused(f"{written} has more decimals than {self.amounts_in} has", "Write whole minor units.")
        return terms.constant(minor, other.kind, written.text)

    def _known_choice(self, node: ast.expr, one: Term, other: Term) -> None:
        for fact, written in ((one, other), (other, one)):
            if fact.choices and written.op == "const" and isinstance(written.value, str) and written.value not in fact.choices:
                near = suggestion(written.value, fact.choices)
                raise self._bad(node, f"{fact} is never {written.value!r}" + (f", {near}" if near else ""), f"It is one of {', '.join(fact.choices)}.")

    def _member(self, left: ast.expr, right: ast.expr, negated: bool) -> Term:
        if not isinstance(right, ast.List | ast.Tuple) or not right.elts:
            raise self._bad(right, '\'in\' takes a written list, such as ["single", "married_joint"]')
        one = self.term(left)
        equal = []
        for item in right.elts:
            other = self.term(item)
            self._known_choice(item, one, other)
            equal.append(terms.compare("eq", one, other, self._source(item)))
        found = equal[0] if len(equal) == 1 else terms.logical("or", equal)
        return terms.logical("not", [found]) if negated else found

    def _call(self, node: ast.Call) -> Term:
        name = self._source(node.func)
        if not isinstance(node.func, ast.Name) or name not in FUNCTIONS or node.keywords:
            near = suggestion(name, FUNCTIONS)
            raise self._bad(node, f"unknown function {name!r}" + (f", {near}" if near else ""), "" if near else f"Functions are {', '.join(FUNCTIONS)}.")
        least, most, form = FUNCTIONS[name]
        if not least <= len(node.args) <= most:
            raise self._bad(node, f"{name} takes {least}{f' to {most}' if most > least else ''} values, not {len(node.args)}", f"{form}.")
        source = self._source(node)
        if name == "date":
            return self._date(node)
        args = [self.term(arg) for arg in node.args]
        if name in ("min", "max"):
            result = args[0]
            for other in args[1:]:
                result = (terms.least if name == "min" else terms.greatest)(result, other, source)
            return result
        if name == "birthday":
            return terms.birthday(args[0], args[1], source)
        if name in ("years", "full_months", "days", "year"):
            return self._within_period(terms.day_term(name, *args, text=source))
        if name == "abs":
            either = terms.greatest(args[0], terms.negative(args[0]), source)
            return terms.within(either, max(either.low, Fraction(0)), either.high)
        if name == "positive":
            return terms.greatest(args[0], terms.constant(0, Kind("number"), "0", literal=True), source)
        if name.startswith("per_"):
            return terms.convert(args[0], name.removeprefix("per_"), source)
        if name == "spread":
            return terms.spread(args[0], args[1], source)
        return terms.whole_steps(args[0], args[1], name == "started_steps", source)

    def _within_period(self, term: Term) -> Term:
        """The days from the first to the last day of the period are as many as a month, a quarter or a year has."""
        of_period = term.op == "days" and [(arg.op, arg.value) for arg in term.args] == [("day", "period.start"), ("day", "period.end")]
        return terms.within(term, *map(Fraction, DAYS_WITHIN[self.period])) if of_period and self.period in DAYS_WITHIN else term

    def _date(self, node: ast.Call) -> Term:
        written = node.args[0]
        if not isinstance(written, ast.Constant) or not isinstance(written.value, str):
            raise self._bad(written, "date takes a written day in quotes", 'Write date("2022-01-01").')
        try:
            number = day(date.fromisoformat(written.value))
        except ValueError:
            raise self._bad(written, f"{written.value!r} is not a date that exists", "Write it like 2022-01-31.") from None
        return terms.constant(number, Kind("date"), written.value)
