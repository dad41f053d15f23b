"""An installation whose events come through a real Kafka broker, and workers as processes of their own that share its shards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from time import monotonic

import msgspec
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from story import Said, Story, person

from connectors.kafka_cluster import Cluster
from connectors.kafka_log import KafkaWriter
from connectors.kafka_topics import Topics, TopicShape, log_ends
from pipeline.sharding import partition_of
from streams.audit import Digest
from streams.kafka_settings import Kafka
from streams.settings import SHIPPED
from streams.topics import ORDERS, all_topics

TOOLS = Path(os.environ.get("PAYOUT_TOOLS") or SHIPPED / ".kafka")

PATIENCE_S = 120
"""A machine may be busy with something else; what has not happened by then does not happen."""

SESSION_S = 6
"""The shortest time after which a broker misses a worker that was killed."""


def until(happened: Callable[[], bool], what: str) -> None:
    """Looks again and again until something has happened; two minutes without it are a failure."""
    deadline, pause = monotonic() + PATIENCE_S, Event()
    while not happened():
        assert monotonic() < deadline, f"in {PATIENCE_S} s it did not happen that {what}"
        pause.wait(0.05)


def everybody(people: int = 240) -> list[Said]:
    """Three records of each."""
    return [record for number in range(people) for record in person(f"us-{number:03}", 20_000 + 500 * number)]


@contextmanager
def undisturbed_run(home: Path, records: Sequence[Said]) -> Iterator[Digest]:
    """What an embedded run of these records comes to."""
    story = Story(home, shards=4)
    story.hears(records)
    yield story.digest()
    story.close()


class Reference(msgspec.Struct):
    """What the embedded run comes to."""

    digest: Digest
    orders: list[tuple[str, int, int]]


def orders_of(story: Story) -> list[tuple[str, int, int]]:
    """Who is paid how much."""
    return [(order.subject, order.sequence, order.amount_minor) for order in story.orders()]


def dispositions(story: Story) -> dict[str, int]:
    """What became of the records, over all frames."""
    ((applied, duplicate, conflict, dead),) = story.ask("SELECT sum(applied), sum(duplicate), sum(conflict), sum(dead_letter) FROM frame")
    return {"applied": applied, "duplicate": duplicate, "conflict": conflict, "dead_letter": dead}


class Worker:
    """`payout worker` in a process of its own, with its log."""

    def __init__(self, environment: dict[str, str], log: Path, command: Sequence[str] = ("-c", "from streams.cli import main; main()", "worker")) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command], env=os.environ | environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )

    @property
    def text(self) -> str:
        """Its log."""
        return self.log.read_text(errors="replace")

    def said(self, text: str) -> int:
        """How often its log has a text."""
        return self.text.count(text)

    @property
    def claimed(self) -> list[int] | None:
        """The shards that it has claimed last, None where it has not yet."""
        lines = [line for line in self.text.splitlines() if "shards claimed" in line]
        found = re.search(r'\bshards"?[=:] ?\[([\d, ]*)\]', lines[-1]) if lines else None  # under `faust worker` the log is not JSON
        return [int(shard) for shard in found[1].split(",")] if found else None

    @property
    def owner(self) -> str:
        """What stands in the store as the owner of its shards."""
        return f"{os.uname().nodename}:{self.process.pid}"

    def kill(self) -> None:
        """Kills it as a failing machine would; returns when it is gone."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stops its clock: it does nothing until `thaw`."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on as if nothing had happened."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Asks it to end; gives its exit code."""
        if self.process.poll() is None:
            self.thaw()
            self.process.terminate()
        return self.process.wait(PATIENCE_S)


class Town:
    """An installation whose events come through Kafka. `provision` makes its topics, `tell` puts records into them, `worker` starts a worker."""

    def __init__(self, story: Story, servers: Sequence[str], folder: Path, group: str) -> None:
        self.story, self.cluster, self._folder = story, Cluster(tuple(servers)), folder
        self.workers: list[Worker] = []
        self.kafka = Kafka(servers=tuple(servers), group=group, replication_factor=1, min_insync_replicas=1, session_s=SESSION_S)
        settings = story.installation.settings.model_copy(update={"kafka": self.kafka})
        story.installation = type(story.installation)(settings, story.installation.store, story.installation.registries)
        self.topics = all_topics(story.installation.registries)
        self.environment = {
            "PAYOUT_HOME": str(settings.home), "PAYOUT_STORE_URLS": " ".join(story.urls), "PAYOUT_SHARDS": str(story.shards),
            "PAYOUT_RULES": " ".join(map(str, settings.rules)), "PAYOUT_TRUST_RULES": "true", "PAYOUT_FRAME_RECORDS": str(settings.frame_records),
            "PAYOUT_KAFKA__SERVERS": " ".join(servers), "PAYOUT_KAFKA__GROUP": group, "PAYOUT_KAFKA__REPLICATION_FACTOR": "1",
            "PAYOUT_KAFKA__MIN_INSYNC_REPLICAS": "1", "PAYOUT_KAFKA__SESSION_S": str(SESSION_S), "PAYOUT_LOG_FORMAT": "json",
        }  # fmt: skip

    def clear(self) -> None:
        """Takes away the topics of the test before."""
        admin = KafkaAdminClient(**self.cluster.client("test"))
        try:
            if there := sorted(set(admin.list_topics()) & set(self.topics)):
                admin.delete_topics(there)
                until(lambda: not set(admin.list_topics()) & set(self.topics), "the topics of the test before are gone")
        finally:
            admin.close()

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

    def worker(self, *, command: Sequence[str] | None = None, **environment: str) -> Worker:
        """Starts one more worker."""
        log = self._folder / f"worker{len(self.workers)}.log"
        given = self.environment | environment
        self.workers.append(Worker(given, log) if command is None else Worker(given, log, command))
        return self.workers[-1]

    def owners(self) -> list[str]:
        """Who has claimed each shard."""
        return [owner for (owner,) in self.story.ask("SELECT owner FROM lane ORDER BY shard")]

    def await_owners(self, *workers: Worker) -> None:
        """Returns when exactly these workers have shards, and each has begun with those that stand for it in the store."""

        def share() -> bool:
            owners = self.owners()
            own = {worker: [shard for shard, owner in enumerate(owners) if owner == worker.owner] for worker in workers}
            return self._all_run() and all(shards and worker.claimed == shards for worker, shards in own.items()) and sum(map(len, own.values())) == len(owners)

        until(share, f"{len(workers)} workers share the shards")

    def taken(self) -> bool:
        """Whether every record in Kafka is behind a position."""
        positions = self.story.installation.positions()
        ends = log_ends(self.cluster, self.story.installation.topics, self.story.shards)
        return all(positions.get(place, 0) >= end for place, end in ends.items())

    def await_taken(self) -> None:
        """Returns when every record in Kafka is behind a position, and what follows from it is published."""

        def done() -> bool:
            waits = self.story.ask("SELECT 1 FROM lane JOIN relay USING (shard) WHERE release_seq > relayed_seq")
            return self._all_run() and not waits and self.taken()

        until(done, "everything was taken and published")

    def _all_run(self) -> bool:
        for worker in self.workers:
            assert worker.process.poll() in (None, 0, -signal.SIGKILL), worker.text[-3000:]
        return True

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

    def published_orders(self) -> list[str]:
        """The ids of the orders on `payment.orders`; one that comes twice is there twice."""
        return [msgspec.json.decode(message)["order"] for message in self.published()]

    def close(self) -> None:
        """Ends the workers, however they are."""
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.process.kill()
            worker.process.wait()
