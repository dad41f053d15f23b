"""Where a fact comes from: the registry that tells it, and the event that told it of a subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from pipeline.facts import History, Known, disputed_ids
from pipeline.registry import Registries
from pipeline.texts import Language

from .rule import Rule, RuleFact, leaves


class Source(msgspec.Struct, frozen=True):
    """The registry of a fact by its name and title, and the event that told it; `event` is empty where none did.

    `valid_from` and `valid_to` are day numbers, from the first day up to, not including, the last. A disputed event came with two contents.
    """

    registry: str
    title: str
    event: str = ""
    sequence: int = 0
    status: str = ""
    valid_from: int = 0
    valid_to: int = 0
    disputed: bool = False


def sources_of(rule: Rule, registries: Registries, language: Language, told_by: Mapping[str, str] | None = None, history: History = ()) -> dict[str, Source]:
    """The source of each fact of a rule; `told_by` names the events that told them, which are looked up in the history of the subject."""
    titles = _titles(registries, language)
    events = {(known.registry, known.id): known for known in history}
    disputed = disputed_ids(history)
    found: dict[str, Source] = {}
    for fact in rule.facts:
        names = list(dict.fromkeys(spec.registry for name in _read(rule, fact) if (spec := registries.catalogue.get(name)) is not None))
        event = (told_by or {}).get(fact.name, "")
        known = next((events[name, event] for name in names if (name, event) in events), None)
        title = language.listed(titles.get(name, name) for name in names)
        found[fact.name] = _source(names[0] if names else "", title, known, known is not None and (known.registry, known.id) in disputed)
    return found


def member_sources(rule: Rule, registries: Registries, language: Language, told: Sequence[Known | None]) -> dict[str, Source]:
    """The source of each fact of a member, by the events that told them, in the order of the rule's facts of members."""
    titles, found = _titles(registries, language), {}
    for fact, known in zip(rule.members.facts if rule.members is not None else (), told, strict=True):
        spec = registries.catalogue.get(fact.source)
        name = spec.registry if spec is not None else ""
        found[fact.name] = _source(name, titles.get(name, name), known, disputed=False)
    return found


def _titles(registries: Registries, language: Language) -> dict[str, str]:
    return {registry.name: language.words(registry.titles) or registry.name for registry in registries.registries}


def _read(rule: Rule, fact: RuleFact) -> list[str]:
    """The facts of registries that a fact of the rule is, or that it is made of."""
    if fact.aggregate is None or rule.members is None:
        return [fact.source]
    terms = [term for term in (fact.aggregate.term, fact.aggregate.where) if term is not None]
    used = {str(leaf.value) for term in terms for leaf in leaves(term)}
    return [rule.members.of, *(member.source for member in rule.members.facts if member.name in used)]


def _source(registry: str, title: str, known: Known | None, disputed: bool) -> Source:
    if known is None:
        return Source(registry, title)
    return Source(known.registry, title, known.id, known.sequence, known.status, known.valid_from, known.valid_to, disputed)
