"""What the topics in Kafka must be like for an installation, and that a worker or a producer begins only where they are."""

from __future__ import annotations

from connectors.kafka_topics import Topics, TopicShape

from .installation import Installation
from .settings import Settings
from .topics import all_topics


class TopicsDiffer(RuntimeError):
    """Topics are missing, or have another number of partitions than the store has shards: nothing can be put or taken."""


def shape_of(settings: Settings, shards: int) -> TopicShape:
    """What every topic must be like."""
    kafka = settings.kafka
    return TopicShape(shards, kafka.replication_factor, kafka.min_insync_replicas, kafka.retention_hours)


def check_topics(installation: Installation) -> None:
    """TopicsDiffer where a topic is missing or has another number of partitions; no topic is made."""
    shape = shape_of(installation.settings, installation.store.shards)
    with Topics(installation.settings.kafka.cluster()) as topics:
        found = topics.differences(all_topics(installation.registries), shape)
    hindering = [difference for difference in found if difference.what in ("the topic", "the number of partitions")]
    if hindering:
        raise TopicsDiffer("; ".join(str(difference) for difference in hindering))
