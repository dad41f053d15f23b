"""Workers that come, go, die, freeze and come back: shards move, and what is decided and ordered stays what the embedded run comes to."""

from __future__ import annotations

import pytest
from kafka_town import Reference, Town, dispositions, everybody, orders_of, until

FAUST = ("-m", "faust", "-A", "streams.worker_app", "worker", "--without-web")


def holds_the_reference(town: Town, embedded: Reference) -> None:
    """Everything that was told has had its effect, exactly once."""
    assert town.story.digest() == embedded.digest
    assert orders_of(town.story) == embedded.orders
    assert dispositions(town.story) == {"applied": len(everybody()), "duplicate": 0, "conflict": 0, "dead_letter": 0}
    assert len(set(town.published_orders())) == len(embedded.orders)
    town.story.audit()


@pytest.mark.soak
def test_two_workers_become_three_and_one_under_load_and_each_record_has_one_effect(town: Town, embedded: Reference):
    town.provision()
    records = everybody()
    town.tell(records[:180])
    first, second = town.worker(), town.worker(command=FAUST)
    town.await_owners(first, second)
    town.tell(records[180:360])
    third = town.worker()
    town.await_owners(first, second, third)
    town.tell(records[360:540])
    assert first.stop() == 0
    third.kill()
    town.tell(records[540:])
    town.await_owners(second)
    town.await_taken()
    assert second.stop() == 0
    holds_the_reference(town, embedded)


def frames_under_older_claims(town: Town, claims: dict[int, int]) -> list[tuple[str, int, int]]:
    """The frames that were taken under claims before these ones of each shard."""
    frames = town.story.ask("SELECT topic, shard, first_offset, epoch FROM frame ORDER BY topic, shard, first_offset")
    return [(topic, shard, first) for topic, shard, first, epoch in frames if epoch < claims[shard]]


@pytest.mark.soak
def test_a_worker_frozen_past_its_session_commits_nothing_under_its_old_claim_and_joins_anew(town: Town, embedded: Reference):
    town.provision()
    records = everybody()
    zombie = town.worker()
    town.await_owners(zombie)
    town.tell(records[:360])
    until(lambda: any(town.story.installation.positions().values()), "the worker has begun")
    zombie.freeze()
    heir = town.worker()
    town.await_owners(heir)
    replaced = dict(town.story.ask("SELECT shard, epoch FROM lane"))
    before = frames_under_older_claims(town, replaced)
    town.tell(records[360:])
    zombie.thaw()
    town.await_owners(zombie, heir)
    town.await_taken()
    assert frames_under_older_claims(town, replaced) == before
    assert [worker.stop() for worker in (zombie, heir)] == [0, 0]
    holds_the_reference(town, embedded)


def test_a_rolling_restart_of_workers_with_names_of_their_own_moves_no_shard(town: Town, embedded: Reference):
    town.provision()
    records = everybody()
    named = [{"PAYOUT_KAFKA__INSTANCE": name, "PAYOUT_KAFKA__SESSION_S": "60"} for name in ("one", "two")]
    stays, leaves = (town.worker(**environment) for environment in named)
    town.await_owners(stays, leaves)
    town.tell(records[:360])
    before, claims = town.owners(), stays.said("shards claimed")
    assert leaves.stop() == 0
    returns = town.worker(**named[1])
    town.await_owners(stays, returns)
    town.tell(records[360:])
    town.await_taken()
    assert town.owners() == [returns.owner if owner == leaves.owner else owner for owner in before]
    assert stays.said("shards claimed") == claims
    assert [worker.stop() for worker in (stays, returns)] == [0, 0]
    holds_the_reference(town, embedded)
