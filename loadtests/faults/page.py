"""The page `docs/operations/faults.md`: what was made to happen, how often, what came of it, and what an operator sees. A run writes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from streams.settings import SHIPPED

from .fault import FAULTS, Fault

PAGE = SHIPPED / "docs" / "operations" / "faults.md"


class Line(NamedTuple):
    """One row of the table, by the name of its fault."""

    name: str
    row: str


def written(fault: Fault, fired: int, restarts: int, took_s: float, wrong: str) -> Line:
    """The row of a fault that was tried."""
    verdict = "**not as it must be**" if wrong else "as undisturbed"
    return Line(fault.name, f"| {fault.name} | {fault.catalogue} | {fired:,} {fault.counted} | {restarts} | {took_s:.0f} | {verdict} |")


def page(earlier: str, lines: Sequence[Line], events: int) -> str:
    """The page with these rows; those of faults that were not tried now stay as they are in `earlier`."""
    known = {row.split(" | ")[0].removeprefix("| "): row for row in earlier.splitlines() if row.startswith("| ")}
    rows = {**known, **{line.name: line.row for line in lines}}
    table = [rows.get(fault.name, f"| {fault.name} | {fault.catalogue} | not tried | | | |") for fault in FAULTS]
    told = [f"| {fault.name} | {fault.how} | {fault.sees} |" for fault in FAULTS]
    return "\n".join(
        [
            "# Faults",
            "",
            "What was made to happen to a running installation, and what came of it: three Kafka brokers (KRaft, three copies, two must have a record),",
            "PostgreSQL, two workers, and a network between them that a proxy breaks. This page is written by the run itself:",
            "",
            "    python -m loadtests.faults --write",
            "",
            f"While events flow ({events:,} in the last run, with duplicates, disorder, lateness, conflicts and corruption among them) the fault is made.",
            "Then everything is healed, and when every record is behind a position and every released order published, this must hold:",
            "",
            "- every invariant of `payout audit` holds ([proof.md](../proof.md)), and the digest of facts and of what is owed is that of the undisturbed",
            "  embedded run;",
            "- every record that lies in Kafka has exactly one disposition, and each that is no event is a dead letter;",
            "- who reads `payment.orders` and drops the ids already seen has every released order once, in the order of its number.",
            "",
            "A fault that never struck fails its run: the third column says what was counted. Restarts are those by the supervisor of the workers.",
            "",
            "| fault | catalogue | struck | restarts | seconds | came to |",
            "|---|---|---|---|---|---|",
            *table,
            "",
            "The catalogue is the project's list of faults, F01 to F114. The bank's faults are tried by `tests/bank` and `python -m loadtests.soak`, two",
            "versions at once by the tests of the upgrade.",
            "",
            "## How each is made, and what an operator sees",
            "",
            "| fault | how it is made | what is seen |",
            "|---|---|---|",
            *told,
            "",
        ]
    )
