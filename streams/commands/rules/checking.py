"""The commands that hold documents against the language and against each other: check and diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from connectors.registries import load_registries
from connectors.rule_files import read_rule
from pipeline.problems import Malformed, Problem
from pipeline.rules import run_tests
from pipeline.rules.difference import changes
from pipeline.rules.proof import TIMEOUT_S
from streams.commands.speaking import note, say

from .pointing import fields, pointed
from .proving import People, Timeout, people_apart
from .reading import SHIPPED_REGISTRIES, Documents, Json, Registries, answer, files_of, read, told


def check(rules: Documents, registries: Registries = SHIPPED_REGISTRIES, as_json: Json = False) -> None:
    """Check documents: shape, names, types, units, ranges, dates, and their own tests.

    Every problem is told at once, with its line, its column and what to do. Exit code 1 where a test fails, 2 where a document is wrong.
    """
    found: list[dict[str, Any]] = []
    problems: list[Problem] = []
    with told():
        known, paths = load_registries(registries), files_of(rules)
    for path in paths:
        try:
            rule = read_rule(path, known)
        except Malformed as malformed:
            problems += malformed.problems
            found.append({"file": str(path), "ok": False, "problems": [fields(problem) for problem in malformed.problems]})
            continue
        results = run_tests(rule)
        failed = [str(result) for result in results if not result.passed and not result.unfinished]
        unfinished = [str(result) for result in results if result.unfinished]
        entry = {"file": str(path), "ok": not failed, "hash": rule.hash, "tests": len(rule.tests), "failed": failed, "unfinished": unfinished}
        found.append(entry)
        if not as_json:
            say("\n".join([f"{path}: {'not well' if failed else 'well'}, {_counted(len(rule.tests), 'test')}, hash {rule.hash[:12]}", *failed, *unfinished]))
    if not as_json:
        for problem in problems:
            note(pointed(problem))
        if problems:
            note(f"{_counted(len(problems), 'problem')} in {sum('problems' in entry for entry in found)} of {_counted(len(found), 'document')}.")
    answer(as_json, {"ok": all(entry["ok"] for entry in found), "documents": found}, "")
    raise typer.Exit(2 if problems else 0 if all(entry["ok"] for entry in found) else 1)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD.yaml", help="A rule document.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.yaml", help="The document that would follow it.")],
    people: People = False,
    timeout: Timeout = TIMEOUT_S,
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Say in words what changed between two documents: parameters with their dates and law, conditions, steps, facts and the rest.

    With --people also a person for every way in which they decide differently, or the proof that they do not.
    """
    with told():
        before, after = read(old, registries), read(new, registries)
        found = changes(before, after)
        apart, text = people_apart(before, after, timeout) if people else ([], "")
    said = "\n".join(map(str, found)) or "The documents say the same."
    document = msgspec.to_builtins(found)
    answer(as_json, {"changes": document, "people": apart} if people else document, f"{said}\n\n{text}" if people else said)
