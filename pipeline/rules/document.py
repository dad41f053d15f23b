"""The shape of a rule document: its keys and what may stand there, as models that also give the JSON Schema for editors."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

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


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class InForce(_Part):
    """The days on which the law holds, both included; `to: null` while no end is known."""

    from_: Day = Field(alias="from")
    to: EndDay = None


class Law(_Part):
    """A place in the law."""

    cite: str
    url: str = ""
    text: str = ""


class Decides(_Part):
    """Whom and for how long one decision is, and which day picks the parameters."""

    for_: Literal["person", "household", "business"] = Field(alias="for")
    period: PeriodKind
    parameters_at: When
    currency: str = ""


class IfMissing(_Part):
    """`hold`, or a value to assume."""

    assume: Scalar | None


Missing = Annotated[IfMissing, BeforeValidator(read_missing), WithJsonSchema({"anyOf": [{"const": "hold"}, IfMissing.model_json_schema()]})]
Age = Annotated[int, BeforeValidator(read_age), WithJsonSchema({"type": "string", "pattern": "^[0-9]+ days$"})]


class Fact(_Part):
    """A fact the rule reads, under a name of its own."""

    title: Words = {}
    """What people call it, by language; the name with blanks if left out."""
    type: Literal["money", "number", "percent", "years", "date", "yes_no", "text", "ratio"]
    from_: str = Field(alias="from")
    at: At | None = None
    year: Scalar | None = None
    per: Per | None = None
    accept: list[Status] = ["final"]
    range: Scalar | None = None
    one_of: list[Scalar] = []
    words: dict[str, Words] = {}
    """What people call the values of a text, each by language; the value with blanks if left out."""
    if_missing: Missing = IfMissing(assume=None)
    max_age: Age | None = None


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
    title: Words = {}
    """What people call it, by language; the id with blanks if left out."""
    when: Scalar
    law: str = ""
    held: Words = {}
    """The sentence where it holds, by language: "{subject} is {age}." names the subject, the period, its days, facts, parameters and steps."""
    not_held: Words = {}
    """The sentence where it does not hold, by language."""


class Each(_Part):
    """The steps in which an excess counts."""

    size: Scalar
    """How much one step is: an amount, or a parameter."""
    count: Literal["started", "full"]
    """Whether a step counts when it is started or when it is full."""


class Taper(_Part):
    """What an income takes off: a rate of the part above a limit, an amount for each step of it, or an amount over a range."""

    of: Scalar
    """The income that is looked at: an expression."""
    above: Scalar | None = None
    """The limit above which it counts: an amount, or an expression."""
    rate: Scalar | None = None
    """The share of the part above the limit: 5 %, or an expression."""
    each: Each | None = None
    """Counts the part above the limit in whole steps."""
    from_: Scalar | None = Field(alias="from", default=None)
    """The income up to which nothing is taken: an amount, or a parameter."""
    until: Scalar | None = None
    """The income from which all of `take` is taken: an amount, or a parameter."""
    take: Scalar | None = None
    """What each step takes, or what is taken at the end of the range: an amount, or an expression."""
    spread: Whole | None = None
    """Over how many payments it is taken."""


class Bracket(_Part):
    """A bracket of a scale: the part of the income above its limit, up to the next bracket."""

    above: Scalar
    """Where the bracket begins: an amount, or a parameter."""
    rate: Scalar
    """The share of the part in the bracket: 5 %, or an expression."""


class Scale(_Part):
    """A marginal scale: each bracket's rate on the part of the income in it."""

    of: Scalar
    """The income that is looked at: an expression."""
    brackets: list[Bracket] = Field(min_length=1, max_length=32)
    """From the lowest to the highest."""


class Row(_Part):
    """A row of a table: for whom it holds, and what it gives."""

    when: dict[Name, Scalar | list[Scalar]] = {}
    """Of each fact or earlier step its values: 3, 0-2, 0..<10_000, 15.., a text, yes, no, or a list of them. Who is not named does not matter."""
    gives: Scalar
    """A written value of the table's type, or an expression."""
    law: str = ""
    """The place in the law that says so."""


