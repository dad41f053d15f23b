"""Numbers of people become pseudonyms at the door: the same for every registry, and nothing behind the door holds a number."""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from story import RESIDENCY, Said, Story, account, income, resident
from town import Payout
from town import quiet_afterwards as quiet_afterwards

from connectors.failpoints import heard_by
from connectors.http_events import BATCH, Endpoint, listening
from connectors.ingest import Door
from connectors.ingest_tokens import Tokens, token_hash
from connectors.pseudonyms import PSEUDONYM, PseudonymKey, Pseudonyms, make_key, masked, read_key
from connectors.registries import load_registries
from connectors.segment_log import LogWriter
from pipeline.observing import Silent
from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries, event_schema, facts_page, load_registry
from streams.settings import SHIPPED

KEY, OTHER = PseudonymKey(bytes(32)), PseudonymKey(bytes(31) + b"\1")
NUMBERS = st.from_regex(r"[0-9]{6}[0-9A-Z]{4}", fullmatch=True)

NUMBERED = {
    "residency": "pseudonymise: {subject: dk.cpr, guardian: dk.cpr, household: dk.dwelling}",
    "accounts": "pseudonymise: {subject: dk.cpr}",
    "us-irs": "pseudonymise: {subject: dk.cpr}",
}
"""What the registry documents of these tests say beside what is shipped."""


def document(name: str, addition: str = "") -> str:
    return f"{(SHIPPED / 'registries' / f'{name}.yaml').read_text()}{addition or NUMBERED[name]}\n"


def registries() -> Registries:
    return Registries([load_registry(document(name)) for name in NUMBERED])


def problems(work: Callable[[], object]) -> list[Problem]:
    with pytest.raises(Malformed) as refused:
        work()
    return list(refused.value.problems)


# The pseudonym of a number.


@given(NUMBERS, NUMBERS)
def test_a_number_has_one_pseudonym_however_it_is_written(number: str, other: str):
    made = KEY.pseudonym("dk.cpr", number)
    assert PSEUDONYM.fullmatch(made)
    assert made == KEY.pseudonym("dk.cpr", f"{number[:6]}-{number[6:]}") == KEY.pseudonym("dk.cpr", f" {number[:6]} {number[6:].lower()}")
    assert made == KEY.pseudonym("dk.cpr", made), "what is a pseudonym stays"
    assert (made == KEY.pseudonym("dk.cpr", other)) == (number == other)
    assert len({made, KEY.pseudonym("us.ssn", number), OTHER.pseudonym("dk.cpr", number)}) == 3
    assert number not in made


@pytest.mark.parametrize(
    "number", ["", "12345", "010170_1234", "0101701234" * 4, "０１０１７０１２３４", "us-000017?", OTHER.pseudonym("dk.cpr", "0101701234")]
)
def test_what_is_no_number_is_refused_without_being_shown(number: str):
    with pytest.raises(ValueError, match=r"is no number of the kind dk\.cpr|made with another key") as refused:
        KEY.pseudonym("dk.cpr", number)
    assert not number or number not in str(refused.value)


def test_the_pseudonym_of_a_number_is_the_same_for_ever():
    assert KEY.pseudonym("dk.cpr", "010170-1234") == "q3jkg5-efzywas7vo3etaibwviwmwd5mm"


# The key.


def test_a_key_is_made_once_and_must_be_the_one_that_is_set(tmp_path: Path):
    file = tmp_path / "key"
    made = make_key(file)
    assert file.stat().st_mode & 0o777 == 0o600
    again = read_key(file, "", made.id)
    assert again is not None
    assert again.pseudonym("dk.cpr", "0101701234") == made.pseudonym("dk.cpr", "0101701234")
    from_environment = read_key(None, file.read_text(), made.id)
    assert from_environment is not None
    assert from_environment.id == made.id
    assert read_key(None, "", "") is None
    secret = file.read_text().strip()
    told = [
        *problems(lambda: make_key(file)),
        *problems(lambda: read_key(file, "", "abcdef")),
        *problems(lambda: read_key(file, "", "")),
        *problems(lambda: read_key(None, "c2hvcnQ=", made.id)),
        *problems(lambda: read_key(tmp_path / "none", "", made.id)),
    ]
    file.chmod(0o644)
    told += problems(lambda: read_key(file, "", made.id))
    words = ["never overwritten", "who was paid would be paid again", f'key_id = "{made.id}"', "32 bytes in base64", "No such file", "chmod o="]
    for problem, word in zip(told, words, strict=True):
        assert word in str(problem)
        assert secret not in str(problem)


