"""The ways through a rule that nobody can go: what interval arithmetic leaves open, and no test can therefore reach."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.rules.branches import Branch
from pipeline.rules.rule import Key, Parameter, Rule

from .arithmetic import Truth, every, negated
from .people import Somebody, read
from .questions import FOUND, NOBODY, Question, somebody_of
from .stretches import stretches

Way = Branch | tuple[Parameter, tuple[Key, ...]]
"""A branch, or the keys of a parameter."""


def nobody_goes(rule: Rule, ways: Sequence[Way], timeout_s: int) -> set[int]:
    """The numbers of the ways that are proved to be closed to everybody, whatever of them is unknown; what is not decided in time is not among them."""
    closed, open_ = set(range(len(ways))), list(range(len(ways)))
    for stretch in stretches(rule):
        somebody = somebody_of(rule, stretch, complete=False)
        question, models = Question([somebody], timeout_s * 1_000), list[object]()
        for number in open_:
            gone = _gone(somebody, ways[number])
            if any(read(model, gone) for model in models):
                closed.discard(number)
                continue
            answer = question.ask(gone)
            if answer == FOUND:
                models.append(question.model)
            if answer != NOBODY:
                closed.discard(number)
        open_ = [number for number in open_ if number in closed]
    return closed


def _gone(somebody: Somebody, way: Way) -> Truth:
    """Whether somebody goes a way."""
    if not isinstance(way, Branch):
        parameter, keys = way
        return every(*(somebody.encoder.facts[by].known for by in parameter.by), *map(somebody.encoder.holds, parameter.by, keys))
    if way.bits is not None:
        number, outcome = way.bits
        seen = somebody.decided.conditions[(*somebody.rule.conditions, *somebody.rule.exclusions)[number].id]
        return negated(seen.known) if outcome == 2 else every(seen.known, seen.value if outcome else negated(seen.value))
    assert way.holds is not None
    seen = somebody.encoder(way.holds)
    return every(seen.known, seen.value)
