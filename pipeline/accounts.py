"""Accounts: which one a subject has assigned for a benefit on a day, and whether it may be paid to.

An assignment is for one benefit or for all (the ordinary account): its slot. Within a slot the assignment with the highest
(sequence, id) of those that have begun on the day replaces all earlier ones, ended or not: nobody is paid to an account
that they have replaced.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Literal, cast

import msgspec
from schwifty import IBAN
from stdnum.us import rtn

from .bank_days import Calendar, bank_day_after
from .facts import DAY_MS, Known, encode_history, standing
from .holds import HoldReason
from .problems import Malformed, Problem

ASSIGNMENT = "registry.account.assignment.v1"
ORDINARY = ""
"""The slot of the account for every benefit that has none of its own."""

Scheme = Literal["iban", "dk", "us"]
PARTS: dict[str, tuple[str, ...]] = {"iban": ("iban",), "dk": ("registration", "number"), "us": ("routing", "number")}
"""The fields of each scheme, in the order in which an account is written."""

_KEYS = {scheme: tuple(f"account.{part}" for part in parts) for scheme, parts in PARTS.items()}
_COUNTRY = {"dk": "DK", "us": "US"}
_HOLD_OF_STATUS = {"pending": HoldReason.ACCOUNT_PENDING, "closed": HoldReason.ACCOUNT_CLOSED, "blocked": HoldReason.ACCOUNT_BLOCKED}


class Account(msgspec.Struct, frozen=True, gc=False):
    """One account as a scheme and its parts, in the order of `PARTS`, without blanks."""

    scheme: Scheme
    parts: tuple[str, ...]

    def fields(self) -> dict[str, str]:
        """The account as the fields of its scheme: ``{"scheme": "us", "routing": …, "number": …}``."""
        return {"scheme": self.scheme, **dict(zip(PARTS[self.scheme], self.parts, strict=True))}

    def text(self) -> str:
        """The account in one line, ``us:021000021:12345678``; `parse_account` reads it."""
        return ":".join((self.scheme, *self.parts))

    def masked(self) -> str:
        """The account for letters and screens: its scheme and at most its last four characters."""
        last = self.parts[-1]
        return f"{self.scheme} ••••{last[-4:] if len(last) >= 8 else ''}"

    def country(self) -> str:
        """The country whose banks keep the account."""
        return _COUNTRY.get(self.scheme) or self.parts[0][:2]

    def key(self) -> bytes:
        """16 bytes that are equal for the same account, however it is written: a Danish account and its IBAN share theirs."""
        scheme, parts = self.scheme, self.parts
        if scheme == "iban" and parts[0].startswith("DK"):
            scheme, parts = "dk", (parts[0][4:8], parts[0][8:])
        if scheme == "dk":
            parts = (parts[0], parts[1].zfill(10))
        digest = _fresh_key()
        digest.update(":".join((scheme, *parts)).encode())
        return digest.digest()


_fresh_key = blake2b(digest_size=16).copy


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """An account as a subject has assigned it. `since` is the day from which it has been assigned without a break."""

    account: Account
    status: str
    valid_from: int
    valid_to: int
    since: int
    holder: str
    benefit: str = ORDINARY
    disputed: bool = False

    def usable(self, day: int) -> bool:
        """Whether the registry lets it be paid to on the day."""
        return self.status == "active" and self.valid_from <= day < self.valid_to


class AccountPolicy(msgspec.Struct, frozen=True):
    """What may be paid to. No countries means every country; a scheme without currencies takes every currency."""

    schemes: tuple[Scheme, ...] = ("iban", "dk", "us")
    countries: tuple[str, ...] = ()
    currencies: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {"dk": ("DKK",), "us": ("USD",)})
    cooling_off_bank_days: int = 0
    calendar: Calendar = "DK"
    max_subjects_per_account: int = 3
    accepted_holder_answers: tuple[str, ...] = ("match", "not_possible", "not_asked")


def account_of(fields: Mapping[str, object]) -> Account:
    """The account of fields such as ``{"scheme": "dk", "registration": …, "number": …}``; blanks are dropped, letters are capitals."""
    scheme = cast(Scheme, fields["scheme"])
    return Account(scheme, tuple(_compact(str(fields[part])) for part in PARTS[scheme]))


def parse_account(text: str) -> Account:
    """The account that `Account.text` wrote; Malformed where it is none."""
    scheme, *parts = text.split(":")
    if scheme not in PARTS or len(parts) != len(PARTS[scheme]):
        raise Malformed([Problem("account", f"a text of {len(text)} characters is no account", "Write scheme:parts, such as us:021000021:12345678.")])
    return account_of(dict(zip(("scheme", *PARTS[scheme]), (scheme, *parts), strict=True)))


def _compact(text: str) -> str:
    return text if text.isdigit() else "".join(text.split()).upper()


def resolve(events: Sequence[Known], benefit: str, day: int) -> Assignment | None:
    """The account for a benefit on a day: its own one if that is usable, else the ordinary one; None where there is neither.

    Where there is no ordinary account the unusable one is returned, so that `check` can say what is wrong with it.
    """
    said = [event for event in events if event.type == ASSIGNMENT or event.withdraws]
    if len(said) == 1 and said[0].type == ASSIGNMENT:  # nearly everybody: one account, never disputed
        event = said[0]
        return _assignment(event, event, False) if event.values.get("account.benefit", ORDINARY) in (ORDINARY, benefit) else None
    slots, disputed = _slots(said)
    own = _chosen(slots.get(benefit), day, disputed)
    if own is not None and own.usable(day) and not own.disputed:
        return own
    return _chosen(slots.get(ORDINARY), day, disputed) or own


def account_keys(events: Sequence[Known]) -> frozenset[bytes]:
    """The keys of the accounts that a subject holds: the latest of each slot, unless it is closed."""
    said = [event for event in events if event.type == ASSIGNMENT or event.withdraws]
    if not said:
        return _NOBODYS
    if len(said) == 1 and said[0].type == ASSIGNMENT:  # nearly everybody
        return _NOBODYS if said[0].values["account.status"] == "closed" else frozenset((_account(said[0].values).key(),))
    slots, _ = _slots(said)
    latest = [(slot[0] if len(slot) == 1 else max(slot, key=_order)).values for slot in slots.values()]
    return frozenset(_account(values).key() for values in latest if values["account.status"] != "closed")


def check(assignment: Assignment | None, policy: AccountPolicy, currency: str, day: int, subjects_on_account: int) -> HoldReason | None:
    """The first reason not to pay to the account on the day, in a fixed order; None where it may be paid to."""
    if assignment is None:
        return HoldReason.NO_ACCOUNT
    account = assignment.account
    if assignment.disputed:
        return HoldReason.ACCOUNT_DISPUTED
    if assignment.status != "active":
        return _HOLD_OF_STATUS[assignment.status]
    if not assignment.valid_from <= day < assignment.valid_to:
        return HoldReason.ACCOUNT_NOT_VALID_ON_DAY
    if policy.cooling_off_bank_days and day < bank_day_after(assignment.since, policy.cooling_off_bank_days, policy.calendar):
        return HoldReason.ACCOUNT_COOLING_OFF
    if account.scheme not in policy.schemes:
        return HoldReason.ACCOUNT_SCHEME_NOT_ALLOWED
    if not is_valid(account):
        return HoldReason.ACCOUNT_INVALID
    if policy.countries and account.country() not in policy.countries:
        return HoldReason.ACCOUNT_COUNTRY_NOT_ALLOWED
    if currency not in policy.currencies.get(account.scheme, (currency,)):
        return HoldReason.ACCOUNT_CURRENCY_NOT_ALLOWED
    if assignment.holder not in policy.accepted_holder_answers:
        return HoldReason.HOLDER_MISMATCH
    if subjects_on_account > policy.max_subjects_per_account:
        return HoldReason.ACCOUNT_SHARED
    return None


class Usual:
    """The short way to what `resolve` and `check` say of nearly everybody: one assignment, and nothing to hold against it on the day."""

    def __init__(self, policy: AccountPolicy, benefit: str, currency: str, day: int) -> None:
        schemes = [scheme for scheme in policy.schemes if currency in policy.currencies.get(scheme, (currency,))]
        self._day = day
        self._good = {(scheme, "active", holder, slot) for scheme in schemes for holder in policy.accepted_holder_answers for slot in (ORDINARY, benefit)}
        if policy.cooling_off_bank_days or policy.countries:
            self._good.clear()

    def account(self, assignment: Known) -> Account | None:
        """The account to pay to, where this is all that was ever said of the subject's accounts; None where it takes a closer look."""
        values: dict[str, Any] = assignment.values
        said = values["account.scheme"], values["account.status"], values.get("account.holder", "not_asked"), values.get("account.benefit", ORDINARY)
        if said in self._good and assignment.valid_from <= self._day < assignment.valid_to:
            account = _account(values)
            if is_valid(account):
                return account
        return None


