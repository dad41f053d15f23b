"""How long it takes from the append of an event to its durable order, at light load and at half of what can be taken.

    python -m loadtests.latency_bench [--log embedded|kafka|both] [--write]

Every event is of somebody new, so an order follows from nearly all. Events are sent by a schedule that does not wait for anybody, and latency counts from
the planned moment, so that a stall delays all that were planned in it. An order counts as durable when another connection to the store sees the
position after its event. What can be taken is measured in between, with a backlog. `--write` writes the table of docs/performance.md.
"""

from __future__ import annotations

import argparse
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console

from connectors.broker_files import BrokerUnavailable
from connectors.log_batch import Record
from connectors.store.servers import Connection, Row
from streams.settings import SHIPPED

from .documents import conclude
from .peers.job import due, records
from .sight import Sight
from .site import Ordered, Site, SiteFailed, embedded_site, kafka_site, looking, ordered

CONSOLE = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
LIGHT_PER_S = 200
WARM_S = 5
TICK_S = 0.005
HEAD = ("log", "load", "events/s", "p50 ms", "p99 ms", "max ms", "records a frame", "sent late ms", "aim of p99")


class Measured(msgspec.Struct, frozen=True):
    """One load on one log. Milliseconds from the planned moment; `late_ms` is by how much the sender itself was late, 99 of 100 times."""

    log: str
    load: str
    per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    frame_records: float
    late_ms: float
    aim_ms: int

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the table."""
        numbers = (f"{value:,.0f}" for value in (self.per_s, self.p50_ms, self.p99_ms, self.max_ms, self.frame_records, self.late_ms))
        return self.log, self.load, *numbers, f"{self.aim_ms:,} {'reached' if self.p99_ms < self.aim_ms else 'NOT reached'}"


class Sending:
    """Sends events by a schedule, and remembers for when each was planned."""

    def __init__(self, site: Site, sight: Sight) -> None:
        self._site, self._sight = site, sight
        self._next = dict.fromkeys(range(site.shards), 0)

    def all_at_once(self, batch: Sequence[Record]) -> float:
        """A backlog; gives events a second from its first tenth to its last, in which everybody is at work."""
        before = self._site.put_records
        for start in range(0, len(batch), 5_000):
            for shard, places in self._site.put(batch[start : start + 5_000]).items():
                self._next[shard] += len(places)
        self._taken()
        counts = [(seen.at_s, sum(seen.offsets.values()) - before) for seen in self._sight.seen]
        inner = [(at_s, count) for at_s, count in counts if 0.1 * len(batch) <= count <= 0.9 * len(batch)]
        (begin_s, first), (end_s, last) = inner[0], inner[-1]
        return (last - first) / (end_s - begin_s)

    def steadily(self, batch: Sequence[Record], per_s: float) -> tuple[list[float], list[float]]:
        """(latencies, by how much the sender was late) of every event, in seconds, each sorted."""
        planned: dict[int, list[float]] = {shard: [] for shard in range(self._site.shards)}
        starts, late, sent, begin_s = dict(self._next), [], 0, time.monotonic() + TICK_S
        while sent < len(batch):
            time.sleep(max(TICK_S if per_s * TICK_S > 1 else 0, begin_s + sent / per_s - time.monotonic()))
            end = min(len(batch), max(sent + 1, math.ceil((time.monotonic() - begin_s) * per_s)))
            moments = [begin_s + index / per_s for index in range(sent, end)]
            for shard, places in self._site.put(batch[sent:end]).items():
                self._next[shard] += len(places)
                planned[shard] += [moments[place] for place in places]
            late += [time.monotonic() - moment for moment in moments]
            sent = end
        self._taken()
        latencies = [
            seen_s - plan_s
            for shard, plans in planned.items()
            for seen_s, plan_s in zip(self._sight.moments(shard, starts[shard], self._next[shard]), plans, strict=True)
        ]
        return sorted(latencies), sorted(late)

    def _taken(self) -> None:
        self._site.until(lambda: self._sight.taken == self._site.put_records, "everything is taken")


def measured(site: Site, units: int | None, seconds: float) -> tuple[list[Measured], float, Ordered]:
    """(light load and half of capacity, capacity in events/s, what was ordered)."""
    events = [record for piece in records(units) for record in piece]
    light, backlog = int(LIGHT_PER_S * seconds), len(events) // 3
    with looking(site) as connection, Sight(site) as sight:
        site.until_claimed(connection)
        sending, rows = Sending(site, sight), []
        sent = LIGHT_PER_S * WARM_S
        sending.steadily(events[:sent], LIGHT_PER_S)
        rows.append(_row(site, sending, connection, events[sent : sent + light], LIGHT_PER_S, "light", 250))
        sent += light
        capacity = sending.all_at_once(events[sent : sent + backlog])
        sent += backlog
        rows.append(_row(site, sending, connection, events[sent:], capacity / 2, "half of capacity", 1_000))
        return rows, capacity, ordered(connection)


def _row(site: Site, sending: Sending, connection: Connection[Row], batch: Sequence[Record], per_s: float, load: str, aim_ms: int) -> Measured:
    before = _frames(connection)
    latencies, late = sending.steadily(batch, per_s)
    frames = _frames(connection) - before
    p50, p99, most = (1000 * value for value in (_percentile(latencies, 50), _percentile(latencies, 99), latencies[-1]))
    return Measured(site.kind, load, per_s, p50, p99, most, len(batch) / frames, 1000 * _percentile(late, 99), aim_ms)


def _frames(connection: Connection[Row]) -> int:
    row = connection.execute("SELECT count(*) FROM frame").fetchone()
    assert row is not None, "an aggregate has a row"
    return int(str(row[0]))


def _percentile(ordered_values: Sequence[float], percent: int) -> float:
    """By nearest rank."""
    return ordered_values[max(0, math.ceil(len(ordered_values) * percent / 100) - 1)]


@contextmanager
def site_of(log: str, tools: Path) -> Iterator[Site]:
    """A site with its program started: one runner, or two workers."""
    home = Path(tempfile.mkdtemp(prefix="payout-latency-"))
    try:
        with embedded_site(home) if log == "embedded" else kafka_site(home, tools) as site:
            for _ in range(1 if log == "embedded" else 2):
                site.start()
            yield site
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    """The command line; exit code 1 where other than what was due was ordered, 3 where the program failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=("embedded", "kafka", "both"), default="both", help="where the events are appended")
    parser.add_argument("--units", type=int, default=None, help="only so many tax units; at least 12,000")
    parser.add_argument("--seconds", type=float, default=20, help="how long the light load lasts")
    parser.add_argument("--tools", type=Path, default=SHIPPED / ".kafka", help="folder in which Kafka is, or is fetched to")
    parser.add_argument("--write", action="store_true", help="write the table of docs/performance.md")
    arguments = parser.parse_args()
    rows: list[Measured] = []
    exact = True
    for log in ("embedded", "kafka") if arguments.log == "both" else (arguments.log,):
        try:
            with site_of(log, arguments.tools) as site:
                found, capacity, said = measured(site, arguments.units, arguments.seconds)
        except BrokerUnavailable as error:
            CONSOLE.print(f"kafka was left out: {error}", markup=False)
            continue
        except SiteFailed as error:
            print(f"latency_bench: {error}", file=sys.stderr)
            return 3
        CONSOLE.print(f"  {log}: {capacity:,.0f} events/s can be taken")
        rows += found
        exact &= (said.orders, said.amount_minor) == due(arguments.units)
    block = ("latency", "latency_bench") if arguments.write else None
    return conclude(CONSOLE, "from append to durable order", HEAD, [row.cells for row in rows], exact=exact, block=block)


if __name__ == "__main__":
    sys.exit(main())
