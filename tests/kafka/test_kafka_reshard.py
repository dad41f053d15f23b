"""More partitions for an installation on Kafka: it goes on as one that had so many from the start, however often the division was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest
from kafka.admin import KafkaAdminClient
from kafka_town import Town, everybody, orders_of
from story import Tale, income, tale

from connectors.store.servers import Store
from streams.settings import SHIPPED

__all__ = ["tale"]

RECORDS = everybody(120)
LATER = [income(f"us-{number:03}", 90_000, 2) for number in range(40)]


def reshard(town: Town, shards: int, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    """`payout store reshard` in a process of its own, killed at a point where one is given."""
    command = [sys.executable, "-c", "from streams.cli import main; main()", "store", "reshard", str(shards)]
    given = os.environ | town.environment | {"PAYOUT_FAILPOINT": failpoint}
    return subprocess.run(command, env=given, cwd=SHIPPED, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def partitions(town: Town) -> set[int]:
    """How many partitions the topics have."""
    admin = KafkaAdminClient(**town.cluster.client("test"))
    try:
        return {len(entry["partitions"]) for entry in admin.describe_topics(list(town.topics))}
    finally:
        admin.close()


@pytest.mark.soak
def test_four_partitions_become_eight_and_all_comes_to_what_eight_come_to(town_of: Callable[..., Town], tale: Tale):
    town = town_of(servers=2)
    story, settings = town.story, town.story.installation.settings
    town.provision()
    town.tell(RECORDS[:240])
    worker = town.worker()
    town.await_taken()
    refused = reshard(town, 8)
    assert refused.returncode == 2
    assert "Stop every worker" in refused.stderr
    assert worker.stop() == 0
    before = story.digest()
    for point, grown in (("shards_divided", {4}), ("server_divided", {4}), ("topics_grown", {8})):
        assert reshard(town, 8, point).returncode == -signal.SIGKILL
        assert partitions(town) == grown
    done = reshard(town, 8)
    assert done.returncode == 0, done.stderr
    assert "every invariant holds" in done.stderr

    story.installation = type(story.installation)(settings.model_copy(update={"shards": 8}), Store.open(story.urls), story.installation.registries)
    assert story.digest() == before
    town.environment["PAYOUT_SHARDS"] = "8"
    town.tell([*RECORDS[240:], *LATER])
    worker = town.worker()
    town.await_taken()
    assert worker.stop() == 0
    assert {shard for (shard,) in story.ask("SELECT DISTINCT shard FROM facts")} == set(range(8))
    assert len(town.published_orders()) == len(set(town.published_orders())) == len(story.orders())
    story.audit(replay=True)
    eight = tale(shards=8)
    eight.hears(RECORDS[:240])
    eight.hears(RECORDS[240:], LATER)
    assert story.digest() == eight.digest()
    assert sorted(orders_of(story)) == sorted(orders_of(eight))
