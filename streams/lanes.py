"""The lanes of one process: claims its shards, takes frames from their topics until told to stop, reports how far it came."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime
from multiprocessing.connection import Connection as Pipe
from typing import NamedTuple, Protocol

import structlog

from connectors.failpoints import failpoint
from connectors.segment_log import Frame, LogReader
from connectors.store import hold_releases
from connectors.store.frames import Replaced
from connectors.store.rule_log import last_entry
from connectors.store.servers import Connection, Row, StoreAway, Use
from pipeline.observing import POSITION_CONFLICTS, STORE_TRANSACTION, Observation, Observer, Recorder
from pipeline.problems import Malformed
from pipeline.standing import Standing

from . import garbage, logs
from .activation import ActivationRuns
from .allowances import Allowances
from .installation import Installation, opened
from .lane import Lane
from .patience import PATIENCE_S, patiently
from .settings import Settings

log = structlog.get_logger("lanes")

Seen = tuple[int, date, tuple[int, ...]]
"""The last entry of the log of rules, the day, and the last release by hand of each server."""


def utc_today() -> date:
    """The day on which accounts are looked at."""
    return datetime.now(UTC).date()


LOOK_S = 1.0
"""How often the log of rules is looked at, and whether a new day has begun."""


class Reader(Protocol):
    """What gives the records of one topic and shard: the embedded log, or what was fetched from Kafka."""

    def read(self, offset: int, max_records: int) -> Frame:
        """The records from an offset on; none where there are none yet."""
        ...


class Lanes:
    """The lanes of some shards, on one connection to each of their servers. `standing` tells what decides on a day."""

    def __init__(
        self,
        installation: Installation,
        standing: Callable[[date], Sequence[Standing]],
        shards: Sequence[int],
        observer: Observer,
        today: Callable[[], date] = utc_today,
        readers: Mapping[tuple[str, int], Reader] | None = None,
    ) -> None:
        self._installation, self._standing, self._shards, self._observer, self._today = installation, standing, tuple(shards), observer, today
        own = {(topic, shard): LogReader(installation.log_directory, topic, shard) for shard in shards for topic in installation.topics}
        self._readers: Mapping[tuple[str, int], Reader] = own if readers is None else readers
        self._lanes: dict[int, Lane] = {}
        self._runs: dict[int, ActivationRuns] = {}
        self._rule_log: Connection[Row] | None = None
        self._reserves: Connection[Row] | None = None
        self._stands: Sequence[Standing] | None = None
        self._seen: Seen | None = None
        self._servers: Sequence[Connection[Row]] = ()
        self._looked = 0.0
        self._turn = 0
        self._stack = ExitStack()

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of every topic and shard."""
        return {(topic, shard): lane.position(topic) for shard, lane in self._lanes.items() for topic in self._installation.topics}

    @property
    def deciding(self) -> tuple[int, int] | None:
        """(decided, known) of the activation runs that are not through; None where all of them are."""
        runs = [run.progress for run in self._runs.values() if run.pending]
        return (sum(decided for decided, _ in runs), sum(known for _, known in runs)) if runs else None

    def claim(self) -> None:
        """Takes the shards over; whom a rule has not decided yet, and what is held, is looked at again in the steps that follow."""
        self._stack.close()
        self._reserves = None
        owner = f"{os.uname().nodename}:{os.getpid()}"
        store = self._installation.store
        connections = {url: self._stack.enter_context(store.connect(url, f"payout lanes {os.getpid()}", Use.LANE)) for url in store.urls}
        for shard in self._shards:
            own = store.url_of(shard)
            self._lanes[shard] = Lane.take_over(
                connections[own], shard, owner, self._installation.topics, [connection for url, connection in connections.items() if url != own],
                registries=self._installation.registries, policy=self._installation.policy, observer=self._observer, today=self._today,
                allowances=Allowances(store, shard, connections[own], self._reserving),
            )  # fmt: skip
        failpoint("claimed")
        self._runs = {shard: ActivationRuns(lane) for shard, lane in self._lanes.items()}
        self._rule_log, self._servers = connections[store.urls[0]], tuple(connections.values())
        self._stand(self._look())

    def _reserving(self) -> Connection[Row]:
        """The connection on which budgets are reserved while a transaction of a lane is under way; most installations never need it."""
        if self._reserves is None:
            store = self._installation.store
            self._reserves = self._stack.enter_context(store.connect(store.urls[0], f"payout budgets {os.getpid()}"))
        return self._reserves

    def look(self) -> None:
        """Follows the log of rules where it has grown, and the calendar where a day has begun. Rules that cannot be read change nothing."""
        self._looked = time.monotonic()
        seen = self._look()
        if self._seen is None or seen[:2] != self._seen[:2]:
            self._stand(seen)
        elif seen != self._seen:
            for runs in self._runs.values():
                runs.look_again()
            self._seen = seen

    def _look(self) -> Seen:
        assert self._rule_log is not None, "the lanes are claimed"
        return last_entry(self._rule_log), self._today(), tuple(map(hold_releases.last, self._servers))

    def _stand(self, seen: Seen) -> None:
        """The rules that stand decide from now on, in all lanes: those of the log, or the last good ones where it cannot be read."""
        try:
            self._stands = self._standing(seen[1])
        except Malformed as malformed:
            if self._stands is None:
                raise
            log.error("the log of rules cannot be followed, the last good rules stay", problems=[str(problem) for problem in malformed.problems])
        for runs in self._runs.values():
            runs.begin(self._stands)
        self._seen = seen

    def step(self) -> int:
        """Takes one chunk of an activation run, and at most one frame of each topic of the next shard that has any; gives how much it was.

        The chunk comes first, so that what was held when the shards were claimed is looked at before the frames hold more.
        """
        if time.monotonic() - self._looked > LOOK_S:
            self.look()
        return self._decide_next() + self._take_next()

    def _take_next(self) -> int:
        """The number of records taken, 0 if no shard had one."""
        for _ in self._shards:
            shard = self._shards[self._turn]
            self._turn = (self._turn + 1) % len(self._shards)
            taken = self._take_turn(shard, self._lanes[shard])
            if taken:
                return taken
        return 0

    def _decide_next(self) -> int:
        """The number of subjects that the first unfinished activation run has looked at that can go on."""
        for runs in self._runs.values():
            decided = runs.step() if runs.pending else 0
            if decided:
                return decided
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


