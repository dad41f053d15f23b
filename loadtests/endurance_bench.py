"""Ten million events in a row: what memory, file handles and database connections do meanwhile, and how fast it goes to the end.

    python -m loadtests.endurance_bench [--kafka] [--events N] [--write]

Whole rounds of one assessment of each tax unit go through `payout run` (or, with `--kafka`, two `payout worker`s): the first is new, every sixth corrects
the income of one in fourteen, and all else is sent again. In the end it is held to what must be owed and to what must have become of every record. The disk
that this takes is asked for before (about 0.6 KB an event), and given back. `--write` writes the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from connectors.broker_files import BrokerUnavailable
from connectors.log_batch import Record
from connectors.store.servers import Connection, Row
from streams.settings import SHIPPED

from .bench import Message
from .documents import machine, markdown, write_block
from .peers.job import amount_minor, corrected, records
from .site import Site, SiteFailed, embedded_site, kafka_site, looking, ordered, positions

CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
BACKLOG = 200_000
CORRECTED_EVERY = 6
MORE_MINOR = 1_000_000
ONE_IN = 14
EVENT_BYTES = 600
STORE_BYTES = 3_000_000_000
FLAT_SHARE, FLAT_MB = 0.05, 8.0
HEAD = ("process", "MB at a quarter", "MB at the end", "most MB", "MB by time", "handles at a quarter", "at the end", "")
BLOCKS = "▁▂▃▄▅▆▇█"


class Sample(NamedTuple):
    """What was seen at a moment: events taken, own memory and file handles of each process, connections to the database."""

    at_s: float
    events: int
    memory_mb: dict[str, float]
    handles: dict[str, int]
    connections: int


class Rounds:
    """The rounds, one after another: what is sent in each, and what must be owed after it."""

    def __init__(self, units: int | None) -> None:
        self._first = list(records(units))
        self.size = sum(len(piece) for piece in self._first)
        self.applied = self.size
        self._now = list(self._first)

    def round(self, number: int) -> Sequence[Sequence[Record]]:
        """The pieces of a round."""
        if number and number % CORRECTED_EVERY == 0:
            version, parts = 1 + number // CORRECTED_EVERY, min(ONE_IN, len(self._first))
            for place in range(version % parts, len(self._first), parts):
                # Only a part of the people, since what is known of somebody grows with every correction, and a frame with it.
                self._now[place] = corrected(self._first[place], version, MORE_MINOR)
                self.applied += len(self._first[place])
        return self._now

    def owed_minor(self) -> int:
        """What is owed to everybody together by what was sent last."""
        decode = msgspec.json.Decoder(Message).decode
        return sum(amount_minor(decode(value).data) for piece in self._now for _, value in piece)


class Watching:
    """Sends the rounds, never too far ahead, and looks at the processes every so many seconds."""

    def __init__(self, site: Site, connection: Connection[Row], look_s: float, advance: Callable[[int], None]) -> None:
        self._site, self._connection, self._look_s, self._advance = site, connection, look_s, advance
        self.samples: list[Sample] = []
        self._started = time.monotonic()
        self._looked = 0.0

    def send(self, rounds: Rounds, count: int) -> float:
        """Sends so many rounds and waits until they are taken; gives the seconds that took."""
        started = time.monotonic()
        for number in range(count):
            for piece in rounds.round(number):
                while self._site.put_records - self._taken() > BACKLOG:
                    self._rest()
                self._site.put(piece)
                self._look()
        while self._taken() < self._site.put_records:
            self._rest()
        seconds = time.monotonic() - started
        self._looked = 0.0
        self._look()
        return seconds

    def _taken(self) -> int:
        taken = sum(positions(self._connection).values())
        self._advance(taken)
        return taken

    def _rest(self) -> None:
        self._site.look()
        self._look()
        time.sleep(0.05)

    def _look(self) -> None:
        if time.monotonic() - self._looked < self._look_s:
            return
        self._looked = time.monotonic()
        memory_mb: dict[str, float] = {}
        handles: dict[str, int] = {}
        for name, root in self._site.processes().items():
            family = [root, *root.children()] if name == "postgresql" else [root]
            for process in family:
                try:
                    memory_mb[name] = memory_mb.get(name, 0.0) + own_mb(process.pid)
                    handles[name] = handles.get(name, 0) + process.num_fds()
                except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
                    continue  # PostgreSQL's helpers come and go
        asked = self._connection.execute("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
        row = asked.fetchone()
        assert row is not None, "an aggregate has a row"
        self.samples.append(Sample(self._looked - self._started, self._taken(), memory_mb, handles, int(str(row[0]))))


def own_mb(pid: int) -> float:
    """The memory that a process has for itself: without files, and without what it shares, such as PostgreSQL's buffers."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon")), 0.0)


class Course(msgspec.Struct, frozen=True):
    """What one process's memory and handles did: medians of the second quarter of the time and of the last."""

    process: str
    quarter_mb: float
    end_mb: float
    most_mb: float
    line: str
    quarter_handles: int
    end_handles: int

    @property
    def flat(self) -> bool:
        """Whether it did not grow; PostgreSQL's handles are those of its tables' files, which follow the rows."""
        grown_mb = self.end_mb - self.quarter_mb
        return grown_mb <= max(FLAT_MB, FLAT_SHARE * self.quarter_mb) and (self.end_handles <= self.quarter_handles or self.process == "postgresql")

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        sizes = (f"{size:,.0f}" for size in (self.quarter_mb, self.end_mb, self.most_mb))
        return self.process, *sizes, self.line, str(self.quarter_handles), str(self.end_handles), "flat" if self.flat else "GROWS"


