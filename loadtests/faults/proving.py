"""What must hold once a fault is over: the audit with its replay, the digest of the undisturbed run, every record accounted for, every order published."""

from __future__ import annotations

from collections.abc import Iterator

from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]

from pipeline.receipts import ReleasedOrder, decode_released
from streams.audit import audit
from streams.topics import ORDERS

from .case import Case
from .ground import SHARDS, NotAsItMustBe, lines


def wrong(case: Case) -> list[str]:
    """What is not as it must be."""
    found = audit(case.installation, replay=True)
    problems = [f"{check.id}: {check.name}: {check.examples}" for check in found.checks if not check.ok]
    if found.digest != case.ground.expected:
        problems.append(f"digest {found.digest}, undisturbed {case.ground.expected}")
    accounted, dead = case.count("SELECT sum(applied + duplicate + conflict + dead_letter) FROM frame"), case.count("SELECT sum(dead_letter) FROM frame")
    if accounted != case.records:
        problems.append(f"{accounted} of {case.records} records have a disposition")
    if dead < case.dead_letters:
        problems.append(f"{dead} dead letters, at least {case.dead_letters} were put")
    return [*problems, *_published_otherwise(case)]


def prove(case: Case) -> None:
    """NotAsItMustBe where anything is not as it must be. The workers are at rest."""
    problems = wrong(case)
    if problems:
        raise NotAsItMustBe(lines(problems) + "\n" + case.workers.told())
    case.proven = True


def published(case: Case) -> dict[int, list[ReleasedOrder]]:
    """The messages on `payment.orders` by shard, in their order."""
    places = [TopicPartition(ORDERS, shard) for shard in range(SHARDS)]
    consumer = KafkaConsumer(**case.ground.cluster.client("faults"), enable_auto_commit=False)
    found: dict[int, list[ReleasedOrder]] = {shard: [] for shard in range(SHARDS)}
    try:
        ends = consumer.end_offsets(places)
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        while any(consumer.position(place) < ends[place] for place in places):
            for place, records in consumer.poll(timeout_ms=1000).items():
                found[place.partition] += [decode_released(record.value) for record in records]
    finally:
        consumer.close()
    return found


def _published_otherwise(case: Case) -> Iterator[str]:
    """A consumer that drops the ids it has seen must come to every released order, once and in order."""
    for shard, messages in published(case).items():
        seen: dict[str, ReleasedOrder] = {}
        for message in messages:
            earlier = seen.setdefault(message.order, message)
            if (earlier.amount, earlier.account, earlier.subject) != (message.amount, message.account, message.subject):
                yield f"{message.order} was published with {earlier.amount} and again with {message.amount}"
        numbers = [message.release_seq for message in seen.values()]
        if numbers != list(range(1, len(numbers) + 1)):
            yield f"shard {shard}: orders were published out of order or with a gap: {numbers[:20]}…"
        released = case.count(f"SELECT count(*) FROM payment_order WHERE shard = {shard} AND release_seq > 0")
        if released != len(seen):
            yield f"shard {shard}: {len(seen)} orders were published, {released} are released"
