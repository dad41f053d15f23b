"""YAML documents read as text: every scalar stays the text its author wrote, and every node knows its line.

The schema of the document types the scalars afterwards, so that ``NO`` is not false and ``0.05`` is no float. Duplicate
keys, anchors, aliases, tags and characters that turn the direction of writing are problems, all reported at once; what is
too large or too deep is read no further.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

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

from .problems import MAX_PROBLEMS, Malformed, Problem, more_problems

MAX_BYTES = 512 * 1024
MAX_DEPTH = 24
MAX_NODES = 10_000
MAX_LINES = 20_000
MAX_LINE = 10_000
_BRACKETS = re.compile(r"[\[\]{}]")
_TURNS = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_MENDS = {
    "mapping values are not allowed": "Put a text that holds a colon and a blank in quotes.",
    "expected ',' or": "Close the bracket, or put a text that holds a comma, a colon or a bracket in quotes.",
    "could not find expected ':'": "Write key: value, each key on a line of its own or between braces.",
    "expected <block end>": "Indent the keys of one mapping, and the entries of one list, alike.",
    "cannot start any token": "Put the text in quotes; indent with blanks, not with tabs.",
    "while scanning a quoted scalar": "Close the quotes.",
    "found unexpected end of stream": "Close the quotes.",
    "expected the node content": "Close what was opened, or leave it out.",
}
"""What to do about the commonest complaints of the YAML parser."""

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

    def torn(self, key: str) -> tuple[str, str]:
        """Where a comma without quotes ended a value and made a key of what follows it: the key that has the value, and the whole of it as meant."""
        if not isinstance(self.value, dict):
            return "", ""
        keys = list(self.value)
        index = keys.index(key)
        first = index
        while first and self._bare(keys[first]):
            first -= 1
        held = self.value[keys[first]]
        if first == index or held.quoted or not isinstance(held.value, str) or not held.value:
            return "", ""
        last = index
        while last + 1 < len(keys) and self._bare(keys[last + 1]):
            last += 1
        return keys[first], ", ".join((held.value, *keys[first + 1 : last + 1]))

    def _bare(self, key: str) -> bool:
        """Whether a key stands between commas, without a colon and a value."""
        assert isinstance(self.value, dict)
        item, (line, column) = self.value[key], self.key_marks[key]
        return item.value == "" and not item.quoted and (item.line, item.column) == (line, column + len(key))

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


def comma(key: str, whole: str) -> tuple[str, str]:
    """What is said of a value that a comma has torn, and its mend."""
    number = re.fullmatch(r"[+-]?\d+(, \d{3})+(\.\d+)?", whole, re.ASCII)
    quoted = whole.replace(", ", "_") if number else f"'{whole}'" if '"' in whole else f'"{whole}"'
    why = "a number has _ and no comma" if number else "within { } a text with a comma wants quotes"
    return f"the comma in {whole!r} ends the value: {why}", f"Write {key}: {quoted}."


def place_text(path: tuple[str | int, ...]) -> str:
    """``("amount", "steps", 2)`` as ``amount.steps[2]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else (f".{step}" if text else step)
    return text


def parse_document(text: str) -> Node:
    """The one document of `text` as a tree of nodes; Malformed with every problem of the YAML discipline."""
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        raise Malformed([too_long()])
    _hold_lines(text)
    reader = _Reader(_turning(text))
    try:
        root = reader.read(_within_limits(YAML(typ="safe", pure=True).parse(text)))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        said = str(error.problem or error.context)
        mend = next((mend for part, mend in _MENDS.items() if part in said), "")
        lines = text.splitlines()
        rest = lines[line - 1][column - 1 :] if 0 < line <= len(lines) else ""
        raise Malformed([Problem("", f"not YAML: {said}", mend, line, column, rest[:40] or "the end of the line", "one YAML document")]) from None
    except (YAMLError, ValueError) as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed([Problem("", f"not YAML: {str(error).splitlines()[0]}")]) from None
    if reader.problems:
        raise Malformed(reader.problems)
    if root is None:
        raise Malformed([Problem("", "the document is empty")])
    return root


def _hold_lines(text: str) -> None:
    """Refuses a text of more or longer lines than people write, before anything reads it."""
    lines = text.split("\n")
    longest = max(range(len(lines)), key=lambda index: len(lines[index]))
    if len(lines[longest]) > MAX_LINE:
        message = f"a line of {len(lines[longest]):,} characters, the limit is {MAX_LINE:,}"
        raise Malformed([Problem("", message, "Go on on the next line.", longest + 1, MAX_LINE + 1)])
    if len(lines) > MAX_LINES:
        message = f"the document has {len(lines):,} lines, the limit is {MAX_LINES:,}"
        raise Malformed([Problem("", message, "Part it into several documents.", MAX_LINES + 1, 1)])
    for number, line in enumerate(lines, 1):
        if line.count("[") + line.count("{") > MAX_DEPTH:
            _hold_depth(line, number)


