"""Parameters given by key, and tables, must have a value for everybody whom the conditions let through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor

from .grids import Grid, written
from .rule import Condition, Key, Parameter, RuleFact, Step, leaves
from .terms import Term

Bounds = dict[str, tuple[int, int]]


def lacking_keys(
    facts: Mapping[str, RuleFact],
    parameters: Mapping[str, Parameter],
    steps: Mapping[str, Step],
    conditions: Sequence[Condition],
    exclusions: Sequence[Condition],
    currency: str,
) -> Iterator[tuple[Parameter, str, str, str]]:
    """Every parameter that has no value for somebody, with the fact, its values that lack one, and what to do about it.

    A parameter that only steps use needs values for those who pass the conditions; one that a condition uses, for everybody.
    """
    everybody, eligible = _bounds(facts, conditions, exclusions)
    asked = {name: item.id for item in (*conditions, *exclusions) for name in _names_of(item.term, steps)}
    for name, parameter in parameters.items():
        for by, keys in zip(parameter.by, parameter.keys, strict=True):
            lacking = _lacking(keys, facts[by], (everybody if name in asked else eligible)[by], currency)
            if lacking:
                yield parameter, by, ", ".join(lacking), _mend(parameter, facts[by], lacking, asked.get(name))


def _mend(parameter: Parameter, fact: RuleFact, lacking: Sequence[str], asking: str | None) -> str:
    if asking is not None:
        return f"Add the keys: the condition {asking!r} asks for {parameter.name} of everybody, whatever the other conditions say."
    ends = " A key such as 0..<10_000 leaves no gap before 10_000." if fact.type == "money" else ""
    return f"Add the keys, or a condition that keeps those out.{ends}"


def gaps(
    grids: Mapping[str, Grid], facts: Mapping[str, RuleFact], steps: Mapping[str, Step], conditions: Sequence[Condition], exclusions: Sequence[Condition],
) -> Iterator[tuple[str, tuple[str, str]]]:  # fmt: skip
    """Every table with a region that no row covers: its step, the message and what to do about it."""
    everybody, eligible = _bounds(facts, conditions, exclusions)
    asked = {name for item in (*conditions, *exclusions) for name in _names_of(item.term, steps)}
    for step, grid in grids.items():
        gap = grid.gap(everybody if step in asked else eligible)
        if gap is not None:
            yield step, gap


def _bounds(facts: Mapping[str, RuleFact], conditions: Sequence[Condition], exclusions: Sequence[Condition]) -> tuple[Bounds, Bounds]:
    """The ranges of facts, of everybody and of those who pass the conditions."""
    everybody: Bounds = {name: fact.range or (0, 0) for name, fact in facts.items()}
    eligible = dict(everybody)
    for condition in conditions:
        _narrow(condition.term, True, eligible)
    for exclusion in exclusions:
        _narrow(exclusion.term, False, eligible)
    return everybody, eligible


def _names_of(term: Term, steps: Mapping[str, Step]) -> set[str]:
    """The parameters and steps that a term needs."""
    found: set[str] = set()
    for leaf in leaves(term):
        if leaf.op in ("parameter", "step"):
            found.add(str(leaf.value))
        if leaf.op == "step" and str(leaf.value) in steps:
            found |= _names_of(steps[str(leaf.value)].term, steps)
    return found


def _lacking(keys: Sequence[Key], fact: RuleFact, bounds: tuple[int, int], currency: str) -> list[str]:
    if fact.type in ("text", "ratio", "yes_no"):
        values: tuple[str | bool, ...] = (False, True) if fact.type == "yes_no" else fact.one_of
        return [str(Key(value=value)) for value in values if all(key.value != value for key in keys)] if values else ["any other text"]
    lacking, following = [], bounds[0]
    for key in sorted(keys, key=lambda key: key.low):
        if following < key.low and following <= bounds[1]:
            lacking.append(_span(fact, following, min(key.low - 1, bounds[1]), currency))
        following = max(following, key.high + 1)
    if following <= bounds[1]:
        lacking.append(_span(fact, following, bounds[1], currency))
    return lacking


def _span(fact: RuleFact, low: int, high: int, currency: str) -> str:
    """A range of a fact's column in the unit in which its author writes it."""
    first, last = (written(fact.type, end, currency) for end in (low, high))
    return first if low == high else f"{first} to {last}"


_OPPOSITE = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt"}
_MIRRORED = {"lt": "gt", "le": "ge", "gt": "lt", "ge": "le", "eq": "eq"}


def _narrow(term: Term, wanted: bool, bounds: Bounds) -> None:
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
