"""`payout bank`: orders are handed over, answers come back, bookings are held against the orders; killed anywhere, nobody is paid twice."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from time import monotonic

import pytest
from story import Story, Tale, person, tale
from town import Payout, quiet_afterwards

from connectors.sandbox_bank import Behaviour, SandboxBank, journal_path, read_journal
from connectors.store.servers import connect
from pipeline.orders import State
from streams.settings import SHIPPED

__all__ = ["quiet_afterwards", "tale"]

pytestmark = pytest.mark.usefixtures("quiet_afterwards")

PEOPLE = [f"us-{number:02}" for number in range(40)]
MIXED = Behaviour(7, 0.2, 0.2)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tale: Tale) -> tuple[Payout, Story]:
    story = tale(shards=2)
    story.hears(*(person(subject) for subject in PEOPLE))
    return Payout(monkeypatch, capsys, story), story


def answered(story: Story, behaviour: Behaviour = MIXED) -> None:
    """The bank handles what lies at its door."""
    settings = story.installation.settings
    bank = SandboxBank(settings.home, bic=settings.bank.bank_bic, behaviour=behaviour)
    bank.handle_all()
    bank.close()


def said(payout: Payout, *arguments: str, code: int = 0):
    answer = payout("bank", *arguments, "--json")
    assert answer.code == code, answer.err
    return json.loads(answer.out)


def paid(story: Story, payout: Payout) -> None:
    """The whole way: handed over, answered, received, taken."""
    said(payout, "submit")
    answered(story)
    said(payout, "receive")
    story.work()


def test_orders_are_handed_over_answered_received_and_agree_with_what_the_bank_booked(made: tuple[Payout, Story]):
    payout, story = made
    handed = said(payout, "submit")
    assert (handed["orders"], handed["submissions_put_out_again"]) == (40, 0)
    assert said(payout, "submit")["orders"] == 0
    answered(story)
    # Booked at the bank, and not heard of here: that differs until the answers are received and taken.
    early = said(payout, "reconcile", "--journal", str(journal_path(story.installation.settings.home)), code=1)
    assert {found["difference"] for found in early["differences"]} == {"booked_not_settled", "returned_not_taken"}
    files = said(payout, "receive")["files"]
    assert {file["kind"] for file in files} == {"pain.002", "camt.054"}
    story.work()
    states = {order.state for order in story.orders()}
    assert states == {State.SETTLED, State.REJECTED, State.RETURNED}
    by_files = said(payout, "reconcile")
    assert (by_files["ok"], by_files["files"], by_files["differences"]) == (True, len(files), [])
    (sums,) = by_files["sums"]
    settled = [order for order in story.orders() if order.state in (State.SETTLED, State.RETURNED)]
    assert (sums["booked"], sums["booked_minor"]) == (len(settled), sum(order.amount_minor for order in settled))
    assert sums["returned"] == sum(order.state == State.RETURNED for order in story.orders())
    assert said(payout, "reconcile", "--journal", str(journal_path(story.installation.settings.home)))["ok"]
    assert "agree with the orders" in payout("bank", "reconcile").err
    story.audit(journal=journal_path(story.installation.settings.home))


def test_a_statement_of_the_day_tells_the_same_bookings_and_not_a_second_time(made: tuple[Payout, Story], tmp_path: Path):
    payout, story = made
    paid(story, payout)
    done = story.installation.bank_directory / "done"
    statements = []
    for file in sorted(done.glob("*.camt.054.xml")):
        statement = tmp_path / file.name.replace("camt.054", "camt.053")
        text = file.read_text().replace("camt.054.001.08", "camt.053.001.08").replace("BkToCstmrDbtCdtNtfctn", "BkToCstmrStmt")
        statement.write_text(text.replace("<Ntfctn>", "<Stmt>").replace("</Ntfctn>", "</Stmt>"))
        statements.append(str(statement))
    received = [str(path) for path in done.glob("*.xml")]
    both = said(payout, "reconcile", *received, *statements)
    assert (both["ok"], both["files"]) == (True, len(received) + len(statements))
    assert said(payout, "reconcile", *statements)["sums"] == both["sums"]


@pytest.mark.parametrize(
    ("damage", "difference"),
    [
        ("UPDATE payment_order SET state = 6 WHERE subject = %s", "booked_not_sent"),
        ("UPDATE payment_order SET state = 3 WHERE subject = %s", "booked_not_settled"),
        ("UPDATE payment_order SET state = 7 WHERE subject = %s", "return_not_booked"),
        ("UPDATE payment_order SET amount_minor = amount_minor + 1 WHERE subject = %s", "other_amount"),
        ("UPDATE payment_order SET order_id = decode(repeat('ab', 15), 'hex') WHERE subject = %s", "unknown_order settled_not_booked"),
    ],
)
def test_what_differs_is_named(made: tuple[Payout, Story], damage: str, difference: str):
    payout, story = made
    paid(story, payout)
    subject = next(order.subject for order in story.orders() if order.state == State.SETTLED)
    with connect(story.urls[0], "test") as connection:
        connection.execute(damage.encode(), (subject,))
    found = said(payout, "reconcile", code=1)["differences"]
    assert sorted((entry["difference"], entry["orders"]) for entry in found) == sorted((name, 1) for name in difference.split())
    assert payout("bank", "reconcile").code == 1


def test_a_file_that_is_none_is_refused_kept_and_told(made: tuple[Payout, Story]):
    payout, story = made
    (story.installation.bank_directory / "in").mkdir(parents=True, exist_ok=True)
    (story.installation.bank_directory / "in" / "odd.xml").write_bytes(b"<odd/>")
    assert said(payout, "receive", code=1)["files"] == [{"name": "odd.xml", "kind": "", "outcome": "refused", "answers": 0, "findings": 0}]
    assert (story.installation.bank_directory / "refused" / "odd.xml").read_bytes() == b"<odd/>"
    broken = payout("bank", "reconcile", str(story.installation.bank_directory / "refused" / "odd.xml"), "none.xml")
    assert broken.code == 2
    assert "odd.xml" in broken.err
    assert "none.xml: cannot be read" in broken.err


@pytest.mark.parametrize(
    ("command", "failpoint"),
    [
        ("submit", "bank_prepared:2"),
        ("submit", "bank_file_unnamed"),
        ("submit", "bank_file_told"),
        ("receive", "bank_answers_published"),
        ("receive", "bank_answers_taken"),
    ],
)
def test_killed_at_any_point_nobody_is_paid_twice_or_forgotten(made: tuple[Payout, Story], command: str, failpoint: str):
    payout, story = made
    killed = []
    for step in ("submit", "receive"):
        if step == command:
            killed.append(payout.armed(failpoint, "bank", step))
        assert payout("bank", step).code == 0
        answered(story)
    assert killed == [-signal.SIGKILL]
    story.work()
    journal = journal_path(story.installation.settings.home)
    executed = [movement.end_to_end_id for movement in read_journal(journal) if movement.outcome == "executed"]
    assert len(executed) == len(set(executed))
    assert {order.state for order in story.orders()} == {State.SETTLED, State.REJECTED, State.RETURNED}
    assert said(payout, "reconcile")["ok"]
    story.audit(journal=journal)


def test_a_desk_that_watches_hands_over_what_comes_and_ends_well_when_it_is_asked_to(made: tuple[Payout, Story]):
    payout, story = made
    command = [sys.executable, "-c", "from streams.cli import main; main()", "bank", "submit", "--watch", "--every-s", "3600", "--json"]
    with subprocess.Popen(command, cwd=SHIPPED, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as desk:
        pause, deadline = Event(), monotonic() + 120
        while story.ask("SELECT 1 FROM submission WHERE NOT written UNION ALL SELECT 1 WHERE NOT EXISTS (SELECT FROM submission)"):
            assert monotonic() < deadline, "nothing was handed over"
            pause.wait(0.05)
        desk.send_signal(signal.SIGTERM)  # it rests for an hour
        out, err = desk.communicate(timeout=120)
    assert (desk.returncode, json.loads(out)["orders"]) == (0, len(PEOPLE)), err
    assert said(payout, "submit")["orders"] == 0


def test_beside_a_run_that_exchanges_the_files_itself_the_commands_stand_back(made: tuple[Payout, Story]):
    payout, story = made
    with connect(story.urls[0], "payout relay"):
        refused = payout("bank", "submit")
    assert refused.code == 3
    assert "`payout run` exchanges files with the bank already" in refused.err
    assert story.ask("SELECT message_id FROM submission") == []
