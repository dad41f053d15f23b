"""A record that lies in another partition than its key leads to was put there by a foreign producer: it decides nothing and is kept for a person."""

from __future__ import annotations

import pytest
from story import Said, Story, Tale, answer, income, person, tale

from connectors.population import TAX
from connectors.segment_log import LogWriter
from pipeline.members import MARK, ToldAll, encode_share
from pipeline.orders import State
from pipeline.sharding import partition_of
from streams.topics import MEMBERS

__all__ = ["tale"]

SHARDS = 4


def put(story: Story, shard: int, *records: Said) -> None:
    """Puts records into a partition, whatever their keys say."""
    with LogWriter(story.installation.log_directory, fsync="close") as writer:
        for record in records:
            writer.append(record.topic, shard, [(record.key, record.value)])


def elsewhere(story: Story, record: Said) -> int:
    """A partition that the key of a record does not lead to."""
    return (partition_of(record.key, story.shards) + 1) % story.shards


def test_an_event_in_the_partition_of_another_shard_is_a_dead_letter_and_decides_nothing(tale: Tale) -> None:
    story = tale(shards=SHARDS)
    astray = income("us-1", 30_000)
    own, other = partition_of(astray.key, SHARDS), elsewhere(story, astray)
    put(story, other, astray)
    story.hears(record for record in person("us-1") if record.topic != TAX)
    story.work()
    (letter,) = story.dead_letters()
    assert letter[:4] == (TAX, 0, astray.key, astray.value)
    (problem,) = letter.problems
    assert problem["place"] == "partition"
    assert problem["message"] == f"the key b'us-1' belongs in partition {own} of {SHARDS}, the record lies in {other}"
    assert story.ask("SELECT DISTINCT shard FROM facts WHERE subject = 'us-1'") == [(own,)]
    assert [order.state for order in story.orders()] == []


def test_a_person_whose_events_a_foreign_producer_put_twice_is_paid_once(tale: Tale) -> None:
    story = tale(shards=SHARDS)
    records = person("us-1")
    put(story, elsewhere(story, records[0]), *records)
    story.hears(records)
    assert [(order.subject, order.amount_minor) for order in story.orders()] == [("us-1", 120_000)]
    assert story.ask("SELECT sum(applied), sum(duplicate), sum(dead_letter) FROM frame") == [(3, 0, 3)]
    assert story.ask("SELECT count(*) FROM facts") == [(1,)]


def test_a_replay_into_other_shards_leaves_out_what_lay_astray(tale: Tale) -> None:
    story = tale(shards=SHARDS)
    people = [person(f"us-{number}", 20_000 + number) for number in range(40)]
    story.hears(*people[:30])
    for records in people[30:]:
        put(story, elsewhere(story, records[0]), *records)
    story.work()
    assert len(story.dead_letters()) == 30
    story.audit(replay=True)


def test_all_that_is_wrong_with_a_records_place_is_told_at_once(tale: Tale) -> None:
    story = tale(shards=SHARDS)
    event = income("us-1", 30_000)
    misplaced = Said("registry.account", b"us-2", event.value)
    put(story, elsewhere(story, misplaced), misplaced)
    story.work()
    (letter,) = story.dead_letters()
    assert [problem["place"] for problem in letter.problems] == ["key", "type", "partition"]


def test_an_answer_of_the_bank_in_the_partition_of_another_shard_moves_nothing_and_says_where_it_belongs(tale: Tale) -> None:
    story = tale(shards=SHARDS)
    story.hears(person("us-1"))
    (order,) = story.orders()
    submitted = answer(order, "send")
    put(story, elsewhere(story, submitted), submitted)
    story.work()
    (letter,) = story.dead_letters()
    assert [problem["place"] for problem in letter.problems] == ["partition"]
    assert [order.state for order in story.orders()] == [State.RELEASED]
    story.hears(submitted)
    assert [order.state for order in story.orders()] == [State.SENT]


def test_the_word_that_a_shard_has_told_everything_counts_in_its_own_partition_only(tale: Tale) -> None:
    story = tale(shards=SHARDS)
    word = Said(MEMBERS, f"{MARK}0".encode(), encode_share(ToldAll("anything", 1)))
    put(story, elsewhere(story, word), word)
    story.work()
    (letter,) = story.dead_letters()
    assert [problem["place"] for problem in letter.problems] == ["partition"]


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_what_the_front_door_and_a_lane_put_lies_where_its_key_leads_with_any_number_of_shards(tale: Tale, shards: int) -> None:
    story = tale(shards=shards)
    story.hears(*(person(f"us-{number}") for number in range(40)))
    assert story.dead_letters() == []
    assert len(story.orders()) == 40
