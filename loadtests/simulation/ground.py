"""The ground of simulated histories: installations on a real embedded PostgreSQL, made once for a process and cleared between histories."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from connectors.embedded_postgres import EmbeddedPostgres
from connectors.keys import make_key
from connectors.registries import load_registries
from connectors.segment_log import create_topic
from connectors.store.rule_log import read_log, writing
from connectors.store.servers import Store, connect
from pipeline.rules import load_rule, parse_period
from pipeline.rules.life import Logged
from streams.installation import Installation, activate
from streams.rule_life import RuleLife
from streams.settings import SHIPPED, Approvals, Bank, Person, load_settings
from streams.topics import all_topics

from .sessions import KeptStore

BEGIN = datetime(2026, 11, 25, 9, tzinfo=UTC)
"""When every history begins."""

AMOUNTS = (1_200, 1_000, 1_500)
"""The full amount by each document of the benefit of persons; by the last one, orders of the full amount wait for a case worker."""

HOUSEHOLD_AMOUNTS = (300, 200)
"""The amount for each member by each document of the benefit of households."""

KEPT = ("schema_version", "store_info", "rule_document", "benefit_period", "rule_log")
FRAME_RECORDS = 50
BATCH_SIZE = 4


class Shape(NamedTuple):
    """How an installation is divided."""

    shards: int
    servers: int


UNDISTURBED = Shape(1, 1)
SHAPES = (Shape(1, 1), Shape(2, 1), Shape(3, 1), Shape(4, 2))


class Site:
    """An installation that is cleared and used again."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.prefix = len(read_log(installation.store))

    def clear(self) -> None:
        """Nothing is known, ordered or in the log; the documents stay submitted and approved."""
        installation = self.installation
        for server, connection in enumerate(installation.store.servers("payout simulation")):
            tables = [str(row[0]) for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")]
            with connection.transaction():
                connection.execute("SET LOCAL session_replication_role = replica")  # nothing is refused, only here
                connection.execute("; ".join(f"DELETE FROM {table}" for table in tables if table not in KEPT).encode())
                connection.execute(f"DELETE FROM rule_log WHERE entry > {self.prefix}".encode())
                for shard in installation.store.shards_of(server):
                    connection.execute(f"INSERT INTO lane (shard) VALUES ({shard}); INSERT INTO relay (shard) VALUES ({shard})".encode())
        shutil.rmtree(installation.bank_directory, ignore_errors=True)
        for segment in installation.log_directory.glob("*/*/*.log"):
            segment.unlink()

    def vacuum(self) -> None:
        """What was cleared takes no room."""
        for connection in self.installation.store.servers("payout simulation"):
            connection.execute("VACUUM")


class Ground:
    """Installations of every shape with the same approved documents, and one beside them for undisturbed runs."""

    def __init__(self, directory: Path, url: str, name: str = "simulation") -> None:
        self._directory, self._url, self._name = directory, url, name
        registries = load_registries(SHIPPED / "registries")
        person, household = ((Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8") for name in ("person", "household"))
        self._registries = registries
        texts = [_paying(person, amount) for amount in AMOUNTS] + [_paying(household, amount) for amount in HOUSEHOLD_AMOUNTS]
        self.documents = tuple(load_rule(text, registries.catalogue) for text in texts)
        self._rules = {rule.text: rule for rule in self.documents}
        self._keys = make_key(directory / "anna.pem")
        self._entries: list[Logged] = []
        self._histories = 0
        self._execute(f"CREATE DATABASE {name}_pattern")
        Store([self._url_of(f"{name}_pattern")], 1).migrate()
        self.sites = {shape: self._site(f"s{shape.shards}x{shape.servers}", shape) for shape in SHAPES}
        self.undisturbed = self._site("undisturbed", UNDISTURBED)

    def site(self, shape: Shape) -> Site:
        """A cleared installation of a shape."""
        self._histories += 1
        if self._histories % 50 == 0:
            for site in (*self.sites.values(), self.undisturbed):
                site.vacuum()
        site = self.sites[shape]
        site.clear()
        return site

    def _site(self, name: str, shape: Shape) -> Site:
        databases = [f"{self._name}_{name}_{server}" for server in range(shape.servers)]
        for database in databases:
            self._execute(f"CREATE DATABASE {database} TEMPLATE {self._name}_pattern")
        urls = [self._url_of(database) for database in databases]
        person = Person(name="Anna", roles=("legal",), key=self._keys.public)
        settings = load_settings(
            home=self._directory / name, store_urls=[SecretStr(url) for url in urls], shards=shape.shards, frame_records=FRAME_RECORDS,
            approvals=Approvals(people=(person, Person(name="Cleo"))), bank=Bank(batch_size=BATCH_SIZE), rules=(),
        )  # fmt: skip
        installation = Installation(settings, KeptStore.provision(urls, shape.shards), self._registries, self._rules)
        for topic in all_topics(self._registries):
            create_topic(installation.log_directory, topic, shape.shards)
        self._approve(installation)
        for rule in self.documents:
            activate(installation.store, rule, parse_period("once"), self._registries)  # so that numbers do not depend on what is activated first
        return Site(installation)

    def _approve(self, installation: Installation) -> None:
        """Every document is submitted and approved; by people the first time, by their entries afterwards."""
        if not self._entries:
            author, lawyer = RuleLife(installation, "Cleo", BEGIN), RuleLife(installation, "Anna", BEGIN)
            for rule in self.documents:
                for outcome in (author.submit(rule), author.simulated(rule.hash, "5" * 64), lawyer.approve(rule.hash, "legal", self._keys)):
                    assert isinstance(outcome, Logged), [str(refused) for refused in outcome]
            self._entries = read_log(installation.store)
            return
        with writing(installation.store) as log:
            for logged in self._entries:
                log.append(logged.entry, logged.person, logged.at_ms)

    def _url_of(self, database: str) -> str:
        return self._url.replace("@/payout?", f"@/{database}?")

    def _execute(self, statement: str) -> None:
        with connect(self._url, "payout simulation") as connection:
            connection.execute(statement.encode())


def _paying(text: str, amount: int) -> str:
    changed = re.sub(r"\{2020-01-01: (1_200|300)\}", f"{{2020-01-01: {amount:_}}}", text)
    return re.sub(r"income: 90_000", "income: 99_000", changed)


@contextmanager
def ground_server(directory: Path) -> Iterator[str]:
    """A PostgreSQL for histories, which never lose power: the URL of its superuser."""
    with EmbeddedPostgres(directory / "server") as server, connect(server.url, "payout simulation") as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"):
            connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        connection.execute("ALTER SYSTEM SET max_connections = 400")
    with EmbeddedPostgres(directory / "server") as server:  # the number of connections is heard at a start
        yield server.url


@contextmanager
def memory() -> Iterator[Path]:
    """A folder in memory where the machine has one, else among the temporary files."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="payout-simulation-", dir=shared if shared.is_dir() else None) as directory:
        yield Path(directory)
