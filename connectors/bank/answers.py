"""What the bank answers: pain.002 (accepted, rejected), camt.054 and camt.053 (settled, returned), read into one kind of answer."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from typing import Literal

import msgspec

from connectors.bank.parsing import ISO, Element, Reading, Table, elements, message_name, total_of
from pipeline.problems import Malformed, Problem

Outcome = Literal["accepted", "pending", "rejected", "settled", "returned"]
_ROWS_AT_ONCE = 2_000
"""Transfers taken from the tree in one go; what memory a file takes depends on this and not on its size."""
READABLE = ("pain.002.001.10", "pain.002.001.11", "pain.002.001.12", "camt.053.001.08", "camt.054.001.08")

OUTCOME_OF_STATUS: dict[str, Outcome] = {
    **dict.fromkeys(("ACTC", "ACCP", "ACFC", "ACFW", "ACSP", "ACWC", "ACWP", "ACPD", "ACIS"), "accepted"),
    **dict.fromkeys(("RCVD", "PDNG", "PATC", "PRES", "PART", "BLCK", "RVNC", "RVCM", "RVCC", "RVMC", "RVNM", "RVNA"), "pending"),
    **dict.fromkeys(("ACSC", "ACCC"), "settled"),
    **dict.fromkeys(("RJCT", "CANC"), "rejected"),
}  # fmt: skip
"""ISO 20022 payment status codes, as far as they matter to an order. Pending says nothing yet: the order stays sent."""


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What the bank says of one transfer. Amount and day are None where the bank leaves them out."""

    end_to_end_id: str
    outcome: Outcome
    reason: str = ""
    amount_minor: int | None = None
    currency: str = ""
    day: date | None = None
    original_message_id: str = ""


class BankMessage(msgspec.Struct, frozen=True):
    """One file of the bank. `status` and `reason` are those of the whole batch (pain.002 only); `other_entries` counts the lines of a
    notification or statement that answer no order."""

    kind: Literal["pain.002", "camt.053", "camt.054"]
    message_id: str
    original_message_id: str
    answers: list[Answer]
    status: str = ""
    reason: str = ""
    other_entries: int = 0

    @property
    def accepts_unlisted(self) -> bool:
        """The batch is accepted, so the transfers that it does not list are accepted too (the exceptions-only profile)."""
        return OUTCOME_OF_STATUS.get(self.status) in ("accepted", "settled")

    @property
    def rejects_unlisted(self) -> bool:
        """The batch is refused as a whole, for `reason`."""
        return OUTCOME_OF_STATUS.get(self.status) == "rejected"


class Expected(msgspec.Struct, frozen=True):
    """Whose answers we take: our bank's, to us, about our account. An empty field is not compared."""

    bank_bic: str = ""
    initiating_party: str = ""
    account_iban: str = ""


def read_answers(data: bytes, *, expected: Expected | None = None) -> BankMessage:
    """Reads one file. It is taken whole or not at all: Malformed holds everything that is wrong with it."""
    name = message_name(data, READABLE)
    reading = Reading(ISO + name)
    reader = (_StatusReport if name.startswith("pain") else _Statement if name.startswith("camt.053") else _Notification)(reading, expected or Expected())
    handlers, row, waiting = {reading.path(tag): handler for tag, handler in reader.handlers.items()}, reading.path(reader.row), 0
    for element in elements(data, [*handlers, row]):
        if element.tag != row:
            handlers[element.tag](element)
            waiting = 0
        elif (waiting := waiting + 1) == _ROWS_AT_ONCE:
            reader.rows.take(element.getparent(), waiting)  # the parser may be ahead, so no more than have been announced
            waiting = 0
    message = reader.message()
    if not message.message_id:
        reading.problems.append(Problem("GrpHdr.MsgId", "the message has no id", "ask the bank for a right file"))
    if reading.problems:
        raise Malformed(reading.problems)
    return message


class _Rows:
    """The transfers of a file, handed on in portions and dropped from the tree."""

    def __init__(self, reading: Reading, row: str, parts: Sequence[str], transfer: Callable[..., None]) -> None:
        below = [part.replace("/", "/p:").replace("p:@", "@") for part in parts]
        texts = [f"p:{part}" if part.endswith("@Ccy") else f"p:{part}/text()" for part in below]
        self._table = Table(reading.namespace, f"p:{row}[position()<=$upto]", texts)
        self._transfer = transfer
        self._taken: list[Element] = []

    def take(self, parent: Element, upto: int = sys.maxsize) -> None:
        """Hands on the first rows of a parent. They leave the tree with the next portion, since the parser may stand at the last of them."""
        for element in self._taken:
            parent.remove(element)
        self._taken, texts = self._table.of(parent, upto)
        for element, parts in zip(self._taken, texts, strict=True):
            self._transfer(element, *parts)

    def take_last(self, parent: Element) -> None:
        """Hands on what is left of a parent that is complete."""
        self.take(parent)
        self._taken = []


