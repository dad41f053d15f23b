"""The commands that hold documents against the language and against each other: check, test and diff."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from pipeline.problems import Malformed
from pipeline.rules import run_tests
from pipeline.rules.difference import changes

from .reading import SHIPPED_REGISTRIES, Document, Json, Registries, answer, read, told


def check(
    rules: Annotated[list[Path], typer.Argument(metavar="RULE.yaml...", help="Rule documents.")],
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Check documents: shape, names, types, units, ranges, dates, and their own tests. Exit code 1 where a test fails, 2 where a document is wrong."""
    found: list[dict[str, Any]] = []
    worst = 0
    for path in rules:
        try:
            rule = read(path, registries)
        except Malformed as malformed:
            worst = 2
            found.append({"file": str(path), "ok": False, "problems": [msgspec.to_builtins(problem) for problem in malformed.problems]})
            if not as_json:
                typer.echo("\n".join(map(str, malformed.problems)), err=True)
            continue
        failed = [result for result in run_tests(rule) if not result.passed]
        worst = max(worst, bool(failed))
        found.append({"file": str(path), "ok": not failed, "hash": rule.hash, "tests": len(rule.tests), "failed": [str(result) for result in failed]})
        if not as_json:
            typer.echo("\n".join([f"{path}: {'not well' if failed else 'well'}, {len(rule.tests)} tests, hash {rule.hash[:12]}", *map(str, failed)]))
    if as_json:
        typer.echo(json.dumps({"ok": not worst, "documents": found}, ensure_ascii=False))
    raise typer.Exit(worst)


def run_own_tests(rule: Document, registries: Registries = SHIPPED_REGISTRIES, as_json: Json = False) -> None:
    """Run a document's own tests. Exit code 1 where one fails."""
    with told():
        results = run_tests(read(rule, registries))
    failed = sum(not result.passed for result in results)
    lines = [f"{'ok    ' if result.passed else 'FAILED'} {result.name if result.passed else result}" for result in results]
    summary = f"{len(results) - failed} of {len(results)} tests as expected"
    answer(as_json, {"ok": not failed, "tests": msgspec.to_builtins(results)}, "\n".join([*lines, summary]))
    raise typer.Exit(1 if failed else 0)


def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD.yaml", help="A rule document.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.yaml", help="The document that would follow it.")],
    registries: Registries = SHIPPED_REGISTRIES,
    as_json: Json = False,
) -> None:
    """Say in words what changed between two documents: parameters with their dates and law, conditions, steps, facts and the rest."""
    with told():
        found = changes(read(old, registries), read(new, registries))
    answer(as_json, msgspec.to_builtins(found), "\n".join(map(str, found)) or "The documents say the same.")
