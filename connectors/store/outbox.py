"""What leaves the store and comes back: released orders in their gapless sequence, submissions to the bank, the bank's files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import NamedTuple

from psycopg import Connection

from pipeline.orders import order_text
from pipeline.receipts import Money, ReleasedOrder

from .servers import Row, away


class Submission(NamedTuple):
    """One message to the bank: the released orders first_seq..last_seq of a shard in one currency."""

    message_id: str
    shard: int
    first_seq: int
    last_seq: int
    currency: str
    orders: int
    amount_minor: int
    created_at: datetime
    execution_on: date
    file_name: str


class BankFile(NamedTuple):
    """A file of the bank as it was taken: `outcome` read or refused, `detail` why or what of it was odd."""

    sha256: str
    file_name: str
    kind: str
    message_id: str
    answers: int
    outcome: str
    detail: str


_SUBMISSION = "message_id, shard, first_seq, last_seq, currency, orders, amount_minor, created_at, execution_on, file_name"


@away()
def relayed(connection: Connection[Row], shard: int) -> int:
    """The last outbox number published."""
    row = connection.execute("SELECT relayed_seq FROM relay WHERE shard = %s", (shard,)).fetchone()
    return int(str(row[0])) if row else 0


@away()
def set_relayed(connection: Connection[Row], shard: int, release_seq: int) -> None:
    """Remembers the last outbox number published, unless a later one was: two relays run at once while one of them has not heard that it was replaced."""
    connection.execute("UPDATE relay SET relayed_seq = greatest(relayed_seq, %s) WHERE shard = %s", (release_seq, shard))


@away()
def released(connection: Connection[Row], shard: int, after: int, limit: int, last: int | None = None) -> list[ReleasedOrder]:
    """The released orders of a shard after an outbox number, in order; up to `last` where given."""
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "SELECT o.release_seq, o.order_id, o.attempt, o.subject, p.benefit, p.period, o.sequence, o.amount_minor, p.currency, o.account"
            " FROM payment_order AS o JOIN benefit_period AS p USING (benefit_period_id)"
            " WHERE o.shard = %s AND o.release_seq > %s AND o.release_seq <= %s ORDER BY o.release_seq LIMIT %s",
            (shard, after, last if last is not None else 2**62, limit),
        ).fetchall()
    return [
        ReleasedOrder(seq, order_text(identity), attempt, subject, benefit, period, sequence, Money(minor, currency), account)  # type: ignore[arg-type]
        for seq, identity, attempt, subject, benefit, period, sequence, minor, currency, account in rows
    ]


@away()
def submitted_to(connection: Connection[Row], shard: int) -> int:
    """The last outbox number that a submission covers; where there is none, the one after which the numbers begin."""
    query = "SELECT coalesce((SELECT max(last_seq) FROM submission WHERE shard = %s), (SELECT release_base FROM lane WHERE shard = %s), 0)"
    row = connection.execute(query, (shard, shard)).fetchone()
    return int(str(row[0])) if row else 0


@away()
def published_after(connection: Connection[Row], submitted: Mapping[int, int]) -> dict[int, int]:
    """The last outbox number published of those shards in which it comes after these numbers."""
    rows = connection.execute("SELECT shard, relayed_seq FROM relay WHERE shard = ANY(%s) ORDER BY shard", (list(submitted),))
    return {int(str(shard)): int(str(relayed)) for shard, relayed in rows if int(str(relayed)) > submitted[int(str(shard))]}


@away()
def prepare(connection: Connection[Row], shard: int, submitted: int, submissions: Sequence[Submission]) -> bool:
    """Writes the submissions that follow in one transaction, before anything is sent; False where more than `submitted` is covered already."""
    with connection.transaction():
        connection.execute("SELECT FROM relay WHERE shard = %s FOR UPDATE", (shard,))
        if submitted_to(connection, shard) != submitted:
            return False
        for submission in submissions:
            connection.execute(f"INSERT INTO submission ({_SUBMISSION}) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)".encode(), submission)
    return True


@away()
def unwritten(connection: Connection[Row], shards: Sequence[int]) -> list[Submission]:
    """Submissions that were prepared and perhaps not sent: to be written again, byte for byte the same."""
    rows = connection.execute(f"SELECT {_SUBMISSION} FROM submission WHERE NOT written AND shard = ANY(%s) ORDER BY shard, first_seq".encode(), (list(shards),))
    return [Submission(*row) for row in rows]  # type: ignore[arg-type]


@away()
def set_written(connection: Connection[Row], message_id: str) -> None:
    """The submission's file is at the bank's door and its orders are known as sent."""
    connection.execute("UPDATE submission SET written = true WHERE message_id = %s", (message_id,))


@away()
def parts_of(connection: Connection[Row], message_id: str) -> list[Submission]:
    """The submission of a message id, or its parts where its orders were of one shard once and are of several now."""
    query = f"SELECT {_SUBMISSION} FROM submission WHERE message_id = %s OR starts_with(message_id, %s) ORDER BY shard"
    return [Submission(*row) for row in connection.execute(query.encode(), (message_id, f"{message_id}/"))]  # type: ignore[arg-type]


@away()
def bank_file(connection: Connection[Row], sha256: str) -> BankFile | None:
    """The file of this content, if it was taken before."""
    row = connection.execute("SELECT sha256, file_name, kind, message_id, answers, outcome, detail FROM bank_file WHERE sha256 = %s", (sha256,)).fetchone()
    return BankFile(*row) if row else None  # type: ignore[arg-type]


@away()
def add_bank_file(connection: Connection[Row], taken: BankFile, findings: Sequence[tuple[str, str]]) -> None:
    """Remembers a file of the bank, and as findings (kind, ident) what of it a person should look at."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("INSERT INTO bank_file VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING", taken)
        cursor.executemany(
            "INSERT INTO finding (shard, kind, subject, ident) VALUES (0, %s, '', %s) ON CONFLICT DO NOTHING",
            [(kind, ident[:64]) for kind, ident in findings],
        )