def is_valid(account: Account) -> bool:
    """Structure and check digits. Danish account numbers have no check digit that every bank keeps."""
    if account.scheme == "iban":
        return is_iban(account.parts[0])
    bank, number = account.parts
    if not (number.isascii() and number.isdigit() and bank.isascii() and bank.isdigit()):
        return False
    if account.scheme == "dk":
        return len(bank) == 4 and len(number) <= 10
    return 4 <= len(number) <= 17 and is_routing_number(bank)


@lru_cache(maxsize=65_536)
def is_iban(text: str) -> bool:
    """Country, length, structure and check digits (ISO 13616)."""
    return bool(IBAN(text, allow_invalid=True).is_valid)


@lru_cache(maxsize=65_536)
def is_routing_number(routing: str) -> bool:
    """Nine digits whose check digit fits (ABA)."""
    return bool(rtn.is_valid(routing))


def _slots(said: Sequence[Known]) -> tuple[dict[str, list[Known]], set[tuple[str, str]]]:
    """The standing assignments of each slot, out of assignments and corrections, and which event ids are disputed."""
    disputed: set[tuple[str, str]] = set()
    if len(said) > 1 or (said and said[0].withdraws):
        told, disputed = standing(tuple(said))
        said = [event for event in told if event.type == ASSIGNMENT]
    slots: dict[str, list[Known]] = {}
    for event in said:
        slots.setdefault(cast(str, event.values.get("account.benefit", ORDINARY)), []).append(event)
    return slots, disputed


