"""Entitlements: what is owed to a subject for a benefit and period, and the orders that this level asks for."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from .facts import Value
from .orders import HeldOrder, Kind, difference


class Decision(IntEnum):
    """The three outcomes. The numbers are stored and are those of the rule engine."""

    REFUSED = 0
    GRANTED = 1
    UNDETERMINED = 2


class Entitlement(msgspec.Struct, gc=False):
    """One entitlement as it is kept.

    `owed_minor` is 0 unless granted. `live_minor` is the sum of its orders that are not cancelled, `claim_minor` by how much
    they exceed what is owed (0 while undetermined: what is not known is not claimed). `orders` counts the orders ever made and
    so gives the next sequence number, `held` those that have not left. `receipt` explains the decision (`encode_receipt`).
    """

    subject: str
    benefit_period_id: int
    rule_id: int
    decision: int
    owed_minor: int
    live_minor: int
    claim_minor: int
    orders: int
    held: int
    receipt: bytes


class NewOrder(msgspec.Struct, gc=False):
    """An order that a difference asks for; where it may leave is settled at release."""

    subject: str
    sequence: int
    kind: int
    amount_minor: int


class Settled(msgspec.Struct, frozen=True, gc=False):
    """The entitlement after a decision, the new order if any, and the held orders (sequence numbers) to cancel."""

    entitlement: Entitlement
    order: NewOrder | None
    cancel: tuple[int, ...]
    claim_change_minor: int


_NEGATIVE = "{}: a decision of {} minor units; nothing negative can be owed"


def begin(subject: str, benefit_period_id: int, rule_id: int, decision: int, amount_minor: int, receipt: bytes) -> tuple[Entitlement, NewOrder | None]:
    """The entitlement after the first decision on a subject, and its order if anything is owed."""
    if amount_minor < 0:
        raise ValueError(_NEGATIVE.format(subject, amount_minor))
    if not amount_minor or decision == 2:  # undetermined, as a number: the name would be looked up for everybody
        return Entitlement(subject, benefit_period_id, rule_id, decision, 0, 0, 0, 0, 0, receipt), None
    entitlement = Entitlement(subject, benefit_period_id, rule_id, decision, amount_minor, amount_minor, 0, 1, 0, receipt)
    return entitlement, NewOrder(subject, 1, 1, amount_minor)


def settle(
    before: Entitlement | None,
    subject: str,
    benefit_period_id: int,
    rule_id: int,
    decision: int,
    amount_minor: int,
    receipt: bytes,
    held: Sequence[HeldOrder] = (),
) -> Settled:
    """The level after a decision: orders follow from the difference between what is owed and what has been ordered.

    An undetermined decision orders nothing and calls nothing back. `held` are the entitlement's held orders.
    """
    if before is None:
        return Settled(*begin(subject, benefit_period_id, rule_id, decision, amount_minor, receipt), (), 0)
    if amount_minor < 0:
        raise ValueError(_NEGATIVE.format(subject, amount_minor))
    live, claim, orders, held_count = before.live_minor, before.claim_minor, before.orders, before.held
    if decision == Decision.UNDETERMINED:
        after = Entitlement(subject, benefit_period_id, rule_id, decision, 0, live, 0, orders, held_count, receipt)
        return Settled(after, None, (), -claim)
    if live == amount_minor:
        after = Entitlement(subject, benefit_period_id, rule_id, decision, amount_minor, live, 0, orders, held_count, receipt)
        return Settled(after, None, (), -claim)
    change = difference(amount_minor, live, held)
    order = None
    if change.order_minor:
        orders += 1
        order = NewOrder(subject, orders, Kind.ORIGINAL if orders == 1 else Kind.DIFFERENCE, change.order_minor)
    after = Entitlement(
        subject, benefit_period_id, rule_id, decision, amount_minor, change.live_minor, change.claim_minor, orders, held_count - len(change.cancel), receipt
    )
    return Settled(after, order, change.cancel, change.claim_minor - claim)


class Receipt(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Why a decision came out as it did, compactly; the rule's document gives it its words.

    `missing` has one bit per fact of the rule, `conditions` two bits per condition (0 no, 1 yes, 2 unknown), `steps` the
    numerators of the amount's steps, `values` the facts as read, `events` the ids of the events that told them and `told_by`
    for each fact the index into `events` (-1: nobody told).
    """

    missing: int
    conditions: int
    steps: tuple[int | None, ...]
    values: tuple[Value | None, ...]
    events: tuple[str, ...]
    told_by: tuple[int, ...]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Receipt)


def encode_receipt(
    missing: int, conditions: int, steps: Sequence[int | None], values: Sequence[Value | None], events: Sequence[str], told_by: Sequence[int]
) -> bytes:
    """A receipt as bytes, from what the evaluator and the registries' answers gave."""
    return _ENCODER.encode((missing, conditions, steps, values, events, told_by))


def decode_receipt(data: bytes) -> Receipt:
    """The receipt that `encode_receipt` wrote."""
    return _DECODER.decode(data)
