"""`make bench`: events per second of the event path and of each of its stages, beside the bare path in the same run.

The job: one CloudEvent per real tax unit; facts kept, the first Economic Impact Payment decided as Tax-Calculator has it, an
order written where the amount differs from what was ordered, ledger and outbox with it, durable. The bare path reads the
same log, decodes with msgspec and copies rows of the same shape into the same tables with the position: no logic at all.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from connectors.embedded_postgres import EmbeddedPostgres
from connectors.event_feed import put_records
from connectors.population import ACCOUNT, CLEAN, TAX, Population
from connectors.registries import load_registries
from connectors.segment_log import LogReader, create_topic
from connectors.store import frames
from connectors.store.connecting import Use
from connectors.store.servers import Connection, Row, Store, connect
from pipeline.observing import Observation, Recorder
from streams import logs
from streams.installation import Installation
from streams.lanes import lanes_of
from streams.settings import SHIPPED, Settings, load_settings
from streams.topics import all_topics

RULE = SHIPPED / "tests" / "rules" / "documents" / "us-eip1-taxcalc.yaml"
UNITS = SHIPPED / "data" / "us-cps-tax-units.parquet"
EXPECTED = (261_628, 48_189_136_318)
SHARDS = 8


def peak_kilobytes() -> int:
    """The most memory this process has held (VmHWM; unlike ru_maxrss it does not start from the parent's)."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))


class Money(msgspec.Struct, gc=False):
    """An amount of a message."""

    minor: int
    currency: str


class Assessment(msgspec.Struct, gc=False):
    """The data of a tax assessment, as the bare path reads it."""

    year: int
    status: str
    filing_status: str
    children_under_18: int
    agi: Money


class Message(msgspec.Struct, gc=False):
    """A CloudEvent, as the bare path reads it."""

    id: str
    source: str
    type: str
    subject: str
    time: str
    sequence: str
    data: Assessment


def copy_rows(connection: Connection[Row], shard: int, values: Sequence[bytes], messages: Sequence[Message]) -> None:
    """Copies what the event path writes for these messages: rows of the same shape into the same tables."""
    subjects = [message.subject.encode() for message in messages]
    frames.HISTORY.write(connection, [(shard, subject, value[:190]) for subject, value in zip(subjects, values, strict=True)])
    frames.ENTITLEMENT.write(connection, [(shard, 1, 1, 1, 1, 1, 0, 1, 1, subject, value[:60]) for subject, value in zip(subjects, values, strict=True)])
    frames.ORDER.write(
        connection,
        [
            (shard, 1, 1, 1, 1 + (message.data.agi.minor > 0), 1, 1, 1, 0, 0, 0, value[:15], value[:8], subject, b"no_account", b"")
            for subject, value, message in zip(subjects, values, messages, strict=True)
        ],
    )


def bare(settings: Settings, url: str, shards: Sequence[int], ready: Barrier, results: Any) -> None:
    """The bare path over some shards."""
    decode = msgspec.json.Decoder(Message).decode
    with connect(url, "bare", Use.LANE) as connection:
        claims = {shard: frames.claim(connection, shard, "bare", [TAX]) for shard in shards}
        readers = {shard: LogReader(settings.home / "log", TAX, shard) for shard in shards}
        ready.wait()
        busy = True
        while busy:
            busy = False
            for shard, held in claims.items():
                frame = readers[shard].read(held.positions[TAX], max_records=settings.frame_records)
                if not frame.values:
                    continue
                busy = True
                messages = [decode(value) for value in frame.values]
                first, end = frame.first_offset, frame.first_offset + len(messages)
                with frames.frame_transaction(connection, held, TAX, first, end) as transaction:
                    copy_rows(connection, shard, frame.values, messages)
                    transaction.close_frame(len(messages), 0, 0, 0, 0)
                held.positions[TAX] = end
    results.put((peak_kilobytes(), []))


def ours(settings: Settings, url: str, shards: Sequence[int], ready: Barrier, results: Any) -> None:
    """The event path over some shards."""
    logs.configure("error", "json")
    recorder = Recorder()
    installation = Installation(settings, Store.open([url]), load_registries(settings.registries))
    with lanes_of(installation, shards, recorder) as lanes:
        ready.wait()
        while lanes.step():
            pass
    results.put((peak_kilobytes(), recorder.take()))


Path_ = Callable[[Settings, str, Sequence[int], Barrier, Any], None]


def fresh_database(server: EmbeddedPostgres, name: str) -> str:
    """An empty database, made when the server has nothing left to write of the one before."""
    with connect(server.url, "bench") as connection:
        connection.execute("CHECKPOINT")
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.url_of(name)


class Bench:
    """One server and one log for all runs; each run has a database of its own."""

    def __init__(self, home: Path, server: EmbeddedPostgres, settings: Settings, events: int) -> None:
        self.home, self.server, self.settings, self.events = home, server, settings, events
        self.runs = 0

    def database(self) -> str:
        """A fresh, provisioned database."""
        self.runs += 1
        url = fresh_database(self.server, f"run_{self.runs}")
        Store.provision([url], SHARDS)
        return url

    def run(self, path: Path_, url: str, processes: int) -> tuple[float, int, list[Observation]]:
        """(seconds, peak kilobytes of all processes together, observations) of one run over the whole log."""
        os.environ.setdefault("POLARS_MAX_THREADS", "1")
        context = multiprocessing.get_context("spawn")
        ready, results = context.Barrier(processes + 1), context.Queue()
        workers = [context.Process(target=path, args=(self.settings, url, range(number, SHARDS, processes), ready, results)) for number in range(processes)]
        for worker in workers:
            worker.start()
        ready.wait()
        started = time.perf_counter()
        answers = [results.get() for _ in workers]
        seconds = time.perf_counter() - started
        for worker in workers:
            worker.join()
        return seconds, sum(answer[0] for answer in answers), [observation for answer in answers for observation in answer[1]]


def exact(url: str) -> bool:
    """Whether the run ordered what it must."""
    with connect(url, "bench") as connection:
        row = connection.execute("SELECT count(*), coalesce(sum(amount_minor), 0) FROM payment_order").fetchone()
    return row is not None and (int(str(row[0])), int(str(row[1]))) == EXPECTED


def main() -> int:
    """Runs everything and prints one table; exit code 1 where a run was not exact."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each path, alternating")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    console = Console(highlight=False)
    logs.configure("error", "json")
    with tempfile.TemporaryDirectory(prefix="payout-bench-") as directory, EmbeddedPostgres(Path(directory) / "store") as server:
        home = Path(directory)
        settings = load_settings(home=home, shards=SHARDS, processes=options.processes, rules=(RULE,), trust_rules=True)
        chunks = list(Population(UNITS, 7, CLEAN).events())
        for topic in all_topics(load_registries(settings.registries)):
            create_topic(home / "log", topic, SHARDS)
        events = put_records([chunk for chunk in chunks if chunk[0] == TAX], home / "log", SHARDS)
        bench = Bench(home, server, settings, events)
        size = sum(len(line) for topic, chunk in chunks if topic == TAX for _, line in chunk) // events
        console.print(f"{events:,} tax events, {size} bytes each, {options.processes} processes, {psutil.cpu_count()} cores")
        seconds: dict[str, list[float]] = {"bare": [], "ours": []}
        peak: dict[str, int] = {}
        observations: list[Observation] = []
        wrong = 0
        for _ in range(options.rounds):
            for name, path in (("bare", bare), ("ours", ours)):
                url = bench.database()
                took, kilobytes, seen = bench.run(path, url, options.processes)
                seconds[name].append(took)
                peak[name] = max(peak.get(name, 0), kilobytes)
                console.print(f"  {name}: {events / took:,.0f} events/s")
                if name == "ours":
                    observations = seen
                    wrong += not exact(url)
        _told(console, events, seconds, peak, observations)
        released = _released(bench, [chunk for chunk in chunks if chunk[0] == ACCOUNT], console)
        wrong += not released
    console.print("every run ordered exactly 261,628 orders of 481,891,363.18 USD" if not wrong else f"{wrong} runs were NOT exact")
    return 1 if wrong else 0


def _told(console: Console, events: int, seconds: dict[str, list[float]], peak: dict[str, int], observations: list[Observation]) -> None:
    title = "event path, every order held (no accounts known), as the peers have it"
    table = Table("path", "events/s (median)", "lowest", "highest", "peak memory", title=title)
    for name, taken in seconds.items():
        rates = sorted(events / took for took in taken)
        table.add_row(name, f"{statistics.median(rates):,.0f}", f"{rates[0]:,.0f}", f"{rates[-1]:,.0f}", f"{peak[name] / 1024:,.0f} MB")
    console.print(table)
    ratio = statistics.median(bare / ours for bare, ours in zip(seconds["bare"], seconds["ours"], strict=True))
    console.print(f"event path / bare path: {ratio:.0%}")
    stages: dict[str, float] = {}
    for seen in observations:
        if seen.metric == "payout_stage_duration_seconds":
            stages[dict(seen.labels)["stage"]] = stages.get(dict(seen.labels)["stage"], 0.0) + seen.value
        elif seen.metric == "payout_frame_duration_seconds":
            stages["whole frame"] = stages.get("whole frame", 0.0) + seen.value
    table = Table("stage", "microseconds an event", title="where the time of the last run went (wall time of the processes)")
    for stage, total_s in stages.items():
        table.add_row(stage, f"{total_s / events * 1e6:.1f}")
    console.print(table)


def _released(bench: Bench, accounts: list[Any], console: Console) -> bool:
    """The same job where everybody's account is known already, so that every order is resolved and released."""
    url = bench.database()
    put_records(accounts, bench.home / "log", SHARDS)
    tax = bench.home / "log" / TAX
    aside = bench.home / "aside"
    tax.rename(aside)
    create_topic(bench.home / "log", TAX, SHARDS)
    known_s, _, _ = bench.run(ours, url, bench.settings.processes)
    for partition in tax.iterdir():
        if partition.is_dir():
            for file in partition.iterdir():
                file.unlink()
            partition.rmdir()
        else:
            partition.unlink()
    tax.rmdir()
    aside.rename(tax)
    seconds, kilobytes, _ = bench.run(ours, url, bench.settings.processes)
    console.print(f"account events, every account new: {bench.events / known_s:,.0f} events/s")
    console.print(f"tax events, every order released to its account: {bench.events / seconds:,.0f} events/s, {kilobytes / 1024:,.0f} MB")
    with connect(url, "bench") as connection:
        row = connection.execute("SELECT count(*) FROM payment_order WHERE release_seq > 0").fetchone()
        size = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    if size is not None:
        console.print(f"database: {int(str(size[0])) / bench.events:,.0f} bytes for each of them, with account, assessment, decision and released order")
    return exact(url) and row is not None and int(str(row[0])) == EXPECTED[0]


if __name__ == "__main__":
    sys.exit(main())
