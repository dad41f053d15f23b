"""Held orders that a person let go, each on the server of its shard: written by a command, taken up by the lane."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from pipeline.hold_releases import HoldRelease

from .servers import Connection, Row, Store, away

Lifted = tuple[str, int, int, str]
"""(subject, benefit_period_id, sequence, reason)."""


def add(store: Store, shard: int, benefit_period_id: int, release: HoldRelease, at: datetime) -> None:
    """Writes a release down. The same order for the same reason again changes nothing."""
    with away(), store.connect(store.url_of(shard), "payout holds") as connection, connection.transaction():
        connection.execute("LOCK TABLE hold_release IN SHARE ROW EXCLUSIVE MODE")  # numbers are seen in their order
        connection.execute(
            "INSERT INTO hold_release (shard, benefit_period_id, sequence, at, subject, reason, person, role, why, key, signature)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (shard, subject, benefit_period_id, sequence, reason) DO NOTHING",
            (
                shard, benefit_period_id, release.sequence, at, release.subject, release.reason.value, release.person, release.role, release.why, release.key,
                release.signature,
            ),
        )  # fmt: skip


def lifted(connection: Connection[Row], shard: int, subjects: Sequence[str]) -> set[Lifted]:
    """What people let go of these subjects' orders."""
    rows = connection.execute("SELECT subject, benefit_period_id, sequence, reason FROM hold_release WHERE shard = %s AND subject = ANY(%s)", (shard, subjects))
    return {(str(subject), int(str(period_id)), int(str(sequence)), str(reason)) for subject, period_id, sequence, reason in rows}


def last(connection: Connection[Row]) -> int:
    """The number of the last release on a server."""
    row = connection.execute("SELECT coalesce(max(number), 0) FROM hold_release").fetchone()
    return int(str(row[0])) if row else 0
