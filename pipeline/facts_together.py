"""The answers to a rule's questions for many subjects at once, taken column by column out of histories that look alike.

Nearly all histories of a frame have one shape: the same registries spoke, on days that count, and nothing is withdrawn or disputed. Whoever
differs from their shape in anything is read alone, so that what is answered never depends on the company (property test against `Reader.read`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, repeat
from operator import attrgetter, eq

from .facts import Group, History, Known, Reader, Value

FEW = 16
"""Fewer histories of one shape than this are read one by one, which is quicker then."""

_ids, _registries, _statuses, _values = attrgetter("id"), attrgetter("registry"), attrgetter("status"), attrgetter("values")
_get: Callable[[dict[str, Value], str], Value | None] = dict.get
_begins, _ends, _withdraws = attrgetter("valid_from"), attrgetter("valid_to"), attrgetter("withdraws")

Shape = tuple[str, ...]
"""The registries that spoke of a subject, in the order of its history."""

Told = tuple[Sequence[Value | None], Sequence[str], Sequence[int]]
"""Of one subject: the values in the order of the questions (None is unknown), the ids of the events that told them, and for each value the place of
its event among these (-1: nobody told)."""


def shape_of(history: History) -> Shape:
    """The shape of a history."""
    return tuple(map(_registries, history))


def by_shape(histories: Sequence[History]) -> dict[Shape, list[int]]:
    """Which of these histories have each shape."""
    rows_of: dict[Shape, list[int]] = {}
    for row, history in enumerate(histories):
        shape = shape_of(history)
        if shape in rows_of:
            rows_of[shape].append(row)
        else:
            rows_of[shape] = [row]
    return rows_of


def read_all(reader: Reader, rows_of: Mapping[Shape, Sequence[int]], histories: Sequence[History], event_days: Sequence[int]) -> list[Told]:
    """What `reader` answers for each of these histories, which `by_shape` has told apart, on its event day."""
    answers: list[Told] = [((), (), ())] * len(histories)
    for shape, rows in rows_of.items():
        alone = rows
        if len(rows) >= FEW and shape and not reader.oldest:
            together = _Together(reader, shape, [histories[row] for row in rows], [event_days[row] for row in rows])
            for row, answer in zip(rows, together.answers(), strict=True):
                answers[row] = answer
            alone = [rows[index] for index in together.odd]
        for row in alone:
            values, told = reader.read(histories[row], event_days[row])
            answers[row] = values, *_sources(told)
    return answers


def _sources(told: Sequence[Known | None]) -> tuple[list[str], list[int]]:
    """The ids of the events that told anything, and for each fact the place of its event among them."""
    events: list[str] = []
    told_by: list[int] = []
    for event in told:
        if event is None:
            told_by.append(-1)
            continue
        if event.id not in events:
            events.append(event.id)
        told_by.append(events.index(event.id))
    return events, told_by


class _Together:
    """Histories of one shape, read together. `odd` are the rows whose answers must be found alone."""

    def __init__(self, reader: Reader, shape: Shape, histories: Sequence[History], event_days: Sequence[int]) -> None:
        self.odd: set[int] = set()
        self._reader, self._shape, self._days, self._size = reader, shape, event_days, len(histories)
        self._places = list(zip(*histories, strict=True))
        self._ids = [list(map(_ids, events)) for events in self._places]
        self._set_apart()

    def _set_apart(self) -> None:
        """Corrections, and ids that come twice in a history."""
        for events in self._places:
            if any(map(_withdraws, events)):
                self._all_or_none([not event.withdraws for event in events], wanted=True)
        if len(self._shape) <= 4:
            for one, other in combinations(self._ids, 2):
                if any(map(eq, one, other)):
                    self._all_or_none(list(map(eq, one, other)), wanted=False)
        else:
            self._all_or_none([len(set(ids)) == len(ids) for ids in zip(*self._ids, strict=True)], wanted=True)

    def _all_or_none(self, flags: Sequence[bool], wanted: bool | None = None) -> bool:
        """What holds for most rows, or what is wanted; the rows for which it does not are odd."""
        held = sum(flags)
        most = held * 2 >= len(flags) if wanted is None else wanted
        if held != (len(flags) if most else 0):
            self.odd.update(row for row, flag in enumerate(flags) if flag is not most)
        return most

    def answers(self) -> Iterator[Told]:
        """The answers of every row; those of odd rows are not to be used."""
        columns: list[Sequence[Value | None] | None] = [None] * len(self._reader.questions)
        told_at = [-1] * len(columns)
        for place, (registry, events) in enumerate(zip(self._shape, self._places, strict=True)):
            groups, until = self._reader.groups.get(registry, ()), self._reader.until.get(registry, ())
            values = list(map(_values, events)) if groups or until else []
            for group in groups:
                if self._counts(group, events):
                    for (index, _), column in zip(group.asked, self._told(group, values), strict=True):
                        if column is not None:
                            columns[index], told_at[index] = column, place
            for index, question in until:
                ended = list(map(_get, values, repeat(question.until)))
                if ended.count(None) < self._size:
                    self._all_or_none([day is not None for day in ended], wanted=False)
                if told_at[index] < 0:
                    columns[index], told_at[index] = [True] * self._size, place
        tellers = [place for place in dict.fromkeys(told_at) if place >= 0]
        told_by = [tellers.index(place) if place >= 0 else -1 for place in told_at]
        rows = zip(*[repeat(None, self._size) if column is None else column for column in columns], strict=True) if columns else repeat((), self._size)
        ids = zip(*[self._ids[place] for place in tellers], strict=True) if tellers else repeat((), self._size)
        return zip(rows, ids, repeat(told_by, self._size), strict=True)

    def _counts(self, group: Group, events: Sequence[Known]) -> bool:
        """Whether these events count on the day asked, with a status that is accepted."""
        if not group.timeless:
            begins, ends = list(map(_begins, events)), list(map(_ends, events))
            if group.day is not None and max(begins) <= group.day < min(ends):
                pass
            else:
                days = self._days if group.day is None else repeat(group.day, self._size)
                if not self._all_or_none([begin <= day < end for begin, day, end in zip(begins, days, ends, strict=True)]):
                    return False
        if group.accept is not None and not group.accept.issuperset(map(_statuses, events)):
            self._all_or_none([event.status in group.accept for event in events], wanted=True)
        return True

    def _told(self, group: Group, values: Sequence[dict[str, Value]]) -> Iterator[Sequence[Value | None] | None]:
        """A column for each question of a group; None where most events say nothing of it."""
        for _, name in group.asked:
            column = list(map(_get, values, repeat(name)))
            yield column if None not in column or self._all_or_none([value is not None for value in column]) else None
