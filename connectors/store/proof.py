"""The invariants of one server's rows, each one query that lists what breaks it; read-only and quick enough to run at any time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from psycopg import Connection

from pipeline.ledger import BOOK_OF_STATE
from pipeline.orders import TRANSITIONS

from .servers import Row


class Invariant(NamedTuple):
    """A law over the rows: `checked` counts what it is about, `broken` lists violations as one text each."""

    id: str
    name: str
    checked: str
    broken: str


_LAWFUL = ", ".join(f"({before.value}, '{step.value}', {after.value})" for (before, step), after in TRANSITIONS.items())
_BOOKS = ", ".join(f"({state.value}, '{book.value}')" for state, book in BOOK_OF_STATE.items())

INVARIANTS = (
    Invariant(
        "positions",
        "frames follow each other without gap or overlap up to the position",
        "SELECT count(*) FROM frame",
        """
        SELECT format('%s shard %s: frame %s begins after %s', topic, shard, first_offset, before) FROM (
            SELECT topic, shard, first_offset, lag(end_offset, 1, 0::bigint) OVER (PARTITION BY topic, shard ORDER BY first_offset) AS before
                FROM frame
        ) AS f WHERE first_offset <> before
        UNION ALL
        SELECT format('%s shard %s: position %s, frames end at %s', p.topic, p.shard, p.next_offset, coalesce(f.reached, 0)) FROM position AS p
        LEFT JOIN (SELECT topic, shard, max(end_offset) AS reached FROM frame GROUP BY topic, shard) AS f USING (topic, shard)
        WHERE p.topic <> 'payment.orders' AND p.next_offset <> coalesce(f.reached, 0)
        """,
    ),
    Invariant(
        "dispositions",
        "every input record has exactly one disposition, every dead letter its row; a replayed one was put into the log once, a closed one has its reason",
        "SELECT coalesce(sum(end_offset - first_offset), 0) FROM frame",
        """
        SELECT format('%s shard %s: %s dead letters counted, %s kept', topic, shard, coalesce(f.counted, 0), coalesce(d.kept, 0)) FROM
            (SELECT topic, shard, sum(dead_letter) AS counted FROM frame GROUP BY topic, shard) AS f
            FULL JOIN (SELECT topic, shard, count(*) AS kept FROM dead_letter GROUP BY topic, shard) AS d USING (topic, shard)
        WHERE coalesce(f.counted, 0) <> coalesce(d.kept, 0)
        UNION ALL
        SELECT format('dead letter %s/%s/%s is %s: put into the log %s times, closed %s times', topic, shard, record_offset, coalesce(d.status, 'not there'),
            coalesce(s.put, 0), coalesce(s.closed, 0)) FROM dead_letter AS d FULL JOIN (
            SELECT topic, shard, record_offset, count(*) FILTER (WHERE step = 'put') AS put, count(*) FILTER (WHERE step = 'close') AS closed
                FROM dead_letter_step GROUP BY 1, 2, 3
        ) AS s USING (topic, shard, record_offset)
        WHERE (coalesce(d.status, ''), coalesce(s.put, 0), coalesce(s.closed, 0)) NOT IN (('open', 0, 0), ('replayed', 1, 0), ('closed', 0, 1))
        UNION ALL
        SELECT format('dead letter %s/%s/%s: nobody said who did what with it, and why', topic, shard, record_offset) FROM dead_letter_step
        WHERE person = '' OR reason = ''
        UNION ALL
        SELECT format('%s/%s/%s is the replay of %s dead letters', put_topic, put_shard, put_offset, count(*)) FROM dead_letter_step
        WHERE step = 'put' AND put_topic <> '' GROUP BY put_topic, put_shard, put_offset HAVING count(*) > 1
        """,
    ),
    Invariant(
        "level",
        "the live orders of every entitlement come to what is owed, or the surplus stands as a claim",
        "SELECT count(*) FROM entitlement",
        """
        SELECT format('%s of %s: owed %s, claim %s, live orders %s (kept as %s)', e.subject, e.benefit_period_id, e.owed_minor, e.claim_minor,
            coalesce(o.live, 0), e.live_minor)
        FROM entitlement AS e LEFT JOIN (
            SELECT shard, subject, benefit_period_id, coalesce(sum(amount_minor) FILTER (WHERE state <> 9), 0) AS live
                FROM payment_order GROUP BY 1, 2, 3
        ) AS o USING (shard, subject, benefit_period_id)
        WHERE coalesce(o.live, 0) <> e.live_minor OR (e.decision <> 2 AND e.live_minor <> e.owed_minor + e.claim_minor) OR (e.decision <> 1
            AND e.owed_minor <> 0)
            OR (e.decision = 2 AND e.claim_minor <> 0)
        UNION ALL
        SELECT format('%s of %s: an order without an entitlement', o.subject, o.benefit_period_id) FROM payment_order AS o
        LEFT JOIN entitlement AS e USING (shard, subject, benefit_period_id) WHERE e.subject IS NULL
        """,
    ),
    Invariant(
        "orders",
        "orders are numbered without gap, and no two share a key",
        "SELECT count(*) FROM payment_order",
        """
        SELECT format('%s of %s: %s orders, last number %s, entitlement counts %s with %s held of %s', e.subject, e.benefit_period_id, o.made,
            o.last, e.orders, o.held, e.held)
        FROM entitlement AS e JOIN (
            SELECT shard, subject, benefit_period_id, count(DISTINCT sequence) AS made, count(*) AS rows, max(sequence) AS last,
                count(*) FILTER (WHERE state = 1) AS held
            FROM payment_order GROUP BY 1, 2, 3
        ) AS o USING (shard, subject, benefit_period_id)
        WHERE o.made <> o.rows OR o.last <> o.made OR e.orders <> o.last OR e.held <> o.held
        UNION ALL
        SELECT format('%s of %s: the entitlement counts %s orders, there are none', e.subject, e.benefit_period_id, e.orders) FROM entitlement AS e
        WHERE e.orders > 0 AND NOT EXISTS (SELECT 1 FROM payment_order AS o WHERE o.shard = e.shard AND o.subject = e.subject
            AND o.benefit_period_id = e.benefit_period_id)
        UNION ALL
        SELECT format('order id %s stands %s times', encode(order_id, 'hex'), count(*)) FROM payment_order GROUP BY order_id HAVING count(*) > 1
        """,
    ),
    Invariant(
        "history",
        "every order's history is contiguous and lawful, and ends in its state",
        "SELECT count(*) FROM order_history",
        f"""
        SELECT format('%s of %s order %s step %s: %s from %s to %s after %s', h.subject, h.benefit_period_id, h.sequence, h.step_no, h.step,
            h.from_state, h.to_state, h.before)
        FROM (
            SELECT h.*, coalesce(lag(h.to_state) OVER w, o.first_state) AS before, row_number() OVER w AS place
            FROM order_history AS h LEFT JOIN payment_order AS o USING (shard, subject, benefit_period_id, sequence)
            WINDOW w AS (PARTITION BY h.shard, h.subject, h.benefit_period_id, h.sequence ORDER BY h.step_no)
        ) AS h LEFT JOIN (VALUES {_LAWFUL}) AS lawful (from_state, step, to_state) ON h.from_state = lawful.from_state AND h.step = lawful.step
            AND h.to_state = lawful.to_state
        WHERE h.before IS NULL OR h.from_state <> h.before OR h.step_no <> h.place OR lawful.step IS NULL
        UNION ALL
        SELECT format('%s of %s order %s: state %s after %s steps, history ends in %s after %s', o.subject, o.benefit_period_id, o.sequence, o.state,
            o.steps, coalesce(h.to_state, o.first_state), coalesce(h.step_no, 0))
        FROM payment_order AS o LEFT JOIN (
            SELECT DISTINCT ON (shard, subject, benefit_period_id, sequence) shard, subject, benefit_period_id, sequence, to_state, step_no
            FROM order_history ORDER BY shard, subject, benefit_period_id, sequence, step_no DESC
        ) AS h USING (shard, subject, benefit_period_id, sequence)
        WHERE o.state <> coalesce(h.to_state, o.first_state) OR o.steps <> coalesce(h.step_no, 0)
        """,
    ),
    Invariant(
        "ledger",
        "every book of the general ledger equals its orders, and each currency sums to zero",
        "SELECT count(*) FROM transfer",
        f"""
        WITH posted AS (
            SELECT benefit_period_id, book, sum(amount) AS amount FROM (
                SELECT benefit_period_id, debit AS book, amount_minor AS amount
                    FROM transfer UNION ALL SELECT benefit_period_id, credit, -amount_minor FROM transfer
            ) AS p GROUP BY 1, 2
        ), held AS (
            SELECT benefit_period_id, book, sum(amount) AS amount FROM (
                SELECT o.benefit_period_id, b.book, o.amount_minor AS amount
                    FROM payment_order AS o JOIN (VALUES {_BOOKS}) AS b (state, book) USING (state)
                WHERE b.book <> 'appropriation'
                UNION ALL SELECT o.benefit_period_id, 'appropriation', -o.amount_minor FROM payment_order AS o WHERE o.state <> 9
                UNION ALL SELECT benefit_period_id, 'claims', claim_minor FROM entitlement
                UNION ALL SELECT benefit_period_id, 'overpaid', -claim_minor FROM entitlement
            ) AS s GROUP BY 1, 2
        )
        SELECT format('%s %s: general ledger %s, orders %s', benefit_period_id, book, coalesce(p.amount, 0), coalesce(h.amount, 0))
        FROM posted AS p FULL JOIN held AS h USING (benefit_period_id, book) WHERE coalesce(p.amount, 0) <> coalesce(h.amount, 0)
        UNION ALL
        SELECT format('%s does not sum to zero: %s', b.currency, sum(p.amount)) FROM posted AS p JOIN benefit_period AS b USING (benefit_period_id)
        GROUP BY b.currency HAVING sum(p.amount) <> 0
        """,
    ),
    Invariant(
        "activated",
        "every activation of a rule has come to its end",
        "SELECT count(*) FROM activation",
        "SELECT format('shard %s: the activation of rule %s has come to %s only', shard, rule_id, decided_to) FROM activation WHERE NOT done",
    ),
    Invariant(
        "shares",
        "what members have to tell their households is numbered without gap, and everybody known has told theirs",
        "SELECT coalesce(sum(share_seq), 0)::bigint FROM lane",
        """
        SELECT format('shard %s: %s shares wait, the last number given is %s, the last published %s', l.shard, coalesce(s.n, 0), l.share_seq, r.shared_seq)
        FROM lane AS l JOIN relay AS r USING (shard) LEFT JOIN (SELECT shard, count(*) AS n, max(seq) AS last FROM member_share GROUP BY shard) AS s
            USING (shard)
        WHERE coalesce(s.n, 0) <> l.share_seq - r.shared_seq OR coalesce(s.last, l.share_seq) <> l.share_seq
        UNION ALL
        SELECT format('shard %s: of everybody known, those up to %s have told their households', shard, told_to) FROM member_run WHERE NOT done
        """,
    ),
    Invariant(
        "outbox",
        "released orders are numbered without gap, each in exactly one submission once submitted",
        "SELECT count(*) FROM payment_order WHERE release_seq > 0",
        """
        SELECT format('shard %s: %s released orders, last number %s, lane gave %s after %s, relayed to %s', l.shard, coalesce(o.n, 0),
            coalesce(o.last, l.release_base), l.release_seq, l.release_base, r.relayed_seq)
        FROM lane AS l JOIN relay AS r USING (shard) LEFT JOIN (
            SELECT shard, count(*) AS n, max(release_seq) AS last FROM payment_order WHERE release_seq > 0 GROUP BY shard
        ) AS o USING (shard)
        WHERE coalesce(o.n, 0) <> l.release_seq - l.release_base OR coalesce(o.last, l.release_base) <> l.release_seq OR r.relayed_seq > l.release_seq
        UNION ALL
        SELECT format('submission %s: %s orders of %s, the store has %s of %s', s.message_id, s.orders, s.amount_minor, count(o.*),
            coalesce(sum(o.amount_minor), 0))
        FROM submission AS s LEFT JOIN (
            SELECT o.shard, o.release_seq, o.amount_minor, b.currency
                FROM payment_order AS o JOIN benefit_period AS b USING (benefit_period_id) WHERE o.release_seq > 0
        ) AS o ON o.shard = s.shard AND o.release_seq BETWEEN s.first_seq AND s.last_seq AND o.currency = s.currency
        GROUP BY s.message_id, s.orders, s.amount_minor HAVING count(o.*) <> s.orders OR coalesce(sum(o.amount_minor), 0) <> s.amount_minor
        UNION ALL
        SELECT format('submission %s: its orders up to %s of shard %s left, %s are published', s.message_id, s.last_seq, s.shard, r.relayed_seq)
            FROM submission AS s JOIN relay AS r USING (shard) WHERE s.last_seq > r.relayed_seq
        UNION ALL
        SELECT format('%s and %s both cover order %s of shard %s', a.message_id, b.message_id, b.first_seq, a.shard)
            FROM submission AS a JOIN submission AS b
        ON a.shard = b.shard AND a.currency = b.currency AND a.message_id < b.message_id AND a.first_seq <= b.last_seq AND b.first_seq <= a.last_seq
        """,
    ),
    Invariant(
        "sent",
        "an order is sent, answered or settled only if a submission covers it",
        "SELECT count(*) FROM payment_order WHERE state IN (3, 4, 5, 6, 7, 8)",
        """
        SELECT format('%s of %s order %s is in state %s, no submission covers it', o.subject, o.benefit_period_id, o.sequence, o.state)
            FROM payment_order AS o
        WHERE o.state IN (3, 4, 5, 6, 7, 8)
        AND NOT EXISTS (SELECT 1 FROM submission AS s WHERE s.shard = o.shard AND o.release_seq BETWEEN s.first_seq AND s.last_seq)
        """,
    ),
)


def examine(connection: Connection[Row], invariant: Invariant, examples: int) -> tuple[int, int, list[str]]:
    """(how many it is about, how many break it, some of these) on one server."""
    checked = connection.execute(invariant.checked.encode()).fetchone()
    rows = connection.execute(
        f"SELECT count(*), array_agg(v) FILTER (WHERE n <= {examples})"
        f" FROM (SELECT v, row_number() OVER () AS n FROM ({invariant.broken}) AS b(v)) AS b".encode()
    ).fetchone()
    assert checked is not None, "an aggregate gives a row"
    assert rows is not None, "an aggregate gives a row"
    return int(str(checked[0])), int(str(rows[0])), list(rows[1] or [])  # type: ignore[call-overload]


def histories(connection: Connection[Row]) -> Iterator[tuple[str, bytes]]:
    """Every subject's history."""
    with connection.transaction(), connection.cursor(name="histories", binary=True) as cursor:
        cursor.itersize = 20_000
        yield from cursor.execute("SELECT subject, history FROM facts")


