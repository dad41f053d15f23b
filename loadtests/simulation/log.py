"""A log in memory: what the embedded log and Kafka are to lanes, relays and the bank desk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from connectors.log_batch import Record
from connectors.segment_log import Frame, LogWriter


class MemoryLog:
    """Topics with their partitions, each a list of records."""

    def __init__(self) -> None:
        self._partitions: dict[tuple[str, int], list[Record]] = defaultdict(list)

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Appends records to a partition; the offset of the first."""
        held = self._partitions[topic, partition]
        held += records
        return len(held) - len(records)

    def flush(self) -> None:
        """Everything appended is here already."""

    def end_offset(self, topic: str, partition: int) -> int:
        """The offset that the next record will get."""
        return len(self._partitions[topic, partition])

    def read(self, topic: str, partition: int, offset: int = 0, max_records: int | None = None) -> Frame:
        """The records from an offset on."""
        records = self._partitions[topic, partition][offset : None if max_records is None else offset + max_records]
        return Frame(offset, [key for key, _ in records], [value for _, value in records], 0)

    def keep(self, directory: Path) -> None:
        """Writes everything into the embedded log, where the audit looks for it."""
        with LogWriter(directory, fsync="close") as log:
            for (topic, partition), records in self._partitions.items():
                if records:
                    log.append(topic, partition, records)
