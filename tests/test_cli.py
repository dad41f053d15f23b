import importlib
import io
import json
import os
import re
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest
from story import Story, Tale, account, income, person, resident, tale
from town import CANARIES, DEAD_LETTERS, PAYABLE, SHARED, Answer, Payout, Town, account_numbers, fate, quiet_afterwards, town

from connectors.registries import load_registries
from pipeline.orders import end_to_end_id, order_id, order_text
from streams import cli
from streams.measures import measure
from streams.metrics import Metrics
from streams.settings import SHIPPED
from streams.topics import lane_topics

__all__ = ["quiet_afterwards", "tale", "town"]

pytestmark = pytest.mark.usefixtures("quiet_afterwards")


@pytest.fixture
def payout(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], town: Town) -> Payout:
    return Payout(monkeypatch, capsys, town.story)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tale: Tale) -> tuple[Payout, Story]:
    story = tale()
    return Payout(monkeypatch, capsys, story), story


def document(answer: Answer):
    """The one JSON document on standard output."""
    assert answer.code == 0, answer.err
    return json.loads(answer.out)


def id_of(subject: str, sequence: int = 1) -> bytes:
    return order_id("us-eip1", subject, "once", sequence)


# Every command.


def test_help_names_every_command_of_the_contract_that_there_is():
    said = subprocess.run([sys.executable, "-m", "streams.cli", "--help"], capture_output=True, text=True, check=True).stdout
    for command in ("status", "explain", "trace", "orders", "events", "rules", "store", "run", "holds", "dead-letters", "sandbox-bank", "settings"):
        assert re.search(rf"^  {command} +\w", said, re.MULTILINE), command


def test_help_is_quick_since_nothing_heavy_is_imported_for_it():
    heavy = "{'polars', 'sqlalchemy', 'sqlmodel', 'psycopg', 'pydantic', 'babel', 'lxml', 'schwifty', 'rich', 'structlog', 'prometheus_client'}"
    code = f"import sys, streams.cli\nprint(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--json"), ("explain", PAYABLE[0], "--json"), ("trace", order_text(id_of(PAYABLE[0])), "--json"), ("orders", "--json"),
        ("orders", "--by", "benefit,state,reason", "--json"), ("holds", "list", "--json"), ("holds", "show", "no_account", "--json"),
        ("dead-letters", "list", "--json"), ("settings", "--json"), ("events", "schema", "--json"),
    ],
)  # fmt: skip
def test_json_is_one_document_on_standard_output_and_nothing_else(payout: Payout, arguments: tuple[str, ...]):
    answer = payout(*arguments)
    assert document(answer) not in ({}, [], None)
    assert answer.err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), "nonsense"), (("orders", "--state", "gone"), "held, released"), (("orders", "--by", "colour"), "benefit, period, state"),
        (("orders", "--by", "state,state"), "twice"), (("orders", "--benefit", "us-eip2"), "us-eip1"), (("orders", "--output", "x.csv"), ".parquet"),
        (("orders", "--after", "nothing"), "nothing"), (("holds", "show", "boredom"), "no_account"), (("dead-letters", "show", "7"), "registry.tax/3/1841"),
        (("dead-letters", "replay", "--by", "ann", "--because", "mended"), "--all"),
        (("dead-letters", "list", "--status", "lost"), "replayed"), (("events", "schema", "registry.tax"), "Known"),
        (("--config", "nowhere.toml", "settings"), "nowhere.toml"),
    ],
)  # fmt: skip
def test_bad_usage_ends_with_2_and_says_what_there_is(payout: Payout, arguments: tuple[str, ...], words: str):
    answer = payout(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert words in answer.err


def test_home_and_config_may_stand_before_or_after_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], town: Town):
    payout = Payout(monkeypatch, capsys, town.story)
    monkeypatch.setenv("PAYOUT_HOME", "elsewhere")
    (tmp_path / "p.toml").write_text('log_level = "error"\n')
    for arguments in (
        ("--home", "h1", "--config", str(tmp_path / "p.toml"), "settings", "--json"),
        ("settings", "--json", f"--config={tmp_path / 'p.toml'}", "--home", "h1"),
    ):
        monkeypatch.setenv("PAYOUT_HOME", "elsewhere")
        rows = {row["name"]: row for row in document(payout(*arguments))}
        assert (rows["home"]["value"], rows["home"]["origin"]) == ("h1", "command line")
        assert (rows["log_level"]["value"], rows["log_level"]["origin"]) == ("error", str(tmp_path / "p.toml"))


