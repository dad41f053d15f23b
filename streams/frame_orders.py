"""The orders of one frame: decisions become differences, differences orders, and what may leave is released, all in memory until written.

One instance serves one transaction. It keeps the entitlements and orders that the frame touches, collects the postings, and
writes everything in a few bulk statements at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from connectors.store.frames import FrameTransaction, Move
from connectors.store.hold_releases import Lifted, lifted
from pipeline.accounts import ASSIGNMENT, Account, AccountPolicy, Usual, check, resolve
from pipeline.decisions import ActiveRule, Outcome
from pipeline.entitlements import Decision, Entitlement, NewOrder, begin, settle
from pipeline.facts import LAST_DAY, History, Question, Reader
from pipeline.holds import HoldReason
from pipeline.ledger import Posting
from pipeline.observing import DECISIONS, ORDERS_CREATED, ORDERS_CREATED_AMOUNT, Observer
from pipeline.orders import HeldOrder, Kind, State, Step, fingerprint, order_ids
from pipeline.standing import Standing

from .allowances import Allowances

_OUTCOME = {Decision.REFUSED: "refused", Decision.GRANTED: "granted", Decision.UNDETERMINED: "undetermined"}
DEATH = "residency.death_date"

Place = tuple[HoldReason | None, Account | None]
"""Why an order may not leave, or the account it may go to."""

NOWHERE: Place = (HoldReason.NO_ACCOUNT, None)
SHARED: Place = (HoldReason.ACCOUNT_SHARED, None)
_CODE = {reason: reason.value.encode() for reason in HoldReason}

NewRow = tuple[ActiveRule, NewOrder, Entitlement]
"""A new order, with the rule that asks for it and its entitlement."""

Asked = tuple[ActiveRule, str, int, int]
"""(rule, subject, sequence, amount_minor) of an order that has not left."""

HeldRow = tuple[int, int, int, str]
"""(sequence, amount_minor, steps, reason) of a held order."""


class FrameOrders:
    """Collects what a frame does to entitlements and orders."""

    def __init__(
        self,
        transaction: FrameTransaction,
        standing: Mapping[int, Standing],
        allowances: Allowances,
        policy: AccountPolicy,
        alive: Reader,
        today: int,
        observer: Observer,
    ) -> None:
        self.transaction, self.standing, self.policy, self.today, self.observer = transaction, standing, policy, today, observer
        self._allowances = allowances
        self.release_seq = transaction.claim.release_seq
        self.findings: list[tuple[str, str, str]] = []
        self._alive = alive
        self._usual: dict[int, Usual] = {}
        self._before: dict[tuple[str, int], Entitlement] = {}
        self._after: dict[tuple[str, int], Entitlement] = {}
        self._held: dict[tuple[str, int], list[HeldRow]] = {}
        self._lifted: set[Lifted] = set()
        self._new: list[NewRow] = []
        self._columns: Sequence[Sequence[int | bytes]] = ()
        self._moves: dict[tuple[str, int, int], Move] = {}
        self._steps: list[Sequence[int | bytes]] = []
        self._postings: dict[int, Posting] = {}

    def load(self, subjects: Sequence[str], *, all_between: bool = False) -> None:
        """Reads the entitlements of known subjects, and their held orders; in one stretch where these are all from the first to the last."""
        if not subjects:
            return
        read = self.transaction
        self._before.update(read.entitlements_between(subjects[0], subjects[-1]) if all_between else read.entitlements(subjects))
        holding = sorted({subject for (subject, _), entitlement in self._before.items() if entitlement.held})
        if holding:
            for subject, period_id, sequence, amount_minor, steps, reason in self.transaction.orders_in(holding, State.HELD):
                self._held.setdefault((subject, period_id), []).append((sequence, amount_minor, steps, reason))
            self._lifted |= lifted(read.connection, read.shard, holding)

    def entitlement(self, subject: str, benefit_period_id: int) -> Entitlement | None:
        """The entitlement as this frame has it now."""
        key = subject, benefit_period_id
        return self._after.get(key) or self._before.get(key)

    def left(self, subject: str) -> bool:
        """Whether money for this subject has left or may leave any moment."""
        for period_id in self.standing:
            entitlement = self.entitlement(subject, period_id)
            held_minor = sum(amount_minor for _, amount_minor, _, _ in self._held.get((subject, period_id), ()))
            if entitlement is not None and entitlement.live_minor > held_minor:
                return True
        return False

    def settle(self, rule: ActiveRule, outcomes: Iterable[Outcome]) -> None:
        """Brings entitlements and orders to the level that these decisions ask for."""
        counts = [0, 0, 0]
        period_id, rule_id = rule.benefit_period_id, rule.rule_id
        for subject, decision, amount_minor, receipt in outcomes:
            counts[decision] += 1
            key = subject, period_id
            before = self._before.get(key)
            if before is None:
                entitlement, order = begin(subject, period_id, rule_id, decision, amount_minor, receipt)
                self._after[key] = entitlement
                if order is not None:
                    self._new.append((rule, order, entitlement))
                continue
            held = [HeldOrder(sequence, amount) for sequence, amount, _, _ in self._held.get(key, ())]
            settled = settle(before, subject, period_id, rule_id, decision, amount_minor, receipt, held)
            self._after[key] = settled.entitlement
            if settled.order is not None:
                self._new.append((rule, settled.order, settled.entitlement))
            if settled.cancel:
                self._cancel(key, settled.cancel)
            if settled.claim_change_minor:
                self._posting(period_id).claim(settled.claim_change_minor)
                if settled.claim_change_minor > 0:
                    self.findings.append(("overpaid", subject, f"{rule.rule.benefit} {rule.period.label}"))
        for decision, count in enumerate(counts):
            if count:
                self.observer.count(DECISIONS, count, benefit=rule.rule.benefit, outcome=_OUTCOME[Decision(decision)])

    def _posting(self, benefit_period_id: int) -> Posting:
        return self._postings.setdefault(benefit_period_id, Posting())

    def _cancel(self, key: tuple[str, int], sequences: Sequence[int]) -> None:
        subject, period_id = key
        kept: list[HeldRow] = []
        for row in self._held[key]:
            sequence, amount_minor, steps, _ = row
            if sequence not in sequences:
                kept.append(row)
                continue
            self.move(subject, period_id, sequence, Step.CANCEL, State.HELD, State.CANCELLED, 0, steps, "no_longer_owed", amount_minor)
        self._held[key] = kept

    def move(
        self,
        subject: str,
        period_id: int,
        sequence: int,
        step: Step,
        before: State,
        after: State,
        attempt: int,
        steps: int,
        reason: str,
        amount_minor: int,
        cause: str = "",
        account: str = "",
        release_seq: int = 0,
    ) -> None:
        """An order takes a step: where it stands, its history and the books follow. The cause is the frame where none is named."""
        self._stand(subject, period_id, sequence, Move(after, attempt, steps + 1, release_seq, reason, account))
        self._steps.append(
            (
                self.transaction.shard, period_id, sequence, steps + 1, before, after, attempt,
                subject.encode(), step.value.encode(), reason.encode(), (cause or self._cause()).encode(),
            )
        )  # fmt: skip
        self._posting(period_id).step(step, before, after, amount_minor)

    def _stand(self, subject: str, period_id: int, sequence: int, move: Move) -> None:
        """An order may move several times in a frame; where it stands at the end is written once."""
        earlier = self._moves.get((subject, period_id, sequence))
        if earlier is not None:
            move = move._replace(release_seq=move.release_seq or earlier.release_seq, account=move.account or earlier.account)
        self._moves[subject, period_id, sequence] = move

    def _cause(self) -> str:
        return f"{self.transaction.topic} {self.transaction.first_offset}-{self.transaction.end_offset}"

    def release(self, history_of: Callable[[str], History]) -> None:
        """Resolves payee and account of every order that has not left, and releases those that may."""
        if len(self.standing) > 1:
            self._new.sort(key=lambda entry: (entry[1].subject, entry[0].benefit_period_id))
        places = [self._place(rule, order.subject, history_of(order.subject)) for rule, order, _ in self._new]
        waiting = [
            (subject, rule, row, self._place(rule, subject, history_of(subject)))
            for subject, period_id in sorted(self._held)
            if (rule := self._rule_of(subject, period_id)) is not None
            for row in sorted(self._held[subject, period_id])
        ]
        asked = [
            *((rule, subject, row[0], row[1]) for subject, rule, row, _ in waiting),
            *((rule, order.subject, order.sequence, order.amount_minor) for rule, order, _ in self._new),
        ]
        placed = self._alone(asked, [*(place for _, _, _, place in waiting), *places])
        placed = self._afforded(asked, self._guarded(asked, placed, len(waiting)))
        self._columns = self._columns_of_new(placed[len(waiting) :])
        for (subject, rule, row, _), place in zip(waiting, placed[: len(waiting)], strict=True):
            self._place_held(subject, rule, row, *place)
        self._account_for_new()

    def _rule_of(self, subject: str, period_id: int) -> ActiveRule | None:
        """The rule whose orders these are; None where no rule stands."""
        standing = self.standing.get(period_id)
        return None if standing is None else standing.rule_of(subject) or standing.newest

    def _place(self, rule: ActiveRule, subject: str, history: History) -> Place:
        """Where an order may go now: why it may not, or the account."""
        payee = rule.payee(subject, history, self.today)
        if payee is None:
            return HoldReason.PAYEE_UNKNOWN, None
        said = [event for event in payee if event.type == ASSIGNMENT or DEATH in event.values or event.withdraws]
        if not said:
            return NOWHERE
        if len(said) == 1 and said[0].type == ASSIGNMENT:
            account = self._usual_of(rule).account(said[0])
            if account is not None:
                return None, account
        elif any(DEATH in event.values for event in said) and self._alive.read(payee)[0][0] is False:
            return HoldReason.PAYEE_DECEASED, None
        assignment = resolve(said, rule.rule.benefit, self.today)
        reason = check(assignment, self.policy, rule.rule.currency, self.today, 1)
        return (None, assignment.account) if reason is None and assignment is not None else (reason, None)

    def _usual_of(self, rule: ActiveRule) -> Usual:
        usual = self._usual.get(rule.rule_id)
        if usual is None:
            usual = self._usual[rule.rule_id] = Usual(self.policy, rule.rule.benefit, rule.rule.currency, self.today)
        return usual

    def _lets_go(self, asked: Asked, reason: HoldReason) -> bool:
        """Whether a person set this reason aside."""
        rule, subject, sequence, _ = asked
        return bool(self._lifted) and (subject, rule.benefit_period_id, sequence, reason.value) in self._lifted

    def _alone(self, asked: Sequence[Asked], places: Sequence[Place]) -> Sequence[Place]:
        """The same places, save where too many subjects share the account."""
        keys = [None if account is None else account.key() for _, account in places]
        named = {key for key in keys if key is not None}
        crowded = self.transaction.crowded(list(named), self.policy.max_subjects_per_account) if named else set()
        if not crowded:
            return places
        return [
            SHARED if key in crowded and not self._lets_go(order, HoldReason.ACCOUNT_SHARED) else place
            for order, key, place in zip(asked, keys, places, strict=True)
        ]

    def _guarded(self, asked: Sequence[Asked], places: Sequence[Place], held: int) -> list[Place]:
        """The same places, save where something else than the account keeps the order; the first `held` of them have been held."""
        guarded: list[Place] = []
        for index, (order, place) in enumerate(zip(asked, places, strict=True)):
            rule, subject, _, amount_minor = order
            reason, above = place[0], rule.rule.review_above_minor
            if reason is not HoldReason.PAYEE_DECEASED:
                if index < held and self._undetermined(subject, rule.benefit_period_id):
                    place = HoldReason.ENTITLEMENT_UNDETERMINED, None
                elif self.standing[rule.benefit_period_id].suspended:
                    place = HoldReason.BENEFIT_SUSPENDED, None
                elif reason is None and above is not None and amount_minor > above and not self._lets_go(order, HoldReason.ABOVE_REVIEW_LIMIT):
                    place = HoldReason.ABOVE_REVIEW_LIMIT, None
            guarded.append(place)
        return guarded

    def _undetermined(self, subject: str, benefit_period_id: int) -> bool:
        entitlement = self.entitlement(subject, benefit_period_id)
        return entitlement is not None and entitlement.decision == Decision.UNDETERMINED

    def _afforded(self, asked: Sequence[Asked], places: list[Place]) -> list[Place]:
        """The same places, save where the budget does not have the money."""
        leaving = [index for index, (_, account) in enumerate(places) if account is not None] if self._allowances.limited else []
        if leaving:
            fits = self._allowances.fitting([(asked[index][0].benefit_period_id, asked[index][3]) for index in leaving])
            for index in [] if all(fits) else [index for index, fitting in zip(leaving, fits, strict=True) if not fitting]:
                places[index] = HoldReason.BUDGET_EXHAUSTED, None
        return places

    def _columns_of_new(self, places: Sequence[Place]) -> Sequence[Sequence[int | bytes]]:
        """The new orders as columns of `ORDER`; those that may leave get their number in the outbox."""
        states, attempts, release_seqs, reasons, accounts = [], [], [], [], []
        release_seq = self.release_seq
        for (_, _, entitlement), (reason, account) in zip(self._new, places, strict=True):
            if reason is not None or account is None:
                entitlement.held += 1
                states.append(State.HELD)
                attempts.append(0)
                release_seqs.append(0)
                reasons.append(_CODE[reason or HoldReason.NO_ACCOUNT])
                accounts.append(b"")
            else:
                release_seq += 1
                states.append(State.RELEASED)
                attempts.append(1)
                release_seqs.append(release_seq)
                reasons.append(b"")
                accounts.append(account.text().encode())
        self.release_seq = release_seq
        rules, orders = [rule for rule, _, _ in self._new], [order for _, order, _ in self._new]
        subjects, sequences, amounts_minor = [order.subject for order in orders], [order.sequence for order in orders], [order.amount_minor for order in orders]
        identities = order_ids([rule.rule.benefit for rule in rules], subjects, [rule.period.label for rule in rules], sequences)
        says = list(zip([order.kind for order in orders], amounts_minor, [rule.rule.currency for rule in rules], strict=True))
        prints = {said: fingerprint(*said) for said in set(says)}
        return (
            [self.transaction.shard] * len(orders), [rule.benefit_period_id for rule in rules], sequences, [order.kind for order in orders], amounts_minor,
            [rule.rule_id for rule in rules], states, states, attempts, [0] * len(orders), release_seqs, identities, [prints[said] for said in says],
            list(map(str.encode, subjects)), reasons, accounts,
        )  # fmt: skip

    def _place_held(self, subject: str, rule: ActiveRule, row: HeldRow, reason: HoldReason | None, account: Account | None) -> None:
        sequence, amount_minor, steps, held_for = row
        period_id = rule.benefit_period_id
        key = subject, period_id
        if reason is None and account is not None:
            self.release_seq += 1
            self._after.setdefault(key, self._before[key]).held -= 1
            self.move(
                subject, period_id, sequence, Step.RELEASE, State.HELD, State.RELEASED, 1, steps, "", amount_minor,
                account=account.text(), release_seq=self.release_seq,
            )  # fmt: skip
        elif reason is not None and reason.value != held_for:
            self._stand(subject, period_id, sequence, Move(State.HELD, 0, steps, 0, reason.value, ""))

    def _account_for_new(self) -> None:
        """Reserves the new orders in the books and reports them, in sums."""
        sums = {
            (rule, kind): (len(amounts), sum(amounts))
            for standing in self.standing.values()
            for rule in standing.rules.values()
            for kind in Kind
            if (amounts := [order.amount_minor for of, order, _ in self._new if of is rule and order.kind == kind])
        }
        for (rule, kind), (count, amount_minor) in sums.items():
            self._posting(rule.benefit_period_id).orders(amount_minor, count)
            name = Kind(kind).name.lower()
            self.observer.count(ORDERS_CREATED, count, benefit=rule.rule.benefit, kind=name)
            self.observer.count(ORDERS_CREATED_AMOUNT, amount_minor, benefit=rule.rule.benefit, currency=rule.rule.currency, kind=name)

    def write(self) -> None:
        """Writes everything collected, in the order of the keys."""
        keys = sorted(self._after)
        self.transaction.add_entitlements([self._after[key] for key in keys if key not in self._before])
        self.transaction.change_entitlements([self._after[key] for key in keys if key in self._before])
        self.transaction.add_orders(self._columns)
        self.transaction.move_orders([(key, self._moves[key]) for key in sorted(self._moves)])
        self.transaction.add_steps(self._steps)
        self.transaction.post({period_id: posting.transfers() for period_id, posting in self._postings.items()})
        if self.findings:
            self.transaction.add_findings(self.findings)


def alive_reader(registry: str = "residency") -> Reader:
    """Asks whether a subject's death has been registered, whatever its day."""
    return Reader([Question("residency.alive", registry, LAST_DAY, until=DEATH)])
