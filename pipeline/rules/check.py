"""Checking a rule document: from its shape to typed terms, with every problem located."""

from __future__ import annotations

import hashlib
import keyword
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping
from fractions import Fraction
from math import ceil, floor, lcm
from typing import Protocol

import rfc8785

from pipeline.documents import Node, Plain, parse_document
from pipeline.facts import LAST_DAY, day_date
from pipeline.money import minor_digits, parse_minor
from pipeline.problems import Malformed, Problem, suggestion

from . import document as shape
from . import terms
from .document import Document, Path, locate, read_shape
from .expressions import DAYS, FUNCTIONS, BadExpression, parse_expression
from .periods import ONCE, Period, parse_period
from .rule import FULL_DAYS, Case, Condition, Key, Parameter, Rule, RuleFact, Scalar, Step, leaves
from .terms import Kind, Refused, Term
from .values import is_number, read_fact, read_key, read_number, read_range, read_value

MAX_FACTS = 64
MAX_CONDITIONS = 32
_SOURCES = {"money": ("money",), "number": ("number",), "percent": ("number",), "years": ("date",), "date": ("date",), "yes_no": ("yes_no",),
            "text": ("text", "one_of"), "ratio": ("text", "one_of")}  # fmt: skip
_TERM_KIND = {"percent": "ratio"}


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


def load_rule(text: str, catalogue: Mapping[str, FactSpec]) -> Rule:
    """The rule that a document says; Malformed with every problem in it, each with its line and column."""
    root = parse_document(text)
    if not isinstance(root.value, dict):
        raise Malformed([Problem("", "a rule document is keys and values", "", root.line, root.column)])
    return _Checker(root, read_shape(root), catalogue, text).rule()


def rule_hash(root: Node) -> str:
    """SHA-256 over the canonical JSON (RFC 8785) of the document: order of keys, comments, quotes and 1_000 for 1000 make no difference."""
    return hashlib.sha256(rfc8785.dumps(_canonical(root.plain()))).hexdigest()


def _canonical(item: Plain) -> Plain:
    if isinstance(item, dict):
        return {unicodedata.normalize("NFC", key): _canonical(value) for key, value in item.items()}
    if isinstance(item, list):
        return [_canonical(value) for value in item]
    return item.replace("_", "") if re.fullmatch(r"[+-]?\d[\d_]*(\.\d+)?", item, re.ASCII) else unicodedata.normalize("NFC", item)


