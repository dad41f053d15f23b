"""`payout events`: putting registry events into the log, and the JSON Schema of what is accepted."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from .events_door import keygen, pseudonym, serve, token
from .opening import settings_of, working
from .speaking import AsJson, note, progress_bar, say, say_json

if TYPE_CHECKING:
    from connectors.event_feed import PutResult, Writer
    from pipeline.problems import Problem
    from streams.installation import Installation

app = typer.Typer(help="Brings registry events in.", no_args_is_help=True, rich_markup_mode=None)
app.command()(serve)
app.command()(token)
app.command()(keygen)
app.command()(pseudonym)


@app.command()
def put(
    context: typer.Context,
    files: Annotated[list[str], typer.Argument(metavar="FILE…", help="NDJSON of CloudEvents, one a line; - is standard input.")],
    as_json: AsJson = False,
) -> None:
    """Puts events into the log, or into Kafka where one is set: kept before they are counted. Exit code 2 if any line or file was refused."""
    from connectors.event_feed import lines_of, put_events
    from connectors.pseudonyms import Pseudonyms
    from pipeline.problems import Malformed

    results: list[tuple[str, PutResult]] = []
    refused: list[Problem] = []
    with working(context) as installation, _kafka(installation) as writer:
        shards, registries = installation.store.shards, installation.registries
        pseudonyms = Pseudonyms(registries, installation.settings.pseudonyms.read())
        for name in files:
            try:
                with _opened(name) as (file, size), progress_bar(name, unit="bytes") as bar:
                    lines = lines_of(file, name)
                    shown = _Shown(bar, size)
                    results.append((name, put_events(lines, installation.log_directory, shards, registries, shown, writer, pseudonyms)))
            except Malformed as malformed:
                refused += malformed.problems
    if as_json:
        say_json(_document(results, refused))
    else:
        _tell(results)
    for problem in refused:
        note(f"payout: {problem}")
    if refused or any(result.refused for _, result in results):
        raise typer.Exit(2)


@app.command()
def schema(
    context: typer.Context,
    type: Annotated[str | None, typer.Argument(metavar="TYPE", help="An event type; all of them without.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prints the JSON Schema of an event type, or of everything that is accepted; it is JSON with or without --json."""
    from connectors.registries import load_registries
    from pipeline.registry import event_schema

    say_json(event_schema(load_registries(settings_of(context).registries), type))


class _Shown:
    """Shows the bytes of a file that were put."""

    def __init__(self, bar: Callable[[int, int], None], size: int) -> None:
        self._bar, self._size, self._put = bar, size, 0

    def __call__(self, lines: int, put: int) -> None:
        self._put += put
        self._bar(self._put, self._size)


@contextmanager
def _kafka(installation: Installation) -> Iterator[Writer | None]:
    """A writer to Kafka where the settings name one; None: the embedded log."""
    if not installation.settings.kafka.servers:
        yield None
        return
    from streams.log_access import open_writer
    from streams.worker_topics import check_topics

    check_topics(installation)
    with open_writer(installation.settings, "payout-events") as writer:
        yield writer


@contextmanager
def _opened(name: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file, or standard input, with its size (0: not known)."""
    from pipeline.problems import Malformed, Problem

    if name == "-":
        yield sys.stdin.buffer, 0
        return
    path = Path(name)
    try:
        file = path.open("rb")
    except IsADirectoryError:
        raise Malformed([Problem(name, "is a directory", f"Name its files: {name.rstrip('/')}/*.ndjson")]) from None
    except OSError as error:
        raise Malformed([Problem(name, f"cannot be read: {error.strerror}", "Name a file of NDJSON, or - for standard input.")]) from None
    with file:
        yield file, path.stat().st_size


def _document(results: list[tuple[str, PutResult]], refused: list[Problem]) -> dict[str, object]:
    return {
        "accepted": sum(result.accepted for _, result in results),
        "refused": sum(result.refused for _, result in results),
        "files": [{"file": name, "result": result} for name, result in results],
        "refused_files": refused,
    }


def _tell(results: list[tuple[str, PutResult]]) -> None:
    for name, result in results:
        if not result.accepted and not result.refused:
            say(f"{name}: holds no events")
            continue
        topics = ", ".join(f"{count:,} to {topic}" for topic, count in sorted(result.topics.items()))
        say(f"{name}: {result.accepted:,} accepted, {result.refused:,} refused ({topics})")
        for refusal in result.refusals:
            first = "; ".join(str(problem) for problem in refusal.first[:3])
            say(f"  {refusal.lines:,} × {refusal.reason}\n    first in line {refusal.first_line}: {first}")
        if kept := result.refused - result.not_kept:
            note(f"payout: {kept:,} refused lines are in the log and become dead letters: `payout dead-letters list`")
        if result.withheld:
            note(f"payout: {result.withheld:,} refused lines may hold the number of a person and are not in the log; they stand in {name} only")
        if result.not_kept > result.withheld:
            note(f"payout: {result.not_kept - result.withheld:,} lines are longer than the log takes; they stand in {name} only")
