"""What a registry may say, as typed values: registries, event types, fields, and the facts that come of them."""

from __future__ import annotations

import re

import msgspec

from pipeline.facts import Value
from pipeline.texts import in_language

CORRECTION = "registry.correction.v1"
TYPES = ("money", "number", "yes_no", "date", "text", "one_of")
SAFE_INTEGER = 2**53 - 1
"""The largest whole number that every reader of JSON keeps exactly."""

MAX_TEXT = 200
MAX_ID = 128
MAX_SUBJECT = 64
MAX_MESSAGE_BYTES = 1024 * 1024

CODE_PATTERN = "^[!-~]+$"
"""Identifiers (id, subject, withdraws) are visible ASCII without blanks."""

TEXT_PATTERN = "^[^\\u0000-\\u001f\\u007f-\\u009f\\u2028\\u2029]+$"
"""Text is one line: no control characters and no line separators."""

DATE_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
TIME_PATTERN = "^(19|2[0-9])[0-9]{2}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])$"
SEQUENCE_PATTERN = "^[0-9]{1,18}$"

CODE = re.compile(CODE_PATTERN[:-1] + r"\Z")
TEXT = re.compile(TEXT_PATTERN[:-1] + r"\Z")
DATE = re.compile(DATE_PATTERN[:-1] + r"\Z")
TIME = re.compile(TIME_PATTERN[:-1] + r"\Z")
SEQUENCE = re.compile(SEQUENCE_PATTERN[:-1] + r"\Z")


class FactSpec(msgspec.Struct, frozen=True):
    """One fact that a registry tells, as rules may use it.

    `type` is money, number, yes_no, date, text or one_of. `range` is in physical units: minor units for money, day
    numbers for dates. `until` names the date fact that a derived yes/no fact follows: "no" from that date on, "yes"
    before it or while it is not known, unknown where the registry never spoke of the subject. `subject` says of whom: a person, a household or a business.
    """

    name: str
    registry: str
    type: str
    meaning: str
    currency: str = ""
    one_of: tuple[str, ...] = ()
    range: tuple[int, int] | None = None
    timeless: bool = False
    until: str = ""
    event_type: str = ""
    subject: str = ""


class Field(msgspec.Struct, frozen=True):
    """One field of an event's data. `path` has one or two steps; `fact` is empty where the field tells no fact.

    `when` limits a field to the messages in which another field of the same object has one of the listed values: there
    it must stand (if `required`), elsewhere it must not. `private` keeps its value out of problem messages.
    """

    path: tuple[str, ...]
    type: str
    meaning: str
    fact: str = ""
    currency: str = ""
    one_of: tuple[str, ...] = ()
    range: tuple[int, int] | None = None
    required: bool = False
    absent_means: Value | None = None
    timeless: bool = False
    when: tuple[str, tuple[str, ...]] | None = None
    private: bool = False

    @property
    def place(self) -> str:
        return ".".join(("data", *self.path))


class EventType(msgspec.Struct, frozen=True):
    """One kind of event: its fields, and which of them give the days it holds for and how sure it is."""

    name: str
    meaning: str
    fields: tuple[Field, ...]
    year: str = ""
    valid_from: str = ""
    valid_to: str = ""
    status: str = ""


class Registry(msgspec.Struct, frozen=True):
    """One registry document. `titles` are by language, "" is every language; `hidden` facts are kept for the payout and not offered to rules.

    `pseudonymise` names the places (`subject`, or a field) in which a number comes that the door replaces by a pseudonym, each with its kind.
    """

    name: str
    titles: dict[str, str]
    source: str
    owner: str
    topic: str
    ignores_unknown: bool
    hidden: bool
    events: tuple[EventType, ...]
    derived: tuple[FactSpec, ...] = ()
    subject: str = ""
    pseudonymise: dict[str, str] = {}

    @property
    def title(self) -> str:
        """What people call the registry, in English or the first language it has."""
        return in_language(self.titles)

    def event_types(self) -> tuple[EventType, ...]:
        """The types the document declares and the correction that every registry may send."""
        return (*self.events, CORRECTION_TYPE)

    def fact_names(self) -> list[str]:
        """Every fact that is kept, hidden ones too."""
        return [field.fact for event in self.events for field in event.fields if field.fact] + [spec.name for spec in self.derived]

    def facts(self) -> list[FactSpec]:
        """The facts that rules may use."""
        if self.hidden:
            return []
        told = [
            FactSpec(field.fact, self.name, field.type, field.meaning, field.currency, field.one_of, field.range, field.timeless, event_type=event.name)
            for event in self.events
            for field in event.fields
            if field.fact
        ]
        return [msgspec.structs.replace(spec, subject=self.subject) for spec in (*told, *self.derived)]


CORRECTION_TYPE = EventType(
    CORRECTION,
    "Withdraws an earlier event of the same source: it never held.",
    (
        Field(("withdraws",), "text", "The id of the event that never held.", required=True),
        Field(("reason",), "text", "Why, for the record."),
    ),
)
