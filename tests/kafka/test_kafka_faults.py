"""Faults on the way: connections cut around a COMMIT, a server that is killed, records that are none, a topic that is not the one that was read."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka_town import PATIENCE_S, Town, everybody, undisturbed_run, until
from story import ACCOUNT, RESIDENCY, TAX, person, server
from town import quiet_afterwards as quiet_afterwards

from connectors.embedded_postgres import main_process
from connectors.kafka_log import KafkaWriter
from connectors.kafka_topics import log_ends
from loadtests.proxy import COMMIT, Cut, Postgres, Proxy
from pipeline.sharding import partition_of
from streams.audit import Digest
from streams.cli import main

MEGABYTE = 1024 * 1024


RECORDS = everybody(60)
"""180 of them."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Digest]:
    """What the embedded run comes to."""
    with undisturbed_run(tmp_path_factory.mktemp("undisturbed") / "home", RECORDS) as digest:
        yield digest


def proven(town: Town, undisturbed: Digest, *, records: int) -> None:
    """Everything was taken once, every invariant holds, and it came to what the undisturbed run comes to."""
    town.await_taken()
    assert town.workers[-1].stop() == 0
    assert town.story.digest() == undisturbed
    ((applied, duplicate, dead),) = town.story.ask("SELECT sum(applied), sum(duplicate), sum(dead_letter) FROM frame")
    assert (applied, duplicate, applied + duplicate + dead) == (len(RECORDS), 0, records)
    town.story.audit()


@pytest.mark.parametrize("cut", ["before_server", "before_client"])
def test_a_connection_cut_around_its_commit_loses_and_doubles_nothing(town: Town, undisturbed: Digest, cut: Cut):
    town.provision()
    address = urlsplit(town.story.urls[0])
    socket = next(Path(parse_qs(address.query)["host"][0]).glob(".s.PGSQL.*[0-9]"))
    with Proxy(socket, Postgres) as proxy:
        worker = town.worker(PAYOUT_STORE_URLS=f"postgresql://{address.username}@127.0.0.1:{proxy.port}{address.path}?sslmode=disable")
        until(lambda: worker.said("shards claimed") == 1, "the worker has claimed")
        proxy.cut(COMMIT, 3, cut, client="payout lanes")
        town.tell(RECORDS)
        proven(town, undisturbed, records=len(RECORDS))
    assert proxy.cuts == 1
    assert worker.said("the store is away, trying again") >= 1


def test_postgresql_that_is_killed_and_comes_back_costs_time_only(town: Town, undisturbed: Digest):
    with town.story.connection() as connection:  # the server of the tests does not wait for the disk, this database does
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET synchronous_commit = on".encode())
    town.provision()
    town.tell(RECORDS[:60])
    worker = town.worker()
    until(lambda: bool(town.story.ask("SELECT 1 FROM frame")), "the first frame is committed")
    os.kill(main_process(server().directory), signal.SIGKILL)
    town.tell(RECORDS[60:])
    until(lambda: worker.said("the store is away, trying again") >= 1, "the worker has missed the store")
    until(lambda: answers(town), "the server is back")
    proven(town, undisturbed, records=len(RECORDS))


def answers(town: Town) -> bool:
    try:
        return town.story.ask("SELECT 1") == [(1,)]
    except (RuntimeError, OSError):
        return False


def test_records_that_are_none_are_dead_letters_and_hold_nobody_up(town: Town, undisturbed: Digest):
    town.provision()
    strange: Sequence[tuple[str, bytes | None, bytes | None]] = (
        (TAX, b"us-000", None),
        (RESIDENCY, None, b"{}"),
        (TAX, b"us-001", b"\x00\xff\xfe" * 50),
        (ACCOUNT, b"us-002", b"[" * 100_000),
        (TAX, b"us-003", b'{"id":"' + b"x" * 10 * MEGABYTE + b'"}'),
    )
    town.tell(RECORDS[:60])
    producer = KafkaProducer(**town.cluster.client("test"), max_request_size=16 * MEGABYTE, batch_size=0)
    try:
        sent = [producer.send(topic, key=key, value=value, partition=1) for topic, key, value in strange]
        for future in sent:
            future.get(PATIENCE_S)
    finally:
        producer.close()
    town.tell(RECORDS[60:])
    town.worker()
    proven(town, undisturbed, records=len(RECORDS) + len(strange))
    kept = [(letter.topic, letter.key, letter.value) for letter in town.story.dead_letters()]
    assert sorted(kept) == sorted((topic, key or b"", value or b"") for topic, key, value in strange)
    assert all(letter.problems for letter in town.story.dead_letters())


