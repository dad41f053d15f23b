"""The registry document: YAML text in, a checked `Registry` out, or all of its problems with line and column."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import TypeVar

from msgspec.structs import replace

from pipeline.documents import Node, comma, parse_document, place_text
from pipeline.facts import Value, day
from pipeline.money import MINOR_DIGITS, nearest_currency, parse_minor
from pipeline.problems import Malformed, Problem, suggestion

from .fields import CORRECTION, SAFE_INTEGER, TYPES, EventType, FactSpec, Field, Registry

FORMAT = "registry/1"
SUBJECTS = ("person", "household", "business")
STATUSES = ("final", "preliminary", "estimated")
WORD = re.compile(r"[a-z][a-z0-9_]*")
NAME = re.compile(r"[a-z][a-z0-9-]*")
EVENT_TYPE = re.compile(r"registry(\.[a-z][a-z0-9_]*)+\.v[0-9]+")
TOPIC = re.compile(r"registry\.[a-z][a-z0-9_]*")
KIND = re.compile(r"[a-z][a-z0-9]*(\.[a-z][a-z0-9]*)*")
LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?", re.ASCII)
SOURCE = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+")

DOCUMENT_KEYS = (
    "format", "name", "title", "source", "owner", "subject", "topic", "facts", "unknown_fields", "rules_may_use", "pseudonymise", "events", "derived",
)  # fmt: skip
EVENT_KEYS = ("meaning", "valid_time", "status", "fields")
FIELD_KEYS = ("type", "currency", "one_of", "range", "required", "absent_means", "meaning", "fact", "timeless", "when", "private")

Path = tuple[str | int, ...]
T = TypeVar("T")


def load_registry(text: str) -> Registry:
    """The registry that a document declares; Malformed with every located problem."""
    return _Reading(parse_document(text)).registry()


class _Reading:
    """One pass over one document; collects problems and goes on."""

    def __init__(self, root: Node) -> None:
        self.root = root
        self.problems: list[Problem] = []

    def refuse(self, path: Path, message: str, mend: str = "") -> None:
        node = self.root.at(*path)
        self.problems.append(Problem(place_text(path), message, mend, node.line, node.column))

    def refuse_once(self, path: Path, message: str, mend: str) -> None:
        """A problem that several parts of the document would tell."""
        if all((problem.place, problem.message) != (place_text(path), message) for problem in self.problems):
            self.refuse(path, message, mend)

    def mapping(self, path: Path, keys: tuple[str, ...] = (), needed: tuple[str, ...] = ()) -> dict[str, Node]:
        """The mapping at `path`, its keys checked against `keys` (any, if empty) and the `needed` ones."""
        node = self.root.at(*path)
        if not isinstance(node.value, dict):
            self.refuse(path, "must be a mapping of keys to values")
            return {}
        for key in node.value:
            if keys and key not in keys:
                line, column = node.key_marks[key]
                begun, whole = node.torn(key)
                if whole:
                    self.refuse_once((*path, begun), *comma(begun, whole))
                    continue
                near = suggestion(key, keys)
                message = f"unknown key {key!r}, {near}" if near else f"unknown key {key!r}"
                self.problems.append(Problem(place_text((*path, key)), message, f"Known here: {', '.join(keys)}.", line, column))
        for key in needed:
            if key not in node.value:
                self.refuse(path, f"the key {key!r} is missing")
        return node.value

    def text(self, holder: dict[str, Node], path: Path, default: str = "", form: re.Pattern[str] | None = None) -> str:
        """The text under the last step of `path`, or the default where the key does not stand."""
        node = holder.get(str(path[-1]))
        if node is None:
            return default
        if not isinstance(node.value, str) or not node.value.strip():
            self.refuse(path, "must be text")
            return default
        if form is not None and not form.fullmatch(node.value):
            self.refuse(path, f"{node.value!r} does not have the form {form.pattern}")
        return node.value

    def words(self, holder: dict[str, Node], path: Path) -> dict[str, str]:
        """A text, or a text for each language."""
        node = holder.get(str(path[-1]))
        if node is None or not isinstance(node.value, dict):
            return {"": self.text(holder, path)}
        for language in node.value:
            if not LANGUAGE.fullmatch(language):
                self.refuse((*path, language), f"{language!r} is no language", "Write en, da or de_AT.")
        return {language: self.text(node.value, (*path, language)) for language in node.value}

    def choice(self, holder: dict[str, Node], path: Path, choices: tuple[str, ...], default: str) -> str:
        text = self.text(holder, path, default)
        if text not in choices:
            self.refuse(path, f"{text!r} is none of {', '.join(choices)}", suggestion(text, choices))
            return default
        return text

    def flag(self, holder: dict[str, Node], path: Path, default: str = "no") -> bool:
        return self.choice(holder, path, ("yes", "no"), default) == "yes"

    def attempt(self, path: Path, read: Callable[[], T], default: T) -> T:
        """What `read` gives; its ValueError becomes a problem at `path`."""
        try:
            return read()
        except ValueError as error:
            self.refuse(path, str(error))
            return default

    def registry(self) -> Registry:
        top = self.mapping((), DOCUMENT_KEYS, ("format", "name", "title", "source", "owner", "topic", "facts", "events"))
        if self.text(top, ("format",), FORMAT) != FORMAT:
            self.refuse(("format",), f"{top['format'].value!r} is not a format read here", f"Write {FORMAT}.")
        name = self.text(top, ("name",), "?", NAME)
        prefix = self.text(top, ("facts",), "?", WORD)
        events = tuple(self.event(event, prefix) for event in self.mapping(("events",))) if "events" in top else ()
        self.unique_facts(events)
        numbers = self.numbers(events, loose=self.text(top, ("unknown_fields",)) == "ignore") if "pseudonymise" in top else {}
        registry = Registry(
            name=name,
            titles=self.words(top, ("title",)),
            source=self.text(top, ("source",), "?", SOURCE),
            owner=self.text(top, ("owner",)),
            topic=self.text(top, ("topic",), "?", TOPIC),
            subject=self.choice(top, ("subject",), SUBJECTS, "") if "subject" in top else "",
            ignores_unknown=self.choice(top, ("unknown_fields",), ("refuse", "ignore"), "refuse") == "ignore",
            hidden=not self.flag(top, ("rules_may_use",), "yes"),
            events=tuple(_hidden(event, numbers) for event in events),
            pseudonymise=numbers,
            derived=self.derived(name, prefix, events) if "derived" in top else (),
        )
        if self.problems:
            raise Malformed(self.problems)
        return registry

    def unique_facts(self, events: tuple[EventType, ...]) -> None:
        told: dict[str, Path] = {}
        for event in events:
            for field in event.fields:
                path = ("events", event.name, "fields", ".".join(field.path))
                if field.fact and told.setdefault(field.fact, path) != path:
                    self.refuse(path, f"the fact {field.fact!r} is told by {place_text(told[field.fact])} already", "Give it another name with `fact:`.")

    def numbers(self, events: tuple[EventType, ...], *, loose: bool) -> dict[str, str]:
        """The places where numbers of people come in, each with the kind of number."""
        path: Path = ("pseudonymise",)
        fields = {".".join(field.path): field for event in events for field in event.fields}
        found: dict[str, str] = {}
        for place, node in self.mapping(path).items():
            if place != "subject" and (place not in fields or fields[place].type != "text"):
                self.refuse((*path, place), f"{place!r} is neither the subject nor a field of type text", suggestion(place, ("subject", *fields)))
            elif not isinstance(node.value, str) or not KIND.fullmatch(node.value):
                self.refuse((*path, place), "must be a kind of number", "Write one such as dk.cpr; the same kind in every registry that has the same numbers.")
            else:
                found[place] = node.value
        if loose:
            self.refuse(path, "unknown fields are ignored, and a number could stand in one", "Write unknown_fields: refuse.")
        return found

    def derived(self, registry: str, prefix: str, events: tuple[EventType, ...]) -> tuple[FactSpec, ...]:
        dates = {field.fact: (field, event) for event in events for field in event.fields if field.fact and field.type == "date"}
        specs = []
        for word in self.mapping(("derived",)):
            path: Path = ("derived", word)
            entry = self.mapping(path, ("until", "meaning"), ("until", "meaning"))
            until = f"{prefix}.{self.text(entry, (*path, 'until'), '?')}"
            if until not in dates:
                self.refuse((*path, "until"), f"there is no date fact {until!r}", suggestion(until, dates))
                continue
            meaning = self.text(entry, (*path, "meaning"))
            specs.append(FactSpec(f"{prefix}.{word}", registry, "yes_no", meaning, timeless=True, until=until, event_type=dates[until][1].name))
        return tuple(specs)

    def event(self, name: str, prefix: str) -> EventType:
        path: Path = ("events", name)
        if not EVENT_TYPE.fullmatch(name) or name == CORRECTION:
            self.refuse(path, f"{name!r} cannot be declared", "An event type reads like registry.tax.assessment.v1.")
        entry = self.mapping(path, EVENT_KEYS, ("meaning", "fields"))
        time_path = (*path, "valid_time")
        times = self.mapping(time_path, ("year", "from", "to")) if "valid_time" in entry else {}
        year = self.text(times, (*time_path, "year"))
        valid_from, valid_to = self.text(times, (*time_path, "from")), self.text(times, (*time_path, "to"))
        status = self.text(entry, (*path, "status"))
        if year and (valid_from or valid_to):
            self.refuse(time_path, "valid time is a year or from and to, not both")
        fields_path = (*path, "fields")
        plain = {word for word in (year, valid_from, valid_to, status) if word}
        declared = self.mapping(fields_path) if "fields" in entry else {}
        fields = {field: self.field((*fields_path, field), field, "" if field in plain else prefix) for field in declared}
        self.roles(path, fields, year, (valid_from, valid_to), status)
        self.conditions(fields_path, fields)
        return EventType(name, self.text(entry, (*path, "meaning")), tuple(fields.values()), year, valid_from, valid_to, status)

    def roles(self, path: Path, fields: dict[str, Field], year: str, interval: tuple[str, str], status: str) -> None:
        """The fields that give valid time and status must be of the right kind."""
        for role, name, kind in (("year", year, "number"), ("from", interval[0], "date"), ("to", interval[1], "date"), ("status", status, "one_of")):
            place = (*path, "status") if role == "status" else (*path, "valid_time", role)
            field = fields.get(name)
            if not name:
                continue
            if field is None:
                self.refuse(place, f"there is no field {name!r}", suggestion(name, fields))
            elif field.type != kind or (role in ("year", "status") and not field.required):
                self.refuse(place, f"{name!r} must be a {'required ' if role in ('year', 'status') else ''}field of type {kind}")
            elif role == "year" and field.range is not None and not 1 <= field.range[0] <= field.range[1] <= 9998:
                self.refuse(place, f"{name!r} needs a range within 1..9998")
            elif role == "status" and not set(field.one_of) <= set(STATUSES):
                self.refuse(place, f"a status is one of {', '.join(STATUSES)}")

    def conditions(self, path: Path, fields: dict[str, Field]) -> None:
        """A field's `when` must name a required choice beside it, and values that the choice has."""
        for name, field in fields.items():
            if field.when is None:
                continue
            other = fields.get(".".join((*field.path[:-1], field.when[0])))
            if other is None or other.type != "one_of" or not other.required or other.when is not None:
                self.refuse((*path, name, "when"), f"{field.when[0]!r} is no required field of type one_of beside {name!r}")
            elif not set(field.when[1]) <= set(other.one_of):
                self.refuse((*path, name, "when"), f"{', '.join(field.when[1])}: not all are values of {field.when[0]!r}")

    def field(self, path: Path, name: str, prefix: str) -> Field:
        steps = tuple(name.split("."))
        if len(steps) > 2 or not all(WORD.fullmatch(step) for step in steps):
            self.refuse(path, f"{name!r} is no field name", "A name is one or two words of a-z, 0-9 and _, joined by a dot.")
        entry = self.mapping(path, FIELD_KEYS, ("type", "meaning"))
        kind = self.choice(entry, (*path, "type"), TYPES, "text")
        currency = self.text(entry, (*path, "currency"))
        if kind == "money" and currency not in MINOR_DIGITS:
            self.refuse((*path, "currency"), f"money needs a known currency, {currency!r} is none", nearest_currency(currency))
            currency = "EUR"
        one_of = self.values((*path, "one_of")) if "one_of" in entry else ()
        if (kind == "one_of") != bool(one_of):
            self.refuse(path, "the type one_of and a list one_of belong together")
        limits = self.limits(entry, (*path, "range"), kind, currency)
        fact = self.text(entry, (*path, "fact"), f"{prefix}.{steps[-1]}" if prefix else "no")
        if not prefix and fact != "no":
            self.refuse((*path, "fact"), "a field that gives the valid time or the status is no fact")
        required = self.flag(entry, (*path, "required"))
        absent = self.text(entry, (*path, "absent_means"))
        if absent and (required or fact == "no" or "when" in entry):
            self.refuse((*path, "absent_means"), "only an optional, unconditional fact can mean something by its absence")
        means = self.attempt((*path, "absent_means"), lambda: read_value(absent, kind, currency, one_of, limits), None) if absent else None
        return Field(
            steps, kind, self.text(entry, (*path, "meaning")), "" if fact == "no" else fact, currency, one_of, limits, required, means,
            self.flag(entry, (*path, "timeless")), self.when(entry, (*path, "when")), self.flag(entry, (*path, "private")),
        )  # fmt: skip

    def limits(self, entry: dict[str, Node], path: Path, kind: str, currency: str) -> tuple[int, int] | None:
        widest = (-SAFE_INTEGER, SAFE_INTEGER) if kind in ("money", "number") else None
        text = self.text(entry, path)
        if not text:
            return widest
        if kind not in ("money", "number", "date"):
            self.refuse(path, f"a field of type {kind} has no range")
            return None
        low, dots, high = text.partition("..")
        ends = self.attempt(path, lambda: (int(read_value(low, kind, currency)), int(read_value(high, kind, currency))), None)
        if ends is None:
            return widest
        if not dots or ends[0] > ends[1] or (kind != "date" and max(abs(ends[0]), abs(ends[1])) > SAFE_INTEGER):
            self.refuse(path, f"{text!r} is no range from the lowest to the highest value, within {SAFE_INTEGER:,} units")
            return widest
        return ends

    def values(self, path: Path) -> tuple[str, ...]:
        node = self.root.at(*path)
        items = [item.value for item in node.value if isinstance(item.value, str)] if isinstance(node.value, list) else []
        if not items or len(items) != len(node.value) or len(set(items)) != len(items):
            self.refuse(path, "must be a list of different words")
        return tuple(items)

    def when(self, entry: dict[str, Node], path: Path) -> tuple[str, tuple[str, ...]] | None:
        if "when" not in entry:
            return None
        conditions = self.mapping(path)
        if len(conditions) != 1:
            self.refuse(path, "must be one field with the list of its values")
            return None
        (name,) = conditions
        return name, self.values((*path, name))


