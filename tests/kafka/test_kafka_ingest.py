"""Events over HTTP into Kafka: an answer says that the brokers have them, who had none sends again, and that changes nothing."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest
from kafka import KafkaConsumer, TopicPartition
from kafka_security import Secured
from kafka_town import PATIENCE_S, Town, dispositions, everybody, undisturbed_run
from serving import ALL_TOKEN, Serving, batch
from story import ACCOUNT, RESIDENCY, TAX, Said

from connectors.broker import Brokers
from connectors.http_events import BATCH
from streams.audit import Digest

PEOPLE = 40
BATCH_RECORDS = 30
RECORDS = everybody(PEOPLE)
BATCHES = [RECORDS[start : start + BATCH_RECORDS] for start in range(0, len(RECORDS), BATCH_RECORDS)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Digest]:
    """What the embedded run comes to."""
    with undisturbed_run(tmp_path_factory.mktemp("undisturbed") / "home", RECORDS) as digest:
        yield digest


@contextmanager
def serving(town: Town, folder: Path, **environment: str) -> Iterator[Serving]:
    """The door of a town."""
    door = Serving(town.story, folder / "door.log", **town.environment | environment)
    try:
        yield door
        assert door.stop() == 0
        assert "what was answered is kept" in door.log.read_text()
    finally:
        door.process.kill()
        door.process.wait()


async def post(session: aiohttp.ClientSession, door: Serving, records: Sequence[Said]) -> tuple[int, str]:
    """Status and Retry-After of the answer."""
    headers = {"Content-Type": BATCH, "Authorization": f"Bearer {ALL_TOKEN}"}
    async with session.post(door.address("events are taken"), data=batch(*records), headers=headers) as answer:
        return answer.status, answer.headers.get("Retry-After", "")


def in_kafka(town: Town) -> set[tuple[str, bytes]]:
    """Topic and value of every event that the brokers have."""
    consumer = KafkaConsumer(**town.cluster.client("test"), enable_auto_commit=False)
    try:
        places = [TopicPartition(topic, shard) for topic in (RESIDENCY, ACCOUNT, TAX) for shard in range(town.story.shards)]
        ends = consumer.end_offsets(places)
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        found: set[tuple[str, bytes]] = set()
        while any(consumer.position(place) < ends[place] for place in places):
            found |= {(record.topic, record.value) for part in consumer.poll(timeout_ms=1000).values() for record in part}
        return found
    finally:
        consumer.close()


def test_over_tls_a_producer_that_repeats_itself_after_a_lost_answer_changes_nothing(town: Town, secured: Secured, tmp_path: Path, undisturbed: Digest):
    town.provision()
    certificate, key_file = secured.authority.issue("door")
    trusts = ssl.create_default_context(cafile=secured.authority.ca_file)
    tls = {"PAYOUT_INGEST__CERT_FILE": str(certificate), "PAYOUT_INGEST__KEY_FILE": str(key_file)}
    with serving(town, tmp_path, PAYOUT_FAILPOINT="log_written:2", **secured.over_scram(), **tls) as door:

        async def send() -> list[int]:
            """Sends everything; where no answer came, the same again to a door that was started anew."""
            statuses = []
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusts)) as session:
                for records in BATCHES:
                    while True:
                        try:
                            statuses.append((await post(session, door, records))[0])
                            break
                        except aiohttp.ClientError:
                            assert door.process.wait(PATIENCE_S) == -signal.SIGKILL
                            statuses.append(0)
                            door.process = door.start(PAYOUT_FAILPOINT="")
            return statuses

        assert asyncio.run(send()) == [202, 0, 202, 202, 202]
        assert door.address("events are taken").startswith("https://")
    town.worker()
    town.await_taken()
    assert town.workers[0].stop() == 0
    assert dispositions(town.story) == {"applied": len(RECORDS), "duplicate": BATCH_RECORDS, "conflict": 0, "dead_letter": 0}
    assert town.story.digest() == undisturbed
    town.story.audit()


@pytest.mark.soak
def test_while_kafka_answers_nothing_nothing_is_acknowledged_and_what_was_is_there(town: Town, brokers: Brokers, tmp_path: Path, undisturbed: Digest):
    town.provision()
    (broker,) = brokers.nodes()
    with serving(town, tmp_path) as door:

        async def send() -> tuple[list[tuple[int, str]], list[int]]:
            """The answers while Kafka stands still, and those afterwards."""
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S)) as session:
                assert (await post(session, door, BATCHES[0]))[0] == 202
                os.kill(broker.pid, signal.SIGSTOP)
                try:
                    refused = await asyncio.gather(*(post(session, door, records) for records in BATCHES[1:]))
                    async with session.get(door.address("events are taken").replace("/events", "/health/ready")) as answer:
                        refused.append((answer.status, "5"))
                finally:
                    os.kill(broker.pid, signal.SIGCONT)
                taken = []
                for records in BATCHES[1:]:
                    while (status := (await post(session, door, records))[0]) == 503:
                        pass
                    taken.append(status)
                    assert in_kafka(town) >= {(record.topic, record.value) for record in records}
            return refused, taken

        refused, taken = asyncio.run(send())
        assert refused == [(503, "5")] * len(BATCHES)
        assert taken == [202] * (len(BATCHES) - 1)
    assert in_kafka(town) == {(record.topic, record.value) for record in RECORDS}
    town.worker()
    town.await_taken()
    assert town.workers[0].stop() == 0
    assert town.story.digest() == undisturbed
    town.story.audit()
