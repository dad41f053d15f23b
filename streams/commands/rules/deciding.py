"""The commands that decide a table by a rule document: evaluate and explain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import msgspec
import polars as pl
import typer

from connectors.facts_file import SUFFIXES
from connectors.registries import load_registries
from connectors.rule_files import read_rule
from pipeline.money import money_text
from pipeline.problems import Malformed, Problem
from pipeline.rules import decide, explain, letter
from pipeline.rules.sources import Source, sources_of
from pipeline.rules.tables import decision_table
from streams.commands.languages import InLanguage, language_in
from streams.commands.speaking import note
from streams.shipped import SHIPPED

from .reading import (
    SHIPPED_REGISTRIES,
    Document,
    Facts,
    Json,
    Members,
    PeriodText,
    Registries,
    answer,
    period_of,
    read,
    read_facts,
    read_members,
    told,
)

_WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    ".parquet": pl.DataFrame.write_parquet,
    ".csv": pl.DataFrame.write_csv,
    ".ndjson": pl.DataFrame.write_ndjson,
    ".jsonl": pl.DataFrame.write_ndjson,
}


def evaluate(
    rule: Document,
    facts: Facts,
    output: Annotated[Path, typer.Option("--output", metavar="OUT", help="Parquet, CSV or NDJSON to write.")],
    period: PeriodText = "",
    members: Members = None,
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Decide a table without any store.

    FILE has a column subject and one column per fact of the rule, under the rule's own name; empty is unknown, and a value outside the fact's
    range counts as unknown. Whole numbers in a money column are MINOR UNITS (cents); text with a decimal point, as in a CSV with 1234.50, is an
    amount, and then the whole column is read as amounts. Dates are written 2022-01-31, yes/no as yes or no. A rule whose parameters go by the date
    of the event also needs a column event_date. What a rule for households makes of members is made of --members, or of lists in the column members
    of FILE, or stands there in columns of its own. OUT has subject, decision, amount_minor, currency, missing and one column per step.
    """
    with told():
        loaded = read(rule, registries)
        asked = period_of(loaded, period)
        writer = _WRITERS.get(output.suffix.lower())
        if writer is None:
            raise Malformed([Problem(str(output), f"is no kind of table that is written: {output.suffix!r}", SUFFIXES)])
        table, money = read_facts(loaded, facts, asked, members)
        try:
            result = decision_table(loaded, table, decide(loaded, table, asked))
            writer(result, output)
        except OSError as error:
            raise Malformed([Problem(str(output), f"cannot be written: {error.strerror}")]) from None
        except ValueError as error:
            raise Malformed([Problem(str(facts), str(error))]) from None
    counted = dict(result.get_column("decision").value_counts().iter_rows())
    total = int(result.get_column("amount_minor").sum())
    summary = {"subjects": result.height, **{name: counted.get(name, 0) for name in ("granted", "refused", "undetermined")}}
    text = ", ".join(f"{number:,} {name}" for name, number in summary.items())
    answer(
        as_json,
        {**summary, "amount_minor": total, "currency": loaded.currency, "output": str(output), "money_columns": [asdict(column) for column in money]},
        "\n".join([f"{text}; {money_text(total, loaded.currency)}. {output}", *map(str, money)]),
    )


def explain_command(
    rule: Document,
    facts: Facts,
    subject: Annotated[str, typer.Option("--subject", help="Whose decision to explain.")],
    period: PeriodText = "",
    members: Members = None,
    language: InLanguage = "en",
    locales: Annotated[Path, typer.Option("--locales", envvar="PAYOUT_LOCALES", help="The folder of the languages' catalogues.")] = SHIPPED / "locales",
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Explain the decision on one subject of a table: conditions, steps, the law, what is unknown, and which fact would change it."""
    with told():
        spoken, known = language_in(locales, language), load_registries(registries)
        loaded = read_rule(rule, known)
        asked = period_of(loaded, period)
        table, money = read_facts(loaded, facts, asked, members)
        row = table.filter(pl.col("subject") == subject)
        if not row.height:
            raise Malformed([Problem("--subject", f"the table has no row for {subject!r}")])
        held = row.row(0, named=True)
        decided, event_day = decide(loaded, row, asked).row(0, named=True), held.get("event_day")
        people: list[tuple[str, dict[str, int | bool | str | None], dict[str, Source]]]
        people = [(name, known_of, {}) for name, known_of in read_members(loaded, facts, members, subject)]
        sources = sources_of(loaded, known, spoken)
        told_of = explain(loaded, decided, held, asked, subject, event_day=event_day, language=spoken, sources=sources, members=people)
    text = letter(told_of, spoken)
    if money and not as_json:
        note("\n".join(map(str, money)))
    answer(as_json, {**msgspec.to_builtins(told_of), "text": text, "money_columns": [asdict(column) for column in money]}, text)
