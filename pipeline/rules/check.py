"""Checking a rule document: from its shape to typed terms, with every problem located."""

from __future__ import annotations

import hashlib
import re
import string
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import replace
from math import floor

import rfc8785

from pipeline.documents import Node, Plain, parse_document
from pipeline.facts import day_date
from pipeline.money import decimal_text, money_text
from pipeline.problems import Malformed, Problem

from . import document, terms
from .aggregates import told_by_members
from .cases import Cases
from .claims import Claims
from .definitions import FactSpec
from .expressions import DAYS
from .gaps import gaps, lacking_keys
from .members import MemberSteps
from .rule import Condition, Rule, leaves
from .scalars import Path
from .shape import read_shape
from .terms import Term

MAX_FACTS = 64
MAX_CONDITIONS = 32
MAX_PARAMETERS = 64
MAX_CHANGES = 400
MAX_STEPS = 64


def load_rule(text: str, catalogue: Mapping[str, FactSpec]) -> Rule:
    """The rule that a document says; Malformed with every problem in it, each with its line and column."""
    return rule_of(parse_document(text), catalogue, text)


def rule_of(root: Node, catalogue: Mapping[str, FactSpec], text: str = "") -> Rule:
    """The rule of a document that is parsed already."""
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


def _titles(doc: document.Document) -> dict[str, Mapping[str, str]]:
    """What people call the facts, parameters and steps that have a title."""
    members = doc.members.facts if doc.members else {}
    titled: list[tuple[str, Mapping[str, str]]] = [(name, fact.title) for name, fact in (*doc.facts.items(), *members.items())]
    titled += [(name, aggregate.title) for name, aggregate in doc.aggregates.items()]
    titled += [(name, parameter.title) for name, parameter in doc.parameters.items()]
    return {name: title for name, title in (*titled, *((step.id, step.title) for step in doc.amount.steps)) if title}


