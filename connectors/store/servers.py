"""The store: one or several PostgreSQL servers; shard s lives on server s modulo their number, fixed when it is provisioned."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from . import schema
from .connecting import Connection as Connection
from .connecting import StoreAway as StoreAway
from .connecting import Use as Use
from .connecting import away as away
from .connecting import check_server, dangers, place_of
from .connecting import connect as connect
from .schema import Row as Row
from .schema import StoreError as StoreError


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
        """A provisioned store; StoreError where it is not, or where this program may not work with it."""
        with cls._reached(0, urls[0]) as connection:
            place = _place(0, connection)
            check_server(connection, place)
            schema.check_version(connection, place)
            row = connection.execute("SELECT value FROM store_info WHERE name = 'shards'").fetchone()
        if row is None:
            raise StoreError("the store is not provisioned: run `payout store init`")
        store = cls(urls, int(str(row[0])))
        store.check()
        return store

    def check(self) -> None:
        """StoreError unless every server knows its place and this program may work with its schema; StoreAway names the server that is away."""
        for index, url in enumerate(self.urls):
            with self._reached(index, url) as connection:
                place = _place(index, connection)
                check_server(connection, place)
                schema.check_version(connection, place)
                self._agree(connection, {"shards": str(self.shards), "servers": str(len(self.urls)), "server": str(index)}, url)

    def dangers(self) -> list[str]:
        """What of the servers endangers money."""
        found = []
        for index, url in enumerate(self.urls):
            with self._reached(index, url) as connection:
                found += dangers(connection, _place(index, connection))
        return found

    def away(self) -> list[str]:
        """The servers that do not answer, each with what was tried."""
        silent = []
        for index, url in enumerate(self.urls):
            try:
                self._reached(index, url).close()
            except StoreAway as error:
                silent.append(str(error))
        return silent

    @staticmethod
    def _agree(connection: Connection[Row], want: dict[str, str], url: str) -> None:
        have = {str(name): str(value) for name, value in connection.execute("SELECT name, value FROM store_info")}
        for name, value in want.items():
            if have.get(name) != value:
                raise StoreError(
                    f"store {place_of(connection)}: it was provisioned with {name} = {have.get(name)}, now {value} is asked for; "
                    "the number and order of servers is fixed; `payout store reshard` gives a stopped installation more shards"
                )

    def migrate(self, waiting: Callable[[int], None] = lambda server: None) -> list[tuple[int, int]]:
        """Brings every server to this version's schema; gives (server, version) for each migration that ran.

        Two processes may start at once: `waiting` is told to the second, with the server.
        """
        ran: list[tuple[int, int]] = []
        for index, url in enumerate(self.urls):
            with self._reached(index, url, "payout migrate", Use.MIGRATE) as connection:
                place = _place(index, connection)
                check_server(connection, place)
                ran += [(index, version) for version in schema.migrate(connection, place, waiting=lambda index=index: waiting(index))]  # type: ignore[misc]
        return ran

    def shards_of(self, server: int) -> range:
        """The shards that live on a server."""
        return range(server, self.shards, len(self.urls))

    def url_of(self, shard: int) -> str:
        """The server of a shard."""
        return self.urls[shard % len(self.urls)]

    def connect(self, url: str, application_name: str, use: Use = Use.WORK) -> Connection[Row]:
        """A connection to one of its servers."""
        return connect(url, application_name, use=use)

    def servers(self, application_name: str) -> Iterator[Connection[Row]]:
        """A connection to each server in turn, for queries over all of them."""
        for index, url in enumerate(self.urls):
            with self._reached(index, url, application_name, Use.READ) as connection:
                yield connection

    @staticmethod
    def _reached(index: int, url: str, application_name: str = "payout store", use: Use = Use.WORK) -> Connection[Row]:
        try:
            return connect(url, application_name, use=use)
        except StoreAway as error:
            raise StoreAway(f"server {index}: {error}") from error


def _place(index: int, connection: Connection[Row]) -> str:
    return f"server {index} ({place_of(connection)})"
