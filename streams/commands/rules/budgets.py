"""`payout rules budget`: what may be spent on each benefit, what has been taken of it, what waits for it, and how a person sets it anew."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from connectors.keys import read_key
from pipeline.money import money_text, parse_minor
from pipeline.problems import Malformed, Problem
from streams.commands.opening import asking, working
from streams.commands.speaking import instant, note, say_json, say_table
from streams.rule_life import RuleLife

from .life import As, KeyFile, tell_outcome, tell_workers
from .reading import Json, told

if TYPE_CHECKING:
    from connectors.store.queries import Queries
    from streams.installation import Installation


def budget(
    context: typer.Context,
    benefit: Annotated[str, typer.Argument(metavar="BENEFIT", help="Only this benefit; needed with AMOUNT.")] = "",
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="What may be spent from now on, in the benefit's currency, like 18_000_000 or 0.50.")] = "",
    year: Annotated[str, typer.Option("--year", metavar="YEAR", help="Of a budget per year: this year if left out.")] = "",
    why: Annotated[str, typer.Option("--why", help="The reason, for the log; needed with AMOUNT.")] = "",
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="The role in which you set it: one whose approval the document needs.")] = "",
    person: As = "",
    key: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show the budgets, or set one: what was held for it leaves, in the order in which it was held, as far as the new AMOUNT goes.

    The amount that stands, given again, lets leave what still fits after the budget was stopped.
    """
    if not amount:
        with told(), asking(context) as (installation, queries):
            found = [row for row in budgets_document(installation, queries) if benefit in ("", row["benefit"])]
        _tell(found, benefit, as_json)
        return
    with told():
        missing = [name for name, value in (("--why", why), ("--role", role), ("--as", person)) if not value.strip()]
        if missing:
            raise Malformed(
                [Problem(name, "is missing", "Who sets a budget says why, and signs in a role: --why TEXT --role ROLE --as PERSON.") for name in missing]
            )
        if year and not (len(year) == 4 and year.isdigit()):
            raise Malformed([Problem("--year", f"{year!r} is no year", "Write it like 2027.")])
        held = read_key(key)
        with working(context) as installation:
            life = RuleLife(installation, person, datetime.now(UTC))
            outcome = life.set_budget(benefit, lambda currency: _minor(amount, currency), why, role, held, year or None)
            tell_workers(installation, outcome)
    tell_outcome(outcome, as_json)


def _minor(amount: str, currency: str) -> int:
    try:
        minor = parse_minor(amount, currency)
        if minor < 0:
            raise ValueError(f"{amount!r} is below zero")
    except ValueError as error:
        raise Malformed([Problem("AMOUNT", str(error), f"Write an amount of {currency} like 18_000_000.")]) from None
    return minor


def budgets_document(installation: Installation, queries: Queries) -> list[dict[str, Any]]:
    """Every budget that stands, with what has been taken of it and what waits."""
    from connectors.store.budgets import kept

    waiting: dict[str, tuple[int, int]] = {}
    for row in queries.order_sums(("benefit", "period"), state="held", reason="budget_exhausted"):
        for place in (row["benefit"], f"{row['benefit']} {row['period'][:4]}"):
            orders, amount_minor = waiting.get(place, (0, 0))
            waiting[place] = orders + row["orders"], amount_minor + row["amount_minor"]
    found = []
    for budget in kept(installation.store):
        orders, amount_minor = waiting.get(f"{budget.benefit} {budget.year}".strip(), (0, 0))
        found.append(
            {
                "benefit": budget.benefit, "year": budget.year, "currency": budget.currency, "limit_minor": budget.limit_minor,
                "taken_minor": budget.taken_minor, "left_minor": max(budget.limit_minor - budget.taken_minor, 0), "stopped_at": budget.stopped_at,
                "held_orders": orders, "held_minor": amount_minor,
            }
        )  # fmt: skip
    return found


def tell_budgets(found: list[dict[str, Any]]) -> None:
    """The budgets as a table."""
    cells = [
        (
            row["benefit"], row["year"] or "all", *(money_text(row[name], row["currency"]) for name in ("limit_minor", "taken_minor", "left_minor")),
            f"{row['held_orders']:,}", money_text(row["held_minor"], row["currency"]), instant(row["stopped_at"]) if row["stopped_at"] else "",
        )
        for row in found
    ]  # fmt: skip
    figures = ("budget", "taken", "left", "held for it", "amount held")
    say_table(("benefit", "year", *figures, "stopped"), cells, right=figures)


def _tell(found: list[dict[str, Any]], benefit: str, as_json: bool) -> None:
    if as_json:
        say_json({"budgets": found})
    elif found:
        tell_budgets(found)
    else:
        note(
            "payout: no budget stands"
            + (f" for {benefit}" if benefit else "")
            + "; a document says it with limits.budget, and it stands when the document decides"
        )
