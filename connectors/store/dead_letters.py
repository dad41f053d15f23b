"""What people do with dead letters, step by step, in the store: a replay that is written down before anything is put, and a closing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import NamedTuple

from psycopg import Connection
from sqlalchemy import BigInteger, DateTime, LargeBinary, SmallInteger, Text
from sqlmodel import Field, SQLModel

from .servers import Row, Store, connect
from .tables import CODE, DeadLetter


class DeadLetterStep(SQLModel, table=True):
    """One step: `replay` (begun), `put` (the record lies in the log again) or `close`."""

    __tablename__ = "dead_letter_step"
    topic: str = Field(sa_type=CODE, primary_key=True)
    shard: int = Field(sa_type=SmallInteger, primary_key=True)
    record_offset: int = Field(sa_type=BigInteger, primary_key=True)
    step_no: int = Field(sa_type=SmallInteger, primary_key=True)
    at: datetime = Field(sa_type=DateTime(timezone=True))
    step: str = Field(sa_type=CODE)
    person: str = Field(sa_type=Text)
    reason: str = Field(sa_type=Text)
    put_topic: str = Field(sa_type=CODE)
    put_shard: int = Field(sa_type=SmallInteger)
    put_offset: int = Field(sa_type=BigInteger)
    put_key: bytes = Field(sa_type=LargeBinary)
    put_value: bytes = Field(sa_type=LargeBinary)
    put_event: str = Field(sa_type=CODE)


class Put(NamedTuple):
    """A record on its way into the log for a dead letter: `offset` is the end of the log before it, later where it lies. `value` is empty: as it came."""

    topic: str
    shard: int
    offset: int
    key: bytes
    value: bytes
    event: str


class Standing(NamedTuple):
    """A dead letter as it stands: its status, and a replay of it that was begun and not finished, with who began it and why."""

    status: str
    steps: int
    begun: Put | None
    person: str
    reason: str


def record_name(topic: str, shard: int, offset: int) -> str:
    """A record by where it lies."""
    return f"{topic}/{shard}/{offset}"


def letter_name(of: DeadLetter | DeadLetterStep) -> str:
    """A dead letter, or that of a step, by where its record lies."""
    return record_name(of.topic, of.shard, of.record_offset)


@contextmanager
def alone(store: Store, letter: DeadLetter) -> Iterator[Connection[Row]]:
    """A connection to the letter's server; nobody else deals with dead letters there meanwhile."""
    with connect(store.url_of(letter.shard), "payout dead letters") as connection:
        connection.execute("SELECT pg_advisory_lock(7261006)")
        yield connection


def standing(connection: Connection[Row], letter: DeadLetter) -> Standing:
    """How a letter stands now."""
    row = connection.execute(
        "SELECT d.status, coalesce(s.step_no, 0), coalesce(s.step, ''), s.put_topic, s.put_shard, s.put_offset, s.put_key, s.put_value, s.put_event,"
        " coalesce(s.person, ''), coalesce(s.reason, '')"
        " FROM dead_letter AS d LEFT JOIN dead_letter_step AS s USING (topic, shard, record_offset)"
        " WHERE topic = %s AND shard = %s AND record_offset = %s ORDER BY s.step_no DESC NULLS LAST LIMIT 1",
        _key(letter),
    ).fetchone()
    assert row is not None, "a dead letter is never taken away"
    status, steps, last, *put, person, reason = row
    begun = Put(*put) if status == "open" and last == "replay" else None  # type: ignore[arg-type]
    return Standing(str(status), int(str(steps)), begun, str(person), str(reason))


def begin_replay(connection: Connection[Row], letter: DeadLetter, found: Standing, put: Put, person: str, reason: str) -> None:
    """Writes down what will be put into the log, by whom and why."""
    _add(connection, letter, found.steps + 1, "replay", person, reason, put)


def end_replay(connection: Connection[Row], letter: DeadLetter, put: Put, person: str, reason: str) -> None:
    """The record lies in the log: the letter is replayed."""
    with connection.transaction():
        _add(connection, letter, standing(connection, letter).steps + 1, "put", person, reason, put)
        _resolve(connection, letter, "replayed", reason)


def close(connection: Connection[Row], letter: DeadLetter, found: Standing, person: str, reason: str) -> None:
    """Nothing more is to be done with the letter."""
    with connection.transaction():
        _add(connection, letter, found.steps + 1, "close", person, reason, Put("", 0, -1, b"", b"", ""))
        _resolve(connection, letter, "closed", reason)


def _key(letter: DeadLetter) -> tuple[str, int, int]:
    return letter.topic, letter.shard, letter.record_offset


def _add(connection: Connection[Row], letter: DeadLetter, step_no: int, step: str, person: str, reason: str, put: Put) -> None:
    connection.execute(
        "INSERT INTO dead_letter_step (topic, shard, record_offset, step_no, step, person, reason, put_topic, put_shard, put_offset, put_key, put_value,"
        " put_event) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %b, %b, %s)",
        (*_key(letter), step_no, step, person, reason, *put),
    )


def _resolve(connection: Connection[Row], letter: DeadLetter, status: str, reason: str) -> None:
    connection.execute(
        "UPDATE dead_letter SET status = %s, resolution = %s, resolved_at = now() WHERE topic = %s AND shard = %s AND record_offset = %s AND status = 'open'",
        (status, reason, *_key(letter)),
    )
