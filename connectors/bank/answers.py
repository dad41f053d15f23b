"""What the bank answers: pain.002 (accepted, rejected) and camt.054 (settled, returned), read into one kind of answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import date
from fractions import Fraction
from typing import Literal

import msgspec

from connectors.bank.parsing import ISO, Element, Reading, elements, message_name
from pipeline.money import MINOR_DIGITS
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


class Answer(msgspec.Struct, frozen=True):
    """What the bank says of one transfer. Amount and day are None where the bank leaves them out."""

    end_to_end_id: str
    outcome: Outcome
    reason: str = ""
    amount_minor: int | None = None
    currency: str = ""
    day: date | None = None
    instruction_id: str = ""
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
    handlers = {reading.path(tag): handler for tag, handler in reader.handlers.items()}
    for element in elements(data, list(handlers)):
        handlers[element.tag](element)
    message = reader.message()
    if not message.message_id:
        reading.problems.append(Problem("GrpHdr.MsgId", "the message has no id", "ask the bank for a right file"))
    if reading.problems:
        raise Malformed(reading.problems)
    return message


class _StatusReport:
    """pain.002 while it is read."""

    def __init__(self, reading: Reading, expected: Expected) -> None:
        self.handlers = {"GrpHdr": self.header, "TxInfAndSts": self.transfer, "OrgnlGrpInfAndSts": self.batch, "OrgnlPmtInfAndSts": self.payment}
        self._reading, self._expected = reading, expected
        self._end_to_end_id, self._instruction_id, self._status = (reading.path(tag) for tag in ("OrgnlEndToEndId", "OrgnlInstrId", "TxSts"))
        self._reason, self._amount, self._accepted_at = (reading.path(tag) for tag in ("StsRsnInf/Rsn/Cd", "OrgnlTxRef/Amt/InstdAmt", "AccptncDtTm"))
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
        status = element.findtext(self._status) or ""
        end_to_end_id = element.findtext(self._end_to_end_id) or ""
        outcome = OUTCOME_OF_STATUS.get(status)
        if outcome is None or not end_to_end_id:
            self._reading.problem(
                element, f"TxInfAndSts[{len(self._answers)}]", f"end-to-end id {end_to_end_id!r} has the status {status!r}", "both must be known"
            )
            outcome = "pending"
        amount_minor, currency = self._reading.money(element.find(self._amount), f"TxInfAndSts[{len(self._answers)}].InstdAmt")
        day = self._reading.day(element, "AccptncDtTm") if element.find(self._accepted_at) is not None else self._day
        reason = (element.findtext(self._reason) or "") if outcome != "accepted" else ""
        self._count[status] += 1
        self._sum[status, currency] += amount_minor or 0
        self._answers.append(Answer(end_to_end_id, outcome, reason, amount_minor, currency, day, element.findtext(self._instruction_id) or ""))
        element.clear()

    def message(self) -> BankMessage:
        for tally in self._tallies:
            self._check(tally)
        statuses = set(self._payments)
        if len(statuses) > 1:
            place, mend = "OrgnlPmtInfAndSts", "our messages hold one payment information; ask the bank what it answers"
            self._reading.problems.append(Problem(place, f"payment informations have the statuses {sorted(status for status, _ in statuses)}", mend))
        status, reason = statuses.pop() if statuses else (self._group_status, "")
        answers = [msgspec.structs.replace(answer, original_message_id=self._original_message_id) for answer in self._answers]
        return BankMessage("pain.002", self._message_id, self._original_message_id, answers, status, reason or self._group_reason)

    def _check(self, tally: Element) -> None:
        """The bank's count per status against the listed transfers; what an exceptions-only report leaves out is not counted."""
        status = self._reading.text(tally, "DtldSts")
        if status not in self._count:
            return
        self._reading.tally(tally, f"NbOfTxsPerSts[{status}].DtldNbOfTxs", self._reading.text(tally, "DtldNbOfTxs"), self._count[status])
        sums = {currency: minor for (of, currency), minor in self._sum.items() if of == status}
        if "" not in sums:
            self._reading.tally(tally, f"NbOfTxsPerSts[{status}].DtldCtrlSum", self._reading.text(tally, "DtldCtrlSum"), _total(sums))


