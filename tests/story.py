"""A small vocabulary for tests: what registries say of people, told to the real lanes on a real PostgreSQL, and what came of it."""

from __future__ import annotations

import atexit
import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import SecretStr

from connectors.embedded_postgres import EmbeddedPostgres
from connectors.population import ACCOUNT, RESIDENCY, TAX
from connectors.registries import load_registries
from connectors.segment_log import LogWriter, create_topic
from connectors.store.servers import Connection, Row, Store, connect
from pipeline.accounts import AccountPolicy
from pipeline.entitlements import Decision
from pipeline.observing import Observer, Silent
from pipeline.orders import Kind, State
from pipeline.sharding import partition_of
from streams.audit import Audit, Digest, audit, digest_of
from streams.installation import Installation
from streams.lanes import Lanes, utc_today
from streams.runner import runner_of
from streams.settings import SHIPPED, load_settings
from streams.topics import RECEIPTS, all_topics

LAW = SHIPPED / "benefits" / "us-eip1" / "2020-03-27.yaml"
TAXCALC = SHIPPED / "tests" / "rules" / "documents" / "us-eip1-taxcalc.yaml"
UNITS = SHIPPED / "data" / "us-cps-tax-units.parquet"

ROUTING = "021000021"
"""A routing number whose check digit fits."""


# What is said.


class Said(NamedTuple):
    """One record as it is put into the log."""

    topic: str
    key: bytes
    value: bytes


Data = dict[str, Any]


def said(topic: str, source: str, type: str, id: str, subject: str, sequence: int, data: Data) -> Said:
    """An event as a registry writes it."""
    hour, second = divmod(sequence, 3600)
    message = {
        "specversion": "1.0", "id": id, "source": source, "type": type, "subject": subject,
        "time": f"2020-04-01T{hour % 24:02}:{second // 60:02}:{second % 60:02}Z", "sequence": str(sequence), "data": data,
    }  # fmt: skip
    return Said(topic, subject.encode(), json.dumps(message, separators=(",", ":")).encode())


def income(
    subject: str,
    dollars: int | None,
    sequence: int = 1,
    *,
    status: str = "final",
    filing: str = "single",
    children: int = 0,
    dependent: bool = False,
    id: str = "",
) -> Said:
    """The assessment of 2019; None leaves the income out."""
    data: Data = {"year": 2019, "status": status, "filing_status": filing, "children_under_17": children, "children_under_18": children}
    data["claimed_as_dependent"] = dependent
    if dollars is not None:
        data["agi"] = {"minor": dollars * 100, "currency": "USD"}
    return said(TAX, "urn:registry:tax:us", "registry.tax.assessment.v1", id or f"tax-{subject}-{sequence}", subject, sequence, data)


def resident(subject: str, sequence: int = 1, *, resident: bool = True, death: str = "", id: str = "") -> Said:
    """What the residency registry says, a death with its day."""
    data: Data = {"valid_from": "2010-01-01", "birth_date": "1970-05-17", "resident": resident}
    if death:
        data["death_date"] = death
    return said(RESIDENCY, "urn:registry:residency", "registry.residency.person.v1", id or f"home-{subject}-{sequence}", subject, sequence, data)


def death(subject: str, sequence: int = 2, day: str = "2020-04-02") -> Said:
    """A death, told beside what was known."""
    return resident(subject, sequence, death=day)


def account(subject: str, sequence: int = 1, *, number: str = "", status: str = "active", id: str = "", scheme: Data | None = None, **more: str) -> Said:
    """An account of the subject's own unless a number or another scheme is given."""
    own = {"scheme": "us", "routing": ROUTING, "number": number or own_number(subject)}
    data: Data = {"account": scheme or own, "status": status, "valid_from": "2015-01-01", "holder": "match", **more}
    return said(ACCOUNT, "urn:registry:account", "registry.account.assignment.v1", id or f"account-{subject}-{sequence}", subject, sequence, data)


def own_number(subject: str) -> str:
    """An account number that only this subject has."""
    return str(10**9 + int.from_bytes(subject.encode()[-7:]) % 10**15)


def withdrawn(earlier: Said, sequence: int = 9, id: str = "") -> Said:
    """The correction by which a registry says that an event of its own never held."""
    message = json.loads(earlier.value)
    own_id = id or f"{message['id']}-withdrawn"
    return said(earlier.topic, message["source"], "registry.correction.v1", own_id, message["subject"], sequence, {"withdraws": message["id"]})