class _StatusReport:
    """pain.002 while it is read."""

    row = "TxInfAndSts"
    parts = ("OrgnlEndToEndId", "TxSts", "StsRsnInf/Rsn/Cd", "OrgnlTxRef/Amt/InstdAmt", "OrgnlTxRef/Amt/InstdAmt/@Ccy")

    def __init__(self, reading: Reading, expected: Expected) -> None:
        self.handlers = {"GrpHdr": self.header, "OrgnlGrpInfAndSts": self.batch, "OrgnlPmtInfAndSts": self.payment}
        self.rows = _Rows(reading, self.row, self.parts, self.transfer)
        self._reading, self._expected = reading, expected
        self._answers: list[Answer] = []
        self._count: defaultdict[str, int] = defaultdict(int)
        self._sum: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._tallies: list[Element] = []
        self._message_id = self._original_message_id = self._group_status = self._group_reason = ""
        self._payments: list[tuple[str, str]] = []
        self._day: date | None = None

    def header(self, element: Element) -> None:
        reading, expected = self._reading, self._expected
        self._message_id, self._day = _identity(reading, element)
        reading.same(element, "GrpHdr.InitgPty", reading.text(element, "InitgPty/Nm"), expected.initiating_party, "the initiating party")
        reading.same(element, "GrpHdr.DbtrAgt", reading.text(element, "DbtrAgt/FinInstnId/BICFI"), expected.bank_bic, "the bank")

    def batch(self, element: Element) -> None:
        reading = self._reading
        self._original_message_id = reading.text(element, "OrgnlMsgId")
        self._group_status, self._group_reason = reading.text(element, "GrpSts"), reading.text(element, "StsRsnInf/Rsn/Cd")
        if self._group_status and self._group_status not in OUTCOME_OF_STATUS:
            reading.problem(element, "OrgnlGrpInfAndSts.GrpSts", f"{self._group_status!r} is not a known status")
        self._tallies += element.iterfind(reading.path("NbOfTxsPerSts"))

    def payment(self, element: Element) -> None:
        reading = self._reading
        self.rows.take_last(element)
        if status := reading.text(element, "PmtInfSts"):
            self._payments.append((status, reading.text(element, "StsRsnInf/Rsn/Cd")))
            if status not in OUTCOME_OF_STATUS:
                reading.problem(element, "OrgnlPmtInfAndSts.PmtInfSts", f"{status!r} is not a known status")
        self._tallies += element.iterfind(reading.path("NbOfTxsPerSts"))

    def transfer(self, element: Element, end_to_end_id: str, status: str, reason: str, amount: str, currency: str) -> None:
        outcome, place = OUTCOME_OF_STATUS.get(status), "TxInfAndSts"
        if outcome is None or not end_to_end_id:
            self._reading.problem(element, place, f"end-to-end id {end_to_end_id!r} has the status {status!r}", "both must be known")
            outcome = "pending"
        amount_minor = self._reading.money(element, f"{place}[{end_to_end_id}].InstdAmt", amount, currency)
        currency = currency if amount_minor is not None else ""
        self._count[status] += 1
        self._sum[status, currency] += amount_minor or 0
        reason = "" if outcome in ("accepted", "settled") else reason
        self._answers.append(Answer(end_to_end_id, outcome, reason, amount_minor, currency, self._day, self._original_message_id))

    def message(self) -> BankMessage:
        for tally in self._tallies:
            self._check(tally)
        statuses = set(self._payments)
        if len(statuses) > 1:
            place, mend = "OrgnlPmtInfAndSts", "our messages hold one payment information; ask the bank what it answers"
            self._reading.problems.append(Problem(place, f"payment informations have the statuses {sorted(status for status, _ in statuses)}", mend))
        status, reason = statuses.pop() if statuses else (self._group_status, "")
        return BankMessage("pain.002", self._message_id, self._original_message_id, self._answers, status, reason or self._group_reason)

    def _check(self, tally: Element) -> None:
        """The bank's count per status against the listed transfers; what an exceptions-only report leaves out is not counted."""
        status = self._reading.text(tally, "DtldSts")
        if status not in self._count:
            return
        self._reading.tally(tally, f"NbOfTxsPerSts[{status}].DtldNbOfTxs", self._reading.text(tally, "DtldNbOfTxs"), self._count[status])
        sums = {currency: minor for (of, currency), minor in self._sum.items() if of == status}
        if "" not in sums:
            self._reading.tally(tally, f"NbOfTxsPerSts[{status}].DtldCtrlSum", self._reading.text(tally, "DtldCtrlSum"), total_of(sums))


class _Detail(msgspec.Struct, gc=False):
    """One transfer within a booked entry."""

    end_to_end_id: str
    original_message_id: str
    amount_minor: int | None
    currency: str
    direction: str
    reason: str  # of a return; every return has one


