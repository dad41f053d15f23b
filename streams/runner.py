"""The embedded runner: lanes in one or more processes, the relay and the bank desk beside them, until stopped or until idle."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection as Pipe
from multiprocessing.process import BaseProcess

import structlog

from connectors.segment_log import LogReader, LogWriter
from pipeline.observing import LAG, Observer, report

from . import garbage
from .dispatch import Dispatch
from .installation import Installation
from .lanes import Lanes, Report, lanes_of, utc_today, work

log = structlog.get_logger("runner")

TELL_S = 0.25
"""How often progress is told: a look at the ends of all logs costs as much as a hundred orders."""

PAUSE_S = 0.02
"""How long the runner rests when there was nothing to do."""


class LaneFailed(RuntimeError):
    """A process of lanes ended by itself: what it said, and that running again goes on from the committed positions."""


class Progress:
    """How far the lanes are: called with (records taken, records in the log) whenever it may have changed."""

    def __call__(self, done: int, total: int) -> None:
        """Shows nothing."""

    def deciding(self, decided: int, known: int) -> None:
        """How far everybody already known has been decided, while an activation run is on; shows nothing."""


class _Here:
    """Lanes inside this process."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    def step(self) -> int:
        return self._lanes.patient_step()

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        return self._lanes.positions

    @property
    def deciding(self) -> tuple[int, int] | None:
        return self._lanes.deciding


class _Apart:
    """Lanes in processes of their own, each with a part of the shards."""

    def __init__(self, installation: Installation, processes: int, observer: Observer, stack: ExitStack) -> None:
        self._observer = observer
        self.positions: dict[tuple[str, int], int] = {}
        self._deciding: dict[str, tuple[int, int]] = {}
        self._workers: list[tuple[BaseProcess, Pipe]] = []
        # A frame is small: one thread decides it in less time than several take to agree, and the cores are the lanes'.
        os.environ.setdefault("POLARS_MAX_THREADS", "1")
        context = multiprocessing.get_context("spawn")
        resource_tracker.ensure_running()  # its own start would unblock the signal
        stack.callback(self._stop)
        for number in range(processes):
            ours, theirs = context.Pipe()
            shards = range(number, installation.store.shards, processes)
            process = context.Process(target=work, args=(installation.settings, shards, theirs), name=f"lanes {number}")
            # Ctrl-C reaches the whole group: a process that is still being born must not die of it with a traceback.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
            theirs.close()
            self._workers.append((process, ours))

    def step(self) -> int:
        heard = 0
        for process, pipe in self._workers:
            try:
                while pipe.poll():
                    told: Report = pipe.recv()
                    report(told.observations, self._observer)
                    if told.failure:
                        raise LaneFailed(told.failure)
                    heard += sum(told.positions.values()) - sum(self.positions.get(key, 0) for key in told.positions)
                    self.positions.update(told.positions)
                    self._deciding.pop(process.name, None)
                    if told.deciding is not None:
                        self._deciding[process.name] = told.deciding
            except (EOFError, ConnectionResetError):
                process.join(5)
                raise LaneFailed(
                    f"the process of {process.name} ended with code {process.exitcode}; run again, it goes on from the committed positions"
                ) from None
        return heard

    @property
    def deciding(self) -> tuple[int, int] | None:
        runs = self._deciding.values()
        return (sum(decided for decided, _ in runs), sum(known for _, known in runs)) if runs else None

    def _stop(self) -> None:
        for _, pipe in self._workers:
            try:
                pipe.send("stop")
            except OSError:
                continue  # it is gone already
        for process, pipe in self._workers:
            process.join(30)
            if process.is_alive():
                process.terminate()
                process.join(5)
            pipe.close()


class Runner:
    """Everything that runs on one machine: `step` does what there is to do, `run` repeats it."""

    def __init__(self, installation: Installation, observer: Observer, lanes: _Here | _Apart, stack: ExitStack) -> None:
        store = installation.store
        self._observer, self._lanes = observer, lanes
        self._ends = {(topic, shard): LogReader(installation.log_directory, topic, shard) for topic in installation.topics for shard in range(store.shards)}
        self._dispatch = Dispatch(installation, stack.enter_context(LogWriter(installation.log_directory)), observer)
        stack.callback(self._dispatch.close)

    def ends(self) -> dict[tuple[str, int], int]:
        """The end of the log per topic and shard."""
        return {key: reader.end_offset() for key, reader in self._ends.items()}

    @property
    def positions(self) -> dict[tuple[str, int], int]:
        """The next offset of every topic and shard, as far as the lanes have said."""
        return self._lanes.positions

    @property
    def deciding(self) -> tuple[int, int] | None:
        """How far everybody already known has been decided, as (decided, known); None where no activation run is on."""
        return self._lanes.deciding

    def step(self) -> tuple[int, bool]:
        """One round: (what was done, whether the lanes had everything when it began)."""
        done = self._lanes.step()
        caught_up = not done and self._lanes.deciding is None and all(self._lanes.positions.get(key, -1) == end for key, end in self.ends().items())
        return done + self._dispatch.step(), caught_up

    def run(self, *, until_idle: bool, stop: Callable[[], bool] = lambda: False, progress: Progress | None = None) -> int:
        """Repeats until told to stop or, with `until_idle`, until there is nothing left to do anywhere; gives how much was done."""
        told, all_done = 0.0, 0
        while not stop():
            done, caught_up = self.step()
            all_done += done
            if until_idle and caught_up and not done:
                break
            if time.monotonic() - told > TELL_S:
                self._tell(progress)
                told = time.monotonic()
            if not done:
                time.sleep(PAUSE_S)
        self._tell(progress)
        return all_done

    def _tell(self, progress: Progress | None) -> None:
        positions, ends = self._lanes.positions, self.ends()
        if progress is not None:
            progress(sum(positions.values()), sum(ends.values()))
            progress.deciding(*(self._lanes.deciding or (0, 0)))
        for (topic, shard), end in ends.items():
            self._observer.gauge(LAG, end - positions.get((topic, shard), 0), topic=topic, shard=str(shard))


@contextmanager
def runner_of(installation: Installation, observer: Observer, processes: int | None = None) -> Iterator[Runner]:
    """A runner with its lanes: in this process with `processes` = 0, else in that many others."""
    count = installation.settings.processes if processes is None else processes
    with ExitStack() as stack:
        lanes: _Here | _Apart
        if count == 0:
            lanes = _Here(stack.enter_context(lanes_of(installation, range(installation.store.shards), observer)))
        else:
            installation.standing(utc_today())  # tells rules that cannot be read, before any process starts
            garbage.seldom()
            lanes = _Apart(installation, min(count, installation.store.shards), observer, stack)
        yield Runner(installation, observer, lanes, stack)