def courses(samples: Sequence[Sample]) -> list[Course]:
    """By process."""
    quarter = len(samples) // 4
    second, last = samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:] or samples[-1:]
    found = []
    for name in samples[-1].memory_mb:
        sizes = [sample.memory_mb.get(name, 0.0) for sample in samples]
        quarter_mb, end_mb = (statistics.median(sample.memory_mb.get(name, 0.0) for sample in part) for part in (second, last))
        handles = [max(sample.handles.get(name, 0) for sample in part) for part in (second, last)]
        found.append(Course(name, quarter_mb, end_mb, max(sizes), sparkline(sizes), *handles))
    return found


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """Values from zero to the highest as a line of blocks."""
    step = max(1, -(-len(values) // width))
    top = max(values) or 1.0
    return "".join(BLOCKS[round(max(values[start : start + step]) / top * (len(BLOCKS) - 1))] for start in range(0, len(values), step))


def as_due(connection: Connection[Row], rounds: Rounds, count: int) -> bool:
    """Whether what is owed, and what became of every record, is what it must be."""
    row = connection.execute("SELECT sum(applied), sum(duplicate), sum(conflict), sum(dead_letter) FROM frame").fetchone()
    return row == (rounds.applied, rounds.size * count - rounds.applied, 0, 0) and ordered(connection).owed_minor == rounds.owed_minor()


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal."""
    columns = TextColumn("events taken"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("events", total=total)
        yield lambda taken: bar.update(task, completed=taken)


def tell(kind: str, samples: Sequence[Sample], seconds: float, disk_bytes: int) -> list[str]:
    """Prints the table; gives the sentences beside it."""
    table = Table(*HEAD, title=f"{kind}, {samples[-1].events:,} events; {machine()}")
    for course in courses(samples):
        table.add_row(*course.cells)
    CONSOLE.print(table)
    quarter = max(1, len(samples) // 4)
    parts = [samples[index * (len(samples) - 1) // 4] for index in range(5)]
    by_quarters = [f"{(later.events - earlier.events) / max(0.001, later.at_s - earlier.at_s):,.0f}" for earlier, later in itertools.pairwise(parts)]
    before, after = (max(sample.connections for sample in part) for part in (samples[quarter : 2 * quarter] or samples[:1], samples[-quarter:]))
    said = [
        f"{samples[-1].events:,} events in {seconds:,.0f} s: {samples[-1].events / seconds:,.0f} events/s; by quarters {', '.join(by_quarters)}",
        f"connections to the database: {before} at a quarter, {after} at the end: {'none gained' if after <= before else 'GAINED'}",
        f"disk of log and store in the end: {disk_bytes / 1e9:.1f} GB, {disk_bytes / samples[-1].events:,.0f} bytes an event",
    ]
    for line in said:
        CONSOLE.print(line, markup=False)
    return said


def main() -> int:
    """The command line; exit code 1 where something grows or other than what was due came out, 3 where the program failed or the disk is too small."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kafka", action="store_true", help="two workers on Kafka instead of the embedded runner")
    parser.add_argument("--events", type=int, default=10_000_000, help="how many at least; rounded up to whole rounds")
    parser.add_argument("--units", type=int, default=None, help="only so many tax units in a round")
    parser.add_argument("--every", type=float, default=2.0, help="seconds between two looks")
    parser.add_argument("--tools", type=Path, default=SHIPPED / ".kafka", help="folder in which Kafka is, or is fetched to")
    parser.add_argument("--write", action="store_true", help="write the table of docs/performance.md")
    arguments = parser.parse_args()
    rounds = Rounds(arguments.units)
    count = -(-arguments.events // rounds.size)
    home = Path(tempfile.mkdtemp(prefix="payout-endurance-"))
    needed, free = EVENT_BYTES * count * rounds.size + STORE_BYTES, shutil.disk_usage(home).free
    try:
        if free < needed:
            print(f"endurance_bench: {home.parent} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} are needed; set TMPDIR, or fewer --events", file=sys.stderr)
            return 3
        with kafka_site(home, arguments.tools) if arguments.kafka else embedded_site(home) as site, looking(site) as connection:
            for _ in range(2 if arguments.kafka else 1):
                site.start()
            site.until_claimed(connection)
            with progress(count * rounds.size) as advance:
                watching = Watching(site, connection, arguments.every, advance)
                seconds = watching.send(rounds, count)
            said = tell(site.kind, watching.samples, seconds, site.disk_bytes())
            exact = as_due(connection, rounds, count)
    except (SiteFailed, BrokerUnavailable) as error:
        print(f"endurance_bench: {error}", file=sys.stderr)
        return 3
    finally:
        shutil.rmtree(home, ignore_errors=True)
    found = courses(watching.samples)
    CONSOLE.print("what is owed, and what became of every record, is as it must be" if exact else "what came out is NOT as it must be")
    if arguments.write:
        name = "endurance-kafka" if arguments.kafka else "endurance"
        told = "\n".join(f"- {line}" for line in said)
        write_block("docs/performance.md", name, "endurance_bench", f"Measured on {machine()}.\n\n{markdown(HEAD, [one.cells for one in found])}\n{told}\n")
    return 0 if exact and all(one.flat for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
