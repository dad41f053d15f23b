"""The bank desks of an installation, one for each server of its store, on either log; made anew where the store or Kafka was away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime

import structlog

from connectors.bank.answers import Expected
from connectors.bank.initiation import Debtor
from connectors.kafka_cluster import KafkaAway
from connectors.store.servers import Connection, Row, StoreAway
from pipeline.observing import STORE_RETRIES, Observer

from .bank_desk import BankDesk, TakenFile
from .installation import Installation
from .log_access import writing
from .patience import PATIENCE_S
from .recovery import refuse_behind
from .relay import Relay, Writer
from .stopping import Asked

log = structlog.get_logger("bank")

AGAIN_S = 0.2
LONGEST_S = 5.0


def utc_now() -> datetime:
    """The moment that files are dated with."""
    return datetime.now(UTC)


def desks_on(
    installation: Installation, servers: Sequence[Connection[Row]], writer: Writer, observer: Observer, now: Callable[[], datetime] = utc_now
) -> list[BankDesk]:
    """A desk on each of these connections, which are to the servers of the store in their order."""
    settings, store = installation.settings, installation.store
    debtor = Debtor(settings.bank.debtor_name, {"scheme": "iban", "iban": settings.bank.debtor_account.get_secret_value()}, settings.bank.debtor_agent_bic)
    expected = Expected(bank_bic=settings.bank.bank_bic, initiating_party=settings.bank.debtor_name)
    return [
        BankDesk(
            connection, servers, writer, installation.bank_directory, store.shards_of(server), store.shards, debtor, expected, settings.bank.batch_size,
            observer, now,
        )
        for server, connection in enumerate(servers)
    ]  # fmt: skip


class Desks:
    """The desks beside the workers. What a crash or an error left half done is done first."""

    def __init__(self, installation: Installation, observer: Observer) -> None:
        self._installation, self._observer = installation, observer
        self._open = ExitStack()
        self._desks: list[BankDesk] = []
        self._relays: list[Relay] = []

    def __enter__(self) -> Desks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self) -> tuple[int, int]:
        """Hands over everything that is released now: (submissions put out again, orders). On the embedded log it is published here first."""
        again = sum(desk.resume() for desk in self._ready())
        while sum(relay.step() for relay in self._relays):
            pass
        orders = 0
        while count := sum(desk.submit() for desk in self._desks):
            orders += count
        return again, orders

    def receive(self) -> list[TakenFile]:
        """Takes the files that the bank has put in. One desk takes them, so that it knows each that comes twice."""
        return self._ready()[0].receive()

    def watch(self, work: Callable[[], object], stop: Asked, every_s: float) -> None:
        """Does `work` again and again until stopped; while the store or Kafka is away it is tried later, and for two minutes at most."""
        failed_s = 0.0
        while not stop.is_set():
            try:
                work()
                failed_s = 0.0
                stop.wait(every_s)
            except (StoreAway, KafkaAway) as error:
                self.close()
                if failed_s > PATIENCE_S:
                    raise
                wait_s = min(LONGEST_S, max(AGAIN_S, failed_s))
                failed_s += wait_s
                self._observer.count(STORE_RETRIES, reason="away")
                log.warning("the store or Kafka is away, trying again", error=str(error))
                stop.wait(wait_s)

    def close(self) -> None:
        """Gives connections and producer back; the next step opens them anew."""
        self._desks, self._relays = [], []
        self._open.close()

    def _ready(self) -> list[BankDesk]:
        if not self._desks:
            store = self._installation.store
            refuse_behind(self._installation)  # a server that was away may be back as an older one
            writer = self._open.enter_context(writing(self._installation, "payout-bank"))
            servers = [self._open.enter_context(store.connect(url, "payout bank")) for url in store.urls]
            if not self._installation.settings.kafka.servers:
                self._relays = [Relay(servers[shard % len(servers)], writer, shard) for shard in range(store.shards)]
            self._desks = desks_on(self._installation, servers, writer, self._observer)
        return self._desks
