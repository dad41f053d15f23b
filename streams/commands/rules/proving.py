"""The commands that ask the solver: prove, examples, cliffs, and the people of diff."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from connectors.registries import load_registries
from pipeline.problems import Malformed, Problem, suggestion
from pipeline.rules import Rule
from pipeline.rules.proof import FAILS, NOT_DECIDED, PROVED, TIMEOUT_S, Finding, hold, solver_installed
from pipeline.rules.values import read_fact
from streams.commands.speaking import note, progress_bar, say

from .reading import SHIPPED_REGISTRIES, Document, Documents, Json, Registries, answer, answer_each, files_of, read, read_each, told

Timeout = Annotated[int, typer.Option("--timeout", metavar="SECONDS", min=1, max=3_600, help="How long each question may take.")]
People = Annotated[bool, typer.Option("--people", help="Find a person for every way in which they decide differently, or prove that they do not.")]


def prove(rules: Documents, timeout: Timeout = TIMEOUT_S, registries: Registries = SHIPPED_REGISTRIES, as_json: Json = False) -> None:
    """Prove the claims of documents, and that everything they say is reached by somebody.

    Each claim is proved, fails with people for whom it does not hold, or is not decided in time, which never counts as proved. Beside the claims: every
    condition can hold and can fail, every branch, row, bracket and key is reached, and no two rows hold at once. Exit code 1 where anything is not proved,
    2 where a document is wrong.
    """
    found: list[dict[str, Any]] = []
    with told():
        known, paths = load_registries(registries), files_of(rules)
        _need_solver("prove")
    for path, loaded in read_each(paths, known, found, as_json):
        findings = _proved(loaded, timeout)
        listed = [msgspec.to_builtins(finding) for finding in findings]
        found.append({"file": str(path), "ok": hold(findings), "benefit": loaded.benefit, "hash": loaded.hash, "findings": listed})
        if not as_json:
            lines = [str(finding) for finding in findings if finding.what == "claim" or finding.outcome != PROVED]
            say("\n".join([str(path)] * (len(paths) > 1) + [*lines, _summary(findings)]))
    answer_each(as_json, found)


def _proved(rule: Rule, timeout_s: int) -> list[Finding]:
    from pipeline.rules.proof import prove as proved

    with progress_bar("claims", unit="claims") as shown:
        done: list[Finding] = []

        def heard(finding: Finding) -> None:
            done.append(finding)
            shown(len(done), len(rule.claims))

        return proved(rule, timeout_s, heard)


def _summary(findings: list[Finding]) -> str:
    claims = [finding for finding in findings if finding.what == "claim"]
    others = [finding for finding in findings if finding.what != "claim"]
    parts = []
    for name, listed in (("claims", claims), ("parts of the document", others)):
        counts = {outcome: sum(finding.outcome == outcome for finding in listed) for outcome in (PROVED, FAILS, NOT_DECIDED)}
        words = {PROVED: "proved" if name == "claims" else "reached as they should be", FAILS: "failed", NOT_DECIDED: "not decided"}
        told_of = [f"{count} {words[outcome]}" for outcome, count in counts.items() if count]
        parts.append(f"{len(listed)} {name}: {', '.join(told_of)}" if listed else f"no {name}")
    return "; ".join(parts)


def examples(rule: Document, timeout: Timeout = TIMEOUT_S, registries: Registries = SHIPPED_REGISTRIES, as_json: Json = False) -> None:
    """Write one person just inside and one just outside of every branch and boundary, ready to stand below `tests:`.

    What is expected is what the document decides today: read it before it becomes a test. Sides of a boundary on which nobody can stand are named on
    standard error.
    """
    with told():
        loaded = read(rule, registries)
        _need_solver("examples")
    from pipeline.rules.proof.examples import examples as found_examples

    with progress_bar("boundaries", unit="sides") as shown:
        found = found_examples(loaded, timeout, shown)
    for name in found.nobody:
        note(f"nobody: {name}")
    for name in found.undecided:
        note(f"not decided in {timeout} s: {name}")
    answer(as_json, msgspec.to_builtins(found), found.yaml())
    raise typer.Exit(1 if found.undecided else 0)


def cliffs(
    rule: Document,
    of: Annotated[str, typer.Option("--of", metavar="FACT", help="The income; may be left out where a rule reads one amount.")] = "",
    given: Annotated[list[str] | None, typer.Option("--given", metavar="FACT=VALUE", help="A fact of the people looked at; may be repeated.")] = None,
    timeout: Timeout = TIMEOUT_S,
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Find the incomes at which one more unit costs more than it brings, exactly, and how much is lost there.

    Facts that are not given may be anything that is known. Exit code 1 where the solver did not decide in time.
    """
    with told():
        loaded = read(rule, registries)
        _need_solver("cliffs")
        income, facts = _asked(loaded, of, given or [])
    from pipeline.rules.proof.cliffs import cliffs as found_cliffs

    with progress_bar(f"cliffs of {income}", unit="stretches of time") as shown:
        found = found_cliffs(loaded, income, facts, timeout, shown)
    lines = [str(cliff) for cliff in found.found]
    if found.complete:
        lines.append("no other cliff" if lines else f"no cliff: one more unit of {income} never costs more than it brings")
    elif not found.undecided:
        lines.append("and smaller ones")
    lines += [f"not decided in {timeout} s: {when}" for when in found.undecided]
    answer(as_json, {"of": income, "complete": found.complete, "undecided": found.undecided, "cliffs": msgspec.to_builtins(found.found)}, "\n".join(lines))
    raise typer.Exit(1 if found.undecided else 0)