def test_settings_mask_secrets(payout: Payout, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAYOUT_STORE_URLS", "postgresql://payout:geheim@db1/payout")
    monkeypatch.setenv("PAYOUT_SHARD", "3")
    answer = payout("settings")
    assert answer.code == 0
    assert "geheim" not in answer.out
    assert "postgresql://payout:***@db1/payout" in answer.out
    assert "PAYOUT_SHARD: sets nothing" in answer.err


def test_a_wrong_setting_ends_with_2_and_every_problem_on_its_own_line(payout: Payout, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PAYOUT_SHARDS", "0")
    monkeypatch.setenv("PAYOUT_LOG_LEVEL", "loud")
    answer = payout("status")
    assert answer.code == 2
    assert [line.split(":")[1].strip() for line in answer.err.splitlines()] == ["shards", "log_level"]


def test_a_store_that_does_not_answer_ends_with_3_and_names_no_password(payout: Payout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PAYOUT_STORE_URLS", f"postgresql://payout:geheim@/payout?host={tmp_path}")
    answer = payout("status")
    assert (answer.code, answer.out) == (3, "")
    assert "does not answer" in answer.err
    assert "geheim" not in answer.err


def test_looking_at_a_home_where_nothing_is_makes_nothing(payout: Payout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("PAYOUT_STORE_URLS")
    for arguments in (("status",), ("explain", "us-1"), ("store", "check"), ("dead-letters", "list")):
        answer = payout(*arguments, "--home", str(tmp_path / "no"))
        assert answer.code == 3
        assert "payout store init" in answer.err
    assert not (tmp_path / "no").exists()


def test_a_defect_ends_with_3_and_leaves_its_trace_in_a_file(payout: Payout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(f"the iban {CANARIES[0]}")

    monkeypatch.setattr("streams.settings.load_settings", broken)
    (tmp_path / "logs").mkdir()
    answer = payout("--home", str(tmp_path), "settings")
    assert answer.code == 3
    assert "a defect of this program: ZeroDivisionError" in answer.err
    (trace,) = (tmp_path / "logs").iterdir()
    assert str(trace) in answer.err
    assert "in broken" in trace.read_text()
    assert CANARIES[0] not in trace.read_text() + answer.err


def test_every_error_that_is_told_by_name_exists():
    for name in {cli.MALFORMED} | cli.AWAY | cli.WORLD:
        module, _, kind = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), kind), Exception), name


def test_a_reader_that_has_seen_enough_is_no_error(town: Town):
    environment = {**os.environ, "PAYOUT_STORE_URLS": " ".join(town.story.urls), "PAYOUT_HOME": str(town.story.installation.settings.home)}
    command = [sys.executable, "-m", "streams.cli", "settings"]
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env=environment, text=True, check=False)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, "")


# Status, orders, holds.


def test_status_tells_events_orders_holds_bank_and_what_waits(payout: Payout, town: Town):
    status = document(payout("status", "--json"))
    topics = lane_topics(load_registries(SHIPPED / "registries"))
    assert {row["topic"]: row["lag"] for row in status["lag"]} == dict.fromkeys(topics, 0)
    assert status["dispositions"]["registry.tax"]["conflict"] == 1
    assert status["decisions"] == [{"benefit": "us-eip1", "period": "once", "granted": 21, "refused": 2, "undetermined": 2}]
    assert {row["reason"]: row["orders"] for row in status["held"]} == {"account_shared": 4, "no_account": 1, "account_closed": 1, "account_invalid": 1}
    assert all(row["sentence"] and row["lifted_by"] and row["oldest_age_s"] >= 0 for row in status["held"])
    fates = [fate(subject) for subject in (*PAYABLE, "us-married", "us-mended")]
    assert sum(row["orders"] for row in status["not_paid"] if row["state"] == "rejected") == fates.count("rejected") > 0
    assert sum(row["orders"] for row in status["not_paid"] if row["state"] == "returned") == fates.count("returned") > 0
    assert status["dead_letters"] == {"open": DEAD_LETTERS, "replayed": 0, "closed": 0}
    assert [row["orders"] for row in status["claims"]] == [2]
    assert status["outbox_pending"] == 0
    assert datetime.fromisoformat(status["last_frame_at"]).tzinfo is not None


