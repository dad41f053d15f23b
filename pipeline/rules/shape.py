"""Reading the shape of a document: the models' complaints as problems with the line, the column and the nearest known key."""

from __future__ import annotations

import re
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from pipeline.documents import Node, place_text
from pipeline.problems import Malformed, Problem, suggestion

from .document import Document
from .scalars import Path


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
        return locate(root, (*path, *loc[len(path) :]), f"the key {loc[-1]!r} is missing")
    if kind == "value_error":
        return locate(root, path, str(context["error"]), key=loc[-1:] == ("[key]",))
    if kind == "literal_error":
        choices = [part.strip("'") for part in re.split(r", | or ", context["expected"])]
        near = suggestion(str(given), choices)
        return locate(root, path, f"{given!r} is not known here" + (f", {near}" if near else ""), f"It is one of {', '.join(choices)}.")
    expected = _EXPECTED.get(kind)
    return locate(root, path, f"{expected} must stand here" if expected else message)


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
