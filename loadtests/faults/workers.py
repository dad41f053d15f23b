"""Workers as processes of their own, and the supervisor that starts another one where one has ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from connectors.failpoints import VARIABLE
from streams.settings import SHIPPED

from . import forked
from .ground import NotAsItMustBe

os.environ["POLARS_MAX_THREADS"] = "1"  # read once, by the process from which workers are forked
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([forked.__name__])

END_S = 60.0
"""Within this a worker ends that was asked to."""

RESTARTS = 60
"""Workers that end more often do not end because of a fault."""


class Worker:
    """`payout worker` in a process of its own, with its log."""

    def __init__(self, environment: dict[str, str], log: Path, trouble: Sequence[str]) -> None:
        self.log, self.began_s = log, time.time()
        log.touch()
        self._process: BaseProcess | subprocess.Popen[bytes]
        if trouble:
            command = [sys.executable, "-m", "loadtests.faults.troubled", *trouble, "worker"]
            with log.open("wb") as file:
                self._process = subprocess.Popen(command, env=os.environ | environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        else:
            self._process = CONTEXT.Process(target=forked.main, args=(environment, log))
            self._process.start()

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process.pid is not None, "it was started"
        return self._process.pid

    @property
    def owner(self) -> str:
        """What stands in the store as the owner of its shards."""
        return f"{os.uname().nodename}:{self.pid}"

    @property
    def code(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._process.exitcode if isinstance(self._process, BaseProcess) else self._process.poll()

    def ended(self, within_s: float) -> int | None:
        """Its exit code once it has ended; None where it does not."""
        if isinstance(self._process, BaseProcess):
            self._process.join(within_s)
        else:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(within_s)
        return self.code

    @property
    def killed(self) -> bool:
        """Whether it ended by SIGKILL."""
        return self.code == -signal.SIGKILL

    @property
    def text(self) -> str:
        """What it has written."""
        return self.log.read_text(errors="replace")

    def said(self, *texts: str) -> int:
        """How often its log has any of these."""
        log = self.text
        return sum(log.count(text) for text in texts)

    def signal(self, number: int) -> None:
        """Sends it a signal."""
        if self.code is None:
            os.kill(self.pid, number)


class Workers:
    """All workers of a case, those that have ended among them."""

    def __init__(self, home: Path, environment: Callable[[], dict[str, str]]) -> None:
        self._home, self._environment = home, environment
        self.all: list[Worker] = []
        self.restarts = 0
        self._leaving: set[Worker] = set()

    def add(self, *, failpoint: str = "", trouble: Sequence[str] = ()) -> Worker:
        """Starts one more; it ends at a point, or is in trouble by itself (`loadtests.faults.troubled`)."""
        environment = self._environment() | ({VARIABLE: failpoint} if failpoint else {})
        self.all.append(Worker(environment, self._home / f"worker{len(self.all)}.log", trouble))
        return self.all[-1]

    @property
    def running(self) -> list[Worker]:
        """Those that run."""
        return [worker for worker in self.all if worker.code is None]

    def said(self, *texts: str) -> int:
        """How often the logs of all have any of these."""
        return sum(worker.said(*texts) for worker in self.all)

    def let_go(self, *workers: Worker) -> None:
        """Where these end, nobody is to start others."""
        self._leaving.update(workers)

    def end(self, worker: Worker, number: int) -> int:
        """Ends one by a signal, for good; gives its exit code."""
        self.let_go(worker)
        worker.signal(number)
        return self._ended(worker)

    def stop(self) -> None:
        """Ends all as an operator does."""
        running = self.running
        self.let_go(*self.all)
        for worker in running:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGTERM)
        for worker in running:
            self._ended(worker)

    def _ended(self, worker: Worker) -> int:
        code = worker.ended(END_S)
        if code is None:
            worker.signal(signal.SIGKILL)
            raise NotAsItMustBe(f"a worker did not end when it was asked to\n{self.told()}")
        return code

    def kill(self) -> None:
        """Leaves no process."""
        self.let_go(*self.all)
        for worker in self.all:
            worker.signal(signal.SIGKILL)
            worker.ended(END_S)

    def tend(self) -> None:
        """Does what a supervisor does: for each that has ended, another one is started."""
        for worker in self.all[:]:
            if worker.code is not None and worker not in self._leaving:
                self._leaving.add(worker)
                self.restarts += 1
                if self.restarts > RESTARTS:
                    raise NotAsItMustBe(f"workers end again and again\n{self.told()}")
                self.add()

    def told(self) -> str:
        """The end of what they wrote."""
        return "\n".join(f"{worker.log.name} ({worker.code}): {worker.text[-1500:]}" for worker in self.all[-4:])
