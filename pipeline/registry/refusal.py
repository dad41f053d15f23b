"""The slow reading of a message: every problem it has, each with its place, its value and what to do about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from typing import Any

from pipeline.facts import day, day_date
from pipeline.problems import Problem, suggestion

from .decoder import NEWEST_YEAR, OLDEST_YEAR
from .fields import CODE, CORRECTION, DATE, MAX_ID, MAX_SUBJECT, MAX_TEXT, SEQUENCE, TEXT, TIME, EventType, Field, Registry

ATTRIBUTES = ("specversion", "id", "source", "type", "subject", "time", "data", "sequence")
TRANSPORT = ("datacontenttype", "dataschema", "partitionkey", "traceparent", "tracestate")
MAX_PROBLEMS = 50
SHOWN_CHARACTERS = 60

KINDS: dict[type, str] = {
    dict: "an object", list: "a list", str: "text", bool: "yes/no", int: "a whole number", float: "a number with decimals", type(None): "null",
}  # fmt: skip


def problems_of(raw: bytes, types: Mapping[str, Mapping[str, tuple[Registry, EventType]]]) -> list[Problem]:
    """All problems of a message; empty where it has none. `types` are the known event types, each by its sources."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return [Problem("", f"not UTF-8 at byte {error.start}: 0x{raw[error.start]:02x}", "Send JSON as UTF-8.")]
    reading = _Reading(types)
    message = reading.parse(text)
    if isinstance(message, dict):
        reading.envelope(message)
    elif not reading.problems:
        reading.refuse("", f"the message is {_kind(message)}, not an object", "Send one CloudEvents object per message.")
    problems = reading.problems
    if len(problems) > MAX_PROBLEMS:
        problems = [*problems[:MAX_PROBLEMS], Problem("", f"and {len(problems) - MAX_PROBLEMS:,} problems more")]
    return problems


def _kind(value: object) -> str:
    return KINDS.get(type(value), "something else")


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, dict | list) else _kind(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}… ({len(text):,} characters)"


def _near(name: str, known: Iterable[str]) -> str:
    near = suggestion(name, known) if len(name) <= MAX_TEXT else ""
    return f", {near}" if near else ""


class _Digits(str):
    """A whole number with so many digits that it is kept as its text."""


def _whole(text: str) -> int | _Digits:
    return int(text) if len(text) <= 40 else _Digits(text)