def levels(connection: Connection[Row]) -> Iterator[tuple[str, str, str, str, int, int, int, bytes]]:
    """Every entitlement: (subject, benefit, period, currency, decision, owed_minor, rule_id, receipt)."""
    with connection.transaction(), connection.cursor(name="levels", binary=True) as cursor:
        cursor.itersize = 20_000
        yield from cursor.execute(
            "SELECT e.subject, b.benefit, b.period, b.currency, e.decision, e.owed_minor, e.rule_id, e.receipt"
            " FROM entitlement AS e JOIN benefit_period AS b USING (benefit_period_id)"
        )


def receipts(connection: Connection[Row], decisions: Sequence[int]) -> Iterator[tuple[int, bytes]]:
    """(decision, receipt) of the entitlements decided in one of these ways."""
    with connection.transaction(), connection.cursor(name="receipts", binary=True) as cursor:
        cursor.itersize = 20_000
        yield from cursor.execute("SELECT decision, receipt FROM entitlement WHERE decision = ANY(%s)", (list(decisions),))


def order_keys(connection: Connection[Row]) -> Iterator[tuple[bytes, bytes, str, str, str, int, int, int, str, int, int]]:
    """Every order: (id, fingerprint, benefit, subject, period, sequence, kind, amount_minor, currency, state, attempt)."""
    with connection.transaction(), connection.cursor(name="orders", binary=True) as cursor:
        cursor.itersize = 20_000
        yield from cursor.execute(
            "SELECT o.order_id, o.fingerprint, b.benefit, o.subject, b.period, o.sequence, o.kind, o.amount_minor, b.currency, o.state, o.attempt"
            " FROM payment_order AS o JOIN benefit_period AS b USING (benefit_period_id)"
        )


