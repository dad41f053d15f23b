"""Whether two documents that differ in one place come out alike for everybody: decision, amount, conditions and steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pipeline.rules.rule import Aggregate, Rule
from pipeline.rules.terms import Term

from .arithmetic import Truth, compared, every, negated, some
from .calendar import Calendar
from .differences import pairs
from .encode import Seen, Texts
from .people import Somebody
from .questions import NOBODY, NOT_DECIDED, Question


def alike(old: Rule, new: Rule, timeout_s: int) -> bool | None:
    """Whether nobody comes out otherwise; None where that is not decided in time.

    What the members' facts come to is any value here, so that nothing is proved where an aggregate is worked out otherwise, but for what it is of nobody.
    """
    if old.in_force != new.in_force or not _comparable_aggregates(old, new):
        return False
    none_old, none_new = _of_nobody(old, new)
    found = pairs(old, new)
    decided: bool | None = True
    for before, after, at in found:
        if at:
            return False
        texts, calendar = Texts(), Calendar()
        one = Somebody(old, before, texts, calendar, complete=False, instead=none_old)
        other = Somebody(new, after, texts, calendar, complete=False, instead=none_new)
        answer = Question([one, other], max(1, timeout_s * 1_000 // len(found))).ask(some(*_parted(one, other)))
        if answer not in (NOBODY, NOT_DECIDED):
            return False
        decided = decided if answer == NOBODY else None
    return decided


def _parted(one: Somebody, other: Somebody) -> Iterator[Truth]:
    """How the two may come out otherwise, also in what is known of them."""
    yield compared("ne", one.decided.decision, other.decided.decision)
    yield every(one.decided.granted, compared("ne", one.decided.paid, other.decided.paid))
    for name, seen in one.decided.conditions.items():
        yield _otherwise(seen, other.decided.conditions[name])
    dens = {step.id: step.denominator for step in other.rule.steps}
    for step in one.rule.steps:
        was, now = one.decided.steps[step.id], other.decided.steps[step.id]
        yield _otherwise(Seen(was.value * dens[step.id], was.known), Seen(now.value * step.denominator, now.known))


def _otherwise(was: Seen, now: Seen) -> Truth:
    both = every(was.known, now.known, compared("ne", was.value, now.value))
    return some(both, every(was.known, negated(now.known)), every(negated(was.known), now.known))


def _aggregates(rule: Rule) -> dict[str, Aggregate]:
    return {fact.name: fact.aggregate for fact in rule.facts if fact.aggregate is not None}


def _comparable_aggregates(old: Rule, new: Rule) -> bool:
    """Whether all aggregates are worked out alike, but for what they are of nobody."""
    before, after = _aggregates(old), _aggregates(new)
    read = {name for aggregate in before.values() for term in (aggregate.term, aggregate.where) if term is not None for name in _names(term)}
    same_values = all(old.parameters[name] == new.parameters.get(name) for name in read if name in old.parameters)
    return same_values and all(_said(was) == _said(after[name]) for name, was in before.items())


def _said(aggregate: Aggregate) -> tuple[object, ...]:
    """How an aggregate is worked out, but for what it is of nobody."""
    return aggregate.how, _parts(aggregate.term), None if aggregate.where is None else _parts(aggregate.where)


def _parts(term: Term) -> tuple[object, ...]:
    return term.op, str(term.kind), term.value, term.den, term.choices, tuple(map(_parts, term.args))


def _names(term: Term) -> Iterator[str]:
    if isinstance(term.value, str):
        yield term.value
    for part in term.args:
        yield from _names(part)


def _of_nobody(old: Rule, new: Rule) -> tuple[Mapping[str, Seen], Mapping[str, Seen]]:
    """The aggregates of nobody that the documents part in, as each has them."""
    before, after = _aggregates(old), _aggregates(new)
    parted = [name for name in before if before[name].if_none != after[name].if_none]
    return tuple({name: Seen(known[name].if_none or 0) for name in parted} for known in (before, after))  # type: ignore[return-value]
