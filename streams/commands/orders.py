"""`payout orders`: payment orders listed, summed, or exported for analysts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .opening import asking
from .speaking import AsJson, instant, money, note, say, say_json, say_table

if TYPE_CHECKING:
    from connectors.store.queries import Queries

BATCH = 100_000


def orders(
    context: typer.Context,
    benefit: Annotated[str | None, typer.Option(help="Orders of this benefit only.")] = None,
    state: Annotated[str | None, typer.Option(help="Orders in this state only.")] = None,
    reason: Annotated[str | None, typer.Option(help="Orders with this hold reason or code of the bank only.")] = None,
    by: Annotated[str | None, typer.Option(metavar="KEYS", help="Sum by benefit, period, state, reason, kind; several with commas.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to list.")] = 100,
    after: Annotated[str | None, typer.Option(metavar="ORDER", help="List on from this order.")] = None,
    output: Annotated[Path | None, typer.Option(metavar="FILE.parquet", help="Write all of them to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Lists payment orders, or sums them with --by."""
    from pipeline.orders import State

    states = [known.name.lower() for known in State]
    if state is not None and state not in states:
        raise typer.BadParameter(f"{state!r} is no state of an order; there are {', '.join(states)}", param_hint="--state")
    if output is not None and output.suffix != ".parquet":
        raise typer.BadParameter(f"{str(output)!r} does not end in .parquet", param_hint="--output")
    chosen = {"benefit": benefit, "state": state, "reason": reason}
    with asking(context) as (_, queries):
        if benefit is not None:
            _check_benefit(queries, benefit)
        if by is not None:
            _sum(queries, by, chosen, as_json)
        elif output is not None:
            _export(queries, output, chosen)
        else:
            _list(queries, chosen, limit, after, as_json)


def _check_benefit(queries: Queries, benefit: str) -> None:
    known = queries.benefits()
    if benefit not in known:
        said = f"there is no benefit {benefit!r}; there are {', '.join(known)}" if known else f"there is no benefit {benefit!r}: nothing has been decided yet"
        raise typer.BadParameter(said, param_hint="--benefit")


def _sum(queries: Queries, by: str, chosen: dict[str, str | None], as_json: bool) -> None:
    from connectors.store.queries import SUM_KEYS

    keys = [key.strip() for key in by.split(",") if key.strip()]
    unknown = [key for key in keys if key not in SUM_KEYS]
    if unknown or not keys or len(set(keys)) < len(keys):
        wrong = f"cannot sum by {', '.join(unknown)}" if unknown else f"{by!r} names no keys or one twice"
        raise typer.BadParameter(f"{wrong}; there are {', '.join(SUM_KEYS)}", param_hint="--by")
    rows = queries.order_sums(keys, **chosen)
    if as_json:
        say_json(rows)
    elif not rows:
        note("payout: no such orders")
    else:
        cells = [(*(row[key] for key in keys), f"{row['orders']:,}", money(row["amount_minor"], row["currency"])) for row in rows]
        say_table((*keys, "orders", "amount"), cells, right=("orders", "amount"))


def _list(queries: Queries, chosen: dict[str, str | None], limit: int, after: str | None, as_json: bool) -> None:
    from streams.case import order_document

    from .cases import find_order

    last = find_order(queries, after) if after is not None else None
    if after is not None and last is None:
        raise typer.BadParameter(f"there is no order {after}", param_hint="--after")
    rows = queries.orders(**chosen, after=last, limit=limit)
    documents = [order_document(row) for row in rows]
    if as_json:
        say_json(documents)
        return
    columns = ("order", "subject", "benefit", "period", "amount", "state", "reason", "created")
    cells = [
        (d["order"], d["subject"], d["benefit"], d["period"], money(d["amount_minor"], d["currency"]), d["state"], d["reason"], instant(d["created_at"]))
        for d in documents
    ]
    say_table(columns, cells, right=("amount",))
    if len(rows) == limit:
        note(f"payout: the first {limit:,}; go on with --after {rows[-1].order}, or sum with --by state,reason")
    elif not rows:
        note("payout: no such orders")


def _export(queries: Queries, output: Path, chosen: dict[str, str | None]) -> None:
    import polars as pl

    names = ("order", "subject", "benefit", "period", "sequence", "kind", "state", "reason", "amount_minor", "currency", "attempt", "created_at")
    frames = [
        pl.DataFrame([tuple(getattr(row, name) for name in names) for row in batch], schema=_columns(), orient="row")
        for batch in queries.order_batches(BATCH, **chosen)
    ]
    table = pl.concat(frames) if frames else pl.DataFrame(schema=_columns())
    temporary = output.with_name(f".{output.name}.part")
    table.sort("benefit", "period", "subject", "sequence").write_parquet(temporary)
    temporary.replace(output)
    say(f"{output}: {table.height:,} orders")


def _columns() -> dict[str, Any]:
    import polars as pl

    words = pl.Categorical()
    return {
        "order": pl.String(), "subject": pl.String(), "benefit": words, "period": words, "sequence": pl.Int32(), "kind": words, "state": words, "reason": words,
        "amount_minor": pl.Int64(), "currency": words, "attempt": pl.Int32(), "created_at": pl.Datetime("us", "UTC"),
    }  # fmt: skip
