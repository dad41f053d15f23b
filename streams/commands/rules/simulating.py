"""The commands of what-if: snapshot freezes what is known, simulate decides a candidate on it before anybody is paid."""

from __future__ import annotations

import getpass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectors.registries import load_registries
from pipeline.money import money_text
from pipeline.problems import Malformed, Problem
from pipeline.rules import Period, Rule, load_rule
from streams.commands.opening import reading, settings_of, working
from streams.commands.speaking import note, progress_bar, say, say_json
from streams.rule_life import Outcome, RuleLife

from .life import As, outcome_document, record, tell_outcome
from .reading import SHIPPED_REGISTRIES, Document, Json, Members, PeriodText, Registries, period_of, read, told

if TYPE_CHECKING:
    from connectors.snapshot import InForce, Snapshot
    from pipeline.whatif import Frozen, Side, SimulationResult
    from pipeline.whatif.result import Cliff
    from streams.installation import Installation

NOTHING = "nothing"
SNAPSHOTS = "snapshots"

Output = Annotated[Path | None, typer.Option("--output", metavar="DIR", help="Folder to write to; else reports (or snapshots) in the home.")]


def snapshot(context: typer.Context, output: Output = None, as_json: Json = False) -> None:
    """Freeze what is known of everybody, so that any candidate can be decided on it: facts without account numbers, and who could be paid and who not.

    The folder that is written is named by the hash of its content; the same facts give the same name.
    """
    frozen = _freeze(context, output)
    held = frozen.manifest
    document = {"snapshot": held.hash, "folder": str(frozen.directory), "subjects": held.subjects, "day": held.day, "taken_at": held.taken_at}
    if as_json:
        say_json(document)
    else:
        say(f"{held.subjects:,} subjects as of {held.day}, hash {held.hash[:12]}. {frozen.directory}")


