"""Facts: what the registries have said of a subject, as a join that does not depend on arrival.

A subject's history is the set of events known of it, corrections among them. Joining two histories is the union of the sets,
which is commutative, associative and idempotent; every fact is read out of the set: of the events that hold on the day asked
for, the one with the highest (sequence, id) tells the value. An event id that came with two different contents is disputed:
both contents are kept, and a fact whose latest word is disputed is unknown until the registry withdraws the id.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from operator import attrgetter

import msgspec

EPOCH = date(1970, 1, 1).toordinal()
FIRST_DAY = date.min.toordinal() - EPOCH
LAST_DAY = date.max.toordinal() - EPOCH
"""Days are whole numbers counted from 1970-01-01; an interval holds from its first day up to, not including, its end."""

DAY_MS = 86_400_000

Value = int | bool | str


def day(of: date) -> int:
    """A date as its day number."""
    return of.toordinal() - EPOCH


def day_date(number: int) -> date:
    """A day number as its date."""
    return date.fromordinal(number + EPOCH)


class Known(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One event as it is kept: what a registry said of a subject, for which days, and how sure it is.

    `registry` is the registry document's name, `digest` 8 bytes over the whole content: the same (registry, id) with
    another digest is a conflict. `values` maps fact names (``tax.agi``) to money in minor units, numbers, days, yes/no or
    text. A correction has `withdraws` (the id of an event of the same registry) and no values.
    """

    sequence: int
    id: str
    digest: bytes
    registry: str
    type: str
    time_ms: int
    valid_from: int
    valid_to: int
    status: str
    values: dict[str, Value]
    withdraws: str = ""


History = tuple[Known, ...]
"""The events known of one subject, in the order (registry, sequence, id, digest), each once."""

_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(tuple[Known, ...])
_ORDER = attrgetter("registry", "sequence", "id", "digest")


def encode_history(history: History) -> bytes:
    """A history as bytes; equal sets of events give equal bytes."""
    return _ENCODER.encode(history)


def decode_history(data: bytes) -> History:
    """The history that `encode_history` wrote."""
    return _DECODER.decode(data)


class Disposition(StrEnum):
    """What became of one input record; every record ends in exactly one."""

    APPLIED = "applied"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    DEAD_LETTER = "dead_letter"


def join(history: History, events: Sequence[Known]) -> tuple[History, list[Disposition]]:
    """The union of a history and further events, and for each of these whether it was new, known, or in conflict."""
    if not history and len(events) == 1:
        return (events[0],), [Disposition.APPLIED]
    digests: dict[tuple[str, str], set[bytes]] = {}
    for known in history:
        digests.setdefault((known.registry, known.id), set()).add(known.digest)
    fresh: list[Known] = []
    dispositions: list[Disposition] = []
    for event in events:
        seen = digests.get((event.registry, event.id))
        if seen is None:
            digests[event.registry, event.id] = {event.digest}
            disposition = Disposition.APPLIED
        elif event.digest in seen:
            dispositions.append(Disposition.DUPLICATE)
            continue
        else:
            seen.add(event.digest)
            disposition = Disposition.CONFLICT
        fresh.append(event)
        dispositions.append(disposition)
    if not fresh:
        return history, dispositions
    return tuple(sorted((*history, *fresh), key=_ORDER)), dispositions


def disputed_ids(history: History) -> set[tuple[str, str]]:
    """The (registry, id) pairs that came with more than one content and have not been withdrawn."""
    seen: dict[tuple[str, str], bytes] = {}
    disputed: set[tuple[str, str]] = set()
    for known in history:
        if seen.setdefault((known.registry, known.id), known.digest) != known.digest:
            disputed.add((known.registry, known.id))
    return disputed - withdrawn_ids(history) if disputed else disputed


def withdrawn_ids(history: History) -> set[tuple[str, str]]:
    """The (registry, id) pairs that a correction of the same registry withdraws. A correction itself is not withdrawn."""
    return {(known.registry, known.withdraws) for known in history if known.withdraws}


def standing(history: History) -> tuple[History, set[tuple[str, str]]]:
    """The events that hold (neither corrections nor withdrawn), and which of their ids are disputed."""
    if len(history) == 1:
        return (() if history[0].withdraws else history), set()
    withdrawn = withdrawn_ids(history)
    if withdrawn:
        history = tuple(known for known in history if not known.withdraws and (known.registry, known.id) not in withdrawn)
    if len({(known.registry, known.id) for known in history}) == len(history):
        return history, set()
    return history, disputed_ids(history)


class Question(msgspec.Struct, frozen=True):
    """One fact asked of a history: its name, the day it is asked for, and which statuses are good enough.

    `day` is a day number inside the valid time asked for, None the day given to the reader. `timeless` facts hold whatever the day. With `until` the answer
    is yes/no: whether `day` lies before the date in the fact `until`, yes where the registry `registry` spoke of the
    subject and gave no such date. `oldest_ms` refuses events older than that instant.
    """

    name: str
    registry: str
    day: int | None
    accept: frozenset[str] | None = None
    timeless: bool = False
    until: str = ""
    oldest_ms: int | None = None


class Reader:
    """Reads the answers to fixed questions out of histories; made once, used for each subject.

    `read` gives the values in the order of the questions (None is unknown) and the events that told them.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = tuple(questions)
        self._by_registry: dict[str, list[tuple[int, Question]]] = {}
        for index, question in enumerate(self.questions):
            self._by_registry.setdefault(question.registry, []).append((index, question))

    def concerns(self, event: Known) -> bool:
        """Whether an event can change an answer."""
        asked = self._by_registry.get(event.registry)
        if not asked:
            return False
        return bool(event.withdraws) or any(question.until or question.name in event.values for _, question in asked)

    def read(self, history: History, event_day: int = LAST_DAY) -> tuple[list[Value | None], list[Known | None]]:
        """The answers and the event behind each of them; `event_day` is meant where a question names no day."""
        events, disputed = standing(history)
        told: list[Known | None] = [None] * len(self.questions)
        for event in events:  # in the order of sequence and id, so that the latest word is written last
            asked = self._by_registry.get(event.registry)
            if asked is None:
                continue
            values, first, end = event.values, event.valid_from, event.valid_to
            for index, question in asked:
                if question.until:
                    if question.until in values or told[index] is None:
                        told[index] = event
                elif question.name in values and (question.timeless or first <= (event_day if question.day is None else question.day) < end):
                    told[index] = event
        answers = [None if event is None else _answer(question, event, disputed, event_day) for question, event in zip(self.questions, told, strict=True)]
        return answers, told


def _answer(question: Question, event: Known, disputed: set[tuple[str, str]], event_day: int) -> Value | None:
    if disputed and (event.registry, event.id) in disputed:
        return None
    if question.oldest_ms is not None and event.time_ms < question.oldest_ms:
        return None
    if question.until:
        ends = event.values.get(question.until)
        return True if ends is None else (event_day if question.day is None else question.day) < ends  # type: ignore[operator]
    if question.accept is not None and event.status not in question.accept:
        return None
    return event.values[question.name]

