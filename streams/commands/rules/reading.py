"""What the commands about rules share: their arguments, how a document and a table of facts are read, and how an answer is given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import polars as pl
import typer

from connectors.registries import load_registries
from connectors.rule_files import read_rule
from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries as Known
from pipeline.rules import Period, Rule
from pipeline.rules.periods import period_for
from pipeline.rules.tables import MoneyColumn, fact_table, members_of, money_columns
from streams.commands.speaking import note, say
from streams.shipped import SHIPPED

from .pointing import fields, pointed

Document = Annotated[Path, typer.Argument(metavar="RULE.yaml", help="A rule document.")]
Documents = Annotated[list[Path], typer.Argument(metavar="RULE|FOLDER...", help="Rule documents, or folders of them.")]
Registries = Annotated[Path, typer.Option("--registries", envvar="PAYOUT_REGISTRIES", help="The folder of registry documents.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else there.")]
PeriodText = Annotated[str, typer.Option("--period", help="once, 2022, 2022-Q1, 2022-03 or 2022-W05.")]
Facts = Annotated[Path, typer.Option("--facts", metavar="FILE", help="Parquet, CSV or NDJSON with a column subject and one column per fact of the rule.")]
Members = Annotated[
    Path | None,
    typer.Option("--members", metavar="FILE", help="Of a rule for households: Parquet, CSV or NDJSON with a column household and one per fact of a member."),
]
SHIPPED_REGISTRIES = SHIPPED / "registries"


@contextmanager
def told() -> Iterator[None]:
    """Bad input ends with every problem on stderr and exit code 2."""
    try:
        yield
    except Malformed as malformed:
        for problem in malformed.problems:
            note(f"payout: {problem}")
        raise typer.Exit(2) from None


def files_of(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, and of folders the documents in them, but for those of registries."""
    found: list[Path] = []
    for path in paths:
        inside = [found for found in sorted(path.rglob("*.yaml")) if not _of_a_registry(found)] if path.is_dir() else [path]
        if not inside:
            raise Malformed([Problem(str(path), "holds no rule documents (*.yaml)", "Name a folder of rule documents.")])
        found += inside
    return list(dict.fromkeys(found))


def _of_a_registry(path: Path) -> bool:
    """Whether a document in a folder says that it is one of a registry, which --registries is for."""
    with path.open("rb") as file:
        return file.read(200).lstrip().startswith(b"format: registry/")


def read(path: Path, registries: Path) -> Rule:
    return read_rule(path, load_registries(registries))


def read_each(paths: Iterable[Path], registries: Known, found: list[dict[str, Any]], as_json: bool) -> Iterator[tuple[Path, Rule]]:
    """The rules of several documents; the problems of those that are none are told, and added to what was `found` of the documents."""
    for path in paths:
        try:
            yield path, read_rule(path, registries)
        except Malformed as malformed:
            found.append({"file": str(path), "ok": False, "problems": [fields(problem) for problem in malformed.problems]})
            if not as_json:
                note("\n".join(map(pointed, malformed.problems)))


def answer_each(as_json: bool, found: list[dict[str, Any]]) -> NoReturn:
    """Ends a command about several documents: exit code 2 where one is wrong, 1 where one is not well."""
    well = all(entry["ok"] for entry in found)
    answer(as_json, {"ok": well, "documents": found}, "")
    raise typer.Exit(0 if well else 2 if any("problems" in entry for entry in found) else 1)


def read_facts(rule: Rule, path: Path, period: Period | None = None, members: Path | None = None) -> tuple[pl.DataFrame, list[MoneyColumn]]:
    """The table of facts at `path`, with what a rule for households makes of the table of their members, and how its money was read."""
    given, people = _table(path), None if members is None else _table(members)
    return fact_table(rule, given, period, people), money_columns(rule, given, people)


def read_members(rule: Rule, path: Path, members: Path | None, household: str) -> list[tuple[str, dict[str, int | bool | str | None]]]:
    """The members of one household with their facts, from the tables that `read_facts` reads."""
    return members_of(rule, _table(path), None if members is None else _table(members), household)


def _table(path: Path) -> pl.DataFrame:
    from connectors.facts_file import READERS, SUFFIXES

    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise Malformed([Problem(str(path), f"is no kind of table that is read: {path.suffix!r}", SUFFIXES)])
    try:
        return reader(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Malformed([Problem(str(path), f"cannot be read: {str(error).splitlines()[0]}", SUFFIXES)]) from None


def period_of(rule: Rule, text: str) -> Period:
    try:
        period = period_for(rule.period_kind, text)
        rule.day("period.start", period)
        if rule.parameters_at != "event.date":
            rule.segment(rule.day(rule.parameters_at, period))
    except ValueError as error:
        raise Malformed([Problem("--period", str(error))]) from None
    return period


def answer(as_json: bool, document: Any, text: str) -> None:
    if as_json or text:
        say(json.dumps(document, ensure_ascii=False) if as_json else text)
