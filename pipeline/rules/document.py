"""The shape of a rule document: its keys and what may stand there, as models that also give the JSON Schema for editors."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from pipeline.facts import day
from pipeline.problems import suggestion

FORMAT = "benefit-rule/1"
NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_ID = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", re.ASCII)

Path = tuple[str | int, ...]


def _read_day(text: object) -> object:
    if not isinstance(text, str) or not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        raise ValueError(f"{text!r} is no date, write it like 2022-01-31")
    try:
        return day(date.fromisoformat(text))
    except ValueError:
        raise ValueError(f"{text!r} is not a date that exists") from None


def _read_end(text: object) -> object:
    return None if text in ("null", "~", "") else _read_day(text)


def _read_whole(text: object) -> object:
    if not isinstance(text, str) or not re.fullmatch(r"\d[\d_]*", text, re.ASCII):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text.replace("_", ""))


def _read_yes_no(text: object) -> object:
    if text in ("yes", "true"):
        return True
    if text in ("no", "false"):
        return False
    raise ValueError(f"{text!r} is neither yes nor no")


def _read_name(text: object) -> object:
    if not isinstance(text, str) or not NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name: small letters, digits and _ only")
    return text


def _read_id(text: object) -> object:
    if not isinstance(text, str) or not _ID.fullmatch(text) or len(text) > 40:
        raise ValueError(f"{text!r} is no benefit id: small letters, digits and - only, at most 40")
    return text


def _read_missing(text: object) -> object:
    if text == "hold":
        return {"assume": None}
    if isinstance(text, str):
        raise ValueError(f"{text!r} is neither hold nor {{assume: value}}")
    return text


def _read_age(text: object) -> object:
    match = re.fullmatch(r"(\d{1,6}) days?", text, re.ASCII) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is no age, write it like 400 days")
    return int(match[1])


def _read_value(item: object) -> object:
    return item if isinstance(item, dict) else {"value": item}


def _read_nested(item: object) -> object:
    level = [item]
    while any(isinstance(part, list) for part in level):
        level = [inner for part in level for inner in (part if isinstance(part, list) else [part])]
    if not all(isinstance(part, str) for part in level):
        raise ValueError("a value, or a list of values, must stand here")
    return item


def _read_at(text: object) -> object:
    if text not in get_args(When):
        if not isinstance(text, str) or not text[:1].isdigit():
            near = suggestion(str(text), get_args(When))
            raise ValueError(f"{text!r} is no day" + (f", {near}" if near else f", it is one of {', '.join(get_args(When))} or a date"))
        _read_day(text)
    return text


_DATE_SCHEMA: dict[str, Any] = {"type": "string", "format": "date"}
_SCALAR_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_VALUES_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean", "array"]}

Nested = str | list["Nested"]

Day = Annotated[int, BeforeValidator(_read_day), WithJsonSchema(_DATE_SCHEMA)]
EndDay = Annotated[int | None, BeforeValidator(_read_end), WithJsonSchema({"type": ["string", "null"], "format": "date"})]
Whole = Annotated[int, BeforeValidator(_read_whole), WithJsonSchema({"type": "integer", "minimum": 0})]
YesNo = Annotated[bool, BeforeValidator(_read_yes_no), WithJsonSchema({"enum": ["yes", "no", True, False]})]
Scalar = Annotated[str, WithJsonSchema(_SCALAR_SCHEMA)]
Values = Annotated[Any, BeforeValidator(_read_nested), WithJsonSchema(_VALUES_SCHEMA)]
Name = Annotated[str, BeforeValidator(_read_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})]
BenefitId = Annotated[str, BeforeValidator(_read_id), WithJsonSchema({"type": "string", "pattern": f"^{_ID.pattern}$", "maxLength": 40})]
PeriodKind = Literal["once", "month", "quarter", "year"]
When = Literal["event.date", "period.start", "period.end", "payment.date"]
At = Annotated[str, BeforeValidator(_read_at), WithJsonSchema({"anyOf": [{"enum": list(get_args(When))}, _DATE_SCHEMA]})]
Per = Literal["year", "quarter", "month", "week", "day"]
Status = Literal["final", "preliminary", "estimated"]


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


Missing = Annotated[IfMissing, BeforeValidator(_read_missing), WithJsonSchema({"anyOf": [{"const": "hold"}, IfMissing.model_json_schema()]})]
Age = Annotated[int, BeforeValidator(_read_age), WithJsonSchema({"type": "string", "pattern": "^[0-9]+ days$"})]


class Fact(_Part):
    """A fact the rule reads, under a name of its own."""

    type: Literal["money", "number", "percent", "years", "date", "yes_no", "text", "ratio"]
    from_: str = Field(alias="from")
    at: At | None = None
    year: Scalar | None = None
    per: Per | None = None
    accept: list[Status] = ["final"]
    range: Scalar | None = None
    one_of: list[Scalar] = []
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
Dated = Annotated[DatedValue, BeforeValidator(_read_value), WithJsonSchema(_DATED_SCHEMA)]


class Parameter(_Part):
    """A number of the law, by date and, where `by` names facts, by the values of those facts."""

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
    when: Scalar
    law: str = ""
    held: str = ""
    not_held: str = ""


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
    is_: Scalar | None = Field(alias="is", default=None)
    """An expression."""
    taper: Taper | None = None
    scale: Scale | None = None
    spread: Spread | None = None
    floor: Scalar | None = None
    """The least the step can be: an amount, or an expression."""
    cap: Scalar | None = None
    """The most the step can be: an amount, or an expression."""
    round: Rounding | None = None
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
    """A case with its outcome. `given` holds facts by name and `period`; `expect` the decision, amount, missing, refused_by and steps."""

    name: str
    given: dict[str, Scalar]
    expect: dict[str, Scalar | list[Scalar]]
    source: str = ""


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
    facts: dict[Name, Fact] = Field(min_length=1)
    parameters: dict[Name, Parameter] = {}
    eligible_when: list[Condition]
    excluded_when: list[Condition] = []
    amount: Amount
    limits: Limits = Limits()
    payment: Payment = Payment()
    corrections: Corrections = Corrections()
    not_encoded: list[NotEncoded] = []
    tests: list[Test] = []
    approvals: Approvals = Approvals()


def document_schema() -> dict[str, Any]:
    """The JSON Schema of a rule document."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Document.model_json_schema(by_alias=True)}
