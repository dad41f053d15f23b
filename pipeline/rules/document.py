"""The shape of a rule document: its keys and what may stand there, as models that also give the JSON Schema for editors."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from pipeline.documents import Node, place_text
from pipeline.facts import day
from pipeline.problems import Malformed, Problem, suggestion

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


def _read_value(item: object) -> object:
    return item if isinstance(item, dict) else {"value": item}


_DATE_SCHEMA: dict[str, Any] = {"type": "string", "format": "date"}
_SCALAR_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean"]}

Day = Annotated[int, BeforeValidator(_read_day), WithJsonSchema(_DATE_SCHEMA)]
EndDay = Annotated[int | None, BeforeValidator(_read_end), WithJsonSchema({"type": ["string", "null"], "format": "date"})]
Whole = Annotated[int, BeforeValidator(_read_whole), WithJsonSchema({"type": "integer", "minimum": 0})]
YesNo = Annotated[bool, BeforeValidator(_read_yes_no), WithJsonSchema({"enum": ["yes", "no", True, False]})]
Scalar = Annotated[str, WithJsonSchema(_SCALAR_SCHEMA)]
Name = Annotated[str, BeforeValidator(_read_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})]
BenefitId = Annotated[str, BeforeValidator(_read_id), WithJsonSchema({"type": "string", "pattern": f"^{_ID.pattern}$", "maxLength": 40})]
PeriodKind = Literal["once", "month", "quarter", "year"]
When = Literal["event.date", "period.start", "period.end", "payment.date"]
Per = Literal["year", "quarter", "month", "week", "day"]
Status = Literal["final", "preliminary", "estimated"]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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


class Fact(_Part):
    """A fact the rule reads, under a name of its own."""

    type: Literal["money", "number", "percent", "years", "date", "yes_no", "text", "ratio"]
    from_: str = Field(alias="from")
    at: When | None = None
    year: Scalar | None = None
    per: Per | None = None
    accept: list[Status] = ["final"]
    range: Scalar | None = None
    one_of: list[Scalar] = []
    if_missing: Annotated[IfMissing, BeforeValidator(_read_missing), WithJsonSchema({"anyOf": [{"const": "hold"}, {"$ref": "#/$defs/IfMissing"}]})] = IfMissing(assume=None)
    max_age: Annotated[int, BeforeValidator(lambda text: _read_age(text)), WithJsonSchema({"type": "string", "pattern": "^[0-9]+ days$"})] | None = None


def _read_age(text: object) -> object:
    match = re.fullmatch(r"(\d{1,6}) days?", text, re.ASCII) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is no age, write it like 400 days")
    return int(match[1])


class DatedValue(_Part):
    """The value of a parameter from a day on; `null` ends the parameter."""

    value: Scalar | list[Scalar]
    law: str = ""
    note: str = ""


class Parameter(_Part):
    """A number of the law, by date and, where `by` names a fact, by that fact's value."""

    type: Literal["money", "number", "percent", "ratio", "years", "date", "yes_no", "text"]
    per: Per | None = None
    law: str = ""
    by: dict[Name, list[Scalar]] = {}
    from_: dict[Day, Annotated[DatedValue, BeforeValidator(_read_value), WithJsonSchema(
        {"anyOf": [{**_SCALAR_SCHEMA, "type": ["string", "number", "boolean", "null"]}, {"type": "array", "items": _SCALAR_SCHEMA}, {"$ref": "#/$defs/DatedValue"}]}
    )]] = Field(alias="from", min_length=1)  # fmt: skip


class Condition(_Part):
    """A condition or an exclusion, with its law and its sentences."""

    id: Name
    when: Scalar
    law: str = ""
    held: str = ""
    not_held: str = ""


class Taper(_Part):
    """The part of an income above a limit, times a rate."""

    of: Scalar
    above: Scalar
    rate: Scalar
    spread: Whole | None = None


