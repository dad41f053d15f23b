"""The ground on which faults are tried: three brokers and a PostgreSQL, a proxy before each, and what the undisturbed run comes to."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

import psycopg
from kafka.admin import KafkaAdminClient  # type: ignore[import-untyped]
from pydantic import SecretStr

from connectors.broker import Brokers
from connectors.embedded_postgres import EmbeddedPostgres, main_process
from connectors.kafka_cluster import Cluster
from connectors.population import DemoShares, Population
from connectors.registries import load_registries
from connectors.segment_log import LogWriter, create_topic
from connectors.store.servers import Store
from loadtests.proxy import Kafka, Postgres, Proxy
from pipeline.observing import Silent
from pipeline.sharding import by_partition
from streams.audit import Digest, digest_of
from streams.installation import Installation
from streams.lanes import Lanes
from streams.settings import SHIPPED, load_settings
from streams.topics import all_topics

SHARDS = 4
NODES = 3
SLICE = 50
"""Events of a topic that are put at once."""

REGISTRIES = ("accounts.yaml", "residency.yaml", "us-irs.yaml")
"""Those of which the events come: each further topic costs every case a second."""

RULE = SHIPPED / "benefits" / "us-eip1" / "2020-03-27.yaml"
SHARES = DemoShares(
    no_account=0.02, account_closed=0.01, account_shared=0.01, dead=0.02, income_unknown=0.01, corrected=0.05, overtaken=0.02, withdrawn=0.02,
    late_account=0.05, late_tax=0.05, conflicts=5, corrupt=16, duplicated_events=0.05, reordered_events=0.1,
)  # fmt: skip
"""Every case meets duplicates, disorder, lateness, conflicts and corruption, whatever else befalls it."""


class NotAsItMustBe(AssertionError):
    """A case did not end as it must, or its fault never fired."""


class Slice(NamedTuple):
    """Records of one topic and shard that are put at once."""

    topic: str
    shard: int
    records: list[tuple[bytes, bytes]]


def slices_of(population: Population) -> list[Slice]:
    """The population's events as they are put: in order within each topic, the topics beside each other, the late ones in the end."""
    by_topic: dict[str, list[list[tuple[bytes, bytes]]]] = {}
    for topic, records in population.events():
        by_topic.setdefault(topic, []).extend(records[start : start + SLICE] for start in range(0, len(records), SLICE))
    found = []
    for turn in range(max(map(len, by_topic.values()))):
        for topic, pieces in by_topic.items():
            now = pieces[turn] if turn < len(pieces) else []
            found += [Slice(topic, shard, part) for shard, part in by_partition(now, SHARDS).items()]
    return found


