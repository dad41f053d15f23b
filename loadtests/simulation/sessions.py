"""Sessions of the database that outlive connections: a history opens and loses many, and a new session costs its server more than a history's queries."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.pq.abc import PGconn

from connectors.store import wire
from connectors.store.connecting import Use
from connectors.store.servers import Connection, Row, Store, connect


class Session(NamedTuple):
    """A session that is not in use, with what is prepared in it."""

    line: PGconn
    prepared: Any


class KeptConnection(Connection[Row]):
    """A connection that gives its session back: when it is closed, and when the network takes it away, of which whoever uses it next is told."""

    _idle: list[Session] | None = None
    _known = False

    @property
    def closed(self) -> bool:
        """Whether it can be used no more, as far as its user knows."""
        return self._known

    def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:
        """Speaks to the server, if it is there."""
        if self._idle is None:
            gen.close()
            self._known = True
            raise psycopg.OperationalError("server closed the connection unexpectedly")
        return super().wait(gen, *arguments, **options)

    def cut(self) -> None:
        """The server sees that the connection is gone, and rolls back what was open in it."""
        if self._idle is None:
            return
        if self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.pgconn.exec_(b"ROLLBACK")
        self._idle.append(Session(self.pgconn, self._prepared))
        self._idle = None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._idle is not None:
            super().__exit__(kind, error, trace)
        self.close()

    def close(self) -> None:
        """Its user is done with it."""
        self.cut()
        self._known = True


def cut(connection: Connection[Row]) -> None:
    """Ends a connection as a network does: the server rolls back, whoever uses it next is told."""
    if isinstance(connection, KeptConnection):
        connection.cut()


class KeptStore(Store):
    """A store whose connections are opened in sessions that are there already."""

    def __init__(self, urls: Sequence[str], shards: int) -> None:
        super().__init__(urls, shards)
        self._sessions: dict[tuple[str, Use], list[Session]] = defaultdict(list)
        self._opened: list[Connection[Row]] = []
        self._lock = threading.Lock()

    def connect(self, url: str, application_name: str, use: Use = Use.WORK) -> Connection[Row]:
        """A connection, in a session that nobody uses or in a new one."""
        with self._lock:  # the audit has a thread of its own
            idle = self._sessions[url, use]
            if not idle:
                self._opened.append(connect(url, application_name, use=use))
                idle.append(Session(self._opened[-1].pgconn, None))
            session = idle.pop()
        connection = KeptConnection(session.line)
        connection._idle = idle
        connection.autocommit = True
        if session.prepared is not None:
            connection._prepared = session.prepared
        wire.register(connection)
        return connection

    def servers(self, application_name: str) -> Iterator[Connection[Row]]:
        """A connection to each server in turn."""
        for url in self.urls:
            with self.connect(url, application_name, Use.READ) as connection:
                yield connection
