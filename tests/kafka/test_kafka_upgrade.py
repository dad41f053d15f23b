"""Two versions at once: the schema is migrated and workers are replaced one by one while events come in, by the commands of docs/operations/upgrade.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka_town import PATIENCE_S, Reference, Town, Worker, dispositions, everybody, orders_of, until

from connectors.store import schema
from streams.settings import SHIPPED

PAGE = SHIPPED / "docs" / "operations" / "upgrade.md"
PROGRAM = ("pipeline", "connectors", "streams", "registries", "benefits", "locales")
PAYOUT = ("-P", "-c", "from streams.cli import main; main()")
"""`-P`: the code is found where PYTHONPATH says, and not in the working directory."""


class Version:
    """A version of the program by the folder in which it is installed."""

    def __init__(self, town: Town, folder: Path) -> None:
        self._town, self._path = town, {"PYTHONPATH": str(folder)}

    def worker(self, name: str) -> Worker:
        """Starts a worker under a name that the group knows it by."""
        return self._town.worker(command=(*PAYOUT, "worker"), PAYOUT_KAFKA__INSTANCE=name, PAYOUT_KAFKA__SESSION_S="60", **self._path)

    def __call__(self, command: str, code: int = 0) -> str:
        """What a command of the page says, which ends as expected."""
        environment = os.environ | self._town.environment | self._path
        assert command.startswith("payout ")
        done = subprocess.run(
            [sys.executable, *PAYOUT, *command.split()[1:]], env=environment, cwd=SHIPPED, capture_output=True, text=True, check=False, timeout=PATIENCE_S
        )
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr


@pytest.fixture
def newer(tmp_path: Path) -> Path:
    """This program with one migration more, which only adds."""
    folder = tmp_path / "newer"
    for name in PROGRAM:
        shutil.copytree(SHIPPED / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = f"-- compatible with {schema.needed()}\nALTER TABLE payment_order ADD COLUMN note text;\nCREATE TABLE note_kept (note text);\n"
    (folder / "connectors" / "store" / "migrations" / f"{schema.needed() + 1:04}_note.sql").write_text(script)
    return folder


@pytest.fixture
def durable(town: Town) -> Iterator[None]:
    """The server of the tests waits for no disk; here it is one that `payout store check` finds fit for money."""
    settings = ("fsync", "full_page_writes", "synchronous_commit")

    def turn(value: str) -> None:
        with town.story.connection() as connection:
            for setting in settings:
                connection.execute(f"ALTER SYSTEM SET {setting} = {value}".encode())
            connection.execute("SELECT pg_reload_conf()")
        until(lambda: all(town.story.ask(f"SHOW {setting}") == [(value,)] for setting in settings), f"the server has its settings {value}")

    turn("on")
    yield
    turn("off")


def told() -> Iterator[list[str]]:
    """The commands of the page, block by block."""
    for block in re.findall(r"(?:^ {4}payout .+\n)+", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        yield [line.strip() for line in block.splitlines()]


@pytest.mark.soak
@pytest.mark.usefixtures("durable")
def test_a_store_is_migrated_and_workers_are_replaced_one_by_one_while_events_come_in(town: Town, embedded: Reference, newer: Path):
    town.provision()
    records, blocks = everybody(), told()
    old, new = Version(town, SHIPPED), Version(town, newer)
    first, second = old.worker("one"), old.worker("two")
    town.await_owners(first, second)
    town.tell(records[:240])
    for command in next(blocks):
        old(command)
    assert "run `payout store migrate`" in new("payout worker", code=3)
    migrated = "".join(new(command) for command in next(blocks))
    assert f"migrated to version {schema.needed() + 1}" in migrated
    before, claims = town.owners(), first.said("shards claimed")
    assert second.stop() == 0
    second_anew = new.worker("two")
    town.await_owners(first, second_anew)
    town.tell(records[240:480])  # an old one and a new one
    town.await_taken()
    for command in next(blocks):
        new(command)
    assert town.owners() == [second_anew.owner if owner == second.owner else owner for owner in before]
    assert first.said("shards claimed") == claims  # nobody else's shards moved
    assert first.stop() == 0
    first_anew = new.worker("one")
    town.await_owners(first_anew, second_anew)
    town.tell(records[480:])
    town.await_taken()
    for command in next(blocks):
        new(command)
    assert next(blocks, None) is None
    assert [worker.stop() for worker in (first_anew, second_anew)] == [0, 0]
    assert town.story.digest() == embedded.digest
    assert orders_of(town.story) == embedded.orders
    assert dispositions(town.story) == {"applied": len(records), "duplicate": 0, "conflict": 0, "dead_letter": 0}
    town.story.audit()  # and back again: the older program still reads the store
