"""The order to the bank: what the official schema demands, and what it does not check."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from bank_samples import CREATED, DAY, DEBTOR, GOOD, batches, written
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from stdnum import iban as stdnum_iban
from stdnum.iso7064 import mod_97_10

from connectors.bank.initiation import CreditTransfer, Debtor, danish_iban, message_id_of, uetr_of, write_initiation
from pipeline.money import MINOR_DIGITS, parse_minor
from pipeline.problems import Malformed

SCHEMA = etree.XMLSchema(etree.parse(str(Path(__file__).parent / "xsd" / "pain.001.001.09.xsd")))
NS = {"p": "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"}


def problems_of(*transfers: CreditTransfer, debtor: Debtor = DEBTOR) -> list[tuple[str, str]]:
    with pytest.raises(Malformed) as refused:
        write_initiation(list(transfers), debtor=debtor, execution_day=DAY, created=CREATED)
    return [(problem.place, problem.message) for problem in refused.value.problems]


@settings(deadline=None)
@given(batches())
def test_every_message_is_valid_against_the_official_schema(transfers: list[CreditTransfer]) -> None:
    SCHEMA.assertValid(etree.fromstring(written(transfers)))


@settings(deadline=None)
@given(batches())
def test_counts_and_control_sums_are_those_of_the_transfers_to_the_minor_unit(transfers: list[CreditTransfer]) -> None:
    root = etree.fromstring(written(transfers))
    currency = transfers[0].currency
    for level in ("p:CstmrCdtTrfInitn/p:GrpHdr", "p:CstmrCdtTrfInitn/p:PmtInf"):
        assert int(root.findtext(f"{level}/p:NbOfTxs", namespaces=NS)) == len(transfers)
        assert parse_minor(root.findtext(f"{level}/p:CtrlSum", namespaces=NS), currency) == sum(transfer.amount_minor for transfer in transfers)
    amounts = [element.text for element in root.iterfind(".//p:InstdAmt", NS)]
    assert [parse_minor(text, currency) for text in amounts] == [transfer.amount_minor for transfer in transfers]
    assert all(len(text.partition(".")[2]) == MINOR_DIGITS[currency] for text in amounts)


@settings(deadline=None)
@given(batches())
def test_names_and_texts_come_back_as_they_went_in(transfers: list[CreditTransfer]) -> None:
    root = etree.fromstring(written(transfers))
    assert [element.text for element in root.iterfind(".//p:Cdtr/p:Nm", NS)] == [transfer.subject for transfer in transfers]
    assert [element.text for element in root.iterfind(".//p:Ustrd", NS)] == [transfer.remittance for transfer in transfers if transfer.remittance]


@settings(deadline=None)
@given(batches())
def test_the_same_content_is_the_same_message_and_at_another_time_the_same_ids(transfers: list[CreditTransfer]) -> None:
    first, later = written(transfers), written(transfers, datetime(2020, 4, 11, tzinfo=UTC))
    assert first == written(list(transfers))
    assert message_id_of(first) == message_id_of(later)
    dearer = [msgspec.structs.replace(transfers[0], amount_minor=transfers[0].amount_minor + 1), *transfers[1:]]
    assert message_id_of(written(dearer)) != message_id_of(first)


@given(st.from_regex(r"[0-9]{1,4}", fullmatch=True), st.from_regex(r"[0-9]{1,10}", fullmatch=True))
def test_a_danish_account_gives_the_iban_that_python_stdnum_takes(registration: str, number: str) -> None:
    iban = danish_iban(registration, number)
    assert len(iban) == 18
    assert stdnum_iban.is_valid(iban, check_country=False)


@pytest.mark.parametrize(
    ("registration", "number", "iban"),
    [
        ("40", "440116243", "DK5000400440116243"),
        ("1", "1", "DK2600010000000001"),
        ("9999", "9999999999", "DK6999999999999999"),
        ("3000", "3456789", "DK6430000003456789"),
    ],
)
def test_known_danish_accounts_give_their_known_iban(registration: str, number: str, iban: str) -> None:
    assert danish_iban(registration, number) == iban


@given(st.from_regex(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{4,30}", fullmatch=True))
def test_check_digits_are_judged_as_python_stdnum_judges_them(iban: str) -> None:
    transfer = msgspec.structs.replace(GOOD, account={"scheme": "iban", "iban": iban})
    if mod_97_10.is_valid(iban[4:] + iban[:4]):
        written([transfer])
    else:
        assert problems_of(transfer) == [("transfers[0].account.iban", f"the check digits of {iban!r} do not fit")]


@pytest.mark.parametrize(
    "iban",
    [
        "DK5100400440116243",
        "DK5000400440162143",
        "DK2204000012345678",
        "GB28NWBK60161331926819",
        "ZZ5000400440116243",
        "dk5000400440116243",
        "DK50 0040 0440 1162 43",
        "",
    ],
)
def test_a_wrong_iban_never_leaves(iban: str) -> None:
    ((place, message),) = problems_of(msgspec.structs.replace(GOOD, account={"scheme": "iban", "iban": iban}))
    assert place == "transfers[0].account.iban"
    assert repr(iban) in message


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"amount_minor": 0}, "amount_minor"),
        ({"amount_minor": -1}, "amount_minor"),
        ({"amount_minor": 10**18}, "amount_minor"),
        ({"currency": "XXX"}, "currency"),
        ({"end_to_end_id": "E" * 36}, "end_to_end_id"),
        ({"end_to_end_id": "/E"}, "end_to_end_id"),
        ({"instruction_id": ""}, "instruction_id"),
        ({"uetr": "a3bb189e-8bf9-1888-9912-ace4e6543002"}, "uetr"),
        ({"purpose": "SSBEX"}, "purpose"),
        ({"subject": ""}, "subject"),
        ({"subject": "a\x00b"}, "subject"),
        ({"remittance": "r" * 141}, "remittance"),
        ({"remittance": "line\nline"}, "remittance"),
        ({"account": {}}, "account.scheme"),
        ({"account": {"scheme": "ibam"}}, "account.scheme"),
        ({"account": {"scheme": "us", "number": "1"}}, "account.routing"),
        ({"account": {"scheme": "us", "routing": "123456789", "number": "1"}}, "account.routing"),
        ({"account": {"scheme": "us", "routing": "021000021", "number": "<1>"}}, "account.number"),
        ({"account": {"scheme": "dk", "registration": "40123", "number": "1"}}, "account.registration"),
        ({"account": {"scheme": "dk", "registration": "40", "number": "١٢"}}, "account.number"),
    ],
)
def test_what_the_schema_lets_through_is_refused_here(change: dict[str, object], place: str) -> None:
    assert [found for found, _ in problems_of(msgspec.structs.replace(GOOD, **change))] == [f"transfers[0].{place}"]


def test_every_problem_of_a_batch_is_told_at_once() -> None:
    other = msgspec.structs.replace(GOOD, end_to_end_id="E2", uetr=uetr_of("E2"), instruction_id="I2")
    found = problems_of(
        GOOD,
        GOOD,
        msgspec.structs.replace(other, amount_minor=0, currency="DKK"),
        debtor=Debtor("", {"scheme": "iban", "iban": "x"}, "sbnk"),
    )
    assert {place for place, _ in found} == {
        "debtor.name", "debtor.account.iban", "debtor.agent_bic", "transfers[1].end_to_end_id", "transfers[1].instruction_id", "transfers[1].uetr",
        "transfers[2].amount_minor", "transfers[2].currency",
    }  # fmt: skip


def test_an_empty_batch_is_no_message() -> None:
    assert [place for place, _ in problems_of()] == ["transfers"]


@given(st.text(max_size=50))
def test_a_uetr_is_a_version_4_uuid_and_depends_on_the_text_alone(text: str) -> None:
    made = uuid.UUID(uetr_of(text))
    assert (made.version, made.variant, str(made)) == (4, uuid.RFC_4122, uetr_of(text))
