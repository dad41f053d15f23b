"""Why an order may not leave yet: the closed list of hold reasons, each with its sentence and what lifts it."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

import msgspec

Lifter = Literal["person", "registry", "bank_day", "case_worker", "finance", "policy_team"]


class HoldReason(StrEnum):
    """Stable codes, in the order in which the guards ask."""

    PAYEE_UNKNOWN = "payee_unknown"
    PAYEE_DECEASED = "payee_deceased"
    ENTITLEMENT_UNDETERMINED = "entitlement_undetermined"
    BENEFIT_SUSPENDED = "benefit_suspended"
    NO_ACCOUNT = "no_account"
    ACCOUNT_DISPUTED = "account_disputed"
    ACCOUNT_PENDING = "account_pending"
    ACCOUNT_CLOSED = "account_closed"
    ACCOUNT_BLOCKED = "account_blocked"
    ACCOUNT_NOT_VALID_ON_DAY = "account_not_valid_on_day"
    ACCOUNT_COOLING_OFF = "account_cooling_off"
    ACCOUNT_SCHEME_NOT_ALLOWED = "account_scheme_not_allowed"
    ACCOUNT_INVALID = "account_invalid"
    ACCOUNT_COUNTRY_NOT_ALLOWED = "account_country_not_allowed"
    ACCOUNT_CURRENCY_NOT_ALLOWED = "account_currency_not_allowed"
    HOLDER_MISMATCH = "holder_mismatch"
    ACCOUNT_SHARED = "account_shared"
    ABOVE_REVIEW_LIMIT = "above_review_limit"
    BUDGET_EXHAUSTED = "budget_exhausted"

    @property
    def sentence(self) -> str:
        """What a case worker reads."""
        return EXPLAINED[self].sentence

    @property
    def lifted_by(self) -> str:
        """What must happen for the order to leave."""
        return EXPLAINED[self].lifted_by

    @property
    def lifter(self) -> Lifter:
        """Who can bring that about; what a person can lift is worth a letter."""
        return EXPLAINED[self].lifter


class Explained(msgspec.Struct, frozen=True):
    """A hold reason in words."""

    sentence: str
    lifted_by: str
    lifter: Lifter


LIFTERS: dict[Lifter, str] = {
    "person": "The person can do that.",
    "registry": "The registry can do that.",
    "bank_day": "Nobody has to do anything.",
    "case_worker": "A case worker can do that.",
    "finance": "The finance department can do that.",
    "policy_team": "The policy team can do that.",
}
"""Who can lift a hold, as a sentence."""

_ANOTHER_ACCOUNT = "The person assigns an account that can be paid to."

EXPLAINED: dict[HoldReason, Explained] = {
    HoldReason.PAYEE_UNKNOWN: Explained(
        "Nobody, or more than one person, is registered as the head who receives the money.",
        "The civil registry tells who the head of the household is.",
        "registry",
    ),
    HoldReason.PAYEE_DECEASED: Explained(
        "The person is registered as dead.", "The civil registry withdraws the death, or a case worker cancels the order.", "case_worker"
    ),
    HoldReason.ENTITLEMENT_UNDETERMINED: Explained(
        "A fact that the decision needs is no longer known.", "The registry tells the fact again; the decision is then made anew.", "registry"
    ),
    HoldReason.BENEFIT_SUSPENDED: Explained(
        "The benefit is suspended: it is decided, and nothing is paid.", "The policy team resumes the benefit.", "policy_team"
    ),
    HoldReason.BUDGET_EXHAUSTED: Explained("The appropriation does not cover this order.", "Finance raises the appropriation.", "finance"),
    HoldReason.NO_ACCOUNT: Explained("The person has assigned no account.", "The person assigns an account.", "person"),
    HoldReason.ACCOUNT_DISPUTED: Explained(
        "The account registry sent two different contents under one event id.",
        "The account registry withdraws that event and tells the account anew.",
        "registry",
    ),
    HoldReason.ACCOUNT_PENDING: Explained(
        "The account is assigned and not yet activated.", "The person activates the account, or the bank reports it active.", "person"
    ),
    HoldReason.ACCOUNT_CLOSED: Explained("The account is closed.", _ANOTHER_ACCOUNT, "person"),
    HoldReason.ACCOUNT_BLOCKED: Explained("The account is blocked.", "The bank lifts the block, or the person assigns another account.", "person"),
    HoldReason.ACCOUNT_NOT_VALID_ON_DAY: Explained(
        "The account's assignment does not hold on the day of payment.",
        "The first day of the assignment comes, or the person assigns another account.",
        "person",
    ),
    HoldReason.ACCOUNT_COOLING_OFF: Explained(
        "The account was assigned so recently that it is not paid to yet.", "The waiting time, in bank days, passes.", "bank_day"
    ),
    HoldReason.ACCOUNT_SCHEME_NOT_ALLOWED: Explained("Accounts of this kind are not paid to.", _ANOTHER_ACCOUNT, "person"),
    HoldReason.ACCOUNT_INVALID: Explained("The account number is malformed, or its check digits do not fit.", _ANOTHER_ACCOUNT, "person"),
    HoldReason.ACCOUNT_COUNTRY_NOT_ALLOWED: Explained("Accounts in that country are not paid to.", _ANOTHER_ACCOUNT, "person"),
    HoldReason.ACCOUNT_CURRENCY_NOT_ALLOWED: Explained("The account cannot take the currency of the benefit.", _ANOTHER_ACCOUNT, "person"),
    HoldReason.HOLDER_MISMATCH: Explained(
        "The bank answered that the account's holder is not, or not surely, the person.",
        "The bank answers with a match, or the person assigns another account.",
        "person",
    ),
    HoldReason.ACCOUNT_SHARED: Explained(
        "More people than allowed have assigned this account.", "A case worker looks at the account; or enough of the people assign another one.", "case_worker"
    ),
    HoldReason.ABOVE_REVIEW_LIMIT: Explained("The amount is above the benefit's limit for review.", "A case worker approves the order.", "case_worker"),
}