class _Notification:
    """camt.054 while it is read: booked debits settle an order, booked credits with return information give one back."""

    def __init__(self, reading: Reading, expected: Expected) -> None:
        self.handlers = {"GrpHdr": self.header, "Acct": self.account, "TxDtls": self.transfer, "Ntry": self.entry, "Ntfctn": self.notification}
        self._reading, self._expected = reading, expected
        self._references = reading.path("Refs")
        self._end_to_end_id, self._instruction_id, self._original_message_id = (reading.path(tag) for tag in ("EndToEndId", "InstrId", "MsgId"))
        self._amount, self._direction, self._reason = (reading.path(tag) for tag in ("Amt", "CdtDbtInd", "RtrInf/Rsn/Cd"))
        self._returned = reading.path("RtrInf")
        self._answers: list[Answer] = []
        self._details: list[tuple[str, Answer, bool]] = []
        self._entries: list[tuple[str, int, str]] = []
        self._message_id = ""
        self._other = 0

    def header(self, element: Element) -> None:
        self._message_id, _ = _identity(self._reading, element)
        self._reading.same(element, "GrpHdr.MsgRcpt", self._reading.text(element, "MsgRcpt/Nm"), self._expected.initiating_party, "the recipient")

    def account(self, element: Element) -> None:
        if element.getparent().tag == self._reading.path("Ntfctn"):
            self._reading.same(element, "Ntfctn.Acct", self._reading.text(element, "Id/IBAN"), self._expected.account_iban, "the account")
            self._reading.same(element, "Ntfctn.Acct.Svcr", self._reading.text(element, "Svcr/FinInstnId/BICFI"), self._expected.bank_bic, "the bank")

    def transfer(self, element: Element) -> None:
        references = element.find(self._references)
        end_to_end_id = instruction_id = original_message_id = ""
        if references is not None:
            end_to_end_id = references.findtext(self._end_to_end_id) or ""
            instruction_id = references.findtext(self._instruction_id) or ""
            original_message_id = references.findtext(self._original_message_id) or ""
        amount_minor, currency = self._reading.money(element.find(self._amount), f"Ntry[{len(self._entries)}].TxDtls[{len(self._details)}].Amt")
        returned = element.find(self._returned) is not None
        reason = (element.findtext(self._reason) or "") if returned else ""
        answer = Answer(end_to_end_id, "returned" if returned else "settled", reason, amount_minor, currency, None, instruction_id, original_message_id)
        self._details.append((element.findtext(self._direction) or "", answer, returned))
        element.clear()

    def entry(self, element: Element) -> None:
        reading, place, details = self._reading, f"Ntry[{len(self._entries)}]", self._details
        direction, status = reading.text(element, "CdtDbtInd"), reading.text(element, "Sts/Cd")
        amount_minor, currency = reading.money(element.find(self._amount), f"{place}.Amt")
        day = reading.day(element, "BookgDt")
        self._entries.append((direction, amount_minor or 0, currency))
        self._details = []
        if len(details) == 1 and details[0][1].amount_minor is None:
            details = [(details[0][0], msgspec.structs.replace(details[0][1], amount_minor=amount_minor, currency=currency), details[0][2])]
        if details and all(answer.currency == currency for _, answer, _ in details):
            reading.tally(element, f"{place}.Amt", reading.text(element, "Amt"), _total({currency: sum(answer.amount_minor or 0 for _, answer, _ in details)}))
        for batch in element.iterfind(reading.path("NtryDtls/Btch/NbOfTxs")):
            reading.tally(batch, f"{place}.Btch.NbOfTxs", batch.text or "", len(details))
        for own, answer, returned in details:
            answers_an_order = answer.end_to_end_id not in ("", "NOTPROVIDED") and (own or direction) == ("CRDT" if returned else "DBIT") and status == "BOOK"
            if answers_an_order:
                self._answers.append(msgspec.structs.replace(answer, day=day))
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
            self._reading.tally(total, f"TxsSummry.{tag}.Sum", self._reading.text(total, "Sum"), _total(sums))
        self._entries = []

    def message(self) -> BankMessage:
        originals = {answer.original_message_id for answer in self._answers}
        return BankMessage("camt.054", self._message_id, originals.pop() if len(originals) == 1 else "", self._answers, other_entries=self._other)


def _identity(reading: Reading, header: Element) -> tuple[str, date | None]:
    return reading.text(header, "MsgId"), reading.day(header, "CreDtTm")


def _total(sums: Mapping[str, int]) -> Fraction:
    return sum((Fraction(minor, 10 ** MINOR_DIGITS.get(currency, 0)) for currency, minor in sums.items()), Fraction(0))
