"""Who may let a rule pay: signatures over a document and its simulation, and the closed list of why something is refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec
import rfc8785

from pipeline.facts import day_date
from pipeline.money import money_text
from pipeline.signatures import Approver, Fault, People, fault, fits

from .life import Approved, BudgetSet, Document, Life, Logged
from .rule import Rule


class Refusal(StrEnum):
    """Stable codes, in the order in which the guards ask."""

    NOT_SUBMITTED = "not_submitted"
    DOCUMENT_CHANGED = "document_changed"
    UNKNOWN_PERSON = "unknown_person"
    OWN_TESTS_FAIL = "own_tests_fail"
    BRANCHES_UNTESTED = "branches_untested"
    CLAIMS_UNPROVED = "claims_unproved"
    NOT_SIMULATED = "not_simulated"
    OTHER_SIMULATION = "other_simulation"
    ROLE_NOT_HELD = "role_not_held"
    AUTHOR_APPROVES = "author_approves"
    ONE_PERSON_TWO_ROLES = "one_person_two_roles"
    SIGNATURE_FOREIGN = "signature_foreign"
    SIGNATURE_WRONG = "signature_wrong"
    SIGNATURE_EXPIRED = "signature_expired"
    NOBODY_MUST_APPROVE = "nobody_must_approve"
    APPROVALS_MISSING = "approvals_missing"
    NO_PERIOD = "no_period"
    UNAFFORDABLE = "unaffordable"
    COST_UNKNOWN = "cost_unknown"
    CURRENCY_DIFFERS = "currency_differs"
    SHARE_SHRINKS = "share_shrinks"
    ALREADY_ACTIVE = "already_active"
    NOT_ACTIVE = "not_active"
    NEVER_ACTIVE = "never_active"
    NOTHING_OLDER = "nothing_older"
    OLDER_COVERS_LESS = "older_covers_less"
    ALREADY_SUSPENDED = "already_suspended"
    NOT_SUSPENDED = "not_suspended"
    ALREADY_RETIRED = "already_retired"
    NO_BUDGET = "no_budget"
    ROLE_NOT_ASKED = "role_not_asked"

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do."""
        return SENTENCES[self]


SENTENCES: dict[Refusal, str] = {
    Refusal.NOT_SUBMITTED: "No document with this hash has been submitted. Submit it: payout rules submit RULE.yaml --as PERSON.",
    Refusal.DOCUMENT_CHANGED: "The file says something else than what was submitted. Submit it as it is now; it needs approvals of its own.",
    Refusal.UNKNOWN_PERSON: "The person is not among [approvals] people in payout.toml. Add them there, or name somebody who is.",
    Refusal.OWN_TESTS_FAIL: "The document has no tests, or not all of them come out as expected. See payout rules test.",
    Refusal.BRANCHES_UNTESTED: "Some branches of the document are reached by no test of its own. See payout rules test --coverage.",
    Refusal.CLAIMS_UNPROVED: "A claim of the document does not hold, or could not be decided in time. See payout rules prove.",
    Refusal.NOT_SIMULATED: "The document has not been simulated. See payout rules simulate, then payout rules simulated.",
    Refusal.OTHER_SIMULATION: "It is for another simulation, or the simulation of another document. Simulate this document, and approve the last result.",
    Refusal.ROLE_NOT_HELD: "The person does not have this role in payout.toml. Somebody who has it must approve.",
    Refusal.AUTHOR_APPROVES: "The author cannot approve their own document. Somebody else must approve, unless the document says author_may_approve.",
    Refusal.ONE_PERSON_TWO_ROLES: "The person has approved this document in another role. Two roles need two people.",
    Refusal.SIGNATURE_FOREIGN: "The signature was made with another key than the person's key in payout.toml. Sign with the person's own key.",
    Refusal.SIGNATURE_WRONG: "The signature does not fit what it is said to sign. Approve again.",
    Refusal.SIGNATURE_EXPIRED: "The approval has expired. Approve again.",
    Refusal.NOBODY_MUST_APPROVE: "Neither the document nor payout.toml asks for an approval. Add approvals.need to one of them.",
    Refusal.APPROVALS_MISSING: "Not everybody whose approval is needed has approved.",
    Refusal.NO_PERIOD: "The document is in force in none of the periods asked for. Name others with --period, or change in_force.",
    Refusal.UNAFFORDABLE: "By its simulation the document costs more than its budget. Raise limits.budget in it, or change what it pays; both need approvals.",
    Refusal.COST_UNKNOWN: "The document has a budget, and its simulation does not say what it costs. Simulate it again and record the result.",
    Refusal.CURRENCY_DIFFERS: "The benefit has been ordered in another currency. Give the benefit a new name.",
    Refusal.SHARE_SHRINKS: "A share of people who are decided by no older rule cannot become smaller. Suspend the benefit, or roll back.",
    Refusal.ALREADY_ACTIVE: "The document already decides these periods for this share.",
    Refusal.NOT_ACTIVE: "No rule of this benefit is active or scheduled.",
    Refusal.NEVER_ACTIVE: "This document has never been active. A rollback goes to one that has; a new one is activated.",
    Refusal.NOTHING_OLDER: "There is no older rule to go back to. Suspend the benefit, or activate a corrected document.",
    Refusal.OLDER_COVERS_LESS: "The older rule leaves people or periods undecided that are decided now. Suspend the benefit, or activate a corrected document.",
    Refusal.ALREADY_SUSPENDED: "The benefit is suspended already.",
    Refusal.NOT_SUSPENDED: "The benefit is not suspended.",
    Refusal.ALREADY_RETIRED: "The benefit is retired already.",
    Refusal.NO_BUDGET: "The documents that decide the benefit have no such budget. See payout rules budget.",
    Refusal.ROLE_NOT_ASKED: "Neither the document nor payout.toml asks for an approval in this role, so it cannot set the budget.",
}


