"""The reference of the rule language as a page: every key of a document with what may stand there, the functions, the days and the sizes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel

from pipeline import documents

from . import amounts, check, definitions, document, expressions, grids, members, regions, scalars
from .descriptions import descriptions
from .document import Document
from .expressions import DAYS, FUNCTIONS

_WORDS: tuple[tuple[object, str], ...] = (
    (scalars.Day, "a date"), (scalars.EndDay, "a date or null"), (scalars.Name, "a name"), (scalars.BenefitId, "an id"), (scalars.Scalar, "a value"),
    (scalars.Whole, "a whole number"), (scalars.YesNo, "yes or no"), (scalars.Words, "text, or text by language"),
    (scalars.At, f"{', '.join(DAYS)} or a date"), (scalars.Values, "a value, or lists of values"),
    (document.Dated, "a value, or a [dated value](#dated-value)"),
    (scalars.Given, "a value, or a list of members"), (document.Missing, "hold, or `assume`: a value"), (document.Age, "such as 400 days"),
    (scalars.Schedule, "a recurrence rule"), (str, "text"),
)  # fmt: skip

_SIZES = (
    ("bytes of a document", documents.MAX_BYTES), ("keys and values of a document", documents.MAX_NODES), ("levels of a document", documents.MAX_DEPTH),
    ("lines of a document", documents.MAX_LINES), ("characters of a line", documents.MAX_LINE),
    ("facts and aggregates, and facts of a member", check.MAX_FACTS), ("conditions and exclusions", check.MAX_CONDITIONS),
    ("parameters", check.MAX_PARAMETERS), ("days on which a parameter changes", check.MAX_CHANGES), ("steps", check.MAX_STEPS),
    ("members of a household", members.MAX_MEMBERS), ("characters of an expression", expressions.MAX_CHARACTERS),
    ("parts of an expression", expressions.MAX_NODES),
    ("levels of an expression", expressions.MAX_DEPTH), ("values of a parameter by key", definitions.MAX_ROWS),
    ("rows of a table", grids.MAX_ROWS), ("regions into which the rows of all tables cut their facts", regions.MAX_BOXES), ("brackets of a scale", 32),
    ("claims", 32),
)  # fmt: skip

_HEAD = """\
# Reference of the rule document

Every key, what may stand there and what it means; the functions and days of expressions; the sizes. This page is written from the program
(`make docs`), and a test holds them together. How the parts work together, with examples: [language](language.md). What cannot be said:
[limits](limits.md). Editors complete and check by the JSON Schema that `payout rules schema` prints.

A *value* is one scalar, written as its place asks: an amount `1_234.50`, a number, a percentage `5 %`, a date `2022-01-31`, a text, yes or no,
or an expression where the text says so. A *name* is small letters, digits and `_`, beginning with a letter.
"""


def reference_page() -> str:
    """The page as Markdown."""
    parts = [_HEAD, *(_section(model) for model in _models(Document, set()))]
    functions = "\n".join(f"| `{form.partition(': ')[0]}` | {form.partition(': ')[2]} |" for _, _, form in FUNCTIONS.values())
    parts.append(f"## Functions\n\n| function | gives |\n|---|---|\n{functions}\n")
    operators = "`+ - * /`, `== != < <= > >=`, `in [..]`, `not in [..]`, `and`, `or`, `not`, `a if condition else b`, brackets"
    days = ", ".join(f"`{day}`" for day in DAYS)
    parts.append(f"## Expressions\n\nNames of facts, aggregates, parameters and earlier steps; numbers; texts in quotes; {operators}.\n\nDays: {days}.\n")
    taken = ", ".join(f"`{word}`" for word in (*definitions.RESERVED, *filter(str.islower, keyword.kwlist)))
    parts.append(f"## Words that are no names\n\nFacts, aggregates, parameters and steps are called neither like a function nor {taken}.\n")
    sizes = "\n".join(f"| {what} | {most:,} |" for what, most in _SIZES)
    parts.append(f"## Sizes\n\n| of | at most |\n|---|---|\n{sizes}\n")
    return "\n".join(parts)


def _models(model: type[BaseModel], seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """A part of the document and the parts in it, each once, in the order of their keys."""
    if model in seen or model is document.IfMissing:
        return
    seen.add(model)
    yield model
    for kind in _hints(model).values():
        for inner in _inside(kind):
            yield from _models(inner, seen)


def _hints(model: type[BaseModel]) -> dict[str, Any]:
    module = amounts if model.__module__ == amounts.__name__ else document
    hints = get_type_hints(model, vars(module) | {"Any": Any}, include_extras=True)
    return {name: hints[name] for name in model.model_fields}


def _inside(kind: Any) -> list[type[BaseModel]]:
    if kind is document.Dated:
        return [document.DatedValue]
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return [kind]
    return [model for part in get_args(kind) for model in _inside(part)] if not _word(kind) else []


def _word(kind: Any) -> str:
    return next((word for known, word in _WORDS if known is kind), "")


def _title(model: type[BaseModel]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__).capitalize()


def _section(model: type[BaseModel]) -> str:
    hints, told = _hints(model), descriptions(model)
    rows = []
    for name, field in model.model_fields.items():
        must = "yes" if field.is_required() else _default(field.get_default(call_default_factory=True))
        rows.append(f"| `{field.alias or name}` | {_holds(hints[name])} | {must} | {told.get(name) or (model.__doc__ or '')} |")
    return "\n".join([f"## {_title(model)}\n\n{model.__doc__}\n", "| key | what stands there | must it stand | meaning |", "|---|---|---|---|", *rows, ""])


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return f"no; {'yes' if value else 'no'} if left out"
    if isinstance(value, list) and value:
        return f"no; [{', '.join(value)}] if left out"
    return f"no; {value} if left out" if isinstance(value, str | int) and value else "no"


def _holds(kind: Any) -> str:
    """What may stand in a place, in words."""
    word, origin, args = _word(kind), get_origin(kind), get_args(kind)
    if word:
        return word
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"[{_title(kind).lower()}](#{_title(kind).lower().replace(' ', '-')})"
    if origin is Literal:
        return ", ".join(map(str, args))
    if origin in (UnionType, Union):
        return " or ".join(_holds(arg) for arg in args if arg is not NoneType)
    if origin is list:
        return f"a list: {_holds(args[0])}"
    if origin is dict:
        return f"by {_key(args[0])}: {_holds(args[1])}"
    return _holds(args[0]) if args else str(getattr(kind, "__name__", kind))


def _key(kind: Any) -> str:
    return {scalars.Name: "name", scalars.Day: "first day"}.get(kind, "key") if kind in (scalars.Name, scalars.Day) else "key"