def _hold_depth(line: str, number: int) -> None:
    """Refuses a line in which more brackets are open than a document has levels: within a line the parser looks ahead at each of them again."""
    depth = 0
    for found in _BRACKETS.finditer(line):
        depth += 1 if found[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise Malformed([_too_deep(number, found.start() + 1)])


def _too_deep(line: int, column: int) -> Problem:
    return Problem("", f"the document is more than {MAX_DEPTH} levels deep", "Part it into several documents.", line, column)


def too_long() -> Problem:
    """A document that is not looked at."""
    return Problem("", f"the document is longer than {MAX_BYTES:,} bytes", "Part it into several documents.")


def _within_limits(events: Iterable[Event]) -> Iterator[Event]:
    """The events of a document as they are read, as long as it is neither too deep nor too large: what follows is not looked at."""
    depth = nodes = 0
    for event in events:
        if isinstance(event, MappingStartEvent | SequenceStartEvent | ScalarEvent | AliasEvent):
            nodes += 1
            depth += isinstance(event, MappingStartEvent | SequenceStartEvent)
            if depth > MAX_DEPTH or nodes > MAX_NODES:
                line, column = event.start_mark.line + 1, event.start_mark.column + 1
                long = Problem("", f"the document is more than {MAX_NODES:,} keys and values long", "Part it into several documents.", line, column)
                raise Malformed([_too_deep(line, column) if depth > MAX_DEPTH else long])
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            depth -= 1
        yield event


def _turning(text: str) -> list[Problem]:
    """The characters that turn the direction of writing: what a person reads would not be what the document says."""
    found = []
    for match in islice(_TURNS.finditer(text), MAX_PROBLEMS):
        before = text[: match.start()]
        line, column = before.count("\n") + 1, match.start() - before.rfind("\n")
        found.append(
            Problem("", f"the character U+{ord(match[0]):04X} turns the direction of writing", "Leave it out.", line, column, f"U+{ord(match[0]):04X}")
        )
    return found


class _Reader:
    """Builds the tree from parser events and collects what the discipline refuses."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems

    def read(self, events: Iterator[Event]) -> Node | None:
        root = None
        starts = 0
        for event in events:
            starts += isinstance(event, DocumentStartEvent)
            if starts > 1:
                self._refuse(event, (), "a second document begins here, one file is one document", "Part the file.")
                break
            if isinstance(event, ScalarEvent | MappingStartEvent | SequenceStartEvent | AliasEvent):
                root = self._node(event, events, ())
        return root

    def _refuse(self, event: Event, path: tuple[str | int, ...], message: str, mend: str = "", value: str = "") -> None:
        mark = event.start_mark
        self.problems.append(Problem(place_text(path), message, mend, mark.line + 1, mark.column + 1, value))
        if len(self.problems) >= MAX_PROBLEMS:
            raise Malformed([*self.problems, more_problems()])

    def _node(self, event: Event, rest: Iterator[Event], path: tuple[str | int, ...]) -> Node:
        mark = event.start_mark
        node = Node("", mark.line + 1, mark.column + 1)
        anchor = getattr(event, "anchor", None)
        if isinstance(event, AliasEvent):
            self._refuse(event, path, f"alias *{anchor} is refused", "Write the value out.", f"*{anchor}")
            return node
        if anchor:
            self._refuse(event, path, f"anchor &{anchor} is refused", "Write the value out where it is needed.", f"&{anchor}")
        tag = getattr(event, "tag", None)
        if tag:
            self._refuse(event, path, f"tag {tag} is refused", "Leave the tag out; the schema gives the type.", str(tag))
        if isinstance(event, ScalarEvent):
            node.value, node.quoted = event.value, event.style in ("'", '"')
        elif isinstance(event, SequenceStartEvent):
            node.value = self._items(rest, path)
        elif isinstance(event, MappingStartEvent):
            self._entries(node, rest, path)
        return node

    def _items(self, rest: Iterator[Event], path: tuple[str | int, ...]) -> list[Node]:
        items: list[Node] = []
        for event in rest:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, rest, (*path, len(items))))
        return items

    def _entries(self, node: Node, rest: Iterator[Event], path: tuple[str | int, ...]) -> None:
        entries: dict[str, Node] = {}
        for event in rest:
            if isinstance(event, MappingEndEvent):
                break
            key = self._node(event, rest, path)
            if not isinstance(key.value, str):
                self._refuse(event, path, "a key must be plain text")
                key.value = "?"
            value = self._node(next(rest), rest, (*path, key.value))
            if key.value in entries:
                self._refuse(event, (*path, key.value), f"key {key.value!r} stands twice", "Keep one of them.", key.value)
            entries[key.value] = value
            node.key_marks[key.value] = (key.line, key.column)
        node.value = entries
