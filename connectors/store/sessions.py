"""Read-only sessions on the servers of the store, each one snapshot, and how orders, their steps and entitlements read in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import psycopg
import sqlmodel
from sqlalchemy import create_engine, exc
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from pipeline.orders import Kind, State, order_text

from .connecting import StoreAway, Use, away, limit, parameters
from .tables import BenefitPeriod, Entitlement, OrderHistory, PaymentOrder, Transfer

select: Callable[..., Any] = sqlmodel.select
"""SQLModel's select; what it gives is typed where a row is made of it."""


class OrderRow(NamedTuple):
    """A payment order for people. `order` is its id as people and banks write it."""

    order: str
    subject: str
    benefit: str
    period: str
    sequence: int
    kind: str
    state: str
    reason: str
    amount_minor: int
    currency: str
    attempt: int
    created_at: datetime
    account: str
    shard: int
    release_seq: int
    rule_id: int
    benefit_period_id: int
    first_state: str


class StepRow(NamedTuple):
    """One step of an order's life."""

    benefit_period_id: int
    sequence: int
    step_no: int
    at: datetime
    step: str
    before: str
    after: str
    attempt: int
    reason: str
    cause: str


class EntitlementRow(NamedTuple):
    """An entitlement with the benefit's names."""

    benefit: str
    period: str
    currency: str
    benefit_period_id: int
    rule_id: int
    decision: int
    owed_minor: int
    live_minor: int
    claim_minor: int
    receipt: bytes


def same_period(table: type[PaymentOrder] | type[Entitlement] | type[Transfer]) -> Any:
    """The condition that joins a table to its benefit and period."""
    return table.benefit_period_id == BenefitPeriod.benefit_period_id


def select_orders() -> Any:
    """Orders with their benefit, period and currency, for `order_row`."""
    return select(PaymentOrder, BenefitPeriod.benefit, BenefitPeriod.period, BenefitPeriod.currency).join(BenefitPeriod, same_period(PaymentOrder))


def filtered(statement: Any, benefit: str | None, state: str | None, reason: str | None) -> Any:
    """Only orders of a benefit, in a state, with a reason."""
    if benefit is not None:
        statement = statement.where(BenefitPeriod.benefit == benefit)
    if state is not None:
        statement = statement.where(PaymentOrder.state == State[state.upper()])
    return statement if reason is None else statement.where(PaymentOrder.reason == reason)


def order_row(row: Any) -> OrderRow:
    """A row of `select_orders`."""
    order, benefit, period, currency = row
    return OrderRow(
        order_text(order.order_id), order.subject, benefit, period, order.sequence, Kind(order.kind).name.lower(), State(order.state).name.lower(),
        order.reason, order.amount_minor, currency, order.attempt, order.created_at, order.account, order.shard, order.release_seq, order.rule_id,
        order.benefit_period_id, State(order.first_state).name.lower(),
    )  # fmt: skip


def step_row(step: OrderHistory) -> StepRow:
    """A step for people."""
    before, after = State(step.from_state).name.lower(), State(step.to_state).name.lower()
    return StepRow(step.benefit_period_id, step.sequence, step.step_no, step.at, step.step, before, after, step.attempt, step.reason, step.cause)


def session(url: str, name: str, *, writes: bool = False) -> Session:
    """A session on one server: a snapshot from its first query on, in which nothing can be written unless asked for."""

    def connection() -> psycopg.Connection[Any]:
        made = psycopg.connect(**parameters(url, name))
        limit(made, Use.WORK if writes else Use.READ)
        made.execute("SELECT set_config('default_transaction_read_only', %s, false)", ("off" if writes else "on",))
        made.commit()
        return made

    return Session(create_engine("postgresql+psycopg://", creator=connection, poolclass=NullPool, isolation_level="REPEATABLE READ"))


@contextmanager
def reachable() -> Iterator[None]:
    """Tells a store that is away, through SQLAlchemy as well."""
    try:
        with away():
            yield
    except (exc.OperationalError, exc.InterfaceError) as error:
        raise StoreAway(f"{type(error.orig).__name__}: {error.orig}") from error
