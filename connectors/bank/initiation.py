"""The order to the bank: one pain.001.001.09 message per batch of credit transfers, with the checks that its schema does not make."""

from __future__ import annotations

import base64
import hashlib
import re
import string
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache

import msgspec
from stdnum.us import rtn

from pipeline.money import MINOR_DIGITS, decimal_text
from pipeline.problems import Malformed, Problem, suggestion

NAMESPACE = "urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"
SCHEMES: dict[str, frozenset[str]] = {"iban": frozenset({"iban"}), "dk": frozenset({"registration", "number"}), "us": frozenset({"routing", "number"})}
"""The account schemes and the fields that each one needs."""

BIC = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?")
_IDENTIFIER = re.compile(r"[A-Za-z0-9+?:().,' -][A-Za-z0-9/+?:().,' -]{0,34}")
IBAN = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{1,30}")
_DIGITS_4, _DIGITS_10 = re.compile(r"[0-9]{1,4}"), re.compile(r"[0-9]{1,10}")
_US_NUMBER, _PURPOSE = re.compile(r"[A-Za-z0-9]{1,17}"), re.compile(r"[A-Z0-9]{1,4}")
_UETR = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}")
_NOT_XML = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_LETTER_VALUES = {ord(letter): str(value) for value, letter in enumerate(string.ascii_uppercase, 10)}
_LONGEST_AMOUNT = 10**18  # the schema's 18 digits


class CreditTransfer(msgspec.Struct, frozen=True):
    """One payment to one creditor, who is named by the pseudonym: a real name never leaves through here."""

    end_to_end_id: str
    uetr: str
    instruction_id: str
    amount_minor: int
    currency: str
    subject: str
    account: Mapping[str, str]
    remittance: str = ""
    purpose: str = "SSBE"


class Debtor(msgspec.Struct, frozen=True):
    """Who pays, from which account, at which bank."""

    name: str
    account: Mapping[str, str]
    agent_bic: str


def uetr_of(text: str) -> str:
    """The same text always gives the same UETR, shaped as the version 4 UUID that the standard asks for."""
    digits = hashlib.sha256(b"uetr:" + text.encode()).hexdigest()
    variant = "89ab"[int(digits[16], 16) & 3]  # RFC 9562: version 4, variant 10
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def danish_iban(registration: str, number: str) -> str:
    """The IBAN of a Danish registration number and account number."""
    basic = f"{registration:0>4}{number:0>10}"
    return f"DK{98 - int(basic + '132000') % 97:02d}{basic}"  # D is 13, K is 20, and 00 holds the place of the check digits


def check_digits_fit(iban: str) -> bool:
    """ISO 7064 MOD 97-10 over a well-shaped IBAN. Spelled out because python-stdnum's takes twenty times as long, on every transfer; a test
    holds the two equal."""
    return int((iban[4:] + iban[:4]).translate(_LETTER_VALUES)) % 97 == 1


def account_problems(account: Mapping[str, str], place: str) -> list[Problem]:
    """What keeps an account from being written into an order: its scheme, a missing field, its shape, its check digits."""
    scheme = account.get("scheme", "")
    if (fields := SCHEMES.get(scheme)) is None:
        mend = suggestion(scheme, SCHEMES) or f"use one of {', '.join(SCHEMES)}"
        return [Problem(f"{place}.scheme", f"{scheme!r} is not a known account scheme", mend)]
    if not account.keys() >= fields:
        return [Problem(f"{place}.{field}", f"the account has no {field}", "name the account in full") for field in sorted(fields - account.keys())]
    if scheme == "iban":
        return _iban_problems(account["iban"], place)
    return _dk_problems(account, place) if scheme == "dk" else _us_problems(account, place)


def message_id_of(initiation: bytes) -> str:
    """The MsgId of a written message, to note down before it is sent."""
    found = re.search(rb"<MsgId>([^<]+)</MsgId>", initiation[:2000])
    if found is None:
        raise ValueError("these bytes are no message written here: they hold no MsgId")
    return found[1].decode()


