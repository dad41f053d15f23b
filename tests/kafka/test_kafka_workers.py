"""Faust workers on a real broker come to what the embedded run comes to, whoever is killed, replaced or misled by the group's offsets."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.structs import OffsetAndMetadata
from kafka_town import PATIENCE_S, TOOLS, Reference, Town, dispositions, everybody, orders_of, until
from psycopg import OperationalError
from story import TAX, person
from town import quiet_afterwards as quiet_afterwards

from connectors.broker import Brokers
from connectors.broker_files import BrokerUnavailable, jars
from connectors.store.frames import claim
from connectors.store.servers import connect
from streams.cli import main


@pytest.mark.usefixtures("quiet_afterwards")
def test_a_worker_without_topics_names_them_and_makes_none(town: Town, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for name, value in town.environment.items():
        monkeypatch.setenv(name, value)
    worker = town.worker()
    assert worker.process.wait(PATIENCE_S) == 3
    assert worker.said("registry.tax: the topic is missing") == 1
    ended = []
    for arguments in (["kafka", "provision", "--check"], ["kafka", "provision"], ["kafka", "provision", "--check"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        ended.append(end.value.code or 0)
    assert ended == [1, 0, 0]
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in said[: len(town.topics)]] == list(town.topics)
    assert said[-1] == f"{len(town.topics)} topics are as they must be"


def test_two_workers_come_to_the_digest_of_the_embedded_run(town: Town, embedded: Reference):
    town.provision()
    records = everybody()
    town.tell(records[:300])
    workers = [town.worker(), town.worker()]
    town.tell(records[300:])
    town.await_taken()
    town.await_owners(*workers)
    assert [worker.stop() for worker in workers] == [0, 0]
    assert town.story.digest() == embedded.digest
    assert orders_of(town.story) == embedded.orders
    released = [order for (order,) in town.story.ask("SELECT subject FROM payment_order WHERE release_seq > 0")]
    assert len(set(town.published_orders())) == len(released) == len(embedded.orders)
    assert dispositions(town.story) == {"applied": len(records), "duplicate": 0, "conflict": 0, "dead_letter": 0}
    town.story.audit()


def test_a_worker_killed_before_its_commit_loses_and_doubles_nothing(town: Town, embedded: Reference):
    town.provision()
    town.tell(everybody())
    killed = town.worker(PAYOUT_FAILPOINT="before_commit:6")
    assert killed.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert not town.taken()
    town.worker()
    town.await_taken()
    assert town.workers[-1].stop() == 0
    assert town.story.digest() == embedded.digest
    assert orders_of(town.story) == embedded.orders
    assert dispositions(town.story)["duplicate"] == 0
    assert len(set(town.published_orders())) == len(embedded.orders)
    town.story.audit()


def test_a_worker_whose_shards_another_has_claimed_commits_nothing_under_its_own_claim_and_claims_them_again(town: Town, embedded: Reference):
    town.provision()
    zombie = town.worker()
    town.await_owners(zombie)
    with connect(town.story.urls[0], "another worker") as connection:
        epochs = {shard: claim(connection, shard, "another", town.topics).epoch for shard in range(town.story.shards)}
    town.tell(everybody())
    # Nobody else comes, and the group still says that the shards are this worker's: in the end it claims them again.
    town.await_taken()
    assert zombie.stop() == 0
    assert zombie.said("another worker has this shard") >= 1
    assert zombie.said("all are claimed again") >= 1
    first = dict(town.story.ask("SELECT shard, min(epoch) FROM frame GROUP BY shard"))
    assert all(first[shard] > epoch for shard, epoch in epochs.items())
    assert town.story.digest() == embedded.digest
    assert orders_of(town.story) == embedded.orders


def test_a_worker_that_was_stopped_inside_a_transaction_does_not_keep_its_shard(town: Town):
    town.provision()
    with connect(town.story.urls[0], "payout lanes 1") as stopped:
        stopped.execute("BEGIN")
        assert stopped.execute("SELECT epoch FROM lane WHERE shard = 2 FOR UPDATE").fetchall() == [(0,)]
        worker = town.worker()
        until(lambda: worker.said("shards claimed") >= 1, "the worker has claimed")
        with pytest.raises(OperationalError):
            stopped.execute("COMMIT")
    assert worker.said("a worker that kept the shard locked was evicted") == 1
    assert town.story.ask("SELECT shard, epoch FROM lane ORDER BY shard") == [(shard, 1) for shard in range(town.story.shards)]
    assert worker.stop() == 0


def test_the_position_in_the_store_goes_before_the_offset_of_the_group(town: Town, embedded: Reference):
    town.provision()
    records = everybody()
    town.tell(records)
    set_group_offsets(town, 50)  # as if the first fifty had been taken
    town.worker()
    town.await_taken()
    assert town.workers[0].stop() == 0
    assert town.workers[0].said("fetched records do not follow") == 0
    assert town.story.digest() == embedded.digest
    set_group_offsets(town, 1)  # as if all but the first had not been taken
    town.worker()
    town.tell([record for record in person("us-late") if record.topic == TAX])
    town.await_taken()
    assert town.workers[1].stop() == 0
    assert dispositions(town.story) == {"applied": len(records) + 1, "duplicate": 0, "conflict": 0, "dead_letter": 0}
    assert orders_of(town.story) == embedded.orders


def set_group_offsets(town: Town, offset: int) -> None:
    consumer = KafkaConsumer(**town.cluster.client("test"), group_id=town.kafka.group, enable_auto_commit=False)
    try:
        places = [TopicPartition(TAX, shard) for shard in range(town.story.shards)]
        consumer.assign(places)
        consumer.commit({place: OffsetAndMetadata(offset, "", -1) for place in places})
        assert [consumer.committed(place) for place in places] == [offset] * len(places)
    finally:
        consumer.close()


def test_a_worker_ends_rather_than_skip_records_that_kafka_has_no_more(town: Town):
    town.provision()
    town.tell(everybody())
    admin = KafkaAdminClient(**town.cluster.client("test"))
    try:
        admin.delete_records({TopicPartition(TAX, shard): 10 for shard in range(town.story.shards)})
    finally:
        admin.close()
    worker = town.worker()
    assert worker.process.wait(PATIENCE_S) == 3
    assert worker.said("payout: Kafka does not have the records that come next: registry.tax shard ") == 1
    assert {town.story.installation.positions().get((TAX, shard), 0) for shard in range(town.story.shards)} == {0}


def test_a_broker_is_started_once_and_found_by_whoever_asks(brokers: Brokers, tmp_path: Path):
    (node,) = brokers.nodes()
    assert brokers.up(port=int(node.address.rpartition(":")[2])) == [node]
    assert Brokers(tmp_path, tmp_path).nodes() == []
    assert Brokers(tmp_path, tmp_path).down() == 0


def test_without_a_network_it_is_said_what_could_not_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("M2_REPO", str(tmp_path / "repository"))
    with pytest.raises(BrokerUnavailable, match=r"^Kafka [\d.]+ \(org\.apache\.kafka:kafka_.*\) could not be fetched.*copy kafka-[\d.]+ from another machine"):
        jars(tmp_path / "tools")
    assert list((tmp_path / "tools").iterdir()) == []


@pytest.mark.usefixtures("brokers")
def test_a_jar_that_is_not_what_was_published_is_refused(tmp_path: Path):
    shutil.copytree(TOOLS, tmp_path / "tools")
    victim = next((tmp_path / "tools").rglob("kafka-clients-*.jar"))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(BrokerUnavailable, match=f"{victim.name} is not what was published; delete the folder and start again"):
        jars(tmp_path / "tools")
