"""Reads the file of a rule document."""

from __future__ import annotations

from pathlib import Path

from msgspec.structs import replace

from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries
from pipeline.rules import Rule, load_rule


def read_rule(path: Path, registries: Registries) -> Rule:
    """The rule of a document file; Malformed names the file in every problem."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Malformed([Problem(str(path), f"cannot be read: {error.strerror}", "Name the file of a rule document.")]) from None
    except UnicodeDecodeError as error:
        raise Malformed([Problem(str(path), f"is not UTF-8 text at byte {error.start}")]) from None
    try:
        return load_rule(text, registries.catalogue)
    except Malformed as malformed:
        raise Malformed([replace(problem, place=f"{path}: {problem.place}".rstrip(": ")) for problem in malformed.problems]) from None
