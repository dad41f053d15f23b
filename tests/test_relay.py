"""The relay publishes what a shard has released in the order of its numbers, without a gap, and nothing twice unless it was killed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from story import Tale, person
from story import tale as tale

from connectors.segment_log import LogReader, LogWriter
from connectors.store import members, outbox
from connectors.store.servers import connect
from pipeline.receipts import decode_released
from streams.members import MemberRelay
from streams.relay import Relay
from streams.topics import ORDERS


def test_released_orders_are_published_in_the_order_of_their_numbers(tale: Tale) -> None:
    story = tale(shards=1)
    for number in range(12):  # a frame each, so that numbers follow the order in which people were heard of
        story.hears(*person(f"us-{number * 7 % 12:02}"))
    with connect(story.urls[0], "relay") as connection, LogWriter(story.installation.log_directory, fsync="close") as writer:
        relay = Relay(connection, writer, 0)
        published = sum(iter(lambda: relay.step(limit=5), 0))
    frame = LogReader(story.installation.log_directory, ORDERS, 0).read(0, max_records=100)
    assert [decode_released(value).release_seq for value in frame.values] == list(range(1, published + 1))
    assert published == len(story.orders()) == 12


class SlowLog(LogWriter):
    """A log at which one relay waits while another comes and publishes."""

    meanwhile: Callable[[], object] = staticmethod(lambda: None)

    def flush(self) -> None:
        super().flush()
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()


def test_a_relay_that_was_overtaken_does_not_lead_the_mark_back(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("ann"))
    with connect(story.urls[0], "relay") as connection, SlowLog(story.installation.log_directory, fsync="close") as log:
        overtaken = Relay(connection, log, 0)

        def another_publishes_more() -> None:
            story.hears(person("bob"))
            assert Relay(connection, log, 0).step() == 2

        log.meanwhile = another_publishes_more
        assert overtaken.step() == 1
        assert outbox.relayed(connection, 0) == 2


def test_a_relay_of_members_that_was_overtaken_does_not_lead_the_mark_back(tale: Tale) -> None:
    story = tale(shards=1)
    with connect(story.urls[0], "relay") as connection, SlowLog(story.installation.log_directory, fsync="close") as log:
        with connection.transaction():
            members.add(connection, 0, [("home", b"one")])
        overtaken = MemberRelay(connection, log, 0, 1)

        def another_publishes_more() -> None:
            with connection.transaction():
                members.add(connection, 0, [("home", b"two")])
            assert MemberRelay(connection, log, 0, 1).step() == 2

        log.meanwhile = another_publishes_more
        assert overtaken.step() == 1
        assert members.shared(connection, 0) == 2


class Lost(Exception):
    """What this log says instead of an answer."""


class LosingLog(LogWriter):
    """A log that is away when something is to be kept."""

    def flush(self) -> None:
        raise Lost


def test_orders_whose_publication_failed_are_published_by_the_next_relay(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("ann"), person("bob"))
    with connect(story.urls[0], "relay") as connection:
        with LosingLog(story.installation.log_directory, fsync="close") as away, pytest.raises(Lost):
            Relay(connection, away, 0).step()
        assert outbox.relayed(connection, 0) == 0
        with LogWriter(story.installation.log_directory, fsync="close") as writer:
            assert Relay(connection, writer, 0).step() == 2
        assert outbox.relayed(connection, 0) == 2
