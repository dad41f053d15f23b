"""A population written down, piece by piece: its events as NDJSON, or the facts of a rule as Parquet, with what must come of them counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import msgspec
import polars as pl
from polars.io.plugins import register_io_source

from pipeline.registry import Registries

from .accounts import ACCOUNT_FAULTS
from .country import Country, People
from .deciding import Decided, RuleFacts, add
from .lines import lines
from .shares import BLOCK_PERSONS
from .statements import kinds

BLOCKS_AT_ONCE = 20
FACTS_BLOCKS_AT_ONCE = 100

Progress = Callable[[int, int], None]
"""Called with the persons made and the persons there will be."""


class Made(msgspec.Struct):
    """What was made: who there is, what the registries say, what was planted in it, and what rules must decide.

    `planted` counts persons but for those that begin with "households" or "businesses". Shared accounts hold orders as counted where accounts are told first.
    """

    country: str
    seed: int
    day: str
    persons: int = 0
    households: int = 0
    businesses: int = 0
    events: dict[str, int] = {}
    planted: dict[str, int] = {}
    decisions: list[Decided] = []


def pieces(country: Country, size: int, blocks_at_once: int = BLOCKS_AT_ONCE) -> Iterator[People]:
    """Everybody, in pieces. The last household is whole, so that a few more people may come than were asked for."""
    blocks = -(-size // BLOCK_PERSONS)
    for first in range(0, blocks, blocks_at_once):
        yield country.people(first, min(blocks_at_once, blocks - first)).within(size, country.shares.businesses.number)


def make_events(
    country: Country,
    size: int,
    registries: Registries,
    files: EventFiles,
    facts: Sequence[RuleFacts] = (),
    progress: Progress = lambda done, total: None,
    blocks_at_once: int = BLOCKS_AT_ONCE,
) -> Made:
    """Writes the events of a population; the same bytes whatever the size of the pieces."""
    made = _Making(country, facts)
    told = [(kind, of, statement) for kind, of in kinds(country).items() for statement in of.statements]
    for people in pieces(country, size, blocks_at_once):
        by_topic: dict[str, list[pl.DataFrame]] = {}
        for kind, of, statement in told:
            registry, _ = registries.event_types()[statement.type][statement.source]
            by_topic.setdefault(registry.topic, []).append(lines(statement, people.of(kind), of.name, pl.col(of.index), registries))
        for topic, parts in by_topic.items():
            made.count_events(topic, sum(part.height for part in parts))
        files.write(by_topic)
        made.count(people)
        progress(made.made.persons, size)
    return made.made


def make_facts(country: Country, size: int, facts: RuleFacts, path: Path, progress: Progress = lambda done, total: None) -> Made:
    """Writes the table of a rule's facts as Parquet."""
    making = _Making(country, [facts])

    def tables() -> Iterator[pl.DataFrame]:
        for people in pieces(country, size, FACTS_BLOCKS_AT_ONCE):
            [table] = making.count(people)
            progress(making.made.persons, size)
            yield _as_file(table)

    schema = _as_file(facts.table(country.people(0, 1))).schema

    def source(columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, batch: int | None) -> Iterator[pl.DataFrame]:
        yield from tables()

    register_io_source(source, schema=schema).sink_parquet(path)
    return making.made


class EventFiles:
    """Where events go: one stream for all of them, or a file for each topic in a folder. Within a block of people they come topic by topic."""

    def __init__(self, stream: BinaryIO | None = None, folder: Path | None = None) -> None:
        self._stream, self._folder = stream, folder
        self._open: dict[str, BinaryIO] = {}
        self._stack = ExitStack()

    def __enter__(self) -> EventFiles:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def write(self, by_topic: dict[str, list[pl.DataFrame]]) -> None:
        """Writes a piece, block by block."""
        if self._stream is not None:
            _write(self._stream, [part for parts in by_topic.values() for part in parts])
            return
        for topic, parts in by_topic.items():
            _write(self._file(topic), parts)

    def _file(self, topic: str) -> BinaryIO:
        assert self._folder is not None
        if topic not in self._open:
            self._open[topic] = self._stack.enter_context((self._folder / f"{topic}.ndjson").open("wb"))
        return self._open[topic]


def _write(stream: BinaryIO, parts: Sequence[pl.DataFrame]) -> None:
    said = pl.concat(parts).sort("block", maintain_order=True).get_column("line")
    if said.len():
        stream.write((said.str.join("\n").item() + "\n").encode())


def _as_file(table: pl.DataFrame) -> pl.DataFrame:
    """A table as files have it: the date of the event as a date."""
    if "event_day" not in table.columns:
        return table
    return table.with_columns(pl.col("event_day").cast(pl.Int32).cast(pl.Date)).rename({"event_day": "event_date"})


class _Making:
    """Counts while pieces are made."""

    def __init__(self, country: Country, facts: Sequence[RuleFacts]) -> None:
        self._facts = facts
        self.made = Made(country.shares.country, country.seed, country.on.isoformat())

    def count_events(self, topic: str, count: int) -> None:
        self.made.events[topic] = self.made.events.get(topic, 0) + count

    def count(self, people: People) -> list[pl.DataFrame]:
        """Counts a piece; gives the table of each rule's facts."""
        made = self.made
        made.persons += people.persons.height
        made.households += people.households.height
        made.businesses += people.businesses.height
        planted = _planted(people)
        made.planted = {kind: made.planted.get(kind, 0) + number for kind, number in planted.items()}
        tables = [facts.table(people) for facts in self._facts]
        parts = [facts.decide(table) for facts, table in zip(self._facts, tables, strict=True)]
        made.decisions = [add(total, part) for total, part in zip(made.decisions, parts, strict=True)] if made.decisions else parts
        return tables


def _planted(people: People) -> dict[str, int]:
    of_child = pl.col("guardian").is_not_null() & pl.col("guardian_base").is_not_null()
    counts = {
        "dead": pl.col("died"),
        "abroad": pl.col("emigrated"),
        "moved_municipality": pl.col("moved"),
        "moved_household": pl.col("joined"),
        "residency_unknown": ~pl.col("known"),
        "protected_address": pl.col("protected_address"),
        **{fault: pl.col("account_fault") == fault for fault in (*ACCOUNT_FAULTS, "account_shared")},
        "childs_tax_unknown": of_child & ~pl.col("tax_known"),
        "childs_tax_corrected": of_child & pl.col("tax_known") & pl.col("tax_corrected"),
    }
    of_households = {
        "households_income_unknown": ~pl.col("income_known"),
        "households_income_estimated": pl.col("income_known") & pl.col("income_estimated"),
        "households_heating_unknown": ~pl.col("heating_known"),
        "households_head_unknown": ~pl.col("head_known"),
        "households_head_dead": pl.col("head_known") & pl.col("head_died"),
    }
    of_businesses = {
        "businesses_turnover_unknown": ~pl.col("turnover_known"),
        **{f"businesses_{fault}": pl.col("account_fault") == fault for fault in ACCOUNT_FAULTS},
    }
    every = ((people.persons, counts), (people.households, of_households), (people.businesses, of_businesses))
    rows = [frame.select(holds.sum().alias(kind) for kind, holds in holds_of.items()).row(0, named=True) for frame, holds_of in every]
    return {kind: int(number) for row in rows for kind, number in row.items()}
