"""One segment file of the log being read: how far it is intact, and where its batches lie."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from contextlib import suppress
from pathlib import Path

from connectors import log_batch
from connectors.log_batch import Batch
from pipeline.problems import Malformed, Problem

CHUNK_BYTES = 2 * 1024 * 1024
INDEX_BYTES = 256 * 1024
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
SEGMENT = re.compile(r"(\d{20})\.log")


class LogCorrupt(Exception):
    """A segment is damaged before its end: good records would be lost by going on."""

    def __init__(self, path: Path, position: int, detail: str) -> None:
        self.path, self.position = path, position
        super().__init__(f"{path}: byte {position}: {detail}. Nothing was skipped; put the file back from a copy.")


class Segment:
    """One segment file being read: how far it is known to be intact, and where its batches lie (about every 256 KiB)."""

    def __init__(self, directory: Path, base: int) -> None:
        self.base = base
        self.path = segment_path(directory, base)
        self.end = 0
        self.end_offset = base
        self._offsets = [base]
        self._positions = [0]
        self._buffer = b""
        self._buffer_position = 0

    def size(self) -> int:
        """The bytes of the file now."""
        return self.path.stat().st_size

    def batch(self, position: int) -> tuple[bytes, Batch] | None:
        """The intact batch at a position that is a batch's, and the buffer it lies in; None at the end of what is intact."""
        known = position < self.end
        found = self._header(position)
        if found is not None:
            found = self._header(position, found.length)
        if found is None or not log_batch.intact(self._buffer, found) or not (known or found.offset == self.end_offset):
            self._buffer = b""  # a writer may be about to complete or to replace these bytes
            if known:
                raise LogCorrupt(self.path, position, "the file changed after it was verified")
            return None
        if not known:
            self._advance(found)
        return self._buffer, found

    def seek(self, offset: int) -> int | None:
        """The position of the batch that holds an offset, verifying further batches as needed; None if it is not there."""
        index = bisect_right(self._offsets, offset) - 1
        position = self._positions[index]
        while position < self.end or self.batch(position) is not None:
            found = self._header(position)
            if found is None:
                raise LogCorrupt(self.path, position, "the file changed after it was verified")
            if offset < found.next_offset:
                return position
            position += found.length
        return None

    def verify(self) -> None:
        """Verify every batch that came since the last look."""
        while self.batch(self.end) is not None:
            pass

    def check_tail(self) -> None:
        """Raise if intact batches lie beyond the end of what is intact: that is damage in the middle, not a torn tail."""
        if self.size() <= self.end:
            return
        with self.path.open("rb") as file:
            file.seek(self.end)
            rest = file.read()
        later = log_batch.intact_after(rest, 1, self.end_offset)
        # A writer may have completed the batch between the two looks; then there is no damage.
        if later is not None and self.batch(self.end) is None:
            raise LogCorrupt(self.path, self.end, f"the batch of offset {self.end_offset} is damaged, and an intact one follows at byte {self.end + later}")

    def _header(self, position: int, length: int = log_batch.HEADER.size) -> Batch | None:
        at = position - self._buffer_position
        if at < 0 or at + length > len(self._buffer):
            with self.path.open("rb", buffering=0) as file:
                self._buffer = os.pread(file.fileno(), max(length, CHUNK_BYTES), position)
            self._buffer_position, at = position, 0
        return log_batch.header(self._buffer, at) if at + length <= len(self._buffer) else None

    def _advance(self, batch: Batch) -> None:
        if self.end - self._positions[-1] >= INDEX_BYTES:
            self._offsets.append(batch.offset)
            self._positions.append(self.end)
        self.end += batch.length
        self.end_offset = batch.next_offset


def topic_name(topic: str) -> str:
    """The name, if it is one."""
    if TOPIC.fullmatch(topic) is None or topic in (".", ".."):
        raise Malformed([Problem("topic", f"{topic!r} is not a topic name.", "Use 1 to 249 letters, digits, dots, underscores and hyphens.")])
    return topic


def partition_path(directory: Path, topic: str, partition: int) -> Path:
    """Where the segments of a partition lie."""
    if partition < 0:
        raise Malformed([Problem("partition", f"{partition} is not a partition.", "Partitions count from 0.")])
    return directory / topic_name(topic) / str(partition)


def segment_path(directory: Path, base: int) -> Path:
    """The file of the segment that begins with an offset."""
    return directory / f"{base:020}.log"


def segment_bases(directory: Path) -> list[int]:
    """The first offsets of a partition's segments, in order."""
    with suppress(FileNotFoundError):
        return sorted(int(match[1]) for match in (SEGMENT.fullmatch(entry.name) for entry in directory.iterdir()) if match is not None)
    return []
