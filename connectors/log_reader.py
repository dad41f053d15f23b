"""Reading a partition of the log, from any offset on."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from connectors import log_batch
from connectors.log_batch import Batch
from connectors.log_segment import LogCorrupt, Segment, partition_path, segment_bases


class OffsetOutOfRange(Exception):
    """The offset asked for is not in the log, nor its end."""

    def __init__(self, path: Path, offset: int, start: int, end: int) -> None:
        super().__init__(f"{path} holds the offsets {start} to {end} (its end), not {offset}.")


class Frame(NamedTuple):
    """A run of records of one partition; `time_ms` is when the first of them was appended (0 for an empty frame)."""

    first_offset: int
    keys: list[bytes]
    values: list[bytes]
    time_ms: int

    @property
    def next_offset(self) -> int:
        """Where to read on."""
        return self.first_offset + len(self.values)


class LogReader:
    """Reads one partition from any offset; new records, of this process or another, are seen at once."""

    def __init__(self, directory: Path, topic: str, partition: int) -> None:
        self.path = partition_path(directory, topic, partition)
        self._segments: dict[int, Segment] = {}
        self._next: tuple[int, Segment, int] | None = None

    def start_offset(self) -> int:
        """The first offset the log holds."""
        return next(iter(self._refresh()), 0)

    def end_offset(self) -> int:
        """The offset the next record will get."""
        if not (bases := self._refresh()):
            return 0
        segment = self._segments[bases[-1]]
        segment.verify()
        segment.check_tail()
        return segment.end_offset

    def read(self, offset: int, max_records: int = 5_000, max_bytes: int = 16 * 1024 * 1024) -> Frame:
        """The records from `offset` on, within both limits but at least one; none at the end of the log."""
        if max_records < 1:
            raise ValueError(f"max_records must be at least 1, not {max_records}")
        keys: list[bytes] = []
        values: list[bytes] = []
        time_ms = 0
        room, at = max_bytes, offset
        for segment, position, buffer, batch in self._batches(offset):
            time_ms = time_ms or batch.time_ms
            first = at - batch.offset
            limit = max_records - len(values)
            got = log_batch.records(buffer, batch, first, limit, room)
            if not values and not got[1]:
                got = log_batch.records(buffer, batch, first, 1, log_batch.MAX_BATCH_BYTES + 2 * log_batch.MAX_VALUE_BYTES)
            keys += got[0]
            values += got[1]
            room -= got[2]
            at += len(got[1])
            whole = at == batch.next_offset
            self._next = (at, segment, position + batch.length if whole else position)
            if not whole or len(values) == max_records or room <= 0:
                break
        return Frame(offset, keys, values, time_ms)

    def _batches(self, offset: int) -> Iterator[tuple[Segment, int, bytes, Batch]]:
        """The intact batches from the one that holds `offset` on."""
        start = self._locate(offset)
        if start is None:
            return
        segment, position = start
        while True:
            found = segment.batch(position)
            if found is not None:
                yield segment, position, *found
                position += found[1].length
                continue
            following = self._following(segment)
            if following is None:
                return
            if segment.batch(position) is None:  # nothing came between the look at the file and the look at the directory
                segment, position = following, 0

    def _locate(self, offset: int) -> tuple[Segment, int] | None:
        if self._next is not None and self._next[0] == offset:
            return self._next[1], self._next[2]
        found = self._find(offset)
        if found is not None or offset == (end := self.end_offset()):
            return found
        start = self.start_offset()
        if not start <= offset < end:
            raise OffsetOutOfRange(self.path, offset, start, end)
        found = self._find(offset)  # a writer may have completed the batch between the two looks
        if found is None:
            raise LogCorrupt(self.path, 0, f"the batch of offset {offset} is missing or damaged, and later ones follow")
        return found

    def _find(self, offset: int) -> tuple[Segment, int] | None:
        bases = self._refresh()
        index = bisect_right(bases, offset) - 1
        if index < 0:
            return None
        segment = self._segments[bases[index]]
        position = segment.seek(offset)
        if position is None and index + 1 < len(bases):
            raise LogCorrupt(segment.path, segment.end, f"the batch of offset {segment.end_offset} is missing or damaged, and later segments follow")
        return None if position is None else (segment, position)

    def _following(self, segment: Segment) -> Segment | None:
        """The segment after this one, which must then be whole; None if this is the last."""
        bases = self._refresh()
        later = bisect_right(bases, segment.base)
        if later == len(bases):
            segment.check_tail()
            return None
        following = self._segments[bases[later]]
        segment.verify()
        if segment.end != segment.size() or following.base != segment.end_offset:
            raise LogCorrupt(
                segment.path, segment.end, f"the batch of offset {segment.end_offset} is missing or damaged, and a segment of offset {following.base} follows"
            )
        return following

    def _refresh(self) -> list[int]:
        bases = segment_bases(self.path)
        for base in bases:
            if base not in self._segments:
                self._segments[base] = Segment(self.path, base)
        return bases
