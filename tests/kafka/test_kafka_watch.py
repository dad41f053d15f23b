"""What Faust does not notice is noticed: a broker that answers nothing, and partitions that are assigned and not read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from kafka_town import PATIENCE_S, Reference, Town, everybody, orders_of, until

from connectors.broker import Brokers
from connectors.store.servers import connect


@pytest.mark.soak
def test_a_broker_that_answers_nothing_is_noticed_and_work_goes_on_when_it_answers_again(town: Town, brokers: Brokers, embedded: Reference):
    town.provision()
    town.tell(everybody()[:360])
    worker = town.worker()
    town.await_taken()
    (broker,) = brokers.nodes()
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        until(lambda: worker.said("Kafka answers nothing") >= 1, "the worker notices that Kafka is silent")
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    town.tell(everybody()[360:])
    town.await_taken()
    until(lambda: worker.said("everything is read again") >= 1, "the worker notices that Kafka answers")
    assert worker.stop() == 0
    assert orders_of(town.story) == embedded.orders


@contextmanager
def shard_2_standing_still(town: Town) -> Iterator[None]:
    """Somebody locks the row without which the lane of shard 2 can commit nothing."""
    with connect(town.story.urls[0], "somebody") as somebody:
        somebody.execute("BEGIN")
        somebody.execute("SELECT 1 FROM lane WHERE shard = 2 FOR UPDATE")
        yield
        somebody.execute("ROLLBACK")


def an_heir_takes_everything(town: Town, embedded: Reference) -> None:
    heir = town.worker()
    town.await_taken()
    assert heir.stop() == 0
    assert orders_of(town.story) == embedded.orders


@pytest.mark.soak
def test_partitions_that_are_assigned_and_not_read_are_noticed(town: Town):
    town.provision()
    town.tell(everybody())
    with shard_2_standing_still(town):
        worker = town.worker()
        until(lambda: worker.said("partitions are assigned here and are not read") >= 1, "the worker notices that it does not read what it was given")
        assert worker.claimed is None
    town.await_taken()
    assert worker.stop() == 0


@pytest.mark.soak
def test_a_worker_that_does_not_read_what_it_was_given_ends_so_that_another_takes_it(town: Town, embedded: Reference):
    town.provision()
    town.tell(everybody())
    with shard_2_standing_still(town):
        worker = town.worker(PAYOUT_KAFKA__STUCK_S="10")
        assert worker.process.wait(PATIENCE_S) == 3
        assert worker.said("payout: partitions are assigned here and are not read for 1") == 1
    town.workers.remove(worker)
    an_heir_takes_everything(town, embedded)


@pytest.mark.soak
def test_a_worker_whose_lane_commits_nothing_ends_so_that_another_takes_its_shards(town: Town, embedded: Reference):
    town.provision()
    worker = town.worker(PAYOUT_KAFKA__STUCK_S="10")
    town.await_owners(worker)
    with shard_2_standing_still(town):
        town.tell(everybody())
        assert worker.process.wait(PATIENCE_S) == 3
        assert worker.said("payout: shard 2: records have waited 1") == 1
    town.workers.remove(worker)
    an_heir_takes_everything(town, embedded)
