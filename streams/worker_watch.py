"""Notices what Faust does not: a broker that answers nothing, partitions that are assigned and not read, a group that does not settle."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Mapping
from typing import NamedTuple

import structlog

from connectors.kafka_cluster import KafkaAway
from connectors.kafka_topics import log_ends
from pipeline.observing import UNREAD, Observer

from .installation import Installation

log = structlog.get_logger("worker")

SETTLE_S = 20.0
"""How long the group may take beyond a session timeout to give everybody partitions."""

SETTLING = ("the group has not given this worker partitions", 0)
"""Stands for all partitions while the group is rebalancing."""

Place = tuple[str, int]


class Stuck(RuntimeError):
    """Records wait and nothing happens: the worker must be started anew."""


class Sight(NamedTuple):
    """What a look has found: the places that have not been read, for how long the longest, and whether that is all of those that were read before."""

    places: tuple[Place, ...] = ()
    unread_s: float = 0.0
    silent: bool = False

    def __str__(self) -> str:
        if self.silent:
            return SETTLING[0] if self.places == (SETTLING,) else "Kafka answers nothing"
        return "partitions are assigned here and are not read"


class Watch:
    """Looks again and again at the partitions that ought to be read. Time is handed in, in seconds of a clock that only goes forward."""

    def __init__(self) -> None:
        self._since: dict[Place, tuple[float, Hashable]] = {}

    def look(self, now_s: float, expected: Mapping[Place, Hashable], patience_s: float) -> Sight:
        """What has not been read for too long. A place's mark must be another one whenever it has been read, and None where it never was."""
        before = self._since
        self._since = {place: before[place] if place in before and before[place][1] == mark else (now_s, mark) for place, mark in expected.items()}
        late = {place: now_s - since for place, (since, _) in self._since.items() if now_s - since > patience_s}
        silent = len(late) == len(expected) and None not in expected.values()
        return Sight(tuple(sorted(late)), max(late.values()), silent) if late else Sight()


class Lookout:
    """Warns of what is not read, and ends the worker where another one would do better."""

    def __init__(self, installation: Installation, observer: Observer, failed: Callable[[BaseException], None]) -> None:
        self._installation, self._observer, self._failed = installation, observer, failed
        self._session_s, self._stuck_s = installation.settings.kafka.session_s, installation.settings.kafka.stuck_s
        self._watch, self._said = Watch(), ""

    async def look(self, expected: Mapping[Place, Hashable] | None) -> None:
        """Looks at the partitions that ought to be read; None while the group is rebalancing."""
        patience_s = self._session_s if expected is not None else self._session_s + SETTLE_S
        sight = self._watch.look(time.monotonic(), {SETTLING: 0} if expected is None else expected, patience_s)
        self._observer.gauge(UNREAD, sight.unread_s)
        if not sight.places:
            if self._said:
                log.info("everything is read again")
            self._said = ""
            return
        if self._said != str(sight):
            places = [] if sight.places == (SETTLING,) else [f"{topic} {number}" for topic, number in sight.places]
            log.warning(str(sight), seconds=round(sight.unread_s), partitions=places)
            self._said = str(sight)
        if sight.unread_s > self._stuck_s and (not sight.silent or await asyncio.get_running_loop().run_in_executor(None, self._answers)):
            self._failed(Stuck(f"{sight} for {sight.unread_s:.0f} s, while Kafka answers others: {', '.join(map(str, sight.places))}"))

    def _answers(self) -> bool:
        try:
            log_ends(self._installation.settings.kafka.cluster(), self._installation.topics[:1], 1)
        except KafkaAway:
            return False
        return True
