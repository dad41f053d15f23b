"""The job that every contender does: what the events are, where they lie in Kafka, and what exactly must have been ordered for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import polars as pl

from connectors.event_feed import append_by_key
from connectors.kafka_cluster import Cluster
from connectors.kafka_log import KafkaWriter
from connectors.log_batch import Record
from connectors.population import CLEAN, TAX, Population
from loadtests.bench import UNITS, Assessment
from loadtests.site import PARTITIONS

_AGI = re.compile(rb'"agi":\{"minor":(-?\d+)')


class Due(NamedTuple):
    """What must have been ordered: how many orders, and of how much together."""

    orders: int
    amount_minor: int


def due(units: int | None) -> Due:
    """For the first so many tax units, or all of them; by the data's own column, which Tax-Calculator computed."""
    amounts = pl.read_parquet(UNITS).sort("unit_id")["eip1_taxcalc_cents"]
    taken = amounts if units is None else amounts.head(units)
    return Due(int((taken > 0).sum()), int(taken.sum()))


def records(units: int | None) -> Iterator[list[Record]]:
    """One assessment of each tax unit as (key, CloudEvent), in pieces."""
    return (piece for topic, piece in Population(UNITS, 7, CLEAN, first=units).events() if topic == TAX)


def copied(piece: Iterable[Record], copy: int) -> list[Record]:
    """The same events, of other people."""
    return [(b"%d%b" % (copy, key), value.replace(b'"subject":"', b'"subject":"%d' % copy)) for key, value in piece]


def corrected(piece: Iterable[Record], version: int, more_minor: int) -> list[Record]:
    """The same assessments, corrected for the so manieth time: another id, the next sequence, and an income that is so much more than at first."""

    def raised(found: re.Match[bytes]) -> bytes:
        return b'"agi":{"minor":%d' % (int(found[1]) + more_minor)

    return [
        (key, _AGI.sub(raised, value.replace(b'-1","source"', b'-%d","source"' % version, 1).replace(b'"sequence":"1"', b'"sequence":"%d"' % version, 1)))
        for key, value in piece
    ]


def put(cluster: Cluster, topic: str, units: int | None, rounds: int = 1) -> int:
    """Appends the events, every round the same; gives how many. A later round is a registry that sends everything again."""
    events = 0
    with KafkaWriter(cluster, "payout-peers") as writer:
        for _ in range(rounds):
            for piece in records(units):
                append_by_key(writer, topic, PARTITIONS, piece)
                events += len(piece)
        writer.flush()
    return events


def amount_minor(data: Assessment) -> int:
    """The first Economic Impact Payment as Tax-Calculator has it, in cents, half a cent rounded up."""
    joint = data.filing_status == "married_joint"
    full = (240_000 if joint else 120_000) + 50_000 * data.children_under_18
    limit = 15_000_000 if joint else 11_250_000 if data.filing_status == "head_of_household" else 7_500_000
    twentieths = full * 20 - max(data.agi.minor - limit, 0)
    return 0 if twentieths <= 0 else (twentieths + 10) // 20
