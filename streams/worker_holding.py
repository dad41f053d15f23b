"""What one Kafka worker holds: the shards of its partitions, claimed in the store, and the relays that publish what follows from them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import structlog

from connectors.kafka_cluster import KafkaAway
from connectors.kafka_log import KafkaWriter
from connectors.store.eviction import evict_blockers
from connectors.store.frames import Replaced
from connectors.store.servers import Connection, Row, StoreAway
from pipeline.observing import LAG, Observer

from .installation import Installation
from .members import MemberRelay
from .relay import Relay
from .worker_shard import OutOfOrder, Shard, apart_s
from .worker_watch import Place, Stuck

log = structlog.get_logger("worker")

THREADS = 3
"""Lanes that may work at once: while one waits for its commit, another decides."""

QUIESCE_S = 5.0
"""How long a transaction in flight may take to end when the shard is given up."""

LOCKED_S = 3.0
"""How long a claim waits for the transaction of whoever had the shard."""

SESSIONS_LEFT_ALONE = 1.5
"""For how many session timeouts a shard that somebody else has claimed is left alone, while the group still says that it is this worker's."""


class RecordsGone(RuntimeError):
    """Kafka no longer has the records at a position, so that going on would skip some."""


class Holding:
    """The shards that this worker holds. Everything is called in the event loop."""

    def __init__(self, installation: Installation, observer: Observer, failed: Callable[[BaseException], None]) -> None:
        self.installation, self._observer, self._failed = installation, observer, failed
        self._threads = ThreadPoolExecutor(THREADS, "lane")
        self._relay = _Relaying(installation)
        self._relay_thread = ThreadPoolExecutor(1, "relay")
        self._released: set[int] = set()
        self._wake = asyncio.Event()
        self._one_claim = asyncio.Lock()
        self._shards: dict[int, Shard] = {}
        self.lost: dict[int, float] = {}

    async def take(self, shards: Iterable[int]) -> dict[Place, int]:
        """Claims these shards and no others; gives where to go on. They take nothing before `begin`."""
        async with self._one_claim:
            await self.drop()
            taking = [Shard(self.installation, number, self._observer, self._threads, self._worked) for number in sorted(shards)]
            try:
                positions = await asyncio.gather(*(self._claim(shard) for shard in taking))
            except BaseException:
                for shard in taking:
                    await shard.drop(0)
                raise
            self._shards = {shard.number: shard for shard, part in zip(taking, positions, strict=True) if part is not None}
            self._released |= set(self._shards)
            return {(topic, shard.number): offset for shard, part in zip(taking, positions, strict=True) for topic, offset in (part or {}).items()}

    async def _claim(self, shard: Shard) -> dict[str, int] | None:
        """Where the shard goes on; None where another has claimed it in the middle of this."""
        tries = 0
        while True:
            try:
                return await self._unblocked(shard)
            except Replaced as error:
                await self._lose(shard, error)
                return None
            except StoreAway as error:
                tries += 1
                log.warning("the store is away, claiming again", shard=shard.number, error=str(error), attempt=tries)
                await asyncio.sleep(apart_s(tries))

    async def _unblocked(self, shard: Shard) -> dict[str, int]:
        """A claim for which whoever keeps the shard's row locked is made to let go: its worker may have been stopped in the middle."""
        claiming = asyncio.ensure_future(shard.claim())
        try:
            while not (await asyncio.wait([claiming], timeout=LOCKED_S))[0]:
                url = self.installation.store.url_of(shard.number)
                evicted = await asyncio.get_running_loop().run_in_executor(None, evict_blockers, url, os.getpid())
                if evicted:
                    log.warning("a worker that kept the shard locked was evicted", shard=shard.number, transactions=evicted)
            return claiming.result()
        finally:
            claiming.cancel()

    @property
    def claiming(self) -> bool:
        """Whether a claim is under way."""
        return self._one_claim.locked()

    def begin(self) -> None:
        """The consumer stands at the claimed positions: lanes may take what comes."""
        for number, shard in self._shards.items():
            shard.begin(lambda error, number=number, shard=shard: self._ended(number, shard, error))  # type: ignore[misc]
        self._wake.set()

    async def drop(self) -> None:
        """Gives all shards up; transactions in flight have a moment to end."""
        shards, self._shards = self._shards, {}
        self.lost.clear()
        await asyncio.gather(*(shard.drop(QUIESCE_S) for shard in shards.values()))

    def holds(self, number: int) -> Shard | None:
        """The shard, if this worker takes its records."""
        return self._shards.get(number)

    def hungry(self, places: Iterable[Place]) -> dict[Place, Shard]:
        """Where records may be fetched for."""
        return {(topic, number): shard for topic, number in places if (shard := self._shards.get(number)) is not None and shard.has_room(topic)}

    def look(self, number: int) -> None:
        """Word has come that what decides has changed: the shard's lane looks at once."""
        if (shard := self._shards.get(number)) is not None:
            shard.look()

    def unclaimed(self, places: Iterable[Place]) -> list[Place]:
        """Which of the assigned places are of shards that are still to be claimed."""
        return [(topic, number) for topic, number in places if number not in self.lost and number not in self._shards]

    def feed(self, place: Place, shard: Shard, records: Sequence[Any], end_of_log: int | None) -> int | None:
        """Hands fetched records to their lane, unless it was given up meanwhile; an offset to go back to where they do not follow."""
        topic, number = place
        if self._shards.get(number) is not shard:
            return None
        try:
            shard.put(topic, records, end_of_log)
        except OutOfOrder as error:
            log.warning("fetched records do not follow, the consumer goes back", shard=number, topic=topic, error=str(error))
            return error.offset
        return None

    def positions(self) -> dict[Place, int]:
        """What is committed, of all shards held."""
        return {(topic, number): offset for number, shard in self._shards.items() for topic, offset in shard.positions().items()}

    def look_after(self) -> bool:
        """Tells lag and stuck lanes; whether a lost shard is to be claimed again."""
        for number, shard in self._shards.items():
            for topic, offset in shard.positions().items():
                self._observer.gauge(LAG, max(0, shard.fetched[topic].end_of_log - offset), topic=topic, shard=str(number))
            if shard.stuck_s > self.installation.settings.kafka.stuck_s:
                self._failed(Stuck(f"shard {number}: records have waited {shard.stuck_s:.0f} s and its lane has ended nothing"))
        patience_s = SESSIONS_LEFT_ALONE * self.installation.settings.kafka.session_s
        return any(time.monotonic() - since > patience_s for since in self.lost.values())

    async def publish(self) -> None:
        """Publishes what is released, until cancelled; what failed is tried again."""
        wait_s = 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            shards = sorted(self._released & set(self._shards))
            self._released.clear()
            try:
                await asyncio.get_running_loop().run_in_executor(self._relay_thread, self._relay.publish, shards)
                wait_s = 0.0
            except (KafkaAway, StoreAway) as error:
                wait_s = min(5.0, 2 * wait_s or 0.2)
                log.warning("released orders could not be published, trying again", error=str(error))
                self._released |= set(shards)
                await asyncio.sleep(wait_s)
                self._wake.set()

    async def close(self) -> None:
        """Gives everything up."""
        await self.drop()
        await asyncio.get_running_loop().run_in_executor(self._relay_thread, self._relay.close)
        self._threads.shutdown(wait=False)
        self._relay_thread.shutdown(wait=False)

    def _worked(self, number: int) -> None:
        self._released.add(number)
        self._wake.set()

    def _ended(self, number: int, shard: Shard, error: BaseException) -> None:
        if self._shards.get(number) is not shard:
            return
        if not isinstance(error, Replaced):
            self._failed(error)
            return
        del self._shards[number]
        asyncio.create_task(self._lose(shard, error))  # noqa: RUF006 - it ends at once, a thread closes the connection

    async def _lose(self, shard: Shard, error: Replaced) -> None:
        log.warning("another worker has this shard", shard=shard.number, error=str(error))
        self.lost[shard.number] = time.monotonic()
        await shard.drop(0)


class _Relaying:
    """The relays of this worker, in one thread: connections and producer are made when they are first needed, and anew after an error."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._open = ExitStack()
        self._writer: KafkaWriter | None = None
        self._connections: Mapping[str, Connection[Row]] = {}

    def publish(self, shards: Sequence[int]) -> int:
        """Publishes everything that these shards have released."""
        try:
            return sum(self._whole(shard) for shard in shards)
        except (KafkaAway, StoreAway):
            self.close()
            raise

    def close(self) -> None:
        """Gives connections and producer back."""
        self._writer = None
        self._open.close()

    def _whole(self, shard: int) -> int:
        # Another worker may have published in between: the store says how far.
        published = 0
        for relay in self._relays(shard):
            while count := relay.step():
                published += count
        return published

    def _relays(self, shard: int) -> tuple[Relay, MemberRelay]:
        store = self._installation.store
        if self._writer is None:
            self._writer = self._open.enter_context(KafkaWriter(self._installation.settings.kafka.cluster(), "payout-relay"))
            self._connections = {url: self._open.enter_context(store.connect(url, "payout relay")) for url in store.urls}
        connection = self._connections[store.url_of(shard)]
        return Relay(connection, self._writer, shard), MemberRelay(connection, self._writer, shard, store.shards)
