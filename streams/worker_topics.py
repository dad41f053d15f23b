"""What the topics in Kafka must be for an installation, and that a worker or a producer begins only where they are: of the right shape, and still the same.

A topic that was deleted and made anew under its name holds other records at the same offsets, so that the store's positions mean nothing in it.
"""

from __future__ import annotations

from connectors.kafka_topics import Topics, TopicShape
from connectors.store.topic_ids import made_anew

from .installation import Installation
from .settings import Settings
from .topics import ORDERS, all_topics


class TopicsDiffer(RuntimeError):
    """Topics are missing, are other ones than those that were taken, or have not as many partitions as the store has shards: nothing can be put or taken."""


def shape_of(settings: Settings, shards: int) -> TopicShape:
    """What every topic must be like."""
    kafka = settings.kafka
    return TopicShape(shards, kafka.replication_factor, kafka.min_insync_replicas, kafka.retention_hours)


def check_topics(installation: Installation) -> None:
    """TopicsDiffer where a topic is missing, was made anew, or has another number of partitions; no topic is made."""
    shape = shape_of(installation.settings, installation.store.shards)
    names = all_topics(installation.registries)
    with Topics(installation.settings.kafka.cluster()) as topics:
        found, ids = topics.differences(names, shape), topics.ids(names)
    hindering = [difference for difference in found if difference.what in ("the topic", "the number of partitions")]
    if hindering:
        raise TopicsDiffer("; ".join(str(difference) for difference in hindering))
    check_ids(installation, ids)


class Sameness:
    """Looks again and again, on one connection, whether the topics are still those that were taken. Use it from one thread at a time."""

    def __init__(self, installation: Installation) -> None:
        self._installation, self._names = installation, all_topics(installation.registries)
        self._topics: Topics | None = None
        self._seen: dict[str, str] = {}

    def check(self) -> None:
        """TopicsDiffer where a topic was made anew."""
        if self._topics is None:
            self._topics = Topics(self._installation.settings.kafka.cluster())
        ids = self._topics.ids(self._names)
        if ids != self._seen:
            check_ids(self._installation, ids)
            self._seen = ids

    def close(self) -> None:
        """Gives the connection back."""
        if self._topics is not None:
            self._topics.close()


def topic_ids(installation: Installation) -> dict[str, str]:
    """The id of every topic that is there."""
    with Topics(installation.settings.kafka.cluster()) as topics:
        return topics.ids(all_topics(installation.registries))


def check_ids(installation: Installation, ids: dict[str, str]) -> None:
    """TopicsDiffer where a topic is another one under the same name: going on in it would skip records, and beginning anew would take some twice."""
    found = made_anew(installation.store, ids, ORDERS)
    if found:
        what = "; ".join(f"{topic} was made anew (its id is {now}, the positions in the store belong to {was})" for topic, was, now in found)
        raise TopicsDiffer(f"{what}. Nothing is put or taken. Bring the topic back with the records and offsets that it had and run `payout kafka adopt`.")
