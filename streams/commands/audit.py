"""`payout audit`: runs the proof and prints one line per invariant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .opening import reading
from .speaking import AsJson, note, progress_bar, say, say_json


def audit(
    context: typer.Context,
    bank: Annotated[Path | None, typer.Option(metavar="JOURNAL", help="The sandbox bank's journal, to hold it against the orders.")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="Also replay the whole input log into an empty store of another shape.")] = False,
    as_json: AsJson = False,
) -> None:
    """Proves that nobody was missed and nobody paid twice; exits 1 if an invariant does not hold."""
    from connectors.store import proof
    from pipeline.problems import Malformed, Problem
    from streams.audit import audit as examine

    if bank is not None and not bank.is_file():
        raise Malformed([Problem(str(bank), "is no file", "Name the bank's journal, such as home/bank/sandbox/journal.ndjson.")])
    done = 0
    # A replay meets every dead letter again; each was told of when it came.
    with reading(context, level="error") as installation, progress_bar("audit", unit="checks") as bar:

        def step(name: str) -> None:
            nonlocal done
            bar(done, len(proof.INVARIANTS) + 3 + (bank is not None) + replay)
            done += 1

        proven = examine(installation, journal=bank, replay=replay, progress=step)
    if as_json:
        say_json(proven)
    else:
        for check in proven.checks:
            broken = "" if check.ok else f", {check.violations:,} broken"
            say(f"{'ok    ' if check.ok else 'BROKEN'}  {check.id:<12}  {check.name}: {check.checked:,} checked{broken}")
            for example in check.examples:
                say(f"          {example}")
        say(f"digest of the facts   {proven.digest.facts}\ndigest of what is owed {proven.digest.owed}")
        note("payout: every invariant holds" if proven.ok else "payout: an invariant is broken; stop the payments and look at the lines above")
    if not proven.ok:
        raise typer.Exit(1)