class Table(_Part):
    """Rows with conditions on facts and a value each, without gaps."""

    type: Literal["money", "number", "percent", "ratio"]
    """What the rows give."""
    per: Per | None = None
    """Of money: for how long the amount is."""
    hit: Literal["only_one", "first"]
    """Whether rows may not overlap, or the first that holds counts."""
    rows: list[Row] = Field(min_length=1)


class Spread(_Part):
    """What one period has of an amount per year or quarter; the parts add up to the whole."""

    of: Scalar
    """The whole: an amount per year or quarter in whole minor units."""
    remainder: Literal["first", "last"]
    """The period of the year or quarter that has what equal parts leave."""
    to: Scalar | None = None
    """The multiple down to which each part is rounded; the smallest unit of the currency where left out."""


class Rounding(_Part):
    """To which multiple, and what becomes of a half: away from zero; `up` is away from zero, `down` towards it."""

    to: Scalar
    mode: Literal["half_up", "up", "down"]


class Step(_Part):
    """One step of the amount: an expression or one of the blocks, then floor, cap and round, in this order."""

    id: Name
    title: Words = {}
    """What people call it, by language; the id with blanks if left out."""
    is_: Scalar | None = Field(alias="is", default=None)
    """An expression."""
    taper: Taper | None = None
    table: Table | None = None
    scale: Scale | None = None
    spread: Spread | None = None
    floor: Scalar | None = None
    """The least the step can be: an amount, or an expression."""
    cap: Scalar | None = None
    """The most the step can be: an amount, or an expression."""
    round: Rounding | None = None
    law: str = ""
    """The place in the law that says so."""


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


class Amount(_Part):
    """How the amount is calculated, and which step is paid."""

    steps: list[Step] = Field(min_length=1)
    pay: Name


class Budget(_Part):
    """What may be spent, and what happens when it is reached."""

    amount: Scalar
    per: Literal["year", "once"]
    when_reached: Literal["stop_and_ask"]


class Limits(_Part):
    """Limits on what leaves without a person's eye."""

    budget: Budget | None = None
    review_above: Scalar | None = None


class Payment(_Part):
    """When and to whom money leaves."""

    date: Day | None = None
    schedule: str = ""
    closed_day: Literal["before", "after"] = "after"
    calendar: str = ""
    to: list[Literal["self", "guardian", "household.head"]] = ["self"]
    channel: list[Literal["account", "waiting_account", "letter"]] = ["account"]


class Corrections(_Part):
    """What happens when a later decision differs from what was paid."""

    too_little: Literal["pay_difference", "nothing"] = "pay_difference"
    too_much: Literal["claim", "nothing"] = "claim"


class NotEncoded(_Part):
    """A part of the law that this document leaves to people."""

    law: str
    what: str
    handled: Literal["manual", "not_at_all"]


class Test(_Part):
    """A case with its outcome. `given` holds facts by name, `members` and `period`; `expect` the decision, amount, missing, refused_by and steps."""

    name: str
    given: dict[str, Given]
    expect: dict[str, Scalar | list[Scalar]]
    source: str = ""


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
    author_may_approve: YesNo = False


class Document(_Part):
    """One dated version of one benefit."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, title="Benefit rule")
    format: Literal["benefit-rule/1"]
    benefit: BenefitId
    title: dict[str, str] = Field(min_length=1)
    owner: str = ""
    in_force: InForce
    law: dict[str, Law] = Field(min_length=1)
    decides: Decides
    facts: dict[Name, Fact] = {}
    members: Members | None = None
    aggregates: dict[Name, Aggregate] = {}
    parameters: dict[Name, Parameter] = {}
    eligible_when: list[Condition]
    excluded_when: list[Condition] = []
    amount: Amount
    limits: Limits = Limits()
    payment: Payment = Payment()
    corrections: Corrections = Corrections()
    not_encoded: list[NotEncoded] = []
    claims: list[Claim] = Field(default=[], max_length=32)
    tests: list[Test] = []
    approvals: Approvals = Approvals()


def document_schema() -> dict[str, Any]:
    """The JSON Schema of a rule document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema(by_alias=True)}