def test_status_for_people_says_the_same_in_words(payout: Payout):
    said = payout("status").out
    for words in (
        "registry.tax",
        "us-eip1",
        "no_account",
        "The person has assigned no account.",
        "Claims",
        f"dead letters: {DEAD_LETTERS} open",
        "1 event_id_conflict",
    ):
        assert words in said, words


def test_orders_are_summed_exactly_as_agreed(payout: Payout, town: Town):
    rows = document(payout("orders", "--by", "benefit,state,reason", "--json"))
    assert all(set(row) == {"benefit", "state", "reason", "currency", "orders", "amount_minor"} for row in rows)
    assert (sum(row["orders"] for row in rows), sum(row["amount_minor"] for row in rows)) == town.story.ask(
        "SELECT count(*), sum(amount_minor)::bigint FROM payment_order"
    )[0]
    assert document(payout("orders", "--by", "state", "--state", "held", "--json")) == [
        {"state": "held", "currency": "USD", "orders": 7, "amount_minor": sum(row["amount_minor"] for row in rows if row["state"] == "held")}
    ]


def test_orders_are_listed_in_pages(payout: Payout):
    whole = [row["order"] for row in document(payout("orders", "--json"))]
    first = payout("orders", "--limit", "5")
    assert "go on with --after" in first.err
    paged = [row["order"] for row in document(payout("orders", "--limit", "5", "--json"))]
    assert paged + [row["order"] for row in document(payout("orders", "--after", paged[-1], "--json"))] == whole


def test_orders_are_exported_for_analysts_without_their_accounts(payout: Payout, town: Town, tmp_path: Path):
    file = tmp_path / "orders.parquet"
    assert payout("orders", "--output", str(file)).code == 0
    table = pl.read_parquet(file)
    assert (table.height, table["amount_minor"].sum()) == town.story.ask("SELECT count(*), sum(amount_minor)::bigint FROM payment_order")[0]
    assert "account" not in table.columns
    assert sorted(table["order"]) == sorted(row["order"] for row in document(payout("orders", "--json")))
    assert [path.name for path in tmp_path.iterdir()] == ["orders.parquet"]


def test_a_hold_is_shown_with_what_lifts_it_and_whom_it_stops(payout: Payout):
    shown = document(payout("holds", "show", "account_shared", "--json"))
    assert [order["subject"] for order in shown["orders"]] == SHARED
    assert shown["sentence"] == "More people than allowed have assigned this account."
    assert shown["lifted_by"]
    assert next(row["reason"] for row in document(payout("holds", "list", "--json"))) == "account_shared"


# Explain and trace.


def test_explain_tells_facts_decision_order_and_answers_of_a_person(payout: Payout):
    case = document(payout("explain", PAYABLE[0], "--json"))
    assert {event["registry"]: event["standing"] for event in case["facts"]} == {"us-irs": "holds", "residency": "holds", "accounts": "holds"}
    (decision,) = case["decisions"]
    assert decision["explanation"]["decision"] == "granted"
    assert decision["owed_minor"] == 45_000
    assert decision["told_by"]["income"] == f"tax-{PAYABLE[0]}-2"
    assert any("§ 6428" in step["law"] for step in decision["explanation"]["steps"])
    (order,) = case["orders"]
    assert [step["step"] for step in order["history"]][:2] == ["send", "accept" if fate(PAYABLE[0]) != "rejected" else "reject"]
    assert order["submission"]["file"].endswith(".xml")
    assert [finding["kind"] for finding in case["findings"]] == ["overpaid"]


def test_explain_shows_withdrawals_conflicts_and_what_is_missing(payout: Payout):
    mended = document(payout("explain", "us-mended", "--json"))
    assert [(event["sequence"], event["standing"]) for event in mended["facts"] if event["registry"] == "us-irs"] == [
        (1, "withdrawn"),
        (2, "correction"),
        (3, "holds"),
    ]
    disputed = document(payout("explain", "us-disputed", "--json"))
    assert [event["standing"] for event in disputed["facts"] if event["registry"] == "us-irs"] == ["disputed", "disputed"]
    assert "income" in disputed["decisions"][0]["explanation"]["missing"]
    assert [finding["kind"] for finding in disputed["findings"]] == ["event_id_conflict"]
    unknown = document(payout("explain", "us-unknown", "--json"))
    assert unknown["decisions"][0]["explanation"]["missing"] == ["income"]
    assert unknown["orders"] == []


def test_explain_for_people_cites_the_law_and_says_what_lifts_a_hold(payout: Payout):
    said = payout("explain", "us-no-account").out
    for words in ("granted 1,200.00 USD", "26 U.S.C. § 6428", "held (no_account)", "The person assigns an account."):
        assert words in said, words
    assert "refused" in payout("explain", "us-abroad").out


