"""Events over HTTP: taken together or not at all, answered once they are kept, refused with everything that is wrong."""

from __future__ import annotations

import asyncio
import json
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving import ALL_TOKEN, NAMES, PATIENCE_S, REGISTRIES, Serving, batch
from story import ACCOUNT, RESIDENCY, TAX, Said, Story, Tale, account, income, person, resident, tale

from connectors.http_events import BATCH, BATCH_EVENTS, BODY_BYTES, SINGLE, Endpoint, listening
from connectors.ingest import Door
from connectors.ingest_tokens import Tokens, new_token, token_hash, token_lines
from connectors.pseudonyms import Pseudonyms
from connectors.segment_log import LogReader, LogWriter
from pipeline.problems import Malformed, Problem
from pipeline.sharding import shard_of
from streams.metrics import Metrics

__all__ = ["tale"]

SHARDS = 3

TAX_TOKEN, CIVIL_TOKEN = new_token(), new_token()
TOKENS = Tokens(
    [f"us-irs:{token_hash(TAX_TOKEN)}", f"residency:{token_hash(CIVIL_TOKEN)}", *(f"{name}:{token_hash(ALL_TOKEN)}" for name in NAMES)],
    NAMES,
)


class GatedLog(LogWriter):
    """A log whose disk answers only while the gate is open."""

    gate = threading.Event()

    def flush(self) -> None:
        assert self.gate.wait(PATIENCE_S)
        super().flush()


