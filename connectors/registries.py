"""Reads the registry documents of a directory."""

from __future__ import annotations

from pathlib import Path

from pipeline.problems import Malformed, Problem
from pipeline.registry import Registries, Registry, load_registry


def load_registries(directory: Path) -> Registries:
    """All ``*.yaml`` documents of `directory`; Malformed with the problems of all of them, each with its file's name."""
    registries: list[Registry] = []
    problems: list[Problem] = []
    paths = sorted(directory.glob("*.yaml"))
    if not paths:
        raise Malformed([Problem(str(directory), "holds no registry documents (*.yaml)", "Name the directory of registry documents.")])
    for path in paths:
        try:
            registries.append(load_registry(path.read_text(encoding="utf-8")))
        except Malformed as error:
            problems += [problem.within(path.name) for problem in error.problems]
        except UnicodeDecodeError as error:
            problems.append(Problem(path.name, f"is not UTF-8 at byte {error.start}"))
    if problems:
        raise Malformed(problems)
    return Registries(registries)
