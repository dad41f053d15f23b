"""The topics in a Kafka cluster: made where they are missing, and held to what this program needs of them. Nothing is changed by itself."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .kafka_cluster import Cluster, KafkaAway, answering

MESSAGE_BYTES = 16 * 1024 * 1024
"""The largest batch that a topic takes."""

GROW_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class TopicShape:
    """What every topic must be like."""

    partitions: int
    replication_factor: int
    min_insync_replicas: int
    retention_hours: int

    @property
    def configs(self) -> dict[str, str]:
        """The settings of a topic as Kafka names them."""
        return {
            "cleanup.policy": "delete",
            "min.insync.replicas": str(self.min_insync_replicas),
            "retention.ms": str(self.retention_hours * 3_600_000),
            "retention.bytes": "-1",
            "max.message.bytes": str(MESSAGE_BYTES),
            "unclean.leader.election.enable": "false",
            "message.timestamp.type": "LogAppendTime",
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing about a topic that is not as it must be."""

    topic: str
    what: str
    found: str
    needed: str
    mend: str

    def __str__(self) -> str:
        return f"{self.topic}: {self.what} is {self.found}, needed is {self.needed}. {self.mend}"


class Topics:
    """The topics of one cluster; close it, or use it with `with`."""

    def __init__(self, cluster: Cluster) -> None:
        from kafka.admin import KafkaAdminClient  # type: ignore[import-untyped]

        self._cluster = cluster
        with answering(cluster):
            self._admin: Any = KafkaAdminClient(**cluster.client("payout-topics"), request_timeout_ms=15_000, bootstrap_timeout_ms=10_000)

    def __enter__(self) -> Topics:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives the connections back."""
        self._admin.close()

    def create_missing(self, topics: Sequence[str], shape: TopicShape) -> list[str]:
        """Makes the topics that are not there, and gives their names."""
        with answering(self._cluster):
            there = set(self._admin.list_topics())
            missing = [topic for topic in topics if topic not in there]
            if missing:
                wanted = {
                    topic: {"num_partitions": shape.partitions, "replication_factor": shape.replication_factor, "configs": shape.configs} for topic in missing
                }
                self._admin.create_topics(wanted, timeout_ms=15_000)
                self._admin.wait_for_topics(missing, timeout_ms=15_000)
        return missing

    def grow(self, topics: Sequence[str], partitions: int) -> list[str]:
        """Gives topics that have fewer partitions so many, and gives their names. What is in them stays where it is."""
        with answering(self._cluster):
            short = [entry["name"] for entry in self._admin.describe_topics(list(topics)) if len(entry["partitions"]) < partitions]
            if short:
                self._admin.create_partitions(dict.fromkeys(short, partitions), timeout_ms=15_000)
                deadline = time.monotonic() + GROW_TIMEOUT_S
                while any(len(entry["partitions"]) < partitions for entry in self._admin.describe_topics(short)):
                    if time.monotonic() > deadline:
                        raise KafkaAway(f"the new partitions of {', '.join(short)} were not there within {GROW_TIMEOUT_S} s: do it again")
                    time.sleep(0.1)
        return short

    def differences(self, topics: Sequence[str], shape: TopicShape) -> list[Difference]:
        """Everything about the topics that is not as it must be."""
        with answering(self._cluster):
            there = set(self._admin.list_topics())
            known = [topic for topic in topics if topic in there]
            found = [Difference(topic, "the topic", "missing", "there", "Run `payout kafka provision`.") for topic in topics if topic not in there]
            described = {entry["name"]: entry["partitions"] for entry in self._admin.describe_topics(known)} if known else {}
            settings = self._settings(known)
        for topic in known:
            found += _layout(topic, described[topic], shape)
            mend = f"kafka-configs --alter --topic {topic}"
            found += [
                Difference(topic, name, settings[topic].get(name, "not told"), value, f"{mend} --add-config {name}={value}")
                for name, value in shape.configs.items()
                if settings[topic].get(name) != value
            ]
        return found

    def ids(self, topics: Sequence[str]) -> dict[str, str]:
        """The ids that Kafka has given to those of the topics that are there."""
        with answering(self._cluster):
            there = set(self._admin.list_topics())
            known = [topic for topic in topics if topic in there]
            described = self._admin.describe_topics(known) if known else []
            return {entry["name"]: str(entry["topic_id"]) for entry in described if not entry["error_code"]}  # one that goes at this moment has none

    def _settings(self, topics: Sequence[str]) -> dict[str, dict[str, str]]:
        from kafka.admin import ConfigResource, ConfigResourceType

        if not topics:
            return {}
        told = self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic) for topic in topics], config_filter="all")
        return {topic: {name: str(entry["value"]) for name, entry in configs.items()} for topic, configs in told["topic"].items()}


def _layout(topic: str, partitions: Sequence[Any], shape: TopicShape) -> list[Difference]:
    found = []
    if len(partitions) != shape.partitions:
        mend = "One partition belongs to each shard: `payout store reshard` changes both."
        found.append(Difference(topic, "the number of partitions", str(len(partitions)), str(shape.partitions), mend))
    copies = {len(partition["replica_nodes"]) for partition in partitions}
    if copies - {shape.replication_factor}:
        mend = "kafka-reassign-partitions, or set kafka.replication_factor."
        found.append(Difference(topic, "the replication factor", " and ".join(map(str, sorted(copies))), str(shape.replication_factor), mend))
    return found


def log_ends(cluster: Cluster, topics: Sequence[str], partitions: int) -> dict[tuple[str, int], int]:
    """The offset that the next record will get, of every topic and partition."""
    from kafka import KafkaConsumer, TopicPartition  # type: ignore[import-untyped]

    with answering(cluster):
        consumer = KafkaConsumer(**cluster.client("payout-ends"), enable_auto_commit=False)
        try:
            found = consumer.end_offsets([TopicPartition(topic, partition) for topic in topics for partition in range(partitions)])
        finally:
            consumer.close()
    return {(place.topic, place.partition): int(offset) for place, offset in found.items()}
