"""What a restored store is asked before it works again: which released orders it has, which of them have left, and which submissions cover them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from psycopg import Connection

from pipeline.orders import State, end_to_end_id

from .outbox import Submission, submitted_to
from .schema import Row

_LEFT = [state.value for state in State if state not in (State.HELD, State.RELEASED, State.CANCELLED)]


class Released(NamedTuple):
    """A released order that no submission of the store covers. `left` tells whether it is known to have gone to the bank."""

    shard: int
    release_seq: int
    end_to_end_id: str
    amount_minor: int
    currency: str
    left: bool
    message_id: str


def last_released(connection: Connection[Row], shard: int) -> int:
    """The last outbox number that the store has given."""
    row = connection.execute("SELECT release_seq FROM lane WHERE shard = %s", (shard,)).fetchone()
    return int(str(row[0])) if row else 0


def in_use(connection: Connection[Row], shard: int, release_seq: int) -> bool:
    """Whether an outbox number is one of those that the shard's orders have, and not of the time before shards were divided."""
    return connection.execute("SELECT FROM lane WHERE shard = %s AND release_base < %s", (shard, release_seq)).fetchone() is not None


def order_under(connection: Connection[Row], shard: int, release_seq: int) -> bytes | None:
    """The id of the order that has an outbox number."""
    row: Any = connection.execute("SELECT order_id FROM payment_order WHERE shard = %s AND release_seq = %s", (shard, release_seq)).fetchone()
    return bytes(row[0]) if row else None


def orders_under(connection: Connection[Row], shard: int, numbers: Sequence[int]) -> dict[int, bytes]:
    """The ids of the orders that have these outbox numbers, of those that are in use."""
    rows: list[Any] = connection.execute(
        "SELECT payment_order.release_seq, order_id FROM payment_order JOIN lane USING (shard)"
        " WHERE shard = %s AND payment_order.release_seq = ANY(%s) AND payment_order.release_seq > release_base",
        (shard, sorted(set(numbers))),
    ).fetchall()
    return {number: bytes(identity) for number, identity in rows}


def not_submitted(connection: Connection[Row], shard: int) -> list[Released]:
    """The released orders after the last submission, in the order of their numbers; `message_id` as far as the order's history tells it."""
    rows: list[Any] = connection.execute(
        "SELECT o.release_seq, o.order_id, o.attempt, o.amount_minor, b.currency, o.state = ANY(%s), coalesce(h.cause, '')"
        " FROM payment_order AS o JOIN benefit_period AS b USING (benefit_period_id)"
        " LEFT JOIN order_history AS h ON h.shard = o.shard AND h.subject = o.subject AND h.benefit_period_id = o.benefit_period_id"
        " AND h.sequence = o.sequence AND h.step = 'send'"
        " WHERE o.shard = %s AND o.release_seq > %s ORDER BY o.release_seq",
        (_LEFT, shard, submitted_to(connection, shard)),
    ).fetchall()
    return [
        Released(shard, seq, end_to_end_id(bytes(identity), attempt), minor, currency, left, message)
        for seq, identity, attempt, minor, currency, left, message in rows
    ]


def left_without_submission(connection: Connection[Row], shard: int) -> int:
    """How many orders have gone to the bank and are covered by no submission: none, unless the store lost its submissions."""
    row = connection.execute(
        "SELECT count(*) FROM payment_order WHERE shard = %s AND release_seq > %s AND state = ANY(%s)", (shard, submitted_to(connection, shard), _LEFT)
    ).fetchone()
    return int(str(row[0])) if row else 0


def known_messages(connection: Connection[Row], message_ids: Sequence[str]) -> set[str]:
    """Those of these messages to the bank that the store knows."""
    rows = connection.execute("SELECT message_id FROM submission WHERE message_id = ANY(%s)", (list(message_ids),))
    return {str(message_id) for (message_id,) in rows}


def add_submissions(connection: Connection[Row], submissions: Sequence[tuple[Submission, bool]]) -> None:
    """Submissions that were made by the store before it was restored, each with whether its orders are known as sent."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO submission (message_id, shard, first_seq, last_seq, currency, orders, amount_minor, created_at, execution_on, file_name, written)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [(*submission, written) for submission, written in submissions],
        )
