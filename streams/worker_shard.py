"""One shard in a Kafka worker: the records that were fetched for it wait here, and its lane takes them frame by frame in a thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

import structlog

from connectors.segment_log import Frame
from connectors.store.frames import Replaced
from connectors.store.servers import StoreAway
from pipeline.observing import POSITION_CONFLICTS, STORE_RETRIES, Observer

from .installation import Installation
from .lanes import Lanes
from .patience import PATIENCE_S

log = structlog.get_logger("worker")

FRAMES_WAITING = 2
"""How many frames of a topic may wait for a lane before no more is fetched for it."""

IDLE_S = 0.5
"""How often an idle lane looks at what is not in Kafka: the log of rules, the calendar, an activation run."""


class FetchedRecord(Protocol):
    """A record as a Kafka client gives it."""

    @property
    def offset(self) -> int:
        """Where it lies."""
        ...

    @property
    def key(self) -> bytes | None:
        """Whom it concerns."""
        ...

    @property
    def value(self) -> bytes | None:
        """What it says."""
        ...


class OutOfOrder(Exception):
    """What was fetched does not follow what is here: the consumer must go back to `offset`."""

    def __init__(self, offset: int, found: int) -> None:
        super().__init__(f"offset {found} came where {offset} was to come")
        self.offset = offset


class Fetched:
    """The records of one topic that wait for the lane. They stay until the lane asks for what comes after them, so after its commit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: list[bytes] = []
        self._values: list[bytes] = []
        self._first = 0
        self.end_of_log = 0

    def restart(self, offset: int) -> None:
        """Begins anew at an offset."""
        with self._lock:
            self._keys, self._values, self._first, self.end_of_log = [], [], offset, offset

    def put(self, records: Sequence[FetchedRecord], end_of_log: int | None) -> None:
        """Adds records; what is here already is passed over, and a gap is OutOfOrder."""
        with self._lock:
            end = self._first + len(self._values)
            fresh = [record for record in records if record.offset >= end]
            if fresh and (fresh[0].offset != end or fresh[-1].offset != end + len(fresh) - 1):
                raise OutOfOrder(end, next(record.offset for index, record in enumerate(fresh) if record.offset != end + index))
            self._keys += [record.key or b"" for record in fresh]
            self._values += [record.value or b"" for record in fresh]
            self.end_of_log = max(end_of_log or 0, end + len(fresh))

    def read(self, offset: int, max_records: int) -> Frame:
        """The records from an offset on, for the lane; those before it are done with."""
        with self._lock:
            done = offset - self._first
            if done < 0:
                raise Replaced(f"the position went back to {offset}, before {self._first} which is the oldest at hand")
            if done:
                del self._keys[:done], self._values[:done]
                self._first = offset
            return Frame(offset, self._keys[:max_records], self._values[:max_records], 0)

    @property
    def waiting(self) -> int:
        """How many records are here."""
        return len(self._values)

    @property
    def coming(self) -> bool:
        """Whether Kafka had more when it was last asked."""
        return self.end_of_log > self._first + len(self._values)