def write_initiation(transfers: Sequence[CreditTransfer], *, debtor: Debtor, execution_day: date, created: datetime) -> bytes:
    """One message with one payment information. Its ids are a digest of the content without `created`: ordering the same twice is
    the same message to the bank. Malformed names everything that is wrong."""
    if created.tzinfo is None:
        raise ValueError("created has no time zone, give an aware datetime")
    problems = _problems(transfers, debtor)
    if problems:
        raise Malformed(problems)
    currency = transfers[0].currency
    count, total = len(transfers), decimal_text(sum(transfer.amount_minor for transfer in transfers), currency)
    head = (
        f"<PmtMtd>TRF</PmtMtd><BtchBookg>true</BtchBookg><NbOfTxs>{count}</NbOfTxs><CtrlSum>{total}</CtrlSum><ReqdExctnDt><Dt>{execution_day.isoformat()}</Dt></ReqdExctnDt>"
        f"<Dbtr><Nm>{escaped(debtor.name)}</Nm></Dbtr><DbtrAcct>{_account_xml(debtor.account)}</DbtrAcct><DbtrAgt><FinInstnId><BICFI>{debtor.agent_bic}</BICFI></FinInstnId></DbtrAgt>"
    )
    orders = _transfers_xml(transfers)
    digest = hashlib.sha256(head.encode())
    digest.update(orders.encode())
    message_id = base64.b32encode(digest.digest()).decode()[:32]
    at = created.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="{NAMESPACE}"><CstmrCdtTrfInitn>'
        f"<GrpHdr><MsgId>{message_id}</MsgId><CreDtTm>{at}</CreDtTm><NbOfTxs>{count}</NbOfTxs><CtrlSum>{total}</CtrlSum><InitgPty><Nm>{escaped(debtor.name)}</Nm></InitgPty></GrpHdr>\n"
        f"<PmtInf><PmtInfId>{message_id}-P1</PmtInfId>{head}\n{orders}</PmtInf></CstmrCdtTrfInitn></Document>\n"
    ).encode()


def _transfers_xml(transfers: Sequence[CreditTransfer]) -> str:
    currency = transfers[0].currency
    digits = MINOR_DIGITS[currency]
    scale = 10**digits
    parts: list[str] = []
    for transfer in transfers:
        whole, minor = divmod(transfer.amount_minor, scale)
        amount = f"{whole}.{minor:0{digits}d}" if digits else str(whole)
        remittance = f"<RmtInf><Ustrd>{escaped(transfer.remittance)}</Ustrd></RmtInf>" if transfer.remittance else ""
        parts.append(
            f"<CdtTrfTxInf><PmtId><InstrId>{transfer.instruction_id}</InstrId><EndToEndId>{transfer.end_to_end_id}</EndToEndId><UETR>{transfer.uetr}</UETR></PmtId>"
            f'<Amt><InstdAmt Ccy="{currency}">{amount}</InstdAmt></Amt>{_agent_xml(transfer.account)}<Cdtr><Nm>{escaped(transfer.subject)}</Nm></Cdtr>'
            f"<CdtrAcct>{_account_xml(transfer.account)}</CdtrAcct><Purp><Cd>{transfer.purpose}</Cd></Purp>{remittance}</CdtTrfTxInf>\n"
        )
    return "".join(parts)


def escaped(text: str) -> str:
    """The text as XML holds it between two tags."""
    if "&" in text or "<" in text or ">" in text:
        return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text


def _agent_xml(account: Mapping[str, str]) -> str:
    if account["scheme"] != "us":
        return ""  # an IBAN names the bank
    return f"<CdtrAgt><FinInstnId><ClrSysMmbId><ClrSysId><Cd>USABA</Cd></ClrSysId><MmbId>{account['routing']}</MmbId></ClrSysMmbId></FinInstnId></CdtrAgt>"


def _account_xml(account: Mapping[str, str]) -> str:
    if account["scheme"] == "us":
        return f"<Id><Othr><Id>{account['number']}</Id></Othr></Id>"
    iban = account["iban"] if account["scheme"] == "iban" else danish_iban(account["registration"], account["number"])
    return f"<Id><IBAN>{iban}</IBAN></Id>"


def _problems(transfers: Sequence[CreditTransfer], debtor: Debtor) -> list[Problem]:
    problems = _text_problems(debtor.name, "debtor.name", 140, required=True) + account_problems(debtor.account, "debtor.account")
    if not BIC.fullmatch(debtor.agent_bic):
        problems.append(Problem("debtor.agent_bic", f"{debtor.agent_bic!r} is not a BIC", "write 8 or 11 capital letters and digits, like DABADKKK"))
    if not transfers:
        problems.append(Problem("transfers", "there is no transfer to order", "write no message for an empty batch"))
        return problems
    currency = transfers[0].currency
    if currency not in MINOR_DIGITS:
        problems.append(Problem("transfers[0].currency", f"{currency!r} is not a known currency", suggestion(currency, MINOR_DIGITS)))
    for position, transfer in enumerate(transfers):
        if faults := _transfer_problems(transfer, currency):
            problems += [Problem(f"transfers[{position}].{fault.place}", fault.message, fault.mend) for fault in faults]
    for name in ("end_to_end_id", "instruction_id", "uetr"):
        problems += _repeated([getattr(transfer, name) for transfer in transfers], name)
    return problems


