"""One batch of records as bytes: a header with a checksum, then all lengths, all keys and all values.

    magic 3 bytes · version 1 byte · crc32 of everything after it · base offset 8 · time in ms 8 · records 4 · bytes of keys 4 · bytes of values 4
    key lengths (4 each) · value lengths (4 each) · keys · values

Numbers are little-endian. The arrays lie side by side so that reading a batch takes a few calls, not a few for each record.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

Record = tuple[bytes, bytes]

MAGIC = b"PSL\x01"
HEADER = struct.Struct("<4sIQqIII")
CHECKED_FROM = 8
LENGTH_BYTES = 4
MAX_BATCH_RECORDS = 10_000
MAX_BATCH_BYTES = 16 * 1024 * 1024
MAX_VALUE_BYTES = 64 * 1024 * 1024


class Batch(NamedTuple):
    """Where a batch lies in a buffer, and what its header says."""

    offset: int
    time_ms: int
    records: int
    keys_bytes: int
    values_bytes: int
    start: int

    @property
    def next_offset(self) -> int:
        """The offset after the last record."""
        return self.offset + self.records

    @property
    def length(self) -> int:
        """The bytes of the whole batch, header included."""
        return HEADER.size + 2 * LENGTH_BYTES * self.records + self.keys_bytes + self.values_bytes


def encode(offset: int, time_ms: int, records: Sequence[Record]) -> bytes:
    """The bytes of one batch."""
    keys = [key for key, _ in records]
    values = [value for _, value in records]
    key_lengths = list(map(len, keys))
    value_lengths = list(map(len, values))
    count = len(records)
    lengths = struct.pack(f"<{2 * count}I", *key_lengths, *value_lengths)
    payload = b"".join((lengths, *keys, *values))
    unsigned = HEADER.pack(MAGIC, 0, offset, time_ms, count, sum(key_lengths), sum(value_lengths))
    crc = zlib.crc32(payload, zlib.crc32(unsigned[CHECKED_FROM:]))
    return b"".join((MAGIC, crc.to_bytes(4, "little"), unsigned[CHECKED_FROM:], payload))


def split(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The records in runs that fit a batch; a record larger than a batch should be has one for itself."""
    if len(records) <= MAX_BATCH_RECORDS and sum(len(key) + len(value) for key, value in records) <= MAX_BATCH_BYTES:
        yield records
        return
    first, size = 0, 0
    for index, (key, value) in enumerate(records):
        more = len(key) + len(value)
        if index > first and (index - first == MAX_BATCH_RECORDS or size + more > MAX_BATCH_BYTES):
            yield records[first:index]
            first, size = index, 0
        size += more
    yield records[first:]


def header(buffer: bytes, start: int) -> Batch | None:
    """What the header at `start` says, unchecked; None where no whole header lies."""
    if len(buffer) - start < HEADER.size or not buffer.startswith(MAGIC, start):
        return None
    _, _, offset, time_ms, count, keys_bytes, values_bytes = HEADER.unpack_from(buffer, start)
    return Batch(offset, time_ms, count, keys_bytes, values_bytes, start)


def intact(buffer: bytes, batch: Batch) -> bool:
    """Whether the whole batch is in the buffer and agrees with its checksum."""
    end = batch.start + batch.length
    if batch.records == 0 or len(buffer) < end:
        return False
    crc = int.from_bytes(buffer[batch.start + 4 : batch.start + CHECKED_FROM], "little")
    return zlib.crc32(memoryview(buffer)[batch.start + CHECKED_FROM : end]) == crc


def records(buffer: bytes, batch: Batch, first: int, max_records: int, max_bytes: int) -> tuple[list[bytes], list[bytes], int]:
    """Keys and values of the batch from its record `first` on, within both limits, and the bytes they hold."""
    count = batch.records
    at = batch.start + HEADER.size
    lengths = struct.unpack_from(f"<{2 * count}I", buffer, at)
    at += 2 * LENGTH_BYTES * count
    last = min(count, first + max_records)
    key_ends = list(accumulate(lengths[:count], initial=at))
    value_ends = list(accumulate(lengths[count:], initial=at + batch.keys_bytes))
    size = key_ends[last] - key_ends[first] + value_ends[last] - value_ends[first]
    while size > max_bytes and last > first:
        last -= 1
        size -= lengths[last] + lengths[count + last]
    keys = [buffer[start:end] for start, end in zip(key_ends[first:last], key_ends[first + 1 : last + 1], strict=True)]
    values = [buffer[start:end] for start, end in zip(value_ends[first:last], value_ends[first + 1 : last + 1], strict=True)]
    return keys, values, size


def intact_after(buffer: bytes, start: int, offset: int) -> int | None:
    """Where, from `start` on, an intact batch of `offset` or later begins; None if there is none."""
    while (start := buffer.find(MAGIC, start)) >= 0:
        found = header(buffer, start)
        if found is not None and found.offset >= offset and intact(buffer, found):
            return start
        start += 1
    return None
