"""The tables of the store as SQLModel classes, for the queries of people; the migrations create them and are the last word.

What each table is for stands in `migrations/`. A test holds columns, types, nullability and keys of both together.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Date, DateTime, Integer, LargeBinary, SmallInteger, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine
from sqlmodel import Field, SQLModel

CODE = Text(collation="C")
"""Text that is compared byte by byte: names, ids, pseudonyms."""

INSTANT = DateTime(timezone=True)


def _column(kind: TypeEngine[Any] | type[TypeEngine[Any]], *, key: bool = False, nullable: bool = False) -> Any:
    return Field(sa_type=kind, primary_key=key, nullable=nullable)


class StoreInfo(SQLModel, table=True):
    """What was fixed when the store was provisioned."""

    __tablename__ = "store_info"
    name: str = _column(CODE, key=True)
    value: str = _column(Text)


class SchemaVersion(SQLModel, table=True):
    """The migrations that ran."""

    __tablename__ = "schema_version"
    version: int = _column(Integer, key=True)
    migrated_at: datetime = _column(INSTANT)


class Lane(SQLModel, table=True):
    """A shard: who writes it, the last outbox number given, and the one after which they begin."""

    __tablename__ = "lane"
    shard: int = _column(SmallInteger, key=True)
    epoch: int = _column(BigInteger)
    owner: str = _column(Text)
    release_seq: int = _column(BigInteger)
    work_no: int = _column(BigInteger)
    claimed_at: datetime | None = _column(INSTANT, nullable=True)
    share_seq: int = _column(BigInteger)
    release_base: int = _column(BigInteger)


class Position(SQLModel, table=True):
    """The next offset to take of a topic and shard."""

    __tablename__ = "position"
    topic: str = _column(CODE, key=True)
    shard: int = _column(SmallInteger, key=True)
    next_offset: int = _column(BigInteger)


class Division(SQLModel, table=True):
    """How many shards there were while the records before an offset were put."""

    __tablename__ = "division"
    topic: str = _column(CODE, key=True)
    shard: int = _column(SmallInteger, key=True)
    end_offset: int = _column(BigInteger, key=True)
    shards: int = _column(Integer)


class Frame(SQLModel, table=True):
    """What became of a run of records."""

    __tablename__ = "frame"
    topic: str = _column(CODE, key=True)
    shard: int = _column(SmallInteger, key=True)
    first_offset: int = _column(BigInteger, key=True)
    end_offset: int = _column(BigInteger)
    epoch: int = _column(BigInteger)
    applied: int = _column(Integer)
    duplicate: int = _column(Integer)
    conflict: int = _column(Integer)
    dead_letter: int = _column(Integer)
    taken_at: datetime = _column(INSTANT)


class DeadLetter(SQLModel, table=True):
    """A record that broke its contract, whole, with its problems."""

    __tablename__ = "dead_letter"
    topic: str = _column(CODE, key=True)
    shard: int = _column(SmallInteger, key=True)
    record_offset: int = _column(BigInteger, key=True)
    record_key: bytes = _column(LargeBinary)
    record_value: bytes = _column(LargeBinary)
    problems: list[dict[str, Any]] = _column(JSONB)
    status: str = _column(CODE)
    arrived_at: datetime = _column(INSTANT)
    resolution: str = _column(Text)
    resolved_at: datetime | None = _column(INSTANT, nullable=True)


class Finding(SQLModel, table=True):
    """Something a person should look at."""

    __tablename__ = "finding"
    shard: int = _column(SmallInteger, key=True)
    kind: str = _column(CODE, key=True)
    subject: str = _column(CODE, key=True)
    ident: str = _column(CODE, key=True)
    found_at: datetime = _column(INSTANT)


class Facts(SQLModel, table=True):
    """The encoded history of a subject."""

    __tablename__ = "facts"
    shard: int = _column(SmallInteger, key=True)
    subject: str = _column(CODE, key=True)
    history: bytes = _column(LargeBinary)


class AccountHolder(SQLModel, table=True):
    """Whose account is whose, by digest."""

    __tablename__ = "account_holder"
    account_key: bytes = _column(LargeBinary, key=True)
    subject: str = _column(CODE, key=True)


class RuleDocument(SQLModel, table=True):
    """A rule document that has decided."""

    __tablename__ = "rule_document"
    rule_id: int = _column(Integer, key=True)
    hash: str = _column(CODE)
    benefit: str = _column(CODE)
    document: str = _column(Text)
    stored_at: datetime = _column(INSTANT)


class BenefitPeriod(SQLModel, table=True):
    """One benefit in one period, in one currency."""

    __tablename__ = "benefit_period"
    benefit_period_id: int = _column(SmallInteger, key=True)
    benefit: str = _column(CODE)
    period: str = _column(CODE)
    currency: str = _column(CODE)


class RuleLog(SQLModel, table=True):
    """One entry of the life of a rule; on the first server."""

    __tablename__ = "rule_log"
    entry: int = _column(BigInteger, key=True)
    at_ms: int = _column(BigInteger)
    benefit: str = _column(CODE)
    person: str = _column(Text)
    content: str = _column(Text)
    link: bytes = _column(LargeBinary)


class Activation(SQLModel, table=True):
    """How far everybody known has been decided under the rules that stand."""

    __tablename__ = "activation"
    shard: int = _column(SmallInteger, key=True)
    benefit_period_id: int = _column(SmallInteger, key=True)
    rule_id: int = _column(Integer)
    decided_to: str = _column(CODE)
    done: bool = _column(Boolean)
    run: str = _column(CODE)
    share: int = _column(Integer)
    known: int = _column(BigInteger)
    decided: int = _column(BigInteger)
    begun_at: datetime = _column(INSTANT)


class Entitlement(SQLModel, table=True):
    """What is owed to a subject for a benefit and period."""

    __tablename__ = "entitlement"
    shard: int = _column(SmallInteger, key=True)
    benefit_period_id: int = _column(SmallInteger, key=True)
    rule_id: int = _column(Integer)
    decision: int = _column(SmallInteger)
    owed_minor: int = _column(BigInteger)
    live_minor: int = _column(BigInteger)
    claim_minor: int = _column(BigInteger)
    orders: int = _column(Integer)
    held: int = _column(Integer)
    subject: str = _column(CODE, key=True)
    receipt: bytes = _column(LargeBinary)


class PaymentOrder(SQLModel, table=True):
    """A payment order and where it stands."""

    __tablename__ = "payment_order"
    shard: int = _column(SmallInteger, key=True)
    benefit_period_id: int = _column(SmallInteger, key=True)
    sequence: int = _column(Integer, key=True)
    kind: int = _column(SmallInteger)
    amount_minor: int = _column(BigInteger)
    rule_id: int = _column(Integer)
    first_state: int = _column(SmallInteger)
    state: int = _column(SmallInteger)
    attempt: int = _column(Integer)
    steps: int = _column(Integer)
    release_seq: int = _column(BigInteger)
    created_at: datetime = _column(INSTANT)
    order_id: bytes = _column(LargeBinary)
    fingerprint: bytes = _column(LargeBinary)
    subject: str = _column(CODE, key=True)
    reason: str = _column(CODE)
    account: str = _column(Text)


class OrderHistory(SQLModel, table=True):
    """One step of an order's life."""

    __tablename__ = "order_history"
    shard: int = _column(SmallInteger, key=True)
    benefit_period_id: int = _column(SmallInteger, key=True)
    sequence: int = _column(Integer, key=True)
    step_no: int = _column(Integer, key=True)
    from_state: int = _column(SmallInteger)
    to_state: int = _column(SmallInteger)
    attempt: int = _column(Integer)
    at: datetime = _column(INSTANT)
    subject: str = _column(CODE, key=True)
    step: str = _column(CODE)
    reason: str = _column(CODE)
    cause: str = _column(Text)


