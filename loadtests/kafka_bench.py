"""How many events a second two Faust workers take from Kafka: broker, PostgreSQL, two workers and this program on the same cores.

    python -m loadtests.kafka_bench

One assessment of each tax unit of the shipped data, 280,005 events, as `loadtests.bench` takes them from the embedded log. They are in Kafka before
the workers start; the clock runs from the first frame to the last, and once more from the start of the processes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from connectors.broker import Brokers
from connectors.embedded_postgres import EmbeddedPostgres
from connectors.kafka_cluster import Cluster
from connectors.kafka_log import KafkaWriter
from connectors.kafka_topics import Topics, TopicShape
from connectors.population import TAX, Population
from connectors.registries import load_registries
from connectors.store import proof
from connectors.store.servers import Store, connect
from pipeline.sharding import partition_of
from streams.settings import SHIPPED
from streams.topics import all_topics

from .bench import CLEAN, RULE, UNITS

SHARDS = 8


class Outcome(NamedTuple):
    """What one run came to. `whole_s` counts from the start of the processes, `taking_s` from the first frame to the last; `busy_s` are processor seconds."""

    events: int
    workers: int
    put_s: float
    whole_s: float
    taking_s: float
    orders: int
    busy_s: float

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.events:,} events put into Kafka in {self.put_s:.1f} s: {self.events / self.put_s:,.0f} events/s",
            f"{self.workers} workers took them in {self.taking_s:.1f} s: {self.events / self.taking_s:,.0f} events/s, {self.orders:,} orders",
            f"with the start of the processes {self.whole_s:.1f} s: {self.events / self.whole_s:,.0f} events/s",
            f"processor time of the workers with their start: {self.busy_s:.1f} s, {self.busy_s / self.events * 1e6:.0f} microseconds an event",
        ]


def put(cluster: Cluster, units: int | None) -> tuple[int, float]:
    """Puts the population's events into Kafka; gives their number and the seconds."""
    started, events = time.perf_counter(), 0
    with KafkaWriter(cluster) as writer:
        for topic, records in Population(UNITS, 7, CLEAN, first=units).events():
            if topic != TAX:
                continue
            parts: dict[int, list[tuple[bytes, bytes]]] = {}
            for record in records:
                parts.setdefault(partition_of(record[0], SHARDS), []).append(record)
            for shard, part in parts.items():
                writer.append(topic, shard, part)
            events += len(records)
        writer.flush()
    return events, time.perf_counter() - started


def measure(home: Path, tools: Path, units: int | None, workers: int, port: int) -> Outcome:
    """One run."""
    topics = all_topics(load_registries(SHIPPED / "registries"))
    brokers = Brokers(home / "kafka", tools)
    with EmbeddedPostgres(home / "store") as server:
        Store.provision([server.url], SHARDS)
        try:
            servers = [node.address for node in brokers.up(port=port)]
            cluster = Cluster(tuple(servers))
            with Topics(cluster) as made:
                made.create_missing(topics, TopicShape(SHARDS, 1, 1, 24))
            events, put_s = put(cluster, units)
            started = time.perf_counter()
            ended, busy_s = _work(home, server.url, servers, workers, events)
            with connect(server.url, "kafka bench") as connection:
                row = connection.execute("SELECT extract(epoch FROM max(taken_at) - min(taken_at)), (SELECT count(*) FROM payment_order) FROM frame").fetchone()
        finally:
            brokers.down()
    assert row is not None, "frames were taken"
    return Outcome(events, workers, put_s, ended - started, float(str(row[0])), int(str(row[1])), busy_s)


def _work(home: Path, url: str, servers: list[str], workers: int, events: int) -> tuple[float, float]:
    """Runs workers until every event is behind a position; gives the moment, and their processor time."""
    environment = os.environ | {
        "PAYOUT_HOME": str(home), "PAYOUT_STORE_URLS": url, "PAYOUT_RULES": str(RULE), "PAYOUT_TRUST_RULES": "true", "PAYOUT_SHARDS": str(SHARDS),
        "PAYOUT_KAFKA__SERVERS": " ".join(servers), "PAYOUT_KAFKA__REPLICATION_FACTOR": "1", "PAYOUT_KAFKA__MIN_INSYNC_REPLICAS": "1",
        "POLARS_MAX_THREADS": "1",
    }  # fmt: skip
    command = [sys.executable, "-c", "from streams.cli import main; main()", "worker"]
    with (home / "workers.log").open("ab") as log:
        running = [subprocess.Popen(command, env=environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, stdout=log, stderr=log) for _ in range(workers)]
        try:
            with connect(url, "kafka bench") as connection:
                while sum(proof.positions(connection).values()) < events:
                    if any(process.poll() is not None for process in running):
                        raise SystemExit(f"a worker ended; see {log.name}")
                    time.sleep(0.1)
            ended = time.perf_counter()
        finally:
            for process in running:
                process.send_signal(signal.SIGTERM)
            used = [os.wait4(process.pid, 0)[2] for process in running]
    return ended, sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=None, help="only so many tax units")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--port", type=int, default=29_092)
    parser.add_argument("--tools", type=Path, default=SHIPPED / ".kafka", help="folder in which Kafka is, or is fetched to")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="payout-kafka-bench-"))
    try:
        outcome = measure(home, arguments.tools, arguments.units, arguments.workers, arguments.port)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(json.dumps(outcome._asdict()) if arguments.json else "\n".join(outcome.lines()))


if __name__ == "__main__":
    main()
