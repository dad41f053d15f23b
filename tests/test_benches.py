"""What benches say follows from what they saw, and one of them runs."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec

from connectors.registries import load_registries
from loadtests.bench import Message
from loadtests.endurance_bench import Sample, courses, sparkline
from loadtests.peers.job import amount_minor, copied, corrected, due, records
from loadtests.recovery_bench import _measured
from loadtests.sight import Seen, Sight
from streams.settings import SHIPPED

REGISTRIES = load_registries(SHIPPED / "registries")


def sight_of(*seen: tuple[float, dict[int, int]]) -> Sight:
    found = Sight(site=None)  # type: ignore[arg-type]
    found.seen = [Seen(at_s, offsets) for at_s, offsets in seen]
    return found


def samples_of(memory_mb: list[float], handles: list[int]) -> list[Sample]:
    return [Sample(at, 1000 * at, {"lanes 0": mb}, {"lanes 0": count}, 3) for at, (mb, count) in enumerate(zip(memory_mb, handles, strict=True))]


def test_memory_that_grows_to_the_end_is_called_growing_and_level_memory_flat():
    level, steady = [100.0] * 40, [12] * 40
    assert courses(samples_of(level, steady))[0].flat
    assert courses(samples_of([20.0, *level[1:]], steady))[0].flat
    assert not courses(samples_of([100.0 + at for at in range(40)], steady))[0].flat


def test_one_handle_more_at_the_end_than_at_a_quarter_is_called_growing():
    assert not courses(samples_of([100.0] * 40, [12] * 39 + [13]))[0].flat


def test_a_sparkline_ends_as_high_as_what_it_shows():
    assert sparkline([0, 7, 14]) == "▁▅█"


def test_a_latency_counts_until_the_first_look_that_saw_the_record_taken():
    seen = sight_of((1.0, {0: 0}), (2.0, {0: 3}), (3.0, {0: 5}))
    assert seen.moments(0, 0, 5) == [2.0, 2.0, 2.0, 3.0, 3.0]


def test_full_rate_is_not_said_to_be_back_while_a_shard_stands_still():
    # One shard stands for eight seconds, while the other one is taken twice as fast.
    seen = []
    for tenth in range(400):
        at_s = tenth / 10
        own = 100 * tenth if at_s <= 10 else 100 * 100 + 200 * (min(tenth, 180) - 100) + 100 * max(0, tenth - 180)
        seen.append((at_s, {0: own, 1: 100 * tenth if at_s <= 10 else 100 * 100 + 100 * max(0, tenth - 180)}))
    found = _measured("alone", sight_of(*seen), 10.0)
    assert (round(found.first_s, 1), round(found.last_s, 1)) == (0.4, 8.1)
    assert found.full_s is not None
    assert found.full_s >= found.last_s


def test_copies_are_of_other_people_and_owe_the_same():
    (piece,) = records(50)
    again = copied(piece, 2)
    assert {key for key, _ in again}.isdisjoint({key for key, _ in piece})
    for key, value in again:
        assert REGISTRIES.decode(value).subject.encode() == key


def test_a_correction_is_another_event_of_the_same_person_with_the_next_sequence():
    (piece,) = records(50)
    for (key, value), (same, later) in zip(piece, corrected(piece, 2, 1_000_000), strict=True):
        first, second = REGISTRIES.decode(value), REGISTRIES.decode(later)
        assert same == key
        assert (second.subject, second.known.sequence) == (first.subject, 2)
        assert second.known.id != first.known.id
        assert corrected([(key, value)], 1, 0) == [(key, value)]


def test_what_the_peers_owe_is_what_the_data_says():
    (piece,) = records(500)
    decode = msgspec.json.Decoder(Message).decode
    assert sum(amount_minor(decode(value).data) for _, value in piece) == due(500).amount_minor


def test_the_endurance_bench_comes_out_as_it_must_and_leaves_nothing_behind(tmp_path: Path):
    command = [sys.executable, "-m", "loadtests.endurance_bench", "--units", "200", "--events", "2600", "--every", "0.2"]
    done = subprocess.run(command, cwd=SHIPPED, capture_output=True, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    assert "what is owed, and what became of every record, is as it must be" in done.stdout, done.stdout + done.stderr
    assert "2,600 events in" in done.stdout
    assert list(tmp_path.iterdir()) == []
