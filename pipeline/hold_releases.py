"""Letting a held order go by hand: for which reasons a person may, who that is, and what they sign."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec
import rfc8785

from .holds import HoldReason
from .signatures import Fault, People, fault

BY_HAND = frozenset({HoldReason.ACCOUNT_SHARED, HoldReason.ABOVE_REVIEW_LIMIT})
"""The reasons that are a person's to weigh. All others are facts, which a registry, the bank, finance or the policy team changes."""

PURPOSE = "payout hold release 1"


class Declined(StrEnum):
    """Why an order is not let go. Stable codes."""

    NOT_HELD = "not_held"
    NOT_BY_HAND = "not_by_hand"
    UNKNOWN_PERSON = "unknown_person"
    ROLE_MAY_NOT = "role_may_not"
    ROLE_NOT_HELD = "role_not_held"
    SIGNATURE_FOREIGN = "signature_foreign"
    SIGNATURE_WRONG = "signature_wrong"

    @property
    def sentence(self) -> str:
        """What a person reads."""
        return SENTENCES[self]


SENTENCES: dict[Declined, str] = {
    Declined.NOT_HELD: "The order is not held.",
    Declined.NOT_BY_HAND: "What holds the order is nothing that a person may set aside. `payout holds show` says what lifts it.",
    Declined.UNKNOWN_PERSON: "The person is not in payout.toml. Add them to approvals.people.",
    Declined.ROLE_MAY_NOT: "Nobody releases held orders in this role. payout.toml names the roles that do in approvals.release.",
    Declined.ROLE_NOT_HELD: "The person does not have this role in payout.toml.",
    Declined.SIGNATURE_FOREIGN: "The signature was made with another key than the person's key in payout.toml. Sign with the person's own key.",
    Declined.SIGNATURE_WRONG: "The signature does not fit what it is said to sign. Release again.",
}


class HoldRelease(msgspec.Struct, frozen=True):
    """A person, in a role, lets go an order that is held for a reason, and says why."""

    benefit: str
    subject: str
    period: str
    sequence: int
    reason: HoldReason
    why: str
    role: str
    person: str
    key: str
    signature: str = ""

    def signed(self) -> bytes:
        """What the person signs: everything but key and signature, in canonical JSON."""
        said = {name: getattr(self, name) for name in ("benefit", "subject", "period", "sequence", "why", "role", "person")}
        return rfc8785.dumps({"purpose": PURPOSE, **said, "reason": self.reason.value})


def judge(release: HoldRelease, state: str, people: People, roles: Sequence[str]) -> list[Declined]:
    """Everything that speaks against a release of an order in a state, by the people and the roles that may release."""
    found: list[Declined] = []
    if state != "held":
        found.append(Declined.NOT_HELD)
    elif release.reason not in BY_HAND:
        found.append(Declined.NOT_BY_HAND)
    known = people.get(release.person)
    if known is None:
        return [*found, Declined.UNKNOWN_PERSON]
    if release.role not in roles:
        found.append(Declined.ROLE_MAY_NOT)
    elif release.role not in known.roles:
        found.append(Declined.ROLE_NOT_HELD)
    against = fault(known, release.key, release.signature, release.signed())
    if against is not None:
        found.append(Declined.SIGNATURE_FOREIGN if against is Fault.FOREIGN else Declined.SIGNATURE_WRONG)
    return found
