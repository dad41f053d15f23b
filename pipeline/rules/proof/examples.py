"""Examples: for every branch and edge of a rule one person just inside and one just outside, ready to become tests of the document."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from pipeline.money import decimal_text
from pipeline.rules.rule import Rule, Scalar, leaves
from pipeline.rules.terms import Term

from .arithmetic import compared, every
from .edges import Edge, edges, unknowns
from .findings import Person
from .people import Somebody, decided_row, written_step
from .questions import FOUND, NOBODY, Question, somebody_of
from .stretches import stretches

_PLAIN = re.compile(r"-?\d[\d.]*|\d{4}-\d\d-\d\d|[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_WORDS = ("yes", "no", "true", "false", "null", "on", "off", "y", "n")


class Example(msgspec.Struct, frozen=True):
    """A person at an edge, as a test of the document: `given` and `expect` are written as the document writes them."""

    name: str
    given: Mapping[str, str]
    expect: Mapping[str, str | tuple[str, ...]]


class Examples(msgspec.Struct, frozen=True):
    """The examples found, the sides of edges on which nobody stands, and those that were not decided in time."""

    found: tuple[Example, ...]
    nobody: tuple[str, ...]
    undecided: tuple[str, ...]

    def yaml(self) -> str:
        """The examples as they are pasted below `tests:`."""
        return "\n".join(f"  - name: {_quoted(example.name)}\n    given: {_flow(example.given)}\n    expect: {_flow(example.expect)}" for example in self.found)


def examples(rule: Rule, timeout_s: int, on_edge: Callable[[int, int], None] = lambda done, total: None) -> Examples:
    """One person on each side of every edge in every stretch in which the edge has other values; `on_edge` hears how many are done.

    The person passes the conditions where somebody who does stands there, and is refused else. For each condition there is one of whom it is unknown.
    """
    found: dict[tuple[tuple[str, str], ...], Example] = {}
    nobody, undecided = [], []
    work = list(_work(rule, timeout_s * 1_000))
    for done, (question, edge, otherwise) in enumerate(work):
        on_edge(done, len(work))
        (somebody,) = question.people
        name = f"{edge.text}: {edge.side}" + (f", {somebody.stretch}" if len(rule.segments) > 1 else "")
        answer, example = _at(question, somebody, edge, name)
        if answer == NOBODY:
            answer, example = _at(question, somebody, otherwise, f"{name}, not passing")
        if example is not None:
            found.setdefault(tuple(sorted(example.given.items())), example)
        elif answer == NOBODY:
            nobody.append(name)
        else:
            undecided.append(name)
    return Examples(tuple(found.values()), tuple(nobody), tuple(undecided))


def _work(rule: Rule, timeout_ms: int) -> Iterator[tuple[Question, Edge, Edge]]:
    """Every edge to be looked at, as it is among those who pass the conditions and among all."""
    seen = set()
    parts = stretches(rule)
    for stretch in parts:
        somebody = somebody_of(rule, stretch)
        question = Question([somebody], timeout_ms)
        for edge, otherwise in zip(edges(somebody), edges(somebody, eligible=False), strict=True):
            mark = (edge.text, edge.side, _values(rule, edge.terms, stretch.segment))
            if mark not in seen:
                seen.add(mark)
                yield question, edge, otherwise
    for stretch in parts[-1:]:
        somebody = somebody_of(rule, stretch, complete=False)
        question = Question([somebody], timeout_ms)
        yield from ((question, *pair) for pair in zip(unknowns(somebody), unknowns(somebody, eligible=False), strict=True))


def _values(rule: Rule, terms: tuple[Term, ...], segment: int) -> tuple[tuple[str, tuple[Scalar, ...]], ...]:
    """The values in a stretch of the parameters by which an edge is set."""
    names: dict[str, None] = {}
    steps = {step.id: step.term for step in rule.steps}
    stack = list(terms)
    while stack:
        for leaf in leaves(stack.pop()):
            if leaf.op == "parameter":
                names[str(leaf.value)] = None
            elif leaf.op == "step":
                stack.append(steps[str(leaf.value)])
    return tuple((name, rule.parameters[name].values[segment]) for name in names)


def _at(question: Question, somebody: Somebody, edge: Edge, name: str) -> tuple[str, Example | None]:
    answer = question.ask(edge.there)
    if answer != FOUND:
        return answer, None
    there = edge.there
    if edge.distance is not None:
        least = _least(question, edge)
        if least is not None:
            there = every(there, compared("eq", edge.distance, least))
            question.ask(there)
    (person,) = question.ordinary(there)
    return answer, _example(somebody, question, edge, person, name)


def _least(question: Question, edge: Edge) -> int | None:
    """How near to the edge somebody can stand."""
    assert edge.distance is not None
    for near in (0, 1):
        if question.ask(edge.there, compared("eq", edge.distance, near)) == FOUND:
            return near
    if question.ask(edge.there) != FOUND:
        return None
    nearest = question.most(-edge.distance, -2, edge.there)
    return None if nearest is None else -nearest


def _example(somebody: Somebody, question: Question, edge: Edge, person: Person, name: str) -> Example:
    rule = somebody.rule
    given, period, event = somebody.values(question.model)
    row = decided_row(rule, given, period, event)
    expect: dict[str, str | tuple[str, ...]] = {"decision": person.decision}
    told = {edge.step, *(str(leaf.value) for term in edge.terms for leaf in leaves(term) if leaf.op == "step")} - {rule.pay}
    for step in rule.steps if person.decision != "undetermined" else ():
        value = written_step(rule, step, row["step:" + step.id])
        if step.id in told and value is not None:
            expect[step.id] = value
    if person.decision == "granted":
        expect["amount"] = decimal_text(person.amount_minor, rule.currency)
    elif person.refused_by:
        expect["refused_by"] = person.refused_by
    elif person.missing:
        expect["missing"] = person.missing
    return Example(name, person.given, expect)


def _flow(values: Mapping[str, str | tuple[str, ...]]) -> str:
    """A mapping on one line, as YAML."""
    written = {name: f"[{', '.join(map(_quoted, value))}]" if isinstance(value, tuple) else _quoted(value) for name, value in values.items()}
    return "{" + ", ".join(f"{name}: {value}" for name, value in written.items()) + "}"


def _quoted(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)
