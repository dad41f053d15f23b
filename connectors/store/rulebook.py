"""The rule documents that ever decided, and the small numbers by which rows refer to them; the same on every server."""

from __future__ import annotations

from typing import NamedTuple

from .servers import Connection, Row, Store, StoreError, away


class Numbers(NamedTuple):
    """What rows say instead of a rule's hash and of (benefit, period)."""

    rule_id: int
    benefit_period_id: int


@away()
def enlist(store: Store, *, rule_hash: str, benefit: str, document: str, period: str, currency: str) -> Numbers:
    """Keeps a rule's document and gives its numbers; the first server gives them, the others keep the same."""
    with store.connect(store.urls[0], "payout rulebook") as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(7261002)")
        connection.execute(
            "INSERT INTO rule_document (rule_id, hash, benefit, document) SELECT coalesce(max(rule_id), 0) + 1, %s, %s, %s FROM rule_document"
            " HAVING NOT EXISTS (SELECT 1 FROM rule_document WHERE hash = %s)",
            (rule_hash, benefit, document, rule_hash),
        )
        connection.execute(
            "INSERT INTO benefit_period SELECT coalesce(max(benefit_period_id), 0) + 1, %s, %s, %s FROM benefit_period"
            " HAVING NOT EXISTS (SELECT 1 FROM benefit_period WHERE benefit = %s AND period = %s)",
            (benefit, period, currency, benefit, period),
        )
        rule = connection.execute("SELECT rule_id FROM rule_document WHERE hash = %s", (rule_hash,)).fetchone()
        entitled = connection.execute("SELECT benefit_period_id, currency FROM benefit_period WHERE benefit = %s AND period = %s", (benefit, period)).fetchone()
    assert rule is not None, "it was written above"
    assert entitled is not None, "it was written above"
    if entitled[1] != currency:
        raise StoreError(f"{benefit} {period} has been ordered in {entitled[1]}; a rule in {currency} cannot follow it, give the benefit a new name")
    numbers = Numbers(int(str(rule[0])), int(str(entitled[0])))
    for url in store.urls[1:]:
        with store.connect(url, "payout rulebook") as connection, connection.transaction():
            connection.execute(
                "INSERT INTO rule_document (rule_id, hash, benefit, document) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING",
                (numbers.rule_id, rule_hash, benefit, document),
            )
            connection.execute(
                "INSERT INTO benefit_period VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", (numbers.benefit_period_id, benefit, period, currency)
            )
    return numbers


@away()
def benefit_periods(connection: Connection[Row]) -> dict[tuple[str, str], int]:
    """The number of every (benefit, period) that has ever been decided, in force or not."""
    rows = connection.execute("SELECT benefit, period, benefit_period_id FROM benefit_period")
    return {(str(benefit), str(period)): int(str(number)) for benefit, period, number in rows}
