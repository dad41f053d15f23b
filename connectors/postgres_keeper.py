"""The process that keeps one PostgreSQL server running for as long as somebody uses it.

Started by `connectors.embedded_postgres`, with the standard library alone. Its users hold a connection to its
socket; the kernel closes it when a user dies, however it dies. When the last is gone the server is stopped; when the server dies
while users remain it is started again; when the keeper dies the kernel asks the server to stop.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from connectors.postgres_account import Unavailable
from connectors.postgres_server import Server

RESTARTS = 5
SETTLED_S = 10


class _Users:
    """The connections of those who use the server."""

    def __init__(self, directory: Path, first: socket.socket) -> None:
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / "users"))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._connections: set[socket.socket] = set()
        self._last: socket.socket | None = None
        self._add(first)

    def watch(self, wakeup: int) -> None:
        self._selector.register(wakeup, selectors.EVENT_READ)

    def wait(self) -> bool:
        """Wait for a change; whether anybody is left."""
        for key, _ in self._selector.select():
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.fileobj, socket.socket):
                self._drop(key.fileobj)
            else:
                os.read(key.fd, 4096)
        if not self._connections:
            self._accept()
        return bool(self._connections)

    def refuse(self) -> None:
        """Take no further users; those who come now wait for the next keeper."""
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._add(self._listener.accept()[0])

    def _add(self, connection: socket.socket) -> None:
        connection.setblocking(True)
        self._connections.add(connection)
        self._selector.register(connection, selectors.EVENT_READ)
        with suppress(OSError):
            connection.sendall(b"ready\n")

    def _drop(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if connection.recv(1):
                return
        self._selector.unregister(connection)
        self._connections.discard(connection)
        if self._connections:
            connection.close()
        else:
            self._last = connection  # stays open until the server has stopped: its user waits for that


def _keep(server: Server, users: _Users, stopping: Callable[[], bool]) -> None:
    deaths, started_s = 0, time.monotonic()
    while users.wait() and not stopping():
        while server.process is not None and server.process.poll() is not None and not stopping():
            deaths = deaths + 1 if time.monotonic() - started_s < SETTLED_S else 1
            if deaths > RESTARTS:
                raise Unavailable(server.why(f"PostgreSQL died {deaths} times, each within {SETTLED_S} seconds"))
            if deaths > 1:
                time.sleep(0.2 * 2**deaths)  # its disk may be full for a while
            started_s = time.monotonic()
            with suppress(Unavailable):  # it was killed while it started, or cannot start yet: that is one death more
                server.start()


def main(directory: Path, binaries: Path, first_user: int) -> None:
    """Run the server of a directory until nobody uses it. The caller holds the directory's lock and hands it over."""
    if os.fork():  # nobody's child: whoever starts it neither waits for it nor leaves a zombie
        os._exit(0)
    stop_asked: list[int] = []
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, _: stop_asked.append(number))
    first = socket.socket(fileno=first_user)
    place = directory / "sockets"
    server = None
    try:
        _remove_earlier(place)
        server = Server(directory, binaries)
        place.write_text(str(server.sockets))
        server.prepare()
        server.start()
        users = _Users(server.sockets, first)
        users.watch(readable)
        _keep(server, users, lambda: bool(stop_asked))
        users.refuse()
    except (Unavailable, OSError, subprocess.SubprocessError) as error:
        said = str(error) if isinstance(error, Unavailable) else f"The server of {directory} could not be started: {error}. See {directory / 'server.log'}."
        with suppress(OSError):
            first.sendall(json.dumps({"error": said}).encode() + b"\n")
        raise SystemExit(1) from None
    finally:
        if server is not None:
            server.stop()
            place.unlink(missing_ok=True)
            shutil.rmtree(server.sockets, ignore_errors=True)


def _remove_earlier(place: Path) -> None:
    """Remove the socket directory that a killed keeper left."""
    with suppress(FileNotFoundError):
        earlier = Path(place.read_text())
        if earlier.name.startswith("payout-") and not earlier.is_symlink():
            shutil.rmtree(earlier, ignore_errors=True)
