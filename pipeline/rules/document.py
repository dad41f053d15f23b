"""The shape of a rule document: its keys and what may stand there, as models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipeline.bank_days import Calendar

from .amounts import Amount, Bracket, Each, Rounding, Row, Scale, Spread, Step, Table, Taper
from .scalars import (
    At,
    BenefitId,
    Day,
    EndDay,
    Given,
    Name,
    Per,
    PeriodKind,
    Scalar,
    Schedule,
    Status,
    Values,
    When,
    Whole,
    Words,
    YesNo,
    read_age,
    read_missing,
    read_value,
)

__all__ = [
    "Aggregate", "Amount", "Approvals", "Bracket", "Budget", "Claim", "Condition", "Corrections", "DatedValue", "Decides", "Document", "Each", "Fact",
    "IfMissing", "InForce", "Law", "Limits", "Members", "NotEncoded", "Parameter", "Payment", "Rounding", "Row", "Scale", "Spread", "Step", "Table",
    "Taper", "Test",
]  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InForce(_Part):
    """The days on which the law holds, both included; `to: null` while no end is known."""

    from_: Day = Field(alias="from")
    """The first day."""
    to: EndDay = None
    """The last day; null while no end is known."""


class Law(_Part):
    """A place in the law."""

    cite: str
    """The place as lawyers cite it; explanations and letters name it."""
    url: str = ""
    """Where it can be read."""
    text: str = ""
    """What it says, in a sentence."""


class Decides(_Part):
    """Whom and for how long one decision is, and which day picks the parameters."""

    for_: Literal["person", "household", "business"] = Field(alias="for")
    """Whom one decision is about, and to whom the money is owed."""
    period: PeriodKind
    """What one decision is for: the benefit is paid once, or for each week (Monday to Sunday), month, quarter or year."""
    parameters_at: When
    """The day whose values of the parameters hold."""
    currency: str = ""
    """Three letters, such as DKK; it may be left out where all money facts have one."""


class IfMissing(_Part):
    """`hold`, or a value to assume."""

    assume: Scalar | None
    """The value that counts where nobody told one."""


Missing = Annotated[IfMissing, BeforeValidator(read_missing), WithJsonSchema({"anyOf": [{"const": "hold"}, IfMissing.model_json_schema()]})]
Age = Annotated[int, BeforeValidator(read_age), WithJsonSchema({"type": "string", "pattern": "^[0-9]+ days$"})]


class Fact(_Part):
    """A fact the rule reads, under a name of its own."""

    title: Words = {}
    """What people call it, by language; the name with blanks if left out."""
    type: Literal["money", "number", "percent", "years", "date", "yes_no", "text", "ratio"]
    """What it is; years are counted from a date to the day asked."""
    from_: str = Field(alias="from")
    """The registry's fact, such as residency.birth_date."""
    at: At | None = None
    """The day asked for; decides.parameters_at where left out."""
    year: Scalar | None = None
    """The calendar year asked for, instead of a day: a number, period.year, or period.year - 1 for the year before (as far as - 9)."""
    per: Per | None = None
    """Of money: for how long the amount is."""
    accept: list[Status] = ["final"]
    """The statuses that count."""
    range: Scalar | None = None
    """The lowest and the highest value, such as 0..130; what lies outside is unknown. The registry's where left out."""
    one_of: list[Scalar] = []
    """Of text and ratio: the values there are; any other is unknown. The registry's where left out."""
    words: dict[str, Words] = {}
    """What people call the values of a text, each by language; the value with blanks if left out."""
    if_missing: Missing = IfMissing(assume=None)
    """What becomes of the decision where nobody told the fact."""
    max_age: Age | None = None
    """How old the event that told it may be."""


class DatedValue(_Part):
    """The value of a parameter from a day on; `null` ends the parameter."""

    value: Values
    """One value, or a list with a value for each key; where several facts give the keys, lists within lists, the first fact outermost."""
    law: Values = ""
    """The law of the value, or lists of the same shape as the values."""
    note: str = ""
    """What a reader should know."""


