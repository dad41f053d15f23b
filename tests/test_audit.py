"""The proof turns red: each invariant is broken by one damaged row and names it; what is append-only refuses to be changed; a replay finds the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import psycopg
import pytest
from story import Said, Story, Tale, account, death, income, person, resident, tale

from connectors.bank.bank_side import Movement
from connectors.population import TAX
from connectors.sandbox_bank import Behaviour, SandboxBank, journal_path
from connectors.sandbox_journal import read_whole
from connectors.segment_log import LogReader
from pipeline.orders import State
from streams.audit import Audit

__all__ = ["tale"]

# A town in which everything has happened.


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Paid, held, cancelled, overpaid, undetermined and refused people, a dead letter, and a bank that has answered."""
    story = Story(tmp_path_factory.mktemp("whole"), shards=2, frame_records=3)
    story.hears(
        *map(person, ("paid", "also", "third", "overpaid", "unsure")), resident("held"), income("held", 30_000), resident("dead"), income("dead", 30_000)
    )
    story.hears(Said(TAX, b"paid", b"nonsense"), death("dead"), income("overpaid", 80_000, 2), income("unsure", 1, 2, status="preliminary"))
    story.pay()
    settings = story.installation.settings
    bank = SandboxBank(settings.home, bic=settings.bank.bank_bic, behaviour=Behaviour(reject_share=0, return_share=0))
    bank.handle_all()
    bank.close()
    story.pay()
    story.hears(account("third", 2, status="closed"), income("third", 30_000, 2, children=1), resident("refused", resident=False), income("refused", 1))
    story.close()
    return story


def proof(story: Story) -> Audit:
    """The proof with the bank's journal."""
    return story.examine(journal=journal_path(story.installation.settings.home))


def test_the_whole_town_is_in_order(whole: Story) -> None:
    assert {order.state for order in whole.orders()} == {State.HELD, State.SETTLED, State.CANCELLED}
    found = proof(whole)
    assert [check for check in found.checks if not check.ok] == []
    assert {check.id for check in found.checks if not check.checked} == {"shares", "members"}  # no rule of the town looks at members


# One damaged row.