def test_records_of_a_producer_with_another_partitioner_are_dead_letters_and_decide_nothing(town: Town, undisturbed: Digest):
    town.provision()
    town.tell(RECORDS[:60])
    astray = [record for number in range(60, 70) for record in person(f"us-{number:03}")]
    producer = KafkaProducer(**town.cluster.client("test"))  # its partitioner is Java's: murmur2
    try:
        sent = [producer.send(record.topic, key=record.key, value=record.value) for record in astray]
        placed = [future.get(PATIENCE_S).partition for future in sent]
    finally:
        producer.close()
    town.tell(RECORDS[60:])
    town.worker()
    wrong = [record for record, partition in zip(astray, placed, strict=True) if partition_of(record.key, town.story.shards) != partition]
    assert 3 <= len(wrong) < len(astray)
    town.await_taken()
    assert town.workers[-1].stop() == 0
    letters = town.story.dead_letters()
    assert sorted((letter.topic, letter.key, letter.value) for letter in letters) == sorted(wrong)
    assert {problem["place"] for letter in letters for problem in letter.problems} == {"partition"}
    homes = town.story.ask("SELECT subject, shard FROM facts")
    assert all(partition_of(subject.encode(), town.story.shards) == shard for subject, shard in homes)
    town.story.audit(replay=True)


def test_a_topic_that_was_made_anew_stops_the_worker_whatever_it_holds(town: Town):
    town.provision()
    town.tell(RECORDS)
    town.worker()
    town.await_taken()
    assert town.workers[0].stop() == 0
    positions = town.story.installation.positions()
    town.clear()
    town.provision()
    again = town.worker()
    assert again.process.wait(PATIENCE_S) == 3
    assert again.said("registry.tax was made anew") == 1
    town.tell([record for record in RECORDS for _ in range(2)])  # so much that every position is inside the new log
    once_more = town.worker(command=("-m", "faust", "-A", "streams.worker_app", "worker", "--without-web"))
    assert once_more.process.wait(PATIENCE_S) != 0
    assert once_more.said("registry.tax was made anew") >= 1
    assert town.story.installation.positions() == positions


def test_a_topic_that_is_made_anew_under_a_running_worker_stops_it_though_its_position_is_inside_the_new_log(town: Town):
    town.provision()
    town.tell(RECORDS)
    worker = town.worker()
    town.await_taken()
    worker.freeze()
    town.clear()
    town.provision()
    town.tell([record for record in RECORDS for _ in range(2)])
    worker.thaw()
    assert worker.process.wait(PATIENCE_S) == 3
    assert worker.said("registry.tax was made anew") >= 1


@pytest.mark.usefixtures("quiet_afterwards")
def test_events_are_not_put_into_a_topic_that_was_made_anew(town: Town, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    for name, value in town.environment.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join(record.value for record in RECORDS))
    town.provision()
    worker = town.worker()
    town.await_owners(worker)
    assert ended(["events", "put", str(file)]) == 0
    town.await_taken()
    assert worker.stop() == 0
    town.clear()
    town.provision()
    capsys.readouterr()
    assert ended(["events", "put", str(file)]) == 3
    assert "registry.residency was made anew" in capsys.readouterr().err
    assert sum(log_ends(town.cluster, town.topics, town.story.shards).values()) == 0


def ended(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


@pytest.mark.parametrize("hours", [26, -24 * 40])
def test_records_of_a_producer_with_a_wrong_clock_are_taken_and_kept_as_long_as_others(town: Town, hours: int):
    town.provision()
    sound = int(time() * 1000)
    with KafkaWriter(town.cluster, "test", now_ms=lambda: sound + hours * 3_600_000) as writer:
        for shard in range(town.story.shards):
            writer.append(TAX, shard, [(b"us-1", b"{}")])
        writer.flush()
    consumer = KafkaConsumer(**town.cluster.client("test"), enable_auto_commit=False)
    try:
        place = TopicPartition(TAX, 0)
        consumer.assign([place])
        consumer.seek_to_beginning(place)
        found: list[Any] = []
        until(lambda: bool(found.extend(consumer.poll(1000).get(place, [])) or found), "the record is read")
    finally:
        consumer.close()
    # The broker's own clock counts: with the producer's, one from the past would be deleted before it is taken, one from the future refused.
    assert sound - 60_000 < found[0].timestamp < sound + PATIENCE_S * 1000
