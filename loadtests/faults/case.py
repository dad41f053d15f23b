"""One case on the ground: topics and a database of its own, workers as processes, events that flow, and the proof of what came of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from kafka import KafkaConsumer, KafkaProducer, TopicPartition  # type: ignore[import-untyped]
from kafka.admin import KafkaAdminClient  # type: ignore[import-untyped]
from kafka.structs import OffsetAndMetadata  # type: ignore[import-untyped]
from pydantic import SecretStr

from connectors.embedded_postgres import EmbeddedPostgres
from connectors.kafka_cluster import KafkaAway
from connectors.kafka_log import KafkaWriter
from connectors.kafka_topics import Topics, TopicShape, log_ends
from connectors.store.servers import Store
from pipeline.receipts import ReleasedOrder, decode_released
from streams.audit import audit
from streams.installation import Installation
from streams.kafka_settings import Kafka
from streams.settings import SHIPPED, Settings, load_settings
from streams.topics import ORDERS

from .ground import NODES, SHARDS, Ground, NotAsItMustBe, Slice, lines

PATIENCE_S = 300.0
"""What has not happened by then does not happen, however busy the machine is."""

SESSION_S = 6
RATE = 1_500
"""Events a second while a fault is made."""

COMMAND = ("-c", "from streams.cli import main; main()")


class Worker:
    """`payout worker` in a process of its own, with its log."""

    def __init__(self, environment: dict[str, str], log: Path, command: Sequence[str] = COMMAND) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command, "worker"], env=os.environ | environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    @property
    def owner(self) -> str:
        """What stands in the store as the owner of its shards."""
        return f"{os.uname().nodename}:{self.process.pid}"

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self.process.poll()

    def said(self, *texts: str) -> int:
        """How often its log has any of these."""
        log = self.log.read_text(errors="replace")
        return sum(log.count(text) for text in texts)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        self.process.send_signal(number)


class Case:
    """An installation on the ground whose events come through its brokers."""

    def __init__(self, ground: Ground, name: str, number: int) -> None:
        self.ground, self.name, self.database = ground, name, f"case_{number}"
        self.home = ground.directory / self.database
        self.home.mkdir()
        ground.execute(f"CREATE DATABASE {self.database} TEMPLATE prepared")
        self.workers: list[Worker] = []
        self.restarts = 0
        self.proven = False
        self.supervised = True
        self._expected_ends: set[Worker] = set()
        self._feeders: list[threading.Thread] = []
        self._feed_failure: list[BaseException] = []
        self.fed = 0
        self.resent = 0
        self.dead_letters = ground.dead_letters
        kafka = Kafka(servers=ground.cluster.servers, group=f"payout-{number}", session_s=SESSION_S)
        self.settings: Settings = load_settings(**ground.settings(self.home, self.database, kafka=kafka))
        self._at(ground.direct_url(self.database))
        self.worker_url = ground.proxied_url(self.database)
        self._delete(ground.topics)
        self.provision()

    def move_to(self, server: EmbeddedPostgres) -> None:
        """Keeps this case's rows in a server of its own."""
        Store.provision([server.url], SHARDS)
        self._at(server.url)
        self.worker_url = server.url

    def _at(self, url: str) -> None:
        self.url = url
        settings = self.settings.model_copy(update={"store_urls": (SecretStr(url),)})
        self.installation = Installation(settings, Store([url], SHARDS), self.ground.registries)

    # Workers.

    def _delete(self, topics: Sequence[str]) -> None:
        admin = KafkaAdminClient(**self.ground.cluster.client("faults"))
        try:
            there = sorted(set(admin.list_topics()) & set(topics))
            if there:
                admin.delete_topics(there)
                self.until(lambda: not set(admin.list_topics()) & set(there), "topics are gone")
        finally:
            admin.close()

    def provision(self) -> None:
        """Makes the topics that are missing."""
        with Topics(self.ground.cluster) as topics:
            topics.create_missing(self.ground.topics, TopicShape(SHARDS, NODES, 2, self.settings.kafka.retention_hours))

    def worker(self, *, failpoint: str = "", command: Sequence[str] = COMMAND) -> Worker:
        """Starts one more worker."""
        kafka = self.settings.kafka
        environment = {
            "PAYOUT_HOME": str(self.home), "PAYOUT_STORE_URLS": self.worker_url, "PAYOUT_SHARDS": str(SHARDS),
            "PAYOUT_RULES": " ".join(map(str, self.settings.rules)), "PAYOUT_TRUST_RULES": "true", "PAYOUT_FRAME_RECORDS": str(self.settings.frame_records),
            "PAYOUT_KAFKA__SERVERS": " ".join(kafka.servers), "PAYOUT_KAFKA__GROUP": kafka.group, "PAYOUT_KAFKA__SESSION_S": str(kafka.session_s),
            "PAYOUT_LOG_FORMAT": "json", "PAYOUT_FAILPOINT": failpoint, "POLARS_MAX_THREADS": "1",
        }  # fmt: skip
        self.workers.append(Worker(environment, self.home / f"worker{len(self.workers)}.log", command))
        return self.workers[-1]

    def start(self, workers: int = 2) -> list[Worker]:
        """Starts workers, and returns when they share the shards."""
        started = [self.worker() for _ in range(workers)]
        self.until(lambda: {worker.owner for worker in started} <= set(self.owners()), f"{workers} workers share the shards")
        return started

    def owners(self) -> list[str]:
        """Who has claimed each shard."""
        return [str(owner) for (owner,) in self.ask("SELECT owner FROM lane ORDER BY shard")]

    def end(self, worker: Worker, number: int) -> int:
        """Ends a worker by a signal, which nobody is to start again; gives its exit code."""
        self._expected_ends.add(worker)
        worker.signal(number)
        return worker.process.wait(PATIENCE_S)

    def expect_end(self, worker: Worker) -> None:
        """A worker is going to end by itself, and nobody is to start it again."""
        self._expected_ends.add(worker)

    @property
    def running(self) -> list[Worker]:
        """The workers that run."""
        return [worker for worker in self.workers if worker.code is None]

    def said(self, *texts: str) -> int:
        """How often the logs of all workers have any of these."""
        return sum(worker.said(*texts) for worker in self.workers)

    def tend(self) -> None:
        """Does what a supervisor does: a worker that ended is started again."""
        for worker in self.workers[:]:
            if worker.code is not None and worker not in self._expected_ends and self.supervised:
                self._expected_ends.add(worker)
                self.restarts += 1
                if self.restarts > 40:
                    raise NotAsItMustBe(f"workers end again and again\n{self.told()}")
                self.worker()

    def until(self, happened: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
        """Looks again and again until something has happened."""
        deadline, pause = time.monotonic() + within_s, threading.Event()
        while not happened():
            if self._feed_failure:
                raise NotAsItMustBe(f"events could not be put: {self._feed_failure[0]}")
            self.tend()
            if time.monotonic() > deadline:
                raise NotAsItMustBe(f"in {within_s:.0f} s it did not happen that {what}\n{self.told()}")
            pause.wait(0.1)

    def for_s(self, seconds: float) -> None:
        """Lets time pass, in which workers are tended."""
        until = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > until, "time passes")

    def told(self) -> str:
        """The end of what the workers wrote."""
        return "\n".join(f"{worker.log.name} ({worker.code}): {worker.log.read_text(errors='replace')[-1500:]}" for worker in self.workers[-4:])

    # Events.

    def feed(self, slices: Sequence[Slice] | None = None, rate: float = RATE) -> None:
        """Lets events flow from now on, so many a second, and returns at once."""
        given = self.ground.slices if slices is None else slices
        thread = threading.Thread(target=self._feed, args=(given, rate), name="feeder", daemon=True)
        self._feeders.append(thread)
        thread.start()

    def feed_now(self, slices: Sequence[Slice]) -> None:
        """Puts events as fast as they go, and returns when all are acknowledged."""
        self.feed(slices, rate=1e9)
        self.fed_all()

    def fed_all(self) -> None:
        """Returns when everything that was to flow is acknowledged."""
        self.until(lambda: not any(thread.is_alive() for thread in self._feeders), "every event is acknowledged by the brokers")
        if self._feed_failure:
            raise NotAsItMustBe(f"events could not be put: {self._feed_failure[0]}")

    def parts(self, number: int) -> Iterator[list[Slice]]:
        """The events in so many parts."""
        slices = self.ground.slices
        for index in range(number):
            yield slices[len(slices) * index // number : len(slices) * (index + 1) // number]

    def _feed(self, slices: Sequence[Slice], rate: float) -> None:
        started, put, at, deadline = time.monotonic(), 0, 0, time.monotonic() + PATIENCE_S
        try:
            while at < len(slices):
                wait_s = started + put / rate - time.monotonic()
                if wait_s > 0:
                    time.sleep(min(wait_s, 0.2))
                    continue
                many = slices[at : at + 24]
                try:
                    with KafkaWriter(self.ground.cluster, "faults-feeder") as writer:
                        while many:
                            for part in many:
                                writer.append(part.topic, part.shard, part.records)
                            writer.flush()
                            count = sum(len(part.records) for part in many)
                            put, at, self.fed = put + count, at + len(many), self.fed + count
                            pause_s = started + put / rate - time.monotonic()
                            if pause_s > 0:
                                time.sleep(pause_s)
                            many = slices[at : at + 24]
                except KafkaAway:
                    self.resent += 1  # whether they were written is not known, so they are put again: at least once
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.5)
        except (KafkaAway, OSError) as error:
            self._feed_failure.append(error)

    def put(self, records: Sequence[tuple[str, int, bytes | None, bytes | None]]) -> None:
        """Puts records as they are, also such as have no key or no value."""
        producer = KafkaProducer(**self.ground.cluster.client("faults"), max_request_size=16 << 20, batch_size=0)
        try:
            sent = [producer.send(topic, key=key, value=value, partition=shard) for topic, shard, key, value in records]
            for future in sent:
                future.get(60)
        finally:
            producer.close()

    def set_group_offsets(self, *, latest: bool) -> int:
        """Tells the group offsets that are wrong; gives how many. No worker may run."""
        places = [TopicPartition(topic, shard) for topic in self.ground.topics if topic.startswith("registry.") for shard in range(SHARDS)]
        consumer = KafkaConsumer(**self.ground.cluster.client("faults"), group_id=self.settings.kafka.group, enable_auto_commit=False)
        try:
            consumer.assign(places)
            offsets = consumer.end_offsets(places) if latest else dict.fromkeys(places, 0)
            consumer.commit({place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()})
            return sum(consumer.committed(place) == offset for place, offset in offsets.items())
        finally:
            consumer.close()

    def make_anew(self, topic: str, times: int) -> None:
        """Deletes a topic, makes it anew, and puts so many times into it what it held."""
        self._delete([topic])
        self.provision()
        records = [part for part in self.ground.slices if part.topic == topic]
        with KafkaWriter(self.ground.cluster, "faults") as writer:
            for part in records * times:
                writer.append(part.topic, part.shard, part.records)
            writer.flush()

    # What came of it.

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Rows of this case's store, past the proxy."""
        return self.ground.execute(query, url=self.url)

    def taken(self) -> int:
        """How many records are behind positions."""
        return int(str(self.ask("SELECT coalesce(sum(next_offset), 0) FROM position")[0][0]))

    def until_taken(self, share: float) -> None:
        """Returns when so much of all events has been taken."""
        self.until(lambda: self.taken() >= share * self.ground.events, f"{share:.0%} of the events were taken")

    def settle(self) -> None:
        """Returns when every record is behind a position, and what follows from it is published."""
        self.fed_all()
        taken = [topic for topic in self.ground.topics if topic != ORDERS]
        ends = log_ends(self.ground.cluster, taken, SHARDS)

        def done() -> bool:
            positions = self.installation.positions()
            waits = self.ask("SELECT 1 FROM lane JOIN relay USING (shard) WHERE release_seq <> relayed_seq")
            return not waits and all(positions.get(place, 0) >= end for place, end in ends.items())

        if not self.running:
            self.start(1)
        self.until(done, "everything was taken and published")
        self.records = sum(ends.values())

    def stop(self) -> None:
        """Ends the workers as an operator does."""
        self.supervised = False
        for worker in self.running:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.process.wait(60)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                raise NotAsItMustBe(f"a worker did not end when it was asked to\n{self.told()}") from None

    def prove(self, *, doubled: bool = False) -> list[str]:
        """What is not as it must be. `doubled`: orders may have been published again under their own number by a store that went back."""
        found = audit(self.installation)
        problems = [f"{check.id}: {check.name}: {check.examples}" for check in found.checks if not check.ok]
        if found.digest != self.ground.expected:
            problems.append(f"digest {found.digest}, undisturbed {self.ground.expected}")
        ((accounted, dead),) = self.ask("SELECT coalesce(sum(applied + duplicate + conflict + dead_letter), 0), coalesce(sum(dead_letter), 0) FROM frame")
        if int(str(accounted)) != self.records:
            problems.append(f"{accounted} of {self.records} records have a disposition")
        if int(str(dead)) < self.dead_letters:
            problems.append(f"{dead} dead letters, at least {self.dead_letters} were put")
        return problems + self._published(doubled)

    def published(self) -> dict[int, list[ReleasedOrder]]:
        """The messages on `payment.orders` by shard, in their order."""
        places = [TopicPartition(ORDERS, shard) for shard in range(SHARDS)]
        consumer = KafkaConsumer(**self.ground.cluster.client("faults"), enable_auto_commit=False)
        found: dict[int, list[ReleasedOrder]] = {shard: [] for shard in range(SHARDS)}
        try:
            ends = consumer.end_offsets(places)
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            while any(consumer.position(place) < ends[place] for place in places):
                for place, records in consumer.poll(timeout_ms=1000).items():
                    found[place.partition] += [decode_released(record.value) for record in records]
        finally:
            consumer.close()
        return found

    def _published(self, doubled: bool) -> list[str]:
        """A consumer that drops the ids it has seen must come to every released order, once and in order."""
        problems = []
        for shard, messages in self.published().items():
            seen: dict[str, ReleasedOrder] = {}
            for message in messages:
                earlier = seen.setdefault(message.order, message)
                if (earlier.amount, earlier.account, earlier.subject) != (message.amount, message.account, message.subject):
                    problems.append(f"{message.order} was published with {earlier.amount} and again with {message.amount}")
            numbers = [message.release_seq for message in seen.values()]
            if not doubled and numbers != list(range(1, len(numbers) + 1)):
                problems.append(f"shard {shard}: orders were published out of order or with a gap: {numbers[:20]}…")
            rows = self.ask(f"SELECT encode(order_id, 'hex') FROM payment_order WHERE shard = {shard} AND release_seq > 0")
            if len(rows) != len(seen):
                problems.append(f"shard {shard}: {len(seen)} orders were published, {len(rows)} are released")
        return problems

    def proven_by(self, problems: Sequence[str]) -> None:
        """The proof of this case; NotAsItMustBe where there are problems."""
        if problems:
            raise NotAsItMustBe(lines(problems) + "\n" + self.told())
        self.proven = True

    def finish(self, *, doubled: bool = False) -> None:
        """Everything is taken and published, the workers end, and all is as it must be."""
        self.settle()
        self.stop()
        self.proven_by(self.prove(doubled=doubled))

    def close(self) -> None:
        """Leaves nothing: processes, database, files."""
        self.supervised = False
        for worker in self.workers:
            if worker.code is None:
                worker.process.kill()
            worker.process.wait()
        self.ground.execute(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")
        shutil.rmtree(self.home, ignore_errors=True)
