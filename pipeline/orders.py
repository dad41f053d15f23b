"""Payment orders: their identity, their life as a table of transitions, and the difference between what is owed and ordered.

The identity of an order is that of the entitlement (benefit, subject, period) and a sequence number within it. It holds
neither rule nor account nor event, so that a changed rule, a new account or a replay cannot create a second original.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from functools import lru_cache
from hashlib import blake2b

import msgspec


class State(IntEnum):
    """Where an order stands. The numbers are stored; they never change."""

    HELD = 1
    RELEASED = 2
    SENT = 3
    ACCEPTED = 4
    SETTLED = 5
    REJECTED = 6
    RETURNED = 7
    UNKNOWN = 8
    CANCELLED = 9


class Step(StrEnum):
    """What happens to an order and moves it to another state."""

    RELEASE = "release"
    CANCEL = "cancel"
    SEND = "send"
    ACCEPT = "accept"
    REJECT = "reject"
    SETTLE = "settle"
    RETURN = "return"
    LOSE_SIGHT = "lose_sight"


class Kind(IntEnum):
    """Why an order exists: the first of its entitlement, or the difference that a later decision made."""

    ORIGINAL = 1
    DIFFERENCE = 2


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.HELD, Step.RELEASE): State.RELEASED,
    (State.HELD, Step.CANCEL): State.CANCELLED,
    (State.RELEASED, Step.SEND): State.SENT,
    (State.RELEASED, Step.ACCEPT): State.ACCEPTED,
    (State.RELEASED, Step.REJECT): State.REJECTED,
    (State.RELEASED, Step.SETTLE): State.SETTLED,
    (State.SENT, Step.ACCEPT): State.ACCEPTED,
    (State.SENT, Step.REJECT): State.REJECTED,
    (State.SENT, Step.SETTLE): State.SETTLED,
    (State.RELEASED, Step.LOSE_SIGHT): State.UNKNOWN,
    (State.SENT, Step.LOSE_SIGHT): State.UNKNOWN,
    (State.UNKNOWN, Step.ACCEPT): State.ACCEPTED,
    (State.UNKNOWN, Step.REJECT): State.REJECTED,
    (State.UNKNOWN, Step.SETTLE): State.SETTLED,
    (State.ACCEPTED, Step.REJECT): State.REJECTED,
    (State.ACCEPTED, Step.SETTLE): State.SETTLED,
    (State.SETTLED, Step.RETURN): State.RETURNED,
    (State.RELEASED, Step.RETURN): State.RETURNED,
    (State.SENT, Step.RETURN): State.RETURNED,
    (State.UNKNOWN, Step.RETURN): State.RETURNED,
    (State.ACCEPTED, Step.RETURN): State.RETURNED,
}
"""The lawful moves. A bank's answers may overtake each other and the word that the order was sent: what comes late then tells nothing new (`PASSED`)."""

FINAL = frozenset({State.CANCELLED})
"""States without a way out. A settled order can still be returned; a rejected or returned one waits for its next attempt."""

AWAITING_TREATMENT = frozenset({State.REJECTED, State.RETURNED})
"""The money did not arrive: the order still counts as ordered and waits for a usable account or a case worker."""

PASSED: dict[Step, frozenset[State]] = {
    Step.SEND: frozenset({State.SENT, State.ACCEPTED, State.SETTLED, State.REJECTED, State.RETURNED, State.UNKNOWN}),
    Step.ACCEPT: frozenset({State.ACCEPTED, State.SETTLED, State.REJECTED, State.RETURNED}),
    Step.SETTLE: frozenset({State.SETTLED, State.RETURNED}),
    Step.REJECT: frozenset({State.REJECTED}),
    Step.RETURN: frozenset({State.RETURNED}),
    Step.LOSE_SIGHT: frozenset({State.UNKNOWN, State.ACCEPTED, State.SETTLED, State.REJECTED, State.RETURNED}),
}
"""For each answer the states in which it tells nothing new: a repeated or late answer is a duplicate, not an error."""


_fresh_identity = blake2b(digest_size=15, person=b"payout-order").copy


def order_id(benefit: str, subject: str, period: str, sequence: int) -> bytes:
    """The 15 bytes that name an order, derived from its key alone: as many as leave room for the attempt in an EndToEndId."""
    return order_ids([benefit], [subject], [period], [sequence])[0]


def order_ids(benefits: Iterable[str], subjects: Iterable[str], periods: Iterable[str], sequences: Iterable[int]) -> list[bytes]:
    """The ids of many orders."""
    identities = []
    for benefit, subject, period, sequence in zip(benefits, subjects, periods, sequences, strict=False):
        state = _fresh_identity()
        state.update(f"{benefit}\x1f{subject}\x1f{period}\x1f{sequence}".encode())
        identities.append(state.digest())
    return identities


def order_text(identity: bytes) -> str:
    """An order id as people and banks write it: 30 hexadecimal digits."""
    return identity.hex()


def read_order_text(text: str) -> bytes | None:
    """The order id of such a text or of an end-to-end id; None where it is neither."""
    match = _ORDER_TEXT.fullmatch(text.strip().lower())
    return bytes.fromhex(match[1]) if match else None


_ORDER_TEXT = re.compile(r"([0-9a-f]{30})(?:-\d{1,4})?")


def end_to_end_id(identity: bytes, attempt: int) -> str:
    """The id of one attempt to pay an order (ISO 20022 EndToEndId, at most 35 characters)."""
    return f"{order_text(identity)}-{attempt}"


@lru_cache(maxsize=65_536)
def fingerprint(kind: int, amount_minor: int, currency: str) -> bytes:
    """8 bytes over what an order says: the same key with another fingerprint is a conflict, with the same one a repetition."""
    return blake2b(f"{kind}\x1f{amount_minor}\x1f{currency}".encode(), digest_size=8).digest()


class HeldOrder(msgspec.Struct, frozen=True, gc=False):
    """An order that has not left: its sequence number and amount."""

    sequence: int
    amount_minor: int


class Difference(msgspec.Struct, frozen=True, gc=False):
    """What must happen so that the orders of an entitlement come to what is owed.

    `cancel` are sequence numbers of held orders, `order_minor` the amount of one new order (0: none), `live_minor` the sum of
    the orders that stand afterwards, `claim_minor` by how much they exceed what is owed.
    """

    cancel: tuple[int, ...]
    order_minor: int
    live_minor: int
    claim_minor: int


def difference(owed_minor: int, live_minor: int, held: Sequence[HeldOrder]) -> Difference:
    """The difference between what is owed and the live orders: a new order, cancelled held orders, or a claim.

    Held orders are cancelled, the newest first, while the orders exceed what is owed; what has left cannot be called back
    and stands as a claim. Law (property test): live = owed + claim, and never both an order and a claim.
    """
    cancel: list[int] = []
    for order in sorted(held, key=lambda held_order: held_order.sequence, reverse=True):
        if live_minor <= owed_minor:
            break
        cancel.append(order.sequence)
        live_minor -= order.amount_minor
    order_minor = max(owed_minor - live_minor, 0)
    return Difference(tuple(cancel), order_minor, live_minor + order_minor, max(live_minor - owed_minor, 0))
