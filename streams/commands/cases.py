"""`payout explain` and `payout trace`: one person's whole case, and one order's way from the registries to the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .opening import asking
from .speaking import AsJson, heading, instant, money, note, say, say_json, say_table

if TYPE_CHECKING:
    from connectors.store.queries import Queries
    from connectors.store.sessions import OrderRow


def find_order(queries: Queries, text: str) -> OrderRow | None:
    """The order of an order id or an end-to-end id; None where there is none."""
    from pipeline.orders import read_order_text

    identity = read_order_text(text)
    return None if identity is None else queries.order(identity)


def explain(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="The pseudonym of a person, household or business.")],
    benefit: Annotated[str | None, typer.Option(help="Decisions and orders of this benefit only.")] = None,
    period: Annotated[str | None, typer.Option(help="Decisions and orders of this period only.")] = None,
    as_json: AsJson = False,
) -> None:
    """A person's whole case: facts with their source, decisions with the law, orders, attempts and answers."""
    from streams.case import case_document

    with asking(context) as (installation, queries):
        case = queries.case(subject)
        document = case_document(queries, installation.registries, case, benefit, period)
    if case.history is None:
        letters = f"; {len(case.dead_letters)} dead letters have it as their key: `payout dead-letters list`" if case.dead_letters else ""
        note(f"payout: no registry has spoken of {subject!r}{letters}")
        raise typer.Exit(1)
    if (benefit or period) and not document["decisions"]:
        decided = ", ".join(f"{row.benefit} {row.period}" for row in case.entitlements) or "nothing"
        note(f"payout: nothing is decided for {subject} of {benefit or 'any benefit'} {period or ''}".rstrip() + f"; decided is {decided}")
        raise typer.Exit(1)
    if as_json:
        say_json(document)
    else:
        _tell_case(document)


def trace(
    context: typer.Context,
    order: Annotated[str, typer.Argument(metavar="ORDER", help="An order id, or an end-to-end id of the bank.")],
    as_json: AsJson = False,
) -> None:
    """One order's way: from the registry events through the decision to the bank's answers, in time order."""
    from streams.case import trace_document

    with asking(context) as (installation, queries):
        found = find_order(queries, order)
        if found is None:
            note(f"payout: there is no order {order}; `payout orders` and `payout explain SUBJECT` print order ids")
            raise typer.Exit(1)
        document = trace_document(queries, installation.registries, found)
    if as_json:
        say_json(document)
        return
    _tell_order(document["order"])
    say("")
    say(document["decision"]["text"])
    heading("Way")
    say_table(("when", "what", "by", "", "id"), [(instant(e["at"]), e["what"], e["who"], e["text"], e["ident"]) for e in document["way"]])


def _tell_case(document: dict[str, Any]) -> None:
    say(f"{document['subject']} (shard {document['shard']})")
    heading("What the registries said")
    say_table(
        ("registry", "event", "sequence", "holds for", "status", "standing", "facts"),
        [(e["registry"], e["event"], e["sequence"], _days(e), e["status"], e["standing"], _facts(e)) for e in document["facts"]],
        right=("sequence",),
    )
    if document["decisions"]:
        heading("Decisions")
    for decision in document["decisions"]:
        say(decision["text"])
        if decision["told_by"]:
            say("  told by: " + ", ".join(f"{fact} by {event}" for fact, event in decision["told_by"].items()))
        if decision["claim_minor"]:
            say(f"  claim: {money(decision['claim_minor'], decision['currency'])} more was ordered than is owed")
    if document["orders"]:
        heading("Orders")
    for order in document["orders"]:
        _tell_order(order)
        for step in order["history"]:
            reason = f" ({step['reason']})" if step["reason"] else ""
            say(f"    {instant(step['at'])} {step['step']}: {step['before']} to {step['after']}{reason}, by {step['cause']}")
    if document["findings"]:
        heading("Findings")
        say_table(("kind", "what", "found"), [(f["kind"], f["ident"], instant(f["found_at"])) for f in document["findings"]])
    if document["dead_letters"]:
        heading("Dead letters with this key")
        say_table(("dead letter", "status", "problem"), [(letter["id"], letter["status"], letter["problems"][0]) for letter in document["dead_letters"]])


def _tell_order(order: dict[str, Any]) -> None:
    to = f" to {order['account']}" if order["account"] else ""
    reason = f" ({order['reason']})" if order["reason"] else ""
    amount = money(order["amount_minor"], order["currency"])
    say(f"{order['order']}: {order['kind']} {amount} of {order['benefit']} {order['period']} for {order['subject']}: {order['state']}{reason}{to}")
    if "hold" in order:
        say(f"    {order['hold']['sentence']} Lifted when: {order['hold']['lifted_by']}")


def _days(event: dict[str, Any]) -> str:
    if event["valid_from"] is None and event["valid_to"] is None:
        return "always"
    return f"{event['valid_from'] or '…'} to {event['valid_to'] or '…'}"


def _facts(event: dict[str, Any]) -> str:
    if event["withdraws"]:
        return f"withdraws {event['withdraws']}"
    return ", ".join(f"{name} {value}" for name, value in event["facts"].items())
