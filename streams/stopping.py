"""Being asked to stop: SIGINT and SIGTERM are noted, so that the work in hand is finished, and a wait ends at once."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Asked:
    """Whether a signal has come. It waits on a pipe: a handler may run in the middle of a wait, where a lock of `threading` could be held already."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._received = False

    def is_set(self) -> bool:
        """Whether it has come."""
        return self._received

    def wait(self, timeout: float) -> bool:
        """Returns after so many seconds, or when it has come; gives whether it has."""
        return bool(select.select([self._read], [], [], timeout)[0])

    def note(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        self._received = True
        with suppress(BlockingIOError):
            os.write(self._write, b"\0")

    def close(self) -> None:
        """Gives the pipe back."""
        os.close(self._read)
        os.close(self._write)


@contextmanager
def signals() -> Iterator[Asked]:
    """Notes SIGINT and SIGTERM until the end, when the handlers before are there again."""
    asked = Asked()
    before = {number: signal.signal(number, asked.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        asked.close()