def _order(event: Known) -> tuple[int, str, bytes]:
    return event.sequence, event.id, encode_history((event,))


def _account(values: Mapping[str, Any]) -> Account:
    scheme = values["account.scheme"]
    if scheme == "us":  # two parts of digits, as nearly always: a fifth of the time of the general way
        routing, number = values["account.routing"], values["account.number"]
        if routing.isdigit() and number.isdigit():
            return Account("us", (routing, number))
    return Account(scheme, tuple([_compact(values[key]) for key in _KEYS[scheme]]))


def _chosen(slot: list[Known] | None, day: int, disputed: set[tuple[str, str]]) -> Assignment | None:
    if slot is None:
        return None
    latest = since = slot[0]
    if len(slot) > 1:
        begun = sorted([event for event in slot if event.valid_from <= day] or slot, key=_order, reverse=True)
        latest = since = begun[0]
        account = _account(latest.values)
        for earlier in begun[1:]:
            if earlier.values["account.status"] != "active" or _account(earlier.values) != account:
                break
            since = earlier
    return _assignment(latest, since, (latest.registry, latest.id) in disputed)


def _assignment(latest: Known, since: Known, disputed: bool) -> Assignment:
    values: dict[str, Any] = latest.values
    told_on, begins = since.time_ms // DAY_MS, since.valid_from
    return Assignment(
        _account(values), values["account.status"], latest.valid_from, latest.valid_to, max(told_on, begins),
        values.get("account.holder", "not_asked"), values.get("account.benefit", ORDINARY), disputed,
    )  # fmt: skip


_NOBODYS: frozenset[bytes] = frozenset()
