"""The command line under a clock that is wrong: so many seconds off, and ten minutes back every five seconds.

python -m loadtests.faults.skewed SECONDS COMMAND…
"""

from __future__ import annotations

import datetime
import sys
import time
from typing import Self

JUMP_EVERY_S, JUMP_S = 5, 600

_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic
_began_s = _monotonic()


def off_s(skew_s: int) -> int:
    """How far the clock is off now; it has jumped back once for every five seconds."""
    return skew_s - JUMP_S * (int(_monotonic() - _began_s) // JUMP_EVERY_S % 2)


def set_off(skew_s: int) -> None:
    """Sets the clock of this process off; what waits by the monotonic clock is as it was."""

    class Skewed(datetime.datetime):
        """The date and time by the wrong clock."""

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Self:
            """What the wrong clock says."""
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: _time() + off_s(skew_s)
    time.time_ns = lambda: _time_ns() + off_s(skew_s) * 1_000_000_000
    datetime.datetime = Skewed  # type: ignore[misc]


def main() -> None:
    """Sets the clock off before anything else is imported."""
    set_off(int(sys.argv.pop(1)))
    from streams.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()