class _Checker:
    def __init__(self, root: Node, doc: Document, catalogue: Mapping[str, FactSpec], text: str) -> None:
        self.root, self.doc, self.catalogue, self.text = root, doc, catalogue, text
        self.problems: list[Problem] = []
        self.names: dict[str, Term] = {}
        self.facts: dict[str, RuleFact] = {}
        self.parameters: dict[str, Parameter] = {}
        self.steps: dict[str, Step] = {}
        self.currency = self._currency()
        self.in_force = (doc.in_force.from_, LAST_DAY if doc.in_force.to is None else doc.in_force.to)
        self.segments = self._segments()

    def rule(self) -> Rule:
        doc = self.doc
        if self.in_force[1] < self.in_force[0]:
            self.bad(("in_force", "to"), f"{day_date(self.in_force[1])} is before in_force.from {day_date(self.in_force[0])}")
        if doc.decides.parameters_at == "payment.date" or any(fact.at == "payment.date" for fact in doc.facts.values()):
            self._payment_day()
        self._limit("facts", len(doc.facts), MAX_FACTS)
        self._limit("eligible_when", len(doc.eligible_when) + len(doc.excluded_when), MAX_CONDITIONS)
        for name, fact in doc.facts.items():
            self._fact(name, fact)
        for name, parameter in doc.parameters.items():
            self._parameter(name, parameter)
        for index, step in enumerate(doc.amount.steps):
            self._step(("amount", "steps", index), step)
        conditions = self._conditions("eligible_when", doc.eligible_when)
        exclusions = self._conditions("excluded_when", doc.excluded_when)
        self._pay()
        self._coverage(conditions, exclusions)
        for index, open_part in enumerate(doc.not_encoded):
            self._law(("not_encoded", index, "law"), open_part.law)
        money = {key: self._money(path, value) for key, path, value in (
            ("budget", ("limits", "budget", "amount"), doc.limits.budget.amount if doc.limits.budget else None),
            ("review", ("limits", "review_above"), doc.limits.review_above))}  # fmt: skip
        cases = [self._case(("tests", index), case) for index, case in enumerate(doc.tests)] if not self.problems else []
        if self.problems:
            raise Malformed(sorted(self.problems, key=lambda problem: (problem.line, problem.column)))
        return Rule(
            doc.benefit, rule_hash(self.root), doc.title, doc.owner, self.currency, doc.decides.for_, doc.decides.period, self.in_force,
            doc.decides.parameters_at, self.segments, tuple(self.facts.values()), self.parameters, conditions, exclusions, tuple(self.steps.values()),
            doc.amount.pay, doc.law, doc.payment, doc.limits, money["budget"], money["review"], doc.corrections, tuple(doc.not_encoded),
            doc.approvals, tuple(case for case in cases if case), self._needs_event_day(conditions + exclusions), self.text,
        )  # fmt: skip

    def _needs_event_day(self, conditions: tuple[Condition, ...]) -> bool:
        terms_read = [item.term for item in (*conditions, *self.steps.values())]
        return self.doc.decides.parameters_at == "event.date" or any(leaf.op == "day" and leaf.value == "event.date" for term in terms_read for leaf in leaves(term))

    def bad(self, path: Path, message: str, mend: str = "", key: bool = False, offset: int = 0) -> None:
        self.problems.append(locate(self.root, path, message, mend, key, offset))

    def _limit(self, place: str, count: int, most: int) -> None:
        if count > most:
            self.bad((place,), f"{count} entries, the limit is {most}", key=True)

    def _law(self, path: Path, name: str) -> None:
        if name and name not in self.doc.law:
            near = suggestion(name, self.doc.law)
            self.bad(path, f"unknown law {name!r}" + (f", {near}" if near else ""), "" if near else f"Known: {', '.join(self.doc.law)}.")

    def _money(self, path: Path, text: str | None) -> int | None:
        try:
            return None if text is None else parse_minor(text, self.currency)
        except ValueError as error:
            self.bad(path, str(error))
            return None

    def _currency(self) -> str:
        told = {self.catalogue[fact.from_].currency for fact in self.doc.facts.values() if fact.type == "money" and fact.from_ in self.catalogue}
        currency = self.doc.decides.currency or (told.pop() if len(told) == 1 else "")
        try:
            minor_digits(currency)
        except ValueError as error:
            path: Path = ("decides", "currency") if self.doc.decides.currency else ("decides",)
            self.bad(path, str(error) if currency else "the currency of the amount is not known", "" if currency else "Say decides.currency.", key=not currency)
            return "DKK"
        return currency

    def _segments(self) -> tuple[int, ...]:
        days = {start for parameter in self.doc.parameters.values() for start in parameter.from_ if self.in_force[0] < start <= self.in_force[1]}
        return (self.in_force[0], *sorted(days))

    def _payment_day(self) -> None:
        if self.doc.decides.period != "once" and self.doc.payment.date is None:
            self.bad(("decides",), "payment.date is asked for, but a benefit per period has no single payment day", "Use period.start or period.end.", key=True)

    def _claim(self, path: Path, name: str) -> bool:
        if keyword.iskeyword(name) or name in FUNCTIONS or name in ("subject", "period", "payment", "event"):
            self.bad(path, f"{name!r} is a word of the language", "Choose another name.", key=True)
        elif name in self.names:
            self.bad(path, f"the name {name!r} is used twice", "Give facts, parameters and steps different names.", key=True)
        else:
            return True
        return False

    # facts

    def _fact(self, name: str, fact: shape.Fact) -> None:
        path: Path = ("facts", name)
        spec = self.catalogue.get(fact.from_)
        kind = Kind(_TERM_KIND.get(fact.type, fact.type), fact.per or "")
        if not self._claim(path, name):
            return None
        self.names[name] = terms.UNKNOWN
        if spec is None:
            near = suggestion(fact.from_, self.catalogue)
            mend = "" if near else "See the registries' documents for the facts there are."
            return self.bad((*path, "from"), f"no registry tells {fact.from_!r}" + (f", {near}" if near else ""), mend)
        if spec.type not in _SOURCES[fact.type]:
            return self.bad((*path, "type"), f"{fact.from_} is {spec.type}, {name!r} cannot be {fact.type} of it")
        if fact.type == "money" and spec.currency != self.currency:
            return self.bad((*path, "from"), f"{fact.from_} is in {spec.currency}, the rule calculates in {self.currency}")
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
        at = fact.at or self.doc.decides.parameters_at
        self.facts[name] = RuleFact(name, fact.type, fact.from_, at, year, fact.per or "", tuple(fact.accept), bounds, one_of, assume, fact.max_age, spec.meaning)
        try:
            self.names[name] = self._fact_term(self.facts[name], kind)
        except Refused as refused:
            self.bad(path, str(refused), refused.mend, key=True)

    def _fact_term(self, fact: RuleFact, kind: Kind) -> Term:
        if fact.type == "ratio":
            shares = [Fraction(value) for value in fact.one_of]
            return terms.checked(Term("share", kind, (), fact.name, min(shares), max(shares), lcm(*(share.denominator for share in shares)), text=fact.name, choices=fact.one_of))
        low, high = fact.range or (0, 0)
        den = 100 if fact.type == "percent" else 1
        return terms.checked(Term("fact", kind, (), fact.name, Fraction(low, den), Fraction(high, den), den, text=fact.name, choices=fact.one_of))

    def _year(self, path: Path, text: str | None) -> str | int | None:
        if text is None or (text == "period.year" and self.doc.decides.period != "once"):
            return text
        if re.fullmatch(r"[12]\d{3}", text, re.ASCII):
            return int(text)
        self.bad(path, f"{text!r} is no year of a benefit per {self.doc.decides.period}", "Write a year such as 2019" + (", or period.year." if self.doc.decides.period != "once" else "."))
        return None

    def _choices(self, path: Path, fact: shape.Fact, spec: FactSpec) -> tuple[str, ...]:
        chosen = tuple(fact.one_of) or spec.one_of if fact.type in ("text", "ratio") else ()
        for index, value in enumerate(fact.one_of):
            if fact.type not in ("text", "ratio"):
                self.bad((*path, "one_of"), f"one_of is for text, {path[-1]!r} is {fact.type}", key=True)
                break
            if spec.one_of and value not in spec.one_of:
                near = suggestion(value, spec.one_of)
                self.bad((*path, "one_of", index), f"{fact.from_} is never {value!r}" + (f", {near}" if near else ""), f"It is one of {', '.join(spec.one_of)}.")
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

    def _range(self, path: Path, name: str, fact: shape.Fact, spec: FactSpec) -> tuple[int, int] | None:
        if fact.type in ("text", "yes_no", "ratio"):
            if fact.range is not None:
                self.bad((*path, "range"), f"a range is for numbers and dates, {name!r} is {fact.type}", key=True)
            return None
        default = {"years": (0, 150), "date": FULL_DAYS}.get(fact.type, spec.range)
        if fact.range is None:
            if default is None:
                self.bad(path, f"{name!r} needs a range, so that no amount can overflow", "Say range: lowest..highest.", key=True)
            return default or (0, 0)
        try:
            return read_range(fact.range, fact.type, self.currency)
        except ValueError as error:
            self.bad((*path, "range"), str(error))
            return 0, 0

    # parameters

    def _parameter(self, name: str, given: shape.Parameter) -> None:
        path: Path = ("parameters", name)
        kind = Kind(_TERM_KIND.get(given.type, given.type), given.per or "")
        if not self._claim(path, name):
            return None
        self.names[name] = terms.UNKNOWN
        self._law((*path, "law"), given.law)
        by, keys = self._keys((*path, "by"), given)
        dated: dict[int, tuple[tuple[Scalar, ...] | None, str]] = {}
        for (start, value), written in zip(given.from_.items(), self._dates(path), strict=True):
            dated[start] = self._values((*path, "from", written), given, value, keys), value.law or given.law
            self._law((*path, "from", written, "law"), value.law)
        values, laws = [], []
        for segment in self.segments:
            start = max((start for start in dated if start <= segment), default=None)
            row, law = dated[start] if start is not None else (None, "")
            if row is None:
                return self.bad(path, f"{name!r} has no value on {day_date(segment)}, when the rule is in force", "Give it a value from that day or earlier.", key=True)
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
            self.names[name] = Term("parameter", parameter.kind, value=name, text=name)
            return
        den = lcm(*(value.denominator for value in numbers))
        self.parameters[name] = Parameter(name, parameter.kind, den, parameter.by, parameter.keys, parameter.values, parameter.laws)
        try:
            self.names[name] = terms.named("parameter", name, parameter.kind, min(numbers), max(numbers), den)
        except Refused as refused:
            self.bad(path, str(refused), refused.mend, key=True)

    def _keys(self, path: Path, given: shape.Parameter) -> tuple[str, tuple[Key, ...]]:
        if not given.by:
            return "", ()
        if len(given.by) > 1:
            self.bad(path, f"a parameter is given by one fact, not by {len(given.by)}", key=True)
        by, texts = next(iter(given.by.items()))
        fact = self.facts.get(by)
        if fact is None:
            near = suggestion(by, self.doc.facts)
            if by not in self.doc.facts:
                self.bad((*path, by), f"unknown fact {by!r}" + (f", {near}" if near else ""), key=True)
            return "", ()
        keys: list[Key] = []
        for index, text in enumerate(texts):
            try:
                key = read_key(text, fact.type, self.currency, fact.one_of)
            except ValueError as error:
                self.bad((*path, by, index), str(error))
                continue
            if any((key.value == other.value) if key.value is not None else (key.low <= other.high and other.low <= key.high) for other in keys):
                self.bad((*path, by, index), f"{text!r} overlaps an earlier key")
            keys.append(key)
        return by, tuple(keys)

    def _values(self, path: Path, given: shape.Parameter, dated: shape.DatedValue, keys: tuple[Key, ...]) -> tuple[Scalar, ...] | None:
        if dated.value == "null":
            return None
        listed = dated.value if isinstance(dated.value, list) else [dated.value]
        keyed = len(next(iter(given.by.values()))) if given.by else 1
        if len(listed) != keyed or isinstance(dated.value, list) != bool(given.by):
            expected = f"{keyed} values, one for each key" if given.by else "one value"
            self.bad(path, f"{len(listed)} value{'s' * (len(listed) != 1)} stand here, {expected} must", "Write a list." if given.by else "")
            return (Fraction(0),) * max(len(keys), 1)
        row: list[Scalar] = []
        for index, text in enumerate(listed):
            try:
                row.append(read_value(text, given.type, self.currency))
            except ValueError as error:
                self.bad((*path, index) if isinstance(dated.value, list) else path, str(error))
                row.append(Fraction(0))
        return tuple(row)

    # expressions

    def _expression(self, path: Path, text: str, names: Mapping[str, Term] | None = None) -> Term | None:
        stripped = text.strip()
        try:
            return parse_expression(stripped, self.names if names is None else names)
        except BadExpression as bad:
            if not bad.silent:
                self.bad(path, str(bad), bad.mend, offset=bad.offset + len(text) - len(text.lstrip()))
            return None

    def _bound(self, path: Path, text: str, like: Term) -> Term | None:
        if not is_number(text):
            return self._expression(path, text)
        try:
            value = Fraction(parse_minor(text, self.currency)) if like.kind.type == "money" else read_number(text)
            return terms.constant(value, like.kind, text)
        except ValueError as error:
            self.bad(path, str(error))
            return None

    def _step(self, path: Path, step: shape.Step) -> None:
        self._law((*path, "law"), step.law)
        if (step.is_ is None) == (step.taper is None):
            return self.bad(path, f"step {step.id!r} needs one of is, taper" if step.is_ is None else f"step {step.id!r} has both is and taper")
        term = self._expression((*path, "is"), step.is_) if step.is_ is not None else self._taper((*path, "taper"), step)
        if not self._claim((*path, "id"), step.id):
            return None
        if term is None:
            self.names[step.id] = terms.UNKNOWN
            return None
        try:
            term = self._finish(path, step, term)
            self.names[step.id] = terms.named("step", step.id, term.kind, term.low, term.high, term.den)
        except Refused as refused:
            self.names[step.id] = terms.UNKNOWN
            return self.bad(path, str(refused), refused.mend)
        self.steps[step.id] = Step(step.id, term, step.law, step.is_ or _taper_text(step.taper))

    def _taper(self, path: Path, step: shape.Step) -> Term | None:
        assert step.taper is not None
        parts = [self._expression((*path, key), text) for key, text in (("of", step.taper.of), ("above", step.taper.above), ("rate", step.taper.rate))]
        if parts[0] is None or parts[1] is None or parts[2] is None:
            return None
        try:
            return terms.taper(parts[0], parts[1], parts[2], step.taper.spread, self.doc.decides.period)
        except Refused as refused:
            self.bad(path, str(refused), refused.mend)
            return None

    def _finish(self, path: Path, step: shape.Step, term: Term) -> Term:
        if not term.numeric:
            raise Refused(f"a step is an amount or a number, {step.id!r} is {term.kind}")
        for key, text, limit in (("floor", step.floor, terms.greatest), ("cap", step.cap, terms.least)):
            bound = None if text is None else self._bound((*path, key), text, term)
            if bound is not None:
                term = limit(term, bound, term.text)
        if step.round is not None:
            to = self._bound((*path, "round", "to"), step.round.to, term)
            if to is not None:
                term = terms.rounded(term, to.low if to.op == "const" else Fraction(0), step.round.mode)
        return term

    def _conditions(self, place: str, given: Iterable[shape.Condition]) -> tuple[Condition, ...]:
        found: list[Condition] = []
        for index, item in enumerate(given):
            path: Path = (place, index)
            self._law((*path, "law"), item.law)
            if any(item.id == other.id for other in found) or (place == "excluded_when" and any(item.id == other.id for other in self.doc.eligible_when)):
                self.bad((*path, "id"), f"the id {item.id!r} is used twice")
            for key, sentence in (("held", item.held), ("not_held", item.not_held)):
                self._sentence((*path, key), sentence)
            term = self._expression((*path, "when"), item.when)
            if term is None:
                continue
            if term.kind.type != "yes_no":
                self.bad((*path, "when"), f"a condition is yes or no, {item.when!r} is {term.kind}")
            found.append(Condition(item.id, term, item.law, item.held, item.not_held, item.when.strip()))
        return tuple(found)

    def _sentence(self, path: Path, sentence: str) -> None:
        known = ["subject", "period", *DAYS[:3], *self.names]
        try:
            fields = [(name, extra, conversion) for _, name, extra, conversion in string.Formatter().parse(sentence) if name is not None]
        except ValueError as error:
            return self.bad(path, f"the sentence cannot be read: {error}", "Write a brace as {{.")
        for name, extra, conversion in fields:
            if name not in known or extra or conversion:
                near = suggestion(name, known)
                self.bad(path, f"the sentence names unknown {name!r}" + (f", {near}" if near else ""), "" if near else f"Known: {', '.join(known)}.")

    def _pay(self) -> None:
        pay, path = self.doc.amount.pay, ("amount", "pay")
        if pay not in self.steps:
            if all(pay != step.id for step in self.doc.amount.steps):
                near = suggestion(pay, self.steps)
                self.bad(path, f"unknown step {pay!r}" + (f", {near}" if near else ""))
            return
        term = self.steps[pay].term
        if term.kind != Kind("money"):
            self.bad(path, f"{pay!r} is {term.kind}, an amount of {self.currency} is paid", "Convert it with spread(amount, parts)." if term.kind.type == "money" else "")
        elif term.den != 1:
            self.bad(path, f"{pay!r} is not a whole number of minor units but of 1/{term.den}", "Say where it is rounded: round: {to: 0.01, mode: half_up}.")
        elif term.low < 0:
            self.bad(path, f"{pay!r} may be negative", "Say floor: 0 in the step.")

    # parameters by key must have a value for everybody who can reach them

    def _coverage(self, conditions: tuple[Condition, ...], exclusions: tuple[Condition, ...]) -> None:
        everybody = {name: fact.range or (0, 0) for name, fact in self.facts.items()}
        eligible = dict(everybody)
        for condition, wanted in [*((item, True) for item in conditions), *((item, False) for item in exclusions)]:
            _narrow(condition.term, wanted, eligible)
        open_to_all = {name for item in (*conditions, *exclusions) for name in self._parameters_of(item.term)}
        for name, parameter in self.parameters.items():
            if parameter.by:
                self._covered(("parameters", name, "by"), parameter, (everybody if name in open_to_all else eligible)[parameter.by])

    def _parameters_of(self, term: Term) -> set[str]:
        found: set[str] = set()
        for leaf in leaves(term):
            if leaf.op == "parameter":
                found.add(str(leaf.value))
            elif leaf.op == "step" and str(leaf.value) in self.steps:
                found |= self._parameters_of(self.steps[str(leaf.value)].term)
        return found

    def _covered(self, path: Path, parameter: Parameter, bounds: tuple[int, int]) -> None:
        fact = self.facts[parameter.by]
        if fact.type in ("text", "ratio", "yes_no"):
            wanted: list[str] | list[bool] = [False, True] if fact.type == "yes_no" else list(fact.one_of)
            lacking = [str(Key(value=value)) for value in wanted if all(key.value != value for key in parameter.keys)]
            if not wanted:
                self.bad(path, f"{parameter.by!r} can be any text, so no list of keys is complete", f"Say one_of in facts.{parameter.by}.", key=True)
        else:
            lacking, following = [], bounds[0]
            for key in sorted(parameter.keys, key=lambda key: key.low):
                if key.low > following:
                    lacking.append(str(Key(following, min(key.low - 1, bounds[1]))))
                following = max(following, key.high + 1)
                if following > bounds[1]:
                    break
            if following <= bounds[1]:
                lacking.append(str(Key(following, bounds[1])))
        if lacking:
            self.bad(path, f"{parameter.name!r} has no value where {parameter.by} is {', '.join(lacking)}", "Add the keys, or a condition that keeps those out.", key=True)

    # tests

    def _case(self, path: Path, case: shape.Test) -> Case | None:
        before, given = len(self.problems), dict(case.given)
        period, event_day = self._case_period(path, given.pop("period", None)), given.pop("event_date", None)
        values: dict[str, int | bool | str | None] = {}
        for name, text in given.items():
            fact = self.facts.get(name)
            if fact is None:
                near = suggestion(name, [*self.facts, "period", "event_date"])
                self.bad((*path, "given", name), f"unknown fact {name!r}" + (f", {near}" if near else ""), key=True)
                continue
            try:
                values[name] = None if text == "unknown" else read_fact(text, fact.type, self.currency, fact.one_of)
            except ValueError as error:
                self.bad((*path, "given", name), str(error))
        on = self._case_event((*path, "given", "event_date"), event_day)
        expected = self._expected(path, case)
        return Case(case.name, values, period, on, source=case.source, **expected) if len(self.problems) == before else None  # type: ignore[arg-type]

    def _case_period(self, path: Path, label: str | None) -> Period:
        kind = self.doc.decides.period
        try:
            period = parse_period(label or ("once" if kind == "once" else ""))
            if period.kind != kind:
                raise ValueError(f"{period.label} is no {kind}")
        except ValueError as error:
            self.bad((*path, "given", "period"), str(error))
            return ONCE
        return period

    def _case_event(self, path: Path, text: str | None) -> int | None:
        try:
            return None if text is None else int(read_fact(text, "date", ""))
        except ValueError as error:
            self.bad(path, str(error))
            return None

    def _expected(self, path: Path, case: shape.Test) -> dict[str, object]:
        found: dict[str, object] = {"decision": None, "missing": None, "refused_by": None}
        values: dict[str, Fraction] = {}
        ids = [item.id for item in (*self.doc.eligible_when, *self.doc.excluded_when)]
        for name, text in case.expect.items():
            place = (*path, "expect", name)
            known = {"missing": list(self.facts), "refused_by": ids}.get(name)
            if known is not None:
                listed = text if isinstance(text, list) else [text]
                for entry in listed:
                    if entry not in known:
                        near = suggestion(entry, known)
                        self.bad(place, f"unknown name {entry!r}" + (f", {near}" if near else ""))
                found[name] = tuple(listed)
            elif name == "decision":
                if text not in ("granted", "refused", "undetermined"):
                    self.bad(place, f"{text!r} is no decision", "It is granted, refused or undetermined.")
                found[name] = text
            elif name == "amount" or name in self.steps:
                step = self.steps[self.doc.amount.pay if name == "amount" else name]
                try:
                    values[name] = Fraction(parse_minor(str(text), self.currency)) if step.term.kind.type == "money" else read_number(str(text))
                except ValueError as error:
                    self.bad(place, str(error))
            else:
                near = suggestion(name, ["decision", "amount", "missing", "refused_by", *self.steps])
                self.bad(place, f"unknown expectation {name!r}" + (f", {near}" if near else ""), key=True)
        return {**found, "values": values}


