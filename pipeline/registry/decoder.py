"""The fast reading of a message: bytes in, an `Event` out, or None where something is wrong that `refusal` then explains.

Each event type of each source gets a msgspec struct made from its fields, so that JSON is parsed and checked in one pass.
A message is written out again in canonical form, fields in a fixed order and nothing but content, to tell whether a key stood
twice, since a parser keeps the last one only: a message as long as its canonical form has no room for a second key, and one
without backslashes has as many quotes as its keys and texts need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache, partial
from itertools import repeat
from operator import attrgetter, eq, ge
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType, to_builtins

from pipeline.facts import EPOCH, FIRST_DAY, LAST_DAY, Known, Value, day

from .fields import CODE, CORRECTION, MAX_ID, MAX_SUBJECT, MAX_TEXT, TEXT, EventType, Field, Registry

TIME_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
OLDEST_YEAR, NEWEST_YEAR = 1900, 2999

Word = Annotated[str, Meta(min_length=1, max_length=MAX_TEXT)]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One accepted message: whom it is about, and what is kept of it."""

    subject: str
    known: Known


class Envelope(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, gc=False):
    """The attributes of a CloudEvents 1.0 message; the last ones describe its transport and are no content."""

    specversion: Literal["1.0"]
    id: Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
    source: str
    type: str
    subject: Annotated[str, Meta(min_length=1, max_length=MAX_SUBJECT)]
    time: Annotated[datetime, Meta(tz=True)]
    data: msgspec.Raw
    sequence: str | UnsetType = UNSET
    datacontenttype: Literal["application/json"] | UnsetType = UNSET
    dataschema: Word | UnsetType = UNSET
    partitionkey: Word | UnsetType = UNSET
    traceparent: Word | UnsetType = UNSET
    tracestate: Word | UnsetType = UNSET


Check = Callable[[bytes], bool]

