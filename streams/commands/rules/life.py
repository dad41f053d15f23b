"""The commands that move a rule through its life: keygen, submit, simulated, approve, activate, suspend, resume, rollback and retire."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from connectors.keys import VARIABLE, make_key, read_key
from connectors.registries import load_registries
from connectors.rule_files import read_rule
from pipeline.facts import day_date
from pipeline.money import money_text
from pipeline.problems import Malformed, Problem
from pipeline.rules import Rule, parse_period
from pipeline.rules.life import WHOLE, Activated, BudgetSet, Logged
from streams.commands.opening import settings_of, working
from streams.commands.speaking import note, say
from streams.installation import Installation
from streams.rule_life import Outcome, RuleLife

from .reading import Document, Json, answer, told

if TYPE_CHECKING:
    from pipeline.whatif import SimulationResult

Named = Annotated[str, typer.Argument(metavar="HASH|RULE.yaml", help="A submitted document: the beginning of its hash (8 digits or more), or its file.")]
Benefit = Annotated[str, typer.Argument(metavar="BENEFIT", help="A benefit, by its id.")]
As = Annotated[str, typer.Option("--as", metavar="PERSON", help="Who does this; the user of this machine if left out.")]
KeyFile = Annotated[Path | None, typer.Option("--key", metavar="FILE", help=f"The key file to sign with, else the key in {VARIABLE}.")]


def keygen(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to make; only you can read it.")],
    as_json: Json = False,
) -> None:
    """Make a key to sign approvals with. The private key goes into FILE; the public key is for payout.toml."""
    with told():
        key = make_key(file)
    lines = f'{file}: keep it to yourself.\nFor [approvals] people in payout.toml:\n  {{ name = "YOUR NAME", roles = ["YOUR ROLE"], key = "{key.public}" }}'
    answer(as_json, {"file": str(file), "public_key": key.public}, lines)


def submit(
    context: typer.Context,
    rule: Document,
    person: Annotated[str, typer.Option("--as", metavar="PERSON", help="The author, as in payout.toml.")],
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Hand a document in: it is checked, its tests are run, and it is kept whole in the log. Who has a key in payout.toml signs."""
    with told():
        settings = settings_of(context)
        loaded = read_rule(rule, load_registries(settings.registries))
        signs = key is not None or any(known.name == person and known.key for known in settings.approvals.people)
        held = read_key(key) if signs else None
    _step(context, person, as_json, lambda life: life.submit(loaded, held))


def simulated(
    context: typer.Context,
    named: Named,
    result: Annotated[Path, typer.Argument(metavar="RESULT.json", help="The JSON file that payout rules simulate wrote.")],
    person: As = "",
    as_json: Json = False,
) -> None:
    """Record the result of a simulation of a submitted document, by its hash. Approvals sign it."""
    with told():
        from pipeline.whatif import decode_simulation, simulation_hash

        try:
            read = decode_simulation(result.read_bytes(), str(result))
        except OSError as error:
            raise Malformed([Problem(str(result), f"cannot be read: {error.strerror}", "Name the JSON file that payout rules simulate wrote.")]) from None
        digest = simulation_hash(read)
    _step(context, person, as_json, lambda life: record(life, _document(context, named), digest, read))


def record(life: RuleLife, named: str | Rule, digest: str, result: SimulationResult) -> Outcome:
    """Records a result under its hash: what it was compared with, and what it costs against the document's budget."""
    against, cost_minor = result.active.hash if result.active else "", result.budget.year_minor if result.budget else None
    return life.simulated(named, digest, against, result.candidate.hash, cost_minor)


