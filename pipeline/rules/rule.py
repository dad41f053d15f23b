"""The rule: one document, checked whole, with its typed terms; what the evaluator, the explanation and the proof read."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from itertools import product

from pipeline.facts import LAST_DAY, day, day_date
from pipeline.texts import in_language

from .document import Approvals, Corrections, Law, Limits, NotEncoded, Payment
from .document import Step as StepWritten
from .grids import Grid
from .periods import Period
from .terms import Kind, Term

Scalar = Fraction | str | bool


@dataclass(frozen=True, slots=True)
class Aggregate:
    """What is counted, added up or asked of the members: `how` is count, sum, any, all, min or max of `term` over those of whom `where` holds."""

    how: str
    term: Term
    where: Term | None
    if_none: int | None
    law: str


@dataclass(frozen=True, slots=True)
class RuleFact:
    """A fact the rule reads. `range` is in physical units: minor units, whole numbers, day numbers. Of an `aggregate`, `source` is its text."""

    name: str
    type: str
    source: str
    at: str
    year: str | int | None = None
    per: str = ""
    accept: tuple[str, ...] = ("final",)
    range: tuple[int, int] | None = None
    one_of: tuple[str, ...] = ()
    assume: int | bool | str | None = None
    max_age_days: int | None = None
    meaning: str = ""
    aggregate: Aggregate | None = None
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False)
    """What people call the values of a text, by language."""

    @property
    def if_missing(self) -> str:
        return "hold" if self.assume is None else "assume"


@dataclass(frozen=True, slots=True)
class Members:
    """The members of a household: the fact of a person that names it, the day asked, the most there can be, and what is read of each."""

    of: str
    at: str
    most: int
    facts: tuple[RuleFact, ...]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a parameter that is given by a fact: a range of whole numbers of the fact's column, a text or a yes/no."""

    low: int = 0
    high: int = 0
    value: str | bool | None = None

    def holds(self, fact: int | str | bool) -> bool:
        return fact == self.value if self.value is not None else self.low <= int(fact) <= self.high

    def __str__(self) -> str:
        if self.value is not None:
            return {True: "yes", False: "no"}.get(self.value, "") if isinstance(self.value, bool) else self.value
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A number of the law, by the facts `by`, each with its `keys`. `values` and `laws` have an entry per segment, and there one per row."""

    name: str
    kind: Kind
    den: int
    by: tuple[str, ...]
    keys: tuple[tuple[Key, ...], ...]
    values: tuple[tuple[Scalar, ...], ...]
    laws: tuple[tuple[str, ...], ...]

    def rows(self) -> Iterator[tuple[Key, ...]]:
        """The keys of each value, the last fact's keys changing fastest; one empty row where the parameter is given by no fact."""
        return product(*self.keys)

    def row(self, facts: Mapping[str, int | bool | str | None]) -> int | None:
        """The index of the value that holds for somebody; None where a fact is unknown or has no key."""
        held = [facts.get(name) for name in self.by]
        for index, keys in enumerate(self.rows()):
            if all(fact is not None and key.holds(fact) for key, fact in zip(keys, held, strict=True)):
                return index
        return None


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition or an exclusion: what must, or must not, hold. Title and sentences are by language; "" is every language."""

    id: str
    term: Term
    law: str
    text: str
    title: Mapping[str, str] = field(default_factory=dict)
    held_words: Mapping[str, str] = field(default_factory=dict)
    not_held_words: Mapping[str, str] = field(default_factory=dict)

    @property
    def held(self) -> str:
        """The sentence where it holds, in the document's first language or English."""
        return in_language(self.held_words)

    @property
    def not_held(self) -> str:
        """The sentence where it does not."""
        return in_language(self.not_held_words)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the amount, with the denominator of its column."""

    id: str
    term: Term
    law: str
    text: str

    @property
    def denominator(self) -> int:
        return self.term.den


@dataclass(frozen=True, slots=True)
class Claim:
    """What a document claims of everybody; `kind` is never_more, never_less, at_most, at_least or same_for, `of` a step or `amount`, which is what is paid."""

    kind: str
    of: str = ""
    more: str = ""
    same_for: tuple[str, ...] = ()
    bound: Term | None = None
    where: Term | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A test that the document carries: facts in physical form, those made of `members` among them, and what is expected of them."""

    name: str
    given: Mapping[str, int | bool | str | None]
    period: Period
    event_day: int | None
    decision: str | None
    missing: tuple[str, ...] | None
    refused_by: tuple[str, ...] | None
    values: Mapping[str, Fraction]
    source: str
    members: tuple[Mapping[str, int | bool | str | None], ...] | None = None
    made: Mapping[str, int | bool | str | None] = field(default_factory=dict)
    """What aggregates are expected to be."""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One dated version of one benefit. `hash` names its content; equal documents have equal hashes.

    `grids` has the table of each step that is one; `segments` are the first days of the stretches between which no parameter changes;
    `needs_event_day` says whether `decide` wants the date of each row's event. `titles` has by language what people call the facts, parameters and
    steps that have a title, `written` each step as the document writes it.
    """

    benefit: str
    hash: str
    title: Mapping[str, str]
    owner: str
    currency: str
    decides_for: str
    period_kind: str
    in_force: tuple[int, int]
    parameters_at: str
    segments: tuple[int, ...]
    facts: tuple[RuleFact, ...]
    parameters: Mapping[str, Parameter]
    conditions: tuple[Condition, ...]
    exclusions: tuple[Condition, ...]
    steps: tuple[Step, ...]
    grids: Mapping[str, Grid]
    pay: str
    law: Mapping[str, Law]
    payment: Payment
    limits: Limits
    budget_minor: int | None
    review_above_minor: int | None
    corrections: Corrections
    not_encoded: tuple[NotEncoded, ...]
    approvals: Approvals
    tests: tuple[Case, ...]
    needs_event_day: bool
    titles: Mapping[str, Mapping[str, str]] = field(repr=False, default_factory=dict)
    written: Mapping[str, StepWritten] = field(repr=False, default_factory=dict)
    text: str = field(repr=False, default="")
    claims: tuple[Claim, ...] = ()
    members: Members | None = None

    def segment(self, on: int) -> int:
        """The index of the parameter segment that holds on a day; ValueError where the rule is not in force."""
        if not self.in_force[0] <= on <= self.in_force[1]:
            first, last = (day_date(bound) for bound in self.in_force)
            raise ValueError(f"{self.benefit} {self.hash[:12]} is not in force on {day_date(on)}, only from {first} to {last}")
        return bisect_right(self.segments, on) - 1

    def day(self, name: str, period: Period, payment_day: int | None = None) -> int:
        """The day number of period.start, period.end, payment.date or a written day, for a period."""
        if period.kind != self.period_kind:
            raise ValueError(f"{self.benefit} is decided {'once' if self.period_kind == 'once' else 'per ' + self.period_kind}, not for {period.label}")
        if name == "payment.date":
            known = self.payment.date if payment_day is None else payment_day
            return LAST_DAY if known is None else known
        if name == "period.start":
            return self.in_force[0] if period.kind == "once" else period.start
        if name == "period.end":
            return self.in_force[1] if period.kind == "once" else period.end
        return day(date.fromisoformat(name))


def leaves(term: Term) -> list[Term]:
    """The facts, parameters, steps, days and constants of a term, each name once."""
    found: dict[object, Term] = {}
    stack = [term]
    while stack:
        node = stack.pop()
        if node.args:
            stack.extend(reversed(node.args))
        else:
            found.setdefault((node.op, node.value), node)
    return list(found.values())