class _Checker(MemberSteps):
    """Conditions, payment and tests on top of the steps."""

    def rule(self) -> Rule:
        doc = self.doc
        if self.in_force[1] < self.in_force[0]:
            self.bad(("in_force", "to"), f"{day_date(self.in_force[1])} is before in_force.from {day_date(self.in_force[0])}")
        days = {doc.decides.parameters_at, *(fact.at for fact in doc.facts.values())}
        if doc.members is not None:
            days |= {doc.members.at, *(fact.at for fact in doc.members.facts.values())}
        if "payment.date" in days:
            self._payment_day()
        self._limit("facts", len(doc.facts) + len(doc.aggregates), MAX_FACTS)
        self._limit("members", len(doc.members.facts) if doc.members else 0, MAX_FACTS)
        self._limit("eligible_when", len(doc.eligible_when) + len(doc.excluded_when), MAX_CONDITIONS)
        self._limit("parameters", len(doc.parameters), MAX_PARAMETERS)
        self._limit("parameters", len(self.segments), MAX_CHANGES, "days on which a parameter changes")
        self._limit("amount", len(doc.amount.steps), MAX_STEPS, "steps")
        if self.problems:
            raise Malformed(self.problems)
        for name, fact in doc.facts.items():
            self.fact(name, fact)
        if not doc.facts and not doc.aggregates:
            self.bad(("facts",), "the rule reads no fact", "Say the facts it decides by, or aggregates of members.", key=True)
        members = self.members()
        for made_of_aggregates in (False, True):
            for name, parameter in doc.parameters.items():
                if made_of_aggregates is any(by in doc.aggregates for by in parameter.by):
                    self.parameter(name, parameter)
            for name, aggregate in doc.aggregates.items() if not made_of_aggregates and members is not None else ():
                self.aggregate(name, aggregate)
        for index, step in enumerate(doc.amount.steps):
            self.step(("amount", "steps", index), step)
        conditions = self._conditions("eligible_when", doc.eligible_when)
        exclusions = self._conditions("excluded_when", doc.excluded_when)
        self._pay()
        if not self.problems:
            self._coverage(conditions, exclusions)
        for index, open_part in enumerate(doc.not_encoded):
            self.law(("not_encoded", index, "law"), open_part.law)
        budget = self.money(("limits", "budget", "amount"), doc.limits.budget.amount) if doc.limits.budget else None
        review = self.money(("limits", "review_above"), doc.limits.review_above)
        cases = Cases(self, self.steps).read() if not self.problems else ()
        claims = Claims(self).read() if not self.problems else ()
        if self.problems:
            raise Malformed(sorted(self.problems, key=lambda problem: (problem.line, problem.column)))
        rule = Rule(
            doc.benefit, rule_hash(self.root), doc.title, doc.owner, self.currency, doc.decides.for_, doc.decides.period, self.in_force,
            doc.decides.parameters_at, self.segments, tuple(self.facts.values()), self.parameters, conditions, exclusions,
            tuple(self.steps.values()), self.grids,
            doc.amount.pay, doc.law, doc.payment, doc.limits, budget, review, doc.corrections, tuple(doc.not_encoded),
            doc.approvals, cases, self._needs_event_day(conditions + exclusions), _titles(doc), {step.id: step for step in doc.amount.steps}, self.text,
            claims=claims, members=members,
        )  # fmt: skip
        return replace(rule, tests=told_by_members(rule))

    def _needs_event_day(self, conditions: tuple[Condition, ...]) -> bool:
        made = [fact.aggregate for fact in self.facts.values() if fact.aggregate is not None]
        read = [*(item.term for item in conditions), *(step.term for step in self.steps.values())]
        read += [term for aggregate in made for term in (aggregate.term, aggregate.where) if term is not None]
        return self.doc.decides.parameters_at == "event.date" or any(leaf.value == "event.date" for term in read for leaf in leaves(term) if leaf.op == "day")

    def _coverage(self, conditions: tuple[Condition, ...], exclusions: tuple[Condition, ...]) -> None:
        parameters = {name: keyed for name, keyed in self.parameters.items() if not any(by in self.member_facts for by in keyed.by)}
        for keyed, by, lacking, mend in lacking_keys(self.facts, parameters, self.steps, conditions, exclusions, self.currency):
            message = f"{keyed.name!r} has no value where {by} is {lacking}"
            self.bad(("parameters", keyed.name, "by"), message, mend, key=True)
        for step, (message, mend) in gaps(self.grids, self.facts, self.steps, conditions, exclusions):
            index = next(index for index, item in enumerate(self.doc.amount.steps) if item.id == step)
            self.bad(("amount", "steps", index, "table", "rows"), message, mend, key=True)

    def _limit(self, place: str, count: int, most: int, what: str = "entries") -> None:
        if count > most:
            self.bad((place,), f"{count:,} {what}, the limit is {most}", "Part the document, or the benefit.", key=True, expected=f"at most {most} {what}")

    def _payment_day(self) -> None:
        if self.doc.decides.period != "once" and self.doc.payment.date is None:
            self.bad(("decides",), "payment.date is asked for, but a benefit per period has no single payment day", "Use period.start or period.end.", key=True)

    def _conditions(self, place: str, given: Iterable[document.Condition]) -> tuple[Condition, ...]:
        found: list[Condition] = []
        for index, item in enumerate(given):
            path: Path = (place, index)
            self.law((*path, "law"), item.law)
            if any(item.id == other.id for other in found) or (place == "excluded_when" and any(item.id == other.id for other in self.doc.eligible_when)):
                self.bad((*path, "id"), f"the id {item.id!r} is used twice")
            for key, words in (("held", item.held), ("not_held", item.not_held)):
                for language, sentence in words.items():
                    self._sentence((*path, key, language) if language else (*path, key), sentence)
            term = self.expression((*path, "when"), item.when)
            if term is None:
                continue
            if term.kind.type != "yes_no":
                self.bad((*path, "when"), f"a condition is yes or no, {item.when!r} is {term.kind}")
            found.append(Condition(item.id, term, item.law, item.when.strip(), item.title, item.held, item.not_held))
        return tuple(found)

    def _sentence(self, path: Path, sentence: str) -> None:
        known = ["subject", "period", *DAYS[:3], *self.names]
        try:
            fields = [(name, extra, conversion) for _, name, extra, conversion in string.Formatter().parse(sentence) if name is not None]
        except ValueError as error:
            self.bad(path, f"the sentence cannot be read: {error}", "Write a brace as {{.")
            return
        for name, extra, conversion in fields:
            if name not in known or extra or conversion:
                self.unknown(path, "the sentence names unknown", name, known)

    def _pay(self) -> None:
        pay, path = self.doc.amount.pay, ("amount", "pay")
        if pay not in self.steps:
            if all(pay != step.id for step in self.doc.amount.steps):
                self.unknown(path, "unknown step", pay, self.steps)
            return
        term, period = self.steps[pay].term, self.doc.decides.period
        if term.kind.type != "money":
            self.bad(path, f"{pay!r} is {term.kind}, an amount of {self.currency} is paid")
        elif term.kind.per not in ("", period):
            paid = "one payment" if period == "once" else f"a {period}"
            self.bad(path, f"{pay!r} is {term.kind}, an amount of {paid} is paid", terms.payable(pay, term.kind.per, period))
        elif term.den != 1:
            message = f"{pay!r} is not a whole number of minor units but of 1/{term.den}"
            self.bad(path, message, f"Say where it is rounded: round: {{to: {decimal_text(1, self.currency)}, mode: half_up}}.")
        elif term.low < 0:
            blamed = self._below_zero(term)
            lowest = money_text(floor(blamed.low), self.currency) if blamed.kind.type == "money" else str(blamed.low)
            self.bad(path, f"{pay!r} may be negative: {blamed} may be {lowest}", "Say floor: 0 in the step.")

    def _below_zero(self, term: Term) -> Term:
        """The innermost part of a term that makes it negative: a fact, a parameter, or the difference of two that are not."""
        inner = (self.steps[str(term.value)].term,) if term.op == "step" and str(term.value) in self.steps else term.args
        inner = inner[: {"neg": 0, "sub": 1}.get(term.op, len(inner))]
        below = next((arg for arg in inner if arg.numeric and arg.low < 0), None)
        return term if below is None else self._below_zero(below)
