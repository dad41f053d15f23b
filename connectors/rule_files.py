"""Reads the file of a rule document."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from pipeline.documents import MAX_BYTES, too_long
from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries
from pipeline.rules import Rule, load_rule


def read_text(path: Path) -> str:
    """The text of a document file, of which no more is read than a document may have; Malformed names the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Malformed([Problem("", f"cannot be read: {error.strerror}", "Name the file of a rule document.", file=str(path))]) from None
    if len(raw) > MAX_BYTES:
        raise Malformed([replace(too_long(), file=str(path))])
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise Malformed([Problem("", f"is not UTF-8 text at byte {error.start}", "Save it as UTF-8.", file=str(path))]) from None


def read_rule(path: Path, registries: Registries) -> Rule:
    """The rule of a document file; Malformed names the file in every problem."""
    text = read_text(path)
    try:
        return load_rule(text, registries.catalogue)
    except Malformed as malformed:
        raise Malformed([replace(problem, file=str(path)) for problem in malformed.problems]) from None
