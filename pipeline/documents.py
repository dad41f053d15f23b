"""YAML documents read as text: every scalar stays the text its author wrote, and every node knows its line.

The schema of the document types the scalars afterwards, so that ``NO`` is not false and ``0.05`` is no float. Duplicate
keys, anchors, aliases, tags and oversize or over-deep documents are problems, all reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from .problems import Malformed, Problem

MAX_BYTES = 512 * 1024
MAX_DEPTH = 24

Plain = str | list["Plain"] | dict[str, "Plain"]


@dataclass(slots=True)
class Node:
    """One node of a document. `value` is text, a list of nodes or a dict of nodes; `line`, `column` count from 1."""

    value: str | list[Node] | dict[str, Node]
    line: int
    column: int
    quoted: bool = False
    key_marks: dict[str, tuple[int, int]] = field(default_factory=dict)

    def plain(self) -> Plain:
        """The document as nested dicts, lists and text."""
        if isinstance(self.value, str):
            return self.value
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return {key: item.plain() for key, item in self.value.items()}

    def at(self, *path: str | int) -> Node:
        """The node at a path of keys and indexes, or the nearest node above it that exists."""
        node = self
        for step in path:
            if isinstance(node.value, dict) and isinstance(step, str) and step in node.value:
                node = node.value[step]
            elif isinstance(node.value, list) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
            else:
                break
        return node


def place_text(path: tuple[str | int, ...]) -> str:
    """``("amount", "steps", 2)`` as ``amount.steps[2]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else step)
    return text


def parse_document(text: str) -> Node:
    """The one document of `text` as a tree of nodes; Malformed with every problem of the YAML discipline."""
    if len(text.encode()) > MAX_BYTES:
        raise Malformed([Problem("", f"the document is {len(text.encode()):,} bytes, the limit is {MAX_BYTES:,}")])
    reader = _Reader()
    try:
        events = list(YAML(typ="safe", pure=True).parse(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise Malformed([Problem("", f"not YAML: {error.problem or error.context}", "", line, column)]) from None
    except (YAMLError, ValueError) as error:
        raise Malformed([Problem("", f"not YAML: {str(error).splitlines()[0]}")]) from None
    depth = deepest = 0
    for event in events:
        depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
        depth -= isinstance(event, MappingEndEvent | SequenceEndEvent)
        deepest = max(deepest, depth)
    if deepest > MAX_DEPTH:
        raise Malformed([Problem("", f"the document is {deepest} levels deep, the limit is {MAX_DEPTH}")])
    root = reader.read(events)
    if reader.problems:
        raise Malformed(reader.problems)
    if root is None:
        raise Malformed([Problem("", "the document is empty")])
    return root


class _Reader:
    """Builds the tree from parser events and collects what the discipline refuses."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def read(self, events: list[Event]) -> Node | None:
        starts = [event for event in events if isinstance(event, DocumentStartEvent)]
        if len(starts) > 1:
            self._refuse(starts[1], (), "a second document begins here, one file is one document")
        body = iter(events)
        for event in body:
            if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent | AliasEvent):
                return self._node(event, body, ())
        return None

    def _refuse(self, event: Event, path: tuple[str | int, ...], message: str, mend: str = "") -> None:
        mark = event.start_mark
        self.problems.append(Problem(place_text(path), message, mend, mark.line + 1, mark.column + 1))

    def _node(self, event: Event, rest: object, path: tuple[str | int, ...]) -> Node:
        mark = event.start_mark
        node = Node("", mark.line + 1, mark.column + 1)
        anchor = getattr(event, "anchor", None)
        if isinstance(event, AliasEvent):
            self._refuse(event, path, f"alias *{anchor} is refused", "Write the value out.")
            return node
        if anchor:
            self._refuse(event, path, f"anchor &{anchor} is refused", "Write the value out where it is needed.")
        tag = getattr(event, "tag", None)
        if tag:
            self._refuse(event, path, f"tag {tag} is refused", "Leave the tag out; the schema gives the type.")
        if isinstance(event, ScalarEvent):
            node.value, node.quoted = event.value, event.style in ("'", '"')
        elif isinstance(event, SequenceStartEvent):
            node.value = self._items(rest, path)
        elif isinstance(event, MappingStartEvent):
            self._entries(node, rest, path)
        return node

    def _items(self, rest: object, path: tuple[str | int, ...]) -> list[Node]:
        items: list[Node] = []
        for event in rest:  # type: ignore[attr-defined]
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, rest, (*path, len(items))))
        return items

    def _entries(self, node: Node, rest: object, path: tuple[str | int, ...]) -> None:
        entries: dict[str, Node] = {}
        for event in rest:  # type: ignore[attr-defined]
            if isinstance(event, MappingEndEvent):
                break
            key = self._node(event, rest, path)
            if not isinstance(key.value, str):
                self._refuse(event, path, "a key must be plain text")
                key.value = "?"
            value = self._node(next(rest), rest, (*path, key.value))  # type: ignore[call-overload]
            if key.value in entries:
                self._refuse(event, (*path, key.value), f"key {key.value!r} stands twice", "Keep one of them.")
            entries[key.value] = value
            node.key_marks[key.value] = (key.line, key.column)
        node.value = entries
