"""The page of the documentation that lists what each registry may say and which facts come of it."""

from __future__ import annotations

from pipeline.facts import Value, day_date
from pipeline.money import money_text

from .catalogue import Registries
from .fields import EventType, Field, Registry


def facts_page(registries: Registries) -> str:
    """The page as Markdown."""
    head = (
        "# Facts, by registry\n\nWhat each registry may send, and the name under which a rule uses it. A fact that a message leaves out stays unknown, "
        "unless the page says what its absence means.\nThis page is written from the documents in `registries/`; a test holds them together. "
        "How such a document is written: [registries](registries.md).\n"
    )
    return "\n".join([head, *(_registry(registry) for registry in registries.registries)])


def _registry(registry: Registry) -> str:
    unknown = "ignored" if registry.ignores_unknown else "refused"
    head = (
        f"## {registry.title}\n\nRegistry `{registry.name}`, source `{registry.source}`, topic `{registry.topic}`, kept by {registry.owner}. "
        f"Unknown fields are {unknown}.{_numbers(registry)}{' Its facts serve the payout and are not offered to rules.' if registry.hidden else ''}\n"
    )
    parts = [head, *(_event(event) for event in registry.events)]
    if registry.derived:
        rows = [f"| `{spec.name}` | `{spec.until}`: yes until that day | {spec.meaning} |" for spec in registry.derived]
        parts.append("\n".join(["Derived:\n", "| fact | from | meaning |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)


def _numbers(registry: Registry) -> str:
    places = " and ".join(f"`{place}` ({kind})" for place, kind in registry.pseudonymise.items())
    return f" Pseudonyms are kept for {places}." if places else ""


def _event(event: EventType) -> str:
    rows = [f"| `{'.'.join(field.path)}` | {_fact(event, field)} | {_kind(field)} | {_presence(field)} | {field.meaning} |" for field in event.fields]
    return "\n".join([f"`{event.name}`: {event.meaning}\n", "| field | fact | type | must it stand | meaning |", "|---|---|---|---|---|", *rows, ""])


def _fact(event: EventType, field: Field) -> str:
    name = field.path[0]
    if name in (event.year, event.valid_from, event.valid_to):
        return "the days it holds for"
    if name == event.status:
        return "how sure it is"
    return f"`{field.fact}`" if field.fact else "none"


def _kind(field: Field) -> str:
    if field.type == "one_of":
        return ", ".join(f"`{word}`" for word in field.one_of)
    if field.range is None:
        return field.type.replace("_", "/")
    low, high = field.range
    if field.type == "money":
        return f"money, {money_text(low, field.currency)} to {money_text(high, field.currency)}"
    return f"date, {day_date(low)} to {day_date(high)}" if field.type == "date" else f"{field.type}, {low:,} to {high:,}"


def _presence(field: Field) -> str:
    if field.when is not None:
        return f"where `{field.when[0]}` is {' or '.join(field.when[1])}"
    if field.absent_means is not None:
        words: dict[Value, str] = {True: "yes", False: "no"} if field.type == "yes_no" else {}
        return f"no; absent means {words.get(field.absent_means, field.absent_means)}"
    return "yes" if field.required else "no"
