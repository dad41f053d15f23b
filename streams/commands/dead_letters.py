"""`payout dead-letters`: records that broke their contract: shown, put into the log again, or closed with a reason."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .opening import asking, reading
from .speaking import AsJson, instant, note, say, say_json, say_table

if TYPE_CHECKING:
    from connectors.store.queries import Queries
    from connectors.store.tables import DeadLetter

app = typer.Typer(help="Records that broke their contract.", no_args_is_help=True, rich_markup_mode=None)

_ID = re.compile(r"([a-z.]+)/(\d{1,4})/(\d{1,18})")
Letter = Annotated[str, typer.Argument(metavar="TOPIC/SHARD/OFFSET", help="A dead letter, as `payout dead-letters list` prints it.")]


@app.command("list")
def list_(
    context: typer.Context,
    status: Annotated[str, typer.Option(help="open, replayed, closed or all.")] = "open",
    limit: Annotated[int, typer.Option(min=1, help="How many to list.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Dead letters with their first problem."""
    if status not in ("open", "replayed", "closed", "all"):
        raise typer.BadParameter(f"{status!r} is none of open, replayed, closed, all", param_hint="--status")
    from streams.case import letter_document

    with asking(context) as (_, queries):
        rows = [letter_document(letter) for letter in queries.dead_letters(None if status == "all" else status, limit)]
    if as_json:
        say_json(rows)
    elif not rows:
        note(f"payout: no {'' if status == 'all' else status + ' '}dead letters")
    else:
        say_table(
            ("dead letter", "status", "key", "arrived", "problem"), [(r["id"], r["status"], r["key"], instant(r["arrived_at"]), r["problems"][0]) for r in rows]
        )
        if len(rows) == limit:
            note(f"payout: the first {limit:,}; see more with --limit")


@app.command()
def show(context: typer.Context, letter: Letter, as_json: AsJson = False) -> None:
    """A dead letter whole: its record, with what looks like an account masked, and all its problems."""
    from streams.case import letter_document
    from streams.logs import safe_text

    with asking(context) as (_, queries):
        found = _found(queries, letter)
        document = {**letter_document(found), "record": safe_text(found.record_value.decode(errors="replace"))}
    if as_json:
        say_json(document)
        return
    say(f"{document['id']}: {document['status']}, arrived {instant(document['arrived_at'])}, key {document['key']!r}")
    if document["resolution"]:
        say(f"{instant(document['resolved_at'])}: {document['resolution']}")
    for problem in document["problems"]:
        say(f"  {problem}")
    say(document["record"])


@app.command()
def replay(
    context: typer.Context,
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC/SHARD/OFFSET]…", help="Dead letters, as `payout dead-letters list` prints them.")
    ] = None,
    all_open: Annotated[bool, typer.Option("--all", help="Every open dead letter.")] = False,
    as_json: AsJson = False,
) -> None:
    """Puts records into the log again as they are, after the registry document or the rules were mended."""
    from connectors.store.queries import queries_of, resolve_dead_letter

    if all_open == bool(letters):
        raise typer.BadParameter("name dead letters, or give --all", param_hint="TOPIC/SHARD/OFFSET")
    replayed = []
    with reading(context) as installation:
        with queries_of(installation.store) as queries:
            chosen = queries.dead_letters() if all_open else [_open(queries, letter) for letter in letters or ()]
        # First into the log, then marked: killed in between, the record comes twice, which changes nothing.
        _append(installation.log_directory, chosen)
        for found in chosen:
            if resolve_dead_letter(installation.store, found, "replayed", "put into the log again", datetime.now(UTC)):
                replayed.append(f"{found.topic}/{found.shard}/{found.record_offset}")
    if as_json:
        say_json({"replayed": replayed})
    else:
        say(f"{len(replayed):,} put into the log again; they are taken by the next `payout run`")


@app.command()
def close(
    context: typer.Context,
    letter: Letter,
    reason: Annotated[str, typer.Option("--reason", help="Why nothing more needs to be done with it.")],
    as_json: AsJson = False,
) -> None:
    """Closes a dead letter; its record stays."""
    from connectors.store.queries import queries_of, resolve_dead_letter

    if not reason.strip():
        raise typer.BadParameter("say why it may be closed", param_hint="--reason")
    with reading(context) as installation:
        with queries_of(installation.store) as queries:
            found = _open(queries, letter)
        resolve_dead_letter(installation.store, found, "closed", reason.strip(), datetime.now(UTC))
    if as_json:
        say_json({"closed": [letter]})
    else:
        say(f"{letter} is closed: {reason.strip()}")


def _append(log_directory: Any, letters: list[DeadLetter]) -> None:
    from connectors.segment_log import LogWriter

    with LogWriter(log_directory, fsync="close") as writer:
        for letter in letters:
            writer.append(letter.topic, letter.shard, [(letter.record_key, letter.record_value)])


def _found(queries: Queries, text: str) -> DeadLetter:
    match = _ID.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is not written TOPIC/SHARD/OFFSET, like registry.tax/3/1841", param_hint="TOPIC/SHARD/OFFSET")
    letter = queries.dead_letter(match[1], int(match[2]), int(match[3]))
    if letter is None:
        note(f"payout: there is no dead letter {text}; `payout dead-letters list --status all` lists them")
        raise typer.Exit(1)
    return letter


def _open(queries: Queries, text: str) -> DeadLetter:
    letter = _found(queries, text)
    if letter.status != "open":
        note(f"payout: {text} is {letter.status} already: {letter.resolution}")
        raise typer.Exit(1)
    return letter
