"""What is reserved of each budget, on the first server: each shard's share, which it takes before it releases and which outlives a crash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from datetime import datetime
from typing import NamedTuple

from pipeline.budgets import Budget
from pipeline.holds import HoldReason
from pipeline.orders import State

from .servers import Connection, Row, Store, away, connect

_RELEASED = (
    "SELECT shard, sum(amount_minor)::bigint FROM payment_order JOIN benefit_period USING (benefit_period_id)"
    " WHERE benefit = %s AND (%s = '' OR left(period, 4) = %s) AND release_seq > 0 AND shard = ANY(%s) GROUP BY shard"
)


class Kept(NamedTuple):
    """A budget as the shards see it: what they have taken of it, and since when nothing more is given."""

    benefit: str
    year: str
    currency: str
    limit_minor: int
    taken_minor: int
    stopped_at: datetime | None


def released(connection: Connection[Row], budget: Budget, shards: Sequence[int]) -> dict[int, int]:
    """What these shards of a server have released under a budget."""
    rows = connection.execute(_RELEASED, (budget.benefit, budget.year, budget.year, list(shards))).fetchall()
    return {int(str(number)): int(str(amount_minor)) for number, amount_minor in rows}


def stand(store: Store, first: Connection[Row], budget: Budget, shard: int, released_minor: int) -> tuple[int, bool]:
    """Lets a budget stand, if it does not yet, and gives what the shard has reserved of it, and whether it is stopped.

    A budget that is said anew begins with what has been released so far, and with what the shards have reserved and not released yet.
    """
    with away():
        row = first.execute(
            "SELECT number, limit_minor FROM budget JOIN budget_share USING (benefit, year) WHERE benefit = %s AND year = %s AND shard = %s",
            (budget.benefit, budget.year, shard),
        ).fetchone()
        said = row is not None and (int(str(row[0])) > budget.number or (row[0], row[1]) == (budget.number, budget.limit_minor))
        so_far = {shard: released_minor} if said else {**_released_everywhere(store, budget), shard: released_minor}
        first.execute(
            "SELECT stand_budget(%s, %s, %s, %s, %s::smallint[], %s::bigint[])",
            (budget.benefit, budget.year, budget.number, budget.limit_minor, list(so_far), list(so_far.values())),
        )
        found = first.execute(
            "SELECT s.reserved_minor, stopped_at IS NOT NULL FROM budget JOIN budget_share AS s USING (benefit, year)"
            " WHERE benefit = %s AND year = %s AND shard = %s",
            (budget.benefit, budget.year, shard),
        ).fetchone()
    assert found is not None, "it was written above"
    return int(str(found[0])), bool(found[1])


def _released_everywhere(store: Store, budget: Budget) -> dict[int, int]:
    so_far: dict[int, int] = {}
    for url in store.urls:
        with connect(url, "payout budgets") as connection:
            so_far.update(released(connection, budget, range(store.shards)))
    return so_far


def reserve(first: Connection[Row], budget: Budget, shard: int, needs_minor: Sequence[int], at_once: bool) -> int:
    """Gives the shard what it needs for its next orders, as sums up to each of them, as far as the budget goes; where some do not fit, it stops."""
    key = budget.benefit, budget.year, shard
    with away():
        whole = first.execute("SELECT reserve_whole(%s, %s, %s, %s, %s)", (*key, needs_minor[-1], at_once)).fetchone()
        if whole and whole[0]:
            return needs_minor[-1]
        row = first.execute("SELECT reserve_budget(%s, %s, %s, %s::bigint[], %s)", (*key, list(needs_minor), at_once)).fetchone()
    return int(str(row[0])) if row else 0


def kept(store: Store) -> Iterator[Kept]:
    """Every budget under which anything has stood."""
    with away(), connect(store.urls[0], "payout budgets") as connection:
        rows = connection.execute(
            "SELECT benefit, year, (SELECT min(currency) FROM benefit_period AS p WHERE p.benefit = b.benefit), limit_minor, reserved_minor, stopped_at"
            " FROM budget AS b ORDER BY benefit, year"
        ).fetchall()
    for benefit, year, currency, limit_minor, taken_minor, stopped_at in rows:
        stopped = stopped_at if isinstance(stopped_at, datetime) else None
        yield Kept(str(benefit), str(year), str(currency), int(str(limit_minor)), int(str(taken_minor)), stopped)


def unlawful(store: Store, standing: Set[tuple[str, str]]) -> tuple[int, list[str]]:
    """How many budgets there are, and what contradicts them: money beyond the limit, or of one in `standing` not reserved; orders that wait in vain."""
    released_minor, waiting = _released_minor(store), _waiting(store)  # before the reservations, which come first
    with away(), connect(store.urls[0], "payout budgets") as first:
        rows = first.execute("SELECT benefit, year, shard, reserved_minor FROM budget_share").fetchall()
        reserved_minor = {(str(benefit), str(year), int(str(shard))): int(str(minor)) for benefit, year, shard, minor in rows}
        passed = first.execute(_PASSED).fetchall()
        counted, reached = first.execute("SELECT count(*), array_agg(ARRAY[benefit, year]) FILTER (WHERE stopped_at IS NOT NULL) FROM budget").fetchall()[0]
    violations = [f"{row[0]}" for row in passed]
    for (benefit, year, shard), reserved in sorted((key, minor) for key, minor in reserved_minor.items() if key[:2] in standing):
        left = sum(minor for (of, period, at), minor in released_minor.items() if (of, at) == (benefit, shard) and year in ("", period[:4]))
        if left > reserved:
            violations.append(f"{benefit} {year}".strip() + f": shard {shard} has released {left}, and reserved {reserved}")
    stopped = {tuple(key) for key in reached or ()}  # type: ignore[attr-defined]
    for subject, benefit, period, sequence in waiting:
        if not stopped & {(benefit, ""), (benefit, period[:4])}:
            violations.append(f"{subject} {benefit} {period} order {sequence} waits for a budget that was not reached")
    return int(str(counted)), violations


_PASSED = """
SELECT format('%s: reserved %s of %s, and %s before it was said', concat_ws(' ', benefit, nullif(year, '')), reserved_minor, limit_minor, begun_minor)
    FROM budget WHERE reserved_minor > greatest(limit_minor, begun_minor)