def people_apart(old: Rule, new: Rule, timeout_s: int) -> tuple[list[dict[str, Any]], str]:
    """The people for whom two documents decide differently, as a document and as text."""
    _need_solver("diff --people")
    from pipeline.rules.proof.differences import DIFFERS, differences, differently_asked

    found = differences(old, new, timeout_s)
    lines = [str(difference) for difference in found if difference.outcome != PROVED]
    same = [difference.way for difference in found if difference.outcome == PROVED]
    if all(difference.outcome == PROVED for difference in found):
        lines = ["Proved: both decide everybody alike."]
    elif same:
        lines.append(f"Proved never to happen: {', '.join(same)}.")
    for name in differently_asked(old, new):
        lines.append(f"{name} is asked for differently by the two documents; what is said here is of people for whom it is the same.")
    if any(difference.outcome not in (DIFFERS, PROVED) for difference in found):
        lines.append("What was not decided in time may differ.")
    return [msgspec.to_builtins(difference) for difference in found], "\n".join(lines)


def _need_solver(command: str) -> None:
    if not solver_installed():
        raise Malformed([Problem(f"payout rules {command}", "needs the solver z3, which is not installed", "Install it: pip install 'payout[prove]'.")])


def _asked(rule: Rule, of: str, given: list[str]) -> tuple[str, dict[str, int | bool | str | None]]:
    """The income looked along and the facts of the people looked at."""
    from pipeline.rules.proof.cliffs import income_facts

    problems: list[Problem] = []
    income = _income(rule, of, income_facts(rule), problems)
    facts = _given(rule, given, problems)
    if income in facts:
        problems.append(Problem("--given", f"{income!r} is the income that is looked along", "Leave it out, or look along another with --of."))
    if problems:
        raise Malformed(problems)
    return income, facts


def _income(rule: Rule, of: str, amounts: list[str], problems: list[Problem]) -> str:
    if of in amounts or (not of and len(amounts) == 1):
        return of or amounts[0]
    known = f"It reads {', '.join(amounts)}." if amounts else ""
    if not amounts:
        problems.append(Problem("--of", f"{rule.benefit} reads no amount of money, so that there is no income to look along"))
    elif not of:
        problems.append(Problem("--of", f"{rule.benefit} reads {len(amounts)} amounts and does not say which is the income", known))
    else:
        near = suggestion(of, amounts)
        problems.append(Problem("--of", f"{of!r} is no amount that {rule.benefit} reads" + (f", {near}" if near else ""), "" if near else known))
    return of


def _given(rule: Rule, texts: list[str], problems: list[Problem]) -> dict[str, int | bool | str | None]:
    facts = {fact.name: fact for fact in rule.facts}
    found: dict[str, int | bool | str | None] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        fact = facts.get(name)
        if not equals or fact is None:
            near = suggestion(name, facts)
            message = f"{text!r} is not FACT=VALUE" if not equals else f"unknown fact {name!r}" + (f", {near}" if near else "")
            problems.append(Problem("--given", message, "" if near else f"Facts are {', '.join(facts)}."))
            continue
        try:
            number = read_fact(value, fact.type, rule.currency, fact.one_of)
            if fact.range is not None and not fact.range[0] <= int(number) <= fact.range[1]:
                raise ValueError(f"{value!r} is outside of its range, where it counts as unknown")
            found[name] = number
        except ValueError as error:
            problems.append(Problem("--given", f"{name}: {error}"))
    return found
