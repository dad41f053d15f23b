"""Putting registry events into the log: lines of NDJSON, each checked, keyed by its subject and put on its registry's topic.

A line that is refused is put into the log as well, on the topic its source or type names (else `FALLBACK_TOPIC`), keyed by
its subject where that can be read, so that the lane records it as a dead letter and nothing is lost. Putting the same lines
again is harmless: an event that is known is a duplicate.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries
from pipeline.sharding import partition_of

from .log_batch import MAX_VALUE_BYTES
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
    """What became of the lines; `accepted` are on the disk. Refused lines are in the log too, but for those not `kept`."""

    accepted: int = 0
    refused: int = 0
    not_kept: int = 0
    blank: int = 0
    topics: dict[str, int] = {}
    refusals: list[Refusal] = []


def silent(lines: int, size: int) -> None:
    """Shows no progress."""


def put_events(lines: Iterable[Line], log_directory: Path, shards: int, registries: Registries, progress: Progress = silent) -> PutResult:
    """Puts lines into the log; returns when all of them are on the disk."""
    with LogWriter(log_directory, fsync="close") as writer:
        putting = _Putting(writer, shards, registries, progress)
        for number, line in lines:
            putting.take(number, line)
        return putting.finish()


def put_records(chunks: Iterable[tuple[str, Sequence[tuple[bytes, bytes]]]], log_directory: Path, shards: int, progress: Progress = silent) -> int:
    """Puts (topic, [(key, line)]) into the log, unchecked: the lanes check. Returns when all are on the disk; gives their number."""
    put = 0
    with LogWriter(log_directory, fsync="close") as writer:
        for topic, records in chunks:
            parts: dict[int, list[tuple[bytes, bytes]]] = {}
            for record in records:
                parts.setdefault(partition_of(record[0], shards), []).append(record)
            for partition, part in parts.items():
                writer.append(topic, partition, part)
            put += len(records)
            progress(len(records), sum(len(line) for _, line in records))
    return put


class _Putting:
    """Lines on their way: collected per partition, appended in batches, counted."""

    def __init__(self, writer: LogWriter, shards: int, registries: Registries, progress: Progress) -> None:
        self._writer, self._shards, self._progress = writer, shards, progress
        self._decode = registries.decode
        self._topic_of = {registry.name: registry.topic for registry in registries.registries}
        self._topic_of_source = {registry.source: registry.topic for registry in registries.registries}
        self._topic_of_type = {event.name: registry.topic for registry in registries.registries for event in registry.events}
        self._result = PutResult(topics={}, refusals=[])
        self._reasons: dict[str, Refusal] = {}
        self._waiting: dict[tuple[str, int], list[tuple[bytes, bytes]]] = {}
        self._lines = self._bytes = self._unsynced = 0

    def take(self, number: int, line: bytes) -> None:
        if not line or line.isspace():
            self._result.blank += 1
            return
        try:
            event = self._decode(line)
            key, topic = event.subject.encode(), self._topic_of[event.known.registry]
            self._result.accepted += 1
        except Malformed as malformed:
            self._refuse(number, malformed)
            if len(line) > MAX_VALUE_BYTES:
                self._result.not_kept += 1
                return
            subject = _SUBJECT.search(line)
            key, topic = subject[1] if subject else b"", self._topic(line)
        place = topic, partition_of(key, self._shards)
        waiting = self._waiting.get(place)
        if waiting is None:
            self._waiting[place] = [(key, line)]
        else:
            waiting.append((key, line))
        self._lines += 1
        self._bytes += len(line)
        if self._lines >= BATCH_LINES or self._bytes >= BATCH_BYTES:
            self._append()

    def finish(self) -> PutResult:
        self._append()
        self._writer.flush()
        self._result.refusals = sorted(self._reasons.values(), key=lambda refusal: (-refusal.lines, refusal.first_line))
        return self._result

    def _append(self) -> None:
        for (topic, partition), records in self._waiting.items():
            self._writer.append(topic, partition, records)
            self._result.topics[topic] = self._result.topics.get(topic, 0) + len(records)
        self._waiting = {}
        self._unsynced += self._lines
        if self._unsynced >= SYNC_LINES:
            self._writer.flush()
            self._unsynced = 0
        self._progress(self._lines, self._bytes)
        self._lines = self._bytes = 0

    def _topic(self, line: bytes) -> str:
        for pattern, topics in ((_SOURCE, self._topic_of_source), (_TYPE, self._topic_of_type)):
            found = pattern.search(line)
            topic = topics.get(found[1].decode(errors="replace")) if found else None
            if topic is not None:
                return topic
        return FALLBACK_TOPIC

    def _refuse(self, number: int, malformed: Malformed) -> None:
        self._result.refused += 1
        first = malformed.problems[0]
        reason = _VALUE.sub("…", f"{first.place}: {first.message}" if first.place else first.message)
        if reason not in self._reasons and len(self._reasons) >= MAX_REASONS:
            reason = MANY_REASONS
        refusal = self._reasons.get(reason)
        if refusal is None:
            self._reasons[reason] = Refusal(reason, 1, number, list(malformed.problems))
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
