"""The fences around money: who was replaced, what came before, what was said of another attempt, and where no account is, changes nothing."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from story import LAW, Order, Story, Tale, account, answer, income, person, resident, tale

from connectors.population import TAX
from connectors.sandbox_bank import Behaviour, SandboxBank, journal_path
from connectors.segment_log import LogReader, LogWriter
from connectors.store.frames import Replaced, claim, frame_transaction
from connectors.store.servers import connect
from pipeline.holds import HoldReason
from pipeline.observing import Silent
from pipeline.orders import State
from streams.bank_desk import OtherDesk, OutboxBroken
from streams.desks import desks_on
from streams.lanes import Lanes
from streams.relay import Relay
from streams.topics import ORDERS

__all__ = ["tale"]

WAIT_S = 30
TABLES = ("position", "frame", "facts", "entitlement", "payment_order", "order_history", "transfer", "dead_letter", "finding", "account_holder")


def rows(story: Story) -> list[object]:
    return [sorted(str(row) for row in story.ask(f"SELECT t::text FROM {table} AS t")) for table in TABLES]


def lanes(story: Story) -> Lanes:
    made = Lanes(story.installation, story.installation.standing, range(story.shards), Silent())
    made.claim()
    while made.step():  # nobody is known, so there is nothing to decide again
        pass
    return made


def only(orders: list[Order]) -> Order:
    (order,) = orders
    return order


def test_lanes_whose_shards_another_has_claimed_are_refused_and_leave_nothing(tale: Tale) -> None:
    story = tale(shards=1)
    zombie, heir = lanes(story), lanes(story)
    story.tell(person("ann"), person("bob"))
    before = rows(story)
    with pytest.raises(Replaced, match="epoch 1 has been replaced"):
        zombie.step()
    assert rows(story) == before
    assert heir.step() == 6
    story.audit()
    zombie.close()
    heir.close()


def test_a_frame_at_a_position_that_has_moved_is_refused_though_the_epoch_is_right(tale: Tale) -> None:
    story = tale(shards=1)
    with connect(story.urls[0], "lane") as connection:
        held = claim(connection, 0, "lane", [TAX])
        with frame_transaction(connection, held, TAX, 0, 3) as transaction:
            transaction.close_frame(3, 0, 0, 0, 0)
        with pytest.raises(Replaced, match="the position is no longer 0"), frame_transaction(connection, held, TAX, 0, 3):
            pass
        with pytest.raises(Replaced, match="the position is no longer 5"), frame_transaction(connection, held, TAX, 5, 8):
            pass


def test_a_claim_waits_for_the_frame_that_the_earlier_owner_is_committing(tale: Tale) -> None:
    story = tale(shards=1)
    positions: list[int] = []
    with connect(story.urls[0], "earlier") as earlier, connect(story.urls[0], "heir") as heir:
        held = claim(earlier, 0, "earlier", [TAX])
        taking = threading.Thread(target=lambda: positions.append(claim(heir, 0, "heir", [TAX]).positions[TAX]))
        with frame_transaction(earlier, held, TAX, 0, 7) as transaction:
            taking.start()
            transaction.close_frame(7, 0, 0, 0, 0)
        taking.join(WAIT_S)
    assert positions == [7]


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO payment_order SELECT * FROM payment_order",
        "UPDATE payment_order SET sequence = 1, subject = 'ann', release_seq = 9",
        "UPDATE payment_order SET release_seq = 1",
        "INSERT INTO frame SELECT * FROM frame",
        "INSERT INTO transfer SELECT * FROM transfer",
    ],
    ids=["order", "order-key", "release-number", "frame", "transfer"],
)
def test_no_second_row_of_what_must_be_once_can_be_written(tale: Tale, change: str) -> None:
    story = tale(shards=1)
    story.hears(person("ann"), person("bob"))
    with story.connection() as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute(change.encode())
    story.audit()


def test_the_ids_of_orders_are_the_same_whatever_document_decided(tale: Tale, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(LAW.read_text().replace('en: "Economic', 'en: "The Economic'))
    stories = [tale(rules=(document,)) for document in (LAW, other)]
    for story in stories:
        story.hears(person("ann"), person("bob", 80_000))
    ids, again = (story.ask("SELECT subject, order_id, fingerprint FROM payment_order ORDER BY subject") for story in stories)
    hashes = {story.ask("SELECT hash FROM rule_document")[0] for story in stories}
    assert len(ids) == len(hashes) == 2
    assert ids == again


def test_an_order_without_a_usable_account_is_held_however_often_its_subject_is_looked_at(tale: Tale) -> None:
    story = tale()
    story.hears(resident("ann"), income("ann", 30_000))
    story.hears(resident("ann", 2))
    story.hears(account("ann", status="closed"))
    story.restart()
    order = only(story.orders())
    assert (order.state, order.reason, order.release_seq, order.account) == (State.HELD, HoldReason.ACCOUNT_CLOSED, 0, "")
    story.audit()


def test_an_answer_about_another_attempt_moves_nothing_and_is_kept(tale: Tale) -> None:
    story = tale()
    story.hears(person("ann"))
    story.hears(answer(only(story.orders()), "settle", attempt=2))
    assert only(story.orders()).state == State.RELEASED
    (letter,) = story.dead_letters()
    assert "attempt 2 is not the order's attempt 1" in letter.text
    story.audit()


def test_an_order_that_the_relay_published_twice_is_submitted_once(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("ann"), person("bob"))
    with LogWriter(story.installation.log_directory) as log, story.connection() as connection:
        for _ in range(2):
            assert Relay(connection, log, 0).step() == 2
            connection.execute("UPDATE relay SET relayed_seq = 0")
    story.pay()
    assert LogReader(story.installation.log_directory, ORDERS, 0).end_offset() == 6
    assert story.ask("SELECT orders, first_seq, last_seq, written FROM submission") == [(2, 1, 2, True)]
    assert {order.state for order in story.orders()} == {State.SENT}
    story.audit()


def test_a_released_order_that_is_missing_from_the_store_stops_the_bank_desk(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("ann"), person("bob"), person("cy"))
    with story.connection() as connection:
        connection.execute("DELETE FROM payment_order WHERE release_seq = 2")
    with pytest.raises(OutboxBroken, match="released order 2 is missing"):
        story.pay()
    assert story.ask("SELECT message_id FROM submission") == []


def test_a_second_bank_desk_submits_nothing_that_the_first_has(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("ann"), person("bob"))
    story.close()
    with LogWriter(story.installation.log_directory) as log, story.connection() as one, story.connection() as two:
        Relay(one, log, 0).step()
        (first,), (second,) = (desks_on(story.installation, [connection], log, story.observer) for connection in (one, two))
        assert first.submit() == 2
        with pytest.raises(OtherDesk, match="another process submits the orders of shard 0"):
            second.submit()
    assert story.ask("SELECT orders, first_seq, last_seq, written FROM submission") == [(2, 1, 2, True)]
    assert len(list((story.installation.bank_directory / "out").glob("*.xml"))) == 1


def test_an_order_leaves_after_it_is_published_so_that_the_log_tells_of_everything_that_left(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("ann"))
    story.close()
    with LogWriter(story.installation.log_directory) as log, story.connection() as connection:
        (desk,) = desks_on(story.installation, [connection], log, story.observer)
        assert desk.submit() == 0
        assert Relay(connection, log, 0).step() == 1
        assert desk.submit() == 1


def test_a_lost_topic_of_orders_keeps_no_order_from_the_bank(tale: Tale) -> None:
    story = tale(shards=1)
    story.hears(person("ann"), person("bob"))
    with story.connection() as connection:
        connection.execute("UPDATE relay SET relayed_seq = 2")  # as if they had been published, to a topic that is no more
    story.pay()
    assert LogReader(story.installation.log_directory, ORDERS, 0).end_offset() == 0
    assert {order.state for order in story.orders()} == {State.SENT}
    story.audit()


def test_the_bank_answers_for_the_orders_of_every_server(tale: Tale) -> None:
    story = tale(shards=4, servers=2)
    story.hears(*[person(f"person-{number}") for number in range(12)])
    story.pay()
    settings = story.installation.settings
    bank = SandboxBank(settings.home, bic=settings.bank.bank_bic, behaviour=Behaviour(reject_share=0, return_share=0))
    bank.handle_all()
    bank.close()
    story.pay()
    assert {order.state for order in story.orders()} == {State.SETTLED}
    assert not story.findings()
    story.audit(journal=journal_path(settings.home))