def approve(
    context: typer.Context,
    named: Named,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="The role in which you approve.")],
    person: Annotated[str, typer.Option("--as", metavar="PERSON", help="Who approves, as in payout.toml.")],
    key: KeyFile = None,
    valid_days: Annotated[int | None, typer.Option("--valid-days", min=1, max=366, help="For how long; else as in payout.toml.")] = None,
    as_json: Json = False,
) -> None:
    """Approve a document with its last simulation: sign both hashes in a role. Refused where tests, branches or claims do not carry it."""
    with told():
        held = read_key(key)
    _step(context, person, as_json, lambda life: life.approve(_document(context, named), role, held, valid_days))


def activate(
    context: typer.Context,
    named: Named,
    at: Annotated[str, typer.Option("--at", metavar="DATE", help="The day from which it decides, like 2027-01-01; today if left out.")] = "",
    share: Annotated[str, typer.Option("--share", metavar="SHARE", help="Of the subjects, like 5% or 0.25%; the same people at any time.")] = "100%",
    period: Annotated[str, typer.Option("--period", metavar="PERIODS", help="2022-Q1, 2022-Q1..2022-Q4, or 2022-Q1.. for each as it begins.")] = "",
    person: As = "",
    as_json: Json = False,
) -> None:
    """Let an approved document decide, from a day on or for a share of the subjects first. Everybody already known is decided."""
    with told():
        day, basis_points = _day(at), _share(share)
        first, last = _periods(period)
    _step(context, person, as_json, lambda life: life.activate(_document(context, named), at=day, share=basis_points, first=first, last=last))


def suspend(
    context: typer.Context,
    benefit: Benefit,
    why: Annotated[str, typer.Option("--why", help="The reason, for the log.")] = "",
    person: As = "",
    as_json: Json = False,
) -> None:
    """Go on deciding a benefit and let nothing of it leave: its orders are held until it is resumed."""
    _step(context, person, as_json, lambda life: life.suspend(benefit, why))


def resume(context: typer.Context, benefit: Benefit, person: As = "", as_json: Json = False) -> None:
    """Let the orders of a suspended benefit leave again."""
    _step(context, person, as_json, lambda life: life.resume(benefit))


def rollback(
    context: typer.Context,
    benefit: Benefit,
    to: Annotated[str, typer.Option("--to", metavar="HASH", help="A document that has been active; the one before if left out.")] = "",
    person: As = "",
    as_json: Json = False,
) -> None:
    """Go back to an older document, at once. What was paid too much becomes claims, what was paid too little is paid."""
    _step(context, person, as_json, lambda life: life.rollback(benefit, to))


def retire(context: typer.Context, benefit: Benefit, person: As = "", as_json: Json = False) -> None:
    """Open no further period of a benefit. Those that are open go on being corrected."""
    _step(context, person, as_json, lambda life: life.retire(benefit))


# What they share.


def _step(context: typer.Context, person: str, as_json: bool, step: Callable[[RuleLife], Outcome]) -> None:
    """Takes a step and tells the entry, or every refusal with exit code 1."""
    with told(), working(context) as installation:
        outcome = step(RuleLife(installation, person or getpass.getuser(), datetime.now(UTC)))
        tell_workers(installation, outcome)
    tell_outcome(outcome, as_json)


def tell_outcome(outcome: Outcome, as_json: bool | None) -> None:
    """The entry that a step appended, or every refusal with exit code 1. None where the JSON document has been given already."""
    if as_json:
        answer(True, outcome_document(outcome), "")
    if isinstance(outcome, Logged):
        if as_json is False:
            say(f"{entry_line(outcome)} (entry {outcome.number} of the log)")
        return
    for refused in outcome:
        note(f"payout: refused: {refused}")
    raise typer.Exit(1)


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """An outcome as JSON."""
    if isinstance(outcome, Logged):
        return {"ok": True, "entry": entry_document(outcome)}
    return {"ok": False, "refusals": [{"code": refused.code.value, "sentence": refused.code.sentence, "detail": refused.detail} for refused in outcome]}