def test_explain_in_danish_tells_the_decision_the_hold_since_when_and_what_releases_it(payout: Payout):
    said = payout("explain", "us-no-account", "--language", "da").out
    assert "bevilget 1.200,00 US$ til us-no-account." in said
    assert re.search(
        r"^    Tilbageholdt siden \d+\. \w+ \d{4} [\d.]+ UTC: Personen har ikke anvist en konto\. "
        r"Udbetalingen frigives, når dette sker: Personen anviser en konto\. Det kan personen gøre\.$",
        said,
        re.MULTILINE,
    )
    assert "  Justeret bruttoindkomst: 20.000,00 US$. De amerikanske skattemyndigheders årsopgørelser: hændelse tax-us-no-account-1, nr. 1, endelig, " in said
    held = document(payout("explain", "us-no-account", "--language", "da", "--json"))["orders"][0]["hold"]
    assert (held["reason"], held["lifter"]) == ("no_account", "person")
    assert datetime.fromisoformat(held["since"]).tzinfo is not None


def test_explain_says_who_could_tell_what_is_unknown_and_why_it_is(payout: Payout):
    unknown = document(payout("explain", "us-unknown", "--json"))["decisions"][0]["explanation"]["unknown"]
    assert [(missing["fact"], missing["registry"], missing["teller"]) for missing in unknown] == [
        ("income", "us-irs", "Income tax assessments of the United States")
    ]
    disputed = document(payout("explain", "us-disputed", "--json"))["decisions"][0]["explanation"]["unknown"]
    assert {missing["why"] for missing in disputed} == {"disputed"}
    assert "is not known: the registry said two different things under one id. It can be told by: Income tax" in payout("explain", "us-disputed").out


def test_explain_says_which_single_fact_would_change_a_refusal(payout: Payout):
    (change,) = document(payout("explain", "us-abroad", "--json"))["decisions"][0]["explanation"]["changes"]
    assert (change["fact"], change["value"], change["amount_minor"]) == ("resident", True, 120_000)
    assert "Resident: yes instead of no. Then 1,200.00 USD would be granted." in payout("explain", "us-abroad").out


def test_an_unknown_language_is_refused_with_those_that_there_are(payout: Payout):
    for arguments in (("explain", PAYABLE[0]), ("trace", order_text(id_of(PAYABLE[0])))):
        answer = payout(*arguments, "--language", "dk")
        assert (answer.code, answer.out) == (2, "")
        assert answer.err == "payout: --language: 'dk' is no language that is spoken here. There are en, da; a file locales/LANGUAGE.po adds one.\n"


def test_a_catalogue_in_the_folder_of_locales_makes_another_language(payout: Payout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "xx.po").write_text('msgid "Decisions"\nmsgstr "Beslutninger"\n', encoding="utf-8")
    monkeypatch.setenv("PAYOUT_LOCALES", str(tmp_path))
    answer = payout("explain", PAYABLE[0], "--language", "xx")
    assert (answer.code, answer.err) == (0, "")
    assert "\nBeslutninger\n" in re.sub("\x1b\\[[0-9;]*m", "", answer.out)


