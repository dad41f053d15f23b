"""`python -m loadtests.faults`: makes every fault for real, proves each, and writes what came of it to `docs/operations/faults.md`."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import psycopg
import typer
from kafka.errors import KafkaError  # type: ignore[import-untyped]
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from streams import logs
from streams.settings import SHIPPED

from .case import Case
from .catalogue import ALL
from .fault import Fault
from .ground import NODES, SHARDS, Ground, NotAsItMustBe
from .page import PAGE, Setting, page, written
from .proving import prove

CONSOLE = Console(highlight=False)
TOOLS = Path(os.environ.get("PAYOUT_TOOLS") or SHIPPED / ".kafka")


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
    fired, wrong = 0, ""
    case = Case(ground, number)
    try:
        if fault.after is not None:
            case.under_way(fault.after, fault.lasts_s)
        fired = fault.make(case)
        ground.heal()
        if not case.proven:
            case.rest()
            prove(case)
        case.until(ground.in_sync, "every broker has every record again")
        if fired < 1:
            wrong = f"the fault never struck\n{case.workers.told()}"
    except (NotAsItMustBe, OSError, RuntimeError, psycopg.Error, KafkaError) as reason:
        wrong = f"{type(reason).__name__}: {reason}"
    finally:
        ground.heal()
        if wrong:
            kept = ground.directory / "not-as-it-must-be" / str(number)
            shutil.copytree(case.home, kept, ignore=shutil.ignore_patterns("disk"), dirs_exist_ok=True)
        case.close()
    return Tried(fault, fired, case.workers.restarts, time.monotonic() - started_s, wrong)


def main(
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only faults of this number in the catalogue, or whose name or module holds this; repeatable, and tried in this order."),
    ] = None,
    subjects: Annotated[int, typer.Option(min=200, help="People of whom events tell; each has about three and a half.")] = 400,
    write: Annotated[bool, typer.Option("--write", help="Write the page docs/operations/faults.md, after each fault.")] = False,
    directory: Annotated[
        Path | None, typer.Option(help="Where to work, and to leave the logs of what went wrong; none: a temporary folder that is deleted.")
    ] = None,
    mount: Annotated[bool, typer.Option(help="Where this account may mount disks in memory, let those become full; else files reach a limit.")] = True,
    tools: Annotated[Path, typer.Option(help="The folder in which Kafka is, or is fetched to.")] = TOOLS,
) -> None:
    """Makes faults on three brokers and a PostgreSQL. Exit 1 if a fault never struck, or anything is not as in the undisturbed run."""
    chosen = list(dict.fromkeys(fault for word in only or [""] for fault in ALL if _meant(fault, word)))
    started_s, results = time.monotonic(), list[Tried]()
    place = Path(directory or tempfile.mkdtemp(prefix="payout-faults-"))
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o711)
    logs.configure("critical", "console")
    logging.disable(logging.CRITICAL)  # what the clients here say of brokers that are away; workers write logs of their own
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that brokers, servers and workers end with it
    try:
        _all_tried(Ground(place, tools, subjects, mount=mount), chosen, results, write=write)
    finally:
        if directory is None:
            shutil.rmtree(place, ignore_errors=True)
    _told(results)
    wrong = sum(bool(result.wrong) for result in results)
    CONSOLE.print(f"{len(results)} faults in {time.monotonic() - started_s:.0f} s: {f'{wrong} not as they must be' if wrong else 'all as they must be'}")
    raise typer.Exit(1 if wrong or not results else 0)


def _meant(fault: Fault, word: str) -> bool:
    return word.casefold() in fault.name.casefold() or word in (*fault.catalogue.split(", "), fault.make.__module__.rpartition(".")[2])


def _all_tried(ground: Ground, chosen: Sequence[Fault], results: list[Tried], *, write: bool) -> None:
    """Tries one after the other, on the same brokers and the same PostgreSQL, and tells of each as it ends."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not CONSOLE.is_terminal, transient=True) as progress:
        bar = progress.add_task(f"{NODES} brokers and PostgreSQL start", total=len(chosen))
        with ground:
            CONSOLE.print(f"{NODES} brokers, {SHARDS} shards, {ground.events:,} events; undisturbed: owed {ground.expected.owed[:16]}…")
            for number, fault in enumerate(chosen):
                progress.update(bar, description=fault.name)
                result = tried(ground, fault, number)
                results.append(result)
                style, word = ("red", "NOT AS IT MUST BE") if result.wrong else (None, "ok")
                CONSOLE.print(f"{word}  {fault.name}  struck {result.fired:,}  {result.took_s:.0f} s", style=style, markup=False, soft_wrap=True)
                if result.wrong:
                    CONSOLE.print(result.wrong[:6_000], style="red", markup=False, soft_wrap=True)
                if write:
                    _write(ground, result)
                progress.advance(bar)


def _write(ground: Ground, result: Tried) -> None:
    """Writes the row of a fault into the page, and leaves those of others."""
    setting = Setting(ground.events, len({part.topic for part in ground.slices}), SHARDS, ground.server_version)
    line = written(result.fault, result.fired, result.restarts, result.took_s, result.wrong)
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8") if PAGE.exists() else "", line, setting), encoding="utf-8")


def _told(results: list[Tried]) -> None:
    table = Table("fault", "catalogue", "struck", "what was counted", "restarts", "seconds", "as undisturbed", title="Faults, for real")
    for result in results:
        row = (result.fault.name, result.fault.catalogue, f"{result.fired:,}", result.fault.counted, str(result.restarts), f"{result.took_s:.0f}")
        table.add_row(*row, "no" if result.wrong else "yes", style="red" if result.wrong else None)
    CONSOLE.print(table)


if __name__ == "__main__":
    typer.run(main)
