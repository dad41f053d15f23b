"""Facts: what the registries have said of a subject, as a join that does not depend on arrival.

A subject's history is the set of events known of it, corrections among them. Joining two histories is the union of the sets,
which is commutative, associative and idempotent; every fact is read out of the set: of the events that hold on the day asked
for, the one with the highest (sequence, id) tells the value. An event id that came with two different contents is disputed:
both contents are kept, and a fact whose latest word is disputed is unknown until the registry withdraws the id.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from enum import StrEnum
from operator import attrgetter, itemgetter
from typing import NamedTuple

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

    `registry` is the registry document's name; the same (registry, id) with any other content is a conflict. `values` maps
    fact names (``tax.agi``) to money in minor units, numbers, days, yes/no or text. A correction has `withdraws` (the id of an
    event of the same registry) and no values.
    """

    sequence: int
    id: str
    registry: str
    type: str
    time_ms: int
    valid_from: int
    valid_to: int
    status: str
    values: dict[str, Value]
    withdraws: str = ""


History = tuple[Known, ...]
"""The events known of one subject, in the order (registry, sequence, id, encoded content), each once."""

_ENCODER = msgspec.msgpack.Encoder(order="deterministic")
_DECODER = msgspec.msgpack.Decoder(tuple[Known, ...])
_ORDER = attrgetter("registry", "sequence", "id")


def encode_history(history: History) -> bytes:
    """A history as bytes; equal sets of events give equal bytes."""
    return _ENCODER.encode(history)


def decode_history(data: bytes) -> History:
    """The history that `encode_history` wrote."""
    return _DECODER.decode(data)


_ALONE = encode_history((Known(0, "", "", "", 0, 0, 0, "", {}),))[0]
"""The first byte of a history of one event."""


def is_only(event: Known, data: bytes) -> bool:
    """Whether a history that `encode_history` wrote is of this event alone; quicker than reading it."""
    return data[0] == _ALONE and data == _ENCODER.encode((event,))


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
    if len(events) == 1 and events[0] in history:
        return history, [Disposition.DUPLICATE]
    fresh, dispositions = (list(events), [Disposition.APPLIED]) if len(events) == 1 and _is_new(history, events[0]) else _sorted_out(history, events)
    if not fresh:
        return history, dispositions
    joined = sorted((*history, *fresh), key=_ORDER)
    if Disposition.CONFLICT in dispositions:  # contents that share sequence and id stand in the order of their bytes
        joined.sort(key=lambda known: (known.registry, known.sequence, known.id, _ENCODER.encode(known)))
    return tuple(joined), dispositions


def _is_new(history: History, event: Known) -> bool:
    return event.id not in [known.id for known in history]


def _sorted_out(history: History, events: Sequence[Known]) -> tuple[list[Known], list[Disposition]]:
    """The events that are not known yet, and the disposition of each."""
    contents: dict[tuple[str, str], list[Known]] = {}
    for known in history:
        contents.setdefault((known.registry, known.id), []).append(known)
    fresh: list[Known] = []
    dispositions: list[Disposition] = []
    for event in events:
        seen = contents.setdefault((event.registry, event.id), [])
        if event in seen:
            dispositions.append(Disposition.DUPLICATE)
            continue
        dispositions.append(Disposition.CONFLICT if seen else Disposition.APPLIED)
        seen.append(event)
        fresh.append(event)
    return fresh, dispositions


def disputed_ids(history: History) -> set[tuple[str, str]]:
    """The (registry, id) pairs that came with more than one content and have not been withdrawn."""
    seen: set[tuple[str, str]] = set()
    disputed: set[tuple[str, str]] = set()
    for known in history:
        identity = known.registry, known.id
        (disputed if identity in seen else seen).add(identity)
    return disputed - withdrawn_ids(history) if disputed else disputed


def withdrawn_ids(history: History) -> set[tuple[str, str]]:
    """The (registry, id) pairs that a correction of the same registry withdraws. A correction itself is not withdrawn."""
    return {(known.registry, known.withdraws) for known in history if known.withdraws}


def standing(history: History) -> tuple[History, set[tuple[str, str]]]:
    """The events that hold (neither corrections nor withdrawn), and which of their ids are disputed."""
    if len(history) == 1:
        return (() if history[0].withdraws else history), _NONE
    for known in history:
        if known.withdraws:
            withdrawn = withdrawn_ids(history)
            history = tuple(known for known in history if not known.withdraws and (known.registry, known.id) not in withdrawn)
            break
    if len({known.id for known in history}) == len(history):
        return history, _NONE
    return history, disputed_ids(history)


_NONE: set[tuple[str, str]] = set()


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