def test_a_rule_that_is_wrong_is_named_with_its_file_when_work_starts(payout: Payout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("format: benefit-rule/1\nbenefitt: us-eip1\n", encoding="utf-8")
    monkeypatch.setenv("PAYOUT_RULES", str(wrong))
    answer = payout("run", "--until-idle")
    assert answer.code == 2
    assert answer.err
    assert all(line.startswith(f"payout: {wrong}: ") for line in answer.err.splitlines())


def test_a_replay_is_told_in_the_lines_of_the_proof_alone(payout: Payout):
    answer = payout("audit", "--replay")
    assert answer.code == 0
    assert answer.err == "payout: every invariant holds\n"
    assert re.search("^ok +replay ", answer.out, re.MULTILINE)


def test_a_file_that_is_no_journal_is_refused_with_its_line(payout: Payout, tmp_path: Path):
    other = tmp_path / "events.ndjson"
    other.write_text('{"id":"a"}\n', encoding="utf-8")
    answer = payout("audit", "--bank", str(other))
    assert answer.code == 2
    assert f"{other}, line 1: is no line of a bank's journal" in answer.err


def test_explain_and_trace_of_what_is_not_there_end_with_1(payout: Payout):
    for arguments, words in (
        (("explain", "nobody"), "no registry has spoken of 'nobody'"),
        (("explain", "us-named"), "us-named"),
        (("explain", PAYABLE[0], "--benefit", "dk-one-time-2000"), "decided is us-eip1 once"),
        (("explain", PAYABLE[0], "--period", "2022"), "decided is us-eip1 once"),
        (("trace", order_text(bytes(16))), "there is no order"),
        (("trace", "x"), "there is no order"),
        (("dead-letters", "show", "registry.tax/0/99999"), "there is no dead letter"),
    ):
        answer = payout(*arguments)
        assert (answer.code, answer.out) == (1, ""), arguments
        assert words in answer.err


def test_trace_follows_an_order_from_the_registries_to_the_bank_in_time_order(payout: Payout):
    subject = next(subject for subject in PAYABLE[1:] if fate(subject) == "returned")
    traced = document(payout("trace", order_text(id_of(subject)), "--json"))
    assert [entry["what"] for entry in traced["way"]] == ["event", "event", "event", "order", "submission", "send", "accept", "settle", "return"]
    times = [datetime.fromisoformat(entry["at"]).replace(microsecond=0) for entry in traced["way"]]
    assert times == sorted(times)
    assert traced["order"]["state"] == "returned"
    assert {entry["who"] for entry in traced["way"] if entry["what"] in ("accept", "settle", "return")} == {"bank"}
    assert all(".xml" in entry["text"] for entry in traced["way"] if entry["who"] == "bank")
    assert document(payout("trace", end_to_end_id(id_of(subject), 1).lower(), "--json")) == traced
    said = payout("trace", order_text(id_of(subject))).out
    assert "granted 1,200.00 USD" in said
    assert "camt.054" in said


# Events, dead letters, store, run.


def test_events_are_put_taken_decided_and_paid(fresh: tuple[Payout, Story], tmp_path: Path):
    payout, story = fresh
    file = tmp_path / "e.ndjson"
    file.write_bytes(b"\n".join(record.value for record in person("us-1")))
    put = payout("events", "put", str(file))
    assert put.code == 0
    assert "3 accepted, 0 refused" in put.out
    ran = payout("run", "--until-idle", "--processes", "1", "--metrics-port", "0")
    assert ran.code == 0
    assert "/metrics" in ran.err
    assert "idle after" in ran.err
    assert [(order.subject, order.amount_minor, order.state.name) for order in story.orders()] == [("us-1", 120_000, "SENT")]
    assert len(list((story.installation.bank_directory / "out").glob("*.xml"))) == 1
    assert payout("run", "--until-idle", "--processes", "1").code == 0
    assert len(story.orders()) == 1


def test_refused_lines_and_files_are_told_and_the_rest_is_taken(fresh: tuple[Payout, Story], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    payout, _ = fresh
    good, empty, binary = tmp_path / "good.ndjson", tmp_path / "empty.ndjson", tmp_path / "b.bin"
    good.write_bytes(b"\xef\xbb\xbf" + resident("us-1").value + b"\r\n" + income("us-1", 1).value.replace(b"USD", b"XTS"))
    empty.write_bytes(b"")
    binary.write_bytes(b"\0\1\2")
    answer = payout("events", "put", str(good), str(empty), str(binary), str(tmp_path), str(tmp_path / "none"), "--json")
    assert answer.code == 2
    said = json.loads(answer.out)
    assert (said["accepted"], said["refused"]) == (1, 1)
    assert said["files"][0]["result"]["refusals"][0]["first_line"] == 2
    assert [problem["place"] for problem in said["refused_files"]] == [str(binary), str(tmp_path), str(tmp_path / "none")]
    for words in ("binary", "is a directory", "No such file"):
        assert words in answer.err
    assert "holds no events" in payout("events", "put", str(empty)).out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(account("us-1").value)))
    assert "1 accepted" in payout("events", "put", "-").out


def test_the_schema_of_an_event_type_is_printed(fresh: tuple[Payout, Story]):
    payout, _ = fresh
    schema = document(payout("events", "schema", "registry.tax.assessment.v1"))
    assert schema["properties"]["source"]["const"] == "urn:registry:tax:us"
    assert len(document(payout("events", "schema"))["oneOf"]) >= 4


