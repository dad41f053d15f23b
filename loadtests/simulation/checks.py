"""What must be true when a history has come to rest: the audit, the undisturbed run, the published orders, the bank's journal."""

from __future__ import annotations

from connectors.sandbox_bank import journal_path
from connectors.store.servers import Use
from loadtests.crashes import paid_twice, unanswered
from pipeline.observing import Silent
from pipeline.receipts import decode_released
from streams.audit import Digest, audit, digest_of
from streams.installation import Installation
from streams.lane import Lane
from streams.members import MemberRelay
from streams.topics import MEMBERS, ORDERS, registry_topics

from .ground import Ground
from .log import MemoryLog
from .registry import Said, placed
from .world import World


def compared(ground: Ground, world: World) -> list[str]:
    """Everything that is not as it must be."""
    installation = world.site.installation
    world.log.keep(installation.log_directory)
    journal = journal_path(installation.settings.home)
    found = audit(installation, journal=journal if journal.exists() else None)
    problems = [f"{check.id}: {check.name}: {check.violations} of {check.checked}: {check.examples}" for check in found.checks if not check.ok]
    digest, dead_letters = undisturbed(ground, world)
    problems += [f"{name}: {ours} here, {theirs} undisturbed" for name, ours, theirs in _pairs(found.digest, digest) if ours != theirs]
    problems += published(world)
    problems += unanswered(installation)
    if journal.exists():
        problems += paid_twice(installation.settings.home)
    ours = dead(installation)
    if ours != dead_letters:
        problems.append(f"{ours} records of registries are dead letters here, {dead_letters} undisturbed")
    return problems


def _pairs(ours: Digest, theirs: Digest) -> list[tuple[str, str, str]]:
    return [("facts", ours.facts, theirs.facts), ("owed", ours.owed, theirs.owed)]


def undisturbed(ground: Ground, world: World) -> tuple[Digest, int]:
    """What one lane makes of the same records under the rules that stand in the end: (digest, dead letters)."""
    site, said = ground.undisturbed, said_by_registries(world)
    site.clear()
    installation, records = site.installation, placed(said, 1)
    topics = installation.topics
    connection = installation.store.connect(installation.store.urls[0], "undisturbed", Use.LANE)
    lane = Lane.take_over(
        connection, 0, "undisturbed", topics,
        registries=installation.registries, policy=installation.policy, observer=Silent(), today=world.today,
    )  # fmt: skip
    lane.stand(world.site.installation.standing_rules(installation.store, world.today()), ())
    for topic in topics:
        if (topic, 0) in records:
            lane.take(topic, 0, records[topic, 0])
    told = MemoryLog()
    relay = MemberRelay(connection, told, 0, 1)
    while relay.step():
        frame = told.read(MEMBERS, 0, lane.position(MEMBERS))
        lane.take(MEMBERS, 0, list(zip(frame.keys, frame.values, strict=True)))
    connection.close()
    return digest_of(site.installation), dead(site.installation)


def said_by_registries(world: World) -> list[Said]:
    """Every record of registries that is in the log, however often."""
    installation = world.site.installation
    return [
        Said(topic, key, value)
        for topic in registry_topics(installation.registries)
        for shard in range(installation.store.shards)
        for key, value in zip(*world.log.read(topic, shard)[1:3], strict=True)
    ]


def dead(installation: Installation) -> int:
    """How many records of registries are dead letters."""
    topics, query = list(registry_topics(installation.registries)), "SELECT count(*) FROM dead_letter WHERE topic = ANY(%s)"
    return sum(int(str(row[0])) for connection in installation.store.servers("payout simulation") for row in connection.execute(query, (topics,)))


def published(world: World) -> list[str]:
    """Every released order of a shard is published, the first time in its turn, and each time with the same words."""
    problems = []
    for connection in world.site.installation.store.servers("payout simulation"):
        for shard, released in connection.execute("SELECT shard, release_seq FROM lane ORDER BY shard"):
            seen: dict[int, bytes] = {}
            for value in world.log.read(ORDERS, int(str(shard))).values:
                seq = decode_released(value).release_seq
                if seq > len(seen) + 1:
                    problems.append(f"shard {shard}: released order {seq} was published when {len(seen) + 1} was to come")
                if seen.setdefault(seq, value) != value:
                    problems.append(f"shard {shard}: released order {seq} was published with other words")
            if len(seen) != released:
                problems.append(f"shard {shard}: {released} orders were released, {len(seen)} published")
    return problems