class Transfer(SQLModel, table=True):
    """One balanced transfer of the general ledger."""

    __tablename__ = "transfer"
    topic: str = _column(CODE, key=True)
    shard: int = _column(SmallInteger, key=True)
    first_offset: int = _column(BigInteger, key=True)
    benefit_period_id: int = _column(SmallInteger, key=True)
    step: str = _column(CODE, key=True)
    debit: str = _column(CODE, key=True)
    credit: str = _column(CODE, key=True)
    amount_minor: int = _column(BigInteger)
    orders: int = _column(Integer)
    posted_at: datetime = _column(INSTANT)


class Relay(SQLModel, table=True):
    """How far the orders of a shard have been published."""

    __tablename__ = "relay"
    shard: int = _column(SmallInteger, key=True)
    relayed_seq: int = _column(BigInteger)
    shared_seq: int = _column(BigInteger)


class MemberShare(SQLModel, table=True):
    """What a member's lane has to tell a household and has not published yet."""

    __tablename__ = "member_share"
    shard: int = _column(SmallInteger, key=True)
    seq: int = _column(BigInteger, key=True)
    household: str = _column(CODE)
    message: bytes = _column(LargeBinary)


class MemberTold(SQLModel, table=True):
    """Which shards have told a shard's households everything that somebody's needs ask for."""

    __tablename__ = "member_told"
    shard: int = _column(SmallInteger, key=True)
    needs: str = _column(CODE, key=True)
    from_shard: int = _column(SmallInteger, key=True)


