"""The reconciliation: what the bank booked, by its notifications and statements or its journal, held against the orders, each difference by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from connectors.bank.answers import BankMessage, read_answers
from connectors.sandbox_bank import read_journal
from connectors.store import proof
from pipeline.orders import State, end_to_end_id
from pipeline.problems import Malformed, Problem

from .installation import Installation

EXAMPLES = 5

_BOOKED_BY = frozenset({State.SETTLED, State.RETURNED})
_NEVER_BOOKED = frozenset({State.HELD, State.CANCELLED, State.REJECTED})


class Difference(StrEnum):
    """What may not be; the code is stable."""

    UNKNOWN_ORDER = "unknown_order"
    BOOKED_TWICE = "booked_twice"
    OTHER_AMOUNT = "other_amount"
    BOOKED_NOT_SENT = "booked_not_sent"
    BOOKED_NOT_SETTLED = "booked_not_settled"
    SETTLED_NOT_BOOKED = "settled_not_booked"
    RETURNED_NOT_TAKEN = "returned_not_taken"
    RETURN_NOT_BOOKED = "return_not_booked"

    @property
    def sentence(self) -> str:
        """What it means, and what to do."""
        return _SENTENCES[self]


_SENTENCES = {
    Difference.UNKNOWN_ORDER: "The bank booked what nobody here has ordered: ask the bank, and look at who can write to its door.",
    Difference.BOOKED_TWICE: "The bank booked one order twice: call one payment back.",
    Difference.OTHER_AMOUNT: "The bank booked another amount than was ordered: ask the bank.",
    Difference.BOOKED_NOT_SENT: "The bank booked an order that stands here as held, cancelled or rejected: the bank's answers contradict each other.",
    Difference.BOOKED_NOT_SETTLED: "The bank booked it and the order is not settled yet: its answer is still on the way, or was never received.",
    Difference.SETTLED_NOT_BOOKED: "The order is settled, and no booking of it is among these files: one is missing, or the settlement was wrong.",
    Difference.RETURNED_NOT_TAKEN: "The bank gave the money back and the order is not returned yet: its answer is still on the way, or was never received.",
    Difference.RETURN_NOT_BOOKED: "The order is returned, and no return of it is among these files: one is missing, or the return was wrong.",
}


class Found(msgspec.Struct):
    """One kind of difference: how many, and some of them."""

    difference: Difference
    sentence: str
    orders: int
    examples: list[str]


class Sums(msgspec.Struct):
    """Orders and money of one currency."""

    currency: str
    booked: int = 0
    booked_minor: int = 0
    returned: int = 0
    returned_minor: int = 0
    settled: int = 0
    settled_minor: int = 0
    open: int = 0
    open_minor: int = 0


class Reconciliation(msgspec.Struct):
    """The whole comparison: `files` read, sums by currency, and the differences; `ok` where there are none."""

    ok: bool
    files: int
    sums: list[Sums]
    differences: list[Found]


class Bookings:
    """What the bank booked and gave back, by end-to-end id; a notification and a statement may both tell of one booking."""

    def __init__(self) -> None:
        self.files = 0
        self.booked: dict[str, tuple[int | None, str]] = {}
        self.returned: dict[str, tuple[int | None, str]] = {}
        self._times: dict[str, Counter[str]] = {}

    @property
    def twice(self) -> list[str]:
        """What one kind of file told of twice."""
        return sorted({name for told in self._times.values() for name, count in told.items() if count > 1})

    def note(self, kind: str, name: str, outcome: str, amount_minor: int | None, currency: str) -> None:
        """One line of the bank."""
        if outcome == "returned":
            self.returned[name] = amount_minor, currency
        elif outcome in ("settled", "executed"):
            if self.booked.get(name, (None,))[0] is None:
                self.booked[name] = amount_minor, currency
            if kind != "pain.002":
                self._times.setdefault(kind, Counter())[name] += 1

    def message(self, message: BankMessage) -> None:
        """One file of the bank."""
        self.files += 1
        for answer in message.answers:
            self.note(message.kind, answer.end_to_end_id, answer.outcome, answer.amount_minor, answer.currency)

    def journal(self, path: Path) -> None:
        """The journal of the sandbox bank."""
        self.files += 1
        for movement in read_journal(path):
            self.note("journal", movement.end_to_end_id, movement.outcome, movement.amount_minor, movement.currency)


def bookings_of(paths: Sequence[Path], journal: Path | None) -> Bookings:
    """What these files tell; Malformed with everything that is wrong with them. The same file twice is read once."""
    found, problems, seen = Bookings(), [], set[bytes]()
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            problems.append(Problem(str(path), f"cannot be read: {error.strerror}", "Name files of the bank."))
            continue
        if data in seen:
            continue
        seen.add(data)
        try:
            found.message(read_answers(data))
        except Malformed as malformed:
            problems += [problem.within(str(path)) for problem in malformed.problems]
    if problems:
        raise Malformed(problems)
    if journal is not None:
        found.journal(journal)
    return found


def reconcile(installation: Installation, bookings: Bookings) -> Reconciliation:
    """Holds the bookings against every order that was ever released."""
    sums: dict[str, Sums] = {}
    named: dict[Difference, list[str]] = {difference: [] for difference in Difference}
    unseen, given_back = dict(bookings.booked), dict(bookings.returned)
    for name, state, amount_minor, currency, subject in _orders(installation):
        total = sums.setdefault(currency, Sums(currency))
        booked, returned = unseen.pop(name, None), given_back.pop(name, None)
        _add(total, state, amount_minor, booked is not None, returned is not None)
        for difference in _differences(state, (amount_minor, currency), booked, returned):
            named[difference].append(f"{name} of {subject}: {state.name.lower()}")
    named[Difference.UNKNOWN_ORDER] += sorted({*unseen, *given_back})
    named[Difference.BOOKED_TWICE] += bookings.twice
    differences = [Found(difference, difference.sentence, len(names), names[:EXAMPLES]) for difference, names in named.items() if names]
    return Reconciliation(not differences, bookings.files, [sums[currency] for currency in sorted(sums)], differences)


def _orders(installation: Installation) -> Iterator[tuple[str, State, int, str, str]]:
    """(end-to-end id of the attempt, state, amount_minor, currency, subject) of every order."""
    for connection in installation.store.servers("payout reconcile"):
        for identity, _, _, subject, _, _, _, amount_minor, currency, state, attempt in proof.order_keys(connection):
            yield end_to_end_id(identity, attempt), State(state), amount_minor, currency, subject


def _add(total: Sums, state: State, amount_minor: int, booked: bool, returned: bool) -> None:
    for name, counts in (
        ("booked", booked), ("returned", returned), ("settled", state in _BOOKED_BY),
        ("open", state in (State.RELEASED, State.SENT, State.ACCEPTED, State.UNKNOWN)),
    ):  # fmt: skip
        if counts:
            setattr(total, name, getattr(total, name) + 1)
            setattr(total, f"{name}_minor", getattr(total, f"{name}_minor") + amount_minor)


def _differences(
    state: State, ordered: tuple[int, str], booked: tuple[int | None, str] | None, returned: tuple[int | None, str] | None
) -> Iterable[Difference]:
    told = [said for said in (booked, returned) if said is not None and said[0] is not None]
    if any(said != ordered for said in told):
        yield Difference.OTHER_AMOUNT
    if booked is not None and state in _NEVER_BOOKED:
        yield Difference.BOOKED_NOT_SENT
    elif booked is not None and state not in _BOOKED_BY:
        yield Difference.BOOKED_NOT_SETTLED
    elif booked is None and state is State.SETTLED:
        yield Difference.SETTLED_NOT_BOOKED
    if returned is not None and state is not State.RETURNED:
        yield Difference.RETURNED_NOT_TAKEN
    elif returned is None and state is State.RETURNED:
        yield Difference.RETURN_NOT_BOOKED
