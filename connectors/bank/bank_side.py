"""The messages from the bank's side: it reads pain.001 as it came and writes pain.002.001.12 and camt.054.001.08."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Literal

import msgspec

from connectors.bank.initiation import BIC, IBAN, check_digits_fit, escaped
from connectors.bank.parsing import ISO, Element, Reading, Table, document, message_name, minor_of, total_of
from pipeline.money import decimal_text
from pipeline.problems import Malformed, Problem

STATUS, NOTIFICATION = "pain.002.001.12", "camt.054.001.08"


class Batch(msgspec.Struct, frozen=True):
    """The head of an order message, as the answers repeat it."""

    message_id: str = "NOTPROVIDED"
    payment_information_id: str = "NOTPROVIDED"
    created: str = "1970-01-01T00:00:00Z"
    day: date = date(1970, 1, 1)
    debtor_name: str = ""
    debtor_account: str = ""
    agent_bic: str = ""


class Order(msgspec.Struct, frozen=True, gc=False):
    """One transfer of an order message. `account` is an IBAN or another number, empty where there is none."""

    end_to_end_id: str
    instruction_id: str
    uetr: str
    amount_minor: int
    currency: str
    account: str
    account_is_iban: bool


class Movement(msgspec.Struct, frozen=True, gc=False, tag_field="line", tag="transfer"):
    """What the bank did with one transfer."""

    end_to_end_id: str
    uetr: str
    instruction_id: str
    msg_id: str
    outcome: Literal["executed", "rejected", "returned"]
    amount_minor: int
    currency: str
    reason: str = ""


_ORDERS = "/p:Document/p:CstmrCdtTrfInitn/p:PmtInf/p:CdtTrfTxInf"
_PARTS = (
    *("p:PmtId/p:EndToEndId/text()", "p:PmtId/p:InstrId/text()", "p:PmtId/p:UETR/text()", "p:Amt/p:InstdAmt/text()", "p:Amt/p:InstdAmt/@Ccy"),
    *("p:CdtrAcct/p:Id/p:IBAN/text()", "p:CdtrAcct/p:Id/p:Othr/p:Id/text()"),
)


def read_initiation(data: bytes) -> tuple[Batch, list[Order]]:
    """Reads an order message whole, or raises Malformed with all of its problems, control sums and counts among them."""
    namespace = ISO + message_name(data, ["pain.001.001.09"])
    reading, root = Reading(namespace), document(data)
    orders = _orders(reading, *Table(namespace, _ORDERS, _PARTS).of(root))
    payments = root.findall(reading.path("CstmrCdtTrfInitn/PmtInf"))
    header = root.find(reading.path("CstmrCdtTrfInitn/GrpHdr"))
    if header is None or len(payments) != 1:
        reading.problem(root, "PmtInf", f"the message has {len(payments)} payment informations", "this bank takes one a message, after a group header")
        raise Malformed(reading.problems)
    payment = payments[0]
    totals: defaultdict[str, int] = defaultdict(int)
    for order in orders:
        totals[order.currency] += order.amount_minor
    if len(totals) > 1:
        reading.problem(payment, "PmtInf", f"the message holds the currencies {', '.join(sorted(totals))}", "write one message per currency")
    for level, place in ((header, "GrpHdr"), (payment, "PmtInf")):
        reading.tally(level, f"{place}.NbOfTxs", reading.text(level, "NbOfTxs"), len(orders))
        reading.tally(level, f"{place}.CtrlSum", reading.text(level, "CtrlSum"), total_of(totals))
    message_id, agent = reading.text(header, "MsgId"), reading.text(payment, "DbtrAgt/FinInstnId/BICFI")
    if not (message_id and BIC.fullmatch(agent)):
        reading.problem(header, "GrpHdr", f"the message id is {message_id!r}, the debtor's bank {agent!r}", "name both")
    day = reading.day(payment, "ReqdExctnDt")
    if reading.problems or day is None:
        raise Malformed(reading.problems or [Problem("PmtInf.ReqdExctnDt", "the message names no day", "say when to execute it")])
    account = reading.text(payment, "DbtrAcct/Id/IBAN") or reading.text(payment, "DbtrAcct/Id/Othr/Id")
    parts = reading.text(payment, "PmtInfId"), reading.text(header, "CreDtTm"), day, reading.text(payment, "Dbtr/Nm")
    return Batch(message_id, *parts, account, agent), orders


def account_is_good(order: Order) -> bool:
    """Whether the bank can tell where to pay; that the account exists is another question."""
    if order.account_is_iban:
        return IBAN.fullmatch(order.account) is not None and check_digits_fit(order.account)
    return order.account.isascii() and order.account.isalnum()


def _orders(reading: Reading, elements: Sequence[Element], texts: Sequence[tuple[str, ...]]) -> list[Order]:
    orders: list[Order] = []
    for position, (end_to_end_id, instruction_id, uetr, amount, currency, iban, other) in enumerate(texts):
        place = f"CdtTrfTxInf[{position}]"
        amount_minor = 0
        try:
            amount_minor = minor_of(amount, currency)
        except ValueError as fault:
            reading.problem(elements[position], f"{place}.Amt.InstdAmt", str(fault))
        if not end_to_end_id:
            reading.problem(elements[position], f"{place}.PmtId.EndToEndId", "the transfer has no end-to-end id", "give it one")
        orders.append(Order(end_to_end_id, instruction_id, uetr, amount_minor, currency, iban or other, bool(iban)))
    return orders


def write_status(batch: Batch, movements: Sequence[Movement], *, message_id: str, refusal: str = "", exceptions_only: bool = False) -> bytes:
    """pain.002: what was accepted and what was rejected; with `refusal` the whole message is, for that reason."""
    listed = [movement for movement in movements if movement.outcome != "returned" and (movement.outcome == "rejected" or not exceptions_only)]
    counts = Counter(movement.outcome for movement in movements)
    refused = bool(refusal) or counts["rejected"] == len(movements)
    status = "RJCT" if refused else "PART" if counts["rejected"] and not exceptions_only else "ACCP"
    parties = f"<InitgPty><Nm>{escaped(batch.debtor_name)}</Nm></InitgPty>" if batch.debtor_name else ""
    agent = f"<DbtrAgt><FinInstnId><BICFI>{batch.agent_bic}</BICFI></FinInstnId></DbtrAgt>" if batch.agent_bic else ""
    reason = f"<StsRsnInf><Rsn><Cd>{refusal}</Cd></Rsn></StsRsnInf>" if refusal else ""
    per_status = "".join(
        f"<NbOfTxsPerSts><DtldNbOfTxs>{len(group)}</DtldNbOfTxs><DtldSts>{code}</DtldSts><DtldCtrlSum>{_sum(group)}</DtldCtrlSum></NbOfTxsPerSts>"
        for code, outcome in (("ACSP", "executed"), ("RJCT", "rejected"))
        if (group := [movement for movement in listed if movement.outcome == outcome])
    )
    payment = ""
    if listed:
        original, transfers = escaped(batch.payment_information_id), "".join(map(_status_xml, listed))
        payment = f"<OrgnlPmtInfAndSts><OrgnlPmtInfId>{original}</OrgnlPmtInfId>{per_status}\n{transfers}</OrgnlPmtInfAndSts>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{ISO}{STATUS}"><CstmrPmtStsRpt>'
        f"<GrpHdr><MsgId>{message_id}</MsgId><CreDtTm>{batch.created}</CreDtTm>{parties}{agent}</GrpHdr>"
        f"<OrgnlGrpInfAndSts><OrgnlMsgId>{escaped(batch.message_id)}</OrgnlMsgId><OrgnlMsgNmId>pain.001.001.09</OrgnlMsgNmId><GrpSts>{status}</GrpSts>{reason}</OrgnlGrpInfAndSts>"
        f"{payment}</CstmrPmtStsRpt></Document>\n"
    ).encode()


def write_notification(batch: Batch, movements: Sequence[Movement], *, message_id: str) -> bytes:
    """camt.054: the executed transfers as one booked debit, every returned one as a booked credit with its reason."""
    executed = [movement for movement in movements if movement.outcome == "executed"]
    returned = [movement for movement in movements if movement.outcome == "returned"]
    entries = [_entry_xml(batch, executed, "DBIT", "ICDT", "DMCT")] if executed else []
    entries += [_entry_xml(batch, [movement], "CRDT", "RCDT", "RRTN") for movement in returned]
    number = "IBAN" if IBAN.fullmatch(batch.debtor_account) else ""
    account = f"<IBAN>{batch.debtor_account}</IBAN>" if number else f"<Othr><Id>{escaped(batch.debtor_account)}</Id></Othr>"
    totals = f"<TtlNtries><NbOfNtries>{len(entries)}</NbOfNtries><Sum>{_sum([*executed, *returned])}</Sum></TtlNtries>"
    if returned:
        totals += f"<TtlCdtNtries><NbOfNtries>{len(returned)}</NbOfNtries><Sum>{_sum(returned)}</Sum></TtlCdtNtries>"
    if executed:
        totals += f"<TtlDbtNtries><NbOfNtries>1</NbOfNtries><Sum>{_sum(executed)}</Sum></TtlDbtNtries>"
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{ISO}{NOTIFICATION}"><BkToCstmrDbtCdtNtfctn>'
        f"<GrpHdr><MsgId>{message_id}</MsgId><CreDtTm>{batch.created}</CreDtTm><MsgRcpt><Nm>{escaped(batch.debtor_name)}</Nm></MsgRcpt></GrpHdr>"
        f"<Ntfctn><Id>{message_id}</Id><Acct><Id>{account}</Id><Svcr><FinInstnId><BICFI>{batch.agent_bic}</BICFI></FinInstnId></Svcr></Acct><TxsSummry>{totals}</TxsSummry>\n"
        f"{''.join(entries)}</Ntfctn></BkToCstmrDbtCdtNtfctn></Document>\n"
    ).encode()


def _status_xml(movement: Movement) -> str:
    rejected = movement.outcome == "rejected"
    status = f"<TxSts>RJCT</TxSts><StsRsnInf><Rsn><Cd>{movement.reason}</Cd></Rsn></StsRsnInf>" if rejected else "<TxSts>ACSP</TxSts>"
    instruction = f"<OrgnlInstrId>{escaped(movement.instruction_id)}</OrgnlInstrId>" if movement.instruction_id else ""
    uetr = f"<OrgnlUETR>{movement.uetr}</OrgnlUETR>" if movement.uetr else ""
    amount = f'<InstdAmt Ccy="{movement.currency}">{decimal_text(movement.amount_minor, movement.currency)}</InstdAmt>'
    return (
        f"<TxInfAndSts>{instruction}<OrgnlEndToEndId>{escaped(movement.end_to_end_id)}</OrgnlEndToEndId>{uetr}{status}"
        f"<OrgnlTxRef><Amt>{amount}</Amt></OrgnlTxRef></TxInfAndSts>\n"
    )


def _entry_xml(batch: Batch, movements: Sequence[Movement], direction: str, family: str, sub_family: str) -> str:
    currency, total = movements[0].currency, _sum(movements)
    original = f"<MsgId>{escaped(batch.message_id)}</MsgId><PmtInfId>{escaped(batch.payment_information_id)}</PmtInfId>"
    details = "".join([_detail_xml(original, movement, direction) for movement in movements])
    return (
        f'<Ntry><Amt Ccy="{currency}">{total}</Amt><CdtDbtInd>{direction}</CdtDbtInd><Sts><Cd>BOOK</Cd></Sts>'
        f"<BookgDt><Dt>{batch.day}</Dt></BookgDt><ValDt><Dt>{batch.day}</Dt></ValDt>"
        f"<BkTxCd><Domn><Cd>PMNT</Cd><Fmly><Cd>{family}</Cd><SubFmlyCd>{sub_family}</SubFmlyCd></Fmly></Domn></BkTxCd>"
        f'<NtryDtls><Btch><NbOfTxs>{len(movements)}</NbOfTxs><TtlAmt Ccy="{currency}">{total}</TtlAmt><CdtDbtInd>{direction}</CdtDbtInd></Btch>\n'
        f"{details}</NtryDtls></Ntry>\n"
    )


def _detail_xml(original: str, movement: Movement, direction: str) -> str:
    instruction = f"<InstrId>{escaped(movement.instruction_id)}</InstrId>" if movement.instruction_id else ""
    uetr = f"<UETR>{movement.uetr}</UETR>" if movement.uetr else ""
    reason = f"<RtrInf><Rsn><Cd>{movement.reason}</Cd></Rsn></RtrInf>" if movement.outcome == "returned" else ""
    return (
        f"<TxDtls><Refs>{original}{instruction}<EndToEndId>{escaped(movement.end_to_end_id)}</EndToEndId>{uetr}</Refs>"
        f'<Amt Ccy="{movement.currency}">{decimal_text(movement.amount_minor, movement.currency)}</Amt><CdtDbtInd>{direction}</CdtDbtInd>{reason}</TxDtls>\n'
    )


def _sum(movements: Iterable[Movement]) -> str:
    """The sum of transfers of one currency."""
    movements = list(movements)
    return decimal_text(sum(movement.amount_minor for movement in movements), movements[0].currency)
