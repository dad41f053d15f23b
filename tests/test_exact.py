"""Exact on every tax unit there is: the orders of the law, and those of Tax-Calculator, unit for unit and cent for cent."""

from __future__ import annotations

import itertools
import multiprocessing
from pathlib import Path

import polars as pl
import pytest
from story import LAW, TAXCALC, UNITS, Said, Story

from connectors.population import ACCOUNT, CLEAN, RESIDENCY, TAX, Population
from connectors.segment_log import LogReader
from streams.lanes import work

PROCESSES = 2


def taken_by_processes(story: Story) -> None:
    """Lanes in processes of their own take everything that is in the log."""
    context = multiprocessing.get_context("spawn")
    ends = {
        (topic, shard): LogReader(story.installation.log_directory, topic, shard).end_offset()
        for topic in story.installation.topics
        for shard in range(story.shards)
    }
    workers = []
    for number in range(PROCESSES):
        ours, theirs = context.Pipe()
        shards = range(number, story.shards, PROCESSES)
        process = context.Process(target=work, args=(story.installation.settings, shards, theirs))
        process.start()
        theirs.close()
        workers.append((process, ours, {place: end for place, end in ends.items() if place[1] in shards}))
    for process, pipe, wanted in workers:
        positions: dict[tuple[str, int], int] = {}
        while positions != wanted:
            positions, _, _, failure = pipe.recv()
            assert not failure
        pipe.send("stop")
        process.join()
        assert process.exitcode == 0


@pytest.mark.parametrize(
    ("document", "topics", "column", "orders", "minor"),
    [
        pytest.param(LAW, (RESIDENCY, ACCOUNT, TAX), "eip1_law_cents", 258_841, 47_351_545_903, id="law"),
        pytest.param(TAXCALC, (TAX,), "eip1_taxcalc_cents", 261_628, 48_189_136_318, id="taxcalc"),
    ],
)
def test_the_orders_of_all_units_are_exact(document: Path, topics: tuple[str, ...], column: str, orders: int, minor: int, tmp_path: Path) -> None:
    story = Story(tmp_path, shards=2, frame_records=20_000, rules=(document,))
    for topic, chunks in itertools.groupby(Population(UNITS, 1, CLEAN).events(), key=lambda chunk: chunk[0]):
        if topic in topics:
            story.tell(Said(topic, key, line) for _, records in chunks for key, line in records)
    taken_by_processes(story)
    units = pl.read_parquet(UNITS).select("unit_id", column).filter(pl.col(column) > 0).sort("unit_id")
    assert (units.height, units[column].sum()) == (orders, minor)
    ordered = pl.DataFrame(
        story.ask("SELECT substr(subject, 4)::integer, sequence, kind, amount_minor FROM payment_order ORDER BY 1"),
        schema={"unit_id": pl.Int32, "sequence": pl.Int32, "kind": pl.Int16, column: pl.Int64},
        orient="row",
    )
    assert ordered.select("unit_id", column).equals(units)
    assert ordered.select(pl.col("sequence", "kind").unique().sort()).rows() == [(1, 1)]
    assert story.ask("SELECT count(*) FROM entitlement") == [(280_005,)]
