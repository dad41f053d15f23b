"""Putting registry events into the log: lines of NDJSON, each checked, keyed by its subject and put on its registry's topic.

A line that is refused is put into the log as well, on the topic its source or type names (else `FALLBACK_TOPIC`), keyed by
its subject where that can be read, so that the lane records it as a dead letter and nothing is lost. Putting the same lines
again is harmless: an event that is known is a duplicate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol

import msgspec

from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries
from pipeline.sharding import by_partition

from .log_batch import MAX_VALUE_BYTES, Record
from .pseudonyms import Pseudonyms, masked
from .segment_log import LogWriter

FALLBACK_TOPIC = "registry.residency"
"""Where a line goes whose registry cannot be told."""

BATCH_LINES = 5_000
BATCH_BYTES = 8 * 1024 * 1024
SYNC_LINES = 1_000_000
MAX_REASONS = 50
MANY_REASONS = "and other reasons"

Line = tuple[int, bytes]
"""A line's number, counted from 1, and its bytes without its end."""

Progress = Callable[[int, int], None]
"""Called with the lines and bytes put since the last call."""

_SUBJECT = re.compile(rb'"subject"\s*:\s*"([!#-\[\]-~]{1,64})"')
_SOURCE = re.compile(rb'"source"\s*:\s*"([^"\\]{1,200})"')
_TYPE = re.compile(rb'"type"\s*:\s*"([^"\\]{1,200})"')
_VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|\b0x[0-9a-f]+\b|(?<![\w-])-?\d[\d,.]*…?")


class Refusal(msgspec.Struct):
    """Lines refused for one reason: how many, and the first of them with what is wrong with it."""

    reason: str
    lines: int
    first_line: int
    first: list[Problem]


class PutResult(msgspec.Struct):
    """What became of the lines; `accepted` are on the disk. Refused lines are in the log too, but for those not `kept`.

    Of these, `withheld` may hold a number that is kept nowhere, and the others are longer than the log takes.
    """

    accepted: int = 0
    refused: int = 0
    not_kept: int = 0
    withheld: int = 0
    blank: int = 0
    topics: dict[str, int] = {}
    refusals: list[Refusal] = []


def silent(lines: int, size: int) -> None:
    """Shows no progress."""


class Writer(Protocol):
    """A log that is appended to: the embedded one, or Kafka."""

    max_value_bytes: int

    def append(self, topic: str, partition: int, records: Sequence[Record]) -> object:
        """Appends records to the end of a partition."""

    def flush(self) -> None:
        """Returns when everything appended is kept."""


def put_events(
    lines: Iterable[Line],
    log_directory: Path,
    shards: int,
    registries: Registries,
    progress: Progress = silent,
    writer: Writer | None = None,
    pseudonyms: Pseudonyms | None = None,
) -> PutResult:
    """Puts lines into the embedded log, or to another writer; returns when all of them are kept."""
    decode, pseudonyms = registries.decode, pseudonyms or Pseudonyms(registries, None)
    with ExitStack() as stack:
        writer = writer or stack.enter_context(LogWriter(log_directory, fsync="close"))
        putting = _Putting(writer, shards, registries, progress, pseudonyms)
        count = size = 0
        for number, line in lines:
            try:
                event = decode(line)
                putting.accepted[event.known.registry].append(pseudonyms.record(event, line))
            except Malformed as malformed:
                putting.refuse(number, line, malformed)
            count += 1
            size += len(line)
            if count >= BATCH_LINES or size >= BATCH_BYTES:
                putting.append()
                count = size = 0
        return putting.finish()


def put_records(chunks: Iterable[tuple[str, Sequence[Record]]], log_directory: Path, shards: int, progress: Progress = silent) -> int:
    """Puts (topic, [(key, line)]) into the log, unchecked: the lanes check. Returns when all are on the disk; gives their number."""
    put = 0
    with LogWriter(log_directory, fsync="close") as writer:
        for topic, records in chunks:
            append_by_key(writer, topic, shards, records)
            put += len(records)
            progress(len(records), sum(len(line) for _, line in records))
    return put


def append_by_key(writer: Writer, topic: str, shards: int, records: Iterable[Record]) -> None:
    """Appends records of a topic, each to the partition of its key."""
    for partition, part in by_partition(records, shards).items():
        writer.append(topic, partition, part)


