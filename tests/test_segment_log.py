"""The embedded log: what is appended is read back, damage is seen, and a partition has one writer."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import log_batch, log_segment, segment_log
from connectors.log_batch import Record
from connectors.segment_log import LogCorrupt, LogFailed, LogInUse, LogReader, LogWriter, OffsetOutOfRange, create_topic, partition_count
from pipeline.problems import Malformed
from pipeline.sharding import partition_of, shard_of

TOPIC = "registry.tax"
MEMORY = Path("/dev/shm")  # syncing costs nothing there, and the laws are the same
records = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=200)), min_size=1, max_size=12)
batches = st.lists(records, min_size=1, max_size=8)
SAMPLE: list[list[Record]] = [[(b"a", b"one"), (b"", b"")], [(b"b", b"two\nlines")], [(b"c", b"three"), (b"d", b"\x00\xff" * 9), (b"e", b"5")]]


@contextmanager
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as path:
        yield Path(path)


@contextmanager
def segments_of(size_bytes: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment_log, "SEGMENT_BYTES", size_bytes)
        patch.setattr(log_segment, "INDEX_BYTES", 64)
        patch.setattr(log_segment, "CHUNK_BYTES", 256)
        yield


def append(home: Path, content: list[list[Record]]) -> None:
    with LogWriter(home, "close") as log:
        for batch in content:
            log.append(TOPIC, 0, batch)


def everything(home: Path, offset: int = 0, max_records: int = 1_000, max_bytes: int = 1 << 20) -> list[Record]:
    reader = LogReader(home, TOPIC, 0)
    found: list[Record] = []
    while (frame := reader.read(offset, max_records, max_bytes)).values:
        found += zip(frame.keys, frame.values, strict=True)
        offset = frame.next_offset
    return found


def segments(home: Path) -> list[Path]:
    return sorted((home / TOPIC / "0").glob("*.log"))


def flat(content: list[list[Record]]) -> list[Record]:
    return [record for batch in content for record in batch]


@settings(deadline=None, max_examples=50)
@given(batches, st.data(), st.integers(1, 7), st.integers(0, 300), st.sampled_from([60, 300, 100_000]))
def test_every_record_is_read_back_from_any_offset_with_any_limits_over_any_segments(
    content: list[list[Record]], data: st.DataObject, max_records: int, max_bytes: int, segment_bytes: int
) -> None:
    written = flat(content)
    offset = data.draw(st.integers(0, len(written)))
    with directory() as home, segments_of(segment_bytes):
        append(home, content)
        assert everything(home, offset, max_records, max_bytes) == written[offset:]
        assert LogReader(home, TOPIC, 0).end_offset() == len(written)


@settings(deadline=None, max_examples=50)
@given(batches, st.integers(1, 7), st.integers(0, 300))
def test_a_frame_keeps_to_both_limits_but_never_stands_still(content: list[list[Record]], max_records: int, max_bytes: int) -> None:
    with directory() as home:
        append(home, content)
        reader, offset = LogReader(home, TOPIC, 0), 0
        while (frame := reader.read(offset, max_records, max_bytes)).values:
            size = sum(map(len, frame.keys)) + sum(map(len, frame.values))
            assert len(frame.values) == 1 or (len(frame.values) <= max_records and size <= max_bytes)
            offset = frame.next_offset
        assert offset == len(flat(content))


@settings(deadline=None, max_examples=50)
@given(batches, st.sampled_from([60, 100_000]))
def test_a_reader_follows_a_writer_batch_by_batch(content: list[list[Record]], segment_bytes: int) -> None:
    with directory() as home, segments_of(segment_bytes), LogWriter(home, "close") as log:
        reader, offset = LogReader(home, TOPIC, 0), 0
        for batch in content:
            assert reader.read(offset).values == []
            assert log.append(TOPIC, 0, batch) == offset
            frame = reader.read(offset)
            assert list(zip(frame.keys, frame.values, strict=True)) == batch
            offset = frame.next_offset
            assert reader.end_offset() == offset == log.end_offset(TOPIC, 0)


@settings(deadline=None, max_examples=50)
@given(batches, batches, st.sampled_from([60, 100_000]))
def test_a_writer_goes_on_where_the_last_one_stopped(before: list[list[Record]], after: list[list[Record]], segment_bytes: int) -> None:
    with directory() as home, segments_of(segment_bytes):
        append(home, before)
        append(home, after)
        assert everything(home) == flat(before) + flat(after)


def test_a_tail_torn_at_any_byte_of_the_last_batch_leaves_exactly_the_complete_batches(tmp_path: Path) -> None:
    append(tmp_path, SAMPLE)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    last = len(log_batch.encode(0, 0, SAMPLE[-1]))
    kept = flat(SAMPLE[:-1])
    for torn in range(1, last):
        path.write_bytes(whole[: len(whole) - last + torn])
        assert everything(tmp_path) == kept
        assert LogReader(tmp_path, TOPIC, 0).end_offset() == len(kept)
        with LogWriter(tmp_path, "close") as log:
            assert log.append(TOPIC, 0, [(b"k", b"new")]) == len(kept)
        (repair,) = log.repairs
        assert (repair.segment, repair.position, repair.bytes_cut) == (path, len(whole) - last, torn)
        assert repair.kept_in.read_bytes() == whole[len(whole) - last :][:torn]
        assert everything(tmp_path) == [*kept, (b"k", b"new")]


def test_a_flipped_byte_in_the_last_batch_is_cut_off_and_reported(tmp_path: Path) -> None:
    append(tmp_path, SAMPLE)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    last = len(log_batch.encode(0, 0, SAMPLE[-1]))
    for position in range(len(whole) - last, len(whole)):
        path.write_bytes(flipped(whole, position))
        assert everything(tmp_path) == flat(SAMPLE[:-1])
        with LogWriter(tmp_path, "close") as log:
            assert log.end_offset(TOPIC, 0) == len(flat(SAMPLE[:-1]))
        assert [repair.bytes_cut for repair in log.repairs] == [last]


def test_a_flipped_byte_before_the_last_batch_stops_readers_and_writers_at_that_batch(tmp_path: Path) -> None:
    append(tmp_path, SAMPLE)
    (path,) = segments(tmp_path)
    whole = path.read_bytes()
    starts = [0, len(log_batch.encode(0, 0, SAMPLE[0]))]
    end = starts[1] + len(log_batch.encode(0, 0, SAMPLE[1]))
    for position in range(end):
        path.write_bytes(flipped(whole, position))
        damaged = max(start for start in starts if start <= position)
        with pytest.raises(LogCorrupt, match=f"{path}: byte {damaged}: "):
            everything(tmp_path)
        with pytest.raises(LogCorrupt):
            LogReader(tmp_path, TOPIC, 0).end_offset()
        with LogWriter(tmp_path, "close") as log, pytest.raises(LogCorrupt):
            log.append(TOPIC, 0, [(b"", b"")])
    path.write_bytes(whole)
    assert everything(tmp_path) == flat(SAMPLE)


def test_damage_at_any_byte_of_an_earlier_segment_is_an_error(tmp_path: Path) -> None:
    with segments_of(60):
        append(tmp_path, SAMPLE)
        first, *_ = segments(tmp_path)
        whole = first.read_bytes()
        for position in range(len(whole)):
            first.write_bytes(flipped(whole, position))
            with pytest.raises(LogCorrupt, match=str(first)):
                everything(tmp_path)
            first.write_bytes(whole[:position])
            with pytest.raises(LogCorrupt, match=str(first)):
                everything(tmp_path)


def test_a_missing_segment_is_an_error(tmp_path: Path) -> None:
    with segments_of(60):
        append(tmp_path, SAMPLE)
        _, second, *_ = segments(tmp_path)
        second.unlink()
        with pytest.raises(LogCorrupt, match="missing"):
            everything(tmp_path)
        with pytest.raises(LogCorrupt, match="missing"):
            everything(tmp_path, offset=len(SAMPLE[0]))


def test_bytes_that_change_after_they_were_read_are_an_error(tmp_path: Path) -> None:
    append(tmp_path, SAMPLE)
    reader = LogReader(tmp_path, TOPIC, 0)
    assert reader.end_offset() == len(flat(SAMPLE))
    (path,) = segments(tmp_path)
    path.write_bytes(flipped(path.read_bytes(), 50))
    assert reader.read(reader.end_offset()).values == []
    with pytest.raises(LogCorrupt, match="changed"):
        reader.read(0)


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def test_two_writers_of_a_partition_are_refused_and_the_holder_is_named(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as first, LogWriter(tmp_path) as second:
        first.append(TOPIC, 0, [(b"k", b"v")])
        second.append(TOPIC, 1, [(b"k", b"v")])
        with pytest.raises(LogInUse, match=f"written by process {os.getpid()}"):
            second.append(TOPIC, 0, [(b"k", b"w")])
    with LogWriter(tmp_path) as third:
        assert third.append(TOPIC, 0, [(b"k", b"w")]) == 1


WRITER = """
import sys
from pathlib import Path
from connectors.segment_log import LogWriter
log = LogWriter(Path(sys.argv[1]), "close")
for number in range(1000):
    log.append("registry.tax", 0, [(b"k", b"%d" % number)])