def _taper_text(taper: shape.Taper | None) -> str:
    return "" if taper is None else f"{taper.rate} of the part of {taper.of} above {taper.above}" + (f", spread over {taper.spread}" if taper.spread else "")


_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}
_MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}


def _narrow(term: Term, wanted: bool, bounds: dict[str, tuple[int, int]]) -> None:
    """Tightens the bounds of facts to those for whom a condition has the wanted outcome."""
    if term.op == "not":
        _narrow(term.args[0], not wanted, bounds)
    elif term.op == ("and" if wanted else "or"):
        for arg in term.args:
            _narrow(arg, wanted, bounds)
    elif term.op in _MIRRORED and (wanted or term.op in _OPPOSITE):
        op = term.op if wanted else _OPPOSITE[term.op]
        left, right = term.args
        for fact, other, way in ((left, right, op), (right, left, _MIRRORED[op])):
            if fact.op == "fact" and fact.den == 1 and other.numeric and str(fact.value) in bounds:
                low, high = bounds[str(fact.value)]
                if way in ("lt", "le", "eq"):
                    high = min(high, ceil(other.high) - 1 if way == "lt" else floor(other.high))
                if way in ("gt", "ge", "eq"):
                    low = max(low, floor(other.low) + 1 if way == "gt" else ceil(other.low))
                bounds[str(fact.value)] = low, high
