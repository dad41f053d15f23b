"""The outbox of members: what lanes have to tell the households of their people, and how far everybody known has told theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .servers import Connection, Row, away
from .wire import CopyInto

SHARE = CopyInto("member_share", {"shard": "h", "seq": "q"}, ["household", "message"])


class Waiting(NamedTuple):
    """A share that is not published yet."""

    seq: int
    household: str
    message: bytes


def add(connection: Connection[Row], shard: int, shares: Sequence[tuple[str, bytes]]) -> None:
    """Puts shares (household, message) into the outbox of a shard whose lane row is locked, numbered without gap."""
    if not shares:
        return
    row = connection.execute("UPDATE lane SET share_seq = share_seq + %s WHERE shard = %s RETURNING share_seq", (len(shares), shard)).fetchone()
    assert row is not None, "a lane's shard is provisioned"
    first = int(str(row[0])) - len(shares) + 1
    SHARE.write(connection, [(shard, first + index, household.encode(), message) for index, (household, message) in enumerate(shares)])


@away()
def shared(connection: Connection[Row], shard: int) -> int:
    """The number of the last share published."""
    row = connection.execute("SELECT shared_seq FROM relay WHERE shard = %s", (shard,)).fetchone()
    return int(str(row[0])) if row else 0


@away()
def waiting(connection: Connection[Row], shard: int, after: int, limit: int) -> list[Waiting]:
    """The shares of a shard after a number, in order."""
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(
            "SELECT seq, household, message FROM member_share WHERE shard = %s AND seq > %s ORDER BY seq LIMIT %s", (shard, after, limit)
        ).fetchall()
    return [Waiting(*row) for row in rows]  # type: ignore[arg-type]


@away()
def count(connection: Connection[Row]) -> int:
    """How many shares of a server wait."""
    row = connection.execute("SELECT count(*) FROM member_share").fetchone()
    return int(str(row[0])) if row else 0


@away()
def set_shared(connection: Connection[Row], shard: int, seq: int) -> None:
    """Remembers the last share published, unless a later one was; the published ones go."""
    with connection.transaction():
        connection.execute("UPDATE relay SET shared_seq = greatest(shared_seq, %s) WHERE shard = %s", (seq, shard))
        connection.execute("DELETE FROM member_share WHERE shard = %s AND seq <= %s", (shard, seq))


@away()
def shards(connection: Connection[Row]) -> int:
    """How many shards the store has, on all its servers."""
    row = connection.execute("SELECT value FROM store_info WHERE name = 'shards'").fetchone()
    assert row is not None, "the store is provisioned"
    return int(str(row[0]))


def add_told(connection: Connection[Row], shard: int, needs: str, from_shard: int) -> None:
    """Keeps that another shard has told this one's households everything."""
    connection.execute("INSERT INTO member_told VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", (shard, needs, from_shard))


@away()
def told(connection: Connection[Row], shard: int, needs: str) -> int:
    """How many shards have told this one's households everything that these needs ask for."""
    row = connection.execute("SELECT count(*) FROM member_told WHERE shard = %s AND needs = %s", (shard, needs)).fetchone()
    return int(str(row[0])) if row else 0


@away()
def run(connection: Connection[Row], shard: int, needs: str) -> tuple[str, bool]:
    """(the last subject who told, whether everybody has) what these needs ask for; what was told for other needs does not count."""
    row = connection.execute("SELECT told_to, done FROM member_run WHERE shard = %s AND needs = %s", (shard, needs)).fetchone()
    return (str(row[0]), bool(row[1])) if row else ("", False)


def set_run(connection: Connection[Row], shard: int, needs: str, told_to: str, done: bool) -> None:
    """How far everybody known has told."""
    connection.execute(
        "INSERT INTO member_run VALUES (%s, %s, %s, %s) ON CONFLICT (shard) DO UPDATE SET needs = EXCLUDED.needs, told_to = EXCLUDED.told_to,"
        " done = EXCLUDED.done",
        (shard, needs, told_to, done),
    )