DAMAGES: list[tuple[str, str, str]] = [
    ("positions", "DELETE FROM frame WHERE topic = 'registry.tax' AND shard = 0 AND first_offset = 3", "registry.tax shard 0: frame 4 begins after 3"),
    (
        "positions",
        "UPDATE frame SET first_offset = 2, applied = applied + 1 WHERE topic = 'registry.tax' AND shard = 0 AND first_offset = 3",
        "frame 2 begins after 3",
    ),
    ("positions", "UPDATE position SET next_offset = next_offset - 1 WHERE topic = 'registry.tax' AND shard = 0", "registry.tax shard 0: position"),
    ("dispositions", "DELETE FROM dead_letter", "1 dead letters counted, 0 kept"),
    (
        "dispositions",
        "INSERT INTO dead_letter (topic, shard, record_offset, record_key, record_value, problems) VALUES ('registry.tax', 1, 900, '', '', '[]')",
        "kept",
    ),
    (
        "level",
        "UPDATE entitlement SET live_minor = live_minor + 1 WHERE subject = 'unsure'",
        "unsure of 1: owed 0, claim 0, live orders 120000 (kept as 120001)",
    ),
    ("level complete", "DELETE FROM entitlement WHERE subject = 'paid'", "paid of 1: an order without an entitlement"),
    ("level decided", "UPDATE entitlement SET decision = 0, owed_minor = 1, live_minor = 1 WHERE subject = 'refused'", "refused of 1: owed 1"),
    ("orders", "UPDATE entitlement SET orders = orders + 1 WHERE subject = 'paid'", "paid of 1: 1 orders, last number 1, entitlement counts 2"),
    ("orders", "UPDATE entitlement SET held = held + 1 WHERE subject = 'paid'", "entitlement counts 1 with 0 held of 1"),
    ("orders", "UPDATE entitlement SET orders = 1 WHERE subject = 'refused'", "refused of 1: the entitlement counts 1 orders, there are none"),
    ("orders identity", "UPDATE payment_order SET sequence = 3 WHERE subject = 'third' AND sequence = 2", "third of 1: 2 orders, last number 3"),
    (
        "orders identity",
        "UPDATE payment_order SET order_id = (SELECT order_id FROM payment_order WHERE subject = 'also') WHERE subject = 'held'",
        "stands 2 times",
    ),
    ("history", "DELETE FROM order_history WHERE subject = 'paid' AND step = 'settle'", "paid of 1 order 1: state 5 after"),
    ("history", "UPDATE order_history SET step_no = step_no + 1 WHERE subject = 'paid' AND step = 'settle'", "paid of 1 order 1 step"),
    ("history", "UPDATE order_history SET from_state = 3 WHERE subject = 'paid' AND step = 'settle'", "settle from 3 to 5 after 4"),
    ("history", "UPDATE order_history SET step = 'lose_sight' WHERE subject = 'paid' AND step = 'accept'", "lose_sight from"),
    ("history", "UPDATE payment_order SET steps = steps + 1 WHERE subject = 'paid'", "paid of 1 order 1: state 5 after 4 steps"),
    ("history", "UPDATE order_history SET subject = 'nobody' WHERE subject = 'dead'", "nobody of 1 order 1"),
    ("history ledger", "UPDATE payment_order SET state = 3 WHERE subject = 'paid'", "paid of 1 order 1: state 3"),
    ("ledger", "DELETE FROM transfer WHERE ctid = (SELECT ctid FROM transfer WHERE step = 'order' LIMIT 1)", "1 reserved: general ledger"),
    ("ledger", "UPDATE transfer SET amount_minor = amount_minor + 1 WHERE step = 'claim'", "1 claims: general ledger 25001, orders 25000"),
    (
        "ledger decided",
        "UPDATE entitlement SET owed_minor = owed_minor - 5, claim_minor = claim_minor + 5 WHERE subject = 'paid'",
        "1 claims: general ledger 25000, orders 25005",
    ),
    ("complete", "DELETE FROM entitlement WHERE subject = 'refused'", "refused has no decision for us-eip1 once"),
    ("shares", "UPDATE relay SET shared_seq = shared_seq + 1 WHERE shard = 0", "shard 0: 0 shares wait, the last number given is 0, the last published 1"),
    ("activated", "UPDATE activation SET done = false, decided_to = 'k' WHERE shard = 1", "shard 1: the activation of rule 1 has come to k only"),
    ("outbox", "UPDATE lane SET release_seq = release_seq + 1 WHERE shard = 0", "shard 0:"),
    ("outbox", "UPDATE relay SET relayed_seq = relayed_seq + 1 WHERE shard = 0", "shard 0:"),
    ("outbox", "UPDATE relay SET relayed_seq = 0 WHERE shard = 0", "of shard 0 left, 0 are published"),
    ("outbox", "UPDATE submission SET orders = orders + 1 WHERE shard = 0", "orders of"),
    ("outbox", "UPDATE submission SET amount_minor = amount_minor - 1 WHERE shard = 0", "orders of"),
    (
        "outbox",
        "INSERT INTO submission SELECT 'Z', shard, last_seq, last_seq, currency, 1, 120000, created_at, execution_on, '', true FROM submission WHERE shard = 0",
        "and Z both cover order",
    ),
    ("outbox sent", "UPDATE payment_order SET release_seq = release_seq + 50 WHERE subject = 'paid'", "released orders, last number 5"),
    ("sent", "DELETE FROM submission WHERE shard = 0", "is in state 5, no submission covers it"),
    (
        "log",
        """
        INSERT INTO frame SELECT topic, shard, next_offset, next_offset + 7, 1, 7, 0, 0, 0, now() FROM position WHERE topic = 'registry.tax' AND shard = 0;
        UPDATE position SET next_offset = next_offset + 7 WHERE topic = 'registry.tax' AND shard = 0
        """,
        "lies beyond the log's end",
    ),
    (
        "identity",
        "UPDATE payment_order SET fingerprint = '\\x00' WHERE subject = 'paid'",
        "paid us-eip1 once order 1: its id or fingerprint is not that of its content",
    ),
    ("identity", "UPDATE payment_order SET kind = 2 WHERE subject = 'paid'", "paid us-eip1 once order 1"),
    (
        "decided",
        "UPDATE facts SET history = (SELECT history FROM facts WHERE subject = 'refused') WHERE subject = 'held'",
        "held: kept as decision 1 with 120000 minor units, decided 0 with 0 minor units now",
    ),
    ("budgets", "UPDATE budget_share SET reserved_minor = 1 WHERE shard = 0; UPDATE budget SET reserved_minor = 1", "shard 0 has released"),
    ("budgets", "UPDATE budget SET limit_minor = 1", "us-eip1: reserved "),
    (
        "budgets",
        "UPDATE payment_order SET reason = 'budget_exhausted' WHERE subject = 'held'",
        "held us-eip1 once order 1 waits for a budget that was not reached",
    ),
    ("decided", "UPDATE entitlement SET receipt = overlay(receipt PLACING '\\x01' FROM 2) WHERE subject = 'paid'", "paid: kept as decision 1"),
    (
        "decided",
        "DELETE FROM facts WHERE subject = 'held'; INSERT INTO facts VALUES (0, 'nobody', '\\x90')",
        "held: an entitlement without",
    ),
]