def positions(connection: Connection[Row]) -> dict[tuple[str, int], int]:
    """The next offset of every topic and shard."""
    return {(str(topic), int(str(shard))): int(str(offset)) for topic, shard, offset in connection.execute("SELECT topic, shard, next_offset FROM position")}


def divisions(connection: Connection[Row]) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """How many shards there were while the records of a topic and shard were put, as [(before this offset, shards)], where they were divided since."""
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for topic, shard, end, shards in connection.execute("SELECT topic, shard, end_offset, shards FROM division ORDER BY end_offset"):
        found.setdefault((str(topic), int(str(shard))), []).append((int(str(end)), int(str(shards))))
    return found


def documents(connection: Connection[Row]) -> dict[int, str]:
    """The rule documents by their number."""
    return {int(str(number)): str(document) for number, document in connection.execute("SELECT rule_id, document FROM rule_document")}


def standing(connection: Connection[Row]) -> list[tuple[str, str, int, int]]:
    """(benefit, period, rule_id, share in basis points) of every rule that decides now, and has decided everybody it found."""
    rows = connection.execute(
        "SELECT DISTINCT b.benefit, b.period, a.rule_id, a.share FROM activation AS a JOIN benefit_period AS b USING (benefit_period_id) WHERE a.done"
    )
    return [(str(benefit), str(period), int(str(rule_id)), int(str(share))) for benefit, period, rule_id, share in rows]


def standing_documents(connection: Connection[Row]) -> dict[tuple[str, str], str]:
    """The document that decides each (benefit, period)."""
    rows = connection.execute(
        "SELECT DISTINCT b.benefit, b.period, r.document FROM activation AS a"
        " JOIN benefit_period AS b USING (benefit_period_id) JOIN rule_document AS r USING (rule_id)"
    )
    return {(str(benefit), str(period)): str(document) for benefit, period, document in rows}