def test_an_embedded_store_is_made_checked_and_found_again(payout: Payout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in ("PAYOUT_STORE_URLS", "PAYOUT_RULES", "PAYOUT_TRUST_RULES"):
        monkeypatch.delenv(name)
    home = str(tmp_path / "home")
    assert payout("store", "init", "--home", home).code == 0
    assert "well: 2 shards on 1 server" in payout("store", "check", "--home", home).out
    assert "already" in payout("store", "migrate", "--home", home).out
    assert document(payout("status", "--home", home, "--json"))["last_frame_at"] is None
    monkeypatch.setenv("PAYOUT_SHARDS", "3")
    refused = payout("store", "init", "--home", home)
    assert refused.code == 3
    assert "shards = 2" in refused.err


def test_a_store_of_an_older_schema_is_found_and_migrated(fresh: tuple[Payout, Story]):
    payout, story = fresh
    with story.connection() as connection:
        connection.execute("ALTER TABLE dead_letter DROP COLUMN resolution, DROP COLUMN resolved_at")
        connection.execute(
            "DROP TABLE IF EXISTS rule_log, member_share, member_run, member_told, dead_letter_step, division, budget, budget_share, hold_release"
        )
        connection.execute("DROP FUNCTION stand_budget, reserve_budget, reserve_whole")
        connection.execute("ALTER TABLE activation DROP COLUMN run, DROP COLUMN share, DROP COLUMN known, DROP COLUMN decided, DROP COLUMN begun_at")
        connection.execute("ALTER TABLE lane DROP COLUMN share_seq, DROP COLUMN release_base")
        connection.execute("ALTER TABLE relay DROP COLUMN shared_seq")
        connection.execute("DELETE FROM schema_version WHERE version >= 2")
    checked = payout("store", "check")
    assert checked.code == 1
    assert "payout store migrate" in checked.err
    assert payout("status").code == 3
    assert "migrated to version 2" in payout("store", "migrate").out
    mended = payout("store", "check")  # what is left is that these tests do not ask for power cuts
    assert [line.rpartition(" is off")[0].rpartition(" ")[2] for line in mended.err.splitlines()] == ["fsync", "full_page_writes", "synchronous_commit"]


# What must never be seen.


def test_no_account_number_or_name_of_anybody_is_logged_printed_or_measured(payout: Payout, town: Town):
    metrics = Metrics()
    measure(town.story.installation, metrics)
    said = [town.log.getvalue(), metrics.text()]
    subjects = [str(subject) for (subject,) in town.story.ask("SELECT subject FROM facts")]
    commands = [
        ("status",),
        ("status", "--json"),
        ("orders",),
        ("orders", "--json"),
        ("holds", "list"),
        ("dead-letters", "list"),
        ("dead-letters", "list", "--json"),
    ]
    commands += [("explain", subject, *more) for subject in subjects for more in ((), ("--json",))]
    commands += [("trace", order["order"], *more) for order in document(payout("orders", "--json"))[::3] for more in ((), ("--json",))]
    commands += [("dead-letters", "show", letter["id"]) for letter in document(payout("dead-letters", "list", "--json"))]
    for command in commands:
        answer = payout(*command)
        assert answer.code == 0, command
        said += [answer.out, answer.err]
    said += [path.read_text() for path in (town.story.installation.settings.home / "logs").iterdir()]
    whole = "\n".join(said)
    assert "us-no-account" in whole
    assert [canary for canary in [*CANARIES, *account_numbers()] if canary in whole] == []


def test_the_measured_gauges_are_those_of_the_store(town: Town):
    metrics = Metrics()
    measure(town.story.installation, metrics)
    found = dict(re.findall(r"^(payout_\w+(?:\{[^}]*\})?) ([\d.e+-]+)$", metrics.text(), re.MULTILINE))
    for state, orders, amount in town.story.ask("SELECT state, count(*), sum(amount_minor)::bigint FROM payment_order GROUP BY state"):
        name = {1: "held", 5: "settled", 6: "rejected", 7: "returned"}[int(str(state))]
        assert float(found[f'payout_orders{{benefit="us-eip1",state="{name}"}}']) == orders
        assert float(found[f'payout_order_amount_minor{{benefit="us-eip1",currency="USD",state="{name}"}}']) == amount
    assert float(found['payout_orders_held{reason="account_shared"}']) == len(SHARED)
    assert float(found['payout_dead_letters_open{topic="registry.residency"}']) == 1
    assert float(found["payout_outbox_pending"]) == 0
    assert float(found['payout_ledger_imbalance_minor{currency="USD"}']) == 0
    assert float(found["payout_oldest_held_age_seconds"]) >= 0