class MemberRun(SQLModel, table=True):
    """How far everybody known has told their households what the rules in force need."""

    __tablename__ = "member_run"
    shard: int = _column(SmallInteger, key=True)
    needs: str = _column(CODE)
    told_to: str = _column(CODE)
    done: bool = _column(Boolean)


class BudgetRow(SQLModel, table=True):
    """What may be released of a benefit, and what the shards have reserved of it; on the first server."""

    __tablename__ = "budget"
    benefit: str = _column(CODE, key=True)
    year: str = _column(CODE, key=True)
    number: int = _column(BigInteger)
    limit_minor: int = _column(BigInteger)
    reserved_minor: int = _column(BigInteger)
    begun_minor: int = _column(BigInteger)
    stopped_at: datetime | None = _column(INSTANT, nullable=True)


class BudgetShare(SQLModel, table=True):
    """What one shard has reserved of a budget."""

    __tablename__ = "budget_share"
    benefit: str = _column(CODE, key=True)
    year: str = _column(CODE, key=True)
    shard: int = _column(SmallInteger, key=True)
    reserved_minor: int = _column(BigInteger)


class HoldReleaseRow(SQLModel, table=True):
    """A held order that a person let go."""

    __tablename__ = "hold_release"
    number: int = _column(BigInteger, key=True)
    shard: int = _column(SmallInteger)
    benefit_period_id: int = _column(SmallInteger)
    sequence: int = _column(Integer)
    at: datetime = _column(INSTANT)
    subject: str = _column(CODE)
    reason: str = _column(CODE)
    person: str = _column(Text)
    role: str = _column(Text)
    why: str = _column(Text)
    key: str = _column(CODE)
    signature: str = _column(CODE)


class Submission(SQLModel, table=True):
    """One message to the bank."""

    __tablename__ = "submission"
    message_id: str = _column(CODE, key=True)
    shard: int = _column(SmallInteger)
    first_seq: int = _column(BigInteger)
    last_seq: int = _column(BigInteger)
    currency: str = _column(CODE)
    orders: int = _column(Integer)
    amount_minor: int = _column(BigInteger)
    created_at: datetime = _column(INSTANT)
    execution_on: date = _column(Date)
    file_name: str = _column(Text)
    written: bool = _column(Boolean)


class BankFile(SQLModel, table=True):
    """One file of the bank, by content."""

    __tablename__ = "bank_file"
    sha256: str = _column(CODE, key=True)
    file_name: str = _column(Text)
    kind: str = _column(CODE)
    message_id: str = _column(Text)
    answers: int = _column(Integer)
    outcome: str = _column(CODE)
    detail: str = _column(Text)
    received_at: datetime = _column(INSTANT)
