"""The commands that show the life of rules: log, status, and restore, which gives a document back out of the log."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors.store.activations import runs
from connectors.store.rule_log import damage, read_log
from pipeline.facts import day, day_date
from pipeline.problems import Malformed, Problem
from pipeline.rules.approval import find, judge_approvals
from pipeline.rules.life import WHOLE, Document, Layer, Life, lives
from streams.commands.opening import reading
from streams.commands.speaking import heading, note, say, say_json, say_table
from streams.commands.status import run_document
from streams.installation import Installation

from .life import Named, entry_document, entry_line, span
from .reading import Json, told


def log(
    context: typer.Context,
    benefit: Annotated[str, typer.Argument(metavar="BENEFIT", help="Only this benefit.")] = "",
    verify: Annotated[bool, typer.Option("--verify", help="Check that no entry was changed or taken away; exit code 1 where one was.")] = False,
    as_json: Json = False,
) -> None:
    """Show what happened to rules, in order: who submitted, approved, activated, suspended or rolled back what, and when."""
    with told(), reading(context) as installation:
        entries = [logged for logged in read_log(installation.store) if benefit in ("", logged.entry.benefit)]
        broken = damage(installation.store) if verify else []
    if as_json:
        say_json({"entries": [entry_document(logged) for logged in entries], **({"broken": broken} if verify else {})})
    elif not entries:
        note("payout: the log of rules has no entry" + (f" of {benefit}" if benefit else ""))
    else:
        rows = [(logged.number, f"{datetime.fromtimestamp(logged.at_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}", entry_line(logged)) for logged in entries]
        say_table(("entry", "at (UTC)", "what happened"), rows, right=("entry",))
    for line in broken:
        note(f"payout: {line}")
    if verify and not broken and not as_json:
        say("every entry is as it was logged")
    raise typer.Exit(1 if broken else 0)


def restore(
    context: typer.Context,
    named: Named,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="The file to write, else standard output.")] = None,
) -> None:
    """Give a document back out of the log, as it was submitted."""
    with told():
        with reading(context) as installation:
            found = find(lives(read_log(installation.store)), named)
        if found is None:
            raise Malformed([Problem("HASH", f"{named!r} is the beginning of no submitted document's hash, or of several", "See payout rules log.")])
        if output is None:
            say(found[1].text.rstrip("\n"))
            return
        try:
            output.write_text(found[1].text, encoding="utf-8")
        except OSError as error:
            raise Malformed([Problem(str(output), f"cannot be written: {error.strerror}")]) from None
        note(f"payout: {output}: {found[0].benefit} {found[1].rule[:12]}, submitted by {found[1].author}")


def status(context: typer.Context, as_json: Json = False) -> None:
    """Show what decides now, what is scheduled, what waits for whom, and how far everybody already known has been decided."""
    with told(), reading(context) as installation:
        document = status_document(installation, datetime.now(UTC).date())
    if as_json:
        say_json(document)
    else:
        _tell(document)


def status_document(installation: Installation, today: date) -> dict[str, Any]:
    """Where every rule stands, as one document."""
    number = day(today)
    benefits = [_benefit(installation, life, number) for _, life in sorted(lives(read_log(installation.store)).items())]
    trusted = [str(path) for path in installation.settings.rules] if installation.settings.trust_rules else []
    return {"benefits": benefits, "trusted": trusted, "runs": [run_document(run) for run in runs(installation.store)]}


def _benefit(installation: Installation, life: Life, today: int) -> dict[str, Any]:
    waiting = [document for document in life.documents.values() if all(layer.rule != document.rule for layer in life.layers)]
    return {
        "benefit": life.benefit,
        "suspended": life.suspended,
        "retired": None if life.retired_from is None else day_date(life.retired_from).isoformat(),
        "active": [_layer(layer) for layer in life.in_effect(today)],
        "scheduled": [_layer(layer) for layer in life.scheduled(today)],
        "waiting": [_waiting(installation, life, document, today) for document in waiting],
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "rule": layer.rule, "from": day_date(layer.from_day).isoformat(), "share": f"{layer.share / 100:g}%", "periods": span(layer.first, layer.last),
        "entry": layer.number,
    }  # fmt: skip


def _waiting(installation: Installation, life: Life, document: Document, today: int) -> dict[str, Any]:
    settings = installation.settings.approvals
    refused = judge_approvals(document, installation.restored(life, document.rule), settings.by_name(), settings.need, today)
    return {
        "rule": document.rule, "author": document.author, "simulation": document.simulation,
        "approved": sorted({f"{approval.person} as {getattr(approval.entry, 'role', '')}" for approval in document.approvals}),
        "missing": [str(refusal) for refusal in refused],
    }  # fmt: skip


def _tell(document: dict[str, Any]) -> None:
    if not document["benefits"] and not document["trusted"]:
        note("payout: no rule has been submitted; see payout rules submit")
    for benefit in document["benefits"]:
        state = "suspended, " if benefit["suspended"] else ""
        state += f"retired from {benefit['retired']}, " if benefit["retired"] else ""
        heading(f"{benefit['benefit']} ({state}{len(benefit['active'])} active)")
        rows = [("active", *_cells(layer)) for layer in benefit["active"]] + [("scheduled", *_cells(layer)) for layer in benefit["scheduled"]]
        say_table(("", "rule", "from", "share", "periods", "entry"), rows, right=("share", "entry"))
        for waiting in benefit["waiting"]:
            missing = "; ".join(waiting["missing"]) or "approved: activate it"
            say(f"{waiting['rule'][:12]} by {waiting['author']}: {missing}")
    if document["trusted"]:
        heading("Trusted without approval (trust_rules)")
        say("\n".join(document["trusted"]))
    if document["runs"]:
        heading("Everybody already known")
        rows = [
            (run["benefit"], run["period"], run["rule"][:12], f"{run['decided']:,}", f"{run['known']:,}", "decided" if run["done"] else "being decided")
            for run in document["runs"]
        ]
        say_table(("benefit", "period", "rule", "looked at", "known", ""), rows, right=("looked at", "known"))


def _cells(layer: dict[str, Any]) -> tuple[str, ...]:
    return layer["rule"][:12], layer["from"], layer["share"] if layer["share"] != f"{WHOLE / 100:g}%" else "all", layer["periods"], str(layer["entry"])