class _Putting:
    """Lines on their way: collected by registry, appended in batches, counted. `accepted` holds what waits to be appended."""

    def __init__(self, writer: Writer, shards: int, registries: Registries, progress: Progress, pseudonyms: Pseudonyms) -> None:
        self._writer, self._shards, self._progress, self._pseudonyms = writer, shards, progress, pseudonyms
        self._topic_of = {registry.name: registry.topic for registry in registries.registries}
        self._topic_of_source = {registry.source: registry.topic for registry in registries.registries}
        self._topic_of_type = {event.name: registry.topic for registry in registries.registries for event in registry.events}
        self._result = PutResult(topics={}, refusals=[])
        self._reasons: dict[str, Refusal] = {}
        self.accepted: dict[str, list[Record]] = {name: [] for name in self._topic_of}
        self._refused: list[tuple[str, Record]] = []
        self._unsynced = 0

    def refuse(self, number: int, line: bytes, malformed: Malformed) -> None:
        """Counts a line that breaks its contract, and keeps it for the dead letters; blank lines are no events."""
        if not line or line.isspace():
            self._result.blank += 1
            return
        withheld = self._pseudonyms.withholds(line)
        self._count(number, masked(malformed.problems) if withheld else list(malformed.problems))
        if withheld:
            self._result.withheld += 1
            self._result.not_kept += 1
            return
        if len(line) > min(self._writer.max_value_bytes, MAX_VALUE_BYTES):
            self._result.not_kept += 1
            return
        subject = _SUBJECT.search(line)
        self._refused.append((self._topic(line), (subject[1] if subject else b"", line)))

    def append(self) -> None:
        """Appends what waits."""
        by_topic: dict[str, list[Record]] = {}
        for name, records in self.accepted.items():
            if records:
                by_topic.setdefault(self._topic_of[name], []).extend(records)
                self._result.accepted += len(records)
        for topic, record in self._refused:
            by_topic.setdefault(topic, []).append(record)
        lines = size = 0
        for topic, records in by_topic.items():
            append_by_key(self._writer, topic, self._shards, records)
            self._result.topics[topic] = self._result.topics.get(topic, 0) + len(records)
            lines += len(records)
            size += sum([len(line) for _, line in records])
        self.accepted = {name: [] for name in self._topic_of}
        self._refused = []
        self._unsynced += lines
        if self._unsynced >= SYNC_LINES:
            self._writer.flush()
            self._unsynced = 0
        self._progress(lines, size)

    def finish(self) -> PutResult:
        """The result, once everything is on the disk."""
        self.append()
        self._writer.flush()
        self._result.refusals = sorted(self._reasons.values(), key=lambda refusal: (-refusal.lines, refusal.first_line))
        return self._result

    def _topic(self, line: bytes) -> str:
        for pattern, topics in ((_SOURCE, self._topic_of_source), (_TYPE, self._topic_of_type)):
            found = pattern.search(line)
            topic = topics.get(found[1].decode(errors="replace")) if found else None
            if topic is not None:
                return topic
        return FALLBACK_TOPIC

    def _count(self, number: int, problems: list[Problem]) -> None:
        self._result.refused += 1
        first = problems[0]
        reason = _VALUE.sub("…", f"{first.place}: {first.message}" if first.place else first.message)
        if reason not in self._reasons and len(self._reasons) >= MAX_REASONS:
            reason = MANY_REASONS
        refusal = self._reasons.get(reason)
        if refusal is None:
            self._reasons[reason] = Refusal(reason, 1, number, problems)
        else:
            refusal.lines += 1


def lines_of(file: BinaryIO, name: str) -> Iterator[Line]:
    """The lines of a file of NDJSON, without their ends and without a byte order mark; Malformed at once where it is no text.

    A line longer than the log takes is given up to that length and one byte more, so that it is refused; the rest of it is
    passed over.
    """
    limit = MAX_VALUE_BYTES + 2
    first = file.readline(limit)
    _check_text(first, name)
    number, line = 1, first.removeprefix(b"\xef\xbb\xbf")
    while line:
        whole = line.endswith(b"\n") or len(line) < limit
        yield number, line.rstrip(b"\r\n") if whole else line
        while not whole:
            rest = file.readline(limit)
            whole = not rest or rest.endswith(b"\n")
        line = file.readline(limit)
        number += 1


def _check_text(first: bytes, name: str) -> None:
    """Malformed where the first line shows that the file is something else: it is refused whole."""
    if first.startswith(b"\x1f\x8b"):
        raise Malformed([Problem(name, "is compressed by gzip, nothing of it was put", "Unpack it on the way: gunzip -c FILE | payout events put -")])
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Malformed([Problem(name, "is UTF-16 text, nothing of it was put", "Send NDJSON as UTF-8.")])
    at = first[:8192].find(b"\0")
    if at >= 0 or first.startswith(b"PAR1"):
        where = f"byte {at} is 0x00" if at >= 0 else "it begins like Parquet"
        raise Malformed([Problem(name, f"is a binary file ({where}), nothing of it was put", "Send NDJSON: one JSON object per line, UTF-8.")])