class _Notification:
    """camt.054 while it is read: booked debits settle an order, booked credits with return information give one back."""

    kind: Literal["camt.053", "camt.054"] = "camt.054"
    box = "Ntfctn"
    row = "TxDtls"
    parts = ("Refs/EndToEndId", "Refs/MsgId", "Amt", "Amt/@Ccy", "CdtDbtInd", "RtrInf/Rsn/*")

    def __init__(self, reading: Reading, expected: Expected) -> None:
        self.handlers = {"GrpHdr": self.header, "Acct": self.account, "Ntry": self.entry, self.box: self.notification}
        self.rows = _Rows(reading, self.row, self.parts, self.transfer)
        self._reading, self._expected = reading, expected
        self._answers: list[Answer] = []
        self._details: list[_Detail] = []
        self._entries: list[tuple[str, int, str]] = []
        self._message_id = ""
        self._other = 0

    def header(self, element: Element) -> None:
        self._message_id, _ = _identity(self._reading, element)
        self._reading.same(element, "GrpHdr.MsgRcpt", self._reading.text(element, "MsgRcpt/Nm"), self._expected.initiating_party, "the recipient")

    def account(self, element: Element) -> None:
        if element.getparent().tag == self._reading.path(self.box):
            self._reading.same(element, f"{self.box}.Acct", self._reading.text(element, "Id/IBAN"), self._expected.account_iban, "the account")
            self._reading.same(element, f"{self.box}.Acct.Svcr", self._reading.text(element, "Svcr/FinInstnId/BICFI"), self._expected.bank_bic, "the bank")

    def transfer(self, element: Element, end_to_end_id: str, original: str, amount: str, currency: str, direction: str, reason: str) -> None:
        amount_minor = self._reading.money(element, f"Ntry[{len(self._entries)}].TxDtls.Amt", amount, currency)
        self._details.append(_Detail(end_to_end_id, original, amount_minor, currency if amount_minor is not None else "", direction, reason))

    def entry(self, element: Element) -> None:
        reading, place = self._reading, f"Ntry[{len(self._entries)}]"
        direction, booked = reading.text(element, "CdtDbtInd"), reading.text(element, "Sts/Cd") == "BOOK"
        for details_of_batch in element.iterfind(reading.path("NtryDtls")):
            self.rows.take_last(details_of_batch)
        amount = element.find(reading.path("Amt"))
        currency = amount.get("Ccy", "") if amount is not None else ""
        amount_minor = reading.money(element, f"{place}.Amt", reading.text(element, "Amt"), currency)
        day = reading.day(element, "BookgDt")
        self._entries.append((direction, amount_minor or 0, currency))
        details, self._details = self._details, []
        if len(details) == 1 and details[0].amount_minor is None:
            details[0].amount_minor, details[0].currency = amount_minor, currency
        if details and all(detail.currency == currency for detail in details):
            reading.tally(element, f"{place}.Amt", reading.text(element, "Amt"), total_of({currency: sum(detail.amount_minor or 0 for detail in details)}))
        for batch in element.iterfind(reading.path("NtryDtls/Btch/NbOfTxs")):
            reading.tally(batch, f"{place}.Btch.NbOfTxs", batch.text or "", len(details))
        for detail in details:
            if booked and _answers_an_order(detail, direction):
                outcome: Outcome = "returned" if detail.reason else "settled"
                self._answers.append(
                    Answer(detail.end_to_end_id, outcome, detail.reason, detail.amount_minor, detail.currency, day, detail.original_message_id)
                )
            else:
                self._other += 1
        self._other += not details
        element.clear()

    def notification(self, element: Element) -> None:
        for tag, wanted in (("TtlNtries", ("DBIT", "CRDT")), ("TtlDbtNtries", ("DBIT",)), ("TtlCdtNtries", ("CRDT",))):
            total = element.find(self._reading.path(f"TxsSummry/{tag}"))
            if total is None:
                continue
            entries = [(minor, currency) for direction, minor, currency in self._entries if direction in wanted]
            sums: defaultdict[str, int] = defaultdict(int)
            for minor, currency in entries:
                sums[currency] += minor
            self._reading.tally(total, f"TxsSummry.{tag}.NbOfNtries", self._reading.text(total, "NbOfNtries"), len(entries))
            self._reading.tally(total, f"TxsSummry.{tag}.Sum", self._reading.text(total, "Sum"), total_of(sums))
        self._entries = []

    def message(self) -> BankMessage:
        originals = {answer.original_message_id for answer in self._answers}
        return BankMessage(self.kind, self._message_id, originals.pop() if len(originals) == 1 else "", self._answers, other_entries=self._other)


class _Statement(_Notification):
    """camt.053 while it is read: the account's bookings of a day, in the same entries."""

    kind = "camt.053"
    box = "Stmt"


def _answers_an_order(detail: _Detail, direction_of_entry: str) -> bool:
    if detail.end_to_end_id in ("", "NOTPROVIDED"):
        return False
    return (detail.direction or direction_of_entry) == ("CRDT" if detail.reason else "DBIT")


def _identity(reading: Reading, header: Element) -> tuple[str, date | None]:
    return reading.text(header, "MsgId"), reading.day(header, "CreDtTm")
