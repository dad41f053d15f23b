"""Events that flow to the topics while a fault is made: so fast that they last as long as it, and again where it is not known whether they were written."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from connectors.kafka_cluster import Cluster, KafkaAway
from connectors.kafka_log import KafkaWriter

from .ground import Slice

AT_ONCE = 12
"""Slices that are put before the writer waits for their acknowledgement."""

PATIENCE_S = 200.0


class Flow:
    """What is put into the topics of a case."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._threads: list[threading.Thread] = []
        self.failure: Exception | None = None

    def begin(self, slices: Sequence[Slice], lasts_s: float) -> None:
        """Lets events flow from now on, evenly for so long, and returns at once."""
        thread = threading.Thread(target=self._feed, args=(slices, lasts_s), name="flow", daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def over(self) -> bool:
        """Whether everything is acknowledged."""
        return not any(thread.is_alive() for thread in self._threads)

    def _feed(self, slices: Sequence[Slice], lasts_s: float) -> None:
        total, at, put = sum(len(part.records) for part in slices), 0, 0
        started_s = acknowledged_s = time.monotonic()
        while at < len(slices):
            try:
                with KafkaWriter(self._cluster, "faults-flow") as writer:
                    while many := slices[at : at + AT_ONCE]:
                        time.sleep(max(0.0, started_s + lasts_s * put / total - time.monotonic()))
                        for part in many:
                            writer.append(part.topic, part.shard, part.records)
                        writer.flush()
                        at, put, acknowledged_s = at + len(many), put + sum(len(part.records) for part in many), time.monotonic()
            except (KafkaAway, OSError) as error:
                # Whether they were written is not known, so they are put again: at least once.
                if time.monotonic() - acknowledged_s > PATIENCE_S:
                    self.failure = error
                    return
                time.sleep(0.5)
