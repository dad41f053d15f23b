"""An explanation as a letter: short sentences in sections, each figure with its law."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.facts import FIRST_DAY, LAST_DAY
from pipeline.texts import ENGLISH, Language, capital, message

from .explain import Calculated, Explanation, Member, UsedFact
from .sources import Source

_STATUS = {"final": message("final"), "preliminary": message("provisional (preliminary)"), "estimated": message("provisional (estimated)")}
_MARKS = {True: "+", False: "-", None: "?"}


def letter(explanation: Explanation, language: Language = ENGLISH) -> str:
    """The explanation in sentences; it must have been made in the same language."""
    lines = [explanation.headline]
    sections = (
        (language.tell("Conditions"), [f"{_MARKS[reason.passed]} {reason.text}{_aside(reason.law)}" for reason in explanation.reasons]),
        (language.tell("Calculation"), list(_calculation(explanation, language))),
        (language.tell("What is not known"), [missing.text for missing in explanation.unknown]),
        (language.tell("What would change it"), list(_changes(explanation, language))),
        (language.tell("Facts"), [_fact(fact, language) for fact in explanation.facts]),
        (language.tell("Members"), [line for member in explanation.members for line in _member(member, language)]),
    )
    for title, told in sections:
        if told:
            lines += [f"{title}:", *(f"  {line}" for line in told)]
    return "\n".join([*lines, language.tell("Decided by rule {rule}.", rule=explanation.rule[:12])])


def _aside(text: str) -> str:
    return f" ({text})" if text else ""


def _calculation(explanation: Explanation, language: Language) -> Iterator[str]:
    if explanation.decision == "refused":
        return
    for step in explanation.steps:
        if step.exact is None:
            yield capital(language.tell("{step} cannot be calculated yet: {text}.", step=step.title, text=step.text)) + _aside(step.law)
        else:
            yield f"{capital(step.title)}: {step.value} = {step.text}.{_aside(step.law)}"
        figures = _figures(step)
        if figures:
            yield "    " + language.tell("with {figures}", figures=figures)


def _figures(step: Calculated) -> str:
    told = (f"{figure.title} {figure.text}{_aside(figure.keys)}{_aside(figure.law) if figure.law != step.law else ''}" for figure in step.used)
    return "; ".join(told)


def _changes(explanation: Explanation, language: Language) -> Iterator[str]:
    if explanation.decision != "refused":
        return
    if not explanation.changes:
        yield language.tell("No single fact was found that would change the decision alone.")
        return
    count = len(explanation.changes)
    yield language.tell_number("This fact alone would change the decision:", "Any one of these {number} facts alone would change the decision:", count)
    for change in explanation.changes:
        yield f"  {change.text}"


def _member(member: Member, language: Language) -> Iterator[str]:
    yield f"{member.member}:"
    for fact in member.facts:
        yield f"  {_fact(fact, language)}"


def _fact(fact: UsedFact, language: Language) -> str:
    text = f"{capital(fact.title)}: {fact.text}"
    source = fact.source
    if fact.assumed and source is not None and source.event:
        text = language.tell("{fact} (assumed, because what was told does not count)", fact=text)
    elif fact.assumed:
        text = language.tell("{fact} (assumed, because nobody told it)", fact=text)
    if source is None or not source.title:
        return f"{text}."
    if not source.event:
        return f"{text}. {source.title}."
    told = language.tell("event {event}, no. {sequence}", event=source.event, sequence=language.number(source.sequence))
    status = language.tell(_STATUS[source.status]) if source.status in _STATUS else source.status
    return f"{text}. {source.title}: {told}, {status}, {_valid(source, language)}."


def _valid(source: Source, language: Language) -> str:
    since, until = source.valid_from > FIRST_DAY, source.valid_to < LAST_DAY
    first, last = language.day(source.valid_from) if since else "", language.day(source.valid_to - 1) if until else ""
    if since and until:
        return language.tell("valid from {first} to {last}", first=first, last=last)
    if since:
        return language.tell("valid from {first}", first=first)
    return language.tell("valid until {last}", last=last) if until else language.tell("valid at all times")
