"""The embedded log: append-only segment files for each topic and partition, with Kafka's offsets and keys.

A topic is a directory, a partition a directory in it, a segment a file named by its first offset. A partition has one
writer, in whichever process, and any number of readers. Readers see what was appended at once and stop before a torn tail;
a writer that opens a partition cuts a torn tail off, keeps the bytes aside, and says so in `LogWriter.repairs`.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from connectors import log_batch
from connectors.log_batch import Batch, Record
from pipeline.problems import Malformed, Problem

SEGMENT_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 2 * 1024 * 1024
INDEX_BYTES = 256 * 1024
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
SEGMENT = re.compile(r"(\d{20})\.log")

Fsync = Literal["batch", "close"]


class LogCorrupt(Exception):
    """A segment is damaged before its end: good records would be lost by going on."""

    def __init__(self, path: Path, position: int, detail: str) -> None:
        self.path, self.position = path, position
        super().__init__(f"{path}: byte {position}: {detail}. Nothing was skipped; put the file back from a copy.")


class LogInUse(Exception):
    """Another writer has the partition."""

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(f"{path} is being written by process {pid or '(unknown)'}. Stop that process, or write to another directory.")


class LogFailed(Exception):
    """An earlier write or sync of the partition failed, so what the disk holds is not known."""


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


class Repair(NamedTuple):
    """A torn tail that was cut off: the segment, its good length, the bytes cut, and the file that keeps them."""

    segment: Path
    position: int
    bytes_cut: int
    kept_in: Path


def create_topic(directory: Path, topic: str, partitions: int) -> None:
    """Provision a topic; asking again for the same is no change, asking for another number of partitions is refused."""
    path = directory / _topic_name(topic)
    known = partition_count(directory, topic)
    if known not in (0, partitions) or partitions < 1:
        raise Malformed([Problem("partitions", f"the topic {topic!r} cannot have {partitions} partitions.", f"It has {known}." if known else "")])
    for partition in range(partitions):
        (path / str(partition)).mkdir(mode=0o700, parents=True, exist_ok=True)


def partition_count(directory: Path, topic: str) -> int:
    """How many partitions a topic was provisioned with; 0 where it does not exist."""
    path = directory / _topic_name(topic)
    return sum(entry.name.isdecimal() for entry in path.iterdir()) if path.is_dir() else 0


class _Segment:
    """One segment file being read: how far it is known to be intact, and where its batches lie (about every 256 KiB)."""

    def __init__(self, directory: Path, base: int) -> None:
        self.base = base
        self.path = _segment_path(directory, base)
        self.end = 0
        self.end_offset = base
        self._offsets = [base]
        self._positions = [0]
        self._buffer = b""
        self._buffer_position = 0

    def size(self) -> int:
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


class LogReader:
    """Reads one partition from any offset; new records, of this process or another, are seen at once."""

    def __init__(self, directory: Path, topic: str, partition: int) -> None:
        self.path = _partition_path(directory, topic, partition)
        self._segments: dict[int, _Segment] = {}
        self._next: tuple[int, _Segment, int] | None = None

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

    def _batches(self, offset: int) -> Iterator[tuple[_Segment, int, bytes, Batch]]:
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

    def _locate(self, offset: int) -> tuple[_Segment, int] | None:
        if self._next is not None and self._next[0] == offset:
            return self._next[1], self._next[2]
        bases = self._refresh()
        index = bisect_right(bases, offset) - 1
        if index >= 0:
            segment = self._segments[bases[index]]
            position = segment.seek(offset)
            if position is not None:
                return segment, position
        end = self.end_offset()
        if offset != end:
            if bases and bases[0] <= offset < end and index + 1 < len(bases):
                raise LogCorrupt(segment.path, segment.end, f"the batch of offset {segment.end_offset} is missing or damaged, and later segments follow")
            raise OffsetOutOfRange(self.path, offset, self.start_offset(), end)
        return None

    def _following(self, segment: _Segment) -> _Segment | None:
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
        bases = _segment_bases(self.path)
        for base in bases:
            if base not in self._segments:
                self._segments[base] = _Segment(self.path, base)
        return bases


class _Partition:
    """A partition open for appending, under its lock."""

    def __init__(self, path: Path, fsync: Fsync, repairs: list[Repair]) -> None:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = path
        self._sync_each = fsync == "batch"
        self._lock = _lock(path)
        self._file: int | None = None
        self._dirty = False
        self._failed = False
        self.next_offset = 0
        self.position = 0
        try:
            bases = _segment_bases(path)
            if bases:
                self._recover(bases[-1], repairs)
        except BaseException:
            self.close()
            raise

    def append(self, time_ms: int, records: Sequence[Record]) -> int:
        """Append records all together; after an error none of them is in the log."""
        if self._failed:
            raise LogFailed(f"{self.path}: an earlier write failed, so what the disk holds is not known. Open the log anew.")
        first = offset = self.next_offset
        batches = []
        for run in log_batch.split(records):
            batches.append(log_batch.encode(offset, time_ms, run))
            offset += len(run)
        data = batches[0] if len(batches) == 1 else b"".join(batches)
        if self._file is None or (self.position and self.position + len(data) > SEGMENT_BYTES):
            self._roll()
        assert self._file is not None
        try:
            _write(self._file, data)
            self._dirty = True
            if self._sync_each:
                self.flush()
        except OSError:
            self._undo(self._file)
            raise
        self.position += len(data)
        self.next_offset = offset
        return first

    def flush(self) -> None:
        """Put what was appended onto the disk."""
        if self._dirty and self._file is not None:
            try:
                os.fsync(self._file)
            except OSError:
                self._failed = True  # the kernel forgets which pages failed: a second sync would lie
                raise
            self._dirty = False

    def close(self) -> None:
        try:
            self.flush()
        finally:
            if self._file is not None:
                os.close(self._file)
                self._file = None
            os.close(self._lock)

    def _recover(self, base: int, repairs: list[Repair]) -> None:
        segment = _Segment(self.path, base)
        segment.verify()
        segment.check_tail()
        self._file = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self.position, self.next_offset = segment.end, segment.end_offset
        torn = segment.size() - segment.end
        if torn:
            kept_in = segment.path.with_name(f"{segment.path.name}.torn-{segment.end}")
            with segment.path.open("rb") as file:
                file.seek(segment.end)
                kept_in.write_bytes(file.read())
            os.ftruncate(self._file, segment.end)
            os.fsync(self._file)
            repairs.append(Repair(segment.path, segment.end, torn, kept_in))

    def _roll(self) -> None:
        if self._file is not None:
            self.flush()
            os.close(self._file)
            self._file = None
        path = _segment_path(self.path, self.next_offset)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.position = 0
        for directory in (self.path, self.path.parent, self.path.parent.parent):
            _sync_directory(directory)

    def _undo(self, file: int) -> None:
        try:
            os.ftruncate(file, self.position)
        except OSError:
            self._failed = True


class LogWriter:
    """Appends to partitions, each locked from the first append to it until `close`.

    `fsync` "batch" puts every append onto the disk before it returns; "close" does so at `flush`, `close` and the end of a
    segment. Either way a killed process loses nothing that `append` returned for; without power "close" can lose the tail.
    """

    def __init__(self, directory: Path, fsync: Fsync = "batch", now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self.repairs: list[Repair] = []
        self._directory = directory
        self._fsync: Fsync = fsync
        self._now_ms = now_ms
        self._partitions: dict[tuple[str, int], _Partition] = {}

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> int:
        """Append records to the end of a partition; the offset of the first of them."""
        too_large = [index for index, (_, value) in enumerate(records) if len(value) > log_batch.MAX_VALUE_BYTES]
        if too_large:
            raise Malformed([_too_large(index, len(records[index][1])) for index in too_large])
        opened = self._open(topic, partition)
        return opened.append(self._now_ms(), records) if records else opened.next_offset

    def end_offset(self, topic: str, partition: int) -> int:
        """The offset the next record will get; opens the partition for appending."""
        return self._open(topic, partition).next_offset

    def flush(self) -> None:
        """Put everything appended so far onto the disk."""
        for partition in self._partitions.values():
            partition.flush()

    def close(self) -> None:
        """Flush, and leave the partitions to other writers."""
        partitions = list(self._partitions.values())
        self._partitions.clear()
        with ExitStack() as closing:
            for partition in partitions:
                closing.callback(partition.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _open(self, topic: str, partition: int) -> _Partition:
        opened = self._partitions.get((topic, partition))
        if opened is None:
            opened = _Partition(_partition_path(self._directory, topic, partition), self._fsync, self.repairs)
            self._partitions[topic, partition] = opened
        return opened


def _topic_name(topic: str) -> str:
    if TOPIC.fullmatch(topic) is None or topic in (".", ".."):
        raise Malformed([Problem("topic", f"{topic!r} is not a topic name.", "Use 1 to 249 letters, digits, dots, underscores and hyphens.")])
    return topic


def _partition_path(directory: Path, topic: str, partition: int) -> Path:
    if partition < 0:
        raise Malformed([Problem("partition", f"{partition} is not a partition.", "Partitions count from 0.")])
    return directory / _topic_name(topic) / str(partition)


def _segment_path(directory: Path, base: int) -> Path:
    return directory / f"{base:020}.log"


def _segment_bases(directory: Path) -> list[int]:
    with suppress(FileNotFoundError):
        return sorted(int(match[1]) for match in (SEGMENT.fullmatch(entry.name) for entry in directory.iterdir()) if match is not None)
    return []


def _too_large(index: int, size: int) -> Problem:
    return Problem(f"records[{index}].value", f"a value of {size} bytes is too large.", f"The log takes up to {log_batch.MAX_VALUE_BYTES}.")


def _lock(path: Path) -> int:
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise LogInUse(path, pid) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _write(file: int, data: bytes) -> None:
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, memoryview(data)[written:])


def _sync_directory(path: Path) -> None:
    directory = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
