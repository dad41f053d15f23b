"""The commands that run the tests of documents, and that ask how much these tests would notice: test and mutate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from connectors.registries import load_registries
from connectors.rule_files import read_rule, read_text
from pipeline.registry import Registries as Known
from pipeline.rules import Rule, TestResult, run_tests
from pipeline.rules.proof import NO_SOLVER, solver_installed
from streams.commands.speaking import note, progress_bar, say
from streams.shipped import SHIPPED

from .reading import SHIPPED_REGISTRIES, Json, Registries, answer, answer_each, files_of, read_each, told

Tested = Annotated[list[Path] | None, typer.Argument(metavar="[RULE|FOLDER]...", help="Rule documents, or folders of them; else those that ship.")]
Covered = Annotated[bool, typer.Option("--coverage", help="Also name what no test reaches. Exit code 1 below all branches.")]
MARGIN = " " * 7


def run_own_tests(rules: Tested = None, registries: Registries = SHIPPED_REGISTRIES, coverage: Covered = False, as_json: Json = False) -> None:
    """Run the tests that documents hold: for a failure what was expected, what came out, and the first step where they part.

    With --coverage it names the branches, table rows, keys and boundary days that no test reaches. Exit code 1 where a test fails, or a branch is
    not reached; boundary days are named, and do not count.
    """
    found: list[dict[str, Any]] = []
    with told():
        known, paths = load_registries(registries), files_of(rules or [SHIPPED / "benefits"])
    for path, rule in read_each(paths, known, found, as_json):
        entry, text = _tested(path, rule, coverage, titled=len(paths) > 1)
        found.append(entry)
        if not as_json:
            say(text)
    answer_each(as_json, found)


def _tested(path: Path, rule: Rule, coverage: bool, titled: bool) -> tuple[dict[str, Any], str]:
    """The outcome of one document's tests, for machines and for people."""
    results = run_tests(rule)
    failed = sum(not result.passed for result in results)
    lines = [str(path)] * titled + [line for result in results for line in _lines(result)]
    lines.append(f"{len(results) - failed} of {len(results)} tests as expected")
    entry: dict[str, Any] = {"file": str(path), "ok": not failed, "hash": rule.hash, "tests": [_fields(result) for result in results]}
    if coverage:
        from pipeline.rules.coverage import branch_coverage

        covered = branch_coverage(rule)
        entry["ok"] = entry["ok"] and covered.full
        entry["coverage"] = {"full": covered.full, "percent": covered.percent, **msgspec.to_builtins(covered)}
        lines.append(f"{covered.branches - len(covered.missing)} of {covered.branches} branches, rows and keys are reached, {covered.percent} %")
        named = (
            ("No test reaches:", covered.missing),
            ("Nobody can reach, as the solver proves:", covered.nobody),
            ("No test stands on these boundary days:", covered.days),
        )
        lines += [covered.unproved] * bool(covered.unproved)
        for title, places in named:
            lines += [title] * bool(places) + [f"  {path}:{place.line}: {place.path}: {place.text}" for place in places]
    return entry, "\n".join(lines)


def _lines(result: TestResult) -> list[str]:
    if result.passed:
        return [f"ok     {result.name}"]
    return [f"FAILED {result.name}", *(MARGIN + text for text in (*result.told(), result.parted) if text)]


def _fields(result: TestResult) -> dict[str, Any]:
    differences = [{"what": what, "expected": expected, "got": got} for what, expected, got in result.differences]
    return {"name": result.name, "passed": result.passed, "unfinished": result.unfinished, "differences": differences, "parted": result.parted}


def mutate_command(
    rules: Annotated[list[Path], typer.Argument(metavar="RULE|FOLDER...", help="Rule documents, or folders of them.")],
    timeout: Annotated[
        int,
        typer.Option("--timeout", metavar="SECONDS", min=0, max=600, help="How long the solver may take for each mistake that no test notices; 0: not asked."),
    ] = 2,
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Make small mistakes in a document, one at a time, and list those that none of its tests notices. Exit code 1 where there are any.

    Changed are the numbers and days of the law, thresholds, comparisons, `and` and `or`, keys and modes of rounding. A mistake that the check
    refuses counts as noticed; one of which the solver proves that it changes nothing for anybody is left out.
    """
    with told():
        known, paths = load_registries(registries), files_of(rules)
        texts = {path: read_text(path) for path in paths}
        failing = [f"{path}: {result}" for path in paths for result in run_tests(read_rule(path, known)) if not result.passed]
    if failing:
        note("\n".join(f"payout: {line}" for line in failing))
        note("payout: the documents' own tests come first: mend those, then ask what they notice.")
        raise typer.Exit(1)
    found = [_mutated(path, text, known, timeout if solver_installed() else 0, as_json) for path, text in texts.items()]
    made, noticed, harmless = (sum(entry[key] for entry in found) for key in ("made", "noticed", "harmless"))
    well = made == noticed + harmless
    said = f"{noticed} of {made - harmless} noticed"
    if harmless:
        said += f"; {harmless} left out, of which the solver proves that nobody can notice them"
    if not well and timeout and not solver_installed():
        note(f"Whether anybody could notice the others is not known: {NO_SOLVER}")
    answer(as_json, {"ok": well, "made": made, "noticed": noticed, "harmless": harmless, "documents": found}, said)
    raise typer.Exit(0 if well else 1)


def _mutated(path: Path, text: str, known: Known, timeout_s: int, as_json: bool) -> dict[str, Any]:
    from pipeline.rules.mutations import Outcome, mutate

    outcomes: list[Outcome] = []
    with progress_bar(path.name, unit="mistakes") as progress:
        steps = mutate(text, known.catalogue, timeout_s)
        total = next(steps)
        for outcome in steps:
            assert isinstance(outcome, Outcome)
            outcomes.append(outcome)
            progress(len(outcomes), total)
    unnoticed = [outcome for outcome in outcomes if not outcome.noticed_by and not outcome.harmless]
    harmless = sum(outcome.harmless for outcome in outcomes)
    if not as_json:
        for outcome in unnoticed:
            say(f"{path}:{outcome.line}:{outcome.column}: {outcome.path}: no test notices {outcome.now} instead of {outcome.was}")
    return {
        "file": str(path),
        "made": len(outcomes),
        "noticed": len(outcomes) - len(unnoticed) - harmless,
        "harmless": harmless,
        "refused_by_the_check": sum(outcome.noticed_by == "the check" for outcome in outcomes),
        "unnoticed": msgspec.to_builtins(unnoticed),
    }
