"""A store copied whole onto other PostgreSQL servers: every row of every table as it stood at one moment, into databases that are empty."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from psycopg import IsolationLevel, sql

from . import schema
from .connecting import Connection, Use, check_server, connect, place_of
from .schema import Row, StoreError
from .servers import Store

KEPT = "schema_version"
"""What migrating the new server writes itself."""


def copy_store(store: Store, targets: Sequence[str], progress: Callable[[str, int], None] = lambda table, rows: None) -> int:
    """Copies each server of a stopped store into the database of the same place among the targets; gives the number of rows.

    Each target is copied into in one transaction. StoreError where somebody works with the store, or a target is not empty.
    """
    if len(targets) != len(store.urls):
        raise StoreError(f"the store is on {len(store.urls)} servers, {len(targets)} are named: name one for each, in their order")
    for connection in store.servers("payout copy"):
        if names := schema.at_work(connection):
            raise StoreError(f"{', '.join(names)} work with the store; stop every worker and bank desk, then copy")
    for target in targets:
        with connect(target, "payout copy") as connection:
            _must_be_empty(connection)
    return sum(_copy(source, target, progress) for source, target in zip(store.urls, targets, strict=True))


def _must_be_empty(connection: Connection[Row]) -> None:
    check_server(connection, place_of(connection))
    found = _tables(connection)
    if found:
        raise StoreError(f"{place_of(connection)} has tables already, {found[0]} among them: name an empty database")


def _tables(connection: Connection[Row]) -> list[str]:
    rows = connection.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace ORDER BY relname")
    return [str(name) for (name,) in rows]


def _columns(connection: Connection[Row], table: str) -> list[str]:
    rows = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped ORDER BY attname", (f'"{table}"',)
    )
    return [str(name) for (name,) in rows]


def _copy(source_url: str, target_url: str, progress: Callable[[str, int], None]) -> int:
    with connect(source_url, "payout copy", use=Use.READ) as source, connect(target_url, "payout copy", use=Use.MIGRATE) as target:
        source.isolation_level, source.read_only = IsolationLevel.REPEATABLE_READ, True
        with source.transaction(), target.transaction():
            schema.migrate(target, place_of(target))
            tables = _tables(source)
            if tables != _tables(target):
                raise StoreError(f"{place_of(source)} has other tables than this program makes: {', '.join(sorted({*tables} ^ {*_tables(target)}))}")
            target.execute("DELETE FROM store_info")
            copied = 0
            for table in tables:
                if table != KEPT:
                    rows = _copy_table(source, target, table)
                    progress(table, rows)
                    copied += rows
            _go_on_counting(source, target)
        target.execute("ANALYZE")
    return copied


def _go_on_counting(source: Connection[Row], target: Connection[Row]) -> None:
    """Sequences go on where they were: a number that was given already would be refused, or taken for one that everybody has seen."""
    for (name,) in source.execute("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'").fetchall():
        state = source.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(str(name)))).fetchone()
        assert state is not None, "a sequence has a row"
        target.execute("SELECT setval(%s::regclass, %s, %s)", (f'"{name}"', *state))


def _copy_table(source: Connection[Row], target: Connection[Row], table: str) -> int:
    columns = sql.SQL(", ").join(map(sql.Identifier, _columns(source, table)))
    name = sql.Identifier(table)
    reading = sql.SQL("COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)").format(columns, name)
    writing = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT binary)").format(name, columns)
    with source.cursor() as outward, target.cursor() as inward:
        with outward.copy(reading) as out, inward.copy(writing) as into:
            for block in out:
                into.write(block)
        if outward.rowcount != inward.rowcount:
            raise StoreError(f"{table}: {outward.rowcount:,} rows were read, {inward.rowcount:,} written; nothing was kept, copy again")
        return inward.rowcount
