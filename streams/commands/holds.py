"""`payout holds`: what is held, why, what lifts it, and how a person lets it go."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .opening import asking
from .speaking import AsJson, age, money, note, say, say_json, say_table

if TYPE_CHECKING:
    from connectors.keys import Key
    from connectors.store.sessions import OrderRow
    from pipeline.hold_releases import HoldRelease

app = typer.Typer(help="What is held, why, what lifts it, and how a person lets it go.", no_args_is_help=True, rich_markup_mode=None)


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


@app.command()
def release(
    context: typer.Context,
    orders: Annotated[list[str], typer.Argument(metavar="ORDER…", help="Ids of held orders, as `payout holds show` prints them.")],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Why; it is kept with the order.")],
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="The role in which you do it: one of approvals.release in payout.toml.")],
    person: Annotated[str, typer.Option("--as", metavar="PERSON", help="Who does this.")],
    key: Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The private key; PAYOUT_APPROVAL_KEY holds it otherwise.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let held orders go, all or none, where the reason is a person's to weigh: account_shared or above_review_limit. Every other guard still asks."""
    from connectors.keys import read_key
    from connectors.store import hold_releases
    from pipeline.hold_releases import judge

    with asking(context) as (installation, queries):
        found = [(order, _held_order(queries.order(_identity(order)), order)) for order in orders]
        approvals, signing = installation.settings.approvals, read_key(key)
        releases = [(row, _signed(row, why.strip(), role, person, signing)) for _, row in found]
        declined = [(row, judge(made, row.state, approvals.by_name(), approvals.release)) for row, made in releases]
        refused = [(row.order, reason) for row, reasons in declined for reason in reasons]
        if not refused:
            for row, made in releases:
                hold_releases.add(installation.store, row.shard, row.benefit_period_id, made, datetime.now(UTC))
    if as_json:
        say_json(
            {
                "ok": not refused,
                "released": [] if refused else [row.order for row, _ in releases],
                "refusals": [{"order": order, "code": reason.value, "sentence": reason.sentence} for order, reason in refused],
            }
        )
    for order, reason in refused:
        note(f"payout: {order}: refused: {reason.value}: {reason.sentence}")
    if refused:
        raise typer.Exit(1)
    if not as_json:
        for row, made in releases:
            say(f"{row.order} of {row.subject}, {money(row.amount_minor, row.currency)}, is let go from {made.reason.value} by {person} as {role}: {made.why}")


def _identity(order: str) -> bytes:
    from pipeline.orders import read_order_text

    return read_order_text(order) or b""


def _held_order(found: OrderRow | None, order: str) -> OrderRow:
    if found is None:
        raise typer.BadParameter(f"there is no order {order}; `payout holds show REASON` prints ids", param_hint="ORDER")
    return found


def _signed(row: OrderRow, why: str, role: str, person: str, key: Key) -> HoldRelease:
    import msgspec

    from pipeline.hold_releases import HoldRelease
    from pipeline.holds import HoldReason

    if not why:
        raise typer.BadParameter("is empty; say why the order is let go", param_hint="--why")
    reason = HoldReason(row.reason) if row.state == "held" else HoldReason.ABOVE_REVIEW_LIMIT
    made = HoldRelease(row.benefit, row.subject, row.period, row.sequence, reason, why, role, person, key.public)
    return msgspec.structs.replace(made, signature=key.sign(made.signed()))
