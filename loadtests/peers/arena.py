"""Where contenders run: one broker, one PostgreSQL server, the events in topics that all of them read, and a clock that is the same for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil
from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from connectors.broker import Brokers
from connectors.embedded_postgres import EmbeddedPostgres, main_process
from connectors.kafka_cluster import Cluster
from connectors.kafka_topics import Topics, TopicShape, log_ends
from connectors.store.servers import Store, connect
from loadtests.bench import fresh_database
from loadtests.site import PARTITIONS
from streams.settings import SHIPPED

LOOK_S = 0.05
PATIENCE_S = 600.0


class Failed(Exception):
    """A contender ended before it was done; what it said."""


class Work(NamedTuple):
    """A contender's processes, and how to see how far they are: `taken` is asked again and again, `first` once at the end."""

    commands: Sequence[Sequence[str]]
    log: Path
    environment: Mapping[str, str]
    taken: Callable[[], int]
    first: Callable[[], float]


class Arena:
    """The broker and the server, for as long as it is open."""

    def __init__(self, home: Path, tools: Path, server: EmbeddedPostgres, brokers: Brokers) -> None:
        self.home, self.tools, self.server, self._brokers = home, tools, server, brokers
        self.servers = brokers.servers
        self.cluster = Cluster(tuple(self.servers))
        self._made = 0

    def topics(self, *names: str) -> None:
        """Makes topics that are not there."""
        with Topics(self.cluster) as made:
            made.create_missing(names, TopicShape(PARTITIONS, 1, 1, 24))

    def number(self) -> int:
        """A number that nothing else has had."""
        self._made += 1
        return self._made

    def database(self, *, provisioned: bool = True) -> str:
        """A fresh database."""
        url = fresh_database(self.server, f"run_{self.number()}")
        if provisioned:
            Store.provision([url], PARTITIONS)
        return url

    def drop(self, url: str) -> None:
        """Drops a database."""
        with connect(self.server.url, "bench") as connection:
            connection.execute(f"DROP DATABASE {url.partition('?')[0].rpartition('/')[2]}".encode())

    def records(self, topic: str) -> list[int]:
        """How many records each partition of a topic holds."""
        return [offset for _, offset in sorted(log_ends(self.cluster, [topic], PARTITIONS).items())]

    def orders_in(self, topic: str) -> tuple[int, int]:
        """Number and sum of the orders that were committed to a topic."""
        consumer = Consumer({"bootstrap.servers": ",".join(self.servers), "group.id": "bench", "enable.auto.commit": False,
                             "isolation.level": "read_committed", "enable.partition.eof": True})  # fmt: skip
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        orders = amount_minor = ended = 0
        while ended < PARTITIONS:
            for message in consumer.consume(10_000, 1.0):
                error = message.error()
                if error is None:
                    orders += 1
                    amount_minor += json.loads(message.value() or b"")["minor"]
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended += 1
                else:
                    raise Failed(f"{topic}: {error}")
        consumer.close()
        return orders, amount_minor

    def forget(self, prefix: str) -> None:
        """Deletes the topics whose names begin so."""
        admin = AdminClient({"bootstrap.servers": ",".join(self.servers)})
        names = [name for name in admin.list_topics(timeout=15).topics if name.startswith(prefix)]
        for deleted in admin.delete_topics(names).values():
            deleted.result(timeout=15)

    def work(self, work: Work, events: int) -> tuple[float, float, dict[str, float]]:
        """Lets processes work until so many events are taken; gives the whole time, the taking time, and processor seconds by who used them."""
        before, started = self._used(), time.time()
        with work.log.open("wb") as log:
            running = [
                subprocess.Popen(command, env=os.environ | work.environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                for command in work.commands
            ]
            try:
                _await(work, events, running)
                ended = time.time()
                after = self._used()
            finally:
                used = [_end(process) for process in running]
        processor_s = {name: after[name] - before[name] for name in after}
        return ended - started, ended - work.first(), processor_s | {"program": sum(used)}

    def _used(self) -> dict[str, float]:
        """Processor seconds of the broker and of PostgreSQL so far."""
        return {"broker": _seconds(self._brokers.nodes()[0].pid), "postgresql": _seconds(main_process(self.server.directory))}


@contextmanager
def arena(home: Path, tools: Path, port: int) -> Iterator[Arena]:
    """Starts broker and server, and stops them."""
    brokers = Brokers(home / "kafka", tools)
    with EmbeddedPostgres(home / "store") as server:
        try:
            brokers.up(port=port)
            yield Arena(home, tools, server, brokers)
        finally:
            brokers.down()


def _await(work: Work, events: int, running: Sequence[subprocess.Popen[bytes]]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (taken := work.taken()) < events:
        # It is waited for later, when what it used is asked for.
        ended = [os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) for process in running]
        if any(end is not None and end.si_status for end in ended):
            raise Failed(f"a contender ended: {work.log.read_text(errors='replace')[-1500:]}")
        if time.monotonic() > deadline:
            raise Failed(f"{taken:,} of {events:,} events in {PATIENCE_S:.0f} s: {work.log.read_text(errors='replace')[-1500:]}")
        time.sleep(LOOK_S)


def _end(process: subprocess.Popen[bytes]) -> float:
    """Ends a process; gives the processor seconds it used."""
    os.kill(process.pid, signal.SIGTERM)  # Popen's own would wait for one that has ended, and its usage be lost
    _, process.returncode, usage = os.wait4(process.pid, 0)
    return usage.ru_utime + usage.ru_stime


def _seconds(pid: int) -> float:
    """Processor seconds of a process, of its children that ended and of those that live."""
    root = psutil.Process(pid)
    own = root.cpu_times()
    return float(own.user + own.system + own.children_user + own.children_system + sum(sum(child.cpu_times()[:2]) for child in root.children()))