UNION ALL
SELECT format('%s: reserved %s, the shards %s', concat_ws(' ', benefit, nullif(year, '')), b.reserved_minor, sum(s.reserved_minor))
    FROM budget AS b JOIN budget_share AS s USING (benefit, year) GROUP BY benefit, year HAVING b.reserved_minor <> sum(s.reserved_minor)
"""


def _released_minor(store: Store) -> dict[tuple[str, str, int], int]:
    """What has been released, by (benefit, period, shard)."""
    found: dict[tuple[str, str, int], int] = {}
    for connection in store.servers("payout budgets"):
        for benefit, period, shard, amount_minor in connection.execute(
            "SELECT benefit, period, shard, sum(amount_minor)::bigint FROM payment_order JOIN benefit_period USING (benefit_period_id)"
            " WHERE release_seq > 0 GROUP BY 1, 2, 3"
        ):
            found[str(benefit), str(period), int(str(shard))] = int(str(amount_minor))
    return found


def _waiting(store: Store) -> list[tuple[str, str, str, int]]:
    """The orders that are held for a budget: (subject, benefit, period, sequence)."""
    return [
        (str(subject), str(benefit), str(period), int(str(sequence)))
        for connection in store.servers("payout budgets")
        for subject, benefit, period, sequence in connection.execute(
            "SELECT subject, benefit, period, sequence FROM payment_order JOIN benefit_period USING (benefit_period_id) WHERE state = %s AND reason = %s",
            (State.HELD.value, HoldReason.BUDGET_EXHAUSTED.value),
        )
    ]
