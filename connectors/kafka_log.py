"""The log in Kafka: records appended in order to partitions, counted as written once enough copies have them, and read again from any place."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pipeline.problems import Malformed, Problem

from .failpoints import failpoint
from .kafka_cluster import Cluster, KafkaAway, answering
from .kafka_topics import MESSAGE_BYTES
from .log_batch import Record
from .log_reader import Frame, OffsetOutOfRange

MAX_VALUE_BYTES = MESSAGE_BYTES - 64 * 1024
"""The largest value: a batch holds it with its key and what Kafka writes beside it."""

BATCH_BYTES = 512 * 1024
FETCH_BYTES = 2 * 1024 * 1024
ANSWER_TIMEOUT_S = 30
STOP_TIMEOUT_S = 5

_T = TypeVar("_T")


class KafkaWriter:
    """Appends to partitions with an idempotent producer: an attempt that it repeats is written once, and the order is kept.

    `flush` returns when everything appended is acknowledged. Where it raises, what was appended since the last flush may or may not
    be written: append it again, as to the log of a process that was killed. Use it from one thread at a time.
    """

    max_value_bytes = MAX_VALUE_BYTES

    def __init__(self, cluster: Cluster, client_id: str = "payout-writer", now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._cluster, self._client_id, self._now_ms = cluster, client_id, now_ms
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=client_id, daemon=True)
        self._thread.start()
        self._producer: Any = None
        self._unconfirmed: list[asyncio.Future[Any]] = []
        try:
            self._do(self._open())
        except BaseException:
            self.close()
            raise

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        """Appends records to the end of a partition; waits while the batches before them are not yet under way."""
        too_large = [index for index, (_, value) in enumerate(records) if len(value) > MAX_VALUE_BYTES]
        if too_large:
            raise Malformed([_too_large(index, len(records[index][1])) for index in too_large])
        self._do(self._send(topic, partition, records))

    def flush(self) -> None:
        """Waits until everything appended so far is acknowledged; KafkaAway where any of it is not."""
        self._do(self._confirm())
        failpoint("log_written")

    def place(self, topic: str, partition: int, record: Record) -> int:
        """Appends one record and waits until it is acknowledged; its offset."""
        self.append(topic, partition, [record])
        (placed,) = self._unconfirmed[-1:]
        self.flush()
        return int(placed.result().offset)

    def close(self) -> None:
        """Gives the connections back; what was appended after the last flush may be lost."""
        if self._loop.is_closed():
            return
        try:
            self._do(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        with answering(self._cluster):
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> Any:
        if self._producer is None:
            from aiokafka import AIOKafkaProducer  # type: ignore[import-untyped]

            producer = AIOKafkaProducer(
                **self._cluster.async_client(self._client_id), acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES,
                max_request_size=MESSAGE_BYTES, request_timeout_ms=ANSWER_TIMEOUT_S * 1000,
            )  # fmt: skip
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _send(self, topic: str, partition: int, records: Sequence[Record]) -> None:
        producer = await self._open()
        now_ms = self._now_ms()
        try:
            batch = producer.create_batch()
            for key, value in records:
                if batch.append(key=key, value=value, timestamp=now_ms) is None:
                    self._unconfirmed.append(await producer.send_batch(batch, topic, partition=partition))
                    batch = producer.create_batch()
                    batch.append(key=key, value=value, timestamp=now_ms)
            if batch.record_count():
                self._unconfirmed.append(await producer.send_batch(batch, topic, partition=partition))
        except BaseException:
            await self._stop()
            raise

    async def _confirm(self) -> None:
        waiting, self._unconfirmed = self._unconfirmed, []
        try:
            await self._acknowledged(waiting)
        except BaseException:
            for future in waiting:
                future.cancel()
            await self._stop()
            raise

    async def _acknowledged(self, waiting: Sequence[asyncio.Future[Any]]) -> None:
        """Waits for acknowledgements as long as some come; by itself an idempotent producer would try for ever."""
        together = asyncio.ensure_future(asyncio.gather(*waiting))
        try:
            while not together.done():
                before = sum(future.done() for future in waiting)
                await asyncio.wait([together], timeout=ANSWER_TIMEOUT_S)
                if not together.done() and sum(future.done() for future in waiting) == before:
                    raise KafkaAway(f"Kafka at {', '.join(self._cluster.servers)} has acknowledged nothing for {ANSWER_TIMEOUT_S} s")
            together.result()
        finally:
            together.cancel()

    async def _stop(self) -> None:
        """Drops the producer: after an error its sequence is not known, so the next append begins with a new one."""
        producer, self._producer = self._producer, None
        for future in self._unconfirmed:
            future.cancel()
        self._unconfirmed = []
        if producer is not None:
            try:
                await asyncio.wait_for(producer.stop(), STOP_TIMEOUT_S)
            except TimeoutError:
                await producer.client.close()


class KafkaReader:
    """Reads runs of records from any place of any partition. Use it from one thread at a time; close it, or use it with `with`."""

    def __init__(self, cluster: Cluster, client_id: str = "payout-reader") -> None:
        from kafka import KafkaConsumer  # type: ignore[import-untyped]

        self._cluster = cluster
        with answering(cluster):
            self._consumer: Any = KafkaConsumer(
                **cluster.client(client_id), enable_auto_commit=False, auto_offset_reset="none", max_partition_fetch_bytes=FETCH_BYTES,
                fetch_max_wait_ms=100,
            )  # fmt: skip
        self._at: tuple[str, int, int] | None = None
        self._known: dict[tuple[str, int], tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def start_offset(self, topic: str, partition: int) -> int:
        """The first offset that Kafka still has."""
        return self._edge(self._consumer.beginning_offsets, topic, partition)

    def end_offset(self, topic: str, partition: int) -> int:
        """The offset the next record will get."""
        return self._edge(self._consumer.end_offsets, topic, partition)

    def _edge(self, ask: Callable[[list[Any]], dict[Any, int]], topic: str, partition: int) -> int:
        from kafka import TopicPartition

        with answering(self._cluster):
            return int(ask([TopicPartition(topic, partition)])[TopicPartition(topic, partition)])

    def read(self, topic: str, partition: int, offset: int, max_records: int) -> Frame:
        """The records from an offset on; none at the end of the log. OffsetOutOfRange where Kafka has it no more, or never had it."""
        start, end = self._known.get((topic, partition), (0, 0))
        if offset + max_records > end:
            start, end = self._known[topic, partition] = self.start_offset(topic, partition), self.end_offset(topic, partition)
        if not start <= offset <= end:
            raise OffsetOutOfRange(Path(topic) / str(partition), offset, start, end)
        keys: list[bytes] = []
        values: list[bytes] = []
        time_ms, wanted, deadline = 0, min(max_records, end - offset), time.monotonic() + ANSWER_TIMEOUT_S
        while len(values) < wanted:
            records = self._poll(topic, partition, offset + len(values), wanted - len(values))
            if not records and time.monotonic() > deadline:
                raise KafkaAway(f"Kafka at {', '.join(self._cluster.servers)} gave no record of {topic} partition {partition} in {ANSWER_TIMEOUT_S} s")
            if records:
                time_ms, deadline = time_ms or records[0].timestamp, time.monotonic() + ANSWER_TIMEOUT_S
                keys += [record.key or b"" for record in records]
                values += [record.value or b"" for record in records]
                if records[-1].offset != offset + len(values) - 1:
                    raise OffsetOutOfRange(Path(topic) / str(partition), offset + len(values) - len(records), records[0].offset, end)
                self._at = topic, partition, records[-1].offset + 1
        return Frame(offset, keys, values, time_ms)

    def _poll(self, topic: str, partition: int, offset: int, max_records: int) -> list[Any]:
        from kafka import TopicPartition

        place = TopicPartition(topic, partition)
        with answering(self._cluster):
            if self._at != (topic, partition, offset):
                self._consumer.assign([place])
                self._consumer.seek(place, offset)
                self._at = topic, partition, offset
            found: list[Any] = self._consumer.poll(timeout_ms=500, max_records=max_records).get(place, [])
        return found


def _too_large(index: int, size: int) -> Problem:
    return Problem(f"records[{index}].value", f"a value of {size} bytes is too large.", f"Kafka's topics take up to {MAX_VALUE_BYTES}.")