class Rounding(_Part):
    """To which multiple, and what becomes of a half: away from zero; `up` is away from zero, `down` towards it."""

    to: Scalar
    mode: Literal["half_up", "up", "down"]


class Step(_Part):
    """One step of the amount: an expression or a taper, then floor, cap and round, in this order."""

    id: Name
    is_: Scalar | None = Field(alias="is", default=None)
    taper: Taper | None = None
    floor: Scalar | None = None
    cap: Scalar | None = None
    round: Rounding | None = None
    law: str = ""


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

    model_config = ConfigDict(extra="forbid", frozen=True, title="Benefit rule")
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
    schema = Document.model_json_schema(by_alias=True)
    for part in (IfMissing, DatedValue):
        schema["$defs"][part.__name__] = part.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def read_shape(root: Node) -> Document:
    """The document as models; Malformed with every problem of shape."""
    try:
        return Document.model_validate(root.plain())
    except ValidationError as error:
        problems = [_problem(root, item["type"], item["loc"], item["msg"], item.get("ctx", {}), item["input"]) for item in error.errors(include_url=False)]
        raise Malformed(sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column))) from None


def locate(root: Node, path: Path, message: str, mend: str = "", key: bool = False, offset: int = 0) -> Problem:
    """A problem at a path of the document: at the value there, at its `key`, or `offset` characters into the value."""
    node = root.at(*path)
    line, column = node.line, node.column
    if key and path and isinstance(path[-1], str):
        line, column = root.at(*path[:-1]).key_marks.get(path[-1], (line, column))
    elif offset and isinstance(node.value, str) and "\n" not in node.value:
        column += offset + node.quoted
    return Problem(place_text(path), message, mend, line, column)


def _problem(root: Node, kind: str, loc: tuple[str | int, ...], message: str, context: dict[str, Any], given: object) -> Problem:
    path = _real_path(root, loc)
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        near = suggestion(str(path[-1]), known)
        return locate(root, path, f"unknown key {path[-1]!r}" + (f", {near}" if near else ""), "" if near else f"Known keys: {', '.join(known)}.", key=True)
    if kind == "missing":
        return locate(root, (*path, *loc[len(path):]), f"the key {loc[-1]!r} is missing")
    if kind == "value_error":
        return locate(root, path, str(context["error"]), key=loc[-1:] == ("[key]",))
    if kind == "literal_error":
        choices = [part.strip("'") for part in re.split(r", | or ", context["expected"])]
        near = suggestion(str(given), choices)
        return locate(root, path, f"{given!r} is not known here" + (f", {near}" if near else ""), f"It is one of {', '.join(choices)}.")
    expected = {"string_type": "one value", "list_type": "a list", "dict_type": "keys and values", "model_type": "keys and values", "model_attributes_type": "keys and values",
                "too_short": "at least one entry"}.get(kind)  # fmt: skip
    return locate(root, path, f"{expected} must stand here" if expected else message)


def _real_path(root: Node, loc: tuple[str | int, ...]) -> Path:
    """The part of a location that is in the document, without the marks of unions and keys."""
    path: Path = ()
    for step in loc:
        node = root.at(*path)
        inside = (isinstance(node.value, dict) and step in node.value) or (isinstance(node.value, list) and isinstance(step, int) and step < len(node.value))
        if inside:
            path = (*path, step)
    return path


def _known_keys(path: Path) -> list[str]:
    """The keys that may stand in the mapping at `path`."""
    model: Any = Document
    for step in path:
        if isinstance(model, type) and issubclass(model, BaseModel):
            fields = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
            model = fields.get(str(step))
        else:
            model = get_args(model)[-1]
        model = _inner(model)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [field.alias or name for name, field in model.model_fields.items()]
    return []


def _inner(annotation: Any) -> Any:
    """What is behind Annotated and an optional union."""
    while get_origin(annotation) is Annotated or type(None) in get_args(annotation):
        annotation = get_args(annotation)[0]
    return annotation
