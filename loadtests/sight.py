"""The positions of a site, looked at again and again: when which record was seen to be taken, and how fast it goes."""

from __future__ import annotations

import bisect
import threading
import time
from typing import NamedTuple

from .site import Site, looking, positions


class Seen(NamedTuple):
    """The positions at a moment."""

    at_s: float
    offsets: dict[int, int]


class Sight:
    """Looks at the positions again and again, on a connection of its own."""

    def __init__(self, site: Site, look_s: float = 0.002) -> None:
        self._site, self._look_s, self._ended = site, look_s, threading.Event()
        self.seen: list[Seen] = []
        self._thread = threading.Thread(target=self._look_on, name="sight")

    def _look_on(self) -> None:
        with looking(self._site) as connection:
            while not self._ended.wait(self._look_s):
                offsets = positions(connection)
                if not self.seen or self.seen[-1].offsets != offsets:
                    self.seen.append(Seen(time.monotonic(), offsets))

    def __enter__(self) -> Sight:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def taken(self) -> int:
        """Records that have been taken."""
        return sum(self.seen[-1].offsets.values()) if self.seen else 0

    def moments(self, shard: int, first: int, end: int) -> list[float]:
        """When each of these offsets was first seen to be taken."""
        offsets = [seen.offsets.get(shard, 0) for seen in self.seen]
        return [self.seen[bisect.bisect_right(offsets, offset)].at_s for offset in range(first, end)]

    def rate(self, begin_s: float, end_s: float) -> float:
        """Records a second between two moments."""
        return (self._at(end_s) - self._at(begin_s)) / (end_s - begin_s)

    def _at(self, moment_s: float) -> int:
        place = bisect.bisect_right([seen.at_s for seen in self.seen], moment_s)
        return sum(self.seen[place - 1].offsets.values()) if place else 0
