"""The commands about rules: check, test, evaluate, explain, diff, list, show and schema. None of them needs a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import polars as pl
import typer

from connectors.registries import load_registries
from connectors.rule_files import read_rule
from pipeline.facts import LAST_DAY, day_date
from pipeline.money import money_text
from pipeline.problems import Malformed, Problem
from pipeline.rules import Period, Rule, decide, document_schema, explain, parse_period, run_tests
from pipeline.rules.difference import changes
from pipeline.rules.tables import decision_table, fact_table

from .settings import SHIPPED

app = typer.Typer(name="rules", help="What a policy team does with a rule document.", no_args_is_help=True)

_READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": partial(pl.read_csv, infer_schema=False),
    ".ndjson": partial(pl.read_ndjson, infer_schema_length=None),
    ".jsonl": partial(pl.read_ndjson, infer_schema_length=None),
}
_WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    ".parquet": pl.DataFrame.write_parquet,
    ".csv": pl.DataFrame.write_csv,
    ".ndjson": pl.DataFrame.write_ndjson,
    ".jsonl": pl.DataFrame.write_ndjson,
}
_SUFFIXES = "Name a file that ends in .parquet, .csv or .ndjson."

Document = Annotated[Path, typer.Argument(metavar="RULE.yaml", help="A rule document.")]
Registries = Annotated[Path, typer.Option("--registries", envvar="PAYOUT_REGISTRIES", help="The folder of registry documents.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout and nothing else there.")]
PeriodText = Annotated[str, typer.Option("--period", help="once, 2022, 2022-Q1 or 2022-03.")]
Facts = Annotated[Path, typer.Option("--facts", metavar="FILE", help="Parquet, CSV or NDJSON with a column subject and one column per fact of the rule.")]
SHIPPED_REGISTRIES = SHIPPED / "registries"


@contextmanager
def _told() -> Iterator[None]:
    """Bad input ends with every problem on stderr and exit code 2."""
    try:
        yield
    except Malformed as malformed:
        for problem in malformed.problems:
            typer.echo(str(problem), err=True)
        raise typer.Exit(2) from None


def _read(path: Path, registries: Path) -> Rule:
    return read_rule(path, load_registries(registries))


def _read_facts(rule: Rule, path: Path) -> pl.DataFrame:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise Malformed([Problem(str(path), f"is no kind of table that is read: {path.suffix!r}", _SUFFIXES)])
    try:
        given = reader(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise Malformed([Problem(str(path), f"cannot be read: {str(error).splitlines()[0]}", _SUFFIXES)]) from None
    return fact_table(rule, given)


def _period(rule: Rule, text: str) -> Period:
    try:
        period = parse_period(text or ("once" if rule.period_kind == "once" else ""))
        rule.day("period.start", period)
        if rule.parameters_at != "event.date":
            rule.segment(rule.day(rule.parameters_at, period))
    except ValueError as error:
        raise Malformed([Problem("--period", str(error))]) from None
    return period


def _say(as_json: bool, document: Any, text: str) -> None:
    typer.echo(json.dumps(document, ensure_ascii=False) if as_json else text)


@app.command()
def check(
    rules: Annotated[list[Path], typer.Argument(metavar="RULE.yaml...", help="Rule documents.")],
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Check documents: shape, names, types, units, ranges, dates, and their own tests. Exit code 1 where a test fails, 2 where a document is wrong."""
    found: list[dict[str, Any]] = []
    worst = 0
    for path in rules:
        try:
            rule = _read(path, registries)
        except Malformed as malformed:
            worst = 2
            found.append({"file": str(path), "ok": False, "problems": [msgspec.to_builtins(problem) for problem in malformed.problems]})
            if not as_json:
                typer.echo("\n".join(map(str, malformed.problems)), err=True)
            continue
        failed = [result for result in run_tests(rule) if not result.passed]
        worst = max(worst, bool(failed))
        found.append({"file": str(path), "ok": not failed, "hash": rule.hash, "tests": len(rule.tests), "failed": [str(result) for result in failed]})
        if not as_json:
            typer.echo("\n".join([f"{path}: {'not well' if failed else 'well'}, {len(rule.tests)} tests, hash {rule.hash[:12]}", *map(str, failed)]))
    if as_json:
        typer.echo(json.dumps({"ok": not worst, "documents": found}, ensure_ascii=False))
    raise typer.Exit(worst)


@app.command(name="test")
def run_own_tests(rule: Document, registries: Registries = SHIPPED_REGISTRIES, as_json: Json = False) -> None:
    """Run a document's own tests. Exit code 1 where one fails."""
    with _told():
        results = run_tests(_read(rule, registries))
    failed = sum(not result.passed for result in results)
    lines = [f"{'ok    ' if result.passed else 'FAILED'} {result.name if result.passed else result}" for result in results]
    summary = f"{len(results) - failed} of {len(results)} tests as expected"
    _say(as_json, {"ok": not failed, "tests": msgspec.to_builtins(results)}, "\n".join([*lines, summary]))
    raise typer.Exit(1 if failed else 0)


