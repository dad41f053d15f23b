"""What is kept of a history when it is frozen, who could be paid, and a rule's facts read out of frozen histories."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

import msgspec
import polars as pl

from pipeline.accounts import ASSIGNMENT, ORDINARY, AccountPolicy, check, resolve
from pipeline.decisions import ActiveRule
from pipeline.facts import LAST_DAY, History, Question, Reader
from pipeline.holds import HoldReason
from pipeline.members import HOUSEHOLD, MARK, Heads, by_member, own
from pipeline.registry import FactSpec
from pipeline.rules import Rule

from .comparison import PAYABLE, Side

Accepts = Literal["final", "provisional"]
CERTAIN: tuple[Accepts, ...] = ("final", "provisional")
DEATH = "residency.death_date"
PLACE = "place:"
"""In a table of facts: where the person stands among those whose histories were read."""

NO_SCHEME = ""


class Payee(NamedTuple):
    """Whether money could go to the account for one benefit (or for every other one): the hold it would meet, and the account's scheme."""

    whose: Literal["self", "head"]
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
        """The subject's own ordinary payee first, then those for benefits with an account of their own; then those of a household's head."""
        if not any(MARK in event.registry for event in history):
            return self._of("self", history)
        members = by_member(history)
        heads = self._heads.of(subject, members, self._day) if self._heads is not None else ()
        return [*self._of("self", own(history)), *(self._of("head", members[heads[0]]) if len(heads) == 1 else ())]

    def _of(self, whose: Literal["self", "head"], history: History) -> list[Payee]:
        if any(DEATH in event.values for event in history) and self._alive.read(history)[0][0] is False:
            return [Payee(whose, ORDINARY, HoldReason.PAYEE_DECEASED.value, NO_SCHEME)]
        benefits = {str(event.values["account.benefit"]) for event in history if event.type == ASSIGNMENT and "account.benefit" in event.values}
        return [self._payee(whose, history, benefit) for benefit in (ORDINARY, *sorted(benefits - {ORDINARY}))]

    def _payee(self, whose: Literal["self", "head"], history: History, benefit: str) -> Payee:
        assignment = resolve(history, benefit, self._day)
        if assignment is None:
            return Payee(whose, benefit, HoldReason.NO_ACCOUNT.value, NO_SCHEME)
        scheme = assignment.account.scheme
        currency = next(iter(self._policy.currencies.get(scheme, ())), "")
        sharing = self._policy.max_subjects_per_account + 1 if self._crowded and assignment.account.key() in self._crowded else 1
        reason = check(assignment, self._policy, currency, self._day, sharing)
        return Payee(whose, benefit, PAYABLE if reason is None else reason.value, scheme)


PAYEES_SCHEMA = {"hold": pl.String(), "scheme": pl.String(), "head_hold": pl.String(), "head_scheme": pl.String(), "others": pl.String()}


def payees_row(payees: Sequence[Payee]) -> tuple[str, str, str | None, str | None, str]:
    """A subject's payees as the columns of `PAYEES_SCHEMA`; `others`, for benefits with accounts of their own, is empty for nearly everybody."""
    ordinary = {payee.whose: payee for payee in payees if payee.benefit == ORDINARY}
    others = [payee for payee in payees if payee.benefit != ORDINARY]
    mine, head = ordinary["self"], ordinary.get("head")
    told = msgspec.json.encode(others).decode() if others else ""
    return mine.hold, mine.scheme, None if head is None else head.hold, None if head is None else head.scheme, told


