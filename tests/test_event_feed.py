import gzip
import io
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from story import income, person, resident

from connectors import log_batch
from connectors.event_feed import BATCH_LINES, FALLBACK_TOPIC, MAX_REASONS, PutResult, lines_of, put_events, put_records
from connectors.registries import load_registries
from connectors.segment_log import LogReader
from pipeline.problems import Malformed
from pipeline.sharding import shard_of
from streams.settings import SHIPPED

SHARDS = 3
REGISTRIES = load_registries(SHIPPED / "registries")
TOPICS = ("registry.residency", "registry.account", "registry.tax")


def put(log: Path, *lines: bytes) -> PutResult:
    return put_events(enumerate(lines, 1), log, SHARDS, REGISTRIES)


def contents(log: Path) -> list[tuple[str, int, bytes, bytes]]:
    """(topic, partition, key, value) of everything in the log."""
    found = []
    for topic in TOPICS:
        for partition in range(SHARDS):
            reader = LogReader(log, topic, partition)
            offset = 0
            while (frame := reader.read(offset)).values:
                found += [(topic, partition, key, value) for key, value in zip(frame.keys, frame.values, strict=True)]
                offset = frame.next_offset
    return found


def test_each_event_lies_on_its_registrys_topic_in_the_partition_of_its_subject(tmp_path: Path):
    said = [record for number in range(20) for record in person(f"us-{number}")]
    result = put(tmp_path, *(record.value for record in said))
    assert (result.accepted, result.refused) == (60, 0)
    assert result.topics == dict.fromkeys(TOPICS, 20)
    wanted = {(record.topic, shard_of(record.key.decode(), SHARDS), record.key, record.value) for record in said}
    assert set(contents(tmp_path)) == wanted
    assert len(contents(tmp_path)) == 60


def test_events_of_a_subject_keep_their_order(tmp_path: Path):
    said = [income("us-1", dollars, sequence) for sequence, dollars in enumerate(range(1, 2 * BATCH_LINES + 7), 1)]
    put(tmp_path, *(record.value for record in said))
    assert [value for *_, value in contents(tmp_path)] == [record.value for record in said]


def test_a_refused_line_is_kept_where_its_source_or_type_and_its_subject_say(tmp_path: Path):
    good = income("us-7", 1).value
    unknown_field = good.replace(b'"year"', b'"colour":"red","year"')
    cut = good[: good.index(b'"data"')]
    wrong_source = resident("us-8").value.replace(b"urn:registry:residency", b"urn:nobody")
    result = put(tmp_path, unknown_field, cut, wrong_source, b"\x00\x01 nothing of the kind")
    assert (result.accepted, result.refused, result.not_kept) == (0, 4, 0)
    assert {(topic, key, value) for topic, _, key, value in contents(tmp_path)} == {
        ("registry.tax", b"us-7", unknown_field), ("registry.tax", b"us-7", cut), ("registry.residency", b"us-8", wrong_source),
        (FALLBACK_TOPIC, b"", b"\x00\x01 nothing of the kind"),
    }  # fmt: skip
    assert {shard_of(key.decode(), SHARDS) for _, _, key, _ in contents(tmp_path) if key == b"us-7"} == {
        partition for _, partition, key, _ in contents(tmp_path) if key == b"us-7"
    }


def test_refusals_are_grouped_by_what_is_wrong_with_their_first_line(tmp_path: Path):
    good = income("us-7", 1).value
    lines = [good] + [good.replace(b'"minor":100', b'"minor":%d' % (10**15 + number)) for number in range(5)] + [b"{", good.replace(b"USD", b"XTS")]
    result = put(tmp_path, *lines)
    assert [(refusal.lines, refusal.first_line) for refusal in result.refusals] == [(5, 2), (1, 7), (1, 8)]
    assert "data.agi.minor" in result.refusals[0].reason
    assert str(10**15) not in result.refusals[0].reason
    assert result.refusals[0].first[0].place == "data.agi.minor"


def test_a_file_of_nonsense_gives_a_bounded_list_of_reasons(tmp_path: Path):
    result = put(tmp_path, *(json.dumps({f"field_{chr(97 + number // 26)}{chr(97 + number % 26)}": 1}).encode() for number in range(200)))
    assert result.refused == 200 == sum(refusal.lines for refusal in result.refusals)
    assert len(result.refusals) <= MAX_REASONS + 1


def test_putting_a_file_twice_only_doubles_the_records(tmp_path: Path):
    line = income("us-7", 1).value
    put(tmp_path, line)
    put(tmp_path, line)
    assert [value for *_, value in contents(tmp_path)] == [line, line]


