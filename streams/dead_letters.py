"""Dead letters dealt with: their record, as it came or mended, goes through the front door into the log again, once; or they are closed.

A replay is three steps, and each may be the last before a crash: it is written down with the end of the log, the record is put, it is
written down where the record lies. Whoever replays the letter next looks from that end on whether the record was put already.
"""

from __future__ import annotations

from connectors.failpoints import failpoint
from connectors.log_batch import Record
from connectors.pseudonyms import Pseudonyms
from connectors.store import dead_letters as steps
from connectors.store.dead_letters import Put, letter_name
from connectors.store.tables import DeadLetter
from pipeline.facts import Known
from pipeline.members import ToldAll
from pipeline.problems import Malformed, Problem
from pipeline.receipts import decode_answer
from pipeline.sharding import partition_of

from .installation import Installation
from .log_access import PlacingWriter, Reading
from .members import share_event
from .topics import MEMBERS, RECEIPTS

LOOK_RECORDS = 5_000


class NotOpen(Exception):
    """Somebody has dealt with the letter already."""


def front_door(installation: Installation, letter: DeadLetter, mended: bytes | None = None) -> Put:
    """What is put into the log for a letter, keyed by its subject and on its registry's topic; Malformed where it still breaks its contract."""
    topic, (key, value), event = _judged(installation, letter, letter.record_value if mended is None else mended)
    return Put(topic, partition_of(key, installation.store.shards), -1, key, b"" if value == letter.record_value else value, event)


def _judged(installation: Installation, letter: DeadLetter, value: bytes) -> tuple[str, Record, str]:
    """(topic, record, name of the event) of a record, in which pseudonyms stand for the numbers of people."""
    if letter.topic == RECEIPTS:
        answer = decode_answer(value)
        return RECEIPTS, (answer.subject.encode(), value), answer.id
    if letter.topic == MEMBERS:
        share = share_event(value)
        if isinstance(share, Malformed):
            raise share
        if isinstance(share, ToldAll):
            return MEMBERS, (letter.record_key, value), ""
        return MEMBERS, (share.subject.encode(), value), event_name(share.known)
    registries = installation.registries
    event = registries.decode(value)
    topic = next(registry.topic for registry in registries.registries if registry.name == event.known.registry)
    return topic, Pseudonyms(registries, installation.settings.pseudonyms.read()).record(event, value), event_name(event.known)


def event_name(known: Known) -> str:
    """An event by its registry and id."""
    return f"{known.registry}/{known.id}"


def replay(
    installation: Installation, writer: PlacingWriter, reader: Reading, letter: DeadLetter, person: str, reason: str, mended: bytes | None = None
) -> Put:
    """Puts a letter's record into the log, and gives where it lies. NotOpen where that was done, Malformed where the record may not in."""
    with steps.alone(installation.store, letter) as connection:
        found = steps.standing(connection, letter)
        _must_be_open(found.status, letter)
        put, lies_at = found.begun, None
        if put is not None:
            if mended is not None and (front_door(installation, letter, mended).value or letter.record_value) != (put.value or letter.record_value):
                raise Malformed([_begun(letter, found)])
            person, reason = found.person, found.reason
            lies_at = _look(reader, put, letter)
        else:
            put = front_door(installation, letter, mended)
            put = put._replace(offset=reader.end_offset(put.topic, put.shard))
            steps.begin_replay(connection, letter, found, put, person, reason)
        failpoint("dead_letter_begun")
        if lies_at is None:
            lies_at = writer.place(put.topic, put.shard, (put.key, put.value or letter.record_value))
        failpoint("dead_letter_put")
        put = put._replace(offset=lies_at)
        steps.end_replay(connection, letter, put, person, reason)
        return put


def _look(reader: Reading, put: Put, letter: DeadLetter) -> int | None:
    """Where the record lies, if it was put before a crash."""
    wanted = put.key, put.value or letter.record_value
    at, end = max(put.offset, reader.start_offset(put.topic, put.shard)), reader.end_offset(put.topic, put.shard)
    while at < end:
        frame = reader.read(put.topic, put.shard, at, min(LOOK_RECORDS, end - at))
        for index, record in enumerate(zip(frame.keys, frame.values, strict=True)):
            if record == wanted:
                return at + index
        at = frame.next_offset
    return None


def close(installation: Installation, letter: DeadLetter, person: str, reason: str) -> None:
    """Says that nothing more is to be done with a letter. NotOpen where that was said, or its record was put into the log."""
    with steps.alone(installation.store, letter) as connection:
        found = steps.standing(connection, letter)
        _must_be_open(found.status, letter)
        if found.begun is not None:
            raise Malformed([_begun(letter, found)])
        steps.close(connection, letter, found, person, reason)


def _must_be_open(status: str, letter: DeadLetter) -> None:
    if status != "open":
        raise NotOpen(f"{letter_name(letter)} is {status} already")


def _begun(letter: DeadLetter, found: steps.Standing) -> Problem:
    name = letter_name(letter)
    return Problem(name, f"a replay by {found.person} was begun and not finished", f"Finish it: payout dead-letters replay {name}")
