"""Deliberate defects put into a copy of the code: which history catches each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from loadtests.mutants import Mutant, in_place


class Caught(NamedTuple):
    """The first history that a defect turned red, if any did, after how many, and what was wrong with it."""

    mutant: Mutant
    seed: int | None
    histories: int
    steps: int
    problem: str
    trace: tuple[str, ...]


def caught(copy: Path, mutant: Mutant, histories: int, *, first: int = 1) -> Caught:
    """Runs histories over a copy that has the defect, until one fails."""
    command = [sys.executable, "-m", "loadtests.simulation", "--histories", str(histories), "--first", str(first), "--processes", "1"]
    with in_place(copy, mutant):
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([*command, "--until-failed", "--no-shorten", "--json"], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if not done.stdout:
        raise RuntimeError(f"with the defect {mutant.name!r} no history ran:\n{done.stderr[-2000:]}")
    told = json.loads(done.stdout)
    if not told["failed"]:
        return Caught(mutant, None, told["histories"], 0, "", ())
    failed = told["failed"][0]
    return Caught(mutant, failed["seed"], told["histories"], failed["steps"], failed["problems"][0], tuple(failed["trace"]))
