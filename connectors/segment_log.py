"""The embedded log: append-only segment files for each topic and partition, with Kafka's offsets and keys.

A topic is a directory, a partition a directory in it, a segment a file named by its first offset. A partition has one
writer, in whichever process, and any number of readers. Readers see what was appended at once and stop before a torn tail;
a writer that opens a partition cuts a torn tail off, keeps the bytes aside, and says so in `LogWriter.repairs`.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from connectors import log_batch
from connectors.failpoints import failpoint
from connectors.log_batch import Record
from connectors.log_reader import Frame, LogReader, OffsetOutOfRange
from connectors.log_segment import LogCorrupt, Segment, partition_path, segment_bases, segment_path, topic_name
from pipeline.problems import Malformed, Problem

SEGMENT_BYTES = 256 * 1024 * 1024

__all__ = [
    "Frame",
    "LogCorrupt",
    "LogFailed",
    "LogInUse",
    "LogReader",
    "LogWriter",
    "OffsetOutOfRange",
    "Record",
    "Repair",
    "create_topic",
    "extend_topic",
    "partition_count",
]

Fsync = Literal["batch", "close"]


class LogInUse(Exception):
    """Another writer has the partition."""

    def __init__(self, path: Path, pid: str) -> None:
        super().__init__(f"{path} is being written by process {pid or '(unknown)'}. Stop that process, or write to another directory.")


class LogFailed(Exception):
    """An earlier write or sync of the partition failed, so what the disk holds is not known."""


class Repair(NamedTuple):
    """A torn tail that was cut off: the segment, its good length, the bytes cut, and the file that keeps them."""

    segment: Path
    position: int
    bytes_cut: int
    kept_in: Path


def create_topic(directory: Path, topic: str, partitions: int) -> None:
    """Provision a topic; asking again for the same is no change, asking for another number of partitions is refused.

    It appears with all its partitions at once: whoever is killed on the way leaves none, and of several that make it at the same time one does.
    """
    path = directory / topic_name(topic)
    if partitions > 0 and not partition_count(directory, topic):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new-", dir=directory) as new:
            whole = Path(new) / topic
            for partition in range(partitions):
                (whole / str(partition)).mkdir(mode=0o700, parents=True)
            try:
                whole.rename(path)
            except OSError:
                if not partition_count(directory, topic):
                    raise
    known = partition_count(directory, topic)
    if known != partitions or partitions < 1:
        raise Malformed([Problem("partitions", f"the topic {topic!r} cannot have {partitions} partitions.", f"It has {known}." if known else "")])


def extend_topic(directory: Path, topic: str, partitions: int) -> None:
    """Gives a topic more partitions; those that it has keep their records."""
    for partition in range(partition_count(directory, topic), partitions):
        (directory / topic_name(topic) / str(partition)).mkdir(mode=0o700, parents=True, exist_ok=True)


def partition_count(directory: Path, topic: str) -> int:
    """How many partitions a topic was provisioned with; 0 where it does not exist."""
    path = directory / topic_name(topic)
    return sum(entry.name.isdecimal() for entry in path.iterdir()) if path.is_dir() else 0


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
            bases = segment_bases(path)
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
            failpoint("log_written")
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
        segment = Segment(self.path, base)
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
        path = segment_path(self.path, self.next_offset)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.position = 0
        for directory in (self.path, self.path.parent, self.path.parent.parent):
            _sync_directory(directory)
        failpoint("log_rolled")

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

    max_value_bytes = log_batch.MAX_VALUE_BYTES

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

    def place(self, topic: str, partition: int, record: Record) -> int:
        """Append one record and put it onto the disk; its offset."""
        offset = self.append(topic, partition, [record])
        self.flush()
        return offset

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
            opened = _Partition(partition_path(self._directory, topic, partition), self._fsync, self.repairs)
            self._partitions[topic, partition] = opened
        return opened


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
