"""Word of a rule's step reaches an agent in every worker, and each lane looks at once; without that word they find it by themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from kafka_town import Town, until
from office import Office, variant
from story import person
from town import Payout
from town import quiet_afterwards as quiet_afterwards

from pipeline.holds import HoldReason
from pipeline.orders import State

HEARD = "what decides has changed, the lane has looked"


@pytest.mark.usefixtures("quiet_afterwards")
def test_a_suspension_is_heard_by_the_lane_of_every_shard_and_holds_the_next_order(
    town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    office = Office(town.story, tmp_path / "keys")
    payout = Payout(monkeypatch, capsys, town.story)
    town.environment |= {"PAYOUT_RULES": "", "PAYOUT_TRUST_RULES": "false"}
    for name, value in town.environment.items():
        monkeypatch.setenv(name, value)
    town.provision()
    people = [f"us-{number}" for number in range(20)]
    town.tell([record for subject in people for record in person(subject)])
    worker = town.worker()
    town.await_taken()
    assert town.story.orders() == []
    office.active(variant(20_000))  # nobody tells it
    until(lambda: len(town.story.orders()) == len(people), "the lanes have found the rule by themselves")
    assert worker.said(HEARD) == 0
    assert payout("rules", "suspend", "us-eip1", "--as", "Cleo").code == 0
    until(lambda: worker.said(HEARD) == town.story.shards, "every lane has heard of the suspension")
    town.tell(person("us-late"))
    town.await_taken()
    assert [(order.state, order.reason) for order in town.story.orders("us-late")] == [(State.HELD, HoldReason.BENEFIT_SUSPENDED)]
    assert payout("rules", "resume", "us-eip1", "--as", "Cleo").code == 0
    until(lambda: worker.said(HEARD) == 2 * town.story.shards, "every lane has heard that it goes on")
    until(lambda: town.story.orders("us-late")[0].state == State.RELEASED, "the order has left")
    monkeypatch.setenv("PAYOUT_KAFKA__SERVERS", "127.0.0.1:1")
    untold = payout("rules", "suspend", "us-eip1", "--as", "Cleo")
    assert untold.code == 0  # the step stands in the store
    assert "the workers could not be told, and find it by themselves within seconds" in untold.err
    town.tell(person("us-later"))
    until(lambda: [order.state for order in town.story.orders("us-later")] != [], "the order is made")
    assert worker.said(HEARD) == 2 * town.story.shards
    town.await_taken()
    assert worker.stop() == 0
    town.story.audit()