def damaged(whole: Story, sql: str) -> Story:
    """A copy of the town in which some rows are not as they were, whatever triggers say."""
    story = whole.copy()
    with story.connection() as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in sql.split(";"):
            assert connection.execute(statement.encode()).rowcount > 0, statement
    return story


@pytest.mark.parametrize(("ids", "sql", "example"), DAMAGES, ids=[f"{number}-{ids.split()[0]}" for number, (ids, _, _) in enumerate(DAMAGES)])
def test_a_damaged_row_breaks_its_invariant_and_is_named(ids: str, sql: str, example: str, whole: Story) -> None:
    found = proof(damaged(whole, sql))
    red = {check.id: check for check in found.checks if not check.ok}
    assert not found.ok
    assert set(red) == set(ids.split())
    assert any(example in text for text in red[ids.split()[0]].examples), red[ids.split()[0]].examples
    assert red[ids.split()[0]].violations >= 1


def test_facts_that_were_changed_with_everything_that_follows_are_found_by_a_replay(whole: Story) -> None:
    alike = "UPDATE {0} SET {1} = (SELECT {1} FROM {0} WHERE subject = 'also') WHERE subject = 'paid'"
    story = damaged(whole, f"{alike.format('facts', 'history')}; {alike.format('entitlement', 'receipt')}")
    assert proof(story).ok
    red = [check for check in story.examine(replay=True).checks if not check.ok]
    assert [(check.id, check.violations) for check in red] == [("replay", 1)]
    assert red[0].examples[0].startswith("facts: ")


def test_every_invariant_is_broken_here(whole: Story) -> None:
    ids = {check.id for check in proof(whole).checks}
    assert {ids.split()[0] for ids, _, _ in DAMAGES} | {"bank", "members"} == ids  # what members told is damaged in the tests of households


# The bank's journal.


def executed(**changes: object) -> Callable[[list[Movement]], list[Movement]]:
    """A journal with a further line like its first."""
    return lambda movements: [*movements, msgspec.structs.replace(movements[0], **changes)]


JOURNALS: dict[str, tuple[Callable[[list[Movement]], list[Movement]], str]] = {
    "executed twice": (executed(), "was executed twice at the bank"),
    "never sent": (executed(end_to_end_id="STRANGE-1"), "STRANGE-1: the bank executed an order that is not known here"),
    "another amount": (lambda movements: [msgspec.structs.replace(movements[0], amount_minor=1), *movements[1:]], "the bank executed (1, 'USD')"),
    "never executed": (lambda movements: movements[1:], "the bank never executed it"),
    "rejected in truth": (lambda movements: [msgspec.structs.replace(movements[0], outcome="rejected"), *movements[1:]], "the bank never executed it"),
}


