"""The command line of a process that is in trouble by itself: its clock is wrong, or its event loop stands still when it is told so.

python -m loadtests.faults.troubled clock SECONDS|still COMMAND…
python -m loadtests.faults.troubled blocked SECONDS COMMAND…
"""

from __future__ import annotations

import datetime
import signal
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Self

from structlog import processors

from streams import cli, desks, lanes

JUMP_EVERY_S, JUMP_S = 5, 600
STANDS, GOES_ON = "the event loop stands still", "the event loop goes on"

_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_began_s, _began_ns = _monotonic(), _time_ns()


def wrong_ns(skew: str) -> Callable[[], int]:
    """A clock that stands still, or is so many seconds off and, in every other five seconds, ten minutes more behind."""
    if skew == "still":
        return lambda: _began_ns
    return lambda: _time_ns() + (int(skew) - JUMP_S * (int(_monotonic() - _began_s) // JUMP_EVERY_S % 2)) * 1_000_000_000


def set_clock(skew: str) -> None:
    """Sets the clock of this process wherever it is read; what waits by the monotonic clock is as it was."""
    now_ns = wrong_ns(skew)

    class Wrong(datetime.datetime):
        """The date and time by the wrong clock."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            """What the wrong clock says."""
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: now_ns() / 1_000_000_000
    time.time_ns = now_ns
    for module in (lanes, desks):
        module.datetime = Wrong  # type: ignore[attr-defined]
    processors.datetime = SimpleNamespace(datetime=Wrong, timezone=datetime.timezone)  # type: ignore[assignment, attr-defined]


def block_when_told(seconds: float) -> None:
    """At SIGVTALRM, which nothing else uses, the event loop of the main thread stands still for so long."""

    def block(*_: object) -> None:
        print(STANDS, file=sys.stderr, flush=True)
        time.sleep(seconds)
        print(GOES_ON, file=sys.stderr, flush=True)

    signal.signal(signal.SIGVTALRM, block)  # it runs in the main thread, as the loop does


def main() -> None:
    """Brings the trouble, and runs the command."""
    kind, how = sys.argv.pop(1), sys.argv.pop(1)
    if kind == "clock":
        set_clock(how)
    else:
        block_when_told(float(how))
    cli.main()


if __name__ == "__main__":
    main()