def test_records_known_to_be_good_are_put_unchecked_on_the_same_partitions(tmp_path: Path):
    said = [record for number in range(10) for record in person(f"us-{number}")]
    chunks = [(topic, [(record.key, record.value) for record in said if record.topic == topic]) for topic in TOPICS]
    seen: list[tuple[int, int]] = []
    assert put_records(chunks, tmp_path / "records", SHARDS, lambda lines, size: seen.append((lines, size))) == 30
    put(tmp_path / "events", *(record.value for record in said))
    assert sorted(contents(tmp_path / "records")) == sorted(contents(tmp_path / "events"))
    assert sum(lines for lines, _ in seen) == 30
    assert sum(size for _, size in seen) == sum(len(record.value) for record in said)


def test_progress_tells_every_line_and_byte_that_was_put(tmp_path: Path):
    lines = [income("us-7", dollars, dollars).value for dollars in range(1, BATCH_LINES + 10)]
    seen: list[tuple[int, int]] = []
    put_events(enumerate(lines, 1), tmp_path, SHARDS, REGISTRIES, lambda count, size: seen.append((count, size)))
    assert [sum(column) for column in zip(*seen, strict=True)] == [len(lines), sum(map(len, lines))]
    assert len(seen) > 1


def test_what_is_counted_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(str(Path(f"/proc/self/fd/{file}").readlink())), fsync(file))[1])
    put(tmp_path, *(record.value for record in person("us-1")))
    written = {str(path) for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size and path.name != "lock"}
    assert written <= set(synced)


# Lines.


def lines(data: bytes) -> list[tuple[int, bytes]]:
    return list(lines_of(io.BytesIO(data), "f"))


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_byte_order_marks_and_a_missing_last_end_do_not_matter(end: bytes, mark: bytes, last: bool):
    assert lines(mark + end.join((b'{"a":1}', b'{"b":2}')) + (end if last else b"")) == [(1, b'{"a":1}'), (2, b'{"b":2}')]


def test_an_empty_file_has_no_lines_and_blank_lines_are_counted_apart(tmp_path: Path):
    assert lines(b"") == []
    result = put_events(lines_of(io.BytesIO(b"\n  \n" + income("us-1", 1).value + b"\n\n"), "f"), tmp_path, SHARDS, REGISTRIES)
    assert (result.accepted, result.refused, result.blank) == (1, 0, 3)


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"").replace(b"\0", b"")), max_size=20))
def test_every_line_of_text_comes_out_as_it_is(said: list[bytes]):
    body = b"".join(line + b"\n" for line in [b"{}", *said])
    assert lines(body) == list(enumerate([b"{}", *said], 1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (gzip.compress(b"{}\n", mtime=0), "gzip"),
        ("{}\n".encode("utf-16"), "UTF-16"),
        (b"PAR1\x15\x04\x15", "binary"),
        (b"\x7fELF\x02\x01\x01\0\0\0\n", "binary"),
    ],
)
def test_a_file_that_is_no_text_is_refused_whole_and_says_what_it_is(data: bytes, words: str):
    with pytest.raises(Malformed, match=words):
        lines(data)


def test_a_line_of_ten_megabytes_is_refused_and_kept_and_the_next_one_taken(tmp_path: Path):
    huge = income("us-7", 1).value.replace(b'"single"', b'"' + b"x" * 10_000_000 + b'"')
    result = put_events(lines_of(io.BytesIO(huge + b"\n" + income("us-7", 1).value), "f"), tmp_path, SHARDS, REGISTRIES)
    assert (result.accepted, result.refused, result.not_kept) == (1, 1, 0)
    assert {value for *_, value in contents(tmp_path)} == {huge, income("us-7", 1).value}
    assert "limit is 1,048,576" in result.refusals[0].first[0].message


def test_a_line_longer_than_the_log_takes_is_counted_as_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("connectors.event_feed.MAX_VALUE_BYTES", 2_000_000)
    assert log_batch.MAX_VALUE_BYTES > 2_000_000
    data = b"{" + b"x" * 5_000_000 + b"\n" + income("us-7", 1).value + b"\n"
    result = put_events(lines_of(io.BytesIO(data), "f"), tmp_path, SHARDS, REGISTRIES)
    assert (result.accepted, result.refused, result.not_kept) == (1, 1, 1)
    assert [refusal.first_line for refusal in result.refusals] == [1]
    assert [value for *_, value in contents(tmp_path)] == [income("us-7", 1).value]