def _repeated(values: list[str], name: str) -> list[Problem]:
    if len(set(values)) == len(values):
        return []
    first: dict[str, int] = {}
    return [
        Problem(f"transfers[{position}].{name}", f"{value!r} is also that of transfers[{first[value]}]", "give every transfer its own")
        for position, value in enumerate(values)
        if first.setdefault(value, position) != position
    ]


def _transfer_problems(transfer: CreditTransfer, currency: str) -> list[Problem]:
    problems = account_problems(transfer.account, "account")
    if not 0 < transfer.amount_minor < _LONGEST_AMOUNT:
        problems.append(Problem("amount_minor", f"{transfer.amount_minor} cannot be paid", f"an amount is above zero and below {_LONGEST_AMOUNT}"))
    if transfer.currency != currency:
        problems.append(Problem("currency", f"{transfer.currency!r} stands in a message of {currency}", "write one message per currency"))
    if not _IDENTIFIER.fullmatch(transfer.end_to_end_id):
        problems.append(_identifier_problem("end_to_end_id", transfer.end_to_end_id))
    if not _IDENTIFIER.fullmatch(transfer.instruction_id):
        problems.append(_identifier_problem("instruction_id", transfer.instruction_id))
    if not _UETR.fullmatch(transfer.uetr):
        problems.append(Problem("uetr", f"{transfer.uetr!r} is not a version 4 UUID in small letters", "take it from uetr_of"))
    if not _PURPOSE.fullmatch(transfer.purpose):
        problems.append(Problem("purpose", f"{transfer.purpose!r} is not a purpose code", "use a code of the ISO external code list, like SSBE"))
    for name, text in (("subject", transfer.subject), ("remittance", transfer.remittance)):
        if not (text.isprintable() and 0 < len(text) <= 140):
            problems += _text_problems(text, name, 140, required=name == "subject")
    return problems


def _identifier_problem(place: str, value: str) -> Problem:
    return Problem(place, f"{value!r} is not an id that a bank takes", "use 1 to 35 letters, digits and +?/:().,'- , not beginning with /")


def _text_problems(text: str, place: str, longest: int, *, required: bool) -> list[Problem]:
    if len(text) > longest:
        return [Problem(place, f"{text!r} has {len(text)} characters", f"at most {longest} fit")]
    if required and not text:
        return [Problem(place, "the name is empty", "name the party")]
    wrong = _NOT_XML.search(text)
    return [Problem(place, f"{text!r} holds the character {wrong[0]!r}, which no bank file can carry", "leave it out")] if wrong else []


def _iban_problems(iban: str, place: str) -> list[Problem]:
    if not IBAN.fullmatch(iban):
        return [Problem(f"{place}.iban", f"{iban!r} is not shaped like an IBAN", "write it without spaces: country, two check digits, account")]
    if not check_digits_fit(iban):
        return [Problem(f"{place}.iban", f"the check digits of {iban!r} do not fit", "ask for the account again")]
    return []


def _dk_problems(account: Mapping[str, str], place: str) -> list[Problem]:
    problems = []
    if not _DIGITS_4.fullmatch(account["registration"]):
        problems.append(Problem(f"{place}.registration", f"{account['registration']!r} is not a Danish registration number", "write at most 4 digits"))
    if not _DIGITS_10.fullmatch(account["number"]):
        problems.append(Problem(f"{place}.number", f"{account['number']!r} is not a Danish account number", "write at most 10 digits"))
    return problems


def _us_problems(account: Mapping[str, str], place: str) -> list[Problem]:
    problems = []
    if not _is_routing_number(account["routing"]):
        problems.append(Problem(f"{place}.routing", f"{account['routing']!r} is not a routing number", "write nine digits whose check digit fits"))
    if not _US_NUMBER.fullmatch(account["number"]):
        problems.append(Problem(f"{place}.number", f"{account['number']!r} is not an account number", "write at most 17 letters and digits"))
    return problems


@lru_cache(maxsize=50_000)
def _is_routing_number(routing: str) -> bool:
    return routing.isascii() and routing.isdigit() and bool(rtn.is_valid(routing))
