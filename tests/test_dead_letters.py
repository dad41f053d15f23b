"""Dead letters are shown, put into the log again through the front door, once, or closed; by whom and why stays, and links both ways."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from story import Said, Story, Tale, account, answer, database, income, person, resident, tale
from town import CANARIES, Payout, quiet_afterwards

from connectors.segment_log import LogReader, LogWriter
from connectors.store.queries import queries_of
from connectors.store.servers import connect
from pipeline.orders import State, order_id, order_text
from pipeline.sharding import shard_of
from streams.settings import SHIPPED

__all__ = ["quiet_afterwards", "tale"]

pytestmark = pytest.mark.usefixtures("quiet_afterwards")

WHO = ("--by", "Ann", "--because", "the sender's new field is left out")


def spoiled(subject: str) -> Said:
    """A person with a field that no contract knows, and in it a name."""
    good = resident(subject)
    return Said(good.topic, good.key, good.value.replace(b'"birth_date"', f'"name":"{CANARIES[2]}","birth_date"'.encode()))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tale: Tale) -> tuple[Payout, Story]:
    story = tale()
    return Payout(monkeypatch, capsys, story), story


def letters(payout: Payout, status: str = "open") -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(payout("dead-letters", "list", "--status", status, "--json").out)
    return found


def only_letter(payout: Payout) -> str:
    (letter,) = letters(payout)
    return str(letter["id"])


def ends(story: Story) -> dict[tuple[str, int], int]:
    log, topics = story.installation.log_directory, story.installation.topics
    return {(topic, shard): LogReader(log, topic, shard).end_offset() for topic in topics for shard in range(story.shards)}


def test_a_mended_record_goes_through_the_front_door_and_the_person_is_paid(made: tuple[Payout, Story], tmp_path: Path):
    payout, story = made
    story.hears(spoiled("us-1"), account("us-1"), income("us-1", 30_000))
    name = only_letter(payout)
    assert story.orders() == []
    shown = payout("dead-letters", "show", name).out
    assert "unknown field 'name'" in shown
    assert CANARIES[2] not in shown
    mended = tmp_path / "mended.json"
    mended.write_bytes(resident("us-1").value + b"\n")
    done = json.loads(payout("dead-letters", "replay", name, "--with", str(mended), *WHO, "--json").out)
    put_at = f"registry.residency/{shard_of('us-1', story.shards)}/1"
    assert done == {"replayed": [{"letter": name, "put_at": put_at}], "refused": []}
    story.work()
    assert [(order.subject, order.amount_minor) for order in story.orders()] == [("us-1", 120_000)]
    story.audit()
    # From the letter to the record, and from the record, the person and the order back to the letter.
    (letter,) = letters(payout, "replayed")
    assert [(step["step"], step["by"], step["because"], step["put_at"], step["mended"]) for step in letter["steps"]] == [  # type: ignore[attr-defined]
        ("replay", "Ann", WHO[3], "", True), ("put", "Ann", WHO[3], put_at, True),
    ]  # fmt: skip
    explained = json.loads(payout("explain", "us-1", "--json").out)
    assert {event["event"]: event["replay_of"] for event in explained["facts"]} == {"home-us-1-1": name, "account-us-1-1": "", "tax-us-1-1": ""}
    assert [entry["status"] for entry in explained["dead_letters"]] == ["replayed"]
    traced = json.loads(payout("trace", order_text(order_id("us-eip1", "us-1", "once", 1)), "--json").out)
    assert [(entry["what"], entry["who"], entry["ident"]) for entry in traced["way"] if entry["ident"] == name] == [
        ("dead letter", "lane", name), ("replay", "Ann", name),
    ]  # fmt: skip
    assert f"{name} " in payout("explain", "us-1").out
    assert "put into the log again mended by Ann" in payout("trace", order_text(order_id("us-eip1", "us-1", "once", 1))).out


def test_a_record_that_still_breaks_its_contract_stays_outside_and_its_letter_open(made: tuple[Payout, Story], tmp_path: Path):
    payout, story = made
    story.hears(spoiled("us-1"), Said("registry.tax", b"", b"{"))
    before = ends(story)
    refused = payout("dead-letters", "replay", "--all", *WHO, "--json")
    assert refused.code == 2
    said = json.loads(refused.out)
    assert said["replayed"] == []
    assert sorted(problem["place"].partition(":")[0] for problem in said["refused"]) == sorted(str(letter["id"]) for letter in letters(payout))
    other = tmp_path / "other.json"
    other.write_bytes(b'{"specversion": "1.0"}')
    assert payout("dead-letters", "replay", str(letters(payout)[0]["id"]), "--with", str(other), *WHO).code == 2
    assert ends(story) == before
    assert [letter["steps"] for letter in letters(payout)] == [[], []]


def test_a_letter_is_replayed_once_and_closed_only_with_a_name_and_a_reason(made: tuple[Payout, Story]):
    payout, story = made
    misplaced = Said("registry.residency", b"another", resident("us-1").value)
    story.hears(misplaced, Said("registry.tax", b"", b"{"))
    first = next(str(letter["id"]) for letter in letters(payout) if letter["key"] == "another")
    other = next(str(letter["id"]) for letter in letters(payout) if letter["key"] == "")
    assert payout("dead-letters", "replay", first, *WHO).code == 0  # the front door keys it by its subject
    after = ends(story)
    again = payout("dead-letters", "replay", first, *WHO)
    assert (again.code, ends(story)) == (1, after)
    assert "is replayed already" in again.err
    assert payout("dead-letters", "close", first, *WHO).code == 1
    for missing in (("--by", "Ann"), ("--because", "a test"), ("--by", " ", "--because", "a test"), ("--by", "Ann", "--because", " ")):
        assert payout("dead-letters", "close", other, *missing).code == 2
        assert payout("dead-letters", "replay", other, *missing).code == 2
    assert payout("dead-letters", "close", other, "--by", "Ann", "--because", "a test of the sender").code == 0
    (closed,) = letters(payout, "closed")
    assert (closed["id"], closed["resolution"]) == (other, "a test of the sender")
    assert letters(payout) == []
    story.work()
    assert story.ask("SELECT sum(applied), sum(duplicate), sum(dead_letter) FROM frame") == [(1, 0, 2)]
    assert json.loads(payout("status", "--json").out)["dead_letters"] == {"open": 0, "replayed": 1, "closed": 1}
    story.audit()


def test_a_replay_that_is_refused_later_is_a_letter_that_names_the_first_one(made: tuple[Payout, Story]):
    payout, story = made
    story.hears(person("us-1"))
    order = story.orders()[0]
    story.hears(answer(order, "settle"), answer(order, "reject"))
    name = only_letter(payout)
    assert payout("dead-letters", "replay", name, *WHO).code == 0
    story.work()
    second = only_letter(payout)
    shown = json.loads(payout("dead-letters", "show", second, "--json").out)
    assert (shown["replay_of"]["letter"], shown["replay_of"]["by"]) == (name, "Ann")
    traced = json.loads(payout("trace", order_text(order_id("us-eip1", "us-1", "once", 1)), "--json").out)
    assert [entry["ident"] for entry in traced["way"] if entry["what"] == "dead letter"] == [name, second]
    assert story.orders()[0].state == State.SETTLED
    assert [check.violations for check in story.examine().checks if check.id == "dispositions"] == [0]


@pytest.mark.parametrize("failpoint", ["dead_letter_begun", "dead_letter_put"])
def test_a_replay_that_was_killed_is_finished_and_puts_the_record_once(made: tuple[Payout, Story], failpoint: str, tmp_path: Path):
    payout, story = made
    story.hears(spoiled("us-1"))
    name = only_letter(payout)
    mended = tmp_path / "mended.json"
    mended.write_bytes(resident("us-1").value)
    assert payout.armed(failpoint, "dead-letters", "replay", name, "--with", str(mended), *WHO) == -signal.SIGKILL
    (letter,) = letters(payout)
    assert [step["step"] for step in letter["steps"]] == ["replay"]  # type: ignore[attr-defined]
    with LogWriter(story.installation.log_directory) as log:  # others go on meanwhile
        log.append("registry.residency", shard_of("us-1", story.shards), [(b"us-2", resident("us-2").value)])
    other = tmp_path / "other.json"
    other.write_bytes(resident("us-1", 2).value)
    for arguments in (("close", name), ("replay", name, "--with", str(other))):
        refused = payout("dead-letters", *arguments, "--by", "Bo", "--because", "another reason")
        assert refused.code == 2
        assert "a replay by Ann was begun and not finished" in refused.err
    assert payout("dead-letters", "replay", name, "--by", "Bo", "--because", "it was stopped").code == 0
    story.work()
    assert story.ask("SELECT sum(applied), sum(duplicate), sum(dead_letter) FROM frame") == [(2, 0, 1)]
    (letter,) = letters(payout, "replayed")
    at = 1 if failpoint == "dead_letter_put" else 2
    assert [(step["by"], step["put_at"]) for step in letter["steps"]] == [  # type: ignore[attr-defined]
        ("Ann", ""), ("Ann", f"registry.residency/{shard_of('us-1', story.shards)}/{at}"),
    ]  # fmt: skip
    story.audit()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE dead_letter SET status = 'replayed'", "is replayed: put into the log 0 times, closed 1 times"),
        ("UPDATE dead_letter SET status = 'open'", "is open: put into the log 0 times, closed 1 times"),
        ("UPDATE dead_letter_step SET person = ''", "nobody said who did what with it, and why"),
        ("DELETE FROM dead_letter_step", "is closed: put into the log 0 times, closed 0 times"),
        ("UPDATE dead_letter_step SET record_offset = 7", "is not there: put into the log 0 times, closed 1 times"),
    ],
)
def test_the_audit_tells_letters_that_were_dealt_with_otherwise_than_is_written(made: tuple[Payout, Story], damage: str, said: str):
    payout, story = made
    story.hears(Said("registry.tax", b"", b"{"))
    assert payout("dead-letters", "close", only_letter(payout), *WHO).code == 0
    story.audit()
    story.close()
    damaged = story.copy()
    with connect(damaged.urls[0], "test") as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(damage.encode())
    found = next(check for check in damaged.examine().checks if check.id == "dispositions")
    assert not found.ok
    assert said in " ".join(found.examples)


def test_what_was_dealt_with_before_its_history_was_kept_has_a_step():
    url = database()
    with connect(url, "test") as connection:
        connection.execute("DROP TABLE dead_letter_step")
        for status in ("open", "replayed", "closed"):
            connection.execute(
                "INSERT INTO dead_letter (topic, shard, record_offset, record_key, record_value, problems, status, resolution)"
                " VALUES ('registry.tax', 0, %s, '', '', '[]', %s, 'as it was said')",
                (len(status), status),
            )
        connection.execute((SHIPPED / "connectors/store/migrations/0006_dead_letter_step.sql").read_bytes())
        kept = connection.execute("SELECT step, person, reason FROM dead_letter_step ORDER BY step").fetchall()
    assert kept == [("close", "not recorded", "as it was said"), ("put", "not recorded", "as it was said")]


def test_letters_of_every_server_are_dealt_with_where_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tale: Tale):
    story = tale(servers=2, shards=4)
    payout = Payout(monkeypatch, capsys, story)
    subjects = [f"us-{number}" for number in range(8)]
    story.hears(*(Said("registry.residency", b"us-0", resident(subject).value) for subject in subjects[1:]))
    assert len(letters(payout)) == 7
    assert payout("dead-letters", "replay", "--all", *WHO).code == 0
    story.work()
    assert letters(payout) == []
    with queries_of(story.installation.store) as queries:
        assert {case.subject for case in map(queries.case, subjects[1:]) if case.history} == set(subjects[1:])
        assert all(len(queries.case(subject).letter_steps) == 2 for subject in subjects[1:])
    story.audit()
