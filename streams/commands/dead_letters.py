"""`payout dead-letters`: records that broke their contract: shown, put into the log again as they are or mended, or closed, by whom and why."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .opening import asking, reading
from .speaking import AsJson, instant, note, progress_bar, say, say_json, say_table

if TYPE_CHECKING:
    from connectors.store.queries import Queries
    from connectors.store.tables import DeadLetter
    from streams.installation import Installation

app = typer.Typer(help="Records that broke their contract.", no_args_is_help=True, rich_markup_mode=None)

_ID = re.compile(r"([a-z.]+)/(\d{1,4})/(\d{1,18})")
_NAMES = "Dead letters, as `payout dead-letters list` prints them."
Letter = Annotated[str, typer.Argument(metavar="TOPIC/SHARD/OFFSET", help="A dead letter, as `payout dead-letters list` prints it.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does this.")]
Because = Annotated[str, typer.Option("--because", metavar="TEXT", help="Why; it is kept with the letter.")]


@app.command("list")
def list_(
    context: typer.Context,
    status: Annotated[str, typer.Option(help="open, replayed, closed or all.")] = "open",
    limit: Annotated[int, typer.Option(min=1, help="How many to list.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Dead letters with their first problem, and what was done with them."""
    if status not in ("open", "replayed", "closed", "all"):
        raise typer.BadParameter(f"{status!r} is none of open, replayed, closed, all", param_hint="--status")
    with asking(context) as (_, queries):
        rows = _documents(queries, queries.dead_letters(None if status == "all" else status, limit))
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
    """A dead letter whole: its record, with what looks like an account masked, all its problems, where it came from and what became of it."""
    from streams.case import step_document
    from streams.logs import safe_text

    with asking(context) as (_, queries):
        found = _found(queries, letter)
        before = queries.put_at(found.topic, found.shard, found.record_offset)
        document: dict[str, Any] = {
            **_documents(queries, [found])[0],
            "replay_of": None if before is None else step_document(before),
            "record": safe_text(found.record_value.decode(errors="replace")),
        }
    if as_json:
        say_json(document)
        return
    say(f"{document['id']}: {document['status']}, arrived {instant(document['arrived_at'])}, key {document['key']!r}")
    if before is not None:
        say(f"it was put there for {document['replay_of']['letter']}, by {before.person}: {before.reason}")
    for step in document["steps"]:
        say(f"{instant(step['at'])} {step['text']}")
    for problem in document["problems"]:
        say(f"  {problem}")
    say(document["record"])


@app.command()
def replay(
    context: typer.Context,
    by: By,
    because: Because,
    letters: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC/SHARD/OFFSET]…", help=_NAMES)] = None,
    all_open: Annotated[bool, typer.Option("--all", help="Every open dead letter.")] = False,
    mended: Annotated[Path | None, typer.Option("--with", metavar="FILE", help="Put the record in this file instead; for one dead letter.")] = None,
    as_json: AsJson = False,
) -> None:
    """Puts records into the log again through the front door, as they came or mended. Exit code 2 if any still breaks its contract."""
    from connectors.store.dead_letters import letter_name, record_name
    from pipeline.problems import Malformed, Problem
    from streams import dead_letters as dealing
    from streams.log_access import reading as reading_log
    from streams.log_access import writing

    _said(by, because)
    if all_open == bool(letters):
        raise typer.BadParameter("name dead letters, or give --all", param_hint="TOPIC/SHARD/OFFSET")
    record = None if mended is None else _record(mended, letters or [])
    replayed: list[dict[str, str]] = []
    refused: list[Problem] = []
    with reading(context) as installation:
        chosen = _chosen(installation, letters)
        with writing(installation, "payout-dead-letters") as writer, reading_log(installation) as log, progress_bar("dead letters", unit="letters") as bar:
            for done, found in enumerate(chosen):
                bar(done, len(chosen))
                name = letter_name(found)
                try:
                    put = dealing.replay(installation, writer, log, found, by.strip(), because.strip(), record)
                except dealing.NotOpen:
                    continue  # somebody else was quicker
                except Malformed as malformed:
                    refused += [problem.within(name) for problem in malformed.problems]
                    continue
                replayed.append({"letter": name, "put_at": record_name(put.topic, put.shard, put.offset)})
    if as_json:
        say_json({"replayed": replayed, "refused": refused})
    else:
        for entry in replayed:
            say(f"{entry['letter']} is put into the log again, at {entry['put_at']}")
        note(f"payout: {len(replayed):,} of {len(chosen):,} put into the log again; they are taken like any other record")
    for problem in refused:
        note(f"payout: {problem}")
    if refused:
        raise typer.Exit(2)


@app.command()
def close(context: typer.Context, letter: Letter, by: By, because: Because, as_json: AsJson = False) -> None:
    """Closes a dead letter; its record stays."""
    from streams import dead_letters as dealing

    _said(by, because)
    with reading(context) as installation:
        (found,) = _chosen(installation, [letter])
        try:
            dealing.close(installation, found, by.strip(), because.strip())
        except dealing.NotOpen as error:
            note(f"payout: {error}")
            raise typer.Exit(1) from None
    if as_json:
        say_json({"closed": [letter]})
    else:
        say(f"{letter} is closed: {because.strip()}")


def _said(by: str, because: str) -> None:
    for option, text in (("--by", by), ("--because", because)):
        if not text.strip() or len(text) > 1000:
            raise typer.BadParameter("say who does this" if option == "--by" else "say why", param_hint=option)


def _record(file: Path, letters: list[str]) -> bytes:
    """The mended record: one line, or one JSON document over several."""
    from pipeline.problems import Malformed, Problem

    if len(letters) != 1:
        raise typer.BadParameter("a mended record stands for one dead letter; name it", param_hint="--with")
    try:
        text = file.read_bytes().strip()
    except OSError as error:
        raise Malformed([Problem(str(file), f"cannot be read: {error.strerror}", "Name a file that holds the mended record.")]) from None
    if not text:
        raise Malformed([Problem(str(file), "is empty", "Name a file that holds the mended record.")])
    return text


def _chosen(installation: Installation, letters: list[str] | None) -> list[DeadLetter]:
    from connectors.store.queries import queries_of

    with queries_of(installation.store) as queries:
        return [_open(queries, letter) for letter in letters] if letters else queries.dead_letters()


def _documents(queries: Queries, letters: list[DeadLetter]) -> list[dict[str, Any]]:
    from streams.case import letter_documents

    return letter_documents(letters, queries.letter_steps(letters))


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