def test_registries_that_send_numbers_need_a_key():
    assert "pseudonyms.key_file: there is no key, and the registries residency, accounts, us-irs send numbers" in str(
        problems(lambda: Pseudonyms(registries(), None))[0]
    )


# What a document declares.


@pytest.mark.parametrize(
    ("addition", "place", "words"),
    [
        ("pseudonymise: {subjekt: dk.cpr}", "pseudonymise.subjekt", "Did you mean 'subject'?"),
        ("pseudonymise: {role: dk.cpr}", "pseudonymise.role", "nor a field of type text"),
        ("pseudonymise: {id: dk.cpr}", "pseudonymise.id", "neither the subject"),
        ("pseudonymise: {subject: DK CPR}", "pseudonymise.subject", "kind of number"),
        ("pseudonymise: [subject]", "pseudonymise", "must be a mapping"),
    ],
)
def test_a_declaration_that_cannot_be_is_told_at_its_place(addition: str, place: str, words: str):
    (problem,) = problems(lambda: load_registry(document("residency", addition)))
    assert problem.place == place
    assert words in str(problem)
    assert problem.line == len(document("residency", addition).splitlines())


def test_unknown_fields_may_not_be_ignored_where_numbers_come_in():
    text = document("residency").replace("unknown_fields: refuse", "unknown_fields: ignore")
    assert "a number could stand in one" in str(problems(lambda: load_registry(text))[0])


def test_the_schema_and_the_page_say_for_what_pseudonyms_are_kept():
    properties = event_schema(registries(), "registry.residency.person.v1")["properties"]
    assert properties["subject"]["description"] == "The number (dk.cpr), for which a pseudonym is kept."
    assert properties["data"]["properties"]["guardian"]["description"].endswith("The number (dk.cpr), for which a pseudonym is kept.")
    assert "Pseudonyms are kept for `subject` (dk.cpr) and `guardian` (dk.cpr) and `household` (dk.dwelling)." in facts_page(registries())


# What becomes of a message.


def replaced(raw: bytes) -> tuple[bytes, dict[str, object]]:
    known = registries()
    key, value = Pseudonyms(known, KEY).record(known.decode(raw), raw)
    known.decode(value)
    message: dict[str, object] = json.loads(value)
    return key, message


def spoken(**changes: object) -> bytes:
    """What the residency registry says of 010170-1234, with some attributes or fields changed."""
    message = json.loads(resident("010170-1234", id="home-1").value)
    for name, value in changes.items():
        (message["data"] if name in ("guardian", "household", "municipality") else message)[name] = value
    return json.dumps(message).encode()


def test_the_declared_places_are_replaced_and_nothing_else():
    before = json.loads(spoken(guardian="0202602345", household="Nygade 17, 2. tv", municipality="0101").replace(b"Nygade 17, 2. tv", b"0101-4711-17"))
    key, after = replaced(json.dumps(before).encode())
    assert after["subject"] == key.decode() == KEY.pseudonym("dk.cpr", "0101701234")
    data = before["data"] | {"guardian": KEY.pseudonym("dk.cpr", "020260-2345"), "household": KEY.pseudonym("dk.dwelling", "0101471117")}
    assert after == before | {"subject": key.decode(), "data": data}


def test_a_registry_that_declares_nothing_is_left_as_it_is():
    known = load_registries(SHIPPED / "registries")
    raw = resident("us-1").value
    assert Pseudonyms(known, KEY).record(known.decode(raw), raw) == (b"us-1", raw)


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"id": "cpr-0101701234-3"}, "id"),
        ({"partitionkey": "010170-1234"}, "partitionkey"),
        ({"municipality": "0202602345", "guardian": "020260-2345"}, "data.municipality"),
        ({"municipality": "wrote 030303-3456 by hand"}, "data.municipality"),
        ({"guardian": "unknown?"}, "data.guardian"),
        ({"type": "registry.correction.v1", "data": {"withdraws": "home-0", "reason": "it was 040404-4567, not"}}, "data.reason"),
    ],
)
def test_a_number_in_another_place_is_refused_and_not_shown(changes: dict[str, object], place: str):
    (problem,) = problems(lambda: replaced(spoken(**changes)))
    assert problem.place == place
    assert not re.search(r"\d{4}", str(problem).replace("6 to 32", ""))


