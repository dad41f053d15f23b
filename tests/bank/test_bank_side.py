"""What the bank's side reads is what was written, and what it refuses says why."""

from __future__ import annotations

import pytest
from bank_samples import DAY, DEBTOR, batches, transfer, written
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from connectors.bank.bank_side import Order, account_is_good, read_initiation
from connectors.bank.initiation import CreditTransfer, danish_iban, message_id_of
from connectors.bank.parsing import Table
from pipeline.problems import Malformed


def order_of(sent: CreditTransfer) -> Order:
    account = sent.account
    if account["scheme"] == "us":
        number, is_iban = account["number"], False
    else:
        number, is_iban = account.get("iban") or danish_iban(account["registration"], account["number"]), True
    return Order(sent.end_to_end_id, sent.instruction_id, sent.uetr, sent.amount_minor, sent.currency, number, is_iban)


@settings(deadline=None)
@given(batches())
def test_the_bank_reads_every_order_as_it_was_written(transfers: list[CreditTransfer]) -> None:
    data = written(transfers)
    batch, orders = read_initiation(data)
    assert orders == [order_of(sent) for sent in transfers]
    assert all(account_is_good(order) for order in orders)
    assert (batch.message_id, batch.day, batch.debtor_name, batch.agent_bic) == (message_id_of(data), DAY, DEBTOR.name, DEBTOR.agent_bic)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        (b"<NbOfTxs>1<", b"<NbOfTxs>2<", "GrpHdr.NbOfTxs"),
        (b"<CtrlSum>1200.00<", b"<CtrlSum>1200.01<", "GrpHdr.CtrlSum"),
        (b'<InstdAmt Ccy="USD">1200.00<', b'<InstdAmt Ccy="USD">1200.001<', "CdtTrfTxInf[0].Amt.InstdAmt"),
        (b"<EndToEndId>E1</EndToEndId>", b"", "CdtTrfTxInf[0].PmtId.EndToEndId"),
        (b"<BICFI>SBNKUS33</BICFI>", b"", "GrpHdr"),
        (b"<Dt>2020-04-10</Dt>", b"", "PmtInf.ReqdExctnDt"),
        (b"PmtInf>", b"Payment>", "PmtInf"),
    ],
)
def test_a_broken_order_message_is_refused_with_its_place(old: bytes, new: bytes, place: str) -> None:
    data = written([transfer("E1")])
    assert old in data
    with pytest.raises(Malformed) as refused:
        read_initiation(data.replace(old, new) if b"PmtInf" in old else data.replace(old, new, 1))
    assert place in {problem.place for problem in refused.value.problems}


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(st.sampled_from("ab"), max_size=3), st.lists(st.sampled_from("ab"), max_size=3)), max_size=6))
def test_rows_keep_the_parts_of_an_element_together_however_ragged_the_file_is(elements: list[tuple[list[str], list[str]]]) -> None:
    texts = [("".join(f"<x>{text}</x>" for text in first), "".join(f"<y>{text}</y>" for text in second)) for first, second in elements]
    root = etree.fromstring(f'<d xmlns="urn:n">{"".join(f"<t>{x}{y}</t>" for x, y in texts)}</d>')
    wanted = [(first[0] if first else "", second[0] if second else "") for first, second in elements]
    assert Table("urn:n", "/p:d/p:t", ["p:x/text()", "p:y/text()"]).of(root)[1] == wanted
    assert Table("urn:n", "p:t[position()<=$upto]", ["p:y/text()"]).of(root, 2)[1] == [(second,) for _, second in wanted[:2]]