class Ground:
    """Brokers, server and proxies, running; use it with `with`."""

    def __init__(self, directory: Path, tools: Path, subjects: int, *, mount: bool) -> None:
        self.directory, self.mount, self.registries_folder = directory, mount, directory / "registries"
        self.registries_folder.mkdir()
        for name in REGISTRIES:
            shutil.copy(SHIPPED / "registries" / name, self.registries_folder)
        self.registries = load_registries(self.registries_folder)
        self.topics = all_topics(self.registries)
        self.slices = slices_of(Population(SHIPPED / "data" / "us-cps-tax-units.parquet", 7, SHARES, first=subjects))
        self.events = sum(len(part.records) for part in self.slices)
        self.brokers = Brokers(directory / "kafka", tools)
        self.broker_proxies: list[Proxy] = []
        self.expected: Digest
        self.dead_letters = 0
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def _begin(self) -> None:
        self._server = self._stack.enter_context(EmbeddedPostgres(self.directory / "server"))
        folder = parse_qs(urlsplit(self._server.url).query)["host"][0]
        self.store_proxy = self._stack.enter_context(Proxy(next(Path(folder).glob(".s.PGSQL.*[0-9]")), Postgres))
        self.execute("CREATE DATABASE prepared")
        Store.provision([self.direct_url("prepared")], SHARDS)
        self.expected = self._undisturbed()
        self._stack.callback(self.brokers.down)
        self.brokers.make(NODES, _free_ports())
        for number in range(1, NODES + 1):
            self._put_behind_proxy(number)
        self.brokers.up(NODES)

    def _put_behind_proxy(self, number: int) -> None:
        """Lets clients reach a broker through a proxy only, and the brokers each other directly; failover is quick."""
        path = self.brokers.directory / f"node{number}" / "server.properties"
        text = path.read_text()
        port = int(re.search(r"^advertised\.listeners=PLAINTEXT://127\.0\.0\.1:(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
        proxy = self._stack.enter_context(Proxy(("127.0.0.1", port), Kafka))
        self.broker_proxies.append(proxy)
        for name, value in {
            "listeners": f"INNER://127.0.0.1:{port + 2},PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{port + 1}",
            "advertised.listeners": f"INNER://127.0.0.1:{port + 2},PLAINTEXT://127.0.0.1:{proxy.port}",
            "inter.broker.listener.name": "INNER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,INNER:PLAINTEXT",
            "broker.session.timeout.ms": "6000",
            "broker.heartbeat.interval.ms": "500",
        }.items():
            text = re.sub(rf"^{re.escape(name)}=.*\n", "", text, flags=re.MULTILINE) + f"{name}={value}\n"
        path.write_text(text)

    @property
    def cluster(self) -> Cluster:
        """The brokers as clients reach them."""
        return Cluster(tuple(f"127.0.0.1:{proxy.port}" for proxy in self.broker_proxies))

    def direct_url(self, database: str) -> str:
        """A database, past the proxy."""
        return self._server.url_of(database)

    def proxied_url(self, database: str) -> str:
        """A database through the proxy."""
        return f"postgresql://payout@127.0.0.1:{self.store_proxy.port}/{database}?sslmode=disable&gssencmode=disable"

    def execute(self, statement: str, database: str = "payout", url: str = "") -> list[tuple[object, ...]]:
        """Rows of a statement, past the proxy."""
        with psycopg.connect(url or self.direct_url(database), autocommit=True, application_name="faults") as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def kill_server(self, number: int = signal.SIGKILL) -> int:
        """Kills PostgreSQL's main process, or stops it by another signal; its keeper starts it again."""
        pid = self.store_process
        os.kill(pid, number)
        return pid

    def node(self, number: int) -> int:
        """The process of a broker; 0 where it does not run."""
        return next(node.pid for node in self.brokers.nodes() if node.number == number)

    def node_signal(self, number: int, signal_number: int) -> int:
        """Sends a signal to a broker; gives its process."""
        pid = self.node(number)
        if pid == 0:
            raise NotAsItMustBe(f"broker {number} does not run")
        os.kill(pid, signal_number)
        return pid

    def heal(self) -> None:
        """Everything runs and nothing is broken."""
        for proxy in (self.store_proxy, *self.broker_proxies):
            proxy.heal()
        for node in self.brokers.nodes():
            if node.pid:
                os.kill(node.pid, signal.SIGCONT)
        self.brokers.up(NODES)

    def in_sync(self) -> bool:
        """Whether every broker has every record that it is to have."""
        admin = KafkaAdminClient(**self.cluster.client("faults"))
        try:
            return all(len(part["isr_nodes"]) == NODES for topic in admin.describe_topics() for part in topic["partitions"])
        finally:
            admin.close()

    @property
    def server_version(self) -> str:
        """Which PostgreSQL it is."""
        return str(self.execute("SHOW server_version")[0][0])

    @property
    def store_process(self) -> int:
        """PostgreSQL's main process."""
        return main_process(self.directory / "server")

    def settings(self, home: Path, database: str, **more: Any) -> dict[str, Any]:
        """What installations of this ground have in common."""
        urls = [SecretStr(self.direct_url(database))]
        rules = {"rules": [str(RULE)], "trust_rules": True, "registries": self.registries_folder}
        return {"home": home, "store_urls": urls, "shards": SHARDS, "frame_records": 60, **rules, **more}

    def _undisturbed(self) -> Digest:
        """What the embedded run of the same events comes to."""
        home = self.directory / "undisturbed"
        self.execute("CREATE DATABASE undisturbed TEMPLATE prepared")
        store = Store([self.direct_url("undisturbed")], SHARDS)
        installation = Installation(load_settings(**self.settings(home, "undisturbed")), store, self.registries)
        for topic in self.topics:
            create_topic(home / "log", topic, SHARDS)
        with LogWriter(home / "log", fsync="close") as writer:
            for part in self.slices:
                writer.append(part.topic, part.shard, part.records)
        lanes = Lanes(installation, installation.standing, range(SHARDS), Silent())
        try:
            lanes.claim()
            while lanes.step():
                pass
            self.dead_letters = len(self.execute("SELECT 1 FROM dead_letter", "undisturbed"))
            return digest_of(installation)
        finally:
            lanes.close()
            shutil.rmtree(home, ignore_errors=True)


def _free_ports() -> int:
    """A port from which on each broker finds its own, a hundred apart."""
    for first in range(20_000 + os.getpid() % 5_000, 60_000, 7):
        with ExitStack() as stack:
            try:
                for port in (first + 100 * node + place for node in range(NODES) for place in range(3)):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return first
    raise NotAsItMustBe("no free ports were found")


def lines(sequence: Sequence[str], limit: int = 12) -> str:
    """Some lines of many."""
    return "\n".join([*sequence[:limit], *([f"and {len(sequence) - limit} more"] if len(sequence) > limit else [])])