def test_problems_that_others_see_hold_nothing_like_a_number():
    told = [
        Problem("subject", "'010170 1234' holds blanks"),
        Problem("", "unknown field '010170-1234'", "Known: 0101701234."),
        Problem("", "not JSON at byte 7"),
    ]
    assert [str(problem) for problem in masked(told)] == ["subject: … holds blanks", "unknown field …. Known: ….", "not JSON at byte 7"]


# A whole run.

PEOPLE = [f"{day:02}0170-{1200 + day}" for day in range(1, 13)]
BROKEN = [f"{day:02}0280-{3400 + day}" for day in range(1, 9)]
CANARIES = [*PEOPLE, *BROKEN]


def numbered(number: str, order: int) -> list[Said]:
    """Somebody as three registries write them, each in its own way."""
    digits = number.replace("-", "")
    home = json.loads(resident(number, id=f"home-{order}").value)
    home["data"] |= {"guardian": PEOPLE[0], "household": digits}
    spoken = Said(RESIDENCY, b"", json.dumps(home).encode())
    return [spoken, account(digits, number=str(70_000_000_000 + order), id=f"account-{order}"), income(f"{digits[:6]}/{digits[6:]}", 30_000, id=f"tax-{order}")]


def broken() -> list[bytes]:
    """Messages with numbers that break their contract, each in another way."""
    good = [resident(number, id=f"broken-{order}").value for order, number in enumerate(BROKEN)]
    return [
        good[0][: good[0].index(b'"data"')],
        good[1].replace(b'"resident"', b'"spouse":"%s","resident"' % BROKEN[1].encode()),
        good[2].replace(b"broken-2", b"home-%s" % BROKEN[2].replace("-", "").encode()),
        good[3].replace(b"urn:registry:residency", b"urn:nobody"),
        good[4].replace(b'"subject":"', b'"subject":"number '),
        good[5].replace(b"person.v1", b"person.v9"),
        b"subject=" + BROKEN[6].encode(),
        good[7].replace(b'"birth_date"', b'"municipality":"%s","birth_date"' % BROKEN[7].encode()),
    ]


def found(text: bytes) -> list[str]:
    """The canaries in a text, also in the hexadecimal form in which a table shows bytes."""
    forms = {number: (number.encode(), number.replace("-", "").encode(), f"{number[:6]}/{number[7:]}".encode()) for number in CANARIES}
    return [number for number, written in forms.items() if any(form in text or form.hex().encode() in text for form in written)]


def rows(story: Story) -> bytes:
    """Every row of every table, as text."""
    tables = [name for (name,) in story.ask("SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'")]
    assert len(tables) > 10
    return "\n".join(str(row) for table in tables for (row,) in story.ask(f"SELECT t::text FROM {table} t")).encode()


def numbered_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[PseudonymKey, Story]:
    """An installation whose registries send numbers, by the environment, with its key."""
    documents = folder / "registries"
    documents.mkdir()
    for name in NUMBERED:
        (documents / f"{name}.yaml").write_text(document(name))
    key_file = folder / "key"
    key = make_key(key_file)
    for name, value in {"REGISTRIES": str(documents), "PSEUDONYMS__KEY_FILE": str(key_file), "PSEUDONYMS__KEY_ID": key.id, "LOG_LEVEL": "debug"}.items():
        monkeypatch.setenv(f"PAYOUT_{name}", value)
    return key, Story(folder / "home")


