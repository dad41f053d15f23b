"""Reading the shape of a document: the models' complaints as problems with the line, the column and the nearest known key."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError

from pipeline.documents import Node, comma, place_text
from pipeline.problems import MAX_PROBLEMS, Malformed, Problem, more_problems, suggestion

from .descriptions import descriptions, is_model
from .document import Document
from .scalars import Path

MAX_SHOWN = 120
_WORD = re.compile(r"[\w.]+|\S+")


def read_shape(root: Node) -> Document:
    """The document as models; Malformed with every problem of shape."""
    try:
        return Document.model_validate(root.plain())
    except ValidationError as error:
        items = error.errors(include_url=False)
        problems = [_problem(root, item["type"], item["loc"], item["msg"], item.get("ctx", {}), item["input"]) for item in items[:MAX_PROBLEMS]]
        told = sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column))
        raise Malformed([*told, more_problems()] if len(items) > MAX_PROBLEMS else told) from None


def locate(root: Node, path: Path, message: str, mend: str = "", key: bool = False, offset: int = 0, expected: str = "") -> Problem:
    """A problem at a path of the document: at the value there, at its `key`, or `offset` characters into the value."""
    node = root.at(*path)
    line, column, value = node.line, node.column, _shown(node, offset, message)
    if key and path and isinstance(path[-1], str):
        line, column = root.at(*path[:-1]).key_marks.get(path[-1], (line, column))
        value = path[-1]
    elif offset and isinstance(node.value, str) and "\n" not in node.value:
        column += offset + node.quoted
    return Problem(place_text(path), message, mend, line, column, value, expected or _expected(path))


def _shown(node: Node, offset: int, message: str) -> str:
    """What stands at a place: text, or the word at the offset where the message names it; lists and mappings in short."""
    if isinstance(node.value, str):
        word = _WORD.match(node.value, offset)
        return (word[0] if word and repr(word[0]) in message else node.value[offset:] or node.value)[:MAX_SHOWN]
    return f"a list of {len(node.value)}" if isinstance(node.value, list) else f"keys {', '.join(node.value)}"[:MAX_SHOWN]


def _expected(path: Path) -> str:
    """What the schema says of the nearest place that it describes."""
    for length in range(len(path), 0, -1):
        said = _described(path[:length])
        if said:
            return said.splitlines()[0]
    return ""


def _problem(root: Node, kind: str, loc: tuple[str | int, ...], message: str, context: dict[str, Any], given: object) -> Problem:
    path = _real_path(root, loc)
    torn = _torn(root, path)
    if torn is not None:
        return torn
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        near, names = suggestion(str(path[-1]), known), ", ".join(known)
        mend = "" if near else f"Known keys: {names}."
        return locate(root, path, f"unknown key {path[-1]!r}" + (f", {near}" if near else ""), mend, key=True, expected=f"one of {names}")
    if kind == "missing":
        wanted = (*path, *loc[len(path) :])
        return locate(root, wanted, f"the key {loc[-1]!r} is missing", "" if len(wanted) == 1 else f"Write {loc[-1]}: ... here.")
    if kind == "value_error":
        return locate(root, path, str(context["error"]), key=loc[-1:] == ("[key]",))
    if kind == "literal_error":
        choices = [part.strip("'") for part in re.split(r", | or ", context["expected"])]
        near, listed = suggestion(str(given), choices), ", ".join(choices)
        weeks = path == ("decides", "period") and given in ("week", "fortnight", "day")
        more = f" For a benefit per {given} decide per month, with the {given}s that the law counts as a parameter." if weeks else ""
        return locate(root, path, f"{given!r} is not known here" + (f", {near}" if near else ""), f"It is one of {listed}.{more}", expected=f"one of {listed}")
    expected = _EXPECTED.get(kind, "")
    return locate(root, path, f"{expected} must stand here" if expected else message, expected=expected)


def _torn(root: Node, path: Path) -> Problem | None:
    """The problem of a value that a comma without quotes has torn, told once and where the value stands."""
    node = root.at(*path)
    within = path if isinstance(node.value, dict) else path[:-1]
    for torn in node.value if isinstance(node.value, dict) else path[-1:]:
        key, whole = root.at(*within).torn(torn) if isinstance(torn, str) else ("", "")
        if whole:
            return locate(root, (*within, key), *comma(key, whole))
    return None


_EXPECTED = {
    "string_type": "one value", "list_type": "a list", "dict_type": "keys and values", "model_type": "keys and values",
    "model_attributes_type": "keys and values", "too_short": "at least one entry",
}  # fmt: skip


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
    model, _ = _annotation(path)
    return [field.alias or name for name, field in model.model_fields.items()] if is_model(model) else []


def _described(path: Path) -> str:
    """What the schema says of the value at `path`: the description of its key, or of what its list or mapping holds."""
    model, description = _annotation(path)
    return description or (str(model.__doc__ or "") if is_model(model) else "")


def _annotation(path: Path) -> tuple[Any, str]:
    """The type of what may stand at `path`, and the description of the key that it stands under; neither where the schema has no such place."""
    model: Any = Document
    description = ""
    for step in path:
        description = ""
        if is_model(model):
            fields = {field.alias or name: name for name, field in model.model_fields.items()}
            if step not in fields:
                return None, ""
            name = fields[str(step)]
            model, description = model.model_fields[name].annotation, descriptions(model).get(name, "")
        elif len(get_args(model)):
            model = get_args(model)[-1]
        else:
            return None, ""
        model = _inner(model)
    return model, description


def _inner(annotation: Any) -> Any:
    """What is behind Annotated and an optional union."""
    while get_origin(annotation) is Annotated or type(None) in get_args(annotation):
        annotation = get_args(annotation)[0]
    return annotation
