"""The figures of a demo: counts, sums and a sample without persons, from which page and terminal are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import nsmallest
from zlib import crc32

import msgspec

Income = tuple[int, int, str]
"""(income in minor units, payment in minor units, filing status)."""

SENT = ("sent", "accepted", "settled", "rejected", "returned", "unknown")
RELEASED = ("released", *SENT)

ISO_REASONS = {
    "AC01": "The account number is not of the bank's format.",
    "AC03": "The IBAN is wrong.",
    "AC04": "The account is closed.",
    "AC06": "The account is blocked.",
    "AC07": "The payee's account is closed.",
    "AC15": "The account's details have changed.",
    "AG01": "Credit transfers are forbidden on this account.",
    "AM05": "The bank has this payment already.",
    "BE01": "The payee does not match the account.",
    "BE06": "The bank does not know the payee.",
    "DU01": "The bank has a message with this id already.",
    "DU04": "The bank has a payment with this end-to-end id already.",
    "FR01": "The bank suspects fraud.",
    "MD07": "The payee has died.",
    "MS02": "The payee's side refuses without saying why.",
    "MS03": "The bank refuses without saying why.",
    "RR04": "Refused for regulatory reasons.",
    "TM01": "It came after the bank's cut-off.",
}
"""External reason codes of ISO 20022 that a bank answers with, in plain words."""


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """How many decisions of one outcome stand for one reason."""

    code: str
    count: int
    sentence: str = ""


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """Orders of one state, and of one reason where the state has one.

    `reason` is a hold's code or an ISO 20022 code; `sentence` says it in words (may stay empty for an ISO code), `remedy`
    what lifts it.
    """

    state: str
    count: int
    amount_minor: int
    reason: str = ""
    sentence: str = ""
    remedy: str = ""

    @property
    def meaning(self) -> str:
        return self.sentence or ISO_REASONS.get(self.reason, "")


class Disposition(msgspec.Struct, frozen=True, kw_only=True):
    """What became of so many events: applied, duplicate, conflict, dead_letter."""

    name: str
    count: int


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the audit."""

    id: str
    name: str
    ok: bool
    checked: int
    violations: int


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A command worth trying next, and what it shows."""

    line: str
    shows: str


class DemoSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of a demo in figures. `granted_nothing` of the granted come to an amount of zero.

    `throughput` is (seconds since the start, events in the interval that ended then).
    """

    title: str
    currency: str
    seed: int
    subjects: int = 0
    granted: int = 0
    granted_minor: int = 0
    granted_nothing: int = 0
    refused: list[Reason] = []
    undetermined: list[Reason] = []
    orders: list[Orders] = []
    claims: int = 0
    claims_minor: int = 0
    events: int = 0
    dispositions: list[Disposition] = []
    incomes: list[Income] = []
    throughput: list[tuple[float, int]] = []
    checks: list[Check] = []
    commands: list[Command] = []
    seconds: float = 0.0
    events_per_second: float = 0.0

    def total(self, *states: str) -> tuple[int, int]:
        """Orders in these states and their sum in minor units."""
        chosen = [row for row in self.orders if row.state in states]
        return sum(row.count for row in chosen), sum(row.amount_minor for row in chosen)

    def of_state(self, state: str) -> list[Orders]:
        """The rows of a state, the largest first."""
        return sorted((row for row in self.orders if row.state == state), key=lambda row: (-row.count, row.reason))

    @property
    def ordered(self) -> tuple[int, int]:
        return self.total("held", *RELEASED)

    @property
    def released(self) -> tuple[int, int]:
        return self.total(*RELEASED)

    @property
    def sent(self) -> tuple[int, int]:
        return self.total(*SENT)

    @property
    def settled(self) -> tuple[int, int]:
        return self.total("settled")


def largest_first(reasons: Iterable[Reason]) -> list[Reason]:
    return sorted(reasons, key=lambda reason: (-reason.count, reason.code))


def sampled(incomes: Sequence[Income], size: int = 15_000) -> list[Income]:
    """At most `size` of the incomes, the same ones for the same content."""
    if len(incomes) <= size:
        return list(incomes)
    kept = nsmallest(size, range(len(incomes)), key=lambda i: crc32(f"{i}/{incomes[i]}".encode()))
    return [incomes[i] for i in sorted(kept)]
