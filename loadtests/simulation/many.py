"""Many histories, one seed after the other, over as many processes as are given."""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streams import logs

from .ground import Ground, ground_server, memory
from .history import History, Outcome
from .world import KINDS, OTHER_KINDS, POINTS, Fault

ENOUGH_FOR_POINTS, ENOUGH_FOR_KINDS = 200, 2_000


@dataclass
class Tally:
    """What came of all histories together."""

    histories: int = 0
    steps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    failed: list[Outcome] = field(default_factory=list)
    _traces: dict[int, bytes] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Counts a history."""
        self.histories += 1
        self.steps += outcome.steps
        self.faults += outcome.faults
        self._traces[outcome.seed] = hashlib.sha256("\n".join(outcome.trace).encode()).digest()
        if outcome.problems:
            self.failed.append(outcome)

    @property
    def traces(self) -> str:
        """A hash of all traces: the same seeds give the same one, in however many processes."""
        return hashlib.sha256(b"".join(digest for _, digest in sorted(self._traces.items()))).hexdigest()

    @property
    def never(self) -> list[str]:
        """What should have happened among so many histories and did not: of hundreds some fault at every point, of thousands every fault at every point."""
        if self.histories < ENOUGH_FOR_POINTS:
            return []
        kinds = KINDS if self.histories >= ENOUGH_FOR_KINDS else OTHER_KINDS
        points = sorted({point for points in POINTS.values() for point in points})
        missed = [f"some fault at {point}" for point in points if not any(self.faults[f"{fault} at {point}"] for fault in Fault)]
        return missed + [kind for kind in kinds if not self.faults[kind]]


def histories(seeds: Iterable[int], processes: int = 1) -> Iterator[Outcome]:
    """The outcomes of these seeds, each as soon as it is there."""
    if processes == 1:
        with ground_here() as ground:
            for seed in seeds:
                yield History(ground, seed).run()
        return
    with _place() as (directory, url), ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _prepared, (directory, url)) as pool:
        yield from pool.map(_history, seeds)


def again(seed: int, length: int | None = None) -> Outcome:
    """The history of a seed, or its first steps and then rest."""
    with ground_here() as ground:
        return History(ground, seed, length).run()


def shortest(seed: int) -> Outcome:
    """The history of a seed with as few of its steps as it takes to fail; the whole one where it does not fail."""
    with ground_here() as ground:
        whole = History(ground, seed).run()
        for length in range(whole.length if whole.problems else 0):
            shorter = History(ground, seed, length).run()
            if shorter.problems:
                return shorter
        return whole


@contextmanager
def ground_here() -> Iterator[Ground]:
    """A ground for this process."""
    with _place() as (directory, url):
        yield Ground(directory, url)


@contextmanager
def _place() -> Iterator[tuple[Path, str]]:
    _silent()
    with memory() as directory, ground_server(directory) as url:
        yield directory, url


def _silent() -> None:
    """What the actors and the database driver log of faults, the trace says better."""
    logs.configure("critical", "json")
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)


_grounds: list[Ground] = []
"""The ground of this process of a pool."""


def _prepared(directory: Path, url: str) -> None:
    _silent()
    name = f"simulation_{multiprocessing.current_process().pid}"
    place = directory / name
    place.mkdir()
    _grounds.append(Ground(place, url, name))


def _history(seed: int) -> Outcome:
    return History(_grounds[0], seed).run()