print("written", flush=True)
sys.stdin.read()
"""


def test_a_killed_writer_loses_nothing_and_leaves_the_partition_to_others(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        with LogWriter(tmp_path) as log, pytest.raises(LogInUse, match=f"process {writer.pid}"):
            log.append(TOPIC, 0, [(b"", b"")])
        writer.send_signal(signal.SIGKILL)
    with LogWriter(tmp_path) as log:
        assert log.append(TOPIC, 0, [(b"k", b"1000")]) == 1000
        assert log.repairs == []
    assert [value for _, value in everything(tmp_path)] == [b"%d" % number for number in range(1001)]


HURRIED_WRITER = """
import sys
from pathlib import Path
from connectors.segment_log import LogWriter
with LogWriter(Path(sys.argv[1]), "close") as log:
    for number in range(200):
        log.append("registry.tax", 0, [(b"%d" % number, b"%d" % number * (number * 997 % 50_000))] * 5)
    log.append("registry.tax", 0, [(b"last", b"")])
"""


def test_a_reader_beside_a_writing_process_sees_whole_batches_only(tmp_path: Path) -> None:
    reader = LogReader(tmp_path, TOPIC, 0)
    keys: list[bytes] = []
    with subprocess.Popen([sys.executable, "-c", HURRIED_WRITER, str(tmp_path)]) as writer:
        while keys[-1:] != [b"last"]:
            assert keys or writer.poll() in (None, 0)
            frame = reader.read(len(keys))
            assert [len(value) for value in frame.values] == [len(key) * (int(key) * 997 % 50_000) if key != b"last" else 0 for key in frame.keys]
            keys += frame.keys
    assert keys == [b"%d" % number for number in range(200) for _ in range(5)] + [b"last"]


def test_an_append_that_does_not_fit_on_the_disk_leaves_the_log_as_it_was(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with LogWriter(tmp_path) as log:
            log.append(TOPIC, 0, [(b"k", b"first")])
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
            with pytest.raises(OSError, match="File too large"):
                log.append(TOPIC, 0, [(b"k", b"x" * 5000)])
            assert log.append(TOPIC, 0, [(b"k", b"second")]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert everything(tmp_path) == [(b"k", b"first"), (b"k", b"second")]


def test_after_a_failed_sync_the_partition_takes_nothing_more(tmp_path: Path) -> None:
    log = LogWriter(tmp_path)
    log.append(TOPIC, 0, [(b"k", b"first")])
    (path,) = segments(tmp_path)
    (opened,) = [int(entry.name) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink() and entry.readlink() == path]
    read_end, write_end = os.pipe()
    os.dup2(write_end, opened)  # a pipe takes what is written and cannot be synced
    with pytest.raises(OSError, match="Invalid argument"):
        log.append(TOPIC, 0, [(b"k", b"lost")])
    with pytest.raises(LogFailed):
        log.append(TOPIC, 0, [(b"k", b"second")])
    with pytest.raises(OSError, match="Invalid argument"):
        log.close()
    os.close(read_end)
    os.close(write_end)
    assert everything(tmp_path) == [(b"k", b"first")]


def test_a_value_that_holds_a_whole_log_is_only_a_value(tmp_path: Path) -> None:
    append(tmp_path, SAMPLE)
    (path,) = segments(tmp_path)
    inner = path.read_bytes()
    append(tmp_path, [[(b"log", inner)], [(b"after", b"")]])
    assert everything(tmp_path) == [*flat(SAMPLE), (b"log", inner), (b"after", b"")]
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - len(log_batch.encode(0, 0, [(b"after", b"")])) - 1)
    append(tmp_path, [[(b"last", b"")]])
    assert everything(tmp_path) == [*flat(SAMPLE), (b"last", b"")]


def test_a_value_of_64_mebibytes_is_taken_and_one_more_byte_is_refused(tmp_path: Path) -> None:
    largest = bytes(log_batch.MAX_VALUE_BYTES)
    with LogWriter(tmp_path, "close") as log:
        log.append(TOPIC, 0, [(b"before", b""), (b"k", largest), (b"after", b"")])
        with pytest.raises(Malformed) as refused:
            log.append(TOPIC, 0, [(b"good", b""), (b"k", largest + b"x"), (b"k", largest + b"yz")])
    assert [problem.place for problem in refused.value.problems] == ["records[1].value", "records[2].value"]
    assert everything(tmp_path) == [(b"before", b""), (b"k", largest), (b"after", b"")]


def test_a_run_longer_than_a_batch_is_split_and_stays_one_append(tmp_path: Path) -> None:
    many = [(b"%d" % number, b"v") for number in range(2 * log_batch.MAX_BATCH_RECORDS + 1)]
    with LogWriter(tmp_path, "close") as log:
        assert log.append(TOPIC, 0, many) == 0
        assert log.append(TOPIC, 0, []) == len(many)
    assert everything(tmp_path, max_records=7_000) == many


def test_an_offset_outside_the_log_is_refused_with_what_the_log_holds(tmp_path: Path) -> None:
    append(tmp_path, SAMPLE)
    reader = LogReader(tmp_path, TOPIC, 0)
    for offset in (-1, 7):
        with pytest.raises(OffsetOutOfRange, match=f"holds the offsets 0 to 6 \\(its end\\), not {offset}"):
            reader.read(offset)
    assert reader.read(6).values == []


def test_a_partition_nobody_wrote_to_is_an_empty_log(tmp_path: Path) -> None:
    reader = LogReader(tmp_path, TOPIC, 3)
    assert (reader.start_offset(), reader.end_offset(), reader.read(0).values) == (0, 0, [])
    assert not (tmp_path / TOPIC).exists()


def test_a_frame_tells_when_its_first_record_was_appended(tmp_path: Path) -> None:
    clock = iter([1_700_000_000_123, 1_700_000_000_456])
    with LogWriter(tmp_path, now_ms=lambda: next(clock)) as log:
        log.append(TOPIC, 0, [(b"a", b"1")])
        log.append(TOPIC, 0, [(b"b", b"2")])
    reader = LogReader(tmp_path, TOPIC, 0)
    assert [reader.read(offset).time_ms for offset in (0, 1, 2)] == [1_700_000_000_123, 1_700_000_000_456, 0]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "æ", "x" * 250, "a\n"])
def test_a_name_that_is_no_topic_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Malformed, match="is not a topic name"):
        LogReader(tmp_path, name, 0)
    with LogWriter(tmp_path) as log, pytest.raises(Malformed, match="is not a topic name"):
        log.append(name, 0, [(b"", b"")])


def test_a_topic_keeps_the_number_of_partitions_it_was_provisioned_with(tmp_path: Path) -> None:
    assert partition_count(tmp_path, TOPIC) == 0
    create_topic(tmp_path, TOPIC, 4)
    create_topic(tmp_path, TOPIC, 4)
    assert partition_count(tmp_path, TOPIC) == 4
    with pytest.raises(Malformed, match="cannot have 8 partitions. It has 4."):
        create_topic(tmp_path, TOPIC, 8)


def test_a_topic_that_several_make_at_once_is_whole_for_each_of_them(tmp_path: Path) -> None:
    makers, partitions = 4, 40
    together = Barrier(makers)

    def make(place: Path) -> int:
        together.wait()
        create_topic(place, TOPIC, partitions)
        return partition_count(place, TOPIC)

    with ThreadPoolExecutor(makers) as threads:
        for round_ in range(8):
            place = tmp_path / str(round_)
            assert list(threads.map(make, [place] * makers)) == [partitions] * makers
            assert [path.name for path in place.iterdir()] == [TOPIC]


def test_the_log_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    append(tmp_path, SAMPLE)
    partition = tmp_path / TOPIC / "0"
    assert [path.stat().st_mode & 0o077 for path in (partition, *partition.iterdir())] == [0, 0, 0]


def test_keys_go_to_the_partitions_that_librdkafka_would_choose() -> None:
    # CRC-32 of the check value of its definition, "123456789", is CBF43926.
    assert partition_of(b"123456789", 1 << 32) == 0xCBF43926
    assert [partition_of(b"123456789", count) for count in (1, 8, 12)] == [0, 6, 0xCBF43926 % 12]
    assert shard_of("us:12345", 8) == partition_of(b"us:12345", 8)
    with pytest.raises(ValueError, match="at least one partition"):
        partition_of(b"k", 0)
