"""A problem of a text as a compiler shows it, with the line it stands on and a caret under the place, and as editors read it."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

from pipeline.problems import Problem, sentences

WIDTH = 140
INDENT = "    "


def pointed(problem: Problem) -> str:
    """``file:line:column``, what is wrong, the line with a caret, what may stand there and what to do."""
    if not problem.line:
        return f"payout: {problem}"
    where = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part)
    head = f"payout: {where}: {f'{problem.place}: ' if problem.place else ''}{problem.message}"
    source = _line(problem)
    if source is None:
        return sentences(head, problem.mend)
    gutter = f"{problem.line:>5} | "
    shown, caret = _caret(source, problem)
    blank = " " * (len(gutter) - 2) + "| "
    lines = [head, gutter + shown, blank + caret]
    lines += [f"{' ' * (len(gutter) - 2)}= {what}: {text}" for what, text in (("expected", problem.expected), ("mend", problem.mend)) if text]
    return "\n".join(lines)


def fields(problem: Problem) -> dict[str, Any]:
    """A problem for editors and for machines that check."""
    return {
        "file": problem.file,
        "path": problem.place,
        "line": problem.line,
        "column": problem.column,
        "value": problem.value,
        "expected": problem.expected,
        "suggestion": problem.suggestion,
        "message": problem.message,
        "mend": problem.mend or (f"Write {problem.suggestion!r}." if problem.suggestion else ""),
    }


def _line(problem: Problem) -> str | None:
    """The line of the file that a problem stands on."""
    if not problem.file:
        return None
    with Path(problem.file).open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if number == problem.line:
                return line.rstrip("\r\n")
    return None


def _caret(source: str, problem: Problem) -> tuple[str, str]:
    """The part of a line around a place, and carets under what stands there."""
    start = problem.column - 1
    end = max(start + 1, min(len(source), start + _length(source[start:], problem.value)))
    first = max(0, min(start - WIDTH // 2, len(source) - WIDTH)) if len(source) > WIDTH else 0
    last = min(len(source), first + WIDTH)
    before, under = _visible(source[first:start]), _visible(source[start : min(end, last)]) or " "
    shown = ("…" if first else "") + before + _visible(source[start:last]) + ("…" if last < len(source) else "")
    return shown, " " * (_cells(before) + bool(first)) + "^" * _cells(under)


def _length(rest: str, value: str) -> int:
    for written in (value, f'"{value}"', f"'{value}'"):
        if value and rest.startswith(written):
            return len(written)
    return 1


def _visible(text: str) -> str:
    """The text with what a terminal would not show, or would let reorder the line, in escapes."""
    return "".join(char if char.isprintable() else " " if char == "\t" else f"\\u{ord(char):04x}" for char in text)


def _cells(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 0 if unicodedata.combining(char) else 1 for char in text)
