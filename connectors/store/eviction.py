"""Evicts a worker that was stopped inside a transaction: while it keeps a shard's row locked, nobody else could claim the shard."""

from __future__ import annotations

from .servers import connect

LANES = "payout lanes "
"""How the connections of lanes are named, with the number of their process."""


def evict_blockers(url: str, process: int) -> int:
    """Ends the transactions of other lanes for which claims of this process wait; gives how many. What they had not committed is rolled back."""
    with connect(url, "payout eviction") as connection:
        rows = connection.execute(
            "SELECT pg_terminate_backend(blocker.pid) FROM pg_stat_activity AS waiting"
            " CROSS JOIN LATERAL unnest(pg_blocking_pids(waiting.pid)) AS blocking (pid)"
            " JOIN pg_stat_activity AS blocker ON blocker.pid = blocking.pid"
            " WHERE waiting.application_name = %s AND waiting.wait_event_type = 'Lock' AND waiting.query LIKE 'UPDATE lane SET epoch%%'"
            " AND starts_with(blocker.application_name, %s) AND waiting.datname = current_database()",
            (f"{LANES}{process}", LANES),
        ).fetchall()
    return len(rows)
