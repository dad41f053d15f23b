"""`payout worker`: takes events from Kafka, as one of any number of workers that share the shards."""

from __future__ import annotations

from typing import Annotated

import typer

from .opening import settings_of
from .speaking import note


def worker(
    context: typer.Context,
    metrics_port: Annotated[int | None, typer.Option(help="Serve /metrics on this port; 0 takes a free one.")] = None,
) -> None:
    """Takes events from Kafka, decides, orders and publishes what is released. Start as many as there are cores; Ctrl-C finishes the work in hand."""
    from contextlib import ExitStack

    from pipeline.problems import Malformed, Problem
    from streams import logs
    from streams.installation import opened
    from streams.metrics import Metrics
    from streams.recovery import refuse_behind
    from streams.worker_topics import check_topics

    settings = settings_of(context, metrics_port=metrics_port)
    if not settings.kafka.servers:
        raise Malformed([Problem("kafka.servers", "no address of Kafka is set", "Set it, or PAYOUT_KAFKA__SERVERS; `payout kafka up` starts a broker here.")])
    logs.configure(settings.log_level, settings.log_format, settings.home)
    metrics = Metrics()
    with ExitStack() as stack:
        installation = stack.enter_context(opened(settings, provision=False))
        check_topics(installation)
        refuse_behind(installation, glance=True)
        if settings.metrics_port is not None:
            server = metrics.serve(settings.metrics_port, settings.metrics_host)
            stack.callback(server.close)
            note(f"payout: metrics at {server.url}")
        from streams.worker_app import run

        note(f"payout: a worker of {settings.kafka.group!r} at {', '.join(settings.kafka.servers)}")
        run(installation, metrics)
    note("payout: stopped; what was taken is committed")
