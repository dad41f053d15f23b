"""The lanes of one process: claims its shards, takes frames from their topics until told to stop, reports how far it came."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from multiprocessing.connection import Connection as Pipe
from typing import Protocol

import structlog

from connectors.failpoints import failpoint
from connectors.segment_log import Frame, LogReader
from connectors.store.frames import Replaced
from connectors.store.servers import StoreAway, connect
from pipeline.decisions import ActiveRule
from pipeline.observing import POSITION_CONFLICTS, STORE_TRANSACTION, Observer, Recorder

from . import garbage, logs
from .installation import Installation, opened
from .lane import Lane
from .patience import PATIENCE_S, patiently
from .settings import Settings

log = structlog.get_logger("lanes")


def utc_today() -> date:
    """The day on which accounts are looked at."""
    return datetime.now(UTC).date()


class Reader(Protocol):
    """What gives the records of one topic and shard: the embedded log, or what was fetched from Kafka."""

    def read(self, offset: int, max_records: int) -> Frame:
        """The records from an offset on; none where there are none yet."""
        ...


class Lanes:
    """The lanes of some shards, on one connection to each of their servers."""

    def __init__(
        self,
        installation: Installation,
        rules: Sequence[ActiveRule],
        shards: Sequence[int],
        observer: Observer,
        today: Callable[[], date] = utc_today,
        readers: Mapping[tuple[str, int], Reader] | None = None,
    ) -> None:
        self._installation, self._rules, self._shards, self._observer, self._today = installation, rules, tuple(shards), observer, today
        own = {(topic, shard): LogReader(installation.log_directory, topic, shard) for shard in shards for topic in installation.topics}
        self._readers: Mapping[tuple[str, int], Reader] = own if readers is None else readers
        self._lanes: dict[int, Lane] = {}
        self._turn = 0
        self._stack = ExitStack()

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of every topic and shard."""
        return {(topic, shard): lane.position(topic) for shard, lane in self._lanes.items() for topic in self._installation.topics}

    def claim(self) -> None:
        """Takes the shards over, decides whom a new rule has not decided yet, and looks at the held orders again."""
        self._stack.close()
        owner = f"{os.uname().nodename}:{os.getpid()}"
        store = self._installation.store
        connections = {url: self._stack.enter_context(connect(url, f"payout lanes {os.getpid()}", lane=True)) for url in store.urls}
        for shard in self._shards:
            own = store.url_of(shard)
            self._lanes[shard] = Lane.take_over(
                connections[own], shard, owner, self._installation.topics, [connection for url, connection in connections.items() if url != own],
                registries=self._installation.registries, rules=self._rules,
                policy=self._installation.policy, observer=self._observer, today=self._today,
            )  # fmt: skip
        failpoint("claimed")
        for shard, lane in self._lanes.items():
            for rule in self._rules:
                decided = lane.activate(rule)
                if decided:
                    log.info("activation", shard=shard, benefit=rule.rule.benefit, rule=rule.rule.hash[:12], subjects=decided)
            lane.review_held()
            lane.tell_members()

    def step(self) -> int:
        """Takes at most one frame of each topic of the next shard that has any; gives the number of records, 0 if no shard had one."""
        for _ in self._shards:
            shard = self._shards[self._turn]
            self._turn = (self._turn + 1) % len(self._shards)
            taken = self._take_turn(shard, self._lanes[shard])
            if taken:
                return taken
        return 0

    def _take_turn(self, shard: int, lane: Lane) -> int:
        taken = 0
        for topic in self._installation.topics:
            started = time.perf_counter()
            frame = self._readers[topic, shard].read(lane.position(topic), max_records=self._installation.settings.frame_records)
            if frame.values:
                lane.take(topic, frame.first_offset, list(zip(frame.keys, frame.values, strict=True)))
                self._observer.observe(STORE_TRANSACTION, time.perf_counter() - started)
                taken += len(frame.values)
        return taken

    def patient_claim(self) -> None:
        """A claim that waits for a store that is away."""
        patiently(self.claim, self._observer)

    def patient_step(self) -> int:
        """A step that waits for a store that is away and claims again, since the position tells what was committed."""
        return patiently(self.step, self._observer, again=self.claim)

    def close(self) -> None:
        """Gives the connections back."""
        self._stack.close()


@contextmanager
def lanes_of(installation: Installation, shards: Sequence[int], observer: Observer) -> Iterator[Lanes]:
    """Lanes in this process, claimed."""
    lanes = Lanes(installation, installation.rules(), shards, observer)
    garbage.seldom()
    try:
        lanes.patient_claim()
        yield lanes
    finally:
        lanes.close()


def work(settings: Settings, shards: Sequence[int], pipe: Pipe) -> None:
    """The main function of a lane process: reports (positions, observations) through the pipe until it closes or says stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    logs.configure(settings.log_level, settings.log_format, settings.home)
    recorder = Recorder()
    failure = ""
    try:
        with opened(settings, provision=False) as installation, lanes_of(installation, shards, recorder) as lanes:
            pipe.send((lanes.positions, recorder.take(), ""))
            reported = time.monotonic()
            while True:
                taken = lanes.patient_step()
                if not taken or time.monotonic() - reported > 0.2:
                    pipe.send((lanes.positions, recorder.take(), ""))
                    reported = time.monotonic()
                if pipe.poll(0 if taken else 0.02):
                    pipe.recv()
                    return
    except (EOFError, BrokenPipeError):
        log.warning("the parent process is gone, the lanes stop", shards=list(shards))
        return
    except Replaced as error:
        recorder.count(POSITION_CONFLICTS)
        failure = str(error)
    except StoreAway as error:
        failure = f"the store stayed away for {PATIENCE_S:.0f} s: {error}"
    pipe.send(({}, recorder.take(), failure))