def _hidden(event: EventType, numbers: dict[str, str]) -> EventType:
    """An event type of which no problem shows the numbers."""
    fields = tuple(replace(field, private=field.private or ".".join(field.path) in numbers) for field in event.fields)
    return replace(event, fields=fields)


def read_value(text: str, kind: str, currency: str = "", one_of: tuple[str, ...] = (), limits: tuple[int, int] | None = None) -> Value:
    """A value as a document writes it, in physical form: minor units, day numbers, bool, int or text; ValueError if it is none."""
    if kind == "money":
        value: Value = parse_minor(text, currency)
    elif kind == "date":
        value = day(date.fromisoformat(text))
    elif kind == "number":
        if not re.fullmatch(r"-?[0-9][0-9_]*", text):
            raise ValueError(f"{text!r} is not a whole number")
        value = int(text.replace("_", ""))
    elif kind == "yes_no":
        if text not in ("yes", "no"):
            raise ValueError(f"{text!r} is neither yes nor no")
        value = text == "yes"
    else:
        if one_of and text not in one_of:
            raise ValueError(f"{text!r} is none of {', '.join(one_of)}")
        value = text
    if limits is not None and not limits[0] <= int(value) <= limits[1]:
        raise ValueError(f"{text!r} is outside the range")
    return value