decode_envelope: Callable[[bytes], Envelope] = msgspec.json.Decoder(Envelope).decode
_encode = msgspec.json.Encoder().encode
_MILLISECOND = timedelta(milliseconds=1)
_OLDEST_MS, _NEWEST_MS = ((datetime(year, 1, 1, tzinfo=UTC) - TIME_EPOCH) // _MILLISECOND for year in (OLDEST_YEAR, NEWEST_YEAR + 1))


class TypeReader:
    """Reads the messages of one event type of one registry; `is_clean` is asked where only a full parse can tell."""

    def __init__(self, registry: Registry, event: EventType, is_clean: Check) -> None:
        shape = _shape(event, not registry.ignores_unknown)
        fields = [("source", Literal[registry.source]), ("type", Literal[event.name]), ("data", shape.data_type)]
        message_type = msgspec.defstruct(event.name, fields, bases=(Envelope,), forbid_unknown_fields=True, kw_only=True, gc=False)
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(message_type).decode
        self._get, self._named, self._finish = shape.get, shape.named, _finisher(event)
        self._valid_time, self._status_of = _valid_time(event, shape), shape.getter(event.status)
        self._to_dict = partial(to_builtins, builtin_types=(date,)) if any(field.type == "date" for field in event.fields) else to_builtins
        self._absent = [(field.fact, field.absent_means) for field in event.fields if field.absent_means is not None]
        self._registry, self._type, self._is_clean = registry.name, event.name, is_clean

    def read(self, raw: bytes) -> Event | None:
        """The event of a message, None where something is wrong with it; msgspec's errors where it is another type's."""
        events = self.read_frame((raw,))
        return events[0] if events is not None else None

    def read_frame(self, raws: Sequence[bytes]) -> list[Event] | None:
        """The events of many messages, None where something is wrong with one of them; msgspec's errors where one is another type's.

        Done column by column, so that what can be asked of all at once is asked once.
        """
        messages = list(map(self._decode, raws))
        times = [message.time for message in messages]
        canonical = list(map(_encode, messages))
        plain = list(map(len, raws)) == list(map(len, canonical)) and not any(time.microsecond for time in times)
        if not plain and not all(map(self._has_single_keys, raws, canonical, times)):
            return None
        identities, subjects = [message.id for message in messages], [message.subject for message in messages]
        sequences = ["0" if message.sequence is UNSET else message.sequence for message in messages]
        times_ms = [(time - TIME_EPOCH) // _MILLISECOND for time in times]
        if not (_are_codes(identities) and _are_codes(subjects) and _are_numbers(sequences) and _OLDEST_MS <= min(times_ms) <= max(times_ms) < _NEWEST_MS):
            return None
        datas = [message.data for message in messages]
        values: list[dict[str, Value]] = [self._to_dict(self._named(*leaves)) for leaves in map(self._get, datas)]
        firsts, ends = zip(*map(self._valid_time, datas), strict=True)
        if any(map(ge, firsts, ends)) or (self._finish is not None and not all(map(self._finish, values))):
            return None
        withdraws: Iterable[str] = repeat("")
        if self._type == CORRECTION:
            withdraws, values = [str(value["data.withdraws"]) for value in values], [{} for _ in values]
            if any(map(eq, withdraws, identities)):
                return None
        for fact, means in self._absent:
            for value in values:
                value.setdefault(fact, means)
        status: Iterable[str] = map(self._status_of, datas) if self._status_of is not None else repeat("final")
        names = repeat(self._registry), repeat(self._type)
        return list(map(Event, subjects, map(Known, map(int, sequences), identities, *names, times_ms, firsts, ends, status, values, withdraws)))

    def _has_single_keys(self, raw: bytes, canonical: bytes, time: datetime) -> bool:
        if len(raw) == len(canonical) and not time.microsecond:
            return True
        return _single_keys(raw, canonical) or self._is_clean(raw)


def _are_codes(texts: Sequence[str]) -> bool:
    """Whether these are visible ASCII characters only."""
    together = "".join(texts)
    return together.isascii() and together.isprintable() and " " not in together


def _are_numbers(texts: Sequence[str]) -> bool:
    together = "".join(texts)
    return together.isascii() and together.isdigit() and all(texts) and max(map(len, texts)) <= 18


def _single_keys(raw: bytes, canonical: bytes) -> bool:
    """Whether no key can stand twice, judged without a parse: no escapes, and no more quotes than the content needs."""
    return b"\\" not in raw and raw.count(b'"') == canonical.count(b'"')


class _Shape:
    """The struct of an event's data, and how its leaves are named: by fact, or by place where they are none.

    `named` takes the leaves that `get` gives: a struct that msgspec turns into a dict of those that stand.
    """

    def __init__(self, data_type: type[msgspec.Struct], leaves: dict[str, str], roles: dict[str, str]) -> None:
        self.data_type = data_type
        slots = [f"f{number}" for number in range(len(leaves))]
        members = [(slot, object) for slot in slots]
        self.named: Callable[..., msgspec.Struct] = msgspec.defstruct("Named", members, rename=dict(zip(slots, leaves, strict=True)), gc=False)
        self.roles = roles
        self.get: Callable[[Any], tuple[Any, ...]]
        paths = tuple(leaves.values())
        if len(paths) > 1:
            self.get = attrgetter(*paths)
        else:
            single = attrgetter(*paths) if paths else None
            self.get = (lambda data: (single(data),)) if single is not None else (lambda data: ())

    def getter(self, role: str) -> Callable[[Any], Any] | None:
        """Reads the field that gives the valid time or the status; None where there is no such field."""
        return attrgetter(self.roles[role]) if role else None


def _shape(event: EventType, strict: bool) -> _Shape:
    roles = {event.year, event.valid_from, event.valid_to, event.status}
    groups: dict[str, list[Field]] = {}
    for field in sorted(event.fields, key=lambda field: field.path):
        groups.setdefault(field.path[0], []).append(field)
    leaves: dict[str, str] = {}
    role_paths: dict[str, str] = {}
    members: list[tuple[str, Any, Any] | tuple[str, Any]] = []
    for number, (name, fields) in enumerate(groups.items()):
        slot = f"f{number}"
        nested = len(fields[0].path) > 1
        members.append(_group(slot, fields, strict) if nested else _member(slot, fields[0], strict))
        for index, field in enumerate(fields):
            path = f"{slot}.f{index}" if nested else slot
            path += ".minor" if field.type == "money" else ""
            if name in roles and not nested:
                role_paths[name] = path
            else:
                leaves[field.fact or field.place] = path
    return _Shape(_struct(event.name, members, {f"f{number}": name for number, name in enumerate(groups)}, strict), leaves, role_paths)


def _struct(name: str, members: list[tuple[str, Any, Any] | tuple[str, Any]], names: dict[str, str], strict: bool) -> type[msgspec.Struct]:
    return msgspec.defstruct(name, members, rename=names, kw_only=True, frozen=True, gc=False, omit_defaults=True, forbid_unknown_fields=strict)


def _group(slot: str, fields: list[Field], strict: bool) -> tuple[str, Any, Any] | tuple[str, Any]:
    """A nested object; an absent one is read as a struct whose every field is absent."""
    members = [_member(f"f{index}", field, strict) for index, field in enumerate(fields)]
    inner = _struct(slot, members, {f"f{index}": field.path[1] for index, field in enumerate(fields)}, strict)
    if any(field.required and field.when is None for field in fields):
        return slot, inner
    return slot, inner, inner(**{f"f{index}": _absent(member) for index, member in enumerate(members)})


def _absent(member: tuple[str, Any, Any] | tuple[str, Any]) -> Any:
    return member[2] if len(member) > 2 else UNSET


def _member(slot: str, field: Field, strict: bool) -> tuple[str, Any, Any] | tuple[str, Any]:
    kind = _kind(field, strict)
    if field.required and field.when is None:
        return slot, kind
    if field.type == "money":
        return slot, kind, kind(currency=UNSET, minor=UNSET)
    return slot, kind | UnsetType, UNSET


def _kind(field: Field, strict: bool) -> Any:
    """The type that checks a field's value while it is parsed."""
    low, high = field.range or (0, 0)
    whole = Annotated[int, Meta(ge=low, le=high)]
    match field.type:
        case "money":
            return _struct("money", [("currency", Literal[field.currency]), ("minor", whole)], {}, strict)
        case "number":
            return whole
        case "yes_no":
            return bool
        case "date":
            return date
        case "one_of":
            return Literal[field.one_of]
        case "id":
            return Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
        case _:
            return Word


def _valid_time(event: EventType, shape: _Shape) -> Callable[[Any], tuple[int, int]]:
    year_of, from_of, to_of = (shape.getter(role) for role in (event.year, event.valid_from, event.valid_to))
    if year_of is not None:
        return lambda data: year_days(year_of(data))
    if from_of is None and to_of is None:
        return lambda data: (FIRST_DAY, LAST_DAY)

    def interval(data: Any) -> tuple[int, int]:
        first = from_of(data) if from_of is not None else UNSET
        end = to_of(data) if to_of is not None else UNSET
        return FIRST_DAY if first is UNSET else day(first), LAST_DAY if end is UNSET else day(end)

    return interval


@lru_cache(maxsize=256)
def year_days(year: int) -> tuple[int, int]:
    """The first day of a calendar year and the first day of the next one."""
    return day(date(year, 1, 1)), day(date(year + 1, 1, 1))


def _finisher(event: EventType) -> Callable[[dict[str, Any]], bool] | None:
    """What the parser cannot check: days and their ranges, characters of text, fields that depend on another one."""
    plain = [field for field in event.fields if field.path[0] not in (event.year, event.valid_from, event.valid_to, event.status)]
    dates = [(field.fact or field.place, field.range or (FIRST_DAY, LAST_DAY)) for field in plain if field.type == "date"]
    texts = [(field.fact or field.place, CODE if field.type == "id" else TEXT) for field in plain if field.type in ("text", "id")]
    choices = _choices(event)
    if not (dates or texts or choices):
        return None

    def finish(values: dict[str, Any]) -> bool:
        for key, (low, high) in dates:
            if key in values:
                number = values[key] = values[key].toordinal() - EPOCH
                if not low <= number <= high:
                    return False
        for key, form in texts:
            text = values.get(key)
            if text is not None and not form.match(text):
                return False
        for choice, conditional, needs in choices:
            needed, allowed = needs.get(values.get(choice), (frozenset(), frozenset()))
            present = conditional & values.keys()
            if not needed <= present <= allowed:
                return False
        return True

    return finish


Choice = tuple[str, frozenset[str], dict[Any, tuple[frozenset[str], frozenset[str]]]]


def _choices(event: EventType) -> list[Choice]:
    """For each field that others depend on: its key, the keys of the dependants, and per value the needed and the allowed."""
    keys = {field.path: field.fact or field.place for field in event.fields}
    dependants: dict[tuple[str, ...], list[Field]] = {}
    for field in event.fields:
        if field.when is not None:
            dependants.setdefault((*field.path[:-1], field.when[0]), []).append(field)
    choices = []
    for path, fields in dependants.items():
        values = next(field.one_of for field in event.fields if field.path == path)
        needs = {}
        for value in values:
            allowed = [field for field in fields if field.when is not None and value in field.when[1]]
            needs[value] = (frozenset(keys[field.path] for field in allowed if field.required), frozenset(keys[field.path] for field in allowed))
        choices.append((keys[path], frozenset(keys[field.path] for field in fields), needs))
    return choices
