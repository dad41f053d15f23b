"""What a nation needs, by what an event was measured to cost: processors, workers, partitions, disk and network for a surge of everybody in one hour."""

from __future__ import annotations

import math
from collections.abc import Iterator

from .report import OURS, Report

NATIONS = {"6 million": 6_000_000, "125 million": 125_000_000, "330 million": 330_000_000}
SURGE_S = 3_600
SHARE = 0.5
"""Of the processors, so that orders come within a second and the loss of a machine is borne."""

COPIES = 3
"""Of each record in Kafka."""

HEAD = ("people", *NATIONS)


def plan(report: Report) -> Iterator[tuple[str, ...]]:
    """The rows: a surge in which one event of everybody comes within an hour, and each leads to an order."""
    run = report.of(OURS, 1)[0]
    program_us, postgresql_us, broker_us = (run.processor_s[who] / run.events * 1e6 for who in ("program", "postgresql", "broker"))
    database_bytes, wal_bytes = (run.grown[what] / run.events for what in ("database", "wal"))
    people = NATIONS.values()
    rates, together = [count / SURGE_S for count in people], report.rate(OURS, 1)
    workers = [max(2, math.ceil(rate * program_us / 1e6 / SHARE)) for rate in rates]
    yield "events a second in the surge", *(f"{rate:,.0f}" for rate in rates)
    yield f"hours it takes on the machine of the measurement ({together:,.0f} a second)", *(f"{count / together / 3600:.2f}" for count in people)
    yield f"processors busy: workers ({program_us:.0f} µs)", *(f"{rate * program_us / 1e6:.1f}" for rate in rates)
    yield f"processors busy: PostgreSQL ({postgresql_us:.0f} µs)", *(f"{rate * postgresql_us / 1e6:.1f}" for rate in rates)
    yield f"processors busy: Kafka ({broker_us:.1f} µs and copies)", *(f"{COPIES * rate * broker_us / 1e6:.1f}" for rate in rates)
    yield "workers, each half busy", *(str(count) for count in workers)
    yield "partitions, four for each worker", *(str(partitions(count)) for count in workers)
    yield "processors of PostgreSQL, half busy", *(str(max(2, math.ceil(rate * postgresql_us / 1e6 / SHARE))) for rate in rates)
    yield "GB in the database, one event of everybody", *(f"{count * database_bytes / 1e9:,.0f}" for count in people)
    yield "GB in Kafka, one event of everybody, three copies", *(f"{COPIES * count * report.kafka_bytes / 1e9:,.0f}" for count in people)
    yield "MB a second into each copy of Kafka, and from it to the workers", *(f"{rate * report.kafka_bytes / 1e6:,.1f}" for rate in rates)
    yield "MB a second of PostgreSQL's log of changes, to its disk and to each standby", *(f"{rate * wal_bytes / 1e6:,.1f}" for rate in rates)


def partitions(workers: int) -> int:
    """A power of two, four for each worker at least: it can be multiplied later, and the shards are spread evenly over two, four or eight servers."""
    return max(8, 1 << math.ceil(math.log2(4 * workers)))
