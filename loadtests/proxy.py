"""A network that breaks on purpose: a proxy on loopback before PostgreSQL or a broker, which cuts, refuses, delays, holds and slices as it is told.

It reads as much of the protocol as it needs to cut around one message: before a COMMIT reaches the server, or after the server has done it and before
its answer arrives. Everything that it does to a session it counts, so that a test can tell a fault that never fired.
"""

from __future__ import annotations

import asyncio
import random
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Protocol, Self, TypeVar

Cut = Literal["before_server", "before_client"]
Address = Path | tuple[str, int]
"""A socket in the file system, or host and port."""

COMMIT = "COMMIT"
PRODUCE, OFFSET_COMMIT = "PRODUCE", "OFFSET_COMMIT"
READ_BYTES = 65_536

_T = TypeVar("_T")


class Asked(NamedTuple):
    """A whole message of a client: its bytes, what it asks for, and how the answer to it is known."""

    data: bytes
    kind: str
    token: bytes


class Wire(Protocol):
    """As much of a protocol as is needed to see one message go and its answer come back."""

    client: str

    def asked(self, data: bytes) -> Iterator[Asked]:
        """Whole messages of the client."""

    def answered(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """What the server said, in pieces, each with the token of the message that it answers."""


class Postgres:
    """The protocol of PostgreSQL, version 3. `client` is the application's name as the start of the session tells it."""

    _WITHOUT_TYPE = (80877102, 80877103, 80877104)
    """Asking to cancel, for TLS, for GSSAPI: none of them starts the session."""

    def __init__(self) -> None:
        self.client = ""
        self._began = False
        self._data = b""
        self._tail = b""

    def asked(self, data: bytes) -> Iterator[Asked]:
        """Whole messages; those that commit are told by their text."""
        self._data += data
        while True:
            at = 1 if self._began else 0
            if len(self._data) < at + 4:
                return
            end = at + int.from_bytes(self._data[at : at + 4])
            if len(self._data) < end:
                return
            message, self._data = self._data[:end], self._data[end:]
            if self._began:
                commits = message[:1] in b"QP" and message[5:].strip(b"\0").upper().startswith(b"COMMIT")
                yield Asked(message, COMMIT if commits else "", b"COMMIT\0")
                continue
            if int.from_bytes(message[4:8]) not in self._WITHOUT_TYPE:
                self._began = True
                told = message[8:].split(b"\0")
                self.client = dict(zip(told[::2], told[1::2], strict=False)).get(b"application_name", b"").decode()
            yield Asked(message, "", b"")

    def answered(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Everything as it comes; the tag of a completed COMMIT answers it."""
        self._tail = self._tail[-16:] + data
        yield data, b"COMMIT\0" if b"COMMIT\0" in self._tail else b""


_KINDS = {0: PRODUCE, 8: OFFSET_COMMIT}


class Kafka:
    """The protocol of Kafka: requests and answers, each behind its length, told apart by a number."""

    def __init__(self) -> None:
        self.client = ""
        self._requests = self._answers = b""

    def asked(self, data: bytes) -> Iterator[Asked]:
        """Whole requests."""
        requests, self._requests = _behind_length(self._requests + data)
        for request in requests:
            kind, _, number, size = struct.unpack_from(">hh4sh", request, 4)
            self.client = request[14 : 14 + max(size, 0)].decode(errors="replace")
            yield Asked(request, _KINDS.get(kind, ""), number)

    def answered(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Whole answers."""
        answers, self._answers = _behind_length(self._answers + data)
        for answer in answers:
            yield answer, answer[4:8]


def _behind_length(data: bytes) -> tuple[list[bytes], bytes]:
    whole, at = [], 0
    while len(data) - at >= 4 and len(data) - at >= (size := 4 + int.from_bytes(data[at : at + 4])):
        whole.append(data[at : at + size])
        at += size
    return whole, data[at:]


class _Strike(NamedTuple):
    kind: str
    nth: int
    cut: Cut
    client: str


class Proxy:
    """Passes sessions on to a server until it is told otherwise; use it with `with`.

    What it is told it does from then on, in every session. `sessions`, `cuts`, `resets` and `delayed` count what it has done.
    """

    def __init__(self, server: Address, wire: Callable[[], Wire], listen: Address = ("127.0.0.1", 0)) -> None:
        self.server, self._wire, self._listen = server, wire, listen
        self.sessions = self.cuts = self.resets = self.delayed = 0
        self.was_cut = threading.Event()
        self.delay_s = self.jitter_s = 0.0
        self.slice_bytes = 0
        self._strike: _Strike | None = None
        self._chance = random.Random(1)
        self._open: set[_Session] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._passing: asyncio.Event
        self._listener: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._begin)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._do(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def port(self) -> int:
        """Where it listens, if not in the file system."""
        assert isinstance(self._listen, tuple), "it listens in the file system"
        return self._listen[1]

    @property
    def open_sessions(self) -> int:
        """How many sessions are open now."""
        return len(self._open)

    def cut(self, kind: str, nth: int, cut: Cut, client: str = "") -> None:
        """Cuts the session that sends the nth message of a kind, counted from now over all sessions of clients so named."""
        self.was_cut.clear()
        self._strike = _Strike(kind, nth, cut, client)

    def refuse(self) -> None:
        """Ends all sessions and takes no new ones."""
        self._do(self._close)

    def accept(self) -> None:
        """Takes sessions again."""
        self._do(self._bind)

    def reset(self) -> int:
        """Cuts every session that is open now; gives how many."""
        return self._do(self._reset)

    def hold(self) -> None:
        """Passes nothing on and closes nothing: the other side is there and silent."""
        self._do(self._hold)

    def resume(self) -> None:
        """Passes on what was held, and everything after it."""
        self._do(self._resume)

    def heal(self) -> None:
        """Breaks nothing any more."""
        self._strike, self.delay_s, self.jitter_s, self.slice_bytes = None, 0.0, 0.0, 0
        self.resume()
        self.accept()

    def _do(self, work: Callable[[], Awaitable[_T]]) -> _T:
        async def done() -> _T:
            return await work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result(30)

    async def _begin(self) -> None:
        self._passing = asyncio.Event()
        self._passing.set()
        await self._bind()

    async def _bind(self) -> None:
        if self._listener is not None:
            return
        if isinstance(self._listen, Path):
            self._listener = await asyncio.start_unix_server(self._session, self._listen)
        else:
            self._listener = await asyncio.start_server(self._session, *self._listen)
            self._listen = self._listener.sockets[0].getsockname()[:2]

    async def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._reset()

    async def _end(self) -> None:
        self._passing.set()
        await self._close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def _reset(self) -> int:
        sessions = list(self._open)
        for session in sessions:
            session.end()
        self.resets += len(sessions)
        return len(sessions)

    async def _hold(self) -> None:
        self._passing.clear()

    async def _resume(self) -> None:
        self._passing.set()

    async def _session(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        try:
            path, place = (self.server, None) if isinstance(self.server, Path) else (None, self.server)
            server = await (asyncio.open_unix_connection(path) if path else asyncio.open_connection(*(place or ())))
        except OSError:
            writer.transport.abort()  # the server is not there, and that is what the client must see
            return
        session = _Session(self, self._wire(), (reader, writer), server)
        self._open.add(session)
        try:
            await session.run()
        finally:
            self._open.discard(session)

    def strikes(self, asked: Asked, client: str) -> Cut | None:
        """How a message is to be cut, if it is the one."""
        strike = self._strike
        if strike is None or asked.kind != strike.kind or not client.startswith(strike.client):
            return None
        self._strike = strike._replace(nth=strike.nth - 1) if strike.nth > 1 else None
        return strike.cut if strike.nth == 1 else None

    async def passed(self, data: bytes, to: asyncio.StreamWriter) -> None:
        """Passes data on, as late and in such pieces as told."""
        await self._passing.wait()
        if self.delay_s or self.jitter_s:
            self.delayed += 1
            await asyncio.sleep(self.delay_s + self._chance.uniform(0, self.jitter_s))
        for at in range(0, len(data), self.slice_bytes) if self.slice_bytes else (0,):
            to.write(data[at : at + self.slice_bytes] if self.slice_bytes else data)
            await to.drain()

    def told_cut(self) -> None:
        """Counts a cut."""
        self.cuts += 1
        self.was_cut.set()


class _Session:
    """One client and its connection to the server."""

    def __init__(
        self, proxy: Proxy, wire: Wire, client: tuple[asyncio.StreamReader, asyncio.StreamWriter], server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        self._proxy, self._wire, self._client, self._server = proxy, wire, client, server
        self._swallowing: bytes | None = None

    async def run(self) -> None:
        """Until one of the two has gone, or it is cut."""
        ways = [asyncio.create_task(self._to_server()), asyncio.create_task(self._to_client())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self.end()

    def end(self) -> None:
        """Ends both connections at once."""
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    async def _to_server(self) -> None:
        with suppress(OSError):
            while data := await self._client[0].read(READ_BYTES):
                for asked in self._wire.asked(data):
                    cut = self._proxy.strikes(asked, self._wire.client)
                    if cut == "before_server":
                        self._proxy.told_cut()
                        return
                    if cut == "before_client":
                        self._swallowing = asked.token
                    await self._proxy.passed(asked.data, self._server[1])

    async def _to_client(self) -> None:
        with suppress(OSError):
            while data := await self._server[0].read(READ_BYTES):
                for answer, token in self._wire.answered(data):
                    if self._swallowing is None:
                        await self._proxy.passed(answer, self._client[1])
                    elif token == self._swallowing:
                        self._proxy.told_cut()  # the server has done it; its word of it goes nowhere
                        return
