"""The single values of a rule document: how each is read from text, and what the JSON Schema says of it."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, WithJsonSchema

from pipeline.facts import day
from pipeline.problems import suggestion

from .schedule import PATTERN, read_schedule

NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)
_LANGUAGE = re.compile(r"[a-z]{2,3}(_[A-Z]{2})?", re.ASCII)
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


def read_missing(text: object) -> object:
    if text == "hold":
        return {"assume": None}
    if isinstance(text, str):
        raise ValueError(f"{text!r} is neither hold nor {{assume: value}}")
    return text


def read_age(text: object) -> object:
    match = re.fullmatch(r"(\d{1,6}) days?", text, re.ASCII) if isinstance(text, str) else None
    if not match:
        raise ValueError(f"{text!r} is no age, write it like 400 days")
    return int(match[1])


def read_value(item: object) -> object:
    return item if isinstance(item, dict) else {"value": item}


def _read_words(item: object) -> object:
    words = {"": item} if isinstance(item, str) else item
    for language in words if isinstance(words, dict) else ():
        if language and not (isinstance(language, str) and _LANGUAGE.fullmatch(language)):
            raise ValueError(f"{language!r} is no language, write en, da or de_AT")
    return words


def _read_nested(item: object) -> object:
    level = [item]
    while any(isinstance(part, list) for part in level):
        level = [inner for part in level for inner in (part if isinstance(part, list) else [part])]
    if not all(isinstance(part, str) for part in level):
        raise ValueError("a value, or a list of values, must stand here")
    return item


def _read_given(item: object) -> object:
    plain = isinstance(item, str)
    members = isinstance(item, list) and all(isinstance(member, dict) and all(isinstance(value, str) for value in member.values()) for member in item)
    if not plain and not members:
        raise ValueError("a value, or a list of members with their facts, must stand here")
    return item


def _read_at(text: object) -> object:
    if text not in get_args(When):
        if not isinstance(text, str) or not text[:1].isdigit():
            near = suggestion(str(text), get_args(When))
            raise ValueError(f"{text!r} is no day" + (f", {near}" if near else f", it is one of {', '.join(get_args(When))} or a date"))
        _read_day(text)
    return text


_DATE_SCHEMA: dict[str, Any] = {"type": "string", "format": "date"}
SCALAR_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_VALUES_SCHEMA: dict[str, Any] = {"type": ["string", "number", "boolean", "array"]}

Nested = str | list["Nested"]

Day = Annotated[int, BeforeValidator(_read_day), WithJsonSchema(_DATE_SCHEMA)]
EndDay = Annotated[int | None, BeforeValidator(_read_end), WithJsonSchema({"type": ["string", "null"], "format": "date"})]
Whole = Annotated[int, BeforeValidator(_read_whole), WithJsonSchema({"type": "integer", "minimum": 0})]
YesNo = Annotated[bool, BeforeValidator(_read_yes_no), WithJsonSchema({"enum": ["yes", "no", True, False]})]
Scalar = Annotated[str, WithJsonSchema(SCALAR_SCHEMA)]
Values = Annotated[Any, BeforeValidator(_read_nested), WithJsonSchema(_VALUES_SCHEMA)]
_WORDS_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string"}, {"type": "object", "additionalProperties": {"type": "string"}}]}
Words = Annotated[dict[str, str], BeforeValidator(_read_words), WithJsonSchema(_WORDS_SCHEMA)]
"""A text, or the text by language; a text alone stands under no language and holds in every one."""
Given = Annotated[Any, BeforeValidator(_read_given), WithJsonSchema({"type": ["string", "number", "boolean", "array"]})]
Name = Annotated[str, BeforeValidator(_read_name), WithJsonSchema({"type": "string", "pattern": f"^{NAME.pattern}$"})]
BenefitId = Annotated[str, BeforeValidator(_read_id), WithJsonSchema({"type": "string", "pattern": f"^{_ID.pattern}$", "maxLength": 40})]
Schedule = Annotated[str, BeforeValidator(read_schedule), WithJsonSchema({"type": "string", "pattern": PATTERN})]
PeriodKind = Literal["once", "week", "month", "quarter", "year"]
When = Literal["event.date", "period.start", "period.end", "payment.date"]
At = Annotated[str, BeforeValidator(_read_at), WithJsonSchema({"anyOf": [{"enum": list(get_args(When))}, _DATE_SCHEMA]})]
Per = Literal["year", "quarter", "month", "week", "day"]
Status = Literal["final", "preliminary", "estimated"]
