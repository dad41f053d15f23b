"""`payout status`: what runs, how far behind it is, where the money stands, what is stuck and what waits for a person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from .opening import asking
from .speaking import AsJson, age, heading, instant, money, say, say_json, say_table

if TYPE_CHECKING:
    from connectors.store.activations import RunSum
    from connectors.store.queries import Queries, Sum
    from streams.installation import Installation


def status(context: typer.Context, as_json: AsJson = False) -> None:
    """What runs, lag, held and stuck money with ages, and what waits for a person."""
    with asking(context) as (installation, queries):
        document = status_document(installation, queries, datetime.now(UTC))
    if as_json:
        say_json(document)
    else:
        _tell(document)


def status_document(installation: Installation, queries: Queries, now: datetime) -> dict[str, Any]:
    """The whole status as one document."""
    from connectors.store.activations import runs
    from streams.log_ends import log_ends

    from .rules.budgets import budgets_document

    store = installation.store
    positions, ends = queries.positions(), log_ends(installation)
    lag = []
    for topic in installation.topics:
        end = sum(ends[topic, shard] for shard in range(store.shards))
        taken = sum(positions.get((topic, shard), 0) for shard in range(store.shards))
        lag.append({"topic": topic, "records": end, "taken": taken, "lag": end - taken})
    letters = queries.dead_letter_counts()
    return {
        "home": str(installation.settings.home), "servers": len(store.urls), "shards": store.shards,
        "running": queries.connected(),
        "lanes": [{"shard": lane.shard, "epoch": lane.epoch, "owner": lane.owner, "claimed_at": lane.claimed_at} for lane in queries.lanes()],
        "lag": lag,
        "last_frame_at": queries.last_frame_at(),
        "dispositions": queries.dispositions(),
        "decisions": [
            {"benefit": benefit, "period": period, "refused": counts[0], "granted": counts[1], "undetermined": counts[2]}
            for (benefit, period), counts in queries.decisions().items()
        ],
        "orders": queries.order_sums(("benefit", "period", "state")),
        "activations": [run_document(run) for run in runs(store) if run.shards != run.done],
        "held": held_document(queries, now),
        "budgets": budgets_document(installation, queries),
        "not_paid": [row for state in ("rejected", "returned", "unknown") for row in queries.order_sums(("state", "reason"), state=state)],
        "claims": [{"benefit": claim.key, **_sum_document(claim)} for claim in queries.claims()],
        "outbox_pending": queries.outbox_pending(),
        "submissions": [{"state": sent.key, **_sum_document(sent)} for sent in queries.submissions()],
        "bank_files": [{"kind": kind, "outcome": outcome, "files": files, "answers": answers} for kind, outcome, files, answers in queries.bank_files()],
        "dead_letters": {state: sum(count for (_, known), count in letters.items() if known == state) for state in ("open", "replayed", "closed")},
        "findings": queries.findings(),
    }  # fmt: skip


def run_document(run: RunSum) -> dict[str, Any]:
    """How far an activation run has come."""
    return {
        "benefit": run.benefit, "period": run.period, "rule": run.rule, "share": f"{run.share / 100:g}%", "done": run.shards == run.done,
        "decided": run.decided, "known": run.known,
    }  # fmt: skip


def _sum_document(total: Sum) -> dict[str, Any]:
    return {"currency": total.currency, "orders": total.orders, "amount_minor": total.amount_minor}


def held_document(queries: Queries, now: datetime) -> list[dict[str, Any]]:
    """Held orders by reason, in words, with the age of the oldest."""
    from streams.case import hold_words

    return [
        {
            "reason": held.reason, **hold_words(held.reason), "currency": held.currency, "orders": held.orders, "amount_minor": held.amount_minor,
            "oldest_at": held.oldest_at, "oldest_age_s": int((now - held.oldest_at).total_seconds()),
        }
        for held in queries.held()
    ]  # fmt: skip


def _tell(document: dict[str, Any]) -> None:
    servers = f"{document['servers']} server{'s' if document['servers'] > 1 else ''}"
    say(f"{document['home']}: {document['shards']} shards on {servers}; the last frame was taken {instant(document['last_frame_at'])}")
    running = ", ".join(document["running"])
    say(f"running: {running}" if running else "running: nothing; start with `payout run`")
    heading("Events")
    dispositions = document["dispositions"]
    names = ("applied", "duplicate", "conflict", "dead_letter")
    say_table(
        ("topic", "in the log", "taken", "lag", *names),
        [
            (
                row["topic"],
                *(f"{row[key]:,}" for key in ("records", "taken", "lag")),
                *(f"{dispositions.get(row['topic'], {}).get(name, 0):,}" for name in names),
            )
            for row in document["lag"]
        ],
        right=("in the log", "taken", "lag", *names),
    )
    if document["decisions"]:
        heading("Decisions")
        counts = ("granted", "refused", "undetermined")
        say_table(
            ("benefit", "period", *counts),
            [(row["benefit"], row["period"], *(f"{row[name]:,}" for name in counts)) for row in document["decisions"]],
            right=counts,
        )
    if document["activations"]:
        heading("Everybody already known, decided under a new rule")
        cells = [(run["benefit"], run["period"], run["rule"][:12], f"{run['decided']:,}", f"{run['known']:,}") for run in document["activations"]]
        say_table(("benefit", "period", "rule", "decided", "known"), cells, right=("decided", "known"))
    _tell_orders(document)
    _tell_waiting(document)


def _figures(row: dict[str, Any]) -> tuple[str, str]:
    return f"{row['orders']:,}", money(row["amount_minor"], row["currency"])


def _tell_orders(document: dict[str, Any]) -> None:
    if document["orders"]:
        heading("Orders")
        say_table(
            ("benefit", "period", "state", "orders", "amount"),
            [(row["benefit"], row["period"], row["state"], *_figures(row)) for row in document["orders"]],
            right=("orders", "amount"),
        )
    if document["held"]:
        heading("Held")
        say_table(
            ("reason", "orders", "amount", "oldest", "why"),
            [(row["reason"], *_figures(row), age(row["oldest_age_s"]), row["sentence"]) for row in document["held"]],
            right=("orders", "amount", "oldest"),
        )
    if document["budgets"]:
        from .rules.budgets import tell_budgets

        heading("Budgets")
        tell_budgets(document["budgets"])
    if document["not_paid"]:
        heading("Not paid, by the bank's reason")
        say_table(
            ("state", "reason", "orders", "amount"),
            [(row["state"], row["reason"] or "none given", *_figures(row)) for row in document["not_paid"]],
            right=("orders", "amount"),
        )
    if document["claims"]:
        heading("Claims (paid more than owed)")
        say_table(("benefit", "entitlements", "amount"), [(row["benefit"], *_figures(row)) for row in document["claims"]], right=("entitlements", "amount"))


def _tell_waiting(document: dict[str, Any]) -> None:
    heading("Bank")
    sent = [f"{row['orders']:,} orders {row['state']} ({money(row['amount_minor'], row['currency'])})" for row in document["submissions"]]
    files = [f"{row['files']:,} {row['kind'] or 'files'} {row['outcome']}" for row in document["bank_files"]]
    say("; ".join([*sent, f"{document['outbox_pending']:,} released orders not yet handed over", *files]))
    heading("Waiting for a person")
    letters = document["dead_letters"]
    say(f"dead letters: {letters['open']:,} open, {letters['replayed']:,} replayed, {letters['closed']:,} closed")
    findings = ", ".join(f"{count:,} {kind}" for kind, count in document["findings"].items())
    say(f"findings: {findings or 'none'}")
