"""`payout holds`: what is held, why, and what lifts it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from .opening import asking
from .speaking import AsJson, age, money, note, say, say_json, say_table

app = typer.Typer(help="What is held, why, and what lifts it.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Held orders summed by reason, the most first."""
    from .status import held_document

    with asking(context) as (_, queries):
        rows = held_document(queries, datetime.now(UTC))
    if as_json:
        say_json(rows)
    elif not rows:
        note("payout: nothing is held")
    else:
        cells = [
            (row["reason"], f"{row['orders']:,}", money(row["amount_minor"], row["currency"]), age(row["oldest_age_s"]), row["sentence"], row["lifted_by"])
            for row in rows
        ]
        say_table(("reason", "orders", "amount", "oldest", "why", "lifted when"), cells, right=("orders", "amount", "oldest"))


@app.command()
def show(
    context: typer.Context,
    reason: Annotated[str, typer.Argument(metavar="REASON", help="A hold reason, as `payout holds list` prints it.")],
    limit: Annotated[int, typer.Option(min=1, help="How many orders to list.")] = 100,
    as_json: AsJson = False,
) -> None:
    """A hold reason in words, and the orders it holds, by subject."""
    from pipeline.holds import HoldReason
    from streams.case import hold_words, order_document

    if reason not in list(HoldReason):
        raise typer.BadParameter(f"{reason!r} is no hold reason; there are {', '.join(HoldReason)}", param_hint="REASON")
    with asking(context) as (_, queries):
        orders: list[dict[str, Any]] = [order_document(order) for order in queries.orders(state="held", reason=reason, limit=limit)]
    words = hold_words(reason)
    if as_json:
        say_json({"reason": reason, **words, "orders": orders})
        return
    say(f"{reason}: {words['sentence']}\nlifted when: {words['lifted_by']}")
    cells = [
        (
            o["subject"],
            o["order"],
            o["benefit"],
            o["period"],
            money(o["amount_minor"], o["currency"]),
            age((datetime.now(UTC) - o["created_at"]).total_seconds()),
        )
        for o in orders
    ]
    say_table(("subject", "order", "benefit", "period", "amount", "age"), cells, right=("amount", "age"))
    if len(orders) == limit:
        note(f"payout: the first {limit:,}; all of them: payout orders --state held --reason {reason} --output held.parquet")
