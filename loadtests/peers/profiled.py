"""A worker that tells where its time went: `payout worker` with the stages of its frames and the processor time of its threads, written at its end.

python -m loadtests.peers.profiled FOLDER
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from pipeline.observing import STAGE_DURATION, Metric, Silent
from streams import logs
from streams.installation import opened
from streams.settings import load_settings

LOOK_S = 0.1


class Told(msgspec.Struct):
    """What a worker tells: wall seconds of stages, processor seconds of threads, and what it used before it joined its group."""

    stages_s: dict[str, float]
    threads_s: dict[str, float]
    start_s: float


class Stages(Silent):
    """Sums the stages of frames; lanes report from several threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    def observe(self, metric: Metric, value: float, **labels: str) -> None:
        """Adds one measurement."""
        if metric is STAGE_DURATION:
            with self._lock:
                self.seconds[labels["stage"]] = self.seconds.get(labels["stage"], 0.0) + value


class Threads:
    """Processor time of the threads of this process, looked at again and again, since it is gone with its thread."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._names: dict[int, str] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="looking", daemon=True)
        self._thread.start()

    def _look_on(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        self._names |= {thread.native_id: thread.name for thread in threading.enumerate() if thread.native_id is not None}
        tick = os.sysconf("SC_CLK_TCK")
        for task in Path("/proc/self/task").iterdir():
            try:
                fields = (task / "stat").read_text().rpartition(")")[2].split()
            except FileNotFoundError:
                continue
            self._seconds[int(task.name)] = (int(fields[11]) + int(fields[12])) / tick

    def end(self) -> dict[str, float]:
        """Seconds by the name of the thread, without its number."""
        self._ended.set()
        self._thread.join()
        found: dict[str, float] = {}
        for native_id, seconds in self._seconds.items():
            name = self._names.get(native_id, "of libraries").partition("_")[0].rstrip("0123456789- ")
            found[name] = found.get(name, 0.0) + seconds
        return found


def main() -> None:
    """The command line."""
    from streams.worker_app import run

    settings = load_settings()
    logs.configure("error", "json")
    stages, threads = Stages(), Threads()
    with opened(settings, provision=False) as installation:
        start_s = time.process_time()
        run(installation, stages)
    told = Told(stages.seconds, threads.end(), start_s)
    (Path(sys.argv[1]) / f"profile-{os.getpid()}.json").write_bytes(msgspec.json.encode(told))


if __name__ == "__main__":
    main()
