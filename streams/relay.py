"""The relay: publishes each shard's released orders in their gapless sequence, at least once, strictly after their commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from connectors.failpoints import failpoint
from connectors.log_batch import Record
from connectors.store import outbox
from connectors.store.servers import Connection, Row
from pipeline.receipts import encode

from .topics import ORDERS


class Writer(Protocol):
    """What the relay publishes to: the embedded log, or Kafka."""

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> object:
        """Appends records to the end of a partition."""

    def flush(self) -> None:
        """Returns when everything appended is kept."""


class Relay:
    """Publishes the orders of some shards. A message may come twice after a crash; its release_seq tells."""

    def __init__(self, connection: Connection[Row], log: Writer, shard: int) -> None:
        self._connection, self._log, self._shard = connection, log, shard
        self.relayed_seq = outbox.relayed(connection, shard)

    def step(self, limit: int = 20_000) -> int:
        """Publishes what has been released since; gives the number of orders."""
        orders = outbox.released(self._connection, self._shard, self.relayed_seq, limit)
        if not orders:
            return 0
        failpoint("relay_before_publish")
        self._log.append(ORDERS, self._shard, [(order.subject.encode(), encode(order)) for order in orders])
        self._log.flush()
        failpoint("relay_after_publish")
        outbox.set_relayed(self._connection, self._shard, orders[-1].release_seq)
        failpoint("relay_marked")
        self.relayed_seq = orders[-1].release_seq
        return len(orders)
