"""All registries of an installation together: the catalogue of facts that rules may use, and the decoder of messages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from pipeline.problems import Malformed, Problem

from .decoder import Event, TypeReader, decode_envelope
from .fields import MAX_MESSAGE_BYTES, EventType, FactSpec, Registry
from .refusal import problems_of

TOGETHER = 64
"""So many messages are read together; where one of them is of another type or wrong, each is read by itself."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Registries:
    """The registry documents of an installation; names, sources and facts are unique among them, or it is Malformed."""

    def __init__(self, registries: Iterable[Registry]) -> None:
        self.registries = tuple(registries)
        self.catalogue: dict[str, FactSpec] = {}
        problems = []
        names: set[str] = set()
        sources: dict[str, str] = {}
        told: dict[str, str] = {}
        for registry in self.registries:
            if registry.name in names:
                problems.append(Problem(registry.name, f"two registry documents are named {registry.name!r}", "Give each its own name."))
            names.add(registry.name)
            owner = sources.setdefault(registry.source, registry.name)
            if owner != registry.name:
                problems.append(Problem(registry.name, f"the source {registry.source!r} is the registry {owner!r} already", "Give each its own source."))
            for name in registry.fact_names():
                other = told.setdefault(name, registry.name)
                if other != registry.name:
                    problems.append(Problem(registry.name, f"the fact {name!r} is told by {other!r} already", "Give it another name."))
            self.catalogue.update((spec.name, spec) for spec in registry.facts())
        if problems:
            raise Malformed(problems)
        self._types: dict[str, dict[str, tuple[Registry, EventType]]] = {}
        self._readers: dict[tuple[str, str], TypeReader] = {}
        self._likely: TypeReader | None = None
        for registry in self.registries:
            for event in registry.event_types():
                self._types.setdefault(event.name, {})[registry.source] = (registry, event)
                self._readers[event.name, registry.source] = TypeReader(registry, event, self._is_clean)

    def event_types(self) -> dict[str, dict[str, tuple[Registry, EventType]]]:
        """The known event types, each by the sources that may send it."""
        return self._types

    def decode(self, raw: bytes) -> Event:
        """The event of a message; Malformed with all problems of the message at once, whatever the bytes."""
        if len(raw) > MAX_MESSAGE_BYTES:
            raise Malformed([Problem("", f"the message is {len(raw):,} bytes, the limit is {MAX_MESSAGE_BYTES:,}", "Send one event per message.")])
        event, parser_said = None, "it breaks the contract of its type"
        try:
            event = self._likely.read(raw) if self._likely is not None else self._read_other(raw)
        except _UNREADABLE:
            try:
                event = self._read_other(raw)
            except _UNREADABLE as error:
                parser_said = str(error)
        if event is None:
            raise Malformed(problems_of(raw, self._types) or [Problem("", f"the message is refused: {parser_said}")])
        return event

    def _read_other(self, raw: bytes) -> Event | None:
        """Reads a message that is not of the type that came before."""
        envelope = decode_envelope(raw)
        reader = self._readers.get((envelope.type, envelope.source))
        event = reader.read(raw) if reader is not None else None
        self._likely = reader or self._likely  # a topic brings one type after another of the same, so the next messages are most likely this
        return event

    def decode_frame(self, raws: Sequence[bytes]) -> list[Event | Malformed]:
        """For each message its event, or what is wrong with it. Messages of one type in a row are read together."""
        decoded: list[Event | Malformed] = []
        for start in range(0, len(raws), TOGETHER):
            some = raws[start : start + TOGETHER]
            decoded += self._decoded_together(some) or map(self._decoded_alone, some)
        return decoded

    def _decoded_together(self, raws: Sequence[bytes]) -> list[Event] | None:
        if self._likely is None or max(map(len, raws)) > MAX_MESSAGE_BYTES:
            return None
        try:
            return self._likely.read_frame(raws)
        except _UNREADABLE:
            return None

    def _decoded_alone(self, raw: bytes) -> Event | Malformed:
        try:
            return self.decode(raw)
        except Malformed as malformed:
            return malformed

    def _is_clean(self, raw: bytes) -> bool:
        return not problems_of(raw, self._types)
