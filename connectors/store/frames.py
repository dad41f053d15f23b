"""One shard's transaction: the compare-and-set of its position first, then what a frame reads and writes, or nothing at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from msgspec.structs import astuple
from psycopg import Connection
from psycopg.types.json import Jsonb

from pipeline.entitlements import Entitlement
from pipeline.ledger import Transfer

from .servers import Row, away
from .wire import CopyInto, bigints, blobs, texts


class Replaced(RuntimeError):
    """Another worker has taken this shard, or the position is not where this one left it: drop the lane, write nothing."""


@dataclass(slots=True)
class Claim:
    """A shard as it was claimed: the epoch that fences others, the last outbox number, the next offset of each topic.

    `elsewhere` are connections to the other servers of the store, for what is counted over all of them.
    """

    shard: int
    epoch: int
    release_seq: int
    positions: dict[str, int] = field(default_factory=dict)
    elsewhere: Sequence[Connection[Row]] = ()


class Move(NamedTuple):
    """Where an order stands after it moved. A release_seq of 0 and an empty account leave what is there."""

    state: int
    attempt: int
    steps: int
    release_seq: int
    reason: str
    account: str


HISTORY = CopyInto("facts", {"shard": "h"}, ["subject", "history"])
ENTITLEMENT = CopyInto(
    "entitlement",
    {
        "shard": "h",
        "benefit_period_id": "h",
        "rule_id": "i",
        "decision": "h",
        "owed_minor": "q",
        "live_minor": "q",
        "claim_minor": "q",
        "orders": "i",
        "held": "i",
    },
    ["subject", "receipt"],
)
ORDER = CopyInto(
    "payment_order",
    {
        "shard": "h",
        "benefit_period_id": "h",
        "sequence": "i",
        "kind": "h",
        "amount_minor": "q",
        "rule_id": "i",
        "first_state": "h",
        "state": "h",
        "attempt": "i",
        "steps": "i",
        "release_seq": "q",
        "order_id": "15s",
        "fingerprint": "8s",
    },
    ["subject", "reason", "account"],
)
STEP = CopyInto(
    "order_history",
    {"shard": "h", "benefit_period_id": "h", "sequence": "i", "step_no": "i", "from_state": "h", "to_state": "h", "attempt": "i"},
    ["subject", "step", "reason", "cause"],
)


def claim(connection: Connection[Row], shard: int, owner: str, topics: Sequence[str]) -> Claim:
    """Takes a shard: raises its epoch, so that whoever had it can commit nothing more, and reads where to go on."""
    with away(), connection.transaction():
        row = connection.execute(
            "UPDATE lane SET epoch = epoch + 1, owner = %s, claimed_at = now() WHERE shard = %s RETURNING epoch, release_seq", (owner, shard)
        ).fetchone()
        if row is None:
            raise Replaced(f"shard {shard} is not provisioned on this server")
        connection.execute("INSERT INTO position SELECT topic, %s, 0 FROM unnest(%s) AS t(topic) ON CONFLICT DO NOTHING", (shard, texts(topics)))
        positions = connection.execute("SELECT topic, next_offset FROM position WHERE shard = %s", (shard,)).fetchall()
    return Claim(shard, int(str(row[0])), int(str(row[1])), {str(topic): int(str(offset)) for topic, offset in positions})


@contextmanager
def frame_transaction(connection: Connection[Row], held: Claim, topic: str, first_offset: int, end_offset: int) -> Iterator[FrameTransaction]:
    """The transaction of the records [first_offset, end_offset); Replaced where the fence or the position does not match."""
    with away(), connection.transaction():
        fence(connection, held)
        moved = connection.execute(
            "UPDATE position SET next_offset = %s WHERE topic = %s AND shard = %s AND next_offset = %s", (end_offset, topic, held.shard, first_offset)
        )
        if moved.rowcount != 1:
            raise Replaced(f"shard {held.shard}, {topic}: the position is no longer {first_offset}")
        yield FrameTransaction(connection, held, topic, first_offset, end_offset)


@contextmanager
def work_transaction(connection: Connection[Row], held: Claim, work: str) -> Iterator[FrameTransaction]:
    """A transaction of a lane that takes no records: a numbered piece of `work` (an activation, a review of held orders)."""
    with away(), connection.transaction():
        fence(connection, held)
        row = connection.execute("UPDATE lane SET work_no = work_no + 1 WHERE shard = %s RETURNING work_no", (held.shard,)).fetchone()
        assert row is not None, "the fence has found the row"
        number = int(str(row[0]))
        yield FrameTransaction(connection, held, work, number, number)


def fence(connection: Connection[Row], held: Claim) -> None:
    """Locks the shard's row; Replaced where the epoch is another's."""
    found = connection.execute("SELECT 1 FROM lane WHERE shard = %s AND epoch = %s FOR UPDATE", (held.shard, held.epoch)).fetchone()
    if found is None:
        raise Replaced(f"shard {held.shard}: epoch {held.epoch} has been replaced")


class FrameTransaction:
    """What one frame reads and writes inside its transaction. Subjects are unique within each call."""

    def __init__(self, connection: Connection[Row], held: Claim, topic: str, first_offset: int, end_offset: int) -> None:
        self.connection, self.claim = connection, held
        self.topic, self.first_offset, self.end_offset = topic, first_offset, end_offset
        self.shard = held.shard

    def _fetch(self, query: str, parameters: Sequence[object], connection: Connection[Row] | None = None) -> list[tuple[object, ...]]:
        with (connection or self.connection).cursor(binary=True) as cursor:
            return cursor.execute(query.encode(), parameters).fetchall()

    def histories(self, subjects: Sequence[str]) -> dict[str, bytes]:
        """The encoded histories of those subjects that are known."""
        return dict(self._fetch("SELECT subject, history FROM facts WHERE shard = %s AND subject = ANY(%s)", (self.shard, texts(subjects))))  # type: ignore[arg-type]

    def histories_after(self, subject: str, limit: int) -> list[tuple[str, bytes]]:
        """The next known subjects in order, with their histories."""
        return self._fetch("SELECT subject, history FROM facts WHERE shard = %s AND subject > %s ORDER BY subject LIMIT %s", (self.shard, subject, limit))  # type: ignore[return-value]

    def add_histories(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """Histories of subjects not known before."""
        if rows:
            subjects, histories = zip(*rows, strict=True)
            HISTORY.write_columns(self.connection, ([self.shard] * len(rows), list(map(str.encode, subjects)), histories))

    def change_histories(self, rows: Sequence[tuple[str, bytes]]) -> None:
        """New histories of known subjects."""
        if rows:
            self.connection.execute(
                "UPDATE facts SET history = n.history FROM unnest(%s, %s) AS n(subject, history) WHERE facts.shard = %s AND facts.subject = n.subject",
                (texts([subject for subject, _ in rows]), blobs([history for _, history in rows]), self.shard),
            )

    def entitlements(self, subjects: Sequence[str]) -> dict[tuple[str, int], Entitlement]:
        """The entitlements of these subjects by (subject, benefit_period_id)."""
        rows = self._fetch(
            "SELECT subject, benefit_period_id, rule_id, decision, owed_minor, live_minor, claim_minor, orders, held, receipt"
            " FROM entitlement WHERE shard = %s AND subject = ANY(%s)",
            (self.shard, texts(subjects)),
        )
        return {(row[0], row[1]): Entitlement(*row) for row in rows}  # type: ignore[misc, arg-type]

    def entitlements_between(self, first: str, last: str) -> dict[tuple[str, int], Entitlement]:
        """The entitlements of the subjects from one to another, both among them."""
        rows = self._fetch(
            "SELECT subject, benefit_period_id, rule_id, decision, owed_minor, live_minor, claim_minor, orders, held, receipt"
            " FROM entitlement WHERE shard = %s AND subject BETWEEN %s AND %s",
            (self.shard, first, last),
        )
        return {(row[0], row[1]): Entitlement(*row) for row in rows}  # type: ignore[misc, arg-type]

    def add_entitlements(self, entitlements: Sequence[Entitlement]) -> None:
        """Entitlements that did not exist."""
        if entitlements:
            subject, period, rule, decision, owed, live, claim, orders, held, receipt = zip(*map(astuple, entitlements), strict=True)
            columns = [self.shard] * len(entitlements), period, rule, decision, owed, live, claim, orders, held, list(map(str.encode, subject)), receipt
            ENTITLEMENT.write_columns(self.connection, columns)

    def change_entitlements(self, entitlements: Sequence[Entitlement]) -> None:
        """New levels of entitlements that exist."""
        if not entitlements:
            return
        columns = (
            texts([e.subject for e in entitlements]),
            *(
                bigints([getattr(e, name) for e in entitlements])
                for name in ("benefit_period_id", "rule_id", "decision", "owed_minor", "live_minor", "claim_minor", "orders", "held")
            ),
            blobs([e.receipt for e in entitlements]),
        )
        self.connection.execute(
            "UPDATE entitlement AS e SET rule_id = n.rule_id, decision = n.decision, owed_minor = n.owed, live_minor = n.live, claim_minor = n.claim,"
            " orders = n.orders, held = n.held, receipt = n.receipt"
            " FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " AS n(subject, benefit_period_id, rule_id, decision, owed, live, claim, orders, held, receipt)"
            " WHERE e.shard = %s AND e.subject = n.subject AND e.benefit_period_id = n.benefit_period_id",
            (*columns, self.shard),
        )

    def orders_in(self, subjects: Sequence[str], state: int) -> list[tuple[str, int, int, int, int, str]]:
        """(subject, benefit_period_id, sequence, amount_minor, steps, reason) of these subjects' orders in a state."""
        return self._fetch(
            "SELECT subject, benefit_period_id, sequence, amount_minor, steps, reason FROM payment_order WHERE shard = %s AND subject = ANY(%s) AND state = %s",
            (self.shard, texts(subjects), state),
        )  # type: ignore[return-value]

    def orders_of(self, keys: Sequence[tuple[str, int, int]]) -> dict[tuple[str, int, int], tuple[int, int, int, int]]:
        """(state, attempt, steps, amount_minor) of orders by (subject, benefit_period_id, sequence)."""
        rows = self._fetch(
            "SELECT o.subject, o.benefit_period_id, o.sequence, o.state, o.attempt, o.steps, o.amount_minor"
            " FROM unnest(%s, %s, %s) AS k(subject, benefit_period_id, sequence) JOIN payment_order AS o"
            " ON o.shard = %s AND o.subject = k.subject AND o.benefit_period_id = k.benefit_period_id AND o.sequence = k.sequence",
            (texts([key[0] for key in keys]), bigints([key[1] for key in keys]), bigints([key[2] for key in keys]), self.shard),
        )
        return {(row[0], row[1], row[2]): (row[3], row[4], row[5], row[6]) for row in rows}  # type: ignore[misc]

    def add_orders(self, columns: Sequence[Sequence[int | bytes]]) -> None:
        """New orders, as columns of `ORDER`."""
        if columns and columns[0]:
            ORDER.write_columns(self.connection, columns)

    def move_orders(self, moves: Sequence[tuple[tuple[str, int, int], Move]]) -> None:
        """Orders that moved, by (subject, benefit_period_id, sequence), each once."""
        if not moves:
            return
        subjects, periods, sequences = zip(*(key for key, _ in moves), strict=True)
        states, attempts, steps, releases, reasons, accounts = zip(*(move for _, move in moves), strict=True)
        self.connection.execute(
            "UPDATE payment_order AS o SET state = n.state, attempt = n.attempt, steps = n.steps, reason = n.reason,"
            " release_seq = CASE WHEN n.release_seq > 0 THEN n.release_seq ELSE o.release_seq END,"
            " account = CASE WHEN n.account <> '' THEN n.account ELSE o.account END"
            " FROM unnest(%s, %s, %s, %s, %s, %s, %s, %s, %s)"
            " AS n(subject, benefit_period_id, sequence, state, attempt, steps, release_seq, reason, account)"
            " WHERE o.shard = %s AND o.subject = n.subject AND o.benefit_period_id = n.benefit_period_id AND o.sequence = n.sequence",
            (
                texts(subjects),
                *(bigints(column) for column in (periods, sequences, states, attempts, steps, releases)),
                texts(reasons),
                texts(accounts),
                self.shard,
            ),
        )

    def add_steps(self, rows: Sequence[Sequence[int | bytes]]) -> None:
        """Rows of the orders' history, as rows of `STEP`."""
        STEP.write(self.connection, rows)

    def crowded(self, account_keys: Sequence[bytes], most: int) -> set[bytes]:
        """Which of these accounts more than `most` subjects have assigned, on whichever server they live."""
        query, keys = "SELECT account_key, count(*) FROM account_holder WHERE account_key = ANY(%s) GROUP BY account_key", blobs(account_keys)
        if not self.claim.elsewhere:
            return {key for (key,) in self._fetch(f"SELECT account_key FROM ({query}) AS held WHERE count > %s", (keys, most))}  # type: ignore[misc]
        counts: dict[bytes, int] = {}
        for connection in (self.connection, *self.claim.elsewhere):
            for key, count in self._fetch(query, (keys,), connection):
                counts[key] = counts.get(key, 0) + count  # type: ignore[index, call-overload]
        return {key for key, count in counts.items() if count > most}

    def change_holders(self, gone: Sequence[tuple[bytes, str]], come: Sequence[tuple[bytes, str]]) -> None:
        """Assignments of accounts (key, subject) that ended and that began."""
        if gone:
            self.connection.execute(
                "DELETE FROM account_holder AS h USING unnest(%s, %s) AS n(account_key, subject) WHERE h.account_key = n.account_key AND h.subject = n.subject",
                (blobs([key for key, _ in gone]), texts([subject for _, subject in gone])),
            )
        if come:
            self.connection.execute(
                "INSERT INTO account_holder SELECT * FROM unnest(%s, %s) ON CONFLICT DO NOTHING",
                (blobs([key for key, _ in come]), texts([subject for _, subject in come])),
            )

    def add_dead_letters(self, rows: Sequence[tuple[int, bytes, bytes, list[dict[str, object]]]]) -> None:
        """Records that broke their contract: (offset, key, value, problems)."""
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO dead_letter (topic, shard, record_offset, record_key, record_value, problems) VALUES (%s, %s, %s, %b, %b, %s)",
                [(self.topic, self.shard, offset, key, value, Jsonb(problems)) for offset, key, value, problems in rows],
            )

    def add_findings(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """(kind, subject, ident) of what a person should look at."""
        with self.connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO finding (shard, kind, subject, ident) VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", [(self.shard, *row) for row in rows]
            )

    def post(self, transfers: Mapping[int, Sequence[Transfer]]) -> None:
        """The frame's transfers per benefit_period_id."""
        rows = [
            (self.topic, self.shard, self.first_offset, period, t.step, t.debit.value, t.credit.value, t.amount_minor, t.orders)
            for period, posted in transfers.items()
            for t in posted
        ]
        if rows:
            with self.connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO transfer (topic, shard, first_offset, benefit_period_id, step, debit, credit, amount_minor, orders)"
                    " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
                    rows,
                )

    def holding_after(self, subject: str, limit: int) -> list[str]:
        """The next subjects, in order, that have held orders."""
        rows = self._fetch(
            "SELECT DISTINCT subject FROM payment_order WHERE shard = %s AND state = 1 AND subject > %s ORDER BY subject LIMIT %s", (self.shard, subject, limit)
        )
        return [str(row[0]) for row in rows]

    def set_release_seq(self, release_seq: int) -> None:
        """Stores the last outbox number given."""
        self.connection.execute("UPDATE lane SET release_seq = %s WHERE shard = %s", (release_seq, self.shard))

    def close_frame(self, applied: int, duplicate: int, conflict: int, dead_letter: int, release_seq: int) -> None:
        """Accounts for every record of the frame and stores the last outbox number."""
        self.connection.execute(
            "INSERT INTO frame (topic, shard, first_offset, end_offset, epoch, applied, duplicate, conflict, dead_letter)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (self.topic, self.shard, self.first_offset, self.end_offset, self.claim.epoch, applied, duplicate, conflict, dead_letter),
        )
        self.set_release_seq(release_seq)
