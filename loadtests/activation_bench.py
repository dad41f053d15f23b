"""The activation run, measured: how many subjects already known are decided and ordered a second when a rule becomes active.

280,005 real tax units are known with their residence and account, and nothing has been decided. The rule is logged as activated, and lanes in two
processes decide everybody: facts read, decided, ordered, accounts resolved, orders released, books posted, durable. The time is that from the first
chunk to the last; relay and bank desk rest, as they do in the benchmark of the event path.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from pathlib import Path

import psutil
from rich.console import Console

from connectors.event_feed import put_records
from connectors.population import Population
from connectors.rule_files import read_rule
from connectors.store.activations import runs
from connectors.store.rule_log import writing
from connectors.store.servers import connect
from pipeline.facts import FIRST_DAY
from pipeline.observing import Recorder
from pipeline.rules.life import Activated, Submitted
from streams import logs
from streams.installation import Installation, opened
from streams.lanes import Report, utc_today, work
from streams.runner import runner_of
from streams.settings import SHIPPED, load_settings

UNITS = SHIPPED / "data" / "us-cps-tax-units.parquet"
RULE = SHIPPED / "benefits" / "us-eip1" / "2020-03-27.yaml"
SHARDS = 8


def main() -> int:
    """Measures, prints, and fails where the audit does not hold."""
    parser = argparse.ArgumentParser(prog="activation_bench", description=__doc__)
    parser.add_argument("--units", type=int, default=None, help="take only so many of the tax units")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--home", type=Path, default=None, help="a folder to keep the installation in")
    options = parser.parse_args()
    logs.configure("error", "json")
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="payout-") as directory:
        settings = load_settings(home=options.home or Path(directory) / "home", shards=SHARDS, processes=options.processes, rules=(), log_level="error")
        with opened(settings) as installation:
            known = _know(installation, options.units)
            seconds, busy, ordered = _activate(installation)
            (run,) = runs(installation.store)
    console.print(f"{known:,} subjects known, {run.decided:,} decided, {ordered:,} orders in {seconds:.2f} s: {run.decided / seconds:,.0f} subjects/s")
    console.print(
        f"processor time: {sum(busy.values()):.1f} s, {sum(busy.values()) / run.decided * 1e6:.1f} microseconds a subject ("
        + ", ".join(f"{name} {used / run.decided * 1e6:.1f}" for name, used in busy.items())
        + ")"
    )
    return 0 if run.shards == run.done and run.decided == known else 1


def _know(installation: Installation, units: int | None) -> int:
    """The registries are heard, and nothing is decided."""
    put_records(list(Population(UNITS, 7, first=units).events()), installation.log_directory, installation.store.shards)
    with runner_of(installation, Recorder()) as runner:
        runner.run(until_idle=True)
    with connect(installation.store.urls[0], "bench") as connection:
        connection.execute("VACUUM ANALYZE")
        row = connection.execute("SELECT count(*) FROM facts").fetchone()
    return int(str(row[0])) if row else 0


def _activate(installation: Installation) -> tuple[float, dict[str, float], int]:
    """(seconds from the first chunk to the last, processor seconds of lanes and server, orders)."""
    rule = read_rule(RULE, installation.registries)
    with writing(installation.store) as log:
        log.append(Submitted(rule.benefit, rule.hash, rule.text), "bench", 0)
        log.append(Activated(rule.benefit, rule.hash, FIRST_DAY), "bench", 0)
    installation.standing(utc_today())
    context = multiprocessing.get_context("spawn")
    deciding: dict[Pipe, bool] = {}
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    count = installation.settings.processes
    for number in range(count):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(installation.settings, range(number, SHARDS, count), theirs), daemon=True).start()
        deciding[ours] = True
    # Each tells for the first time when it has claimed its shards: the run begins with the first of them.
    started, before = 0.0, _busy()
    while any(deciding.values()):
        for pipe in wait([pipe for pipe, on in deciding.items() if on]):
            assert isinstance(pipe, Pipe)
            told: Report = pipe.recv()
            if not started:
                started, before = time.perf_counter(), _busy()
            deciding[pipe] = told.deciding is not None
    seconds, after = time.perf_counter() - started, _busy()
    for pipe in deciding:
        pipe.send("stop")
    with connect(installation.store.urls[0], "bench") as connection:
        row = connection.execute("SELECT count(*) FROM payment_order").fetchone()
    return seconds, {name: after[name] - before.get(name, 0) for name in after}, int(str(row[0])) if row else 0


def _busy() -> dict[str, float]:
    """Processor seconds so far, of the processes of lanes and of the store's server."""
    busy = {"lanes": 0.0, "server": 0.0}
    for process in psutil.process_iter(["name"]):
        try:
            times = process.cpu_times()
            if process.info["name"] == "postgres":
                busy["server"] += times.user + times.system
            elif process.ppid() == psutil.Process().pid:
                busy["lanes"] += times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return busy


if __name__ == "__main__":
    sys.exit(main())