class Refused(msgspec.Struct, frozen=True):
    """One refusal with what it is about."""

    code: Refusal
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.code.value}: {self.code.sentence}" + (f" {self.detail}" if self.detail else "")


PURPOSE_APPROVAL = "payout rule approval 1"
PURPOSE_AUTHORSHIP = "payout rule authorship 1"
PURPOSE_BUDGET = "payout rule budget 1"


def approval_bytes(benefit: str, rule: str, simulation: str, role: str, person: str, expires: int) -> bytes:
    """What an approval signs: canonical JSON (RFC 8785), so that the same approval has the same bytes everywhere."""
    return rfc8785.dumps(
        {
            "purpose": PURPOSE_APPROVAL, "benefit": benefit, "rule": rule, "simulation": simulation, "role": role, "person": person,
            "expires": day_date(expires).isoformat(),
        }
    )  # fmt: skip


def authorship_bytes(benefit: str, rule: str, person: str) -> bytes:
    """What an author signs."""
    return rfc8785.dumps({"purpose": PURPOSE_AUTHORSHIP, "benefit": benefit, "rule": rule, "person": person})


def budget_bytes(benefit: str, year: str, amount_minor: int, currency: str, why: str, role: str, person: str) -> bytes:
    """What somebody signs who sets a budget."""
    return rfc8785.dumps(
        {
            "purpose": PURPOSE_BUDGET, "benefit": benefit, "year": year, "amount_minor": amount_minor, "currency": currency, "why": why, "role": role,
            "person": person,
        }
    )  # fmt: skip


def judge_budget(document: Document, rule: Rule, entry: BudgetSet, person: str, people: People, need: Sequence[str]) -> list[Refused]:
    """Why this person cannot set the budget of a benefit that the document decides: it takes a role that may approve the document, and a signature."""
    asked, who = needed(rule, need), f"{person} as {entry.role}."
    if not asked:
        return [Refused(Refusal.NOBODY_MUST_APPROVE)]
    known = people.get(person)
    if known is None:
        return [Refused(Refusal.UNKNOWN_PERSON, _known(person, people))]
    found: list[Refused] = []
    if entry.role not in asked:
        found.append(Refused(Refusal.ROLE_NOT_ASKED, f"{who} Asked for: {', '.join(sorted(asked))}."))
    elif entry.role not in known.roles:
        found.append(Refused(Refusal.ROLE_NOT_HELD, f"{who} Their roles: {', '.join(known.roles) or 'none'}."))
    if person == document.author and not rule.approvals.author_may_approve:
        found.append(Refused(Refusal.AUTHOR_APPROVES, who))
    signed = budget_bytes(entry.benefit, entry.year, entry.amount_minor, entry.currency, entry.why, entry.role, person)
    return found + _judge_signature(known, entry.key, entry.signature, signed, who)


def _judge_signature(known: Approver, key: str, signature: str, signed: bytes, who: str) -> list[Refused]:
    found = fault(known, key, signature, signed)
    return [] if found is None else [Refused(Refusal.SIGNATURE_FOREIGN if found is Fault.FOREIGN else Refusal.SIGNATURE_WRONG, who)]


def judge_cost(document: Document, rule: Rule) -> list[Refused]:
    """Why the document is not affordable, by its last simulation."""
    if rule.budget_minor is None or not document.simulation:
        return []
    if document.cost_minor is None:
        return [Refused(Refusal.COST_UNKNOWN)]
    if document.cost_minor <= rule.budget_minor:
        return []
    cost, budget = money_text(document.cost_minor, rule.currency), money_text(rule.budget_minor, rule.currency)
    return [Refused(Refusal.UNAFFORDABLE, f"It costs {cost}, the budget is {budget}.")]


