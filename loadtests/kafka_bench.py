"""How many events a second our Faust workers take from Kafka, beside others who do the same job: one run, one table.

    python -m loadtests.kafka_bench [--write] [--from FILE]

Broker, PostgreSQL, the contender and this program share the cores of this machine. Every contender reads the same topic of four partitions, filled before
it starts; their order changes from repeat to repeat. One round is one CloudEvent of each tax unit of the shipped data; in four rounds everything is
sent three times more, which changes nothing. `--write` keeps the report in docs/kafka-bench.json and writes the tables of the documents from it; `--from` takes
the report of an earlier run and measures nothing.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from connectors.population import TAX
from connectors.registries import load_registries
from streams.settings import SHIPPED
from streams.topics import all_topics

from .documents import between_marks, machine
from .peers import job
from .peers.arena import Arena, Failed, arena
from .peers.blocks import blocks
from .peers.contenders import Bare, Contender, KafkaStreams, Ours, PlainFaust
from .peers.kafka_streams import Program, Unavailable
from .peers.profiled import Told
from .peers.report import HEAD, Profile, Report, Run, profile_tables, rows, verdicts
from .site import free_ports

REPORT = SHIPPED / "docs" / "kafka-bench.json"
DOCUMENTS = ("docs/performance.md", "docs/scaling.md")
CONSOLE = Console(highlight=False)


class Leg(NamedTuple):
    """A contender, the topic it reads, how many of the units are in it, in how many rounds, and how often it runs."""

    contender: Contender
    topic: str
    units: int | None
    rounds: int
    times: int


def legs(program: Program | None, units: int | None, repeats: int) -> tuple[list[Leg], list[Leg]]:
    """Those of one round and those of four. Who is compared with ours runs as often as ours, the others once."""
    one_thread: list[Contender] = [KafkaStreams(program, 1)] if program is not None else []
    two_threads: list[Contender] = [KafkaStreams(program, 2)] if program is not None else []
    often: list[Contender] = [*two_threads, Bare(2), Ours(2)]
    once: list[Contender] = [*one_thread, Bare(1), Ours(1)]
    few, more = min(units or 10_000, 10_000), min(units or 40_000, 40_000)
    one = [*(Leg(peer, TAX, units, 1, repeats) for peer in often), *(Leg(peer, TAX, units, 1, 1) for peer in once)]
    one += [Leg(PlainFaust(1), "peers.few", few, 1, 1), Leg(PlainFaust(1000), "peers.more", more, 1, 1)]
    return one, [Leg(peer, TAX, units, 4, 1) for peer in (*one_thread, *two_threads, Bare(1), Bare(2), Ours(2))]


def in_turn(of: Sequence[Leg]) -> Iterator[Leg]:
    """Every leg as often as it runs, each repeat begun by another."""
    for repeat in range(max(leg.times for leg in of)):
        running = [leg for leg in of if repeat < leg.times]
        start = repeat % len(running)
        yield from running[start:] + running[:start]


class Contest:
    """One run of everything, in an arena whose topics are made."""

    def __init__(self, place: Arena, units: int | None, advance: Callable[[Run], None]) -> None:
        self._place, self._units, self._advance = place, units, advance
        self._events: dict[str, int] = {}
        self.runs: list[Run] = []

    def fill(self, topic: str, units: int | None, rounds: int = 1) -> None:
        """Puts events into a topic."""
        self._events[topic] = self._events.get(topic, 0) + job.put(self._place.cluster, topic, units, rounds)

    def take(self, leg: Leg) -> None:
        """One run of a contender."""
        run = leg.contender.run(self._place, leg.topic, leg.rounds, self._events[leg.topic], job.due(leg.units))
        self.runs.append(run)
        self._advance(run)

    def profile(self) -> Profile:
        """Runs our workers once more, with clocks inside."""
        folder = self._place.home / "profiles"
        folder.mkdir()
        run = Ours(2, (sys.executable, "-m", "loadtests.peers.profiled", str(folder))).run(self._place, TAX, 1, self._events[TAX], job.due(self._units))
        told = [msgspec.json.decode(path.read_bytes(), type=Told) for path in folder.iterdir()]
        stages_us = _sums([worker.stages_s for worker in told], 1e6 / run.events)
        threads_us = _sums([worker.threads_s for worker in told], 1e6 / run.events)
        return Profile(stages_us, threads_us, max(worker.start_s for worker in told))

    def bytes_of(self, topic: str) -> int:
        """Bytes an event of a topic takes in Kafka's log."""
        segments = (self._place.home / "kafka").glob(f"node1/data/{topic}-*/*.log")
        return sum(path.stat().st_size for path in segments) // self._events[topic]


