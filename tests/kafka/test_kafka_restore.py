"""A store restored from a backup beside a log in Kafka that has gone on: nothing works before it is recovered, and then nobody is paid twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

from kafka_town import Town, everybody
from story import Said, death, income, person

from connectors.bank.bank_side import read_initiation
from streams.settings import SHIPPED

BEFORE = everybody(60)
AFTER = [record for number in range(60, 90) for record in person(f"us-{number:03}", 60_000 + 1_000 * number)]
LATER = [
    *(income(f"us-{number:03}", 20_000, 2) for number in range(60, 80)),  # more is owed
    *(income(f"us-{number:03}", 90_000, 2) for number in range(10)),  # less is owed
    death("us-020"),
]


def payout(town: Town, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in a process of its own."""
    command = [sys.executable, "-c", "from streams.cli import main; main()", *arguments]
    return subprocess.run(command, env=os.environ | town.environment, cwd=SHIPPED, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


def lived(town: Town, *told: list[Said]) -> None:
    """A worker takes everything, and what is released goes to the bank."""
    worker = town.worker()
    town.await_taken()
    for records in told:
        town.tell(records)
        town.await_taken()
    handed = payout(town, "bank", "submit")
    assert handed.returncode == 0, handed.stderr
    town.await_taken()  # that orders were sent is a record as well
    assert worker.stop() == 0


def sent(town: Town) -> Counter[str]:
    """How often each order stands in the files for the bank."""
    out = town.story.installation.bank_directory / "out"
    return Counter(order.end_to_end_id for path in out.glob("*.xml") for order in read_initiation(path.read_bytes())[1])


def test_a_store_restored_to_yesterday_takes_the_records_since_again_and_pays_nobody_twice(town: Town):
    town.provision()
    lived(town, BEFORE)
    lost = town.story
    backup = lost.copy()
    lived(town, AFTER, LATER)
    digest, orders = lost.digest(), {(order.subject, order.sequence): order.amount_minor for order in lost.orders()}
    assert set(sent(town).values()) == {1}

    town.story = backup
    town.environment["PAYOUT_STORE_URLS"] = " ".join(backup.urls)
    for command in (("worker",), ("bank", "submit")):
        refused = payout(town, *command)
        assert refused.returncode == 3
        assert "the store is older than its log" in refused.stderr
        assert "payout store recover" in refused.stderr
    recovered = payout(town, "store", "recover", "--keep-paying")
    assert recovered.returncode == 0, recovered.stderr
    assert f"{len(orders) - 60} orders taken back" in recovered.stdout
    before = sent(town)
    lived(town)
    assert sent(town) == before
    backup.audit(replay=True)
    assert backup.digest() == digest
    assert {(order.subject, order.sequence): order.amount_minor for order in backup.orders()} == orders
