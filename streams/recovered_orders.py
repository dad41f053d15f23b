"""Orders taken back: what `payment.orders` says was released becomes orders of a restored store again, before any input is taken anew.

An order is what has been ordered already, so nothing that is owed is ordered a second time, whatever way the input leads this time. An
entitlement that gets an order back is undetermined until its subject is heard of again: while it is, nothing is released and nothing claimed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.store import outbox
from connectors.store.frames import FrameTransaction, Move
from connectors.store.schema import StoreError
from pipeline.decisions import ActiveRule
from pipeline.entitlements import Decision, Entitlement, encode_receipt
from pipeline.facts import encode_history
from pipeline.ledger import Posting
from pipeline.orders import Kind, State, Step, fingerprint, order_id, order_text
from pipeline.receipts import ReleasedOrder
from pipeline.rules import Rule

CAUSE = "recovery from payment.orders"

Key = tuple[str, int, int]
"""(subject, benefit_period_id, sequence)."""


class TakenBack:
    """One run of released orders, taken back in one transaction of their shard."""

    def __init__(self, transaction: FrameTransaction, rules: Mapping[tuple[str, str], ActiveRule]) -> None:
        self._transaction, self._rules = transaction, rules
        self._before: dict[tuple[str, int], Entitlement] = {}
        self._after: dict[tuple[str, int], Entitlement] = {}
        self._standing: dict[Key, tuple[int, int, int, int]] = {}
        self._new: list[Sequence[int | bytes]] = []
        self._moves: list[tuple[Key, Move]] = []
        self._steps: list[Sequence[int | bytes]] = []
        self._postings: dict[int, Posting] = {}

    def take(self, orders: Sequence[ReleasedOrder]) -> None:
        """Takes back orders whose outbox numbers follow those of the store, and marks them as published."""
        keys = sorted({self._key(order) for order in orders})
        self._standing = self._transaction.orders_of(keys)
        self._before = self._transaction.entitlements(sorted({order.subject for order in orders}))
        for order in orders:
            self._take(order)
        self._write(orders[-1].release_seq)

    def _key(self, order: ReleasedOrder) -> Key:
        return order.subject, self._rules[order.benefit, order.period].benefit_period_id, order.sequence

    def _take(self, order: ReleasedOrder) -> None:
        key, rule = self._key(order), self._rules[order.benefit, order.period]
        if order.order != order_text(order_id(order.benefit, order.subject, order.period, order.sequence)) or order.amount.currency != rule.rule.currency:
            raise StoreError(f"payment.orders, order {order.order}: its id or currency is not that of its key; the log is not this store's")
        entitlement = self._after.get(key[:2]) or self._before.get(key[:2])
        if key not in self._standing:
            self._add(order, rule, entitlement or _unheard(order.subject, rule))
            return
        state, _, steps, amount_minor = self._standing[key]
        if state != State.HELD or amount_minor != order.amount.minor or entitlement is None:
            raise StoreError(
                f"payment.orders, order {order.order}: released there with {order.amount.minor} minor units, {State(state).name.lower()} with {amount_minor} "
                "in the store; the backup is not of the store that wrote this log, restore another"
            )
        entitlement.held -= 1
        self._after[key[:2]] = entitlement
        self._moves.append((key, Move(State.RELEASED, order.attempt, steps + 1, order.release_seq, "", order.account)))
        self._step(key, steps + 1, State.HELD, State.RELEASED, order.attempt, Step.RELEASE, "")

    def _add(self, order: ReleasedOrder, rule: ActiveRule, entitlement: Entitlement) -> None:
        posting, amount_minor = self._postings.setdefault(rule.benefit_period_id, Posting()), order.amount.minor
        for sequence in range(entitlement.orders + 1, order.sequence):
            # It was made and cancelled before it left, so the log does not tell it; its number stays used.
            self._row(order, rule, sequence, State.CANCELLED)
            posting.orders(amount_minor, 1)
            posting.step(Step.CANCEL, State.HELD, State.CANCELLED, amount_minor)
            self._step((order.subject, rule.benefit_period_id, sequence), 1, State.HELD, State.CANCELLED, 0, Step.CANCEL, "no_longer_owed")
        self._row(order, rule, order.sequence, State.RELEASED)
        posting.orders(amount_minor, 1)
        posting.claim(-entitlement.claim_minor)
        entitlement.decision, entitlement.owed_minor, entitlement.claim_minor = Decision.UNDETERMINED, 0, 0
        entitlement.live_minor += amount_minor
        entitlement.orders = order.sequence
        self._after[order.subject, rule.benefit_period_id] = entitlement

    def _row(self, order: ReleasedOrder, rule: ActiveRule, sequence: int, state: State) -> None:
        released = state is State.RELEASED
        kind = Kind.ORIGINAL if sequence == 1 else Kind.DIFFERENCE
        self._new.append(
            (
                self._transaction.shard, rule.benefit_period_id, sequence, kind, order.amount.minor, rule.rule_id, state if released else State.HELD, state,
                order.attempt if released else 0, 0 if released else 1, order.release_seq if released else 0,
                order_id(order.benefit, order.subject, order.period, sequence), fingerprint(kind, order.amount.minor, order.amount.currency),
                order.subject.encode(), b"" if released else b"no_longer_owed", order.account.encode() if released else b"",
            )
        )  # fmt: skip

    def _step(self, key: Key, number: int, before: State, after: State, attempt: int, step: Step, reason: str) -> None:
        subject, period_id, sequence = key
        told = subject.encode(), step.value.encode(), reason.encode(), CAUSE.encode()
        self._steps.append((self._transaction.shard, period_id, sequence, number, before, after, attempt, *told))

    def _write(self, release_seq: int) -> None:
        transaction = self._transaction
        keys = sorted(self._after)
        new = [self._after[key] for key in keys if key not in self._before]
        subjects = sorted({entitlement.subject for entitlement in new})
        known = transaction.histories(subjects)
        # A lane looks for what was ordered only where it knows somebody: whoever is not known again yet is known with nothing said of them.
        transaction.add_histories([(subject, encode_history(())) for subject in subjects if subject not in known])
        transaction.add_entitlements(new)
        transaction.change_entitlements([self._after[key] for key in keys if key in self._before])
        transaction.add_orders(list(zip(*self._new, strict=True)))
        transaction.move_orders(self._moves)
        transaction.add_steps(self._steps)
        transaction.post({period_id: posting.transfers() for period_id, posting in self._postings.items()})
        transaction.set_release_seq(release_seq)
        outbox.set_relayed(transaction.connection, transaction.shard, release_seq)


def _unheard(subject: str, rule: ActiveRule) -> Entitlement:
    """The entitlement of somebody of whom the restored store knows nothing that was decided."""
    return Entitlement(subject, rule.benefit_period_id, rule.rule_id, Decision.UNDETERMINED, 0, 0, 0, 0, 0, _nothing_known(rule.rule))


def _nothing_known(rule: Rule) -> bytes:
    facts, items = len(rule.facts), len(rule.conditions) + len(rule.exclusions)
    unknown = sum(2 << 2 * index for index in range(items))
    return encode_receipt((1 << facts) - 1, unknown, [None] * len(rule.steps), [None] * facts, (), [-1] * facts)
