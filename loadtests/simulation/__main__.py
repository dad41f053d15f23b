"""`python -m loadtests.simulation`: seeded histories with faults, and what came of them. A seed that fails replays exactly."""

from __future__ import annotations

import json
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column, Table

from loadtests.mutants import load_mutants, workshop

from .defects import Caught, caught
from .history import Outcome
from .many import Tally, again, histories, shortest

CONSOLE = Console(highlight=False)


def main(
    histories: Annotated[int, typer.Option(min=1, help="How many histories.")] = 200,
    first: Annotated[int, typer.Option(help="The first seed; the others follow it.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Only this seed, with its trace.")] = None,
    steps: Annotated[int | None, typer.Option(min=0, help="With --seed: only its first steps, then everything heals.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="How many processes share the histories.")] = 2,
    until_failed: Annotated[bool, typer.Option("--until-failed", help="End at the first history that fails.")] = False,
    shorten: Annotated[bool, typer.Option(help="Look for the fewest steps with which the first failing seed fails.")] = True,
    mutants: Annotated[bool, typer.Option("--mutants", help="Instead: which history catches each deliberate defect.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as JSON.")] = False,
) -> None:
    """Runs histories. Exit 1 if one is not as it must be, or if in 200 no fault happened at some point, in 2,000 some kind of fault never."""
    if steps is not None and seed is None:
        raise typer.BadParameter("only the steps of one history can be counted: name its --seed", param_hint="--steps")
    started_s = time.monotonic()
    if mutants:
        _defects(histories, first, as_json=as_json)
    if seed is not None:
        _one(again(seed, steps), as_json=as_json)
    tally = _many(range(first, first + histories), processes, until_failed)
    never = tally.never
    told = [shortest(outcome.seed) if shorten and number == 0 else outcome for number, outcome in enumerate(tally.failed)]
    _summary(tally, told, never, time.monotonic() - started_s, as_json=as_json)
    raise typer.Exit(1 if tally.failed or never else 0)


def _many(seeds: range, processes: int, until_failed: bool) -> Tally:
    tally = Tally()
    with _bar("histories") as bar:
        task = bar.add_task("histories", total=len(seeds))
        for outcome in histories(seeds, processes):
            tally.add(outcome)
            bar.advance(task)
            if until_failed and tally.failed:
                break
    return tally


def _bar(what: str) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _one(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(outcome), indent=2))
    else:
        _trace(outcome)
        CONSOLE.print(f"seed {outcome.seed}: {outcome.steps} steps, {outcome.faults.total()} faults: {_verdict(len(outcome.problems))}", markup=False)
    raise typer.Exit(1 if outcome.problems else 0)


def _defects(histories: int, first: int, *, as_json: bool) -> None:
    found: list[Caught] = []
    chosen = [mutant for mutant in load_mutants() if mutant.simulated]
    with _bar("defects") as bar, workshop() as copy:
        for mutant in bar.track(chosen):
            found.append(caught(copy, mutant, histories, first=first))
    free = [one.mutant.name for one in found if one.seed is None]
    if as_json:
        listed = [{"mutant": one.mutant.name, "seed": one.seed, "histories": one.histories, "steps": one.steps, "problem": one.problem} for one in found]
        print(json.dumps({"histories": histories, "caught": listed}, indent=2))
    else:
        table = Table("defect", "seed", "histories", Column("what was wrong", overflow="fold"), title=f"Deliberate defects in up to {histories} histories")
        for one in found:
            table.add_row(one.mutant.name, str(one.seed or "none"), str(one.histories), one.problem, style=None if one.seed else "red")
        CONSOLE.print(table)
        CONSOLE.print(f"{len(found)} defects: {'not caught: ' + ', '.join(free) if free else 'each caught'}", markup=False)
    raise typer.Exit(1 if free else 0)


def _trace(outcome: Outcome) -> None:
    for line in outcome.trace:
        CONSOLE.print(line, markup=False, soft_wrap=True)
    for problem in outcome.problems:
        CONSOLE.print(f"NOT AS IT MUST BE  {problem}", style="red", markup=False, soft_wrap=True)


def _summary(tally: Tally, failed: list[Outcome], never: list[str], took_s: float, *, as_json: bool) -> None:
    if as_json:
        summary = {
            "histories": tally.histories, "steps": tally.steps, "seconds": round(took_s, 1), "traces": tally.traces,
            "faults": dict(sorted(tally.faults.items())), "never": never, "failed": [_as_json(outcome) for outcome in failed],
        }  # fmt: skip
        print(json.dumps(summary, indent=2))
        return
    for outcome in failed[:1]:
        _trace(outcome)
    for outcome in failed:
        CONSOLE.print(f"seed {outcome.seed}: {outcome.problems[0]}", style="red", markup=False, soft_wrap=True)
        CONSOLE.print(f"  replay: {_replay(outcome)}", markup=False, soft_wrap=True)
    table = Table("fault", "happened", title="Faults of the histories")
    table.columns[1].justify = "right"
    for kind, count in sorted(tally.faults.items()):
        table.add_row(kind, f"{count:,}")
    for kind in never:
        table.add_row(kind, "never", style="red")
    CONSOLE.print(table)
    CONSOLE.print(
        f"{tally.histories:,} histories, {tally.steps:,} steps, {tally.faults.total():,} faults of {len(tally.faults)} kinds in {took_s:,.0f} s"
        f" (traces {tally.traces[:16]}…): {_verdict(len(failed) + len(never))}",
        markup=False,
    )


def _verdict(wrong: int) -> str:
    return f"{wrong} not as they must be" if wrong else "all as it must be"


def _replay(outcome: Outcome) -> str:
    return f"python -m loadtests.simulation --seed {outcome.seed}" + (f" --steps {outcome.length}" if outcome.shortened else "")


def _as_json(outcome: Outcome) -> dict[str, Any]:
    return {
        "seed": outcome.seed, "steps": outcome.steps, "faults": dict(sorted(outcome.faults.items())), "problems": outcome.problems,
        "replay": _replay(outcome), "trace": outcome.trace,
    }  # fmt: skip


if __name__ == "__main__":
    typer.run(main)
