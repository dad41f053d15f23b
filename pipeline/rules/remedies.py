"""Which single fact would turn a refusal into a grant: searched over the values a fact can have, and each answer decided by the evaluator."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import polars as pl

from .evaluate import GRANTED, decide, physical_type
from .figures import assumed
from .periods import Period
from .rule import Rule, RuleFact
from .terms import Term

Value = int | bool | str
MAX_CONSTANTS = 60
PARTS = 16
"""Into how many parts the gap between a refused and a granted value is cut at once."""


class Remedy(msgspec.Struct, frozen=True):
    """A fact, the nearest value found that would change the refusal, and the amount then granted."""

    fact: str
    value: Value
    amount_minor: int


class _Asked(msgspec.Struct):
    """A fact whose value is sought: the nearest value known to be granted, and one between it and today's that is not."""

    fact: RuleFact
    now: Value
    granted: Value
    refused: Value
    amount_minor: int
    paid: bool


Decided = Sequence[tuple[bool, int]]
"""Of each row whether it is granted, and the amount."""
Variant = tuple[str, Value]


def remedies(rule: Rule, facts: Mapping[str, Value | None], period: Period, payment_day: int | None = None, event_day: int | None = None) -> list[Remedy]:
    """For a refusal each fact that alone would make it a grant, with the nearest such value that was found; one that pays goes before one that does not.

    Facts that are unknown are left out: a refusal stands whatever they turn out to be. Every answer was decided; that there is none is not a proof.
    """
    held = assumed(rule, facts)

    def ask(variants: Sequence[Variant]) -> Decided:
        columns = []
        for fact in rule.facts:
            values = [value if name == fact.name else held[fact.name] for name, value in variants]
            columns.append(pl.Series(fact.name, values, dtype=physical_type(fact)))
        table = pl.DataFrame(columns)
        if rule.needs_event_day:
            table = table.with_columns(pl.lit(event_day, dtype=pl.Int64).alias("event_day"))
        result = decide(rule, table, period, payment_day)
        return list(zip(result.get_column("decision").eq(GRANTED).to_list(), result.get_column("amount_minor").to_list(), strict=True))

    if rule.needs_event_day and event_day is None:
        return []
    constants = _constants(rule)
    probes: dict[str, list[Value]] = {fact.name: _probes(fact, now, constants) for fact in rule.facts if (now := held[fact.name]) is not None}
    variants = [(name, value) for name, values in probes.items() for value in values]
    outcomes = dict(zip(variants, ask(variants), strict=True)) if variants else {}
    nearest = [item for fact in rule.facts if (item := _nearest(fact, held[fact.name], probes.get(fact.name, []), outcomes)) is not None]
    _narrow([item for item in nearest if _ordered(item.fact)], ask)
    return [Remedy(item.fact.name, item.granted, item.amount_minor) for item in nearest]


def _ordered(fact: RuleFact) -> bool:
    return fact.type not in ("yes_no", "text", "ratio")


def _probes(fact: RuleFact, now: Value, constants: Mapping[str, Sequence[Value]]) -> list[Value]:
    """Values to ask first: every other one of a choice; of a number those at growing distance, the ends of its range and what the rule compares with."""
    if fact.type == "yes_no":
        return [not now]
    if not _ordered(fact):
        return [value for value in dict.fromkeys((*fact.one_of, *constants["text"])) if value != now and (not fact.one_of or value in fact.one_of)]
    low, high = fact.range or (int(now), int(now))
    here = int(now)
    near = [here + sign * 2**power for power in range(max(high - low, 1).bit_length() + 1) for sign in (-1, 1)]
    at = [int(value) + step for value in constants["number"] for step in (-1, 0, 1)]
    return [value for value in dict.fromkeys((*near, low, high, *at)) if low <= value <= high and value != here]


def _constants(rule: Rule) -> dict[str, Sequence[Value]]:
    """The numbers and texts that conditions, steps and tables name, in the units of the facts."""
    numbers: dict[int, None] = {}
    texts: dict[str, None] = {}
    stack: list[Term] = [*(item.term for item in (*rule.conditions, *rule.exclusions)), *(step.term for step in rule.steps)]
    while stack:
        term = stack.pop()
        stack.extend(term.args)
        if term.op == "const" and isinstance(term.value, str):
            texts[term.value] = None
        elif term.op == "const" and term.kind.type != "yes_no":
            numbers |= dict.fromkeys((int(term.low), int(term.low * 100)))
    for parameter in rule.parameters.values():
        numbers |= dict.fromkeys(int(value) for row in parameter.values for value in row if not isinstance(value, str | bool))
        numbers |= dict.fromkeys(end for keys in parameter.keys for key in keys if key.value is None for end in (key.low, key.high))
    return {"number": list(numbers)[:MAX_CONSTANTS], "text": list(texts)[:MAX_CONSTANTS]}


def _nearest(fact: RuleFact, now: Value | None, probes: Sequence[Value], outcomes: Mapping[Variant, tuple[bool, int]]) -> _Asked | None:
    granted = [value for value in probes if outcomes[fact.name, value][0]]
    paid = [value for value in granted if outcomes[fact.name, value][1] > 0]
    if now is None or not granted:
        return None
    if not _ordered(fact):
        best = (paid or granted)[0]
        return _Asked(fact, now, best, now, outcomes[fact.name, best][1], bool(paid))
    here = int(now)
    best = min(paid or granted, key=lambda value: abs(int(value) - here))
    between = [int(value) for value in probes if min(here, int(best)) < int(value) < max(here, int(best)) and value not in (paid or granted)]
    refused = min([here, *between], key=lambda value: abs(value - int(best)))
    return _Asked(fact, now, best, refused, outcomes[fact.name, best][1], bool(paid))


def _narrow(asked: Sequence[_Asked], ask: Callable[[Sequence[Variant]], Decided]) -> None:
    """Cuts the gap between the refused and the granted value of each, until nothing lies between."""
    while open_ := [item for item in asked if abs(int(item.granted) - int(item.refused)) > 1]:
        variants = [(item.fact.name, value) for item in open_ for value in _between(int(item.refused), int(item.granted))]
        outcomes = dict(zip(variants, ask(variants), strict=True))
        for item in open_:
            for value in _between(int(item.refused), int(item.granted)):
                granted, amount = outcomes[item.fact.name, value]
                if granted and (amount > 0 or not item.paid):
                    item.granted, item.amount_minor = value, amount
                    break
                item.refused = value


def _between(start: int, end: int) -> list[int]:
    """Values strictly between two, from the first towards the second, evenly."""
    gap, sign = abs(end - start), 1 if end > start else -1
    count = min(PARTS, gap - 1)
    return list(dict.fromkeys(start + sign * (gap * part // (count + 1)) for part in range(1, count + 1) if 0 < gap * part // (count + 1) < gap))
