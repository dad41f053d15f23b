"""The sandbox bank executes nothing twice, whatever is sent again, split, cut off or killed, and its answers say what its journal says."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import pytest
from bank_samples import CREATED, DAY, DEBTOR, transfer, written
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from typer import Typer
from typer.testing import CliRunner

from connectors.bank.answers import Answer, read_answers
from connectors.bank.bank_side import Movement
from connectors.bank.initiation import Debtor, write_initiation
from connectors.sandbox_bank import Behaviour, SandboxBank, journal_path, read_journal
from streams.bank_commands import sandbox_bank

XSD = Path(__file__).parent / "xsd"
SCHEMAS = {
    "pain.002": etree.XMLSchema(etree.parse(str(XSD / "pain.002.001.12.xsd"))),
    "camt.054": etree.XMLSchema(etree.parse(str(XSD / "camt.054.001.08.xsd"))),
}
LIVELY = Behaviour(seed=1, reject_share=0.3, return_share=0.3)
OBEDIENT = Behaviour(reject_share=0.0, return_share=0.0)
POINTS = (
    "sandbox-bank.before-journal",
    "sandbox-bank.journal-without-file",
    "sandbox-bank.journal-unsynced",
    "sandbox-bank.journal-synced",
    "sandbox-bank.answer-unnamed",
    "sandbox-bank.answer-written",
    "sandbox-bank.before-answered",
)


def put(home: Path, name: str, data: bytes) -> None:
    directory = home / "bank" / "out"
    directory.mkdir(parents=True, exist_ok=True)
    (directory / name).write_bytes(data)


def work(home: Path, behaviour: Behaviour = LIVELY) -> SandboxBank:
    bank = SandboxBank(home, behaviour=behaviour)
    bank.handle_all()
    bank.close()
    return bank


def answers_in(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((home / "bank" / "in").iterdir())}


def answered(home: Path) -> list[Answer]:
    return [answer for data in answers_in(home).values() for answer in read_answers(data).answers]


def outcomes(movements: Sequence[Movement]) -> list[tuple[str, str, str]]:
    return [(movement.end_to_end_id, movement.outcome, movement.reason) for movement in movements]


def test_answers_are_valid_and_say_what_the_journal_says(tmp_path: Path) -> None:
    put(tmp_path, "orders.xml", written([transfer(f"E{number}", 100 + number) for number in range(200)]))
    work(tmp_path)
    for name, data in answers_in(tmp_path).items():
        SCHEMAS[name[-12:-4]].assertValid(etree.fromstring(data))
    journal = read_journal(journal_path(tmp_path))
    assert {movement.outcome for movement in journal} == {"executed", "rejected", "returned"}
    said = [(answer.end_to_end_id, answer.outcome, answer.reason, answer.amount_minor) for answer in answered(tmp_path)]
    word = {"executed": ("accepted", "settled"), "rejected": ("rejected",), "returned": ("returned",)}
    wanted = [(m.end_to_end_id, outcome, m.reason, m.amount_minor) for m in journal for outcome in word[m.outcome]]
    assert sorted(said) == sorted(wanted)


def test_an_exceptions_only_bank_lists_the_rejected_alone(tmp_path: Path) -> None:
    put(tmp_path, "orders.xml", written([transfer(f"E{number}") for number in range(50)]))
    work(tmp_path, Behaviour(seed=1, reject_share=0.3, return_share=0.3, exceptions_only=True))
    (status,) = (read_answers(data) for name, data in answers_in(tmp_path).items() if "pain.002" in name)
    assert status.accepts_unlisted
    assert {answer.end_to_end_id for answer in status.answers} == {m.end_to_end_id for m in read_journal(journal_path(tmp_path)) if m.outcome == "rejected"}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 7), min_size=1, max_size=8))
def test_what_becomes_of_an_order_does_not_depend_on_its_batch(sizes: list[int]) -> None:
    transfers = [transfer(f"E{number}") for number in range(sum(sizes))]
    with tempfile.TemporaryDirectory() as directory:
        whole, split = Path(directory, "whole"), Path(directory, "split")
        put(whole, "orders.xml", written(transfers))
        for position, size in enumerate(sizes):
            put(split, f"{position}.xml", written(transfers[sum(sizes[:position]) : sum(sizes[:position]) + size]))
        for home in (whole, split):
            work(home)
        assert sorted(outcomes(read_journal(journal_path(whole)))) == sorted(outcomes(read_journal(journal_path(split))))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sets(st.integers(0, 9), min_size=1), st.booleans(), st.booleans()), min_size=1, max_size=6))
def test_no_order_is_executed_twice_whatever_is_sent_again(files: list[tuple[set[int], bool, bool]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        for position, (numbers, dearer, restarted) in enumerate(files):
            put(home, f"{position}.xml", written([transfer(f"E{number}", 100 + dearer) for number in sorted(numbers)]))
            if restarted:
                work(home, OBEDIENT)
        work(home, OBEDIENT)
        journal = read_journal(journal_path(home))
        executed = {m.end_to_end_id: m.amount_minor for m in journal if m.outcome == "executed"}
        assert len(executed) == sum(movement.outcome == "executed" for movement in journal)
        assert executed.keys() == {f"E{number}" for numbers, _, _ in files for number in numbers}
        for movement in journal:
            if movement.outcome == "rejected":
                assert movement.reason == ("AM05" if movement.amount_minor == executed[movement.end_to_end_id] else "DU04")


def test_a_message_sent_again_under_another_name_is_refused_whole(tmp_path: Path) -> None:
    put(tmp_path, "a.xml", written([transfer("E1")]))
    work(tmp_path, OBEDIENT)
    put(tmp_path, "b.xml", written([transfer("E1")]))
    bank = work(tmp_path, OBEDIENT)
    assert (bank.totals.files, bank.totals.refused_files) == (1, 1)
    (refusal,) = (read_answers(data) for name, data in answers_in(tmp_path).items() if name.startswith("b."))
    assert (refusal.rejects_unlisted, refusal.reason, refusal.original_message_id) == (True, "DU01", read_journal(journal_path(tmp_path))[0].msg_id)


def test_a_file_that_still_lies_there_is_not_handled_again(tmp_path: Path) -> None:
    put(tmp_path, "a.xml", written([transfer("E1")]))
    work(tmp_path, OBEDIENT)
    before = journal_path(tmp_path).read_bytes()
    assert work(tmp_path, OBEDIENT).totals.files == 0
    assert journal_path(tmp_path).read_bytes() == before


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "FF01"),
        (b"\x00\xff", "FF01"),
        (written([transfer("E1")])[:-60], "FF01"),
        (written([transfer("E1")]).replace(b"<CtrlSum>1200.00", b"<CtrlSum>1200.01"), "AM10"),
        (write_initiation([transfer("E1")], debtor=Debtor("Treasury", DEBTOR.account, "OTHRUS33"), execution_day=DAY, created=CREATED), "AGNT"),
    ],
)
def test_a_file_that_a_bank_would_not_take_is_refused_with_its_reason(tmp_path: Path, data: bytes, reason: str) -> None:
    put(tmp_path, "bad.xml", data)
    put(tmp_path, "good.xml", written([transfer("E1")]))
    work(tmp_path, OBEDIENT)
    refusals = {name.split(".")[0]: data for name, data in answers_in(tmp_path).items() if "pain.002" in name}
    SCHEMAS["pain.002"].assertValid(etree.fromstring(refusals["bad"]))
    assert read_answers(refusals["bad"]).reason == reason
    assert outcomes(read_journal(journal_path(tmp_path))) == [("E1", "executed", "")]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"<IBAN>DK5000400440116243", b"<IBAN>DK5100400440116243", "AC01"),
        (b"<IBAN>DK5000400440116243</IBAN>", b"<Othr><Id> </Id></Othr>", "AC01"),
        (b"1200.00", b"0.00", "AM01"),
    ],
)
def test_an_order_that_no_bank_could_pay_is_rejected_and_not_executed(tmp_path: Path, old: bytes, new: bytes, reason: str) -> None:
    put(tmp_path, "orders.xml", written([transfer("E1", account={"scheme": "iban", "iban": "DK5000400440116243"})]).replace(old, new))
    work(tmp_path, OBEDIENT)
    assert outcomes(read_journal(journal_path(tmp_path))) == [("E1", "rejected", reason)]


def two_files(home: Path) -> None:
    put(home, "1.xml", written([transfer(f"E{number}", 100 + number) for number in range(12)]))
    put(home, "2.xml", written([transfer(f"E{number}", 100 + number) for number in range(8, 24)]))


def test_a_journal_torn_at_any_byte_is_repaired_and_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    undisturbed, torn = tmp_path / "undisturbed", tmp_path / "torn"
    two_files(undisturbed)
    work(undisturbed)
    journal, answers = journal_path(undisturbed).read_bytes(), answers_in(undisturbed)
    first_file = journal.index(b"\n", journal.index(b'"line":"file"'))
    for cut in range(0, len(journal), 97):
        shutil.rmtree(torn, ignore_errors=True)
        two_files(torn)
        journal_path(torn).parent.mkdir(parents=True)
        journal_path(torn).write_bytes(journal[:cut])
        work(torn)
        assert read_journal(journal_path(torn)) == read_journal(journal_path(undisturbed))
        left = answers_in(torn)
        assert left.items() <= answers.items()
        if cut < first_file:
            assert left == answers


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("nth", [1, 2])
def test_a_bank_killed_at_any_point_goes_on_and_ends_as_if_nothing_had_happened(tmp_path: Path, point: str, nth: int) -> None:
    undisturbed, killed = tmp_path / "undisturbed", tmp_path / "killed"
    for home in (undisturbed, killed):
        two_files(home)
    work(undisturbed)
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom connectors.sandbox_bank import Behaviour, SandboxBank\n"
        "left = [int(sys.argv[3])]\n"
        "def crash(point):\n"
        "    left[0] -= point == sys.argv[2]\n"
        "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
        "SandboxBank(Path(sys.argv[1]), behaviour=Behaviour(1, 0.3, 0.3), crash=crash).handle_all()\n"
    )
    died = subprocess.run([sys.executable, "-c", program, str(killed), point, str(nth)], check=False)
    assert died.returncode == -signal.SIGKILL
    work(killed)
    assert read_journal(journal_path(killed)) == read_journal(journal_path(undisturbed))
    assert answers_in(killed) == answers_in(undisturbed)


def test_lines_of_a_file_that_is_not_complete_do_not_count_for_an_auditor(tmp_path: Path) -> None:
    two_files(tmp_path)
    work(tmp_path)
    path = journal_path(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    ends = [position for position, line in enumerate(lines) if b'"line":"file"' in line]
    complete = read_journal(path)
    path.write_bytes(b"".join(lines[: ends[1]]))
    assert read_journal(path) == complete[: ends[0]]


def test_a_second_bank_in_the_same_home_is_refused(tmp_path: Path) -> None:
    first = SandboxBank(tmp_path)
    with pytest.raises(BlockingIOError, match="another sandbox bank is writing"):
        SandboxBank(tmp_path)
    first.close()
    SandboxBank(tmp_path).close()


def test_a_watching_bank_stops_when_it_is_told_to(tmp_path: Path) -> None:
    two_files(tmp_path)
    stop = Event()
    bank = SandboxBank(tmp_path, crash=lambda point: stop.set() if point == "sandbox-bank.before-answered" else None)
    bank.run(stop)
    bank.close()
    assert bank.totals.files == 1
    assert work(tmp_path).totals.files == 1


COMMAND = Typer()
COMMAND.command()(sandbox_bank)


def test_the_command_handles_what_lies_there_and_says_what_it_did(tmp_path: Path) -> None:
    put(tmp_path, "orders.xml", written([transfer("E1"), transfer("E2")]))
    result = CliRunner().invoke(COMMAND, ["--home", str(tmp_path), "--once", "--reject-share", "0", "--return-share", "0"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "1 files, 0 of them refused whole: 2 orders executed, 0 rejected, 0 returned\n"
    assert [movement.outcome for movement in read_journal(journal_path(tmp_path))] == ["executed", "executed"]


@pytest.mark.parametrize("wrong", [["--bank", "sandbox"], ["--reject-share", "0.7", "--return-share", "0.7"], ["--reject-share", "2"]])
def test_the_command_refuses_what_makes_no_sense(tmp_path: Path, wrong: list[str]) -> None:
    result = CliRunner().invoke(COMMAND, ["--home", str(tmp_path), "--once", *wrong])
    assert result.exit_code == 2
    assert not journal_path(tmp_path).exists()


def test_the_command_says_that_another_bank_is_at_work(tmp_path: Path) -> None:
    first = SandboxBank(tmp_path)
    result = CliRunner().invoke(COMMAND, ["--home", str(tmp_path), "--once"])
    first.close()
    assert result.exit_code == 3
    assert "another sandbox bank is writing" in result.stderr


def test_a_watching_command_ends_well_on_sigterm_after_its_file(tmp_path: Path) -> None:
    put(tmp_path, "orders.xml", written([transfer("E1")]))
    program = "import typer\nfrom streams.bank_commands import sandbox_bank\ntyper.run(sandbox_bank)"
    with subprocess.Popen([sys.executable, "-c", program, "--home", str(tmp_path)], stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.glob("bank/in/*.pain.002.xml")):
            assert process.poll() is None
            os.sched_yield()
        process.terminate()
        _, said = process.communicate()
    assert process.returncode == 0
    assert said.startswith("1 files")


def test_the_same_transfer_keeps_its_fate_and_shares_are_about_what_was_asked() -> None:
    behaviour = Behaviour(seed=7, reject_share=0.1, return_share=0.2)
    fates = [behaviour.fate(f"E{number}")[0] for number in range(5000)]
    assert fates == [Behaviour(7, 0.1, 0.2).fate(f"E{number}")[0] for number in range(5000)]
    assert fates != [Behaviour(8, 0.1, 0.2).fate(f"E{number}")[0] for number in range(5000)]
    assert 0.08 < fates.count("rejected") / 5000 < 0.12
    assert 0.17 < fates.count("returned") / 5000 < 0.23
