"""`payout run`: the embedded runner with its metrics, until told to stop or until there is nothing left to do."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from .opening import settings_of
from .speaking import note, progress_bar

if TYPE_CHECKING:
    from streams.metrics import Metrics
    from streams.settings import Settings


def run(
    context: typer.Context,
    until_idle: Annotated[bool, typer.Option("--until-idle", help="Stop when every record is taken and every file is out.")] = False,
    processes: Annotated[int | None, typer.Option(help="Processes that share the shards.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Serve /metrics on this port; 0 takes a free one.")] = None,
) -> None:
    """Takes events, decides, orders, and exchanges files with the bank; on one machine. Ctrl-C finishes the work in hand."""
    from pipeline.problems import Malformed, Problem
    from streams import logs
    from streams.installation import opened
    from streams.lanes import utc_today
    from streams.measures import Measuring, measure
    from streams.metrics import Metrics
    from streams.recovery import refuse_behind
    from streams.runner import Progress, runner_of
    from streams.stopping import signals

    settings = settings_of(context, processes=processes, metrics_port=metrics_port)
    if settings.kafka.servers:
        mend = "Run `payout worker`, and beside it `payout bank submit --watch` and `payout bank receive --watch`."
        raise Malformed([Problem("kafka.servers", "is set, so events come through Kafka, and `payout run` takes them from the embedded log", mend)])
    metrics = Metrics()
    with progress_bar("records taken") as bar:
        logs.configure(settings.log_level, settings.log_format, settings.home)
        with ExitStack() as stack:
            installation = stack.enter_context(opened(settings))
            refuse_behind(installation)
            stop = stack.enter_context(signals())
            stack.enter_context(_served(settings, metrics))
            runner = stack.enter_context(runner_of(installation, metrics))
            if not installation.standing(utc_today()):
                note("payout: no rule is active, events are kept and nothing is decided; activate one: payout rules activate HASH")
            measuring = Measuring(installation, metrics) if settings.metrics_port is not None else _nothing

            class Shown(Progress):
                def __call__(self, done: int, total: int) -> None:
                    bar(done, total)
                    measuring()

                def deciding(self, decided: int, known: int) -> None:
                    if known:
                        bar(decided, known, "already known, decided")

            started_s, ends = time.monotonic(), runner.ends()
            runner.run(until_idle=until_idle, stop=stop.is_set, progress=Shown())
            measure(installation, metrics)
            came = sum(runner.ends().values()) - sum(ends.values())
    stopped = "stopped" if stop.is_set() else "idle"
    note(f"payout: {stopped} after {time.monotonic() - started_s:.1f} s; {sum(ends.values()) + came:,} records in the log, {came:,} of them came meanwhile")


def _nothing() -> None:
    """Nobody looks at the metrics."""


@contextmanager
def _served(settings: Settings, metrics: Metrics) -> Iterator[None]:
    if settings.metrics_port is None:
        yield
        return
    server = metrics.serve(settings.metrics_port, settings.metrics_host)
    note(f"payout: metrics at {server.url}")
    try:
        yield
    finally:
        server.close()