class Shard:
    """One shard that this worker holds. Everything but the thread's work happens in the event loop."""

    def __init__(self, installation: Installation, shard: int, observer: Observer, threads: Executor, worked: Callable[[int], None]) -> None:
        self.number, self._observer, self._threads, self._worked = shard, observer, threads, worked
        self._frame_records, self._frame_wait_s = installation.settings.frame_records, installation.settings.frame_wait_s
        self.fetched = {topic: Fetched() for topic in installation.topics}
        self._lanes = Lanes(installation, installation.standing, [shard], observer, readers={(topic, shard): part for topic, part in self.fetched.items()})
        self._came, self._given_up = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._busy = threading.Lock()
        self._told = False
        self.dropped = False
        self.last_step = time.monotonic()

    async def claim(self) -> dict[str, int]:
        """Takes the shard over; gives where to go on in each topic."""
        await self._in_thread(self._lanes.claim)
        positions = self.positions()
        for topic, offset in positions.items():
            self.fetched[topic].restart(offset)
        return positions

    def positions(self) -> dict[str, int]:
        """The next offset of each topic."""
        return {topic: offset for (topic, _), offset in self._lanes.positions.items()}

    def begin(self, failed: Callable[[BaseException], None]) -> None:
        """Begins to take what is put; `failed` hears what ended it, unless it was dropped."""

        def ended(task: asyncio.Task[None]) -> None:
            error = None if task.cancelled() else task.exception()
            if error is not None and not self.dropped:
                failed(error)

        self._task = asyncio.create_task(self._run(), name=f"shard {self.number}")
        self._task.add_done_callback(ended)

    def has_room(self, topic: str) -> bool:
        """Whether more of a topic may be fetched."""
        return not self.dropped and topic in self.fetched and self.fetched[topic].waiting < FRAMES_WAITING * self._frame_records

    def put(self, topic: str, records: Sequence[Any], end_of_log: int | None) -> None:
        """Hands records to the lane."""
        self.fetched[topic].put(records, end_of_log)
        self._came.set()

    def look(self) -> None:
        """The lane looks at the log of rules before its next frame."""
        self._told = True
        self._came.set()

    @property
    def stuck_s(self) -> float:
        """For how long records have waited without a step that ended; 0 where none wait."""
        return time.monotonic() - self.last_step if any(part.waiting for part in self.fetched.values()) else 0.0

    async def drop(self, within_s: float) -> None:
        """Gives the shard up once the transaction in flight has ended. One that takes too long is abandoned: a claim of another shuts it out."""
        self.dropped = True
        self._came.set()
        self._given_up.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=within_s)
        self._threads.submit(self._close)

    def _close(self) -> None:
        with self._busy:
            self._lanes.close()

    async def _in_thread(self, work: Callable[[], Any]) -> Any:
        def alone() -> Any:
            with self._busy:
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._threads, alone)

    async def _run(self) -> None:
        away_from, tries = 0.0, 0
        while not self.dropped:
            try:
                if tries:
                    await self._in_thread(self._lanes.claim)  # the position tells what was committed
                if self._told:
                    self._told = False
                    await self._in_thread(self._lanes.look)
                    log.info("what decides has changed, the lane has looked", shard=self.number)
                done = await self._in_thread(self._lanes.step)
                tries = 0
            except StoreAway as error:
                away_from = away_from if tries else time.monotonic()
                tries += 1
                if time.monotonic() - away_from > PATIENCE_S:
                    raise
                self._observer.count(STORE_RETRIES, reason="away")
                log.warning("the store is away, trying again", shard=self.number, error=str(error), attempt=tries)
                await _until(self._given_up, apart_s(tries))  # records that come meanwhile are no reason to ask sooner
                continue
            except Replaced:
                self._observer.count(POSITION_CONFLICTS)
                raise
            self.last_step = time.monotonic()
            for topic, offset in self.positions().items():
                self.fetched[topic].read(offset, 0)
            if done:
                self._worked(self.number)
            await self._fill(bool(done))

    async def _fill(self, worked: bool) -> None:
        """Waits for a full frame while Kafka has more, but not for long, since a transaction costs as much for few records as for many; else for anything."""
        self._came.clear()
        until, filling = time.monotonic() + IDLE_S, False
        while not (self.dropped or self._told) and (rest := until - time.monotonic()) > 0:
            waiting = [part.waiting for part in self.fetched.values()]
            coming = any(part.coming for part in self.fetched.values())
            if max(waiting) >= self._frame_records or ((worked or any(waiting)) and not coming):
                return
            if (worked or any(waiting)) and not filling:
                until, filling = time.monotonic() + self._frame_wait_s, True
                rest = self._frame_wait_s
            await _until(self._came, rest)
            self._came.clear()


def apart_s(tries: int) -> float:
    """How long to wait before a store that has been away so many times is asked again."""
    return 0.2 * float(min(25, 1 << min(tries, 8)))


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