@app.command()
def evaluate(
    rule: Document,
    facts: Facts,
    output: Annotated[Path, typer.Option("--output", metavar="OUT", help="Parquet, CSV or NDJSON to write.")],
    period: PeriodText = "",
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Decide a table without any store.

    FILE has a column subject and one column per fact of the rule, under the rule's own name; empty is unknown, and a value outside the fact's
    range counts as unknown. Whole numbers in a money column are MINOR UNITS (cents); text with a decimal point, as in a CSV with 1234.50, is an
    amount, and then the whole column is read as amounts. Dates are written 2022-01-31, yes/no as yes or no. A rule whose parameters go by the date
    of the event also needs a column event_date. OUT has subject, decision, amount_minor, currency, missing and one column per step.
    """
    with _told():
        loaded = _read(rule, registries)
        asked = _period(loaded, period)
        writer = _WRITERS.get(output.suffix.lower())
        if writer is None:
            raise Malformed([Problem(str(output), f"is no kind of table that is written: {output.suffix!r}", _SUFFIXES)])
        table = _read_facts(loaded, facts)
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
    _say(
        as_json,
        {**summary, "amount_minor": total, "currency": loaded.currency, "output": str(output)},
        f"{text}; {money_text(total, loaded.currency)}. {output}",
    )


@app.command(name="explain")
def explain_command(
    rule: Document,
    facts: Facts,
    subject: Annotated[str, typer.Option("--subject", help="Whose decision to explain.")],
    period: PeriodText = "",
    language: Annotated[str, typer.Option("--language", help="Of the title.")] = "en",
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Explain the decision on one subject of a table: conditions, steps, the law, and what would change it."""
    with _told():
        loaded = _read(rule, registries)
        asked = _period(loaded, period)
        table = _read_facts(loaded, facts)
        row = table.filter(pl.col("subject") == subject)
        if not row.height:
            raise Malformed([Problem("--subject", f"the table has no row for {subject!r}")])
        held = row.row(0, named=True)
        told = explain(loaded, decide(loaded, row, asked).row(0, named=True), held, asked, subject, event_day=held.get("event_day"), language=language)
    _say(as_json, msgspec.to_builtins(told), told.text())


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD.yaml", help="A rule document.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.yaml", help="The document that would follow it.")],
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Say in words what changed between two documents: parameters with their dates and law, conditions, steps, facts and the rest."""
    with _told():
        found = changes(_read(old, registries), _read(new, registries))
    _say(as_json, msgspec.to_builtins(found), "\n".join(map(str, found)) or "The documents say the same.")


@app.command(name="list")
def list_rules(
    directory: Annotated[Path, typer.Argument(help="A folder of rule documents.")] = SHIPPED / "benefits",
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """List the rule documents of a folder."""
    with _told():
        paths = sorted(directory.rglob("*.yaml"))
        if not paths:
            raise Malformed([Problem(str(directory), "holds no rule documents (*.yaml)", "Name a folder of rule documents.")])
        entries = [_entry(path, _read(path, registries)) for path in paths]
    lines = [f"{entry['benefit']:<24} from {entry['from']} {entry['hash'][:12]} {entry['title']}\n    {entry['file']}" for entry in entries]
    _say(as_json, entries, "\n".join(lines))


@app.command()
def show(rule: Document, registries: Registries = SHIPPED_REGISTRIES, as_json: Json = False) -> None:
    """Show what a document says: the facts it reads, the conditions, the steps and the law."""
    with _told():
        loaded = _read(rule, registries)
    document = _summary(loaded)
    lines = [
        f"{loaded.benefit}: {_title(loaded)}",
        f"in force from {document['from']}" + (f" to {document['to']}" if document["to"] else ""),
        f"hash {loaded.hash}",
        "facts:",
    ]
    lines += [f"  {fact['name']:<24} {fact['type']:<8} {fact['source']:<28} at {fact['at']}" for fact in document["facts"]]
    for title in ("conditions", "exclusions"):
        lines += [f"{title}:", *(f"  {item['id']:<24} {item['when']}  {item['law']}" for item in document[title])]
    lines += ["steps:", *(f"  {step['id']:<24} {step['is']}  {step['law']}" for step in document["steps"]), f"pays {loaded.pay} in {loaded.currency}"]
    _say(as_json, document, "\n".join(lines))


@app.command()
def schema() -> None:
    """Print the JSON Schema of rule documents, for editors."""
    typer.echo(json.dumps(document_schema(), ensure_ascii=False, indent=2))


def _entry(path: Path, rule: Rule) -> dict[str, Any]:
    first, last = (_day(bound) for bound in rule.in_force)
    return {"benefit": rule.benefit, "title": _title(rule), "from": first, "to": last, "hash": rule.hash, "file": str(path)}


def _title(rule: Rule) -> str:
    return rule.title.get("en") or next(iter(rule.title.values()))


def _day(number: int) -> str | None:
    return None if number == LAST_DAY else day_date(number).isoformat()


def _summary(rule: Rule) -> dict[str, Any]:
    cite = {key: law.cite for key, law in rule.law.items()} | {"": ""}
    return {
        "benefit": rule.benefit,
        "title": dict(rule.title),
        "hash": rule.hash,
        "from": _day(rule.in_force[0]),
        "to": _day(rule.in_force[1]),
        "period": rule.period_kind,
        "currency": rule.currency,
        "facts": [
            {"name": fact.name, "type": fact.type, "source": fact.source, "at": str(fact.year or fact.at), "meaning": fact.meaning} for fact in rule.facts
        ],
        "conditions": [{"id": item.id, "when": item.text, "law": cite[item.law]} for item in rule.conditions],
        "exclusions": [{"id": item.id, "when": item.text, "law": cite[item.law]} for item in rule.exclusions],
        "steps": [{"id": step.id, "is": step.text, "denominator": step.denominator, "law": cite[step.law]} for step in rule.steps],
        "pay": rule.pay,
        "tests": len(rule.tests),
    }