class _Reading:
    def __init__(self, types: Mapping[str, Mapping[str, tuple[Registry, EventType]]]) -> None:
        self.types = types
        self.problems: list[Problem] = []

    def refuse(self, place: str, message: str, mend: str = "") -> None:
        self.problems.append(Problem(place, message, mend))

    def parse(self, text: str) -> object:
        """The message as plain objects; what is no JSON, or has a key twice, is a problem."""

        def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
            entries = dict(pairs)
            if len(entries) < len(pairs):
                names = [name for name, _ in pairs]
                twice = sorted({name for name in names if names.count(name) > 1})[:MAX_PROBLEMS] if len(names) < 1000 else ["(one of many)"]
                for name in twice:
                    self.refuse("", f"the key {_shown(name)} stands twice in one object", "Send each key once.")
            return entries

        def constant(name: str) -> None:
            raise ValueError(f"not JSON: {name} is no JSON number")

        try:
            message = json.loads(text, object_pairs_hook=once, parse_int=_whole, parse_constant=constant)
            json.dumps(message, ensure_ascii=False).encode()
        except json.JSONDecodeError as error:
            byte = len(text[: error.pos].encode())
            self.problems = [Problem("", f"not JSON at byte {byte:,}: {error.msg}", "", error.lineno, error.colno)]
        except UnicodeEncodeError:
            self.refuse("", "a text holds half of a surrogate pair", "Send whole characters.")
        except RecursionError:
            self.problems = [Problem("", "the message is nested too deep", "An event's data has at most two levels.")]
        except ValueError as error:
            self.problems = [Problem("", str(error))]
        else:
            return message
        return None

    def envelope(self, message: dict[str, Any]) -> None:
        self.unknown("", message, (*ATTRIBUTES, *TRANSPORT))
        version = message.get("specversion", "")
        if version != "1.0":
            self.refuse("specversion", f"must be '1.0', is {_shown(version)}" if version else "is missing", "Send CloudEvents 1.0.")
        self.code("id", message.get("id"), MAX_ID)
        self.code("subject", message.get("subject"), MAX_SUBJECT)
        self.instant(message)
        sequence = message.get("sequence", "0")
        if not isinstance(sequence, str) or not SEQUENCE.match(sequence):
            self.refuse("sequence", f"{_shown(sequence)} is not a text of 1 to 18 digits", 'Write "41".')
        if message.get("datacontenttype", "application/json") != "application/json":
            self.refuse("datacontenttype", f"{_shown(message['datacontenttype'])} is not read here", "Send application/json.")
        for name in TRANSPORT[1:]:
            value = message.get(name, "-")
            if not isinstance(value, str) or not 1 <= len(value) <= MAX_TEXT:
                self.refuse(name, f"must be text of 1 to {MAX_TEXT} characters, is {_shown(value)}")
        self.content(message)

    def content(self, message: dict[str, Any]) -> None:
        """Type and source together say which fields the data may have."""
        name, source = message.get("type"), message.get("source")
        sources = self.types.get(name, {}) if isinstance(name, str) else {}
        if not isinstance(name, str):
            self.refuse("type", "is missing" if name is None else f"must be text, is {_shown(name)}", "Name the event type.")
        elif not sources:
            self.refuse("type", f"unknown event type {_shown(name)}{_near(name, self.types)}", f"Known: {', '.join(self.types)}.")
        known = sorted({source for by_source in self.types.values() for source in by_source})
        if not isinstance(source, str):
            self.refuse("source", "is missing" if source is None else f"must be text, is {_shown(source)}", "Name the registry.")
        elif source not in (sources or known):
            mend = f"It comes from {' or '.join(sources or known)}."
            self.refuse("source", f"{_shown(source)} is not a source of this event type{_near(source, sources or known)}", mend)
        if "data" not in message:
            self.refuse("data", "is missing")
            return
        found = sources.get(source) if isinstance(source, str) else None
        if found is None and len(sources) == 1:
            (found,) = sources.values()
        if found is not None:
            self.data(*found, message["data"], message.get("id"))

    def unknown(self, place: str, entries: dict[str, Any], known: Iterable[str]) -> None:
        names = tuple(known)
        for name in entries:
            if name not in names:
                self.refuse(place, f"unknown field {_shown(name)}{_near(name, names)}", f"Known here: {', '.join(names)}.")

    def code(self, place: str, value: object, limit: int) -> None:
        if value is None:
            self.refuse(place, "is missing")
        elif not isinstance(value, str):
            self.refuse(place, f"must be text, is {_shown(value)}")
        elif not 1 <= len(value) <= limit:
            self.refuse(place, f"has {len(value):,} characters, 1 to {limit} are allowed")
        elif not CODE.match(value):
            self.refuse(place, f"{_shown(value)} holds blanks, control characters or letters beyond ASCII", "Use visible ASCII characters only.")

    def instant(self, message: dict[str, Any]) -> None:
        value = message.get("time")
        mend = "Write it like 2020-03-27T09:00:00Z."
        if value is None:
            self.refuse("time", "is missing", mend)
        elif not isinstance(value, str) or not TIME.match(value):
            self.refuse("time", f"{_shown(value)} is not a time with its offset (RFC 3339) in the years {OLDEST_YEAR} to {NEWEST_YEAR}", mend)
        else:
            try:
                date.fromisoformat(value[:10])
                time.fromisoformat(value[11:19])
            except ValueError:
                self.refuse("time", f"{_shown(value)} does not exist", mend)

    def data(self, registry: Registry, event: EventType, data: object, message_id: object) -> None:
        if not isinstance(data, dict):
            self.refuse("data", f"must be an object, is {_shown(data)}")
            return
        groups = {field.path[0] for field in event.fields if len(field.path) > 1}
        if not registry.ignores_unknown:
            self.unknown("data", data, dict.fromkeys(field.path[0] for field in event.fields))
        for group in sorted(groups):
            inner = data.get(group, {})
            if not isinstance(inner, dict):
                self.refuse(f"data.{group}", f"must be an object, is {_shown(inner)}")
            elif not registry.ignores_unknown:
                self.unknown(f"data.{group}", inner, [field.path[1] for field in event.fields if field.path[0] == group])
        for field in event.fields:
            holder = data if len(field.path) == 1 else data.get(field.path[0], {})
            if isinstance(holder, dict):
                self.field(field, holder, group_stands=len(field.path) == 1 or field.path[0] in data, strict=not registry.ignores_unknown)
            if len(field.path) > 1 and field.path[0] not in data and field.required and field.when is None:
                self.refuse(field.place, "is missing", field.meaning)
        if event.name == CORRECTION and isinstance(message_id, str) and data.get("withdraws") == message_id:
            self.refuse("data.withdraws", f"{_shown(message_id)} is this event itself", "Name the earlier event that never held.")
        self.interval(event, data)

    def interval(self, event: EventType, data: dict[str, Any]) -> None:
        first, end = data.get(event.valid_from), data.get(event.valid_to)
        days = [date.min if first is None else _date(first), date.max if end is None else _date(end)]
        if days[0] is not None and days[1] is not None and days[0] >= days[1]:
            span = f"from {first or 'ever'} to {end or 'ever'} there is no day"
            self.refuse(f"data.{event.valid_to if end else event.valid_from}", span, "The end is the first day it no longer holds.")

    def field(self, field: Field, holder: dict[str, Any], group_stands: bool, strict: bool) -> None:
        name = field.path[-1]
        stands = name in holder
        needed = field.required and group_stands
        if field.when is not None:
            choice = holder.get(field.when[0])
            applies = isinstance(choice, str) and choice in field.when[1]
            if stands and not applies:
                self.refuse(field.place, f"does not belong where {field.when[0]} is {_shown(choice)}", f"It goes with {' or '.join(field.when[1])}.")
                return
            needed = needed and applies
        if stands:
            self.value(field, holder[name], strict)
        elif needed:
            self.refuse(field.place, "is missing", field.meaning)

    def value(self, field: Field, value: object, strict: bool) -> None:
        shown = f"{_kind(value)} that is not shown here" if field.private else _shown(value)
        place, wrong = field.place, f"must be {_WANTED.get(field.type, field.type)}, is {shown}"
        match field.type:
            case "money":
                self.money(field, value, strict)
            case "number":
                self.within(field, place, value, wrong)
            case "yes_no":
                if not isinstance(value, bool):
                    self.refuse(place, wrong, "Write true or false.")
            case "date":
                self.date(field, value)
            case "one_of":
                if not isinstance(value, str) or value not in field.one_of:
                    near = _near(value, field.one_of) if isinstance(value, str) else ""
                    self.refuse(place, f"{shown} is none of {', '.join(field.one_of)}{near}")
            case "id":
                self.code(place, value, MAX_ID)
            case _:
                if not isinstance(value, str) or isinstance(value, _Digits):
                    self.refuse(place, wrong)
                elif not 1 <= len(value) <= MAX_TEXT:
                    self.refuse(place, f"has {len(value):,} characters, 1 to {MAX_TEXT} are allowed")
                elif not TEXT.match(value):
                    self.refuse(place, f"{shown} holds control characters or line breaks", "Send one line of plain text.")

    def money(self, field: Field, value: object, strict: bool) -> None:
        if not isinstance(value, dict):
            self.refuse(field.place, f"must be money, is {_shown(value)}", f'Write {{"minor": 123450, "currency": "{field.currency}"}}.')
            return
        if strict:
            self.unknown(field.place, value, ("minor", "currency"))
        currency = value.get("currency")
        if currency != field.currency:
            self.refuse(f"{field.place}.currency", f"must be {field.currency}, is {_shown(currency)}" if currency else "is missing", f"Send {field.currency}.")
        if "minor" in value:
            self.within(field, f"{field.place}.minor", value["minor"], f"must be a whole number of minor units, is {_shown(value['minor'])}")
        else:
            self.refuse(f"{field.place}.minor", "is missing", "Send the amount in minor units.")

    def within(self, field: Field, place: str, value: object, wrong: str) -> None:
        low, high = field.range or (0, 0)
        if isinstance(value, bool) or not isinstance(value, int | _Digits):
            self.refuse(place, wrong)
        elif isinstance(value, _Digits) or not low <= value <= high:
            unit = f" minor units of {field.currency}" if field.type == "money" else ""
            self.refuse(place, f"{_shown(value)} is outside the range {low} to {high}{unit}")

    def date(self, field: Field, value: object) -> None:
        if not isinstance(value, str) or not DATE.match(value):
            self.refuse(field.place, f"{_shown(value)} is not a date", "Write it like 2020-03-27.")
            return
        number = _date(value)
        if number is None:
            self.refuse(field.place, f"there is no day {_shown(value)}", "Send a date that exists.")
        elif field.range is not None and not field.range[0] <= day(number) <= field.range[1]:
            self.refuse(field.place, f"{value} is outside the range {day_date(field.range[0])} to {day_date(field.range[1])}")


_WANTED = {"number": "a whole number", "yes_no": "true or false"}
"""What a field takes, where the name of its type does not say it."""


def _date(value: object) -> date | None:
    """A date as text, or None where it is none."""
    if not isinstance(value, str) or not re.match(DATE, value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None
