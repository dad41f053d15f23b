"""The door: events that a registry sends are taken together or not at all, and answered once the log has them for good.

What arrives while the log is being written is written together next. What waits is bounded: one registry may fill half of
the room, so that a flood of one does not shut the others out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from enum import StrEnum
from functools import partial
from typing import NamedTuple, Protocol, Self, TypeVar

from pipeline.observing import INGEST_DURATION, INGEST_EVENTS, INGEST_PENDING, Observer
from pipeline.problems import MAX_PROBLEMS, Malformed, Problem, more_problems
from pipeline.registry import Registries

from .event_feed import Writer, append_by_key
from .kafka_cluster import KafkaAway
from .log_batch import Record
from .pseudonyms import Pseudonyms
from .segment_log import LogCorrupt, LogFailed, LogInUse

BUSY_RETRY_S = 1
AWAY_RETRY_S = 5
REST_S = 2.0
"""After so long without events the embedded log is given back, so that others may write to it."""

AWAY = (OSError, KafkaAway, LogCorrupt, LogFailed, LogInUse)
"""The log does not take events now; they may be sent again."""

_T = TypeVar("_T")


class Refusal(StrEnum):
    """Why events are not taken; each has a status of HTTP and a sentence."""

    MALFORMED = "malformed"
    UNKNOWN_TOKEN = "unknown-token"
    NOT_YOURS = "not-yours"
    SLOW = "slow"
    TOO_LARGE = "too-large"
    UNSUPPORTED = "unsupported"
    BUSY = "busy"
    FULL = "full"
    AWAY = "away"

    @property
    def status(self) -> int:
        """The status of the answer."""
        return _MEANINGS[self][0]

    @property
    def sentence(self) -> str:
        """What is wrong, for people."""
        return _MEANINGS[self][1]


_MEANINGS = {
    Refusal.MALFORMED: (400, "What was sent breaks its contract; nothing of it was taken."),
    Refusal.UNKNOWN_TOKEN: (401, "No registry has this token."),
    Refusal.NOT_YOURS: (403, "The token does not stand for the registry of these events; nothing was taken."),
    Refusal.SLOW: (408, "The request did not arrive in time."),
    Refusal.TOO_LARGE: (413, "The request is larger than what is taken at once."),
    Refusal.UNSUPPORTED: (415, "This form of events is not read here."),
    Refusal.BUSY: (429, "Too much of this registry's waits already; send it again later."),
    Refusal.FULL: (503, "Too much waits already; send it again later."),
    Refusal.AWAY: (503, "The log does not take events now; send them again later. Those that it has already count once."),
}


class Refused(Exception):
    """Nothing was taken, or nothing is known to be kept: why, all that is wrong, and when to try again (0: not by itself)."""

    def __init__(self, refusal: Refusal, problems: Sequence[Problem] = (), retry_after_s: int = 0) -> None:
        self.refusal, self.problems, self.retry_after_s = refusal, tuple(problems), retry_after_s
        super().__init__(refusal.sentence)


class ClosingWriter(Writer, Protocol):
    """A log that is appended to and given back."""

    def close(self) -> None:
        """Gives the log back."""


class _Waiting(NamedTuple):
    """Events that wait for the log, by registry, and who is to be told."""

    by_registry: dict[str, list[Record]]
    kept: asyncio.Future[None]


class Room:
    """How much waits, in bytes, whole and of each sender."""

    def __init__(self, limit_bytes: int, observer: Observer) -> None:
        self.limit_bytes, self._observer = limit_bytes, observer
        self._pending: dict[str, int] = {}

    @contextmanager
    def held(self, sender: str, size: int) -> Iterator[None]:
        """Holds room for a request; Refused where there is none."""
        pending = self._pending.get(sender, 0)
        if sum(self._pending.values()) + size > self.limit_bytes:
            raise Refused(Refusal.FULL, retry_after_s=BUSY_RETRY_S)
        if pending + size > self.limit_bytes // 2:
            raise Refused(Refusal.BUSY, retry_after_s=BUSY_RETRY_S)
        self._add(sender, size)
        try:
            yield
        finally:
            self._add(sender, -size)

    def _add(self, sender: str, size: int) -> None:
        self._pending[sender] = self._pending.get(sender, 0) + size
        self._observer.gauge(INGEST_PENDING, sum(self._pending.values()))


def sender_of(registries: frozenset[str]) -> str:
    """How the holder of a token is called where figures are kept."""
    return "+".join(sorted(registries))


class Door:
    """Takes events into a log, with one thread that reads them and one that writes; use it with `async with`."""

    def __init__(
        self,
        registries: Registries,
        pseudonyms: Pseudonyms,
        shards: int,
        open_writer: Callable[[], ClosingWriter],
        observer: Observer,
        room_bytes: int,
        rests: bool = True,
    ) -> None:
        self.room, self._pseudonyms = Room(room_bytes, observer), pseudonyms
        self._registries, self._shards, self._open, self._observer = registries, shards, open_writer, observer
        self._topic_of = {registry.name: registry.topic for registry in registries.registries}
        self._rest_s = REST_S if rests else None
        self._writer: ClosingWriter | None = None
        self._waiting: list[_Waiting] = []
        self._came = asyncio.Event()
        self._closing = False
        self._failed_at = float("-inf")
        self._reading, self._writing = ThreadPoolExecutor(1, "door reads"), ThreadPoolExecutor(1, "door writes")
        self.keeping: asyncio.Task[None] | None = None
        """What writes; it ends only with the door, or by a defect."""

    async def __aenter__(self) -> Self:
        self.keeping = asyncio.create_task(self._keep(), name="door")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._closing = True
        self._came.set()
        if self.keeping is not None:
            await asyncio.wait([self.keeping])
        await self._in_thread(self._writing, self._give_back)
        self._reading.shutdown()
        self._writing.shutdown()

    @property
    def is_ready(self) -> bool:
        """Whether the log took what it was last asked to take, or that was a while ago."""
        return self.keeping is not None and not self.keeping.done() and time.monotonic() - self._failed_at > AWAY_RETRY_S

    async def put(self, allowed: frozenset[str], raws: Sequence[bytes], *, numbered: bool = False) -> int:
        """Returns the number of events once all of them are kept; Refused where one of them is not right, or the log does not answer.

        `allowed` are the registries that the sender may write for. `numbered` puts each event's place in the list before its problems.
        """
        began = time.monotonic()
        try:
            by_registry = await self._in_thread(self._reading, partial(self._read, allowed, raws, numbered))
        except Refused:
            self._observer.count(INGEST_EVENTS, len(raws), registry=sender_of(allowed), outcome="refused")
            raise
        if raws:
            waiting = _Waiting(by_registry, asyncio.get_running_loop().create_future())
            self._waiting.append(waiting)
            self._came.set()
            await waiting.kept
            self._observer.observe(INGEST_DURATION, time.monotonic() - began)
            for registry, records in by_registry.items():
                self._observer.count(INGEST_EVENTS, len(records), registry=registry, outcome="accepted")
        return len(raws)

    def _read(self, allowed: frozenset[str], raws: Sequence[bytes], numbered: bool) -> dict[str, list[Record]]:
        by_registry: dict[str, list[Record]] = {}
        broken: list[Problem] = []
        foreign: list[Problem] = []
        for number, (raw, event) in enumerate(zip(raws, self._registries.decode_frame(raws), strict=True)):
            place = f"[{number}]" if numbered else ""
            if isinstance(event, Malformed):
                broken += [_placed(problem, place) for problem in event.problems]
            elif event.known.registry not in allowed:
                mend = f"It may send for {', '.join(sorted(allowed))}."
                foreign.append(
                    _placed(Problem("source", f"an event of the registry {event.known.registry!r}, for which this token does not stand", mend), place)
                )
            else:
                try:
                    by_registry.setdefault(event.known.registry, []).append(self._pseudonyms.record(event, raw))
                except Malformed as malformed:
                    broken += [_placed(problem, place) for problem in malformed.problems]
        problems = foreign or broken
        if problems:
            told = problems if len(problems) <= MAX_PROBLEMS else [*problems[:MAX_PROBLEMS], more_problems()]
            raise Refused(Refusal.NOT_YOURS if foreign else Refusal.MALFORMED, told)
        return by_registry

    async def _keep(self) -> None:
        """Writes what waits, until the door is closed and nothing does."""
        while self._waiting or not self._closing:
            try:
                await asyncio.wait_for(self._came.wait(), None if self._writer is None else self._rest_s)
            except TimeoutError:
                await self._in_thread(self._writing, self._give_back)
                continue
            self._came.clear()
            taken, self._waiting = self._waiting, []
            if not taken:
                continue
            try:
                await self._in_thread(self._writing, partial(self._write, taken))
            except AWAY as error:
                self._failed_at = time.monotonic()
                taken += self._waiting  # they would wait as long again
                self._waiting = []
                _tell(taken, Refused(Refusal.AWAY, [Problem("", str(error))], AWAY_RETRY_S))
            except BaseException as error:
                _tell(taken, error)
                raise
            else:
                self._failed_at = float("-inf")
                _tell(taken)

    def _write(self, taken: Sequence[_Waiting]) -> None:
        together: dict[str, list[Record]] = {}
        for waiting in taken:
            for registry, records in waiting.by_registry.items():
                together.setdefault(self._topic_of[registry], []).extend(records)
        try:
            if self._writer is None:
                self._writer = self._open()
            for topic, records in together.items():
                append_by_key(self._writer, topic, self._shards, records)
            self._writer.flush()
        except BaseException:
            with suppress(*AWAY):
                self._give_back()
            raise

    def _give_back(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    async def _in_thread(self, pool: ThreadPoolExecutor, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(pool, work)


def _placed(problem: Problem, place: str) -> Problem:
    inner = f".{problem.place}" if place and problem.place else problem.place
    return Problem(f"{place}{inner}", problem.message, problem.mend, problem.line, problem.column)


def _tell(taken: Sequence[_Waiting], error: BaseException | None = None) -> None:
    for waiting in taken:
        if not waiting.kept.done():
            if error is None:
                waiting.kept.set_result(None)
            else:
                waiting.kept.set_exception(error)
