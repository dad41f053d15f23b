"""`payout bank`: hands released orders over to the bank, takes its answers, and holds its statements against the orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .opening import reading
from .speaking import AsJson, money, note, say, say_json, say_table

if TYPE_CHECKING:
    from streams.bank_desk import TakenFile
    from streams.desks import Desks
    from streams.installation import Installation

app = typer.Typer(help="Exchanges files with the bank, beside the workers.", no_args_is_help=True, rich_markup_mode=None)

Watch = Annotated[bool, typer.Option("--watch", help="Go on until stopped; Ctrl-C finishes the work in hand.")]
Every = Annotated[float, typer.Option("--every-s", min=0.05, help="Seconds between two looks, with --watch.")]


@app.command()
def submit(context: typer.Context, watch: Watch = False, every_s: Every = 2.0, as_json: AsJson = False) -> None:
    """Writes the orders that are released and not yet handed over into files at the bank's door (HOME/bank/out)."""
    totals = {"orders": 0, "submissions_put_out_again": 0}
    with _desks(context, watch) as (installation, desks):

        def step() -> None:
            again, orders = desks.submit()
            totals["orders"] += orders
            totals["submissions_put_out_again"] += again

        _repeat(desks, step, watch, every_s)
        folder = str(installation.bank_directory / "out")
    if as_json:
        say_json({**totals, "folder": folder})
    else:
        again = f"; {totals['submissions_put_out_again']:,} files of an interrupted run were put out again" if totals["submissions_put_out_again"] else ""
        say(f"{totals['orders']:,} orders handed over in {folder}{again}")


@app.command()
def receive(context: typer.Context, watch: Watch = False, every_s: Every = 2.0, as_json: AsJson = False) -> None:
    """Takes the bank's files (HOME/bank/in) and sends each answer to its order. Exit code 1 if a file is refused or is to be looked at."""
    taken: list[TakenFile] = []
    with _desks(context, watch) as (_, desks):
        _repeat(desks, lambda: taken.extend(desks.receive()), watch, every_s)
    documents = [file._asdict() for file in taken]
    refused, odd = [file for file in taken if file.outcome == "refused"], [file for file in taken if file.findings]
    if as_json:
        say_json({"files": documents, "answers": sum(file.answers for file in taken)})
    else:
        say_table(("file", "kind", "outcome", "answers", "to be looked at"), [tuple(document.values()) for document in documents], right=("answers",))
        say(f"{len(taken):,} files, {sum(file.answers for file in taken):,} answers")
    for file in refused:
        note(f"payout: {file.name} is refused and lies in bank/refused; the log says why")
    for file in odd:
        note(f"payout: {file.name} answers {file.findings:,} orders that nobody sent, or with another amount: see `payout status`, findings")
    if refused or odd:
        raise typer.Exit(1)


@app.command()
def reconcile(
    context: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(metavar="[FILE]…", help="The bank's camt.053, camt.054, pain.002; else all that were received.")] = None,
    journal: Annotated[Path | None, typer.Option(metavar="JOURNAL", help="The sandbox bank's journal instead.")] = None,
    as_json: AsJson = False,
) -> None:
    """Holds what the bank booked against the orders. Exit code 1 if anything differs."""
    from pipeline.problems import Malformed, Problem
    from streams.reconciliation import bookings_of
    from streams.reconciliation import reconcile as compare

    if journal is not None and not journal.is_file():
        raise Malformed([Problem(str(journal), "is no file", "Name the bank's journal, such as home/bank/sandbox/journal.ndjson.")])
    with reading(context, level="error") as installation:
        received = [] if journal is not None else sorted((installation.bank_directory / "done").glob("*.xml"))
        found = compare(installation, bookings_of(files or received, journal))
    if as_json:
        say_json(found)
    else:
        rows = [
            (name, *(value for total in found.sums for value in (f"{getattr(total, name):,}", money(getattr(total, f"{name}_minor"), total.currency))))
            for name in ("booked", "returned", "settled", "open")
        ]
        columns = ["", *(name for total in found.sums for name in (f"orders {total.currency}", f"amount {total.currency}"))]
        say_table(columns, rows if found.sums else [], right=columns[1:])
        for difference in found.differences:
            say(f"{difference.difference}: {difference.orders:,} orders. {difference.sentence}")
            for example in difference.examples:
                say(f"    {example}")
        note(f"payout: {found.files:,} files of the bank agree with the orders" if found.ok else "payout: the bank and the orders differ")
    if not found.ok:
        raise typer.Exit(1)


@contextmanager
def _desks(context: typer.Context, watch: bool) -> Iterator[tuple[Installation, Desks]]:
    """The desks of an installation; not where `payout run` exchanges the files."""
    from pipeline.observing import Silent
    from streams import logs
    from streams.desks import Desks

    with reading(context) as installation:
        settings = installation.settings
        if watch:
            logs.configure(settings.log_level, settings.log_format, settings.home)
        if not settings.kafka.servers:
            _nobody_runs(installation)
        with Desks(installation, Silent()) as desks:
            yield installation, desks


def _nobody_runs(installation: Installation) -> None:
    from connectors.store.queries import queries_of

    with queries_of(installation.store) as queries:
        if "payout relay" in queries.connected():
            note("payout: `payout run` exchanges files with the bank already; stop it, or leave the files to it")
            raise typer.Exit(3)


def _repeat(desks: Desks, step: Callable[[], Any], watch: bool, every_s: float) -> None:
    if not watch:
        step()
        return
    from streams.stopping import signals

    with signals() as stop:
        desks.watch(step, stop, every_s)
