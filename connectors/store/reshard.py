"""More shards in a stopped store: each shard is divided into several, and every row of a subject moves with it, on its server, in one transaction.

The new number is a multiple of the old one, so a shard's subjects go to itself and to new shards only; and the old one is a multiple of the servers, so
they stay on their server. What became of the records of the log (frames, dead letters, transfers) stays where it was: it tells of the old partitions.
The released orders of each shard are numbered anew, above every number that was given, and a submission whose orders are now of several shards stands
once for each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from psycopg import sql

from connectors.failpoints import failpoint
from pipeline.sharding import shard_of

from .connecting import Connection, Use, connect
from .schema import Row, StoreError
from .servers import Store

OF_SUBJECTS = ("facts", "entitlement", "payment_order", "order_history", "finding", "hold_release")
"""Rows that go with their subject."""

OF_RECORDS = ("position", "division", "frame", "dead_letter", "dead_letter_step", "transfer")
"""Rows that tell of the log, and stay."""

OF_SHARDS = ("lane", "relay", "activation", "member_run", "member_told", "member_share", "submission", "budget_share")
"""Rows of a shard itself, each with a statement of its own."""

PART = "/"
"""Between the id of a submission and the shard of a part of it that has moved."""

_WAITS = (
    ("released orders are not published", "SELECT count(*) FROM lane JOIN relay USING (shard) WHERE release_seq <> relayed_seq"),
    ("shares of members are not published", "SELECT count(*) FROM lane JOIN relay USING (shard) WHERE share_seq <> shared_seq"),
    ("activations of rules are not through", "SELECT count(*) FROM activation WHERE NOT done"),
    ("runs over members are not through", "SELECT count(*) FROM member_run WHERE NOT done"),
    ("submissions are not at the bank's door", "SELECT count(*) FROM submission WHERE NOT written"),
    (
        "released orders are not submitted",
        "SELECT count(*) FROM lane JOIN (SELECT shard, max(last_seq) AS last FROM submission GROUP BY shard) AS s USING (shard) WHERE release_seq > s.last",
    ),
)

_COPIES = """
INSERT INTO lane (shard, release_base, release_seq) SELECT child, release_seq, release_seq FROM child JOIN lane ON shard = parent;
UPDATE lane SET release_base = release_seq;
INSERT INTO relay (shard) SELECT child FROM child;
INSERT INTO activation (shard, benefit_period_id, rule_id, decided_to, done, run, share, known, decided, begun_at)
    SELECT child, benefit_period_id, rule_id, decided_to, done, run, share, 0, 0, begun_at FROM activation JOIN child ON shard = parent;
INSERT INTO member_run SELECT child, needs, told_to, done FROM member_run JOIN child ON shard = parent;
-- Whoever told a shard's households has told those of its parts, and with all of its own people.
INSERT INTO member_told SELECT c.child, t.needs, f.child FROM member_told AS t
    JOIN (SELECT parent, child FROM child UNION ALL SELECT DISTINCT parent, parent FROM child) AS c ON c.parent = t.shard
    JOIN (SELECT parent, child FROM everywhere UNION ALL SELECT DISTINCT parent, parent FROM everywhere) AS f ON f.parent = t.from_shard
    ON CONFLICT DO NOTHING;
-- What each shard has reserved of a budget is counted anew, from what has left, when the shards are claimed.
DELETE FROM budget_share;
"""

_OUTBOX = f"""
CREATE TEMPORARY TABLE numbered ON COMMIT DROP AS
    SELECT o.shard, coalesce(m.was, o.shard) AS was, o.subject, o.benefit_period_id, o.sequence, o.release_seq AS was_seq,
        l.release_base + row_number() OVER (PARTITION BY o.shard ORDER BY o.release_seq) AS seq, o.amount_minor, b.currency
    FROM payment_order AS o JOIN lane AS l USING (shard) JOIN benefit_period AS b USING (benefit_period_id) LEFT JOIN moved AS m USING (subject)
    WHERE o.release_seq > 0;
CREATE TEMPORARY TABLE part ON COMMIT DROP AS
    SELECT s.message_id, n.shard, min(n.seq) AS first_seq, max(n.seq) AS last_seq, s.currency, count(*) AS orders, sum(n.amount_minor) AS amount_minor,
        s.created_at, s.execution_on, s.file_name, s.written
    FROM submission AS s JOIN numbered AS n ON n.was = s.shard AND n.was_seq BETWEEN s.first_seq AND s.last_seq AND n.currency = s.currency
    GROUP BY s.message_id, n.shard;
DELETE FROM submission;
INSERT INTO submission (message_id, shard, first_seq, last_seq, currency, orders, amount_minor, created_at, execution_on, file_name, written)
    SELECT message_id || CASE row_number() OVER (PARTITION BY message_id ORDER BY shard) WHEN 1 THEN '' ELSE '{PART}' || shard END,
        shard, first_seq, last_seq, currency, orders, amount_minor, created_at, execution_on, file_name, written FROM part;
UPDATE payment_order AS o SET release_seq = n.seq FROM numbered AS n
    WHERE (o.shard, o.subject, o.benefit_period_id, o.sequence) = (n.shard, n.subject, n.benefit_period_id, n.sequence);
