"""`python -m loadtests.faults`: makes every fault for real, proves each, and writes what came of it to `docs/operations/faults.md`."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from streams import logs
from streams.settings import SHIPPED

from . import of_brokers, of_messages, of_the_store, of_workers
from .case import Case
from .fault import FAULTS, Fault
from .ground import NODES, SHARDS, Ground, NotAsItMustBe
from .page import PAGE, page, written

CONSOLE = Console(highlight=False)
TOOLS = Path(os.environ.get("PAYOUT_TOOLS") or SHIPPED / ".kafka")
KINDS = (of_workers, of_brokers, of_the_store, of_messages)
"""Importing these lists their faults."""


class Tried(NamedTuple):
    """What came of one fault: how often it struck, and what was not as it must be."""

    fault: Fault
    fired: int
    restarts: int
    took_s: float
    wrong: str


def tried(ground: Ground, fault: Fault, number: int) -> Tried:
    """Makes a fault in a case of its own, heals, lets everything settle, and proves it."""
    started_s = time.monotonic()
    fired = restarts = 0
    wrong = ""
    case = Case(ground, fault.name, number)
    try:
        fired = fault.make(case)
        ground.heal()
        if not case.proven:
            case.finish(doubled=fault.doubled)
        if fired < 1:
            wrong = f"the fault never struck\n{case.told()}"
    except NotAsItMustBe as reason:
        wrong = str(reason)
    finally:
        restarts = case.restarts
        ground.heal()
        case.close()
    return Tried(fault, fired, restarts, time.monotonic() - started_s, wrong)


def main(
    only: Annotated[str, typer.Option(help="Only faults whose name or number in the catalogue holds this.")] = "",
    subjects: Annotated[int, typer.Option(min=200, help="People of whom events tell; each has about three and a half.")] = 5_500,
    write: Annotated[bool, typer.Option("--write", help="Write the page docs/operations/faults.md.")] = False,
    directory: Annotated[Path | None, typer.Option(help="Where to work; none: a temporary folder that is deleted.")] = None,
    tools: Annotated[Path, typer.Option(help="The folder in which Kafka is, or is fetched to.")] = TOOLS,
) -> None:
    """Makes faults on three brokers and a PostgreSQL. Exit 1 if a fault never struck, or anything is not as in the undisturbed run."""
    chosen = [fault for fault in FAULTS if only.casefold() in fault.name.casefold() or only in fault.catalogue.split(", ")]
    started_s, results = time.monotonic(), list[Tried]()
    place = Path(directory or tempfile.mkdtemp(prefix="payout-faults-"))
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o711)
    logs.configure("error", "console")
    try:
        with Progress(console=Console(stderr=True), disable=not CONSOLE.is_terminal, transient=True) as progress, Ground(place, tools, subjects) as ground:
            CONSOLE.print(f"{NODES} brokers, {SHARDS} shards, {ground.events:,} events; undisturbed: owed {ground.expected.owed[:16]}…")
            bar = progress.add_task("faults", total=len(chosen))
            for number, fault in enumerate(chosen):
                result = tried(ground, fault, number)
                results.append(result)
                style, word = ("red", "NOT AS IT MUST BE") if result.wrong else (None, "ok")
                CONSOLE.print(f"{word}  {fault.name}  struck {result.fired:,}  {result.took_s:.0f} s", style=style, markup=False)
                if result.wrong:
                    CONSOLE.print(result.wrong[:6_000], style="red", markup=False)
                progress.advance(bar)
            events = ground.events
    finally:
        if directory is None:
            shutil.rmtree(place, ignore_errors=True)
    _told(results)
    if write:
        lines = [written(result.fault, result.fired, result.restarts, result.took_s, result.wrong) for result in results]
        PAGE.write_text(page(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", lines, events), encoding="utf-8")
    wrong = sum(bool(result.wrong) for result in results)
    CONSOLE.print(f"{len(results)} faults in {time.monotonic() - started_s:.0f} s: {f'{wrong} not as they must be' if wrong else 'all as they must be'}")
    raise typer.Exit(1 if wrong or not results else 0)


def _told(results: list[Tried]) -> None:
    table = Table("fault", "catalogue", "struck", "what was counted", "restarts", "seconds", "as undisturbed", title="Faults, for real")
    for result in results:
        row = (result.fault.name, result.fault.catalogue, f"{result.fired:,}", result.fault.counted, str(result.restarts), f"{result.took_s:.0f}")
        table.add_row(*row, "no" if result.wrong else "yes", style="red" if result.wrong else None)
    CONSOLE.print(table)


if __name__ == "__main__":
    typer.run(main)
