"""The bare path on Kafka: the quickest client there is, msgspec, the same rows by COPY with the position in the transaction, and no logic at all.

    python -m loadtests.peers.bare_path URL SERVERS TOPIC SHARDS EVENTS

SHARDS are the partitions of this process, EVENTS is how many records all its partitions hold together. A subject's later events write nothing,
as they change nothing for the program that does decide.
"""

from __future__ import annotations

import sys

import msgspec
from confluent_kafka import Consumer, TopicPartition

from connectors.store import frames
from connectors.store.connecting import Use
from connectors.store.servers import Connection, Row, connect
from loadtests.bench import Message, copy_rows

FRAME_RECORDS = 10_000
"""As many as the default of the setting `frame_records`."""


class Bare:
    """One process of it."""

    def __init__(self, connection: Connection[Row], topic: str, shards: list[int]) -> None:
        self._connection, self._topic = connection, topic
        self._claims = {shard: frames.claim(connection, shard, "bare", [topic]) for shard in shards}
        self._seen: set[str] = set()
        self._decode = msgspec.json.Decoder(Message).decode

    def take(self, shard: int, values: list[bytes]) -> None:
        """One frame in one transaction."""
        held = self._claims[shard]
        messages = [self._decode(value) for value in values]
        fresh: list[int] = []
        for index, message in enumerate(messages):
            if message.subject not in self._seen:
                self._seen.add(message.subject)
                fresh.append(index)
        first, end = held.positions[self._topic], held.positions[self._topic] + len(values)
        with frames.frame_transaction(self._connection, held, self._topic, first, end) as transaction:
            copy_rows(self._connection, shard, [values[index] for index in fresh], [messages[index] for index in fresh])
            transaction.close_frame(len(values), 0, 0, 0, 0)
        held.positions[self._topic] = end


def main() -> None:
    """The command line."""
    url, servers, topic, numbers, events = sys.argv[1:]
    shards = [int(number) for number in numbers.split(",")]
    consumer = Consumer({
        "bootstrap.servers": servers.replace(" ", ","), "group.id": "bare", "enable.auto.commit": False, "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 100, "queued.min.messages": 100_000,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, shard, 0) for shard in shards])
    waiting: dict[int, list[bytes]] = {shard: [] for shard in shards}
    with connect(url, "bare", Use.LANE) as connection:
        bare, left = Bare(connection, topic, shards), int(events)
        while left:
            for message in (got := consumer.consume(FRAME_RECORDS, 0.2)):
                if message.error():
                    raise SystemExit(f"bare path: {message.error()}")
                waiting[message.partition() or 0].append(message.value() or b"")
            left -= len(got)
            for shard, values in waiting.items():
                while len(values) >= FRAME_RECORDS or (values and not (got and left)):
                    bare.take(shard, values[:FRAME_RECORDS])
                    del values[:FRAME_RECORDS]
    consumer.close()


if __name__ == "__main__":
    main()
