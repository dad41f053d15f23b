"""A connection to PostgreSQL that breaks on purpose: a proxy on a socket of its own that cuts a session around one chosen COMMIT."""

from __future__ import annotations

import select
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

COMMIT = b"COMMIT\0"
Cut = Literal["before_server", "before_client"]


class Proxy:
    """Passes sessions on to a server's socket and cuts the one that sends the nth COMMIT: before it reaches the server, or before its reply comes back."""

    def __init__(self, directory: Path, server: Path, nth: int, cut: Cut) -> None:
        self.directory = directory
        self.was_cut = threading.Event()
        self._server, self._left, self._cut = server, nth, cut
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / server.name))
        self._listener.listen(16)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return  # closed
            thread = threading.Thread(target=self._session, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _session(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self._server))
            while True:
                for ready in select.select([client, server], [], [])[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    if ready is server:
                        client.sendall(data)
                    elif not self._is_the_one(data):
                        server.sendall(data)
                    else:
                        if self._cut == "before_client":
                            server.sendall(data)
                            server.recv(65536)  # the server has committed; its word of it goes nowhere
                        self.was_cut.set()
                        return

    def _is_the_one(self, data: bytes) -> bool:
        if COMMIT not in data:
            return False
        with self._lock:
            self._left -= 1
            return self._left == 0
