"""The log of the life of rules, on the first server of the store: read whole, and appended to by one writer at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pipeline.rules.life import Entry, Logged, broken_links, chain, decode_entry, encode_entry

from .servers import Connection, Row, Store, away


class RuleLog:
    """The log inside one transaction of its only writer: what was read stays true until the end."""

    def __init__(self, connection: Connection[Row]) -> None:
        self._connection = connection
        rows = _rows(connection)
        self.entries = [logged for logged, _ in rows]
        self._link = rows[-1][1] if rows else b""

    def append(self, entry: Entry, person: str, at_ms: int) -> Logged:
        """One more entry, with the next number."""
        logged = Logged(len(self.entries) + 1, at_ms, person, entry)
        self._link = chain(self._link, logged)
        self._connection.execute(
            "INSERT INTO rule_log (entry, at_ms, benefit, person, content, link) VALUES (%s, %s, %s, %s, %s, %b)",
            (logged.number, at_ms, entry.benefit, person, encode_entry(entry), self._link),
        )
        self.entries.append(logged)
        return logged


@contextmanager
def writing(store: Store) -> Iterator[RuleLog]:
    """The log for somebody who decides by it what to append; nobody else appends meanwhile."""
    with away(), store.connect(store.urls[0], "payout rule log") as connection, connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(7261003)")
        yield RuleLog(connection)


def read_log(store: Store) -> list[Logged]:
    """Every entry, in order."""
    with away(), store.connect(store.urls[0], "payout rule log") as connection:
        return [logged for logged, _ in _rows(connection)]


def damage(store: Store) -> list[str]:
    """What is wrong with the log: entries that are missing, or not what was logged."""
    with away(), store.connect(store.urls[0], "payout rule log") as connection:
        return list(broken_links(_rows(connection)))


@away()
def last_entry(connection: Connection[Row]) -> int:
    """The number of the last entry; asked often, of a connection to the first server."""
    row = connection.execute("SELECT coalesce(max(entry), 0) FROM rule_log").fetchone()
    return int(str(row[0])) if row else 0


def currencies(store: Store, benefit: str) -> set[str]:
    """In which currencies a benefit has been ordered."""
    with away(), store.connect(store.urls[0], "payout rule log") as connection:
        return {str(row[0]) for row in connection.execute("SELECT DISTINCT currency FROM benefit_period WHERE benefit = %s", (benefit,))}


def _rows(connection: Connection[Row]) -> list[tuple[Logged, bytes]]:
    rows: list[tuple[Any, ...]] = connection.execute("SELECT entry, at_ms, person, content, link FROM rule_log ORDER BY entry").fetchall()
    return [(Logged(number, at_ms, person, decode_entry(content)), bytes(link)) for number, at_ms, person, content, link in rows]
