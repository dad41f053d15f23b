"""The commands about banks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from connectors.bank.initiation import BIC
from connectors.failpoints import failpoint
from connectors.sandbox_bank import BANK, Behaviour, SandboxBank

from . import garbage
from .stopping import signals

Share = Annotated[float, typer.Option(min=0.0, max=1.0)]


def sandbox_bank(
    home: Annotated[Path, typer.Option(envvar="PAYOUT_HOME", help="The installation whose bank files to answer.")],
    once: Annotated[bool, typer.Option("--once", help="Handle the files that lie there and stop.")] = False,
    seed: Annotated[int, typer.Option(help="The same seed rejects and returns the same orders.")] = 0,
    reject_share: Share = 0.004,
    return_share: Share = 0.003,
    bank: Annotated[str, typer.Option(help="The BIC of this bank; files for another bank are refused.")] = BANK,
    exceptions_only: Annotated[bool, typer.Option("--exceptions-only", help="List rejected orders only, as some banks do.")] = False,
    poll_s: Annotated[float, typer.Option("--poll-s", min=0.01, help="Seconds between two looks for new files.")] = 0.2,
) -> None:
    """A bank to try things with: answers the order files in HOME/bank/out, keeps a journal in HOME/bank/sandbox, pays nobody."""
    if not BIC.fullmatch(bank):
        raise typer.BadParameter(f"{bank!r} is not a BIC, write 8 or 11 capital letters and digits like {BANK}", param_hint="--bank")
    if reject_share + return_share > 1:
        raise typer.BadParameter(f"{reject_share} and {return_share} add up to more than 1", param_hint="--reject-share, --return-share")
    try:
        working = SandboxBank(home, bic=bank, behaviour=Behaviour(seed, reject_share, return_share, exceptions_only), crash=failpoint)
    except BlockingIOError as taken:
        typer.echo(f"payout sandbox-bank: {taken}", err=True)
        raise typer.Exit(3) from None
    garbage.seldom()
    if once:
        working.handle_all()
    else:
        with signals() as stop:
            working.run(stop, poll_s)
    working.close()
    did = working.totals
    said = f"{did.executed} orders executed, {did.rejected} rejected, {did.returned} returned"
    typer.echo(f"{did.files} files, {did.refused_files} of them refused whole: {said}", err=True)
