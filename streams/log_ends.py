"""Where the log ends, for lag and proof: the embedded log's segments, or the partitions in Kafka."""

from __future__ import annotations

from connectors.kafka_topics import log_ends as kafka_ends
from connectors.segment_log import LogReader

from .installation import Installation
from .topics import all_topics


def log_ends(installation: Installation) -> dict[tuple[str, int], int]:
    """The offset that the next record will get, of every topic and shard."""
    topics, shards = all_topics(installation.registries), range(installation.store.shards)
    cluster = installation.settings.kafka.cluster()
    if cluster.servers:
        return kafka_ends(cluster, topics, len(shards))
    return {(topic, shard): LogReader(installation.log_directory, topic, shard).end_offset() for topic in topics for shard in shards}
