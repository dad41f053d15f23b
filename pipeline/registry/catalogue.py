"""All registries of an installation together: the catalogue of facts that rules may use, and the decoder of messages."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pipeline.problems import Malformed, Problem

from .decoder import Event, Reader, decode_envelope, reader
from .fields import MAX_MESSAGE_BYTES, EventType, FactSpec, Registry
from .refusal import problems_of


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
        self._readers: dict[tuple[str, str], Reader] = {}
        self._likely: Reader = _none
        for registry in self.registries:
            for event in registry.event_types():
                self._types.setdefault(event.name, {})[registry.source] = (registry, event)
                self._readers[event.name, registry.source] = reader(registry, event, self._is_clean)

    def event_types(self) -> dict[str, dict[str, tuple[Registry, EventType]]]:
        """The known event types, each by the sources that may send it."""
        return self._types

    def decode(self, raw: bytes) -> Event:
        """The event of a message; Malformed with all problems of the message at once, whatever the bytes."""
        if len(raw) > MAX_MESSAGE_BYTES:
            raise Malformed([Problem("", f"the message is {len(raw):,} bytes, the limit is {MAX_MESSAGE_BYTES:,}", "Send one event per message.")])
        parser_said = "it breaks the contract of its type"
        try:
            event = self._likely(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            event, parser_said = self._decode_other(raw, parser_said)
        if event is None:
            raise Malformed(problems_of(raw, self._types) or [Problem("", f"the message is refused: {parser_said}")])
        return event

    def _decode_other(self, raw: bytes, parser_said: str) -> tuple[Event | None, str]:
        """Finds the reader of a message that is not of the type that came before; or what the parser says of it."""
        try:
            envelope = decode_envelope(raw)
            read = self._readers.get((envelope.type, envelope.source))
            if read is None:
                return None, parser_said
            event = read(raw)
            self._likely = read  # a topic brings one type after another of the same, so the next message is most likely this
            return event, parser_said
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return None, str(error)

    def _is_clean(self, raw: bytes) -> bool:
        return not problems_of(raw, self._types)


def _none(raw: bytes) -> Event | None:
    """The reader before the first message."""
    raise msgspec.DecodeError("no message has been read yet")