def _sums(parts: Sequence[Mapping[str, float]], scale: float) -> dict[str, float]:
    return {name: scale * sum(part.get(name, 0.0) for part in parts) for name in {name for part in parts for name in part}}


def contest(home: Path, tools: Path, port: int, units: int | None, repeats: int) -> Report:
    """Everybody in turn."""
    skipped: list[str] = []
    try:
        program: Program | None = Program(tools)
    except Unavailable as error:
        program = None
        skipped.append(f"Kafka Streams was left out: {error}")
    one, four = legs(program, units, repeats)
    with arena(home, tools, port) as place, progress(sum(leg.times for leg in (*one, *four)) + 1) as advance:
        place.topics(*all_topics(load_registries(SHIPPED / "registries")), *{leg.topic for leg in one})
        held = Contest(place, units, advance)
        for topic, number in {leg.topic: leg.units for leg in one}.items():
            held.fill(topic, number)
        for leg in in_turn(one):
            held.take(leg)
        profile = held.profile()
        kafka_bytes = held.bytes_of(TAX)
        held.fill(TAX, units, 3)
        for leg in in_turn(four):
            held.take(leg)
    sizes = [len(value) for piece in job.records(1_000) for _, value in piece]
    return Report(machine(), f"{datetime.now(UTC):%Y-%m-%d}", sum(sizes) // len(sizes), kafka_bytes, held.runs, profile, skipped)


@contextmanager
def progress(total: int) -> Iterator[Callable[[Run], None]]:
    """Tells each run when it is over, with a bar on a terminal."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("contenders", total=total)

        def advance(run: Run) -> None:
            bar.advance(task)
            CONSOLE.print(f"  {run.contender}, {run.rounds} round{'s' if run.rounds > 1 else ''}: {run.events / run.taking_s:,.0f} events/s", markup=False)

        yield advance


def tell(report: Report) -> None:
    """Prints the tables."""
    for rounds, title in ((1, "one round"), (4, "four rounds, the later three change nothing")):
        table = Table(*HEAD, title=f"{title}; {report.machine}")
        for row in rows(report, rounds):
            table.add_row(*row)
        CONSOLE.print(table)
    CONSOLE.print(profile_tables(report), markup=False)
    for line in (*verdicts(report), *report.skipped):
        CONSOLE.print(line, markup=False)
    CONSOLE.print("everybody who decides ordered exactly what was due" if report.exact else "NOT everybody ordered what was due")


def write(report: Report) -> None:
    """Keeps the report, and writes the tables of the documents from it."""
    REPORT.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    for name in DOCUMENTS:
        path = SHIPPED / name
        path.write_text(between_marks(path.read_text(encoding="utf-8"), blocks(report, name)), encoding="utf-8")


def main() -> int:
    """The command line; exit code 1 where somebody ordered other than what was due, 3 where somebody failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=None, help="only so many tax units")
    parser.add_argument("--repeats", type=int, default=3, help="runs of those who are compared in one round")
    parser.add_argument("--port", type=int, default=0, help="port of the broker; 0 takes a free one")
    parser.add_argument("--tools", type=Path, default=SHIPPED / ".kafka", help="folder in which Kafka is, or is fetched to")
    parser.add_argument("--report", type=Path, help="keep the report as JSON in this file")
    parser.add_argument("--write", action="store_true", help="keep the report in docs/ and write the tables of the documents from it")
    parser.add_argument("--from", type=Path, metavar="FILE", dest="earlier", help="measure nothing: take the report that an earlier run kept")
    arguments = parser.parse_args()
    if arguments.earlier:
        report = msgspec.json.decode(arguments.earlier.read_bytes(), type=Report)
    else:
        home = Path(tempfile.mkdtemp(prefix="payout-kafka-bench-"))
        try:
            report = contest(home, arguments.tools, arguments.port or free_ports(2), arguments.units, arguments.repeats)
        except Failed as error:
            print(f"kafka_bench: {error}", file=sys.stderr)
            return 3
        finally:
            shutil.rmtree(home, ignore_errors=True)
    tell(report)
    if arguments.report:
        arguments.report.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1))
    if arguments.write:
        write(report)
    return 0 if report.exact else 1


if __name__ == "__main__":
    sys.exit(main())
