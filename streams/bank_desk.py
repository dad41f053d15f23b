"""The bank desk: released orders become files at the bank's door, the bank's files become answers keyed by their subject.

What is released stands in the store, numbered without gap; the desk takes it from there and not from the topic on which it is published, so that one
place says what has left, whatever becomes of the log. But it takes only what is published, so that the log tells of every order that left: a store that
is restored from a backup learns it there. A submission is three steps: it is written down with its id, its file is put out, its orders are
known as sent. What was written down and perhaps not put out is put out again after a crash, byte for byte the same.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

import structlog

from connectors.bank.answers import Answer as BankAnswer
from connectors.bank.answers import BankMessage, Expected, Outcome, read_answers
from connectors.bank.initiation import CreditTransfer, Debtor, message_id_of, uetr_of, write_initiation
from connectors.failpoints import failpoint
from connectors.store import outbox
from connectors.store.servers import Connection, Row
from pipeline.accounts import parse_account
from pipeline.observing import BANK_ANSWERS, BANK_FILES, Observer
from pipeline.orders import Step
from pipeline.problems import Malformed
from pipeline.receipts import Answer, ReleasedOrder, encode
from pipeline.sharding import shard_of

from .relay import Writer
from .topics import RECEIPTS

log = structlog.get_logger("bank")

_STEP = {"accepted": Step.ACCEPT, "rejected": Step.REJECT, "settled": Step.SETTLE, "returned": Step.RETURN}
"""What an answer does to its order; a pending one does nothing yet."""

DUPLICATES = frozenset({"AM05", "DUPL", "DU01", "DU02", "DU03", "DU04", "DU05"})
"""ISO 20022 reasons by which a bank says that it has the order already: where the original stands is not known, it is never sent anew."""


class OutboxBroken(RuntimeError):
    """What is released is not numbered without gap, or is no longer what was submitted."""


class OtherDesk(RuntimeError):
    """Another process submits the same orders."""


class TakenFile(NamedTuple):
    """A file of the bank: its name, its kind, whether it was read, refused or a duplicate, its answers, and how many of them are to be looked at."""

    name: str
    kind: str
    outcome: str
    answers: int = 0
    findings: int = 0


class BankDesk:
    """Submits the orders of all shards of one server, and takes the bank's files, whose answers may concern those of all `servers`."""

    def __init__(
        self,
        connection: Connection[Row],
        servers: Sequence[Connection[Row]],
        writer: Writer,
        bank_directory: Path,
        shards: Sequence[int],
        shard_count: int,
        debtor: Debtor,
        expected: Expected,
        batch_size: int,
        observer: Observer,
        now: Callable[[], datetime],
    ) -> None:
        self._connection, self._servers, self._writer, self._observer, self._now = connection, servers, writer, observer, now
        self._shards, self._shard_count, self._debtor, self._expected, self._batch_size = tuple(shards), shard_count, debtor, expected, batch_size
        self._submitted = {shard: outbox.submitted_to(connection, shard) for shard in shards}
        self._out, self._in = bank_directory / "out", bank_directory / "in"
        self._done, self._refused = bank_directory / "done", bank_directory / "refused"
        for directory in (self._out, self._in, self._done, self._refused):
            directory.mkdir(parents=True, exist_ok=True)

    # Out.

    def resume(self) -> int:
        """Puts out again what was written down and perhaps not sent."""
        waiting = outbox.unwritten(self._connection, self._shards)
        for submission in waiting:
            orders = self._orders_of(submission, self._connection)
            message = self._message(orders, submission.created_at, submission.execution_on)
            if message_id_of(message) != submission.message_id:
                raise OutboxBroken(f"submission {submission.message_id} cannot be written again: its orders have changed in the store, run `payout audit`")
            self._put_out(submission, orders, message)
        return len(waiting)

    def submit(self) -> int:
        """Submits one batch of each shard of which orders were published since; gives the number of orders."""
        return sum(self._submit_shard(shard, last) for shard, last in outbox.published_after(self._connection, self._submitted).items())

    def _submit_shard(self, shard: int, last: int) -> int:
        submitted = self._submitted[shard]
        orders = outbox.released(self._connection, shard, submitted, self._batch_size, last)
        for number, order in enumerate(orders, submitted + 1):
            if order.release_seq != number:
                raise OutboxBroken(f"shard {shard}: released order {number} is missing from the store, {order.release_seq} comes next: run `payout audit`")
        if not orders:
            raise OutboxBroken(f"shard {shard}: released order {submitted + 1} is missing from the store, and every one after it: run `payout audit`")
        created, today = self._now().replace(microsecond=0), self._now().date()
        submissions: list[tuple[outbox.Submission, list[ReleasedOrder], bytes]] = []
        for currency in sorted({order.amount.currency for order in orders}):
            batch = [order for order in orders if order.amount.currency == currency]
            message = self._message(batch, created, today)
            message_id = message_id_of(message)
            amount_minor = sum(order.amount.minor for order in batch)
            seqs = batch[0].release_seq, batch[-1].release_seq
            submission = outbox.Submission(message_id, shard, *seqs, currency, len(batch), amount_minor, created, today, f"{message_id}.xml")
            submissions.append((submission, batch, message))
        if not outbox.prepare(self._connection, shard, submitted, [submission for submission, _, _ in submissions]):
            raise OtherDesk(f"another process submits the orders of shard {shard}; one is enough")
        failpoint("bank_prepared")
        self._submitted[shard] = orders[-1].release_seq
        for submission, batch, message in submissions:
            self._put_out(submission, batch, message)
        return len(orders)

    def _message(self, orders: Sequence[ReleasedOrder], created: datetime, execution_on: date) -> bytes:
        transfers = []
        for order in orders:
            identity = f"{order.order}-{order.attempt}"
            transfers.append(
                CreditTransfer(
                    identity, uetr_of(identity), order.order, order.amount.minor, order.amount.currency, order.subject,
                    parse_account(order.account).fields(), f"{order.benefit} {order.period}",
                )
            )  # fmt: skip
        return write_initiation(transfers, debtor=self._debtor, execution_day=execution_on, created=created)

    @staticmethod
    def _orders_of(submission: outbox.Submission, connection: Connection[Row]) -> list[ReleasedOrder]:
        orders = outbox.released(connection, submission.shard, submission.first_seq - 1, 2**31, submission.last_seq)
        return [order for order in orders if order.amount.currency == submission.currency]

    def _put_out(self, submission: outbox.Submission, orders: Sequence[ReleasedOrder], message: bytes) -> None:
        write_whole(self._out / submission.file_name, message)
        failpoint("bank_file_written")
        self._publish((order, Step.SEND, "", submission.message_id) for order in orders)
        failpoint("bank_file_told")
        outbox.set_written(self._connection, submission.message_id)
        failpoint("bank_submitted")
        self._observer.count(BANK_FILES, kind="pain.001", outcome="written")
        log.info("submitted", shard=submission.shard, message=submission.message_id, orders=len(orders), currency=submission.currency)

    # In.

    def receive(self) -> list[TakenFile]:
        """Takes the files that the bank has put in."""
        return [self._take_file(path) for path in sorted(path for path in self._in.iterdir() if path.suffix == ".xml")]

    def _take_file(self, path: Path) -> TakenFile:
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        earlier = outbox.bank_file(self._connection, sha256)
        if earlier is not None:
            log.warning("the bank sent the same file twice, nothing is taken from it", file=path.name, earlier=earlier.file_name)
            self._observer.count(BANK_FILES, kind=earlier.kind or "unknown", outcome="duplicate")
            path.replace((self._done if earlier.outcome == "read" else self._refused) / path.name)
            return TakenFile(path.name, earlier.kind, "duplicate")
        try:
            message = read_answers(data, expected=self._expected)
        except Malformed as malformed:
            outbox.add_bank_file(self._connection, outbox.BankFile(sha256, path.name, "", "", 0, "refused", str(malformed)[:4000].replace("\0", "")), ())
            log.error("a file of the bank is refused", file=path.name, problems=[str(problem) for problem in malformed.problems[:5]])
            self._observer.count(BANK_FILES, kind="unknown", outcome="refused")
            path.replace(self._refused / path.name)
            return TakenFile(path.name, "", "refused")
        findings = self._publish_answers(message)
        self._writer.flush()
        failpoint("bank_answers_published")
        odd = f"{len(findings)} to be looked at" if findings else ""
        taken = outbox.BankFile(sha256, path.name, message.kind, message.message_id, len(message.answers), "read", odd)
        outbox.add_bank_file(self._connection, taken, findings)
        failpoint("bank_answers_taken")
        self._observer.count(BANK_FILES, kind=message.kind, outcome="read")
        path.replace(self._done / path.name)
        log.info("bank file", file=path.name, kind=message.kind, answers=len(message.answers), findings=len(findings))
        return TakenFile(path.name, message.kind, "read", len(message.answers), len(findings))

    def _publish_answers(self, message: BankMessage) -> list[tuple[str, str]]:
        """Publishes the answers that say something; gives as findings those to what nobody has sent, and those with another amount."""
        by_message: dict[str, list[BankAnswer]] = {}
        for answer in message.answers:
            by_message.setdefault(answer.original_message_id or message.original_message_id, []).append(answer)
        if message.original_message_id:
            by_message.setdefault(message.original_message_id, [])
        findings: list[tuple[str, str]] = []
        for message_id, answers in by_message.items():
            orders = self._orders_in(message_id)
            if not orders and not answers:
                findings.append(("answer_to_unknown_order", message_id))
            said: list[tuple[ReleasedOrder, Outcome, str]] = []
            for answer in answers:
                order = orders.get(answer.end_to_end_id)
                if order is None:
                    findings.append(("answer_to_unknown_order", answer.end_to_end_id))
                    continue
                if answer.amount_minor is not None and (answer.amount_minor, answer.currency) != (order.amount.minor, order.amount.currency):
                    findings.append(("answer_with_other_amount", answer.end_to_end_id))
                if answer.outcome != "pending":
                    said.append((order, answer.outcome, answer.reason))
            if message.accepts_unlisted or message.rejects_unlisted:
                listed = {answer.end_to_end_id for answer in answers}
                outcome: Outcome = "accepted" if message.accepts_unlisted else "rejected"
                reason = "" if outcome == "accepted" else message.reason
                said += [(order, outcome, reason) for identity, order in orders.items() if identity not in listed]
            said = [(order, outcome, reason) for order, outcome, reason in said if outcome in _STEP]
            self._publish((order, _step(outcome, reason), reason, message.message_id) for order, outcome, reason in said)
            self._count(said)
        return findings

    def _orders_in(self, message_id: str) -> dict[str, ReleasedOrder]:
        """The orders of a submission by their end-to-end ids, whichever server has it; none where nobody knows it."""
        for connection in self._servers:
            if parts := outbox.parts_of(connection, message_id):
                return {f"{order.order}-{order.attempt}": order for part in parts for order in self._orders_of(part, connection)}
        return {}

    def _count(self, said: Sequence[tuple[ReleasedOrder, str, str]]) -> None:
        sums: dict[tuple[str, str], int] = {}
        for _, outcome, reason in said:
            sums[outcome, reason] = sums.get((outcome, reason), 0) + 1
        for (outcome, reason), count in sums.items():
            self._observer.count(BANK_ANSWERS, count, outcome=outcome, reason=reason)

    def _publish(self, answers: Iterator[tuple[ReleasedOrder, Step, str, str]]) -> None:
        by_shard: dict[int, list[tuple[bytes, bytes]]] = {}
        for order, step, reason, cause in answers:
            identity = f"{order.order}-{order.attempt}:{step.value}:{cause}"
            answer = Answer(identity, order.subject, order.benefit, order.period, order.sequence, order.attempt, step, reason, cause)
            by_shard.setdefault(shard_of(order.subject, self._shard_count), []).append((order.subject.encode(), encode(answer)))
        for shard, records in by_shard.items():
            self._writer.append(RECEIPTS, shard, records)
        self._writer.flush()


def _step(outcome: str, reason: str) -> Step:
    return Step.LOSE_SIGHT if outcome == "rejected" and reason in DUPLICATES else _STEP[outcome]


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file so that it is there whole and on disk, or not at all."""
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    failpoint("bank_file_unnamed")
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
