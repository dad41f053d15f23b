"""The JSON Schema (2020-12) of a message, made from the registry documents.

It says all that a schema can say. What it cannot: a date's range, that valid time holds at least one day, that an event
does not withdraw itself, and that a key stands once. The decoder checks these too.
"""

from __future__ import annotations

from typing import Any

from pipeline.facts import day_date
from pipeline.problems import Malformed, Problem, suggestion

from .catalogue import Registries
from .decoder import NEWEST_YEAR, OLDEST_YEAR
from .fields import CODE_PATTERN, DATE_PATTERN, MAX_ID, MAX_SUBJECT, MAX_TEXT, SEQUENCE_PATTERN, TEXT_PATTERN, TIME_PATTERN, EventType, Field, Registry

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Schema = dict[str, Any]


def event_schema(registries: Registries, event_type: str | None = None) -> Schema:
    """The schema of one event type, or of every message that is accepted; Malformed names an unknown type."""
    types = registries.event_types()
    if event_type is not None and event_type not in types:
        near = suggestion(event_type, types)
        message = f"unknown event type {event_type!r}, {near}" if near else f"unknown event type {event_type!r}"
        raise Malformed([Problem("type", message, f"Known: {', '.join(types)}.")])
    chosen = types if event_type is None else {event_type: types[event_type]}
    messages = [_message(registry, event) for by_source in chosen.values() for registry, event in by_source.values()]
    if len(messages) == 1:
        return {"$schema": DIALECT, **messages[0]}
    return {"$schema": DIALECT, "title": event_type or "A message from a registry", "oneOf": messages}


def _message(registry: Registry, event: EventType) -> Schema:
    properties: Schema = {
        "specversion": {"const": "1.0"},
        "id": {**_code(MAX_ID), "description": "Names the event within its source."},
        "source": {"const": registry.source},
        "type": {"const": event.name},
        "subject": {**_code(MAX_SUBJECT), "description": _subject(registry)},
        "time": {
            "type": "string", "format": "date-time", "pattern": TIME_PATTERN,
            "description": f"When the registry recorded it (RFC 3339), in the years {OLDEST_YEAR} to {NEWEST_YEAR}.",
        },
        "sequence": {"type": "string", "pattern": SEQUENCE_PATTERN, "default": "0", "description": "Orders the events of one source about one subject."},
        "datacontenttype": {"const": "application/json"},
        **{name: {"type": "string", "minLength": 1, "maxLength": MAX_TEXT} for name in ("dataschema", "partitionkey", "traceparent", "tracestate")},
        "data": _numbered(_data(event, registry.ignores_unknown), registry),
    }  # fmt: skip
    return {
        "title": event.name,
        "description": event.meaning,
        "type": "object",
        "required": ["specversion", "id", "source", "type", "subject", "time", "data"],
        "properties": properties,
        "additionalProperties": False,
    }


def _subject(registry: Registry) -> str:
    kind = registry.pseudonymise.get("subject")
    return f"The number ({kind}), for which a pseudonym is kept." if kind else "The pseudonym of the person, household or business."


def _numbered(data: Schema, registry: Registry) -> Schema:
    """The schema of the data, with the fields named for which pseudonyms are kept."""
    for place, kind in registry.pseudonymise.items():
        group, _, name = place.rpartition(".")
        properties: Schema = data["properties"].get(group, {}).get("properties", {}) if group else data["properties"]
        if place != "subject" and name in properties:
            properties[name]["description"] += f" The number ({kind}), for which a pseudonym is kept."
    return data


def _code(limit: int) -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": limit, "pattern": CODE_PATTERN}


def _data(event: EventType, loose: bool) -> Schema:
    flat = [field for field in event.fields if len(field.path) == 1]
    groups: dict[str, list[Field]] = {}
    for field in event.fields:
        if len(field.path) > 1:
            groups.setdefault(field.path[0], []).append(field)
    schema = _object(flat, loose)
    for name, fields in groups.items():
        schema["properties"][name] = _object(fields, loose)
        if "required" in schema["properties"][name]:
            schema.setdefault("required", []).append(name)
    return schema


def _object(fields: list[Field], loose: bool) -> Schema:
    schema: Schema = {"type": "object", "properties": {field.path[-1]: _field(field, loose) for field in fields}, "additionalProperties": loose}
    required = [field.path[-1] for field in fields if field.required and field.when is None]
    if required:
        schema["required"] = required
    conditions = [_condition(field, *field.when) for field in fields if field.when is not None]
    if conditions:
        schema["allOf"] = conditions
    return schema


def _condition(field: Field, choice: str, values: tuple[str, ...]) -> Schema:
    name = field.path[-1]
    applies = {"properties": {choice: {"enum": list(values)}}, "required": [choice]}
    return {"if": applies, "then": {"required": [name]} if field.required else {}, "else": {"properties": {name: False}}}


def _field(field: Field, loose: bool) -> Schema:
    schema = {"description": field.meaning, **_value(field, loose)}
    if field.absent_means is not None:
        schema["default"] = _json(field, field.absent_means)
    return schema


def _json(field: Field, value: int | bool | str) -> object:
    """A kept value as a message writes it."""
    if field.type == "money":
        return {"minor": value, "currency": field.currency}
    return day_date(int(value)).isoformat() if field.type == "date" else value


def _value(field: Field, loose: bool) -> Schema:
    low, high = field.range or (0, 0)
    match field.type:
        case "money":
            minor = {"type": "integer", "minimum": low, "maximum": high, "description": "Minor units."}
            properties = {"minor": minor, "currency": {"const": field.currency}}
            return {"type": "object", "properties": properties, "required": ["minor", "currency"], "additionalProperties": loose}
        case "number":
            return {"type": "integer", "minimum": low, "maximum": high}
        case "yes_no":
            return {"type": "boolean"}
        case "date":
            limits = f"{field.meaning} Within {day_date(low)} to {day_date(high)}." if field.range is not None else field.meaning
            return {"type": "string", "format": "date", "pattern": DATE_PATTERN, "description": limits}
        case "one_of":
            return {"enum": list(field.one_of)}
        case "id":
            return _code(MAX_ID)
        case _:
            return {"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "pattern": TEXT_PATTERN}