def tell_workers(installation: Installation, outcome: Outcome) -> None:
    """Tells workers on Kafka of what was appended; where that fails, the step stands, and they find it by themselves."""
    from connectors.kafka_cluster import KafkaAway
    from streams.announcements import announce
    from streams.worker_topics import TopicsDiffer

    try:
        if isinstance(outcome, Logged):
            announce(installation, outcome)
    except (KafkaAway, TopicsDiffer) as error:
        note(f"payout: the workers could not be told, and find it by themselves within seconds: {error}")


def _document(context: typer.Context, named: str) -> str | Rule:
    """A hash as it was typed, or the document in a file as it is now."""
    path = Path(named)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return read_rule(path, load_registries(settings_of(context).registries))
    if not re.fullmatch(r"[0-9a-fA-F]{8,64}", named):
        raise Malformed([Problem("HASH", f"{named!r} is neither a file nor the beginning of a hash", "Give at least 8 hexadecimal digits, or RULE.yaml.")])
    return named


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise Malformed([Problem("--at", f"{text!r} is no day", "Write it like 2027-01-01.")]) from None


def _share(text: str) -> int:
    match = re.fullmatch(r"(\d{1,3})(?:\.(\d{1,2}))?\s*%", text.strip())
    basis_points = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else 0
    if not 0 < basis_points <= WHOLE:
        raise Malformed([Problem("--share", f"{text!r} is no share of the subjects", "Write it like 5% or 0.25%, at most 100%.")])
    return basis_points


def _periods(text: str) -> tuple[str, str | None]:
    """The first and the last period: "" and None where they are not named."""
    if not text:
        return "", None
    first, dots, last = text.partition("..")
    try:
        begin, end = parse_period(first), parse_period(last or first)
    except ValueError as error:
        raise Malformed([Problem("--period", str(error), "Write 2022-Q1, 2022-Q1..2022-Q4 or 2022-Q1..")]) from None
    if begin.kind != end.kind or end.start < begin.start:
        raise Malformed([Problem("--period", f"{text!r}: {last} does not follow {first}", "Name two periods of one kind, the earlier first.")])
    return begin.label, end.label if last or not dots else ""


def entry_document(logged: Logged) -> dict[str, Any]:
    """An entry as JSON, days and instants written out; a document's text stays in the log."""
    fields = {name: value for name, value in msgspec.to_builtins(logged.entry).items() if name != "document"}
    for name in ("from_day", "expires"):
        if name in fields:
            fields[name] = day_date(fields[name]).isoformat()
    return {"number": logged.number, "at": _instant(logged).isoformat(), "person": logged.person, **fields}


def entry_line(logged: Logged) -> str:
    """An entry for people."""
    fields = entry_document(logged)
    what = f"{fields['what'].replace('_', ' ')} {fields['benefit']}" + (f" {fields['rule'][:12]}" if "rule" in fields else "")
    words = [f"simulation {fields['simulation'][:12]}"] if "simulation" in fields else []
    words += [f"as {fields['role']}, good until {fields['expires']}"] if "expires" in fields else []
    words += [f"from {fields['from_day']}"] if "from_day" in fields else []
    if isinstance(logged.entry, Activated):
        words += [f"{logged.entry.share / 100:g} % of the subjects"] if logged.entry.share < WHOLE else []
        words += [span(logged.entry.first, logged.entry.last)] if logged.entry.first != "once" else []
    if isinstance(logged.entry, BudgetSet):
        words = [
            money_text(logged.entry.amount_minor, logged.entry.currency),
            *([f"for {logged.entry.year}"] if logged.entry.year else []),
            f"as {logged.entry.role}",
        ]
    words += [fields["why"]] if fields.get("why") else []
    return f"{what} by {logged.person}" + (f": {', '.join(words)}" if words else "")


def span(first: str, last: str) -> str:
    """Periods for people."""
    return first if first == last else f"{first} to {last}" if last else f"{first} and each after it"


def _instant(logged: Logged) -> datetime:
    return datetime.fromtimestamp(logged.at_ms / 1000, UTC)
