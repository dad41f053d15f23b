"""What a consumer fetched waits for its lane: repeated records are passed over, and what does not follow is refused."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from streams.worker_shard import Fetched, OutOfOrder


class Record(NamedTuple):
    """A record as a Kafka client gives it."""

    offset: int
    key: bytes | None
    value: bytes | None


def records(*offsets: int) -> list[Record]:
    return [Record(offset, b"", str(offset).encode()) for offset in offsets]


def fetched(*offsets: int) -> Fetched:
    made = Fetched()
    made.restart(offsets[0])
    made.put(records(*offsets), None)  # type: ignore[arg-type]
    return made


@pytest.mark.parametrize("offsets", [(9, 10), (7, 9), (8,)])
def test_records_that_do_not_follow_what_is_at_hand_are_refused_with_the_offset_to_go_back_to(offsets: tuple[int, ...]) -> None:
    made = fetched(5, 6)
    with pytest.raises(OutOfOrder) as refused:
        made.put(records(*offsets), None)  # type: ignore[arg-type]
    assert refused.value.offset == 7
    assert made.read(5, 10).values == [b"5", b"6"]


def test_records_that_are_at_hand_already_are_passed_over() -> None:
    made = fetched(5, 6)
    made.put(records(4, 5, 6, 7), None)  # type: ignore[arg-type]
    assert made.read(5, 10).values == [b"5", b"6", b"7"]
