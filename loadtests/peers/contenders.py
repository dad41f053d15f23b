"""The contenders: each as a name, how many processes or threads it has, and one run of it in an arena."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from connectors.population import TAX
from connectors.store import proof
from connectors.store.servers import Connection, Row, connect
from loadtests.bench import RULE
from loadtests.site import PARTITIONS

from . import plain_faust
from .arena import Arena, Work
from .job import Due
from .kafka_streams import Program
from .report import Run


class Contender(Protocol):
    """One who does the job."""

    name: str

    def run(self, arena: Arena, topic: str, rounds: int, events: int, due: Due) -> Run:
        """Takes the events of a topic once."""


def worker_environment(arena: Arena, url: str) -> dict[str, str]:
    """The settings of a worker in the arena."""
    return {
        "PAYOUT_HOME": str(arena.home), "PAYOUT_STORE_URLS": url, "PAYOUT_RULES": str(RULE), "PAYOUT_TRUST_RULES": "true",
        "PAYOUT_SHARDS": str(PARTITIONS), "PAYOUT_KAFKA__SERVERS": " ".join(arena.servers), "PAYOUT_KAFKA__REPLICATION_FACTOR": "1",
        "PAYOUT_KAFKA__MIN_INSYNC_REPLICAS": "1", "PAYOUT_KAFKA__GROUP": f"bench-{arena.number()}", "POLARS_MAX_THREADS": "1",
    }  # fmt: skip


WORKER = (sys.executable, "-c", "from streams.cli import main; main()", "worker")


class Ours:
    """`payout worker`, as users start it, or another command that does the same and tells more."""

    def __init__(self, workers: int, command: Sequence[str] = WORKER) -> None:
        self.name, self._workers, self._command = f"Faust workers with lanes, {workers}", workers, command

    def run(self, arena: Arena, topic: str, rounds: int, events: int, due: Due) -> Run:
        """One run."""
        assert topic == TAX, "a worker takes the topics of the registries"
        url, log = arena.database(), arena.home / f"ours-{arena.number()}.log"
        environment = worker_environment(arena, url)
        with connect(url, "bench") as connection:
            before = _bytes(connection)
            whole_s, taking_s, used = arena.work(Work([self._command] * self._workers, log, environment, _positions(connection), _first(connection)), events)
            orders, amount_minor = _ordered(connection)
            grown = _grown(connection, before)
        arena.drop(url)
        return Run(self.name, rounds, events, whole_s, taking_s, orders, amount_minor, Due(orders, amount_minor) == due, used, grown)


class Bare:
    """The bare path."""

    def __init__(self, processes: int) -> None:
        self.name, self._processes = f"bare path, {processes} process{'es' if processes > 1 else ''}", processes

    def run(self, arena: Arena, topic: str, rounds: int, events: int, due: Due) -> Run:
        """One run; nothing is decided, so nothing is exact or not."""
        url, log = arena.database(), arena.home / f"bare-{arena.number()}.log"
        shares = [list(range(number, PARTITIONS, self._processes)) for number in range(self._processes)]
        held = arena.records(topic)
        commands = [
            [sys.executable, "-m", "loadtests.peers.bare_path", url, " ".join(arena.servers), topic,
             ",".join(map(str, share)), str(sum(held[number] for number in share))]
            for share in shares
        ]  # fmt: skip
        with connect(url, "bench") as connection:
            before = _bytes(connection)
            whole_s, taking_s, used = arena.work(Work(commands, log, {}, _positions(connection), _first(connection)), events)
            grown = _grown(connection, before)
        arena.drop(url)
        return Run(self.name, rounds, events, whole_s, taking_s, 0, 0, None, used, grown)


class PlainFaust:
    """A plain Faust agent; it takes fewer events, since all would take minutes."""

    def __init__(self, batch: int) -> None:
        self.name, self._batch = "plain Faust agent, a transaction per event" if batch == 1 else f"plain Faust, take({batch})", batch

    def run(self, arena: Arena, topic: str, rounds: int, events: int, due: Due) -> Run:
        """One run."""
        url, log = arena.database(provisioned=False), arena.home / f"plain-{arena.number()}.log"
        command = [
            sys.executable,
            "-m",
            "loadtests.peers.plain_faust",
            url,
            " ".join(arena.servers),
            topic,
            f"plain-{arena.number()}",
            str(events),
            str(self._batch),
        ]
        first: list[float] = []
        with connect(url, "bench") as connection:
            connection.execute(plain_faust.SCHEMA.encode())

            def taken() -> int:
                number = int(str(_row(connection, "SELECT events FROM taken")[0]))
                if number and not first:
                    first.append(time.time())
                return number

            whole_s, taking_s, used = arena.work(Work([command], log, {}, taken, lambda: first[0]), events)
            orders, amount_minor = _ordered(connection)
        arena.drop(url)
        return Run(self.name, rounds, events, whole_s, taking_s, orders, amount_minor, Due(orders, amount_minor) == due, used, {})


class KafkaStreams:
    """Kafka Streams with exactly_once_v2 and RocksDB."""

    def __init__(self, program: Program, threads: int) -> None:
        self.name, self._program, self._threads = f"Kafka Streams, exactly_once_v2, {threads} thread{'s' if threads > 1 else ''}", program, threads

    def run(self, arena: Arena, topic: str, rounds: int, events: int, due: Due) -> Run:
        """One run; its topics are gone afterwards."""
        application = f"streams-{arena.number()}"
        orders_topic, state, log = f"{application}-orders", arena.home / application, arena.home / f"{application}.log"
        arena.topics(orders_topic)
        command = self._program.command(",".join(arena.servers), application, (topic, orders_topic), self._threads, state, events)
        work = Work([command], log, {}, lambda: events if _said(log, "done") else 0, lambda: _said(log, "first"))
        whole_s, taking_s, used = arena.work(work, events)
        orders, amount_minor = arena.orders_in(orders_topic)
        arena.forget(application)
        shutil.rmtree(state, ignore_errors=True)
        return Run(self.name, rounds, events, whole_s, taking_s, orders, amount_minor, Due(orders, amount_minor) == due, used, {})


def _positions(connection: Connection[Row]) -> Callable[[], int]:
    return lambda: sum(proof.positions(connection).values())


def _first(connection: Connection[Row]) -> Callable[[], float]:
    return lambda: float(str(_row(connection, "SELECT extract(epoch FROM min(taken_at)) FROM frame")[0]))


def _ordered(connection: Connection[Row]) -> tuple[int, int]:
    orders, amount_minor = _row(connection, "SELECT count(*), coalesce(sum(amount_minor), 0) FROM payment_order")
    return int(str(orders)), int(str(amount_minor))


def _bytes(connection: Connection[Row]) -> dict[str, int]:
    database, wal = _row(connection, "SELECT pg_database_size(current_database()), pg_current_wal_lsn() - '0/0'")
    return {"database": int(str(database)), "wal": int(str(wal))}


def _grown(connection: Connection[Row], before: Mapping[str, int]) -> dict[str, int]:
    """By how many bytes the database and its log of changes have grown."""
    return {name: after - before[name] for name, after in _bytes(connection).items()}


def _row(connection: Connection[Row], query: str) -> Row:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None, "an aggregate has a row"
    return row


def _said(log: Path, word: str) -> float:
    """The moment that a program of Java told, in seconds; 0 where it has not."""
    told = [line.split()[1] for line in log.read_text(errors="replace").splitlines() if line.startswith(f"{word} ")]
    return int(told[-1]) / 1000 if told else 0.0
