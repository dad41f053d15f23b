"""What a log shows, where it goes, and what it never holds."""

import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.logs import LOG_FILE, MASK, about, configure, log, safe_text


@pytest.fixture(autouse=True)
def root_logger_restored():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def messages(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_away_from_a_terminal_every_message_is_one_line_of_json(stream: io.StringIO):
    configure(stream=stream)
    log("streams.lanes").info("frame committed", records=5000, amount_minor=47_351_545_903)
    [message] = messages(stream)
    assert message.pop("timestamp")
    assert message == {"event": "frame committed", "level": "info", "logger": "streams.lanes", "records": 5000, "amount_minor": 47_351_545_903}


def test_on_a_terminal_a_message_is_readable(stream: io.StringIO):
    configure(form="console", stream=stream)
    log("streams.lanes").info("frame committed", records=5000)
    assert "frame committed [streams.lanes] records=5000" in stream.getvalue()


def test_a_message_says_what_it_concerns(stream: io.StringIO):
    configure(stream=stream)
    with about(shard=3, subject="us-000017"), about(event_id="irs-2020-000017-0"):
        log("lanes").warning("conflict", order="us-eip1:us-000017:once:1")
    log("lanes").warning("after")
    first, second = messages(stream)
    assert (first["shard"], first["subject"], first["event_id"], first["order"]) == (3, "us-000017", "irs-2020-000017-0", "us-eip1:us-000017:once:1")
    assert "subject" not in second


def test_with_a_home_the_log_is_kept_there_as_json_too(stream: io.StringIO, tmp_path: Path):
    configure(form="console", home=tmp_path, stream=stream)
    log("bank").info("file written", orders=17)
    logging.getLogger("other").error("of a library")
    lines = [json.loads(line) for line in (tmp_path / LOG_FILE).read_text().splitlines()]
    assert [(line["event"], line["logger"]) for line in lines] == [("file written", "bank"), ("of a library", "other")]


def test_configuring_twice_writes_every_message_once(stream: io.StringIO):
    configure(stream=stream)
    configure(stream=stream)
    log("x").info("once")
    assert len(messages(stream)) == 1


def test_messages_below_the_level_are_not_written(stream: io.StringIO):
    configure(level="warning", stream=stream)
    log("x").info("quiet")
    logging.getLogger("library").info("quiet")
    log("x").warning("loud")
    assert [message["event"] for message in messages(stream)] == ["loud"]


def test_a_message_of_another_library_is_redacted_too(stream: io.StringIO):
    configure(stream=stream)
    logging.getLogger("psycopg").warning("DETAIL: Key (account)=(%s) already exists in %s", "021000021 12345678", "assignment")
    [message] = messages(stream)
    assert message["event"] == f"DETAIL: Key (account)={MASK} already exists in assignment"


def test_an_exception_is_told_without_the_account_in_its_text(stream: io.StringIO):
    configure(stream=stream)
    try:
        raise ValueError("check digits of 'DK5100400440116243' are wrong")
    except ValueError:
        log("x").exception("refused")
    assert "ValueError: check digits of" in stream.getvalue()
    assert "0440116243" not in stream.getvalue()


@pytest.mark.parametrize(
    "field",
    ["account", "accounts", "iban", "number", "account_number", "creditor_account", "routing", "name", "debtor_name", "password", "birth_date", "holder"],
)
def test_a_field_named_for_a_secret_is_masked_at_any_depth(field: str, stream: io.StringIO):
    configure(stream=stream)
    log("x").info("message", **{field: "Ada"}, data={"deep": [{field: 12345}]})
    [message] = messages(stream)
    assert message[field] == MASK
    assert message["data"] == {"deep": [{field: MASK}]}


@pytest.mark.parametrize("field", ["file_name", "topic", "shard", "records", "numbers_checked", "hostname"])
def test_a_field_that_only_resembles_one_is_shown(field: str, stream: io.StringIO):
    configure(stream=stream)
    log("x").info("message", **{field: "shown"})
    assert messages(stream)[0][field] == "shown"


@pytest.mark.parametrize(
    "secret",
    [
        "DK5000400440116243",
        "DK50 0040 0440 1162 43",
        "dk5000400440116243",
        "FO6264600001631634",
        "GB82WEST12345698765432",
        "NO9386011117947",
        "021000021/123456789",
        "021000021 1234",
        "0040-0440116243",
        "0040 0440116243",
        "123456789",
        "010190-1234",
        "123-45-6789",
    ],
)
@pytest.mark.parametrize("around", ["{}", "account {}.", "'{}' is wrong", "({})", "x={},", 'value "{}"'])
def test_what_looks_like_an_account_or_a_civil_number_is_masked(secret: str, around: str):
    assert secret not in safe_text(around.format(secret))
    assert MASK in safe_text(around.format(secret))


@pytest.mark.parametrize(
    "record",
    [
        '{"routing":"021000021","number":"12","scheme":"us"}',
        "{'routing': '021000021', 'number': '12'}",
        r"{\"routing\":\"021000021\",\"number\":\"12\"}",
        "routing='021000021' number='12'",
    ],
)
def test_the_fields_of_a_raw_record_within_a_text_are_masked(record: str):
    assert "021000021" not in safe_text(record)
    assert "12" not in safe_text(record)


@pytest.mark.parametrize(
    "text",
    [
        "frame 17 of registry.tax, shard 3, offset 123456, 5000 records in 0.12 s",
        "2020-03-27T09:00:00Z",
        "log/registry.tax/3/00000000000000005000.log",
        "home/bank/out/pain.001-20200415-000001.xml",
        "6f1c2d3e-1234-4abc-8def-123456789012",
        "sha256 3f786850e387550fdab836ed7e6dc881de23001b",
        "us-000017 irs-2020-000017-0",
        "benefits/us-eip1/2020-03-27.yaml: amount.steps[2]: unknown name 'incme' (line 41, column 18)",
        "the account: not found, the name: unknown",
        "127.0.0.1:54321",
    ],
)
def test_what_an_operator_needs_is_shown(text: str):
    assert safe_text(text) == text


@given(routing=st.integers(0, 999_999_999), account=st.integers(10_000_000, 10**17 - 1), before=st.sampled_from([" ", "'", "(", ": ", "\n"]))
def test_no_account_number_that_stands_alone_gets_through(routing: int, account: int, before: str):
    assert str(account) not in safe_text(f"refused{before}{account} at {routing:09d}")


@given(st.text())
def test_any_text_can_be_made_safe_and_stays_safe(text: str):
    assert safe_text(safe_text(text)) == safe_text(text)