@pytest.mark.usefixtures("quiet_afterwards")
def test_no_number_is_in_the_log_in_a_row_in_a_file_or_in_a_line_of_a_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    key, story = numbered_home(tmp_path, monkeypatch)
    payout = Payout(monkeypatch, capsys, story)
    said = ""

    # A third from a file, a third from standard input, a third over HTTP; the broken ones each way.
    lines = [record.value for order, number in enumerate(PEOPLE) for record in numbered(number, order)]
    file = tmp_path / "events.ndjson"
    file.write_bytes(b"\n".join([*lines[:12], *broken()]))
    put = payout("events", "put", str(file))
    assert put.code == 2
    assert "12 accepted, 8 refused" in put.out
    assert "8 refused lines may hold the number of a person and are not in the log" in put.err
    said += put.out + put.err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n".join([*lines[12:24], *broken()]))))
    put = payout("events", "put", "-", "--json")
    assert json.loads(put.out)["accepted"] == 12
    said += put.out + put.err
    told: list[str] = []
    asyncio.run(send(story, key, lines[24:], told))
    for subject in PEOPLE:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{subject}\n"))
        asked = payout("events", "pseudonym", "dk.cpr")
        assert asked.out.strip() == key.pseudonym("dk.cpr", subject)
        answer = payout("explain", asked.out.strip(), "--json")
        said += asked.out + asked.err + answer.out + answer.err
    ran = payout("run", "--until-idle", "--processes", "1")
    for command in (("status",), ("orders", "--json"), ("dead-letters", "list", "--json"), ("audit",)):
        answer = payout(*command)
        said += answer.out + answer.err
    said += ran.out + ran.err + "\n".join(told)

    assert ran.code == 0, ran.err
    assert {order.subject: order.amount_minor for order in story.orders()} == {key.pseudonym("dk.cpr", number): 120_000 for number in PEOPLE}
    story.audit()
    files = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert any(path.suffix == ".log" and content for path, content in files.items())
    assert any(path.suffix == ".xml" for path in files)
    assert set(found(file.read_bytes())) >= set(BROKEN), "the search finds numbers where they are"
    assert {path: hits for path, content in files.items() if (hits := found(content))} == {}
    assert found(rows(story)) == []
    assert found(said.encode()) == []
    story.close()


@pytest.mark.usefixtures("quiet_afterwards")
def test_a_dead_letter_that_is_mended_with_a_number_is_kept_with_the_pseudonym(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    key, story = numbered_home(tmp_path, monkeypatch)
    payout = Payout(monkeypatch, capsys, story)
    story.hears(Said(RESIDENCY, b"", b"{"))
    mended = tmp_path / "mended.json"
    mended.write_bytes(numbered(PEOPLE[0], 0)[0].value)
    (letter,) = json.loads(payout("dead-letters", "list", "--json").out)
    replay = ("dead-letters", "replay", letter["id"], "--with", str(mended), "--by", "Ann", "--because", "cut short on the way")

    def stop(name: str) -> None:
        if name == "dead_letter_put":
            raise KeyboardInterrupt

    with heard_by(stop):
        assert payout(*replay).code == 130
    assert payout(*replay).code == 0
    story.work()
    assert story.ask("SELECT subject FROM facts") == [(key.pseudonym("dk.cpr", PEOPLE[0]),)]
    assert len(story.dead_letters()) == 1, "the first one only"
    files = {path: path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()}
    assert {path: hits for path, content in files.items() if (hits := found(content))} == {}
    assert found(rows(story)) == []
    story.close()


async def send(story: Story, key: PseudonymKey, lines: list[bytes], told: list[str]) -> None:
    """Sends events over HTTP, and the broken ones one by one; what the door tells of them for its log is kept."""
    known = story.installation.registries
    names = [registry.name for registry in known.registries]
    tokens = Tokens([f"{name}:{token_hash('a token')}" for name in names], names)
    async with Door(known, Pseudonyms(known, key), story.shards, lambda: LogWriter(story.installation.log_directory, fsync="close"), Silent(), 2**26) as door:
        endpoint = Endpoint(
            door, tokens, Silent(), lambda sender, outcome, problems: told.append(f"{sender} {outcome} {[problem.place for problem in problems]}")
        )
        async with listening(endpoint.application(), "127.0.0.1", 0, None) as address, aiohttp.ClientSession() as session:
            headers = {"Content-Type": BATCH, "Authorization": "Bearer a token"}
            async with session.post(address, data=b"[" + b",".join(lines) + b"]", headers=headers) as answer:
                assert answer.status == 202, await answer.text()
            for body in broken():
                async with session.post(address, data=body, headers=headers | {"Content-Type": "application/cloudevents+json"}) as answer:
                    assert answer.status == 400
                    assert (await answer.json(content_type=None))["problems"]