_DATED_SCHEMA = {"anyOf": [{"type": ["string", "number", "boolean", "null"]}, {"type": "array"}, DatedValue.model_json_schema()]}
Dated = Annotated[DatedValue, BeforeValidator(read_value), WithJsonSchema(_DATED_SCHEMA)]


class Parameter(_Part):
    """A number of the law, by date and, where `by` names facts, by the values of those facts."""

    title: Words = {}
    """What people call it, by language; the name with blanks if left out."""
    type: Literal["money", "number", "percent", "ratio", "years", "date", "yes_no", "text"]
    """What the value is; an amount of money is written in the currency of the rule, 5 percent as 5, a ratio as 0.05 or 1/3."""
    per: Per | None = None
    """Of money: for how long the amount is."""
    law: str = ""
    """The law of every value that names none of its own."""
    by: dict[Name, list[Scalar]] = Field(default={}, max_length=3)
    """The facts that pick the value, each with its keys: 3, 0-2, 0..<10_000, 15.., a text, yes or no."""
    from_: dict[Day, Dated] = Field(alias="from", min_length=1)
    """The first day of each value."""


class Condition(_Part):
    """A condition or an exclusion, with its law and its sentences."""

    id: Name
    """A name for it, which decisions and tests say."""
    title: Words = {}
    """What people call it, by language; the id with blanks if left out."""
    when: Scalar
    """An expression that is yes or no."""
    law: str = ""
    """The place in the law that says so."""
    held: Words = {}
    """The sentence where it holds, by language: "{subject} is {age}." names the subject, the period, its days, facts, parameters and steps."""
    not_held: Words = {}
    """The sentence where it does not hold, by language."""


class Members(_Part):
    """The members of a household on a day, and what the rule reads of each of them."""

    of: Scalar = "residency.household"
    """The fact of a person that names the household; residency.household where left out."""
    at: At | None = None
    """The day on which they are members; decides.parameters_at where left out."""
    most: Whole = 50
    """The most members that are counted; a household of more is undetermined."""
    facts: dict[Name, Fact] = {}
    """The facts of a member, which aggregates use."""


class Aggregate(_Part):
    """A fact of the household that is made of its members: one of count, sum, any, all, min and max."""

    count: Scalar | None = None
    """How many members there are (`members`), or of whom a condition holds."""
    sum: Scalar | None = None
    """What an expression comes to over all members."""
    any: Scalar | None = None
    """Whether a condition holds of at least one member."""
    all: Scalar | None = None
    """Whether a condition holds of every member; yes where there is none."""
    min: Scalar | None = None
    """The least that an expression is of any member."""
    max: Scalar | None = None
    """The most that an expression is of any member."""
    where: Scalar | None = None
    """The members who count."""
    round: Rounding | None = None
    """Of sum, min and max: how each member's value is rounded before."""
    if_none: Scalar | None = None
    """Of min and max: what it is where no member counts."""
    title: Words = {}
    """What people call it, by language; the name with blanks if left out."""
    law: str = ""
    """The place in the law that says so."""


class Budget(_Part):
    """What may be spent, and what happens when it is reached."""

    amount: Scalar
    """The money there is."""
    per: Literal["year", "once"]
    """For how long it must last."""
    when_reached: Literal["stop_and_ask"]
    """What happens then: orders are held and a person is asked."""


class Limits(_Part):
    """Limits on what leaves without a person's eye."""

    budget: Budget | None = None
    """What may be spent on the benefit."""
    review_above: Scalar | None = None
    """An order above this amount is held until a person has looked at it."""


class Payment(_Part):
    """When and to whom money leaves."""

    date: Day | None = None
    """The day of payment of a benefit paid once; it is what payment.date means."""
    schedule: Schedule = ""
    """The days of payment of a benefit per period, as RFC 5545 writes them: FREQ=MONTHLY;BYMONTHDAY=20."""
    closed_day: Literal["before", "after"] = "after"
    """Where a payment goes that falls on a day on which banks are closed."""
    calendar: Calendar | None = None
    """Whose bank days count: of Denmark, the Federal Reserve (US), TARGET2 (EU), Japan or Korea."""
    to: list[Literal["self", "guardian", "household.head"]] = ["self"]
    """Who receives the money: the first that exists."""
    channel: list[Literal["account", "waiting_account", "letter"]] = ["account"]
    """How it is paid: the first way that is open."""


