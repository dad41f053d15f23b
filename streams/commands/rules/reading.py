"""What the commands about rules share: their arguments, how a document and a table of facts are read, and how an answer is given."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

from connectors.registries import load_registries
from connectors.rule_files import read_rule
from pipeline.problems import Malformed, Problem
from pipeline.rules import Period, Rule, parse_period
from pipeline.rules.tables import fact_table
from streams.settings import SHIPPED

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": partial(pl.read_csv, infer_schema=False),
    ".ndjson": partial(pl.read_ndjson, infer_schema_length=None),
    ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
}
SUFFIXES = "Name a file that ends in .parquet, .csv or .ndjson."

Document = Annotated[Path, typer.Argument(metavar="RULE.yaml", help="A rule document.")]
Registries = Annotated[Path, typer.Option("--registries", envvar="PAYOUT_REGISTRIES", help="The folder of registry documents.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else there.")]
PeriodText = Annotated[str, typer.Option("--period", help="once, 2022, 2022-Q1 or 2022-03.")]
Facts = Annotated[Path, typer.Option("--facts", metavar="FILE", help="Parquet, CSV or NDJSON with a column subject and one column per fact of the rule.")]
SHIPPED_REGISTRIES = SHIPPED / "registries"


@contextmanager
def told() -> Iterator[None]:
    """Bad input ends with every problem on stderr and exit code 2."""
    try:
        yield
    except Malformed as malformed:
        for problem in malformed.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(2) from None


def read(path: Path, registries: Path) -> Rule:
    return read_rule(path, load_registries(registries))


def read_facts(rule: Rule, path: Path) -> pl.DataFrame:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise Malformed([Problem(str(path), f"is no kind of table that is read: {path.suffix!r}", SUFFIXES)])
    try:
        given = reader(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Malformed([Problem(str(path), f"cannot be read: {str(error).splitlines()[0]}", SUFFIXES)]) from None
    return fact_table(rule, given)


def period_of(rule: Rule, text: str) -> Period:
    try:
        period = parse_period(text or ("once" if rule.period_kind == "once" else ""))
        rule.day("period.start", period)
        if rule.parameters_at != "event.date":
            rule.segment(rule.day(rule.parameters_at, period))
    except ValueError as error:
        raise Malformed([Problem("--period", str(error))]) from None
    return period


def answer(as_json: bool, document: Any, text: str) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False) if as_json else text)
