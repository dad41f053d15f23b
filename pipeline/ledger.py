"""The general ledger: books, and the balanced transfer that each step of an order's life posts.

Double entry in integer minor units per currency. A transfer moves one amount from the credited book to the debited one, so
each sums to zero by its shape. Postings are made per frame and benefit; the orders themselves are the sub-ledger.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from .orders import State, Step


class Book(StrEnum):
    """The books of one benefit and currency."""

    APPROPRIATION = "appropriation"
    RESERVED = "reserved"
    IN_TRANSIT = "in_transit"
    PAID = "paid"
    CLAIMS = "claims"
    OVERPAID = "overpaid"


BOOK_OF_STATE: dict[State, Book] = {
    State.HELD: Book.RESERVED,
    State.RELEASED: Book.RESERVED,
    State.SENT: Book.IN_TRANSIT,
    State.ACCEPTED: Book.IN_TRANSIT,
    State.UNKNOWN: Book.IN_TRANSIT,
    State.SETTLED: Book.PAID,
    State.REJECTED: Book.RESERVED,
    State.RETURNED: Book.RESERVED,
    State.CANCELLED: Book.APPROPRIATION,
}
"""In which book the amount of an order stands: the sub-ledger must equal the general ledger book by book."""


class Transfer(msgspec.Struct, frozen=True):
    """One balanced transfer: `amount_minor` (> 0) out of `credit` into `debit`, for `orders` orders at once."""

    step: str
    debit: Book
    credit: Book
    amount_minor: int
    orders: int


class Posting:
    """Collects the steps of one frame for one benefit and period and gives the transfers they make."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, Book, Book], list[int]] = {}

    def orders(self, amount_minor: int, count: int) -> None:
        """`count` new orders of together `amount_minor`."""
        self._add("order", Book.RESERVED, Book.APPROPRIATION, amount_minor, count)

    def step(self, step: Step, before: State, after: State, amount_minor: int) -> None:
        """An order moves; its amount follows where the two states stand in different books."""
        debit, credit = BOOK_OF_STATE[after], BOOK_OF_STATE[before]
        if debit != credit:
            self._add(step.value, debit, credit, amount_minor)

    def claim(self, change_minor: int) -> None:
        """The claim of an entitlement grows (positive) or shrinks (negative)."""
        if change_minor > 0:
            self._add("claim", Book.CLAIMS, Book.OVERPAID, change_minor)
        elif change_minor < 0:
            self._add("claim", Book.OVERPAID, Book.CLAIMS, -change_minor)

    def _add(self, step: str, debit: Book, credit: Book, amount_minor: int, count: int = 1) -> None:
        total = self._sums.setdefault((step, debit, credit), [0, 0])
        total[0] += amount_minor
        total[1] += count

    def transfers(self) -> list[Transfer]:
        """The transfers, in a fixed order; sums of zero are none."""
        return [Transfer(step, debit, credit, total[0], total[1]) for (step, debit, credit), total in sorted(self._sums.items()) if total[0]]
