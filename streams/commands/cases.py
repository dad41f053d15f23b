"""`payout explain` and `payout trace`: one person's whole case, and one order's way from the registries to the bank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .languages import InLanguage, language_in
from .opening import asking
from .speaking import AsJson, heading, instant, note, say, say_json, say_table

if TYPE_CHECKING:
    from connectors.store.queries import Queries
    from connectors.store.sessions import OrderRow
    from pipeline.texts import Language


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
    language: InLanguage = "en",
    as_json: AsJson = False,
) -> None:
    """A person's whole case: facts with their source, decisions with the law, orders, attempts and answers."""
    from streams.case import case_document

    with asking(context) as (installation, queries):
        spoken = language_in(installation.settings.locales, language)
        case = queries.case(subject)
        document = case_document(queries, installation.registries, case, benefit, period, spoken)
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
        _tell_case(document, spoken)


def trace(
    context: typer.Context,
    order: Annotated[str, typer.Argument(metavar="ORDER", help="An order id, or an end-to-end id of the bank.")],
    language: InLanguage = "en",
    as_json: AsJson = False,
) -> None:
    """One order's way: from the registry events through the decision to the bank's answers, in time order."""
    from streams.case import trace_document

    with asking(context) as (installation, queries):
        spoken = language_in(installation.settings.locales, language)
        found = find_order(queries, order)
        if found is None:
            note(f"payout: there is no order {order}; `payout orders` and `payout explain SUBJECT` print order ids")
            raise typer.Exit(1)
        document = trace_document(queries, installation.registries, found, spoken)
    if as_json:
        say_json(document)
        return
    _tell_order(document["order"], spoken)
    say("")
    say(document["decision"]["text"])
    heading("Way")
    say_table(("when", "what", "by", "", "id"), [(instant(e["at"]), e["what"], e["who"], e["text"], e["ident"]) for e in document["way"]])


def _tell_case(document: dict[str, Any], language: Language) -> None:
    tell = language.tell
    say(tell("{subject} (shard {shard})", subject=document["subject"], shard=str(document["shard"])))
    heading(tell("What the registries said"))
    columns = [tell("registry"), tell("event"), tell("sequence"), tell("holds for"), tell("status"), tell("standing"), tell("facts")]
    rows = [(e["registry"], e["event"], e["sequence"], _days(e, language), tell(e["status"]), _standing(e, language), _facts(e)) for e in document["facts"]]
    say_table(columns, rows, right=(columns[2],))
    if document["decisions"]:
        heading(tell("Decisions"))
    for place, decision in enumerate(document["decisions"]):
        say(("\n" if place else "") + decision["text"])
        if decision["claim_minor"]:
            amount = language.money(decision["claim_minor"], decision["currency"])
            say(tell("A claim of {amount} stands: so much more was ordered than is owed.", amount=amount))
    if document["orders"]:
        heading(tell("Orders"))
    for order in document["orders"]:
        _tell_order(order, language)
        for step in order["history"]:
            reason = f" ({step['reason']})" if step["reason"] else ""
            say(f"    {instant(step['at'])} {step['step']}: {step['before']} > {step['after']}{reason}, {step['cause']}")
    if document["findings"]:
        heading(tell("Findings"))
        say_table((tell("kind"), tell("what"), tell("found")), [(f["kind"], f["ident"], instant(f["found_at"])) for f in document["findings"]])
    if document["dead_letters"]:
        heading(tell("Dead letters with this key"))
        letters = [(letter["id"], letter["status"], letter["problems"][0]) for letter in document["dead_letters"]]
        say_table((tell("dead letter"), tell("status"), tell("problem")), letters)
        for letter in document["dead_letters"]:
            for step in letter["steps"]:
                say(f"    {letter['id']} {instant(step['at'])}: {step['text']}")


def _tell_order(order: dict[str, Any], language: Language) -> None:
    state, reason = order["state"], f" ({order['reason']})" if order["reason"] else ""
    amount = language.money(order["amount_minor"], order["currency"])
    values = {"amount": amount, "state": language.tell(state) + reason, "account": order["account"]}
    values |= {name: str(order[name]) for name in ("order", "benefit", "period", "subject")} | {"kind": language.tell(order["kind"])}
    if order["account"]:
        say(language.tell("{order}: {kind} {amount} of {benefit} {period} for {subject}: {state} to {account}", **values))
    else:
        say(language.tell("{order}: {kind} {amount} of {benefit} {period} for {subject}: {state}", **values))
    if "hold" in order:
        say(f"    {order['hold']['text']}")


def _standing(event: dict[str, Any], language: Language) -> str:
    """Whether it still holds, and the dead letter as whose replay it came."""
    standing = language.tell(event["standing"])
    return f"{standing} ({event['replay_of']})" if event["replay_of"] else standing


def _days(event: dict[str, Any], language: Language) -> str:
    first, last = event["valid_from"], event["valid_to"]
    return language.tell("always") if first is None and last is None else language.tell("{first} to {last}", first=first or "…", last=last or "…")


def _facts(event: dict[str, Any]) -> str:
    if event["withdraws"]:
        return f"withdraws {event['withdraws']}"
    return ", ".join(f"{name} {value}" for name, value in event["facts"].items())
