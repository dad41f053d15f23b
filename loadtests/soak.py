"""`make soak`: every deliberate defect must turn its tests red, and every kill must leave what an undisturbed run leaves."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from connectors.failpoints import RUNNER, SANDBOX_BANK
from loadtests.crashes import Crash, Ground, NotAsItMustBe, ground
from loadtests.mutants import load_mutants, sound, tried, workshop

CONSOLE = Console(highlight=False)
PLACES = {"first": 0.0, "middle": 0.5, "last": 1.0}


def main(
    mutants: Annotated[bool, typer.Option(help="Try the deliberate defects.")] = True,
    crashes: Annotated[bool, typer.Option(help="Try the kills.")] = True,
    moments: Annotated[int, typer.Option(min=0, help="Kills at random moments.")] = 50,
    storms: Annotated[int, typer.Option(min=0, help="Runs that are killed twenty times in a row.")] = 3,
    seed: Annotated[int, typer.Option(help="The random moments are those of this seed and the ones after it.")] = 0,
    only: Annotated[str, typer.Option(help="Only mutants and kills whose name holds this.")] = "",
) -> None:
    """Proves the proofs. Exit 1 if anything is not as it must be."""
    started_s = time.monotonic()
    wrong: list[str] = []
    said: list[str] = []
    if mutants:
        tried_mutants = _mutants(only, wrong)
        said.append(f"{tried_mutants} mutants")
    if crashes:
        kills = _crashes(only, moments, storms, seed, wrong)
        said.append(f"{kills} runs with kills")
    for line in wrong:
        CONSOLE.print(line, style="red", markup=False)
    CONSOLE.print(f"{' and '.join(said)} in {time.monotonic() - started_s:.0f} s: {f'{len(wrong)} not as they must be' if wrong else 'all as they must be'}")
    raise typer.Exit(1 if wrong else 0)


def _mutants(only: str, wrong: list[str]) -> int:
    chosen = [mutant for mutant in load_mutants() if only in mutant.name]
    table = Table("mutant", Column("test that must turn red", overflow="fold"), "killed", "seconds", title="Deliberate defects")
    with workshop() as copy:
        unsound = sound(copy, chosen) if chosen else ""
        if unsound:
            wrong.append(f"the tests named by mutants do not pass without a defect:\n{unsound[-3000:]}")
            return 0
        for mutant in chosen:
            try:
                verdict = tried(copy, mutant)
            except ValueError as misfit:
                wrong.append(str(misfit))
                continue
            _note(mutant.name, verdict.killed, verdict.took_s)
            for number, test in enumerate(mutant.tests):
                table.add_row(
                    "" if number else mutant.name,
                    test.partition("::")[2],
                    "no" if test in verdict.survived else "yes",
                    "" if number else f"{verdict.took_s:.1f}",
                    style="red" if test in verdict.survived else None,
                )
            wrong += [f"mutant {mutant.name!r} survives {test}:\n{verdict.said[-1500:]}" for test in verdict.survived]
    CONSOLE.print(table)
    return len(chosen)


def _crashes(only: str, moments: int, storms: int, seed: int, wrong: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="payout-soak-") as directory, ground(Path(directory)) as made:
        CONSOLE.print(f"{made.records} records; undisturbed: facts {made.expected.facts[:16]}…, owed {made.expected.owed[:16]}…; seeds from {seed}")
        kinds: dict[str, list[float]] = {}
        failed: dict[str, int] = {}
        for kind, name, trial in _trials(made, moments, storms, seed):
            if only not in name:
                continue
            started_s = time.monotonic()
            try:
                trial()
            except NotAsItMustBe as reason:
                wrong.append(f"{name}: {reason}")
                failed[kind] = failed.get(kind, 0) + 1
            kinds.setdefault(kind, []).append(time.monotonic() - started_s)
            _note(name, not (wrong and wrong[-1].startswith(f"{name}: ")), kinds[kind][-1])
    table = Table("kills", "runs", "as undisturbed", "seconds, mean", "seconds, longest", title="Killed and gone on")
    for kind, seconds in kinds.items():
        good = len(seconds) - failed.get(kind, 0)
        table.add_row(
            kind, str(len(seconds)), str(good), f"{sum(seconds) / len(seconds):.1f}", f"{max(seconds):.1f}", style=None if good == len(seconds) else "red"
        )
    CONSOLE.print(table)
    return sum(map(len, kinds.values()))


def _trials(made: Ground, moments: int, storms: int, seed: int) -> Iterator[tuple[str, str, Callable[[], None]]]:
    for name in RUNNER + SANDBOX_BANK:
        points = {made.point(name, place): word for word, place in PLACES.items()}
        for crash, word in points.items():
            yield "at a named point", f"{name}, {word} time", lambda crash=crash: made.tried(crash)  # type: ignore[misc]
    for name in ("before_commit", "after_commit", "relay_after_publish", "bank_file_written"):
        yield "with the embedded server", f"{name}, embedded", lambda name=name: made.tried(made.point(name, 0.5), embedded=True)  # type: ignore[misc]
    for name in ("after_fold", "before_commit", "after_commit"):
        yield "one of two processes", f"{name}, one of two processes", lambda name=name: made.tried(Crash(0, f"{name}:4"), processes=2)  # type: ignore[misc]
    for number in range(seed, seed + 3):
        yield "the parent of two processes", f"parent of two processes, seed {number}", lambda number=number: made.tried(made.moment(number, 0), processes=2)  # type: ignore[misc]
    for torn in (1, 9, 200):
        point = Crash(0, made.pass_in_phase(0, "log_written", 0.5), torn_bytes=torn)
        yield "with a torn log", f"log_written, {torn} bytes torn", lambda point=point: made.tried(point)  # type: ignore[misc]
    for number in range(seed, seed + moments):
        yield "at a random moment", f"random moment, seed {number}", lambda number=number: made.tried(made.moment(number))  # type: ignore[misc]
    for number in range(seed, seed + storms):
        yield "twenty in a row", f"storm, seed {number}", lambda number=number: made.storm(number, 20)  # type: ignore[misc]


def _note(name: str, good: bool, took_s: float) -> None:
    CONSOLE.print(f"{'ok' if good else 'NOT AS IT MUST BE'}  {name}  {took_s:.1f} s", style=None if good else "red", markup=False)


if __name__ == "__main__":
    typer.run(main)
