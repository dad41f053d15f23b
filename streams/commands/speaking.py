"""What a command says: results on standard output as text or as one JSON document, everything else on standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]


def say(text: str) -> None:
    """A result, for people."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        # The reader has seen enough (| head): nothing more is wanted, and nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def note(text: str) -> None:
    """A word beside the result."""
    typer.echo(text, err=True)


def say_json(document: Any) -> None:
    """The result as one JSON document."""
    import msgspec

    say(msgspec.json.format(msgspec.json.encode(document, order="deterministic"), indent=2).decode())


def say_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = (), indent: int = 0) -> None:
    """Rows under their headings, the columns of `right` flush right; nothing where there are no rows."""
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_edge=False, pad_edge=False, header_style="dim")
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(value)) for value in row))
    if not table.row_count:
        return
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    with console.capture() as captured:
        console.print(Padding(table, (0, 0, 0, indent), expand=False))
    say("\n".join(line.rstrip() for line in captured.get().splitlines()))


def heading(text: str) -> None:
    """The title of a part of a result."""
    say(f"\n{typer.style(text, bold=True)}")


def money(amount_minor: int, currency: str) -> str:
    """An amount for people."""
    from pipeline.money import money_text

    return money_text(amount_minor, currency)


def instant(at: datetime | None) -> str:
    """An instant for people, in UTC."""
    from datetime import UTC

    return "never" if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def age(seconds: float) -> str:
    """How long something has lasted, in the largest unit that fits."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds)} s"


@contextmanager
def progress_bar(description: str, *, unit: str = "records") -> Iterator[Any]:
    """A progress bar on a terminal: called with (done, total), and with other words where something else is done. In a pipe it shows nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total, words=description: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(description, total=None)
        yield lambda done, total, words=description: bar.update(task, completed=done, total=total, description=words)
