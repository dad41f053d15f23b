"""Which shard a subject belongs to: the partition that Kafka's `consistent` partitioner would give its key."""

from __future__ import annotations

import zlib
from collections.abc import Iterable


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a message key, as librdkafka's `consistent` partitioner chooses it (CRC-32 modulo the count)."""
    if partitions < 1:
        raise ValueError(f"a topic has at least one partition, not {partitions}")
    return zlib.crc32(key) % partitions


def shard_of(subject: str, shards: int) -> int:
    """The shard of a subject: the partition of its name as a message key."""
    return partition_of(subject.encode(), shards)


def astray(keys: Iterable[bytes], partition: int, partitions: int) -> set[int]:
    """The places in a partition's run of records whose key leads to another partition: another partitioner put them there."""
    crc32 = zlib.crc32
    return {index for index, key in enumerate(keys) if crc32(key) % partitions != partition}


def by_partition(records: Iterable[tuple[bytes, bytes]], partitions: int) -> dict[int, list[tuple[bytes, bytes]]]:
    """Records (key, value) by the partition of their key, in their order."""
    parts: dict[int, list[tuple[bytes, bytes]]] = {}
    for record in records:
        parts.setdefault(partition_of(record[0], partitions), []).append(record)
    return parts
