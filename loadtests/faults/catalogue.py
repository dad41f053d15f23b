"""All faults in the order in which they are told, and where those numbers of the catalogue are tried that are not made here."""

from __future__ import annotations

from . import of_brokers, of_many, of_messages, of_the_network, of_the_store, of_workers
from .fault import FAULTS

KINDS = (of_workers, of_brokers, of_the_network, of_the_store, of_messages, of_many)
ALL = [fault for kind in KINDS for fault in FAULTS if fault.make.__module__ == kind.__name__]

CONCERNED = [f"F{number:02}" for first, last in ((1, 8), (10, 35), (40, 54), (60, 74), (100, 103), (110, 114)) for number in range(first, last + 1)]
"""The numbers that concern workers, brokers, network, PostgreSQL, messages, time, replays and resources."""

ELSEWHERE = {
    "F23": "a copy that misses records becoming the truth: every topic forbids it, and `payout kafka provision` says where one does not",
    "F47": "failures of serialisable transactions: there are none, a shard has one writer and its transactions read what is committed",
    "F53": "a migration while workers run: `tests/test_store_served.py`, `tests/kafka/test_kafka_upgrade.py`",
    "F67": "dead letters that cannot be kept: they are rows of the transaction that takes the record, so PostgreSQL's faults are theirs",
    "F68": "dead letters replayed twice: `tests/test_dead_letters.py`",
    "F69": "fields that nobody knows: `tests/test_registry.py`, they are dead letters",
    "F71": "leap days, year's ends and clocks that change: `tests/rules`",
    "F101": "other numbers of shards and workers: the replay of every audit on this page has other shards, frames and order",
    "F102": "two versions at once: `tests/test_store_served.py`, `tests/kafka/test_kafka_upgrade.py`",
    "F112": "damage to tables of a stream processor: there are none, PostgreSQL is the one place of truth",
    "F114": "names that do not resolve: to the client the same as an address that refuses",
}
"""Where the others are tried, or why they cannot be."""


def untold() -> list[str]:
    """The numbers that are neither made here nor told to be elsewhere."""
    told = {number for fault in ALL for number in fault.catalogue.split(", ")} | set(ELSEWHERE)
    return [number for number in CONCERNED if number not in told]