def simulate(
    context: typer.Context,
    candidate: Document,
    against: Annotated[
        str, typer.Option("--against", metavar="ACTIVE.yaml", help="The document to compare with, or `nothing`; else the one that decides in the snapshot.")
    ] = "",
    taken: Annotated[
        str, typer.Option("--snapshot", metavar="SNAPSHOT", help="A folder of `payout rules snapshot`, or the beginning of its hash; else one is made.")
    ] = "",
    facts: Annotated[Path | None, typer.Option("--facts", metavar="FILE", help="A file in place of a snapshot, as for `payout rules evaluate`.")] = None,
    members: Members = None,
    period: PeriodText = "",
    against_period: Annotated[str, typer.Option("--against-period", metavar="PERIOD", help="The period of ACTIVE, where it is not that of CANDIDATE.")] = "",
    by: Annotated[list[str] | None, typer.Option("--by", metavar="NAME", help="A fact or column to group people by; may be repeated.")] = None,
    family: Annotated[str, typer.Option("--family", metavar="SUBJECT", help="Whose family the curves go along first.")] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of the twenty people at random.")] = 1,
    prove: Annotated[bool, typer.Option("--prove", help="Find the candidate's cliffs with the solver, of everybody, not of the families shown.")] = False,
    recorded: Annotated[
        bool, typer.Option("--record", help="Record the result in the log of rules, as `simulated` does; CANDIDATE must have been submitted.")
    ] = False,
    person: As = "",
    output: Output = None,
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Compare a candidate with the active rule on the same frozen people: who gains, who loses, what it costs, and why.

    Writes simulation-<hash>.html, .json and .csv. The hash is of both rules, the people, the period and every figure; approvals sign it.
    """
    from connectors.report.whatif import write_simulation
    from pipeline.whatif import Side, simulation_hash
    from pipeline.whatif import simulate as compared

    with told():
        loaded = read(candidate, registries)
        side = Side(loaded, period_of(loaded, period))
        if facts is not None and taken:
            raise Malformed([Problem("--snapshot", "cannot be given together with --facts", "Leave one of them out.")])
        if facts is not None:
            active = _against(against, against_period, side, registries)
            people = _of_file(facts, members, side, active)
        else:
            frozen = _found(context, taken) if taken else _freeze(context, None)
            active = _against(against, against_period, side, registries, frozen)
            people = _of_snapshot(frozen, side, active, by or (), registries)
        proved = _proved(loaded) if prove else None
        with progress_bar("people compared", unit="subjects") as bar:
            result = compared(side, active, people, by=by or (), seed=seed, family=family, proved_cliffs=proved, progress=bar)
        directory = output or settings_of(context).home / "reports"
        written = write_simulation(directory, result)
    files, digest = {path.suffix.removeprefix("."): str(path) for path in written}, simulation_hash(result)
    outcome = _record(context, person, loaded, digest, result) if recorded else None
    if as_json:
        say_json({"hash": digest, "files": files, "result": result, **({"recorded": outcome_document(outcome)} if outcome is not None else {})})
    else:
        say(_summary(result, digest, files))
    if outcome is not None:
        tell_outcome(outcome, None if as_json else False)


def _record(context: typer.Context, person: str, rule: Rule, digest: str, result: SimulationResult) -> Outcome:
    with told(), working(context) as installation:
        return record(RuleLife(installation, person or getpass.getuser(), datetime.now(UTC)), rule, digest, result)


def _against(text: str, label: str, candidate: Side, registries: Path, frozen: Snapshot | None = None) -> Side | None:
    """What the candidate is compared with; by itself the rule that decided the same benefit and period when the snapshot was taken."""
    from pipeline.whatif import Side, check_comparable

    if text == NOTHING:
        return None
    if text:
        rule = read(Path(text), registries)
        check_comparable(candidate, Side(rule, candidate.period))
        return Side(rule, _period(rule, label, candidate.period))
    for standing in frozen.manifest.rules if frozen is not None else ():
        if (standing.benefit, standing.period) == (candidate.rule.benefit, candidate.period.label):
            rule = load_rule(standing.document, load_registries(registries).catalogue)
            return Side(rule, _period(rule, label, candidate.period))
    note("payout: no rule decides this benefit and period: the candidate is compared with nothing; name a document with --against")
    return None


def _period(rule: Rule, label: str, other: Period) -> Period:
    try:
        return period_of(rule, label or other.label)
    except Malformed as malformed:
        mend = "Name a period of ACTIVE with --against-period."
        raise Malformed([Problem("--against-period", problem.message, mend) for problem in malformed.problems]) from None


def _of_file(path: Path, members: Path | None, candidate: Side, active: Side | None) -> Frozen:
    from connectors.facts_file import FactsFile

    return FactsFile(path, candidate, active, members)


def _of_snapshot(frozen: Snapshot, candidate: Side, active: Side | None, by: Any, registries: Path) -> Frozen:
    from connectors.snapshot_people import SnapshotPeople

    with progress_bar("facts read", unit="subjects") as bar:
        return SnapshotPeople(frozen, candidate, active, load_registries(registries), by=by, progress=bar)


def _proved(rule: Rule) -> list[Cliff] | None:
    """The cliffs along the candidate's income as the solver finds them; None, with a word, where it did not decide in time."""
    from pipeline.rules.proof import NO_SOLVER, TIMEOUT_S, solver_installed
    from pipeline.rules.values import read_fact
    from pipeline.whatif import income_of
    from pipeline.whatif.result import Cliff

    of = income_of(rule)
    if not solver_installed():
        raise Malformed([Problem("--prove", NO_SOLVER)])
    if not of:
        raise Malformed([Problem("--prove", f"{rule.benefit} reads no amount of money, so that there is no income to look along", "Leave it out.")])
    from pipeline.rules.proof.cliffs import cliffs

    found = cliffs(rule, of, {}, TIMEOUT_S)
    if found.undecided:
        note(f"payout: the solver did not decide in {TIMEOUT_S} s; the cliffs are those of the families shown")
        return None
    told = []
    for cliff in found.found:
        before, after = cliff.before.amount_minor, cliff.after.amount_minor
        like = ", ".join(f"{name} {value}" for name, value in cliff.before.given.items() if name != of)
        at_minor = int(read_fact(cliff.before.given[of], "money", rule.currency))
        told.append(Cliff(rule="candidate", family=like, along=of, at_minor=at_minor, before_minor=before, after_minor=after, loss_minor=before - after))
    return told


def _found(context: typer.Context, name: str) -> Snapshot:
    from connectors.snapshot import open_snapshot

    path, home = Path(name), settings_of(context).home / SNAPSHOTS
    if path.is_dir():
        return open_snapshot(path)
    found = sorted(home.glob(f"{name}*")) if home.is_dir() and name.isalnum() else []
    if len(found) == 1:
        return open_snapshot(found[0])
    known = ", ".join(sorted(entry.name for entry in home.glob("*"))) if home.is_dir() else ""
    what = "is the beginning of several snapshots" if found else f"is neither a folder nor a snapshot in {home}"
    raise Malformed([Problem("--snapshot", f"{name!r} {what}", f"Known: {known}." if known else "Make one with `payout rules snapshot`.")])


def _freeze(context: typer.Context, output: Path | None) -> Snapshot:
    from connectors.snapshot import freeze

    now = datetime.now(UTC)
    with reading(context) as installation, progress_bar("facts frozen", unit="subjects") as bar:
        directory = output or installation.settings.home / SNAPSHOTS
        rules = _in_force(installation, now.date())
        return freeze(installation.store, installation.registries, installation.policy, directory, now.date(), now, rules, bar)


def _in_force(installation: Installation, today: date) -> list[InForce]:
    """The rule of each benefit and period that decides everybody, or the most: activated, or trusted, or else the one that decided last."""
    from connectors.rule_files import read_rule
    from connectors.snapshot import InForce
    from connectors.store import proof
    from connectors.store.rule_log import read_log
    from pipeline.facts import day
    from pipeline.rules.life import lives
    from pipeline.standing import layers_by_period

    found: dict[tuple[str, str], tuple[str, str]] = {}
    for connection in installation.store.servers("payout rules"):
        for key, document in proof.standing_documents(connection).items():
            found[key] = (load_rule(document, installation.registries.catalogue).hash, document)
    for path in installation.settings.rules if installation.settings.trust_rules else ():
        file, _, label = str(path).partition("@")
        rule = read_rule(Path(file), installation.registries)
        found[rule.benefit, label or "once"] = rule.hash, rule.text
    for life in lives(read_log(installation.store)).values():
        rules = {layer.rule: installation.restored(life, layer.rule) for layer in life.in_effect(day(today))}
        for period, layers in layers_by_period(life, rules, day(today)).items():
            rule = rules[max(layers, key=lambda layer: layer.share).rule]
            found[life.benefit, period.label] = rule.hash, rule.text
    return [InForce(benefit, period, digest, text) for (benefit, period), (digest, text) in sorted(found.items())]


def _summary(result: SimulationResult, digest: str, files: dict[str, str]) -> str:
    whole, currency = result.whole, result.currency
    compared = f"{result.active.benefit} {result.active.hash[:12]}" if result.active else "nothing"
    sign = "+" if whole.difference_minor > 0 else ""
    lines = [
        f"{result.candidate.benefit} {result.candidate.hash[:12]} for {result.candidate.period} against {compared}, {whole.people:,} people:",
        f"  cost       {money_text(whole.candidate_minor, currency)}, {sign}{money_text(whole.difference_minor, currency)}",
        f"  newly in   {whole.newly_in:,}, newly out {whole.newly_out:,}",
        f"  more       {whole.more:,}, less {whole.less:,}, the same {whole.same:,}, nothing under both {whole.neither:,}",
        f"  undecided  {whole.undetermined:,}",
    ]
    if result.budget is not None:
        left = money_text(abs(result.budget.left_minor), currency)
        reached = f"passed in {result.budget.reached_in}, by {left} over the year" if result.budget.reached_in else f"{left} left over the year"
        lines.append(f"  budget     {money_text(result.budget.amount_minor, currency)}: {reached}")
    if result.payability is not None:
        unpaid = sum(row.people for row in result.payability.unpaid)
        lines.append(f"  payable    {result.payability.payable:,}; {unpaid:,} could not be paid")
    return "\n".join([*lines, f"hash {digest}", *files.values()])
