"""Where a bench works: an installation on the embedded log or on Kafka, the program's own processes, and what is seen of them from outside."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

from connectors.broker import Brokers
from connectors.embedded_postgres import EmbeddedPostgres, main_process
from connectors.event_feed import Writer
from connectors.kafka_cluster import Cluster
from connectors.kafka_log import KafkaWriter
from connectors.kafka_topics import Topics, TopicShape
from connectors.log_batch import Record
from connectors.population import TAX
from connectors.registries import load_registries
from connectors.segment_log import LogWriter, create_topic
from connectors.store.servers import Connection, Row, Store, connect
from pipeline.sharding import partition_of
from streams.settings import SHIPPED
from streams.topics import all_topics

from .bench import RULE, SHARDS

PARTITIONS = 4
PROGRAM = (sys.executable, "-c", "from streams.cli import main; main()")
STOP_S = 60.0


class SiteFailed(Exception):
    """The program ended, or did not come as far as it had to; what it said."""


class Ordered(NamedTuple):
    """What stands in the store: orders, their sum, and what is owed to everybody together."""

    orders: int
    amount_minor: int
    owed_minor: int


class Site:
    """An installation that takes assessments of tax units. `start` starts the program, `put` appends to its log."""

    def __init__(self, kind: str, home: Path, server: EmbeddedPostgres, shards: int, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.kind, self.home, self.shards, self.url = kind, home, shards, server.url
        self._server, self._command, self._environment = server, command, dict(environment)
        self.running: list[subprocess.Popen[bytes]] = []
        self.broker_pid = 0
        self.writer: Writer | None = None
        self.put_records = 0

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Starts the program once more."""
        with (self.home / f"program-{len(self.running)}.log").open("wb") as log:
            process = subprocess.Popen(
                self._command, env=os.environ | self._environment | environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.running.append(process)
        return process

    def put(self, records: Sequence[Record]) -> dict[int, list[int]]:
        """Appends records, each to the partition of its key; gives the places of those that each partition got."""
        assert self.writer is not None, "the site is open"
        parts: dict[int, list[int]] = {}
        for place, (key, _) in enumerate(records):
            parts.setdefault(partition_of(key, self.shards), []).append(place)
        for partition, places in parts.items():
            self.writer.append(TAX, partition, [records[place] for place in places])
        self.put_records += len(records)
        return parts

    def look(self) -> None:
        """SiteFailed where a process of the program has ended by itself."""
        for number, process in enumerate(self.running):
            if process.poll() not in (None, -signal.SIGKILL):
                raise SiteFailed((self.home / f"program-{number}.log").read_text(errors="replace")[-1500:])

    def until(self, happened: Callable[[], bool], what: str, within_s: float = 600.0) -> None:
        """Looks again and again until something has happened."""
        deadline = time.monotonic() + within_s
        while not happened():
            self.look()
            if time.monotonic() > deadline:
                raise SiteFailed(f"in {within_s:.0f} s it did not happen that {what}")
            time.sleep(0.02)

    def until_claimed(self, connection: Connection[Row]) -> None:
        """Waits until the program has claimed every shard."""
        self.until(lambda: connection.execute("SELECT count(*) FROM lane WHERE epoch > 0").fetchone() == (self.shards,), "every shard is claimed")

    def processes(self) -> dict[str, psutil.Process]:
        """Every process at work by a name: the program's, PostgreSQL's and the broker's."""
        found: dict[str, psutil.Process] = {}
        for number, program in enumerate(process for process in self.running if process.poll() is None):
            found[f"{self._command[-1]} {number}"] = root = psutil.Process(program.pid)
            for child in root.children():
                if "resource_tracker" not in " ".join(child.cmdline()):
                    found[f"lanes {sum(name.startswith('lanes') for name in found)}"] = child
        found["postgresql"] = psutil.Process(main_process(self._server.directory))
        if self.broker_pid:
            found["broker"] = psutil.Process(self.broker_pid)
        return found

    def disk_bytes(self) -> int:
        """Bytes that the log and the store take on the disk."""
        return sum(512 * path.stat().st_blocks for path in self.home.rglob("*") if path.is_file())

    def stop(self) -> None:
        """Ends the program; SIGKILL for what does not end."""
        for process in self.running:
            if process.poll() is None:
                process.terminate()
        for process in self.running:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def positions(connection: Connection[Row]) -> dict[int, int]:
    """The next offset of the assessments by shard."""
    found = connection.execute("SELECT shard, next_offset FROM position WHERE topic = %s", (TAX,))
    return {int(str(shard)): int(str(offset)) for shard, offset in found}


def ordered(connection: Connection[Row]) -> Ordered:
    """What stands in the store."""
    row = connection.execute(
        "SELECT count(*), coalesce(sum(amount_minor), 0), (SELECT coalesce(sum(owed_minor), 0) FROM entitlement) FROM payment_order"
    ).fetchone()
    assert row is not None, "an aggregate has a row"
    return Ordered(*(int(str(value)) for value in row))


@contextmanager
def embedded_site(home: Path, **environment: str) -> Iterator[Site]:
    """`payout run` on the embedded log and store."""
    with EmbeddedPostgres(home / "store") as server:
        Store.provision([server.url], SHARDS)
        for topic in all_topics(load_registries(SHIPPED / "registries")):
            create_topic(home / "log", topic, SHARDS)
        own = {"PAYOUT_HOME": str(home), "PAYOUT_RULES": str(RULE), "PAYOUT_TRUST_RULES": "true", "PAYOUT_SHARDS": str(SHARDS), "PAYOUT_LOG_LEVEL": "warning"}
        site = Site("embedded", home, server, SHARDS, (*PROGRAM, "run"), own | environment)
        with LogWriter(home / "log", fsync="close") as site.writer:
            try:
                yield site
            finally:
                site.stop()


@contextmanager
def kafka_site(home: Path, tools: Path, **environment: str) -> Iterator[Site]:
    """`payout worker` with a broker and a server of its own; start as many as there are to be."""
    brokers = Brokers(home / "kafka", tools)
    with EmbeddedPostgres(home / "store") as server:
        try:
            brokers.up(port=free_ports(2))
            Store.provision([server.url], PARTITIONS)
            cluster = Cluster(tuple(brokers.servers))
            with Topics(cluster) as topics:
                topics.create_missing(all_topics(load_registries(SHIPPED / "registries")), TopicShape(PARTITIONS, 1, 1, 24))
            own = {
                "PAYOUT_HOME": str(home), "PAYOUT_STORE_URLS": server.url, "PAYOUT_RULES": str(RULE), "PAYOUT_TRUST_RULES": "true",
                "PAYOUT_SHARDS": str(PARTITIONS), "PAYOUT_KAFKA__SERVERS": " ".join(brokers.servers), "PAYOUT_KAFKA__REPLICATION_FACTOR": "1",
                "PAYOUT_KAFKA__MIN_INSYNC_REPLICAS": "1", "POLARS_MAX_THREADS": "1", "PAYOUT_LOG_LEVEL": "info", "PAYOUT_LOG_FORMAT": "json",
            }  # fmt: skip
            site = Site("kafka", home, server, PARTITIONS, (*PROGRAM, "worker"), own | environment)
            site.broker_pid = brokers.nodes()[0].pid
            with KafkaWriter(cluster, "payout-bench") as site.writer:
                try:
                    yield site
                finally:
                    site.stop()
        finally:
            brokers.down()


@contextmanager
def looking(site: Site) -> Iterator[Connection[Row]]:
    """A connection of the bench's own to the store of a site."""
    with connect(site.url, "bench") as connection:
        yield connection


def free_ports(count: int) -> int:
    """The first of so many ports in a row that are free."""
    while True:
        with ExitStack() as stack:
            first, *others = [stack.enter_context(socket.socket()) for _ in range(count)]
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                for number, other in enumerate(others, 1):
                    other.bind(("127.0.0.1", port + number))
            except (OSError, OverflowError):
                continue
            return port
