"""A lane: the one writer of a shard. It takes frames of records and commits facts, decisions, orders, ledger and position together."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from datetime import date

import structlog

from connectors.failpoints import failpoint
from connectors.store import members
from connectors.store.frames import Claim, FrameTransaction, claim, frame_transaction
from connectors.store.rulebook import benefit_periods
from connectors.store.servers import Connection, Row
from pipeline.accounts import ASSIGNMENT, AccountPolicy, account_keys
from pipeline.facts import Disposition, History, Known, day, decode_history, encode_history, is_only, join
from pipeline.members import MARK, ToldAll, needs_of, own
from pipeline.observing import EVENTS_CONSUMED, EVENTS_PROCESSED, FRAME_DURATION, FRAMES, LAST_PROGRESS, STAGE_DURATION, Observer, Recorder, report
from pipeline.orders import PASSED, TRANSITIONS, State
from pipeline.problems import Malformed, Problem
from pipeline.receipts import Answer, decode_answer
from pipeline.registry import Event, Registries
from pipeline.sharding import astray, partition_of
from pipeline.standing import Standing

from .allowances import Allowances, Unlimited
from .frame_orders import DEATH, FrameOrders, alive_reader
from .members import MemberRun, Telling, share_event
from .topics import MEMBERS, RECEIPTS

log = structlog.get_logger("lane")

Records = Sequence[tuple[bytes, bytes]]
Holders = tuple[list[tuple[bytes, str]], list[tuple[bytes, str]]]
"""(key of an account, subject): assignments that ended, and that began."""

News = tuple[str, History, History, Sequence[Known], Sequence[Disposition]]
"""(subject, history before, history after, events that came, what became of each) of somebody of whom something new was said."""

DeadLetter = tuple[int, bytes, bytes, list[dict[str, object]]]


class Lane:
    """Takes the frames of one shard. Not safe for several threads; one transaction is in flight at a time."""

    def __init__(
        self,
        connection: Connection[Row],
        held: Claim,
        registries: Registries,
        policy: AccountPolicy,
        observer: Observer,
        today: Callable[[], date],
        allowances: Allowances | None = None,
    ) -> None:
        self.connection, self.claim, self.registries, self.policy, self.observer = connection, held, registries, policy, observer
        self.today = today
        self._shards = members.shards(connection)
        self._allowances = allowances or Unlimited()
        self.standing: dict[int, Standing] = {}
        self._undecided: set[int] = set()
        self._periods: dict[tuple[str, str], int] = {}
        self._topic_of = {registry.name: registry.topic for registry in registries.registries}
        self._alive = alive_reader()
        self._telling = Telling(None)
        self._waiting: set[int] = set()

    @classmethod
    def take_over(
        cls, connection: Connection[Row], shard: int, owner: str, topics: Sequence[str], elsewhere: Sequence[Connection[Row]] = (), **wiring: object
    ) -> Lane:
        """Claims the shard with the topics it takes, and makes its lane; `elsewhere` are connections to the store's other servers."""
        held = claim(connection, shard, owner, topics)
        held.elsewhere = elsewhere
        return cls(connection, held, **wiring)  # type: ignore[arg-type]

    def stand(self, standings: Sequence[Standing], undecided: Collection[int]) -> None:
        """These rules decide from now on; of the periods in `undecided` not everybody known has been decided by them yet."""
        self.standing = {standing.benefit_period_id: standing for standing in standings}
        self._undecided = set(undecided)
        self._periods = benefit_periods(self.connection)
        rules = [active.rule for standing in standings for active in standing.rules.values()]
        self._telling = Telling(needs_of(rules, self.registries.catalogue))
        self._allowances.stand(self.standing)
        self._wait()

    def _wait(self) -> None:
        """Households are first decided when every shard has told them of their members: a payment in one sum, and not one for each member."""
        found = {standing.benefit_period_id for standing in self.standing.values() if any(active.members is not None for active in standing.rules.values())}
        found &= self._undecided
        self._waiting = found if found and not self._telling.told_all(self.connection, self.claim.shard) else set()

    def waits(self, benefit_period_id: int) -> bool:
        """Whether nobody is decided for a period yet, since not every shard has told this one's households of their members."""
        return benefit_period_id in self._waiting

    def member_run(self) -> MemberRun:
        """What everybody already known has still to tell their households."""
        return MemberRun(self.connection, self.claim, self._telling.needs)

    def decided_all(self, benefit_period_id: int) -> None:
        """Everybody known has been decided for a period: from now on only who is told something that concerns its rules."""
        self._undecided.discard(benefit_period_id)

    def position(self, topic: str) -> int:
        """The next offset to take."""
        return self.claim.positions[topic]

    def take(self, topic: str, first_offset: int, records: Records) -> None:
        """Takes a frame: everything that follows from these records is committed with the position, or nothing is."""
        started = time.perf_counter()
        told = Recorder()  # what is rolled back was never done, so it is not counted
        lap = Laps(told)
        end_offset = first_offset + len(records)
        with frame_transaction(self.connection, self.claim, topic, first_offset, end_offset) as transaction:
            orders = self.orders(transaction, told)
            take = self._take_events if topic != RECEIPTS else self._take_answers
            dispositions = take(transaction, orders, topic, records, lap)
            failpoint("after_fold")
            orders.write()
            transaction.close_frame(*dispositions, orders.release_seq)
            lap("write")
            failpoint("before_commit")
        lap("commit")
        failpoint("after_commit")
        report(told.take(), self.observer)
        self.claim.release_seq = orders.release_seq
        self.claim.positions[topic] = end_offset
        if topic == MEMBERS and self._waiting:
            self._wait()
        self._observe(topic, len(records), dispositions, started)

    def _observe(self, topic: str, records: int, dispositions: tuple[int, int, int, int], started: float) -> None:
        taken_s = time.perf_counter() - started
        self.observer.count(EVENTS_CONSUMED, records, topic=topic)
        for outcome, count in zip(Disposition, dispositions, strict=True):
            if count:
                self.observer.count(EVENTS_PROCESSED, count, topic=topic, outcome=outcome.value)
        self.observer.count(FRAMES)
        self.observer.observe(FRAME_DURATION, taken_s)
        self.observer.gauge(LAST_PROGRESS, time.time())
        log.debug("frame", shard=self.claim.shard, topic=topic, end=self.claim.positions[topic], records=records, seconds=round(taken_s, 4))

    # Registry events.

    def _take_events(self, transaction: FrameTransaction, orders: FrameOrders, topic: str, records: Records, lap: Laps) -> tuple[int, int, int, int]:
        events, dead = self._decode(topic, transaction.first_offset, records)
        lap("decode")
        kept = transaction.histories(list(events))
        lap("read")
        counts = dict.fromkeys(Disposition, 0)
        counts[Disposition.DEAD_LETTER] = len(dead)
        histories: dict[str, History] = {}
        added: list[tuple[str, bytes]] = []
        changed: list[tuple[str, bytes]] = []
        news: list[News] = []
        for subject in sorted(events):
            incoming, before = events[subject], kept.get(subject)
            if before is None and len(incoming) == 1 and incoming[0].type != ASSIGNMENT and not self._telling:
                # By far the most frequent case, and the quickest: a stranger's only event, which tells of no account and follows no order.
                history: History = (incoming[0],)
                histories[subject] = history
                added.append((subject, encode_history(history)))
                counts[Disposition.APPLIED] += 1
                continue
            if before is not None and len(incoming) == 1 and is_only(incoming[0], before):
                counts[Disposition.DUPLICATE] += 1
                continue
            history_before = decode_history(before) if before is not None else ()
            history, dispositions = join(history_before, incoming)
            for disposition in dispositions:
                counts[disposition] += 1
            if history is history_before:
                continue  # nothing new: nothing follows, and nothing more of them is read
            histories[subject] = history
            (added if before is None else changed).append((subject, encode_history(history)))
            news.append((subject, history_before, history, incoming, dispositions))
        lap("fold")
        orders.load([subject for subject, _ in changed])
        lap("read")
        holders: Holders = ([], [])
        asked = self._asked(orders, holders, news, {subject for subject, _ in changed})
        strangers = [subject for subject, _ in added]
        for period_id, known in asked.items():
            for rule, subjects in self.standing[period_id].split(sorted((*strangers, *known)) if known else strangers):
                orders.settle(rule, rule.decide([(subject, histories[subject]) for subject in subjects]))
        lap("decide")
        transaction.change_holders(*holders)
        orders.release(histories.__getitem__)
        lap("order")
        transaction.add_histories(added)
        transaction.change_histories(changed)
        counts[Disposition.APPLIED] += self._telling.write(transaction)
        if dead:
            transaction.add_dead_letters(dead)
        return counts[Disposition.APPLIED], counts[Disposition.DUPLICATE], counts[Disposition.CONFLICT], counts[Disposition.DEAD_LETTER]

    def _asked(self, orders: FrameOrders, holders: Holders, news: Sequence[News], known: Collection[str]) -> dict[int, list[str]]:
        """Follows what is new beside the rules, and gives whom of those known each period's rules are asked about again."""
        standings = {period_id: standing for period_id, standing in self.standing.items() if period_id not in self._waiting}
        asked: dict[int, list[str]] = {period_id: [] for period_id in standings}
        for subject, before, after, incoming, dispositions in news:
            fresh: Sequence[Known] = incoming
            if len(incoming) > 1 or dispositions[0] is not Disposition.APPLIED:
                fresh = self._fresh(incoming, dispositions)
                self._note_conflicts(orders, subject, incoming, dispositions)
            self._note(orders, holders, subject, before, after, fresh)
            for period_id, standing in standings.items():
                if subject in known and (period_id in self._undecided or standing.is_asked(subject, before, after, fresh)):
                    asked[period_id].append(subject)
            self._telling.note(subject, before, after)
        return asked

    def _decode(self, topic: str, first_offset: int, records: Records) -> tuple[dict[str, list[Known]], list[DeadLetter]]:
        """The events by subject, and what breaks the contract."""
        shard, topic_of = self.claim.shard, self._topic_of
        events: dict[str, list[Known]] = {}
        dead: list[DeadLetter] = []
        values = [value for _, value in records]
        strays = astray((key for key, _ in records), shard, self._shards)
        for index, decoded in enumerate(self.registries.decode_frame(values) if topic != MEMBERS else map(share_event, values)):
            key, value = records[index]
            if isinstance(decoded, Malformed):
                malformed = decoded
            elif index in strays and isinstance(decoded, ToldAll):
                malformed = Malformed([self._stray(key)])
            elif isinstance(decoded, ToldAll):
                self._telling.heard(decoded)
                continue
            elif key != decoded.subject.encode() or topic_of.get(decoded.known.registry, MEMBERS) != topic or index in strays:
                malformed = self._misplaced(key, decoded, topic)
            else:
                subject, known = decoded.subject, decoded.known
                if subject in events:
                    events[subject].append(known)
                else:
                    events[subject] = [known]
                continue
            dead.append((first_offset + index, key, value, problems_json(malformed)))
            log.warning("dead letter", shard=shard, topic=topic, offset=first_offset + index, problems=len(malformed.problems))
        return events, dead

    def _misplaced(self, key: bytes, event: Event, topic: str) -> Malformed:
        problems = []
        if key != event.subject.encode():
            problems.append(Problem("key", f"the record's key is {key[:64]!r}, its subject {event.subject!r}", "Key the record by its subject."))
        if self._topic_of.get(event.known.registry, MEMBERS) != topic:
            what = f"{event.known.type} of {event.known.registry} does not belong on {topic}"
            problems.append(Problem("type", what, "Send it to its registry's topic."))
        if partition_of(key, self._shards) != self.claim.shard:
            problems.append(self._stray(key))
        return Malformed(problems)

    def _stray(self, key: bytes) -> Problem:
        """That a record lies in this shard's partition and its key leads to another."""
        own = partition_of(key, self._shards)
        what = f"the key {key[:64]!r} belongs in partition {own} of {self._shards}, the record lies in {self.claim.shard}"
        return Problem("partition", what, "Let its producer choose the partition as librdkafka's `consistent` does: CRC-32 of the key modulo the partitions.")

    @staticmethod
    def _fresh(incoming: Sequence[Known], dispositions: Sequence[Disposition]) -> list[Known]:
        return [event for event, disposition in zip(incoming, dispositions, strict=True) if disposition is not Disposition.DUPLICATE]

    def _note_conflicts(self, orders: FrameOrders, subject: str, incoming: Sequence[Known], dispositions: Sequence[Disposition]) -> None:
        for event, disposition in zip(incoming, dispositions, strict=True):
            if disposition is Disposition.CONFLICT:
                orders.findings.append(("event_id_conflict", subject, f"{event.registry}/{event.id}"))
                log.warning("event id reused with other content", shard=self.claim.shard, subject=subject, event_id=event.id)

    @staticmethod
    def _note(orders: FrameOrders, holders: Holders, subject: str, before: History, after: History, fresh: Sequence[Known]) -> None:
        """Follows what new events mean beside the rules: whose account is whose, and a death after the money left."""
        for event in fresh:
            if MARK in event.registry:
                continue  # a copy of what was said of a member, who is followed where they are kept
            if event.type == ASSIGNMENT or event.withdraws:
                had, has = account_keys(own(before)), account_keys(own(after))
                if had != has:
                    holders[0].extend((key, subject) for key in had - has)
                    holders[1].extend((key, subject) for key in has - had)
            if DEATH in event.values and orders.left(subject):
                orders.findings.append(("death_after_release", subject, ""))

    # Answers of the bank.

    def _take_answers(self, transaction: FrameTransaction, orders: FrameOrders, topic: str, records: Records, lap: Laps) -> tuple[int, int, int, int]:
        answers: list[tuple[int, Answer, tuple[str, int, int]]] = []
        dead: list[DeadLetter] = []
        for index, (key, value) in enumerate(records):
            offset = transaction.first_offset + index
            try:
                answer = decode_answer(value)
                period_id = self._periods.get((answer.benefit, answer.period))
                if period_id is None:
                    raise Malformed([Problem("benefit", f"nothing was ever ordered for {answer.benefit} {answer.period}")])
            except Malformed as malformed:
                dead.append((offset, key, value, problems_json(malformed)))
                continue
            answers.append((index, answer, (answer.subject, period_id, answer.sequence)))
        lap("decode")
        standing = transaction.orders_of(sorted({order for _, _, order in answers}))
        lap("read")
        applied = duplicate = 0
        for index, answer, order in answers:
            problem = None
            if order not in standing and astray([answer.subject.encode()], self.claim.shard, self._shards):
                problem = self._stray(answer.subject.encode())
            elif order not in standing:
                problem = Problem("sequence", f"there is no order {answer.sequence} of {answer.subject} for {answer.benefit} {answer.period}")
            else:
                state, attempt, steps, amount_minor = standing[order]
                after = TRANSITIONS.get((State(state), answer.step))
                if answer.attempt != attempt:
                    problem = Problem("attempt", f"attempt {answer.attempt} is not the order's attempt {attempt}")
                elif after is not None:
                    orders.move(*order, answer.step, State(state), after, attempt, steps, answer.reason, amount_minor, answer.cause)
                    standing[order] = (after, attempt, steps + 1, amount_minor)
                    applied += 1
                elif state in PASSED.get(answer.step, ()):
                    duplicate += 1
                else:
                    problem = Problem("step", f"{answer.step.value} does not follow {State(state).name.lower()}", "Ask the bank which of its answers holds.")
                    orders.findings.append(("contradicting_answer", answer.subject, answer.id))
            if problem is not None:
                key, value = records[index]
                dead.append((transaction.first_offset + index, key, value, problems_json(Malformed([problem]))))
        lap("fold")
        if dead:
            transaction.add_dead_letters(dead)
        return applied, duplicate, 0, len(dead)

    # What a transaction does to orders, whatever it takes.

    def orders(self, transaction: FrameTransaction, observer: Observer) -> FrameOrders:
        """The orders of a transaction of this lane."""
        return FrameOrders(transaction, self.standing, self._allowances, self.policy, self._alive, day(self.today()), observer)

    @staticmethod
    def finish(transaction: FrameTransaction, orders: FrameOrders, history_of: Callable[[str], History]) -> None:
        """Releases and writes what a transaction without records did."""
        orders.release(history_of)
        orders.write()
        transaction.set_release_seq(orders.release_seq)


class Laps:
    """Times the stages of a frame."""

    def __init__(self, observer: Observer) -> None:
        self._observer, self._last = observer, time.perf_counter()

    def __call__(self, stage: str) -> None:
        now = time.perf_counter()
        self._observer.observe(STAGE_DURATION, now - self._last, stage=stage)
        self._last = now


def problems_json(malformed: Malformed) -> list[dict[str, object]]:
    """Problems as they are stored; PostgreSQL's JSON has no NUL character."""
    return [
        {name: text.replace("\0", "\\0") for name, text in (("place", problem.place), ("message", problem.message), ("mend", problem.mend))}
        for problem in malformed.problems
    ]
