"""The page `docs/operations/faults.md`: what was made to happen, how often, what came of it, and what an operator sees. A run writes it."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import NamedTuple

from connectors.broker_jars import KAFKA
from streams.settings import SHIPPED

from .catalogue import ALL, ELSEWHERE
from .fault import Fault

PAGE = SHIPPED / "docs" / "operations" / "faults.md"


class Setting(NamedTuple):
    """With what a run was made."""

    events: int
    topics: int
    shards: int
    postgres: str


class Line(NamedTuple):
    """One row of the table, by the name of its fault."""

    name: str
    row: str


def written(fault: Fault, fired: int, restarts: int, took_s: float, wrong: str) -> Line:
    """The row of a fault that was tried."""
    verdict = "**not as it must be**" if wrong else "as undisturbed"
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return Line(fault.name, f"| {fault.name} | {fault.catalogue} | {fired:,} {fault.counted} | {restarts} | {took_s:.0f} | {day} | {verdict} |")


def page(earlier: str, line: Line, setting: Setting) -> str:
    """The page with this row; those of other faults stay as they are in `earlier`."""
    known = {row.split(" | ")[0].removeprefix("| "): row for row in earlier.splitlines() if row.startswith("| ") and row.count(" | ") == 6}
    rows = known | {line.name: line.row}
    table = [rows.get(fault.name, f"| {fault.name} | {fault.catalogue} | not tried | | | | |") for fault in ALL]
    told = [f"| {fault.name} | {fault.how} | {fault.sees} |" for fault in ALL]
    return "\n".join(
        [
            "# Faults",
            "",
            "What was made to happen to a running installation, and what came of it: three Kafka brokers (KRaft, three copies, two must have a record),",
            "PostgreSQL, two workers, and a network between them that a proxy breaks. This page is written by the run itself:",
            "",
            "    python -m loadtests.faults --write",
            "",
            f"While events flow (in the last run {setting.events:,} on {setting.topics} topics of {setting.shards} partitions, with duplicates, disorder,",
            "lateness, conflicts and corruption among them) the fault is made. Then everything is healed, and when every record is behind a position and",
            "every released order published, this must hold:",
            "",
            "- every invariant of `payout audit --replay` holds ([proof.md](../proof.md)), and the digest of facts and of what is owed is that of the",
            "  undisturbed embedded run;",
            "- every record that lies in Kafka has exactly one disposition, and each that is no event is a dead letter;",
            "- who reads `payment.orders` and drops the ids already seen has every released order once, in the order of its number.",
            "",
            "A fault that never struck fails its run: the third column says what was counted. Restarts are those by the supervisor of the workers. The seconds",
            "are those of the whole case, from making its topics to its proof.",
            "",
            (
                f"Last written {datetime.now(UTC):%Y-%m-%d} with Kafka {KAFKA}, PostgreSQL {setting.postgres}, Python {platform.python_version()} on "
                f"{platform.system()} with {os.cpu_count()} cores."
            ),
            "",
            "| fault | catalogue | struck | restarts | seconds | tried | came to |",
            "|---|---|---|---|---|---|---|",
            *table,
            "",
            "The catalogue is the project's list of faults, F01 to F114. The bank's (F80 to F97) are tried by `tests/bank` and `python -m loadtests.soak`.",
            "Of the others these are not made here:",
            "",
            "| catalogue | what, and where it is tried or why not |",
            "|---|---|",
            *(f"| {number} | {where} |" for number, where in ELSEWHERE.items()),
            "",
            "## How each is made, and what an operator sees",
            "",
            "| fault | how it is made | what is seen |",
            "|---|---|---|",
            *told,
            "",
        ]
    )