def holds_of(rule: Rule, payees: pl.DataFrame, policy: AccountPolicy) -> pl.Series:
    """The hold that money of a rule would meet, of each row of payees: its payee is the first of `payment.to` that there is."""
    if rule.decides_for == "household":
        own_one = (pl.col("scheme") != NO_SCHEME) | pl.col("others").str.contains('"self"', literal=True)
        whose = pl.lit(None, pl.String)
        for to in reversed(rule.payment.to):
            if to == "household.head":
                whose = pl.when(pl.col("head_hold").is_not_null()).then(pl.lit("head")).otherwise(whose)
            elif to == "self":
                whose = pl.lit("self") if "household.head" not in rule.payment.to else pl.when(own_one).then(pl.lit("self")).otherwise(whose)
    else:
        whose = pl.lit("self")
    head = pl.col("whose") == "head"
    chosen = payees.with_columns(whose.alias("whose")).select(
        "whose",
        "others",
        pl.when(pl.col("whose").is_null()).then(pl.lit(HoldReason.PAYEE_UNKNOWN.value)).when(head).then("head_hold").otherwise("hold").alias("hold"),
        pl.when(head).then("head_scheme").otherwise("scheme").fill_null(NO_SCHEME).alias("scheme"),
    )
    holds, schemes = chosen.get_column("hold"), chosen.get_column("scheme")
    for place in (chosen.get_column("others") != "").arg_true().to_list():
        for payee in msgspec.json.decode(chosen.item(place, "others"), type=list[Payee]):
            if (payee.whose, payee.benefit) == (chosen.item(place, "whose"), rule.benefit):
                holds[place], schemes[place] = payee.hold, payee.scheme
    return _in_currency(holds, schemes, policy, rule.currency)


def _in_currency(holds: pl.Series, schemes: pl.Series, policy: AccountPolicy, currency: str) -> pl.Series:
    """The holds of money of one currency, from those of money in whichever currency the account takes: the first guard that asks decides."""
    order = list(HoldReason)
    before = [reason.value for reason in order[: order.index(HoldReason.ACCOUNT_CURRENCY_NOT_ALLOWED)]]
    refusing = [scheme for scheme, currencies in policy.currencies.items() if currency not in currencies]
    refused = schemes.is_in(refusing) & ~holds.is_in(before)
    return holds.set(refused, HoldReason.ACCOUNT_CURRENCY_NOT_ALLOWED.value)


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
    """Reads the facts of a rule for a period out of the histories that it decides about, as a run does. Readers with the same `key` read the same."""

    def __init__(self, side: Side, catalogue: Mapping[str, FactSpec]) -> None:
        self.rule, self.period = side
        self._active = ActiveRule(self.rule, self.period, catalogue)
        self._facts = [fact for fact in self.rule.facts if fact.aggregate is None]
        self.key = self._key()

    def _key(self) -> str:
        asked = [(fact.name, fact.type, _plain(one)) for fact, one in zip(self._facts, self._active.reader.questions, strict=True)]
        members = self.rule.members
        of_members = None if members is None else (self.rule.hash, self.period.label, [(fact.name, sorted(fact.accept)) for fact in members.facts])
        told = msgspec.json.encode(("facts/1", self.rule.decides_for, asked, self.rule.needs_event_day, of_members), order="deterministic")
        return hashlib.sha256(told).hexdigest()

    def table(self, histories: Sequence[tuple[str, History]]) -> pl.DataFrame:
        """A row for each of these subjects whom the rule decides about: their place among them, a column for each fact, and the day of the event."""
        places, table, _, _ = self._active.read(histories)
        days = [pl.col("event_day").cast(pl.Int64)] if self.rule.needs_event_day else []
        return table.select(pl.Series(PLACE, list(places), dtype=pl.UInt32), *(fact.name for fact in self.rule.facts), *days)

    def table_like(self, histories: Sequence[tuple[str, History]], other: FactReader, read: pl.DataFrame) -> pl.DataFrame:
        """The same as `table`, where another reader that differs in the statuses it accepts has `read` these histories: only the unsure are read again."""
        if not all(reader.accepts_final for reader in (self, other)):
            return self.table(histories)
        unsure = [place for place in read.get_column(PLACE).to_list() if any(event.status != "final" for event in histories[place][1])]
        again = self.table([histories[place] for place in unsure]).with_columns(pl.Series(PLACE, unsure, dtype=pl.UInt32))
        return pl.concat([read.filter(~pl.col(PLACE).is_in(unsure)), again]).sort(PLACE)

    @property
    def accepts_final(self) -> bool:
        """Whether every fact counts where it is final."""
        facts = (*self._facts, *(self.rule.members.facts if self.rule.members is not None else ()))
        return all(not fact.accept or "final" in fact.accept for fact in facts)


def _plain(one: Question) -> tuple[object, ...]:
    accept = None if one.accept is None else sorted(one.accept)
    return one.name, one.registry, one.day, accept, one.timeless, one.until, one.oldest_ms
