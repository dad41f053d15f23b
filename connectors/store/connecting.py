"""Connections to a server of the store: how long anything may take on them, how a dead peer is noticed, and what of a server endangers money."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

import psycopg
from psycopg import Connection as Connection
from psycopg import conninfo

from . import wire
from .schema import Row, StoreError

OLDEST_SERVER = 16
"""The oldest PostgreSQL that the store is tested with."""


class StoreAway(RuntimeError):
    """The store did not answer: retryable. Whether the last commit reached it, the position tells."""


_ENDED = (psycopg.errors.IdleInTransactionSessionTimeout, psycopg.errors.TransactionTimeout, psycopg.errors.ReadOnlySqlTransaction)
"""How a server ends the session of a process that stood still, or refuses to write after a failover until it is the one that is written to.

psycopg counts these as errors of the program.
"""


@contextmanager
def away() -> Iterator[None]:
    """Tells a store that is away from one that refuses."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError, *_ENDED) as error:
        raise StoreAway(f"{type(error).__name__}: {error}") from error


class Use(Enum):
    """What a connection is for."""

    LANE = "lane"
    WORK = "work"
    READ = "read"
    MIGRATE = "migrate"


_SESSION = {
    Use.LANE: {
        # A frame joins its few thousand keys with large tables. Without statistics on the keys the planner would hash the whole
        # table; the primary key is right for every query of a lane (measured: 3 instead of 25-30 microseconds a row).
        "enable_hashjoin": "off",
        "enable_mergejoin": "off",
        "enable_seqscan": "off",
        "plan_cache_mode": "force_generic_plan",
        "lock_timeout": "10s",
        "statement_timeout": "120s",
        "idle_in_transaction_session_timeout": "30s",
    },
    Use.WORK: {"statement_timeout": "120s", "idle_in_transaction_session_timeout": "60s"},
    Use.READ: {"statement_timeout": "4h", "idle_in_transaction_session_timeout": "15min"},
    Use.MIGRATE: {"idle_in_transaction_session_timeout": "15min"},
}
"""The settings of a session by its use."""

_NETWORK = {
    "connect_timeout": "10",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
"""A peer that is gone without a word is noticed within half a minute. What an address says itself goes before."""


def parameters(url: str, application_name: str) -> dict[str, Any]:
    """What psycopg is given to connect."""
    try:
        told = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise StoreError(f"an address in store_urls cannot be read: {str(error).strip()}; write postgresql://USER@HOST:PORT/DATABASE") from None
    return {**_NETWORK, **told, "application_name": application_name}


def connect(url: str, application_name: str, use: Use = Use.WORK) -> Connection[Row]:
    """A connection in autocommit mode; transactions are opened where they are meant."""
    with away():
        connection = psycopg.connect(autocommit=True, **parameters(url, application_name))
        try:
            wire.register(connection)
            limit(connection, use)
        except BaseException:
            connection.close()
            raise
    return connection


def limit(connection: Connection[Any], use: Use) -> None:
    """Sets the session of a connection for its use, in one round trip."""
    names, values = list(_SESSION[use]), list(_SESSION[use].values())
    connection.execute("SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)", (names, values))


def place_of(connection: Connection[Row]) -> str:
    """A server as people know it: database and host, no password."""
    return f"{connection.info.dbname}@{connection.info.host or 'local socket'}"


def check_server(connection: Connection[Row], place: str) -> None:
    """StoreError where the server is older than what the store is tested with."""
    version = connection.info.server_version
    if version < OLDEST_SERVER * 10_000:
        raise StoreError(f"{place} is PostgreSQL {version // 10_000}; the store needs {OLDEST_SERVER} or newer: upgrade the server, or name another")


_DANGERS = {
    "fsync": ("off", "a power cut destroys the store"),
    "full_page_writes": ("off", "a power cut destroys the store"),
    "synchronous_commit": ("off", "a crash of the server takes back what was committed and perhaps sent to the bank"),
    "zero_damaged_pages": ("on", "damaged pages read as empty, orders among them"),
}


def dangers(connection: Connection[Row], place: str) -> list[str]:
    """What of a server endangers money: settings, and a connection over the network to a server that has not shown who it is."""
    found = []
    for name, value in connection.execute("SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", (list(_DANGERS),)):
        wrong, then = _DANGERS[str(name)]
        if value == wrong:
            found.append(f"{place}: {name} is {value}: {then}; set it {'on' if wrong == 'off' else 'off'}")
    told = connection.info.get_parameters()
    if not _is_here(connection.info.host) and told.get("sslmode") != "verify-full":
        found.append(f"{place}: whoever answers there is not asked for a certificate; add sslmode=verify-full and sslrootcert=FILE to its address")
    return found


def _is_here(host: str) -> bool:
    return not host or host.startswith(("/", "@")) or host in ("localhost", "::1") or re.fullmatch(r"127(\.\d+){3}", host) is not None
