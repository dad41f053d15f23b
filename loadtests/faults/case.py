"""One case on the ground: topics and a database of its own, workers that share its shards, and events that flow to them."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import psycopg
from kafka import KafkaProducer  # type: ignore[import-untyped]
from kafka.admin import KafkaAdminClient  # type: ignore[import-untyped]
from pydantic import SecretStr

from connectors.embedded_postgres import EmbeddedPostgres
from connectors.kafka_log import KafkaWriter
from connectors.kafka_topics import Topics, TopicShape, log_ends
from connectors.store.servers import Store
from streams.installation import Installation
from streams.kafka_settings import Kafka
from streams.settings import Settings, load_settings
from streams.topics import ORDERS
from streams.worker_topics import topic_ids

from .flow import PATIENCE_S, Flow
from .ground import NODES, SHARDS, Ground, NotAsItMustBe, Slice
from .workers import Worker, Workers

SESSION_S = 6
START_S = 120.0
"""Within this workers have started and share the shards."""


class Case:
    """An installation on the ground whose events come through its brokers."""

    def __init__(self, ground: Ground, number: int) -> None:
        self.ground, self.database = ground, f"case_{number}"
        self.home = ground.directory / self.database
        self.home.mkdir()
        ground.execute(f"CREATE DATABASE {self.database} TEMPLATE prepared")
        kafka = Kafka(servers=ground.cluster.servers, group=f"payout-{number}", session_s=SESSION_S)
        self.settings: Settings = load_settings(**ground.settings(self.home, self.database, kafka=kafka))
        self._at(ground.direct_url(self.database), ground.proxied_url(self.database))
        self.workers = Workers(self.home, self._environment)
        self.flow = Flow(ground.cluster)
        self.dead_letters = ground.dead_letters
        self.proven = False
        self.records = 0
        self.delete_topics(ground.topics)
        self.make_topics()

    def _at(self, url: str, worker_url: str) -> None:
        self.url, self._worker_url = url, worker_url
        self._session: psycopg.Connection[tuple[object, ...]] | None = None
        settings = self.settings.model_copy(update={"store_urls": (SecretStr(url),)})
        self.installation = Installation(settings, Store([url], SHARDS), self.ground.registries)

    def move_to(self, server: EmbeddedPostgres) -> None:
        """Keeps this case's rows in a server of its own."""
        Store.provision([server.url], SHARDS)
        self._at(server.url, server.url)

    def close(self) -> None:
        """Leaves nothing: processes, database, files."""
        self.workers.kill()
        self.hang_up()
        self.ground.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")
        shutil.rmtree(self.home, ignore_errors=True)

    # Topics.

    def delete_topics(self, topics: Sequence[str]) -> None:
        """Deletes those of the topics that are there."""
        admin = KafkaAdminClient(**self.ground.cluster.client("faults"))
        try:
            there = sorted(set(admin.list_topics()) & set(topics))
            if there:
                admin.delete_topics(there)
                until(lambda: not set(admin.list_topics()) & set(there), "topics are gone")
        finally:
            admin.close()

    def make_topics(self) -> None:
        """Makes those that are missing."""
        with Topics(self.ground.cluster) as topics:
            topics.create_missing(self.ground.topics, TopicShape(SHARDS, NODES, 2, self.settings.kafka.retention_hours))

    def make_anew(self, topic: str, times: int) -> None:
        """Deletes a topic, makes it anew, and puts so many times into it what the undisturbed run has in it."""
        self.delete_topics([topic])
        self.make_topics()
        with KafkaWriter(self.ground.cluster, "faults") as writer:
            for part in [part for part in self.ground.slices if part.topic == topic] * times:
                writer.append(part.topic, part.shard, part.records)
            writer.flush()

    def topic_ids(self) -> dict[str, str]:
        """The id of each topic."""
        return topic_ids(self.installation)

    # Workers.

    def _environment(self) -> dict[str, str]:
        kafka = self.settings.kafka
        return {
            "PAYOUT_HOME": str(self.home), "PAYOUT_REGISTRIES": str(self.settings.registries), "PAYOUT_STORE_URLS": self._worker_url,
            "PAYOUT_SHARDS": str(SHARDS),
            "PAYOUT_RULES": " ".join(map(str, self.settings.rules)), "PAYOUT_TRUST_RULES": "true", "PAYOUT_FRAME_RECORDS": str(self.settings.frame_records),
            "PAYOUT_KAFKA__SERVERS": " ".join(kafka.servers), "PAYOUT_KAFKA__GROUP": kafka.group, "PAYOUT_KAFKA__SESSION_S": str(kafka.session_s),
            "PAYOUT_LOG_FORMAT": "json",
        }  # fmt: skip

    def start(self, workers: int = 2) -> list[Worker]:
        """Starts workers, and returns when they share the shards."""
        started = [self.workers.add() for _ in range(workers)]
        self.shared_by(*started)
        return started

    def shared_by(self, *workers: Worker) -> None:
        """Returns when each of these has shards."""
        self.until(lambda: {worker.owner for worker in workers} <= set(self.owners()), f"{len(workers)} workers share the shards", START_S)

    def owners(self) -> list[str]:
        """Who has claimed each shard."""
        return [str(owner) for (owner,) in self.ask("SELECT owner FROM lane ORDER BY shard")]

    def under_way(self, after: float, lasts_s: float) -> None:
        """Two workers share the shards, events flow for so long, and this share of them is taken."""
        self.start(2)
        self.feed(lasts_s=lasts_s)
        self.until_taken(after)

    # Time.

    def until(self, happened: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
        """Looks again and again until something has happened, and tends the workers meanwhile."""

        def looked() -> bool:
            if self.flow.failure is not None:
                raise NotAsItMustBe(f"events could not be put: {self.flow.failure}")
            self.workers.tend()
            return happened()

        try:
            until(looked, what, within_s)
        except NotAsItMustBe as reason:
            raise NotAsItMustBe(f"{reason}\n{self.workers.told()}") from None

    def for_s(self, seconds: float) -> None:
        """Lets time pass, in which workers are tended."""
        end_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end_s, "time passes")

    # Events.

    def feed(self, slices: Sequence[Slice] | None = None, lasts_s: float = 0) -> None:
        """Lets events flow from now on, all of them where none are named, and returns at once."""
        self.flow.begin(self.ground.slices if slices is None else slices, lasts_s)

    def feed_now(self, slices: Sequence[Slice] | None = None) -> None:
        """Puts events as fast as they go, and returns when all are acknowledged."""
        self.feed(slices)
        self.fed_all()

    def fed_all(self) -> None:
        """Returns when everything that was to flow is acknowledged."""
        self.until(lambda: self.flow.over, "every event is acknowledged by the brokers")

    def parts(self, number: int) -> Iterator[list[Slice]]:
        """The events in so many parts."""
        slices = self.ground.slices
        for index in range(number):
            yield slices[len(slices) * index // number : len(slices) * (index + 1) // number]

    def put(self, records: Sequence[tuple[str, int, bytes | None, bytes | None]], at_ms: int | None = None) -> None:
        """Puts records as they are, also such as have no key or no value, and by a clock that is wrong."""
        producer = KafkaProducer(**self.ground.cluster.client("faults"), max_request_size=16 << 20, batch_size=0)
        try:
            sent = [producer.send(topic, key=key, value=value, partition=shard, timestamp_ms=at_ms) for topic, shard, key, value in records]
            for future in sent:
                future.get(60)
        finally:
            producer.close()

    # What came of it.

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Rows of this case's store, past the proxy, in a session that is kept as long as it lasts."""
        if self._session is None or self._session.closed or self._session.broken:
            self._session = psycopg.connect(self.url, autocommit=True, application_name="faults")
        try:
            cursor = self._session.execute(query.encode())
        except psycopg.OperationalError:
            self._session.close()  # it may have ended long ago, which only a new one tells
            self._session = psycopg.connect(self.url, autocommit=True, application_name="faults")
            cursor = self._session.execute(query.encode())
        return cursor.fetchall() if cursor.description else []

    def hang_up(self) -> None:
        """Ends the session that is kept."""
        if self._session is not None:
            self._session.close()

    def count(self, query: str) -> int:
        """The one number that a query gives; nothing counts as 0."""
        return int(str(self.ask(query)[0][0] or 0))

    def store_answers(self) -> bool:
        """Whether PostgreSQL takes connections."""
        try:
            return bool(self.ask("SELECT 1"))
        except psycopg.OperationalError:
            return False

    @contextmanager
    def locked(self, statement: str) -> Iterator[None]:
        """Meanwhile a transaction of somebody else keeps what its statement has locked."""
        with psycopg.connect(self.url, application_name="faults") as connection, connection.transaction():
            connection.execute(statement.encode())
            yield

    def taken(self) -> int:
        """How many records are behind positions."""
        return self.count("SELECT sum(next_offset) FROM position")

    def until_taken(self, share: float) -> None:
        """Returns when so much of all events has been taken."""
        self.until(lambda: self.taken() >= share * self.ground.events, f"{share:.0%} of the events were taken")

    def settle(self) -> None:
        """Returns when every record is behind a position, and what follows from it is published."""
        self.fed_all()
        if not self.workers.running:
            self.start(1)
        ends = log_ends(self.ground.cluster, [topic for topic in self.ground.topics if topic != ORDERS], SHARDS)

        def done() -> bool:
            positions = self.installation.positions()
            waits = self.ask("SELECT 1 FROM lane JOIN relay USING (shard) WHERE release_seq <> relayed_seq")
            return not waits and all(positions.get(place, 0) >= end for place, end in ends.items())

        self.until(done, "everything was taken and published")
        self.records = sum(ends.values())

    def rest(self) -> None:
        """Everything is taken and published, and the workers end."""
        self.settle()
        self.workers.stop()


def until(happened: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Looks again and again until something has happened."""
    deadline, pause = time.monotonic() + within_s, threading.Event()
    while not happened():
        if time.monotonic() > deadline:
            raise NotAsItMustBe(f"in {within_s:.0f} s it did not happen that {what}")
        pause.wait(0.25)
