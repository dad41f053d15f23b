"""What the bank answers, read: by profile, by kind, and refused whole where anything in it is wrong."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from connectors.bank.answers import Answer, BankMessage, Expected, read_answers
from connectors.bank.bank_side import Batch, Movement, write_notification, write_status
from pipeline.problems import Malformed

XSD = Path(__file__).parent / "xsd"
STATUS_SCHEMA = etree.XMLSchema(etree.parse(str(XSD / "pain.002.001.12.xsd")))
NOTIFICATION_SCHEMA = etree.XMLSchema(etree.parse(str(XSD / "camt.054.001.08.xsd")))
BATCH = Batch("MSG1", "MSG1-P1", "2020-04-09T12:00:00Z", date(2020, 4, 10), "Treasury & <Sons>", "DK5000400440116243", "SBNKUS33")
ONE = Movement("E1", "a3bb189e-8bf9-4888-9912-ace4e6543002", "I1", "MSG1", "executed", 120_000, "USD")
TWO = Movement("E2", "", "", "MSG1", "rejected", 50_050, "USD", "AC04")
BACK = Movement("E1", "", "I1", "MSG1", "returned", 120_000, "USD", "MD07")

ID = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn", "Z")), min_size=1, max_size=35).filter(lambda text: text != "NOTPROVIDED")


@st.composite
def movements(draw: st.DrawFn) -> list[Movement]:
    currency = draw(st.sampled_from(["USD", "DKK", "JPY", "KRW", "EUR"]))
    made: list[Movement] = []
    for identity in draw(st.lists(ID, min_size=1, max_size=6, unique=True)):
        outcome = draw(st.sampled_from(["executed", "rejected", "returned"]))
        amount = draw(st.integers(1, 10**12))
        if outcome != "rejected":
            made.append(Movement(identity, "", draw(ID), "MSG1", "executed", amount, currency))
        if outcome != "executed":
            made.append(Movement(identity, "", draw(ID), "MSG1", outcome, amount, currency, draw(st.sampled_from(["AC04", "MD07", "BE06"]))))
    return made


def status(*listed: Movement, refusal: str = "", exceptions_only: bool = False) -> bytes:
    return write_status(BATCH, listed, message_id="ANSWER1", refusal=refusal, exceptions_only=exceptions_only)


def notification(*listed: Movement) -> bytes:
    return write_notification(BATCH, listed, message_id="ANSWER2")


def problems_of(data: bytes, expected: Expected | None = None) -> list[str]:
    with pytest.raises(Malformed) as refused:
        read_answers(data, expected=expected)
    return [str(problem) for problem in refused.value.problems]


def replaced(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new, 1)


@settings(deadline=None)
@given(movements(), st.booleans())
def test_a_status_report_is_valid_and_reads_back_as_it_was_meant(listed: list[Movement], exceptions_only: bool) -> None:
    data = status(*listed, exceptions_only=exceptions_only)
    STATUS_SCHEMA.assertValid(etree.fromstring(data))
    message = read_answers(data)
    said = {answer.end_to_end_id: (answer.outcome, answer.reason, answer.amount_minor, answer.currency) for answer in message.answers}
    rejected = {m.end_to_end_id: ("rejected", m.reason, m.amount_minor, m.currency) for m in listed if m.outcome == "rejected"}
    accepted = {m.end_to_end_id: ("accepted", "", m.amount_minor, m.currency) for m in listed if m.outcome == "executed"}
    assert said == rejected | ({} if exceptions_only else accepted)
    assert message.accepts_unlisted == (not rejected if not exceptions_only else bool(accepted))
    assert {answer.original_message_id for answer in message.answers} <= {"MSG1"}


@settings(deadline=None)
@given(movements())
def test_a_notification_is_valid_and_reads_back_as_it_was_meant(listed: list[Movement]) -> None:
    booked = [movement for movement in listed if movement.outcome != "rejected"]
    if not booked:
        return
    data = notification(*booked)
    NOTIFICATION_SCHEMA.assertValid(etree.fromstring(data))
    message = read_answers(data)
    outcome = {"executed": "settled", "returned": "returned"}
    wanted = [Answer(m.end_to_end_id, outcome[m.outcome], m.reason, m.amount_minor, m.currency, BATCH.day, "MSG1") for m in booked]  # type: ignore[arg-type]
    assert sorted(message.answers, key=repr) == sorted(wanted, key=repr)
    assert (message.kind, message.original_message_id, message.other_entries) == ("camt.054", "MSG1", 0)


def test_an_explicit_report_accepts_only_what_it_lists() -> None:
    message = read_answers(status(ONE, TWO))
    assert [(answer.end_to_end_id, answer.outcome, answer.reason) for answer in message.answers] == [("E1", "accepted", ""), ("E2", "rejected", "AC04")]
    assert (message.kind, message.message_id, message.original_message_id) == ("pain.002", "ANSWER1", "MSG1")
    assert (message.status, message.accepts_unlisted, message.rejects_unlisted) == ("PART", False, False)


def test_an_exceptions_only_report_accepts_what_it_leaves_out() -> None:
    message = read_answers(status(ONE, TWO, exceptions_only=True))
    assert [answer.end_to_end_id for answer in message.answers] == ["E2"]
    assert message.accepts_unlisted


def test_a_batch_refused_as_a_whole_says_why_and_accepts_nothing() -> None:
    message = read_answers(status(refusal="DU01"))
    assert (message.rejects_unlisted, message.accepts_unlisted, message.reason, message.answers) == (True, False, "DU01", [])


def test_a_payment_information_that_is_refused_outweighs_the_status_of_the_group() -> None:
    data = replaced(status(ONE), b"</OrgnlPmtInfId>", b"</OrgnlPmtInfId><PmtInfSts>RJCT</PmtInfSts><StsRsnInf><Rsn><Cd>AM10</Cd></Rsn></StsRsnInf>")
    message = read_answers(data)
    assert (message.rejects_unlisted, message.reason) == (True, "AM10")


@pytest.mark.parametrize(
    ("code", "outcome"), [("ACTC", "accepted"), ("ACSC", "settled"), ("PDNG", "pending"), ("RCVD", "pending"), ("RVNM", "pending"), ("CANC", "rejected")]
)
def test_each_status_code_says_one_thing_of_a_transfer(code: str, outcome: str) -> None:
    data = replaced(replaced(status(ONE), b"<TxSts>ACSP", f"<TxSts>{code}".encode()), b"<DtldSts>ACSP", f"<DtldSts>{code}".encode())
    assert [answer.outcome for answer in read_answers(data).answers] == [outcome]


def test_booked_lines_that_answer_no_order_are_counted_and_no_answers() -> None:
    pending = replaced(notification(ONE), b"<Cd>BOOK</Cd>", b"<Cd>PDNG</Cd>")
    foreign = replaced(notification(ONE), b"<EndToEndId>E1<", b"<EndToEndId>NOTPROVIDED<")
    incoming = notification(ONE).replace(b"DBIT", b"CRDT").replace(b"TtlDbtNtries", b"TtlCdtNtries")
    for data in (pending, foreign, incoming):
        message = read_answers(data)
        assert (message.answers, message.other_entries) == ([], 1)


def test_the_amount_of_a_transfer_is_its_own_and_not_that_of_its_charges() -> None:
    charges = b'<Chrgs><Rcrd><Amt Ccy="USD">9.99</Amt><CdtDbtInd>CRDT</CdtDbtInd></Rcrd></Chrgs></TxDtls>'
    assert read_answers(replaced(notification(ONE), b"</TxDtls>", charges)).answers == read_answers(notification(ONE)).answers


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b"\x00\x01\x02\xff" * 100, "no XML"),
        (b'{"an": "event"}', "no XML"),
        (b"<Document/>", "the root is <Document> of ''"),
        (b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"/>', "pain.001.001.09"),
        (b'<!DOCTYPE Document [<!ENTITY a "b">]><Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.12">&a;</Document>', "document type declaration"),
        (b'<!DOCTYPE Document SYSTEM "file:///etc/passwd"><Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.12"/>', "document type declaration"),
        (b'<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.002.001.12"/>', "the message has no id"),
    ],
)  # fmt: skip
def test_what_is_no_answer_of_a_bank_is_refused(data: bytes, said: str) -> None:
    (problem,) = problems_of(data)
    assert said in problem


@pytest.mark.parametrize("whole", [status(ONE, TWO), notification(ONE, BACK)], ids=["pain.002", "camt.054"])
def test_a_file_cut_off_anywhere_is_refused(whole: bytes) -> None:
    end = len(whole.rstrip())
    for cut in range(0, end, 7):
        assert problems_of(whole[:cut])
    assert isinstance(read_answers(whole[:end]), BankMessage)


@pytest.mark.parametrize(
    ("data", "expected", "said"),
    [
        (status(ONE), Expected(bank_bic="OTHRUS33"), "for the bank 'SBNKUS33', not 'OTHRUS33'"),
        (status(ONE), Expected(initiating_party="Somebody"), "for the initiating party 'Treasury & <Sons>', not 'Somebody'"),
        (notification(ONE), Expected(bank_bic="OTHRUS33"), "for the bank 'SBNKUS33', not 'OTHRUS33'"),
        (notification(ONE), Expected(initiating_party="Somebody"), "for the recipient 'Treasury & <Sons>', not 'Somebody'"),
        (notification(ONE), Expected(account_iban="FO6264600001631634"), "for the account 'DK5000400440116243', not 'FO6264600001631634'"),
    ],
)
def test_a_file_for_another_bank_or_party_is_refused(data: bytes, expected: Expected, said: str) -> None:
    (problem,) = problems_of(data, expected)
    assert said in problem
    assert read_answers(data, expected=Expected("SBNKUS33", "Treasury & <Sons>", "DK5000400440116243")).answers


@pytest.mark.parametrize(
    ("data", "old", "new", "said"),
    [
        (status(ONE), b"<DtldNbOfTxs>1<", b"<DtldNbOfTxs>2<", "the file says '2', its lines add up to 1"),
        (status(ONE), b"<DtldCtrlSum>1200.00<", b"<DtldCtrlSum>1200.01<", "the file says '1200.01', its lines add up to 1200"),
        (status(ONE), b"<DtldCtrlSum>1200.00<", b"<DtldCtrlSum>1,200<", "the file says '1,200'"),
        (status(ONE), b'Ccy="USD">1200.00', b'Ccy="USD">1200.001', "more decimals than USD has"),
        (status(ONE), b'Ccy="USD">1200.00', b'Ccy="JPY">1200.50', "more decimals than JPY has"),
        (status(ONE), b'Ccy="USD">1200.00', b'Ccy="USD">-1200.00', "is not an amount"),
        (status(ONE), b'Ccy="USD"', b'Ccy="XXX"', "'XXX' is not a known currency"),
        (status(ONE), b"<TxSts>ACSP", b"<TxSts>XXXX", "'E1' has the status 'XXXX'"),
        (status(ONE), b"<GrpSts>ACCP", b"<GrpSts>FINE", "'FINE' is not a known status"),
        (status(ONE), b"2020-04-09T", b"2020-02-30T", "'2020-02-30T12:00:00Z' is not a day"),
        (notification(ONE, BACK), b"<NbOfNtries>2<", b"<NbOfNtries>3<", "the file says '3', its lines add up to 2"),
        (notification(ONE, BACK), b"<Sum>2400.00<", b"<Sum>2400.01<", "its lines add up to 2400"),
        (notification(ONE), b'1200.00</Amt><CdtDbtInd>DBIT</CdtDbtInd></TxDtls>', b'1.05</Amt></TxDtls>', "its lines add up to 1.05"),
        (notification(ONE), b"<NbOfTxs>1<", b"<NbOfTxs>4<", "the file says '4', its lines add up to 1"),
        (notification(ONE), b"<MsgId>ANSWER2</MsgId>", b"<MsgId></MsgId>", "the message has no id"),
    ],
)  # fmt: skip
def test_a_file_that_contradicts_itself_is_refused(data: bytes, old: bytes, new: bytes, said: str) -> None:
    assert any(said in problem for problem in problems_of(replaced(data, old, new)))


def test_every_problem_of_a_file_is_told_at_once_with_its_line() -> None:
    data = replaced(replaced(status(ONE, TWO), b"<TxSts>ACSP", b"<TxSts>XXXX"), b'Ccy="USD">500.50', b'Ccy="USD">500.505')
    with pytest.raises(Malformed) as refused:
        read_answers(data, expected=Expected(bank_bic="OTHRUS33"))
    assert [problem.line for problem in refused.value.problems] == [2, 3, 4]


def test_a_return_whose_reason_is_the_banks_own_words_is_a_return() -> None:
    data = replaced(notification(BACK), b"<Cd>MD07</Cd>", b"<Prtry>estate closed</Prtry>")
    assert [(answer.outcome, answer.reason) for answer in read_answers(data).answers] == [("returned", "estate closed")]


def test_a_file_longer_than_one_portion_is_read_whole_and_in_order() -> None:
    listed = [
        Movement(f"E{number}", "", f"I{number}", "MSG1", "rejected" if number % 997 == 0 else "executed", number, "USD", "AC04") for number in range(1, 4500)
    ]
    said = read_answers(status(*listed)).answers
    assert [(answer.end_to_end_id, answer.amount_minor, answer.outcome) for answer in said] == [
        (m.end_to_end_id, m.amount_minor, "rejected" if m.outcome == "rejected" else "accepted") for m in listed
    ]
    booked = [movement for movement in listed if movement.outcome == "executed"]
    assert [answer.end_to_end_id for answer in read_answers(notification(*booked)).answers] == [movement.end_to_end_id for movement in booked]
