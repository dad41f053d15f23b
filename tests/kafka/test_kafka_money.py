"""Money over a real broker: orders go to the bank and its answers come back, dead letters return through the front door, and nobody is paid twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka_town import PATIENCE_S, Town, dispositions
from story import TAX, Said, account, income, person, resident
from town import Payout
from town import quiet_afterwards as quiet_afterwards

from connectors.sandbox_bank import journal_path, read_journal
from pipeline.orders import State, end_to_end_id
from pipeline.receipts import decode_released
from streams.settings import SHIPPED

PEOPLE = [f"us-{number:02}" for number in range(40)]
WHO = ("--by", "Ann", "--because", "the sender's new field is left out")


@pytest.fixture
def payout(town: Town, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet_afterwards: None) -> Payout:
    """The command for this installation."""
    command = Payout(monkeypatch, capsys, town.story)
    for name, value in town.environment.items():
        monkeypatch.setenv(name, value)
    return command


def said(payout: Payout, *arguments: str, code: int = 0) -> Any:
    answer = payout(*arguments, "--json")
    assert answer.code == code, answer.err
    return json.loads(answer.out)


def put(payout: Payout, records: list[Said], file: Path) -> None:
    """Through the front door."""
    file.write_bytes(b"".join(record.value + b"\n" for record in records))
    assert payout("events", "put", str(file)).code == 0


def bank(town: Town) -> Path:
    """The bank handles what lies at its door, as a process of its own; gives its journal."""
    home = town.story.installation.settings.home
    command = ("sandbox-bank", "--once", "--home", str(home), "--seed", "7", "--reject-share", "0.2", "--return-share", "0.2")
    subprocess.run([sys.executable, "-c", "from streams.cli import main; main()", *command], cwd=SHIPPED, check=True, capture_output=True)
    return journal_path(home)


def executed_once(journal: Path) -> list[str]:
    """What the bank has executed, nothing of it twice."""
    executed = [movement.end_to_end_id for movement in read_journal(journal) if movement.outcome == "executed"]
    assert len(executed) == len(set(executed))
    return executed


def states(town: Town) -> set[State]:
    return {order.state for order in town.story.orders()}


def test_orders_are_published_handed_over_answered_and_proven(town: Town, payout: Payout, tmp_path: Path):
    town.provision()
    put(payout, [record for subject in PEOPLE for record in person(subject)], tmp_path / "events.ndjson")
    worker = town.worker()
    town.await_taken()
    assert said(payout, "bank", "submit")["orders"] == len(PEOPLE)
    town.await_taken()  # the worker hears that they are sent
    assert states(town) == {State.SENT}
    journal = bank(town)
    assert said(payout, "bank", "reconcile", "--journal", str(journal), code=1)["ok"] is False  # booked there, and not yet heard of here
    assert {file["kind"] for file in said(payout, "bank", "receive")["files"]} == {"pain.002", "camt.054"}
    town.await_taken()
    assert states(town) == {State.SETTLED, State.REJECTED, State.RETURNED}
    assert worker.stop() == 0
    paid = [
        end_to_end_id(bytes.fromhex(identity), 1) for (identity,) in town.story.ask("SELECT encode(order_id, 'hex') FROM payment_order WHERE state IN (5, 7)")
    ]
    assert sorted(executed_once(journal)) == sorted(paid)
    assert said(payout, "bank", "reconcile")["differences"] == []
    assert said(payout, "bank", "reconcile", "--journal", str(journal))["ok"]
    proven = said(payout, "audit", "--bank", str(journal), "--replay")
    assert {check["id"] for check in proven["checks"]} >= {"bank", "replay", "log"}
    assert [check["id"] for check in proven["checks"] if not check["ok"]] == []


def test_a_desk_killed_between_a_file_and_its_mark_pays_nobody_twice(town: Town, payout: Payout):
    town.provision()
    town.tell([record for subject in PEOPLE for record in person(subject)])
    town.worker()
    town.await_taken()
    ended = []
    for step, failpoint in (("submit", "bank_file_written"), ("submit", "bank_file_told"), ("receive", "bank_answers_published")):
        ended.append(payout.armed(failpoint, "bank", step))
        journal = bank(town)  # it takes what lies at its door at any moment
        if step == "receive":
            assert payout("bank", "submit").code == 0
            bank(town)
            assert payout("bank", "receive").code == 0
    assert ended == [-signal.SIGKILL] * 3
    town.await_taken()
    assert town.workers[0].stop() == 0
    executed_once(journal)
    assert states(town) == {State.SETTLED, State.REJECTED, State.RETURNED}
    assert said(payout, "bank", "reconcile")["ok"]
    town.story.audit(journal=journal)


def test_a_consumer_of_payment_orders_drops_by_order_and_attempt_what_comes_twice(town: Town):
    town.provision()
    town.tell([record for subject in PEOPLE for record in person(subject)])
    killed = town.worker(PAYOUT_FAILPOINT="relay_after_publish")
    assert killed.process.wait(PATIENCE_S) == -signal.SIGKILL
    town.worker()
    town.await_taken()
    assert town.workers[1].stop() == 0
    seen: dict[tuple[str, int], bytes] = {}
    twice = 0
    for message in town.published():
        order = decode_released(message)
        twice += (order.order, order.attempt) in seen
        assert seen.setdefault((order.order, order.attempt), message) == message  # what comes twice says the same, to the byte
    assert twice > 0
    assert sorted(decode_released(message).subject for message in seen.values()) == PEOPLE


def spoiled(record: Said) -> Said:
    """The record with a field that no contract knows."""
    return record._replace(value=record.value.replace(b'"data":{', b'"data":{"surprise":1,', 1))


def test_dead_letters_are_mended_replayed_and_closed_and_history_keeps_its_order(town: Town, payout: Payout, tmp_path: Path):
    town.provision()
    rich, poor, unseen, noise = income("us-ann", 200_000, 1), income("us-ann", 30_000, 2), resident("us-bob"), Said(TAX, b"us-cleo", b"{")
    town.tell([resident("us-ann"), account("us-ann"), spoiled(rich), account("us-bob"), income("us-bob", 30_000), spoiled(unseen), noise])
    town.tell([poor])
    town.worker()
    town.await_taken()
    names = {str(letter["key"]): str(letter["id"]) for letter in said(payout, "dead-letters", "list")}
    assert sorted(names) == ["us-ann", "us-bob", "us-cleo"]
    assert [order.subject for order in town.story.orders()] == ["us-ann"]
    assert "surprise" in said(payout, "dead-letters", "show", names["us-ann"])["problems"][0]
    assert payout("dead-letters", "replay", names["us-ann"], *WHO).code == 2  # as it came it still breaks its contract
    for key, record in (("us-ann", rich), ("us-bob", unseen)):
        (tmp_path / key).write_bytes(record.value)
    put_at = said(payout, "dead-letters", "replay", names["us-ann"], "--with", str(tmp_path / "us-ann"), *WHO)["replayed"][0]["put_at"]
    mending = ("dead-letters", "replay", names["us-bob"], "--with", str(tmp_path / "us-bob"), *WHO)
    assert payout.armed("dead_letter_put", *mending) == -signal.SIGKILL
    assert payout(*mending).code == 0
    assert payout("dead-letters", "close", names["us-cleo"], *WHO).code == 0
    town.await_taken()
    assert town.workers[0].stop() == 0
    # What was said first came last: it is known, and changes nothing. Whose replay was killed is put once.
    assert [(order.subject, order.sequence, order.amount_minor) for order in town.story.orders()] == [("us-ann", 1, 120_000), ("us-bob", 1, 120_000)]
    assert dispositions(town.story) == {"applied": 7, "duplicate": 0, "conflict": 0, "dead_letter": 3}
    shown = said(payout, "dead-letters", "show", names["us-ann"])
    assert [(step["step"], step["by"], step["put_at"]) for step in shown["steps"]] == [("replay", "Ann", ""), ("put", "Ann", put_at)]
    told = [(event["event"], event["replay_of"]) for event in said(payout, "explain", "us-ann")["facts"] if event["event"].startswith("tax")]
    assert told == [("tax-us-ann-1", names["us-ann"]), ("tax-us-ann-2", "")]
    assert said(payout, "status")["dead_letters"] == {"open": 0, "replayed": 2, "closed": 1}
    assert said(payout, "audit", "--replay")["ok"]


def test_a_log_whose_beginning_retention_has_dropped_is_not_replayed_and_the_rest_is_proven(town: Town, payout: Payout):
    town.provision()
    town.tell([record for subject in PEOPLE for record in person(subject)])
    town.worker()
    town.await_taken()
    assert town.workers[0].stop() == 0
    positions = town.story.installation.positions()
    shard = next(shard for shard in range(town.story.shards) if positions[TAX, shard] > 2)
    admin = KafkaAdminClient(**town.cluster.client("test"))
    try:
        admin.delete_records({TopicPartition(TAX, shard): 2})
    finally:
        admin.close()
    refused = payout("audit", "--replay")
    assert (refused.code, refused.out) == (3, "")
    assert f"its beginning was dropped: {TAX} shard {shard} begins at 2 of {positions[TAX, shard]} taken. Audit without --replay;" in refused.err
    assert "kafka.retention_hours" in refused.err
    assert payout("audit").code == 0
