"""What is kept of a history when it is frozen, who could be paid, and a rule's facts read out of frozen histories."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import msgspec
import polars as pl

from pipeline.accounts import ASSIGNMENT, ORDINARY, AccountPolicy, check, resolve
from pipeline.facts import LAST_DAY, History, Question, Reader, Value
from pipeline.holds import HoldReason
from pipeline.households import MemberReader
from pipeline.members import MARK, Heads, by_member, own
from pipeline.questions import age_years, day_asked, question
from pipeline.registry import FactSpec
from pipeline.rules import RuleFact, physical_type

from .comparison import PAYABLE, Side

Accepts = Literal["final", "provisional"]
CERTAIN: tuple[Accepts, ...] = ("final", "provisional")
DEATH = "residency.death_date"
HOUSEHOLD = "residency.household"
ANY_SCHEME = ""


class Payee(NamedTuple):
    """Whether money could go to the account for one benefit (or for every other one): the hold it would meet, and the account's scheme."""

    benefit: str
    hold: str
    scheme: str


class Payees:
    """Finds, for one day and policy, where each subject's money could go. `crowded` are the keys of accounts that too many subjects share."""

    def __init__(self, policy: AccountPolicy, day: int, crowded: Collection[bytes], catalogue: Mapping[str, FactSpec]) -> None:
        self._policy, self._day, self._crowded = policy, day, crowded
        self._alive = Reader([Question("residency.alive", "residency", LAST_DAY, until=DEATH)])
        self._heads = Heads(HOUSEHOLD, catalogue) if HOUSEHOLD in catalogue else None

    def of(self, subject: str, history: History) -> list[Payee]:
        """The ordinary payee first, then those for benefits with an account of their own; a household's are those of its head."""
        if any(MARK in event.registry for event in history):
            members = by_member(history)
            heads = self._heads.of(subject, members, self._day) if self._heads is not None else ()
            history = members[heads[0]] if len(heads) == 1 else own(history)
        if any(DEATH in event.values for event in history) and self._alive.read(history)[0][0] is False:
            return [Payee(ORDINARY, HoldReason.PAYEE_DECEASED.value, ANY_SCHEME)]
        benefits = {str(event.values["account.benefit"]) for event in history if event.type == ASSIGNMENT and "account.benefit" in event.values}
        return [self._payee(history, benefit) for benefit in (ORDINARY, *sorted(benefits - {ORDINARY}))]

    def _payee(self, history: History, benefit: str) -> Payee:
        assignment = resolve(history, benefit, self._day)
        if assignment is None:
            return Payee(benefit, HoldReason.NO_ACCOUNT.value, ANY_SCHEME)
        scheme = assignment.account.scheme
        currency = next(iter(self._policy.currencies.get(scheme, ())), "")
        sharing = self._policy.max_subjects_per_account + 1 if self._crowded and assignment.account.key() in self._crowded else 1
        reason = check(assignment, self._policy, currency, self._day, sharing)
        return Payee(benefit, PAYABLE if reason is None else reason.value, scheme)


def holds_in(holds: pl.Series, schemes: pl.Series, policy: AccountPolicy, currency: str) -> pl.Series:
    """The holds that money of one currency meets, of those of money in whichever currency the account takes: the first guard that asks decides."""
    order = list(HoldReason)
    before = [reason.value for reason in order[: order.index(HoldReason.ACCOUNT_CURRENCY_NOT_ALLOWED)]]
    refusing = [scheme for scheme, currencies in policy.currencies.items() if currency not in currencies]
    refused = schemes.cast(pl.String).is_in(refusing) & ~holds.cast(pl.String).is_in(before)
    return holds.cast(pl.String).set(refused, HoldReason.ACCOUNT_CURRENCY_NOT_ALLOWED.value)


def without_private(history: History, private: Collection[str]) -> History:
    """A history without what these registries said, of the subject or of its members."""
    return tuple(event for event in history if event.registry.partition(MARK)[0] not in private)


def accepting(side: Side, accepts: Accepts) -> Side:
    """The rule as it would be if only final facts counted, or all."""
    statuses = ("final",) if accepts == "final" else ()
    members = side.rule.members
    if members is not None:
        members = replace(members, facts=tuple(replace(fact, accept=statuses) for fact in members.facts))
    return Side(replace(side.rule, facts=tuple(replace(fact, accept=statuses) for fact in side.rule.facts), members=members), side.period)


class FactReader:
    """Reads the facts of a rule for a period out of histories, as a run does. Readers with the same `key` read the same."""

    def __init__(self, side: Side, catalogue: Mapping[str, FactSpec]) -> None:
        self.rule, self.period = side
        self._facts = [fact for fact in self.rule.facts if fact.aggregate is None]
        questions = [question(self.rule, fact, self.period, catalogue[fact.source]) for fact in self._facts]
        self._reader = Reader(questions)
        self._ages = [(index, fact) for index, fact in enumerate(self._facts) if fact.type == "years" and catalogue[fact.source].type == "date"]
        self._members = MemberReader(self.rule, self.period, catalogue) if self.rule.members is not None else None
        asks = self._members is not None and self._members.needs_event_day
        self._asks_day = self.rule.needs_event_day or self._reader.needs_event_day or asks
        self.key = self._key(questions)

    def _key(self, questions: Sequence[Question]) -> str:
        asked = [(fact.name, fact.type, self._plain(one)) for fact, one in zip(self._facts, questions, strict=True)]
        members = self.rule.members
        of_members = None if members is None else (self.rule.hash, self.period.label, [(fact.name, sorted(fact.accept)) for fact in members.facts])
        told = msgspec.json.encode(("facts/1", asked, self.rule.needs_event_day, of_members), order="deterministic")
        return hashlib.sha256(told).hexdigest()

    @staticmethod
    def _plain(one: Question) -> tuple[object, ...]:
        accept = None if one.accept is None else sorted(one.accept)
        return one.name, one.registry, one.day, accept, one.timeless, one.until, one.oldest_ms

    def table(self, histories: Sequence[tuple[str, History]]) -> pl.DataFrame:
        """A row for each of these subjects: a column for each fact, and the day of the event where the rule asks for it."""
        rows: list[list[Value | None]] = []
        days: list[int] = []
        for _, history in histories:
            event_day = self._event_day(history) if self._asks_day else LAST_DAY
            values, _ = self._reader.read(history, event_day)
            for index, fact in self._ages:
                values[index] = self._age(values[index], fact, event_day)
            rows.append(values)
            days.append(event_day)
        columns = list(zip(*rows, strict=True)) if rows and self._facts else [()] * len(self._facts)
        facts = [pl.Series(fact.name, list(column), dtype=physical_type(fact)) for fact, column in zip(self._facts, columns, strict=True)]
        table = pl.DataFrame([*facts, pl.Series("event_day", days, dtype=pl.Int64)])
        if self._members is not None:
            table = self._members.made(histories, days, table)
        return table.select([fact.name for fact in self.rule.facts] + (["event_day"] if self.rule.needs_event_day else []))

    def _event_day(self, history: History) -> int:
        own_day = self._reader.event_day(history)
        return own_day if self._members is None else max(own_day, self._members.event_day(history))

    def _age(self, born: Value | None, fact: RuleFact, event_day: int) -> int | None:
        asked = day_asked(self.rule, fact, self.period)
        return None if born is None else age_years(int(born), event_day if asked is None else asked)
