"""The log of an installation opened for writing or for reading, whichever its settings name: the embedded segments, or the topics in Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from connectors.kafka_log import KafkaReader, KafkaWriter
from connectors.log_batch import Record
from connectors.log_reader import Frame
from connectors.segment_log import Fsync, LogReader, LogWriter

from .installation import Installation
from .relay import Writer
from .settings import Settings
from .worker_topics import check_topics


class PlacingWriter(Writer, Protocol):
    """A log that also tells where a record came to lie."""

    def place(self, topic: str, partition: int, record: Record) -> int:
        """Appends one record and returns its offset when it is kept."""
        ...


class Reading(Protocol):
    """A log that is read from any place."""

    def start_offset(self, topic: str, partition: int) -> int:
        """The first offset that the log still has."""
        ...

    def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        ...

    def read(self, topic: str, partition: int, offset: int, max_records: int) -> Frame:
        """The records from an offset on; none at the end."""
        ...


class _Segments:
    """The embedded log, read."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._readers = directory, dict[tuple[str, int], LogReader]()

    def start_offset(self, topic: str, partition: int) -> int:
        return self._of(topic, partition).start_offset()

    def end_offset(self, topic: str, partition: int) -> int:
        return self._of(topic, partition).end_offset()

    def read(self, topic: str, partition: int, offset: int, max_records: int) -> Frame:
        return self._of(topic, partition).read(offset, max_records)

    def _of(self, topic: str, partition: int) -> LogReader:
        found = self._readers.get((topic, partition))
        if found is None:
            found = self._readers[topic, partition] = LogReader(self._directory, topic, partition)
        return found


def open_writer(settings: Settings, name: str, fsync: Fsync = "batch") -> LogWriter | KafkaWriter:
    """A writer to the log, which the caller closes; `name` tells Kafka who writes, `fsync` when the embedded log is synced. No topic is made."""
    cluster = settings.kafka.cluster()
    return KafkaWriter(cluster, name) if cluster.servers else LogWriter(settings.home / "log", fsync=fsync)


@contextmanager
def writing(installation: Installation, name: str) -> Iterator[PlacingWriter]:
    """A writer to the log, whose topics in Kafka are as they must be."""
    if installation.settings.kafka.servers:
        check_topics(installation)
    with open_writer(installation.settings, name) as writer:
        yield writer


@contextmanager
def reading(installation: Installation) -> Iterator[Reading]:
    """The log for reading."""
    cluster = installation.settings.kafka.cluster()
    if not cluster.servers:
        yield _Segments(installation.log_directory)
        return
    with KafkaReader(cluster) as reader:
        yield reader
