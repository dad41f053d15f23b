"""`payout kafka`: a broker on this machine, and the topics in any cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .opening import settings_of, working
from .speaking import AsJson, note, progress_bar, say, say_json, say_table

if TYPE_CHECKING:
    from connectors.broker import Brokers
    from streams.settings import Settings

app = typer.Typer(help="A Kafka broker on this machine, and the topics in any cluster.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def up(
    context: typer.Context,
    nodes: Annotated[int, typer.Option(min=1, max=9, help="Brokers: 1, or 3 of which any one may be lost.")] = 1,
    port: Annotated[int, typer.Option(min=1024, max=64_000, help="Port of the first one; the next are 100 further each.")] = 9092,
    as_json: AsJson = False,
) -> None:
    """Starts Kafka in the home, on the loopback address. The first time its program is fetched (46 MB). Asking again changes nothing."""
    settings = settings_of(context)
    with progress_bar("jars of Kafka", unit="jars") as bar:
        started = _brokers(settings).up(nodes, port, bar)
    if as_json:
        say_json({"nodes": [node._asdict() for node in started], "servers": [node.address for node in started]})
        return
    servers = " ".join(node.address for node in started)
    say(f"Kafka serves at {servers}")
    known = set(settings.kafka.servers)
    if not known & {node.address for node in started}:
        copies = min(3, nodes)
        note(f"payout: let the other commands use it: export PAYOUT_KAFKA__SERVERS='{servers}'")
        if (settings.kafka.replication_factor, settings.kafka.min_insync_replicas) != (copies, min(2, copies)):
            note(f"payout: and with {nodes} of them: export PAYOUT_KAFKA__REPLICATION_FACTOR={copies} PAYOUT_KAFKA__MIN_INSYNC_REPLICAS={min(2, copies)}")


@app.command()
def down(context: typer.Context) -> None:
    """Stops Kafka in the home; what it holds stays."""
    stopped = _brokers(settings_of(context)).down()
    say(f"{stopped} broker{'' if stopped == 1 else 's'} stopped" if stopped else "no broker ran here")


@app.command()
def status(context: typer.Context, as_json: AsJson = False) -> None:
    """The brokers in the home; exit code 1 unless all of them run."""
    nodes = _brokers(settings_of(context)).nodes()
    if as_json:
        say_json({"nodes": [node._asdict() for node in nodes]})
    elif nodes:
        say_table(("node", "address", "process"), [(node.number, node.address, node.pid or "does not run") for node in nodes])
    else:
        say("there is no broker in this home: make one with `payout kafka up`")
    if not nodes or not all(node.pid for node in nodes):
        raise typer.Exit(1)


@app.command()
def provision(
    context: typer.Context,
    only_check: Annotated[bool, typer.Option("--check", help="Make nothing, only say what is not as it must be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Makes the topics that are missing, and says of those that are there each thing that is not as it must be; exit code 1 then."""
    from connectors.kafka_topics import Topics
    from pipeline.problems import Malformed, Problem
    from streams.topics import all_topics
    from streams.worker_topics import shape_of

    with working(context) as installation:
        settings = installation.settings
        if not settings.kafka.servers:
            raise Malformed(
                [Problem("kafka.servers", "no address of Kafka is set", "Set it, or PAYOUT_KAFKA__SERVERS; `payout kafka up` starts a broker here.")]
            )
        needed, shape = all_topics(installation.registries), shape_of(settings, installation.store.shards)
        with Topics(settings.kafka.cluster()) as topics:
            made = [] if only_check else topics.create_missing(needed, shape)
            found = topics.differences(needed, shape)
    if as_json:
        say_json({"made": made, "topics": list(needed), "partitions": shape.partitions, "differences": found})
    else:
        for topic in made:
            say(f"{topic}: made with {shape.partitions} partitions, {shape.replication_factor} copies")
        for difference in found:
            say(str(difference))
        if not found:
            say(f"{len(needed)} topics are as they must be")
    if found:
        raise typer.Exit(1)


@app.command()
def adopt(context: typer.Context, as_json: AsJson = False) -> None:
    """Lets the store's positions belong to the topics that are there now, after these were moved or restored with their records and offsets."""
    from connectors.store.topic_ids import adopt as belong
    from pipeline.problems import Malformed, Problem
    from streams.log_ends import log_ends
    from streams.topics import ORDERS
    from streams.worker_topics import topic_ids

    with working(context) as installation:
        ids, ends = topic_ids(installation), log_ends(installation)
        beyond = {place: offset for place, offset in installation.positions().items() if offset > ends.get(place, 0) and place[0] != ORDERS}
        if beyond:
            mend = "It does not hold the records that were taken. Bring them back, at the same offsets."
            raise Malformed(
                [
                    Problem(f"{topic} shard {shard}", f"the position is {offset}, the topic ends at {ends.get((topic, shard), 0)}", mend)
                    for (topic, shard), offset in sorted(beyond.items())
                ]
            )
        belong(installation.store, ids)
    if as_json:
        say_json({"topics": ids})
    else:
        say(f"the positions belong to the {len(ids)} topics that are there now")


def _brokers(settings: Settings) -> Brokers:
    from connectors.broker import Brokers

    return Brokers(settings.home / "kafka", tools_of(settings))


def tools_of(settings: Settings) -> Path:
    """Where programs that are fetched once are kept."""
    return settings.tools or settings.home / "tools"
