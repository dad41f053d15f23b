"""The store: one or several PostgreSQL servers; shard s lives on server s modulo their number, fixed when it is provisioned."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files

import psycopg
from psycopg import Connection as Connection
from psycopg import sql

from . import wire

Row = tuple[object, ...]


class StoreError(RuntimeError):
    """The store is not as it must be: what, where and how to mend it."""


class StoreAway(RuntimeError):
    """The store did not answer: retryable. Whether the last commit reached it, the position tells."""


@contextmanager
def away() -> Iterator[None]:
    """Tells a store that is away from one that refuses."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        raise StoreAway(f"{type(error).__name__}: {error}") from error


_SESSION = {
    # A frame joins its few thousand keys with large tables. Without statistics on the keys the planner would hash the whole
    # table; the primary key is right for every query of a lane (measured: 3 instead of 25-30 microseconds a row).
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "30s",
}


def connect(url: str, application_name: str, *, lane: bool = False) -> Connection[Row]:
    """A connection in autocommit mode; transactions are opened where they are meant. `lane` sets the planner for frames."""
    with away():
        connection = psycopg.connect(url, autocommit=True, application_name=application_name, connect_timeout=10)
        wire.register(connection)
        if lane:
            for name, value in _SESSION.items():
                connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
    return connection


def migrations() -> list[tuple[int, str]]:
    """The numbered migrations of this version, in order."""
    found = [entry for entry in files(__package__).joinpath("migrations").iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name[:4]), entry.read_text()) for entry in found)


class Store:
    """All servers of an installation. `urls` in their fixed order; `shards` as provisioned."""

    def __init__(self, urls: Sequence[str], shards: int) -> None:
        self.urls = tuple(urls)
        self.shards = shards

    @classmethod
    def provision(cls, urls: Sequence[str], shards: int) -> Store:
        """Migrates every server and fixes the number of shards; the second time it only checks that they agree."""
        store = cls(urls, shards)
        store.migrate()
        for index, url in enumerate(urls):
            with connect(url, "payout store") as connection, connection.transaction():
                want = {"shards": str(shards), "servers": str(len(urls)), "server": str(index)}
                for name, value in want.items():
                    connection.execute("INSERT INTO store_info VALUES (%s, %s) ON CONFLICT DO NOTHING", (name, value))
                store._agree(connection, want, url)
                for shard in store.shards_of(index):
                    connection.execute("INSERT INTO lane (shard) VALUES (%s) ON CONFLICT DO NOTHING", (shard,))
                    connection.execute("INSERT INTO relay (shard) VALUES (%s) ON CONFLICT DO NOTHING", (shard,))
        return store

    @classmethod
    def open(cls, urls: Sequence[str]) -> Store:
        """A provisioned store; StoreError where it is not, or its schema is not this version's."""
        with connect(urls[0], "payout store") as connection:
            if _version(connection) != migrations()[-1][0]:
                raise StoreError(f"the store's schema is version {_version(connection)}, this program needs {migrations()[-1][0]}: run `payout store migrate`")
            row = connection.execute("SELECT value FROM store_info WHERE name = 'shards'").fetchone()
        if row is None:
            raise StoreError("the store is not provisioned: run `payout store init`")
        store = cls(urls, int(str(row[0])))
        store.check()
        return store

    def check(self) -> None:
        """StoreError unless every server knows its place and the schema is this version's."""
        for index, url in enumerate(self.urls):
            with connect(url, "payout store") as connection:
                if _version(connection) != migrations()[-1][0]:
                    raise StoreError(f"server {index} has schema version {_version(connection)}, needed is {migrations()[-1][0]}: run `payout store migrate`")
                self._agree(connection, {"shards": str(self.shards), "servers": str(len(self.urls)), "server": str(index)}, url)

    @staticmethod
    def _agree(connection: Connection[Row], want: dict[str, str], url: str) -> None:
        have = {str(name): str(value) for name, value in connection.execute("SELECT name, value FROM store_info")}
        for name, value in want.items():
            if have.get(name) != value:
                place = connection.info.dbname + "@" + (connection.info.host or "local socket")
                raise StoreError(
                    f"store {place}: it was provisioned with {name} = {have.get(name)}, now {value} is asked for; "
                    "the number and order of servers and shards is fixed, export and replay into a new store to change it"
                )

    def migrate(self) -> list[tuple[int, int]]:
        """Brings every server to this version's schema; gives (server, version) for each migration that ran."""
        ran: list[tuple[int, int]] = []
        for index, url in enumerate(self.urls):
            with connect(url, "payout migrate") as connection, connection.transaction():
                # Two processes may start at once; the second waits here and finds nothing to do.
                connection.execute("SELECT pg_advisory_xact_lock(7261001)")
                connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version integer PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())")
                have = _version(connection)
                for version, script in migrations():
                    if version > have:
                        connection.execute(script.encode())
                        connection.execute("INSERT INTO schema_version (version) VALUES (%s)", (version,))
                        ran.append((index, version))
        return ran

    def shards_of(self, server: int) -> range:
        """The shards that live on a server."""
        return range(server, self.shards, len(self.urls))

    def url_of(self, shard: int) -> str:
        """The server of a shard."""
        return self.urls[shard % len(self.urls)]

    def servers(self, application_name: str) -> Iterator[Connection[Row]]:
        """A connection to each server in turn, for queries over all of them."""
        for url in self.urls:
            with connect(url, application_name) as connection:
                yield connection


def _version(connection: Connection[Row]) -> int:
    row = connection.execute("SELECT to_regclass('schema_version')").fetchone()
    if row is None or row[0] is None:
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM schema_version").fetchone()
    return int(str(row[0])) if row else 0
