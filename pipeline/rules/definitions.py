"""What a rule document defines by name: its facts, held against the registries' catalogue, and its dated parameters."""

from __future__ import annotations

import keyword
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise
from math import lcm, prod
from typing import Protocol

from pipeline.documents import Node
from pipeline.facts import FIRST_DAY, LAST_DAY, day_date
from pipeline.money import MINOR_DIGITS, nearest_currency, parse_minor
from pipeline.problems import MAX_PROBLEMS, Malformed, Problem, more_problems, suggestion

from . import document, terms
from .document import Document
from .expressions import FUNCTIONS
from .grids import Grid
from .rule import Key, Parameter, RuleFact, Scalar, Step
from .scalars import Nested, Path
from .shape import locate
from .terms import Kind, Refused, Term
from .values import read_fact, read_key, read_range, read_value

RESERVED = {"subject": "", "period": "period.start", "payment": "payment.date", "event": "event.date", "members": "count: members"}
"""Words that are no names, with where they stand."""
MAX_ROWS = 256
_SOURCES = {"money": ("money",), "number": ("number",), "percent": ("number",), "years": ("date",), "date": ("date",), "yes_no": ("yes_no",),
            "text": ("text", "one_of"), "ratio": ("text", "one_of")}  # fmt: skip


def _kind(type_: str, per: str | None) -> Kind:
    return Kind("ratio", said=type_) if type_ == "percent" else Kind(type_, per or "")


def _one_each(item: Nested, keys: Sequence[str]) -> str:
    """What to write where there is not one value for each key."""
    if not isinstance(item, list):
        return "Write a list."
    for one, other in pairwise(item if len(item) > len(keys) else ()):
        torn = isinstance(one, str) and isinstance(other, str) and re.fullmatch(r"[+-]?\d{1,3},\d{3}(\.\d+)?", f"{one},{other}", re.ASCII)
        if torn:
            return f"A number has _ and no comma: {one}_{other}."
    return f"Give one for each of {', '.join(keys)}."


