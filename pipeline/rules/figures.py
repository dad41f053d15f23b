"""The figures of a decision as people write them: the values of facts, parameters and steps, and what a step was calculated from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import islice

from pipeline.texts import ENGLISH, Language

from .periods import Period
from .rule import Key, Rule, RuleFact, Step, leaves
from .terms import Term

Facts = Mapping[str, int | bool | str | None]
Row = Mapping[str, int | None]


def fact_text(rule: Rule, fact: RuleFact, value: int | bool | str | None, language: Language = ENGLISH) -> str:
    """A fact's value for people."""
    if value is None:
        return language.unknown()
    if fact.type == "money":
        return language.money(int(value), rule.currency, fact.per)
    if fact.type == "yes_no":
        return language.yes_no(bool(value))
    if fact.type == "date":
        return language.day(int(value))
    if fact.type == "percent":
        return language.percent(Fraction(int(value), 100))
    return choice_text(fact, value, language) if isinstance(value, str) else language.number(int(value))


def choice_text(fact: RuleFact, value: str, language: Language = ENGLISH) -> str:
    """What people call a value of a text fact."""
    return language.words(fact.words.get(value, {})) or value.replace("_", " ")


def term_text(rule: Rule, term: Term, value: Fraction | str | bool | None, language: Language = ENGLISH) -> str:
    """A value of the kind of a term, for people; exact, as a fraction where it is no decimal amount."""
    if value is None:
        return language.unknown()
    if isinstance(value, bool):
        return language.yes_no(value)
    if isinstance(value, str):
        return value.replace("_", " ")
    if term.kind.type == "date":
        return language.day(int(value))
    if term.kind.type == "money":
        return language.money(value, rule.currency, term.kind.per)
    return language.percent(value) if term.kind.type == "ratio" else language.number(value)


def step_text(rule: Rule, step: Step, value: Fraction | int | None, denominator: int = 1, language: Language = ENGLISH) -> str:
    """A step's value for people."""
    return term_text(rule, step.term, None if value is None else Fraction(value) / denominator, language)


def used_values(
    rule: Rule, term: Term, facts: Facts, row: Row, period: Period, event_day: int | None = None, language: Language = ENGLISH
) -> Iterator[tuple[str, str]]:
    """What a term was calculated from: facts, parameters and earlier steps with their values."""
    by_name = {fact.name: fact for fact in rule.facts}
    steps = {step.id: step for step in rule.steps}
    segment, known = segment_of(rule, period, event_day), assumed(rule, facts)
    for leaf in leaves(term):
        name = str(leaf.value)
        if leaf.op in ("fact", "share"):
            yield name, fact_text(rule, by_name[name], known[name], language)
        elif leaf.op == "step":
            yield name, step_text(rule, steps[name], row["step:" + name], steps[name].denominator, language)
        elif leaf.op == "parameter":
            held = rule.parameters[name].row(known)
            if held is not None:
                yield name, term_text(rule, leaf, rule.parameters[name].values[segment][held], language)
            elif all(known.get(by) is not None for by in rule.parameters[name].by):
                yield name, language.tell("none")


def used_laws(rule: Rule, term: Term, facts: Facts, period: Period, event_day: int | None = None) -> Iterator[tuple[str, str]]:
    """The law of each parameter's value that a term was calculated from."""
    segment, known = segment_of(rule, period, event_day), assumed(rule, facts)
    for leaf in leaves(term):
        parameter = rule.parameters[str(leaf.value)] if leaf.op == "parameter" else None
        held = None if parameter is None else parameter.row(known)
        if parameter is not None and held is not None and parameter.laws[segment][held]:
            yield parameter.name, rule.law[parameter.laws[segment][held]].cite


def picked_by(rule: Rule, term: Term, facts: Facts, language: Language = ENGLISH) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Of each parameter that has values by key, the facts that picked its value, each with the key that held, as people write it."""
    by_name, known = {fact.name: fact for fact in rule.facts}, assumed(rule, facts)
    for leaf in leaves(term):
        parameter = rule.parameters[str(leaf.value)] if leaf.op == "parameter" else None
        held = parameter.row(known) if parameter is not None and parameter.by else None
        if parameter is not None and held is not None:
            keys = next(islice(parameter.rows(), held, None))
            yield parameter.name, tuple((name, _key_text(rule, by_name[name], key, language)) for name, key in zip(parameter.by, keys, strict=True))


def _key_text(rule: Rule, fact: RuleFact, key: Key, language: Language) -> str:
    if key.value is not None or key.low == key.high:
        return fact_text(rule, fact, key.low if key.value is None else key.value, language)
    between = "-" if fact.type in ("years", "number") else " - "
    return between.join(fact_text(rule, fact, end, language) for end in (key.low, key.high))


def segment_of(rule: Rule, period: Period, event_day: int | None) -> int:
    """The stretch of the law that a decision went by."""
    on = event_day if rule.parameters_at == "event.date" and event_day is not None else None
    return rule.segment(rule.day(rule.parameters_at, period) if on is None else on)


def assumed(rule: Rule, facts: Facts) -> Facts:
    """The facts as the rule takes them: what is outside its range is unknown, and what may be assumed of the unknown is."""
    return {fact.name: taken_as(fact, facts.get(fact.name)) for fact in rule.facts}


def taken_as(fact: RuleFact, value: int | bool | str | None) -> int | bool | str | None:
    """What a rule takes a fact to be."""
    outside = value is not None and ((fact.range and not fact.range[0] <= int(value) <= fact.range[1]) or (fact.one_of and value not in fact.one_of))
    return fact.assume if value is None or outside else value