class Corrections(_Part):
    """What happens when a later decision differs from what was paid."""

    too_little: Literal["pay_difference", "nothing"] = "pay_difference"
    """Where more is owed than was ordered."""
    too_much: Literal["claim", "nothing"] = "claim"
    """Where less is owed than was ordered: a claim stands in the books, and is never collected by itself."""


class NotEncoded(_Part):
    """A part of the law that this document leaves to people."""

    law: str
    """The place in the law."""
    what: str
    """What it says."""
    handled: Literal["manual", "not_at_all"]
    """Whether people see to it, or nobody does."""


class Test(_Part):
    """A case with its outcome. `given` holds facts by name, `members` and `period`; `expect` the decision, amount, missing, refused_by and steps."""

    name: str
    """What the case shows, as a sentence."""
    given: dict[str, Given]
    """Facts by name (left out or `unknown`: unknown), `period`, `event_date`, and `members`, a list with the facts of each."""
    expect: dict[str, Scalar | list[Scalar]]
    """`decision`, `amount`, any step by its id, any aggregate by its name, `missing` (facts) and `refused_by` (conditions)."""
    source: str = ""
    """Who published the figure."""


class Claim(_Part):
    """What holds of everybody whom the rule decides, to be proved: one of never_more, never_less, at_most, at_least and same_for."""

    more: Name | None = None
    """The fact of which one of two people, alike in all others, has more."""
    never_more: Name | None = None
    """The step, or `amount` for what is paid, of which the one with more never has more."""
    never_less: Name | None = None
    """The step, or `amount` for what is paid, of which the one with more never has less."""
    at_most: Scalar | None = None
    """The most that is granted: an amount, or an expression."""
    at_least: Scalar | None = None
    """The least that is granted: an amount, or an expression."""
    of: Name | None = None
    """The step that at_most and at_least are about; what is paid where left out."""
    same_for: list[Name] = []
    """The facts that make no difference to decision and amount."""
    where: Scalar | None = None
    """The people whom the claim is about: an expression that is yes or no; everybody where left out."""


class Approvals(_Part):
    """Who must approve before the rule pays."""

    need: dict[Name, Whole] = {}
    """How many people of each role."""
    author_may_approve: YesNo = False
    """Whether the author may be one of them."""


class Document(_Part):
    """One dated version of one benefit."""

    model_config = ConfigDict(title="Benefit rule")
    format: Literal["benefit-rule/1"]
    """The version of this language."""
    benefit: BenefitId
    """The benefit's stable id, part of every order's key: small letters, digits and -, at most 40."""
    title: dict[str, str] = Field(min_length=1)
    """The name of the benefit, by language."""
    owner: str = ""
    """The unit that answers for the document."""
    in_force: InForce
    """The days on which the law holds."""
    law: dict[str, Law] = Field(min_length=1)
    """The places in the law, each under a key that other parts of the document name."""
    decides: Decides
    """Whom and for how long one decision is."""
    facts: dict[Name, Fact] = {}
    """The facts of the subject that the rule reads."""
    members: Members | None = None
    """Of a rule for households: the members, and what is read of each."""
    aggregates: dict[Name, Aggregate] = {}
    """Facts of the household that are made of its members."""
    parameters: dict[Name, Parameter] = {}
    """The numbers of the law, by date."""
    eligible_when: list[Condition]
    """What must hold, all of it; an empty list where everybody is entitled."""
    excluded_when: list[Condition] = []
    """What must not hold, none of it."""
    amount: Amount
    """How the amount is calculated."""
    limits: Limits = Limits()
    """Limits on what leaves without a person's eye."""
    payment: Payment = Payment()
    """When, to whom and how money leaves."""
    corrections: Corrections = Corrections()
    """What happens when a later decision differs from what was ordered."""
    not_encoded: list[NotEncoded] = []
    """The parts of the law that are left to people."""
    claims: list[Claim] = Field(default=[], max_length=32)
    """What the document says holds of everybody; it is proved."""
    tests: list[Test] = []
    """Cases with their outcome."""
    approvals: Approvals = Approvals()
    """Who must approve."""