class Group(NamedTuple):
    """Questions of one registry that one look at an event's interval settles: their day, the statuses they accept, and (place, fact name) of each.

    `taken` takes all their answers out of an event's values at once. Where the questions are neighbours, `places` are theirs.
    """

    day: int | None
    timeless: bool
    accept: frozenset[str] | None
    asked: tuple[tuple[int, str], ...]
    taken: Callable[[dict[str, Value]], tuple[Value, ...]]
    places: slice | None


def _group(day: int | None, timeless: bool, accept: frozenset[str] | None, asked: Sequence[tuple[int, str]]) -> Group:
    first, end = asked[0][0], asked[-1][0] + 1
    places = slice(first, end) if end - first == len(asked) else None
    names = [name for _, name in asked]
    taken: Callable[[dict[str, Value]], tuple[Value, ...]] = itemgetter(*names) if len(names) > 1 else lambda values: (values[names[0]],)
    return Group(day, timeless, accept, tuple(asked), taken, places)


class Reader:
    """Reads the answers to fixed questions out of histories; made once, used for each subject.

    `read` gives the values in the order of the questions (None is unknown) and the events that told them. By registry, `groups` are the
    questions that its events answer and `until` those that a date of theirs does; `oldest` are the questions that refuse old events.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self.questions = tuple(questions)
        self.needs_event_day = any(question.day is None for question in questions)
        self._unknown: list[Value | None] = [None] * len(questions)
        self._untold: list[Known | None] = [None] * len(questions)
        self.groups: dict[str, list[Group]] = {}
        self.until: dict[str, list[tuple[int, Question]]] = {}
        self._names: dict[str, frozenset[str]] = {}
        self.oldest = [(index, question.oldest_ms) for index, question in enumerate(questions) if question.oldest_ms is not None]
        groups: dict[tuple[str, int | None, bool, frozenset[str] | None], list[tuple[int, str]]] = {}
        for index, question in enumerate(questions):
            if question.until:
                self.until.setdefault(question.registry, []).append((index, question))
            else:
                groups.setdefault((question.registry, question.day, question.timeless, question.accept), []).append((index, question.name))
        for (registry, day, timeless, accept), asked in groups.items():
            self.groups.setdefault(registry, []).append(_group(day, timeless, accept, asked))
            self._names[registry] = self._names.get(registry, frozenset()) | {name for _, name in asked}
        self._registries = frozenset(self.groups) | frozenset(self.until)

    def concerns(self, event: Known) -> bool:
        """Whether an event can change an answer."""
        if event.registry not in self._registries:
            return False
        return bool(event.withdraws) or event.registry in self.until or not self._names[event.registry].isdisjoint(event.values)

    def event_day(self, history: History) -> int:
        """The day of the latest standing event of the registries asked: a function of what is known, not of arrival."""
        return max((event.time_ms for event in standing(history)[0] if event.registry in self._registries), default=0) // DAY_MS

    def read(self, history: History, event_day: int = LAST_DAY) -> tuple[list[Value | None], list[Known | None]]:
        """The answers and the event behind each of them; `event_day` is meant where a question names no day."""
        answers, told = self._unknown.copy(), self._untold.copy()
        events, disputed = (history, _NONE) if len(history) == 1 and not history[0].withdraws else standing(history)
        for event in events:  # in the order of sequence and id, so that the latest word is written last
            registry = event.registry
            for day, timeless, accept, asked, taken, places in self.groups.get(registry, ()):
                if timeless or event.valid_from <= (event_day if day is None else day) < event.valid_to:
                    values, accepted = event.values, accept is None or event.status in accept
                    if places is not None and accepted:
                        try:  # nearly always an event tells all that its registry is asked for
                            answers[places] = taken(values)
                            told[places] = (event,) * len(asked)
                            continue
                        except KeyError:
                            pass
                    for index, name in asked:
                        value = values.get(name)
                        if value is not None:
                            answers[index] = value if accepted else None
                            told[index] = event
            if registry in self.until:
                self._read_until(event, event_day, answers, told)
        if self.oldest or disputed:
            self._forget(answers, told, disputed)
        return answers, told

    def _read_until(self, event: Known, event_day: int, answers: list[Value | None], told: list[Known | None]) -> None:
        """The questions whether a day lies before a date that the registry may give."""
        for index, question in self.until[event.registry]:
            ends = event.values.get(question.until)
            if ends is not None:
                answers[index] = (event_day if question.day is None else question.day) < ends  # type: ignore[operator]
                told[index] = event
            elif told[index] is None:
                answers[index], told[index] = True, event

    def _forget(self, answers: list[Value | None], told: list[Known | None], disputed: set[tuple[str, str]]) -> None:
        """What is too old or disputed is unknown."""
        for index, oldest_ms in self.oldest:
            teller = told[index]
            if teller is not None and teller.time_ms < oldest_ms:
                answers[index] = None
        for index, teller in enumerate(told if disputed else ()):
            if teller is not None and (teller.registry, teller.id) in disputed:
                answers[index] = None