class Report(NamedTuple):
    """What a process of lanes tells: positions, activation runs as `Lanes.deciding` gives them, observations, and why it ends."""

    positions: dict[tuple[str, int], int]
    deciding: tuple[int, int] | None
    observations: list[Observation]
    failure: str = ""


@contextmanager
def lanes_of(installation: Installation, shards: Sequence[int], observer: Observer) -> Iterator[Lanes]:
    """Lanes in this process, claimed."""
    lanes = Lanes(installation, installation.standing, shards, observer)
    garbage.seldom()
    try:
        lanes.patient_claim()
        yield lanes
    finally:
        lanes.close()


def work(settings: Settings, shards: Sequence[int], pipe: Pipe) -> None:
    """The main function of a lane process: sends reports through the pipe until it closes or says stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent says when to stop
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    logs.configure(settings.log_level, settings.log_format, settings.home)
    recorder = Recorder()
    failure = ""
    try:
        with opened(settings, provision=False) as installation, lanes_of(installation, shards, recorder) as lanes:
            pipe.send(Report(lanes.positions, lanes.deciding, recorder.take()))
            reported = time.monotonic()
            while True:
                taken = lanes.patient_step()
                if not taken or time.monotonic() - reported > 0.2:
                    pipe.send(Report(lanes.positions, lanes.deciding, recorder.take()))
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
    pipe.send(Report({}, None, recorder.take(), failure))