UPDATE lane SET release_seq = (SELECT coalesce(max(seq), release_base) FROM numbered AS n WHERE n.shard = lane.shard);
UPDATE relay SET relayed_seq = (SELECT release_seq FROM lane WHERE lane.shard = relay.shard);
"""


def provisioned(urls: Sequence[str]) -> list[int]:
    """The number of shards that each server says; they differ after a division that was interrupted."""
    found = []
    for url in urls:
        with connect(url, "payout reshard") as connection:
            row = connection.execute("SELECT value FROM store_info WHERE name = 'shards'").fetchone()
        if row is None:
            raise StoreError("the store is not provisioned: run `payout store init`")
        found.append(int(str(row[0])))
    return found


def waiting(connection: Connection[Row]) -> list[str]:
    """What is still under way on a server, so that its shards cannot be divided."""
    return [f"{rows[0]} shards: {what}" for what, query in _WAITS if (rows := connection.execute(query.encode()).fetchone()) and rows[0]]


def divide(store: Store, server: int, shards: int, progress: Callable[[str], None] = lambda step: None) -> int:
    """Divides the shards of one server; gives the number of subjects that moved. Whoever had a shard can commit nothing more."""
    with connect(store.urls[server], "payout reshard", use=Use.MIGRATE) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM lane ORDER BY shard FOR UPDATE")
        connection.execute("UPDATE lane SET epoch = epoch + 1, owner = 'payout reshard'")
        if left := [*waiting(connection), *_unknown(connection)]:
            raise StoreError(f"server {server} cannot be divided: {'; '.join(left)}")
        progress("where everybody belongs")
        moved = _moving(connection, store, server, shards)
        _name_children(connection, store, server, shards)
        for table in OF_SUBJECTS:
            progress(table)
            _move(connection, table)
        connection.execute(_COPIES.encode())
        progress("outbox")
        connection.execute(_OUTBOX.encode())
        connection.execute("INSERT INTO division SELECT topic, shard, next_offset, %s FROM position WHERE next_offset > 0", (store.shards,))
        connection.execute("UPDATE store_info SET value = %s WHERE name = 'shards'", (str(shards),))
        failpoint("shards_divided")
    return moved


def _unknown(connection: Connection[Row]) -> list[str]:
    rows = connection.execute(
        "SELECT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attname = 'shard'"
        " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
    )
    return [f"the table {name} is not known here" for (name,) in rows if name not in (*OF_SUBJECTS, *OF_RECORDS, *OF_SHARDS)]


def _moving(connection: Connection[Row], store: Store, server: int, shards: int) -> int:
    """Writes down who moves where; StoreError where somebody is kept in a shard that is not theirs."""
    connection.execute('CREATE TEMPORARY TABLE moved (subject text COLLATE "C" PRIMARY KEY, was smallint NOT NULL, shard smallint NOT NULL) ON COMMIT DROP')
    strangers: list[str] = []
    with connection.cursor() as cursor, cursor.copy("COPY moved FROM STDIN") as copy:
        for shard, subject in _subjects(store.urls[server]):
            if (own := shard_of(subject, store.shards)) != shard:
                strangers.append(f"{subject} is kept in shard {shard} and belongs to {own}")
            elif (new := shard_of(subject, shards)) != shard:
                copy.write_row((subject, shard, new))
    if strangers:
        raise StoreError(f"server {server} cannot be divided: {len(strangers)} subjects are not in their shards, such as {'; '.join(strangers[:3])}")
    connection.execute("ANALYZE moved")
    row = connection.execute("SELECT count(*) FROM moved").fetchone()
    return int(str(row[0])) if row else 0


def _subjects(url: str) -> Iterator[tuple[int, str]]:
    query = " UNION ".join(f"SELECT shard, subject FROM {table}" for table in OF_SUBJECTS if table != "finding")
    with connect(url, "payout reshard", use=Use.READ) as connection, connection.transaction(), connection.cursor(name="subjects") as cursor:
        cursor.itersize = 20_000
        for shard, subject in cursor.execute(query.encode()):
            yield int(str(shard)), str(subject)


def _name_children(connection: Connection[Row], store: Store, server: int, shards: int) -> None:
    """The new shards beside those that they come from: of this server, and of all."""
    everywhere = [(child % store.shards, child) for child in range(store.shards, shards)]
    here = [(parent, child) for parent, child in everywhere if child % len(store.urls) == server]
    for table, pairs in (("everywhere", everywhere), ("child", here)):
        connection.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} (parent smallint NOT NULL, child smallint NOT NULL) ON COMMIT DROP").format(sql.Identifier(table))
        )
        with connection.cursor() as cursor:
            cursor.executemany(sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(sql.Identifier(table)), pairs)


def _move(connection: Connection[Row], table: str) -> None:
    """The rows of those who move get their new shard. History may not be changed otherwise, so its guard is lifted for this transaction."""
    name = sql.Identifier(table)
    connection.execute(sql.SQL("ALTER TABLE {} DISABLE TRIGGER USER").format(name))
    connection.execute(sql.SQL("UPDATE {} AS t SET shard = m.shard FROM moved AS m WHERE t.subject = m.subject AND t.shard = m.was").format(name))
    connection.execute(sql.SQL("ALTER TABLE {} ENABLE TRIGGER USER").format(name))