class FactSpec(Protocol):
    """What the catalogue of the registries says of a fact."""

    @property
    def name(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def currency(self) -> str: ...
    @property
    def one_of(self) -> tuple[str, ...]: ...
    @property
    def range(self) -> tuple[int, int] | None: ...
    @property
    def meaning(self) -> str: ...
    @property
    def subject(self) -> str: ...


class Definitions:
    """Facts and parameters read out of a document, as terms under their names; problems are collected on the way."""

    def __init__(self, root: Node, doc: Document, catalogue: Mapping[str, FactSpec], text: str) -> None:
        self.root, self.doc, self.catalogue, self.text = root, doc, catalogue, text
        self.problems: list[Problem] = []
        self.names: dict[str, Term] = {}
        self.facts: dict[str, RuleFact] = {}
        self.member_names: dict[str, Term] = {}
        self.member_facts: dict[str, RuleFact] = {}
        self.parameters: dict[str, Parameter] = {}
        self.steps: dict[str, Step] = {}
        self.grids: dict[str, Grid] = {}
        self.currency_known = True
        self.currency = self._currency()
        self.in_force = (doc.in_force.from_, LAST_DAY if doc.in_force.to is None else doc.in_force.to)
        self.segments = self._segments()

    def bad(self, path: Path, message: str, mend: str = "", key: bool = False, offset: int = 0, expected: str = "") -> None:
        self.problems.append(locate(self.root, path, message, mend, key, offset, expected))
        if len(self.problems) >= MAX_PROBLEMS:
            raise Malformed([*self.problems, more_problems()])

    def unknown(self, path: Path, what: str, name: str, known: Iterable[str], key: bool = False) -> None:
        """A name that nobody knows, with the nearest one, or all there are."""
        near, names = suggestion(name, known), ", ".join(known)
        mend = "" if near or not names else f"Known: {names}."
        self.bad(path, f"{what} {name!r}" + (f", {near}" if near else ""), mend, key, expected=f"one of {names}" if names else "")

    def law(self, path: Path, name: str) -> None:
        if name and name not in self.doc.law:
            self.unknown(path, "unknown law", name, self.doc.law)

    def money(self, path: Path, text: str | None) -> int | None:
        try:
            return None if text is None else parse_minor(text, self.currency)
        except ValueError as error:
            self.bad(path, str(error))
            return None

    def _currency(self) -> str:
        members = self.doc.members.facts if self.doc.members else {}
        sources = [self.catalogue.get(fact.from_) for fact in (*self.doc.facts.values(), *members.values()) if fact.type == "money"]
        told = {spec.currency for spec in sources if spec is not None}
        told.discard("")
        currency = self.doc.decides.currency or (next(iter(told)) if len(told) == 1 else "")
        if currency in MINOR_DIGITS:
            return currency
        self.currency_known = False
        if self.doc.decides.currency:
            self.bad(("decides", "currency"), f"unknown currency {currency!r}, {nearest_currency(currency)}", expected="a currency of ISO 4217, such as EUR")
        elif all(spec is not None and spec.currency for spec in sources):
            self.bad(("decides",), "the currency of the amount is not known", "Say decides.currency.", key=True)
        meant = self.doc.decides.currency.upper()
        return meant if meant in MINOR_DIGITS else next(iter(sorted(told)), "EUR")

    def _segments(self) -> tuple[int, ...]:
        days = {start for parameter in self.doc.parameters.values() for start in parameter.from_ if self.in_force[0] < start <= self.in_force[1]}
        return (self.in_force[0], *sorted(days))

    def claim(self, path: Path, name: str) -> bool:
        if keyword.iskeyword(name) or name in FUNCTIONS or name in RESERVED:
            whole = f", as in {RESERVED[name]}" if RESERVED.get(name) else ""
            self.bad(path, f"{name!r} is a word of the language{whole}", "Choose another name.", key=True)
        elif name in self.names or name in self.member_names:
            self.bad(path, f"the name {name!r} is used twice", "Give facts, parameters and steps different names.", key=True)
        else:
            return True
        return False

    def fact(self, name: str, fact: document.Fact, of_member: bool = False) -> None:
        path: Path = ("members", "facts", name) if of_member else ("facts", name)
        names, facts = (self.member_names, self.member_facts) if of_member else (self.names, self.facts)
        spec = self.catalogue.get(fact.from_)
        kind = _kind(fact.type, fact.per)
        if not self.claim(path, name):
            return
        names[name] = terms.UNKNOWN
        if spec is None:
            near = suggestion(fact.from_, self.catalogue)
            mend = "" if near else "See the registries' documents for the facts there are."
            self.bad((*path, "from"), f"no registry tells {fact.from_!r}" + (f", {near}" if near else ""), mend)
            return
        if spec.type not in _SOURCES[fact.type]:
            self.bad((*path, "type"), f"{fact.from_} is {spec.type}, {name!r} cannot be {fact.type} of it")
            return
        if fact.type == "money" and spec.currency != self.currency and self.currency_known:
            self.bad((*path, "from"), f"{fact.from_} is in {spec.currency}, the rule calculates in {self.currency}")
            return
        whom = "person" if of_member else self.doc.decides.for_
        if spec.subject and spec.subject != whom:
            of_each = of_member or (spec.subject == "person" and whom == "household")
            mend = "Say it under members.facts, and make an aggregate of it." if of_each and not of_member else ""
            decided = "members are persons" if of_member else f"the rule decides for a {whom}"
            self.bad((*path, "from"), f"{fact.from_} is told of a {spec.subject}, {decided}", mend)
            return
        year = self._year((*path, "year"), fact.year)
        one_of = self._choices(path, fact, spec)
        bounds = self._range(path, name, fact, spec)
        assume = None
        if fact.if_missing.assume is not None:
            try:
                assume = read_fact(fact.if_missing.assume, fact.type, self.currency, one_of)
                if bounds and not bounds[0] <= int(assume) <= bounds[1]:
                    raise ValueError(f"{fact.if_missing.assume!r} is outside the range of {name!r}")
            except ValueError as error:
                self.bad((*path, "if_missing", "assume"), str(error))
        at, accept = fact.at or self.doc.decides.parameters_at, tuple(fact.accept)
        facts[name] = RuleFact(name, fact.type, fact.from_, at, year, fact.per or "", accept, bounds, one_of, assume, fact.max_age, spec.meaning,
                               words=fact.words)  # fmt: skip
        try:
            names[name] = self.fact_term(facts[name], kind)
        except Refused as refused:
            self.bad(path, str(refused), refused.mend, key=True)

    def fact_term(self, fact: RuleFact, kind: Kind) -> Term:
        if fact.type == "ratio":
            shares = [Fraction(value) for value in fact.one_of]
            den = lcm(*(share.denominator for share in shares))
            return terms.checked(Term("share", kind, (), fact.name, min(shares), max(shares), den, text=fact.name, choices=fact.one_of))
        low, high = fact.range or (0, 0)
        den = 100 if fact.type == "percent" else 1
        return terms.checked(Term("fact", kind, (), fact.name, Fraction(low, den), Fraction(high, den), den, text=fact.name, choices=fact.one_of))

    def _year(self, path: Path, text: str | None) -> str | int | None:
        if text is None:
            return text
        before = re.fullmatch(r"period\.year(?:\s*-\s*(\d))?", text, re.ASCII)
        if before and self.doc.decides.period != "once":
            return f"period.year - {before[1]}" if before[1] and before[1] != "0" else "period.year"
        if re.fullmatch(r"[12]\d{3}", text, re.ASCII):
            return int(text)
        once = self.doc.decides.period == "once"
        mend = "Write a year such as 2019" + ("." if once else ", period.year, or period.year - 1 for the year before (to - 9).")
        self.bad(path, f"{text!r} is no year of a benefit {'paid once' if once else 'per ' + self.doc.decides.period}", mend)
        return None

    def _choices(self, path: Path, fact: document.Fact, spec: FactSpec) -> tuple[str, ...]:
        chosen = tuple(fact.one_of) or spec.one_of if fact.type in ("text", "ratio") else ()
        for index, value in enumerate(fact.one_of):
            if fact.type not in ("text", "ratio"):
                self.bad((*path, "one_of"), f"one_of is for text, {path[-1]!r} is {fact.type}", key=True)
                break
            if spec.one_of and value not in spec.one_of:
                self.unknown((*path, "one_of", index), f"{fact.from_} is never", value, spec.one_of)
        for value in fact.words:
            if value not in chosen:
                self.unknown((*path, "words", value), f"{path[-1]!r} is never", value, chosen, key=True)
        if fact.type == "ratio":
            for value in chosen:
                try:
                    read_value(value, "ratio", self.currency)
                except ValueError as error:
                    self.bad((*path, "one_of"), str(error), key=True)
                    return ("1",)
            if not chosen:
                self.bad(path, "a ratio needs one_of, such as ['1', '1/2']", key=True)
                return ("1",)
        return chosen

    def _range(self, path: Path, name: str, fact: document.Fact, spec: FactSpec) -> tuple[int, int] | None:
        if fact.type in ("text", "yes_no", "ratio"):
            if fact.range is not None:
                self.bad((*path, "range"), f"a range is for numbers and dates, {name!r} is {fact.type}", key=True)
            return None
        default = {"years": (0, 150), "date": (FIRST_DAY, LAST_DAY)}.get(fact.type, spec.range)
        if fact.range is None:
            if default is None:
                self.bad(path, f"{name!r} needs a range, so that no amount can overflow", "Say range: lowest..highest.", key=True)
            return default or (0, 0)
        try:
            return read_range(fact.range, fact.type, self.currency)
        except ValueError as error:
            self.bad((*path, "range"), str(error))
            return default or (0, 0)

    def parameter(self, name: str, given: document.Parameter) -> None:
        path: Path = ("parameters", name)
        kind = _kind(given.type, given.per)
        if not self.claim(path, name):
            return
        self._define(name, terms.UNKNOWN, given.by)
        self.law((*path, "law"), given.law)
        of_members = [fact for fact in given.by if fact in self.member_facts]
        if of_members and len(of_members) < len(given.by):
            others = ", ".join(fact for fact in given.by if fact not in of_members)
            message, mend = f"{of_members[0]} is of each member, {others} is not", "Give it by facts of members only, or of the household only."
            self.bad((*path, "by"), message, mend, key=True)
            return
        by, keys = self._keys((*path, "by"), given)
        dated: dict[int, tuple[tuple[Scalar, ...] | None, tuple[str, ...]]] = {}
        for (start, value), written in zip(given.from_.items(), self._dates(path), strict=True):
            place: Path = (*path, "from", written)
            row = self._values((*place, "value") if isinstance(self.root.at(*place).value, dict) else place, given, value)
            dated[start] = row, self._laws(place, given, value, len(row or ()))
        values, laws, starts = [], [], sorted(dated)
        for segment in self.segments:
            begun = bisect_right(starts, segment)
            row, law = dated[starts[begun - 1]] if begun else (None, ())
            if row is None:
                self.bad(path, f"{name!r} has no value on {day_date(segment)}, when the rule is in force", "Give it one from then on or earlier.", key=True)
                return
            values.append(row)
            laws.append(law)
        self._settle(path, Parameter(name, kind, 1, by, keys, tuple(values), tuple(laws)))

    def _dates(self, path: Path) -> list[str]:
        node = self.root.at(*path, "from").value
        return list(node) if isinstance(node, dict) else []

    def _settle(self, path: Path, parameter: Parameter) -> None:
        name, flat = parameter.name, [value for row in parameter.values for value in row]
        numbers = [value for value in flat if isinstance(value, Fraction)]
        if not flat:
            return
        if not numbers:
            self.parameters[name] = parameter
            self._define(name, Term("parameter", parameter.kind, value=name, text=name), parameter.by)
            return
        den = lcm(*(value.denominator for value in numbers))
        self.parameters[name] = Parameter(name, parameter.kind, den, parameter.by, parameter.keys, parameter.values, parameter.laws)
        try:
            self._define(name, terms.named("parameter", name, parameter.kind, min(numbers), max(numbers), den), parameter.by)
        except Refused as refused:
            self.bad(path, str(refused), refused.mend, key=True)

    def _define(self, name: str, term: Term, by: Iterable[str]) -> None:
        """A parameter by facts of members is known where they are, one by facts of the household there, one by no fact in both places."""
        given = list(by)
        if not any(fact in self.member_facts for fact in given):
            self.names[name] = term
        if all(fact in self.member_facts for fact in given):
            self.member_names[name] = term

    def _keys(self, path: Path, given: document.Parameter) -> tuple[tuple[str, ...], tuple[tuple[Key, ...], ...]]:
        size = prod(len(texts) for texts in given.by.values())
        if size > MAX_ROWS:
            self.bad(path, f"{size:,} values by key, the limit is {MAX_ROWS}", key=True)
            return (), ()
        found = [(by, self._axis((*path, by), by, texts)) for by, texts in given.by.items()]
        return tuple(by for by, _ in found), tuple(keys for _, keys in found)

    def _axis(self, path: Path, by: str, texts: list[str]) -> tuple[Key, ...]:
        fact = self.facts.get(by) or self.member_facts.get(by)
        if fact is None:
            members = self.doc.members.facts if self.doc.members else {}
            known = [*self.doc.facts, *self.doc.aggregates, *members]
            if by not in known:
                self.unknown(path, "unknown fact", by, known, key=True)
            return ()
        keys: list[Key] = []
        for index, text in enumerate(texts):
            try:
                key = read_key(text, fact.type, self.currency, fact.one_of, fact.range or (0, 0), 100 if fact.type == "percent" else 1)
            except ValueError as error:
                self.bad((*path, index), str(error))
                continue
            if any((key.value == other.value) if key.value is not None else (key.low <= other.high and other.low <= key.high) for other in keys):
                self.bad((*path, index), f"{text!r} overlaps an earlier key")
            keys.append(key)
        return tuple(keys)

    def _values(self, path: Path, given: document.Parameter, dated: document.DatedValue) -> tuple[Scalar, ...] | None:
        if dated.value == "null":
            return None
        row: list[Scalar] = []
        for place, text in self._flat(path, given, dated.value):
            try:
                row.append(read_value(text, given.type, self.currency))
            except ValueError as error:
                self.bad(place, str(error))
                row.append(Fraction(0))
        return tuple(row)

    def _laws(self, path: Path, given: document.Parameter, dated: document.DatedValue, count: int) -> tuple[str, ...]:
        """The law of each value: its own, that of its date, or that of the parameter."""
        if isinstance(dated.law, str):
            self.law((*path, "law"), dated.law)
            return (dated.law or given.law,) * count
        listed = self._flat((*path, "law"), given, dated.law)
        for place, law in listed:
            self.law(place, law)
        return tuple(law or given.law for _, law in listed)

    def _flat(self, path: Path, given: document.Parameter, nested: Nested) -> list[tuple[Path, str]]:
        """The leaves of lists within lists, with their places; a problem where the shape is not that of the keys."""
        level: list[tuple[Path, Nested]] = [(path, nested)]
        for by, keys in given.by.items():
            following: list[tuple[Path, Nested]] = []
            for place, item in level:
                listed = item if isinstance(item, list) else [item]
                if not isinstance(item, list) or len(listed) != len(keys):
                    of = f" of {by}" if len(given.by) > 1 else ""
                    self.bad(
                        place, f"{len(listed)} value{'s' * (len(listed) != 1)} stand here, {len(keys)} values, one for each key{of} must", _one_each(item, keys)
                    )
                    return []
                following += [((*place, index), inner) for index, inner in enumerate(listed)]
            level = following
        for place, item in level:
            if isinstance(item, list):
                self.bad(place, f"{len(item)} value{'s' * (len(item) != 1)} stand here, one value must")
                return []
        return [(place, str(item)) for place, item in level]