def judge_author(person: str, people: People, benefit: str, rule: str, key: str, signature: str) -> list[Refused]:
    """Why this person cannot submit this document; an author with a key signs, so that nobody submits under their name."""
    known = people.get(person)
    if known is None:
        return [Refused(Refusal.UNKNOWN_PERSON, _known(person, people))]
    if known.key and key != known.key:
        return [Refused(Refusal.SIGNATURE_FOREIGN, f"{person} has a key: submit with --key.")]
    if known.key and not fits(key, signature, authorship_bytes(benefit, rule, person)):
        return [Refused(Refusal.SIGNATURE_WRONG, person)]
    return []


def judge_approval(document: Document, rule: Rule, approval: Logged, people: People, today: int) -> list[Refused]:
    """Everything that is wrong with one approval on a day."""
    entry, person = approval.entry, approval.person
    assert isinstance(entry, Approved), "an approval is judged"
    found: list[Refused] = []
    who = f"{person} as {entry.role}."
    if not document.simulation:
        found.append(Refused(Refusal.NOT_SIMULATED))
    elif entry.simulation != document.simulation:
        found.append(Refused(Refusal.OTHER_SIMULATION, f"{who} It is for {entry.simulation[:12]}, the last one is {document.simulation[:12]}."))
    known = people.get(person)
    if known is None:
        return [*found, Refused(Refusal.UNKNOWN_PERSON, _known(person, people))]
    if entry.role not in known.roles:
        found.append(Refused(Refusal.ROLE_NOT_HELD, f"{who} Their roles: {', '.join(known.roles) or 'none'}."))
    if person == document.author and not rule.approvals.author_may_approve:
        found.append(Refused(Refusal.AUTHOR_APPROVES, who))
    if any(_sound(document, earlier, people, today) and earlier.person == person and _role(earlier) != entry.role for earlier in document.approvals):
        found.append(Refused(Refusal.ONE_PERSON_TWO_ROLES, who))
    signed = approval_bytes(entry.benefit, entry.rule, entry.simulation, entry.role, person, entry.expires)
    found += _judge_signature(known, entry.key, entry.signature, signed, who)
    if entry.expires < today:
        found.append(Refused(Refusal.SIGNATURE_EXPIRED, f"{who} It was good until {day_date(entry.expires)}."))
    return found


def _role(approval: Logged) -> str:
    return approval.entry.role if isinstance(approval.entry, Approved) else ""


def _sound(document: Document, approval: Logged, people: People, today: int) -> bool:
    """Whether an approval is genuine and for what stands now, whoever gave it in whichever role."""
    entry, known = approval.entry, people.get(approval.person)
    return (
        isinstance(entry, Approved)
        and known is not None
        and entry.simulation == document.simulation
        and entry.expires >= today
        and entry.key == known.key != ""
        and fits(entry.key, entry.signature, approval_bytes(entry.benefit, entry.rule, entry.simulation, entry.role, approval.person, entry.expires))
    )


def needed(rule: Rule, need: Sequence[str]) -> dict[str, int]:
    """How many approvals each role must give: what the document asks for, and at least what the installation asks for."""
    asked = dict(rule.approvals.need)
    for role in need:
        asked[role] = max(asked.get(role, 0), need.count(role))
    return {role: count for role, count in asked.items() if count}


def judge_approvals(document: Document, rule: Rule, people: People, need: Sequence[str], today: int) -> list[Refused]:
    """Why the document is not approved on a day: who is missing, and what is wrong with the approvals there are."""
    asked = needed(rule, need)
    if not document.simulation:
        return [Refused(Refusal.NOT_SIMULATED)]
    if not asked:
        return [Refused(Refusal.NOBODY_MUST_APPROVE)]
    given: dict[str, set[str]] = {}
    wrong: list[Refused] = []
    for approval in document.approvals:
        problems = judge_approval(document, rule, approval, people, today)
        if problems:
            wrong += problems
        else:
            given.setdefault(_role(approval), set()).add(approval.person)
    missing = {role: count - len(given.get(role, ())) for role, count in asked.items() if len(given.get(role, ())) < count}
    if not missing:
        return []
    return [Refused(Refusal.APPROVALS_MISSING, f"Missing: {_counted(missing)}."), *_unrepeated(wrong)]


def _counted(roles: Mapping[str, int]) -> str:
    return ", ".join(role if count == 1 else f"{role} ({count})" for role, count in sorted(roles.items()))


def _unrepeated(refusals: Iterable[Refused]) -> list[Refused]:
    return list(dict.fromkeys(refusals))


def _known(person: str, people: People) -> str:
    return f"{person!r} is none of {', '.join(sorted(people)) or 'nobody'}."


def find(found: Mapping[str, Life], text: str) -> tuple[Life, Document] | None:
    """The document whose hash begins with a text of at least eight digits, if there is exactly one."""
    hits = [(life, document) for life in found.values() for rule, document in life.documents.items() if rule.startswith(text.lower())]
    return hits[0] if len(hits) == 1 and len(text) >= 8 else None