class Registry:
    """A client of the door."""

    def __init__(self, session: aiohttp.ClientSession, address: str, door: Door, metrics: Metrics) -> None:
        self._session, self.address, self.door, self.metrics = session, address, door, metrics
        self.told: list[tuple[str, str, Sequence[Problem]]] = []

    async def post(self, body: Any, token: str = ALL_TOKEN, kind: str = SINGLE, **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
        """(status, document, headers) of the answer."""
        sent = {"Content-Type": kind, "Authorization": f"Bearer {token}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.post(self.address, data=body, headers=sent) as answer:
            return answer.status, await answer.json(content_type=None), dict(answer.headers)

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        async with self._session.get(self.address.replace("/events", path)) as answer:
            return answer.status, await answer.json(content_type=None)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0


@asynccontextmanager
async def at_the_door(log: Path, room_bytes: int = 64 * 1024 * 1024, writer: type[LogWriter] = LogWriter) -> AsyncIterator[Registry]:
    metrics, told = Metrics(), []  # type: ignore[var-annotated]
    async with Door(REGISTRIES, Pseudonyms(REGISTRIES, None), SHARDS, lambda: writer(log, fsync="close"), metrics, room_bytes) as door:
        endpoint = Endpoint(door, TOKENS, metrics, lambda *refused: told.append(refused))
        async with listening(endpoint.application(), "127.0.0.1", 0, None) as address, aiohttp.ClientSession() as session:
            registry = Registry(session, address, door, metrics)
            registry.told = told
            yield registry


def contents(log: Path) -> list[tuple[str, int, bytes, bytes]]:
    """(topic, partition, key, value) of everything in the log."""
    found = []
    for topic in (RESIDENCY, ACCOUNT, TAX):
        for partition in range(SHARDS):
            reader, offset = LogReader(log, topic, partition), 0
            while (frame := reader.read(offset)).values:
                found += [(topic, partition, key, value) for key, value in zip(frame.keys, frame.values, strict=True)]
                offset = frame.next_offset
    return found


def placed(*records: Said) -> list[tuple[str, int, bytes, bytes]]:
    return [(record.topic, shard_of(record.key.decode(), SHARDS), record.key, record.value) for record in records]


async def until(happened: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE_S
    while not happened():
        assert monotonic() < deadline
        await asyncio.get_running_loop().run_in_executor(None, Event().wait, 0.01)


def run(scenario: Awaitable[None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await scenario

    asyncio.run(bounded())


# What is taken.


def test_events_come_singly_in_batches_and_in_binary_mode(tmp_path: Path):
    async def scenario() -> None:
        async with at_the_door(tmp_path) as registry:
            alone, several, plain = income("us-1", 1), person("us-2"), json.loads(resident("us-3").value)
            assert (await registry.post(alone.value))[:2] == (202, {"accepted": 1})
            assert (await registry.post(batch(*several), kind=BATCH))[:2] == (202, {"accepted": 3})
            assert (await registry.post(b"[]", kind=BATCH))[:2] == (202, {"accepted": 0})
            headers = {f"ce_{name}": str(value) for name, value in plain.items() if name != "data"}
            assert (await registry.post(json.dumps(plain["data"]).encode(), kind="application/json", **headers))[:2] == (202, {"accepted": 1})
            found = contents(tmp_path)
            assert {entry for entry in found if entry[2] != b"us-3"} == set(placed(alone, *several))
            assert [(topic, json.loads(value)) for topic, _, key, value in found if key == b"us-3"] == [(RESIDENCY, plain)]
            assert registry.count("payout_ingest_events_total", registry="us-irs", outcome="accepted") == 2
            assert registry.count("payout_ingest_requests_total", outcome="accepted") == 4
            assert registry.count("payout_ingest_duration_seconds_count") == 3
            assert registry.count("payout_ingest_pending_bytes") == 0

    run(scenario())


def test_an_answer_comes_when_the_disk_has_the_events_and_not_before(tmp_path: Path):
    async def scenario() -> None:
        GatedLog.gate.clear()
        async with at_the_door(tmp_path, writer=GatedLog) as registry:
            first = asyncio.create_task(registry.post(income("us-1", 1).value))
            await until(lambda: len(contents(tmp_path)) == 1)
            others = [asyncio.create_task(registry.post(income(f"us-{number}", 1).value)) for number in range(2, 9)]
            size = sum(len(income(f"us-{number}", 1).value) for number in range(1, 9))
            await until(lambda: registry.count("payout_ingest_pending_bytes") == size)
            assert not first.done()
            GatedLog.gate.set()
            assert {(await task)[0] for task in (first, *others)} == {202}
        assert len(contents(tmp_path)) == 8

    run(scenario())


@settings(max_examples=15, deadline=None)
@given(st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=12), min_size=1, max_size=6))
def test_the_log_has_the_events_of_each_request_in_their_order(tmp_path_factory: pytest.TempPathFactory, requests: list[list[int]]):
    log = tmp_path_factory.mktemp("log")

    async def scenario() -> None:
        async with at_the_door(log) as registry:
            for numbers in requests:
                answer = await registry.post(batch(*(income("us-1", number, number + 1) for number in numbers)), kind=BATCH)
                assert answer[:2] == (202, {"accepted": len(numbers)})

    run(scenario())
    assert [value for *_, value in contents(log)] == [income("us-1", number, number + 1).value for numbers in requests for number in numbers]


# What is refused.


def test_a_batch_with_a_wrong_event_is_refused_whole_with_all_that_is_wrong(tmp_path: Path):
    async def scenario() -> None:
        async with at_the_door(tmp_path) as registry:
            good, bad = income("us-1", 1), json.loads(income("us-2", 1).value)
            bad["data"]["agi"] = {"minor": 1.5, "currency": "XTS"}
            bad["sequence"] = 7
            status, document, headers = await registry.post(b"[" + good.value + b"," + json.dumps(bad).encode() + b",{}]", kind=BATCH)
            assert (status, headers["Content-Type"]) == (400, "application/problem+json")
            assert document["type"] == "urn:payout:events:malformed"
            assert document["status"] == 400
            places = [problem["place"] for problem in document["problems"]]
            assert {"[1].sequence", "[1].data.agi.currency", "[1].data.agi.minor", "[2].id", "[2].subject"} <= set(places)
            assert not [place for place in places if place.startswith("[0]")]
            assert all(problem["message"] for problem in document["problems"])
            assert contents(tmp_path) == []
            assert registry.count("payout_ingest_events_total", registry="+".join(sorted(NAMES)), outcome="refused") == 3
            assert [outcome for _, outcome, _ in registry.told] == ["malformed"]

    run(scenario())


@pytest.mark.parametrize(
    ("kind", "body", "place", "words"),
    [
        (SINGLE, b"{", "", "not JSON"),
        (SINGLE, b"", "", "not JSON"),
        (BATCH, b'{"a":1}', "", "no JSON list"),
        (BATCH, b"[{},", "", "no JSON list"),
        ("application/json", b'{"year":2019},"sequence":"9"', "data", "no JSON"),
        ("application/json", b"\xff", "data", "no JSON"),
    ],
)
def test_what_is_no_json_is_told(tmp_path: Path, kind: str, body: bytes, place: str, words: str):
    async def scenario() -> None:
        async with at_the_door(tmp_path) as registry:
            status, document, _ = await registry.post(body, kind=kind, ce_id="1")
            assert status == 400
            assert [(problem["place"], words in problem["message"]) for problem in document["problems"]] == [(place, True)]
        assert contents(tmp_path) == []

    run(scenario())


def test_a_token_lets_only_its_own_registry_in(tmp_path: Path):
    async def scenario() -> None:
        async with at_the_door(tmp_path) as registry:
            assert (await registry.post(income("us-1", 1).value, TAX_TOKEN))[0] == 202
            for token, scheme in ((new_token(), "Bearer"), ("", "Bearer"), (TAX_TOKEN, "Basic"), (TAX_TOKEN[:-1], "Bearer"), (token_hash(TAX_TOKEN), "Bearer")):
                status, document, headers = await registry.post(income("us-2", 1).value, Authorization=f"{scheme} {token}")
                assert (status, document["type"], headers["WWW-Authenticate"]) == (401, "urn:payout:events:unknown-token", "Bearer")
            status, document, _ = await registry.post(batch(income("us-3", 1), resident("us-3")), TAX_TOKEN, BATCH)
            assert (status, document["type"]) == (403, "urn:payout:events:not-yours")
            assert [problem["place"] for problem in document["problems"]] == ["[1].source"]
            assert [key for _, _, key, _ in contents(tmp_path)] == [b"us-1"]
            correction = json.loads(resident("us-3").value) | {"type": "registry.correction.v1", "data": {"withdraws": "home-us-3-0"}}
            assert (await registry.post(json.dumps(correction).encode(), TAX_TOKEN))[0] == 403
            assert (await registry.post(json.dumps(correction).encode(), CIVIL_TOKEN))[0] == 202

    run(scenario())


def test_what_is_too_large_or_of_another_form_is_refused(tmp_path: Path):
    async def scenario() -> None:
        async with at_the_door(tmp_path) as registry:
            many = b"[" + b",".join([b"0"] * (BATCH_EVENTS + 1)) + b"]"

            async def pieces() -> AsyncIterator[bytes]:
                for _ in range(BODY_BYTES // 65_536 + 2):
                    yield b" " * 65_536

            good = income("us-1", 1).value
            answers = [
                (413, await registry.post(b" " * (BODY_BYTES + 1))),
                (413, await registry.post(pieces())),
                (413, await registry.post(many, kind=BATCH)),
                (415, await registry.post(good, kind="application/json")),
                (415, await registry.post(good, kind="application/cloudevents+avro")),
                (415, await registry.post(good, kind=f"{SINGLE}; charset=utf-16")),
                (415, await registry.post(b"x", Content_Encoding="br")),
            ]
            assert [answer[0] for _, answer in answers] == [status for status, _ in answers]
            assert all(len(answer[1]["problems"]) == 1 for _, answer in answers)
            assert (await registry.get("/events"))[0] == 405
            assert (await registry.get("/nothing"))[1]["title"] == "Not Found. Events go to POST /events."
            assert (await registry.get("/health/live"))[0] == (await registry.get("/health/ready"))[0] == 200
        assert contents(tmp_path) == []

    run(scenario())


def test_a_registry_that_floods_is_held_back_and_the_others_get_in(tmp_path: Path):
    async def scenario() -> None:
        GatedLog.gate.clear()
        one = income("us-1", 1).value
        async with at_the_door(tmp_path, 2 * 3 * len(one), GatedLog) as registry:
            held = [asyncio.create_task(registry.post(one, TAX_TOKEN)) for _ in range(3)]
            await until(lambda: registry.count("payout_ingest_pending_bytes") == 3 * len(one))
            status, document, headers = await registry.post(one, TAX_TOKEN)
            assert (status, document["type"], headers["Retry-After"]) == (429, "urn:payout:events:busy", "1")
            held += [asyncio.create_task(registry.post(resident("us-2").value, CIVIL_TOKEN))]
            held += [asyncio.create_task(registry.post(one)) for _ in range(2)]
            await until(lambda: registry.count("payout_ingest_pending_bytes") > 5 * len(one))
            status, document, headers = await registry.post(account("us-3").value)
            assert (status, document["type"], headers["Retry-After"]) == (503, "urn:payout:events:full", "1")
            GatedLog.gate.set()
            assert [(await task)[0] for task in held] == [202] * 6
            assert (await registry.post(one, TAX_TOKEN))[0] == 202
        assert len(contents(tmp_path)) == 7

    run(scenario())


def test_while_another_has_the_log_it_is_said_and_afterwards_taken(tmp_path: Path):
    async def scenario() -> None:
        event = income("us-1", 1)
        async with at_the_door(tmp_path) as registry:
            with LogWriter(tmp_path) as other:
                other.append(TAX, shard_of("us-1", SHARDS), [])
                status, document, headers = await registry.post(event.value)
                assert (status, document["type"], headers["Retry-After"]) == (503, "urn:payout:events:away", "5")
                assert "is being written by process" in document["problems"][0]["message"]
                assert (await registry.get("/health/ready"))[0] == 503
                assert (await registry.get("/health/live"))[0] == 200
            assert (await registry.post(event.value))[0] == 202
            assert (await registry.get("/health/ready"))[0] == 200
        assert contents(tmp_path) == placed(event)

    run(scenario())


def test_a_door_at_which_nothing_happens_gives_the_log_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("connectors.ingest.REST_S", 0.05)

    async def scenario() -> None:
        async with at_the_door(tmp_path) as registry:
            assert (await registry.post(income("us-1", 1).value))[0] == 202
            await until(lambda: registry.door._writer is None)
            with LogWriter(tmp_path) as other:
                other.append(TAX, shard_of("us-1", SHARDS), [(b"us-1", income("us-1", 2, 2).value)])
            assert (await registry.post(income("us-1", 3, 3).value))[0] == 202
        assert [value for *_, value in contents(tmp_path)] == [income("us-1", number, number).value for number in (1, 2, 3)]

    run(scenario())


def test_a_header_that_stands_twice_is_refused(tmp_path: Path):
    async def scenario() -> None:
        async with at_the_door(tmp_path) as registry:
            headers = [("Authorization", f"Bearer {ALL_TOKEN}"), ("Content-Type", "application/json"), ("ce-id", "1"), ("ce-id", "2")]
            async with registry._session.post(registry.address, data=b"{}", headers=headers) as answer:
                document = await answer.json(content_type=None)
            assert (answer.status, [problem["message"] for problem in document["problems"]]) == (400, ["the attribute 'id' stands twice"])

    run(scenario())


# Tokens.


def test_entries_that_are_none_are_told_all_at_once(tmp_path: Path):
    with pytest.raises(Malformed) as refused:
        Tokens(["us-ris:" + "0" * 64, "us-irs:abc", "us-irs"], NAMES)
    assert [problem.place for problem in refused.value.problems] == ["ingest.tokens[1]", "ingest.tokens[2]", "ingest.tokens[3]"]
    assert "did you mean 'us-irs'?" in refused.value.problems[0].message
    file = tmp_path / "tokens"
    file.write_text(f"# the tax registry, new and old\n\nus-irs:{token_hash('a')}\nus-irs:{token_hash('b')}\n")
    tokens = Tokens(token_lines(file), NAMES)
    assert [tokens.registries_of(token) for token in ("a", "b", "c")] == [{"us-irs"}, {"us-irs"}, frozenset()]
    with pytest.raises(Malformed, match="cannot be read"):
        token_lines(tmp_path / "none")


# The command.


def dispositions(story: Story) -> list[int]:
    """How many records were applied, known already, in conflict and dead."""
    return list(story.ask("SELECT sum(applied), sum(duplicate), sum(conflict), sum(dead_letter) FROM frame")[0])


def test_a_producer_that_repeats_itself_after_a_lost_answer_changes_nothing(tale: Tale, tmp_path: Path):
    records = [record for number in range(40) for record in person(f"us-{number:02}")]
    undisturbed, story = tale(), tale()
    undisturbed.hears(records)
    serving = Serving(story, tmp_path / "log", PAYOUT_FAILPOINT="log_written:4")
    try:

        async def send() -> list[int]:
            """Sends everything, and sends again what was not answered."""
            statuses: list[int] = []
            async with aiohttp.ClientSession() as session:
                for start in range(0, len(records), 30):
                    body, sent = batch(*records[start : start + 30]), False
                    while not sent:
                        headers = {"Content-Type": BATCH, "Authorization": f"Bearer {ALL_TOKEN}"}
                        try:
                            async with session.post(serving.address("events are taken"), data=body, headers=headers) as answer:
                                statuses.append(answer.status)
                                sent = True
                        except aiohttp.ClientError:
                            assert serving.process.wait(PATIENCE_S) == -signal.SIGKILL
                            statuses.append(0)
                            serving.process = serving.start(PAYOUT_FAILPOINT="")
            return statuses

        statuses = asyncio.run(send())
        assert statuses.count(0) == 1
        assert [status for status in statuses if status] == [202] * 4
        scraped = serving.address("metrics")
        assert scraped.endswith("/metrics")
        assert serving.stop() == 0
        assert "what was answered is kept" in serving.log.read_text()
    finally:
        serving.process.kill()
        serving.process.wait()
    story.work()
    applied, duplicate, conflict, dead = dispositions(story)
    assert (applied, conflict, dead) == (len(records), 0, 0)
    assert duplicate > 0
    assert story.digest() == undisturbed.digest()
    assert story.orders() == undisturbed.orders()
    story.audit()