def person(subject: str, dollars: int = 30_000, **more: Any) -> list[Said]:
    """Somebody alive, resident, with an account of their own and a final income: owed 1,200 dollars up to 75,000."""
    return [resident(subject), account(subject), income(subject, dollars, **more)]


# What came of it.


class Order(NamedTuple):
    """One payment order as it stands."""

    subject: str
    benefit: str
    sequence: int
    kind: Kind
    amount_minor: int
    state: State
    reason: str
    account: str
    release_seq: int


class Level(NamedTuple):
    """One entitlement as it stands."""

    decision: Decision
    owed_minor: int
    live_minor: int
    claim_minor: int


class DeadLetter(NamedTuple):
    """A record that broke its contract, with all of its problems."""

    topic: str
    offset: int
    key: bytes
    value: bytes
    problems: list[dict[str, str]]

    @property
    def text(self) -> str:
        """The problems as people read them."""
        return "\n".join(f"{problem['place']}: {problem['message']} {problem['mend']}" for problem in self.problems)


class _Installation(Installation):
    """An installation whose account registry allows what the test says."""

    given = AccountPolicy()

    @property
    def policy(self) -> AccountPolicy:
        return self.given


class Story:
    """An installation of its own: a home, one or more databases, and lanes that go on until they are restarted."""

    def __init__(
        self,
        home: Path,
        *,
        shards: int = 2,
        servers: int = 1,
        frame_records: int = 5_000,
        rules: Sequence[Path | str] = (LAW,),
        policy: AccountPolicy | None = None,
        observer: Observer | None = None,
        today: Callable[[], date] = utc_today,
    ) -> None:
        self.observer, self._today = observer or Silent(), today
        self.urls = [database() for _ in range(servers)]
        secret = [SecretStr(url) for url in self.urls]
        settings = load_settings(
            home=home, store_urls=secret, shards=shards, frame_records=frame_records, rules=[str(rule) for rule in rules], trust_rules=True
        )
        kind: type[Installation] = _Installation
        if policy is not None:
            kind = type("_Allowing", (_Installation,), {"given": policy})
        self.installation = kind(settings, Store.provision(self.urls, shards), load_registries(settings.registries))
        for topic in all_topics(self.installation.registries):
            create_topic(self.installation.log_directory, topic, shards)
        self._lanes: Lanes | None = None

    @property
    def shards(self) -> int:
        """How many shards the store was provisioned with."""
        return self.installation.store.shards

    def tell(self, *records: Said | Iterable[Said]) -> None:
        """Puts records into the log."""
        by_place: dict[tuple[str, int], list[tuple[bytes, bytes]]] = {}
        for record in itertools.chain.from_iterable([entry] if isinstance(entry, Said) else entry for entry in records):
            by_place.setdefault((record.topic, partition_of(record.key, self.shards)), []).append((record.key, record.value))
        with LogWriter(self.installation.log_directory, fsync="close") as writer:
            for (topic, shard), lines in by_place.items():
                writer.append(topic, shard, lines)

    @property
    def lanes(self) -> Lanes:
        """The lanes, claimed the first time."""
        if self._lanes is None:
            self._lanes = Lanes(self.installation, self.installation.standing, range(self.shards), self.observer, self._today)
            self._lanes.claim()
        return self._lanes

    def follow(self) -> None:
        """The lanes look at the log of rules and at the calendar, and do everything that follows."""
        self.lanes.look()
        self.work()

    def work(self) -> None:
        """The lanes take everything that is in the log; they are claimed the first time only."""
        while self.lanes.step():
            pass

    def hears(self, *records: Said | Iterable[Said]) -> None:
        """Tells, and lets the lanes take it."""
        self.tell(*records)
        self.work()

    def restart(self, rules: Sequence[Path | str] | None = None) -> None:
        """New lanes claim all shards, under other rules if any are given."""
        self.close()
        if rules is not None:
            settings = self.installation.settings.model_copy(update={"rules": tuple(Path(rule) for rule in rules)})
            self.installation = type(self.installation)(settings, self.installation.store, self.installation.registries)
        self.work()

    def pay(self) -> None:
        """Everything runs until idle: lanes, relay and bank desk."""
        self.close()
        with runner_of(self.installation, self.observer, 0) as runner:
            runner.run(until_idle=True)

    def close(self) -> None:
        """The lanes give their connections back."""
        if self._lanes is not None:
            self._lanes.close()
            self._lanes = None

    def ask(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Rows of all servers."""
        return [row for connection in self.installation.store.servers("story") for row in connection.execute(query.encode(), parameters)]

    def orders(self, subject: str = "%") -> list[Order]:
        """The orders of a subject, in the order in which they were made."""
        rows = self.ask(
            "SELECT subject, benefit, sequence, kind, amount_minor, state, reason, account, release_seq FROM payment_order"
            " JOIN benefit_period USING (benefit_period_id) WHERE subject LIKE %s ORDER BY subject, benefit_period_id, sequence",
            subject,
        )
        return [Order(row[0], row[1], row[2], Kind(row[3]), row[4], State(row[5]), *row[6:]) for row in rows]

    def level(self, subject: str) -> Level:
        """The one entitlement of a subject."""
        ((decision, *minor),) = self.ask("SELECT decision, owed_minor, live_minor, claim_minor FROM entitlement WHERE subject = %s", subject)
        return Level(Decision(decision), *minor)

    def findings(self) -> set[tuple[str, str, str]]:
        """(kind, subject, ident) of what a person should look at."""
        return {(str(kind), str(subject), str(ident)) for kind, subject, ident in self.ask("SELECT kind, subject, ident FROM finding")}

    def dead_letters(self) -> list[DeadLetter]:
        """The records that broke their contract."""
        rows = self.ask("SELECT topic, record_offset, record_key, record_value, problems FROM dead_letter ORDER BY topic, shard, record_offset")
        return [DeadLetter(*row) for row in rows]

    def audit(self, **more: Any) -> Audit:
        """The proof; every invariant must hold."""
        found = self.examine(**more)
        assert found.ok, [check for check in found.checks if not check.ok]
        return found

    def examine(self, **more: Any) -> Audit:
        """The proof as it is."""
        return audit(self.installation, **more)

    def digest(self) -> Digest:
        """What is known and owed."""
        return digest_of(self.installation)

    def copy(self, home: Path | None = None) -> Story:
        """The same installation on a copy of its database, to be damaged; its lanes must be closed."""
        copied = copy(self)
        copied.urls = [database(url) for url in self.urls]
        settings = self.installation.settings.model_copy(update={"home": home or self.installation.settings.home})
        copied.installation = type(self.installation)(settings, Store(copied.urls, self.shards), self.installation.registries)
        return copied

    def connection(self) -> Connection[Row]:
        """A connection of the first server's superuser."""
        return connect(self.urls[0], "story")


def answer(order: Order, step: str, /, **other: object) -> Said:
    """What a channel says of an order; `other` replaces fields of the message."""
    message = {
        "id": f"{order.subject}-{order.sequence}-{step}", "subject": order.subject, "benefit": order.benefit, "period": "once",
        "sequence": order.sequence, "attempt": 1, "step": step, **other,
    }  # fmt: skip
    return Said(RECEIPTS, order.subject.encode(), json.dumps(message).encode())


# Where it is kept.


@cache
def server() -> EmbeddedPostgres:
    """The one server of this process's tests, with a migrated database to copy; all of it goes when the process ends."""
    directory = Path(tempfile.mkdtemp(prefix="payout-stories-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    started = EmbeddedPostgres(directory / "store").start()
    with connect(started.url, "story") as connection:
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):  # these laws do not ask for power cuts
            connection.execute(f"ALTER SYSTEM SET {setting} = off".encode())
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("CREATE DATABASE pattern")
    Store([started.url_of("pattern")], 1).migrate()
    return started


_numbers = itertools.count(1)


def database(of: str = "") -> str:
    """The URL of a new database: migrated and empty, or a copy of another one that nobody is connected to."""
    name, pattern = f"story_{next(_numbers)}", of.partition("@/")[2].partition("?")[0] or "pattern"
    with connect(server().url, "story") as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {pattern}".encode())
    return server().url_of(name)


Tale = Callable[..., Story]


@pytest.fixture
def tale(tmp_path: Path) -> Iterator[Tale]:
    """Makes stories that end with the test."""
    stories: list[Story] = []

    def make(**shape: Any) -> Story:
        stories.append(Story(tmp_path / f"home{len(stories)}", **shape))
        return stories[-1]

    yield make
    for story in stories:
        story.close()