@pytest.mark.parametrize("what", JOURNALS)
def test_a_journal_that_differs_from_the_orders_is_found(what: str, whole: Story, tmp_path: Path) -> None:
    change, message = JOURNALS[what]
    journal = read_whole(journal_path(whole.installation.settings.home))
    encoder = msgspec.json.Encoder()
    lines = [encoder.encode(entry) for entry in (*change(journal.movements), journal.files[-1])]
    (tmp_path / "journal.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    red = [check for check in whole.examine(journal=tmp_path / "journal.ndjson").checks if not check.ok]
    assert [check.id for check in red] == ["bank"]
    assert any(message in example for example in red[0].examples)


def test_an_order_executed_at_the_bank_and_cancelled_here_is_found(whole: Story) -> None:
    story = damaged(whole, "UPDATE payment_order SET state = 6 WHERE subject = 'paid'")
    (bank,) = [check for check in proof(story).checks if check.id == "bank"]
    assert not bank.ok
    assert "the bank executed it, order 1 of paid is rejected" in bank.examples[0]


# The log.


def test_a_log_that_has_lost_its_end_is_found(whole: Story, tmp_path: Path) -> None:
    home = whole.installation.settings.home
    shutil.copytree(home / "log", tmp_path / "log")
    (segment,) = (tmp_path / "log" / TAX / "0").glob("*.log")
    segment.write_bytes(b"")
    story = whole.copy(home=tmp_path)
    assert LogReader(tmp_path / "log", TAX, 0).end_offset() == 0
    red = [check for check in story.examine().checks if not check.ok]
    assert [check.id for check in red] == ["log"]
    assert "registry.tax shard 0: position" in red[0].examples[0]


# What is append-only.


@pytest.mark.parametrize("table", ["transfer", "order_history", "frame", "rule_document", "dead_letter", "finding"])
def test_what_was_written_cannot_be_taken_away(table: str, whole: Story) -> None:
    refused = ["DELETE FROM {}", "TRUNCATE {}", "DELETE FROM {} WHERE ctid = (SELECT min(ctid) FROM {})"]
    if table not in ("dead_letter", "finding"):
        column = {"transfer": "amount_minor", "order_history": "step_no", "frame": "applied", "rule_document": "rule_id"}[table]
        refused.append(f"UPDATE {{}} SET {column} = {column} + 1")
    with whole.connection() as connection:
        before = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3".encode()).fetchall()
        assert before
        for statement in refused:
            with pytest.raises(psycopg.errors.RestrictViolation, match=f"{table} is append-only: {statement.split()[0]} is refused"):
                connection.execute(statement.format(table, table).encode())
        assert connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2, 3".encode()).fetchall() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payment_order SET amount_minor = 0 WHERE subject = 'paid'",
        "INSERT INTO payment_order SELECT * FROM payment_order WHERE subject = 'paid'",
        "UPDATE payment_order SET release_seq = 1 WHERE subject = 'held'",
        "UPDATE entitlement SET owed_minor = owed_minor + 1 WHERE subject = 'paid'",
        "UPDATE frame SET applied = applied",
        "INSERT INTO transfer SELECT topic, shard, first_offset, benefit_period_id, 'x', debit, debit, amount_minor, orders FROM transfer LIMIT 1",
        "INSERT INTO frame (topic, shard, first_offset, end_offset, epoch, applied, duplicate, conflict, dead_letter) VALUES ('t', 0, 0, 9, 1, 1, 1, 1, 1)",
    ],
)
def test_the_database_itself_refuses_what_can_never_be(statement: str, whole: Story) -> None:
    with whole.connection() as connection, pytest.raises(psycopg.errors.IntegrityError):
        connection.execute(statement.encode())


# The same again.


def test_the_log_replayed_with_other_shards_gives_the_same_digest(whole: Story) -> None:
    found = whole.examine(replay=True)
    assert found.ok
    assert found.checks[-1].id == "replay"
    assert found.checks[-1].name.startswith("the input log replayed with other shards")


def test_an_audit_changes_nothing_and_gives_the_same_digest_each_time(whole: Story) -> None:
    tables = [str(row[0]) for row in whole.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    before = {table: sorted(map(repr, whole.ask(f"SELECT * FROM {table}"))) for table in tables}
    assert proof(whole).digest == proof(whole).digest == whole.digest()
    assert {table: sorted(map(repr, whole.ask(f"SELECT * FROM {table}"))) for table in tables} == before


def test_a_digest_tells_apart_what_is_known_and_what_is_owed(tale: Tale) -> None:
    stories = [tale(), tale(), tale()]
    for story, said in zip(stories, ([], [account("anna", 2, number="7654321")], [income("anna", 80_000, 2)]), strict=True):
        story.hears(person("anna"), said)
    plain, other_account, other_income = (story.digest() for story in stories)
    assert plain.owed == other_account.owed != other_income.owed
    assert len({plain.facts, other_account.facts, other_income.facts}) == 3
