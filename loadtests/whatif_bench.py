"""What-if on 5.9 million subjects: seconds, subjects per second and the most memory held, each run in a process of its own.

The people are the 280,005 real tax units of `data/`, repeated under new subjects; the candidate pays the first Economic Impact Payment from a
lower income on, for children under 18, and pays dependents too. Every run must come to the same hash.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.table import Table

from loadtests.bench import UNITS, peak_kilobytes
from streams.settings import SHIPPED

ACTIVE = SHIPPED / "benefits" / "us-eip1" / "2020-03-27.yaml"
SUBJECTS = 5_900_000
MOST_SECONDS = 10.0
MOST_MEGABYTES = 1_500
CHANGES = (
    ("75_000, 150_000, 75_000, 112_500", "70_000, 140_000, 70_000, 105_000"),
    ("2020-03-27: 500}", "2020-03-27: 600}"),
    ("{2020-03-27: 5}", "{2020-03-27: 6}"),
)


def candidate_text() -> str:
    """The first payment with lower limits, a steeper taper and more for each child."""
    text = ACTIVE.read_text(encoding="utf-8").partition("tests:")[0]
    for old, new in CHANGES:
        if old not in text:
            raise ValueError(f"the document does not say {old!r} any more")
        text = text.replace(old, new)
    return text


def write_people(path: Path, subjects: int) -> None:
    """The units as facts of the rule, repeated; one in 200 is not resident, one in 300 has died, of one in 50 the income is not known."""
    units = pl.read_parquet(UNITS)
    pieces = []
    for copy in range(-(-subjects // units.height)):
        number = pl.col("unit_id").cast(pl.Int64) + copy * units.height
        pieces.append(
            units.select(
                subject=pl.concat_str(pl.lit("us-"), number.cast(pl.String).str.zfill(8)), income=pl.when(number % 50 != 0).then("agi_cents"),
                filing_status="filing_status", children_under_17=pl.col("children_under_17"), claimed_as_dependent="claimed_as_dependent",
                alive=number % 300 != 0, resident=number % 200 != 0, age=pl.col("age_head"), state=pl.col("state_fips"),
                hold=pl.when(number % 40 == 0).then(pl.lit("no_account")).when(number % 97 == 0).then(pl.lit("account_closed")).otherwise(pl.lit("")),
            ).with_columns(pl.col("hold").cast(pl.Categorical))
        )  # fmt: skip
    pl.concat(pieces).head(subjects).write_parquet(path, row_group_size=100_000)


def one_run(people: Path, candidate: Path) -> tuple[float, float, str, int, float]:
    """One what-if from the files to the hash: seconds, megabytes, hash, people, seconds of all processors."""
    started = time.perf_counter()
    from connectors.facts_file import FactsFile
    from connectors.registries import load_registries
    from connectors.rule_files import read_rule
    from pipeline.rules import ONCE
    from pipeline.whatif import Side, simulate, simulation_hash

    registries = load_registries(SHIPPED / "registries")
    new, old = read_rule(candidate, registries), read_rule(ACTIVE, registries)
    sides = Side(new, ONCE), Side(old, ONCE)
    result = simulate(*sides, FactsFile(people, *sides))
    return time.perf_counter() - started, peak_kilobytes() / 1024, simulation_hash(result), result.whole.people, time.process_time()


def main() -> int:
    """Runs everything and prints one table; exit code 1 where runs differ, 2 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--subjects", type=int, default=SUBJECTS)
    options = parser.parse_args()
    console = Console(highlight=False)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="payout-whatif-") as directory:
        people, candidate = Path(directory) / "people.parquet", Path(directory) / "candidate.yaml"
        write_people(people, options.subjects)
        candidate.write_text(candidate_text(), encoding="utf-8")
        console.print(f"{options.subjects:,} subjects in {people.stat().st_size / 1e6:,.0f} MB of Parquet")
        runs = []
        for _ in range(options.rounds):
            with ProcessPoolExecutor(1, context) as process:
                runs.append(process.submit(one_run, people, candidate).result())
    seconds, megabytes = [run[0] for run in runs], max(run[1] for run in runs)
    median = statistics.median(seconds)
    table = Table("what-if", "median", "lowest", "highest", "target")
    table.add_row("seconds", f"{median:.1f}", f"{min(seconds):.1f}", f"{max(seconds):.1f}", f"under {MOST_SECONDS:.0f}")
    table.add_row("subjects/s", *(f"{options.subjects / value:,.0f}" for value in (median, max(seconds), min(seconds))), "")
    table.add_row(
        "processor seconds", f"{statistics.median(run[4] for run in runs):.1f}", f"{min(run[4] for run in runs):.1f}", f"{max(run[4] for run in runs):.1f}", ""
    )
    table.add_row("peak memory", f"{megabytes:,.0f} MB", "", "", f"under {MOST_MEGABYTES:,} MB")
    console.print(table)
    same = len({run[2:4] for run in runs}) == 1
    console.print(f"every run has the hash {runs[0][2][:12]}" if same else "runs differ in their hash")
    if not same:
        return 1
    return 2 if median >= MOST_SECONDS or megabytes >= MOST_MEGABYTES else 0


if __name__ == "__main__":
    sys.exit(main())
