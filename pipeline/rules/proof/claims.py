"""The claims of a document, each proved of everybody or refuted by people."""

from __future__ import annotations

from pipeline.rules.rule import Claim, Rule

from .arithmetic import Truth, Whole, compared, every, some
from .findings import FAILS, NOT_DECIDED, PROVED, Finding, Person
from .people import Somebody
from .questions import FOUND, NOBODY, Question, somebody_of
from .stretches import Stretch, stretches

PAID = "amount"


def prove_claim(rule: Rule, index: int, timeout_s: int) -> Finding:
    """What the solver says of a claim in every stretch of the rule; the time is shared out between them.

    Claims are about people all of whose facts are known: whatever is decided while a fact is unknown stays so once it is known.
    """
    claim, place = rule.claims[index], f"claims[{index}]"
    parts = stretches(rule)
    undecided: list[Stretch] = []
    for stretch in parts:
        answer, found = _asked(rule, claim, stretch, max(1, timeout_s * 1_000 // len(parts)))
        if answer == FOUND:
            return Finding("claim", place, claim.text, FAILS, "", found)
        if answer != NOBODY:
            undecided.append(stretch)
    if undecided:
        return Finding("claim", place, claim.text, NOT_DECIDED, f"not decided in {timeout_s} s, {' and '.join(map(str, undecided))}")
    return Finding("claim", place, claim.text, PROVED)


def _asked(rule: Rule, claim: Claim, stretch: Stretch, timeout_ms: int) -> tuple[str, tuple[Person, ...]]:
    one = somebody_of(rule, stretch)
    people, refuted = [one], _bound_refuted(one, claim) if claim.bound is not None else False
    if claim.bound is None:
        changed = (claim.more,) if claim.more else claim.same_for
        other = _apart_from(one, changed)
        people.append(other)
        refuted = _pair_refuted(one, other, claim)
    refuted = every(refuted, *(_about(somebody, claim) for somebody in people))
    question = Question(people, timeout_ms)
    answer = question.ask(refuted)
    if answer != FOUND:
        return answer, ()
    if claim.more:
        near = compared("eq", people[1].facts[claim.more].value - one.facts[claim.more].value, 1)
        refuted = every(refuted, near) if question.ask(refuted, near) == FOUND else refuted
        question.ask(refuted)
    return answer, question.ordinary(refuted, last=(claim.more, *claim.same_for))


def _apart_from(one: Somebody, facts: tuple[str, ...]) -> Somebody:
    """Somebody who has the same facts but for these."""
    by_name = {fact.name: fact for fact in one.rule.facts}
    shared = {name: seen for name, seen in one.facts.items() if name not in facts}
    shared |= {name: one.unknown(by_name[name], " of the other") for name in facts}
    return Somebody(one.rule, one.stretch, one.texts, one.encoder.calendar, instead=shared)


def _about(somebody: Somebody, claim: Claim) -> Truth:
    """Whether the claim is about somebody: one of a step is about those who pass the conditions."""
    where = somebody.encoder(claim.where) if claim.where is not None else None
    parts = [every(where.known, where.value)] if where is not None else []
    if claim.of and claim.of != PAID:
        parts += [somebody.decided.passing, somebody.decided.steps[claim.of].known]
    return every(*parts)


def _result(somebody: Somebody, claim: Claim) -> Whole:
    return somebody.decided.paid if claim.of == PAID else somebody.decided.steps[claim.of].value


def _bound_refuted(one: Somebody, claim: Claim) -> Truth:
    """Above the most or below the least; of what is paid, only where something is granted."""
    assert claim.bound is not None
    term = next(step for step in one.rule.steps if step.id == (one.rule.pay if claim.of == PAID else claim.of)).term
    limit = one.encoder(claim.bound)
    beyond = compared("gt" if claim.kind == "at_most" else "lt", _result(one, claim) * claim.bound.den, limit.value * term.den)
    return every(limit.known, beyond, one.decided.granted if claim.of == PAID else True)


def _pair_refuted(one: Somebody, other: Somebody, claim: Claim) -> Truth:
    if claim.same_for:
        return some(compared("ne", one.decided.decision, other.decided.decision), compared("ne", one.decided.paid, other.decided.paid))
    more = compared("gt", other.facts[claim.more].value, one.facts[claim.more].value)
    wrong = compared("gt" if claim.kind == "never_more" else "lt", _result(other, claim), _result(one, claim))
    decided = every(*(some(somebody.decided.granted, somebody.decided.refused) for somebody in (one, other)))
    return every(more, wrong, decided)
