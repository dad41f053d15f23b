"""`payout store recover`: what a store that was restored from a backup needs before it works again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .opening import working
from .speaking import AsJson, instant, money, note, progress_bar, say, say_json


def recover(
    context: typer.Context,
    sent: Annotated[list[Path] | None, typer.Option(metavar="DIR", help="A further folder with order files that the bank was given; may be repeated.")] = None,
    keep_paying: Annotated[bool, typer.Option("--keep-paying", help="Recover though some benefit is not suspended and pays meanwhile.")] = False,
    as_json: AsJson = False,
) -> None:
    """Brings a store that was restored from a backup up to what had been ordered and sent since, so that nothing is paid twice.

    Stop every worker and bank desk first. Exit code 1 where the bank must be asked about some orders.
    """
    from datetime import UTC, datetime

    from streams.recovery import recover as take_back

    folders = [folder for folder in sent or () if not folder.is_dir()]
    if folders:
        raise typer.BadParameter(f"{folders[0]} is no folder", param_hint="--sent")
    with working(context) as installation, progress_bar("orders taken back", unit="orders") as bar:
        found = take_back(installation, today=datetime.now(UTC), sent=sent or (), keep_paying=keep_paying, progress=bar)
    if as_json:
        say_json(found)
    else:
        sums = ", ".join(money(amount_minor, currency) for currency, amount_minor in sorted(found.amounts_minor.items()))
        say(f"{found.orders:,} orders taken back{f' of {sums}' if sums else ''}, {found.submissions:,} messages to the bank")
        at = datetime.fromtimestamp(found.rule_log_last_at_ms / 1000, UTC)
        last = f"ends with entry {found.rule_log_entries} of {instant(at)}" if found.rule_log_entries else "is empty"
        say(f"the log of rules {last}: tell again what was submitted, approved, activated or suspended since")
    for order in found.untraced[:20]:
        note(f"payout: nothing tells whether {order.end_to_end_id} left ({money(order.amount_minor, order.currency)}); it is not sent, ask the bank")
    if found.untraced:
        note(f"payout: {len(found.untraced):,} such orders; name further folders of files that the bank was given with --sent")
        raise typer.Exit(1)
