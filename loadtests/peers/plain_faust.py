"""The job as a plain Faust app does it: an agent, PostgreSQL, a transaction for each event or for each batch of `take`, Faust's own offsets.

python -m loadtests.peers.plain_faust URL SERVERS TOPIC GROUP EVENTS BATCH
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import faust
import msgspec
import psycopg

from loadtests.bench import Message

from .job import amount_minor

SCHEMA = """
CREATE TABLE known (subject text PRIMARY KEY, sequence bigint NOT NULL, facts bytea NOT NULL);
CREATE TABLE ordered (subject text PRIMARY KEY, amount_minor bigint NOT NULL);
CREATE TABLE payment_order (subject text NOT NULL, event_id text NOT NULL, amount_minor bigint NOT NULL, PRIMARY KEY (subject, event_id));
CREATE TABLE taken (events bigint NOT NULL);
INSERT INTO taken VALUES (0);
"""

FACTS = """
INSERT INTO known AS k VALUES (%s, %s, %s) ON CONFLICT (subject) DO UPDATE SET sequence = excluded.sequence, facts = excluded.facts
WHERE k.sequence < excluded.sequence
"""
ORDER = """
WITH before AS (SELECT coalesce((SELECT amount_minor FROM ordered WHERE subject = %(subject)s), 0) AS amount_minor),
level AS (INSERT INTO ordered SELECT %(subject)s, %(amount)s FROM before WHERE amount_minor <> %(amount)s
ON CONFLICT (subject) DO UPDATE SET amount_minor = excluded.amount_minor)
INSERT INTO payment_order SELECT %(subject)s, %(id)s, %(amount)s - amount_minor FROM before WHERE amount_minor <> %(amount)s
"""


class Taking:
    """What the agent does with events; it ends the program after so many."""

    def __init__(self, url: str, events: int) -> None:
        self._url, self._events, self._taken = url, events, 0
        self._decode = msgspec.json.Decoder(Message).decode
        self._connection: Any = None

    async def take(self, values: Sequence[bytes]) -> None:
        """One transaction."""
        if self._connection is None:
            self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        async with self._connection.transaction(), self._connection.cursor() as cursor:
            messages = [(value, self._decode(value)) for value in values]
            if len(messages) == 1:
                await cursor.execute(FACTS, self._facts(*messages[0]))
                await cursor.execute(ORDER, self._order(messages[0][1]))
            else:
                await cursor.executemany(FACTS, [self._facts(*message) for message in messages])
                await cursor.executemany(ORDER, [self._order(message) for _, message in messages])
            await cursor.execute("UPDATE taken SET events = events + %s", (len(values),))
        self._taken += len(values)
        if self._taken >= self._events:
            os.kill(os.getpid(), signal.SIGTERM)

    @staticmethod
    def _facts(value: bytes, message: Message) -> tuple[str, int, bytes]:
        return message.subject, int(message.sequence), value

    @staticmethod
    def _order(message: Message) -> dict[str, object]:
        return {"subject": message.subject, "id": message.id, "amount": amount_minor(message.data)}


def app(url: str, servers: str, topic: str, group: str, events: int, batch: int, directory: Path) -> Any:
    """The app: by value where `batch` is 1, else in batches of at most so many."""
    made = faust.App(
        group, broker=[f"kafka://{server}" for server in servers.split()], store="memory://", topic_disable_leader=True, topic_allow_declare=False,
        consumer_auto_offset_reset="earliest", table_standby_replicas=0, web_enabled=False, datadir=directory, stream_recovery_delay=0.0,
    )  # fmt: skip
    taking = Taking(url, events)

    async def agent(stream: Any) -> None:
        if batch == 1:
            async for value in stream:
                await taking.take([value])
        else:
            values: AsyncIterator[list[bytes]] = stream.take(batch, within=0.5)
            async for several in values:
                await taking.take(several)

    made.agent(made.topic(topic, key_serializer="raw", value_serializer="raw"), name="take")(agent)
    return made


def main() -> None:
    """The command line."""
    url, servers, topic, group, events, batch = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="plain-faust-") as directory:
        worker = faust.Worker(app(url, servers, topic, group, int(events), int(batch), Path(directory)), quiet=True, loglevel="error", redirect_stdouts=False)
        worker.execute_from_commandline()


if __name__ == "__main__":
    main()
