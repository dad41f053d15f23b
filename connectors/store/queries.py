"""What people ask of the store: small queries over all servers, each server in one snapshot, through SQLModel sessions.

The lanes do not come here; they read and write in bulk (`frames`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import func, literal, text, tuple_
from sqlmodel import Session

from pipeline.orders import Kind, State
from pipeline.sharding import shard_of

from .dead_letters import DeadLetterStep
from .servers import Store
from .sessions import EntitlementRow, OrderRow, StepRow, filtered, order_row, reachable, same_period, select, select_orders, session, step_row
from .tables import (
    Activation,
    BankFile,
    BenefitPeriod,
    DeadLetter,
    Entitlement,
    Facts,
    Finding,
    Frame,
    Lane,
    OrderHistory,
    PaymentOrder,
    Position,
    Relay,
    RuleDocument,
    Submission,
    Transfer,
)

READER = "payout queries"

SUM_KEYS = ("benefit", "period", "state", "reason", "kind")
"""What orders can be summed by; the currency is always one of the keys."""

T = TypeVar("T")


class Case(NamedTuple):
    """Everything the store holds of a subject; `history` is None where no registry ever spoke of it."""

    subject: str
    shard: int
    history: bytes | None
    entitlements: list[EntitlementRow]
    orders: list[OrderRow]
    steps: list[StepRow]
    findings: list[Finding]
    dead_letters: list[DeadLetter]
    letter_steps: list[DeadLetterStep]


class HeldSum(NamedTuple):
    """Held orders of one reason and currency, and since when the oldest waits."""

    reason: str
    currency: str
    orders: int
    amount_minor: int
    oldest_at: datetime


class Sum(NamedTuple):
    """Orders or submissions of one key and currency."""

    key: str
    currency: str
    orders: int
    amount_minor: int


class Queries:
    """The queries, with a session on each server for as long as it is open."""

    def __init__(self, store: Store, sessions: Sequence[Session]) -> None:
        self._store, self._sessions = store, tuple(sessions)

    def _all(self, statement: Any) -> list[Any]:
        return [row for server in self._sessions for row in server.exec(statement)]

    def _of(self, shard: int) -> Session:
        return self._sessions[shard % len(self._sessions)]

    # Orders.

    def order_sums(self, by: Sequence[str], *, benefit: str | None = None, state: str | None = None, reason: str | None = None) -> list[dict[str, Any]]:
        """Orders summed by these of `SUM_KEYS`: the keys, currency, orders, amount_minor; in the order of the keys."""
        columns = {
            "benefit": BenefitPeriod.benefit, "period": BenefitPeriod.period, "state": PaymentOrder.state, "reason": PaymentOrder.reason,
            "kind": PaymentOrder.kind,
        }  # fmt: skip
        keys = [columns[name] for name in by]
        statement = select(*keys, BenefitPeriod.currency, func.count(), func.sum(PaymentOrder.amount_minor)).select_from(PaymentOrder)
        statement = filtered(statement.join(BenefitPeriod, same_period(PaymentOrder)), benefit, state, reason).group_by(*keys, BenefitPeriod.currency)
        totals: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0])
        for *key, orders, amount_minor in self._all(statement):
            total = totals[tuple(key)]
            total[0] += orders
            total[1] += int(amount_minor)
        named = {"state": lambda value: State(value).name.lower(), "kind": lambda value: Kind(value).name.lower()}
        return [
            {
                **{name: named.get(name, str)(value) for name, value in zip(by, key, strict=False)},
                "currency": key[-1],
                "orders": total[0],
                "amount_minor": total[1],
            }
            for key, total in sorted(totals.items())
        ]

    def orders(
        self, *, benefit: str | None = None, state: str | None = None, reason: str | None = None, after: OrderRow | None = None, limit: int | None = None
    ) -> list[OrderRow]:
        """Orders by subject, benefit, period and sequence, from the one after `after` on."""
        statement = filtered(select_orders(), benefit, state, reason)
        place = tuple_(PaymentOrder.subject, PaymentOrder.benefit_period_id, PaymentOrder.sequence)
        if after is not None:
            statement = statement.where(place > tuple_(literal(after.subject), literal(after.benefit_period_id), literal(after.sequence)))
        if limit is not None:
            statement = statement.order_by(place).limit(limit)
        rows = [order_row(row) for row in self._all(statement)]
        return sorted(rows, key=lambda row: (row.subject, row.benefit_period_id, row.sequence))[:limit]

    def order_batches(self, size: int, *, benefit: str | None = None, state: str | None = None, reason: str | None = None) -> Iterator[list[OrderRow]]:
        """All such orders in batches, as the servers give them."""
        statement = filtered(select_orders(), benefit, state, reason).execution_options(yield_per=size)
        for server in self._sessions:
            for rows in server.exec(statement).partitions(size):
                yield [order_row(row) for row in rows]

    def order(self, identity: bytes) -> OrderRow | None:
        """The order of an id."""
        rows = self._all(select_orders().where(PaymentOrder.order_id == identity))
        return order_row(rows[0]) if rows else None

    def held(self) -> list[HeldSum]:
        """Held orders by reason and currency, the most money first."""
        statement = (
            select(PaymentOrder.reason, BenefitPeriod.currency, func.count(), func.sum(PaymentOrder.amount_minor), func.min(PaymentOrder.created_at))
            .join(BenefitPeriod, same_period(PaymentOrder))
            .where(PaymentOrder.state == State.HELD)
            .group_by(PaymentOrder.reason, BenefitPeriod.currency)
        )
        sums: dict[tuple[str, str], HeldSum] = {}
        for reason, currency, orders, amount_minor, oldest_at in self._all(statement):
            known = sums.get((reason, currency), HeldSum(reason, currency, 0, 0, oldest_at))
            sums[reason, currency] = HeldSum(
                reason, currency, known.orders + orders, known.amount_minor + int(amount_minor), min(known.oldest_at, oldest_at)
            )  # fmt: skip
        return sorted(sums.values(), key=lambda held: (-held.orders, held.reason, held.currency))

    def claims(self) -> list[Sum]:
        """Claims by benefit and currency: how many entitlements, how much."""
        statement = (
            select(BenefitPeriod.benefit, BenefitPeriod.currency, func.count(), func.sum(Entitlement.claim_minor))
            .join(BenefitPeriod, same_period(Entitlement))
            .where(Entitlement.claim_minor > 0)
            .group_by(BenefitPeriod.benefit, BenefitPeriod.currency)
        )
        return _added(self._all(statement))

    def decisions(self) -> dict[tuple[str, str], list[int]]:
        """Entitlements by (benefit, period): how many refused, granted, undetermined."""
        statement = (
            select(BenefitPeriod.benefit, BenefitPeriod.period, Entitlement.decision, func.count())
            .join(BenefitPeriod, same_period(Entitlement))
            .group_by(BenefitPeriod.benefit, BenefitPeriod.period, Entitlement.decision)
        )
        counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        for benefit, period, decision, count in self._all(statement):
            counts[benefit, period][decision] += count
        return dict(sorted(counts.items()))

    def benefits(self) -> list[str]:
        """The benefits that were ever decided."""
        return sorted(set(self._all(select(BenefitPeriod.benefit))))

    # Subjects.

    def case(self, subject: str) -> Case:
        """Everything known of a subject."""
        shard = shard_of(subject, self._store.shards)
        here = self._of(shard)
        history = here.exec(select(Facts.history).where(Facts.shard == shard, Facts.subject == subject)).first()
        entitled = (
            select(
                BenefitPeriod.benefit, BenefitPeriod.period, BenefitPeriod.currency, Entitlement.benefit_period_id, Entitlement.rule_id, Entitlement.decision,
                Entitlement.owed_minor, Entitlement.live_minor, Entitlement.claim_minor, Entitlement.receipt,
            )
            .select_from(Entitlement)
            .join(BenefitPeriod, same_period(Entitlement))
            .where(Entitlement.shard == shard, Entitlement.subject == subject)
            .order_by(BenefitPeriod.benefit, BenefitPeriod.period)
        )  # fmt: skip
        orders = here.exec(select_orders().where(PaymentOrder.shard == shard, PaymentOrder.subject == subject)).all()
        steps = here.exec(
            select(OrderHistory)
            .where(OrderHistory.shard == shard, OrderHistory.subject == subject)
            .order_by(OrderHistory.benefit_period_id, OrderHistory.sequence, OrderHistory.step_no)
        ).all()
        return Case(
            subject,
            shard,
            history,
            [EntitlementRow(*row) for row in here.exec(entitled)],
            sorted((order_row(row) for row in orders), key=lambda order: (order.benefit, order.period, order.sequence)),
            [step_row(step) for step in steps],
            list(here.exec(select(Finding).where(Finding.shard == shard, Finding.subject == subject).order_by(Finding.found_at))),
            self._all(select(DeadLetter).where(DeadLetter.record_key == subject.encode())),
            self._all(self._steps_about(subject.encode())),
        )

    def rule_document(self, rule_id: int) -> RuleDocument | None:
        """The rule document of a number."""
        found: RuleDocument | None = self._sessions[0].exec(select(RuleDocument).where(RuleDocument.rule_id == rule_id)).first()
        return found

    def rule_documents(self) -> list[RuleDocument]:
        """Every rule document that ever decided."""
        return list(self._sessions[0].exec(select(RuleDocument).order_by(RuleDocument.rule_id)))

    def activations(self) -> list[Activation]:
        """How far each rule has decided everybody known, per shard."""
        return self._all(select(Activation))

    # What runs.

    def lanes(self) -> list[Lane]:
        """The shards and who writes them."""
        return sorted(self._all(select(Lane)), key=lambda lane: lane.shard)

    def connected(self) -> list[str]:
        """The programs that have the store open now, by the names of their connections."""
        statement = text("SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'payout %'")
        return sorted({name for server in self._sessions for (name,) in server.execute(statement)} - {READER})

    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of every topic and shard."""
        return {(position.topic, position.shard): position.next_offset for position in self._all(select(Position))}

    def last_frame_at(self) -> datetime | None:
        """When the last frame was taken."""
        return max((at for at in self._all(select(func.max(Frame.taken_at))) if at is not None), default=None)

    def dispositions(self) -> dict[str, dict[str, int]]:
        """Per topic, the records by what became of them."""
        names = ("applied", "duplicate", "conflict", "dead_letter")
        statement = select(Frame.topic, *(func.sum(getattr(Frame, name)) for name in names)).group_by(Frame.topic)
        sums: dict[str, dict[str, int]] = {}
        for topic, *counts in self._all(statement):
            known = sums.setdefault(topic, dict.fromkeys(names, 0))
            for name, count in zip(names, counts, strict=True):
                known[name] += int(count)
        return dict(sorted(sums.items()))

    def outbox_pending(self) -> int:
        """Released orders that no submission covers yet."""
        last = select(func.coalesce(func.max(Submission.last_seq), Lane.release_base)).where(Submission.shard == Lane.shard).scalar_subquery()
        return sum(int(count) for count in self._all(select(func.coalesce(func.sum(Lane.release_seq - last), 0)).select_from(Lane)))

    def relayed(self) -> dict[int, int]:
        """The last outbox number published, per shard."""
        return {relay.shard: relay.relayed_seq for relay in self._all(select(Relay))}

    def submissions(self) -> list[Sum]:
        """Messages to the bank by whether their file is out ("written") or not ("prepared"): orders and money."""
        statement = select(Submission.written, Submission.currency, func.count(), func.sum(Submission.orders), func.sum(Submission.amount_minor))
        rows = self._all(statement.group_by(Submission.written, Submission.currency))
        return _added(("written" if written else "prepared", currency, int(orders), amount) for written, currency, _, orders, amount in rows)

    def submission_of(self, order: OrderRow) -> Submission | None:
        """The message to the bank that holds an order."""
        wanted = select(Submission).where(
            Submission.shard == order.shard, Submission.currency == order.currency,
            Submission.first_seq <= order.release_seq, Submission.last_seq >= order.release_seq,
        )  # fmt: skip
        found: Submission | None = self._of(order.shard).exec(wanted).first()
        return found

    def bank_files(self) -> list[tuple[str, str, int, int]]:
        """The bank's files: (kind, outcome, files, answers in them)."""
        statement = select(BankFile.kind, BankFile.outcome, func.count(), func.sum(BankFile.answers)).group_by(BankFile.kind, BankFile.outcome)
        sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        for kind, outcome, files, answers in self._all(statement):
            sums[kind, outcome][0] += files
            sums[kind, outcome][1] += int(answers)
        return [(*key, *counts) for key, counts in sorted(sums.items())]  # type: ignore[misc]

    def bank_file(self, message_id: str) -> BankFile | None:
        """The bank's file of a message id."""
        return next(iter(self._all(select(BankFile).where(BankFile.message_id == message_id))), None)

    def ledger_imbalance(self) -> dict[str, int]:
        """Per currency, all debits less all credits."""
        sums: dict[str, int] = {}
        for side, sign in ((Transfer.debit, 1), (Transfer.credit, -1)):
            posted = select(side, BenefitPeriod.currency, func.sum(Transfer.amount_minor)).join(BenefitPeriod, same_period(Transfer))
            for _, currency, amount_minor in self._all(posted.group_by(side, BenefitPeriod.currency)):
                sums[currency] = sums.get(currency, 0) + sign * int(amount_minor)
        return sums

    # What waits for a person.

    def findings(self) -> dict[str, int]:
        """Findings by kind."""
        counts: dict[str, int] = defaultdict(int)
        for kind, count in self._all(select(Finding.kind, func.count()).group_by(Finding.kind)):
            counts[kind] += count
        return dict(sorted(counts.items()))

    def dead_letters(self, status: str | None = "open", limit: int | None = None) -> list[DeadLetter]:
        """Dead letters by topic, shard and offset."""
        statement = select(DeadLetter).order_by(DeadLetter.topic, DeadLetter.shard, DeadLetter.record_offset).limit(limit)
        letters = self._all(statement if status is None else statement.where(DeadLetter.status == status))
        return sorted(letters, key=lambda letter: (letter.topic, letter.shard, letter.record_offset))[:limit]

    def dead_letter(self, topic: str, shard: int, offset: int) -> DeadLetter | None:
        """One dead letter."""
        wanted = select(DeadLetter).where(DeadLetter.topic == topic, DeadLetter.shard == shard, DeadLetter.record_offset == offset)
        return self._of(shard).exec(wanted).first() if 0 <= shard < self._store.shards else None

    def letter_steps(self, letters: Sequence[DeadLetter]) -> list[DeadLetterStep]:
        """What people did with these dead letters, in order."""
        place = tuple_(DeadLetterStep.topic, DeadLetterStep.shard, DeadLetterStep.record_offset)
        wanted = [(letter.topic, letter.shard, letter.record_offset) for letter in letters]
        return self._all(select(DeadLetterStep).where(place.in_(wanted)).order_by(place, DeadLetterStep.step_no)) if wanted else []

    def put_at(self, topic: str, shard: int, offset: int) -> DeadLetterStep | None:
        """The step that put the record of a place into the log for a dead letter; None where it came from its sender."""
        put = (DeadLetterStep.step == "put", DeadLetterStep.put_topic == topic, DeadLetterStep.put_shard == shard, DeadLetterStep.put_offset == offset)
        return next(iter(self._all(select(DeadLetterStep).where(*put))), None)

    @staticmethod
    def _steps_about(key: bytes) -> Any:
        """Steps of letters with a key, and of letters for which a record with it was put."""
        place = tuple_(DeadLetterStep.topic, DeadLetterStep.shard, DeadLetterStep.record_offset)
        keyed = select(DeadLetter.topic, DeadLetter.shard, DeadLetter.record_offset).where(DeadLetter.record_key == key)
        put = select(DeadLetterStep.topic, DeadLetterStep.shard, DeadLetterStep.record_offset).where(DeadLetterStep.put_key == key)
        return select(DeadLetterStep).where(place.in_(keyed) | place.in_(put)).order_by(place, DeadLetterStep.step_no)

    def dead_letter_counts(self) -> dict[tuple[str, str], int]:
        """Dead letters by (topic, status)."""
        counts: dict[tuple[str, str], int] = defaultdict(int)
        statement = select(DeadLetter.topic, DeadLetter.status, func.count()).group_by(DeadLetter.topic, DeadLetter.status)
        for topic, status, count in self._all(statement):
            counts[topic, status] += count
        return dict(sorted(counts.items()))


def _added(rows: Iterable[Any]) -> list[Sum]:
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for key, currency, count, amount_minor in rows:
        sums[key, currency][0] += count
        sums[key, currency][1] += int(amount_minor)
    return [Sum(*key, *total) for key, total in sorted(sums.items())]


@contextmanager
def queries_of(store: Store) -> Iterator[Queries]:
    """Queries, each server in the snapshot of the first of them; nothing can be written through them."""
    with reachable(), ExitStack() as stack:
        yield Queries(store, [stack.enter_context(session(url, READER)) for url in store.urls])


def snapshot(store: Store, ask: Callable[[Queries], T]) -> T:
    """The answer to one question."""
    with queries_of(store) as queries:
        return ask(queries)
