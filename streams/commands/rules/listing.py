"""The commands that show documents and their format: list, show and schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.facts import LAST_DAY, day_date
from pipeline.problems import Malformed, Problem
from pipeline.rules import Rule, document_schema
from pipeline.rules.template import SCHEMA_LINE
from streams.shipped import SHIPPED

from .reading import SHIPPED_REGISTRIES, Document, Json, Registries, answer, read, told


def list_rules(
    directory: Annotated[Path, typer.Argument(help="A folder of rule documents.")] = SHIPPED / "benefits",
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """List the rule documents of a folder."""
    with told():
        paths = sorted(directory.rglob("*.yaml"))
        if not paths:
            raise Malformed([Problem(str(directory), "holds no rule documents (*.yaml)", "Name a folder of rule documents.")])
        entries = [_entry(path, read(path, registries)) for path in paths]
    lines = [f"{entry['benefit']:<24} from {entry['from']} {entry['hash'][:12]} {entry['title']}\n    {entry['file']}" for entry in entries]
    answer(as_json, entries, "\n".join(lines))


def show(rule: Document, registries: Registries = SHIPPED_REGISTRIES, as_json: Json = False) -> None:
    """Show what a document says: the facts it reads, the conditions, the steps and the law."""
    with told():
        loaded = read(rule, registries)
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
    lines += ["payment:", *(f"  {key:<24} {', '.join(value) if isinstance(value, list) else value}" for key, value in document["payment"].items() if value)]
    answer(as_json, document, "\n".join(lines))


def schema(
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Where to write it; else it is printed.")] = None,
    as_json: Json = False,
) -> None:
    """Give the JSON Schema of rule documents, by which an editor completes, explains and checks while one types."""
    if output is None:
        typer.echo(json.dumps(document_schema(), ensure_ascii=False, indent=None if as_json else 2))
        return
    with told():
        write_schema(output)
    answer(
        as_json, {"output": str(output)}, f"{output}: the JSON Schema of rule documents; the first line of a document beside it: {SCHEMA_LINE % output.name}"
    )


def write_schema(path: Path) -> None:
    """Writes the JSON Schema of rule documents."""
    try:
        path.write_text(json.dumps(document_schema(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise Malformed([Problem("--output", f"{path} cannot be written: {error.strerror}", "Name a file in a folder that exists.")]) from None


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
        "payment": rule.payment.model_dump() | {"date": None if rule.payment.date is None else _day(rule.payment.date)},
        "tests": len(rule.tests),
    }
