"""The command that begins a rule document: new."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from connectors.registries import load_registries
from pipeline.facts import day, day_date
from pipeline.problems import Malformed, Problem, suggestion
from pipeline.registry import FactSpec, Registries
from pipeline.rules.template import PERIODS, SCHEMA_FILE, SUBJECTS, new_rule, template
from pipeline.rules.values import read_day

from .listing import write_schema
from .reading import SHIPPED_REGISTRIES, Json, answer, told
from .reading import Registries as RegistriesFolder


def new(
    benefit: Annotated[str, typer.Argument(metavar="BENEFIT", help="The stable id of the benefit, such as heating-help.")],
    decides_for: Annotated[str, typer.Option("--for", metavar="WHOM", help=f"{', '.join(SUBJECTS)}.")] = "",
    period: Annotated[str, typer.Option("--period", metavar="KIND", help=f"{', '.join(PERIODS)}.")] = "",
    currency: Annotated[str, typer.Option("--currency", metavar="CODE", help="DKK, USD, ...; that of the money facts where it is left out.")] = "",
    first_day: Annotated[str, typer.Option("--from", metavar="DATE", help="The first day in force.")] = "",
    fact: Annotated[list[str] | None, typer.Option("--fact", metavar="NAME=FACT", help="A registry's fact under a name of the rule; may be repeated.")] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Where to write it, else BENEFIT.yaml here. Never overwritten.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help=f"Also write {SCHEMA_FILE} beside it, by which an editor completes and checks.")] = False,
    registries: RegistriesFolder = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Begin a rule document. What no option says is asked on a terminal.

    The document passes `payout rules check`; its one test waits for what the law gives, and until then `payout rules test` says so.
    """
    path = output or Path(f"{benefit}.yaml")
    with told():
        known = load_registries(registries)
        if sys.stdin.isatty() and not as_json:
            decides_for = decides_for or _asked(f"For whom ({', '.join(SUBJECTS)})", "person")
            period = period or _asked(f"How often ({', '.join(PERIODS)})", "once")
            first_day = first_day or _asked("The first day in force", _next_month())
            fact = fact or _asked("The facts it reads, such as resident=residency.resident income=tax.agi", "resident=residency.resident").split()
            currency = currency or _currency(_facts(fact, known)) or _asked("The currency", "DKK")
        found = _facts(fact or [], known)
        currency = currency or _currency(found)
        _all_said({"--for": decides_for, "--period": period, "--currency": currency, "--from": first_day})
        yearly = [name for name, spec in found.items() if _is_yearly(spec, known)]
        text = template(new_rule(benefit, decides_for, period, currency, _day(first_day), found, yearly))
        _write(path, text)
        if schema:
            write_schema(path.parent / SCHEMA_FILE)
    said = [f"{path}: written. Fill in the law, the amount and the test, then: payout rules test {path}"]
    if not schema:
        said.append(f"For an editor that completes and checks: payout rules schema --output {path.parent / SCHEMA_FILE}")
    answer(as_json, {"output": str(path), "schema": str(path.parent / SCHEMA_FILE) if schema else None}, "\n".join(said))


def _asked(question: str, default: str) -> str:
    return str(typer.prompt(question, default=default, err=True)).strip()


def _next_month() -> str:
    today = datetime.now(UTC).date()
    return day_date(day(today.replace(day=28)) + 4).replace(day=1).isoformat()


def _facts(given: list[str], known: Registries) -> dict[str, FactSpec]:
    """``name=registry.fact``, held against the registries."""
    found: dict[str, FactSpec] = {}
    problems: list[Problem] = []
    for text in given:
        name, sign, source = text.partition("=")
        spec = known.catalogue.get(source.strip())
        if not sign or not name:
            problems.append(Problem("--fact", f"{text!r} is not of the form NAME=FACT", "Write it like resident=residency.resident.", value=text))
        elif name in found:
            problems.append(Problem("--fact", f"the name {name!r} is used twice", "Give each fact a name of its own.", value=text))
        elif spec is None:
            near = suggestion(source, known.catalogue)
            mend = "" if near else "docs/facts.md lists what the registries tell."
            problems.append(Problem("--fact", f"no registry tells {source!r}" + (f", {near}" if near else ""), mend, value=source))
        else:
            found[name] = spec
    if problems:
        raise Malformed(problems)
    return found


def _currency(facts: dict[str, FactSpec]) -> str:
    told_in = {spec.currency for spec in facts.values() if spec.type == "money"}
    return told_in.pop() if len(told_in) == 1 else ""


def _is_yearly(spec: FactSpec, known: Registries) -> bool:
    return any(event.year for event in (event for _, event in known.event_types().get(spec.event_type, {}).values()))


def _all_said(answers: dict[str, str]) -> None:
    problems = [Problem(option, "is missing", f"Say {option}, or call this on a terminal and be asked.") for option, text in answers.items() if not text]
    if problems:
        raise Malformed(problems)


def _day(text: str) -> int:
    try:
        return read_day(text)
    except ValueError as error:
        raise Malformed([Problem("--from", str(error), value=text)]) from None


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise Malformed([Problem(str(path), "exists already", "Name another file with --output; nothing is overwritten.")]) from None
    except OSError as error:
        raise Malformed([Problem(str(path), f"cannot be written: {error.strerror}", "Name a file in a folder that exists.")]) from None
