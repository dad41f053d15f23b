"""How far the activation runs have come: of each shard, benefit and period, the run that is named, and whom it has decided."""

from __future__ import annotations

from typing import NamedTuple

from .servers import Connection, Row, Store, away


class Run(NamedTuple):
    """How far one run has come in one shard: the last subject decided, how many were, of how many known when it began."""

    decided_to: str
    done: bool
    decided: int
    known: int


class RunSum(NamedTuple):
    """A run over all shards."""

    benefit: str
    period: str
    rule: str
    run: str
    share: int
    shards: int
    done: int
    decided: int
    known: int


@away()
def begun(connection: Connection[Row], shard: int, benefit_period_id: int, rule_id: int, run: str) -> Run | None:
    """How far this run has come; None where it has not begun. The progress of any other run counts for nothing."""
    row = connection.execute(
        "SELECT decided_to, done, decided, known FROM activation WHERE shard = %s AND benefit_period_id = %s AND rule_id = %s AND run = %s",
        (shard, benefit_period_id, rule_id, run),
    ).fetchone()
    return Run(str(row[0]), bool(row[1]), int(str(row[2])), int(str(row[3]))) if row else None


@away()
def begin(connection: Connection[Row], shard: int, benefit_period_id: int, rule_id: int, run: str, share: int) -> Run:
    """A run that decides everybody from the first subject on, in the place of any earlier one; done at once where nobody is known."""
    row = connection.execute(
        "INSERT INTO activation (shard, benefit_period_id, rule_id, decided_to, done, run, share, known)"
        " SELECT %s, %s, %s, '', count(*) = 0, %s, %s, count(*) FROM facts WHERE shard = %s ON CONFLICT (shard, benefit_period_id) DO UPDATE SET"
        " rule_id = EXCLUDED.rule_id, decided_to = '', done = EXCLUDED.done, run = EXCLUDED.run, share = EXCLUDED.share, known = EXCLUDED.known, decided = 0,"
        " begun_at = now() RETURNING known",
        (shard, benefit_period_id, rule_id, run, share, shard),
    ).fetchone()
    known = int(str(row[0])) if row else 0
    return Run("", known == 0, 0, known)


def advance(connection: Connection[Row], shard: int, benefit_period_id: int, run: Run) -> None:
    """Stores how far a run has come."""
    connection.execute(
        "UPDATE activation SET decided_to = %s, done = %s, decided = %s WHERE shard = %s AND benefit_period_id = %s",
        (run.decided_to, run.done, run.decided, shard, benefit_period_id),
    )


def runs(store: Store) -> list[RunSum]:
    """The last run of each benefit and period, over all servers."""
    found: dict[tuple[str, str, str, str], RunSum] = {}
    for url in store.urls:
        with away(), store.connect(url, "payout activations") as connection:
            rows = connection.execute(
                "SELECT b.benefit, b.period, r.hash, a.run, max(a.share), count(*), count(*) FILTER (WHERE a.done), sum(a.decided)::bigint,"
                " sum(a.known)::bigint FROM activation AS a JOIN benefit_period AS b USING (benefit_period_id) JOIN rule_document AS r USING (rule_id)"
                " GROUP BY 1, 2, 3, 4"
            ).fetchall()
        for benefit, period, rule, run, *counts in rows:
            key = str(benefit), str(period), str(rule), str(run)
            share, shards, done, decided, known = (int(str(count)) for count in counts)
            before = found.get(key, RunSum(*key, share, 0, 0, 0, 0))
            found[key] = RunSum(*key, share, before.shards + shards, before.done + done, before.decided + decided, before.known + known)
    return [found[key] for key in sorted(found)]
