from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect
from sqlmodel import SQLModel
from story import Tale, database, person, tale
from town import DEAD_LETTERS, PAYABLE, SHARED, Town, town

from connectors.store import tables
from connectors.store.queries import Queries, queries_of
from connectors.store.servers import Store, StoreAway, connect
from pipeline.orders import State, order_id

__all__ = ["tale", "town"]


@pytest.fixture
def queries(town: Town):
    with queries_of(town.story.installation.store) as opened:
        yield opened


DIALECT = create_engine("postgresql+psycopg://").dialect


def test_the_classes_declare_exactly_the_tables_columns_types_nulls_and_keys_of_the_migrated_database():
    url = database()
    engine = create_engine("postgresql+psycopg://", creator=lambda: connect(url, "test"))
    found = inspect(engine)
    declared = SQLModel.metadata.tables
    ours = set(declared)
    assert ours == set(found.get_table_names())
    for name in ours:
        columns = {column["name"]: (str(column["type"].compile(DIALECT)), column["nullable"]) for column in found.get_columns(name)}
        assert {column.name: (str(column.type.compile(DIALECT)), column.nullable) for column in declared[name].columns} == columns, name
        assert {column.name for column in declared[name].primary_key} == set(found.get_pk_constraint(name)["constrained_columns"]), name
    engine.dispose()


def test_sums_agree_with_plain_sql_for_every_choice_of_keys(town: Town, queries: Queries):
    total = town.story.ask("SELECT count(*), sum(amount_minor)::bigint FROM payment_order")[0]
    for by in ([], ["state"], ["benefit", "state", "reason"], ["benefit", "period", "state", "reason", "kind"]):
        rows = queries.order_sums(by)
        assert (sum(row["orders"] for row in rows), sum(row["amount_minor"] for row in rows)) == total
        assert all(set(row) == {*by, "currency", "orders", "amount_minor"} for row in rows)
    states = dict(town.story.ask("SELECT state, count(*) FROM payment_order GROUP BY state"))
    assert {row["state"]: row["orders"] for row in queries.order_sums(["state"])} == {State(state).name.lower(): count for state, count in states.items()}


def test_sums_can_be_narrowed_by_benefit_state_and_reason(queries: Queries):
    assert queries.order_sums(["reason"], state="held", reason="account_shared") == [
        {"reason": "account_shared", "currency": "USD", "orders": len(SHARED), "amount_minor": 120_000 * len(SHARED)}
    ]
    assert queries.order_sums(["state"], benefit="nothing") == []


def test_pages_of_orders_join_without_gap_or_repetition(queries: Queries):
    whole = queries.orders()
    paged, last = [], None
    while page := queries.orders(after=last, limit=5):
        paged += page
        last = page[-1]
    assert paged == whole
    assert sorted(row.order for batch in queries.order_batches(4) for row in batch) == sorted(row.order for row in whole)


def test_an_order_is_found_by_its_id(queries: Queries):
    found = queries.order(order_id("us-eip1", PAYABLE[0], "once", 1))
    assert found is not None
    assert (found.subject, found.sequence) == (PAYABLE[0], 1)
    assert queries.order(bytes(16)) is None


def test_held_orders_are_summed_by_reason_with_the_age_of_the_oldest(town: Town, queries: Queries):
    held = {row.reason: row for row in queries.held()}
    assert {reason: row.orders for reason, row in held.items()} == {"account_shared": 4, "no_account": 1, "account_closed": 1, "account_invalid": 1}
    oldest = town.story.ask("SELECT min(created_at) FROM payment_order WHERE reason = 'no_account'")[0][0]
    assert held["no_account"].oldest_at == oldest


def test_a_case_holds_everything_of_its_subject_and_nothing_of_others(town: Town, queries: Queries):
    case = queries.case(PAYABLE[0])
    assert case.history is not None
    assert {order.subject for order in case.orders} == {PAYABLE[0]}
    assert [entitlement.benefit for entitlement in case.entitlements] == ["us-eip1"]
    assert next(step.step for step in case.steps) == "send"
    assert [letter.record_key for letter in queries.case("us-named").dead_letters] == [b"us-named"]
    assert queries.case("nobody").history is None


def test_claims_decisions_findings_and_dead_letters_are_counted(town: Town, queries: Queries):
    (claim,) = queries.claims()
    owed = town.story.ask("SELECT count(*), sum(claim_minor)::bigint FROM entitlement WHERE claim_minor > 0")[0]
    assert (claim.orders, claim.amount_minor) == owed
    assert queries.decisions()["us-eip1", "once"] == [2, 21, 2]
    assert queries.findings()["event_id_conflict"] == 1
    assert sum(queries.dead_letter_counts().values()) == DEAD_LETTERS == len(queries.dead_letters())


def test_dispositions_and_positions_account_for_every_record(queries: Queries):
    taken = {topic: sum(offset for (known, _), offset in queries.positions().items() if known == topic) for topic in queries.dispositions()}
    assert {topic: sum(counts.values()) for topic, counts in queries.dispositions().items()} == taken


def test_every_order_that_left_stands_in_a_submission_and_the_banks_files_are_known(queries: Queries):
    left = [order for order in queries.orders() if order.release_seq]
    submissions = [queries.submission_of(order) for order in left]
    assert all(submission is not None for submission in submissions)
    assert queries.outbox_pending() == 0
    assert sum(row.orders for row in queries.submissions()) == len(left)
    assert {kind for kind, outcome, _, _ in queries.bank_files()} >= {"pain.002", "camt.054"}


def test_debits_less_credits_are_nothing(queries: Queries):
    assert queries.ledger_imbalance() == {"USD": 0}


def test_nothing_can_be_written_through_the_queries(town: Town, queries: Queries):
    session = queries._sessions[0]
    session.add(tables.StoreInfo(name="x", value="y"))
    with pytest.raises(Exception, match="read-only"):
        session.flush()
    session.rollback()


def test_a_server_that_is_not_there_is_away_not_a_defect(tmp_path: Path):
    store = Store([f"postgresql://payout@/payout?host={tmp_path}"], 1)
    with pytest.raises(StoreAway), queries_of(store) as opened:
        opened.lanes()


def test_queries_go_over_every_server(tale: Tale):
    story = tale(servers=2, shards=4)
    story.hears(*(person(f"us-{number:03}") for number in range(20)))
    with queries_of(story.installation.store) as opened:
        assert opened.order_sums(["state"]) == [{"state": "released", "currency": "USD", "orders": 20, "amount_minor": 20 * 120_000}]
        assert len(opened.lanes()) == 4
        assert [order.subject for order in opened.orders(limit=7)] == [f"us-{number:03}" for number in range(7)]
        assert all(opened.case(f"us-{number:03}").history is not None for number in range(20))
