"""What the bank answers: pain.002 (accepted, rejected) and camt.054 (settled, returned), read into one kind of answer."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from typing import Literal

import msgspec

from connectors.bank.parsing import ISO, Element, Reading, elements, message_name, text_of, total_of
from pipeline.problems import Malformed, Problem

Outcome = Literal["accepted", "pending", "rejected", "settled", "returned"]
READABLE = ("pain.002.001.10", "pain.002.001.11", "pain.002.001.12", "camt.054.001.08")

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
    camt.054 that answer no order."""

    kind: Literal["pain.002", "camt.054"]
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
    reader = (_StatusReport if name.startswith("pain") else _Notification)(reading, expected or Expected())
    handlers, found = {reading.path(tag): handler for tag, handler in reader.handlers.items()}, reader.found
    # small elements are met on the way and kept: asking each transfer for its parts afterwards takes three times as long
    for element in elements(data, [*handlers, *map(reading.path, reader.parts)]):
        tag = element.tag
        if (handler := handlers.get(tag)) is None:
            found[tag] = element
        else:
            handler(element)
    message = reader.message()
    if not message.message_id:
        reading.problems.append(Problem("GrpHdr.MsgId", "the message has no id", "ask the bank for a right file"))
    if reading.problems:
        raise Malformed(reading.problems)
    return message


class _StatusReport:
    """pain.002 while it is read."""

    parts = ("OrgnlEndToEndId", "TxSts", "InstdAmt")

    def __init__(self, reading: Reading, expected: Expected) -> None:
        self.handlers = {"GrpHdr": self.header, "TxInfAndSts": self.transfer, "OrgnlGrpInfAndSts": self.batch, "OrgnlPmtInfAndSts": self.payment}
        self._reading, self._expected = reading, expected
        self.found: dict[str, Element] = {}
        self._id, self._status, self._amount = map(reading.path, self.parts)
        self._reason = reading.path("StsRsnInf/Rsn/Cd")
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
        if status := reading.text(element, "PmtInfSts"):
            self._payments.append((status, reading.text(element, "StsRsnInf/Rsn/Cd")))
            if status not in OUTCOME_OF_STATUS:
                reading.problem(element, "OrgnlPmtInfAndSts.PmtInfSts", f"{status!r} is not a known status")
        self._tallies += element.iterfind(reading.path("NbOfTxsPerSts"))

    def transfer(self, element: Element) -> None:
        found = self.found
        status, end_to_end_id = text_of(found.get(self._status)), text_of(found.get(self._id))
        outcome = OUTCOME_OF_STATUS.get(status)
        if outcome is None or not end_to_end_id:
            place, message = f"TxInfAndSts[{len(self._answers)}]", f"end-to-end id {end_to_end_id!r} has the status {status!r}"
            self._reading.problem(element, place, message, "both must be known")
            outcome = "pending"
        amount_minor, currency = self._reading.money(found.get(self._amount), "TxInfAndSts.OrgnlTxRef.InstdAmt")
        reason = (element.findtext(self._reason) or "") if outcome in ("rejected", "pending") else ""
        self._count[status] += 1
        self._sum[status, currency] += amount_minor or 0
        self._answers.append(Answer(end_to_end_id, outcome, reason, amount_minor, currency, self._day, self._original_message_id))
        found.clear()
        element.clear()

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
    returned: bool
    reason: str


class _Notification:
    """camt.054 while it is read: booked debits settle an order, booked credits with return information give one back."""

    parts = ("EndToEndId", "MsgId")

    def __init__(self, reading: Reading, expected: Expected) -> None:
        self.handlers = {
            "GrpHdr": self.header,
            "Acct": self.account,
            "Amt": self.own,
            "CdtDbtInd": self.own,
            "RtrInf": self.returned,
            "TxDtls": self.transfer,
            "Ntry": self.entry,
            "Ntfctn": self.notification,
        }
        self.found: dict[str, Element] = {}
        self._reading, self._expected = reading, expected
        self._id, self._original = map(reading.path, self.parts)
        self._amount, self._direction, self._return, self._transfer = map(reading.path, ("Amt", "CdtDbtInd", "RtrInf", "TxDtls"))
        self._answers: list[Answer] = []
        self._details: list[_Detail] = []
        self._entries: list[tuple[str, int, str]] = []
        self._message_id = ""
        self._other = 0

    def header(self, element: Element) -> None:
        self._message_id, _ = _identity(self._reading, element)
        self.found.clear()  # its MsgId is not that of an order
        self._reading.same(element, "GrpHdr.MsgRcpt", self._reading.text(element, "MsgRcpt/Nm"), self._expected.initiating_party, "the recipient")

    def account(self, element: Element) -> None:
        if element.getparent().tag == self._reading.path("Ntfctn"):
            self._reading.same(element, "Ntfctn.Acct", self._reading.text(element, "Id/IBAN"), self._expected.account_iban, "the account")
            self._reading.same(element, "Ntfctn.Acct.Svcr", self._reading.text(element, "Svcr/FinInstnId/BICFI"), self._expected.bank_bic, "the bank")

    def own(self, element: Element) -> None:
        """Amount and direction of a transfer itself, not those of its charges or of the entry around it."""
        if element.getparent().tag == self._transfer:
            self.found[element.tag] = element

    def returned(self, element: Element) -> None:
        self.found[element.tag] = element

    def transfer(self, element: Element) -> None:
        found = self.found
        amount_minor, currency = self._reading.money(found.get(self._amount), f"Ntry[{len(self._entries)}].TxDtls.Amt")
        returned = found.get(self._return)
        reason = self._reading.text(returned, "Rsn/Cd") if returned is not None else ""
        ids = text_of(found.get(self._id)), text_of(found.get(self._original))
        self._details.append(_Detail(*ids, amount_minor, currency, text_of(found.get(self._direction)), returned is not None, reason))
        found.clear()
        element.clear()

    def entry(self, element: Element) -> None:
        reading, place, details = self._reading, f"Ntry[{len(self._entries)}]", self._details
        direction, booked = reading.text(element, "CdtDbtInd"), reading.text(element, "Sts/Cd") == "BOOK"
        amount_minor, currency = reading.money(element.find(self._amount), f"{place}.Amt")
        day = reading.day(element, "BookgDt")
        self._entries.append((direction, amount_minor or 0, currency))
        self._details = []
        if len(details) == 1 and details[0].amount_minor is None:
            details[0].amount_minor, details[0].currency = amount_minor, currency
        if details and all(detail.currency == currency for detail in details):
            reading.tally(element, f"{place}.Amt", reading.text(element, "Amt"), total_of({currency: sum(detail.amount_minor or 0 for detail in details)}))
        for batch in element.iterfind(reading.path("NtryDtls/Btch/NbOfTxs")):
            reading.tally(batch, f"{place}.Btch.NbOfTxs", batch.text or "", len(details))
        for detail in details:
            if booked and _answers_an_order(detail, direction):
                outcome: Outcome = "returned" if detail.returned else "settled"
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
        return BankMessage("camt.054", self._message_id, originals.pop() if len(originals) == 1 else "", self._answers, other_entries=self._other)


def _answers_an_order(detail: _Detail, direction_of_entry: str) -> bool:
    if detail.end_to_end_id in ("", "NOTPROVIDED"):
        return False
    return (detail.direction or direction_of_entry) == ("CRDT" if detail.returned else "DBIT")


def _identity(reading: Reading, header: Element) -> tuple[str, date | None]:
    return reading.text(header, "MsgId"), reading.day(header, "CreDtTm")
