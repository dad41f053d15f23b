"""Submissions taken back: which released orders of a restored store went to the bank, from the receipts in the log and from the files that were put out.

What is known to have left is a submission again, so the desk goes on after it. What cannot be told is never sent by itself: the bank must be asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from connectors.bank.bank_side import read_initiation
from connectors.store.outbox import Submission
from connectors.store.recovery import Released
from pipeline.orders import Step, end_to_end_id, order_id
from pipeline.problems import Malformed, Problem
from pipeline.receipts import Answer, decode_answer

from .log_access import Reading
from .topics import RECEIPTS

READ = 20_000
"""How many records are read from a topic at once."""


class PutOut(NamedTuple):
    """A file that was put out for the bank, as it stands in a folder."""

    path: Path
    message_id: str
    created_at: datetime
    execution_on: date
    orders: dict[str, tuple[int, str]]


class Sent(NamedTuple):
    """What the log says was sent: the message to the bank of each end-to-end id."""

    messages: dict[str, str]

    def ids(self) -> set[str]:
        """The messages."""
        return set(self.messages.values())


def sent_after(log: Reading, shard: int, position: int) -> Sent:
    """The words in the receipts, from a position on, that orders were sent."""
    messages: dict[str, str] = {}
    end = log.end_offset(RECEIPTS, shard)
    while position < end:
        frame = log.read(RECEIPTS, shard, position, min(READ, end - position))
        for answer in filter(None, map(_answer, frame.values)):
            if answer.step is Step.SEND and answer.cause:
                identity = order_id(answer.benefit, answer.subject, answer.period, answer.sequence)
                messages[end_to_end_id(identity, answer.attempt)] = answer.cause
        position = frame.next_offset
    return Sent(messages)


def _answer(value: bytes) -> Answer | None:
    try:
        return decode_answer(value)
    except Malformed:
        return None  # it becomes a dead letter when a lane takes it


def put_out(folders: Iterable[Path]) -> list[PutOut]:
    """The order files that lie in these folders; Malformed with every one that cannot be read."""
    found: dict[str, PutOut] = {}
    problems: list[Problem] = []
    for path in sorted(path for folder in folders for path in folder.glob("[!.]*.xml")):
        try:
            batch, orders = read_initiation(path.read_bytes())
        except Malformed as malformed:
            problems += [Problem(str(path), f"{problem.place}: {problem.message}", problem.mend) for problem in malformed.problems[:1]]
            continue
        created = datetime.fromisoformat(batch.created).astimezone(UTC)
        found[batch.message_id] = PutOut(
            path, batch.message_id, created, batch.day, {order.end_to_end_id: (order.amount_minor, order.currency) for order in orders}
        )
    if problems:
        raise Malformed(problems)
    return list(found.values())


class Taken(NamedTuple):
    """The submissions to write, each with whether its orders are known as sent; and the orders of which nothing tells whether they left."""

    submissions: list[tuple[Submission, bool]]
    untraced: list[Released]


def submissions_of(waiting: Sequence[Released], sent: Mapping[int, Sent], files: Sequence[PutOut], now: datetime) -> Taken:
    """The submissions of released orders that none covers yet. StoreError's cause, as Malformed, where a file says other than the store."""
    by_id = {order.end_to_end_id: order for order in waiting}
    told = {order.end_to_end_id: order.message_id for order in waiting if order.message_id}
    for shard_sent in sent.values():
        told.update({identity: message for identity, message in shard_sent.messages.items() if identity in by_id})
    of_message: dict[str, list[Released]] = {}
    for identity, message in told.items():
        of_message.setdefault(message, []).append(by_id[identity])
    known, problems = {file.message_id: file for file in files}, []
    for file in files:
        problems += _differences(file, by_id)
        of_message[file.message_id] = [by_id[identity] for identity in file.orders if identity in by_id]
    if problems:
        raise Malformed(problems)
    heard = set(told.values())
    submissions = [
        (_submission(message, orders, known.get(message), now), message in heard)
        for message, orders in sorted(of_message.items(), key=lambda entry: min((order.shard, order.release_seq) for order in entry[1]))
    ]
    return Taken(submissions, _untraced(waiting, [submission for submission, _ in submissions]))


def _differences(file: PutOut, by_id: Mapping[str, Released]) -> list[Problem]:
    unknown = [identity for identity in file.orders if identity not in by_id]
    if unknown:
        what = f"{len(unknown)} of its {len(file.orders)} orders are not in the store, the first is {unknown[0]}"
        return [Problem(str(file.path), what, "Money may have left that the log does not tell: bring the log in which it was released.")]
    return [
        Problem(str(file.path), f"{identity} has {minor} {currency} there, {by_id[identity].amount_minor} {by_id[identity].currency} in the store")
        for identity, (minor, currency) in file.orders.items()
        if (minor, currency) != (by_id[identity].amount_minor, by_id[identity].currency)
    ]


def _submission(message: str, orders: Sequence[Released], file: PutOut | None, now: datetime) -> Submission:
    numbers = [order.release_seq for order in orders]
    created, day, name = (file.created_at, file.execution_on, file.path.name) if file else (now, now.date(), f"{message}.xml")
    amount_minor = sum(order.amount_minor for order in orders)
    return Submission(message, orders[0].shard, min(numbers), max(numbers), orders[0].currency, len(orders), amount_minor, created, day, name)


def _untraced(waiting: Sequence[Released], submissions: Sequence[Submission]) -> list[Released]:
    """Orders that lie before one that left, or have left themselves, and that no submission covers."""
    reached: dict[int, int] = {}
    for submission in submissions:
        reached[submission.shard] = max(reached.get(submission.shard, 0), submission.last_seq)
    return [
        order
        for order in waiting
        if (order.left or order.release_seq <= reached.get(order.shard, 0))
        and not any(
            submission.shard == order.shard and submission.currency == order.currency and submission.first_seq <= order.release_seq <= submission.last_seq
            for submission in submissions
        )
    ]
